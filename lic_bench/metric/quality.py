"""The qualities that a rate-distortion curve can show, each a metric averaged by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import check_known

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A quality that a curve can show: larger is better, in dB, infinite where nothing is lost."""

    name: str
    label: str  # of an axis, with the unit
    rule: str  # how the images of a data set became one figure
    value: str  # column of the aggregate
    images: str  # column of the measurements that is averaged
    rate: str = "bpp"  # column of the aggregate

    @property
    def pooled(self) -> bool:
        """Whether an image counts as much as it has pixels."""
        return self.rate == "bpp_pooled"

    def from_mean(self, mean: Array) -> Array:
        """The metric, in dB, from the mean of `images` over the images."""
        if self.images.endswith("_db"):
            return mean
        with np.errstate(divide="ignore"):
            loss = mean / 255**2 if self.images == "mse_rgb" else 1 - mean
            return np.asarray(-10 * np.log10(loss))


QUALITIES = {
    metric.name: metric
    for metric in (
        Metric(
            "psnr_rgb", "PSNR (RGB) [dB]", "mean of per-image PSNR", "psnr_rgb_db", "psnr_rgb_db"
        ),
        Metric(
            "psnr_rgb_pooled",
            "PSNR (RGB) [dB]",
            "errors and bits pooled over all pixels",
            "psnr_rgb_pooled_db",
            "mse_rgb",
            "bpp_pooled",  # the rule of CLIC 2018 pools both
        ),
        Metric(
            "psnr_y", "PSNR (Y, BT.601) [dB]", "mean of per-image PSNR", "psnr_y_db", "psnr_y_db"
        ),
        Metric(
            "psnr_y709",
            "PSNR (Y, BT.709) [dB]",
            "mean of per-image PSNR",
            "psnr_y709_db",
            "psnr_y709_db",
        ),
        Metric("ssim_rgb", "SSIM (RGB) [dB]", "dB of the mean SSIM", "ssim_rgb_db", "ssim_rgb"),
        Metric("ssim_y", "SSIM (Y) [dB]", "dB of the mean SSIM", "ssim_y_db", "ssim_y"),
        Metric(
            "ms_ssim_rgb",
            "MS-SSIM (RGB) [dB]",
            "dB of the mean MS-SSIM",
            "ms_ssim_rgb_db",
            "ms_ssim_rgb",
        ),
        Metric(
            "ms_ssim_y", "MS-SSIM (Y) [dB]", "dB of the mean MS-SSIM", "ms_ssim_y_db", "ms_ssim_y"
        ),
    )
}
"""What `--metric` can name."""


def metric_named(name: str) -> Metric:
    """Return the metric of this name, or raise a SpecError that lists those that there are."""
    check_known("metric", name, QUALITIES)
    return QUALITIES[name]
