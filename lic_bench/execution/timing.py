"""Speed, measured as it should be: alone, warmed up, repeated, interleaved, its threads stated.

Every codec has a fresh process of its own (`stopwatch`), pinned to as many cores as it may have
threads, and only one of them works at a time. After a pass that is not counted, each image
is encoded and decoded several times; within a repetition the codecs take turns, in an order that is
drawn anew for each image, so that what disturbs the machine for a while disturbs them all alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.execution import provenance
from lic_bench.execution.faults import FaultError
from lic_bench.execution.runner import Limits, Request, Runner, Value
from lic_bench.execution.stopwatch import CodeOnce, CountMacs, CountMemory, TimedSubject, TimeOnce
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metric.quality import QUALITIES, Quality, metric_named
from lic_bench.metrics.builtin import image_metrics

BUSY = 0.5
"""A load average above which something else is at work."""


@dataclass(frozen=True)
class Entry:
    """What is timed: a codec at an operating point. `str()` gives "jpeg 50"."""

    spec: str
    point: Point

    def __str__(self) -> str:
        return f"{self.spec} {point_text(self.point)}".strip()


@dataclass(frozen=True)
class Timing:
    """What was measured."""

    summary: pd.DataFrame
    """One row for each codec and operating point; see `summarise`."""
    samples: pd.DataFrame = field(repr=False)
    """Every measurement: codec, point, image, repetition, encode_s, decode_s."""
    conditions: Mapping[str, object]
    """Machine, threads, load, command."""
    problems: tuple[str, ...] = ()
    """Which codecs failed, and why."""


def load_average() -> float:
    """How many processes worked, or waited for a core, in the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan


def schedule(
    entries: Sequence[Entry], images: int, repeats: int, seed: int = 0
) -> Iterator[tuple[int, int, Entry]]:
    """The order of measurements: repetition, image, entry.

    Randomised blocks: of each image in each repetition all entries, in an order of its own.
    """
    rng = np.random.default_rng(seed)
    for repetition, image in product(range(repeats), range(images)):
        for index in rng.permutation(len(entries)):
            yield repetition, image, entries[index]


def matched(quality: Callable[[Point], float], points: Sequence[Point], target: float) -> Point:
    """The operating point whose quality is nearest to the target; quality rises with the points."""
    low, high = 0, len(points) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if quality(points[middle]) < target:
            low = middle
        else:
            high = middle
    return min((points[low], points[high]), key=lambda point: abs(quality(point) - target))


def time_codecs(
    codecs: Mapping[str, Codec],
    images: Sequence[ImageFile],
    *,
    points: Mapping[str, Sequence[Point]] | None = None,
    match: tuple[str, float] = ("psnr_rgb", 32.0),
    repeats: int = 5,
    threads: int = 1,
    plugins: Sequence[Path] = (),
    report: Callable[[int, int], None] = lambda done, planned: None,
) -> Timing:
    """Time codecs on images, one image at a time.

    Parameters
    ----------
    codecs
        By spec.
    points
        Operating points by spec. Where a codec has none here, the one of its own whose mean
        quality over the images is nearest to `match` is found.
    match
        A name in `quality.QUALITIES` and its value in dB.
    threads
        How many a codec may have; it is held to as many cores.
    plugins
        Python files that hold further codecs.
    report
        Called with the measurements made, and those planned.

    Raises
    ------
    SpecError
        Where there is no such metric, or there are fewer cores than threads.
    UndefinedError
        Where no codec could be timed.
    """
    metric = metric_named(match[0])
    check_known("metric that times are taken at", metric.name, QUALITIES)
    _check_threads(threads)
    conditions = _conditions(threads, repeats)
    originals = [file.cropped(read_image(file.path)) for file in images]
    session = _Session(tuple(plugins), tuple(images), threads)
    entries = []
    with closing(session):
        for spec, codec in codecs.items():
            given = (points or {}).get(spec)
            if given is None:
                given = session.match(spec, codec.points, originals, metric, match[1])
            entries += [Entry(spec, point) for point in given]
        once = {entry: session.first(entry) for entry in entries}
        samples, planned = [], len(entries) * len(images) * repeats
        for repetition, image, entry in schedule(entries, len(images), repeats):
            seconds = session.ask(entry, TimeOnce(session.subject(entry), image, entry.point))
            if seconds is not None:
                samples.append((entry, image, repetition, *seconds))
            report(len(samples), planned)
        memory, macs = {}, {}
        for entry in entries:
            subject = session.subject(entry)
            memory[entry] = session.ask(entry, CountMemory(subject))
            macs[entry] = session.ask(entry, CountMacs(subject, 0, entry.point))

    kept = [entry for entry in entries if entry not in session.problems]
    problems = tuple(f"{entry}: {why}" for entry, why in session.problems.items())
    if not kept:
        raise UndefinedError("no codec could be timed: " + "; ".join(problems))
    pixels = [image.shape[0] * image.shape[1] for image in originals]
    table = pd.DataFrame(
        [
            (entry.spec, point_text(entry.point), images[i].name, pixels[i], *figures)
            for entry, i, *figures in samples
            if entry in kept
        ],
        columns=["codec", "point", "image", "pixels", "repetition", "encode_s", "decode_s"],
    )
    others = pd.DataFrame(
        {
            "codec": entry.spec,
            "point": point_text(entry.point),
            "bpp": np.mean([8 * len(s) / n for (s, _), n in zip(once[entry], pixels, strict=True)]),
            metric.value: _quality(metric, originals, once[entry]),
            **_megabytes(memory[entry]),
            **_kilomacs(macs[entry], pixels[0]),
            "device": codecs[entry.spec].device,
            "threads": threads,
            "repeats": repeats,
            "images": len(images),
        }
        for entry in kept
    )
    # The random order of the measurements is not that of the request.
    summary = others[["codec", "point", "bpp", metric.value]].merge(summarise(table))
    return Timing(summary.merge(others), table, conditions, problems)


