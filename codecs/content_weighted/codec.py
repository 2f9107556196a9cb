"""The codec that the bench sees. torch is imported when an image is coded, not before."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lic_bench import Point, SpecError
from lic_bench.learned.codec import TrainedCodec

if TYPE_CHECKING:
    from lic_bench import Image
    from lic_bench.codecs.content_weighted.inference import Model

Metric = Literal["ms-ssim", "mse"]
WEIGHTS: dict[Metric, Path] = {
    metric: Path(__file__).with_name(f"weights-{metric}.safetensors")
    for metric in ("ms-ssim", "mse")
}
"""Those that come along, by what they were trained for."""
_USUAL: Metric = "ms-ssim"
_MOST_POINTS = 256  # a stream has a byte for its point


def _levels(path: Path) -> tuple[int, ...]:
    """The operating points of a file of weights, read from its header alone."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 1 << 24)))
        metadata = json.loads(header["__metadata__"]["content-weighted"])
        points = metadata["settings"]["points"]
        if type(points) is not int or not 1 <= points <= _MOST_POINTS:
            raise ValueError("there cannot be so many operating points")
        return tuple(range(1, points + 1))
    except OSError as error:
        raise SpecError(f"weights={path} cannot be read: {error.strerror}") from error
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError(f"weights={path} is no file of content-weighted weights") from error


class ContentWeighted(TrainedCodec):
    """The content-weighted codec, with weights that come along or others.

    Parameters
    ----------
    metric
        What the weights that come along were trained for: ``ms-ssim``, in a mixture with MSE, or
        ``mse``.
    weights
        A file that `lic-bench train content-weighted` wrote, instead of those that come along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU. What is decoded
        is the same everywhere, to the last bit.
    """

    name = "content-weighted"
    points: Sequence[Point] = _levels(WEIGHTS[_USUAL]) if WEIGHTS[_USUAL].exists() else ()
    point_unit = "rate level"
    files = tuple(WEIGHTS.values())

    def __init__(self, metric: Metric = _USUAL, weights: str = "", device: str = "cpu") -> None:
        super().__init__(weights or str(WEIGHTS[metric]), device)
        self.batch_size = 1 if device == "cpu" else 8
        self.points = _levels(self._weights)
        self.point_range = 1, len(self.points)

    def encode(self, image: Image, point: Point) -> bytes:
        return self.encode_batch([image], point)[0]

    def decode(self, stream: bytes) -> Image:
        return self.decode_batch([stream])[0]

    def encode_batch(self, images: Sequence[Image], point: Point) -> list[bytes]:
        return self._model().encode(images, self._index(point))

    def decode_batch(self, streams: Sequence[bytes]) -> list[Image]:
        return self._model().decode(streams)

    def importance_map(self, image: Image, point: Point) -> Image:
        """Show where the bits go: the importance map in colour, of the image's size.

        Dark violet: one group of code channels is kept; yellow: all of them.
        """
        import matplotlib
        import numpy as np

        from lic_bench.codecs.content_weighted.model import STRIDE

        model = self._model()
        level = model.level(image, self._index(point)).astype(np.float64)
        shade = (level - 1) / (model.settings.levels - 1)
        colours = matplotlib.colormaps["viridis"](shade, bytes=True)[..., :3]
        large = colours.repeat(STRIDE, axis=0).repeat(STRIDE, axis=1)
        return np.ascontiguousarray(large[: image.shape[0], : image.shape[1]])

    def _index(self, point: Point) -> int:
        self.check_point(point)
        return self.points.index(point)

    def _model(self) -> Model:
        from lic_bench.codecs.content_weighted.inference import load_model

        return load_model(self._weights, self.device)
