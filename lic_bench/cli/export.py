"""`lic-bench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Folders, OfDatasets, OnlyCodecs, PointsOf, Quiet


def export(
    folders: Folders = [str(RESULTS)],
    codecs: OnlyCodecs = [],
    dataset: OfDatasets = [],
    points: PointsOf = [],
    quiet: Quiet = False,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="A .parquet or .csv file; -: CSV at the terminal."
        ),
    ] = Path("measurements.csv"),
) -> None:
    """Write measurements as Parquet or CSV, one row for each image, codec and operating point.

    - `lic-bench export results/mine --out measurements.csv`
    - `lic-bench export -c jpeg -d kodak -p 50 -o - | head`
    """
    from lic_bench.cli.reading import read
    from lic_bench.store.table import export

    table = read(folders, codecs=codecs, datasets=dataset, points=points).table
    if out == console.TERMINAL:
        console.give(table.to_csv(index=False), out)
        return
    export(table, out)
    console.tell(out)
