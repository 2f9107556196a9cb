"""What names in a store stand for: data sets their images, codec specs their states.

A codec has a state for each identity that runs have seen it with, numbered from 1 in the order of
their appearance: ``jpeg@1``, ``jpeg@2``. The bare spec stands for the state that the latest run
saw. What was imported has one state.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from lic_bench.errors import SpecError, StoreError
from lic_bench.store.file import StoreFile

if TYPE_CHECKING:
    from lic_bench.images.dataset import Dataset
    from lic_bench.store.records import Kind

_STATE = re.compile(r"(?s)(.+)@([1-9]\d{0,8})")


class Names(StoreFile):
    """The part of a store that knows what names stand for."""

    def latest(self, spec: str) -> str | None:
        """The identity that a codec had in the latest run; nothing where there was none."""
        row = self._row(
            "SELECT text FROM codecs JOIN identities ON id = identity WHERE spec = ? AND latest",
            (spec,),
        )
        return None if row is None else str(row[0])

    def kind(self, spec: str) -> Kind | None:
        """Whether a codec was measured or imported; nothing where there is none of this name."""
        row = self._row("SELECT kind FROM codecs WHERE spec = ?", (spec,))
        kind: Kind | None = None if row is None else row[0]
        return kind

    def states(self) -> dict[str, dict[str, int]]:
        """The number of each identity of each codec."""
        states: dict[str, dict[str, int]] = {}
        for spec, identity, state in self._rows(
            "SELECT spec, text, state FROM codecs JOIN identities ON id = identity "
            "ORDER BY spec, state"
        ):
            states.setdefault(spec, {})[identity] = state
        return states

    def state(self, name: str) -> tuple[str, int] | None:
        """The spec and the number that a name such as ``jpeg@1`` stands for.

        Nothing where it is a spec, or of no codec that the store holds.

        Raises
        ------
        SpecError
            Where the codec has no such state.
        """
        match = _STATE.fullmatch(name)
        if match is None or self.kind(name) or not self.kind(match[1]):
            return None
        spec, number = match[1], int(match[2])
        numbers = [state for (state,) in self._numbers(spec)]
        if number not in numbers:
            there = ", ".join(f"{spec}@{state}" for state in numbers)
            raise SpecError(f"there is no {name} in {self.path}; there are: {there}")
        return spec, number

    def _numbers(self, spec: str) -> Iterator[tuple[int]]:
        return self._rows("SELECT state FROM codecs WHERE spec = ? ORDER BY state", (spec,))

    def check_datasets(self, datasets: Iterable[Dataset]) -> None:
        """Refuse data sets whose names stand for other images here.

        A folder whose images were edited, added or removed is no other data set.

        Raises
        ------
        StoreError
            With the remedies.
        """
        for dataset in datasets:
            row = self._row("SELECT digest, folder FROM datasets WHERE name = ?", (dataset.name,))
            if row is None or row[0] == dataset.digest:
                continue
            folder = None if dataset.folder is None else str(dataset.folder)
            if folder is None or folder != row[1]:
                name, known = dataset.name, "the known data set"
                rename = f"call these otherwise (-d other={folder}), " if folder else ""
                raise StoreError(
                    f"{name} in {self.path} is {row[1] or known}, and the images of "
                    f"{folder or known} are others; {rename}choose another --out, or take the "
                    f"old ones out: lic-bench forget --dataset {name} --out {self.path.parent}"
                )

    def dataset_names(self) -> list[str]:
        """The data sets whose images were measured."""
        return [name for (name,) in self._rows("SELECT name FROM datasets ORDER BY name")]

    def images(self, dataset: str) -> dict[str, tuple[str, int | None, int | None]]:
        """The images of a data set by name: key, width and height, as far as these are known."""
        rows = self._rows(
            """
            SELECT im.image, im.image_key, max(m.width), max(m.height)
            FROM images im LEFT JOIN measurements m ON m.image_key = im.image_key
            WHERE im.dataset = ? GROUP BY im.position ORDER BY im.position
            """,
            (dataset,),
        )
        return {image: (key, width, height) for image, key, width, height in rows}

    def forget(self, name: str) -> None:
        """Take out a codec, or one state of it, with its measurements and bitstreams.

        The notes of the runs stay.

        Raises
        ------
        StoreError
            Where there is none of this name.
        SpecError
            Where the codec has no such state.
        """
        state = self.state(name)
        if state is None and self.kind(name) is None:
            there = ", ".join(self.states()) or "none"
            raise StoreError(f"there is no codec {name!r} in {self.path}; there are: {there}")
        with self.transaction():
            if state is None:
                self._forget_codec(name)
            else:
                self._db.execute("DELETE FROM codecs WHERE spec = ? AND state = ?", state)
                self._db.execute(
                    """
                    UPDATE codecs SET latest = 1 WHERE spec = :spec
                        AND NOT EXISTS (SELECT * FROM codecs WHERE spec = :spec AND latest)
                        AND state = (SELECT max(state) FROM codecs WHERE spec = :spec)
                    """,
                    {"spec": state[0]},
                )
            self._drop_measurements("identity NOT IN (SELECT identity FROM codecs)")
        self._give_room_back()

    def forget_dataset(self, name: str) -> None:
        """Take out a data set, with the measurements of images that are in no other.

        Raises
        ------
        StoreError
            Where there is none of this name.
        """
        there = [name for (name,) in self._rows(
            "SELECT name FROM datasets UNION SELECT dataset FROM imported_curves"
        )]  # fmt: skip
        if name not in there:
            known = ", ".join(there) or "none"
            raise StoreError(f"there is no data set {name!r} in {self.path}; there are: {known}")
        with self.transaction():
            self._drop_measurements(
                """
                image_key IN (SELECT image_key FROM images WHERE dataset = ?)
                AND image_key NOT IN (SELECT image_key FROM images WHERE dataset <> ?)
                """,
                (name, name),
            )
            for table, column in (
                ("images", "dataset"),
                ("datasets", "name"),
                ("imported_curves", "dataset"),
            ):
                self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (name,))  # noqa: S608
        self._give_room_back()

    def _enter_datasets(self, datasets: Iterable[Dataset]) -> None:
        for dataset in datasets:
            self.check_datasets([dataset])
            folder = None if dataset.folder is None else str(dataset.folder)
            self._db.execute(
                "INSERT OR REPLACE INTO datasets VALUES (?, ?, ?)",
                (dataset.name, dataset.digest, folder),
            )
            self._db.execute("DELETE FROM images WHERE dataset = ?", (dataset.name,))
            self._db.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?)",
                [(dataset.name, i, im.name, im.key) for i, im in enumerate(dataset.images)],
            )

    def _enter_codecs(self, codecs: Mapping[str, str], kind: Kind) -> None:
        for spec, identity in codecs.items():
            self._db.execute("INSERT OR IGNORE INTO identities (text) VALUES (?)", (identity,))
            self._db.execute("UPDATE codecs SET latest = 0 WHERE spec = ?", (spec,))
            self._db.execute(
                """
                INSERT INTO codecs
                SELECT ?, (SELECT coalesce(max(state), 0) + 1 FROM codecs WHERE spec = ?), id, ?, 1
                FROM identities WHERE text = ?
                ON CONFLICT (spec, identity) DO UPDATE SET latest = 1
                """,
                (spec, spec, kind, identity),
            )

    def _forget_codec(self, spec: str) -> None:
        self._db.execute("DELETE FROM codecs WHERE spec = ?", (spec,))
        self._db.execute("DELETE FROM imported_curves WHERE codec = ?", (spec,))

    def _drop_measurements(self, which: str, values: tuple[str, ...] = ()) -> None:
        """Delete measurements, with all that belongs to them."""
        for table in ("bitstreams", "decodes", "matches", "scores"):
            self._db.execute(
                f"DELETE FROM {table} WHERE measurement IN "  # noqa: S608 - ours
                f"(SELECT id FROM measurements WHERE {which})",
                values,
            )
        self._db.execute(f"DELETE FROM measurements WHERE {which}", values)  # noqa: S608 - ours
        self._db.execute(
            "DELETE FROM identities WHERE id NOT IN (SELECT identity FROM codecs) "
            "AND id NOT IN (SELECT identity FROM measurements)"
        )

    def _give_room_back(self) -> None:
        with suppress(sqlite3.OperationalError):  # it takes as much room for a while
            self._db.execute("VACUUM")
