"""What a run is to measure: everything checked, nothing measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.codec.points import parse_points
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError
from lic_bench.execution.figures import Asked, asked, states
from lic_bench.execution.measure import Task
from lic_bench.images.dataset import Dataset, ImageFile, load_dataset, some_of
from lic_bench.metric import registry as metric_registry
from lic_bench.metric.base import Metric
from lic_bench.metric.registry import DEFAULT
from lic_bench.plugins.identity import identity
from lic_bench.store.records import Key, ScoreState


@dataclass(frozen=True)
class Plan:
    """What a run is to measure: everything checked, nothing measured."""

    datasets: tuple[Dataset, ...]
    codecs: Mapping[str, Codec]
    """By spec."""
    points: Mapping[str, tuple[Point, ...]]
    """By spec."""
    device: str
    plugins: tuple[Path, ...]
    metrics: Mapping[str, Metric]
    """By spec."""

    @cached_property
    def identities(self) -> dict[str, str]:
        """What each spec's codec is made of."""
        return {spec: identity(codec) for spec, codec in self.codecs.items()}

    @cached_property
    def asked(self) -> tuple[Asked, ...]:
        """The metrics as tasks ask for them."""
        return asked(self.metrics)

    @cached_property
    def scores(self) -> tuple[ScoreState, ...]:
        """What the values of the metrics are kept under."""
        return states(self.metrics)

    def tasks(self) -> Iterator[tuple[Key, Task]]:
        """Every measurement once, image by image, so that a worker keeps its image.

        Those of codecs that take batches come last, point by point.
        """
        alone = [setting for setting in self._settings.values() if setting.batch_size == 1]
        batches = [setting for setting in self._settings.values() if setting.batch_size > 1]
        images = self._images.values()
        pairs = chain(
            product(images, alone),
            ((image, setting) for setting, image in product(batches, images)),
        )
        for image, setting in pairs:
            yield self.task(image, setting.codec, setting.point)

    def task(self, image: ImageFile, spec: str, point: Point) -> tuple[Key, Task]:
        """A measurement with one of the codecs, at any operating point."""
        identity, codec = self.identities[spec], self.codecs[spec]
        key = Key(image.key, identity, point_text(point))
        return key, Task(
            image=image,
            codec=spec,
            identity=identity,
            point=point,
            batch_size=codec.batch_size,
            plugins=self.plugins,
            device=self.device,
            metrics=self.asked,
            on_gpu={codec.device, self.device} != {"cpu"},
        )

    def __len__(self) -> int:
        """How many measurements there are in it."""
        return len(self._images) * len(self._settings)

    def __contains__(self, key: Key) -> bool:
        """Whether a measurement is one of those."""
        return key.image_key in self._images and (key.identity, key.point) in self._settings

    def count(self, identity: str) -> int:
        """How many measurements there are of a codec."""
        return len(self._images) * sum(own == identity for own, _ in self._settings)

    def searching(self, given: Mapping[str, Sequence[str]]) -> Plan:
        """The same without the operating points that a search needs not, as nobody gave them."""
        points = {
            spec: () if codec.point_range and not {spec, ""} & set(given) else self.points[spec]
            for spec, codec in self.codecs.items()
        }
        return replace(self, points=points)

    def with_metrics(self, specs: Iterable[str]) -> Plan:
        """The same with these metrics; see `metric.registry.metrics` for errors."""
        return replace(self, metrics=metric_registry.metrics(specs, self.plugins))

    @property
    def devices(self) -> set[str]:
        """Where codecs run and metrics are computed."""
        return {self.device, *(codec.device for codec in self.codecs.values())}

    @cached_property
    def _images(self) -> dict[str, ImageFile]:
        """The images of all data sets, equal ones once."""
        images: dict[str, ImageFile] = {}
        for image in chain.from_iterable(dataset.images for dataset in self.datasets):
            images.setdefault(image.key, image)
        return images

    @cached_property
    def _settings(self) -> dict[tuple[str, str], _Setting]:
        """The codecs at their points, those once that two specs spell differently."""
        settings: dict[tuple[str, str], _Setting] = {}
        for spec, own in self.identities.items():
            for point in self.points[spec]:
                setting = _Setting(spec, own, point, self.codecs[spec].batch_size)
                settings.setdefault((own, point_text(point)), setting)
        return settings


class _Setting(NamedTuple):
    """A codec at an operating point."""

    codec: str
    identity: str
    point: Point
    batch_size: int


def plan(
    codecs: Sequence[str],
    datasets: Sequence[str],
    *,
    points: Mapping[str, Sequence[str]] | None = None,
    device: str = "cpu",
    plugins: Iterable[str | Path] = (),
    metrics: Sequence[str] = (),
    images: int | None = None,
) -> Plan:
    """Check what is asked for, before any work is done; see `lic_bench.run` for the rest.

    The default metrics are of every run: by its squared error a picture is known again.
    Whether there are the devices is left to `workers_for`: they may be elsewhere.
    """
    if not codecs or not datasets:
        raise SpecError("a run needs a codec and a data set, as in --codecs jpeg --dataset sample")
    files = tuple(Path(plugin).resolve() for plugin in plugins)
    registry = Registry(files)
    by_spec = {spec: registry.codec(spec) for spec in map(registry.spec, codecs)}
    points = {spec and registry.spec(spec): texts for spec, texts in (points or {}).items()}
    if images is not None and images < 1:
        raise SpecError("a run needs at least one image of each data set")
    loaded = tuple(load_dataset(dataset) for dataset in dict.fromkeys(datasets))
    if images is not None:
        loaded = tuple(some_of(dataset, images) for dataset in loaded)
    names = [dataset.name for dataset in loaded]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two data sets are called {name!r}; call one otherwise: NAME=PATH")
    measured_by = metric_registry.metrics([DEFAULT, *metrics], files)
    return Plan(loaded, by_spec, _points(by_spec, points), device, files, measured_by)


def _points(
    codecs: Mapping[str, Codec], texts: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Point, ...]]:
    for spec in texts:
        if spec and spec not in codecs:
            raise SpecError(f"points are given for {spec!r}, which is none of the run's codecs")
    points = {}
    for spec, codec in codecs.items():
        chosen = texts.get(spec, texts.get(""))
        own: object = codec.points
        if isinstance(own, str) or not (isinstance(own, Sequence) and own):
            raise SpecError(
                f"{spec}: its points are no tuple such as (10, 50, 90), but {own!r:.60}"
            )
        points[spec] = tuple(codec.points if chosen is None else parse_points(codec, chosen))
        if chosen is None:  # those that were typed are checked where they are read
            for point in codec.points:
                codec.check_point(point)
    return points
