"""The published curves: what is shipped, and how it is found. Our own figures: test_verify."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import PchipInterpolator

from lic_bench.analysis import published_curves as published
from lic_bench.analysis.comparison import Side, compare_sides
from lic_bench.analysis.curves import bd_rate
from lic_bench.errors import SpecError, UndefinedError
from lic_bench.images.manifest import manifests
from lic_bench.metric.quality import QUALITIES
from lic_bench.metrics.builtin import METRICS
from lic_bench.reporting.plots import plot


def test_every_point_is_plausible_and_has_a_source_with_a_licence() -> None:
    found = [one for metric in QUALITIES for one in published.curves(metric=metric)]
    assert {one.source for one in published.listing()} == set(published.sources())
    assert all(source.licence and source.address for source in published.sources().values())
    for one in found:
        assert 2013 <= one.year <= 2026
        assert (np.diff(one.bpp) > 0).all() and (one.bpp > 0.002).all() and (one.bpp < 6).all()
        low, high = (14, 52) if "psnr" in one.metric else (1, 35)
        assert ((one.value > low) & (one.value < high)).all()
    assert len({(one.dataset, one.metric, one.name) for one in found}) == len(found)


@pytest.mark.parametrize(
    ("codec", "percent"),  # as the field knows them: RGB PSNR, all rates that they share
    [("vtm", -20), ("mbt2018", -12), ("cheng2020-anchor", -19), ("jpeg2000@compressai", 58)],
)
def test_the_curves_stand_to_bpg_as_is_known(codec: str, percent: float) -> None:
    bpg = published.curve("bpg_444_x265_ycbcr", "kodak")
    found = bd_rate(bpg, published.curve(codec, "kodak")).percent
    assert found == pytest.approx(percent, abs=8)


def test_a_name_alone_prefers_a_source_and_both_can_be_named() -> None:
    assert published.curve("webp", "kodak").name == "webp@compressai"
    assert published.curve("webp@tfc", "kodak").source == "tfc"
    assert published.curve("webp", "kodak", "psnr_y").source == "tfc"  # the only one
    two = [published.curve(f"webp@{source}", "kodak") for source in ("compressai", "tfc")]
    assert abs(bd_rate(*two).percent or 99) < 5  # the same codec, measured by two parties


def test_ms_ssim_is_in_db() -> None:
    point = published.curve("content-weighted-cvpr2018", "kodak-crops", "ms_ssim_rgb")
    assert point.bpp.tolist() == [0.6714]
    assert point.value.tolist() == pytest.approx([16.78], abs=0.005)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vmt", "kodak"), "did you mean vtm.*lic-bench published --dataset kodak"),
        (("webp@tfd", "kodak"), "did you mean webp"),
        (("vtm", "sample"), "No curves are published on sample; .*kodak"),
        (("vtm", "kodak", "psnt"), "no metric 'psnt'"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        published.curve(*arguments)


def test_a_metric_that_was_not_published_is_told() -> None:
    with pytest.raises(UndefinedError, match=r"vtm was not published in psnr_y.*psnr_rgb, ms_ss"):
        published.curve("vtm", "kodak", "psnr_y")


def test_what_cannot_be_drawn_is_listed_and_told() -> None:
    [entry] = [e for e in published.listing() if (e.dataset, e.codec) == ("kodak", "dcae-ms-ssim")]
    assert entry.metrics == ("ms_ssim_db_rgb",) and entry.year == 2025
    assert published.sources()[entry.source].licence == "MIT"
    with pytest.raises(UndefinedError, match="in ms_ssim_rgb on kodak, but in ms_ssim_db_rgb"):
        published.curve("dcae-ms-ssim", "kodak", "ms_ssim_rgb")


@pytest.mark.parametrize(
    ("codec", "dataset", "anchor", "percent"),  # what the authors claim, with the same anchor
    [
        ("lalic", "kodak", "vtm-9.1", -15.26),
        ("glic", "kodak", "vtm-9.1", -19.29),
        ("qarv", "tecnick", "vtm-18.0", -8.9),
        ("mlic++", "clic2020-professional-valid", "vtm-17.0", -13.1),
    ],
)
def test_recent_codecs_gain_what_their_authors_claim(
    codec: str, dataset: str, anchor: str, percent: float
) -> None:
    curves = (published.curve(name, dataset) for name in (anchor, codec))
    # BD-rates are theirs by the cubic fit or by PCHIP, over the range of their plots.
    assert bd_rate(*curves).percent == pytest.approx(percent, abs=1.5)


def test_vtm_is_what_others_got_from_it_below_two_bits_a_pixel() -> None:
    theirs, ours = (published.curve(name, "kodak") for name in ("vtm-18.0", "vtm@compressai"))
    line = PchipInterpolator(np.log(theirs.bpp), theirs.value, extrapolate=False)
    apart = ours.value - line(np.log(ours.bpp))
    assert (np.abs(apart[ours.bpp < 1.5]) < 0.05).all()
    assert 0.1 < np.nanmax(apart[ours.bpp > 2]) < 0.3


def test_the_figures_of_the_images_average_to_the_curve() -> None:
    entries = [entry for entry in published.listing() if entry.images]
    assert len(entries) > 15
    for entry in entries:
        table = published.image_figures(entry.name, entry.dataset, "psnr_rgb")
        assert table is not None
        means = table.groupby("point_index")[["bpp", "psnr_rgb_db"]].mean()
        curve = published.curve(entry.name, entry.dataset)
        where = [int(np.abs(curve.bpp - rate).argmin()) for rate in means["bpp"]]
        assert means["bpp"].to_numpy() == pytest.approx(curve.bpp[where], rel=2e-4), entry
        assert means["psnr_rgb_db"].to_numpy() == pytest.approx(curve.value[where], abs=2e-3), entry
    assert published.image_figures("vtm", "kodak", "psnr_rgb") is None
    assert published.image_figures("cool-chic-3.4", "kodak", "psnr_rgb") is not None


def test_a_comparison_with_figures_of_images_has_an_interval() -> None:
    theirs = published.image_figures("cool-chic-3.4", "kodak", "psnr_rgb")
    assert theirs is not None
    # A codec that takes a tenth more for the same on every image: 10 %, without a doubt.
    ours = theirs.assign(codec="mine", bpp=1.1 * theirs["bpp"])
    side = Side("published:cool-chic-3.4", "cool-chic-3.4")
    found = compare_sides(side, Side("mine", "mine", ours), resamples=200)
    assert found.images == 24
    for value in (found.rate.value, found.rate.low, found.rate.high, found.rate.mean):
        assert value == pytest.approx(10, abs=0.01)
    averages = compare_sides(Side("published:vtm", "vtm"), Side("mine", "mine", ours))
    assert averages.images == 0 and np.isnan(averages.rate.low)


def measured(dataset: str, keys: Sequence[str], of: int) -> pd.DataFrame:
    rows = {"dataset": dataset, "image": [f"{i}.png" for i in range(len(keys))]}
    return pd.DataFrame({**rows, "image_sha256": keys, "dataset_images": of})


def test_a_data_set_is_known_by_its_images_and_not_by_its_name() -> None:
    kodak = list(manifests()["kodak"].files.values())
    crops = [f"{sha256} cut 8" for sha256 in kodak]
    good = [("kodak", kodak, 24), ("kodak", kodak[:3], 24), ("kodak-crops", crops, 24)]
    for request in (*good, ("photos", ["0"], 1), ("kodak", [], 0)):
        published.check_images(measured(*request), request[0])
    for name, keys, of in (
        ("kodak", kodak[:3], 3),  # a subset of it
        ("kodak", ["0" * 64, *kodak[1:]], 24),
        ("kodak", crops, 24),
        ("kodak-crops", kodak, 24),
        ("clic2020-mobile-valid", ["0"], 1),
    ):
        with pytest.raises(SpecError, match=f"{name} here is not the data set .* run --dataset"):
            published.check_images(measured(name, keys, of), name)


def test_nor_is_a_curve_set_beside_or_compared_with_others() -> None:
    table = measured("kodak", ["0"], 1).assign(
        codec="jpeg", point="1", point_index=1, width=100, height=100, bytes=100, bpp=0.8,
        encode_s=0.1, decode_s=0.1, error=None,
        **dict.fromkeys(METRICS, 1.0),
    )  # fmt: skip
    with pytest.raises(SpecError, match="kodak here is not"):
        plot(table, published=["vtm"])
    with pytest.raises(SpecError, match="kodak here is not"):
        compare_sides(Side("published:vtm", "vtm"), Side("jpeg", "jpeg", table))


def test_nothing_is_read_before_it_is_used() -> None:
    code = "import sys, lic_bench.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {
        "lic_bench.analysis.published_curves",
        "lic_bench.checks.published_figures",
        "pandas",
    } & set(done.stdout.split())
