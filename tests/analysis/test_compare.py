"""Comparisons: intervals that cover, images that pair, builds that fail when they should."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

from lic_bench import Image, SpecError, UndefinedError, aggregate, write_image
from lic_bench.analysis import curves
from lic_bench.analysis.bootstrap import ImageCurves, bootstrap, image_curves, outliers, resamples
from lic_bench.analysis.comparison import Side, compare_sides, condition, failures, pairs, sides
from lic_bench.analysis.curves import bd_rate_percents, curve
from lic_bench.metric.quality import QUALITIES, metric_named

WORSE = """
import struct
from lic_bench import Codec
from lic_bench.codecs.jpeg import Jpeg

class {cls}(Jpeg):
    name = "mine"
    def encode(self, image, point):
        stream = super().encode(image, point)
        return stream + bytes(round(len(stream) * {waste}))
"""


def population(rng: np.random.Generator, images: int) -> tuple[np.ndarray, ...]:
    """Rates and PSNR of two codecs on images as they are: easy and hard, each with its own taste.

    Returns rates and qualities of the first, then of the second; shape (images, 6).
    """
    steps = np.arange(6)
    hardness = rng.normal(0, 0.5, (images, 1))
    rate = 0.15 * np.exp(hardness + 0.45 * steps)
    psnr = 29 - 4 * hardness + rng.normal(0, 1, (images, 1)) + 2.3 * steps
    saved = 0.25 * rng.gamma(2, 1, (images, 1)) - 0.1 * hardness  # skew, and tied to hardness
    other = rate * np.exp(-saved + rng.normal(0, 0.02, (images, 6)))
    return rate, psnr, other, psnr + rng.normal(0, 0.05, (images, 6))


def measured(codec: str, rate: np.ndarray, psnr: np.ndarray, **columns: object) -> pd.DataFrame:
    """As `measurements.load` gives it."""
    rows = [
        {"dataset": "set", "image": f"{i:02}.png", "image_sha256": f"sum {i}", "codec": codec}
        | {"width": 100 + 10 * i, "height": 80, "point": str(p), "point_index": p + 1}
        | {"bytes": rate[i, p] * (100 + 10 * i) * 10, "bpp": rate[i, p]}
        | {"mse_rgb": 255**2 * 10 ** (-psnr[i, p] / 10)}
        | dict.fromkeys(["psnr_rgb_db", "psnr_y_db", "psnr_y709_db"], psnr[i, p])
        | dict.fromkeys(
            ["ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"], 1 - 10 ** (-psnr[i, p] / 20)
        )
        | {"encode_s": 0.1, "decode_s": 0.1, "error": None, "dataset_images": len(rate)}
        | columns
        for i in range(len(rate))
        for p in range(rate.shape[1])
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def two() -> tuple[Side, Side]:
    a, b, c, d = population(np.random.default_rng(3), 24)
    return Side("a", "one", measured("one", a, b)), Side("b", "two", measured("two", c, d))


class TestBootstrap:
    @pytest.mark.parametrize("metric", QUALITIES)
    def test_without_resampling_it_is_the_aggregate(
        self, metric: str, two: tuple[Side, Side]
    ) -> None:
        table = two[0].measurements
        assert table is not None
        whole = curve(aggregate(table), "set", "one", metric)
        [bpp], [value] = image_curves(table, whole).averaged(np.ones((1, 24)))
        np.testing.assert_allclose(bpp, whole.bpp, rtol=1e-12)
        np.testing.assert_allclose(value, whole.value, rtol=1e-12)

    def test_a_resample_is_what_a_data_set_of_those_images_would_give(
        self, two: tuple[Side, Side]
    ) -> None:
        drawn = [3, 3, 7, 11, 11, 11]
        for metric in ("psnr_rgb", "psnr_rgb_pooled", "ms_ssim_rgb"):
            parts, found = [], []
            for side in two:
                table = side.measurements
                assert table is not None
                whole = curve(aggregate(table), "set", side.codec, metric)
                parts.append(image_curves(table, whole))
                copies = [
                    table[table["image"] == f"{i:02}.png"].assign(image=f"{n}", dataset_images=6)
                    for n, i in enumerate(drawn)
                ]
                found.append(curve(aggregate(pd.concat(copies)), "set", side.codec, metric))
            counts = np.bincount(drawn, minlength=24)[None].astype(float)
            [percent] = bd_rate_percents(*parts[0].averaged(counts), *parts[1].averaged(counts))
            [expected] = bd_rate_percents(
                *(array[None] for one in found for array in (one.bpp, one.value))
            )
            assert percent == pytest.approx(expected, rel=1e-9)

    @pytest.mark.slow
    def test_95_percent_intervals_cover(self) -> None:
        rng = np.random.default_rng(1)
        all_images = population(rng, 400_000)
        everyone = [array.mean(axis=0)[None] for array in all_images]
        [truth] = bd_rate_percents(*everyone)
        metric, names = metric_named("psnr_rgb"), tuple(map(str, range(24)))
        inside = []
        for simulation in range(300):
            a, b, c, d = population(rng, 24)
            found = bootstrap(
                ImageCurves(metric, names, a, b, np.ones(24)),
                ImageCurves(metric, names, c, d, np.ones(24)),
                resamples(24, 1000, simulation),
                0.95,
            )
            inside.append(found.low <= truth <= found.high)
        assert 0.90 <= np.mean(inside) <= 0.985

    def test_codecs_that_differ_by_a_factor_differ_by_it_in_every_resample(self) -> None:
        rate, psnr, *_ = population(np.random.default_rng(0), 24)
        sides = [
            ImageCurves(metric_named("psnr_rgb"), ("",) * 24, r, psnr, np.ones(24))
            for r in (rate, 1.1 * rate)
        ]
        found = bootstrap(sides[0], sides[1], resamples(24, 500, 0), 0.95)
        assert (found.low, found.high) == pytest.approx((10, 10))
        np.testing.assert_allclose(found.images, 10)

    def test_a_wider_level_is_a_wider_interval(self, two: tuple[Side, Side]) -> None:
        narrow, wide = (compare_sides(*two, level=level).rate for level in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high

    def test_a_seed_repeats_itself(self, two: tuple[Side, Side]) -> None:
        first, again, other = (compare_sides(*two, seed=seed).rate.low for seed in (1, 1, 2))
        assert first == again != other

    def test_there_is_no_interval_where_resamples_have_no_bd_rate(self) -> None:
        rate, psnr, *_ = population(np.random.default_rng(0), 6)
        broken = psnr.copy()
        broken[0, 3] += 30  # without this image the curve rises, with it it does not
        sides = [
            ImageCurves(metric_named("psnr_rgb"), ("",) * 6, rate, p, np.ones(6))
            for p in (psnr, broken)
        ]
        found = bootstrap(sides[0], sides[1], resamples(6, 500, 0), 0.95)
        assert np.isnan([found.low, found.high]).all()
        assert np.isnan(found.images).tolist() == [True, *[False] * 5]


class TestOutliers:
    def test_what_lies_apart_is_named(self) -> None:
        values = np.array([1.0, 1.4, 0.8, 1.1, np.nan, 9.0, 0.9])
        assert outliers(values, 0.5).tolist() == [False] * 5 + [True, False]

    def test_what_hardly_differs_is_not(self) -> None:
        assert not outliers(np.array([1.0, 1.0, 1.0, 1.0, 1.01]), 0.5).any()
        assert not outliers(np.array([np.nan, np.nan]), 0.5).any()
        assert not outliers(np.random.default_rng(0).normal(0, 9, 24), 0.5).any()


@pytest.mark.filterwarnings("ignore:.*overlap")
class TestCompare:
    def test_is_the_bd_rate_of_the_mean_curves_and_the_images_own(
        self, two: tuple[Side, Side]
    ) -> None:
        import bjontegaard

        found = compare_sides(*two)
        means, own = [], []
        for side in two:
            table = side.measurements
            assert table is not None
            means.append(table.groupby("point")[["bpp", "psnr_rgb_db"]].mean())
            own.append(table.set_index("image"))
        for method, value in (("pchip", found.rate.value), ("akima", found.rate.akima)):
            expected = bjontegaard.bd_rate(
                *(mean[name] for mean in means for name in ("bpp", "psnr_rgb_db")), method
            )
            assert value == pytest.approx(expected, abs=1e-6)
        images = [
            bjontegaard.bd_rate(
                *(table.loc[image, name] for table in own for name in ("bpp", "psnr_rgb_db")),
                "pchip",
            )
            for image in found.per_image["image"]
        ]
        np.testing.assert_allclose(found.per_image["bd_rate_percent"], images, atol=1e-6)
        assert found.rate.mean == pytest.approx(np.mean(images))
        assert found.rate.worst == pytest.approx(max(images))
        expected = bjontegaard.bd_psnr(
            *(mean[name] for mean in means for name in ("bpp", "psnr_rgb_db")), "pchip"
        )
        assert found.quality.value == pytest.approx(expected, abs=1e-6)
        assert found.quality.low < expected < found.quality.high

    def test_images_are_paired_by_content_whatever_their_names(
        self, two: tuple[Side, Side]
    ) -> None:
        a, b = two
        assert b.measurements is not None
        renamed = b.measurements.assign(image="x" + b.measurements["image"])
        found = compare_sides(a, Side("b", "two", renamed.sample(frac=1, random_state=0)))
        pd.testing.assert_frame_equal(found.per_image, compare_sides(a, b).per_image)

    def test_images_without_a_pair_are_left_out_and_said(self, two: tuple[Side, Side]) -> None:
        a, b = two
        assert a.measurements is not None and b.measurements is not None
        rows = b.measurements
        failed = rows["image"].eq("05.png")
        partly = rows[~rows["image"].isin(["00.png", "01.png"])].copy()
        partly.loc[failed, ["error", "bpp", "psnr_rgb_db"]] = ["no", np.nan, np.nan]
        found = compare_sides(a, Side("b", "two", partly))
        assert found.images == 21
        assert "a: 3 images have no pair and are left out: 00.png, 01.png, 05.png" in found.notes
        kept = [f"{i:02}.png" for i in range(24) if i not in (0, 1, 5)]
        fewer = [
            Side(s.label, s.codec, s.measurements[s.measurements["image"].isin(kept)])
            for s in two if s.measurements is not None
        ]  # fmt: skip
        assert found.rate == compare_sides(fewer[0], fewer[1]).rate

    def test_what_has_no_sums_is_paired_by_name(self, two: tuple[Side, Side]) -> None:
        a, b = two
        assert b.measurements is not None
        averages = Side("b", "two", b.measurements.assign(image_sha256=None))
        assert compare_sides(a, averages).rate == compare_sides(a, b).rate

    def test_a_strange_image_is_named(self, two: tuple[Side, Side]) -> None:
        rate, psnr, *_ = population(np.random.default_rng(0), 24)
        worse = 1.02 * rate
        worse[9] = 1.5 * rate[9]
        found = compare_sides(
            Side("a", "one", measured("one", rate, psnr)),
            Side("b", "two", measured("two", worse, psnr)),
        ).per_image
        assert found.loc[found["outlier"], "image"].tolist() == ["09.png"]
        assert found["image"][0] == "09.png"

    def test_what_is_undefined_says_why(self, two: tuple[Side, Side]) -> None:
        a, b = two
        assert b.measurements is not None
        few = Side("b", "two", b.measurements[b.measurements["point_index"] < 4])
        found = compare_sides(a, few)
        assert np.isnan([found.rate.value, found.rate.low, found.quality.value]).all()
        assert found.rate.reason == "fewer than four points (b has 3)"
        assert json.dumps(found.as_json(), allow_nan=False)

    def test_nothing_in_common_is_refused(self, two: tuple[Side, Side]) -> None:
        a, b = two
        assert b.measurements is not None
        other = b.measurements.assign(image_sha256=b.measurements["image_sha256"] + "x")
        with pytest.raises(UndefinedError, match="no image of set in common"):
            compare_sides(a, Side("b", "two", other))
        with pytest.raises(SpecError, match="different data sets: set; sat"):
            compare_sides(a, Side("b", "two", b.measurements.assign(dataset="sat")))
        twice = [
            Side(s.label, s.codec, pd.concat([s.measurements, s.measurements.assign(dataset="z")]))
            for s in two if s.measurements is not None
        ]  # fmt: skip
        with pytest.raises(SpecError, match=r"several data sets: .* set, z"):
            compare_sides(*twice)
        assert compare_sides(*twice, dataset="z").dataset == "z"

    def test_stores_are_matched_by_codec(self) -> None:
        def of(store: str, *codecs: str) -> list[Side]:
            return [Side(f"{store}:{codec}", codec) for codec in codecs]

        def labels(found: list[tuple[Side, Side]]) -> list[tuple[str, str]]:
            return [(a.label, b.label) for a, b in found]

        assert labels(pairs(of("m", "x", "y"), of("n", "y", "z", "x"))) == [
            ("m:y", "n:y"),
            ("m:x", "n:x"),
        ]
        assert labels(pairs(of("m", "x"), of("n", "y", "z"))) == [("m:x", "n:y"), ("m:x", "n:z")]
        with pytest.raises(SpecError, match="no codec in common"):
            pairs(of("m", "x", "y"), of("n", "z", "v"))


class TestCondition:
    def test_reads_what_people_write(self, two: tuple[Side, Side]) -> None:
        found = condition("bd_rate_psnr>0.5 %")
        assert (found.name, found.operator, found.number) == ("bd_rate_psnr_rgb", ">", 0.5)
        names = {condition(f"bd_{name} <= -1e-1").name for name in ("rate_ms_ssim_y_low", "psnr")}
        assert names == {"bd_rate_ms_ssim_y_low", "bd_psnr_rgb"}
        for metric in QUALITIES:
            for name in compare_sides(*two, metric=metric).quantities():
                assert condition(f"{name} > 1").name == name

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("bd_rate_psnr", "is no condition"),
            ("bd_rate_psnr = 1", "is no condition"),
            ("bd_rate_psnr > x", "is no condition"),
            ("bd_rate_psnr > 1.2.3", "is no condition"),
            ("__import__('os') > 1", "is no condition"),
            ("bd_rate_beauty > 1", "nothing called 'bd_rate_beauty'"),
            ("bd_rate_psnr_best > 1", "nothing called 'bd_rate_psnr_best'"),
        ],
    )
    def test_refuses_the_rest(self, text: str, message: str) -> None:
        with pytest.raises(SpecError, match=message):
            condition(text)

    def test_fails_where_it_holds_or_nothing_can_be_said(self, two: tuple[Side, Side]) -> None:
        found = compare_sides(*two)
        value = found.rate.value
        for operator, offset, fails in (
            (">", -1, True), (">", 1, False), ("<", 1, True), ("<", -1, False),
            (">=", 0, True), ("<=", 0, True), (">", 0, False), ("<", 0, False),
        ):  # fmt: skip
            some = [condition(f"bd_rate_psnr {operator} {value + offset!r}")]
            assert bool(failures([found], some)) == fails
        a, b = two
        assert b.measurements is not None
        few = compare_sides(a, Side("b", "two", b.measurements[b.measurements["point_index"] < 4]))
        for text in ("bd_rate_psnr > 99", "bd_rate_psnr < -99"):
            [told] = failures([few], [condition(text)])
            assert "bd_rate_psnr_rgb is undefined: fewer than four points" in told


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, large_photo: Image) -> Path:
    """The stores of three states of one codec, and one of two codecs; of four images."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "photos").mkdir()
    for i in range(4):
        part = np.ascontiguousarray(large_photo[100:300, 180 * i : 180 * (i + 1)])
        write_image(folder / "photos" / f"{i}.png", part)
    for name, waste in (("before", 0), ("same", 0), ("worse", 0.01)):
        # Another class name, so that even the store of the same codec holds other measurements.
        (folder / f"{name}.py").write_text(WORSE.format(cls=name.title(), waste=waste))
        command(
            *("run", "-d", "photos", "-p", "20,40,60,80,90", "-j", "1", "-o", f"runs/{name}"),
            *("--plugin", f"{name}.py", "-c", "mine"),
            cwd=folder,
        )
    command(
        *("run", "-d", "photos", "-p", "20,40,60,80", "-j", "1", "-o", "results/mine"),
        *("-c", "jpeg,jpeg:subsampling=4:4:4"),
        cwd=folder,
    )
    return folder


