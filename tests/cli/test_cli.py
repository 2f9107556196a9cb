import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

from lic_bench import Image, read_image, write_image

PLUGIN = """
from lic_bench import Codec

class Fails(Codec):
    name = "fails"
    def encode(self, image, point): raise ValueError("no such luck")
    def decode(self, stream): ...

class Absent(Codec):
    name = "absent"
    unavailable = classmethod(lambda cls: "libabsent is not installed; pip install absent")
    def encode(self, image, point): ...
    def decode(self, stream): ...
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, large_photo: Image) -> Path:
    """A folder where JPEG and JPEG 2000 were run on two images, and what that printed."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "left.png", np.ascontiguousarray(large_photo[:, :370]))
    write_image(folder / "photos" / "right.png", np.ascontiguousarray(large_photo[:, 370:]))
    printed = command(
        *("run", "--codecs", "jpeg,jpeg2000", "--dataset", "photos", "--jobs", "2"),
        *("--points", "jpeg=10,30,50,70,90", "--points", "jpeg2000=96,48,24,12"),
        cwd=folder,
    ).stdout
    (folder / "printed").write_text(printed)
    return folder


def test_run_prints_a_table_and_says_where_it_wrote(measured: Path) -> None:
    printed = (measured / "printed").read_text()
    assert "photos, 2 images; BD-rate against jpeg (PCHIP)" in printed
    assert re.search(r"jpeg +5 +0\.\d+ to \d\.\d+ +\+0\.0 % +\+0\.0 %", printed)
    assert re.search(r"jpeg2000 +4 +0\.\d+ to \d\.\d+ +-\d+\.\d % +-\d+\.\d %", printed)
    for name in ("measurements.parquet", "measurements.csv", "photos.png"):
        assert f"results/mine/{name}" in printed
        assert (measured / "results" / "mine" / name).stat().st_size > 0


def test_the_parquet_file_has_the_columns_that_programs_rely_on(measured: Path) -> None:
    table = pd.read_parquet(measured / "results" / "mine" / "measurements.parquet")
    for name in (
        *("dataset", "image", "width", "height", "codec", "point", "bytes", "bpp", "mse_rgb"),
        *("psnr_rgb_db", "psnr_y_db", "ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"),
        *("encode_s", "decode_s", "error"),
    ):
        assert name in table.columns
    assert len(table) == 18
    csv = pd.read_csv(measured / "results" / "mine" / "measurements.csv")
    assert csv["bpp"].tolist() == pytest.approx(table["bpp"].tolist())


def test_a_second_run_measures_nothing(measured: Path) -> None:
    command("run", "--codecs", "jpeg", "--dataset", "photos", "-p", "10,30", cwd=measured)
    with_new = command("runs", cwd=measured).stdout
    table = pd.read_parquet(measured / "results" / "mine" / "measurements.parquet")
    assert len(table) == 18
    assert (table["run"] == 1).all()
    assert [run["run"] for run in json.loads(with_new)] == [1, 2]


@pytest.mark.parametrize("name", ["curves.pdf", "curves.svg", "curves.png"])
def test_plot_draws_what_is_asked_for(measured: Path, name: str) -> None:
    printed = command(
        *("plot", "-m", "ms_ssim_rgb", "-c", "jpeg", "-d", "photos", "--xlim", "0,2"),
        *("--ylim", ",30", "--wide", "--log", "--out", name),
        cwd=measured,
    ).stdout
    assert printed.strip() == name
    assert (measured / name).stat().st_size > 1000


def test_plot_has_a_place_of_its_own_by_default(measured: Path) -> None:
    printed = command("plot", "-m", "ssim_y", cwd=measured).stdout
    assert printed.strip() == "results/mine/ssim_y.png"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "psnt"], "psnr_rgb"),
        (["-c", "jpg"], "jpeg"),
        (["-d", "kodak"], "photos"),
        (["--xlim", "2"], "a range is LOW,HIGH"),
        (["-o", "a.gif"], ".png, .pdf, .svg"),
        (["elsewhere"], "elsewhere holds no measurements; lic-bench run --out elsewhere"),
    ],
)
def test_plot_refuses_with_what_there_is(
    measured: Path, arguments: list[str], message: str
) -> None:
    assert message in command("plot", *arguments, cwd=measured, code=2).stderr


