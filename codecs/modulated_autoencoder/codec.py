"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from lic_bench import Codec, Point, SpecError

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.modulated_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class ModulatedAutoencoder(Codec):
    """The modulated autoencoder: one network for all rates.

    Parameters
    ----------
    prior
        What the latents are coded by: ``hyperprior``, or ``factorised``. The pictures are the same.
    weights
        A file that `lic-bench train modulated-autoencoder` wrote, instead of those that come along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "modulated-autoencoder"
    points: Sequence[Point] = (64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)
    point_unit = "lambda"
    point_range = 64.0, 4096.0
    requires = dict.fromkeys(("torch", "safetensors", "numba"), "pip install 'lic-bench[learned]'")

    def __init__(
        self,
        prior: Literal["hyperprior", "factorised"] = "hyperprior",
        weights: str = "",
        device: str = "cpu",
    ) -> None:
        self.prior, self.device = prior, device
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
            # Another order of floating-point sums can tip a latent. (The decoder's are exact.)
            "torch": version("torch"),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        model = self._model()
        from lic_bench.codecs.modulated_autoencoder.exact import step_of_tradeoff

        return model.encode(image, step_of_tradeoff(cast(float, point)))

    def decode(self, stream: bytes) -> Image:
        return self._model().decode(stream)

    def _model(self) -> Model:
        from lic_bench.codecs.modulated_autoencoder.inference import load_model

        return load_model(self._weights, self.prior, self.device)
