"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lic_bench import Point
from lic_bench.codecs.compressive_autoencoder.codec import WEIGHTS as TRANSFORM
from lic_bench.learned.codec import TrainedCodec, digest, given_file

if TYPE_CHECKING:
    from lic_bench.codecs.entropy_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those of the coders that come along."""


class EntropyAutoencoder(TrainedCodec):
    """The numbers of compressive-autoencoder, by a static, a factorised or a paired coder.

    The pictures are those of compressive-autoencoder, whatever the coder; the bytes differ.

    Parameters
    ----------
    coder
        ``histogram``: a static histogram for each coefficient. ``factorised``: a learned
        distribution for each. ``pair``: a learned encoder writes side information, of which a
        learned decoder predicts the scale of each number.
    weights
        A file that `lic-bench train entropy-autoencoder` wrote, instead of the one that comes
        along.
    transform
        The file of compressive-autoencoder that it was trained with, instead of the one that comes
        along.
    device
        Where the networks run: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "entropy-autoencoder"
    points: Sequence[Point] = (0, 1, 2, 3, 4, 5, 6, 7)
    point_unit = "rate"
    point_range = 0, 7
    files = (WEIGHTS, TRANSFORM)

    def __init__(
        self,
        coder: Literal["histogram", "factorised", "pair"] = "pair",
        weights: str = "",
        transform: str = "",
        device: str = "cpu",
    ) -> None:
        super().__init__(weights, device)
        self.coder = coder
        self._transform = given_file("transform", transform, TRANSFORM)

    def versions(self) -> Mapping[str, str]:
        return {**super().versions(), "transform": digest(self._transform)}

    def _model(self) -> Model:
        from lic_bench.codecs.entropy_autoencoder.inference import load_model

        return load_model(self._transform, self._weights, self.coder, self.device)
