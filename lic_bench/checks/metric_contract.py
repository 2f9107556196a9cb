"""The contract of metrics: what every one must do, as checks that anybody can run on his own.

    lic-bench check my_metric.py

or, in a test of one's own:

>>> @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
... def test_contract(check):
...     check(Subject("my-metric", plugins=(Path("my_metric.py"),)))

A check raises `ContractError` with what is wrong, or returns a note on what it found. The metric
runs in a process of its own, so that one that crashes, hangs or eats the memory is told of.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from lic_bench.checks.contract import ContractError, Outcome
from lic_bench.execution.faults import FaultError
from lic_bench.execution.figures import Asked, References, asked
from lic_bench.execution.runner import Limits, Request, Runner
from lic_bench.images.dataset import load_dataset
from lic_bench.images.image import Image, read_image
from lic_bench.metric.base import Metric, Score, Value, scores_of
from lic_bench.metric.registry import MetricRegistry

_SIDE = 192
"""Of the photograph: the metrics of several scales need 161."""


@dataclass(frozen=True)
class Subject:
    """A metric that is to be checked."""

    spec: str
    plugins: tuple[Path, ...] = ()
    time_limit_s: float = 60
    """For one pair of images."""

    def metric(self) -> Metric:
        """A fresh instance."""
        return MetricRegistry(self.plugins).metric(self.spec)


Check = Callable[[Subject], str]


def examine(subject: Subject) -> Iterator[Outcome]:
    """Do every check on a metric."""
    for check in CHECKS:
        start = perf_counter()
        try:
            passed, note = True, check(subject)
        except ContractError as error:
            passed, note = False, str(error)
        title = (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")
        yield Outcome(title, passed, note, perf_counter() - start)
    _release()


def equal_images_are_best(subject: Subject) -> str:
    """Equal images have the best figures there are, and the one that is stated."""
    image = _photo(_SIDE, _SIDE)
    with _process(subject) as process:
        equal = process.figures(image, image.copy())
        noisy = process.figures(image, _noisy(image, 6))
    for score in process.scores:
        a, b = equal[score.column], noisy[score.column]
        if a is None or b is None:
            raise ContractError(f"{score.name} is missing on a photograph of {_SIDE}x{_SIDE}")
        if _over(score, b, a) >= 0:
            raise ContractError(f"{score.name} of equal images is {a:g}, of noise {b:g}")
    stated, first = subject.metric().identical, equal[process.scores[0].column]
    if stated is not None and first is not None and not math.isclose(first, stated, abs_tol=1e-6):
        raise ContractError(f"equal images have {first:g}, not {stated:g} as is stated")
    return ", ".join(f"{score.name} {equal[score.column]:g}" for score in process.scores)


def more_distortion_is_worse(subject: Subject) -> str:
    """More noise, more blur and coarser steps are worse."""
    image = _photo(_SIDE, _SIDE)
    rows: dict[str, list[Image]] = {
        "noise": [_noisy(image, deviation) for deviation in (2, 12)],
        "blur": [_blurred(image, times) for times in (1, 8)],
        "steps": [_coarse(image, step) for step in (8, 48)],
    }
    with _process(subject) as process:
        for what, pictures in rows.items():
            little, much = (process.figures(image, picture) for picture in pictures)
            for score in process.scores:
                a, b = little[score.column], much[score.column]
                if a is None or b is None or _over(score, b, a) >= 0:
                    raise ContractError(f"{score.name}: little {what} has {a}, much {what} {b}")
    return ""


def is_symmetric_where_stated(subject: Subject) -> str:
    """The images can be exchanged, where that is stated."""
    if not subject.metric().symmetric:
        return "not stated"
    image = _photo(_SIDE, _SIDE)
    other = _noisy(image, 6)
    with _process(subject) as process:
        there, back = process.figures(image, other), process.figures(other, image)
    for column, value in there.items():
        if not _close(value, back[column], 1e-5):
            raise ContractError(f"{column} is {value} one way and {back[column]} the other")
    return ""


def takes_any_size(subject: Subject) -> str:
    """Images of any size have figures, or lack them where they are smaller than is stated."""
    least = subject.metric().least_side
    sizes = [(1, 1), (1, 7), (least, least), (least, least + 7), (least + 13, least), (257, 301)]
    lacking = []
    with _process(subject) as process:
        for width, height in sizes:
            image = _photo(width, height)
            figures = process.figures(image, _noisy(image, 6))
            missing = [column for column, value in figures.items() if value is None]
            if missing and min(width, height) >= max(least, _SIDE):
                raise ContractError(f"{', '.join(missing)} missing on {width}x{height}")
            if missing:
                lacking.append(f"{width}x{height}")
    return f"missing on {', '.join(lacking)}" if lacking else ""


def is_deterministic(subject: Subject) -> str:
    """The same images have the same figures, in another process too."""
    image = _photo(_SIDE, _SIDE)
    picture = _noisy(image, 6)
    with _process(subject) as first, closing(_Process(subject)) as second:
        found = first.figures(image, picture)
        if found != first.figures(image, picture):
            raise ContractError("two figures of one pair differ")
        if found != second.figures(image, picture):
            raise ContractError("two processes give different figures of one pair")
    return ""


CHECKS: tuple[Check, ...] = (
    equal_images_are_best,
    more_distortion_is_worse,
    is_symmetric_where_stated,
    takes_any_size,
    is_deterministic,
)
"""Every check, in the order in which they are done."""


@dataclass(frozen=True, eq=False)
class _Measure(Request[dict[str, Value]]):
    """Compare two images by a metric; what goes wrong is an error."""

    metrics: tuple[Asked, ...]
    plugins: tuple[Path, ...]
    reference: Image
    distorted: Image

    def execute(self) -> dict[str, Value]:
        found = References(self.reference, self.plugins).figures(self.metrics, self.distorted)
        for column, why in found.errors.items():
            raise ContractError(f"{column}: {why}")
        return found.values


class _Process:
    """A process that the metric runs in."""

    def __init__(self, subject: Subject) -> None:
        metric = subject.metric()
        self.scores: Sequence[Score] = scores_of(metric)
        self._asked, self._plugins = asked({subject.spec: metric}), subject.plugins
        self._runner = Runner(Limits(subject.time_limit_s))

    def figures(self, reference: Image, distorted: Image) -> dict[str, Value]:
        """The figures of a pair, by column.

        Raises
        ------
        ContractError
            Where there are none.
        """
        height, width, _ = reference.shape
        try:
            return self._runner.ask(_Measure(self._asked, self._plugins, reference, distorted))
        except FaultError as fault:
            why = str(fault).removeprefix("ContractError: ")
            raise ContractError(f"images of {width}x{height}: {why}") from None

    def close(self) -> None:
        """End it, and what it started."""
        self._runner.close()


_kept: dict[Subject, _Process] = {}
"""The process of the last check, for the next one: a start may take longer than all the rest."""


@contextmanager
def _process(subject: Subject) -> Iterator[_Process]:
    """The process of the check before, if that was of this metric and found nothing wrong."""
    process = _kept.pop(subject, None) or _Process(subject)
    _release()
    try:
        yield process
    except BaseException:
        process.close()
        raise
    _kept[subject] = process


@atexit.register  # multiprocessing would wait for it
def _release() -> None:
    while _kept:
        _kept.popitem()[1].close()


def _photo(width: int, height: int) -> Image:
    """A part of a photograph: a face."""
    whole = read_image(load_dataset("sample").images[0].path)
    return whole[40 : 40 + height, 100 : 100 + width].copy()


def _noisy(image: Image, deviation: float) -> Image:
    noise = np.random.default_rng(4).normal(0, deviation, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255).astype(np.uint8))


def _coarse(image: Image, step: int) -> Image:
    return np.asarray(image // step * step + step // 2, dtype=np.uint8)


def _blurred(image: Image, times: int) -> Image:
    """Each sample the mean of 3x3, so many times."""
    samples = image.astype(np.float64)
    for _ in range(times):
        for axis in (0, 1):
            pad = [(1, 1) if axis == i else (0, 0) for i in range(3)]
            wide = np.pad(samples, pad, mode="edge")
            parts = [np.take(wide, range(i, i + samples.shape[axis]), axis) for i in range(3)]
            samples = np.mean(parts, axis=0)
    return np.asarray(np.rint(samples).astype(np.uint8))


def _over(score: Score, a: float, b: float) -> float:
    """By how much a figure is better than another; of equal ones, infinite ones too, 0."""
    if a == b:
        return 0.0
    return a - b if score.better == "higher" else b - a


def _close(a: Value, b: Value, share: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=share, abs_tol=share)
