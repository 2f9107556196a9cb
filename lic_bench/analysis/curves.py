"""From measurements to rate-distortion curves, and from two curves to a BD-rate.

How many images become one figure is never implied: each way of averaging is a column, or a metric,
with a name of its own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lic_bench.analysis.anchor import USUAL
from lic_bench.analysis.interpolation import (
    Method,
    Pieces,
    mean_difference,
    mean_difference_of,
)
from lic_bench.errors import UndefinedError, check_known, find_known
from lic_bench.metric.quality import QUALITIES, Array, measured_quality, metric_named, qualities_in
from lic_bench.store.table import spelled

_KEY = ["dataset", "codec", "point"]
_PSNR = ["psnr_rgb_db", "psnr_y_db", "psnr_y709_db"]
_SSIM = ["ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"]
_SECONDS = ["encode_s", "decode_s"]


def aggregate(measurements: pd.DataFrame) -> pd.DataFrame:
    """Average the images of each data set: one row per data set, codec and operating point.

    Data sets and codecs keep the order in which they first appear; points go by `point_index`.
    Beside those four columns there are

    - `images`, `failed`: how many images were measured, and how many failed;
    - `dataset_images`: how many images the data set has;
    - `complete`: every image of the table was measured at this point, those aside on which
      everything failed (damaged files). Only such points can be compared with each other. Of a
      table of some of a data set's images, the averages are over these;
    - `bpp`: the mean of the images' bits per pixel; `bpp_pooled`: all bits over all pixels;
    - `psnr_rgb_db`, `psnr_y_db` (BT.601), `psnr_y709_db`: the mean of the images' PSNR, which is
      the habit on Kodak;
    - `psnr_rgb_pooled_db`: the PSNR of one mean squared error over all RGB samples of the data
      set, the rule of the CLIC 2018 challenge;
    - `ssim_rgb`, `ssim_y`, `ms_ssim_rgb`, `ms_ssim_y`: means; the same with `_db`: -10 log10(1 -
      mean), the dB of the mean, which is never more than the mean of the images' dB;
    - the figures of other metrics that the table has: means;
    - `encode_s`, `decode_s`: means, in seconds.

    All are means over the images measured at that point. A figure that is missing for one of them
    is missing here (NaN): nothing is averaged over fewer images than its neighbours.

    Rows without an image are averages already that were imported. They stay as they are, as
    complete points of 0 images; their one rate is both `bpp` and `bpp_pooled`.

    What a search alone tried (`searched`) is left out.

    Raises UndefinedError where an image was measured twice at one point.
    """
    if "searched" in measurements:
        measurements = measurements[~measurements["searched"]]
    twice = measurements[measurements.duplicated([*_KEY, "image"])]
    if not twice.empty:
        dataset, codec, point, image = twice.iloc[0][[*_KEY, "image"]]
        raise UndefinedError(
            f"{image} of {dataset} is there twice for {codec} at point {point}: "
            "average one run, not several."
        )
    others = [one.value for one in qualities_in(measurements) if one.name not in QUALITIES]
    columns = ["width", "height", "bytes", "mse_rgb", "bpp", *_PSNR, *_SSIM, *others, *_SECONDS]
    samples = measurements[columns].astype("float64")
    pixels = samples["width"] * samples["height"]
    samples = samples.assign(
        measured=1, pixels=pixels, bits=8 * samples["bytes"], squares=samples["mse_rgb"] * pixels
    ).astype("float64")
    samples[measurements["error"].notna().to_numpy()] = np.nan
    groups = samples.groupby([measurements[name] for name in _KEY], sort=False, dropna=False)
    rows = measurements.groupby(_KEY, sort=False, dropna=False)
    images = groups["measured"].count()
    averaged = rows["image"].count() == 0
    sums = groups.sum().where(groups.count().eq(images, axis=0))
    means = sums.div(images, axis=0)
    mse = (sums["squares"] / sums["pixels"]).mask(averaged, means["mse_rgb"])

    frame = pd.DataFrame(
        {
            "point_index": rows["point_index"].min(),
            "images": images.mask(averaged, 0),
            "failed": rows.size() - images,
            "dataset_images": rows["dataset_images"].max(),
            "bpp": means["bpp"],
            "bpp_pooled": (sums["bits"] / sums["pixels"]).mask(averaged, means["bpp"]),
            **{name: means[name] for name in _PSNR},
            "psnr_rgb_pooled_db": _db(mse / 255**2),
            **{name: means[name] for name in _SSIM},
            # The SSIM of a lossless image is 1 but for rounding, which dB would blow up.
            **{f"{name}_db": _db((1 - means[name]).mask(mse == 0, 0)) for name in _SSIM},
            **{name: means[name] for name in (*others, *_SECONDS)},
        }
    ).reset_index()
    size = frame["dataset"].map(_sizes(measurements))
    whole = (frame["images"] == size) & (size > 0)
    frame.insert(7, "complete", whole | averaged.to_numpy())
    order = np.lexsort(
        (
            frame["point_index"].to_numpy(),
            pd.factorize(frame["codec"])[0],
            pd.factorize(frame["dataset"])[0],
        )
    )
    ordered: pd.DataFrame = frame.iloc[order].reset_index(drop=True)
    return ordered


def averages_of_curves(measurements: pd.DataFrame) -> pd.DataFrame:
    """Average as `aggregate` does, where there is a curve.

    Raises
    ------
    UndefinedError
        Where a search alone tried every point, as `run --profile` has it.
    """
    averages = aggregate(measurements)
    if averages.empty and not measurements.empty:
        targets = sorted({target for text in measurements["matches"] for target in text.split()})
        shown = f"; table --match {targets[0]} compares what was found" if targets else ""
        raise UndefinedError(
            "There are no curves here: all points are of a search, as run --profile makes it"
            f"{shown}. A run without --profile measures curves."
        )
    return averages


def _sizes(measurements: pd.DataFrame) -> dict[str, int]:
    """How many images of each data set there are, less those on which everything failed."""
    sizes = {}
    for dataset, rows in measurements.groupby("dataset"):
        failed = rows["error"].notna().groupby(rows["image"]).all()
        sizes[str(dataset)] = int((~failed).sum())
    return sizes


def _db(loss: "pd.Series[float]") -> "pd.Series[float]":
    with np.errstate(divide="ignore"):
        return pd.Series(-10 * np.log10(loss.clip(lower=0)))


@dataclass(frozen=True)
class Curve:
    """The rate-distortion curve of one codec on one data set, from its first point to its last."""

    dataset: str
    codec: str
    metric: str
    bpp: NDArray[np.float64]
    """Rates in bits per pixel, shape (n,)."""
    value: NDArray[np.float64]
    """Qualities in the metric's unit, shape (n,), finite."""
    points: tuple[str, ...]
    """The n operating points; empty text for the point of a codec that has but one."""
    left_out: tuple[str, ...] = ()
    """For each reason why points are not on the curve: "lossless on an image: 90, 100"."""


