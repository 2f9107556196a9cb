"""Tables of the priors that are trained: what codes their numbers, the same on every machine."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from lic_bench.learned.priors import (
    LEAST_LOG_SIZE,
    LEAST_SCALE,
    SCALES,
    STEP,
    FactorizedPrior,
)
from lic_bench.learned.tables import Tables, tables_of

REACH = 1200
"""Numbers that a table can hold, to either side."""
_KNOWN = 1000


def _points() -> NDArray[np.float64]:
    return np.arange(-REACH, REACH) + 0.5


def gaussian_tables() -> Tables:
    """A table for each scale."""
    scales = LEAST_SCALE * np.exp(STEP * np.arange(SCALES))
    rows = [[0.5 * math.erfc(-x / s / math.sqrt(2)) for x in _points()] for s in scales]
    return tables_of(np.array(rows), -REACH)


def laplace_tables(counts: NDArray[np.int64]) -> Tables:
    """A table for each mean size: what was counted where it was predicted.

    As if a thousand numbers had been seen before, that are as the distribution has them.

    Parameters
    ----------
    counts
        How often each number came: 64 x (2 `REACH` + 1).
    """
    sizes = np.exp(LEAST_LOG_SIZE + STEP * np.arange(SCALES))[:, None]
    tail = np.exp(-np.abs(_points()) / sizes) / 2
    prior = np.where(_points() < 0, tail, 1 - tail)
    total = counts.sum(1, keepdims=True)
    return tables_of((np.cumsum(counts, 1)[:, :-1] + _KNOWN * prior) / (total + _KNOWN), -REACH)


def factorised_tables(prior: FactorizedPrior) -> Tables:
    """A table for each channel under each condition: of a condition one after the other."""
    rows = prior.cumulative(torch.from_numpy(_points()).float().to(prior.unit.device))
    return tables_of(rows.flatten(0, 1).cpu().numpy(), -REACH)
