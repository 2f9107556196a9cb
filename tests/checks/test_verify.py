"""`lic-bench verify`: on made-up curves; and with Kodak at hand (`LIC_BENCH_DATA`) our figures."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from command import command

import lic_bench
from lic_bench import Codec, Image, Point
from lic_bench.analysis import published_curves as published
from lic_bench.checks import published_figures as verify
from lic_bench.checks.published_figures import Agreement, FigureCheck
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError, StoreError, UnavailableError
from lic_bench.images.manifest import known_datasets
from lic_bench.metric.quality import QUALITIES

CHECKS = verify.checks() + [check for check in verify.checks(["compressai", "vvc"]) if check.slow]


def table(bpp: list[float], psnr: list[float], codec: str = "ours") -> pd.DataFrame:
    """Measurements of one image of one pixel in a million."""
    rows = [
        {"dataset": "kodak", "image": "a.png", "width": 1000, "height": 1000, "codec": codec}
        | {"point": str(i), "point_index": i, "bytes": round(b * 125_000), "bpp": b}
        | {"mse_rgb": 1.0} | dict.fromkeys(["psnr_rgb_db", "psnr_y_db", "psnr_y709_db"], v)
        | dict.fromkeys(["ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"], 0.9)
        | {"encode_s": 0.1, "decode_s": 0.1, "error": None, "dataset_images": 1}
        for i, (b, v) in enumerate(zip(bpp, psnr, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def judged(rates: list[float], psnr: list[float], **options: object) -> Agreement:
    check = FigureCheck(codec="ours", dataset="kodak", published="vtm", **options)  # type: ignore[arg-type]
    return verify._judged(Agreement(check), table(rates, psnr))


def test_a_curve_is_measured_against_itself_and_against_itself_shifted() -> None:
    vtm = published.curve("vtm", "kodak")
    rates, values = vtm.bpp.tolist(), vtm.value.tolist()
    same = judged(rates, values, fine_db=(-0.001, 0.001))
    assert same.fine is True
    assert same.db == pytest.approx([0] * 8, abs=1e-9)
    assert same.percent == pytest.approx([0] * 8, abs=1e-9)
    higher = judged(rates, [value + 0.5 for value in values], fine_db=(-0.1, 0.49))
    assert higher.db == pytest.approx([0.5] * 8)
    assert higher.fine is False
    for fine_db, fine in (((0.4, 0.6), True), (None, None)):
        check = msgspec.structs.replace(higher.check, fine_db=fine_db)
        assert replace(higher, check=check).fine is fine
    [*inner, _] = higher.percent  # beyond the last one theirs does not reach
    assert np.isnan(higher.percent[-1])
    assert all(percent < -3 for percent in inner)
    dearer = judged([1.1 * rate for rate in rates], values)
    assert dearer.percent == pytest.approx([10] * 7)  # the last one is beyond their last rate
    assert dearer.bd_rate == "+10.0 %"
    assert all(db < 0 for db in dearer.db)


def test_only_the_range_of_rates_counts() -> None:
    vtm = published.curve("vtm", "kodak")
    wrong_at_high = [v + (5 if b > 1 else 0) for b, v in zip(vtm.bpp, vtm.value, strict=True)]
    assert judged(vtm.bpp.tolist(), wrong_at_high, fine_db=(-0.1, 0.1)).fine is False
    low = judged(vtm.bpp.tolist(), wrong_at_high, fine_db=(-0.1, 0.1), bpp=(0.0, 1.0))
    assert low.fine is True
    assert max(low.rates) < 1
    apart = judged([10, 11], [50, 51], fine_db=(-9, 9))
    assert apart.fine is False
    assert "10.000 to 11.000 bpp of ours and 0.048 to 3.633 bpp of theirs" in str(apart)
    assert judged([10, 11], [50, 51]).fine is None


def test_a_single_published_point_is_held_against_our_line() -> None:
    check = FigureCheck(codec="ours", dataset="kodak-crops", published="content-weighted-cvpr2018")
    ours = table([0.25, 0.5, 1, 2], [30, 32, 34, 36]).assign(dataset="kodak-crops")
    agreement = verify._judged(Agreement(check), ours)
    line = 30 + 2 * np.log2(0.6714 / 0.25)  # 2 dB for each doubling
    assert agreement.rates == (0.6714,)
    assert agreement.db == pytest.approx([line - 33.47])
    assert agreement.percent == pytest.approx([100 * (2 ** ((33.47 - line) / 2) - 1)])
    assert "fewer than four points" in agreement.bd_rate
    assert "0.671 bpp: -0.620 dB" in str(agreement)


def test_a_failed_measurement_is_not_fine() -> None:
    broken = table([0.5, 1], [30, 32]).assign(error=[None, "ValueError: broken"])
    check = FigureCheck(codec="ours", dataset="kodak", published="vtm", fine_db=(-99, 99))
    agreement = verify._judged(Agreement(check), broken)
    assert agreement.fine is False
    assert "1 measurements failed: ValueError: broken" in str(agreement)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: f"{c.codec}-{c.published}-{c.metric}")
def test_every_check_names_what_exists(check: FigureCheck) -> None:
    assert check.metric in QUALITIES
    assert published.curve(check.published, check.dataset, check.metric)
    assert "@" in check.published or check.dataset == "kodak-crops"  # no other one can slip in
    assert check.dataset in {known.name for known in known_datasets()}
    assert check.codec.partition(":")[0] in Registry().names()
    assert check.bpp[0] < check.bpp[1]
    assert check.fine_db is None or check.fine_db[0] < check.fine_db[1]
    assert check.fine_db is not None or check.why  # what is not judged is explained


def test_codecs_are_chosen_by_name_or_spec() -> None:
    assert not any(check.slow for check in verify.checks())
    assert {check.codec for check in verify.checks(["jpeg", "webp"])} == {"jpeg", "webp"}
    one = "compressai:model=bmshj2018-factorized"
    assert {check.codec for check in verify.checks([one])} == {one}
    assert len({check.codec for check in verify.checks(["compressai"])}) > 10
    with pytest.raises(SpecError, match=r"verify 'jpg' by; did you mean jpeg\? .*jpeg2000"):
        verify.checks(["jpg"])


def test_points_without_weights_are_left_out_and_told() -> None:
    class Two(Codec):
        name = "two"
        points = (1, 2, 3)

        def check_point(self, point: Point) -> None:
            if point != 2:
                raise UnavailableError(f"no weights for {point}; fetch them")

        def encode(self, image: Image, point: Point) -> bytes:
            raise NotImplementedError

        def decode(self, stream: bytes) -> Image:
            raise NotImplementedError

    class Only(Registry):
        def codec(self, text: str) -> Codec:
            return Two()

    check = FigureCheck(codec="two", dataset="kodak", published="vtm")
    usable, problem = verify._points(Only(), check)
    assert list(usable) == ["2"]
    assert problem == "not checked: 1, 3: no weights for 1; fetch them"


def test_a_codec_that_cannot_be_used_is_told_and_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(self: Registry, text: str) -> None:
        raise UnavailableError(f"the codec {text!r} cannot be used here: x is not installed")

    monkeypatch.setattr(Registry, "codec", refuse)
    told = command("verify", "-o", tmp_path, "-c", "webp").printed
    assert "x is not installed" in told
    assert "0 fine, 0 not fine, 2 without judgement" in told
    assert list(tmp_path.iterdir()) == []


def test_without_kodak_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIC_BENCH_DATA", raising=False)
    with pytest.raises(UnavailableError, match="lic-bench fetch kodak"):
        verify.verify(verify.checks(["jpeg"]), tmp_path)


# Our figures


@pytest.fixture(scope="module")
def folder(kodak: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verified")


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "webp"])
def test_our_figures_are_fine(codec: str, folder: Path) -> None:
    agreements = verify.verify(verify.checks([codec]), folder)
    assert [agreement.fine for agreement in agreements].count(True) > 0
    for agreement in agreements:
        assert agreement.fine is not False, str(agreement)
        assert len(agreement.rates) >= 4


def test_a_wrong_figure_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify.verify(verify.checks(["webp"]), folder)
    original = published.curve

    def half_a_db_better(*arguments: str) -> published.PublishedCurve:
        one = original(*arguments)
        return replace(one, value=one.value + 0.5)

    monkeypatch.setattr(published, "curve", half_a_db_better)
    told = command("verify", "-o", folder, "-c", "webp", code=1).printed
    assert "webp beside webp@compressai, psnr_rgb on kodak: NOT FINE" in told
    assert "-0.500 dB at equal rate, worst -0.500; fine from -0.02 to +0.02" in told


def test_jpeg_bytes_are_compressais(folder: Path) -> None:
    """The same rates to 0.5 %, and 0.15 dB at most; of their qualities, 5, 10, 15 ... 95."""
    qualities = ["5", "10", "30", "50", "70", "90", "95"]
    ours = lic_bench.run(["jpeg"], ["kodak"], out=folder, points={"jpeg": qualities})
    found = lic_bench.curve(lic_bench.aggregate(ours), "kodak", "jpeg")
    theirs = published.curve("jpeg@compressai", "kodak")
    assert found.points == tuple(qualities)
    assert len(theirs.bpp) == 19
    at = [int(quality) // 5 - 1 for quality in qualities]
    assert found.bpp == pytest.approx(theirs.bpp[at], rel=0.005)
    assert found.value == pytest.approx(theirs.value[at], abs=0.15)


# bpp, RGB PSNR, SSIM (Y), MS-SSIM (RGB) on the crops of 752 x 496, measured without lic-bench:
# OpenJPEG at three rates of the content-weighted paper, libjpeg-turbo at two qualities.
CROPS = {
    "jpeg2000": [
        (0.118, 26.96, 0.711, 0.887),
        (0.292, 29.91, 0.809, 0.939),
        (0.670, 33.70, 0.899, 0.972),
    ],
    "jpeg": [
        (0.217, 23.94, 0.676, 0.808),
        (0.648, 30.56, 0.881, 0.964),
    ],
}


@pytest.mark.parametrize("codec", CROPS)
def test_figures_on_the_crops_of_kodak(codec: str, folder: Path) -> None:
    points = {
        "jpeg2000": [f"{24 / bpp:.2f}" for bpp in (0.118, 0.293, 0.671)],
        "jpeg": ["5", "30"],
    }
    measured = lic_bench.run([codec], ["kodak-crops"], out=folder, points={codec: points[codec]})
    found = lic_bench.aggregate(measured)
    assert (found["images"] == 24).all()
    columns = found[["bpp", "psnr_rgb_db", "ssim_y", "ms_ssim_rgb"]].to_numpy()
    assert (abs(columns - CROPS[codec]) < [0.0006, 0.006, 0.0006, 0.0006]).all()


def test_a_folder_that_calls_itself_kodak_is_not_judged(
    kodak: Path, photo: Image, tmp_path: Path
) -> None:
    (tmp_path / "kodak").mkdir()
    lic_bench.write_image(tmp_path / "kodak" / "kodim01.png", photo)
    points = {"jpeg": ["50"]}
    lic_bench.run(["jpeg"], [str(tmp_path / "kodak")], out=tmp_path, points=points, jobs=1)
    with pytest.raises(StoreError, match=r"kodak in .* is .*/kodak, and the images of the known"):
        verify.verify(verify.checks(["webp"]), tmp_path)
