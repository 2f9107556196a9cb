"""What metrics say of a decoded picture, and what becomes of those that fail.

A metric is asked for by its spec, and made anew where it is wanted. What it raises costs its own
figures alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lic_bench.errors import UnavailableError
from lic_bench.execution.faults import OutOfMemoryError, lacks_memory
from lic_bench.images.image import Image
from lic_bench.metric.base import Comparison, Metric, Value, scores_of
from lic_bench.metric.registry import DEFAULT, MetricRegistry
from lic_bench.plugins.identity import changes, identity
from lic_bench.plugins.spec import parse_spec
from lic_bench.printable import reason
from lic_bench.store.records import ScoreState


class Asked(NamedTuple):
    """A metric that is wanted, in a form that travels to another process."""

    spec: str
    identity: str
    """What it must be: another one than planned does not measure under its name."""
    columns: tuple[str, ...]
    """Of its figures."""


def asked(metrics: Mapping[str, Metric]) -> tuple[Asked, ...]:
    """Metrics, by spec, as they are asked for."""
    return tuple(
        Asked(spec, identity(metric), tuple(score.column for score in scores_of(metric)))
        for spec, metric in metrics.items()
    )


def states(metrics: Mapping[str, Metric]) -> tuple[ScoreState, ...]:
    """What the values of metrics are kept under."""
    return tuple(
        ScoreState(score, own)
        for metric in metrics.values()
        for own in [identity(metric)]
        for score in scores_of(metric)
    )


@dataclass(frozen=True)
class Figures:
    """What metrics say of a picture."""

    values: dict[str, Value]
    """By column."""
    errors: dict[str, str]
    """By column: why there is no value."""


class References:
    """An original, and what metrics need of it, computed once.

    Parameters
    ----------
    plugins
        Files that hold further metrics.
    device
        For those that can run on a GPU.
    """

    def __init__(self, image: Image, plugins: tuple[Path, ...] = (), device: str = "cpu") -> None:
        self.image = image
        self._plugins, self._device = plugins, device
        self._prepared: dict[Asked, Comparison] = {}

    def figures(self, wanted: Sequence[Asked], picture: Image, given_up: str = "") -> Figures:
        """Compare a picture with the original.

        Parameters
        ----------
        picture
            uint8, of the original's shape.
        given_up
            Why metrics beside those of every run are not to be tried; then they fail with this.

        Raises
        ------
        OutOfMemoryError
            Where there was no memory for it.
        """
        picture = picture.view()  # a metric may remember what it made of an image, by its identity
        picture.flags.writeable = False
        found = Figures({}, {})
        for metric in wanted:
            if given_up and not is_trusted(metric):
                found.errors.update(dict.fromkeys(metric.columns, given_up))
                continue
            try:
                found.values.update(self._comparison(metric).compare(picture))
            except BaseException as error:  # noqa: BLE001 - a metric may raise anything
                if lacks_memory(error):
                    error.__traceback__ = None  # it may hold what there is no memory for
                    raise OutOfMemoryError(reason(error)) from None
                found.errors.update(dict.fromkeys(metric.columns, reason(error)))
        return found

    def _comparison(self, wanted: Asked) -> Comparison:
        if wanted not in self._prepared:
            reference = self.image.view()
            reference.flags.writeable = False
            metric = _metric(wanted, self._plugins, self._device)
            self._prepared[wanted] = Comparison(metric, reference)
        return self._prepared[wanted]


def is_trusted(metric: Asked) -> bool:
    """Whether it is that of every run, which faults are not laid to."""
    return metric.spec == DEFAULT


def columns_of(metrics: Iterable[Asked]) -> list[str]:
    """The columns of all their figures."""
    return [column for metric in metrics for column in metric.columns]


@lru_cache(maxsize=32)
def _metric(wanted: Asked, plugins: tuple[Path, ...], device: str) -> Metric:
    """A metric, known to be what was planned."""
    registry = MetricRegistry()
    if parse_spec(wanted.spec).name not in registry.names():
        registry = MetricRegistry(plugins)
    metric = registry.make(wanted.spec)
    present = identity(metric)
    if present != wanted.identity:
        raise UnavailableError(
            f"the metric is not what was planned: {changes(wanted.identity, present)}"
        )
    if metric.on_gpu:
        metric.device = device
    return metric
