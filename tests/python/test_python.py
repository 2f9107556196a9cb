"""The commands as functions: what a script or a notebook calls."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lic_bench
from lic_bench import Codec, Image, SpecError, write_image
from lic_bench.python.points import as_numbers, as_texts, typed


class Shifted(Codec):
    """Raw samples without some of their bits."""

    name = "shifted"
    points = (4, 3, 2, 1)

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def encode(self, image: Image, point: int) -> bytes:
        height, width, _ = image.shape
        kept = (image >> point).astype(np.uint8)
        return bytes([height, width, point, self.offset]) + kept.tobytes()[:: 1 + self.offset]

    def decode(self, stream: bytes) -> Image:
        height, width, point, _ = stream[:4]
        samples = np.frombuffer(stream[4:], np.uint8).reshape(height, width, 3)
        return (samples << point).astype(np.uint8)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> pd.DataFrame:
    """JPEG, WebP and raw samples on three images."""
    folder = tmp_path_factory.mktemp("python") / "photos"
    folder.mkdir()
    for number in range(3):
        part = np.ascontiguousarray(photo[:64, 60 * number : 60 * number + 72])
        write_image(folder / f"{number}.png", part)
    points = {"jpeg": [10, 30, 60, 90], "WEBP": [5.0, 35, 65, 85]}
    return lic_bench.run(
        ["JPEG", "webp", "none"], folder.as_posix(), points=points, out=folder.parent, jobs=1
    )


def test_points_are_numbers_where_they_are_some(table: pd.DataFrame) -> None:
    of = {codec: set(own) for codec, own in table.groupby("codec")["point"]}
    assert of == {"jpeg": {10, 30, 60, 90}, "webp": {5, 35, 65, 85}, "none": {""}}
    assert as_numbers(table[table["codec"] == "jpeg"])["point"].dtype == "int64"
    assert as_numbers(pd.DataFrame({"point": ["1", "2.5"]}))["point"].tolist() == [1, 2.5]
    words = pd.DataFrame({"point": ["low", "", "3"]})
    assert as_numbers(words)["point"].tolist() == ["low", "", 3]
    mixed = pd.DataFrame({"point": ["low", None, 3, 4.0]}, dtype=object)
    assert as_texts(mixed)["point"].tolist() == ["low", "", "3", "4"]
    assert typed([10, 2.5]) == {"": ["10", "2.5"]}
    assert typed({"jpeg": range(2), "": "5:9"}) == {"jpeg": ["0", "1"], "": ["5:9"]}


def test_a_frame_that_was_filtered_has_the_figures_of_what_is_left(table: pd.DataFrame) -> None:
    some = table[(table["image"] != "1.png") & (table["point"] != 30)]
    averages = lic_bench.aggregate(some)
    assert averages["complete"].all()
    jpeg = averages[averages["codec"] == "jpeg"]
    assert jpeg["point"].tolist() == [10, 60, 90]
    own = some[(some["codec"] == "jpeg") & (some["point"] == 60)]
    assert jpeg["psnr_rgb_db"].tolist()[1] == pytest.approx(own["psnr_rgb_db"].mean())
    with_three = lic_bench.bd_rates(some, "jpeg").set_index("codec")["undefined"]
    assert with_three["webp"] == "fewer than four points (jpeg has 3)"
    pd.testing.assert_frame_equal(
        lic_bench.bd_rates(table), lic_bench.bd_rates(lic_bench.aggregate(table))
    )
    chosen = lic_bench.select(table, codecs="JPEG", points=[10, 90], images=["0.png"])
    assert chosen["point"].tolist() == [10, 90]


def test_a_comparison_has_its_interval_and_shows_itself(table: pd.DataFrame) -> None:
    found = lic_bench.compare(table, "JPEG", "webp")
    assert found.rate.value == pytest.approx(
        lic_bench.bd_rates(table).set_index("codec")["bd_rate_percent"]["webp"]
    )
    assert found.rate.low < found.rate.high
    assert str(found).startswith("webp against jpeg, psnr_rgb, photos (3 images): BD-rate ")
    assert "0.png" in found._repr_html_()
    with pytest.raises(SpecError, match="did you mean webp"):
        lic_bench.compare(table, "jpeg", "wepb")
    with pytest.raises(SpecError, match=r"an interval of 95 % is level=0\.95"):
        lic_bench.compare(table, "jpeg", "webp", level=95)


def test_a_method_that_there_is_not_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(SpecError, match=r"no method .PCHIP. here: .*pchip, akima, cubic"):
        lic_bench.bd_rates(table, method="PCHIP")


@pytest.mark.parametrize(
    "named",
    [{"metrics": Shifted}, {"metrics": [Shifted]}, {"match": 0.5}, {"points": {Shifted: [1]}}],
)
def test_what_is_no_name_is_told(named: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="is no name, which is a text"):
        lic_bench.run("jpeg", "sample", out=tmp_path, **named)


def test_paths_stand_alone_too(table: pd.DataFrame, tmp_path: Path) -> None:
    photos, plugin = tmp_path / "photos", tmp_path / "mae.toml"
    photos.mkdir()
    write_image(photos / "0.png", np.zeros((16, 16, 3), np.uint8))
    plugin.write_text('name = "mae"\ncompare = "cmp {reference} {distorted}"\nfigure = "(.)"\n')
    for file in (plugin, str(plugin)):
        found = lic_bench.run("jpeg", photos, points=[50], plugins=file, out=tmp_path, jobs=1)
        assert found["image"].tolist() == ["0.png"]
    lic_bench.report(tmp_path, datasets=photos, out=tmp_path / "page.html")
    assert (tmp_path / "page.html").is_file()


@pytest.mark.slow
def test_a_target_brings_its_metric(table: pd.DataFrame, tmp_path: Path) -> None:
    found = lic_bench.run(
        "jpeg", "sample", images=1, points=[50, 60], match="gmsd=0.01", out=tmp_path, jobs=1
    )
    assert list(found["matches"]).count("gmsd=0.01") == 1
    assert found["gmsd"].notna().all()


def test_tables_and_plots(table: pd.DataFrame, tmp_path: Path) -> None:
    paper = lic_bench.table(table, metrics="psnr_rgb", interval=True)
    assert paper.frame["codec"].tolist() == ["jpeg", "none", "webp"]
    assert "<td>webp</td>" in paper._repr_html_()
    points = lic_bench.table(table, codecs="jpeg", metrics="psnr_rgb", by_point=True)
    assert points.frame["point"].tolist() == ["10", "30", "60", "90"]
    assert len(lic_bench.table(table, codecs=["jpeg"], metrics="psnr_rgb", at=[1, 2]).frame) == 2
    axes = lic_bench.plot(table, codecs=["jpeg", "webp"])
    axes.axvline(1)
    lic_bench.save_plot(axes, tmp_path / "plot.png")
    lic_bench.export(table, tmp_path / "table.parquet")
    assert set(pd.read_parquet(tmp_path / "table.parquet")["point"]) >= {"10", "85", ""}


def test_what_a_run_left_is_loaded_and_reported(table: pd.DataFrame, tmp_path: Path) -> None:
    lic_bench.run(["jpeg"], "sample", images=1, points=[20], out=tmp_path / "a", jobs=1)
    lic_bench.run(["webp"], "sample", images=1, points=[20], out=tmp_path / "b", jobs=1)
    both = lic_bench.load(tmp_path / "a", theirs=tmp_path / "b")
    assert list(both["codec"]) == ["jpeg", "webp"]
    path = lic_bench.report(tmp_path / "a", out=tmp_path / "page.html", viewer=False)
    assert path.stat().st_size > 10_000


def test_an_instance_and_a_class_of_a_file_are_codecs(table: pd.DataFrame, tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", np.full((20, 24, 3), 77, np.uint8))
    made = lic_bench.run(
        [Shifted, Shifted(offset=0)], str(tmp_path / "photo.png"), out=tmp_path / "out", jobs=1
    )
    assert made["error"].isna().all()
    assert set(made["codec"]) == {"shifted"}
    broken = lic_bench.run(
        Shifted(offset=1), str(tmp_path / "photo.png"), out=tmp_path / "out", points=[1], jobs=1
    )
    assert list(broken["codec"]) == ["shifted:offset=1"]
    assert broken["error"].notna().all()


SCRIPT = """
import struct as layout
from zlib import compress, decompress
import numpy as np
import lic_bench
from lic_bench import Codec

