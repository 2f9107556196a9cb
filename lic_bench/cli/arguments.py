"""What the texts of a command line stand for: specs, operating points, lists, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lic_bench.cli import console
from lic_bench.codec.base import Codec, Point
from lic_bench.codec.points import parse_points
from lic_bench.codec.registry import Registry
from lic_bench.errors import DatasetError, SpecError, UnavailableError, check_known
from lic_bench.images.dataset import Dataset, load_dataset, load_named
from lic_bench.plugins.spec import split_specs


def specs(texts: Iterable[str]) -> list[str]:
    """The specs that are asked for, each once."""
    return list(dict.fromkeys(spec for text in texts for spec in split_specs(text)))


def expand(texts: Iterable[str], plugins: Iterable[Path] = ()) -> list[str]:
    """The specs that are asked for, each once; ``all`` stands for every codec that works here."""
    registry = Registry(plugins)
    wanted = dict.fromkeys(map(registry.spec, specs(texts)))
    if "all" in wanted:
        for name in registry.names():
            try:
                codec = registry.codec(name)
                for point in codec.points:
                    codec.check_point(point)
                wanted[name] = None
            except UnavailableError as error:
                console.say(f"Left out: {error}", err=True)
        del wanted["all"]
    return list(wanted)


def points_by_spec(texts: Iterable[str]) -> dict[str, list[str]]:
    """Operating points by spec, from ``10,50`` or ``jpeg=10,50``; under ``""`` those of all."""
    points: dict[str, list[str]] = {}
    for text in texts:
        spec, _, values = text.rpartition("=")
        points.setdefault(spec, []).extend(value.strip() for value in values.split(","))
    return points


def points_of(codecs: Mapping[str, Codec], texts: Iterable[str]) -> dict[str, list[Point]]:
    """The operating points of each codec that has some on the command line."""
    by_spec = points_by_spec(texts)
    for spec in by_spec:
        if spec and spec not in codecs:
            raise SpecError(f"points are given for {spec!r}, which is none of the codecs")
    return {
        spec: parse_points(codec, wanted)
        for spec, codec in codecs.items()
        if (wanted := by_spec.get(spec, by_spec.get(""))) is not None
    }


def names(texts: Iterable[str]) -> list[str]:
    """Names that are separated by commas, each once."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return list(dict.fromkeys(part for part in parts if part))


def originals(specs: Iterable[str], measured: Iterable[str]) -> dict[str, Dataset | str]:
    """Data sets that were measured, by name; in place of those that are not at hand, why.

    Parameters
    ----------
    specs
        Those that are wanted, as they were given to the run; none: all. Only these may be folders.
    """
    sets: dict[str, Dataset | str] = {}
    for spec in list(specs) or measured:
        try:
            loaded = load_dataset(spec) if specs else load_named(spec)
        except (DatasetError, UnavailableError) as error:
            if spec not in measured:
                raise
            sets[spec] = str(error)
            continue
        check_known("measured data set", loaded.name, measured)
        sets[loaded.name] = loaded
    return sets


def numbers(option: str, text: str) -> list[float]:
    """Numbers that are separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SpecError(f"{option} {text}: numbers are wanted, as in 0.25,0.5,1") from None


def bounds(option: str, text: str | None) -> tuple[float | None, float | None] | None:
    """The ends of a range, ``0,2`` or ``0,`` or ``,2``."""
    if text is None:
        return None
    try:
        low, high = (float(part) if part.strip() else None for part in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text}: a range is LOW,HIGH, as in 0,2") from None
    return low, high


def labelled(texts: Iterable[str]) -> dict[str, str]:
    """Read ``content-weighted=Ours``: what codecs are called, by spec, whose options have ``=``."""
    labels = {}
    for text in texts:
        spec, _, name = (part.strip() for part in text.rpartition("="))
        if not spec or not name:
            raise SpecError(f"--label {text}: a codec and its name are wanted, as in jpeg=JPEG")
        labels[spec] = name
    return labels
