"""Which metrics there are, and which of them can be used here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lic_bench.errors import SpecError
from lic_bench.metric import quality
from lic_bench.metric.base import Metric, Score, scores_of
from lic_bench.metric.programs import ProgramMetric, load
from lic_bench.plugins.registry import Entry, PluginRegistry
from lic_bench.plugins.spec import parse_spec

DEFAULT = "default"
"""The metric of the figures of every run."""


class MetricRegistry(PluginRegistry[Metric]):
    """The metrics at hand: those installed, and those of the given plugin files.

    Raises
    ------
    SpecError
        Where a plugin file cannot be loaded, holds nothing, or takes a name that is taken.
    """

    group = "lic_bench.metrics"
    base = Metric
    commands = frozenset({"compare"})

    def _described(self, path: Path) -> type[ProgramMetric]:
        return load(path)

    def metric(self, text: str) -> Metric:
        """Make the metric of a spec; it may be named by one of its figures, as in ``psnr_rgb``.

        Raises
        ------
        SpecError
            Where the spec is wrong.
        UnavailableError
            Where the metric cannot be used here.
        """
        made = self.make(self.spec(text))
        for score in scores_of(made):
            quality.learn(score)
        return made

    def spec(self, text: str) -> str:
        """A spec by the metric's own name: ``default`` for ``psnr``."""
        name = parse_spec(text).name
        return self.name(self._named(name)) + text.removeprefix(name)

    def _named(self, name: str) -> str:
        """The name of the metric that gives a figure of this name; or the name itself."""
        wanted = quality.full_name(name)
        for known in (name, wanted):
            if known in self.names():
                return known
        for entry in self.entries():
            if entry.cls is not None and wanted in {score.name for score in scores_of(entry.cls)}:
                return entry.name
        return name

    def entries(self) -> list[Entry[Metric]]:
        """All that there are."""
        return [self.entry(name) for name in self.names()]

    def scores(self) -> list[Score]:
        """The figures of all metrics here, whether they can be computed here or not."""
        return [
            score
            for entry in self.entries()
            if entry.cls is not None
            for score in scores_of(entry.cls)
        ]


def metrics(specs: Iterable[str], plugins: Iterable[Path] = ()) -> dict[str, Metric]:
    """The metrics of specs, by spec; see `MetricRegistry.metric` for errors.

    Raises
    ------
    SpecError
        Where two give a figure of one name.
    UnavailableError
        Where one lacks what it needs, and that cannot be fetched.
    """
    registry = MetricRegistry(plugins)
    made: dict[str, Metric] = {}
    columns: dict[str, str] = {}
    for text in specs:
        full = registry.spec(text)
        if full in made:
            continue
        made[full] = registry.metric(full)
        made[full].make_ready()
        for score in scores_of(made[full]):
            if score.column in columns:
                raise SpecError(
                    f"{columns[score.column]} and {full} both give {score.name}: take one of them"
                )
            columns[score.column] = full
    return made
