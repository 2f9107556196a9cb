"""Stores from somebody else: reading one harms nothing, and ends in a result or one line."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hostile_stores import FOREIGN, KEYS, MALFORMED, SCORES, altered, good_store, hot_journal
from typer.testing import CliRunner

from lic_bench import LicBenchError, StoreError
from lic_bench.cli.main import app
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.merging import merge
from lic_bench.store.records import Measurement
from lic_bench.store.table import load

READING = (
    ["table", "{}"],
    ["runs", "{}"],
    ["report", "{}", "--no-viewer", "-o", "{}-page.html"],
    ["compare", "{}:toy", "{}:toy2"],
    ["export", "{}", "-o", "{}-export.csv"],
    ["plot", "{}", "-o", "{}-plot.png"],
)
WRITING = (
    ["forget", "toy", "-o", "{}"],
    ["import", "{}-points.csv", "-d", "set", "-o", "{}"],
    ["merge", "{}", "-o", "{}-merged"],
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_store(tmp_path_factory.mktemp("good"))


@pytest.fixture
def sent(template: Path, tmp_path: Path) -> Path:
    """A folder that somebody sent."""
    (tmp_path / "sent-points.csv").write_text("codec,point,bpp,psnr_rgb\nx,1,1,30\nx,2,2,33\n")
    return Path(shutil.copytree(template, tmp_path / "sent"))


def command(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and all that a command says, in this process."""
    done = CliRunner().invoke(app, [word.format(folder) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_command_works_on_a_good_store(sent: Path) -> None:
    """Else the tests below would prove nothing."""
    before = contents(sent)
    for words in READING:
        code, said = command(words, sent)
        assert code == 0, said
    assert contents(sent) == before
    for words in WRITING:
        code, said = command(words, sent)
        assert code == 0, said


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=lambda words: words[0])
def test_a_journal_deletes_no_file_of_the_user(words: list[str], sent: Path) -> None:
    precious = sent.parent / "precious.txt"
    precious.write_text("a file of the user")
    hot_journal(sent / FILE_NAME, precious)
    before = contents(sent)
    code, said = command(words, sent)
    assert precious.read_text() == "a file of the user"
    assert code == 2
    assert "store.sqlite-journal" in said
    assert contents(sent) == before


def test_sqlite_itself_deletes_the_file(sent: Path) -> None:
    """Else the test above would prove nothing."""
    precious = sent.parent / "precious.txt"
    precious.write_text("a file of the user")
    hot_journal(sent / FILE_NAME, precious)
    with closing(sqlite3.connect(sent / FILE_NAME)) as db:
        db.execute("SELECT * FROM runs").fetchall()
    assert not precious.exists()


def test_what_an_interrupted_write_left_is_told_and_mended_by_a_command_that_writes(
    sent: Path,
) -> None:
    """A journal of our own, as a killed `forget` leaves it."""
    path = sent / FILE_NAME
    script = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN IMMEDIATE');"
        "db.execute('DELETE FROM measurements'); db.execute('DELETE FROM runs');"
        "[db.execute('INSERT INTO matches VALUES (?, 1)', (str(i) * 500,)) for i in range(900)];"
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert path.with_name("store.sqlite-journal").stat().st_size
    with pytest.raises(StoreError, match=r"(?s)interrupted.*lic-bench forget"):
        Store.open(sent)
    with pytest.raises(StoreError, match="no codec 'nothing'"), Store(path) as store:
        store.forget("nothing")
    assert len(load(sent)) == len(KEYS) + 3


def test_a_store_whose_run_was_killed_is_read_with_all_that_it_measured(sent: Path) -> None:
    script = (
        "import os, sys; from lic_bench.store.database import Store\n"
        "from lic_bench.store.records import Key, Measurement\n"
        "store = Store(__import__('pathlib').Path(sys.argv[1]))\n"
        "from lic_bench.metric.quality import DEFAULT_SCORES\n"
        "from lic_bench.store.records import ScoreState\n"
        "run = store.begin({}, [], {}, [ScoreState(score, '1') for score in DEFAULT_SCORES])\n"
        "metrics = {'psnr_rgb_db': 40.0}\n"
        "key = Key(sys.argv[2], sys.argv[3], '30')\n"
        "store.add(run, key, Measurement(40, 30, b'x', 0, 0, metrics)); os._exit(0)"
    )
    words = [str(sent / FILE_NAME), KEYS[0].image_key, KEYS[0].identity]
    subprocess.run([sys.executable, "-c", script, *words], check=True)
    assert (sent / "store.sqlite-wal").stat().st_size
    assert len(load(sent)) == len(KEYS) + 4


@pytest.mark.parametrize("number", [0, 2, 4])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_database_of_another_program_is_left_as_it_is(
    journal: str, number: int, sent: Path
) -> None:
    (sent / FILE_NAME).unlink()
    with closing(sqlite3.connect(sent / FILE_NAME)) as db:
        db.execute("CREATE TABLE things (x)")
        db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA journal_mode = {journal}")
    before = contents(sent)
    for words in (*READING, *WRITING):
        code, said = command(words, sent)
        assert (code, contents(sent)) == (2, before), said
        assert "store.sqlite" in said


@pytest.mark.parametrize("name", FOREIGN)
def test_a_schema_that_is_not_ours_is_refused(name: str, sent: Path) -> None:
    altered(sent, *FOREIGN[name], schema=True)
    before = contents(sent)
    for words in (*READING, *WRITING):
        code, said = command(words, sent)
        assert code == 2, said
        assert "store.sqlite" in said
    assert contents(sent) == before
    with pytest.raises(StoreError), Store(sent / FILE_NAME) as store:
        store.begin({}, [], {})


def test_a_trigger_falsifies_no_measurement_of_ours(sent: Path) -> None:
    altered(sent, *FOREIGN["trigger"])
    with pytest.raises(StoreError, match="not the tables"), Store(sent / FILE_NAME) as store:
        run = store.begin({}, [], {}, SCORES)
        store.add(run, KEYS[0], Measurement(40, 30, b"1" * 500, 1, 1, {"psnr_rgb_db": 30.0}))


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_ends_in_a_result_or_a_line(name: str, sent: Path) -> None:
    altered(sent, *MALFORMED[name])
    for words in READING:
        code, said = command(words, sent)
        assert code in (0, 2)
        if code == 2:
            assert said.startswith("lic-bench: ") or "\nlic-bench: " in said
            assert said.count("\n") < 12


@pytest.mark.parametrize("name", MALFORMED)
def test_merging_what_is_malformed_leaves_a_store_that_is_read(
    name: str, template: Path, sent: Path
) -> None:
    altered(sent, *MALFORMED[name])
    ours = Path(shutil.copytree(template, sent.parent / "ours"))
    before = len(load(ours))
    with suppress(LicBenchError):
        merge([sent], ours)
    assert len(load(ours)) >= before


def test_damaged_pages_end_in_a_result_or_a_line(sent: Path) -> None:
    rng = random.Random(0)  # noqa: S311 - to be repeated, not secret
    path = sent / FILE_NAME
    whole = path.read_bytes()
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 4, 64))):
            damaged[rng.randrange(100, len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged[: rng.choice((len(whole), rng.randrange(len(whole))))]))
        for words in (READING[0], READING[1]):
            refused += command(words, sent)[0] == 2
    assert refused > 60


