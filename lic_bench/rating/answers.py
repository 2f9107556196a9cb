"""Answers taken in: a file is read within bounds, checked against its study, and kept as a whole.

A file that does not fit is refused, and says why; nothing of it is kept then. The same file twice
adds nothing; a session that has grown adds what is new in it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from lic_bench.errors import ImportedResultsError
from lic_bench.printable import printable, printable_lines
from lic_bench.rating.study import Answer, Study, study_of
from lic_bench.store.ratings import KeptTrial, Ratings

LARGEST = 2_000_000
"""Bytes of a file of answers: a session takes 20 kB."""

_Token = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
_Short = Annotated[str, msgspec.Meta(max_length=100)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=100_000)]


class Answered(msgspec.Struct, forbid_unknown_fields=True):
    """One trial, as the page hands it in."""

    position: Annotated[int, msgspec.Meta(ge=0, le=10_000)]
    left: _Token
    right: _Token
    answer: Answer
    first: Answer
    seconds: Annotated[float, msgspec.Meta(ge=0, le=1e8)]
    switches: Annotated[int, msgspec.Meta(ge=2, le=1_000_000)]
    ratio: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0
    scale: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rater said, or the browser told, of screen and room."""

    width: _Amount | None = None
    height: _Amount | None = None
    ratio: _Amount | None = None
    """Device pixels for each CSS pixel."""
    zoom: _Amount | None = None
    """Of the browser, in per cent, as far as it can be guessed."""
    card_px: _Amount | None = None
    """CSS pixels that 85.6 mm take."""
    distance_cm: _Amount | None = None
    light: _Short = ""
    touch: bool = False


class Answers(msgspec.Struct, forbid_unknown_fields=True):
    """A session, as the page hands it in."""

    format: Literal["lic-bench answers 1"]
    study: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    session: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    order: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    rater: Annotated[str, msgspec.Meta(min_length=1, max_length=60)]
    consent: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    started: Annotated[str, msgspec.Meta(max_length=40)]
    trials: Annotated[list[Answered], msgspec.Meta(max_length=10_000)]
    finished: Annotated[str, msgspec.Meta(max_length=40)] = ""
    about: About = About()
    remark: Annotated[str, msgspec.Meta(max_length=2000)] = ""


@dataclass(frozen=True)
class Added:
    """What came of a file."""

    study: str
    rater: str
    known: int
    """Trials that were there before."""
    new: int
    complete: bool


_answers = msgspec.json.Decoder(Answers)


def read(path: Path) -> Answers:
    """Read a file of answers.

    Raises
    ------
    ImportedResultsError
        Where it cannot be read, or is none.
    """
    try:
        if not path.is_file():
            raise ImportedResultsError(f"{path} is no file")
        size = path.stat().st_size
        if size > LARGEST:
            raise ImportedResultsError(
                f"{path} has {size:,} bytes; a session's answers take 20,000: this is none"
            )
        content = path.read_bytes()
    except OSError as error:
        raise ImportedResultsError(f"{path} cannot be read: {error.strerror}") from error
    return parse(content, str(path))


def parse(content: bytes, name: str) -> Answers:
    """The answers in the content of a file; see `read`."""
    try:
        return _answers.decode(content)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ImportedResultsError(
            f"{name} holds no answers of a lic-bench study ({reason}); take the file as the page "
            "saved it"
        ) from error


def study_for(ratings: Ratings, answers: Answers, name: str) -> Study:
    """The study that answers are of.

    Raises
    ------
    ImportedResultsError
        Where the store does not know it.
    """
    definition = ratings.study(answers.study)
    if definition is None:
        raise ImportedResultsError(
            f"{name} is of the study {answers.study[:8]}, which {ratings.path} does not hold; "
            "name the folder that it was made from: --out DIR"
        )
    return study_of(definition, answers.study)


