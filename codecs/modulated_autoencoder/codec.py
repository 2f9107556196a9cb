"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from lic_bench import Point
from lic_bench.learned.codec import TrainedCodec

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.modulated_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class ModulatedAutoencoder(TrainedCodec):
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
    files = (WEIGHTS,)

    def __init__(
        self,
        prior: Literal["hyperprior", "factorised"] = "hyperprior",
        weights: str = "",
        device: str = "cpu",
    ) -> None:
        super().__init__(weights, device)
        self.prior = prior

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        model = self._model()
        from lic_bench.codecs.modulated_autoencoder.exact import step_of_tradeoff

        return model.encode(image, step_of_tradeoff(cast(float, point)))

    def _model(self) -> Model:
        from lic_bench.codecs.modulated_autoencoder.inference import load_model

        return load_model(self._weights, self.prior, self.device)
