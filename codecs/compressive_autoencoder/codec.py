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
    from lic_bench.codecs.compressive_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class CompressiveAutoencoder(Codec):
    """The compressive autoencoder: a residual sub-pixel network, coded by static histograms.

    An operating point is one of the rates that were trained, from the lowest, 0, to the highest.

    Parameters
    ----------
    weights
        A file that `lic-bench train compressive-autoencoder` wrote, instead of those that come
        along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "compressive-autoencoder"
    points: Sequence[Point] = (0, 1, 2, 3, 4, 5, 6, 7)
    point_unit = "rate"
    point_range = 0, 7
    requires = dict.fromkeys(("torch", "safetensors", "numba"), "pip install 'lic-bench[learned]'")

    def __init__(self, weights: str = "", device: str = "cpu") -> None:
        self.device = device
        self._weights = Path(weights).resolve() if weights else WEIGHTS
        if weights and not self._weights.is_file():  # a pipe would be waited for
            raise SpecError(f"weights={weights}: there is no such file")

    @classmethod
    def unavailable(cls) -> str | None:
        if not WEIGHTS.exists():
            return f"{WEIGHTS} is missing; reinstall lic-bench"
        return super().unavailable()

    def versions(self) -> Mapping[str, str]:
        return {
            "weights": hashlib.sha256(self._weights.read_bytes()).hexdigest()[:16],
            # Another order of floating-point sums can tip a coefficient. (The decoder's are exact.)
            "torch": version("torch"),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        return self._model().encode(image, cast(int, point))

    def decode(self, stream: bytes) -> Image:
        return self._model().decode(stream)

    def _model(self) -> Model:
        from lic_bench.codecs.compressive_autoencoder.inference import load_model

        return load_model(self._weights, self.device)
