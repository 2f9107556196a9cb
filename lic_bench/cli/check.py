"""`lic-bench check`: whether codecs and metrics keep the contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import Json, OnlyCodecs, Points
from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.checks.contract import Outcome


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Python or TOML files of your own."),
    ] = None,
    codecs: OnlyCodecs = [],
    metrics: Annotated[
        list[str],
        typer.Option("--metrics", metavar="SPECS", help="These metrics, separated by commas."),
    ] = [],
    points: Points = [],
    json: Json = False,
) -> None:
    """Check that codecs and metrics do what they must: the bytes suffice, damage is refused ...

    Without --codecs and --metrics, all those of the files. Each runs in processes of its own: one
    that crashes, hangs or eats the memory fails the check, and ends nothing else. Points go from
    low rate to high.

    - `lic-bench check my_codec.py`
    - `lic-bench check my_codec.toml --points 10:90:20`
    - `lic-bench check --codecs jpeg:subsampling=4:4:4,webp`
    - `lic-bench check my_metric.toml`
    - `lic-bench check --metrics ssimulacra2`
    """
    from lic_bench.checks import contract, metric_contract
    from lic_bench.cli.arguments import points_of, specs
    from lic_bench.codec.registry import Registry
    from lic_bench.files import as_json
    from lic_bench.metric.registry import MetricRegistry

    plugins = tuple(file.resolve() for file in files or ())
    origins = {str(file) for file in plugins}
    registry, of_metrics = Registry(plugins), MetricRegistry(plugins)
    wanted, measures = specs(codecs), specs(metrics)
    if not (wanted or measures):
        wanted = [name for name in registry.names() if registry.entry(name).origin in origins]
        measures = [entry.name for entry in of_metrics.entries() if entry.origin in origins]
    if not (wanted or measures):
        raise SpecError("name what to check: a file such as my_codec.py, or --codecs jpeg,webp")
    subjects = {spec: registry.codec(spec) for spec in wanted}
    for spec in measures:
        of_metrics.metric(spec)  # it is there, and can be used
    chosen = points_of(subjects, points)
    examined: dict[str, Iterable[Outcome]] = {}
    for spec, codec in subjects.items():
        for point in codec.points if spec not in chosen else ():
            codec.check_point(point)  # those that were typed are checked where they are read
        own = tuple(chosen.get(spec, codec.points))
        examined[spec] = contract.examine(contract.Subject(spec, plugins, own))
    for spec in measures:
        subject = metric_contract.Subject(of_metrics.spec(spec), plugins)
        examined[spec] = metric_contract.examine(subject)
    if json:
        rows = [
            {"name": spec, **asdict(outcome)}
            for spec, outcomes in examined.items()
            for outcome in outcomes
        ]
        console.give(as_json(rows))
        failed = sum(not row["passed"] for row in rows)
    else:
        failed = sum(_show(spec, outcomes) for spec, outcomes in examined.items())
    if failed:
        console.say(f"{failed} failed.", err=True)
        raise typer.Exit(1)


def _show(spec: str, outcomes: Iterable[Outcome]) -> int:
    """Print what came of each check; say how many failed."""
    failed = 0
    typer.secho(spec, bold=True)
    for outcome in outcomes:
        failed += not outcome.passed
        verdict, colour = ("pass", "green") if outcome.passed else ("FAIL", "red")
        typer.secho(f"  {verdict}", nl=False, fg=colour)
        console.say(f"  {outcome.seconds:5.1f} s  {outcome.title}")
        if outcome.note:
            console.say(f"                 {outcome.note}")
    return failed
