import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lic_bench import Dataset, StoreError
from lic_bench.images.dataset import ImageFile
from lic_bench.store.database import Store
from lic_bench.store.records import Decode, Key, Measurement

KEY = Key("abc", "{}", "10")
GOOD = Measurement(4, 2, b"stream", 0.5, 0.25, {"mse_rgb": 1.5, "ssim_y": None}, 1)
DATASET = Dataset("set", (ImageFile("a.png", Path("a.png"), "abc", 4, 2),))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as store:
        yield store


@pytest.fixture
def run(store: Store) -> int:
    return store.begin({"command": "test"}, [DATASET], {"toy": "{}"})


def test_a_measurement_is_kept_as_it_was_added(store: Store, run: int) -> None:
    lossless = Measurement(1, 1, b"", 0.0, 0.0, {"psnr_rgb_db": math.inf}, 1)
    store.add(run, KEY, GOOD)
    store.add(run, Key("abc", "{}", ""), lossless)
    assert store.kept(KEY) == GOOD
    assert store.kept(Key("abc", "{}", "")) == lossless


def test_it_is_there_when_the_store_is_opened_again(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    with Store.open(store.path.parent) as again:
        assert again.kept(KEY) == GOOD
        assert set(again.measured(1)) == {KEY}


def test_a_failed_measurement_is_kept_and_not_counted_as_measured(store: Store, run: int) -> None:
    store.add(run, KEY, Measurement(4, 2, error="ValueError: no"))
    assert set(store.measured(1)) == set()
    assert store.metrics_version(KEY) is None
    assert store.kept(KEY).error == "ValueError: no"
    store.add(run, KEY, GOOD)
    assert store.kept(KEY) == GOOD
    assert set(store.measured(1)) == {KEY}


def test_metrics_of_another_version_are_outdated(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    assert set(store.measured(2)) == set()
    assert store.metrics_version(KEY) == 1


def test_the_current_rows_are_those_of_the_latest_run(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    edited = Dataset("set", (ImageFile("a.png", Path("a.png"), "def", 4, 2),))
    later = store.begin({}, [edited], {"toy": '{"version": 2}'})
    assert list(store.current()[1]) == []  # neither this image nor this version was measured
    store.add(later, Key("def", '{"version": 2}', "10"), GOOD)
    names, rows = store.current()
    assert [dict(zip(names, row, strict=True))["image_sha256"] for row in rows] == ["def"]
    assert store.kept(KEY) == GOOD  # what was measured before is not lost


def test_runs_tell_how_they_came_about(store: Store) -> None:
    run = store.begin({"command": "lic-bench run"}, [DATASET], {"toy": "{}"})
    [told] = store.runs()
    assert (told["run"], told["command"], told["finished"]) == (run, "lic-bench run", None)
    store.finish(run)
    assert store.runs()[0]["finished"] is not None


def test_two_writers_at_once_lose_and_double_nothing(store: Store) -> None:
    def write(first: int) -> None:
        with Store(store.path) as mine:
            run = mine.begin({}, [DATASET], {"toy": "{}"})
            for point in range(first, first + 60):
                mine.add(run, Key("abc", "{}", str(point)), GOOD)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(store.measured(1)) == {Key("abc", "{}", str(point)) for point in range(100)}
    assert len(list(store.current()[1])) == 100


def test_a_full_disk_is_told_and_loses_nothing(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"full; nothing that was stored is lost. Make room"):
        store.add(run, Key("abc", "{}", "20"), Measurement(4, 2, bytes(100_000), 0, 0, {}, 1))
    with Store.open(store.path) as again:
        assert set(again.measured(1)) == {KEY}


def test_what_came_of_decoding_again_is_kept_until_the_stream_changes(
    store: Store, run: int
) -> None:
    store.add(run, KEY, GOOD)
    assert store.decode(KEY, "2 threads") is None
    found = Decode("2 threads", differing=3, largest=1)
    store.add_decode(KEY, found)
    assert store.decode(KEY, "2 threads") == found
    assert store.decode(KEY, "cuda") is None
    store.add(run, KEY, GOOD)
    assert store.decode(KEY, "2 threads") is None


@pytest.fixture
def of_format_1(tmp_path: Path) -> Path:
    with Store(tmp_path / "old.sqlite") as store:
        store.add(store.begin({}, [DATASET], {"toy": "{}"}), KEY, GOOD)
        for table in ("decodes", "matches", "imported_curves"):
            store._db.execute(f"DROP TABLE {table}")
        store._db.execute("PRAGMA user_version = 1")
    return store.path


def test_a_store_of_an_older_version_gains_what_it_lacks(of_format_1: Path) -> None:
    with Store(of_format_1) as store:
        assert store.kept(KEY) == GOOD
    with sqlite3.connect(of_format_1) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM decodes").fetchone() == (0,)


def test_an_older_one_that_cannot_be_written_is_read(
    of_format_1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    content = of_format_1.read_bytes()
    with Store(of_format_1) as store:
        assert store.kept(KEY) == GOOD
        assert store._db.execute("SELECT count(*) FROM decodes").fetchone() == (0,)
    assert of_format_1.read_bytes() == content


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store._db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer lic-bench"):
        Store(path)
    assert path.read_bytes() == before


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    text, other = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("no database, but long enough to look at" * 30)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE things (x)")
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=path.name):
            Store(path)
        assert path.read_bytes() == before


def test_a_folder_without_a_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no measurements; lic-bench run --out"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="blocked"):
        (tmp_path / "blocked").touch()
        Store(tmp_path / "blocked" / "store.sqlite")
