"""The file of a store: its schema, its transactions, and what may go wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from lic_bench.errors import StoreError

FILE_NAME = "store.sqlite"

_FORMAT = 3
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, provenance TEXT NOT NULL
) STRICT;
CREATE TABLE identities (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE codecs (
    spec TEXT NOT NULL,
    state INTEGER NOT NULL,
    identity INTEGER NOT NULL REFERENCES identities,
    kind TEXT NOT NULL CHECK (kind IN ('measured', 'imported')),
    latest INTEGER NOT NULL,
    PRIMARY KEY (spec, state),
    UNIQUE (spec, identity)
) STRICT;
CREATE TABLE datasets (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, folder TEXT
) STRICT;
CREATE TABLE images (
    dataset TEXT NOT NULL, position INTEGER NOT NULL, image TEXT NOT NULL, image_key TEXT NOT NULL,
    PRIMARY KEY (dataset, position)
) STRICT;
CREATE TABLE measurements (
    id INTEGER PRIMARY KEY,
    image_key TEXT NOT NULL,
    identity INTEGER NOT NULL REFERENCES identities,
    point TEXT NOT NULL,
    run INTEGER NOT NULL REFERENCES runs,
    measured TEXT NOT NULL,
    width INTEGER, height INTEGER, bytes INTEGER, encode_s REAL, decode_s REAL,
    metrics TEXT NOT NULL, metrics_version INTEGER NOT NULL,
    error TEXT, traceback TEXT,
    UNIQUE (image_key, identity, point)
) STRICT;
CREATE TABLE bitstreams (
    measurement INTEGER PRIMARY KEY REFERENCES measurements, stream BLOB NOT NULL
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
    PRIMARY KEY (target, measurement)
) STRICT;
CREATE TABLE imported_curves (
    codec TEXT NOT NULL, dataset TEXT NOT NULL, position INTEGER NOT NULL,
    bpp REAL NOT NULL, metrics TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (codec, dataset, position)
) STRICT;
"""


class StoreFile:
    """An SQLite file with the tables of a store; made where there is none.

    Raises
    ------
    StoreError
        Where the file cannot be opened or written, is no store, or is of another format; from
        every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._prepare()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the store that a run left in a folder, and make none where there is none."""
        path = folder / FILE_NAME if folder.is_dir() else folder
        if not path.is_file():
            raise StoreError(
                f"{folder} holds no measurements; lic-bench run --out {folder} makes some"
            )
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Where nobody else has it open, leave one file that opens in a read-only folder, too.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    def _write_without_waiting(self) -> None:
        """One write for each measurement and no wait for the disk.

        A power cut may cost the last few measurements, never the store.
        """
        with self.errors():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")

    def _row(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        with self.errors():
            row: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return row

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self.errors():
            yield from self._db.execute(query, values)

    def _prepare(self) -> None:
        if self._format() == _FORMAT:
            return
        with self.transaction():
            # Read again: another process may have made the tables while this one waited.
            number = self._format()
            if number == _FORMAT:
                return
            if number:
                raise StoreError(
                    f"{self.path} was written by another lic-bench (format {number}, this one "
                    f"reads {_FORMAT}); choose another --out"
                )
            if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(
                    f"{self.path} is a database of something else; choose another --out"
                )
            for statement in _SCHEMA.split(";")[:-1]:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")

    def _format(self) -> int:
        with self.errors():
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

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
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(
                f"{self.path}: {reason}; nothing that was stored is lost. "
                "Make room or choose another --out, then repeat the command: it carries on"
            ) from error
