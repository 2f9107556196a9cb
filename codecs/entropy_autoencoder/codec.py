"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from lic_bench import Codec, Point, SpecError
from lic_bench.codecs.compressive_autoencoder.codec import WEIGHTS as TRANSFORM

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.entropy_autoencoder.inference import Model

WEIGHTS = Path(__file__).with_name("weights.safetensors")
"""Those of the coders that come along."""


class EntropyAutoencoder(Codec):
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
    requires = dict.fromkeys(("torch", "safetensors", "numba"), "pip install 'lic-bench[learned]'")

    def __init__(
        self,
        coder: Literal["histogram", "factorised", "pair"] = "pair",
        weights: str = "",
        transform: str = "",
        device: str = "cpu",
    ) -> None:
        self.coder, self.device = coder, device
        self._weights = _file("weights", weights, WEIGHTS)
        self._transform = _file("transform", transform, TRANSFORM)

    @classmethod
    def unavailable(cls) -> str | None:
        for path in (WEIGHTS, TRANSFORM):
            if not path.exists():
                return f"{path} is missing; reinstall lic-bench"
        return super().unavailable()

    def versions(self) -> Mapping[str, str]:
        return {
            "weights": hashlib.sha256(self._weights.read_bytes()).hexdigest()[:16],
            "transform": hashlib.sha256(self._transform.read_bytes()).hexdigest()[:16],
            # Another order of floating-point sums can tip a number. (The decoder's are exact.)
            "torch": version("torch"),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        return self._model().encode(image, cast(int, point))

    def decode(self, stream: bytes) -> Image:
        return self._model().decode(stream)

    def _model(self) -> Model:
        from lic_bench.codecs.entropy_autoencoder.inference import load_model

        return load_model(self._transform, self._weights, self.coder, self.device)


def _file(name: str, given: str, own: Path) -> Path:
    path = Path(given).resolve() if given else own
    if given and not path.is_file():  # a pipe would be waited for
        raise SpecError(f"{name}={given}: there is no such file")
    return path
