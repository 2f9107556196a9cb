"""The file of a store: its schema, its transactions, and what may go wrong with it.

What a row may hold is part of the schema. See `lic_bench.store.safety` for what is done about
files that were not written by us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from lic_bench.errors import StoreError
from lic_bench.printable import printable
from lic_bench.store import rating_tables
from lic_bench.store.safety import Bound, Schema, connect

FILE_NAME = "store.sqlite"

_QUOTED = 200  # characters of an error of SQLite's

_RULES = {
    "runs": "id BETWEEN 0 AND 1e9 AND length(started) < 100 AND length(finished) < 100",
    "codecs": "spec <> '' AND kind IN ('measured', 'imported') AND latest IN (0, 1) "
    "AND state BETWEEN 1 AND 1e9",
    "images": "dataset <> '' AND position BETWEEN 0 AND 1e9",
    "measurements": "run BETWEEN 0 AND 1e9 AND length(measured) < 100 "
    "AND width BETWEEN 1 AND 1e9 AND height BETWEEN 1 AND 1e9 AND bytes BETWEEN 0 AND 1e12 "
    "AND encode_s BETWEEN 0 AND 1e12 AND decode_s BETWEEN 0 AND 1e12",
    "metrics": "id BETWEEN 1 AND 1e9 AND length(name) < 60 AND length(label) < 200 "
    "AND length(unit) < 20 AND better IN ('higher', 'lower') AND latest IN (0, 1)",
    "scores": "value BETWEEN -1e12 AND 1e12 OR value = 9e999",
    "matches": "target <> '' AND target NOT LIKE '% %'",
    "imported_curves": "dataset <> '' AND position BETWEEN 0 AND 1e9 AND bpp BETWEEN 0 AND 1e9",
}
"""What the rows of a table keep to, beside their types; what is missing keeps to anything."""

_TABLES = f"""
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, provenance TEXT NOT NULL,
    CHECK ({_RULES["runs"]})
) STRICT;
CREATE TABLE identities (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE codecs (
    spec TEXT NOT NULL,
    state INTEGER NOT NULL,
    identity INTEGER NOT NULL REFERENCES identities,
    kind TEXT NOT NULL,
    latest INTEGER NOT NULL,
    PRIMARY KEY (spec, state),
    UNIQUE (spec, identity),
    CHECK ({_RULES["codecs"]})
) STRICT;
CREATE TABLE datasets (
    name TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL, folder TEXT
) STRICT;
CREATE TABLE images (
    dataset TEXT NOT NULL, position INTEGER NOT NULL, image TEXT NOT NULL, image_key TEXT NOT NULL,
    PRIMARY KEY (dataset, position),
    CHECK ({_RULES["images"]})
) STRICT;
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    image_key TEXT NOT NULL,
    identity INTEGER NOT NULL REFERENCES identities,
    point TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    measured TEXT NOT NULL,
    width INTEGER, height INTEGER, bytes INTEGER, encode_s REAL, decode_s REAL,
    error TEXT, traceback TEXT,
    UNIQUE (image_key, identity, point),
    CHECK ({_RULES["measurements"]})
) STRICT;
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL, label TEXT NOT NULL, unit TEXT NOT NULL, better TEXT NOT NULL,
    identity TEXT NOT NULL,
    latest INTEGER NOT NULL,
    UNIQUE (name, identity),
    CHECK ({_RULES["metrics"]})
) STRICT;
CREATE TABLE scores (
    measurement INTEGER NOT NULL REFERENCES measurements,
    metric INTEGER NOT NULL REFERENCES metrics,
    value REAL,
    error TEXT,
    PRIMARY KEY (measurement, metric),
    CHECK ({_RULES["scores"]})
) STRICT, WITHOUT ROWID;
CREATE TABLE bitstreams (
    measurement INTEGER PRIMARY KEY REFERENCES measurements,
    crc32 INTEGER NOT NULL,
    stream BLOB NOT NULL
) STRICT;
CREATE TABLE decodes (
    measurement INTEGER NOT NULL REFERENCES measurements,
    circumstances TEXT NOT NULL,
    checked TEXT NOT NULL,
    differing INTEGER, largest INTEGER,
    error TEXT,
    PRIMARY KEY (measurement, circumstances)
) STRICT;
CREATE TABLE matches (
    target TEXT NOT NULL,
    measurement INTEGER NOT NULL REFERENCES measurements,
    PRIMARY KEY (target, measurement),
    CHECK ({_RULES["matches"]})
) STRICT;
CREATE TABLE imported_curves (
    codec TEXT NOT NULL, dataset TEXT NOT NULL, position INTEGER NOT NULL,
    bpp REAL NOT NULL, metrics TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (codec, dataset, position),
    CHECK ({_RULES["imported_curves"]})
) STRICT;
"""
_SCHEMA = Schema(_TABLES + rating_tables.TABLES, _RULES | rating_tables.RULES, version=6)


class StoreFile:
    """An SQLite file with the tables of a store; made where there is none.

    Parameters
    ----------
    reading
        Whether it is only to be read: then it is not made, and never altered.

    Raises
    ------
    StoreError
        Where the file cannot be opened or written, is no store, is of another format, or was made
        to do harm; from every method.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self.path, self._reading = path, reading
        self._bound: Bound | None = None
        with self.errors():
            if not reading:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = connect(path, _SCHEMA, reading=reading)
        self._bound = Bound(self._db, path)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what a run left in a folder to read it; there is an error where it left nothing."""
        return cls(store_in(folder), reading=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Where nobody else has it open, leave one file that opens in a read-only folder, too.
        if not self._reading:
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def _write_without_waiting(self) -> None:
        """One write for each measurement and no wait for the disk.

        A power cut may cost the last few measurements, never the store.
        """
        with self.errors():
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname != "SQLITE_BUSY":
                    raise
                return  # another process begins just now, and SQLite does not wait for it here
            self._db.execute("PRAGMA synchronous = NORMAL")

    def _row(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        with self.errors():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self.errors():
            for row in self._db.execute(query, values):  # noqa: UP028 - it would close the cursor
                yield row

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written within, or nothing."""
        with self.errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Say of what goes wrong within which file it is, and what to do."""
        if self._bound is not None:
            self._bound.begin()
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise StoreError(f"{self.path}: {self._explained(error)}") from error

    def _explained(self, error: Exception) -> str:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_READONLY_ROLLBACK":
            return (
                "an interrupted lic-bench import or lic-bench forget left a journal beside it; "
                "repeat that command, which mends the store. If it is not yours, take "
                f"{self.path.name}-journal away"
            )
        if self._bound is not None and self._bound.reached:
            return "what it holds takes too long to read for its size; it was made to"
        # SQLite quotes what a file holds.
        reason = printable(str(getattr(error, "strerror", None) or error)[:_QUOTED])
        damaged = name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"))
        if damaged or not (name or isinstance(error, OSError)):
            return f"it is damaged, or was made to be ({reason}); take a copy of before"
        if self._reading:
            return f"it cannot be read: {reason}"
        return (
            f"{reason}; nothing that was stored is lost. "
            "Make room or choose another --out, then repeat the command: it carries on"
        )


def store_in(folder: Path) -> Path:
    """The store in a folder; or the store itself, where that is named.

    Raises
    ------
    StoreError
        Where there is none.
    """
    path = folder / FILE_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise StoreError(f"{folder} holds no measurements; lic-bench run --out {folder} makes some")
    return path
