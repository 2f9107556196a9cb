"""What a store keeps of metrics: a row for each measurement, figure and state of its metric.

A figure has a state for each identity that its metric was seen with. The one that the latest run
asked for is shown; values of other states stay, and are shown where it is asked for again. So a
metric that is new, or was mended, leaves the others alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from lic_bench.errors import SpecError, StoreError
from lic_bench.metric.base import Score, Value
from lic_bench.store.names import Names
from lic_bench.store.records import Key, Measurement, ScoreState

_MOST = 500  # figures that are shown: a result of SQLite's has at most 2000 columns

OF_KEY = """
FROM measurements
WHERE image_key = ? AND identity = (SELECT id FROM identities WHERE text = ?) AND point = ?
"""
"""The measurement of a key; see `key_values`."""


def key_values(key: Key) -> tuple[str, str, str]:
    """What stands for the question marks of `OF_KEY`."""
    return key.image_key, key.identity, key.point


class Scores(Names):
    """The part of a store that keeps the values of metrics."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        super().__init__(path, reading=reading)
        self._entered: dict[str, int] = {}
        """By column, the states under which values are kept that are added here."""
        self._numbered: dict[ScoreState, int] = {}

    def shown_scores(self) -> dict[str, tuple[Score, list[int]]]:
        """The figures by column, each with its states whose values are shown.

        That is the one of the latest run, and what was imported.

        Raises
        ------
        StoreError
            Where there are figures that cannot be.
        """
        shown: dict[str, tuple[Score, list[int]]] = {}
        for number, *described in self._rows(
            "SELECT id, name, label, unit, better FROM metrics WHERE latest OR identity = '' "
            "ORDER BY id"
        ):
            try:
                score = Score(*described)
            except SpecError as error:
                raise StoreError(f"{self.path} is damaged, or was made to be: {error}") from error
            _, states = shown.setdefault(score.column, (score, []))
            states.append(number)
        if len(shown) > _MOST:
            raise StoreError(f"{self.path} holds more metrics than {_MOST}; it was made to")
        return shown

    def missing(self, key: Key, wanted: Collection[ScoreState]) -> set[str] | None:
        """The columns of the wanted figures that a measurement has no value of, or an error.

        ``None`` where there is no measurement, or it failed.
        """
        row = self._row(f"SELECT id {OF_KEY} AND error IS NULL", key_values(key))
        if row is None:
            return None
        query = "SELECT metric FROM scores WHERE measurement = ? AND error IS NULL"
        there = {number for (number,) in self._rows(query, row)}
        return {state.score.column for state in wanted if self._number(state) not in there}

    def measured(self, wanted: Collection[ScoreState]) -> Iterator[Key]:
        """The measurements that succeeded and have values of all wanted figures."""
        numbers = [self._number(state) for state in wanted]
        places = ", ".join("?" * len(numbers))
        with self.errors():
            for row in self._db.execute(
                f"""
                SELECT m.image_key, i.text, m.point
                FROM measurements m JOIN identities i ON i.id = m.identity
                WHERE m.error IS NULL AND ? = (
                    SELECT count(*) FROM scores
                    WHERE measurement = m.id AND error IS NULL AND metric IN ({places})
                )
                """,  # noqa: S608 - ours
                (len(numbers), *numbers),
            ):
                yield Key(*row)

    def known(self, identity: str) -> Iterator[tuple[Key, dict[str, Value]]]:
        """What succeeded with a codec: ``bpp``, and the figures as they are shown, by column."""
        columns = self._shown_columns()
        with self.errors():
            rows = self._db.execute(
                """
                SELECT image_key, point, 8.0 * bytes / (width * height), metric, value
                FROM measurements m LEFT JOIN scores s ON s.measurement = m.id AND s.error IS NULL
                WHERE identity = (SELECT id FROM identities WHERE text = ?) AND m.error IS NULL
                ORDER BY m.id
                """,
                (identity,),
            )
            for (image, point, bpp), some in groupby(rows, itemgetter(0, 1, 2)):
                values = {columns[metric]: v for *_, metric, v in some if metric in columns}
                yield Key(image, identity, point), {"bpp": bpp, **values}

    def add_scores(self, key: Key, measurement: Measurement) -> None:
        """Remember figures of a measurement that is there, and leave all else of it."""
        row = self._row(f"SELECT id {OF_KEY} AND error IS NULL", key_values(key))
        if row is not None:  # else another process took it out
            with self.transaction():
                self._put_scores(row[0], measurement)

    def with_streams(self, codecs: Collection[str] = ()) -> list[tuple[str, str, str, Key]]:
        """Data set, image, spec and key of what runs measured and kept the bitstream of, once each.

        Of the present states of codecs, image by image.

        Parameters
        ----------
        codecs
            Only these specs; none: all.
        """
        rows = self._rows(
            """
            SELECT im.dataset, im.image, c.spec, m.image_key, i.text, m.point
            FROM images im JOIN measurements m ON m.image_key = im.image_key
            JOIN codecs c ON c.identity = m.identity AND c.latest AND c.kind = 'measured'
            JOIN identities i ON i.id = m.identity
            WHERE m.error IS NULL AND EXISTS (SELECT 1 FROM bitstreams WHERE measurement = m.id)
            ORDER BY im.dataset, im.position, c.spec, m.id
            """
        )
        found = {
            Key(*key): (dataset, image, spec)
            for dataset, image, spec, *key in rows
            if not codecs or spec in codecs
        }
        return [(*names, key) for key, names in found.items()]

    def _shown_columns(self) -> dict[int, str]:
        shown = self.shown_scores().items()
        return {number: column for column, (_, states) in shown for number in states}

    def _scores_of(self, measurement: int) -> tuple[dict[str, Value], dict[str, str]]:
        """The values and the errors of a measurement, as they are shown, by column."""
        columns = self._shown_columns()
        values: dict[str, Value] = {}
        errors: dict[str, str] = {}
        for metric, value, error in self._rows(
            "SELECT metric, value, error FROM scores WHERE measurement = ?", (measurement,)
        ):
            if metric in columns and error is None:
                values[columns[metric]] = value
            elif metric in columns:
                errors[columns[metric]] = error
        return values, errors

    def _number(self, state: ScoreState) -> int | None:
        """The number of a state; nothing where it is new."""
        if state not in self._numbered:
            row = self._row(
                "SELECT id FROM metrics WHERE name = ? AND identity = ?",
                (state.score.name, state.identity),
            )
            if row is None:
                return None
            self._numbered[state] = row[0]
        return self._numbered[state]

    def _enter_scores(self, states: Iterable[ScoreState]) -> None:
        """Note under which states values are kept from now on, and which are to be shown."""
        for state in states:
            score, identity = state
            if identity:
                self._db.execute("UPDATE metrics SET latest = 0 WHERE name = ?", (score.name,))
            self._db.execute(
                """
                INSERT INTO metrics VALUES (NULL, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (name, identity) DO UPDATE SET label = excluded.label,
                    unit = excluded.unit, better = excluded.better, latest = excluded.latest
                """,
                (score.name, score.label, score.unit, score.better, identity, int(identity != "")),
            )
            number = self._number(state)
            assert number is not None  # noqa: S101 - it was just entered
            self._entered[score.column] = number

    def _put_scores(self, measurement: int, m: Measurement) -> None:
        """Keep the values and errors of a measurement, in place of those of the same states."""
        rows = [
            *((measurement, self._entered[name], value, None) for name, value in m.metrics.items()),
            *((measurement, self._entered[name], None, e) for name, e in m.metric_errors.items()),
        ]
        self._db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
