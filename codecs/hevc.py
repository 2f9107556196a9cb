"""HEVC intra: x265 through FFmpeg's libraries (PyAV), as a bare bitstream in 4:4:4 and 10 bits.

This is what the picture format BPG holds, with no container at all: parameter sets and one picture.
The sequence parameter set carries the size and says that the samples are BT.601 in full range.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

from lic_bench import MAXIMUM_PIXELS, BitstreamError, Codec, Point

if TYPE_CHECKING:
    import numpy as np
    from av import VideoFrame
    from numpy.typing import NDArray

    from lic_bench import Image

_FORMAT = "yuv444p10le"
_SMALLEST = 16  # the side of x265's smallest coding tree unit: no picture is smaller

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"]


class Hevc(Codec):
    """HEVC intra (x265, 4:4:4, 10 bits, bare bitstream): what BPG is.

    Parameters
    ----------
    preset
        x265's: from fast to small.
    """

    name = "hevc"
    points = (47, 44, 41, 38, 35, 32, 29, 26, 23)
    point_unit = "QP"
    point_range = (51, 0)
    requires: ClassVar = {"av": "pip install 'lic-bench[hevc]'"}

    def __init__(self, preset: Preset = "slower") -> None:
        self._preset = preset

    def versions(self) -> Mapping[str, str]:
        import av

        libavcodec = ".".join(map(str, av.library_versions["libavcodec"]))
        return {"pyav": av.__version__, "libavcodec": libavcodec, "x265": _x265_version()}

    def encode(self, image: Image, point: Point) -> bytes:
        self.check_point(point)
        return _encode(image, self._preset, qp=point, info=0)

    def decode(self, stream: bytes) -> Image:
        import av
        import numpy as np

        from lic_bench.codecs import ycbcr

        _check_units(stream)
        decoder = av.CodecContext.create("hevc", "r")
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(MAXIMUM_PIXELS), "err_detect": "explode"}
        try:
            frames = [*decoder.decode(av.Packet(stream)), *decoder.decode(None)]
        except Exception as error:
            raise BitstreamError(f"the HEVC stream does not decode: {error}") from error
        if len(frames) != 1 or frames[0].is_corrupt or frames[0].format.name != _FORMAT:
            raise BitstreamError(
                "the HEVC stream does not hold one whole picture in 4:4:4, 10 bits"
            )
        return ycbcr.to_rgb(*(plane.astype(np.float32) for plane in _planes(frames[0])))


def _encode(image: Image, preset: str, **parameters: object) -> bytes:
    import av
    import numpy as np

    from lic_bench.codecs import ycbcr

    sides = image.shape[:2]
    missing = [max(_SMALLEST, -side // 8 * -8) - side for side in sides]
    padded = np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
    parameters |= {
        "keyint": 1,
        # HEVC lowers the QP of chroma by a table, by up to 6, but not so in 4:4:4.
        "cbqpoffs": -3,
        "crqpoffs": -3,
        "range": "full",
        "colormatrix": "bt470bg",  # BT.601
        "pools": "none",
        "frame-threads": 1,
        "log-level": "none",
    }
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = padded.shape[1], padded.shape[0], _FORMAT
    encoder.time_base = Fraction(1)
    encoder.options = {
        "preset": preset,
        "tune": "psnr",
        "x265-params": ":".join(f"{name}={value}" for name, value in parameters.items()),
    }
    frame = av.VideoFrame(encoder.width, encoder.height, _FORMAT)
    for plane, values in zip(_planes(frame), ycbcr.from_rgb(padded), strict=True):
        plane[:] = ycbcr.samples(values)
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    if any(missing):
        crop = f"hevc_metadata=crop_bottom={missing[0]}:crop_right={missing[1]}"
        window = av.BitStreamFilterContext(crop, "hevc")
        packets = [cut for packet in [*packets, None] for cut in window.filter(packet)]
    return b"".join(map(bytes, packets))


def _check_units(stream: bytes) -> None:
    """Refuse what is not one picture, before the decoder keeps any number of them in memory."""
    # The six bits behind a start code (H.265, 7.3.1.2): parameter sets of video, sequence and
    # picture, then a picture that stands alone, in one slice.
    units = [header[0] >> 1 & 63 for header in re.findall(rb"\x00\x00\x01(.)", stream, re.DOTALL)]
    if units not in ([32, 33, 34, 19], [32, 33, 34, 20]):
        raise BitstreamError("the HEVC stream does not hold one picture and its parameter sets")


def _planes(frame: VideoFrame) -> list[NDArray[np.uint16]]:
    """The samples of a frame, not copied: three arrays, H x W."""
    import numpy as np

    arrays = (np.frombuffer(plane, "<u2") for plane in frame.planes)  # type: ignore[call-overload]
    return [array.reshape(frame.height, -1)[:, : frame.width] for array in arrays]


@cache
def _x265_version() -> str:
    """Ask x265 itself: it signs a stream unless told not to."""
    import numpy as np

    signed = _encode(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8), "ultrafast", info=1)
    signature = re.search(rb"x265 \(build \d+\) - ([\w.+-]+)", signed)
    return signature[1].decode() if signature else "unknown"