def curve(aggregated: pd.DataFrame, dataset: str, codec: str, metric: str = "psnr_rgb") -> Curve:
    """Take one curve out of what `aggregate` returned.

    Points that were not measured on every image, or whose metric is missing or infinite, are left
    out, and `left_out` says so.

    Raises SpecError if there is no such metric, data set, or codec on that data set.
    """
    kind = measured_quality(metric, aggregated)
    metric = kind.name
    check_known("data set", dataset, aggregated["dataset"].unique())
    rows = aggregated[aggregated["dataset"] == dataset]
    check_known(f"codec measured on {dataset}", codec, rows["codec"].unique())
    rows = rows[rows["codec"] == codec]
    points = spelled(rows["point"])
    reason = np.select(
        [
            ~rows["complete"],
            rows[kind.value].isna() & (rows["images"] == 0),
            rows[kind.value].isna(),
            np.isinf(rows[kind.value]),
        ],
        [
            "not measured on every image",
            f"no {metric}",  # of averages
            f"{metric} missing on an image",
            "lossless on an image",
        ],
        default="",
    )
    drawn = reason == ""
    return Curve(
        dataset,
        codec,
        metric,
        rows.loc[drawn, kind.rate].to_numpy(),
        rows.loc[drawn, kind.value].to_numpy(),
        tuple(points[drawn]),
        tuple(
            f"{why}: {', '.join(some)}".removesuffix(": ")
            for why, some in points[~drawn].groupby(reason[~drawn], sort=False)
        ),
    )


