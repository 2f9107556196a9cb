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
from typing import Generic, NamedTuple, Protocol, TypeVar

from lic_bench.execution.faults import FaultError
from lic_bench.execution.figures import is_trusted
from lic_bench.execution.measure import DecodeAll, EncodeAll, Task
from lic_bench.execution.runner import PATIENCE_S, USUAL_LIMITS, Limits, Reply, Runner, end
from lic_bench.store.records import Measurement

Label = TypeVar("Label")
Bundle = list[tuple[Label, Task]]

_BUNDLE_S = 1.0
_SOON_S = 0.005
"""A worker that has something to be passed on comes before what is done: to store that may take
longer than to encode, and would keep the decoder waiting."""
_TURN = 2
"""How many steps one process of a worker does before it is the other's turn: with more, they wait
for each other less often, but what is encoded and not decoded is lost when a run is killed."""


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
    done: list[tuple[Label, Task, Measurement, float]] = []
    while busy := [worker for worker in workers if worker.busy or worker.draw(bundles)]:
        ready = wait([worker.connection for worker in busy], _SOON_S if done else PATIENCE_S)
        if not ready or len(done) > len(workers):
            yield from done
            done = []
        for worker in busy:
            done += worker.done()
            worker.draw(bundles)
    yield from done


class _Part(NamedTuple, Generic[Label]):
    """A task on its way through a worker."""

    label: Label
    task: Task
    measurement: Measurement
    """What is known by now."""
    seconds: float = 0.0
    """What it has taken."""


_Step = list[_Part[Label]]
"""Parts that are done together: a batch is one, and so is each other task."""


class Worker(Generic[Label]):
    """One that measures bundle after bundle; its two processes work by turns.

    So a worker takes one core.
    """

    def __init__(self, limits: Limits) -> None:
        self._encoder = _Half[Label](EncodeAll, limits)
        self._decoder = _Half[Label](DecodeAll, limits)
        self._steps: deque[_Step[Label]] = deque()
        self._encoded: list[_Step[Label]] = []

    @property
    def busy(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._encoder.steps or self._decoder.steps)

    @property
    def runners(self) -> list[Runner]:
        """Those that there are."""
        both = (self._encoder.runner, self._decoder.runner)
        return [runner for runner in both if runner is not None]

    @property
    def connection(self) -> Connection:
        """Where something is to be read as soon as there is something done."""
        half = self._encoder if self._encoder.steps else self._decoder
        assert half.runner is not None  # noqa: S101 - it is busy
        return half.runner.connection

    def draw(self, bundles: Iterator[Bundle[Label]]) -> bool:
        """Take the next bundle if there is nothing left to do; say whether there was one."""
        if self.busy or not (bundle := next(bundles, None)):
            return False
        parts = [_Part(label, task, task.kept or Measurement()) for label, task in bundle]
        together = bundle[0][1].batch_size > 1
        self._steps.extend([parts] if together else ([part] for part in parts))
        self._decoder.start()  # meanwhile
        self._next_turn()
        return True

    def done(self) -> list[tuple[Label, Task, Measurement, float]]:
        """What is done, with the seconds that it took; often nothing yet."""
        if self._encoder.steps:
            step = self._encoder.done()
            done = [part for part in step if part.measurement.error]
            if rest := [part for part in step if not part.measurement.error]:
                self._encoded.append(rest)
        else:
            done = self._decoder.done()
        if not self.busy:
            self._next_turn()
        return [(part.label, part.task, part.measurement, part.seconds) for part in done]

    def _next_turn(self) -> None:
        if self._encoded:
            self._decoder.give(self._encoded)
            self._encoded = []
        else:
            turn = min(_TURN, len(self._steps))
            self._encoder.give([self._steps.popleft() for _ in range(turn)])

    def close(self) -> None:
        """End its processes."""
        end(self.runners)


class _Half(Generic[Label]):
    """One of a worker's two processes, replaced after a fault: step after step, by one request."""

    def __init__(self, request: type[EncodeAll | DecodeAll], limits: Limits) -> None:
        self.runner: Runner | None = None
        self.steps: deque[_Step[Label]] = deque()
        """What it was given and is not done."""
        self._request, self._limits = request, limits
        self._tried = False
        """Whether the first of them was too much for a process already."""

    def start(self) -> Runner:
        """The process, which begins where there is none."""
        self.runner = self.runner or Runner(self._limits)
        return self.runner

    def give(self, steps: Iterable[_Step[Label]]) -> None:
        """Have steps done after all others are."""
        self.steps.extend(steps)
        if self.steps:
            self.start().send(
                [
                    self._request(tuple(replace(p.task, kept=p.measurement) for p in step))
                    for step in self.steps
                ]
            )

    def done(self) -> _Step[Label]:
        """What has come of the next step, or of a part of it; nothing while it is not known."""
        assert self.runner is not None  # noqa: S101 - it is busy
        try:
            reply = self.runner.reply()
        except FaultError as fault:
            return self._replace(self.runner, fault)
        if reply is None:
            return []
        step = self.steps.popleft()
        self._tried = False
        seconds = reply.seconds / len(step)
        return [
            part._replace(measurement=measurement, seconds=part.seconds + seconds)
            for part, measurement in zip(step, _measurements(reply, step), strict=True)
        ]

    def _replace(self, runner: Runner, fault: FaultError) -> _Step[Label]:
        """Go on in a fresh process; what was tried a second time has failed."""
        runner.close()
        self.runner = None
        step = self.steps.popleft()
        failed = []
        if self._tried and (spared := _without_metrics(step[0], fault)):
            self.steps.appendleft([spared])
        elif self._tried:
            error = replace(step[0].measurement, error=fault.advice())
            failed = [step[0]._replace(measurement=error, seconds=_BUNDLE_S)]
        else:
            self.steps.extendleft([part] for part in reversed(step))
        self._tried = not self._tried
        self.give([])
        return failed


def _without_metrics(part: _Part[Label], fault: FaultError) -> _Part[Label] | None:
    """A part without the metrics that a decoder may have been ended over; none if there are."""
    task = part.task
    encoding = part.measurement.stream is None
    if encoding or task.given_up or all(map(is_trusted, task.metrics)):
        return None
    return part._replace(task=replace(task, given_up=fault.advice()))


def _measurements(reply: Reply, step: _Step[Label]) -> list[Measurement]:
    """What came of a step: a fault is one of our own making, since measuring raises no other."""
    known = [part.measurement for part in step]
    if isinstance(reply.value, FaultError):
        return [replace(before, error=reply.value.advice()) for before in known]
    return [
        replace(measurement, stream=measurement.stream or before.stream)
        for measurement, before in zip(reply.value, known, strict=True)
    ]


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
