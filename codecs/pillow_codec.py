"""What codecs of Pillow's share: JPEG, WebP, AVIF."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Codec, Point

if TYPE_CHECKING:
    from lic_bench import Image


class PillowCodec(Codec):
    """A codec that Pillow carries."""

    format: ClassVar[str]
    """Pillow's name of the format."""
    feature: ClassVar[str]
    """The name in `PIL.features` of the library that it needs."""

    @classmethod
    def unavailable(cls) -> str | None:
        from PIL import features

        if features.check(cls.feature):
            return super().unavailable()
        remedy = "install its wheel: pip install --force-reinstall pillow"
        return f"this Pillow lacks {cls.format}; {remedy}"

    def versions(self) -> Mapping[str, str]:
        import PIL

        return {"pillow": PIL.__version__}

    @abstractmethod
    def settings(self, point: Point) -> dict[str, Any]:
        """What Pillow's encoder is told."""

    def encode(self, image: Image, point: Point) -> bytes:
        from PIL import Image as PillowImage

        self.check_point(point)
        stream = io.BytesIO()
        PillowImage.fromarray(image).save(stream, self.format, **self.settings(point))
        return stream.getvalue()

    def decode(self, stream: bytes) -> Image:
        import numpy as np
        from PIL import Image as PillowImage

        try:
            with PillowImage.open(io.BytesIO(stream), formats=[self.format]) as picture:
                width, height = picture.size
                if width * height > MAXIMUM_PIXELS:
                    raise BitstreamError(f"it claims {width}x{height} pixels")
                if picture.mode != "RGB":
                    raise BitstreamError(f"it holds {picture.mode} samples, not RGB")
                return np.array(picture)
        except Exception as error:
            raise BitstreamError(f"the {self.format} stream does not decode: {error}") from error
