"""What a command reads: the measurements of folders, and those of them that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench.analysis.anchor import anchor_of_curves
from lic_bench.cli.arguments import points_by_spec, specs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reading:
    """Measurements, and the names that were asked for as these have them."""

    table: pd.DataFrame
    codecs: list[str] | None
    """Those that were asked for; nothing where none was."""
    anchor: str | None
    """Its measurements are in the table, whether it is one of these or not."""

    @property
    def any_anchor(self) -> str:
        """The anchor, by default jpeg, or else the first codec; nothing where there is none."""
        return self.anchor or anchor_of_curves(self.table)


def read(
    folders: Sequence[str],
    *,
    codecs: Sequence[str] = (),
    datasets: Sequence[str] = (),
    points: Sequence[str] = (),
    anchor: str | None = None,
) -> Reading:
    """Read the measurements of folders, of some codecs, data sets and operating points alone.

    Parameters
    ----------
    folders
        ``DIR`` or ``NAME=DIR``; see `lic_bench.store.together`.
    codecs, points
        As they are typed.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be read.
    SpecError
        Where there is nothing of a name.
    """
    from lic_bench.errors import find_known
    from lic_bench.store.selection import select
    from lic_bench.store.together import load_together, named

    wanted = specs(codecs)
    whole = load_together(named(folders), [*wanted, anchor or ""])
    known = list(whole["codec"].unique())
    if anchor is not None:
        anchor = find_known("measured codec", anchor, known)
    chosen = [find_known("measured codec", codec, known) for codec in wanted]
    table = select(
        whole,
        codecs=dict.fromkeys([*chosen, *([anchor] if chosen and anchor else [])]),
        datasets=datasets,
        points=points_by_spec(points),
    )
    return Reading(table, chosen or None, anchor)


def beside(folders: Sequence[str]) -> Path:
    """The folder that what is made of some folders of results is put into: the first."""
    from lic_bench.store.together import named

    first = next(iter(named(folders).values()))
    return first if first.is_dir() else first.parent
