"""The one place where processes are started that run codecs: typed requests, under limits.

A `Runner` is a child process. A `Request` goes in, and its value comes out, or one of a few faults
(`lic_bench.execution.faults`). The process is started afresh rather than forked, and needs no
``if __name__ == "__main__"`` in a user's script. After a fault of the process itself (no memory, no
time left, or it died) it is of no further use.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import loky
from loky.backend import get_context
from loky.backend.utils import kill_process_tree

from lic_bench.errors import LicBenchError
from lic_bench.execution import memory
from lic_bench.execution.confinement import OFFLINE, confine
from lic_bench.execution.faults import (
    DiedError,
    FaultError,
    OutOfMemoryError,
    OutOfTimeError,
    fault_of,
)
from lic_bench.execution.remains import MARK, Remains, kill_marked

Value = TypeVar("Value")

PATIENCE_S = 0.2
"""For what is said by a process: not every death is seen at the connection, since what a codec
started may hold it open."""

_DYING_S = 1.0
_PAUSE_S = 1.0  # whoever waits looks more often, unless it was stopped (Ctrl-Z), as we then were
_SUBREAPER = 36


@dataclass(frozen=True)
class Limits:
    """What a request may take."""

    timeout_s: float = 600.0
    """For a request, the loading of weights included; 0: no limit."""
    memory_gb: float = 0.0
    """For the process and the programs that it calls, in 1e9 bytes; 0: no limit. On Linux only."""
    threads: int = 1
    """What libraries are told that they may use."""
    confined: bool = False
    """Whether it only reads, and has no network: what is decoded may be anybody's. See
    `lic_bench.execution.confinement`."""


USUAL_LIMITS = Limits()


def environment(threads: int = 1) -> dict[str, str]:
    """What the libraries of a process read when they are loaded."""
    number = str(threads)
    return {
        # No module that happens to lie in the current folder is imported.
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "VECLIB_MAXIMUM_THREADS": number,
        "NUMBA_NUM_THREADS": number,
        "OPENCV_FOR_THREADS_NUM": number,
        # The metrics take and drop arrays of an image's size all the time. glibc would give each
        # back to the system, and have its pages zeroed for the next one: a fifth of a
        # measurement's time.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    }


def cores() -> int:
    """How many cores this process may use."""
    return int(loky.cpu_count())


class Request(ABC, Generic[Value]):
    """What a process is asked for; it travels there, and is executed there."""

    refusal: ClassVar[type[LicBenchError]] = LicBenchError
    """By which error the codec may refuse; any other one is a fault of its own."""

    @property
    def share(self) -> int:
        """How many times the limit of time it may take."""
        return 1

    @abstractmethod
    def execute(self) -> Value:
        """Do what is asked for; whatever is raised becomes a fault where it was asked."""


class Reply(NamedTuple):
    """What came of a request."""

    value: Any
    """The request's value, or the `FaultError` in its place."""
    seconds: float


