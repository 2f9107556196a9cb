"""`lic-bench verify`."""

from __future__ import annotations

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Jobs, Json, OnlyCodecs, Out, Quiet


def verify(
    codecs: OnlyCodecs = [],
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
    out: Out = RESULTS,
) -> None:
    """Check that the figures are right: ours beside published ones, on Kodak.

    Measures what the folder does not hold yet; without --codecs, that of the quick codecs. Shows
    the difference in quality at equal rate and in rate at equal quality, and fails where one is
    larger than it should be.

    - `lic-bench verify`
    - `lic-bench verify -c webp,compressai -o results/mine`
    """
    from msgspec import to_builtins

    from lic_bench.checks import published_figures
    from lic_bench.cli.arguments import specs
    from lic_bench.files import as_json

    chosen = published_figures.checks(specs(codecs))
    with console.resumable(), console.run_progress() as report:
        verdicts = published_figures.verify(chosen, out, jobs=jobs, report=report)
    fine = [verdict.fine for verdict in verdicts]
    if json:
        rows = [{"fine": verdict.fine, **to_builtins(verdict)} for verdict in verdicts]
        console.give(as_json(rows))
    else:
        for verdict in verdicts:
            if verdict.fine is False or not quiet:
                console.say(f"{verdict}\n")
        console.tell(
            f"{fine.count(True)} fine, {fine.count(False)} not fine, "
            f"{fine.count(None)} without judgement"
        )
    if False in fine:
        raise typer.Exit(1)
