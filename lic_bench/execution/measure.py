"""One measurement: encode in one process, decode in another, compare with the original.

What a codec keeps in memory while it encodes is no part of its bitstream: so the process that
decodes has never encoded. Both need nothing but their tasks and the image files.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lic_bench.codec.base import Codec, Point
from lic_bench.errors import ImageError, UnavailableError
from lic_bench.execution.faults import OutOfMemoryError, lacks_memory, trace_of
from lic_bench.execution.figures import Asked, References
from lic_bench.execution.requests import checked_image, checked_stream, codec_of
from lic_bench.execution.runner import Request
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.plugins.identity import changes, identity
from lic_bench.printable import printable, reason
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
    metrics: tuple[Asked, ...] = ()
    """Those that are wanted."""
    given_up: str = ""
    """Why metrics beside those of every run are not tried: a process was ended over them."""
    on_gpu: bool = False
    """Whether codec or metrics want a GPU."""
    kept: Measurement | None = None
    """A measurement of before whose bitstream needs these metrics only."""


@dataclass(frozen=True)
class EncodeAll(Request[list[Measurement]]):
    """Encode images; those of several tasks are of one codec at one operating point.

    The value are measurements that have a stream, or an error.
    """

    tasks: tuple[Task, ...]

    @property
    def share(self) -> int:
        return len(self.tasks)

    def execute(self) -> list[Measurement]:
        together = self.tasks[0].batch_size > 1
        return encode_batch(self.tasks) if together else list(map(encode, self.tasks))


@dataclass(frozen=True)
class DecodeAll(Request[list[Measurement]]):
    """Decode the streams that tasks have kept, and compare.

    The value are the measurements without their streams, which whoever asks has already.
    """

    tasks: tuple[Task, ...]

    @property
    def share(self) -> int:
        return len(self.tasks)

    def execute(self) -> list[Measurement]:
        together = self.tasks[0].batch_size > 1
        measured = decode_batch(self.tasks) if together else map(decode, self.tasks)
        return [replace(measurement, stream=None) for measurement in measured]


def encode(task: Task) -> Measurement:
    """Encode an image, unless that was done before. Whatever goes wrong ends up in its ``error``.

    Raises
    ------
    OutOfMemoryError
        Where there was no memory for it; what has taken it may be any codec of the process.
    """
    measurement = task.kept or Measurement()
    if measurement.stream is not None:
        return measurement
    try:
        image = _pixels(task.image)
        measurement = _of(image, measurement)
        codec = _codec(task)
        given = image.copy()  # the codec may write into its own
        start = time.perf_counter()
        stream = codec.encode(given, task.point)
        seconds = time.perf_counter() - start
        return replace(measurement, stream=checked_stream(stream), encode_s=seconds)
    except BaseException as error:  # noqa: BLE001 - a codec may raise anything; the run goes on
        return _failed(measurement, error)


def decode(task: Task) -> Measurement:
    """Decode the stream that a task has kept, and compare; errors are as those of `encode`."""
    measurement = task.kept or Measurement()
    try:
        original = _original(task)
        measurement = _of(original.image, measurement)
        assert measurement.stream is not None  # noqa: S101 - it is asked for only then
        codec = _codec(task)
        start = time.perf_counter()
        decoded = codec.decode(measurement.stream)
        seconds = time.perf_counter() - start
        return _compare(task, original, replace(measurement, decode_s=seconds), decoded)
    except BaseException as error:  # noqa: BLE001 - as above
        return _failed(measurement, error)


def _of(image: Image, measurement: Measurement) -> Measurement:
    """A measurement that is begun, of this image."""
    height, width, _ = image.shape
    return replace(
        measurement, width=width, height=height, metrics={}, metric_errors={}, error=None
    )


def _failed(measurement: Measurement, error: BaseException) -> Measurement:
    if isinstance(error, OutOfMemoryError):  # a metric's
        raise error
    if lacks_memory(error):
        error.__traceback__ = None  # it may hold what there is no memory for
        raise OutOfMemoryError(reason(error)) from None
    if isinstance(error, ImageError):
        return replace(measurement, error="\n".join(map(printable, str(error).split("\n"))))
    return replace(measurement, error=reason(error), traceback=trace_of(error))


def encode_batch(tasks: Sequence[Task]) -> list[Measurement]:
    """Encode for tasks of one codec at one operating point, images of one size together.

    Each is given its share of the time that a batch took. Where a batch fails, each of its images
    is encoded alone: one must not spoil the others.
    """

    def together(group: list[Task]) -> list[Measurement]:
        images = [_pixels(task.image) for task in group]
        given = [image.copy() for image in images]
        start = time.perf_counter()
        streams = _codec(group[0]).encode_batch(given, group[0].point)
        seconds = (time.perf_counter() - start) / len(group)
        return [
            replace(_of(image, Measurement()), stream=checked_stream(stream), encode_s=seconds)
            for image, stream in zip(images, streams, strict=True)
        ]

    fresh = [task for task in tasks if task.kept is None or task.kept.stream is None]
    encoded = iter(_in_groups(fresh, together, encode))
    return [next(encoded) if task in fresh else encode(task) for task in tasks]


def decode_batch(tasks: Sequence[Task]) -> list[Measurement]:
    """Decode the streams that tasks have kept; see `encode_batch`."""

    def together(group: list[Task]) -> list[Measurement]:
        originals = [_original(task) for task in group]
        codec = _codec(group[0])
        streams = [task.kept.stream for task in group if task.kept and task.kept.stream is not None]
        start = time.perf_counter()
        decoded = codec.decode_batch(streams)
        seconds = (time.perf_counter() - start) / len(group)
        return [
            _compare(
                task,
                original,
                replace(_of(original.image, task.kept or Measurement()), decode_s=seconds),
                image,
            )
            for task, original, image in zip(group, originals, decoded, strict=True)
        ]

    return _in_groups(tasks, together, decode)


def _in_groups(
    tasks: Sequence[Task],
    together: Callable[[list[Task]], list[Measurement]],
    alone: Callable[[Task], Measurement],
) -> list[Measurement]:
    """What comes of tasks whose images are of one size together, or of each alone."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        if task.image.error is None:  # said when it is measured alone
            groups[task.image.height, task.image.width].append(index)
    measured: dict[int, Measurement] = {}
    for group in groups.values():
        with suppress(BaseException):
            made = together([tasks[index] for index in group])
            measured.update(zip(group, made, strict=True))
    return [measured[i] if i in measured else alone(task) for i, task in enumerate(tasks)]


def _compare(
    task: Task, original: References, measurement: Measurement, decoded: Image
) -> Measurement:
    picture = checked_image(decoded, original.image.shape)
    found = original.figures(task.metrics, picture, task.given_up)
    return replace(measurement, metrics=found.values, metric_errors=found.errors)


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
    metrics: tuple[Asked, ...]
    plugins: tuple[Path, ...] = ()

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
            original = _references(self.original, self.plugins, "cpu")
            found = original.figures(self.metrics, decoded)
        except (ImageError, OSError) as error:
            return replace(measurement, error=" ".join(str(error).split())), sha256
        return replace(measurement, metrics=found.values, metric_errors=found.errors), sha256


@lru_cache(maxsize=1)
def _pixels(file: ImageFile) -> Image:
    """An image alone: encoding needs no more of it. Tasks come image by image: one is enough."""
    return file.read()


def _original(task: Task) -> References:
    return _references(task.image, task.plugins, task.device)


@lru_cache(maxsize=1)
def _references(file: ImageFile, plugins: tuple[Path, ...], device: str) -> References:
    """An image and what the metrics need of it."""
    return References(file.read(), plugins, device)
