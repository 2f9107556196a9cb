"""Whatever ends a run, and whenever: the store is whole, and the same command does what is missing.

Every draw is seeded: a failure names the round in which it occurred, and comes again.
"""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

import lic_bench
from lic_bench import write_image
from lic_bench.store.database import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals are sent"),
]

SEED = 2026
TURNS = int(os.environ.get("LIC_BENCH_TURNS", "3"))
"""How often a whole run is killed, beside its workers."""
CHECKED = ("PRAGMA integrity_check", "PRAGMA foreign_key_check")


def seeded() -> random.Random:
    return random.Random(SEED)  # noqa: S311 - nothing is to be kept secret


def tell(figures: str) -> None:
    """Say what was tried; pytest -s shows it."""
    sys.stdout.write(f"{figures}\n")


def problems(path: Path) -> list[tuple[object, ...]]:
    """What SQLite finds wrong with a store."""
    with closing(sqlite3.connect(path)) as db:
        found = [row for check in CHECKED for row in db.execute(check)]
    return [row for row in found if row != ("ok",)]


def rows(path: Path) -> dict[tuple[str, str], tuple[int, str | None]]:
    """By image and point, how many bytes there are and the error; none where there is no store."""
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return {}
        found = db.execute(
            """
            SELECT m.image_key, m.point, m.bytes, m.error, length(b.stream)
            FROM measurements m LEFT JOIN bitstreams b ON b.measurement = m.id
            """
        ).fetchall()
    assert all(size == kept for _, _, size, _, kept in found)
    assert len({row[:2] for row in found}) == len(found)
    return {row[:2]: row[2:4] for row in found}


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- The store, killed many times a second ---------------------------------------------------

# Adds what is missing of so many measurements, and notes each before and after. It opens the store
# again now and then, so that this is hit, too.
WRITER = """
import os, sys
from pathlib import Path
from lic_bench.store.database import Store
from lic_bench.metric.base import Score
from lic_bench.store.records import Key, Measurement, ScoreState

MSE = ScoreState(Score("mse_rgb", "MSE (RGB)", better="lower"), "1")
path, count, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = os.open(path.with_name("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
missing = True
while missing:
    with Store(path) as store:
        if len(sys.argv) > 4:
            store._db.execute(f"PRAGMA wal_autocheckpoint = {sys.argv[4]}")
        run = store.begin({"command": "writer"}, [], {"toy": "{}"}, [MSE])
        known = {key.point for key in store.measured([MSE])}
        missing = [index for index in range(count) if str(index) not in known]
        for index in missing[:every]:
            os.write(log, f"begun {index}\\n".encode())
            stream = bytes([index % 256]) * (100 + 37 * index % 9000)
            made = Measurement(1, 1, stream, 0.5, 0.5, {"mse_rgb": 1.0})
            store.add(run, Key("image", "{}", str(index)), made)
            os.write(log, f"added {index}\\n".encode())
        store.finish(run)
"""


# Starts such a writer for each line that it reads, of so many measurements, tells its number, and
# how it ended. To fork it from what has imported everything takes a hundredth of the time.
STARTER = f"""
import os, sys
import lic_bench.store.database, lic_bench.store.records
for line in sys.stdin:
    if not (writer := os.fork()):
        sys.argv[2] = line
        exec({WRITER!r})
        os._exit(0)
    print(writer, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]), flush=True)
"""


def noted(log: Path, what: str) -> list[str]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[1] for line in lines if line.startswith(what)]


