"""The one runner: what a request comes back as, whatever the codec does."""

import ast
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest

import lic_bench
from lic_bench import write_image
from lic_bench.execution.faults import (
    DiedError,
    FaultError,
    OutOfMemoryError,
    OutOfTimeError,
    RaisedError,
    RefusedError,
    lacks_memory,
)
from lic_bench.execution.requests import Decode, Encode
from lic_bench.execution.runner import Limits, Runner, Runners, execute

HOUSE = Path(__file__).parents[2]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")

PLUGIN = """
import multiprocessing, os, sys, time
import numpy as np
from lic_bench import BitstreamError, Codec, CodecError, SpecError

class Talks(Codec):
    name = "talks"
    points = ("good", "band", "modules")
    def encode(self, image, point):
        match point:
            case "refuses": raise CodecError("too small for me")
            case "band": raise ValueError("cannot allocate bits to this band")
            case "alters": image[:] = 0
            case "modules":
                loaded = {"sqlite3", "pandas", "matplotlib"} & set(sys.modules)
                if loaded: raise ValueError(f"a worker has loaded {loaded}")
            case "chained":
                try: np.ones(1 << 50)
                except MemoryError as error: raise BitstreamError("it does not decode") from error
            case "pool":
                with multiprocessing.Pool(2) as pool: return bytes(pool.map(double, b"ab"))
            case "lock": return str(multiprocessing.RLock()._semlock.name).encode()
            case "threads": return os.environ["OMP_NUM_THREADS"].encode()
        return bytes(image.tobytes())
    def decode(self, stream):
        match stream:
            case b"refuses": raise BitstreamError("not of mine")
            case b"spec": raise SpecError("not so")
            case b"raises": deep(3)
            case b"sleeps": time.sleep(600)
            case b"dies": os._exit(5)
            case b"eats": np.ones(10**9)
            case b"list": return [1, 2]
            case b"flat": return np.zeros((3, 3), np.uint8)
        return np.zeros((1, 1, 3), np.uint8)

def double(number): return 2 * number

def deep(level):
    if not level: raise KeyError("at the bottom")
    deep(level - 1)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "talks.py"
    path.write_text(PLUGIN)
    return path


IMAGE = np.full((4, 6, 3), 7, np.uint8)


@pytest.mark.parametrize(
    ("stream", "kind", "text"),
    [
        (b"refuses", RefusedError, "not of mine"),
        (b"spec", RaisedError, "SpecError: not so"),
        (b"raises", RaisedError, "KeyError: 'at the bottom'"),
        (b"list", RaisedError, "TypeError: decode returned list, not a NumPy array"),
        (b"flat", RaisedError, "TypeError: decode returned uint8 of shape (3, 3), not uint8 of H"),
        (b"sleeps", OutOfTimeError, "took longer than 2 s"),
        (b"dies", DiedError, "the process ended with exit code 5"),
        pytest.param(b"eats", OutOfMemoryError, "MemoryError: ", marks=ON_LINUX),
    ],
)
def test_every_fault_has_its_type(
    stream: bytes, kind: type[FaultError], text: str, plugin: Path
) -> None:
    with pytest.raises(FaultError) as caught:
        limits = Limits(timeout_s=2 if kind is OutOfTimeError else 600, memory_gb=2)
        execute(Decode("talks", (plugin,), stream), limits)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(text)


@ON_LINUX
def test_a_codec_may_have_processes_and_locks_of_its_own(plugin: Path) -> None:
    pooled = execute(Encode("talks", (plugin,), IMAGE, "pool"), Limits(timeout_s=60))
    assert pooled.stream == bytes(2 * number for number in b"ab")
    # One with a name would outlive the process, and be complained of at the terminal.
    if multiprocessing.get_start_method() == "fork":
        lock = execute(Encode("talks", (plugin,), IMAGE, "lock"))
        assert lock.stream == b"None"


def test_an_error_keeps_its_whole_traceback(plugin: Path) -> None:
    with pytest.raises(RaisedError) as caught:
        execute(Decode("talks", (plugin,), b"raises"))
    assert caught.value.trace.count("in deep") == 4
    assert f'"{plugin}", line' in caught.value.trace
    assert caught.value.trace.endswith("KeyError: 'at the bottom'")


def test_a_runner_goes_on_after_what_a_codec_raises_or_refuses(plugin: Path) -> None:
    runner = Runner()
    try:
        for stream in (b"raises", b"refuses", b"list"):
            with pytest.raises(FaultError):
                runner.ask(Decode("talks", (plugin,), stream))
        assert runner.ask(Decode("talks", (plugin,), b"good")).shape == (1, 1, 3)
        encoded = runner.ask(Encode("talks", (plugin,), IMAGE, "good"))
        assert (encoded.stream, encoded.altered) == (IMAGE.tobytes(), False)
        assert runner.ask(Encode("talks", (plugin,), IMAGE, "alters")).altered
        with pytest.raises(RefusedError, match="too small for me"):
            runner.ask(Encode("talks", (plugin,), IMAGE, "refuses"))
    finally:
        runner.close()


def test_what_died_in_a_used_process_is_tried_in_a_fresh_one(plugin: Path) -> None:
    runners = Runners()
    try:
        assert runners.ask(Decode("talks", (plugin,), b"good")).shape == (1, 1, 3)
        with pytest.raises(DiedError, match="exit code 5"):
            runners.ask(Decode("talks", (plugin,), b"dies"))
        assert runners.ask(Decode("talks", (plugin,), b"good")).shape == (1, 1, 3)
    finally:
        runners.close()
    with pytest.raises(DiedError, match="given up"):
        runners.ask(Decode("talks", (plugin,), b"good"), Limits(threads=2))


def test_threads_are_what_libraries_are_told(plugin: Path) -> None:
    request = Encode("talks", (plugin,), IMAGE, "threads")
    assert execute(request, Limits(threads=3)).stream == b"3"


def test_a_lack_of_memory_is_known_by_its_type(plugin: Path, tmp_path: Path) -> None:
    """A text that has the word in it is no such lack; an error that was raised from one is."""
    write_image(tmp_path / "a.png", IMAGE[:1, :1])
    table = lic_bench.run(
        ["talks"],
        [str(tmp_path / "a.png")],
        out=tmp_path / "out",
        points={"talks": ["band", "modules", "chained"]},
        plugins=[plugin],
    ).set_index("point")
    assert table.error["band"] == "ValueError: cannot allocate bits to this band"
    assert table.isna().error["modules"], table.error["modules"]  # nor has it a database
    assert "MemoryError" not in table.error["band"]
    assert table.error["chained"].startswith("BitstreamError: it does not decode")
    assert "(--memory)" in table.error["chained"]


def test_lacks_of_memory_that_c_libraries_name_otherwise() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.ones(1 << 50)
    assert lacks_memory(caught.value)
    cv2 = pytest.importorskip("cv2")
    with pytest.raises((cv2.error, MemoryError)) as caught:
        cv2.copyMakeBorder(IMAGE, 0, 1 << 29, 0, 1 << 9, cv2.BORDER_CONSTANT)
    assert lacks_memory(caught.value)
    assert not lacks_memory(ValueError("allocate memory for bits"))


def test_processes_are_started_in_one_place() -> None:
    """But for programs that codecs call, which the processes themselves start."""
    starters = {"loky", "subprocess", "concurrent.futures.process", "multiprocessing"}
    users = set()
    for path in (HOUSE / "lic_bench").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            else:
                continue
            names -= {name for name in names if name.startswith("multiprocessing.connection")}
            if {name.partition(".")[0] for name in names} & starters or names & starters:
                users.add(path.relative_to(HOUSE / "lic_bench").as_posix())
            if "concurrent.futures.ProcessPoolExecutor" in names:
                users.add(path.name)
    assert users == {"execution/runner.py", "execution/remains.py", "plugins/programs.py"}