def test_export_writes_csv_and_parquet(measured: Path) -> None:
    for name in ("all.csv", "all.parquet"):
        assert command("export", "--out", name, cwd=measured).stdout.strip() == name
    assert len(pd.read_csv(measured / "all.csv")) == len(pd.read_parquet(measured / "all.parquet"))
    refused = command("export", "--out", "all.xls", cwd=measured, code=2)
    assert "written as .parquet or .csv" in refused.stderr


def test_encode_and_decode(photo: Image, tmp_path: Path) -> None:
    write_image(tmp_path / "in put.png", photo)
    printed = command(
        "encode", "--codec", "jpeg2000", "--point", "40", "in put.png", "out.jp2", cwd=tmp_path
    ).stdout
    size = (tmp_path / "out.jp2").stat().st_size
    assert printed.strip() == (
        f"out.jp2: 451x300 pixels in {size:,} bytes, {8 * size / (451 * 300):.4f} bpp"
    )
    assert size == pytest.approx(photo.size / 40, rel=0.03)
    command("decode", "--codec", "jpeg2000", "out.jp2", "back.png", cwd=tmp_path)
    error = read_image(tmp_path / "back.png").astype(float) - photo
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "-c", "jpeg", "in.png", "x"], "jpeg needs a --point: quality such as 5, 10"),
        (["encode", "-c", "jpeg", "-p", "0", "in.png", "x"], "0 is no quality"),
        (["encode", "-c", "none", "-p", "1", "in.png", "x"], "single operating point"),
        (["encode", "-c", "none", "no.png", "x"], "no.png"),
        (["encode", "-c", "none", "bad.png", "x"], "bad.png"),
        (["encode", "-c", "none", "in.png", "no/x"], "no/x cannot be written"),
        (["encode", "-c", "nope", "in.png", "x"], "no codec 'nope'"),
        (["encode", "-c", "none", "in.png", "x", "--show-map", "m.png"], "no importance map"),
        (["decode", "-c", "jpeg", "bad.png", "x.png"], "bad.png: the JPEG stream does not decode"),
        (["decode", "-c", "jpeg", "no.jpg", "x.png"], "no.jpg cannot be read"),
        (["run", "-d", "nowhere"], "nowhere"),
        (["run", "-d", "empty"], "holds no images"),
        (["run", "-c", "jpeg:quality=3"], "jpeg has no option 'quality'; it has: subsampling"),
        (["run", "-p", "jpeg=0:9:0"], "'0:9:0' is no operating point"),
        (
            ["run", "-c", "content-weighted", "-p", "12"],
            "12 is no rate level: a whole number from 1 to 11",
        ),
        (["run", "--anchor", "webp"], "'webp' is none of the run's codecs"),
        (["run", "--plugin", "no.py"], "no.py"),
        (["run", "--plugin", "plugin.py", "-c", "absent"], "libabsent is not installed; pip"),
        (["run", "--device", "tpu"], "no device 'tpu' here"),
        (["run", "-o", "bad.png/results", "-d", "in.png"], "Make room or choose another --out"),
        (["fetch", "nope"], "nope"),
    ],
)
def test_a_wrong_request_is_answered_in_a_line_or_two(
    photo: Image, tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_image(tmp_path / "in.png", photo)
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "plugin.py").write_text(PLUGIN)
    printed = command(*arguments, cwd=tmp_path, code=2).stderr
    assert message in printed
    assert printed.count("\n") <= 2
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_what_failed_is_shown_and_sets_the_exit_code(photo: Image, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    # Every codec is to code it, in one worker: what torch and numba load is loaded once.
    small = np.ascontiguousarray(photo[100:132, 100:148])
    write_image(tmp_path / "photos" / "good.png", small)
    (tmp_path / "photos" / "bad.png").touch()
    (tmp_path / "plugin.py").write_text(PLUGIN)
    printed = command(
        *("run", "-c", "all", "-d", "photos", "--plugin", "plugin.py", "-o", "out", "--jobs", "1"),
        cwd=tmp_path,
        code=1,
    ).stderr
    assert "Left out: the codec 'absent' cannot be used here: libabsent is not installed" in printed
    assert "good.png, fails: ValueError: no such luck" in printed
    assert re.search(r"failed: bad.png, \S+ \d+ and \d+ more: .*bad.png: is empty", printed)
    table = pd.read_parquet(tmp_path / "out" / "measurements.parquet")
    good = table[(table["image"] == "good.png") & (table["codec"] != "fails")]
    assert {"jpeg", "jpeg2000", "none"} <= set(good["codec"])
    assert good["error"].isna().all()
    assert (tmp_path / "out" / "photos.png").exists()


def test_listings_show_what_there_is_and_why_a_codec_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    printed = command("codecs", "--plugin", "plugin.py", cwd=tmp_path, COLUMNS="200").stdout
    assert re.search(r"jpeg +JPEG \(libjpeg-turbo.* ready", printed)
    assert "missing: libabsent is not installed; pip install absent" in printed
    told = command("codecs", "JPEG", "JPEG-2000", "--plugin", "plugin.py", cwd=tmp_path).stdout
    assert re.search(r"operating points: quality 5, 10.*\n.*\n +option subsampling=4:2:0", told)
    assert "compression ratio 192, 128" in told
    own = command("codecs", "fails", "--plugin", "plugin.py", cwd=tmp_path).stdout
    assert "An image codec" not in own  # what its base class says of all codecs
    listed = json.loads(command("codecs", "jpeg", "--json", cwd=tmp_path).stdout)
    assert [(one["name"], one["ready"], one["points"][0]) for one in listed] == [
        ("jpeg", True, "5")
    ]
    for more in ([], ["--json"]):
        printed = command("datasets", *more, cwd=tmp_path).stdout
        for name in ("sample", "kodak", "div2k-valid", "clic2020-mobile-valid"):
            assert name in printed
    assert "Eastman Kodak Company" in command("datasets", "Kodak", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot", "--metrik", "x"], "lic-bench: no such option: --metrik (there is --"),
        (["plot", "-m"], "lic-bench: option '-m' requires an argument"),
        (["plt"], "there is plot)"),
        (["run", "--jobs", "many"], "invalid value for '--jobs'"),
        (["rate", "shw"], "there is show)"),
    ],
)
def test_a_command_line_that_cannot_be_read_costs_a_line(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    said = command(*arguments, cwd=tmp_path, code=2).stderr
    assert message in said
    assert said.count("\n") == 1
    assert "--help" in said


def test_the_shell_completes_names() -> None:
    from lic_bench.cli.complete import complete_codecs, complete_datasets, complete_qualities

    assert list(complete_codecs("jpeg,jp")) == ["jpeg,jpeg", "jpeg,jpeg2000", "jpeg,jpegxl"]
    assert list(complete_datasets("Kod")) == ["kodak", "kodak-crops"]
    assert "ssimulacra2" in list(complete_qualities(""))


def test_help_and_version(tmp_path: Path) -> None:
    assert "encode" in command("--help", cwd=tmp_path).stdout
    assert command("--version", cwd=tmp_path).stdout.startswith("lic-bench ")


@pytest.mark.parametrize("command", ["codecs", "datasets", "--help"])
def test_listings_do_not_wait_for_what_they_do_not_need(command: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["lic-bench", {command!r}]
from lic_bench.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "compressai", "pandas", "matplotlib", "glymur", "skimage", "pooch", "scipy"}}
print("HEAVY", *(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY"