class Runner:
    """A process that executes requests, one after the other.

    Parameters
    ----------
    limits
        Replaced at any time, they hold for what is asked from then on; but the process can never
        have more memory, or other threads, than it was started with.
    """

    def __init__(self, limits: Limits = USUAL_LIMITS) -> None:
        self.limits = limits
        self.remains = Remains()
        """What it may leave, and how that is known."""
        self.connection, theirs = Pipe()
        self._given: deque[Request[Any]] = deque()
        self._begun = False
        self._taken_s, self._seen = 0.0, monotonic()
        self._looked = self._seen
        self._process = get_context("loky").Process(
            target=_serve,
            args=(theirs, os.getpid(), limits, self.remains.folders),
            env={
                **environment(limits.threads),
                **self.remains.environment(),
                **(OFFLINE if limits.confined else {}),
            },
        )
        self._process.start()
        theirs.close()

    def ask(self, request: Request[Value]) -> Value:
        """Have a request executed, and give its value.

        Raises
        ------
        FaultError
            Where there is none.
        """
        self.send([request])
        while (reply := self.reply()) is None:
            with suppress(OSError):  # closed from elsewhere, which is what the reply says next
                wait([self.connection], PATIENCE_S)
        if isinstance(reply.value, FaultError):
            raise reply.value
        return cast(Value, reply.value)

    def send(self, requests: Iterable[Request[Any]]) -> None:
        """Have requests executed; replies to those of before must have been taken."""
        self._given.extend(requests)
        if self._begun:
            self._pass_on()

    def reply(self) -> Reply | None:
        """What came of the next request; ``None`` while it is not known.

        Raises
        ------
        OutOfMemoryError, OutOfTimeError, DiedError
            Where it will never be. The process is then of no further use.
        """
        died = self._process.exitcode is not None  # before what it said last is looked for
        try:
            while self.connection.poll():
                message = self.connection.recv()
                self._begin_to_count()
                if message is not None:
                    return self._taken(message)
                self._begun = True
                self._pass_on()
        except (EOFError, OSError):
            self._process.join(_DYING_S)
            died = True
        if died:
            raise DiedError(f"the process {self._end()}: a fault in its code, or out of memory")
        if self._given:
            self._check_limits()
        return None

    def resident_gb(self) -> float:
        """The memory of the process and of what it started, in 1e9 bytes; 0 if not on Linux."""
        return memory.taken(self._process.pid, self.remains.folders[1:]) / 1e9

    def close(self) -> None:
        """End the process, and what was started by it."""
        end([self])

    def _taken(self, reply: Reply) -> Reply:
        self._given.popleft()
        if isinstance(reply.value, OutOfMemoryError):
            limit = self.limits.memory_gb
            within = f"; a process may use {limit:.3g} GB" if limit else ""
            raise OutOfMemoryError(f"{reply.value}{within}")
        return reply

    def _pass_on(self) -> None:
        self._begin_to_count()
        with suppress(OSError):  # it has died, which is said where its reply is waited for
            self.connection.send(list(self._given))

    def _begin_to_count(self) -> None:
        self._taken_s, self._seen = 0.0, monotonic()

    def _check_limits(self) -> None:
        now, limits = monotonic(), self.limits
        self._taken_s += min(now - self._seen, _PAUSE_S)
        self._seen = now
        allowed = limits.timeout_s * self._given[0].share
        if allowed and self._begun and self._taken_s > allowed:
            raise OutOfTimeError(f"took longer than {limits.timeout_s:g} s")
        if limits.memory_gb and now - self._looked > PATIENCE_S:
            self._looked = now
            # The process finds no more memory by itself, but what it calls has a limit of its own.
            if self.resident_gb() > limits.memory_gb:
                raise OutOfMemoryError(f"took more than {limits.memory_gb:.3g} GB of memory")

    def _end(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "lost its connection"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"died of {signal.Signals(-code).name}"
        return f"died of signal {-code}"

    def kill_started(self) -> None:
        """Kill what it started, marked or not, while it is there to be seen from it."""
        _, *started = memory.tree(self._process.pid)
        for pid in started:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill it, and what it started as far as that can be seen from it."""
        kill_process_tree(self._process)
        self._process.join(_DYING_S)
        self.connection.close()
        self.remains.remove()


def end(runners: Sequence[Runner]) -> None:
    """End processes and, on Linux, all that was ever started by them."""
    for runner in runners:
        runner.kill_started()
    kill_marked(runner.remains.mark for runner in runners)
    for runner in runners:
        runner.kill()


class Runners:
    """A runner for each thread that asks, started at its first request and replaced after a fault.

    Parameters
    ----------
    limits
        Those of every runner, unless others are given with a request.
    """

    def __init__(self, limits: Limits = USUAL_LIMITS) -> None:
        self._limits = limits
        self._own = threading.local()
        self._runners: list[Runner] = []
        self._lock, self._closed = threading.Lock(), False

    def ask(self, request: Request[Value], limits: Limits | None = None) -> Value:
        """Have a request executed by this thread's runner for these limits.

        One that had executed others before may have been spoilt by them: what it dies of, or has
        no memory for, is tried again in a fresh one.

        Raises
        ------
        FaultError
            Where it has no value.
        """
        limits = limits or self._limits
        own: dict[Limits, Runner] = self._own.__dict__.setdefault("runners", {})
        fresh = limits not in own
        if fresh:
            own[limits] = self._start(limits)
        try:
            return own[limits].ask(request)
        except (DiedError, OutOfMemoryError, OutOfTimeError) as fault:
            own.pop(limits).close()
            if fresh or isinstance(fault, OutOfTimeError):
                raise
        return self.ask(request, limits)

    def _start(self, limits: Limits) -> Runner:
        with self._lock:
            if self._closed:
                raise DiedError("there are no more processes: the work was given up")
            self._runners.append(Runner(limits))
            return self._runners[-1]

    def close(self) -> None:
        """End all of them, whatever they are doing."""
        with self._lock:
            self._closed = True
            end(self._runners)


def execute(request: Request[Value], limits: Limits = USUAL_LIMITS) -> Value:
    """Have one request executed in a process of its own.

    Raises
    ------
    FaultError
        Where it has no value.
    """
    runner = Runner(limits)
    try:
        return runner.ask(request)
    finally:
        runner.close()


def _serve(connection: Connection, parent: int, limits: Limits, temporary: Sequence[Path]) -> None:
    """What the process does: it executes the requests that come, and says what came of them."""
    if limits.confined:
        confine(temporary)  # before there are other threads, which would keep their rights
    _begin(parent)
    os.dup2(2, 1)  # what a codec prints must not get between our own lines
    memory.limit(limits.memory_gb)
    folder, variables = Path.cwd(), dict(os.environ)
    try:
        connection.send(None)
        while True:
            for request in connection.recv():
                connection.send(_executed(request))
                # What a codec changes for itself must not change what the next one does.
                os.chdir(folder)
                os.environ.update(variables)
    finally:  # threads that a codec has left must not keep it
        _leave()


def _executed(request: Request[Any]) -> Reply:
    start = time.perf_counter()
    try:
        value = request.execute()
    except BaseException as error:  # noqa: BLE001 - a codec may raise anything
        value = error if isinstance(error, FaultError) else fault_of(error, request.refusal)
        error.__traceback__ = value.__traceback__ = None  # it may hold what there is no memory for
    return Reply(value, time.perf_counter() - start)


def _begin(parent: int) -> None:
    """Prepare a process: Ctrl-C is the parent's business, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A codec's own processes and locks (tqdm has one) are made as anywhere: by loky's way, a lock
    # outlives a process that is killed, and the terminal is told.
    multiprocessing.set_start_method(None, force=True)
    if sys.platform == "linux":  # what its programs leave stays among what it started
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        _leave()

    threading.Thread(target=watch, daemon=True).start()


def _leave() -> None:
    """End this process and what it started, whatever else it is doing."""
    kill_marked({os.environ.get(MARK, "")})
    os._exit(1)
