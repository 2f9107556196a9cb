"""What is asked of a process in which one codec is timed; see `timing`.

Each codec has one to itself, which was started afresh, so that nothing but the codec makes its
memory grow; only one of them works at a time.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lic_bench.codec.base import Point
from lic_bench.execution.requests import codec_of
from lic_bench.execution.runner import Request
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class TimedSubject:
    """A codec with the images that it is timed on."""

    spec: str
    plugins: tuple[Path, ...]
    images: tuple[ImageFile, ...]
    threads: int


@dataclass(frozen=True)
class CodeOnce(Request[tuple[bytes, Image]]):
    """Encode and decode an image, untimed: the first time warms up."""

    subject: TimedSubject
    index: int
    """Of the image."""
    point: Point

    def execute(self) -> tuple[bytes, Image]:
        return _stopwatch(self.subject).once(self.index, self.point)


@dataclass(frozen=True)
class TimeOnce(Request[tuple[float, float]]):
    """Encode and decode an image: seconds of either."""

    subject: TimedSubject
    index: int
    point: Point

    def execute(self) -> tuple[float, float]:
        return _stopwatch(self.subject).timed(self.index, self.point)


@dataclass(frozen=True)
class CountMemory(Request[tuple[float | None, float | None]]):
    """By how many bytes the codec made the process grow at most, and those on its GPU."""

    subject: TimedSubject

    def execute(self) -> tuple[float | None, float | None]:
        return _stopwatch(self.subject).memory()


@dataclass(frozen=True)
class CountMacs(Request[tuple[float, float] | None]):
    """Multiplications with addition, in torch, of encoding and of decoding an image."""

    subject: TimedSubject
    index: int
    point: Point

    def execute(self) -> tuple[float, float] | None:
        return _stopwatch(self.subject).macs(self.index, self.point)


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
        self._encoder, self._decoder = (
            codec_of(subject.spec, subject.plugins) for _ in ("encoder", "decoder")
        )
        self._threads = threads

    def once(self, index: int, point: Point) -> tuple[bytes, Image]:
        stream = self._encoder.encode(self._images[index].copy(), point)
        image = self._decoder.decode(stream)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(self._threads)
        return stream, image

    def timed(self, index: int, point: Point) -> tuple[float, float]:
        image = self._images[index].copy()
        gc.disable()
        try:
            self._synchronise()
            start = time.perf_counter()
            stream = self._encoder.encode(image, point)
            self._synchronise()
            encoded = time.perf_counter()
            self._decoder.decode(stream)
            self._synchronise()
            return encoded - start, time.perf_counter() - encoded
        finally:
            gc.enable()

    def memory(self) -> tuple[float | None, float | None]:
        peak = None if self._baseline is None else max(0.0, _status("VmHWM") - self._baseline)
        if not self._encoder.device.startswith("cuda"):
            return peak, None
        import torch

        return peak, float(torch.cuda.max_memory_allocated(self._encoder.device))

    def macs(self, index: int, point: Point) -> tuple[float, float] | None:
        # Of convolutions, matrix products and attention, by torch's own count.
        if "torch" not in sys.modules:
            return None
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as encoding:
            stream = self._encoder.encode(self._images[index].copy(), point)
        with FlopCounterMode(display=False) as decoding:
            self._decoder.decode(stream)
        return encoding.get_total_flops() / 2, decoding.get_total_flops() / 2

    def _synchronise(self) -> None:
        """Wait for the GPU, which goes on by itself."""
        if self._encoder.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._encoder.device)


def _start_of_memory() -> float | None:
    """The bytes that the process holds now; from here on the system looks for a new peak."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") if _STATUS.exists() else None


def _status(name: str) -> float:
    [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return 1024 * float(line.split()[1])
