"""Pairs of a Kodak image and a distorted one, and what reference programs say of them.

`reference_scores.csv` beside this holds, for each pair, the SHA-256 of the distorted image's
samples and the scores; `METRICS` says which programs they are of. They were made with
libjpeg-turbo 3.2.0 and libwebp 1.6.0: where another version decodes to other samples, a pair has no
scores.
"""

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

from lic_bench import Image, UnavailableError, read_image
from lic_bench.metric.base import Comparison
from lic_bench.metric.base import Metric as LicBenchMetric
from lic_bench.metrics.butteraugli import Butteraugli
from lic_bench.metrics.colour import Plane, jpeg_ai_luma, luma, studio_luma
from lic_bench.metrics.cvvdp import Cvvdp
from lic_bench.metrics.dists import Dists
from lic_bench.metrics.fsim import fsim
from lic_bench.metrics.gmsd import gmsd
from lic_bench.metrics.haarpsi import haarpsi
from lic_bench.metrics.iw_ssim import iw_ssim
from lic_bench.metrics.jpegai_ms_ssim import JpegAiMsSsim
from lic_bench.metrics.lpips import Lpips, LpipsVgg
from lic_bench.metrics.nlpd import nlpd
from lic_bench.metrics.psnr_hvs import psnr_hvs
from lic_bench.metrics.ssimulacra2 import ssimulacra2
from lic_bench.metrics.vif import vif
from lic_bench.metrics.vmaf import JpegAiVmaf, Vmaf

Metric = Callable[[Image, Image], float | None]

SCORES = Path(__file__).with_name("reference_scores.csv")


def _of(metric: Callable[[Plane, Plane], Any], plane: Callable[[Image], Plane]) -> Metric:
    return lambda reference, distorted: metric(plane(reference), plane(distorted))


def _hvs(which: int, plane: Callable[[Image], Plane]) -> Metric:
    # The program says 100 dB where nothing can be seen, and never more.
    return _of(lambda reference, distorted: min(psnr_hvs(reference, distorted)[which], 100), plane)


def _plugin(cls: type[LicBenchMetric], column: str) -> Metric:
    return lambda reference, distorted: Comparison(cls(), reference).compare(distorted)[column]


def _network(cls: type[Lpips | LpipsVgg | Dists], file: str) -> Metric:
    """With torchvision's weights in the folder that `LIC_BENCH_BACKBONES` names."""

    def compare(reference: Image, distorted: Image) -> float:
        path = Path(os.environ.get("LIC_BENCH_BACKBONES", "."), file)
        if not path.is_file():
            raise UnavailableError(f"LIC_BENCH_BACKBONES names no folder with {file}")
        value = cls(str(path)).prepare(reference)(distorted)
        assert isinstance(value, float)
        return value

    return compare


def _cvvdp(reference: Image, distorted: Image) -> float | None:
    if problem := Cvvdp.unavailable():
        raise UnavailableError(problem)
    return Comparison(Cvvdp(), reference).compare(distorted)["cvvdp_jod"]


_ALEXNET, _VGG16 = "alexnet-features.safetensors", "vgg16-features.safetensors"

