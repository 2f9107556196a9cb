"""What people judged is remembered: studies, sessions, and every trial.

Nothing is deleted or overwritten. A session may grow: the answers of a break come first, those of
the end later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lic_bench.store.file import StoreFile


@dataclass(frozen=True)
class KeptTrial:
    """One answer, as it is kept."""

    position: int
    left: str
    """The token of the picture on the left."""
    right: str
    answer: str
    """``left``, ``right`` or ``same``."""
    first: str
    """The answer before it was taken back; else the same."""
    seconds: float
    switches: int
    scale: float
    """By how much the page was magnified by two fingers; 1: not at all."""


@dataclass(frozen=True)
class KeptSession:
    """A session, without its trials."""

    id: int
    session: str
    """A random number of the page's, in hexadecimal."""
    rater: str
    """A pseudonym."""
    number: int
    """Which of the study's orders was shown."""
    added: str
    about: str
    """JSON: what the rater said of screen and room, and remarked."""


class Ratings(StoreFile):
    """The part of a store that knows what people judged; see `StoreFile` for the errors."""

    def add_study(self, identifier: str, definition: str) -> None:
        """Remember a study, with the key to its tokens."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO studies VALUES (?, ?, ?)", (identifier, _now(), definition)
            )

    def studies(self) -> list[tuple[str, str]]:
        """Id and time of making of each study, the oldest first."""
        return list(self._rows("SELECT id, made FROM studies ORDER BY made, id"))

    def study(self, identifier: str) -> str | None:
        """What is remembered of a study; nothing where it is not known."""
        row = self._row("SELECT definition FROM studies WHERE id = ?", (identifier,))
        return None if row is None else str(row[0])

    def sessions(self, study: str) -> list[KeptSession]:
        """The sessions of a study, in the order in which they came."""
        rows = self._rows(
            "SELECT id, session, rater, number, added, about FROM sessions WHERE study = ? "
            "ORDER BY id",
            (study,),
        )
        return [KeptSession(*row) for row in rows]

    def trials(self, session: int) -> list[KeptTrial]:
        """The trials of a session, in their order."""
        rows = self._rows(
            "SELECT position, left_picture, right_picture, answer, first, seconds, switches, scale "
            "FROM trials WHERE session = ? ORDER BY position",
            (session,),
        )
        return [KeptTrial(*row) for row in rows]

    def add_session(
        self, study: str, session: str, rater: str, number: int, about: str
    ) -> KeptSession:
        """Remember a session, unless it is known; return it as it is kept."""
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO sessions VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (study, session, rater, number, _now(), about),
            )
        [kept] = [one for one in self.sessions(study) if one.session == session]
        return kept

    def add_trials(self, session: int, about: str, trials: Sequence[KeptTrial]) -> None:
        """Add trials to a session: all of them, or nothing. What was said of it is the latest."""
        with self.transaction():
            self._db.execute("UPDATE sessions SET about = ? WHERE id = ?", (about, session))
            self._db.executemany(
                "INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(session, *vars(trial).values()) for trial in trials],
            )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
