"""Stores put together into one: measurements with their bitstreams, runs, imports and judgements.

What two stores have in common is kept once. Where they hold a codec in different states, that of
the later store is the present one, and the others are there as ``jpeg@1`` (see
`lic_bench.store.names`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lic_bench.errors import StoreError
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.table import frame
from lic_bench.store.texts import source_of

_OF_MEASUREMENT = {
    "bitstreams": "SELECT measurement, crc32, stream FROM bitstreams",
    "decodes": "SELECT measurement, circumstances, checked, differing, largest, error FROM decodes",
    "matches": "SELECT measurement, target FROM matches",
    "scores": "SELECT measurement, metric, value, error FROM scores",
}


def merge(sources: Iterable[Path], out: Path) -> Path:
    """Put all that stores hold into the store of a folder, which may hold some already.

    Parameters
    ----------
    sources
        Folders that ``lic-bench run --out`` wrote; they are only read.
    out
        The folder; made where there is none.

    Returns
    -------
    The store.

    Raises
    ------
    StoreError
        Where one cannot be read, or the same name stands for other images in it. What was merged
        before is kept; of the one at fault there is nothing.
    """
    folders = list(sources)
    for folder in folders:  # before there is anything of them
        with Store.open(folder):
            pass
    with _Merged(out / FILE_NAME) as target:
        for folder in folders:
            with Store.open(folder) as source:
                target.take_in(source)
        return target.path


def _check(source: Store) -> None:
    """Refuse what would be no store any more once it is in ours: its rows are read one by one."""
    frame(source)
    if (found := source._row("PRAGMA foreign_key_check")) is not None:
        table, _, missing, _ = found
        raise _dangling(source, table, missing)


def _dangling(source: Store, table: str, missing: str) -> StoreError:
    return StoreError(
        f"{source.path} is damaged, or was made to be: {table} names a row of {missing} that is "
        "not there; nothing of it was merged"
    )


class _Merged(Store):
    """A store that others are put into."""

    def take_in(self, source: Store) -> None:
        """Put in all that a store holds, or nothing."""
        if source.path.resolve() == self.path.resolve():
            return
        _check(source)
        with self.transaction():
            runs = self._take_runs(source)
            self._take_datasets(source)
            self._take_codecs(source)
            metrics = self._take_metrics(source)
            self._take_measurements(source, runs, metrics)
            self._take_curves(source, runs)
            self._take_ratings(source)

    def _take_runs(self, source: Store) -> dict[int, int]:
        """The runs; of each its number here."""
        numbers = {}
        for number, *run in source._rows("SELECT id, started, finished, provenance FROM runs"):
            row = self._row(
                "SELECT id FROM runs WHERE started = ? AND provenance = ?", (run[0], run[2])
            )
            row = row or self._row(
                "INSERT INTO runs (started, finished, provenance) VALUES (?, ?, ?) RETURNING id",
                tuple(run),
            )
            assert row is not None  # noqa: S101 - it was just inserted
            numbers[number] = int(row[0])
        return numbers

    def _take_datasets(self, source: Store) -> None:
        for row in source._rows("SELECT name, digest, folder FROM datasets"):
            name, digest, _ = row
            known = self._row("SELECT digest FROM datasets WHERE name = ?", (name,))
            if known is not None and known[0] != digest:
                raise StoreError(
                    f"{name} in {source.path} stands for other images than in {self.path}; show "
                    "the two together instead (lic-bench plot DIR DIR), or measure one of them "
                    "under another name: -d NAME=PATH"
                )
            if known is None:
                self._db.execute("INSERT INTO datasets VALUES (?, ?, ?)", row)
                images = source._rows(
                    "SELECT dataset, position, image, image_key FROM images WHERE dataset = ?",
                    (name,),
                )
                self._db.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", images)

    def _take_codecs(self, source: Store) -> None:
        # The present state comes last, and so is the present one here.
        for spec, identity, kind in source._rows(
            "SELECT spec, text, kind FROM codecs JOIN identities ON id = identity "
            "ORDER BY latest, state"
        ):
            here = self.kind(spec)
            if here not in (None, kind):
                raise StoreError(
                    f"{spec} was {here} in {self.path} and {kind} in {source.path}; take one out "
                    f"(lic-bench forget {spec}), or import it under another name"
                )
            self._enter_codecs({spec: identity}, kind)

    def _take_metrics(self, source: Store) -> dict[int, int]:
        """The states of metrics; of each its number here."""
        numbers = {}
        for number, *state in source._rows(
            "SELECT id, name, label, unit, better, identity, latest FROM metrics"
        ):
            if state[-1]:
                self._db.execute("UPDATE metrics SET latest = 0 WHERE name = ?", (state[0],))
            [numbers[number]] = self._db.execute(
                """
                INSERT INTO metrics VALUES (NULL, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (name, identity) DO UPDATE SET latest = max(latest, excluded.latest)
                RETURNING id
                """,
                state,
            ).fetchone()
        return numbers

    def _take_measurements(
        self, source: Store, runs: dict[int, int], metrics: dict[int, int]
    ) -> None:
        numbers: dict[int, int] = {}
        fields = "width, height, bytes, encode_s, decode_s, error, traceback"
        for number, image, identity, point, run, measured, *values in source._rows(
            f"SELECT m.id, image_key, text, point, run, measured, {fields} "  # noqa: S608 - ours
            "FROM measurements m JOIN identities i ON i.id = identity ORDER BY m.id"
        ):
            self._db.execute("INSERT OR IGNORE INTO identities (text) VALUES (?)", (identity,))
            row = self._row(
                f"""
                INSERT INTO measurements (image_key, identity, point, run, measured, {fields})
                SELECT ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM identities WHERE text = ?
                ON CONFLICT (image_key, identity, point) DO UPDATE SET
                    run = excluded.run, measured = excluded.measured, width = excluded.width,
                    height = excluded.height, bytes = excluded.bytes,
                    encode_s = excluded.encode_s, decode_s = excluded.decode_s,
                    error = excluded.error, traceback = excluded.traceback
                WHERE measurements.error IS NOT NULL
                RETURNING id
                """,  # noqa: S608 - ours
                (image, point, runs[run], measured, *values, identity),
            )
            if row is None:  # it is there, and did not fail
                [here] = self._db.execute(
                    "SELECT m.id FROM measurements m JOIN identities i ON i.id = identity "
                    "WHERE image_key = ? AND text = ? AND point = ?",
                    (image, identity, point),
                ).fetchone()
                if not self._is_alike(here, source, number):
                    continue
                row = (here,)
            numbers[number] = row[0]
        self._take_what_belongs(source, numbers, metrics)

    def _is_alike(self, here: int, source: Store, there: int) -> bool:
        """Whether two measurements of one key have the same bitstream, and so the same figures."""
        streams = [
            store._row(
                "SELECT crc32, length(stream) FROM bitstreams WHERE measurement = ?", (number,)
            )
            for store, number in ((self, here), (source, there))
        ]
        return streams[0] == streams[1]

    def _take_what_belongs(
        self, source: Store, numbers: dict[int, int], metrics: dict[int, int]
    ) -> None:
        for table, query in _OF_MEASUREMENT.items():
            for measurement, *values in source._rows(query):
                if measurement not in numbers:
                    continue
                row: list[Any] = [numbers[measurement], *values]
                if table == "scores":
                    row[1] = metrics[row[1]]
                if table == "matches":
                    row.reverse()
                places = ", ".join("?" * len(row))
                with self.errors():
                    self._db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608

    def _take_curves(self, source: Store, runs: dict[int, int]) -> None:
        rows = list(
            source._rows(
                "SELECT codec, dataset, position, bpp, metrics, source FROM imported_curves"
            )
        )
        for codec, dataset in {row[:2] for row in rows}:
            self._db.execute(
                "DELETE FROM imported_curves WHERE codec = ? AND dataset = ?", (codec, dataset)
            )
        for *row, text in rows:
            run = runs.get(source_of(text).run)
            if run is None:
                raise _dangling(source, "imported_curves", "runs")
            self._db.execute(
                "INSERT INTO imported_curves VALUES (?, ?, ?, ?, ?, ?)",
                (*row, json.dumps({**json.loads(text), "run": run})),
            )

    def _take_ratings(self, source: Store) -> None:
        studies = source._rows("SELECT id, made, definition FROM studies")
        self._db.executemany("INSERT OR IGNORE INTO studies VALUES (?, ?, ?)", studies)
        for number, *session in source._rows(
            "SELECT id, study, session, rater, number, added, about FROM sessions"
        ):
            self._db.execute(
                "INSERT OR IGNORE INTO sessions VALUES (NULL, ?, ?, ?, ?, ?, ?)", session
            )
            [here] = self._db.execute(
                "SELECT id FROM sessions WHERE study = ? AND session = ?", session[:2]
            ).fetchone()
            trials = source._rows(
                "SELECT position, left_picture, right_picture, answer, first, seconds, switches, "
                "scale FROM trials WHERE session = ?",
                (number,),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO trials VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((here, *trial) for trial in trials),
            )
