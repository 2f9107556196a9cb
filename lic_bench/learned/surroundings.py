"""What is coded, in which order, and what a context model sees of it.

The symbols are whole numbers v_kij in M channels on a grid of sites, most of them 0. First comes
the level of each site: how many groups of channels there are up to the last number that is not 0.
Then, channel by channel and in raster order, the numbers within the levels. When a number is
coded, all channels before are known at the nine sites around (`NEAR`), and its own at those before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1))
"""Rows and columns to the sites around a symbol."""
BEFORE = 4
"""The first so many of `NEAR` are coded in the symbol's own channel, too."""
CENTRE = NEAR.index((0, 0))
OWN = (*NEAR[:BEFORE], (0, -2), (-2, 0))
"""Sites whose symbols of the own channel, and whose levels, are fed by their distance."""
REACH = 2  # sites, of `OWN`
RELATED = 4
"""Channels before its own that a channel is fed by their relation to it."""
LOW = 21
"""A linear prediction looks at so many channels, and at the own."""
PREDICTION_BITS = 10
"""Binary places of the weights of the linear predictions, and of these."""
LEVELS = 16
HEADS = 14
"""Decisions of a number: is it 0, its sign, and whether its size exceeds 1, 2, ... 12."""
CLIP = 8
"""Hidden features are clipped to 0 .. CLIP."""
BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 2.0, 4.0)
"""Bounds of the classes that the size of a prediction falls into."""
TILE = 256
"""Sites on a side of what is coded together: it bounds the memory."""
LARGEST = 121
"""The largest number that a channel may hold."""


@dataclass(frozen=True)
class Structure:
    """What is known of the channels before anything is learned.

    Attributes
    ----------
    reach
        The largest size of each channel's numbers, 1 to `LARGEST`: M.
    means
        The first so many channels are what the means of blocks leave over, from coarse to fine.
    bounds
        Channels within each level, rising to M, the first above 0: `LEVELS`.
    """

    reach: tuple[int, ...]
    means: int
    bounds: tuple[int, ...]

    @property
    def channels(self) -> int:
        """M."""
        return len(self.reach)

    def levels(self, v: NDArray[np.int8]) -> NDArray[np.uint8]:
        """The levels 1 .. `LEVELS` of numbers: N x M x H x W to N x H x W."""
        level = np.ones((len(v), *v.shape[2:]), np.uint8)
        for index, (start, end) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            level[v[:, start:end].any(1)] = index + 2
        return level


def sizes(most: int) -> NDArray[np.int64]:
    """How the sizes 0 .. most are fed: log2(1 + size), in eighths, rounded."""
    table: NDArray[np.int64] = np.rint(8 * np.log2(1.0 + np.arange(most + 1))).astype(np.int64)
    return table
