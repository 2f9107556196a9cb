"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lic_bench import Point
from lic_bench.learned.codec import TrainedCodec

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.nctu.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class Nctu(TrainedCodec):
    """NCTU's entry to CLIC 2018: residual autoencoder, an importance map for each channel.

    Parameters
    ----------
    weights
        A file that `lic-bench train nctu` wrote, instead of those that come along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "nctu"
    points: Sequence[Point] = (1, 2, 3, 4, 5, 6)
    point_unit = "step"
    point_range = 1, 6
    files = (WEIGHTS,)

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        return self._model().encode(image, cast(int, point) - 1)

    def _model(self) -> Model:
        from lic_bench.codecs.nctu.inference import load_model

        return load_model(self._weights, self.device)
