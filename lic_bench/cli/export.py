"""`lic-bench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Folder


def export(
    folder: Folder = RESULTS,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .parquet or .csv file.")
    ] = Path("measurements.csv"),
) -> None:
    """Write the measurements of a folder as Parquet or CSV.

    - `lic-bench export results/mine --out measurements.csv`
    """
    from lic_bench.store import table

    table.export(table.load(folder), out)
    console.say(out)