@dataclass(frozen=True)
class BDRate:
    """A BD-rate, or why there is none. `str()` gives "-23.4 %" or "undefined: …"."""

    percent: float | None = None
    """Change of rate from anchor to test at equal quality; negative: the test saves bits."""
    overlap: tuple[float, float] | None = None
    """The interval of quality, in the metric's unit, over which it was integrated."""
    reason: str | None = None
    """Why it is undefined."""

    def __str__(self) -> str:
        return f"undefined: {self.reason}" if self.percent is None else f"{self.percent:+z.1f} %"


@dataclass(frozen=True)
class BDQuality:
    """A Bjøntegaard delta of quality (BD-PSNR), or why there is none. `str()` gives "+0.52 dB"."""

    value: float | None = None
    """Change of the metric from anchor to test at equal rate, in its unit.

    Positive: the test is better; but for metrics of which less is better, where it is worse.
    """
    overlap: tuple[float, float] | None = None
    """The interval of rate, in bits per pixel, over which it was integrated."""
    reason: str | None = None
    """Why it is undefined."""
    unit: str = "dB"

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined: {self.reason}"
        digits = 2 if self.unit == "dB" else 4
        return f"{self.value:+z.{digits}f} {self.unit}".rstrip()


def bd_rate(anchor: Curve, test: Curve, method: Method = "pchip") -> BDRate:
    """Compute the Bjøntegaard delta rate of a curve against an anchor.

    The mean, over the interval of quality that both curves cover, of the difference between their
    log rates, expressed in per cent: G. Bjøntegaard, "Calculation of average PSNR differences
    between RD-curves", VCEG-M33, 2001. Between the points log rate is interpolated over quality by
    PCHIP, as is the practice since JCT-VC, instead of VCEG-M33's cubic fit; or by Akima's method,
    which C. Herglotz et al. found the more accurate ("Beyond Bjøntegaard", ICIP 2022). The figures
    are those of the package `bjontegaard`.

    Undefined for fewer than four points on either curve; for a curve on which rate and quality do
    not both increase from each point to the next (a metric of which less is better must fall); and
    for curves that cover no common interval.

    PSNR, SSIM and MS-SSIM are all in dB, as C. Herglotz et al. advise for qualities that saturate
    ("The Bjøntegaard Bible", arXiv:2304.12852, 2023); other metrics are taken as they are.

    Raises ValueError if the curves are of different metrics or data sets.
    """
    reason = _not_comparable(anchor, test)
    if reason is not None:
        return BDRate(reason=reason)
    low, high = max(anchor.value.min(), test.value.min()), min(anchor.value.max(), test.value.max())
    if low >= high:
        return BDRate(reason="the curves share no interval of quality")
    sign = metric_named(test.metric).sign
    [percent] = bd_rate_percents(
        anchor.bpp[None], anchor.value[None], test.bpp[None], test.value[None], method, sign
    )
    return BDRate(float(percent), (float(low), float(high)))


def bd_quality(anchor: Curve, test: Curve, method: Method = "pchip") -> BDQuality:
    """Compute the Bjøntegaard delta of quality of a curve against an anchor: BD-PSNR.

    The mean, over the interval of log rate that both curves cover, of the difference between their
    qualities. See `bd_rate`, also for what is undefined and for the error.
    """
    reason = _not_comparable(anchor, test)
    if reason is not None:
        return BDQuality(reason=reason)
    low, high = max(anchor.bpp[0], test.bpp[0]), min(anchor.bpp[-1], test.bpp[-1])
    if low >= high:
        return BDQuality(reason="the curves share no interval of rate")
    kind = metric_named(test.metric)
    [value] = bd_qualities(
        anchor.bpp[None], anchor.value[None], test.bpp[None], test.value[None], method, kind.sign
    )
    return BDQuality(float(value), (float(low), float(high)), unit=kind.unit)


