"""`lic-bench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Jobs, OnlyCodecs


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where measurements are kept and resumed.")
    ] = RESULTS,
    codecs: OnlyCodecs = [],
    jobs: Jobs = None,
) -> None:
    """Check that the figures are right: ours beside published ones, on Kodak.

    Measures what DIR does not hold yet; without --codecs, that of the quick codecs. Shows the
    difference in quality at equal rate and in rate at equal quality, and fails where one is larger
    than it should be.

    - `lic-bench verify`
    - `lic-bench verify results/mine -c webp,compressai`
    """
    from lic_bench.checks import published_figures
    from lic_bench.cli.arguments import specs

    chosen = published_figures.checks(specs(codecs))
    with console.resumable(), console.run_progress() as report:
        verdicts = published_figures.verify(chosen, folder, jobs=jobs, report=report)
    for verdict in verdicts:
        console.say(f"{verdict}\n")
    fine = [verdict.fine for verdict in verdicts]
    console.say(
        f"{fine.count(True)} fine, {fine.count(False)} not fine, "
        f"{fine.count(None)} without judgement"
    )
    if False in fine:
        raise typer.Exit(1)
