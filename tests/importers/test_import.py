"""Results from elsewhere: our own figures, imported in every form, must be our own figures."""

import json
import math
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from command import command

import lic_bench
from lic_bench import Image, ImportedResultsError, LicBenchError, Registry, StoreError, write_image
from lic_bench.analysis.comparison import compare_sides, sides
from lic_bench.analysis.curves import curve
from lic_bench.cli.import_results import forget, import_results
from lic_bench.importers import figures, pictures
from lic_bench.metric.quality import QUALITIES
from lic_bench.reporting.page.data import gather
from lic_bench.reporting.plots import plot
from lic_bench.reporting.tables import bd_rate_table, points_table, rates_table
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.table import export

POINTS = (10, 30, 50, 70, 90)
NAMES = ("a.png", "b.png", "Zürich 1.png")
FIGURES = ["bytes", "bpp", *lic_bench.METRICS, "error", "width", "height"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, large_photo: Image) -> Path:
    """A folder with a data set `photos`, and a store in which jpeg was run on it."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "photos").mkdir()
    for i, name in enumerate(NAMES):  # of two sizes, so that pooling matters
        part = large_photo[90 * i : 90 * i + 180 + 10 * (i % 2), 200 * i : 200 * i + 240]
        write_image(folder / "photos" / name, np.ascontiguousarray(part))
    lic_bench.run(
        ["jpeg"],
        [str(folder / "photos")],
        out=folder,
        points={"jpeg": list(map(str, POINTS))},
        jobs=1,
    )
    return folder


@pytest.fixture
def folder(measured: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(measured, tmp_path / "work")


def rows(folder: Path, codec: str) -> pd.DataFrame:
    table = lic_bench.load(folder)
    return table[table["codec"] == codec].reset_index(drop=True)


def as_compressai(table: pd.DataFrame, name: str = "theirs") -> str:
    """Averages, as CompressAI's tools write them."""
    averages = lic_bench.aggregate(table)
    columns = {
        "psnr-rgb": "psnr_rgb_db",
        "ms-ssim-rgb": "ms_ssim_rgb",
        "bpp": "bpp",
        "encoding_time": "encode_s",
        "decoding_time": "decode_s",
    }
    results = {key: list(averages[column]) for key, column in columns.items()}
    return json.dumps({"name": name, "description": "JPEG", "results": results})


def decoded(folder: Path, out: Path, points: tuple[int, ...] = POINTS) -> Path:
    """Pictures that jpeg decoded, with their bitstreams beside them."""
    codec = Registry().codec("jpeg")
    for point in points:
        (out / str(point)).mkdir(parents=True)
        for name in NAMES:
            stream = codec.encode(lic_bench.read_image(folder / "photos" / name), point)
            path = out / str(point) / name
            write_image(path, codec.decode(stream))
            path.with_suffix(".jpg").write_bytes(stream)
    return out


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    key = ["image", "point"]
    pd.testing.assert_frame_equal(
        found.set_index(key)[FIGURES].sort_index(),
        expected.set_index(key)[FIGURES].sort_index(),
        rtol=1e-12,
    )


def bd_rate(folder: Path, name: str, metric: str) -> float:
    [a], [b] = sides("jpeg", folder), sides(name, folder)
    return compare_sides(a, b, metric=metric, resamples=100).rate.value


