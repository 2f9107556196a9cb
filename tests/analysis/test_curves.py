from itertools import pairwise
from typing import Any

import bjontegaard
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from lic_bench.analysis.curves import (
    BDQuality,
    BDRate,
    Curve,
    aggregate,
    bd_qualities,
    bd_quality,
    bd_rate,
    bd_rate_percents,
    bd_rates,
    curve,
)
from lic_bench.errors import SpecError, UndefinedError
from lic_bench.metric.quality import QUALITIES

METHODS = ["pchip", "akima"]


def row(image: str = "a.png", point: object = "1", point_index: int = 0, **columns: Any) -> dict:
    return {
        "dataset": "set",
        "image": image,
        "width": 100,
        "height": 80,
        "codec": "jpeg",
        "point": point,
        "point_index": point_index,
        "bytes": 1000,
        "bpp": 1.0,
        "mse_rgb": 65.025,
        "psnr_rgb_db": 30.0,
        "psnr_y_db": 31.0,
        "psnr_y709_db": 32.0,
        "ssim_rgb": 0.8,
        "ssim_y": 0.9,
        "ms_ssim_rgb": 0.9,
        "ms_ssim_y": 0.99,
        "encode_s": 0.25,
        "decode_s": 0.5,
        "error": None,
    } | columns


def table(rows: list[dict]) -> pd.DataFrame:
    """Measurements, of all images that the data sets have."""
    frame = pd.DataFrame(rows)
    return frame.assign(dataset_images=frame.groupby("dataset")["image"].transform("nunique"))


_SSIMS = ["ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"]
_PSNRS = ["psnr_rgb_db", "psnr_y_db", "psnr_y709_db"]
MISSING = dict.fromkeys(
    ["bytes", "bpp", "mse_rgb", *_PSNRS, *_SSIMS, "encode_s", "decode_s"], np.nan
)
LOSSLESS = dict.fromkeys(_PSNRS, np.inf) | dict.fromkeys(_SSIMS, 1 - 1e-16)
LOSSLESS["mse_rgb"] = 0.0


def sweep(codec: str, rates: list[float], psnrs: list[float], **columns: Any) -> list[dict]:
    return [
        row(codec=codec, point=str(10 * i), point_index=i, bpp=bpp, psnr_rgb_db=psnr, **columns)
        for i, (bpp, psnr) in enumerate(zip(rates, psnrs, strict=True))
    ]


