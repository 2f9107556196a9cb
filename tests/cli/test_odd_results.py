"""What commands say of unusual results: lossless, failed, imported, moved, or not there."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from command import command

from lic_bench import Image, load, write_image
from lic_bench.cli import console
from lic_bench.reporting.page.data import gather

CSV = """codec,dataset,point,bpp,psnr_rgb,ssim_rgb_db,gmsd
theirs,photos,1,0.3,30,10,0.1
theirs,photos,2,0.5,32,12,0.08
theirs,photos,3,0.9,34,14,0.05
theirs,photos,4,1.5,37,17,0.03
lossless,photos,1,9,inf,inf,0
"""


@pytest.fixture
def photos(photo: Image, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", np.ascontiguousarray(photo[:40, :40]))
    return tmp_path / "photos"


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    (tmp_path / "points.csv").write_text(CSV)
    command("import", "points.csv", "-o", "theirs", cwd=tmp_path)
    return tmp_path / "theirs"


def test_a_wide_table_keeps_its_first_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"a_metric_{number}" for number in range(5)]
    table = console.plain_table("codec", "points", "bpp", *names)
    table.add_row("jpeg:subsampling=4:4:4", "4", "0.502 to 2.776", *["+0.0 %"] * 5)
    table.add_row("none", "0", "", *["undefined"] * 5)
    console.show(table)
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("jpeg:subsampling=4:4:4 ") and "0.502 to 2.776" in first
    assert second.startswith("none ")


def test_a_note_of_some_metrics_names_them(photos: Path, tmp_path: Path) -> None:
    said = command("run", "-c", "none", "-d", photos, "--metrics", "gmsd", "-j", 1, cwd=tmp_path)
    assert "none: BD-rate in psnr_rgb undefined: fewer than four points (none has 0)" in said.stdout
    assert "none: BD-rate in gmsd undefined: fewer than four points (none has 1)" in said.stdout


def test_measure_promises_nothing_of_what_run_failed_at(photos: Path, tmp_path: Path) -> None:
    (photos / "cut.png").write_bytes(b"")
    ran = command("run", "-c", "none", "-d", photos, "-j", 1, cwd=tmp_path, code=1)
    assert "photos: cannot be measured: " in ran.stderr
    assert "The same command tries" in ran.stderr
    again = command("measure", "--metrics", "gmsd", "-d", photos, cwd=tmp_path)
    assert "1 of 1" in again.stderr and "failed: " not in again.stderr


def test_what_is_not_at_hand_is_said_to_the_quiet_too(photos: Path, tmp_path: Path) -> None:
    command("run", "-c", "none", "-d", photos, "-j", 1, "-q", cwd=tmp_path)
    photos.rename(tmp_path / "moved")
    said = command("measure", "--metrics", "gmsd", "-q", cwd=tmp_path).stderr
    assert "1 measurement left out: 'photos' is neither" in said
    assert "Without the originals of photos" in command("extract", "-q", cwd=tmp_path).stderr


def test_measure_says_nothing_of_data_sets_that_are_not_wanted(
    photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    PIL.Image.new("RGB", (20, 20)).save(other / "b.png")
    command("run", "-c", "none", "-d", photos, "-d", other, "-j", 1, "-q", cwd=tmp_path)
    assert "left out" not in command("measure", "-m", "gmsd", "-d", photos, cwd=tmp_path).stderr


def test_what_is_lossless_may_be_imported(imported: Path, tmp_path: Path) -> None:
    by_point = ("table", imported, "--by-point", "--metric", "all", "-q")
    table = command(*by_point, "-o", "again.csv", cwd=tmp_path)
    assert not table.stderr
    header, first, *_ = (tmp_path / "again.csv").read_text().splitlines()
    assert header.startswith("codec,point,bpp,psnr_rgb") and ",9.0,inf," in first
    assert "gmsd" in header and "butteraugli" not in header  # of which there is no figure
    command("import", "again.csv", "-d", "photos", "-o", "third", cwd=tmp_path)
    assert command("table", "third", *by_point[2:], cwd=tmp_path).stdout.count("| lossless") == 1


def test_what_failed_elsewhere_is_not_tried_again(photos: Path, tmp_path: Path) -> None:
    rows = "codec,dataset,image,point,bpp,psnr_rgb,error\nx,photos,a.png,1,,,it broke\n"
    (tmp_path / "points.csv").write_text(rows + "x,photos,a.png,2,1.2,30,\n")
    said = command("import", "points.csv", "-d", photos, cwd=tmp_path, code=1).stderr
    assert "failed: a.png, x 1: it broke" in said and "tries" not in said


def test_a_report_lists_metrics_that_it_has_figures_of(imported: Path) -> None:
    listed = [one["name"] for one in gather(load(imported), [])["metrics"]]
    assert listed == ["psnr_rgb", "ssim_rgb", "gmsd"]


def test_averages_lack_a_metric_and_no_image(imported: Path, tmp_path: Path) -> None:
    said = command("table", imported, "-m", "ms_ssim_rgb", cwd=tmp_path).stderr
    assert "theirs: left out: no ms_ssim_rgb: 1, 2, 3, 4" in said


def test_images_without_a_curve_are_no_averages(photos: Path, tmp_path: Path) -> None:
    command("run", "-c", "none", "-d", photos, "-j", 1, "-q", cwd=tmp_path)
    said = command("compare", "none", "none", cwd=tmp_path).stdout
    assert "averages" not in said and "none: left out: lossless on an image" in said


def test_a_figure_says_which_codecs_it_lacks(imported: Path, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(CSV.replace("theirs", "better").replace(",0.3,", ",0.29,"))
    command("import", "points.csv", "-c", "better", "-o", imported, cwd=tmp_path)
    said = command("plot", imported, "--by-metric", "--anchor", "theirs", cwd=tmp_path).stderr
    assert "Left out of the plot: lossless (no BD-rate)." in said


def test_a_warning_is_shown_without_a_line_of_code(imported: Path, tmp_path: Path) -> None:
    said = command("plot", imported, "--title", "\u56fe", cwd=tmp_path).stderr
    assert "Warning: Glyph 22270" in said
    assert "UserWarning" not in said and ".py" not in said


def test_a_wrong_word_is_told_for_what_it_is(imported: Path, tmp_path: Path) -> None:
    said = command("plot", imported, "--by-complexity", "foo", cwd=tmp_path, code=2).stderr
    assert "There are time, kmacs" in said
    said = command("published", "webpp", cwd=tmp_path, code=2).stderr
    assert "no published curve is called 'webpp'; did you mean webp?" in said
    label = ("table", imported, "--label", "theirs=lossless (imported)")
    assert "two codecs would be called" in command(*label, cwd=tmp_path, code=2).stderr


def test_folders_that_do_not_go_together(imported: Path, photos: Path, tmp_path: Path) -> None:
    command("merge", imported, "nowhere", "-o", "merged", cwd=tmp_path, code=2)
    assert not (tmp_path / "merged").exists()
    (tmp_path / "points.csv").write_text(CSV.replace("lossless", "none"))
    command("import", "points.csv", "-o", imported, cwd=tmp_path)
    command("run", "-c", "none", "-d", photos, "-j", 1, "-q", "-o", "ours", cwd=tmp_path)
    said = command("report", "ours", imported, cwd=tmp_path, code=2).stderr
    assert "measured in another of the folders and imported in" in said