def test_a_damaged_bitstream_is_not_given(sent: Path) -> None:
    altered(sent, "UPDATE bitstreams SET stream = CAST('x' || substr(stream, 2) AS BLOB)")
    with Store.open(sent) as store, pytest.raises(StoreError, match="damaged"):
        store.kept(KEYS[0])


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
@pytest.mark.parametrize("beside", ["", "-journal", "-wal"])
def test_a_pipe_is_not_waited_for(beside: str, sent: Path) -> None:
    path = sent / f"{FILE_NAME}{beside}"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = subprocess.run(
        [sys.executable, "-m", "lic_bench", "runs", str(sent)], capture_output=True, timeout=30
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_link_beside_a_store_is_not_written_through(sent: Path) -> None:
    precious = sent.parent / "precious"
    precious.write_bytes(b"a file of the user")
    for beside in ("-wal", "-shm"):
        (sent / f"{FILE_NAME}{beside}").symlink_to(precious)
    command(["runs", "{}"], sent)
    with pytest.raises(StoreError), Store(sent / FILE_NAME) as store:
        store.begin({}, [], {})
    assert precious.read_bytes() == b"a file of the user"


def test_runs_are_printed_as_json(sent: Path) -> None:
    code, said = command(["runs", "{}"], sent)
    assert code == 0
    assert json.loads(said)[0]["command"] == "lic-bench run"
