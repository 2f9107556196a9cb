"""What `lic-bench run` says and leaves out; subsets, dry runs, quiet ones, JSON."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command import command

from lic_bench import (
    DatasetError,
    Image,
    ImageError,
    load,
    load_dataset,
    read_image,
    write_image,
)
from lic_bench.images.dataset import some_of


@pytest.fixture
def photos(photo: Image, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        write_image(folder / f"{number}.png", np.ascontiguousarray(photo[:40, number:][:, :40]))
    return folder


def test_a_subset_is_known_as_such(photos: Path, tmp_path: Path) -> None:
    whole = load_dataset(str(photos))
    some = load_dataset(f"{photos}-3of5")
    assert (some.name, [image.name for image in some.images]) == (
        "photos-3of5",
        ["0.png", "2.png", "4.png"],
    )
    assert some == some_of(whole, 3)
    assert [image.name for image in some_of(whole, 1).images] == ["0.png"]
    assert some_of(whole, 5) is whole
    with pytest.raises(DatasetError, match="neither a known data set nor"):
        load_dataset(f"{photos}-3of6")
    run = ("run", "-c", "none", "-d", photos, "-j", 1, "-q")
    command(*run, "--images", 2, cwd=tmp_path)
    command(*run, cwd=tmp_path)
    csv = command("export", "-o", "-", cwd=tmp_path).stdout
    assert csv.count("\nphotos-2of5,") == 2
    assert csv.count("\nphotos,") == 5
    command("report", "-d", f"{photos}-2of5", "-o", "two.html", cwd=tmp_path)  # with originals


def test_a_dry_run_measures_nothing_and_counts_what_is_known(photos: Path, tmp_path: Path) -> None:
    run = ("run", "-c", "JPEG,none", "-d", photos, "-p", "jpeg=10,50", "-j", 1)
    said = command(*run, "--dry-run", cwd=tmp_path).stdout
    assert [line.split()[:4] for line in said.splitlines()[2:]] == [
        ["jpeg", "10", "0", "10"],
        ["none", "5", "0", "5"],
    ]
    assert not (tmp_path / "results").exists()
    quiet = command(*run[:-2], "-j", 1, "--quiet", cwd=tmp_path)
    assert quiet.printed == ""
    rows = json.loads(command(*run, "--dry-run", "--json", cwd=tmp_path).stdout)["codecs"]
    assert [(row["measurements"], row["known"]) for row in rows] == [(10, 10), (5, 5)]
    done = json.loads(command(*run, "--json", cwd=tmp_path).stdout)
    assert {row["codec"] for row in done["bd_rates"]} == {"jpeg", "none"}
    assert all((tmp_path / path).exists() for path in done["files"])


def test_images_that_are_left_out_are_named_with_the_reason(photos: Path, tmp_path: Path) -> None:
    PIL.Image.new("RGB", (20, 20)).save(photos / "moving.gif")
    (photos / "cut.jpg").write_bytes(b"")
    done = command("run", "-c", "none", "-d", photos, "-j", 1, cwd=tmp_path, code=1)
    assert "photos: left out: moving.gif: .gif is not read; convert it to PNG" in done.stderr
    assert "cut.jpg: is empty" in done.stderr
    assert "photos: too small for ms_ssim_rgb, ms_ssim_y: 0.png (40x40)" in done.stderr


def test_what_other_metrics_are_asked_for_every_run_has_the_default_ones(
    photos: Path, tmp_path: Path
) -> None:
    run = ("run", "-d", photos, "--images", 1, "-p", "50", "-j", 1)
    command(*run, "-c", "jpeg", "--metrics", "gmsd", cwd=tmp_path)
    only = "too small for ms_ssim_rgb, ms_ssim_y: 0.png"  # and for no other metric
    assert only in command(*run, "-c", "webp,jpeg", cwd=tmp_path).stderr
    rows = load(tmp_path / "results" / "mine").set_index("codec")
    assert rows["psnr_rgb_db"].min() > 20
    assert rows["gmsd"].notna().to_dict() == {"jpeg": True, "webp": False}
    # What a search tried has no GMSD, and webp's own point has it now.
    command(*run, "-c", "webp", "--match", "bpp=1", cwd=tmp_path)
    assert only in command(*run, "-c", "webp", "--metrics", "gmsd", cwd=tmp_path).stderr


def test_heic_is_read_where_its_library_is_installed(
    photo: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    height, width, _ = photo.shape
    for bits, mode, samples in (
        (8, "RGB", photo),
        (10, "RGB;16", photo.astype(np.uint16) << 8),
    ):
        file = pillow_heif.from_bytes(mode, (width, height), samples.tobytes())
        file.save(tmp_path / f"{bits}.heic", quality=95, chroma=444)
    error = read_image(tmp_path / "8.heic").astype(float) - photo
    assert np.mean(error**2) < 65.025  # 30 dB
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(tmp_path / "10.heic")
    images = load_dataset(str(tmp_path)).images
    assert [(one.width, one.height, one.error is None) for one in images] == [
        (width, height, True),
        (0, 0, False),
    ]
    monkeypatch.setattr("lic_bench.images.manifest.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"needs pillow-heif: pip install 'lic-bench\[heif\]'"):
        load_dataset(str(tmp_path))


def test_a_known_data_set_may_be_typed_in_any_case() -> None:
    assert load_dataset("Sample").name == "sample"
