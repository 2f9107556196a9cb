"""States of a codec, earlier ones and those of several folders, in Python, commands, report."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import command

import lic_bench
from lic_bench import SpecError, write_image

CODEC = """
import zlib
import numpy as np
from lic_bench import Codec

class Own(Codec):
    name = "own"
    points = (4, 3, 2, 1)
    def encode(self, image, point):
        height, width, _ = image.shape
        kept = (image >> (point + SHIFT)) << SHIFT
        return bytes([height, width, point]) + zlib.compress(kept.astype(np.uint8).tobytes())
    def decode(self, stream):
        samples = np.frombuffer(zlib.decompress(stream[3:]), np.uint8)
        return (samples.reshape(stream[0], stream[1], 3) << stream[2]).astype(np.uint8)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` holds a first state of a codec, `b` a second, `both` one after the other."""
    folder = tmp_path_factory.mktemp("states")
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "noise.png", image)
    for shift, outs in ((0, ("a", "both")), (1, ("b", "both"))):
        (folder / "own.py").write_text(CODEC.replace("SHIFT", str(shift)))
        for out in outs:
            table = lic_bench.run(
                "own", str(folder / "photos"), out=folder / out, plugins=[folder / "own.py"], jobs=1
            )
            assert table["error"].isna().all()
    return folder


def errors(table: pd.DataFrame, codec: str) -> list[float]:
    return list(table[table["codec"] == codec]["mse_rgb"])


def test_earlier_states_are_loaded_by_their_numbers(folder: Path) -> None:
    table = lic_bench.load(folder / "both", codecs=["own@1", "own"])
    assert table["codec"].unique().tolist() == ["own@1", "own"]
    first, second = lic_bench.load(folder / "a"), lic_bench.load(folder / "b")
    assert errors(table, "own@1") == errors(first, "own") != errors(table, "own")
    assert errors(table, "own") == errors(second, "own")
    assert set(lic_bench.load(folder / "both")["codec"]) == {"own"}
    with pytest.raises(SpecError, match=r"there is no own@3 .*there are: own@1, own@2"):
        lic_bench.load(folder / "both", codecs="own@3")
    found = lic_bench.compare(folder / "both", "own@1", "own")
    assert (found.anchor, found.test) == ("own@1", "own")
    assert found.quality.value < 0


def report_of(folder: Path, *arguments: str) -> dict[str, Any]:
    """What the page shows, as its data say."""
    command("report", *arguments, "--plugin", "own.py", "-o", "page.html", "-q", cwd=folder)
    page = (folder / "page.html").read_text()
    data: dict[str, Any] = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.S)[1])
    return data


@pytest.mark.slow
def test_a_report_of_two_folders_calls_codecs_after_them(folder: Path) -> None:
    data = report_of(folder, "ours=a", "theirs=b", "-d", "photos", "--rates", "12")
    assert [codec["name"] for codec in data["codecs"]] == ["own (ours)", "own (theirs)"]
    for out, curve in zip(("a", "b"), data["datasets"][0]["curves"]["psnr_rgb"], strict=True):
        own = lic_bench.aggregate(lic_bench.load(folder / out))
        assert curve["value"] == pytest.approx(own["psnr_rgb_db"].to_list(), abs=1e-3)
    assert len({codec["unit"] for codec in data["codecs"]}) == 1
    shown = [picture for picture in data["pictures"] if picture["codec"] >= 0]
    assert {picture["codec"] for picture in shown} == {0, 1}
    assert all(picture["data"] is not None for picture in shown), shown
    assert sum(run["measurements"] for run in data["runs"]) == 8


@pytest.mark.slow
def test_a_report_of_one_folder_twice_names_nothing_anew(folder: Path) -> None:
    data = report_of(folder, "a", "again=a", "--no-viewer")
    assert [codec["name"] for codec in data["codecs"]] == ["own"]


@pytest.mark.slow
def test_a_search_and_times_from_python(tmp_path: Path) -> None:
    found = lic_bench.run("jpeg", images=1, points=[50], match="bpp=0.5", out=tmp_path, jobs=1)
    [met] = found[found["matches"] == "bpp=0.5"].to_dict("records")
    assert met["bpp"] == pytest.approx(0.5, rel=0.05)
    assert set(found["point"]) >= {50}
    paper = lic_bench.table(found, match="bpp=0.5", metrics="psnr_rgb")
    assert paper.frame["bpp"].tolist() == [met["bpp"]]
    timing = lic_bench.time("jpeg", images=1, points=[20, 80], repeats=2)
    assert timing.summary["point"].tolist() == ["20", "80"]
    assert (timing.samples[["encode_s", "decode_s"]] > 0).all(axis=None)
    assert len(timing.samples) == 4


def test_quiet_commands_say_nothing_and_json_is_json(folder: Path) -> None:
    for arguments in (
        ("export", "a", "-o", "own.csv"),
        ("table", "a", "--by-point", "-m", "psnr_rgb", "-o", "points.csv"),
        ("plot", "a", "-o", "plot.png"),
        ("report", "a", "--no-viewer", "-o", "page.html"),
        ("merge", "a", "b", "-o", "merged"),
        ("compare", "a", "b", "-m", "psnr_rgb"),
        ("encode", "-c", "jpeg", "-p", "50", "photos/noise.png", "noise.jpg"),
        ("decode", "-c", "jpeg", "noise.jpg", "back.png"),
        ("measure", "a", "--metrics", "default", "--plugin", "own.py", "-d", "photos"),
    ):
        assert command(*arguments, "-q", cwd=folder).printed == "", arguments
    assert [len(pd.read_csv(folder / name)) for name in ("own.csv", "points.csv")] == [4, 4]
    for arguments in (
        ("table", "a", "--by-point", "-m", "psnr_rgb"),
        ("compare", "a", "b", "-m", "psnr_rgb"),
        ("report", "a", "--no-viewer", "-o", "page.html"),
        ("published", "-d", "kodak"),
        ("published", "vtm"),
    ):
        assert json.loads(command(*arguments, "--json", cwd=folder).stdout), arguments
    assert command("table", "a", "--by-point", cwd=folder).stdout  # quiet is over
