"""A bad codec costs its own measurements and nothing else."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from command import command

import lic_bench
from lic_bench import write_image
from lic_bench.execution.memory import most_memory_gb
from lic_bench.execution.plan import plan
from lic_bench.execution.run import execute
from lic_bench.execution.workers import Processes
from lic_bench.store.database import Store

pytestmark = pytest.mark.slow

# What a codec does is the name of its operating point. One that starts something writes the number
# of the process beside itself.
PLUGIN = """
import ctypes, os, signal, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
from lic_bench import Codec

HERE = Path(__file__).parent
kept = []

class Weird(BaseException): pass

class Mute(Exception):
    def __str__(self): raise ValueError("I will not say")

class Text(str): pass

class Stream(bytes):
    def __len__(self): return 1

class Picture(np.ndarray):
    def __sub__(self, other): raise ValueError("no sums")
    astype = __getitem__ = __array__ = __sub__

class Pretends:
    def __init__(self, image): self.image = image
    dtype = np.dtype(np.uint8)
    shape = (16, 24, 3)
    def __array__(self, *a, **k): return self.image

def remember(pid):
    with (HERE / "started").open("a") as file:
        file.write(f"{pid}\\n")

class Bad(Codec):
    name = "bad"
    points = ("good",)
    def encode(self, image, point):
        stream = b"%d %d %s " % (*image.shape[:2], point.encode()) + image.tobytes()
        match point:
            case "raises": raise ValueError("no\\nluck")
            case "leaves": sys.exit("bye")
            case "interrupts": raise KeyboardInterrupt
            case "weird": raise Weird("odd")
            case "mute": raise Mute
            case "garbage": raise ValueError("a\\0b\\x1b[31m\\ud800" + 5_000_000 * "x")
            case "text": return "text"
            case "array": return bytearray(stream)
            case "nothing": return None
            case "too-large": return bytes(1_000_000_001)
            case "hidden-size": return Stream(stream)
            case "hangs": time.sleep(600)
            case "hangs-in-c": ctypes.PyDLL(None).sleep(600)  # nothing else runs in its process
            case "exits": os._exit(7)
            case "segfaults": ctypes.string_at(8)
            case "aborts": os.abort()
            case "closes": os.closerange(0, 1000)
            case "eats":
                while True: kept.append(np.ones(20_000_000))
            case "eats-at-once": np.ones(10**10, np.uint8)
            case "eats-objects":
                while True: kept.append(list(range(100_000)))
            case "moves":
                (HERE / "gone").mkdir(exist_ok=True); os.chdir(HERE / "gone"); os.rmdir(os.getcwd())
                os.environ["PATH"] = ""; del os.environ["HOME"]
            case "signals":
                signal.signal(signal.SIGINT, signal.SIG_DFL); signal.signal(signal.SIGTERM, print)
            case "alarms": signal.setitimer(signal.ITIMER_REAL, 0.05)  # strikes whoever comes next
            case "shouts":
                print(200_000 * "n"); print(200_000 * "n", file=sys.stderr)
            case "starts":
                child = subprocess.Popen(["sleep", "600"], start_new_session=True)
                remember(child.pid)
                if not (pid := os.fork()):
                    os.setsid(); time.sleep(600); os._exit(0)
                remember(pid)
            case "starts-and-dies":
                remember(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
                if not (pid := os.fork()):
                    time.sleep(600); os._exit(0)
                remember(pid)
                os.abort()
            case "threads":
                threading.Thread(target=time.sleep, args=(600,)).start()
            case "needs-path":
                if not os.environ["PATH"] or Path.cwd() == Path("/"): raise ValueError("spoilt")
        return stream

    def decode(self, stream):
        height, width, point, pixels = stream.split(b" ", 3)
        height, width, point = int(height), int(width), point.decode()
        image = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        match point:
            case "pretends": return Pretends(image)
            case "list": return image.tolist()
            case "no-picture": return None
            case "floats": return image.astype(float)
            case "signed": return image.view(np.int8)
            case "small": return image[1:]
            case "turned": return image.transpose(1, 0, 2)
            case "batch": return image[None]
            case "one-plane": return image[..., 0]
            case "read-only": return image
            case "far-apart":
                whole = np.zeros((4 * height, 4 * width, 12), np.uint8)
                view = whole[::4, ::4, ::4]
                view[:] = image
                return view
            case "backwards": return image[::-1].copy()[::-1]
            case "fortran": return np.asfortranarray(image)
            case "subclass": return image.view(Picture)
            case "masked": return np.ma.masked_array(image, mask=True)
            case "torn": return np.lib.stride_tricks.as_strided(image, strides=(1 << 40, 3, 1))
        return image.copy()
"""

LIMIT = 10
"""Seconds: what hangs takes forever, and all else a small part of it."""

GOOD = (
    *("good", "moves", "signals", "alarms", "shouts", "threads", "starts", "needs-path"),
    *("read-only", "far-apart", "backwards", "fortran", "subclass", "masked", "hidden-size"),
)
BAD = {
    "raises": "ValueError: no luck",
    "leaves": "SystemExit: bye",
    "interrupts": "KeyboardInterrupt",
    "weird": "Weird: odd",
    "mute": "Mute: what it says cannot be read",
    "garbage": r"ValueError: a\\x00b\\x1b\[31m\\ud800x{900}",
    "text": "TypeError: encode returned str, not bytes",
    "array": "TypeError: encode returned bytearray, not bytes",
    "nothing": "TypeError: encode returned NoneType, not bytes",
    "too-large": "ValueError: encode returned 1000000001 bytes, of at most 999000000",
    "exits": "the process ended with exit code 7: a fault in its code",
    "segfaults": "the process died of SIGSEGV",
    "aborts": "the process died of SIGABRT",
    "starts-and-dies": "the process died of SIGABRT",
    "closes": "the process ended with exit code 1|the process lost its connection",
    "pretends": "TypeError: decode returned Pretends, not a NumPy array",
    "list": "TypeError: decode returned list, not a NumPy array",
    "no-picture": "TypeError: decode returned NoneType, not a NumPy array",
    "floats": r"TypeError: decode returned float64 of shape \(16, 24, 3\), not uint8",
    "signed": "TypeError: decode returned int8",
    "small": r"TypeError: decode returned uint8 of shape \(15, 24, 3\), not uint8 of \(16, 24, 3\)",
    "turned": r"TypeError: decode returned uint8 of shape \(24, 16, 3\)",
    "batch": r"TypeError: decode returned uint8 of shape \(1, 16, 24, 3\)",
    "one-plane": r"TypeError: decode returned uint8 of shape \(16, 24\)",
    "torn": "the process died of SIG(SEGV|BUS)",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the plugin and two images."""
    (tmp_path / "bad.py").write_text(PLUGIN)
    (tmp_path / "images").mkdir()
    random = np.random.default_rng(7)
    for name in ("a", "b"):
        pixels = random.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        write_image(tmp_path / "images" / f"{name}.png", pixels)
    return tmp_path


def run(folder: Path, *points: str, jobs: int = 2, **limits: float) -> pd.DataFrame:
    return lic_bench.run(
        ["bad", "none"],
        [str(folder / "images")],
        out=folder / "out",
        points={"bad": points},
        plugins=[folder / "bad.py"],
        jobs=jobs,
        **limits,
    )


def survivors(folder: Path) -> list[int]:
    """The processes that a codec started and that are still there."""
    started = map(int, (folder / "started").read_text().split())
    alive = [psutil.Process(pid) for pid in started if psutil.pid_exists(pid)]
    return [one.pid for one in psutil.wait_procs(alive, timeout=60)[1]]


def test_every_kind_of_bad_codec_costs_its_own_measurements_only(folder: Path) -> None:
    mixed = [*BAD, *GOOD]
    np.random.default_rng(1).shuffle(mixed)
    table = run(folder, *mixed)
    assert len(table) == 2 * len(mixed) + 2
    for point, error in BAD.items():
        failed = table[table["point"] == point]
        assert failed["error"].str.match(error).tolist() == [True, True], (point, failed["error"])
        assert failed["mse_rgb"].isna().all()
    whole = table[~table["point"].isin(BAD)]
    assert whole["error"].isna().all(), whole["error"].dropna().tolist()
    assert (whole["mse_rgb"] == 0).all()
    assert table["error"].dropna().str.len().max() < 1100
    assert all(error.isprintable() for error in table["error"].dropna())
    if sys.platform == "linux":
        assert survivors(folder) == []
    with Store.open(folder / "out") as store:
        assert store._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.runs()[0]["finished"]


def test_a_measurement_that_takes_too_long_is_stopped(folder: Path) -> None:
    (folder / "images" / "b.png").unlink()
    table = run(folder, "good", "hangs", "needs-path", "hangs-in-c", "fine", timeout_s=LIMIT)
    failed = table[table["point"].str.startswith("hangs")]
    assert failed["error"].tolist() == [f"took longer than {LIMIT} s (--timeout)"] * 2
    assert table.drop(failed.index)["error"].isna().all()


def test_without_a_limit_of_time_nothing_is_stopped(folder: Path) -> None:
    code = (folder / "bad.py").read_text().replace("time.sleep(600)", "time.sleep(1)", 1)
    (folder / "bad.py").write_text(code)
    assert run(folder, "hangs", timeout_s=0)["error"].isna().all()


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited on Linux only")
def test_what_eats_memory_fails_and_spoils_no_other(folder: Path) -> None:
    (folder / "images" / "b.png").unlink()
    points = ("good", "eats", "needs-path", "eats-at-once", "fine", "eats-objects")
    table = run(folder, *points, jobs=1, memory_gb=0.6)
    failed = table[table["point"].str.startswith("eats")]
    assert failed["error"].str.match("MemoryError").tolist() == [True, True, True]
    assert failed["error"].str.endswith("; a process may use 0.6 GB (--memory)").all()
    assert table.drop(failed.index)["error"].isna().all()


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited on Linux only")
def test_torch_finds_no_memory_either(folder: Path) -> None:
    pytest.importorskip("torch")
    (folder / "images" / "b.png").unlink()
    code = (folder / "bad.py").read_text()
    old, new = (f'case "{name}": ' for name in ("eats-at-once", "fills-a-tensor"))
    (folder / "bad.py").write_text(
        code.replace(old, f"{new}import torch; torch.ones(10**10)\n            {old}")
    )
    table = run(folder, "fills-a-tensor", "good", jobs=1, memory_gb=3)
    failed = table[table["point"] == "fills-a-tensor"]
    assert failed["error"].str.match("RuntimeError: .*allocate memory.* 3 GB").all()
    assert table.drop(failed.index)["error"].isna().all()


def test_there_is_a_limit_by_default() -> None:
    total = psutil.virtual_memory().total / 1e9
    assert 0 < most_memory_gb() <= total


def test_a_batch_that_kills_its_process_is_measured_one_by_one(folder: Path) -> None:
    code = (folder / "bad.py").read_text()
    (folder / "bad.py").write_text(
        code.replace('    points = ("good",)', '    points = ("good",)\n    batch_size = 2')
        + "    def encode_batch(self, images, point):\n"
        + "        if len(images) > 1 or not images[0].any(): os.abort()\n"
        + "        return super().encode_batch(images, point)\n"
    )
    write_image(folder / "images" / "b.png", np.zeros((16, 24, 3), np.uint8))
    table = run(folder, "good").query("codec == 'bad'")
    assert table["error"].notna().tolist() == [False, True]


def test_the_command_line_goes_on_and_tells(folder: Path) -> None:
    done = command(
        *("run", "--plugin", "bad.py", "--codecs", "bad", "--dataset", "images/a.png"),
        *("--points", "good,hangs,shouts,raises,eats-at-once", "--out", "out"),
        *("--timeout", LIMIT, "--memory", "0.6"),
        cwd=folder,
        code=1,
    )
    assert "nnn" not in done.stdout  # what codecs print is not in the way of what we print
    for point, reason in (
        ("hangs", f"took longer than {LIMIT} s"),
        ("raises", "ValueError: no luck"),
    ):
        assert f"failed: a.png, bad {point}: {reason}" in done.stderr
    assert re.search(r"failed: a\.png, bad eats-at-once: MemoryError.* 0\.6 GB", done.stderr)
    assert len(lic_bench.load(folder / "out").query("error.isna()")) == 2


def test_a_process_that_is_killed_from_outside_costs_nothing(folder: Path) -> None:
    class Killed:
        """Kills the worker processes after the third measurement."""

        count = 0

        def __call__(self, progress: object) -> None:
            self.count += 1
            if self.count == 3:
                for child in psutil.Process().children():
                    with suppress(psutil.Error):
                        if "loky.backend.popen_loky_posix" in child.cmdline():
                            child.kill()

    points = [f"good-{index}" for index in range(8)]
    planned = plan(
        ["bad"], [str(folder / "images")], points={"bad": points}, plugins=[folder / "bad.py"]
    )
    table = execute(planned, folder / "out", workers=Processes(2), report=Killed())
    assert len(table) == 16
    assert table["error"].isna().all()


@pytest.mark.parametrize("limit", [{"timeout_s": -1}, {"memory_gb": float("nan")}])
def test_a_limit_that_is_none_is_refused(folder: Path, limit: dict[str, float]) -> None:
    with pytest.raises(lic_bench.SpecError, match="0 stands for none"):
        run(folder, "good", **limit)
