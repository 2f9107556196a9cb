"""Our measurements beside published curves, to see whether the bench's figures are right.

What is compared with what, where, and how far apart the two may be is told by
`datasets/published/checks.toml`; nothing here knows a codec by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lic_bench.codec.base import point_text
from lic_bench.codec.points import parse_points
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError, UnavailableError
from lic_bench.execution.plan import plan
from lic_bench.execution.run import Progress, execute, workers_for
from lic_bench.plugins.spec import parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.analysis.curves import Curve
    from lic_bench.metric.quality import Array


class FigureCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one codec's curve in one metric is compared with."""

    codec: str
    """The spec."""
    published: str
    """The name of a published curve; see `lic_bench.analysis.published_curves`."""
    dataset: str
    metric: str = "psnr_rgb"
    points: tuple[str, ...] = ()
    """The operating points that are measured; by default all that are usual."""
    bpp: tuple[float, float] = (0, math.inf)
    """Only points with rates in this range are compared."""
    fine_db: tuple[float, float] | None = None
    """How far, at equal rate, ours may lie above the published curve; without it all is told, and
    nothing judged."""
    why: str = ""
    """Why a difference is to be expected."""
    slow: bool = False
    """Whether it is left out unless it is asked for."""


@dataclass(frozen=True)
class Agreement:
    """What came of a check. Differences are ours less theirs."""

    check: FigureCheck
    rates: tuple[float, ...] = ()
    """Where the curves were compared, in bits per pixel."""
    db: tuple[float, ...] = ()
    """At each of these, the difference in quality at equal rate, in dB."""
    percent: tuple[float, ...] = ()
    """At each of these, the difference in rate at equal quality, in per cent; NaN where the other
    curve does not reach that quality."""
    bd_rate: str = ""
    """The BD-rate over these points against the published curve, or why there is none."""
    unavailable: str = ""
    """Why it could not be checked here, wholly or in part, and the remedy."""
    failed: str = ""
    """What went wrong with a measurement, or why the curves cannot be compared."""

    @property
    def fine(self) -> bool | None:
        """Whether all differences are as expected; ``None`` where that cannot be told."""
        if self.failed:
            return False
        if not self.db or self.check.fine_db is None:
            return None
        low, high = self.check.fine_db
        return all(low <= db <= high for db in self.db)

    def __str__(self) -> str:
        """It in a few lines: a heading, the figures, what explains them."""
        check = self.check
        word = {True: "fine", False: "NOT FINE", None: "no judgement" if self.db else "not checked"}
        lines = [
            f"{check.codec} beside {check.published}, {check.metric} on {check.dataset}: "
            f"{word[self.fine]}",
            self._figures() if self.db else "",
            self.failed,
            self.unavailable,
            check.why if self.db else "",
        ]
        return "\n  ".join("\n".join(filter(None, lines)).splitlines())

    def _figures(self) -> str:
        count, low, high = len(self.rates), min(self.rates), max(self.rates)
        where = f"{count} points, {low:.3f} to {high:.3f} bpp" if count > 1 else f"{low:.3f} bpp"
        fine = self.check.fine_db
        allowed = "" if fine is None else f"; fine from {fine[0]:+z.2f} to {fine[1]:+z.2f}"
        rates = [percent for percent in self.percent if not math.isnan(percent)]
        text = (
            f"{where}: {sum(self.db) / count:+z.3f} dB at equal rate, worst {_worst(self.db):+z.3f}"
            f"{allowed}"
        )
        if rates:
            text += (
                f"\n{sum(rates) / len(rates):+z.1f} % of rate at equal quality, "
                f"worst {_worst(rates):+z.1f} %; BD-rate {self.bd_rate}"
            )
        return text


