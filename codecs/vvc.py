"""VVC intra: vvenc and FFmpeg's decoder, as programs of the ffmpeg that imageio-ffmpeg carries.

vvenc knows 4:2:0 only. A stream is one byte, which says how many columns and rows at the right and
the bottom (four bits each) only fill the picture up to a size that vvenc takes, then the bare VVC
bitstream.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from lic_bench import (
    MAXIMUM_PIXELS,
    BitstreamError,
    Codec,
    Point,
    SpecError,
    UnavailableError,
)

if TYPE_CHECKING:
    from lic_bench import Image

_SMALLEST = 16  # the sides of vvenc's smallest picture
_DECODE_TIMEOUT_S = 120.0

_QUIET = ["-hide_banner", "-loglevel", "error"]
# YUV4MPEG2, raw samples under a line that says their size, is what goes in and comes out. Nothing
# then scales them, whatever range ffmpeg takes them to have.
_Y4M_INPUT = ["-f", "yuv4mpegpipe", "-i", "pipe:0"]
_Y4M_OUTPUT = ["-f", "yuv4mpegpipe", "-strict", "-1", "pipe:1"]

Preset = Literal["faster", "fast", "medium", "slow", "slower"]


class Vvc(Codec):
    """VVC intra (vvenc, 4:2:0, 10 bits, bare bitstream).

    Parameters
    ----------
    preset
        vvenc's: from fast to small.
    """

    name = "vvc"
    points = (50, 46, 42, 38, 34, 30, 26, 22)
    point_unit = "QP"
    point_range = (63, 0)
    requires: ClassVar = {"imageio_ffmpeg": "pip install 'lic-bench[vvc]'"}

    def __init__(self, preset: Preset = "medium") -> None:
        self._preset = preset

    def versions(self) -> Mapping[str, str]:
        return dict(_versions())

    def encode(self, image: Image, point: Point) -> bytes:
        import numpy as np

        self.check_point(point)
        sides = image.shape[:2]
        missing = [max(_SMALLEST, side + side % 2) - side for side in sides]
        padded = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
        try:
            bitstream, _ = _encode(padded, ["-preset", self._preset, "-qp", str(point)], _QUIET)
        except RuntimeError as error:
            # What ffmpeg keeps for the bitstream is one byte for each pixel.
            raise SpecError(
                f"vvc: there is no stream at QP {point} ({error}); "
                "if this picture needs more than 8 bpp there, choose a higher QP"
            ) from error
        return bytes([missing[0] << 4 | missing[1]]) + bitstream

    def decode(self, stream: bytes) -> Image:
        if not stream[1:]:
            raise BitstreamError("the VVC stream ends within its header")
        limits = ["-max_pixels", str(MAXIMUM_PIXELS), "-err_detect", "explode", "-xerror"]
        source = ["-threads", "1", *limits, "-f", "vvc", "-i", "pipe:0"]
        try:
            output, _ = _ffmpeg(
                # Two pictures are as wrong as any number, which would have to be kept in memory.
                [*_QUIET, *source, "-frames:v", "2", *_Y4M_OUTPUT],
                stream[1:],
                _DECODE_TIMEOUT_S,
            )
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise BitstreamError(f"the VVC stream does not decode: {error}") from error
        image = _from_y4m(output)
        height, width = image.shape[0] - (stream[0] >> 4), image.shape[1] - (stream[0] & 15)
        if height < 1 or width < 1:
            raise BitstreamError("the VVC stream is damaged: its picture is smaller than its rim")
        return image[:height, :width].copy()


def _encode(image: Image, options: list[str], log: list[str]) -> tuple[bytes, str]:
    """Encode a picture of a size that vvenc takes; its bitstream, and what ffmpeg said."""
    timeout_s = 60 + 1e-3 * image.size  # many times what the slowest preset takes
    coder = ["-c:v", "libvvenc", "-qpa", "0", "-threads", "1", *options, "-f", "vvc"]
    # vvenc prints warnings to the standard output: the bitstream has to go elsewhere.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.266"
        arguments = [*log, *_Y4M_INPUT, *coder, str(path)]
        _, words = _ffmpeg(arguments, _to_y4m(image), timeout_s)
        return path.read_bytes(), words


def _to_y4m(image: Image) -> bytes:
    """A picture as YUV4MPEG2, which says its size: what goes into the encoder."""
    from lic_bench.codecs import ycbcr

    y, cb, cr = ycbcr.from_rgb(image)
    planes = [y, ycbcr.halved(cb), ycbcr.halved(cr)]
    height, width = y.shape
    header = f"YUV4MPEG2 W{width} H{height} F1:1 Ip C420p10 XCOLORRANGE=FULL\nFRAME\n".encode()
    return header + b"".join(ycbcr.samples(p).astype("<u2").tobytes() for p in planes)


def _from_y4m(output: bytes) -> Image:
    """The picture that came out of the decoder.

    Raises
    ------
    BitstreamError
        Where it is not one picture in 4:2:0 and 10 bits.
    """
    import numpy as np

    from lic_bench.codecs import ycbcr

    header = re.match(rb"YUV4MPEG2 W(\d+) H(\d+) [^\n]* C420p10 [^\n]*\nFRAME\n", output)
    if header is None:
        raise BitstreamError("the VVC stream holds no picture in 4:2:0 and 10 bits")
    width, height = int(header[1]), int(header[2])
    if width % 2 or height % 2 or len(output) != header.end() + 3 * width * height:
        raise BitstreamError("the VVC stream does not hold exactly one picture of even sides")
    samples = np.frombuffer(output, "<u2", offset=header.end()).astype(np.float32)
    y, chroma = np.split(samples, [width * height])
    cb, cr = chroma.reshape(2, height // 2, width // 2)
    return ycbcr.to_rgb(y.reshape(height, width), ycbcr.doubled(cb), ycbcr.doubled(cr))


def _ffmpeg(arguments: list[str], data: bytes, timeout_s: float) -> tuple[bytes, str]:
    """Run the program with data on its standard input; what it wrote, and what it said.

    Raises
    ------
    RuntimeError
        With the program's first words, where it fails.
    subprocess.TimeoutExpired
        Where it takes too long; it is then stopped.
    """
    from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]

    command = [get_ffmpeg_exe(), *arguments]
    done = subprocess.run(  # noqa: S603 - no shell; only our own words
        command, input=data, capture_output=True, timeout=timeout_s, check=False
    )
    words = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        why = words.strip().partition("\n")[0]
        raise RuntimeError(f"ffmpeg failed ({done.returncode}): {why}")
    return done.stdout, words


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Of the wrapper, the program and vvenc inside it, which say so when they work."""
    import imageio_ffmpeg
    import numpy as np

    smallest = np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8)
    try:
        _, words = _encode(smallest, [], ["-loglevel", "verbose"])
    except RuntimeError as error:
        raise UnavailableError(
            f"this ffmpeg does not encode VVC ({error}); "
            "leave IMAGEIO_FFMPEG_EXE unset to use the one that imageio-ffmpeg carries"
        ) from error
    ffmpeg, vvenc = (
        found[1] if (found := re.search(pattern, words)) else "unknown"
        for pattern in (r"ffmpeg version (\S+)", r"libvvenc version: (\S+)")
    )
    return (
        ("imageio-ffmpeg", imageio_ffmpeg.__version__),
        ("ffmpeg", ffmpeg),
        ("vvenc", vvenc),
    )