def add(
    ratings: Ratings,
    study: Study,
    answers: Answers,
    name: str,
    *,
    chosen: bool = False,
) -> Added:
    """Check answers against their study, and keep what is new in them.

    Parameters
    ----------
    name
        What errors call them.
    chosen
        Whether a server chose pairs while the session went on: where its order has a pair of
        codecs, any pair of the study may then stand.

    Raises
    ------
    ImportedResultsError
        Where they are not answers to what was asked, or contradict what is known.
    """
    sessions = ratings.sessions(answers.study)
    existing = next((one for one in sessions if one.session == answers.session), None)
    known = ratings.trials(existing.id) if existing else []
    # What a server chose for a session is kept with it, and stands for its order.
    asked = {one.position: (study.numbers[one.left], study.numbers[one.right]) for one in known}
    _check(study, answers, name, asked, study.pairs if chosen else frozenset())
    rater = printable(answers.rater.strip())
    trials = [_kept(one) for one in answers.trials]
    if existing and (existing.rater, existing.number) != (rater, answers.order):
        raise ImportedResultsError(
            f"{name}: its session is known as one of {existing.rater}, in order "
            f"{existing.number}; it was altered"
        )
    both = min(len(known), len(trials))
    if known[:both] != trials[:both]:
        at = next(i for i in range(both) if known[i] != trials[i])
        raise ImportedResultsError(
            f"{name}: trial {at + 1} contradicts what is kept of this session; the first stays"
        )
    for other in sessions:
        kept = ratings.trials(other.id) if trials and other != existing else []
        if kept and kept[: len(trials)] == trials[: len(kept)]:
            raise ImportedResultsError(
                f"{name}: the same answers, to the millisecond, are kept as a session of "
                f"{other.rater}; it is a copy"
            )
    about = _about(answers)
    session = existing or ratings.add_session(
        answers.study, answers.session, rater, answers.order, about
    )
    ratings.add_trials(session.id, about, trials[both:])
    complete = max(len(known), len(trials)) == len(study.orders[answers.order])
    return Added(answers.study, rater, len(known), len(trials) - both, complete)


def _kept(one: Answered) -> KeptTrial:
    return KeptTrial(
        one.position,
        one.left,
        one.right,
        one.answer,
        one.first,
        one.seconds,
        one.switches,
        one.scale,
    )


def _about(answers: Answers) -> str:
    """What is kept of a session beside its trials, as JSON."""
    said = {
        "consent": printable(answers.consent),
        "started": printable(answers.started),
        "finished": printable(answers.finished),
        "remark": printable_lines(answers.remark),
        "light": printable(answers.about.light),
    }
    return msgspec.json.encode({**msgspec.structs.asdict(answers.about), **said}).decode()


def _check(
    study: Study,
    answers: Answers,
    name: str,
    asked: Mapping[int, tuple[int | None, int | None]],
    allowed: Collection[frozenset[int]],
) -> None:
    """Refuse what was not asked, or not answered as the page lets one answer."""
    if answers.order >= len(study.orders):
        raise ImportedResultsError(f"{name}: the study has no order {answers.order}")
    order = study.orders[answers.order]
    if len(answers.trials) > len(order):
        raise ImportedResultsError(
            f"{name}: {len(answers.trials)} trials, and a session has {len(order)}"
        )
    for number, one in enumerate(answers.trials):
        at = f"{name}: trial {number + 1}"
        if one.position != number:
            raise ImportedResultsError(f"{at} stands where trial {one.position + 1} should")
        shown = (study.numbers.get(one.left), study.numbers.get(one.right))
        if None in shown:
            raise ImportedResultsError(f"{at} is of pictures that are not in the study")
        wanted = asked.get(number, (order[number].left, order[number].right))
        free = number not in asked and order[number].kind == "pair" and set(shown) in allowed
        if shown != wanted and not free:
            raise ImportedResultsError(f"{at} is of other pictures than were asked for")
    if answers.finished and len(answers.trials) < len(order):
        raise ImportedResultsError(
            f"{name}: it says that it is complete, with {len(answers.trials)} of {len(order)} "
            "trials"
        )
    if not answers.rater.strip():
        raise ImportedResultsError(f"{name}: the rater has no name")
