"""Workers: tasks go out, measurements come back, whatever becomes of the processes.

A worker has two processes: one encodes, and the other decodes what has come of it. A process that a
measurement was too much for is replaced by a fresh one, and the measurement tried again there,
before any other: the fault may have been that of a codec before, or come from outside. What is too
much for the fresh process, too, has failed. Other workers do not notice.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Generic, Protocol, TypeVar

from lic_bench.execution.faults import FaultError
from lic_bench.execution.measure import DecodeAll, EncodeAll, Task
from lic_bench.execution.runner import PATIENCE_S, USUAL_LIMITS, Limits, Reply, Runner, end
from lic_bench.store.records import Measurement

Label = TypeVar("Label")
Bundle = list[tuple[Label, Task]]

_BUNDLE_S = 1.0


class Workers(Protocol):
    """Where measurements are made: in processes here, or on a cluster."""

    def measure_all(
        self, tasks: Iterable[tuple[Label, Task]], count: int
    ) -> Iterator[tuple[Label, Task, Measurement]]:
        """Make measurements; they come back as they are done.

        A task that kills its process, hangs or finds no memory costs only its own measurement,
        which is then a failed one.

        Parameters
        ----------
        tasks
            Each with a label that comes back beside its measurement; drawn upon as they go out, so
            that there may be very many.
        count
            How many there are, or a few more.
        """


@dataclass(frozen=True)
class Processes(Workers):
    """Worker processes on this machine."""

    jobs: int
    """How many, where there is work for them."""
    limits: Limits = USUAL_LIMITS
    """What a codec may take."""

    def __str__(self) -> str:
        return f"{self.jobs} process{'es'[: 2 * (self.jobs > 1)]}"

    def measure_all(
        self, tasks: Iterable[tuple[Label, Task]], count: int
    ) -> Iterator[tuple[Label, Task, Measurement]]:
        jobs = min(self.jobs, count)
        bundles = Bundles(tasks, count, jobs)
        workers = [Worker[Label](self.limits) for _ in range(jobs)]
        try:
            for label, task, measurement, seconds in measure_with(workers, bundles):
                bundles.took(task, seconds)
                yield label, task, measurement
        finally:
            end([runner for worker in workers for runner in worker.runners])


def measure_with(
    workers: Sequence[Worker[Label]], bundles: Iterator[Bundle[Label]]
) -> Iterator[tuple[Label, Task, Measurement, float]]:
    """Have workers measure bundle after bundle; each measurement comes with its seconds."""
    while busy := [worker for worker in workers if worker.busy or worker.draw(bundles)]:
        wait([worker.connection for worker in busy], PATIENCE_S)
        for worker in busy:
            done = worker.done()
            worker.draw(bundles)
            yield from done


class Worker(Generic[Label]):
    """One that measures bundle after bundle, by two runners that are replaced after a fault.

    Only one of them works at a time, so that a worker takes one core.
    """

    def __init__(self, limits: Limits) -> None:
        self._encoder: Runner | None = None
        self._decoder: Runner | None = None
        self._limits = limits
        self._steps: deque[Bundle[Label]] = deque()
        """What it was given and is not done: a batch is one, and so is each other task."""
        self._encoded: list[Measurement] | None = None
        """What is encoded of the first of them; nothing where that is under way."""
        self._seconds = 0.0
        self._too_much_for: set[str] = set()
        """Which process the first of them was too much for already."""

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._steps)

    @property
    def runners(self) -> list[Runner]:
        """Those that there are."""
        return [runner for runner in (self._encoder, self._decoder) if runner is not None]

    @property
    def connection(self) -> Connection:
        """Where something is to be read as soon as there is something done."""
        return self._working().connection

    def _working(self) -> Runner:
        runner = self._encoder if self._encoded is None else self._decoder
        assert runner is not None  # noqa: S101 - it is busy
        return runner

    def draw(self, bundles: Iterator[Bundle[Label]]) -> bool:
        """Take the next bundle if there is nothing left to do; say whether there was one."""
        if self._steps or not (bundle := next(bundles, None)):
            return False
        together = bundle[0][1].batch_size > 1
        self._steps.extend([bundle] if together else ([item] for item in bundle))
        self._encode()
        return True

    def done(self) -> list[tuple[Label, Task, Measurement, float]]:
        """What is done of the next step, with the seconds that it took; often nothing yet."""
        runner = self._working()
        try:
            reply = runner.reply()
        except FaultError as fault:
            return self._replace(runner, fault)
        if reply is None:
            return []
        self._seconds += reply.seconds
        step = self._steps[0]
        measured = _measurements(reply, step)
        if self._encoded is None:
            self._encoded = measured
        else:
            rest = iter(measured)
            measured = [one if one.error else next(rest) for one in self._encoded]
            self._encoded = None
        if self._encoded is not None and not all(one.error for one in measured):
            self._decode(step, measured)
            return []
        self._steps.popleft()
        self._too_much_for.clear()
        seconds = self._seconds / len(step)
        if self._steps:
            self._encode()
        return [(*item, one, seconds) for item, one in zip(step, measured, strict=True)]

    def _encode(self) -> None:
        """Begin with the first step."""
        self._encoder = self._encoder or Runner(self._limits)
        self._decoder = self._decoder or Runner(self._limits)  # it starts meanwhile
        self._encoded, self._seconds = None, 0.0
        self._encoder.send([EncodeAll(tuple(task for _, task in self._steps[0]))])

    def _decode(self, step: Bundle[Label], encoded: list[Measurement]) -> None:
        tasks = [
            replace(task, kept=one)
            for (_, task), one in zip(step, encoded, strict=True)
            if not one.error
        ]
        assert self._decoder is not None  # noqa: S101 - it was started with the encoder
        self._decoder.send([DecodeAll(tuple(tasks))])

    def close(self) -> None:
        """End its processes."""
        end(self.runners)

    def _replace(
        self, runner: Runner, fault: FaultError
    ) -> list[tuple[Label, Task, Measurement, float]]:
        """Go on in a fresh process; what was tried a second time has failed."""
        runner.close()
        if runner is self._encoder:
            which, self._encoder = "encoder", None
        else:
            which, self._decoder = "decoder", None
        step = self._steps.popleft()
        failed = []
        if which in self._too_much_for:
            known = self._encoded[0] if self._encoded else Measurement()
            failed = [(*step[0], replace(known, error=fault.advice()), _BUNDLE_S)]
            self._too_much_for.clear()
        else:
            self._steps.extendleft([item] for item in reversed(step))
            self._too_much_for.add(which)
        if self._steps:
            self._encode()
        return failed


def _measurements(reply: Reply, step: Bundle[Label]) -> list[Measurement]:
    """What came of a step: a fault is one of our own making, since measuring raises no other."""
    if isinstance(reply.value, FaultError):
        return [Measurement(error=reply.value.advice())] * len(step)
    measurements: list[Measurement] = reply.value
    return measurements


class Bundles(Iterator[Bundle[Label]]):
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
