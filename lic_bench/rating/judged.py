"""The trials of a study as a table, each with the reason why it does not count, if that is so.

================  ==================================================================================
rater, session    pseudonym, and number of the session in the store
position          in the session, from 0
kind              training, warmup, pair, repeat, catch or identical
image             its name
left, right       the pictures' codecs; ``original``, or ``low`` for the lowest rate
answer            left, right or same (the rater can't tell)
first             the answer before the rater took it back; else the same
expected          the answer that is known to be right, if one is
seconds           from the first look to the answer
switches          between original, A and B
unequal           whether the two rates differ by more than 5 %
left_key ...      what the measurements of both pictures are kept under: image, identity, point
left_out          why the trial does not count for the scores; empty where it does
================  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from lic_bench.errors import SpecError, StoreError, UndefinedError
from lic_bench.printable import printable
from lic_bench.rating.study import Shown, Study, study_of
from lic_bench.store.ratings import KeptTrial, Ratings

_KINDS = {
    "training": "training",
    "warmup": "to warm up",
    "repeat": "the pair a second time",
    "catch": "a catch",
    "identical": "a picture against itself",
}
_MAGNIFIED = 1.01
COLUMNS = (
    *("rater", "session", "position", "kind", "image", "left", "right", "answer", "first"),
    *("expected", "seconds", "switches", "unequal", "left_number", "right_number", "left_out"),
)


@dataclass(frozen=True)
class Judged:
    """A study and all that was answered."""

    study: Study
    trials: pd.DataFrame
    """As the module's text explains."""
    sessions: int
    complete: int
    """Sessions that were answered to their end."""
    remarks: tuple[tuple[str, str], ...]
    """Raters, and what they remarked."""

    @property
    def counted(self) -> pd.DataFrame:
        """The trials that count for the scores."""
        return self.trials[self.trials["left_out"] == ""]

    @property
    def raters(self) -> list[str]:
        """Those whose trials count, in order of their appearance."""
        return list(self.counted["rater"].unique())

    def without(self, reasons: dict[str, str]) -> Judged:
        """The same, with the trials of some raters left out, for a reason each."""
        trials = self.trials.copy()
        for rater, reason in reasons.items():
            which = (trials["rater"] == rater) & (trials["left_out"] == "")
            trials.loc[which, "left_out"] = reason
        return replace(self, trials=trials)


def find(ratings: Ratings, wanted: str | None) -> Study:
    """The study of a store that is wanted, by the beginning of its id; the only one by default.

    Raises
    ------
    UndefinedError
        Where the store holds none.
    SpecError
        Where there are several, or none of this id.
    StoreError
        Where the store cannot be read.
    """
    studies = ratings.studies()
    if not studies:
        raise UndefinedError(
            f"{ratings.path} holds no study; make one: lic-bench rate make {ratings.path.parent}"
        )
    found = [one for one, _ in studies if one.startswith(wanted or "")]
    if len(found) != 1:
        listed = ", ".join(f"{one[:8]} of {made[:10]}" for one, made in studies)
        reason = f"no study {wanted}" if wanted and not found else "several studies"
        raise SpecError(f"{ratings.path} holds {reason}: name one with --study: {listed}")
    definition = ratings.study(found[0])
    if definition is None:  # its index is not of its rows, which SQLite's quick check lets pass
        raise StoreError(
            f"{ratings.path} is damaged, or was made to be: it lists a study and does not find it"
        )
    return study_of(definition, found[0])


def judged(ratings: Ratings, study: Study) -> Judged:
    """Everything that was answered in a study."""
    import json

    rows: list[tuple[object, ...]] = []
    remarks = []
    complete = 0
    sessions = ratings.sessions(study.id)
    for session in sessions:
        trials = ratings.trials(session.id)
        rater = printable(session.rater)
        known = 0 <= session.number < len(study.orders)
        order = study.orders[session.number] if known else ()
        complete += bool(trials) and len(trials) == len(order)
        rows += [
            (rater, session.id, *_row(study, trial, str(order[trial.position].kind)))
            for trial in trials
            if 0 <= trial.position < len(order)
            and {trial.left, trial.right} <= study.numbers.keys()
        ]
        try:
            remark = json.loads(session.about).get("remark")
        except (ValueError, AttributeError, RecursionError):
            remark = None
        if isinstance(remark, str) and remark.strip():
            remarks.append((rater, remark.strip()))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Judged(study, table, len(sessions), complete, tuple(remarks))


def _row(study: Study, trial: KeptTrial, kind: str) -> tuple[object, ...]:
    left, right = study.numbers[trial.left], study.numbers[trial.right]
    shown = study.pictures[left], study.pictures[right]
    reason = _KINDS.get(kind, "")
    if not reason and trial.scale > _MAGNIFIED:
        reason = "the page was magnified by two fingers"
    names = [_name(one) for one in shown]
    from lic_bench.rating.study import Trial

    expected = study.expected(Trial(left, right, "pair"))
    return (
        trial.position,
        kind,
        study.images[shown[0].image].name,
        *names,
        trial.answer,
        trial.first,
        expected or "",
        trial.seconds,
        trial.switches,
        frozenset((left, right)) in study.marked,
        left,
        right,
        reason,
    )


def _name(shown: Shown) -> str:
    return shown.codec if shown.role == "codec" else shown.role


def left_out(trials: pd.DataFrame) -> Collection[tuple[str, int]]:
    """Why trials are left out, and how many for each reason."""
    counts = trials.loc[trials["left_out"] != "", "left_out"].value_counts()
    return [(str(reason), int(number)) for reason, number in counts.items()]
