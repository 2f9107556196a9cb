"""Pictures and bitstreams out of a store: those that were measured, and no others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

from lic_bench import Image, read_image, write_image
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError
from lic_bench.reporting.extracts import Crop, parse_crop, zoomed
from lic_bench.store.database import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> Path:
    folder = tmp_path_factory.mktemp("extract")
    (folder / "photos").mkdir()
    for name, left in (("a.png", 100), ("b.png", 200)):
        write_image(folder / "photos" / name, np.ascontiguousarray(photo[:160, left : left + 180]))
    run = ("run", "-c", "jpeg,webp", "-d", "photos", "-p", "10,40,80", "-q", "-j", 1)
    command(*run, cwd=folder)
    return folder


def psnr(a: Image, b: Image) -> float:
    return float(20 * np.log10(255) - 10 * np.log10(np.mean((a.astype(float) - b) ** 2)))


def test_what_is_extracted_is_what_was_measured(folder: Path, tmp_path: Path) -> None:
    said = command("extract", "-d", "photos", "-o", tmp_path / "out", cwd=folder)
    assert f"{tmp_path / 'out'}: 12 pictures and bitstreams" in said.stdout
    table = pd.read_csv(tmp_path / "out" / "extracted.csv")
    assert len(table) == 12
    for row in table.itertuples():
        picture = read_image(tmp_path / "out" / str(row.picture))
        stream = (tmp_path / "out" / str(row.bitstream)).read_bytes()
        original = read_image(folder / "photos" / str(row.image))
        assert 8 * len(stream) / (160 * 180) == pytest.approx(row.bpp)
        assert psnr(picture, original) == pytest.approx(row.psnr_rgb, abs=1e-3)
        np.testing.assert_array_equal(Registry().codec(str(row.codec)).decode(stream), picture)
        beside = (tmp_path / "out" / str(row.picture)).with_name("original.png")
        np.testing.assert_array_equal(read_image(beside), original)


def test_the_points_nearest_to_a_rate_cropped_enlarged_and_side_by_side(
    folder: Path, tmp_path: Path
) -> None:
    said = command(
        *("extract", "-d", "photos", "-c", "webp,JPEG", "--images", "b.png", "--at", 1),
        *("--crop", "10,20,64,48", "--zoom", 2, "-o", tmp_path, "--strip", tmp_path / "s.png"),
        cwd=folder,
    )
    table = pd.read_csv(tmp_path / "extracted.csv")
    assert table["codec"].tolist() == ["webp", "jpeg"]
    measured = pd.read_parquet(folder / "results" / "mine" / "measurements.parquet")
    for row in table.itertuples():
        own = measured[(measured["codec"] == row.codec) & (measured["image"] == "b.png")]["bpp"]
        assert row.bpp == pytest.approx(min(own, key=lambda bpp: abs(np.log(bpp))))
        picture = read_image(tmp_path / str(row.picture))
        assert picture.shape == (96, 128, 3)
        np.testing.assert_array_equal(picture[::2, ::2], picture[1::2, 1::2])
    assert "miss 1 bpp by more than 10 %" in said.stderr
    strip = read_image(tmp_path / "s.png")
    assert strip.shape[1] == 2148  # 7.16 inches at 300 dpi
    # Three pictures abreast, the original first.
    third = 2148 // 3
    original = read_image(folder / "photos" / "b.png")[20:68, 10:74]
    assert np.abs(strip[5, third // 2].astype(int) - original[0, 32]).max() < 40


def test_a_picture_that_is_not_the_one_measured_is_not_given(folder: Path, tmp_path: Path) -> None:
    command("merge", folder / "results" / "mine", "-o", tmp_path / "forged", cwd=folder)
    with Store(tmp_path / "forged" / "store.sqlite") as store:
        store._db.execute("UPDATE scores SET value = 9 * value")
    extract = ("extract", tmp_path / "forged", "-d", "photos", "-o", tmp_path / "out")
    said = command(*extract, cwd=folder, code=2).stderr
    assert "decodes another picture than was measured" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "1", "--match", "bpp=1"], "give one of them"),
        (["--match", "bpp=0.5"], "nothing was searched for bpp=0.5"),
        (["--crop", "1,2,3"], "is no crop"),
        (["--label", "bpg=Ours"], "'bpg'"),
        (["--crop", "100,0,100,10"], "reaches beyond an image of 180x160"),
        (["--images", "c.png"], "There are a.png, b.png"),
    ],
)
def test_what_cannot_be_is_refused(
    folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    extract = ("extract", "-d", "photos", "-o", tmp_path / "out", *arguments)
    assert message in command(*extract, cwd=folder, code=2).stderr


def test_crops_and_zoom() -> None:
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(Crop(1, 2, 3, 1).of(image), image[2:3, 1:4])
    assert parse_crop("0, 1,2,3") == Crop(0, 1, 2, 3)
    np.testing.assert_array_equal(zoomed(image, 3)[1::3, 2::3], image)
    with pytest.raises(SpecError):
        parse_crop("-1,0,5,5")
