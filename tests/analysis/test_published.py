"""The published curves: what is shipped, and how it is found. Our own figures: test_verify."""

import subprocess
import sys
from collections.abc import Sequence
from importlib import resources

import numpy as np
import pandas as pd
import pytest

from lic_bench.analysis import published_curves as published
from lic_bench.analysis.comparison import Side, compare_sides
from lic_bench.analysis.curves import bd_rate
from lic_bench.errors import SpecError, UndefinedError
from lic_bench.images.manifest import manifests
from lic_bench.metrics.builtin import METRICS
from lic_bench.metrics.quality import QUALITIES
from lic_bench.reporting.plots import plot


def test_every_point_is_plausible_and_has_a_source_with_a_licence() -> None:
    found = [one for metric in QUALITIES for one in published.curves(metric=metric)]
    assert {one.source for one in found} == set(published.sources())
    assert all(source.licence and source.address for source in published.sources().values())
    readme = (resources.files("lic_bench.datasets") / "published" / "README.md").read_text()
    for name in published.sources():
        assert f"| `{name}` |" in readme
    for one in found:
        assert (np.diff(one.bpp) > 0).all() and (one.bpp > 0.02).all() and (one.bpp < 6).all()
        low, high = (20, 52) if "psnr" in one.metric else (4, 35)
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
        (("vmt", "kodak"), "did you mean vtm.*There are av1, balle"),
        (("webp@tfd", "kodak"), "did you mean webp"),
        (("vtm", "sample"), "No curves are published on sample; .*kodak"),
        (("vtm", "kodak", "psnr"), "no metric 'psnr'"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        published.curve(*arguments)


def test_a_metric_that_was_not_published_is_told() -> None:
    with pytest.raises(UndefinedError, match=r"vtm was not published in psnr_y.*psnr_rgb, ms_ss"):
        published.curve("vtm", "kodak", "psnr_y")


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
