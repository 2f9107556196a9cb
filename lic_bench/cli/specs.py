"""What a command line asks for: codecs, and operating points of each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from lic_bench.codec.registry import Registry
from lic_bench.codec.spec import split_specs
from lic_bench.errors import UnavailableError


def expand(texts: Iterable[str], plugins: Iterable[Path] = ()) -> list[str]:
    """The specs that are asked for, each once; ``all`` stands for every codec that works here."""
    specs = dict.fromkeys(spec for text in texts for spec in split_specs(text))
    if "all" in specs:
        registry = Registry(plugins)
        for name in registry.names():
            try:
                codec = registry.codec(name)
                for point in codec.points:
                    codec.check_point(point)
                specs[name] = None
            except UnavailableError as error:
                typer.echo(f"Left out: {error}", err=True)
        del specs["all"]
    return list(specs)


def points_by_spec(texts: Iterable[str]) -> dict[str, list[str]]:
    """Operating points by spec, from ``10,50`` or ``jpeg=10,50``; under ``""`` those of all."""
    points: dict[str, list[str]] = {}
    for text in texts:
        spec, _, values = text.rpartition("=")
        points.setdefault(spec, []).extend(value.strip() for value in values.split(","))
    return points
