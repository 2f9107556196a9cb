"""JPEG 2000: OpenJPEG through glymur, as a bare codestream.

Irreversible 9/7 wavelet, colour transform on, one quality layer, no container: what
`opj_compress -I -r RATIO` writes.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Codec, Point

if TYPE_CHECKING:
    from lic_bench import Image

# How a codestream of ours begins: markers SOC and SIZ, and what SIZ holds (ISO/IEC 15444-1, A.5.1).
_SIZ = struct.Struct(">4sHH8IH9s")
# What COD holds (A.6.1): kind, progression, layers, transform of colours, levels, code blocks.
_COD = struct.Struct(">BBHBBBB")
# What SOT holds (A.4.2), and the marker SOD behind it.
_SOT = struct.Struct(">HHIBB2s")
_COD_MARKER, _QCD_MARKER, _COM_MARKER, _SOT_MARKER = (bytes([255, m]) for m in b"\x52\x5c\x64\x90")
_SOD_MARKER = b"\xff\x93"


class Jpeg2000(Codec):
    """JPEG 2000 (OpenJPEG, irreversible 9/7 wavelet, bare codestream)."""

    name = "jpeg2000"
    points = (192.0, 128.0, 96.0, 64.0, 48.0, 32.0, 24.0, 16.0, 12.0)
    point_unit = "compression ratio"
    point_range = (1000.0, 1.0)
    requires: ClassVar = {"glymur": "pip install glymur"}

    @classmethod
    def unavailable(cls) -> str | None:
        if _pillows_openjpeg() is None and ctypes.util.find_library("openjp2") is None:
            return (
                "there is no OpenJPEG: neither on the system nor inside Pillow; "
                "install libopenjp2, or Pillow's wheel: pip install --force-reinstall pillow"
            )
        return super().unavailable()

    def versions(self) -> Mapping[str, str]:
        glymur = _glymur()
        return {"glymur": glymur.version.version, "openjpeg": glymur.version.openjpeg_version}

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        height, width, _ = image.shape
        # OpenJPEG halves the image as often as there are levels, which a tiny one does not bear.
        levels = min(5, min(height, width).bit_length() - 1)
        with _temporary_path() as path:
            _glymur().Jp2k(
                path,
                data=image,
                cratios=[point],
                irreversible=True,
                mct=True,
                numres=levels + 1,
            )
            return path.read_bytes()

    def decode(self, stream: bytes) -> Image:
        import numpy as np

        _check_header(stream)
        with _temporary_path() as path:
            path.write_bytes(stream)
            try:
                pixels = _glymur().Jp2k(path)[:]
            except Exception as error:
                raise BitstreamError(
                    f"the JPEG 2000 codestream does not decode: {error}"
                ) from error
        return np.ascontiguousarray(pixels)


def _check_header(stream: bytes) -> None:
    """Refuse what is no codestream of ours, before a damaged size costs gigabytes or minutes."""
    if len(stream) < _SIZ.size:
        raise BitstreamError("the JPEG 2000 codestream ends within its header")
    markers, _, _, width, height, *offsets_and_tiles, components, samples = _SIZ.unpack_from(stream)
    if markers != b"\xff\x4f\xff\x51":
        raise BitstreamError("this is no JPEG 2000 codestream: it does not begin with SOC and SIZ")
    if components != 3 or samples != b"\x07\x01\x01" * 3:
        raise BitstreamError("the codestream holds other samples than three components of 8 bits")
    one_tile = [0, 0, width, height, 0, 0]
    if offsets_and_tiles != one_tile or not 0 < width * height <= MAXIMUM_PIXELS:
        raise BitstreamError(
            f"the codestream is damaged: it claims {width}x{height} pixels in tiles"
        )
    _check_structure(stream)


def _check_structure(stream: bytes) -> None:
    """Refuse what others may write: precincts of a few pixels cost kilobytes for each pixel."""
    position = _SIZ.size
    try:
        while (marker := stream[position : position + 2]) != _SOT_MARKER:
            if marker == _COD_MARKER:
                kind, _, layers, _, _, *blocks = _COD.unpack_from(stream, position + 4)
                # No precincts, one layer, blocks of 64x64.
                if (kind, layers, blocks) != (0, 1, [4, 4]):
                    raise BitstreamError("the codestream has other precincts, layers or blocks")
            elif marker not in (_QCD_MARKER, _COM_MARKER):
                raise BitstreamError(f"the codestream has a marker {marker.hex()} in its header")
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        _, _, length, _, _, behind = _SOT.unpack_from(stream, position + 2)
    except struct.error:
        raise BitstreamError("the JPEG 2000 codestream ends within its header") from None
    # The tile has no header of its own, and nothing follows it but the marker EOC.
    if behind != _SOD_MARKER or 0 < length < len(stream) - position - 2:
        raise BitstreamError("the codestream has more than one part of one tile")


@contextmanager
def _temporary_path() -> Iterator[Path]:
    """A path for a codestream: OpenJPEG reads and writes files only. In memory where possible."""
    # A worker has a folder of its own there, which is cleared away whatever becomes of it.
    memory = Path(os.environ.get("LIC_BENCH_MEMORY", "/dev/shm"))  # noqa: S108 - made private
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder) / "stream.j2k"


@cache
def _glymur() -> ModuleType:
    """Import glymur with an OpenJPEG: the system's, or else the one inside Pillow.

    glymur looks for its library once, when it is imported, in its configuration file first: that is
    the documented way to name one.
    """
    earlier = sys.modules.get("glymur")
    if earlier is not None and earlier.version.openjpeg_version == "0.0.0":
        # Somebody imported it before, without a library: that copy is of no use to anyone.
        for name in [name for name in sys.modules if name.partition(".")[0] == "glymur"]:
            del sys.modules[name]
    pillows = _pillows_openjpeg()
    if ctypes.util.find_library("openjp2") is not None or pillows is None:
        return importlib.import_module("glymur")
    before = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "glymur" / "glymurrc"
        configuration.parent.mkdir()
        configuration.write_text(f"[library]\nopenjp2: {pillows}\n")
        os.environ["XDG_CONFIG_HOME"] = folder
        try:
            return importlib.import_module("glymur")
        finally:
            if before is None:
                del os.environ["XDG_CONFIG_HOME"]
            else:
                os.environ["XDG_CONFIG_HOME"] = before


@cache
def _pillows_openjpeg() -> Path | None:
    files = importlib.metadata.files("pillow") or []
    found = [file for file in files if file.name.startswith("libopenjp2")]
    return Path(str(found[0].locate())).resolve() if found else None
