"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench import Point
from lic_bench.learned.codec import EmbeddedCodec

if TYPE_CHECKING:
    from lic_bench.codecs.recurrent.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those that come along."""


class Recurrent(EmbeddedCodec):
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
    files = (WEIGHTS,)

    def _model(self) -> Model:
        from lic_bench.codecs.recurrent.inference import load_model

        return load_model(self._weights, self.device)
