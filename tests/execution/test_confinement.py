"""What a process that decodes foreign streams cannot do, and what a process leaves behind."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lic_bench.execution.faults import OutOfMemoryError, OutOfTimeError, RaisedError
from lic_bench.execution.memory import tree
from lic_bench.execution.runner import Limits, Request, Runner, execute

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="is done by Linux")


def landlock() -> int:
    """The version of the kernel's Landlock; 0 or less: none."""
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1)) if sys.platform == "linux" else 0


@dataclass(frozen=True)
class Call(Request[str]):
    """Execute Python in the process: `value` is what comes back."""

    text: str

    def execute(self) -> str:
        names: dict[str, object] = {"value": ""}
        exec(self.text, names)  # noqa: S102 - the test's own
        return str(names["value"])


NEEDS_LANDLOCK = pytest.mark.skipif(landlock() < 6, reason="the kernel has no such Landlock")


@NEEDS_LANDLOCK
@pytest.mark.parametrize(
    "attempt",
    [
        "open({path!r}, 'w')",
        "open({path!r}, 'a')",
        "import os; os.truncate({path!r}, 0)",
        "import os; os.remove({path!r})",
        "import os; os.rename({path!r}, {path!r} + '2')",
        "import os; os.link({path!r}, {path!r} + '2')",
        "import os; os.mkdir({path!r} + '2')",
        "import os; os.symlink('x', {path!r} + '2')",
        "import os, tempfile; f = tempfile.mktemp(); open(f, 'w'); os.rename(f, {path!r})",
        "import subprocess; subprocess.run(['sh', '-c', 'echo x > {path}'], check=True)",
        "import socket; socket.create_connection(('127.0.0.1', {port}), 5)",
        "import os; os.kill({pid}, 0)",
    ],
    ids=lambda attempt: attempt.split(";")[-1].strip().split("(")[0],
)
def test_what_is_confined_touches_nothing(attempt: str, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("a file of the user")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = attempt.format(path=str(path), port=port, pid=os.getpid())
        with pytest.raises(RaisedError, match=r"denied|not permitted|exit status|cross-device"):
            execute(Call(text), Limits(60, confined=True))
        assert path.read_text() == "a file of the user"
        assert list(tmp_path.iterdir()) == [path]
        if "rename" not in attempt and "remove" not in attempt:  # it can be done, else
            execute(Call(text), Limits(60))


@NEEDS_LANDLOCK
def test_what_is_confined_still_has_its_temporary_folder_and_reads(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    text = (
        "import os, subprocess, tempfile\n"
        "with tempfile.TemporaryDirectory() as name:\n"
        "    open(name + '/a', 'w').write('x'); os.rename(name + '/a', name + '/b')\n"
        "open('/dev/null', 'w').write('x')\n"
        "subprocess.run(['true'], check=True)\n"
        "assert os.environ['LIC_BENCH_OFFLINE'] and os.environ['HF_HUB_OFFLINE']\n"
        f"value = open({str(tmp_path / 'weights')!r}).read()\n"
    )
    assert execute(Call(text), Limits(60, confined=True)) == "w"


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(*pids: int) -> bool:
    """Whether processes end within a time that is long."""
    end = time.monotonic() + 20
    while any(map(running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(running, pids))


HIDDEN = (
    "import os, subprocess\n"
    "read, write = os.pipe()\n"
    "subprocess.run(['setsid', '-f', 'env', '-i', 'sh', '-c', "
    "f'echo $$ >&{write}; exec sleep 300'], pass_fds=[write])\n"
    "value = os.read(read, 100).decode()\n"
)


def test_a_program_that_hides_in_a_session_without_an_environment_ends_too() -> None:
    runner = Runner(Limits(60))
    pid = int(runner.ask(Call(HIDDEN)))
    assert running(pid)
    assert pid in set(tree(runner._process.pid))
    runner.close()
    assert gone(pid)


STUCK = (
    "import ctypes, os\n"
    "libc = ctypes.PyDLL(None)\n"  # keeps Python's lock while it is in C
    "open({told!r}, 'w').write(str(os.getpid()))\n"
    "libc.sleep(300)\n"
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_stuck_in_c_ends_with_the_one_that_asked(
    how: signal.Signals, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_confinement import Call, STUCK\n"
        "from lic_bench.execution.runner import Limits, Runner\n"
        "Runner(Limits(0)).ask(Call(STUCK.format(told=sys.argv[2])))\n"
    )
    words = [sys.executable, "-c", program, str(Path(__file__).parent), str(told)]
    asking = subprocess.Popen(words, env={**os.environ, "TMPDIR": str(tmp_path)})
    while not (told.exists() and told.read_text()):
        time.sleep(0.05)
    pid = int(told.read_text())
    assert running(pid)
    assert [path for path in tmp_path.iterdir() if path.name.startswith("lic-bench-")]
    asking.send_signal(how)
    asking.wait(20)
    assert gone(pid)
    end = time.monotonic() + 20
    while (left := [p for p in tmp_path.iterdir() if p.is_dir()]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def test_the_files_of_a_killed_process_go_with_it() -> None:
    runner = Runner(Limits(60))
    text = "import tempfile, os; value = tempfile.mkdtemp() + ' ' + os.environ['LIC_BENCH_MEMORY']"
    usual, memory = map(Path, runner.ask(Call(text)).split())
    assert usual.is_dir()
    assert memory.is_dir()
    os.kill(runner._process.pid, signal.SIGKILL)
    runner.close()
    assert not usual.exists()
    assert not memory.exists()


ROOM = 300_000_000
TAKER = "x = bytearray({n} // 3); x[::4096] = bytes(len(x[::4096])); import time; time.sleep(60)"
TAKES: dict[str, str] = {
    "shared-mapping": "import mmap; m = mmap.mmap(-1, {n}); m.write(bytes({n}))",
    "shared-memory": (
        "import os, tempfile; f = tempfile.TemporaryFile(dir='/dev/shm')\n"
        "for _ in range({n} >> 20): f.write(bytes(1 << 20))\nf.flush()"
    ),
    "memory-file": (
        "import os; f = os.memfd_create('x')\n"
        "for _ in range({n} >> 20): os.write(f, bytes(1 << 20))"
    ),
    "own-folder": (
        "import os\nwith open(os.environ['LIC_BENCH_MEMORY'] + '/x', 'wb') as f:\n"
        "  for _ in range({n} >> 20): f.write(bytes(1 << 20))"
    ),
    "children": (
        "import subprocess, sys\n"
        "some = [subprocess.Popen([sys.executable, '-c', "
        f"{TAKER!r}])"
        " for _ in range(3)]"
    ),
    "hidden-child": (
        "import subprocess, sys\nfor _ in range(3):\n"
        "  subprocess.run(['setsid', '-f', 'env', '-i', sys.executable, '-c', "
        f"{TAKER!r}])"
    ),
}


@pytest.mark.parametrize("how", TAKES)
def test_memory_that_is_shared_or_taken_by_others_counts(how: str) -> None:
    text = TAKES[how].format(n=ROOM) + "\nimport time; time.sleep(20)"
    with pytest.raises(OutOfMemoryError):
        execute(Call(text), Limits(60, ROOM * 0.8 / 1e9))


def test_what_many_share_counts_once() -> None:
    """Else a loader of data with many processes would seem to take many times what it takes."""
    text = (
        "import mmap, os, time\nm = mmap.mmap(-1, {n}); m.write(bytes({n}))\n"
        "for _ in range(4):\n"
        "  if not os.fork():\n    sum(m[::4096]); time.sleep(2); os._exit(0)\n"
        "time.sleep(1.5)"
    ).format(n=ROOM // 3)
    execute(Call(text), Limits(60, ROOM * 0.8 / 1e9))


def test_a_pause_is_no_time_that_a_request_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z stops whoever waits, and the process that works with it."""
    now = [0.0]
    monkeypatch.setattr("lic_bench.execution.runner.monotonic", lambda: now[0])
    runner = Runner(Limits(60))
    runner.ask(Call(""))
    runner.send([Call("import time; time.sleep(600)")])
    for seconds in (30, 1000):  # stopped for so long, and then looked at again
        now[0] += seconds
        assert runner.reply() is None
    with pytest.raises(OutOfTimeError):
        for _ in range(100):
            now[0] += 0.9
            runner.reply()
    assert now[0] > 1030 + 50
    runner.close()