def test_a_store_whose_writer_is_killed_100_times_loses_nothing(tmp_path: Path) -> None:
    draw = seeded()
    path, log, count = tmp_path / "store.sqlite", tmp_path / "log", 6000
    command = [sys.executable, "-c", STARTER, str(path), str(count), "30"]
    starter = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert starter.stdin and starter.stdout

    def started(count: int) -> int:
        starter.stdin.write(f"{count}\n")
        starter.stdin.flush()
        return int(starter.stdout.readline())

    kills = 0
    for turn in range(100):
        before = rows(path) if path.exists() else {}
        more = draw.choice([0, 1, 2, 5, 10, 20])
        until = len(noted(log, "begun")) + more
        writer = started(count)
        wait_until(lambda n=until: len(noted(log, "begun")) >= n)
        time.sleep(draw.uniform(0, 0.02 if more == 0 else 0.004))
        os.kill(writer, signal.SIGKILL)
        kills += int(starter.stdout.readline()) == -signal.SIGKILL
        added = set(noted(log, "added"))
        if path.exists():
            assert problems(path) == [], turn
            after = rows(path)
            assert before.items() <= after.items(), turn
            assert added <= {point for _, point in after}, turn
    assert kills == 100
    count = len(rows(path)) + 100  # the rest of all would show no more
    started(count)
    assert int(starter.stdout.readline()) == 0
    starter.communicate()
    assert problems(path) == []
    assert {point for _, point in rows(path)} == {str(index) for index in range(count)}
    # Only what was under way when it was killed was begun again.
    in_vain = len(noted(log, "begun")) - count
    tell(f"{kills} kills, {in_vain} of {count} additions begun twice")
    assert in_vain <= kills


# --- The power cut between any two system calls ----------------------------------------------


@dataclass
class Disk:
    """The files of a store after some system calls, and what of that the disk is bound to have."""

    files: dict[str, bytearray] = field(default_factory=dict)
    safe: dict[str, bytearray] = field(default_factory=dict)
    """As they were when they were last synchronised."""
    pending: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    """What was written since: offset and bytes."""
    noted: bytes = b""
    """What the writer noted in its log."""

    def apply(self, call: str, name: str, offset: int, data: bytes) -> None:
        if name == "log":
            self.noted += data
        elif call == "openat":
            self.files.setdefault(name, bytearray())
            self.safe.setdefault(name, bytearray())
        elif call == "unlink":
            for kept in (self.files, self.safe, self.pending):
                kept.pop(name, None)
        elif call in ("fsync", "fdatasync"):
            self.safe[name] = bytearray(self.files[name])
            self.pending.pop(name, None)
        elif call == "ftruncate":
            del self.files[name][offset:]
            self.safe[name] = bytearray(self.files[name])
        else:
            write(self.files[name], offset, data)
            self.pending[name].append((offset, data))

    def after_a_power_cut(self, draw: random.Random) -> dict[str, bytearray]:
        """What may be there: of what was not synchronised any part, in units of sectors."""
        found = {name: bytearray(content) for name, content in self.safe.items()}
        for name, writes in self.pending.items():
            kept = draw.choice([0, 0.5, 0.9])
            for offset, data in writes:
                for start in range(0, len(data), 512):
                    if draw.random() < kept:
                        write(found[name], offset + start, data[start : start + 512])
        return found


