"""What a shell completes: names of codecs, data sets and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points


def _last(names: Callable[[], Iterable[str]]) -> Callable[[str], Iterator[str]]:
    """Complete the last of several names that are separated by commas."""

    def complete(incomplete: str) -> Iterator[str]:
        before, comma, begun = incomplete.rpartition(",")
        for name in sorted(names()):
            if name.startswith(begun.casefold()):
                yield f"{before}{comma}{name}"

    return complete


def _codecs() -> Iterable[str]:
    return [point.name for point in entry_points(group="lic_bench.codecs")]


def _datasets() -> Iterable[str]:
    from lic_bench.images.manifest import manifests

    return manifests()


def _metrics() -> Iterable[str]:
    return [point.name for point in entry_points(group="lic_bench.metrics")]


def _qualities() -> Iterable[str]:
    from lic_bench.metric.quality import QUALITIES

    return [*QUALITIES, *(name for name in _metrics() if name != "default")]


complete_codecs = _last(_codecs)
complete_datasets = _last(_datasets)
complete_metrics = _last(_metrics)
"""Those that can be measured."""
complete_qualities = _last(_qualities)
"""Those that figures and tables show."""