class TestCurves:
    @pytest.mark.slow
    def test_of_compressai_are_our_own(self, folder: Path) -> None:
        (folder / "theirs.json").write_text(as_compressai(rows(folder, "jpeg")))
        import_results(folder / "theirs.json", dataset="photos", out=folder)
        for metric in ("psnr_rgb", "ms_ssim_rgb"):
            assert bd_rate(folder, "theirs", metric) == pytest.approx(0, abs=1e-9)
        assert math.isnan(bd_rate(folder, "theirs", "ssim_y"))
        [a], [b] = sides("jpeg", folder), sides("theirs", folder)
        found = compare_sides(a, b)
        assert found.images == 0
        assert math.isnan(found.rate.low)
        assert found.test.endswith("theirs (imported)")
        again = compare_sides(b, b)
        assert again.rate.value == pytest.approx(0, abs=1e-9)
        times = lic_bench.aggregate(rows(folder, "theirs"))["decode_s"]
        assert list(times) == list(lic_bench.aggregate(rows(folder, "jpeg"))["decode_s"])

    @pytest.mark.slow
    def test_of_compressais_own_bench_are_ours(self, folder: Path) -> None:
        if find_spec("compressai") is None:
            pytest.skip("CompressAI is not installed")
        script = (
            "import sys; from lic_bench.codecs.compressai.inference import import_compressai;"
            "import_compressai(); from compressai.utils.bench.__main__ import main;"
            "main(sys.argv[1:])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "jpeg", str(folder / "photos"), "-q", "10,90"],
            capture_output=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        (folder / "bench.json").write_bytes(done.stdout)
        import_results(
            folder / "bench.json", name="theirs", dataset=str(folder / "photos"), out=folder
        )
        theirs, ours = (lic_bench.aggregate(rows(folder, name)) for name in ("theirs", "jpeg"))
        ours = ours[ours["point"].isin([10, 90])]
        for name, tolerance in (("bpp", 1e-9), ("psnr_rgb_db", 1e-4), ("ms_ssim_rgb", 1e-5)):
            np.testing.assert_allclose(theirs[name], ours[name], atol=tolerance)

    def test_of_our_table_are_our_own_in_every_metric(self, folder: Path) -> None:
        text = points_table(rows(folder, "jpeg")).csv()
        # The images are of two sizes, so that a pooled rate stands beside the mean one.
        assert "bpp_pooled" in text
        (folder / "points.csv").write_text(text)
        import_results(folder / "points.csv", name="theirs", dataset="photos", out=folder)
        for metric in QUALITIES:
            value = bd_rate(folder, "theirs", metric)
            if metric == "psnr_rgb_pooled":  # its rate is not the one that was told
                assert math.isnan(value)
            else:
                assert value == pytest.approx(0, abs=1e-9)
        assert list(rows(folder, "theirs")["point"]) == list(map(float, POINTS))

    def test_in_the_layout_of_the_published_ones(self, folder: Path) -> None:
        published = Path(lic_bench.__file__).parents[1] / "datasets" / "published" / "curves.csv"
        import_results(published, dataset="kodak", codecs=["vtm@compressai"], out=folder)
        ours = curve(lic_bench.aggregate(lic_bench.load(folder)), "kodak", "vtm@compressai")
        from lic_bench.analysis.published_curves import curve as published_curve

        theirs = published_curve("vtm@compressai", "kodak")
        np.testing.assert_allclose(ours.value, theirs.value)
        np.testing.assert_allclose(ours.bpp, theirs.bpp)

    def test_semicolons_a_mark_of_order_and_spelling_do_no_harm(self, folder: Path) -> None:
        (folder / "a.csv").write_text("\ufeffBPP;PSNR-RGB;MS-SSIM RGB dB\n0.5;30;10\n0.25;28;9\n")
        import_results(folder / "a.csv", name="theirs", dataset="photos", out=folder)
        found = rows(folder, "theirs")
        assert list(found["bpp"]) == [0.25, 0.5]
        assert list(found["point"]) == [1, 2]
        assert found["ms_ssim_rgb"].iloc[1] == pytest.approx(0.9)

    def test_a_store_of_them_alone_can_be_shown(self, folder: Path) -> None:
        (folder / "theirs.json").write_text(as_compressai(rows(folder, "jpeg")))
        import_results(folder / "theirs.json", dataset="kodak", out=folder / "alone")
        table = lic_bench.load(folder / "alone")
        assert "kodak, averages" in plot(table).get_title()
        assert "kodak (averages)" in bd_rate_table(table, "theirs").caption
        [dataset] = gather(table, [])["datasets"]
        assert (dataset["images"], dataset["averages"]) == ([], [0])


class TestFiguresOfImages:
    def test_our_export_comes_back_as_it_was(self, folder: Path) -> None:
        ours = rows(folder, "jpeg")
        export(ours, folder / "measurements.csv")
        import_results(folder / "measurements.csv", name="theirs", out=folder)
        found = rows(folder, "theirs")
        same(found, ours)
        assert found["imported"].all()
        assert not ours["imported"].any()
        [a], [b] = sides("jpeg", folder), sides("theirs", folder)
        for metric in QUALITIES:
            one = compare_sides(a, b, metric=metric, resamples=100).rate
            assert (one.value, one.low, one.high) == pytest.approx((0, 0, 0), abs=1e-9)

    def test_those_of_a_failed_measurement_and_a_lossless_one(self, folder: Path) -> None:
        (folder / "a.csv").write_text("image,bytes,psnr_rgb,error\na,900,inf,\nb,,,it went wrong\n")
        with pytest.raises(typer.Exit):
            import_results(folder / "a.csv", name="theirs", dataset="photos", out=folder)
        found = rows(folder, "theirs").set_index("image")
        assert found.loc["a.png", "mse_rgb"] == 0
        assert found.loc["b.png", "error"] == "it went wrong"

    def test_compressais_files_of_single_images(self, folder: Path) -> None:
        ours = rows(folder, "jpeg")
        (folder / "each").mkdir()
        for row in ours.itertuples():
            stem = Path(row.image).stem
            results = {"psnr-rgb": row.psnr_rgb_db, "ms-ssim-rgb": row.ms_ssim_rgb, "bpp": row.bpp}
            told = {"source": stem, "name": "net", "description": "", "results": results}
            path = folder / "each" / f"{stem}-net-mse-{row.point}.json"
            path.write_text(json.dumps(told))
        import_results(folder / "each", name="theirs", dataset="photos", out=folder)
        found = rows(folder, "theirs")
        assert set(found["point"]) == {f"net-mse-{point}" for point in POINTS}
        for metric in ("psnr_rgb", "psnr_rgb_pooled", "ms_ssim_rgb"):
            assert bd_rate(folder, "theirs", metric) == pytest.approx(0, abs=1e-9)
        assert sorted(found["bytes"]) == sorted(ours["bytes"])  # by the rates

    def test_names_in_another_unicode_form_are_found(self, folder: Path) -> None:
        name = unicodedata.normalize("NFD", "Zürich 1")
        (folder / "a.csv").write_text(f"image,bpp,psnr_rgb\n{name},0.5,30\n", encoding="utf-8")
        import_results(folder / "a.csv", name="theirs", dataset="photos", out=folder)
        assert list(rows(folder, "theirs")["image"]) == ["Zürich 1.png"]

    def test_without_the_images_the_remedy_is_told(self, folder: Path) -> None:
        (folder / "a.csv").write_text("image,bpp,psnr_rgb\na,0.5,30\n")
        with pytest.raises(ImportedResultsError, match="--dataset holiday=FOLDER"):
            import_results(folder / "a.csv", name="theirs", dataset="holiday", out=folder / "new")
        assert not (folder / "new").exists()
        import_results(
            folder / "a.csv", name="x", dataset=str(folder / "photos"), out=folder / "new"
        )
        assert list(rows(folder / "new", "x")["dataset_images"]) == [3]


class TestPictures:
    def test_they_measure_as_our_own(self, folder: Path) -> None:
        source = decoded(folder, folder / "decoded")
        import_results(source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder)
        same(rows(folder, "theirs"), rows(folder, "jpeg"))

    def test_sizes_are_those_of_the_table(self, folder: Path) -> None:
        source = decoded(folder, folder / "decoded", points=(50,))
        ours = rows(folder, "jpeg").query("point == 50")
        for path in source.rglob("*.jpg"):
            path.unlink()
        lines = [f"{row.image},50,{row.bpp!r},0.5" for row in ours.itertuples()]
        (source / "sizes.csv").write_text("image,point,bpp,decode_s\n" + "\n".join(lines))
        import_results(source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder)
        found = rows(folder, "theirs")
        same(found, ours.reset_index(drop=True))
        assert (found["decode_s"] == 0.5).all()

    def test_one_of_another_size_or_damaged_fails_alone(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = decoded(folder, folder / "decoded", points=(50,))
        write_image(source / "50" / "a.png", np.zeros((8, 9, 3), np.uint8))
        (source / "50" / "b.png").write_bytes(b"no picture")
        with pytest.raises(typer.Exit):
            import_results(
                source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder
            )
        errors = rows(folder, "theirs").set_index("image")["error"]
        assert "is of 9x8 pixels, the original of 240x180" in errors["a.png"]
        assert "b.png: is no image" in errors["b.png"]
        assert errors.isna().sum() == 1
        assert "b.png: is no image" in capsys.readouterr().err

    def test_what_is_left_out_or_missing_is_told(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = decoded(folder, folder / "decoded", points=(50,))
        (source / "50" / "a.png").unlink()
        (source / "readme.txt").write_text("what this is")
        import_results(source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder)
        told = capsys.readouterr().err
        assert "1 files are not called as an image of photos, and are left out: readme.txt" in told
        assert "1 bitstreams have no picture, and are left out: a.jpg" in told
        assert "point 50: 2 of the 3 images" in told

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: (d / "50/a.jpg").unlink(), "there is none; or a CSV file tells the sizes"),
            (lambda d: (d / "50/a.bin").write_bytes(b"x"), r"there are 2: a\.bin, a\.jpg"),
            (lambda d: (d / "50/a.jpg").write_bytes(b""), "is empty; a bitstream has 1 byte"),
            (lambda d: shutil.copy(d / "50/a.png", d / "50/a.bmp"), "two pictures of a.png"),
            (lambda d: (d / "s.csv").write_text("image,bytes\na,5\n"), "column point"),
            (lambda d: (d / "s.csv").write_text("image,point,bytes\na,50,0\n"), "bytes is 0"),
            (lambda d: (d / "s.csv").write_text("image,size\na,5\n"), "image, and bytes or bpp"),
            (lambda d: (d / "s.csv").write_text("image,bytes\nc,5\n"), "has no image 'c'"),
            (lambda d: (d / "50").rename(d / "50 x") and [(d / "50 x" / n).rename(
                d / "50 x" / f"other{i}.png") for i, n in enumerate(NAMES)], "no picture in"),
        ],
    )  # fmt: skip
    def test_a_folder_that_cannot_be_understood_is_refused(
        self, folder: Path, change: Callable[[Path], object], message: str
    ) -> None:
        source = decoded(folder, folder / "decoded", points=(50,))
        change(source)
        before = (folder / FILE_NAME).read_bytes()
        with pytest.raises(ImportedResultsError, match=message):
            import_results(
                source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder
            )
        assert (folder / FILE_NAME).read_bytes() == before

    def test_a_picture_that_changes_meanwhile_leaves_all_as_it_was(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = decoded(folder, folder / "decoded", points=(50, 90))
        arguments = {"name": "theirs", "dataset": str(folder / "photos"), "jobs": 1, "out": folder}
        import_results(source, **arguments)
        before = lic_bench.load(folder)
        measure_all = pictures.measure_all

        def altered(*args: object) -> object:
            yield from list(measure_all(*args))  # type: ignore[arg-type]
            (source / "90" / "b.png").write_bytes(b"another")

        monkeypatch.setattr(pictures, "measure_all", altered)
        with pytest.raises(ImportedResultsError, match=r"b\.png was altered meanwhile"):
            import_results(source, **arguments)
        pd.testing.assert_frame_equal(lic_bench.load(folder), before)

    def test_other_images_under_the_same_name_are_refused(self, folder: Path) -> None:
        source = decoded(folder, folder / "decoded", points=(50,))
        write_image(folder / "photos" / "a.png", np.zeros((180, 240, 3), np.uint8))
        with pytest.raises(ImportedResultsError, match="not those that were measured"):
            import_results(
                source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder
            )


class TestNames:
    @pytest.fixture
    def theirs(self, folder: Path) -> Path:
        (folder / "theirs.json").write_text(as_compressai(rows(folder, "jpeg")))
        return folder / "theirs.json"

    def test_importing_again_replaces_the_whole(self, folder: Path, theirs: Path) -> None:
        export(rows(folder, "jpeg"), folder / "each.csv")
        import_results(folder / "each.csv", name="theirs", out=folder)
        assert len(rows(folder, "theirs")) == 15
        import_results(theirs, dataset="photos", out=folder)
        assert len(rows(folder, "theirs")) == 5
        import_results(folder / "each.csv", name="theirs", out=folder)
        assert len(rows(folder, "theirs")) == 15
        told = [run["imported"]["from"] for run in self.runs(folder) if "imported" in run]
        assert [Path(path).name for path in told] == ["each.csv", "theirs.json", "each.csv"]

    def runs(self, folder: Path) -> list[dict[str, object]]:
        with Store.open(folder) as store:
            return store.runs()

    def test_forgetting_leaves_the_rest(self, folder: Path) -> None:
        before = rows(folder, "jpeg")
        source = decoded(folder, folder / "decoded", points=(50,))
        import_results(source, name="theirs", dataset=str(folder / "photos"), jobs=1, out=folder)
        forget(["theirs"], out=folder)
        pd.testing.assert_frame_equal(lic_bench.load(folder), before)
        with Store.open(folder) as store:
            kept = store._db.execute("SELECT count(*) FROM bitstreams").fetchone()
        assert kept == (len(before),)
        with pytest.raises(StoreError, match=r"no codec 'theirs' in .*; there are: jpeg"):
            forget(["theirs"], out=folder)

    def test_a_measured_codec_is_not_replaced(self, folder: Path, theirs: Path) -> None:
        with pytest.raises(StoreError, match=r"jpeg was measured in .* --as NAME"):
            import_results(theirs, name="jpeg", dataset="photos", out=folder)

    def test_nor_is_what_was_imported_by_a_run(self, folder: Path, theirs: Path) -> None:
        import_results(theirs, name="webp", dataset="photos", out=folder)
        with pytest.raises(StoreError, match="lic-bench forget webp"):
            lic_bench.run(["webp"], [str(folder / "photos")], out=folder, jobs=1)

    @pytest.mark.parametrize(
        "name", ["", "a,b", "x/y", "published:vtm", "a\nb", "all", "jpeg@2", "n" * 101]
    )
    def test_names_that_no_command_could_take_are_refused(
        self, folder: Path, theirs: Path, name: str
    ) -> None:
        with pytest.raises(ImportedResultsError, match="--as NAME"):
            import_results(theirs, name=name, dataset="photos", out=folder)

    def test_one_of_several_is_chosen(self, folder: Path) -> None:
        (folder / "a.csv").write_text("codec,bpp,psnr_rgb\nx,0.5,30\ny,0.5,31\n")
        with pytest.raises(ImportedResultsError, match="here are x, y; choose: --codecs"):
            import_results(folder / "a.csv", name="theirs", dataset="photos", out=folder)
        import_results(folder / "a.csv", name="theirs", codecs=["y"], dataset="photos", out=folder)
        assert list(rows(folder, "theirs")["psnr_rgb_db"]) == [31]
        import_results(folder / "a.csv", dataset="photos", out=folder)
        assert len(rows(folder, "x")) == len(rows(folder, "y")) == 1


class TestMarks:
    @pytest.fixture
    def table(self, folder: Path) -> pd.DataFrame:
        (folder / "theirs.json").write_text(as_compressai(rows(folder, "jpeg")))
        import_results(folder / "theirs.json", dataset="photos", out=folder)
        return lic_bench.load(folder)

    def test_in_a_plot(self, table: pd.DataFrame) -> None:
        ours, theirs = plot(table).get_lines()
        assert (ours.get_label(), theirs.get_label()) == ("jpeg", "theirs (imported)")
        assert theirs.get_markerfacecolor() == "white" != ours.get_markerfacecolor()

    def test_in_tables(self, table: pd.DataFrame) -> None:
        for made in (
            bd_rate_table(table, "jpeg"),
            bd_rate_table(table, "jpeg", intervals=True),
            points_table(table),
            rates_table(table, [0.5, 1.0]),
        ):
            assert set(made.frame["codec"]) == {"jpeg", "theirs (imported)"}
            assert "3 images" in made.caption
        assert "against theirs (imported) on" in bd_rate_table(table, "theirs").caption

    def test_in_a_report(self, table: pd.DataFrame, folder: Path) -> None:
        with Store.open(folder) as store:
            found = gather(table, store.runs())
        assert [(one["name"], one["imported"]) for one in found["codecs"]] == [
            ("jpeg", False),
            ("theirs (imported)", True),
        ]
        [dataset] = found["datasets"]
        assert dataset["bd"]["psnr_rgb"][0][1] == 0
        assert dataset["byImage"]["psnr_rgb"][1] is None
        assert len(dataset["images"]) == 3
        told = found["runs"][-1]
        assert (told["measurements"], told["imported"]["kind"]) == (5, "CompressAI's JSON")
        assert len(told["imported"]["sha256"]) == 64

    def test_in_what_a_run_left_before_there_were_any(self, table: pd.DataFrame) -> None:
        without = table[table["codec"] == "jpeg"].drop(columns="imported")
        assert plot(without).get_lines()[0].get_label() == "jpeg"


def table_of(text: str) -> str:
    return f"bpp,psnr_rgb,ms_ssim_rgb\n0.2,28,0.9\n{text}\n"


def json_of(**results: object) -> str:
    return json.dumps({"name": "x", "results": results})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("bpp,psnr_rgb\n", "no row below"),
        ("bpp,quality\n0.5,30\n", "no table of points: it needs a column bpp"),
        ("psnr_rgb\n30\n", "no table of points"),
        (table_of("nan,30,0.9"), r"line 3: bpp is 'nan', which is no number"),
        (table_of("-0.5,30,0.9"), "line 3: bpp is -0.5"),
        (table_of("0,30,0.9"), "line 3: bpp is 0"),
        (table_of("4096,30,0.9"), "bpp is 4096; bits per pixel are over 0, and under 100"),
        (table_of("inf,30,0.9"), "bpp is 'inf'"),
        (table_of(",30,0.9"), "line 3 has no bpp"),
        (table_of("0.5,30,nan"), "ms_ssim_rgb is 'nan'"),
        (table_of("0.5,30,13.2"), "over 1: is that dB[?] Then call it ms_ssim_rgb_db"),
        (table_of("0.5,-3,0.9"), "psnr_rgb is -3 dB"),
        (table_of("0.5,3000,0.9"), "psnr_rgb is 3000 dB"),
        (table_of("0.5,thirty,0.9"), "psnr_rgb is 'thirty'"),
        (table_of("0.5,3_0,0.9"), "psnr_rgb is '3_0'"),
        (table_of("0.5,30"), "line 3 has 2 fields, the header 3"),
        (table_of("0,5,30,0,9"), "has 5 fields, the header 3; numbers are written with a point"),
        ("bpp;psnr_rgb\n0,5;30\n", "bpp is '0,5', with a decimal comma; write 0.5"),
        (table_of('"0.5,30,0.9'), "is no CSV"),
        ("bpp,bpp,psnr_rgb\n1,1,30\n", "two columns bpp"),
        ("point,bpp,psnr_rgb\n5,1,30\n5,2,31\n", "same point as line 2"),
        ("image,bpp,psnr_rgb\na,1,30\na,2,31\n", "line 3 is of the same point as line 2, a;"),
        ("image,bpp,psnr_rgb\nd,1,30\n", "photos has no image 'd'"),
        ("image,bpp,psnr_rgb\na,1,30\n,2,31\n", "line 3 names no image, and others"),
        ("image,bytes,bpp,psnr_rgb\na,5400,0.5,30\n", "5400 bytes are 1.0000 bpp, but its bpp is"),
        ("bytes,psnr_rgb\n100,30\n", "an average over a data set needs a bpp"),
        ("bpp,psnr_rgb,encode_s\n1,30,-1\n", "encode_s is -1"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("{}", "holds no results with a bpp; CompressAI writes"),
        (json_of(bpp=[0.5], mos=[90]), "no metric that is known here, but bpp, mos"),
        (json_of(bpp=[0.5, 1], psnr=[30]), "unequal length: bpp 2, psnr 1"),
        (json_of(bpp=[], psnr=[]), "holds no points"),
        (json_of(bpp=[0.5], psnr=[math.nan]), "psnr_rgb is 'nan'"),
        (json_of(bpp=[0.5], psnr=["30"]), "psnr holds '30', which is no number"),
        (json_of(bpp=[0.5], psnr=[True]), "psnr holds True"),
        (json_of(bpp=[-1], psnr=[30]), "bpp is -1"),
        (json_of(**{"bpp": [0.5], "ms-ssim-rgb": [12.5]}), "over 1: is that dB"),
        (json_of(bpp=0.5, psnr=30), "single figures"),
    ],
)
def test_what_cannot_be_right_is_refused(folder: Path, text: str, message: str) -> None:
    source = folder / "source"
    source.write_text(text)
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(LicBenchError, match=message) as told:
        import_results(source, name="theirs", dataset="photos", out=folder)
    assert len(str(told.value)) < 600
    assert (folder / FILE_NAME).read_bytes() == before
    with pytest.raises(LicBenchError):
        import_results(source, name="theirs", dataset="photos", out=folder / "new")
    assert not (folder / "new").exists()