def bd_rate_percents(
    anchor_bpp: Array,
    anchor_value: Array,
    bpp: Array,
    value: Array,
    method: Method = "pchip",
    sign: int = 1,
) -> Array:
    """Compute many BD-rates at once, in per cent: those of the rows of (n, points) arrays.

    Anchor and test may have different numbers of points. NaN where `bd_rate` is undefined. `sign`
    is -1 for a metric of which less is better.
    """
    anchor_value, value = sign * anchor_value, sign * value
    defined = _rising(anchor_bpp, anchor_value) & _rising(bpp, value)
    percents = np.full(len(bpp), np.nan)
    if not defined.any():
        return percents
    percents[defined] = 100 * np.expm1(
        mean_difference(
            anchor_value[defined],
            np.log(anchor_bpp[defined]),
            value[defined],
            np.log(bpp[defined]),
            method,
        )
    )
    return percents


@dataclass(frozen=True)
class Prepared:
    """Many curves of one codec, ready for BD-rates against any other; see `bd_rate_percents_of`."""

    pieces: Pieces
    """Log rate over quality."""
    defined: NDArray[np.bool_]
    """Which of them are curves that a BD-rate is defined for, shape (n,)."""


def prepared(bpp: Array, value: Array, sign: int = 1) -> Prepared:
    """Interpolate curves by PCHIP, once for all that they are compared with.

    See `bd_rate_percents` for the parameters.
    """
    value = sign * value
    defined = _rising(bpp, value)
    if bpp.shape[1] < 4:
        bpp, value = np.ones((len(bpp), 4)), np.zeros((len(bpp), 4))
    # In place of what is no curve, any: its figures are not looked at.
    any_curve = np.arange(bpp.shape[1], dtype=np.float64)
    value = np.where(defined[:, None], value, any_curve)
    return Prepared(Pieces.through(value, np.log(np.where(defined[:, None], bpp, 1.0))), defined)


def bd_rate_percents_of(anchor: Prepared, test: Prepared) -> Array:
    """Compute many BD-rates at once, as `bd_rate_percents` does, of curves prepared before."""
    percents = 100 * np.expm1(mean_difference_of(anchor.pieces, test.pieces))
    return np.where(anchor.defined & test.defined, percents, np.nan)


def bd_qualities(
    anchor_bpp: Array,
    anchor_value: Array,
    bpp: Array,
    value: Array,
    method: Method = "pchip",
    sign: int = 1,
) -> Array:
    """Compute many Bjøntegaard deltas of quality at once; see `bd_rate_percents`."""
    anchor_value, value = sign * anchor_value, sign * value
    defined = _rising(anchor_bpp, anchor_value) & _rising(bpp, value)
    deltas = np.full(len(bpp), np.nan)
    if not defined.any():
        return deltas
    deltas[defined] = mean_difference(
        np.log(anchor_bpp[defined]),
        anchor_value[defined],
        np.log(bpp[defined]),
        value[defined],
        method,
    )
    return np.asarray(sign * deltas)


def _not_comparable(anchor: Curve, test: Curve) -> str | None:
    """Why there is no Bjøntegaard delta between two curves, whether they overlap or not."""
    if (anchor.metric, anchor.dataset) != (test.metric, test.dataset):
        raise ValueError("a BD-rate compares two curves of one metric on one data set")
    for side in (anchor, test):
        if len(side.bpp) < 4:
            return f"fewer than four points ({side.codec} has {len(side.bpp)})"
        if not (np.isfinite(side.bpp).all() and np.isfinite(side.value).all() and side.bpp[0] > 0):
            return f"{side.codec} has a rate or quality that is not a number"
        sign = metric_named(side.metric).sign
        if not _rising(side.bpp[None], sign * side.value[None]).all():
            how = "rise" if sign > 0 else "fall"
            return f"{side.codec} does not {how} from each point to the next"
    return None


def _rising(bpp: Array, value: Array) -> NDArray[np.bool_]:
    """Whether each row is a curve that a Bjøntegaard delta is defined for."""
    if bpp.shape[1] < 4:
        return np.zeros(len(bpp), dtype=bool)
    with np.errstate(invalid="ignore"):  # infinity less infinity
        rises = (np.diff(bpp) > 0).all(axis=1) & (np.diff(value) > 0).all(axis=1)
    finite = np.isfinite(bpp).all(axis=1) & np.isfinite(value).all(axis=1)
    return np.asarray(rises & finite & (bpp[:, 0] > 0))