@pytest.mark.slow
def test_a_codec_made_one_percent_worse_fails_the_build(stores: Path) -> None:
    told = command(
        *("compare", "runs/before", "runs/worse", "--fail-if", "bd_rate_psnr > 0.5"),
        *("--fail-if", "bd_rate_ms_ssim_low > 0", "--out", "told.json"),
        cwd=stores,
        code=1,
    ).printed
    assert re.search(r"failed: runs/worse:mine: bd_rate_psnr > 0.5: it is \+1\.0\d %", told)
    assert "failed: runs/worse:mine: bd_rate_ms_ssim_low > 0" in told
    [psnr, ssim] = json.loads((stores / "told.json").read_text())["comparisons"]
    for found in (psnr, ssim):
        assert found["rate"]["value"] == pytest.approx(1, abs=0.02)
        assert found["rate"]["low"] <= found["rate"]["value"] <= found["rate"]["high"]
        assert len(found["per_image"]) == 4


def test_a_codec_left_alone_does_not(stores: Path) -> None:
    told = command(
        *("compare", "runs/before", "runs/same", "--fail-if", "bd_rate_psnr > 0"),
        *("--fail-if", "bd_psnr < 0", "--fail-if", "bd_rate_psnr_worst > 0"),
        cwd=stores,
    ).printed
    assert "passed: nowhere bd_rate_psnr > 0 nor" in told
    assert "runs/same:mine against runs/before:mine: photos, 4 images, paired" in told
    assert re.search(r"psnr_rgb +\+0\.00 +\+0\.00 to \+0\.00", told)


