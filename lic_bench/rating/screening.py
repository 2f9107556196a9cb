"""Raters whose answers are left out, where that is asked for: by catches, and by distance.

A rater fails the catches who answers fewer than four in five of them as everybody would. A rater is
far from the others whose answers are less likely, under the scores that the others alone give, than
those of a rater who agrees with them would be: by more than three standard deviations.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lic_bench.rating.davidson import Array, chances, fit
from lic_bench.rating.judged import Judged
from lic_bench.rating.scores import Tally, tally

CATCHES = 0.8
FAR = 3.0


def screened(judged: Judged) -> dict[str, str]:
    """The raters that are to be left out, and why; see `Judged.without`."""
    reasons = _by_catches(judged.trials)
    rest = judged.without(reasons)
    if len(rest.raters) > 2:
        reasons |= _by_distance(tally(rest.counted), rest.raters)
    return reasons


def _by_catches(trials: pd.DataFrame) -> dict[str, str]:
    catches = trials[trials["kind"] == "catch"]
    right = (catches["answer"] == catches["expected"]).groupby(catches["rater"])
    return {
        str(rater): f"{rater} saw {int(seen)} of {number} catches"
        for rater, seen, number in zip(right.sum().index, right.sum(), right.size(), strict=True)
        if seen < CATCHES * number
    }


def _by_distance(counted: Tally, raters: list[str]) -> dict[str, str]:
    reasons = {}
    total, number = counted.counts, len(counted.codecs)
    others = fit(total - counted.by_rater, counted.pairs, number)
    for i, rater in enumerate(raters):
        distance = _distance(counted, others.scores[i], float(others.log_ties[i]), i)
        if distance > FAR:
            reasons[rater] = f"{rater} is {distance:.1f} standard deviations from the others"
    return reasons


def _distance(counted: Tally, scores: Array, log_ties: float, rater: int) -> float:
    """How much less likely a rater's answers are than the model lets one expect."""
    given = counted.by_rater[rater]
    p = chances(scores[counted.pairs[:, 0]] - scores[counted.pairs[:, 1]], log_ties)
    logs = np.log(p)
    expected, square = (p * logs).sum(axis=1), (p * logs**2).sum(axis=1)
    answers = given.sum(axis=1)
    variance = float((answers * (square - expected**2)).sum())
    if variance <= 0:
        return 0.0
    return float((answers * expected).sum() - (given * logs).sum()) / math.sqrt(variance)
