"""`lic-bench check`: whether codecs keep the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.errors import SpecError


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Python or TOML files with codecs of your own."),
    ] = None,
    codecs: Annotated[
        str,
        typer.Option("--codecs", "-c", metavar="SPECS", help="Which ones; all those of the files."),
    ] = "",
    points: Annotated[
        str,
        typer.Option(
            "--points", "-p", metavar="POINTS", help="Operating points, from low rate to high."
        ),
    ] = "",
) -> None:
    """Check that codecs do what every codec must: the bytes suffice, damage is refused ...

    Each runs in processes of its own: one that crashes, hangs or eats the memory is told of.

    - `lic-bench check my_codec.py`
    - `lic-bench check my_codec.toml --points 10:90:20`
    - `lic-bench check --codecs jpeg:subsampling=4:4:4,webp`
    """
    from lic_bench.checks.contract import Subject, examine
    from lic_bench.codec.registry import Registry
    from lic_bench.codec.spec import parse_points, split_specs

    plugins = tuple(file.resolve() for file in files or ())
    registry = Registry(plugins)
    origins = {str(file) for file in plugins}
    specs = split_specs(codecs) or [
        name for name in registry.names() if registry.entry(name).origin in origins
    ]
    if not specs:
        raise SpecError("name what to check: a file such as my_codec.py, or --codecs jpeg,webp")
    failed = 0
    for spec in specs:
        codec = registry.codec(spec)
        chosen = parse_points(codec, points.split(",")) if points else codec.points
        for point in chosen:
            codec.check_point(point)
        typer.secho(spec, bold=True)
        for outcome in examine(Subject(spec, plugins, tuple(chosen))):
            failed += not outcome.passed
            verdict, colour = ("pass", "green") if outcome.passed else ("FAIL", "red")
            typer.secho(f"  {verdict}", nl=False, fg=colour)
            typer.echo(f"  {outcome.seconds:5.1f} s  {outcome.title}")
            if outcome.note:
                typer.echo(f"                 {outcome.note}")
    if failed:
        typer.echo(f"{failed} failed.", err=True)
        raise typer.Exit(1)