def test_specs_may_hold_colons_and_stores_stand_before_them(stores: Path) -> None:
    told = command(
        *("compare", "jpeg", "results/mine:jpeg:subsampling=4:4:4", "-m", "psnr_rgb"), cwd=stores
    ).printed
    assert "results/mine:jpeg:subsampling=4:4:4 against results/mine:jpeg: photos" in told
    assert re.search(r"psnr_rgb +[+-]\d", told)
    assert [side.codec for side in sides("jpeg:subsampling=4:4:4", stores / "results/mine")] == [
        "jpeg:subsampling=4:4:4"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jpeg", "jpg"], "no codec measured in results/mine 'jpg' here: did you mean jpeg?"),
        (["runs/nowhere", "jpeg"], "runs/nowhere holds no measurements"),
        (["jpeg", "runs/same:jpeg"], "There are mine"),
        (["jpeg", "runs/same", "-m", "psnt"], "no metric 'psnt'"),
        (["jpeg", "runs/same", "-d", "kodak"], "no data set on both sides 'kodak'"),
        (["jpeg", "runs/same", "--fail-if", "bd_psnr"], "is no condition"),
        (["jpeg", "runs/same", "--out", "x.html"], "written as .json"),
        (["published:jpeg", "published:webp"], "two published curves"),
        (["published:jpeg", "jpeg"], "published on photos"),
    ],
)
def test_a_wrong_request_is_told_in_a_line_or_two(
    stores: Path, arguments: list[str], message: str
) -> None:
    told = command("compare", *arguments, cwd=stores, code=2).printed
    assert message in told
    assert told.count("\n") <= 2


def test_all_resamples_are_computed_at_once(
    two: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which makes a comparison of a dozen codecs a matter of seconds."""
    compute, calls = curves.mean_difference, []
    monkeypatch.setattr(
        curves, "mean_difference", lambda *sets: calls.append(sets) or compute(*sets)
    )
    numbers = []
    for count in (10, 1000):
        calls.clear()
        compare_sides(*two, resamples=count)
        numbers.append(len(calls))
    assert numbers[0] == numbers[1] <= 20
