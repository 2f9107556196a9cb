"""What is asked of a process in which one codec is timed; see `timing`.

Each codec has two to itself, one that encodes and one that decodes, which were started afresh, so
that nothing but the codec makes their memory grow; only one of all of them works at a time.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lic_bench.codec.base import Point
from lic_bench.execution.requests import checked_image, checked_stream, codec_of
from lic_bench.execution.runner import Request, Value
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class TimedSubject:
    """A codec with the images that it is timed on."""

    spec: str
    plugins: tuple[Path, ...]
    images: tuple[ImageFile, ...]
    """Those that the process is to hold: one that decodes needs none."""
    threads: int


@dataclass(frozen=True)
class TimeEncode(Request[tuple[bytes, float]]):
    """Encode an image: its bitstream, and seconds. The first time warms up."""

    subject: TimedSubject
    index: int
    """Of the image."""
    point: Point

    def execute(self) -> tuple[bytes, float]:
        return _stopwatch(self.subject).encode(self.index, self.point)


@dataclass(frozen=True)
class DecodeOnce(Request[Image]):
    """Decode a bitstream, untimed: the first time warms up."""

    subject: TimedSubject
    stream: bytes
    shape: tuple[int, int, int]
    """Of the image that was encoded."""

    def execute(self) -> Image:
        picture, _ = _stopwatch(self.subject).decode(self.stream)
        return checked_image(picture, self.shape)


@dataclass(frozen=True)
class TimeDecode(Request[float]):
    """Decode a bitstream: seconds."""

    subject: TimedSubject
    stream: bytes

    def execute(self) -> float:
        return _stopwatch(self.subject).decode(self.stream)[1]


@dataclass(frozen=True)
class CountMemory(Request[tuple[float | None, float | None]]):
    """By how many bytes the codec made the process grow at most, and those on its GPU."""

    subject: TimedSubject

    def execute(self) -> tuple[float | None, float | None]:
        return _stopwatch(self.subject).memory()


@dataclass(frozen=True)
class CountEncodeMacs(Request[float | None]):
    """Multiplications with addition, in torch, of encoding an image."""

    subject: TimedSubject
    index: int
    point: Point

    def execute(self) -> float | None:
        stopwatch = _stopwatch(self.subject)
        return _macs(lambda: stopwatch.encode(self.index, self.point))


@dataclass(frozen=True)
class CountDecodeMacs(Request[float | None]):
    """Those of decoding a bitstream."""

    subject: TimedSubject
    stream: bytes

    def execute(self) -> float | None:
        stopwatch = _stopwatch(self.subject)
        return _macs(lambda: stopwatch.decode(self.stream))


def _macs(what: Callable[[], object]) -> float | None:
    """Those of convolutions, matrix products and attention, by torch's own count."""
    if "torch" not in sys.modules:
        return None
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counting:
        what()
    return float(counting.get_total_flops()) / 2


@lru_cache(maxsize=1)
def _stopwatch(subject: TimedSubject) -> _Stopwatch:
    """That of the process: it lasts from the first request to the last."""
    return _Stopwatch(subject)


class _Stopwatch:
    """A codec, its images, and what the process held before it came."""

    def __init__(self, subject: TimedSubject) -> None:
        threads = subject.threads
        if hasattr(os, "sched_setaffinity"):
            # Codecs with threads of their own count cores, and some do not ask the environment.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        self._images = [file.read() for file in subject.images]
        self._baseline = _start_of_memory()
        self._codec = codec_of(subject.spec, subject.plugins)
        self._threads = threads

    def encode(self, index: int, point: Point) -> tuple[bytes, float]:
        image = self._images[index].copy()
        stream, seconds = self._timed(lambda: self._codec.encode(image, point))
        return checked_stream(stream), seconds

    def decode(self, stream: bytes) -> tuple[Image, float]:
        return self._timed(lambda: self._codec.decode(stream))

    def _timed(self, what: Callable[[], Value]) -> tuple[Value, float]:
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(self._threads)
        gc.disable()
        try:
            self._synchronise()
            start = time.perf_counter()
            value = what()
            self._synchronise()
            return value, time.perf_counter() - start
        finally:
            gc.enable()

    def memory(self) -> tuple[float | None, float | None]:
        peak = None if self._baseline is None else max(0.0, _status("VmHWM") - self._baseline)
        if not self._codec.device.startswith("cuda"):
            return peak, None
        import torch

        return peak, float(torch.cuda.max_memory_allocated(self._codec.device))

    def _synchronise(self) -> None:
        """Wait for the GPU, which goes on by itself."""
        if self._codec.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._codec.device)


def _start_of_memory() -> float | None:
    """The bytes that the process holds now; from here on the system looks for a new peak."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") if _STATUS.exists() else None


def _status(name: str) -> float:
    [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return 1024 * float(line.split()[1])
