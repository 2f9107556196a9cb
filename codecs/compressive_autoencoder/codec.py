"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench import Point
from lic_bench.learned.codec import TrainedCodec

if TYPE_CHECKING:
    from lic_bench.codecs.compressive_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class CompressiveAutoencoder(TrainedCodec):
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
    files = (WEIGHTS,)

    def _model(self) -> Model:
        from lic_bench.codecs.compressive_autoencoder.inference import load_model

        return load_model(self._weights, self.device)