HEAD = layout.Struct("<HHB")
LEVEL = 9

def pack(text):
    return compress(text, LEVEL)

class Packed(Codec):
    name = "packed"
    points = (3, 2, 1, 0)
    def encode(self, image, point):
        return HEAD.pack(*image.shape[:2], point) + pack((image >> point).tobytes())
    def decode(self, stream):
        height, width, point = HEAD.unpack_from(stream)
        data = np.frombuffer(decompress(stream[HEAD.size:]), np.uint8)
        return (data.reshape(height, width, 3) << point).astype(np.uint8)

print("at the top, once")
if __name__ == "__main__":
    table = lic_bench.run(Packed, "photo.png", out="out", jobs=1)
    assert table["error"].isna().all(), table["error"]
    print(len(table), table["mse_rgb"].min())
"""


@pytest.mark.slow
def test_a_class_of_a_script_is_a_codec(tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", np.full((20, 24, 3), 77, np.uint8))
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[:2] == ["at the top, once", "4 0.0"], done.stderr


def test_a_class_of_a_cell_is_written_with_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import ModuleType

    from lic_bench.plugins.classes import plugin_of

    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path))
    cells = ["%matplotlib inline", "LEVEL = 1", SCRIPT.partition("print(")[0], "LEVEL = 7"]
    notebook = ModuleType("__main__")
    notebook.__dict__["In"] = cells
    exec("\n".join(cells[1:]), vars(notebook))  # noqa: S102 - as a notebook does
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    written = plugin_of(notebook.Packed)
    assert written is not None
    text = written.read_text()
    assert "LEVEL = 7" in text and "LEVEL = 9" not in text  # the cell that was run last
    assert "matplotlib" not in text and "import lic_bench\n" not in text
    assert plugin_of(notebook.Packed) == written
    codec = lic_bench.Registry([written]).codec("packed")
    image = np.full((3, 2, 3), 7, np.uint8)
    np.testing.assert_array_equal(codec.decode(codec.encode(image, 0)), image)
    exec("class Gone(Codec):\n    name = 'gone'\n", vars(notebook))  # noqa: S102
    with pytest.raises(SpecError, match="the source of Gone is not to be found"):
        plugin_of(notebook.Gone)