METRICS: dict[str, tuple[Metric, float, str]] = {
    "ssimulacra2": (ssimulacra2, 1e-3, "`ssimulacra2` of libjxl 0.11.2"),
    "butteraugli": (
        _plugin(Butteraugli, "butteraugli"),
        1e-3,
        "`butteraugli_main` of libjxl 0.11.2, first line",
    ),
    "butteraugli_3norm": (
        _plugin(Butteraugli, "butteraugli_3norm"),
        1e-4,
        "`butteraugli_main` of libjxl 0.11.2, 3-norm",
    ),
    "psnr_hvs": (_hvs(0, studio_luma), 1e-3, "psnr-hvsm 0.3.0, studio-range luma"),
    "psnr_hvs_m": (_hvs(1, studio_luma), 1e-3, "psnr-hvsm 0.3.0, studio-range luma"),
    "jpegai_psnr_hvs": (_hvs(0, jpeg_ai_luma), 1e-3, "psnr-hvsm 0.3.0, JPEG AI's luma"),
    "vif_p": (_of(vif, luma), 1e-5, "piq 0.8.0, float64"),
    "jpegai_vif": (_of(vif, jpeg_ai_luma), 2e-3, "IQA-pytorch 0.1, JPEG AI's luma, float32"),
    "jpegai_nlpd": (_of(nlpd, jpeg_ai_luma), 1e-5, "IQA-pytorch 0.1, JPEG AI's luma, float32"),
    "fsim": (lambda x, y: (fsim(x, y) or (None,))[0], 1e-5, "piq 0.8.0, float64"),
    "fsimc": (lambda x, y: (fsim(x, y) or (None,))[-1], 1e-5, "piq 0.8.0, float64"),
    "iw_ssim": (_of(iw_ssim, luma), 1e-4, "piq 0.8.0, float64"),
    "gmsd": (gmsd, 1e-5, "piq 0.8.0, float64"),
    "jpegai_ms_ssim": (
        _plugin(JpegAiMsSsim, "jpegai_ms_ssim"),
        1e-4,
        "pytorch-msssim 1.0.0, JPEG AI's luma, float32",
    ),
    "vmaf": (_plugin(Vmaf, "vmaf"), 1e-3, "libvmaf of imageio-ffmpeg 0.8.1"),
    "vmaf_neg": (_plugin(Vmaf, "vmaf_neg"), 1e-3, "libvmaf of imageio-ffmpeg 0.8.1"),
    "jpegai_vmaf": (_plugin(JpegAiVmaf, "jpegai_vmaf"), 5e-3, "libvmaf of imageio-ffmpeg 0.8.1"),
    "haarpsi": (haarpsi, 1e-5, "piq 0.8.0, float64"),
    "lpips_alex": (_network(Lpips, _ALEXNET), 1e-5, "lpips 0.1.4"),
    "lpips_vgg": (_network(LpipsVgg, _VGG16), 1e-5, "lpips 0.1.4"),
    "dists": (_network(Dists, _VGG16), 1e-5, "DISTS-pytorch 0.1, native size"),
    "cvvdp": (_cvvdp, 1e-4, "cvvdp 0.5.7, standard_4k, called by hand"),
}
"""Our metric by the column of the scores, how far it may be away, and what the scores are of."""


def _coded(format_: str, quality: int) -> Callable[[Image], Image]:
    def through(image: Image) -> Image:
        stream = io.BytesIO()
        PillowImage.fromarray(image).save(stream, format_, quality=quality)
        return np.asarray(PillowImage.open(stream).convert("RGB"))

    return through


def _bytes(samples: np.ndarray) -> Image:
    return np.rint(np.clip(samples, 0, 255)).astype(np.uint8)


DISTORTIONS: dict[str, Callable[[Image], Image]] = {
    "identical": lambda image: image,
    **{f"jpeg-{quality}": _coded("JPEG", quality) for quality in (5, 10, 30, 50, 75, 95)},
    **{f"webp-{quality}": _coded("WEBP", quality) for quality in (10, 60)},
    "blur-1.5": lambda image: _bytes(gaussian_filter(image.astype(np.float64), (1.5, 1.5, 0))),
    "noise-10": lambda image: _bytes(image + np.random.default_rng(0).normal(0, 10, image.shape)),
    "shift": lambda image: _bytes(1.05 * image + 5),
}


def pairs(
    kodak: Path, only: set[tuple[str, str]] | None = None
) -> Iterator[tuple[str, Image, Image, dict[str, float]]]:
    """The pairs that can be made here: name, reference, distorted, the score of each program."""
    with SCORES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image, distortion, sha256 = row.pop("image"), row.pop("distortion"), row.pop("sha256")
        if only is not None and (image, distortion) not in only:
            continue
        reference = read_image(kodak / f"{image}.png")
        distorted = DISTORTIONS[distortion](reference)
        if hashlib.sha256(distorted.tobytes()).hexdigest() == sha256:
            scores = {name: float(score) for name, score in row.items()}
            yield f"{image} {distortion}", reference, distorted, scores