OVERLAP = 0.5
"""The share of both curves' range of quality that both should cover."""
DISAGREEMENT = {"%": 0.5, "dB": 0.02}
"""How far PCHIP and Akima may be apart before a reader is warned."""


def shared_quality(a: Curve, b: Curve) -> float:
    """How much of the range of quality that either curve covers is covered by both, 0 to 1."""
    if not (len(a.value) and len(b.value)):
        return 0.0
    low, high = max(a.value.min(), b.value.min()), min(a.value.max(), b.value.max())
    span = max(a.value.max(), b.value.max()) - min(a.value.min(), b.value.min())
    return float(max(high - low, 0) / span) if span > 0 else 0.0


def little_shared(share: float) -> str | None:
    """What a reader must know of a BD-rate where the curves share too little."""
    if share >= OVERLAP:
        return None
    return (
        f"the curves share only {100 * share:.0f} % of their range of quality: the BD-rate says "
        "nothing of the rest"
    )


def disagreement(what: str, pchip: float, akima: float, unit: str) -> str | None:
    """What a reader must know of a Bjøntegaard delta that two methods do not agree on."""
    if not abs(pchip - akima) > DISAGREEMENT.get(unit, np.inf):
        return None
    return (
        f"PCHIP and Akima disagree on the {what}: {pchip:+z.2f} and {akima:+z.2f} {unit}, more "
        f"than {DISAGREEMENT[unit]:g} apart: the points are too few or too far apart to tell"
    )


def bd_rate_warnings(anchor: Curve, test: Curve, method: Method = "pchip") -> list[str]:
    """What a reader must know of a BD-rate between two curves, where it is defined."""
    rate = bd_rate(anchor, test, method)
    if rate.percent is None:
        return []
    lines = [little_shared(shared_quality(anchor, test))]
    if method == "pchip":
        akima = bd_rate(anchor, test, "akima").percent
        if akima is not None:
            lines.append(disagreement("BD-rate", rate.percent, akima, "%"))
    return [line for line in lines if line is not None]


def bd_rates(
    measurements: pd.DataFrame,
    anchor: str = USUAL,
    metric: str = "psnr_rgb",
    method: Method = "pchip",
) -> pd.DataFrame:
    """Compare every codec with the anchor: one row per data set and codec.

    Columns: `dataset`, `codec`, `points` (on the curve), `bpp_min` and `bpp_max` (NaN without
    points), `bd_rate_percent` (NaN if undefined), `undefined` (why, or None), `left_out` (points
    that are not on the curve, and why; may be empty), `warnings` (what to know of the BD-rate; may
    be empty).

    Parameters
    ----------
    measurements
        As `lic_bench.load` returns them; or their averages, as `aggregate` does.

    Raises
    ------
    SpecError
        If there is no such metric, or the anchor was measured on no data set.
    """
    aggregated = averages_of_curves(measurements) if "image" in measurements else measurements
    anchor = find_known("codec", anchor, aggregated["codec"].unique())
    rows = []
    pairs = list(aggregated[["dataset", "codec"]].drop_duplicates().itertuples(index=False))
    for dataset, codec in pairs:
        test = curve(aggregated, dataset, codec, metric)
        warnings: list[str] = []
        if codec == anchor:
            rate = bd_rate(test, test, method)
        elif (dataset, anchor) in pairs:
            against = curve(aggregated, dataset, anchor, metric)
            rate = bd_rate(against, test, method)
            warnings = bd_rate_warnings(against, test, method)
        else:
            rate = BDRate(reason=f"{anchor} was not measured on {dataset}")
        rows.append(
            {
                "dataset": dataset,
                "codec": codec,
                "points": len(test.points),
                "bpp_min": pd.Series(test.bpp).min(),
                "bpp_max": pd.Series(test.bpp).max(),
                "bd_rate_percent": np.nan if rate.percent is None else rate.percent,
                "undefined": rate.reason,
                "left_out": "; ".join(test.left_out),
                "warnings": "; ".join(warnings),
            }
        )
    return pd.DataFrame(rows)
