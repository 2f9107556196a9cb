"""One measurement: encode, decode with a fresh instance, compare with the original.

This is what a worker process does; it needs nothing but its task and the image file.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lic_bench.codec.base import Codec, Point
from lic_bench.codec.identity import changes, identity
from lic_bench.errors import ImageError, UnavailableError
from lic_bench.execution.faults import OutOfMemoryError, lacks_memory, reason, trace_of
from lic_bench.execution.requests import checked_image, checked_stream, codec_of
from lic_bench.execution.runner import Request
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metrics import builtin as metrics
from lic_bench.metrics.device import on_device
from lic_bench.printable import printable
from lic_bench.store.records import Measurement


@dataclass(frozen=True)
class Task:
    """A measurement to be made, in a form that travels to another process."""

    image: ImageFile
    codec: str
    """The spec."""
    identity: str
    """What the codec must be: another one than planned is not measured under its name."""
    point: Point
    batch_size: int = 1
    """How many images the codec is given at once."""
    plugins: tuple[Path, ...] = ()
    device: str = "cpu"
    """Where the metrics are computed: ``cpu``, ``cuda``, ``cuda:1``."""
    on_gpu: bool = False
    """Whether codec or metrics want a GPU."""
    kept: Measurement | None = None
    """A measurement of before whose bitstream needs new metrics only."""


@dataclass(frozen=True)
class Measure(Request[list[Measurement]]):
    """Make measurements; those of several tasks are of one codec at one operating point."""

    tasks: tuple[Task, ...]

    @property
    def share(self) -> int:
        return len(self.tasks)

    def execute(self) -> list[Measurement]:
        together = self.tasks[0].batch_size > 1
        return measure_batch(self.tasks) if together else list(map(measure, self.tasks))


def measure(task: Task) -> Measurement:
    """Make a measurement. Whatever else goes wrong ends up in its ``error``.

    Raises
    ------
    OutOfMemoryError
        Where there was no memory for it; what has taken it may be any codec of the process.
    """
    measurement = task.kept or Measurement()
    try:
        original = _original(task.image, task.device)
        height, width, _ = original.image.shape
        measurement = replace(measurement, width=width, height=height, metrics={}, error=None)
        stream = measurement.stream
        if stream is None:
            stream, seconds = _encode(task, original.image)
            measurement = replace(measurement, stream=stream, encode_s=seconds)
        return _decode(task, original, measurement, stream)
    except BaseException as error:  # noqa: BLE001 - a codec may raise anything; the run goes on
        if lacks_memory(error):
            error.__traceback__ = None  # it may hold what there is no memory for
            raise OutOfMemoryError(reason(error)) from None
        if isinstance(error, ImageError):
            return replace(measurement, error="\n".join(map(printable, str(error).split("\n"))))
        return replace(measurement, error=reason(error), traceback=trace_of(error))


def measure_batch(tasks: Sequence[Task]) -> list[Measurement]:
    """Make measurements of one codec at one operating point, images of one size together.

    Each is given its share of the time that a batch took. Where a batch fails, each of its
    measurements is made alone: one image must not spoil the others.
    """
    measured: dict[int, Measurement] = {}
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    originals: dict[int, _Original] = {}
    for index, task in enumerate(tasks):
        with suppress(ImageError):  # said when it is measured alone
            originals[index] = _original(task.image, task.device)
            groups[originals[index].image.shape].append(index)
    for group in groups.values():
        with suppress(BaseException):
            together = _measure_together([tasks[i] for i in group], [originals[i] for i in group])
            measured.update(zip(group, together, strict=True))
    return [measured[i] if i in measured else measure(task) for i, task in enumerate(tasks)]


def _measure_together(tasks: list[Task], originals: list[_Original]) -> list[Measurement]:
    height, width, _ = originals[0].image.shape
    measurements = [
        replace(task.kept or Measurement(), width=width, height=height, error=None)
        for task in tasks
    ]
    fresh = [index for index, one in enumerate(measurements) if one.stream is None]
    if fresh:
        images = [originals[index].image.copy() for index in fresh]
        start = time.perf_counter()
        streams = _codec(tasks[0]).encode_batch(images, tasks[0].point)
        seconds = (time.perf_counter() - start) / len(fresh)
        for index, stream in zip(fresh, streams, strict=True):
            measurements[index] = replace(
                measurements[index], stream=checked_stream(stream), encode_s=seconds
            )
    codec = _codec(tasks[0])
    start = time.perf_counter()
    decoded = codec.decode_batch([one.stream for one in measurements if one.stream is not None])
    seconds = (time.perf_counter() - start) / len(tasks)
    return [
        _compare(task, original, replace(one, decode_s=seconds), image)
        for task, original, one, image in zip(tasks, originals, measurements, decoded, strict=True)
    ]


def _encode(task: Task, image: Image) -> tuple[bytes, float]:
    codec = _codec(task)
    image = image.copy()  # the codec may write into its own
    start = time.perf_counter()
    stream = codec.encode(image, task.point)
    seconds = time.perf_counter() - start
    return checked_stream(stream), seconds


def _decode(
    task: Task, original: _Original, measurement: Measurement, stream: bytes
) -> Measurement:
    codec = _codec(task)
    start = time.perf_counter()
    decoded = codec.decode(stream)
    seconds = time.perf_counter() - start
    return _compare(task, original, replace(measurement, decode_s=seconds), decoded)


def _compare(
    task: Task, original: _Original, measurement: Measurement, decoded: Image
) -> Measurement:
    picture = checked_image(decoded, original.image.shape)
    [values] = original.reference.compare(on_device(picture[None], task.device))
    return replace(measurement, metrics=values, metrics_version=metrics.VERSION)


def _codec(task: Task) -> Codec:
    """A fresh instance, with what it is made of known to be what was planned."""
    codec = codec_of(task.codec, task.plugins)
    present = identity(codec)
    if present != task.identity:
        raise UnavailableError(
            f"the codec is not what was planned: {changes(task.identity, present)}"
        )
    return codec


@dataclass(frozen=True)
class Compare(Request[tuple[Measurement, str]]):
    """Measure a decoded picture that lies in a file, beside its original.

    The value is a measurement without a stream, and the SHA-256 of the picture's file. A picture
    that cannot be measured has an error.
    """

    original: ImageFile
    picture: Path

    def execute(self) -> tuple[Measurement, str]:
        wanted = (self.original.width, self.original.height)
        measurement = Measurement(wanted[0] or None, wanted[1] or None)
        sha256 = ""
        try:
            content = self.picture.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            decoded = read_image(content, str(self.picture))
            height, width, _ = decoded.shape
            if self.original.error is None and (width, height) != wanted:
                raise ImageError(
                    f"{self.picture} is of {width}x{height} pixels, the original of "
                    f"{wanted[0]}x{wanted[1]}"
                )
            [values] = _original(self.original, "cpu").reference.compare(decoded[None])
        except (ImageError, OSError) as error:
            return replace(measurement, error=" ".join(str(error).split())), sha256
        return replace(measurement, metrics=values, metrics_version=metrics.VERSION), sha256


@dataclass(frozen=True)
class _Original:
    image: Image
    reference: metrics.Reference


@lru_cache(maxsize=1)
def _original(file: ImageFile, device: str) -> _Original:
    """An image and what the metrics need of it. Tasks come image by image: one is enough."""
    if file.error is not None:
        raise ImageError(file.error)
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise ImageError(f"{file.path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise ImageError(f"{file.path} was altered during the run; repeat the command")
    image = file.cropped(read_image(content, str(file.path)))
    return _Original(image, metrics.Reference(on_device(image[None], device)))
