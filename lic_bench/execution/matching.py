"""Each image's operating point that meets a target: a rate, or a quality.

A `Search` is told what is known of one image and one codec, and says which operating point to try
next. `match` searches for all images and codecs of a plan together, and remembers in the store
which points came nearest.

Nearest is meant in log rate, or in dB. Whole numbers (a quality, a QP) are searched until both
neighbours of the target are known; numbers with fractions (a compression ratio) until the rate is
within 0.5 % of the target, or the quality within 0.02 dB. A codec that names no range of operating
points is held to those that were measured. Use is made of all that the store knows of an image and
a codec, whatever it was measured for: another search measures only what is new in it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lic_bench.codec.base import Codec, Point, point_text
from lic_bench.execution.plan import Plan
from lic_bench.execution.run import (
    Progress,
    carry_out,
    measured,
    provenance_of,
    results,
    unmeasured,
    workers_for,
)
from lic_bench.execution.workers import Workers
from lic_bench.images.dataset import ImageFile
from lic_bench.metric.targets import RATE, Target
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.records import Measurement

if TYPE_CHECKING:
    import pandas as pd

_TRIES = 12
_INTERPOLATED = 3
"""So many tries trust in straight lines. Then intervals are halved, which always ends soon; among
numbers with fractions every second time, because there is no end but the tolerance."""
_FAILURES = 3
"""So many points may fail before a search is given up."""
_FINEST = 1e-3
"""The interval that is not divided any further, as a share of the range: what lies in it is a step
of the codec."""


class Search:
    """The search for the operating point of one image and one codec that is nearest a target.

    Rate and quality are taken to rise along the codec's range. Where they do not, the search ends
    all the same, at the nearest of the points that it tried. Where a point fails, as it may at an
    end of the range, the range ends before it.

    Parameters
    ----------
    point_range
        As `Codec.point_range`; where there is none, nothing is tried.
    within
        The deviation at which a search among numbers with fractions may rest.
    known
        How far each point that was measured is over the target; negative: below it.
    usual
        Two points between which most targets lie: what is beyond is tried only where it must be.
        By default the ends of the range.
    """

    def __init__(
        self,
        point_range: tuple[float, float] | None,
        within: float,
        known: Mapping[Point, float] | None = None,
        usual: tuple[float, float] | None = None,
    ) -> None:
        self._range, self._within = point_range, within
        self._usual = usual or point_range
        self._known = dict(known or {})
        self._failed: set[Point] = set()
        self._tried = 0

    def learn(self, point: Point, over: float) -> None:
        """Take a measurement into account, whoever asked for it."""
        self._known[point] = over

    def nearest(self) -> Point:
        """The known point nearest the target; None where nothing is known."""
        return min(self._known, key=lambda point: abs(self._known[point]), default=None)

    def fail(self, point: Point) -> None:
        """Take into account that nothing came of a point."""
        self._failed.add(point)
        if len(self._failed) == _FAILURES:
            self.give_up()

    def give_up(self) -> None:
        """Try nothing any more."""
        self._range = None

    def next(self) -> Point:
        """The point to try next; None when the search has ended."""
        if self._range is None or self._tried == _TRIES:
            return None
        point = self._wanted(*self._range)
        if point is None or point in self._known or point in self._failed:
            return None
        self._tried += 1
        return point

    def _wanted(self, low: float, high: float) -> float | None:
        whole = isinstance(low, int)
        # Ratios and step sizes are equally far apart where their logarithms are.
        logarithmic = not whole and min(low, high) > 0
        sign = 1 if low < high else -1

        def place(point: float) -> float:
            return sign * (math.log(point) if logarithmic else point)

        known = sorted(
            (place(point), over)
            for point, over in self._known.items()
            if isinstance(point, int | float) and min(low, high) <= point <= max(low, high)
        )
        first, last = self._usual or (low, high)
        if not known:
            return next((p for p in (first, last, low, high) if p not in self._failed), None)
        lowest, highest = known[0][0], known[-1][0]
        failed = [place(point) for point in self._failed if isinstance(point, int | float)]
        known = [
            *((at, -math.inf) for at in sorted(failed) if at < lowest),
            *known,
            *((at, math.inf) for at in sorted(failed) if at > highest),
        ]
        if all(over > 0 for _, over in known):
            return first if place(first) < lowest else low
        if all(over < 0 for _, over in known):
            return last if place(last) > highest else high
        if min(abs(over) for _, over in known) <= (0 if whole else self._within):
            return None
        # The interval that holds the target; of several, where the rate does not rise, the nearest.
        (left, under), (right, over) = min(
            (pair for pair in pairwise(known) if (pair[0][1] < 0) != (pair[1][1] < 0)),
            key=lambda pair: min(abs(pair[0][1]), abs(pair[1][1])),
        )
        share = under / (under - over)
        halved = self._tried >= _INTERPOLATED and (whole or self._tried % 2 == 1)
        if halved or not 0 < share < 1:  # at infinite dB there is no line
            share = 0.5
        at = left + share * (right - left)
        if whole:
            return sign * round(min(max(at, left + 1), right - 1)) if right - left > 1 else None
        if right - left < _FINEST * abs(place(high) - place(low)):
            return None
        return float(f"{math.exp(sign * at) if logarithmic else sign * at:.4g}")


def match(
    plan: Plan,
    targets: Sequence[Target],
    out: Path,
    *,
    afterwards: Plan | None = None,
    workers: Workers | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> pd.DataFrame:
    """Do a plan's work, then search each image's operating points that meet the targets.

    Codecs with a single operating point are left out.

    Parameters
    ----------
    out
        The folder of the store; see `run.execute`.
    afterwards
        The same plan with more metrics: they are computed of what was found alone.
    workers
        Who measures; by default a process for each core. See `run.workers_for`.
    report
        Called after each measurement; what is planned grows as the search goes on.

    Returns
    -------
    All measurements of the plan's data sets and codecs.

    Raises
    ------
    StoreError
        Where the store cannot be opened or written. What was measured before stays.
    """
    workers = workers or workers_for(plan)
    with Store(out / FILE_NAME) as store:
        carry_out(plan, store, workers, report)
        about = {**provenance_of(plan, workers), "match": [str(target) for target in targets]}
        run = store.begin(about, plan.datasets, plan.identities, plan.scores)
        cases = _cases(plan, targets, store)
        progress = Progress(planned=0, remembered=0)
        while wanted := _wanted(plan, cases):
            progress = replace(progress, planned=progress.planned + len(wanted))
            tasks = [plan.task(case.image, case.spec, point) for case, point in wanted]
            work = unmeasured(store, plan, tasks)
            for task, measurement in measured(store, run, work, len(tasks), workers):
                progress = progress.after(task, measurement)
                report(progress)
            for (case, point), (key, _) in zip(wanted, tasks, strict=True):
                case.learn(point, store.kept(key))
        for target in targets:
            nearest = ((case, case.searches[target].nearest()) for case in cases)
            keys = [
                plan.task(case.image, case.spec, point)[0]
                for case, point in nearest
                if point is not None
            ]
            store.match(str(target), keys)
        store.finish(run)
        if afterwards is not None:
            found = [
                afterwards.task(case.image, case.spec, point)
                for case in cases
                for point in dict.fromkeys(case.searches[target].nearest() for target in targets)
                if point is not None
            ]
            run = store.begin(about, (), {}, afterwards.scores)
            progress = replace(progress, planned=progress.planned + len(found))
            work = unmeasured(store, afterwards, found)
            for task, measurement in measured(store, run, work, len(found), workers):
                progress = progress.after(task, measurement)
                report(progress)
            store.finish(run)
        return results(plan, store)


@dataclass(frozen=True)
class _Case:
    """One image and one codec, with a search for each target."""

    image: ImageFile
    spec: str
    searches: Mapping[Target, Search]

    def wanted(self) -> list[Point]:
        """The points to try next."""
        points = (search.next() for search in self.searches.values())
        return list(dict.fromkeys(point for point in points if point is not None))

    def learn(self, point: Point, measurement: Measurement) -> None:
        """Take what came of a try into account."""
        for target, search in self.searches.items():
            if measurement.error:
                search.fail(point)
                continue
            over = float(target.over(_values(measurement)))
            if over == over:
                search.learn(point, over)
            else:
                search.give_up()


def _cases(plan: Plan, targets: Sequence[Target], store: Store) -> list[_Case]:
    """What is to be searched, image by image, with what is known of it."""
    images = {image.key: image for dataset in plan.datasets for image in dataset.images}
    specs = {identity: spec for spec, identity in reversed(plan.identities.items())}
    known: dict[tuple[str, str], dict[Point, Mapping[str, float | None]]] = defaultdict(dict)
    for identity, spec in specs.items():
        for key, values in store.known(identity):
            with suppress(ValueError):  # not in the codec's unit of now
                known[spec, key.image_key][_typed(key.point, plan.codecs[spec])] = values
    return [
        _Case(image, spec, _searches(plan.codecs[spec], targets, known[spec, image.key]))
        for image in images.values()
        for spec in plan.codecs
        if spec in specs.values() and image.error is None and _has_a_choice(plan.codecs[spec])
    ]


def _has_a_choice(codec: Codec) -> bool:
    return codec.point_range is not None or len(codec.points) > 1


def _searches(
    codec: Codec, targets: Sequence[Target], known: Mapping[Point, Mapping[str, float | None]]
) -> dict[Target, Search]:
    searches = {}
    for target in targets:
        over = {
            point: float(target.over(values))
            for point, values in known.items()
            if target.images in values
        }
        defined = {point: value for point, value in over.items() if value == value}
        searches[target] = Search(codec.point_range, target.within, defined, _usual(codec))
        if len(defined) < len(over):  # the image is too small for the metric
            searches[target].give_up()
    return searches


def _usual(codec: Codec) -> tuple[float, float] | None:
    """The ends of the operating points that the codec names itself."""
    if codec.point_range is None:
        return None
    low, high = sorted(codec.point_range)
    number = type(low)
    inside = [number(p) for p in codec.points if isinstance(p, int | float) and low <= p <= high]
    return (inside[0], inside[-1]) if inside else None


def _typed(text: str, codec: Codec) -> Point:
    """A point as a search takes it: a number of the codec's range, or else as it is spelled."""
    return text if codec.point_range is None else type(codec.point_range[0])(text)


def _values(measurement: Measurement) -> dict[str, float | None]:
    """Rate and metrics of a measurement that succeeded."""
    m = measurement
    if m.stream is None or m.width is None or m.height is None:
        raise ValueError("the measurement failed")
    return {RATE: 8 * len(m.stream) / (m.width * m.height), **m.metrics}


def _wanted(plan: Plan, cases: Sequence[_Case]) -> list[tuple[_Case, Point]]:
    """What is to be tried next: image by image, but what codecs take in batches point by point."""
    wanted = [(case, point) for case in cases for point in case.wanted()]

    def batch(tried: tuple[_Case, Point]) -> tuple[str, str]:
        case, point = tried
        in_batches = plan.codecs[case.spec].batch_size > 1
        return (case.spec, point_text(point)) if in_batches else ("", "")

    return sorted(wanted, key=batch)
