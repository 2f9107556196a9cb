"""`lic-bench check`: whether codecs keep the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import OnlyCodecs, Points
from lic_bench.errors import SpecError


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Python or TOML files with codecs of your own."),
    ] = None,
    codecs: OnlyCodecs = [],
    points: Points = [],
) -> None:
    """Check that codecs do what every codec must: the bytes suffice, damage is refused ...

    Without --codecs, all those of the files. Each runs in processes of its own: one that crashes,
    hangs or eats the memory fails the check, and ends nothing else. Points go from low rate to
    high.

    - `lic-bench check my_codec.py`
    - `lic-bench check my_codec.toml --points 10:90:20`
    - `lic-bench check --codecs jpeg:subsampling=4:4:4,webp`
    """
    from lic_bench.checks.contract import Subject, examine
    from lic_bench.cli.arguments import points_of, specs
    from lic_bench.codec.registry import Registry

    plugins = tuple(file.resolve() for file in files or ())
    registry = Registry(plugins)
    origins = {str(file) for file in plugins}
    wanted = specs(codecs) or [
        name for name in registry.names() if registry.entry(name).origin in origins
    ]
    if not wanted:
        raise SpecError("name what to check: a file such as my_codec.py, or --codecs jpeg,webp")
    subjects = {spec: registry.codec(spec) for spec in wanted}
    chosen = points_of(subjects, points)
    failed = 0
    for spec, codec in subjects.items():
        for point in codec.points if spec not in chosen else ():
            codec.check_point(point)  # those that were typed are checked where they are read
        typer.secho(spec, bold=True)
        for outcome in examine(Subject(spec, plugins, tuple(chosen.get(spec, codec.points)))):
            failed += not outcome.passed
            verdict, colour = ("pass", "green") if outcome.passed else ("FAIL", "red")
            typer.secho(f"  {verdict}", nl=False, fg=colour)
            console.say(f"  {outcome.seconds:5.1f} s  {outcome.title}")
            if outcome.note:
                console.say(f"                 {outcome.note}")
    if failed:
        console.say(f"{failed} failed.", err=True)
        raise typer.Exit(1)
