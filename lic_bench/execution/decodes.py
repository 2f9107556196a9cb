"""Whether bitstreams decode to the same picture under other circumstances.

A stream that was kept is decoded twice more: as a measurement decodes it, with one thread, and
under other circumstances, in processes that have encoded nothing. The two pictures are compared
sample by sample. The other circumstances are another number of threads and, where there is a GPU
and the codec has an option ``device``, that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lic_bench.codec.base import Codec, point_text
from lic_bench.execution.faults import FaultError
from lic_bench.execution.measure import Task
from lic_bench.execution.plan import Plan
from lic_bench.execution.requests import Decode
from lic_bench.execution.run import Progress
from lic_bench.execution.runner import USUAL_LIMITS, Limits, Runners, cores
from lic_bench.plugins.spec import parse_spec
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.records import CheckedDecode, Key


@dataclass(frozen=True)
class Circumstances:
    """Under which a stream is decoded."""

    threads: int = 1
    device: str = ""
    """For the codec's option of that name; empty: as the spec has it."""

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s'[: self.threads > 1]}"
        return f"{threads}, {self.device}" if self.device else threads

    def spec(self, spec: str) -> str:
        """A codec's spec under these circumstances."""
        if not self.device:
            return spec
        return f"{spec}{',' if parse_spec(spec).options else ':'}device={self.device}"


AS_MEASURED = Circumstances()
OTHER_THREADS = Circumstances(threads=2)
ON_GPU = Circumstances(device="cuda")


@dataclass(frozen=True)
class Verdict:
    """What decoding again showed of a codec's streams."""

    codec: str
    circumstances: str
    checked: int
    differing: int
    """How many gave another picture, or none."""
    worst: str
    """The one that differs most: which it is, and by how much."""


def check(
    plan: Plan,
    out: Path,
    *,
    jobs: int | None = None,
    timeout_s: float = USUAL_LIMITS.timeout_s,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[Verdict]:
    """Decode the streams of a plan again that a folder's store holds, and remember what came of it.

    What was checked before is not checked again.

    Parameters
    ----------
    jobs
        How many streams at once; by default one for each core.
    timeout_s
        How long one may take; 0: as long as it will.
    report
        Called before the first and after each.

    Returns
    -------
    A verdict for each codec and circumstances, over the streams of the plan's images and points.

    Raises
    ------
    StoreError
        Where the store cannot be opened or written.
    """
    with Store(out / FILE_NAME) as store:
        others = {spec: _others(codec) for spec, codec in plan.codecs.items()}
        progress = Progress(sum(len(others[task.codec]) for _, task in plan.tasks()), 0)
        report(progress)
        tallies = {(spec, str(one)): _Tally() for spec, some in others.items() for one in some}
        decoders = _Decoders(jobs or cores(), plan.plugins, Limits(timeout_s))
        try:
            for task, decode in _compared(store, plan, others, decoders):
                tallies[task.codec, decode.circumstances].add(task, decode)
                failed = progress.failed + (not decode.same)
                progress = replace(progress, done=progress.done + 1, failed=failed, latest=task)
                report(progress)
        finally:
            decoders.close()
    return [
        Verdict(spec, circumstances, tally.checked, tally.differing, tally.worst)
        for (spec, circumstances), tally in tallies.items()
    ]


class _Tally:
    """What is counted for a verdict."""

    def __init__(self) -> None:
        self.checked = self.differing = 0
        self.worst, self._by = "", -1

    def add(self, task: Task, decode: CheckedDecode) -> None:
        self.checked += 1
        self.differing += not decode.same
        by = 256 if decode.largest is None else decode.largest
        if not decode.same and by > self._by:
            how = decode.error or f"{decode.differing} samples differ, by up to {decode.largest}"
            self._by, self.worst = by, f"{task.image.name} {point_text(task.point)}: {how}"


def _others(codec: Codec) -> list[Circumstances]:
    """The circumstances under which a codec's streams can be decoded here, those of a run aside."""
    if "device" not in codec.options or find_spec("torch") is None:
        return [OTHER_THREADS]
    import torch

    on_gpu = codec.device == "cpu" and torch.cuda.is_available()
    return [OTHER_THREADS, ON_GPU] if on_gpu else [OTHER_THREADS]


def _compared(
    store: Store, plan: Plan, others: Mapping[str, list[Circumstances]], decoders: _Decoders
) -> Iterator[tuple[Task, CheckedDecode]]:
    """What came of each stream under each of its circumstances, now or before."""
    asked = (
        (key, task, one)
        for key, task in plan.tasks()
        for one in others[task.codec]
        if store.succeeded(key)
    )
    running: dict[Future[CheckedDecode], tuple[Key, Task]] = {}

    def finished() -> Iterator[tuple[Task, CheckedDecode]]:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            key, task = running.pop(future)
            store.add_decode(key, future.result())
            yield task, future.result()

    for key, task, one in asked:
        known = store.decode(key, str(one))
        if known is not None and known.error is None:
            yield task, known
        elif (stream := store.kept(key).stream) is not None:
            running[decoders.compare(task, stream, one)] = key, task
        while len(running) >= decoders.most:
            yield from finished()
    while running:
        yield from finished()


class _Decoders:
    """Threads, each of which has a process for each of the circumstances it meets."""

    def __init__(self, number: int, plugins: tuple[Path, ...], limits: Limits) -> None:
        self._threads = ThreadPoolExecutor(number)
        self.most = 2 * number
        """How many may be asked for, so that none waits and few are held in memory."""
        self._plugins, self._limits = plugins, limits
        self._runners = Runners()

    def compare(self, task: Task, stream: bytes, other: Circumstances) -> Future[CheckedDecode]:
        """Decode as it was measured and under other circumstances, and compare."""
        return self._threads.submit(self._compare, task, stream, other)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self._runners.close()
        self._threads.shutdown(cancel_futures=True)

    def _compare(self, task: Task, stream: bytes, other: Circumstances) -> CheckedDecode:
        try:
            usual, unusual = (
                self._runners.ask(
                    Decode(under.spec(task.codec), self._plugins, stream),
                    replace(self._limits, threads=under.threads),
                )
                for under in (AS_MEASURED, other)
            )
        except FaultError as fault:
            return CheckedDecode(str(other), error=fault.advice())
        if usual.shape != unusual.shape:
            return CheckedDecode(str(other), error=f"of shape {unusual.shape}, not {usual.shape}")
        apart = np.abs(usual.astype(np.int16) - unusual)
        return CheckedDecode(str(other), int(np.count_nonzero(apart)), int(apart.max()))
