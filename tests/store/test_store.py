import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lic_bench import Dataset, SpecError, StoreError
from lic_bench.images.dataset import ImageFile
from lic_bench.metric.base import Score
from lic_bench.metric.quality import DEFAULT_SCORES
from lic_bench.store.database import Store
from lic_bench.store.records import CheckedDecode, Key, Measurement, ScoreState
from lic_bench.store.table import frame

KEY = Key("abc", "{}", "10")
SCORES = [ScoreState(score, "1") for score in DEFAULT_SCORES]
MEASURED = [state for state in SCORES if state.score.column in ("mse_rgb", "ssim_y")]
GOOD = Measurement(4, 2, b"stream", 0.5, 0.25, {"mse_rgb": 1.5, "ssim_y": None})


def dataset(*keys: str, name: str = "set", folder: str | None = "/photos") -> Dataset:
    """A data set whose images have these keys, and names in their order."""
    images = (ImageFile(f"{'abc'[i]}.png", Path("x.png"), key, 4, 2) for i, key in enumerate(keys))
    return Dataset(name, tuple(images), None if folder is None else Path(folder))


DATASET = dataset("abc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite") as store:
        yield store


@pytest.fixture
def run(store: Store) -> int:
    return store.begin({"command": "test"}, [DATASET], {"toy": "{}"}, SCORES)


def test_a_measurement_is_kept_as_it_was_added(store: Store, run: int) -> None:
    lossless = Measurement(1, 1, b"", 0.0, 0.0, {"psnr_rgb_db": math.inf})
    store.add(run, KEY, GOOD)
    store.add(run, Key("abc", "{}", ""), lossless)
    assert store.kept(KEY) == GOOD
    assert store.kept(Key("abc", "{}", "")) == lossless


