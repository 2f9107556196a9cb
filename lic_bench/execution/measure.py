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

import numpy as np

from lic_bench.codec.base import Codec, Point
from lic_bench.codec.identity import identity
from lic_bench.codec.registry import Registry
from lic_bench.errors import ImageError, UnavailableError
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metrics import builtin as metrics
from lic_bench.metrics.device import on_device
from lic_bench.printable import printable
from lic_bench.store.records import Measurement

_REASON_LENGTH = 1000
_LARGEST_STREAM = 999_000_000  # bytes; SQLite takes a little more in a row


class ExhaustedError(Exception):
    """There was no memory left; what has taken it may be any codec that the process measured."""


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


def measure(task: Task) -> Measurement:
    """Make a measurement. Whatever else goes wrong ends up in its ``error``.

    Raises
    ------
    ExhaustedError
        Where there was no memory for it.
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
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            raise ExhaustedError(f"MemoryError while {task.image.path} was read") from None
        return replace(measurement, error="\n".join(map(printable, str(error).split("\n"))))
    except BaseException as error:  # noqa: BLE001 - a codec may raise anything; the run goes on
        error.__traceback__ = None  # it may hold what there is no memory for
        told = reason(error)
        if isinstance(error, MemoryError) or "allocate" in told:  # as NumPy, torch, OpenCV say
            raise ExhaustedError(told) from None
        return replace(measurement, error=told)


def reason(error: BaseException) -> str:
    """What an exception says, in one line that can be shown and stored."""
    try:
        text = " ".join(str(error)[:_REASON_LENGTH].split())
    except BaseException:  # noqa: BLE001 - a codec's own exception may raise another
        text = "what it says cannot be read"
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def measure_batch(tasks: Sequence[Task]) -> list[Measurement]:
    """Make measurements of one codec at one operating point, images of one size together.

    Each is given its share of the time that a batch took. Where a batch fails, each of its
    measurements is made alone: one image must not spoil the others.
    """
    made: dict[int, Measurement] = {}
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    originals: dict[int, _Original] = {}
    for index, task in enumerate(tasks):
        with suppress(ImageError):  # told when it is measured alone
            originals[index] = _original(task.image, task.device)
            groups[originals[index].image.shape].append(index)
    for group in groups.values():
        with suppress(BaseException):
            found = _measure_together([tasks[i] for i in group], [originals[i] for i in group])
            made.update(zip(group, found, strict=True))
    return [made[i] if i in made else measure(task) for i, task in enumerate(tasks)]


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
                measurements[index], stream=_bytes(stream), encode_s=seconds
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
    return _bytes(stream), seconds


def _bytes(stream: object) -> bytes:
    if not isinstance(stream, bytes):
        raise TypeError(f"encode returned {type(stream).__name__}, not bytes")
    if len(stream) > _LARGEST_STREAM:
        raise ValueError(f"encode returned {len(stream)} bytes, of at most {_LARGEST_STREAM}")
    return stream if type(stream) is bytes else bytes(memoryview(stream))


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
    picture = _checked(decoded, original.image.shape)
    [values] = original.reference.compare(on_device(picture[None], task.device))
    return replace(measurement, metrics=values, metrics_version=metrics.VERSION)


def _checked(decoded: object, shape: tuple[int, ...]) -> Image:
    if not isinstance(decoded, np.ndarray):
        raise TypeError(f"decode returned {type(decoded).__name__}, not a NumPy array")
    decoded = np.asarray(decoded)  # of a subclass that may do its sums otherwise
    if decoded.dtype != np.uint8 or decoded.shape != shape:
        raise TypeError(
            f"decode returned {decoded.dtype} of shape {decoded.shape}, not uint8 of {shape}"
        )
    return decoded


def picture(spec: str, plugins: tuple[Path, ...], stream: bytes) -> Image:
    """What a bitstream decodes to; whatever goes wrong is raised."""
    decoded = _registry(plugins).codec(spec).decode(stream)
    return _checked(decoded, np.shape(decoded))


def _codec(task: Task) -> Codec:
    """A fresh instance, with what it is made of known to be what was planned."""
    codec = _registry(task.plugins).codec(task.codec)
    found = identity(codec)
    if found != task.identity:
        raise UnavailableError(f"the codec changed during the run: {found}, not {task.identity}")
    return codec


@lru_cache(maxsize=1)
def _registry(plugins: tuple[Path, ...]) -> Registry:
    return Registry(plugins)


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
