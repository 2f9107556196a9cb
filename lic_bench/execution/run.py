"""A run: the plan, less what the store remembers, is the work.

An interrupted run therefore resumes, a second run costs nothing, a new codec costs only itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench.codec.base import point_text
from lic_bench.errors import SpecError
from lic_bench.execution import provenance
from lic_bench.execution.figures import columns_of
from lic_bench.execution.measure import Task
from lic_bench.execution.memory import most_memory_gb
from lic_bench.execution.plan import Plan
from lic_bench.execution.runner import USUAL_LIMITS, Limits, cores
from lic_bench.execution.updates import updates
from lic_bench.execution.workers import Processes, Workers
from lic_bench.metric.device import check_device
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.records import Key, Measurement

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("measurements.parquet", "measurements.csv")
"""The files with all measurements of a folder, which every run leaves beside the store."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    planned: int
    """Measurements in the plan."""
    remembered: int
    """Those of them that the store held before."""
    done: int = 0
    """Those of this run, failed ones included."""
    failed: int = 0
    latest: Task | None = None
    updates: tuple[str, ...] = ()
    """What has changed since the runs before, and is measured anew; see `execution.updates`."""

    def after(self, task: Task, measurement: Measurement) -> Progress:
        """How far it has come with one measurement more."""
        failed = self.failed + bool(measurement.error or measurement.metric_errors)
        return replace(self, done=self.done + 1, failed=failed, latest=task)


def workers_for(
    plan: Plan,
    *,
    jobs: int | None = None,
    timeout_s: float = USUAL_LIMITS.timeout_s,
    memory_gb: float | None = None,
    scheduler: str | None = None,
    insecure_scheduler: bool = False,
) -> Workers:
    """Who is to measure a plan: processes of this machine, or a cluster.

    Parameters
    ----------
    memory_gb
        By default most of the machine's memory, so that a codec that eats it fails before the
        system kills a process of its choice; no limit where a GPU is used, whose driver is known to
        reserve far more than it takes, and none on a cluster, whose machines are not known here.

    Raises
    ------
    SpecError
        Where a limit is negative, or not a number.
    UnavailableError
        Where a device is not there.
    """
    if memory_gb is None:
        memory_gb = most_memory_gb() if plan.devices == {"cpu"} and not scheduler else 0
    for what, limit in (("time", timeout_s), ("memory", memory_gb)):
        if not 0 <= limit < math.inf:
            raise SpecError(f"{limit:g} is no limit of {what}; 0 stands for none")
    limits = Limits(timeout_s, memory_gb)
    if scheduler:
        from lic_bench.execution.cluster import Cluster

        return Cluster(scheduler, limits, insecure_scheduler)
    for device in plan.devices:
        check_device(device)
    return Processes(jobs or cores(), limits)


def execute(
    plan: Plan,
    out: Path,
    *,
    workers: Workers | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> pd.DataFrame:
    """Do the work of a plan that is not done yet, and keep it in a folder's store and tables.

    Parameters
    ----------
    out
        The folder, made where there is none.
    workers
        Who measures; by default a process for each core. See `workers_for`.
    report
        Called before the first measurement and after each.

    Returns
    -------
    All measurements of the plan's data sets and codecs.

    Raises
    ------
    StoreError
        Where the store cannot be opened or written, or a name stands for other images in it. What
        was measured before stays.
    OutputError
        Where the tables cannot be written.
    """
    workers = workers or workers_for(plan)
    with Store(out / FILE_NAME) as store:
        carry_out(plan, store, workers, report)
        return results(plan, store)


def carry_out(
    plan: Plan, store: Store, workers: Workers, report: Callable[[Progress], None]
) -> None:
    """Do the work of a plan that a store does not remember; see `execute`."""
    known = Counter(key.identity for key in store.measured(plan.scores) if key in plan)
    changed = tuple(updates(plan, store, known))
    run = store.begin(provenance_of(plan, workers), plan.datasets, plan.identities, plan.scores)
    progress = Progress(planned=len(plan), remembered=known.total(), updates=changed)
    report(progress)
    work = unmeasured(store, plan, plan.tasks())
    for task, measurement in measured(store, run, work, len(plan) - known.total(), workers):
        progress = progress.after(task, measurement)
        report(progress)
    store.finish(run)


def results(plan: Plan, store: Store) -> pd.DataFrame:
    """Write all measurements of a store beside it, and give those of a plan's data sets and codecs.

    Raises
    ------
    OutputError
        Where the tables cannot be written.
    """
    frame = write_tables(store)
    names = [dataset.name for dataset in plan.datasets]
    return frame[frame.dataset.isin(names) & frame.codec.isin(list(plan.codecs))]


def write_tables(store: Store) -> pd.DataFrame:
    """Write all measurements of a store beside it, and give them; see `results`."""
    from lic_bench.store import (
        table as measurements,  # brings pandas: not before the workers have begun
    )

    frame = measurements.frame(store)
    for name in TABLES:
        measurements.export(frame, store.path.with_name(name))
    return frame


def unmeasured(
    store: Store, plan: Plan, tasks: Iterable[tuple[Key, Task]]
) -> Iterator[tuple[Key, Task]]:
    """Those of a plan's tasks that a store does not remember, looked up as they are wanted.

    What another run adds meanwhile is thus not done again. A bitstream that needs some metrics only
    goes with its task.
    """
    for key, task in tasks:
        missing = store.missing(key, plan.scores)
        if missing is None:
            yield key, task
        elif missing:
            metrics = tuple(one for one in task.metrics if missing.intersection(one.columns))
            yield key, replace(task, kept=store.kept(key), metrics=metrics)


def measured(
    store: Store, run: int, work: Iterable[tuple[Key, Task]], count: int, workers: Workers
) -> Iterator[tuple[Task, Measurement]]:
    """Have measurements made, and give each as soon as it is in the store.

    Parameters
    ----------
    run
        The run's number in the store.
    work
        Drawn upon as workers become free, so that it may be long.
    count
        How many there are, or a few more.
    workers
        Who makes them; see `workers_for`.
    """
    if count:
        for key, task, measurement in workers.measure_all(work, count):
            if task.kept is None:
                store.add(run, key, measurement)
            else:  # what is known of it stays: the metrics alone may have failed
                if measurement.error is not None:
                    why = dict.fromkeys(columns_of(task.metrics), measurement.error)
                    measurement = replace(task.kept, metrics={}, metric_errors=why)
                store.add_scores(key, measurement)
            yield task, measurement


def provenance_of(plan: Plan, workers: Workers) -> dict[str, object]:
    """What is remembered of a run: how to do it again, where it was done, and what it planned."""
    return {
        "command": provenance.command(),
        **provenance.machine(),
        "device": plan.device,
        "gpu": provenance.gpu(plan.device),
        "workers": str(workers),
        "datasets": {dataset.name: dataset.digest for dataset in plan.datasets},
        "codecs": plan.identities,
        "metrics": list(plan.metrics),
        "points": {spec: list(map(point_text, points)) for spec, points in plan.points.items()},
        "plugins": [str(path) for path in plan.plugins],
    }
