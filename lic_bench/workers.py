"""Worker processes: tasks go out, measurements come back, whatever becomes of a worker.

Workers are a `concurrent.futures` executor of loky's: processes that are started afresh rather
than forked, and that need no ``if __name__ == "__main__"`` in a user's script.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

import loky

from lic_bench.measure import Task, measure
from lic_bench.store import Measurement

Label = TypeVar("Label")

# One thread a worker. The libraries read these before they start threads of their own.
_ENVIRONMENT = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")
}


def cores() -> int:
    """How many cores this process may use."""
    return int(loky.cpu_count())


def measure_all(
    tasks: Iterable[tuple[Label, Task]], jobs: int
) -> Iterator[tuple[Label, Task, Measurement]]:
    """Make measurements in worker processes; they come back as they are done.

    A task that kills its worker costs only its own measurement, which is then a failed one.

    Parameters
    ----------
    tasks
        Each with a label that comes back beside its measurement. Taken as they are needed.
    jobs
        How many processes.
    """
    remaining = iter(tasks)
    workers = _start(jobs)
    running: dict[Future[Measurement], tuple[Label, Task]] = {}
    lost: list[tuple[Label, Task]] = []
    try:
        while True:
            # One task more than workers for each of them, so that none waits for its next.
            for label, task in islice(remaining, 2 * jobs - len(running)):
                try:
                    running[workers.submit(measure, task)] = label, task
                except BrokenProcessPool:
                    lost.append((label, task))
            if not running and not lost:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                label, task = running.pop(future)
                try:
                    yield label, task, future.result()
                except BrokenProcessPool:
                    lost.append((label, task))
            if lost:
                # A dead worker takes the others with it: each task again, by itself, to find which.
                workers.shutdown(kill_workers=True)
                lost += running.values()
                running.clear()
                while lost:
                    label, task = lost.pop()
                    yield label, task, _measure_alone(task)
                workers = _start(jobs)
    finally:
        workers.shutdown(kill_workers=True)


def _measure_alone(task: Task) -> Measurement:
    worker = _start(1)
    try:
        measurement: Measurement = worker.submit(measure, task).result()
    except BrokenProcessPool as error:
        codes = re.search(r"\{(.*)\}", str(error))
        how = f" ({codes[1]})" if codes else ""
        return Measurement(
            error=f"the worker process died{how}: out of memory, or a fault in the codec"
        )
    else:
        return measurement
    finally:
        worker.shutdown(kill_workers=True)


def _start(jobs: int) -> loky.ProcessPoolExecutor:
    return loky.ProcessPoolExecutor(
        max_workers=jobs, env=_ENVIRONMENT, initializer=_begin, initargs=(os.getpid(),)
    )


def _begin(parent: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's business, and a worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
