"""Everything that came of a study, put together: for the terminal, for JSON, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lic_bench.errors import UndefinedError
from lic_bench.rating.agreement import Agreement, agreements, two_way_mean
from lic_bench.rating.judged import Judged, judged, left_out
from lic_bench.rating.scores import Estimate, Scores, scores, tally
from lic_bench.rating.study import study_of
from lic_bench.store.database import Store
from lic_bench.store.ratings import Ratings
from lic_bench.store.table import frame

Json = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The scores of a study, and how far metrics agree with them."""

    judged: Judged
    scores: Scores
    agreements: tuple[Agreement, ...]
    checks: tuple[str, ...]
    """What the trials that do not count tell of the raters, in words."""
    unequal: int
    """How many of the answers are about pairs of unequal rate."""


def result(found: Judged, measurements: pd.DataFrame, *, seed: int = 0) -> Result:
    """Find what came of a study.

    Raises
    ------
    UndefinedError
        Where there are no scores; see `scores.check`.
    """
    counted = found.counted
    of = scores(tally(counted), seed=seed)
    return Result(
        found,
        of,
        tuple(agreements(found, of, measurements, seed=seed)),
        tuple(_checks(found)),
        int(counted["unequal"].sum()),
    )


def _checks(found: Judged) -> list[str]:
    trials = found.trials
    lines = []
    catches = trials[trials["kind"] == "catch"]
    if len(catches):
        seen = (catches["answer"] == catches["expected"]).sum()
        lines.append(f"{seen} of {len(catches)} catches were seen")
    identical = trials[trials["kind"] == "identical"]
    if len(identical):
        same = (identical["answer"] == "same").sum()
        lines.append(f"{same} of {len(identical)} identical pairs were called so")
    if again := _repeats(trials):
        lines.append(f"{sum(again)} of {len(again)} repeated pairs were answered as before")
    counted = found.counted
    decided = counted[counted["answer"] != "same"]
    if len(decided):
        left = (decided["answer"] == "left").to_numpy(float)
        share = two_way_mean(left, decided["rater"].to_numpy(), decided["image"].to_numpy())
        lines.append(
            f"A was preferred in {100 * share.value:.0f} % of the answers that prefer one "
            f"({100 * share.low:.0f} to {100 * share.high:.0f} %; 50 % where sides do not matter)"
        )
        lines.append(f"an answer took {counted['seconds'].median():.1f} s in the median")
    return lines


def _repeats(trials: pd.DataFrame) -> list[bool]:
    """Of each repeated pair, whether its answer is that of the first time, the sides exchanged."""
    first = {
        (row.session, row.left_number, row.right_number): row.answer
        for row in trials[trials["kind"] == "pair"].itertuples()
    }
    turned = {"left": "right", "right": "left", "same": "same"}
    return [
        turned[str(row.answer)] == before
        for row in trials[trials["kind"] == "repeat"].itertuples()
        if (before := first.get((row.session, row.right_number, row.left_number)))
    ]


def as_json(of: Result) -> Json:
    """Everything, in a form that can be written as JSON; undefined is null."""
    study, found = of.judged.study, of.scores
    return {
        "study": study.id,
        "dataset": study.dataset,
        "target": study.target,
        "images": [image.name for image in study.images],
        "raters": found.raters,
        "answers": found.answers,
        "unequal": of.unequal,
        "left_out": dict(left_out(of.judged.trials)),
        "tie_share": round(found.tie_share, 4),
        "scores": [
            {"codec": codec, "jod": _numbers(jod), "elo": _numbers(elo, 2)}
            for codec, jod, elo in zip(found.codecs, found.jod, found.elo, strict=True)
        ],
        "differences": [
            {
                "first": one.first,
                "second": one.second,
                "jod": _numbers(one.jod),
                "p_holm": float(f"{one.p:.3g}"),
            }
            for one in found.differences
        ],
        "wins": found.wins.astype(int).tolist(),
        "ties": found.ties.astype(int).tolist(),
        "metrics": [
            {
                "metric": one.metric,
                "share": _numbers(one.share),
                "rank": _numbers(one.rank),
                "answers": one.answers,
            }
            for one in of.agreements
        ],
        "checks": list(of.checks),
        "notes": list(found.notes),
    }


def _numbers(one: Estimate, digits: int = 4) -> Mapping[str, float | None]:
    return {
        name: round(value, digits) if math.isfinite(value) else None
        for name, value in vars(one).items()
    }


def of_store(store: Store) -> list[Json]:
    """What came of each study of a store, for the report; a study without scores says why."""
    found = []
    with Ratings(store.path, reading=True) as ratings:
        for identifier, _ in ratings.studies():
            study = study_of(ratings.study(identifier) or "", identifier)
            of = judged(ratings, study)
            if not of.sessions:
                continue
            table = frame(store, study.codecs)
            try:
                found.append(as_json(result(of, table)))
            except UndefinedError as error:
                found.append(
                    {
                        "study": study.id,
                        "dataset": study.dataset,
                        "target": study.target,
                        "undefined": str(error),
                    }
                )
    return found