def test_other_files_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "wide.csv").write_text("bpp,psnr_rgb\n1,30\n", encoding="utf-16")
    with pytest.raises(ImportedResultsError, match="not text in UTF-8"):
        figures.read(folder / "wide.csv")
    (folder / "empty").mkdir()
    with pytest.raises(ImportedResultsError, match="neither decoded pictures"):
        import_results(folder / "empty", out=folder)
    with pytest.raises(ImportedResultsError, match="there is no"):
        import_results(folder / "nothing", out=folder)
    monkeypatch.setattr(figures, "_LARGEST", 10)
    with pytest.raises(ImportedResultsError, match="larger than"):
        figures.read(folder / "wide.csv")


def test_the_name_and_the_data_set_are_asked_for(folder: Path) -> None:
    (folder / "a.csv").write_text("bpp,psnr_rgb\n1,30\n")
    with pytest.raises(ImportedResultsError, match="names no codec; name it: --as NAME"):
        import_results(folder / "a.csv", dataset="photos", out=folder)
    with pytest.raises(ImportedResultsError, match="names no data set"):
        import_results(folder / "a.csv", name="theirs", out=folder)


def test_the_commands_at_the_terminal(folder: Path) -> None:
    (folder / "a.csv").write_text("bpp,psnr_rgb,colour\n1,30,red\n2,33,red\n")

    arguments = ("import", "a.csv", "--as", "theirs", "-d", "photos", "-o", ".")
    told = command(*arguments, cwd=folder).printed
    assert "photos: theirs (imported): 2 points, 1.000 to 2.000 bpp, averages" in told
    assert "Note: colour is left out" in told
    told = command("run", "-c", "theirs", cwd=folder, code=2).stderr
    assert "there is no codec 'theirs'" in told
    command("forget", "theirs", "-o", ".", cwd=folder)
    told = command("forget", "theirs", "-o", ".", cwd=folder, code=2).stderr
    assert "no codec 'theirs'" in told
    command("forget", "--dataset", "photos", "-o", ".", cwd=folder)
    assert lic_bench.load(folder).empty