def write(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def unhexed(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def traced(trace: str) -> Iterator[tuple[str, str, int, bytes]]:
    """The system calls of a trace that write to files of a store: call, name, offset, bytes."""
    hexed = r"((?:\\x[0-9a-f]{2})*)"
    opened = re.compile(rf'openat\([^"]*"{hexed}", \S*O_CREAT')
    unlinked = re.compile(rf'unlink\("{hexed}"')
    other = re.compile(rf'(\w+)\(\d+<{hexed}>(?:, "{hexed}", \d+)?(?:, (\d+))?\)')
    for line in trace.splitlines():
        if line.endswith(" = 0") or re.search(r" = \d+(<.*>)?$", line):
            if found := opened.match(line) or unlinked.match(line):
                yield line[: line.index("(")], Path(os.fsdecode(unhexed(found[1]))).name, 0, b""
            elif found := other.match(line):
                name = Path(os.fsdecode(unhexed(found[2]))).name
                yield found[1], name, int(found[4] or 0), unhexed(found[3] or "")


def as_left(folder: Path, files: Mapping[str, bytes], seen: Callable[[set[str]], None]) -> None:
    """Put files into an empty folder, and see what is wrong with the store that they make."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    path = folder / "store.sqlite"
    with Store(path) as store:
        run = store.begin({"command": "later"}, [], {"toy": "{}"})
        kept = {key.point: store.kept(key) for key in store.measured([])}
        store.finish(run)
    assert problems(path) == []
    for point, made in kept.items():
        assert made.stream == bytes([int(point) % 256]) * (100 + 37 * int(point) % 9000)
    seen(set(kept))
    shutil.rmtree(folder)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_power_may_fail_between_any_two_system_calls() -> None:
    count = 24
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:  # noqa: S108
        folder, trace = Path(name), Path(name, "trace")
        (folder / "made").mkdir()
        calls = "openat,unlink,write,pwrite64,ftruncate,fsync,fdatasync"
        done = subprocess.run(
            [
                *("strace", "-y", "-xx", "-s", "100000", "-o", str(trace), "-e", f"trace={calls}"),
                *(sys.executable, "-c", WRITER, str(folder / "made" / "store.sqlite")),
                *(str(count), "12", "15"),
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode and "ptrace" in done.stderr.lower():
            pytest.skip("strace may not trace here")
        assert done.returncode == 0, done.stderr
        names = {"log", "store.sqlite", "store.sqlite-journal", "store.sqlite-wal"}
        made = [one for one in traced(trace.read_text()) if one[1] in names]
        assert sum(call == "pwrite64" for call, *_ in made) > 200
        assert {"store.sqlite-journal", "store.sqlite-wal"} <= {name for _, name, _, _ in made}
        draw, disk, states = seeded(), Disk(), 0
        for call in made:
            disk.apply(*call)
            if call[1] == "log":
                continue

            def at_least(notes: bytes) -> Callable[[set[str]], None]:
                added = {line.split()[1] for line in notes.decode().splitlines() if "added" in line}

                def seen(points: set[str]) -> None:
                    assert added <= points
                    assert points == {str(index) for index in range(len(points))}

                return seen

            as_left(folder / "killed", disk.files, at_least(disk.noted))
            as_left(folder / "cut", disk.after_a_power_cut(draw), at_least(b""))
            states += 2
        tell(f"{len(made)} system calls, {states} states of the disk")


def test_a_log_that_is_cut_anywhere_costs_only_its_end(tmp_path: Path) -> None:
    draw = seeded()
    path = tmp_path / "made" / "store.sqlite"
    path.parent.mkdir()
    code = WRITER.replace("store.finish(run)", "os._exit(0)")  # leaves its log behind
    subprocess.run([sys.executable, "-c", code, str(path), "40", "40"], check=True)
    wal = path.with_name("store.sqlite-wal").read_bytes()
    found = []
    for cut in sorted(draw.sample(range(len(wal)), 100)):
        files = {"store.sqlite": path.read_bytes(), "store.sqlite-wal": wal[:cut]}

        def seen(points: set[str]) -> None:
            assert points == {str(index) for index in range(len(points))}
            found.append(len(points))

        as_left(tmp_path / "cut", files, seen)
    assert found == sorted(found)
    assert found[0] < 5 < 35 < found[-1]


# --- Whole runs ------------------------------------------------------------------------------

PLUGIN = """
import os, time
from pathlib import Path
import numpy as np
from lic_bench import Codec

HERE = Path(__file__).parent

class Slow(Codec):
    name = "slow"
    points = tuple(range(30))
    def encode(self, image, point):
        log = os.open(HERE / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, f"encoded {image[0, 0, 0]}/{point}\\n".encode())
        if (HERE / "very slow").exists():
            os.write(log, b"asleep\\n")
            time.sleep(600)
        os.close(log)
        time.sleep(0.01)
        return b"%d %d %d " % (*image.shape[:2], point) + image.tobytes()
    def decode(self, stream):
        height, width, _, pixels = stream.split(b" ", 3)
        return np.frombuffer(pixels, np.uint8).reshape(int(height), int(width), 3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the plugin and images that are told apart by their first sample."""
    (tmp_path / "slow.py").write_text(PLUGIN)
    (tmp_path / "my images").mkdir()
    for index in range(4):
        image = np.full((16, 16, 3), index, np.uint8)
        write_image(tmp_path / "my images" / f"{index}.png", image)
    return tmp_path


COMMAND = (
    *(sys.executable, "-m", "lic_bench", "run", "--plugin", "slow.py", "--codecs", "slow"),
    *("--dataset", "my images", "--out", "out", "--jobs", "2"),
)


def start(folder: Path, *more: str, **options: object) -> "subprocess.Popen[str]":
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it

    return subprocess.Popen(
        [*COMMAND, *more],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **{"preexec_fn": prepare} | options,
    )


def encoded(folder: Path) -> list[str]:
    return noted(folder / "log", "encoded")


def measured(folder: Path) -> set[str]:
    """What was measured without an error, as the codec's log names it."""
    path = folder / "out" / "store.sqlite"
    if not path.exists():
        return set()
    assert problems(path) == []
    names = {
        image.key: image.name[0]
        for image in lic_bench.load_dataset(str(folder / "my images")).images
    }
    return {f"{names[key]}/{point}" for (key, point), row in rows(path).items() if row[1] is None}


def workers(run: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(run.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def measures(process: psutil.Process) -> bool:
    try:
        return "loky.backend.popen_loky_posix" in process.cmdline()
    except psutil.Error:  # it has just been killed
        return False


def wait_for_more(folder: Path, more: int, run: "subprocess.Popen[str]") -> None:
    until = len(encoded(folder)) + more
    wait_until(lambda: len(encoded(folder)) >= until or run.poll() is not None)


def test_a_run_that_is_killed_again_and_again_does_what_is_missing(folder: Path) -> None:
    draw = seeded()
    points = 15 * TURNS  # so that there is something left to do at each
    planned = {f"{image}/{point}" for image in range(4) for point in range(points)}
    chosen = ("--points", f"0:{points - 1}:1")
    kills = Counter()
    for turn in range(TURNS):
        before, begun = measured(folder), len(encoded(folder))
        run = start(folder, *chosen)
        ours: set[psutil.Process] = set()
        for _ in range(draw.choice([1, 2, 3])):  # a worker, which the run survives
            wait_for_more(folder, draw.randint(1, 5), run)
            ours.update(workers(run))
            found = [one for one in workers(run) if measures(one)]
            if found:
                draw.choice(sorted(found, key=lambda one: one.pid)).kill()
                kills["worker"] += 1
        more = draw.choice([0, 2, 8])
        wait_for_more(folder, more, run)
        time.sleep(draw.uniform(0, 0.05 if more else 1.0))
        ours.update(workers(run))
        whom = ("parent", "group")[turn % 2]
        if run.poll() is None:
            (os.kill if whom == "parent" else os.killpg)(run.pid, signal.SIGKILL)
            kills[whom] += 1
        run.communicate()
        assert psutil.wait_procs(ours, timeout=60)[1] == [], turn  # none survives
        after = measured(folder)
        assert before <= after <= planned, turn
        assert before.isdisjoint(encoded(folder)[begun:]), turn  # what was known is not repeated
    begun, known = len(encoded(folder)), measured(folder)
    last = start(folder, *chosen)
    assert last.wait(300) == 0
    assert set(encoded(folder)[begun:]) == planned - known
    assert len(encoded(folder)) - begun == len(planned - known)
    assert measured(folder) == planned
    table = lic_bench.load(folder / "out")
    assert len(table) == len(planned)
    assert table["error"].isna().all()
    # What each worker was at may have been in vain, and what had not arrived.
    in_vain = len(encoded(folder)) - len(planned)
    tell(f"{dict(kills)}; {in_vain} of {len(encoded(folder))} encodes in vain")
    assert in_vain <= 4 * kills.total()


def test_two_runs_at_once_both_finish(folder: Path) -> None:
    both = [start(folder), start(folder)]
    assert [run.wait(300) for run in both] == [0, 0]
    assert len(measured(folder)) == 120
    with Store.open(folder / "out") as store:
        assert [bool(run["finished"]) for run in store.runs()] == [True, True]


def test_ctrl_c_ends_what_sleeps_and_says_how_to_go_on(folder: Path) -> None:
    out = 'it\'s "mine" & [red]/$HOME'
    run = start(folder, "--out", out)
    wait_until(lambda: len(encoded(folder)) >= 20)
    (folder / "very slow").touch()
    wait_until(lambda: (folder / "log").read_text().count("asleep") == 2)
    ours = workers(run)
    begun = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does, to the workers too
    _, errors = run.communicate(timeout=60)  # not the minutes that its workers would sleep
    tell(f"{time.monotonic() - begun:.2f} s")
    assert run.returncode == 130
    assert "Traceback" not in errors
    assert psutil.wait_procs(ours, timeout=60)[1] == []
    (folder / "very slow").unlink()
    with Store.open(folder / out) as store:
        known = sum(1 for _ in store.measured([]))
    assert known >= 10
    before = len(encoded(folder))
    *_, told = errors.strip().splitlines()
    subprocess.run(["sh", "-c", told], cwd=folder, check=True, capture_output=True)
    assert len(encoded(folder)) - before == 120 - known
    assert len(lic_bench.load(folder / out)) == 120


def test_ctrl_c_while_everything_starts(folder: Path) -> None:
    (folder / "very slow").touch()
    store = folder / "out" / "store.sqlite"
    for reached in (
        lambda run: True,
        lambda run: store.exists(),
        lambda run: workers(run),
        lambda run: encoded(folder),
    ):
        run = start(folder)
        wait_until(lambda run=run, reached=reached: bool(reached(run)))
        ours = workers(run)
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=60)
        assert run.returncode != 0
        assert psutil.wait_procs(ours, timeout=60)[1] == []
    assert measured(folder) == set()


# --- Disks that are full or read-only ---------------------------------------------------------


@contextmanager
def mounted(folder: Path, *how: str) -> Iterator[None]:
    """A folder with something mounted on it; skips where that is not allowed."""
    done = subprocess.run(["mount", *how, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


ALONE = ("--jobs", "1")  # a disk is full for one worker as for two


def refused(folder: Path, **options: object) -> str:
    """What a run says that ends with an error; it must be a line or two."""
    run = start(folder, *ALONE, **options)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 2, errors
    assert "Traceback" not in errors
    [told] = [line for line in errors.splitlines() if line.startswith("lic-bench: ")]
    return told


@pytest.mark.parametrize("largest", [3_000, 200_000])
def test_a_file_that_may_not_grow_is_told_and_nothing_is_lost(folder: Path, largest: int) -> None:
    """Stands for a full disk where nothing can be mounted."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    told = refused(folder, preexec_fn=limit)
    assert "store.sqlite: " in told
    assert "Make room or choose another --out, then repeat the command" in told
    known, before = measured(folder), len(encoded(folder))
    assert start(folder, *ALONE).wait(300) == 0
    assert len(encoded(folder)) - before == 120 - len(known)
    assert len(measured(folder)) == 120


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_is_told_and_nothing_is_lost(folder: Path) -> None:
    out = folder / "out"
    out.mkdir()
    with mounted(out, "-t", "tmpfs", "-o", "size=300k", "tmpfs"):
        told = refused(folder)
        assert "full" in told
        assert "Make room or choose another --out, then repeat the command" in told
        known = measured(folder)
        assert known
        subprocess.run(["mount", "-o", "remount,size=8m", str(out)], check=True)
        before = len(encoded(folder))
        assert start(folder, *ALONE).wait(300) == 0
        assert len(encoded(folder)) - before == 120 - len(known)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a folder read-only")
def test_a_read_only_store_is_told_read_and_left_alone(folder: Path) -> None:
    assert start(folder, *ALONE, "--points", "1,2,3,4").wait(300) == 0
    store = folder / "out" / "store.sqlite"
    content = store.read_bytes()
    with mounted(folder / "out", "--bind", "-o", "ro", str(folder / "out")):
        if os.access(store, os.W_OK):  # some mounts take the option only afterwards
            subprocess.run(["mount", "-o", "remount,ro,bind", str(folder / "out")], check=True)
        told = refused(folder)
        assert "readonly database" in told
        assert len(lic_bench.load(folder / "out")) == 16
        assert store.read_bytes() == content
    assert start(folder, *ALONE, "--points", "1,2,3,4,5").wait(300) == 0
    assert len(measured(folder)) == 20
