"""The process in which one codec is timed; it obeys `timing`.

Each codec has one to itself, which was started afresh, so that nothing but the codec makes its
memory grow; only one of them works at a time.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lic_bench.codec.base import Point
    from lic_bench.images.dataset import ImageFile
    from lic_bench.images.image import Image

_STATUS = Path("/proc/self/status")


class Stopwatch:
    """A codec with the images that it is timed on, one at a time."""

    def __init__(
        self, spec: str, plugins: Sequence[Path], images: Sequence[ImageFile], threads: int
    ) -> None:
        from lic_bench.codec.registry import Registry
        from lic_bench.images.image import read_image

        if hasattr(os, "sched_setaffinity"):
            # Codecs with threads of their own count cores, and some do not ask the environment.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        self._images = [file.cropped(read_image(file.path)) for file in images]
        self._baseline = _start_of_memory()
        registry = Registry(plugins)
        self._encoder, self._decoder = registry.codec(spec), registry.codec(spec)
        self._threads = threads

    def once(self, index: int, point: Point) -> tuple[bytes, Image]:
        """Encode and decode an image, untimed: the first time warms up."""
        stream = self._encoder.encode(self._images[index].copy(), point)
        image = self._decoder.decode(stream)
        if (torch := sys.modules.get("torch")) is not None:
            torch.set_num_threads(self._threads)
        return stream, image

    def timed(self, index: int, point: Point) -> tuple[float, float]:
        """Encode and decode an image: seconds of either."""
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
        """By how many bytes the codec made the process grow at most, and those on its GPU."""
        peak = None if self._baseline is None else max(0.0, _status("VmHWM") - self._baseline)
        if not self._encoder.device.startswith("cuda"):
            return peak, None
        import torch

        return peak, float(torch.cuda.max_memory_allocated(self._encoder.device))

    def macs(self, index: int, point: Point) -> tuple[float, float] | None:
        """Multiplications with addition, in torch, of encoding and of decoding an image.

        Those of convolutions, matrix products and attention, by torch's own count; nothing where
        the codec does not use torch.
        """
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


def main() -> None:
    """Obey until the other end hangs up: (method, arguments) come in, (result, error) go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end's business
    connection = Connection(int(sys.argv[1]))
    with suppress(EOFError, BrokenPipeError):
        stopwatch: Stopwatch | None = None
        while True:
            method, arguments = connection.recv()
            answer: tuple[object, str | None]
            try:
                if stopwatch is None:
                    stopwatch = Stopwatch(*arguments)
                    answer = None, None
                else:
                    answer = getattr(stopwatch, method)(*arguments), None
            except Exception as error:  # noqa: BLE001 - a codec may raise anything
                text = " ".join(str(error).split())
                answer = None, f"{type(error).__name__}: {text}" if text else repr(error)
            connection.send(answer)


if __name__ == "__main__":
    main()
