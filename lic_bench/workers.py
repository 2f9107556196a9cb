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
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

import loky

from lic_bench.measure import Task, measure, measure_batch
from lic_bench.store import Measurement

Label = TypeVar("Label")
Bundle = list[tuple[Label, Task]]

_BUNDLE_S = 1.0

ENVIRONMENT = {
    # One thread a worker.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # The metrics make and drop arrays of an image's size all the time. glibc would give each back
    # to the system, and have its pages zeroed for the next one: a fifth of a measurement's time.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    # Networks are loaded once and kept: loky would take a worker that grows by one for leaking, and
    # start another.
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e12",
}
"""What a worker's libraries read when they are loaded."""


def cores() -> int:
    """How many cores this process may use."""
    return int(loky.cpu_count())


def measure_all(
    tasks: Iterable[tuple[Label, Task]], count: int, jobs: int
) -> Iterator[tuple[Label, Task, Measurement]]:
    """Make measurements in worker processes; they come back as they are done.

    A task that kills its worker costs only its own measurement, which is then a failed one.

    Parameters
    ----------
    tasks
        Each with a label that comes back beside its measurement; drawn upon as they go out, so that
        there may be very many.
    count
        How many there are, or a few more.
    jobs
        How many processes.
    """
    bundles = _Bundles(tasks, count, jobs)
    workers = start(jobs)
    running: dict[Future[list[tuple[Measurement, float]]], Bundle[Label]] = {}
    lost: Bundle[Label] = []
    try:
        while True:
            # One bundle more than workers for each of them, so that none waits for its next.
            for bundle in islice(bundles, 2 * jobs - len(running)):
                try:
                    running[workers.submit(_measure, [task for _, task in bundle])] = bundle
                except BrokenProcessPool:
                    lost += bundle
            if not running and not lost:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                bundle = running.pop(future)
                try:
                    made = future.result()
                except BrokenProcessPool:
                    lost += bundle
                    continue
                for (label, task), (measurement, seconds) in zip(bundle, made, strict=True):
                    bundles.took(task, seconds)
                    yield label, task, measurement
            if lost:
                # A dead worker takes the others with it: each task again, by itself, to find which.
                workers.shutdown(kill_workers=True)
                for bundle in running.values():
                    lost += bundle
                running.clear()
                for label, task in lost:
                    yield label, task, _measure_alone(task)
                lost.clear()
                workers = start(jobs)
    finally:
        workers.shutdown(kill_workers=True)


class _Bundles(Iterator[Bundle[Label]]):
    """Tasks in bundles that keep a worker busy for a while, each of one image or one batch.

    The image is then read, and what the metrics need of it computed, by one worker. But what a
    worker has not handed back is lost when the run is killed, and towards the end every worker
    should have something to do: bundles are of at most `_BUNDLE_S`, by what the codec's tasks took
    so far, and of a fair share of the rest.
    """

    def __init__(self, tasks: Iterable[tuple[Label, Task]], count: int, jobs: int) -> None:
        self._tasks, self._rest, self._jobs = iter(tasks), count, jobs
        self._ahead = next(self._tasks, None)
        self._took: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=20))

    def __next__(self) -> Bundle[Label]:
        if self._ahead is None:
            raise StopIteration
        first = self._ahead[1]
        bundle = list(self._batch(first) if first.batch_size > 1 else self._alone(first))
        self._rest -= len(bundle)
        return bundle

    def _alone(self, first: Task) -> Iterator[tuple[Label, Task]]:
        """The next tasks of one image, as many as take about `_BUNDLE_S`."""
        most = max(1.0, self._rest / (2 * self._jobs))
        seconds = length = 0.0
        while (ahead := self._ahead) is not None:
            task = ahead[1]
            seconds += self._expected(task)
            length += 1
            too_much = length > 1 and (seconds > _BUNDLE_S or length > most)
            if too_much or task.image != first.image or task.batch_size > 1:
                return
            self._ahead = next(self._tasks, None)
            yield ahead

    def _batch(self, first: Task) -> Iterator[tuple[Label, Task]]:
        """What a codec is to be given together: its next images at one operating point."""
        for _ in range(first.batch_size):
            ahead = self._ahead
            if ahead is None or (ahead[1].codec, ahead[1].point) != (first.codec, first.point):
                return
            self._ahead = next(self._tasks, None)
            yield ahead

    def took(self, task: Task, seconds: float) -> None:
        """Learn how long a task took."""
        self._took[task.codec].append(seconds)

    def _expected(self, task: Task) -> float:
        took = self._took[task.codec]
        return sum(took) / len(took) if took else _BUNDLE_S


def _measure(tasks: list[Task]) -> list[tuple[Measurement, float]]:
    """What a worker does: the measurements of a bundle, and the seconds each took."""
    if tasks[0].batch_size > 1:
        start = time.perf_counter()
        together = measure_batch(tasks)
        share = (time.perf_counter() - start) / len(tasks)
        return [(measurement, share) for measurement in together]
    made = []
    for task in tasks:
        start = time.perf_counter()
        made.append((measure(task), time.perf_counter() - start))
    return made


def _measure_alone(task: Task) -> Measurement:
    worker = start(1)
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


def start(jobs: int) -> loky.ProcessPoolExecutor:
    """Start worker processes, each held to one thread."""
    return loky.ProcessPoolExecutor(
        max_workers=jobs, env=ENVIRONMENT, initializer=_begin, initargs=(os.getpid(),)
    )


def _begin(parent: int) -> None:
    """Prepare a worker: Ctrl-C is the parent's business, and a worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
