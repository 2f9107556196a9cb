"""Targets that codecs are compared at, image by image: a rate, or a quality."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lic_bench.errors import SpecError, check_known
from lic_bench.metric.quality import Array, Quality, full_name, known_qualities

if TYPE_CHECKING:
    import pandas as pd

RATE = "bpp"

_RATE_WITHIN = math.log(1.005)
_QUALITY_WITHIN = 0.02
_RATE_MISSED = math.log(1.05)
_QUALITY_MISSED = 0.2


@dataclass(frozen=True)
class Target:
    """A rate, in bits per pixel, or a quality, in its unit. `str()` gives "bpp=0.25"."""

    name: str
    """``bpp``, or that of a quality."""
    value: float

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"

    @property
    def metric(self) -> Quality | None:
        """The quality that is wanted; none where it is a rate."""
        return known_qualities().get(self.name)

    @property
    def images(self) -> str:
        """The column of the measurements that it is a value of, or was made from."""
        return RATE if self.metric is None else self.metric.images

    @property
    def text(self) -> str:
        """As people read it: ``0.25 bpp``, ``PSNR (RGB) 32 dB``."""
        if self.metric is None:
            return f"{self.value:g} bpp"
        return f"{self.metric.label} {self.value:g} {self.metric.unit}".rstrip()

    @property
    def within(self) -> float:
        """The deviation, in the unit of `over`, at which a search may rest."""
        return _RATE_WITHIN if self.metric is None else self._share(_QUALITY_WITHIN)

    @property
    def tolerance(self) -> float:
        """The deviation, in the unit of `over`, beyond which an image misses the target."""
        return _RATE_MISSED if self.metric is None else self._share(_QUALITY_MISSED)

    def _share(self, db: float) -> float:
        """So many dB; of a quality in another unit, as large a share of the value as at 10 dB."""
        in_db = self.metric is None or self.metric.unit == "dB"
        return db if in_db else db / 10 * abs(self.value)

    def over(self, measurements: Mapping[Any, Any] | pd.DataFrame) -> Array:
        """How far measurements are over the target.

        Parameters
        ----------
        measurements
            One, or a table of them: ``bpp``, and the metrics by name.

        Returns
        -------
        The logarithm of the ratio of rates, or the difference of the qualities: negative where the
        target is not reached, whichever way the metric runs; NaN where one is missing. One for
        each measurement.
        """
        if self.metric is None:
            rate = np.asarray(measurements[RATE], dtype=np.float64)
            return np.asarray(np.log(rate / self.value))
        quality = np.asarray(measurements[self.metric.images], dtype=np.float64)
        if self.metric.scale == "dB of an index":
            # The SSIM of a lossless image is 1 but for rounding, which dB would blow up.
            mse = np.asarray(measurements["mse_rgb"], dtype=np.float64)
            quality = np.where(mse == 0, 1.0, quality)
        return np.asarray(self.metric.sign * (self.metric.from_mean(quality) - self.value))


def parse_target(text: str) -> Target:
    """Read ``bpp=0.25`` or ``psnr_rgb=32``.

    Raises
    ------
    SpecError
        Where that is no target.
    """
    name, _, number = (part.strip() for part in text.partition("="))
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    name, known = RATE if name == RATE else full_name(name), known_qualities()
    positive = name not in known or known[name].unit == "dB"
    if not math.isfinite(value) or (positive and value <= 0):
        raise SpecError(f"{text!r} is no target: one looks like bpp=0.25 or psnr_rgb=32")
    if name in known and known[name].pooled:
        raise SpecError(f"{text}: {name} is of a whole data set, not of an image; take psnr_rgb")
    check_known("target", name, [RATE, *(n for n, quality in known.items() if not quality.pooled)])
    if name in known and known[name].scale == "dB of an index" and value < 1:
        db = -10 * math.log10(1 - value)
        raise SpecError(f"{text}: SSIM and MS-SSIM are given in dB: {value:g} is {name}={db:.2f}")
    return Target(name, value)