def make(bpp: Any, value: Any, codec: str = "jpeg", **names: str) -> Curve:
    points = tuple(str(i) for i in range(len(bpp)))
    names = {"dataset": "set", "metric": "psnr_rgb"} | names
    return Curve(codec=codec, bpp=np.asarray(bpp), value=np.asarray(value), points=points, **names)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Of any codec: rate and PSNR rise; the PSNR of any two share the interval from 32 to 33."""
    n = draw(st.integers(4, 12))
    rate_steps = draw(st.lists(st.floats(1.02, 2), min_size=n, max_size=n))
    quality_steps = draw(st.lists(st.floats(0.1, 3), min_size=n - 1, max_size=n - 1))
    low, high = draw(st.floats(25, 32)), draw(st.floats(33, 45))
    climb = np.concatenate([[0], np.cumsum(quality_steps)])
    return make(0.05 * np.cumprod(rate_steps), low + (high - low) * climb / climb[-1])


class TestAggregate:
    def test_each_way_of_averaging_is_a_column(self) -> None:
        rng = np.random.default_rng(0)
        pairs = [
            (rng.integers(0, 256, (*size, 3)).astype(float), rng.normal(0, noise, (*size, 3)))
            for size, noise in (((8, 10), 2.0), ((40, 20), 9.0))
        ]
        rows = []
        for i, (image, noise) in enumerate(pairs):
            mse = np.mean(noise**2)
            height, width, _ = image.shape
            rows.append(
                row(f"{i}.png", width=width, height=height, bytes=100 * (i + 1), mse_rgb=mse)
                | {"bpp": 800 * (i + 1) / (height * width), "psnr_rgb_db": -10 * np.log10(mse)}
                | {"ms_ssim_rgb": 0.9 + 0.05 * i, "encode_s": 1.0 + i}
            )
        (found,) = aggregate(table(rows)).to_dict("records")

        everything = np.concatenate([noise.ravel() for _, noise in pairs])
        assert found["psnr_rgb_pooled_db"] == pytest.approx(
            20 * np.log10(255) - 10 * np.log10(np.mean(everything**2))
        )
        assert found["psnr_rgb_db"] == pytest.approx(np.mean([r["psnr_rgb_db"] for r in rows]))
        assert found["bpp"] == pytest.approx((800 / 80 + 1600 / 800) / 2)
        assert found["bpp_pooled"] == pytest.approx((800 + 1600) / 880)
        assert found["ms_ssim_rgb"] == pytest.approx(0.925)
        assert found["ms_ssim_rgb_db"] == pytest.approx(11.249387)  # -10 lg 0.075
        assert found["ssim_y_db"] == pytest.approx(10)
        assert found["encode_s"] == pytest.approx(1.5)
        assert (found["images"], found["failed"], found["complete"]) == (2, 0, True)

    def test_order_is_of_appearance_then_of_the_codecs_points(self) -> None:
        rows = [
            row(image, point, i, codec=codec, dataset=dataset)
            for image in ("b.png", "a.png")
            for i, point in ((2, "9"), (0, "80"), (1, "10"))
            for dataset in ("z", "a")
            for codec in ("webp", "jpeg")
        ]
        found = aggregate(table(rows))
        assert list(found[["dataset", "codec", "point"]].itertuples(index=False, name=None)) == [
            (dataset, codec, point)
            for dataset in ("z", "a")
            for codec in ("webp", "jpeg")
            for point in ("80", "10", "9")
        ]

    def test_a_metric_missing_on_one_image_is_missing_in_the_mean(self) -> None:
        rows = [row("a.png"), row("b.png", ms_ssim_rgb=np.nan)]
        (found,) = aggregate(table(rows)).to_dict("records")
        assert np.isnan(found["ms_ssim_rgb"]) and np.isnan(found["ms_ssim_rgb_db"])
        assert found["ms_ssim_y_db"] == pytest.approx(20)
        assert found["complete"]

    def test_failed_and_unmeasured_images_make_a_point_incomplete(self) -> None:
        rows = [
            row("a.png", "1", 0),
            row("b.png", "1", 0, **MISSING | {"error": "BitstreamError: cut short"}),
            row("a.png", "2", 1),
            row("a.png", "3", 2),
            row("b.png", "3", 2),
            *(row(i, "4", 3, **MISSING | {"error": "no"}) for i in ("a.png", "b.png")),
        ]
        # Two runs put together repeat their index.
        found = aggregate(table(rows).set_axis([0] * len(rows)))
        assert found["images"].tolist() == [1, 1, 2, 0]
        assert found["failed"].tolist() == [1, 0, 0, 2]
        assert found["complete"].tolist() == [False, False, True, False]
        assert found["bpp"].isna().tolist() == [False, False, False, True]

    def test_an_image_that_nothing_was_measured_on_does_not_count(self) -> None:
        damaged = [
            row("b.png", codec=codec, **MISSING | {"error": "is damaged"})
            for codec in ("jpeg", "webp")
        ]
        rows = [row("a.png", codec="jpeg"), row("a.png", codec="webp"), *damaged]
        assert aggregate(table(rows))["complete"].all()

    def test_of_some_of_the_images_the_averages_are_over_these(self) -> None:
        whole = table(
            [
                row(image, point, codec=codec, bpp=bpp)
                for image, bpp in (("a.png", 1.0), ("b.png", 2.0), ("c.png", 6.0))
                for codec in ("jpeg", "webp")
                for point in "12"
            ]
        )
        averages = aggregate(whole[whole["image"] < "c"])
        assert averages["complete"].all()
        assert set(averages["bpp"]) == {1.5}
        assert set(averages["images"]) == {2}
        assert set(averages["dataset_images"]) == {3}
        # An image that one codec has, and another has not, is missing all the same.
        assert aggregate(whole[:-1])["complete"].tolist() == [True, True, True, False]

    def test_where_all_failed_the_cells_may_be_none(self) -> None:
        failed = dict.fromkeys(MISSING, None) | {"error": "no"}
        (found,) = aggregate(table([row(**failed)])).to_dict("records")
        assert (found["images"], found["failed"], found["complete"]) == (0, 1, False)
        assert all(np.isnan(found[metric.value]) for metric in QUALITIES.values())

    def test_lossless_is_infinite_in_every_metric(self) -> None:
        rows = [row(image, point=None, codec="none", **LOSSLESS) for image in ("a.png", "b.png")]
        (found,) = aggregate(table(rows)).to_dict("records")
        assert [found[metric.value] for metric in QUALITIES.values()] == [np.inf] * len(QUALITIES)

    def test_the_same_measurement_twice_is_refused(self) -> None:
        with pytest.raises(UndefinedError, match=r"a\.png of set is there twice for jpeg"):
            aggregate(table([row(), row()]))

    def test_the_frame_may_come_from_a_csv_file(self, tmp_path: Any) -> None:
        frame = table([row("a.png", "1", 0), row("b.png", "1", 0)])
        frame.to_csv(tmp_path / "m.csv", index=False)
        read = aggregate(pd.read_csv(tmp_path / "m.csv"))
        pd.testing.assert_frame_equal(
            read.drop(columns="point"), aggregate(frame).drop(columns="point"), check_dtype=False
        )
        assert curve(read, "set", "jpeg").points == ("1",)


class TestCurve:
    def test_takes_the_points_in_order(self) -> None:
        found = curve(
            aggregate(table(sweep("jpeg", [0.1, 0.4, 0.9], [25, 30, 33])[::-1])),
            "set",
            "jpeg",
        )
        np.testing.assert_array_equal(found.bpp, [0.1, 0.4, 0.9])
        np.testing.assert_array_equal(found.value, [25, 30, 33])
        assert found.bpp.dtype == found.value.dtype == np.float64
        assert found.points == ("0", "10", "20")
        assert found.left_out == ()

    def test_says_what_it_leaves_out(self) -> None:
        rows = [
            row("a.png", "1", 0),
            row("b.png", "1", 0, **MISSING | {"error": "no"}),
            *(row(i, "2", 1, ms_ssim_y=np.nan) for i in ("a.png", "b.png")),
            *(row(i, "3", 2, ms_ssim_y=0.9) for i in ("a.png", "b.png")),
            *(row(i, str(p), p, **LOSSLESS) for p in (4, 5) for i in ("a.png", "b.png")),
        ]
        found = curve(aggregate(table(rows)), "set", "jpeg", "ms_ssim_y")
        assert found.points == ("3",)
        np.testing.assert_allclose(found.value, [10])
        assert found.left_out == (
            "not measured on every image: 1",
            "ms_ssim_y missing on an image: 2",
            "lossless on an image: 4, 5",
        )

    def test_a_codec_of_one_point_names_none(self) -> None:
        one = aggregate(table([row(point=None)]))
        assert curve(one, "set", "jpeg").points == ("",)
        none = aggregate(table([row(point=None, **LOSSLESS)]))
        assert curve(none, "set", "jpeg").left_out == ("lossless on an image",)

    def test_the_pooled_metric_has_the_pooled_rate(self) -> None:
        rows = [row("a.png"), row("b.png", width=300, bpp=0.5)]
        found = curve(aggregate(table(rows)), "set", "jpeg", "psnr_rgb_pooled")
        np.testing.assert_allclose(found.bpp, [16000 / (400 * 80)])
        np.testing.assert_allclose(found.value, [30])

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            ({"metric": "psnr-rbg"}, "no metric 'psnr_rbg' here: did you mean psnr_rgb?"),
            ({"dataset": "sat"}, "no data set 'sat' here: did you mean set?"),
            ({"codec": "bpg"}, "no codec measured on set 'bpg' here: There are jpeg"),
        ],
    )
    def test_an_unknown_name_is_refused(self, wrong: dict[str, str], text: str) -> None:
        right = {"dataset": "set", "codec": "jpeg", "metric": "psnr_rgb"}
        with pytest.raises(SpecError) as error:
            curve(aggregate(table([row()])), **right | wrong)
        assert text in str(error.value)


@pytest.mark.parametrize("method", METHODS)
class TestBDRate:
    @settings(deadline=None)  # the first call imports
    @given(curves(), curves())
    def test_is_the_mean_log_rate_difference(self, method: Any, a: Curve, b: Curve) -> None:
        interpolate = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}[method]
        low, high = max(a.value[0], b.value[0]), min(a.value[-1], b.value[-1])
        areas = []
        for one in (a, b):
            log_rate = interpolate(one.value, np.log(one.bpp))
            # Gauss-Legendre, exact for the cubics between the knots.
            knots = np.unique([low, *one.value[(one.value > low) & (one.value < high)], high])
            x, w = np.polynomial.legendre.leggauss(4)
            areas.append(
                sum((q - p) / 2 * w @ log_rate((p + q) / 2 + (q - p) / 2 * x)
                    for p, q in pairwise(knots))
            )  # fmt: skip
        expected = 100 * (np.exp((areas[1] - areas[0]) / (high - low)) - 1)
        found = bd_rate(a, b, method)
        assert found.percent == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert found.overlap == (low, high)
        assert found.reason is None

    @settings(deadline=None)
    @given(curves(), st.floats(0.2, 5))
    def test_a_shift_of_rate_is_found(self, method: Any, a: Curve, factor: float) -> None:
        shifted = make(a.bpp * factor, a.value)
        assert bd_rate(a, shifted, method).percent == pytest.approx(100 * (factor - 1), abs=1e-6)
        assert bd_rate(a, a, method).percent == 0

    @settings(deadline=None)
    @given(curves(), curves())
    def test_there_and_back_is_nothing(self, method: Any, a: Curve, b: Curve) -> None:
        there, back = bd_rate(a, b, method).percent, bd_rate(b, a, method).percent
        assert there is not None and back is not None
        assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1, abs=1e-9)

    @pytest.mark.parametrize(
        ("test", "reason"),
        [
            (make([0.1, 0.2, 0.4], [26, 30, 34], "x"), "fewer than four points (x has 3)"),
            (make([], [], "x"), "fewer than four points (x has 0)"),
            (make([0.1, 0.2, 0.4, 0.8], [26, 30, 30, 34], "x"), "x does not rise"),
            (make([0.1, 0.4, 0.2, 0.8], [26, 28, 30, 34], "x"), "x does not rise"),
            (make([0.8, 0.4, 0.2, 0.1], [34, 30, 28, 26], "x"), "x does not rise"),
            (make([0.1, 0.2, 0.4, 0.8], [26, 30, 34, np.inf], "x"), "x has a rate or quality"),
            (make([0.1, np.nan, 0.4, 0.8], [26, 30, 34, 36], "x"), "x has a rate or quality"),
            (make([0, 0.2, 0.4, 0.8], [26, 30, 34, 36], "x"), "x has a rate or quality"),
            (make([0.1, 0.2, 0.4, 0.8], [46, 50, 54, 56], "x"), "the curves share no interval"),
            (make([0.1, 0.2, 0.4, 0.8], [36, 50, 54, 56], "x"), "the curves share no interval"),
        ],
    )
    def test_what_is_undefined_says_why(self, method: Any, test: Curve, reason: str) -> None:
        anchor = make([0.1, 0.2, 0.4, 0.8], [25, 29, 33, 36])
        for found in (bd_rate(anchor, test, method), bd_rate(test, anchor, method)):
            assert (found.percent, found.overlap) == (None, None)
            assert found.reason is not None and found.reason.startswith(reason)

    def test_different_metrics_or_data_sets_are_a_mistake(self, method: Any) -> None:
        a = make([0.1, 0.2, 0.4, 0.8], [25, 29, 33, 36])
        for other in ({"metric": "psnr_y"}, {"dataset": "kodak"}):
            with pytest.raises(ValueError, match="one metric on one data set"):
                bd_rate(a, make(a.bpp, a.value, **other), method)


@pytest.mark.filterwarnings("ignore:.*overlap")
@pytest.mark.parametrize("method", [*METHODS, "cubic"])
class TestAgainstThePackageBjontegaard:
    @settings(deadline=None)
    @given(curves(), curves())
    def test_bd_rate(self, method: Any, a: Curve, b: Curve) -> None:
        expected = bjontegaard.bd_rate(
            a.bpp, a.value, b.bpp, b.value, method, require_matching_points=False
        )
        found = bd_rate(a, b, method).percent
        if method == "cubic" and expected > 1e6:  # 10 to the power of a fit that runs away
            assert found == pytest.approx(expected, rel=1e-3)
        else:
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)

    @settings(deadline=None)
    @given(curves(), curves())
    def test_bd_psnr(self, method: Any, a: Curve, b: Curve) -> None:
        found = bd_quality(a, b, method)
        if max(a.bpp[0], b.bpp[0]) >= min(a.bpp[-1], b.bpp[-1]):
            assert found.reason == "the curves share no interval of rate"
            return
        expected = bjontegaard.bd_psnr(
            a.bpp, a.value, b.bpp, b.value, method, require_matching_points=False
        )
        assert found.value == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert found.overlap == (max(a.bpp[0], b.bpp[0]), min(a.bpp[-1], b.bpp[-1]))


@pytest.mark.parametrize("method", [*METHODS, "cubic"])
def test_many_at_once_are_each_alone(method: Any) -> None:
    rng = np.random.default_rng(0)
    rates = [np.cumsum(rng.uniform(0.05, 0.3, (50, n)), axis=1) for n in (5, 9)]
    values = [27 + np.cumsum(rng.uniform(0.5, 3, (50, n)), axis=1) for n in (5, 9)]
    rates[0][3, 2] = rates[0][3, 1]
    values[1][7, 4] = np.inf
    values[0][11] += 100
    arrays = (rates[0], values[0], rates[1], values[1])
    percents, qualities = (many(*arrays, method) for many in (bd_rate_percents, bd_qualities))
    for i in range(50):
        a, b = (make(r[i], v[i]) for r, v in zip(rates, values, strict=True))
        alone, quality = bd_rate(a, b, method), bd_quality(a, b, method)
        assert percents[i] == pytest.approx(np.nan if alone.reason else alone.percent, nan_ok=True)
        assert qualities[i] == pytest.approx(
            np.nan if quality.reason else quality.value, nan_ok=True
        )
    assert np.isnan(percents[[3, 7, 11]]).all() and np.isnan(percents).sum() == 3
    few = [array[:, :3] for array in arrays[:2]]
    assert np.isnan(bd_rate_percents(*few, *arrays[2:], method)).all()


def test_a_bd_quality_prints() -> None:
    assert str(BDQuality(0.523)) == "+0.52 dB"
    assert str(BDQuality(-0.001)) == "+0.00 dB"
    assert str(BDQuality(reason="no")) == "undefined: no"


def test_a_bd_rate_prints() -> None:
    assert str(BDRate(-23.44)) == "-23.4 %"
    assert str(BDRate(10.0)) == "+10.0 %"
    assert str(BDRate(-0.0001)) == "+0.0 %"
    assert str(BDRate(reason="fewer than four points")) == "undefined: fewer than four points"


def test_bd_rates_compares_every_codec_with_the_anchor() -> None:
    psnrs = [25.0, 29.0, 33.0, 36.0]
    frame = table(
        [
            *sweep("jpeg", [0.1, 0.2, 0.4, 0.8], psnrs),
            *sweep("half", [0.05, 0.1, 0.2, 0.4], psnrs),
            row(codec="none", point=None, **LOSSLESS),
            *sweep("half", [0.05, 0.1, 0.2, 0.4], psnrs, dataset="other"),
        ]
    )
    found = bd_rates(aggregate(frame), "jpeg")
    assert found["codec"].tolist() == ["jpeg", "half", "none", "half"]
    assert found["points"].tolist() == [4, 4, 0, 4]
    np.testing.assert_allclose(found["bpp_min"], [0.1, 0.05, np.nan, 0.05])
    np.testing.assert_allclose(found["bpp_max"], [0.8, 0.4, np.nan, 0.4])
    np.testing.assert_allclose(found["bd_rate_percent"], [0, -50, np.nan, np.nan])
    assert found["undefined"].fillna("").tolist() == [
        "",
        "",
        "fewer than four points (none has 0)",
        "jpeg was not measured on other",
    ]
    assert found["left_out"].tolist() == ["", "", "lossless on an image", ""]
    pd.testing.assert_frame_equal(bd_rates(frame, "JPEG"), found)  # it averages by itself
    with pytest.raises(SpecError, match="did you mean jpeg"):
        bd_rates(frame, "jpg")


def test_a_bd_rate_of_curves_that_share_little_is_marked() -> None:
    rates, psnrs = [0.1, 0.2, 0.4, 0.8], [20.0, 24.0, 28.0, 32.0]
    shifted = [value + 8 for value in psnrs]  # 20 to 32 and 28 to 40 share 4 of 20 dB
    frame = table([*sweep("jpeg", rates, psnrs), *sweep("webp", rates, shifted)])
    said = bd_rates(frame, "jpeg")["warnings"].tolist()
    assert said[0] == ""
    assert "share only 20 % of their range of quality" in said[1]


@pytest.mark.parametrize("delta", [bd_rate_percents, bd_qualities])
def test_many_curves_of_a_single_point_have_no_delta(delta: Any) -> None:
    rising = np.array([[0.1, 0.2, 0.4, 0.8]] * 3)
    one = np.array([[0.3]] * 3)
    assert np.isnan(delta(rising, 30 * rising, one, 30 * one)).all()
    assert np.isnan(delta(one, 30 * one, rising, 30 * rising)).all()
