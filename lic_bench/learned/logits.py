"""Chances of logits, and decisions coded with them: in integers, the same on every machine."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lic_bench.learned.compiled import compiled
from lic_bench.learned.rangecoder import PROBABILITY_BITS, put, take

PLACES = 18
"""Binary places of a logit."""
ENCODE, DECODE, COST = 0, 1, 2
"""What a loop does with decisions: write them, read them, add up their bits."""
_TABLE_BITS = 6  # of a logit when it is looked up
_SHIFT = PLACES - _TABLE_BITS
_HALF = 1 << (_SHIFT - 1)
_BOUND = 11 << _TABLE_BITS


@lru_cache(maxsize=1)
def chance_table() -> NDArray[np.int32]:
    """Logits to chances in 2^-16. `Decimal` rounds correctly, hence alike, on every machine."""
    scale = Decimal(1 << PROBABILITY_BITS)
    values = [
        int((scale / (1 + (Decimal(-q) / (1 << _TABLE_BITS)).exp())).to_integral_value())
        for q in range(-_BOUND, _BOUND + 1)
    ]
    return np.array(values).clip(1, (1 << PROBABILITY_BITS) - 1).astype(np.int32)


@compiled
def looked_up(logit, chances):  # type: ignore[no-untyped-def]
    """The chance of a 1, in 2^-16, of a logit."""
    index = (logit + _HALF) >> _SHIFT
    return chances[min(max(index, -_BOUND), _BOUND) + _BOUND]


@compiled
def decide(mode, state, buffer, cost, chance, bit):  # type: ignore[no-untyped-def]
    """Code one decision; returns it."""
    if mode == ENCODE:
        put(state, buffer, bit, chance)
    elif mode == DECODE:
        bit = take(state, buffer, chance)
    else:
        share = chance / (1 << PROBABILITY_BITS)
        cost[0] -= np.log2(share if bit else 1 - share)
    return bit
