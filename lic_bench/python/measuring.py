"""`run`, `match`, `time`: what measures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lic_bench.execution import run as running
from lic_bench.execution.plan import plan
from lic_bench.execution.runner import USUAL_LIMITS
from lic_bench.metric.quality import metrics_of_targets
from lic_bench.python.codecs import Named, listed, named
from lic_bench.python.points import Points, as_numbers, typed

if TYPE_CHECKING:
    from lic_bench.execution.run import Progress
    from lic_bench.execution.timing import Timing


def run(
    codecs: Named | Iterable[Named],
    datasets: str | Path | Iterable[str | Path] = "sample",
    *,
    out: str | Path = "results/mine",
    points: Points | None = None,
    match: str | Iterable[str] = (),
    images: int | None = None,
    metrics: str | Iterable[str] = (),
    plugins: str | Path | Iterable[str | Path] = (),
    jobs: int | None = None,
    device: str = "cpu",
    timeout_s: float = USUAL_LIMITS.timeout_s,
    memory_gb: float | None = None,
    scheduler: str | None = None,
    insecure_scheduler: bool = False,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Measure codecs on data sets, and keep what was measured.

    What the folder's store holds already is not measured again. A measurement that fails is a row
    with its error, and is tried again by the next run.

    Parameters
    ----------
    codecs
        Specs, such as ``"jpeg:subsampling=4:4:4"``; or codecs of your own, as instances or classes,
        those of a notebook's cell too. One, or several.
    datasets
        Names of known data sets, or paths of folders or images; see `load_dataset`.
    out
        The folder of the store, made where there is none; the measurements are left there as
        Parquet and CSV, too.
    points
        Operating points of all codecs, ``[10, 50, 90]``, or by spec, ``{"jpeg": [10, 50, 90]}``.
        By default each codec's own.
    match
        Targets, such as ``"bpp=0.25"`` or ``"psnr_rgb=32"``: the operating point of each image
        that meets one is searched, too. A metric that one names is computed.
    images
        Only so many of each data set, evenly chosen; the data set is then called ``kodak-4of24``.
    metrics
        Specs of metrics beside the default ones, such as ``("ssimulacra2", "vif")``; ``lic-bench
        metrics`` lists them.
    plugins
        Python or TOML files that hold further codecs and metrics.
    jobs
        Worker processes; by default one for each core.
    device
        Where the metrics are computed: ``cpu``, ``cuda``, ``cuda:1``.
    timeout_s
        How long an encode or a decode may take; 0: as long as it will.
    memory_gb
        What a process may take, on Linux; 0: what there is. See `execution.run.workers_for`.
    scheduler
        The address of a Dask scheduler whose workers are to measure, instead of processes here.
    insecure_scheduler
        Whether it may be one on another machine without TLS; whoever reaches it, or is on the way
        to it, can then run code here.
    progress
        Whether to show it; by default at a terminal and in a notebook.

    Returns
    -------
    The measurements, one row for each image, codec and operating point;
    `lic_bench.store.table` explains the columns. Points that are numbers are numbers.

    Raises
    ------
    LicBenchError
        Where something does not exist or cannot be used here, or the store cannot be written.
    """
    specs, files = named(codecs, plugins)
    targets = listed(match)
    planned = plan(
        specs,
        listed(datasets),
        points=typed(points),
        device=device,
        plugins=files,
        metrics=[*listed(metrics), *metrics_of_targets(targets)],
        images=images,
    )
    workers = running.workers_for(
        planned,
        jobs=jobs,
        timeout_s=timeout_s,
        memory_gb=memory_gb,
        scheduler=scheduler,
        insecure_scheduler=insecure_scheduler,
    )
    with _shown(progress) as report:
        if targets:
            from lic_bench.execution.matching import match as search
            from lic_bench.metric.targets import parse_target

            wanted = [parse_target(target) for target in targets]
            table = search(planned, wanted, Path(out), workers=workers, report=report)
        else:
            table = running.execute(planned, Path(out), workers=workers, report=report)
    return as_numbers(table)


@contextmanager
def _shown(progress: bool | None) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console

    from lic_bench.cli.console import run_progress

    if progress is None:
        progress = sys.stderr.isatty() or Console().is_jupyter
    with run_progress(quiet=not progress) as report:
        yield report


def time(
    codecs: Named | Iterable[Named],
    dataset: str | Path = "sample",
    *,
    points: Points | None = None,
    match: str = "psnr_rgb=32",
    repeats: int = 5,
    threads: int = 1,
    images: int | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
) -> Timing:
    """Measure speed: alone, warmed up, repeated, codecs in turns; see `lic-bench time`.

    Parameters
    ----------
    codecs, points, plugins
        As those of `run`.
    match
        Of each codec without points, the one nearest to this quality.
    repeats
        How often each image.
    threads
        Of each codec: it is held to as many cores.
    images
        Only so many of the data set.

    Returns
    -------
    Its `summary` is a table of codecs, its `samples` one of every measurement.

    Raises
    ------
    LicBenchError
        Where something does not exist or cannot be used here.
    """
    from lic_bench.codec.points import parse_points
    from lic_bench.codec.registry import Registry
    from lic_bench.execution.timing import time_codecs
    from lic_bench.images.dataset import load_dataset
    from lic_bench.metric.targets import parse_target

    specs, files = named(codecs, plugins)
    registry, texts, target = Registry(files), typed(points), parse_target(match)
    made = {spec: registry.codec(spec) for spec in specs}
    chosen = {
        spec: parse_points(codec, own)
        for spec, codec in made.items()
        if (own := texts.get(spec, texts.get(""))) is not None
    }
    files_of = [image for image in load_dataset(str(dataset)).images if image.error is None]
    return time_codecs(
        made,
        files_of[:images],
        points=chosen,
        match=(target.name, target.value),
        repeats=repeats,
        threads=threads,
        plugins=files,
    )
