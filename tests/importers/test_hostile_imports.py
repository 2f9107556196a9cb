"""What an import may be handed by somebody else: refused in a line, soon, without much memory."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lic_bench
from lic_bench import ImportedResultsError, LicBenchError, write_image
from lic_bench.cli.import_results import import_results
from lic_bench.importers.entries import check_name
from lic_bench.store.database import FILE_NAME

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a data set `photos` and decoded pictures `theirs` with their bitstreams."""
    for name in ("photos", "theirs"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.png", IMAGE)
    (tmp_path / "theirs" / "a.bin").write_bytes(b"x" * 100)
    return tmp_path


def imported(folder: Path, source: str = "theirs") -> None:
    import_results(
        folder / source,
        name="them" if source == "theirs" else None,
        dataset=f"photos={folder / 'photos'}",
        codecs=[],
        jobs=1,
        out=folder / "out",
    )


def test_the_folder_is_good(folder: Path) -> None:
    """Else the tests below would prove nothing."""
    imported(folder)
    assert lic_bench.load(folder / "out")["bytes"].tolist() == [100]


def refused(folder: Path, source: str = "theirs") -> str:
    with pytest.raises(LicBenchError) as caught:
        imported(folder, source)
    assert not (folder / "out" / FILE_NAME).exists()
    return str(caught.value)


@pytest.mark.parametrize("name", ["points.csv", "points.json"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/full", "folder"])
def test_a_pipe_or_a_device_is_not_read(kind: str, name: str, folder: Path) -> None:
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        os.mkfifo(path / "a.json")
    else:
        path.symlink_to(kind)
    words = [sys.executable, "-m", "lic_bench", "import", name, "-d", "photos", "-o", "out"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "is no file" in done.stderr


def test_pipes_and_devices_among_pictures_are_left_alone(folder: Path) -> None:
    os.mkfifo(folder / "theirs" / "b.png")
    os.mkfifo(folder / "theirs" / "sizes.csv")
    (folder / "theirs" / "c.png").symlink_to("/dev/zero")
    imported(folder)
    assert len(lic_bench.load(folder / "out")) == 1


@pytest.mark.parametrize("name", ["a.png", "a.bin", "sizes.csv"])
def test_a_file_of_a_terabyte_is_not_read(name: str, folder: Path) -> None:
    with (folder / "theirs" / name).open("ab") as file:
        file.truncate(1 << 40)  # sparse: it takes no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "2 GiB" in refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", ["a.png", "a.bin", "b.png"])
def test_a_link_that_leads_out_is_refused(name: str, folder: Path) -> None:
    write_image(folder / "secret.png", IMAGE)
    path = folder / "theirs" / name
    path.unlink(missing_ok=True)
    path.symlink_to(folder / "secret.png")
    assert "leads out" in refused(folder)


def test_a_link_within_is_followed(folder: Path) -> None:
    (folder / "theirs" / "a.png").rename(folder / "theirs" / "other.png")
    (folder / "theirs" / "a.png").symlink_to("other.png")
    imported(folder)
    assert len(lic_bench.load(folder / "out")) == 1


def test_a_folder_whose_name_is_no_text_is_a_point(folder: Path) -> None:
    point = folder / "theirs" / os.fsdecode(b"q\xff\x1b[2J")
    point.mkdir()
    for name in ("a.png", "a.bin"):
        (folder / "theirs" / name).rename(point / name)
    imported(folder)
    assert lic_bench.load(folder / "out")["point"].tolist() == [r"q\xff\x1b[2J"]


CSV = "image,point,bytes,bpp,encode_s,psnr_rgb\n"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a.png,1,1e15,,,30", "no bitstream has so many"),
        ("a.png,1,1e400,,,30", "no number"),
        ("a.png,1,0,,,30", "1 byte or more"),
        ("a.png,1,,1e9,,30", "under 100"),
        ("a.png,1,500,,1e300,30", "no years"),
        ("a.png,1,500,,-1,30", "0 or more"),
    ],
)
def test_figures_that_cannot_be(row: str, told: str, folder: Path) -> None:
    (folder / "points.csv").write_text("codec," + CSV + "x," + row + "\n")
    assert told in refused(folder, "points.csv")


def test_an_original_that_changed_since_it_was_hashed_is_told(folder: Path) -> None:
    from lic_bench.images.dataset import load_dataset
    from lic_bench.importers.pictures import find, measure_all

    found = find(folder / "theirs", load_dataset(str(folder / "photos")))
    write_image(folder / "photos" / "a.png", 255 - IMAGE)
    [(measurement, _)] = list(measure_all(found.pictures, 1, ()))
    assert "altered" in str(measurement.error)


@pytest.mark.parametrize("name", ["_mine", " x", "x\x1b", "a,b", "x" * 101, "", "a/b", "x@1"])
def test_a_name_that_no_plot_can_show_is_refused(name: str) -> None:
    with pytest.raises(ImportedResultsError, match="cannot be the name"):
        check_name(name)


def test_the_name_of_a_codec_that_begins_with_a_line(folder: Path) -> None:
    (folder / "points.csv").write_text("codec,bpp,psnr_rgb\n_mine,1,30\n_mine,2,33\n")
    assert "--as NAME" in refused(folder, "points.csv")
