"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench import Point
from lic_bench.learned.codec import EmbeddedCodec

if TYPE_CHECKING:
    from lic_bench.codecs.cae_pca.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class CaePca(EmbeddedCodec):
    """Convolutional autoencoder, principal components, bit planes, with weights that come along.

    An operating point counts half planes: of the 11 bit planes of the latents, 8 keep the four most
    significant, 9 what matters most of the fifth as well. The stream of a point is the beginning of
    that of a higher one, but for the header: `truncate`.

    Parameters
    ----------
    weights
        A file that `lic-bench train cae-pca` wrote, instead of those that come along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "cae-pca"
    points: Sequence[Point] = (6, 8, 10, 12, 14, 16)
    point_unit = "half planes"
    point_range = 1, 22
    files = (WEIGHTS,)

    def _model(self) -> Model:
        from lic_bench.codecs.cae_pca.inference import load_model

        return load_model(self._weights, self.device)