def test_it_is_there_when_the_store_is_opened_again(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    with Store.open(store.path.parent) as again:
        assert again.kept(KEY) == GOOD
        assert set(again.measured(MEASURED)) == {KEY}


def test_a_failed_measurement_is_kept_and_not_counted_as_measured(store: Store, run: int) -> None:
    store.add(run, KEY, Measurement(4, 2, error="ValueError: no"))
    assert set(store.measured(MEASURED)) == set()
    assert store.missing(KEY, MEASURED) is None
    assert store.kept(KEY).error == "ValueError: no"
    store.add(run, KEY, GOOD)
    assert store.kept(KEY) == GOOD
    assert set(store.measured(MEASURED)) == {KEY}


def test_a_metric_in_another_state_is_missing_and_leaves_the_others_alone(
    store: Store, run: int
) -> None:
    store.add(run, KEY, GOOD)
    mended = [ScoreState(DEFAULT_SCORES[0], "2"), *SCORES[1:]]
    assert set(store.measured(MEASURED)) == {KEY}
    later = store.begin({}, [DATASET], {"toy": "{}"}, mended)
    assert set(store.measured([mended[0]])) == set()
    assert store.missing(KEY, [mended[0], SCORES[5]]) == {"mse_rgb"}
    assert store.kept(KEY).metrics == {"ssim_y": None}  # what is shown is of the present states
    store.add(later, KEY, replace(GOOD, metrics={"mse_rgb": 2.5}))
    assert store.kept(KEY).metrics == {"mse_rgb": 2.5, "ssim_y": None}
    store.begin({}, [DATASET], {"toy": "{}"}, SCORES)  # as it was before
    assert store.kept(KEY) == GOOD


def test_another_bitstream_has_none_of_the_figures_of_the_one_before(
    store: Store, run: int
) -> None:
    store.add(run, KEY, GOOD)
    store.add(run, KEY, replace(GOOD, stream=b"other", metrics={"mse_rgb": 3.5}))
    assert store.kept(KEY).metrics == {"mse_rgb": 3.5}


def test_a_metric_that_failed_is_missing_and_says_why(store: Store, run: int) -> None:
    failed = replace(GOOD, metrics={"mse_rgb": 1.5}, metric_errors={"ssim_y": "ValueError: no"})
    store.add(run, KEY, failed)
    assert store.kept(KEY) == failed
    assert store.missing(KEY, MEASURED) == {"ssim_y"}
    table = frame(store)
    assert table["metric_errors"].tolist() == ["ssim_y: ValueError: no"]
    store.add(run, KEY, GOOD)
    assert store.missing(KEY, MEASURED) == set()
    assert frame(store)["metric_errors"].isna().all()


def test_a_figure_that_is_new_has_a_column_behind_the_others(store: Store) -> None:
    mine = ScoreState(Score("mine", "Mine", "JOD", "lower"), "1")
    run = store.begin({}, [DATASET], {"toy": "{}"}, [*SCORES, mine])
    store.add(run, KEY, replace(GOOD, metrics={"mse_rgb": 1.5, "mine_jod": -0.25}))
    table = frame(store)
    assert table["mine_jod"].tolist() == [-0.25]
    columns = list(table.columns)
    assert columns[columns.index("ms_ssim_y") + 1] == "mine_jod"


def test_the_current_rows_are_those_of_the_latest_run(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    later = store.begin({}, [dataset("def")], {"toy": '{"version": 2}'}, SCORES)
    assert list(store.current()[1]) == []  # neither this image nor this version was measured
    store.add(later, Key("def", '{"version": 2}', "10"), GOOD)
    names, rows = store.current()
    assert [dict(zip(names, row, strict=True))["image_sha256"] for row in rows] == ["def"]
    assert store.kept(KEY) == GOOD  # what was measured before is not lost


def test_runs_tell_how_they_came_about(store: Store) -> None:
    run = store.begin({"command": "lic-bench run"}, [DATASET], {"toy": "{}"}, SCORES)
    [told] = store.runs()
    assert (told["run"], told["command"], told["finished"]) == (run, "lic-bench run", None)
    store.finish(run)
    assert store.runs()[0]["finished"] is not None


def test_two_writers_at_once_lose_and_double_nothing(store: Store) -> None:
    def write(first: int) -> None:
        with Store(store.path) as mine:
            run = mine.begin({}, [DATASET], {"toy": "{}"}, SCORES)
            for point in range(first, first + 60):
                mine.add(run, Key("abc", "{}", str(point)), GOOD)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(store.measured(MEASURED)) == {Key("abc", "{}", str(point)) for point in range(100)}
    assert len(list(store.current()[1])) == 100


def test_writers_that_begin_at_the_same_moment_do_not_disturb_each_other(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def write(path: Path, first: int) -> None:
        together.wait()
        with Store(path) as mine:
            run = mine.begin({}, [DATASET], {"toy": "{}"}, SCORES)
            for point in range(first, first + 6):
                mine.add(run, Key("abc", "{}", str(point)), GOOD)

    with ThreadPoolExecutor(8) as pool:
        for turn in range(40):
            path = tmp_path / f"{turn}.sqlite"
            Store(path).__exit__()
            for writing in [pool.submit(write, path, first) for first in range(0, 32, 4)]:
                writing.result()
            with Store(path) as both:
                assert len(list(both.measured(MEASURED))) == 34


def test_a_full_disk_is_told_and_loses_nothing(store: Store, run: int) -> None:
    store.add(run, KEY, GOOD)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match=r"full; nothing that was stored is lost. Make room"):
        store.add(run, Key("abc", "{}", "20"), Measurement(4, 2, bytes(100_000), 0, 0, {}))
    with Store.open(store.path) as again:
        assert set(again.measured(MEASURED)) == {KEY}


def test_what_came_of_decoding_again_is_kept_until_the_stream_changes(
    store: Store, run: int
) -> None:
    store.add(run, KEY, GOOD)
    assert store.decode(KEY, "2 threads") is None
    found = CheckedDecode("2 threads", differing=3, largest=1)
    store.add_decode(KEY, found)
    assert store.decode(KEY, "2 threads") == found
    assert store.decode(KEY, "cuda") is None
    store.add(run, KEY, GOOD)
    assert store.decode(KEY, "2 threads") == found
    store.add(run, KEY, replace(GOOD, stream=b"other"))
    assert store.decode(KEY, "2 threads") is None


@pytest.mark.parametrize("number", [1, 2, 99])
def test_a_store_of_another_format_is_left_alone(tmp_path: Path, number: int) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        store._db.execute(f"PRAGMA user_version = {number}")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"another lic-bench \(format {number}.*another --out"):
        Store(path)
    assert path.read_bytes() == before


def test_where_a_codec_failed_is_kept_and_in_no_table(store: Store, run: int) -> None:
    failed = Measurement(4, 2, error="ValueError: no", traceback="File ..., line 3")
    store.add(run, KEY, failed)
    assert store.kept(KEY).traceback == "File ..., line 3"
    assert "traceback" not in frame(store)
    store.add(run, KEY, GOOD)
    assert store.kept(KEY).traceback is None


def test_workers_import_no_database() -> None:
    modules = "lic_bench.execution.workers, lic_bench.execution.cluster, lic_bench.store.records"
    code = f"import sys, {modules}; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestStates:
    """The states of a codec: of which the latest run's is meant, and how others are named."""

    OTHER = Key("abc", "new", "10")

    @pytest.fixture
    def two(self, store: Store, run: int) -> Store:
        store.add(run, KEY, GOOD)
        later = store.begin({"codecs": {"toy": "new"}}, [DATASET], {"toy": "new"}, SCORES)
        store.add(later, self.OTHER, replace(GOOD, stream=b"other stream"))
        return store

    def sizes(self, store: Store, *also: str) -> dict[str, int]:
        table = frame(store, also)
        return dict(zip(table["codec"], table["bytes"], strict=True))

    def test_the_plain_name_is_the_latest(self, two: Store) -> None:
        assert self.sizes(two) == {"toy": 12}
        assert two.latest("toy") == "new"
        two.begin({}, [DATASET], {"toy": "{}"}, SCORES)  # the library as it was before
        assert self.sizes(two) == {"toy": 6}
        assert two.states() == {"toy": {"{}": 1, "new": 2}}

    def test_each_can_be_named(self, two: Store) -> None:
        assert self.sizes(two, "toy", "toy@1", "toy@2") == {"toy": 12, "toy@1": 6, "toy@2": 12}
        assert self.sizes(two, "nothing@1", "@1") == {"toy": 12}  # left to those who look for it
        with pytest.raises(SpecError, match=r"no toy@3 in .*; there are: toy@1, toy@2"):
            frame(two, ["toy@3"])

    def test_a_run_tells_which_it_measured(self, two: Store) -> None:
        assert two.runs()[1]["states"] == {"toy": "toy@2"}

    def test_one_is_forgotten_with_its_bitstreams(self, two: Store) -> None:
        two.forget("toy@2")
        assert self.sizes(two) == {"toy": 6}
        assert two._db.execute("SELECT stream FROM bitstreams").fetchall() == [(b"stream",)]
        assert two.begin({}, [DATASET], {"toy": "newer"}, SCORES)
        assert two.states() == {"toy": {"{}": 1, "newer": 2}}

    def test_all_are_forgotten_but_what_another_spec_shares(self, two: Store) -> None:
        two.begin({}, [DATASET], {"toy:depth=3": "new"}, SCORES)
        two.forget("toy")
        assert self.sizes(two) == {"toy:depth=3": 12}
        two.forget("toy:depth=3")
        for table in ("measurements", "bitstreams", "identities", "codecs"):
            left = two._db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            assert left == (0,)
        with pytest.raises(StoreError, match=r"no codec 'toy' in .*; there are: none"):
            two.forget("toy")


class TestDatasets:
    """A name stands for certain images, wherever they lie."""

    def begin(self, store: Store, *datasets: Dataset) -> int:
        return store.begin({}, datasets, {"toy": "{}"}, SCORES)

    def test_another_folder_with_other_images_is_refused(self, store: Store, run: int) -> None:
        store.add(run, KEY, GOOD)
        for other in (dataset("def", folder="/b/set"), dataset("def", folder=None)):
            with pytest.raises(StoreError, match=r"another --out, or .*forget --dataset set"):
                self.begin(store, other)
        assert frame(store)["image_sha256"].tolist() == ["abc"]
        assert len(store.runs()) == 1

    def test_the_same_images_may_lie_elsewhere(self, store: Store, run: int) -> None:
        self.begin(store, dataset("abc", folder="/b/set"))

    def test_a_folder_may_be_edited(self, store: Store, run: int) -> None:
        self.begin(store, dataset("abc", "def"))
        assert list(store.images("set")) == ["a.png", "b.png"]

    def test_a_known_data_set_has_no_other_images(self, store: Store) -> None:
        self.begin(store, dataset("abc", name="kodak", folder=None))
        with pytest.raises(
            StoreError, match=r"kodak .* is the known data set, and the images of /k"
        ):
            self.begin(store, dataset("abc", "def", name="kodak", folder="/k"))

    def test_one_is_forgotten_with_the_images_that_are_in_no_other(
        self, store: Store, run: int
    ) -> None:
        self.begin(store, dataset("abc", "def", name="more", folder="/more"))
        store.add(run, KEY, GOOD)
        store.add(run, Key("def", "{}", "10"), GOOD)
        store.forget_dataset("more")
        assert set(store.measured(MEASURED)) == {KEY}
        assert frame(store)["dataset"].tolist() == ["set"]
        assert store._db.execute("SELECT count(*) FROM bitstreams").fetchone() == (1,)
        with pytest.raises(StoreError, match=r"no data set 'more' in .*; there are: set"):
            store.forget_dataset("more")


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
