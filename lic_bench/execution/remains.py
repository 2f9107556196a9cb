"""What the process of a codec may leave: programs that it started, files that it made for a while.

A process is marked in its environment, and so is all that it starts. It has temporary folders of
its own. Whoever ends it removes both. A watcher does so where that process itself has died: it is
no thread of the codec's process, which may be stuck with Python's lock in its hands.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

MARK = "LIC_BENCH_PROCESS"
MEMORY_FOLDER = "LIC_BENCH_MEMORY"
"""Names a temporary folder in the environment: one in memory, where there can be."""

_MARKED = re.compile(rb"(?:^|\0)" + MARK.encode() + rb"=(\w+)")
_ROUNDS = 10
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders made in it are private


class Remains:
    """What a process is told to keep to, so that what it leaves is found."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.folders = [Path(tempfile.mkdtemp(prefix=f"lic-bench-{self.mark}-"))]
        if os.access(_SHARED_MEMORY, os.W_OK):
            name = tempfile.mkdtemp(prefix=f"lic-bench-{self.mark}-", dir=_SHARED_MEMORY)
            self.folders.append(Path(name))
        _watcher().note(self)

    def environment(self) -> dict[str, str]:
        """What its process is to have in its environment."""
        usual, *in_memory = map(str, self.folders)
        return {
            MARK: self.mark,
            "TMPDIR": usual,
            MEMORY_FOLDER: in_memory[0] if in_memory else usual,
        }

    def remove(self) -> None:
        """Remove its folders; what was started has been killed."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        _watcher().forget(self)


def kill_marked(marks: Iterable[str]) -> None:
    """Kill what has one of these marks in its environment, but for this process itself."""
    wanted = set(marks)
    for _ in range(_ROUNDS):  # what is being killed may be starting more
        marked = [pid for pid, mark in _marked() if mark in wanted and pid != os.getpid()]
        if not marked:
            return
        for pid in marked:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _marked() -> Iterator[tuple[int, str]]:
    """The processes of this user that have a mark: number and mark. There are some on Linux."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended
            if match := _MARKED.search((path / "environ").read_bytes()):
                yield int(path.name), match[1].decode()


class _Watcher:
    """A process that outlives this one, however it dies, and then clears up.

    It is told of each mark and its folders over a pipe. When that ends, this process has.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: IO[bytes] | None = None
        with suppress(OSError):
            process = subprocess.Popen(  # noqa: S603 - ours
                # Isolated, and without site-packages: it starts in some milliseconds.
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/" if os.name == "posix" else None,
                start_new_session=True,  # whoever kills a group leaves it
            )
            self._process, self._pipe = process, process.stdin
            atexit.register(self._leave)

    def note(self, remains: Remains) -> None:
        """Tell it of what may be left."""
        self._say("+", remains)

    def forget(self, remains: Remains) -> None:
        """Tell it of what no longer is."""
        self._say("-", remains)

    def _say(self, sign: str, remains: Remains) -> None:
        line = "\0".join([sign + remains.mark, *map(str, remains.folders)])
        if self._pipe is not None:
            with suppress(OSError, ValueError), self._lock:  # it was killed, or has been left
                self._pipe.write(os.fsencode(line) + b"\n")
                self._pipe.flush()

    def _leave(self) -> None:
        with suppress(OSError):
            self._process.communicate()


_watchers: dict[int, _Watcher] = {}
_starting = threading.Lock()


def _watcher() -> _Watcher:
    """That of this process: it is started with the first process of a codec."""
    with _starting:
        if os.getpid() not in _watchers:  # none yet, or this process was forked since
            _watchers.clear()
            _watchers[os.getpid()] = _Watcher()
        return _watchers[os.getpid()]


def _watch(told: IO[bytes]) -> None:
    """What the watcher does: it listens until nobody speaks, and then clears up."""
    left: dict[str, list[str]] = {}
    for line in told:
        mark, *folders = os.fsdecode(line.rstrip(b"\n")).split("\0")
        if mark.startswith("+"):
            left[mark[1:]] = folders
        else:
            left.pop(mark[1:], None)
    kill_marked(left)
    for folders in left.values():
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(sys.stdin.buffer)
