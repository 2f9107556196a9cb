"""VMAF of a still, by libvmaf inside the ffmpeg that imageio-ffmpeg carries.

Z. Li, A. Aaron, I. Katsavounidis, A. Moorthy, M. Manohara, "Toward a practical perceptual video
quality metric", Netflix, 2016; the models vmaf_v0.6.1 and vmaf_v0.6.1neg, which does not reward
contrast. 0 to 100, higher is better. A still has no motion: equal images have 97.43. Not symmetric.

`vmaf` and `vmaf_neg` are of 8-bit BT.709 in limited range, which is what the models were trained
on; `jpegai_vmaf` is of 10 bit in full range, as the JPEG AI common test conditions take it, and up
to 2.8 lower. Both 4:4:4.

How far they are from libvmaf called by hand: docs/metrics.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import MetricError
from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Score, Value
from lic_bench.plugins.programs import ProgramError, call, temporary_folder

_TIMEOUT_S = 300
_BT709 = (0.2126, 0.7152, 0.0722)
_MODELS = {"vmaf": "vmaf_v0.6.1", "vmaf_neg": "vmaf_v0.6.1neg"}
_LEAST = 64  # on 16 samples libvmaf dies, and below 33 equal images have other scores

Planes = NDArray[np.uint8] | NDArray[np.uint16]
"""3 x H x W."""


class Vmaf(Metric):
    """VMAF and VMAF NEG of 8-bit BT.709 in limited range."""

    name = "vmaf"
    label = "VMAF, VMAF NEG"
    scores = (Score("vmaf", "VMAF"), Score("vmaf_neg", "VMAF NEG"))
    least_side = _LEAST
    requires: ClassVar = {"imageio_ffmpeg": "pip install 'lic-bench[vvc]'"}

    def versions(self) -> Mapping[str, str]:
        return _versions()

    def prepare(self, reference: Image) -> Compare:
        return _comparing(reference, _limited, "yuv444p", ("vmaf", "vmaf_neg"))


class JpegAiVmaf(Metric):
    """VMAF of 10-bit BT.709 in full range."""

    name = "jpegai_vmaf"
    label = "VMAF (JPEG AI)"
    least_side = _LEAST
    requires: ClassVar = {"imageio_ffmpeg": "pip install 'lic-bench[vvc]'"}

    def versions(self) -> Mapping[str, str]:
        return _versions()

    def prepare(self, reference: Image) -> Compare:
        compare = _comparing(reference, _full, "yuv444p10le", ("vmaf",))
        return lambda distorted: compare(distorted)["vmaf"]


def _comparing(
    reference: Image, planes: Callable[[Image], Planes], kind: str, names: tuple[str, ...]
) -> Callable[[Image], dict[str, Value]]:
    given = planes(reference).tobytes()
    height, width, _ = reference.shape
    raw = ("-f", "rawvideo", "-s", f"{width}x{height}", "-pix_fmt", kind)
    models = "|".join(f"version={_MODELS[name]}\\:name={name}" for name in names)
    graph = f"[0:v][1:v]libvmaf=model='{models}':log_fmt=json:log_path=out.json:n_threads=1"

    def compare(distorted: Image) -> dict[str, Value]:
        with temporary_folder() as folder:
            (folder / "reference.yuv").write_bytes(given)
            (folder / "distorted.yuv").write_bytes(planes(distorted).tobytes())
            inputs = [*raw, "-i", "distorted.yuv", *raw, "-i", "reference.yuv"]
            command = [_ffmpeg(), "-hide_banner", "-nostdin", *inputs, "-lavfi", graph]
            try:
                call([*command, "-f", "null", "-"], folder, _TIMEOUT_S)
                found = json.loads((folder / "out.json").read_text())["pooled_metrics"]
                values = {name: float(found[name]["mean"]) for name in names}
            except (ProgramError, OSError, ValueError, KeyError, TypeError) as error:
                raise MetricError(f"ffmpeg gave no VMAF: {error}") from error
        return dict(values)

    return compare


def _planes(image: Image) -> NDArray[np.float64]:
    """Y' in 0 to 1, Cb and Cr in -1/2 to 1/2, of BT.709: 3 x H x W."""
    rgb = image / 255
    y = rgb @ np.array(_BT709)
    return np.stack([y, (rgb[..., 2] - y) / 1.8556, (rgb[..., 0] - y) / 1.5748])


def _limited(image: Image) -> Planes:
    scaled = _planes(image) * np.array([219, 224, 224])[:, None, None]
    return np.asarray(np.rint(scaled + np.array([16, 128, 128])[:, None, None]), dtype=np.uint8)


def _full(image: Image) -> Planes:
    """Codes of 10 bit, of R'G'B' that were rounded to 10 bit first."""
    ten = np.rint(image / 255 * 1023) / 1023
    y = ten @ np.array(_BT709)
    planes = np.stack([y, (ten[..., 2] - y) / 1.8556 + 0.5, (ten[..., 0] - y) / 1.5748 + 0.5])
    return np.asarray(np.rint(np.clip(planes, 0, 1) * 1023), dtype="<u2")


def _ffmpeg() -> str:
    from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]

    return str(get_ffmpeg_exe())


@cache
def _versions() -> Mapping[str, str]:
    import imageio_ffmpeg

    with temporary_folder() as folder:
        said = call([_ffmpeg(), "-version"], folder, 20)
    found = re.search(r"ffmpeg version (\S+)", said)
    return {
        "imageio-ffmpeg": imageio_ffmpeg.__version__,
        "ffmpeg": found[1] if found else "",
    }
