"""Large images in pieces: a convolution's result tile by tile, as if it had been made at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Tile(NamedTuple):
    """A part of a grid, and the larger one that it is made from; the ends are excluded."""

    top: int
    bottom: int
    left: int
    right: int
    above: int
    below: int
    before: int
    after: int

    def outer(self, scale: int = 1) -> tuple[slice, slice]:
        """Rows and columns that it is made from, of a grid `scale` times as fine."""
        return (
            slice(self.above * scale, self.below * scale),
            slice(self.before * scale, self.after * scale),
        )

    def own(self, scale: int = 1) -> tuple[slice, slice]:
        """Rows and columns that it stands for."""
        return (
            slice(self.top * scale, self.bottom * scale),
            slice(self.left * scale, self.right * scale),
        )

    def within(self, scale: int = 1) -> tuple[slice, slice]:
        """The same, in what was made from `outer`."""
        return (
            slice((self.top - self.above) * scale, (self.bottom - self.above) * scale),
            slice((self.left - self.before) * scale, (self.right - self.before) * scale),
        )


def tiles(rows: int, columns: int, side: int, margin: int) -> Iterator[Tile]:
    """Cut a grid, row by row.

    Parameters
    ----------
    rows, columns
        Of the grid.
    side
        Of a tile, at most.
    margin
        What a tile sees beside itself; wider than a result depends on, the seams vanish.
    """
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            bottom, right = min(top + side, rows), min(left + side, columns)
            yield Tile(
                top, bottom, left, right,
                max(top - margin, 0), min(bottom + margin, rows),
                max(left - margin, 0), min(right + margin, columns),
            )  # fmt: skip
