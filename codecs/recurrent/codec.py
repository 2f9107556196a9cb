"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lic_bench import Codec, Point, SpecError

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.recurrent.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""
_INSTALL = "pip install 'lic-bench[learned]'"


class Recurrent(Codec):
    """Recurrent encoder and decoder: each iteration adds bits, with weights that come along.

    An operating point is a number of iterations. The stream of a point is the beginning of that of
    a higher one, but for the header: `truncate`.

    Parameters
    ----------
    weights
        A file that `lic-bench train recurrent` wrote, instead of those that come along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "recurrent"
    points: Sequence[Point] = (1, 2, 3, 5, 8, 12, 16)
    point_unit = "iterations"
    point_range = 1, 16
    requires = dict.fromkeys(("torch", "safetensors", "numba"), _INSTALL)

    def __init__(self, weights: str = "", device: str = "cpu") -> None:
        self._weights = Path(weights).resolve() if weights else WEIGHTS
        if weights and not self._weights.is_file():
            raise SpecError(f"weights={weights} is no file")
        self.device = device

    @classmethod
    def unavailable(cls) -> str | None:
        if not WEIGHTS.exists():
            return f"{WEIGHTS} is missing; reinstall lic-bench"
        return super().unavailable()

    def versions(self) -> Mapping[str, str]:
        return {
            "weights": hashlib.sha256(self._weights.read_bytes()).hexdigest()[:16],
            # Another order of floating-point sums can tip a bit. (The decoder's
            # sums are exact.)
            "torch": version("torch"),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        return self._model().encode(image, cast(int, point))

    def decode(self, stream: bytes) -> Image:
        return self._model().decode(stream)

    def truncate(self, stream: bytes, point: Point) -> bytes:
        """Cut a stream to a lower operating point: what `encode` would have written for it.

        Raises
        ------
        BitstreamError
            Where it is no stream of this codec, or one of fewer iterations.
        """
        self.check_point(point)
        return self._model().truncate(stream, cast(int, point))

    def _model(self) -> Model:
        from lic_bench.codecs.recurrent.inference import load_model

        return load_model(self._weights, self.device)
