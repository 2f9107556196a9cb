"""Speed, measured as it should be: alone, warmed up, repeated, interleaved, its threads stated.

Every codec has two fresh processes of its own (`stopwatch`), pinned to as many cores as it may have
threads: one encodes, and the other decodes what has come of it, as in a run. Only one of all of
them works at a time. After a pass that is not counted, each image is encoded and decoded several
times; within a repetition the codecs take turns, in an order that is
drawn anew for each image, so that what disturbs the machine for a while disturbs them all alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Concatenate, ParamSpec

import numpy as np
import pandas as pd

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.execution import provenance
from lic_bench.execution.faults import FaultError
from lic_bench.execution.runner import Limits, Runner, Value, end
from lic_bench.execution.stopwatch import (
    CountDecodeMacs,
    CountEncodeMacs,
    CountMemory,
    DecodeOnce,
    TimeDecode,
    TimedSubject,
    TimeEncode,
)
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metric.quality import QUALITIES, Quality, metric_named
from lic_bench.metrics.builtin import image_metrics

Given = ParamSpec("Given")

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
            seconds = session.ask(entry, _Pair.timed, image, entry.point)
            if seconds is not None:
                samples.append((entry, image, repetition, *seconds))
            report(len(samples), planned)
        memory, macs = {}, {}
        for entry in entries:
            memory[entry] = session.ask(entry, _Pair.memory)
            macs[entry] = session.ask(entry, _Pair.macs, entry.point)

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


class _Pair:
    """The two processes of a codec: what one keeps in memory is of no use to the other."""

    def __init__(
        self, spec: str, plugins: tuple[Path, ...], images: tuple[ImageFile, ...], threads: int
    ) -> None:
        self._encoding = TimedSubject(spec, plugins, images, threads)
        self._decoding = replace(self._encoding, images=())
        self._encoder, self._decoder = (Runner(Limits(threads=threads)) for _ in range(2))

    def once(self, index: int, point: Point) -> tuple[bytes, Image]:
        """The bitstream of an image, and what it decodes to."""
        image = self._encoding.images[index]
        stream, _ = self._encoder.ask(TimeEncode(self._encoding, index, point))
        shape = (image.height, image.width, 3)
        return stream, self._decoder.ask(DecodeOnce(self._decoding, stream, shape))

    def timed(self, index: int, point: Point) -> tuple[float, float]:
        """Seconds of encoding an image, and of decoding what has come of it."""
        stream, seconds = self._encoder.ask(TimeEncode(self._encoding, index, point))
        return seconds, self._decoder.ask(TimeDecode(self._decoding, stream))

    def memory(self) -> tuple[float | None, float | None]:
        """What the process that took more of it took, and what it took on its GPU, in bytes."""
        encoder = self._encoder.ask(CountMemory(self._encoding))
        decoder = self._decoder.ask(CountMemory(self._decoding))
        own, gpu = (
            max((size for size in sizes if size is not None), default=None)
            for sizes in zip(encoder, decoder, strict=True)
        )
        return own, gpu

    def macs(self, point: Point) -> tuple[float, float] | None:
        """Multiplications with addition of encoding the first image, and of decoding it."""
        stream, _ = self._encoder.ask(TimeEncode(self._encoding, 0, point))
        encode = self._encoder.ask(CountEncodeMacs(self._encoding, 0, point))
        decode = self._decoder.ask(CountDecodeMacs(self._decoding, stream))
        return None if encode is None or decode is None else (encode, decode)

    def close(self) -> None:
        end([self._encoder, self._decoder])


class _Session:
    """The processes of all entries. One that fails is left out from there on; the others go on."""

    def __init__(
        self, plugins: tuple[Path, ...], images: tuple[ImageFile, ...], threads: int
    ) -> None:
        self.problems: dict[Entry, str] = {}
        self._plugins, self._images, self._threads = plugins, images, threads
        self._pairs: dict[Entry, _Pair] = {}

    def ask(
        self,
        entry: Entry,
        what: Callable[Concatenate[_Pair, Given], Value],
        *given: Given.args,
        **more: Given.kwargs,
    ) -> Value | None:
        """What an entry's processes answer; nothing where one has failed."""
        if entry in self.problems:
            return None
        try:
            if entry not in self._pairs:
                self._pairs[entry] = self._start(entry.spec)
            return what(self._pairs[entry], *given, **more)
        except FaultError as fault:
            self.problems[entry] = str(fault)
            return None

    def first(self, entry: Entry) -> list[tuple[bytes, Image]]:
        """Bitstreams and decoded images of the pass that warms up; some are missing if it fails."""
        made = [
            self.ask(entry, _Pair.once, index, entry.point) for index in range(len(self._images))
        ]
        return [one for one in made if one is not None]

    def match(
        self,
        spec: str,
        points: Sequence[Point],
        originals: Sequence[Image],
        metric: Quality,
        target: float,
    ) -> list[Point]:
        """The operating point to be timed, found in processes that end with the search."""
        if len(points) == 1:
            return list(points)

        @cache
        def quality(point: Point) -> float:
            made = [pair.once(index, point) for index in range(len(originals))]
            return _quality(metric, originals, made)

        with closing(self._start(spec)) as pair:
            try:
                return [matched(quality, points, target)]
            except FaultError as fault:
                self.problems[Entry(spec, points[0])] = str(fault)
                return []

    def _start(self, spec: str) -> _Pair:
        return _Pair(spec, self._plugins, self._images, self._threads)

    def close(self) -> None:
        """End the processes."""
        for pair in self._pairs.values():
            pair.close()
