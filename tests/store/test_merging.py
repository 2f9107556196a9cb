"""Several stores: put together into one, and read as one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

import lic_bench
from lic_bench import StoreError, write_image
from lic_bench.store.database import Store
from lic_bench.store.merging import merge
from lic_bench.store.records import Key
from lic_bench.store.together import load_together, named

ROWS = ["dataset", "image", "codec", "point", "identity"]
FIGURES = ["bytes", "bpp", "psnr_rgb_db", "ms_ssim_y", "error"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders: ``a`` with JPEG and raw samples, ``b`` with JPEG at other points and 4:4:4."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "photos").mkdir()
    noise = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        write_image(folder / "photos" / name, noise.integers(0, 256, (24, 32, 3), np.uint8))
    photos = str(folder / "photos")
    lic_bench.run(
        ["jpeg", "none"], [photos], out=folder / "a", points={"jpeg": ["10", "30"]}, jobs=1
    )
    other = "jpeg:subsampling=4:4:4"
    lic_bench.run(["jpeg", other], [photos], out=folder / "b", points={"": ["30", "80"]}, jobs=1)
    return folder


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    return table[ROWS + FIGURES].sort_values(ROWS, ignore_index=True)


def test_a_merged_store_holds_what_the_two_hold_once(stores: Path, tmp_path: Path) -> None:
    store = merge([stores / "a", stores / "b"], tmp_path / "all")
    both = pd.concat([lic_bench.load(stores / name) for name in "ab"])
    expected = tidy(both.drop_duplicates(ROWS))
    pd.testing.assert_frame_equal(tidy(lic_bench.load(store)), expected)
    with Store.open(store) as merged:
        for name in "ab":
            with Store.open(stores / name) as source:
                for *_, key in source.with_streams():
                    assert merged.kept(key).stream == source.kept(key).stream
        assert len(merged.runs()) == 2
    merge([stores / "a"], tmp_path / "all")  # it is all there
    pd.testing.assert_frame_equal(tidy(lic_bench.load(store)), expected)


def test_a_run_goes_on_from_a_merged_store(stores: Path, tmp_path: Path) -> None:
    command("merge", stores / "a", stores / "b", "-o", tmp_path / "all")
    before = lic_bench.load(tmp_path / "all")
    photos = str(stores / "photos")
    after = lic_bench.run(["jpeg"], [photos], out=tmp_path / "all", points={"": ["10", "80"]})
    assert set(after["run"]) <= set(before["run"])


def test_a_measurement_that_failed_is_replaced_by_one_that_did_not(
    stores: Path, tmp_path: Path
) -> None:
    merge([stores / "a"], tmp_path / "failed")
    with Store(tmp_path / "failed" / "store.sqlite") as store:
        [*_, key] = store.with_streams(["none"])[0]
        assert isinstance(key, Key)
        store._db.execute("UPDATE measurements SET error = 'out of luck' WHERE point = ''")
    merge([tmp_path / "failed", stores / "a"], tmp_path / "all")
    assert lic_bench.load(tmp_path / "all")["error"].isna().all()
    merge([tmp_path / "failed"], tmp_path / "all")
    assert lic_bench.load(tmp_path / "all")["error"].isna().all()


def test_a_name_of_other_images_is_refused_and_leaves_nothing(stores: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "other.png", np.zeros((20, 20, 3), np.uint8))
    lic_bench.run(["webp"], [str(tmp_path / "photos")], out=tmp_path / "c", jobs=1)
    with pytest.raises(StoreError, match=r"photos in .* stands for other images"):
        merge([stores / "a", tmp_path / "c"], tmp_path / "all")
    assert set(lic_bench.load(tmp_path / "all")["codec"]) == {"jpeg", "none"}


def test_together_what_is_the_same_is_one_and_what_differs_is_named(
    stores: Path, tmp_path: Path
) -> None:
    both = load_together({"a": stores / "a", "b": stores / "b"})
    assert set(both["codec"]) == {"jpeg", "none", "jpeg:subsampling=4:4:4"}
    assert len(both) == len(both.drop_duplicates(ROWS)) == 2 * (3 + 1 + 2)
    merge([stores / "a"], tmp_path / "old")
    with Store(tmp_path / "old" / "store.sqlite") as store:
        store._db.execute("UPDATE identities SET text = 'before' WHERE text LIKE '%\"jpeg\"%'")
    both = load_together({"now": stores / "a", "old": tmp_path / "old"})
    assert set(both["codec"]) == {"jpeg (now)", "jpeg (old)", "none"}


def test_folders_have_names() -> None:
    assert named(["x/a", "mine=x/b"]) == {"a": Path("x/a"), "mine": Path("x/b")}
    with pytest.raises(lic_bench.SpecError, match="two folders are called 'a'"):
        named(["x/a", "y/a"])


def test_commands_show_two_folders(stores: Path, tmp_path: Path) -> None:
    folders = (stores / "a", f"theirs={stores / 'b'}")
    csv = command("export", *folders, "-o", "-", cwd=tmp_path).stdout
    assert csv.count("\n") == 13
    table = command("table", *folders, "--by-point", "-f", "csv", cwd=tmp_path).stdout
    assert "jpeg:subsampling=4:4:4" in table
    command("plot", *folders, "-o", "both.svg", cwd=tmp_path)
    command("report", *folders, "--no-viewer", "-o", "both.html", cwd=tmp_path)
    assert "subsampling=4:4:4" in (tmp_path / "both.html").read_text()