def checks(codecs: Sequence[str] = ()) -> list[FigureCheck]:
    """The checks that there are for these codecs: specs, or names, which stand for all specs.

    Without codecs, all but the slow ones.

    Raises
    ------
    SpecError
        Where there is none for a codec.
    """
    text = (resources.files("lic_bench.datasets") / "published" / "checks.toml").read_bytes()
    known = msgspec.toml.decode(text, type=dict[str, list[FigureCheck]])["check"]
    if not codecs:
        return [check for check in known if not check.slow]
    for codec in codecs:
        names = dict.fromkeys(
            name for check in known for name in (parse_spec(check.codec).name, check.codec)
        )
        if codec not in names:
            near = get_close_matches(codec, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SpecError(
                f"there is no published curve to verify {codec!r} by; {hint}"
                f"there is one for {', '.join(names)}"
            )
    return [check for check in known if {check.codec, parse_spec(check.codec).name} & set(codecs)]


def verify(
    chosen: Sequence[FigureCheck],
    out: Path,
    *,
    jobs: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[Agreement]:
    """Measure what the checks need and the folder's store does not hold, and compare.

    Raises
    ------
    LicBenchError
        Where a data set is not at hand, or the store cannot be written. A codec that cannot be used
        here is named in its agreements.
    """
    registry, agreements = Registry(), []
    points: dict[str, dict[str, dict[str, None]]] = {}
    for check in chosen:
        wanted, missing = _points(registry, check)
        agreements.append(Agreement(check, unavailable=missing))
        if wanted:
            points.setdefault(check.dataset, {}).setdefault(check.codec, {}).update(wanted)
    tables = {}
    for dataset, by_codec in points.items():
        chosen_points = {spec: list(wanted) for spec, wanted in by_codec.items()}
        planned = plan(list(by_codec), [dataset], points=chosen_points)
        tables[dataset] = execute(
            planned, out, workers=workers_for(planned, jobs=jobs), report=report
        )
    return [
        _judged(agreement, tables[agreement.check.dataset])
        if agreement.check.codec in points.get(agreement.check.dataset, ())
        else agreement
        for agreement in agreements
    ]


def _worst(differences: Sequence[float]) -> float:
    return max(differences, key=abs)


def _points(registry: Registry, check: FigureCheck) -> tuple[dict[str, None], str]:
    """The operating points of a check that can be measured here; and why the others cannot."""
    usable: dict[str, None] = {}
    missing: list[str] = []
    problem = ""
    try:
        codec = registry.codec(check.codec)
    except (SpecError, UnavailableError) as error:
        return {}, str(error)
    for text in check.points or map(point_text, codec.points):
        try:
            parse_points(codec, [text])
        except UnavailableError as error:
            missing.append(text)
            problem = problem or str(error)
        else:
            usable[text] = None
    return usable, f"not checked: {', '.join(missing)}: {problem}" if missing else ""


def _judged(agreement: Agreement, table: pd.DataFrame) -> Agreement:
    import numpy as np

    from lic_bench.analysis import curves
    from lic_bench.analysis import published_curves as published

    check = agreement.check
    table = table[table["codec"] == check.codec]
    errors = table["error"].dropna()
    if not errors.empty:
        return replace(agreement, failed=f"{len(errors)} measurements failed: {errors.iloc[0]}")
    ours = curves.curve(curves.aggregate(table), check.dataset, check.codec, check.metric)
    theirs = published.curve(check.published, check.dataset, check.metric)
    # Where one of them is a single point, the other is the line that it is held against.
    sign, points, line = (1, ours, theirs) if len(theirs.bpp) > 1 else (-1, theirs, ours)
    db, log_rate = _distances(points, line)
    low, high = check.bpp
    there = (low <= points.bpp) & (points.bpp <= high) & np.isfinite(db)
    if not there.any():
        apart = f"{_range(ours)} of ours and {_range(theirs)} of theirs have nothing in common"
        if check.fine_db is None:
            return replace(agreement, unavailable=apart)
        return replace(agreement, failed=apart)
    inside = (low <= ours.bpp) & (ours.bpp <= high)
    return replace(
        agreement,
        rates=tuple(points.bpp[there]),
        db=tuple(sign * db[there]),
        percent=tuple(100 * np.expm1(sign * log_rate[there])),
        bd_rate=str(
            curves.bd_rate(theirs, replace(ours, bpp=ours.bpp[inside], value=ours.value[inside]))
        ),
    )


def _range(curve: Curve) -> str:
    if len(curve.bpp) == 0:
        return "no points"
    return f"{curve.bpp.min():.3f} to {curve.bpp.max():.3f} bpp"


def _distances(points: Curve, line: Curve) -> tuple[Array, Array]:
    """How far points lie above a line in quality, and beyond it in the logarithm of the rate.

    The line runs through its own points by PCHIP over the logarithm of the rate, and nowhere beyond
    them, where the distances are NaN.
    """
    import numpy as np
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

    if len(line.bpp) < 2:
        return np.full(len(points.bpp), np.nan), np.full(len(points.bpp), np.nan)
    rates, at = np.log(line.bpp), np.log(points.bpp)
    quality = PchipInterpolator(rates, line.value, extrapolate=False)
    rate = PchipInterpolator(line.value, rates, extrapolate=False)
    return points.value - quality(at), at - rate(points.value)
