"""What codecs have in common whose network comes as a file of weights.

torch is imported when an image is coded, not before.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lic_bench.codec.base import Codec
from lic_bench.errors import SpecError

if TYPE_CHECKING:
    from lic_bench.codec.base import Point
    from lic_bench.images.image import Image


class TrainedCodec(Codec):
    """A codec that codes with the weights that come along, or with others of the same training.

    Parameters
    ----------
    weights
        A file that `lic-bench train` wrote, instead of the one that comes along.
    device
        Where the network runs: ``cpu``, ``cuda``. Entropy coding runs on the CPU.

    Raises
    ------
    SpecError
        Where `weights` names no file.
    """

    requires = dict.fromkeys(("torch", "safetensors", "numba"), "pip install 'lic-bench[learned]'")

    files: ClassVar[tuple[Path, ...]]
    """What comes along; the weights first."""

    def __init__(self, weights: str = "", device: str = "cpu") -> None:
        self.device = device
        self._weights = given_file("weights", weights, self.files[0])

    @classmethod
    def unavailable(cls) -> str | None:
        for path in cls.files:
            if not path.exists():
                return f"{path} is missing; reinstall lic-bench"
        return super().unavailable()

    def versions(self) -> Mapping[str, str]:
        return {
            "weights": digest(self._weights),
            # Another order of floating-point sums can tip a number of the code, though the
            # decoders' sums are exact.
            "torch": version("torch"),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        stream: bytes = self._model().encode(image, point)
        return stream

    def decode(self, stream: bytes) -> Image:
        image: Image = self._model().decode(stream)
        return image

    @abstractmethod
    def _model(self) -> Any:
        """What codes with the weights, loaded once in a process: it encodes and decodes."""


class EmbeddedCodec(TrainedCodec):
    """A trained codec whose stream of a point is the beginning of that of a higher one."""

    def truncate(self, stream: bytes, point: Point) -> bytes:
        """Cut a stream to a lower operating point: what `encode` would have written for it.

        Raises
        ------
        BitstreamError
            Where it is no stream of this codec, or one of a lower point.
        """
        self.check_point(point)
        beginning: bytes = self._model().truncate(stream, point)
        return beginning


def given_file(option: str, given: str, own: Path) -> Path:
    """The file that an option names, absolute, or our own where it names none.

    Raises
    ------
    SpecError
        Where it is no file: a pipe would be waited for.
    """
    if not given:
        return own
    path = Path(given).resolve()
    if not path.is_file():
        problem = "is no file" if path.exists() else "there is no such file"
        raise SpecError(f"{option}={given}: {problem}")
    return path


def digest(path: Path) -> str:
    """The start of a file's SHA-256, which stands for it in a codec's state."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
