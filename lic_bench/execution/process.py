"""A process that measures: tasks go in, measurements come out one by one, and it is held in bounds.

It is started afresh rather than forked, and needs no ``if __name__ == "__main__"`` in a user's
script. A measurement that kills it, hangs or finds no memory raises a `FaultError` where its result
is waited for; the process is then of no further use.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import cast

from loky.backend import get_context
from loky.backend.utils import kill_process_tree

from lic_bench.execution.measure import ExhaustedError, Task, measure, measure_batch
from lic_bench.store.records import Measurement

Reply = list[tuple[Measurement, float]]
"""The measurements of tasks that were measured together, each with its seconds."""

_MARK = "LIC_BENCH_PROCESS"
_MARKED = re.compile(rb"(?:^|\0)" + _MARK.encode() + rb"=(\w+)")
_MEMORY_SHARE = 0.8
_ROUNDS = 10
_DYING_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What a codec may take."""

    timeout_s: float = 600.0
    """For a measurement, the loading of weights included; 0: no limit."""
    memory_gb: float = 0.0
    """For a process, in 1e9 bytes; 0: no limit. There is one on Linux only."""


USUAL_LIMITS = Limits()


def most_memory_gb() -> float:
    """Most of the memory of this machine or container, in 1e9 bytes; 0 where it is not known."""
    found = []
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of control groups, v2 and v1
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return _MEMORY_SHARE * min(found, default=0) / 1e9


class FaultError(Exception):
    """A measurement was too much for its process; the text tells how, in one line."""


class Process:
    """A process that measures what it is given.

    Parameters
    ----------
    environment
        Variables that are set for it.
    """

    def __init__(self, environment: Mapping[str, str], limits: Limits) -> None:
        self.mark = uuid.uuid4().hex
        """What stands in its environment, and in that of all that it starts."""
        self.connection, theirs = Pipe()
        self._limits = limits
        self._given: deque[Sequence[Task]] = deque()
        self._begun = False
        self._since = time.monotonic()
        self._process = get_context("loky").Process(
            target=_serve,
            args=(theirs, os.getpid(), limits),
            env={**environment, _MARK: self.mark},
        )
        self._process.start()
        theirs.close()

    def measure(self, steps: Iterable[Sequence[Task]]) -> None:
        """Have tasks measured, those of a step together; what was given before must be done."""
        self._given.extend(steps)
        if self._begun:
            self._send()

    def reply(self) -> Reply | None:
        """The measurements of the next step; ``None`` while they are not there.

        Raises
        ------
        FaultError
            Where they will never be.
        """
        died = self._process.exitcode is not None  # before what it said last is looked for
        try:
            while self.connection.poll():
                message = self.connection.recv()
                self._since = time.monotonic()
                if isinstance(message, str):
                    raise FaultError(message)
                if message is not None:
                    self._given.popleft()
                    return cast(Reply, message)
                self._begun = True
                self._send()
        except (EOFError, OSError):
            self._process.join(_DYING_S)
            died = True
        if died:
            raise FaultError(f"the process {self._end()}: a fault in the codec, or out of memory")
        allowed = self._limits.timeout_s * len(self._given[0])
        if allowed and self._begun and time.monotonic() - self._since > allowed:
            raise FaultError(f"took longer than {self._limits.timeout_s:g} s (--timeout)")
        return None

    def _send(self) -> None:
        self._since = time.monotonic()
        with suppress(OSError):  # it has died, which is told where its reply is waited for
            self.connection.send(list(self._given))

    def _end(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "lost its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"died of {signal.Signals(-code).name}"
        return f"died of signal {-code}"

    def kill(self) -> None:
        """Kill it, and what it started as far as that can be seen from it."""
        kill_process_tree(self._process)
        self.connection.close()


def end(processes: Sequence[Process]) -> None:
    """End processes and, on Linux, all that was ever started by them."""
    _kill_marked({process.mark for process in processes})
    for process in processes:
        process.kill()


def _kill_marked(marks: set[str]) -> None:
    """Kill what has one of these marks in its environment, but for this process itself."""
    for _ in range(_ROUNDS):  # what is being killed may be starting more
        found = [pid for pid, mark in _marked() if mark in marks and pid != os.getpid()]
        if not found:
            return
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _marked() -> Iterator[tuple[int, str]]:
    """The processes of this user that have a mark: number and mark. There are some on Linux."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if found := _MARKED.search(path.read_bytes()):
                yield int(path.parent.name), found[1].decode()


def begin(parent: int) -> None:
    """Prepare a process: Ctrl-C is the parent's business, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _leave()

    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    """End this process and what it started, whatever else it is doing."""
    _kill_marked({os.environ.get(_MARK, "")})
    os._exit(1)


def _serve(connection: Connection, parent: int, limits: Limits) -> None:
    """What the process does: it measures the tasks that come, and says what came of them."""
    begin(parent)
    os.dup2(2, 1)  # what a codec prints must not get between our own lines
    _limit_memory(limits.memory_gb)
    folder, environment = Path.cwd(), dict(os.environ)
    try:
        connection.send(None)
        while True:
            for step in connection.recv():
                connection.send(_measured(step, limits))
                # What a codec changes for itself must not change what the next one does.
                os.chdir(folder)
                os.environ.update(environment)
    finally:  # threads that a codec has left must not keep it
        _leave()


def _measured(step: Sequence[Task], limits: Limits) -> Reply | str:
    """What came of tasks that are measured together; a text where there was no memory for it."""
    start = time.perf_counter()
    try:
        made = measure_batch(step) if step[0].batch_size > 1 else [measure(step[0])]
    except ExhaustedError as error:
        limit = f"; a process may use {limits.memory_gb:.3g} GB (--memory)"
        return f"{error}{limit if limits.memory_gb else ''}"
    seconds = (time.perf_counter() - start) / len(step)
    return [(measurement, seconds) for measurement in made]


def _limit_memory(gigabytes: float) -> None:
    """Have a request for more memory fail, before the system kills a process of its choice."""
    if gigabytes and sys.platform == "linux":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = int(gigabytes * 1e9)
        if most != resource.RLIM_INFINITY:
            limit = min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
