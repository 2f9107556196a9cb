"""A run: the plan, less what the store remembers, is the work.

An interrupted run therefore resumes, a second run costs nothing, a new codec costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench import metrics, provenance
from lic_bench.codec import Codec, Point, parse_points, point_text
from lic_bench.dataset import Dataset, ImageFile, load_dataset
from lic_bench.errors import SpecError
from lic_bench.measure import Task, check_device
from lic_bench.registry import Registry, identity
from lic_bench.store import FILE_NAME, Key, Store
from lic_bench.workers import cores, measure_all

if TYPE_CHECKING:
    import pandas as pd


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

    def identities(self) -> dict[str, str]:
        """What each spec's codec is made of."""
        return {spec: identity(codec) for spec, codec in self.codecs.items()}

    def tasks(self) -> dict[Key, Task]:
        """Every measurement once, image by image, so that a worker keeps its image.

        Those of codecs that take batches come last, point by point.
        """
        tasks: dict[Key, Task] = {}
        identities = self.identities()

        def add(image: ImageFile, spec: str, point: Point) -> None:
            size = self.codecs[spec].batch_size
            task = Task(image, spec, identities[spec], point, size, self.plugins, self.device)
            tasks.setdefault(Key(image.key, task.identity, point_text(point)), task)

        images = [image for dataset in self.datasets for image in dataset.images]
        alone = {spec for spec, codec in self.codecs.items() if codec.batch_size == 1}
        for image, spec in product(images, self.points):
            if spec in alone:
                for point in self.points[spec]:
                    add(image, spec, point)
        for spec, points in self.points.items():
            if spec not in alone:
                for point, image in product(points, images):
                    add(image, spec, point)
        return tasks


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    planned: int
    """Measurements in the plan."""
    remembered: int
    """Those of them that the store held before."""
    done: int = 0
    """Those that this run has made, failed ones included."""
    failed: int = 0
    latest: Task | None = None


def run(
    codecs: Sequence[str],
    datasets: Sequence[str] = ("sample",),
    *,
    out: str | Path = "results/mine",
    points: Mapping[str, Sequence[str]] | None = None,
    jobs: int | None = None,
    device: str = "cpu",
    plugins: Iterable[str | Path] = (),
) -> pd.DataFrame:
    """Measure codecs on data sets, and keep what was measured.

    What the folder's store holds already is not measured again. A measurement that fails is a row
    with its error, and is tried again by the next run.

    Parameters
    ----------
    codecs
        Specs, such as ``jpeg:subsampling=4:4:4``.
    datasets
        Names of known data sets, or paths of folders or images; see `load_dataset`.
    out
        The folder of the store, made where there is none.
    points
        Operating points by spec, as they are typed; under ``""`` those of all other codecs.
        By default each codec's own.
    jobs
        Worker processes; by default one for each core.
    device
        Where the metrics are computed: ``cpu``, ``cuda``, ``cuda:1``.
    plugins
        Python files that hold further codecs.

    Returns
    -------
    The measurements, one row for each image, codec and operating point;
    `lic_bench.measurements` explains the columns.

    Raises
    ------
    LicBenchError
        Where something does not exist or cannot be used here, or the store cannot be written.
    """
    planned = plan(codecs, datasets, points=points, device=device, plugins=plugins)
    return execute(planned, Path(out), jobs=jobs)


def plan(
    codecs: Sequence[str],
    datasets: Sequence[str],
    *,
    points: Mapping[str, Sequence[str]] | None = None,
    device: str = "cpu",
    plugins: Iterable[str | Path] = (),
) -> Plan:
    """Check what is asked for, before any work is done; see `run` for the parameters and errors."""
    if not codecs or not datasets:
        raise SpecError("a run needs a codec and a data set, as in --codecs jpeg --dataset sample")
    files = tuple(Path(plugin).resolve() for plugin in plugins)
    check_device(device)
    registry = Registry(files)
    made = {spec: registry.codec(spec) for spec in codecs}
    for codec in made.values():
        check_device(codec.device)
    loaded = tuple(load_dataset(dataset) for dataset in dict.fromkeys(datasets))
    names = [dataset.name for dataset in loaded]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two data sets are called {name!r}; call one otherwise: NAME=PATH")
    return Plan(loaded, made, _points(made, points or {}), device, files)


def execute(
    plan: Plan,
    out: Path,
    *,
    jobs: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> pd.DataFrame:
    """Do the work of a plan that is not done yet, and keep it in a folder's store.

    Parameters
    ----------
    out
        The folder, made where there is none.
    jobs
        Worker processes; by default one for each core.
    report
        Called before the first measurement and after each.

    Returns
    -------
    All measurements of the plan's data sets and codecs.

    Raises
    ------
    StoreError
        Where the store cannot be opened or written. What was measured before stays.
    """
    with Store(out / FILE_NAME) as store:
        measured = store.measured(metrics.VERSION)
        outdated = store.outdated(metrics.VERSION)
        tasks = plan.tasks()
        work = [(key, task) for key, task in tasks.items() if key not in measured]
        jobs = max(1, min(jobs or cores(), len(work)))
        run = store.begin(_provenance(plan, jobs), plan.datasets, plan.identities())
        progress = Progress(planned=len(tasks), remembered=len(tasks) - len(work))
        report(progress)

        def complete(key: Key, task: Task) -> Task:
            return replace(task, kept=store.kept(key)) if key in outdated else task

        for key, task, measurement in measure_all(work, jobs, complete) if work else ():
            store.add(run, key, measurement)
            progress = replace(
                progress,
                done=progress.done + 1,
                failed=progress.failed + (measurement.error is not None),
                latest=task,
            )
            report(progress)
        store.finish(run)
        from lic_bench import measurements  # brings pandas: not before the workers have begun

        frame = measurements.frame(store)
    names = [dataset.name for dataset in plan.datasets]
    return frame[frame.dataset.isin(names) & frame.codec.isin(list(plan.codecs))]


def _points(
    codecs: Mapping[str, Codec], texts: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Point, ...]]:
    for spec in texts:
        if spec and spec not in codecs:
            raise SpecError(f"points are given for {spec!r}, which is none of the run's codecs")
    points = {}
    for spec, codec in codecs.items():
        chosen = texts.get(spec, texts.get(""))
        points[spec] = tuple(codec.points if chosen is None else parse_points(codec, chosen))
        if chosen is None:  # those that were typed are checked where they are read
            for point in codec.points:
                codec.check_point(point)
    return points


def _provenance(plan: Plan, jobs: int) -> dict[str, object]:
    return {
        "command": provenance.command(),
        **provenance.machine(),
        "device": plan.device,
        "gpu": provenance.gpu(plan.device),
        "jobs": jobs,
        "datasets": {dataset.name: dataset.digest for dataset in plan.datasets},
        "codecs": plan.identities(),
        "plugins": [str(path) for path in plan.plugins],
    }