def summarise(samples: pd.DataFrame) -> pd.DataFrame:
    """Put repetitions and images together: one row for each codec and operating point.

    `encode_s` and `decode_s` are seconds for an image: the mean over the images of the median over
    the repetitions; `encode_mp_s` and `decode_mp_s` megapixels a second, by the same medians;
    `encode_mad_percent` and `decode_mad_percent` the median deviation of a repetition from its
    image's median, in per cent of this (NaN for one repetition).
    """
    rows = []
    for (codec, point), group in samples.groupby(["codec", "point"], sort=False):
        row: dict[str, object] = {"codec": codec, "point": point}
        by_image = group.groupby("image", sort=False)
        for what in ("encode", "decode"):
            seconds = group[f"{what}_s"]
            medians = by_image[f"{what}_s"].median()
            own = by_image[f"{what}_s"].transform("median")
            spread = 100 * float((seconds / own - 1).abs().median())
            row |= {
                f"{what}_s": medians.mean(),
                f"{what}_mad_percent": spread if group["repetition"].nunique() > 1 else np.nan,
                f"{what}_mp_s": by_image["pixels"].first().sum() / 1e6 / medians.sum(),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _megabytes(memory: tuple[float | None, float | None] | None) -> dict[str, float]:
    names = ("peak_memory_mb", "gpu_memory_mb")
    return {
        name: math.nan if size is None else size / 1e6
        for name, size in zip(names, memory or (None, None), strict=True)
    }


def _kilomacs(macs: tuple[float, float] | None, pixels: int) -> dict[str, float]:
    names = ("encode_kmacs_per_pixel", "decode_kmacs_per_pixel")
    counts = macs or (math.nan, math.nan)
    return {name: count / 1e3 / pixels for name, count in zip(names, counts, strict=True)}


def _quality(
    metric: Quality, originals: Sequence[Image], pairs: Sequence[tuple[bytes, Image]]
) -> float:
    """The metric over all images, in dB."""
    values, weights = [], []
    for original, (_, decoded) in zip(originals, pairs, strict=True):
        value = image_metrics(original, decoded)[metric.images]
        if value is None:
            raise SpecError(f"an image is too small for {metric.name}: match another metric")
        values.append(value)
        weights.append(original.shape[0] * original.shape[1] if metric.pooled else 1)
    return float(metric.from_mean(np.asarray(np.average(values, weights=weights))))


def _check_threads(threads: int) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not 1 <= threads <= (cores or 1):
        raise SpecError(f"{threads} threads cannot be had: this machine lends 1 to {cores} cores")


def _conditions(threads: int, repeats: int) -> dict[str, object]:
    return {
        "command": provenance.command(),
        **provenance.machine(),
        "threads": threads,
        "repeats": repeats,
        "load_average": load_average(),
    }


class _Session:
    """The processes of all entries. One that fails is left out from there on; the others go on."""

    def __init__(
        self, plugins: tuple[Path, ...], images: tuple[ImageFile, ...], threads: int
    ) -> None:
        self.problems: dict[Entry, str] = {}
        self._plugins, self._images, self._threads = plugins, images, threads
        self._runners: dict[Entry, Runner] = {}

    def subject(self, entry: Entry) -> TimedSubject:
        """What an entry's process is asked about."""
        return TimedSubject(entry.spec, self._plugins, self._images, self._threads)

    def ask(self, entry: Entry, request: Request[Value]) -> Value | None:
        """What an entry's process answers; nothing where it has failed."""
        if entry in self.problems:
            return None
        try:
            if entry not in self._runners:
                self._runners[entry] = self._start()
            return self._runners[entry].ask(request)
        except FaultError as fault:
            self.problems[entry] = str(fault)
            return None

    def first(self, entry: Entry) -> list[tuple[bytes, Image]]:
        """Bitstreams and decoded images of the pass that warms up; some are missing if it fails."""
        requests = [
            CodeOnce(self.subject(entry), index, entry.point) for index in range(len(self._images))
        ]
        pairs = [self.ask(entry, request) for request in requests]
        return [pair for pair in pairs if pair is not None]

    def match(
        self,
        spec: str,
        points: Sequence[Point],
        originals: Sequence[Image],
        metric: Quality,
        target: float,
    ) -> list[Point]:
        """The operating point to be timed, found in a process that ends with the search."""
        if len(points) == 1:
            return list(points)
        searching = Entry(spec, points[0])
        subject = self.subject(searching)

        @cache
        def quality(point: Point) -> float:
            requests = [CodeOnce(subject, index, point) for index in range(len(originals))]
            return _quality(metric, originals, [runner.ask(request) for request in requests])

        with closing(self._start()) as runner:
            try:
                return [matched(quality, points, target)]
            except FaultError as fault:
                self.problems[searching] = str(fault)
                return []

    def _start(self) -> Runner:
        return Runner(Limits(threads=self._threads))

    def close(self) -> None:
        """End the processes."""
        for runner in self._runners.values():
            runner.close()
