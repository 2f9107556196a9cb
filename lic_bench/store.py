"""The store remembers every measurement, its bitstream, and how it came about.

One SQLite file. A measurement is kept under what decides its result: the image's SHA-256, the
codec's identity and the operating point. So the same image in two data sets, or a codec spelled in
two ways, is measured once; and a new library version or an edited image is measured anew, while
what was measured before stays.

What a name stands for *now* is kept beside it: a data set's images and a codec spec's identity, as
the latest run saw them. `Store.current` gives the measurements of these.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from lic_bench.errors import StoreError

if TYPE_CHECKING:
    from lic_bench.dataset import Dataset

FILE_NAME = "store.sqlite"

_FORMAT = 2
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, provenance TEXT NOT NULL
) STRICT;
CREATE TABLE identities (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE codecs (spec TEXT PRIMARY KEY, identity INTEGER NOT NULL REFERENCES identities) STRICT;
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
    error TEXT,
    UNIQUE (image_key, identity, point)
) STRICT;
CREATE TABLE bitstreams (
    measurement INTEGER PRIMARY KEY REFERENCES measurements, stream BLOB NOT NULL
) STRICT;
"""
_SINCE_FORMAT_2 = """
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
CREATE TABLE brought_curves (
    codec TEXT NOT NULL, dataset TEXT NOT NULL, position INTEGER NOT NULL,
    bpp REAL NOT NULL, metrics TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (codec, dataset, position)
) STRICT;
"""


@dataclass(frozen=True)
class Key:
    """What decides on a measurement's result."""

    image_key: str
    identity: str
    point: str


@dataclass(frozen=True)
class Measurement:
    """What came out of one image, one codec and one operating point."""

    width: int | None = None
    """Of the image, in pixels; missing where it could not be read."""
    height: int | None = None
    stream: bytes | None = field(default=None, repr=False)
    """The bitstream; missing where encoding failed."""
    encode_s: float | None = None
    decode_s: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Value by name of metric; ``None`` where the image is too small for it."""
    metrics_version: int = 0
    error: str | None = None
    """Why the measurement failed, in one line."""


class Store:
    """Measurements in one SQLite file; made where there is none.

    Every addition is one transaction, so that a process killed at any moment loses at most the
    measurement it was about to add.

    Raises
    ------
    StoreError
        Where the file cannot be opened or written, is no store, or is of a newer lic-bench; from
        every method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
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

    def begin(
        self,
        provenance: Mapping[str, object],
        datasets: Iterable[Dataset],
        codecs: Mapping[str, str],
    ) -> int:
        """Note that a run begins: its provenance, and what its names stand for.

        Parameters
        ----------
        codecs
            The identity of each codec spec.

        Returns
        -------
        The run's number.
        """
        with self._errors():
            # One write for each measurement and no wait for the disk; a power cut may cost the
            # last few measurements, never the store.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            run = self._db.execute(
                "INSERT INTO runs (started, provenance) VALUES (?, ?) RETURNING id",
                (_now(), json.dumps(provenance, ensure_ascii=False)),
            ).fetchone()[0]
            for dataset in datasets:
                self._db.execute("DELETE FROM images WHERE dataset = ?", (dataset.name,))
                self._db.executemany(
                    "INSERT INTO images VALUES (?, ?, ?, ?)",
                    [(dataset.name, i, im.name, im.key) for i, im in enumerate(dataset.images)],
                )
            for spec, identity in codecs.items():
                self._db.execute("INSERT OR IGNORE INTO identities (text) VALUES (?)", (identity,))
                self._db.execute(
                    "INSERT OR REPLACE INTO codecs SELECT ?, id FROM identities WHERE text = ?",
                    (spec, identity),
                )
        return int(run)

    def finish(self, run: int) -> None:
        """Note that a run has come to its end."""
        with self._transaction():
            self._db.execute("UPDATE runs SET finished = ? WHERE id = ?", (_now(), run))

    def measured(self, metrics_version: int) -> Iterator[Key]:
        """The measurements that succeeded, with the metrics of this version."""
        with self._errors():
            for row in self._db.execute(
                """
                SELECT m.image_key, i.text, m.point
                FROM measurements m JOIN identities i ON i.id = m.identity
                WHERE m.error IS NULL AND m.metrics_version = ?
                """,
                (metrics_version,),
            ):
                yield Key(*row)

    def metrics_version(self, key: Key) -> int | None:
        """Of which version a measurement's metrics are; nothing where it failed or is not there."""
        with self._errors():
            row = self._db.execute(
                """
                SELECT metrics_version FROM measurements
                WHERE image_key = ? AND identity = (SELECT id FROM identities WHERE text = ?)
                    AND point = ? AND error IS NULL
                """,
                (key.image_key, key.identity, key.point),
            ).fetchone()
        return None if row is None else int(row[0])

    def add(self, run: int, key: Key, measurement: Measurement) -> None:
        """Remember a measurement; it replaces a failed one, and one with older metrics."""
        m = measurement
        with self._transaction():
            row = self._db.execute(
                """
                INSERT INTO measurements
                SELECT NULL, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM identities WHERE text = ?
                ON CONFLICT (image_key, identity, point) DO UPDATE SET
                    run = excluded.run, measured = excluded.measured,
                    width = excluded.width, height = excluded.height, bytes = excluded.bytes,
                    encode_s = excluded.encode_s, decode_s = excluded.decode_s,
                    metrics = excluded.metrics, metrics_version = excluded.metrics_version,
                    error = excluded.error
                RETURNING id
                """,
                (
                    key.image_key,
                    key.point,
                    run,
                    _now(),
                    m.width,
                    m.height,
                    None if m.stream is None else len(m.stream),
                    m.encode_s,
                    m.decode_s,
                    json.dumps(dict(m.metrics)),
                    m.metrics_version,
                    m.error,
                    key.identity,
                ),
            ).fetchone()
            if m.stream is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO bitstreams VALUES (?, ?)", (row[0], m.stream)
                )

    def kept(self, key: Key) -> Measurement:
        """A measurement as it was added, its bitstream included."""
        with self._errors():
            row = self._db.execute(
                """
                SELECT m.width, m.height, b.stream, m.encode_s, m.decode_s, m.metrics,
                       m.metrics_version, m.error
                FROM measurements m JOIN identities i ON i.id = m.identity
                LEFT JOIN bitstreams b ON b.measurement = m.id
                WHERE m.image_key = ? AND i.text = ? AND m.point = ?
                """,
                (key.image_key, key.identity, key.point),
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path} holds no measurement {key}")
        width, height, stream, encode_s, decode_s, metrics, version, error = row
        return Measurement(
            width, height, stream, encode_s, decode_s, json.loads(metrics), version, error
        )

    def runs(self) -> list[dict[str, object]]:
        """Every run: its number, when it started and finished (UTC), and its provenance."""
        with self._errors():
            rows = self._db.execute("SELECT id, started, finished, provenance FROM runs").fetchall()
        return [
            {"run": run, "started": started, "finished": finished, **json.loads(provenance)}
            for run, started, finished, provenance in rows
        ]

    def current(self) -> tuple[list[str], list[tuple[object, ...]]]:
        """The measurements of every data set and codec spec, as the latest runs saw those.

        Returns
        -------
        The names of the columns, and the rows; ``metrics`` is a JSON object.
        """
        with self._errors():
            cursor = self._db.execute(
                """
                SELECT im.dataset, im.image, m.width, m.height, c.spec AS codec, m.point, m.bytes,
                       m.metrics, m.encode_s, m.decode_s, m.error, im.position,
                       im.image_key AS image_sha256, i.text AS identity, m.run, m.measured,
                       (SELECT count(*) FROM images WHERE dataset = im.dataset) AS dataset_images
                FROM images im
                JOIN measurements m ON m.image_key = im.image_key
                JOIN codecs c ON c.identity = m.identity
                JOIN identities i ON i.id = m.identity
                """
            )
            return [column[0] for column in cursor.description], cursor.fetchall()

    def _prepare(self) -> None:
        with self._errors():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found == _FORMAT:
                return
            if found == 1 and not os.access(self.path, os.W_OK):
                # It can be read all the same: what it lacks is made in memory.
                self._db.executescript(_SINCE_FORMAT_2.replace("CREATE TABLE", "CREATE TEMP TABLE"))
                return
        with self._transaction():
            # Read again: another process may have made the tables while this one waited.
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > _FORMAT:
                raise StoreError(
                    f"{self.path} was written by a newer lic-bench (format {found}, this one knows "
                    f"{_FORMAT}); update lic-bench or choose another --out"
                )
            if found == _FORMAT:
                return
            schema = _SINCE_FORMAT_2
            if found == 0:
                if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise StoreError(
                        f"{self.path} is a database of something else; choose another --out"
                    )
                schema = _SCHEMA + _SINCE_FORMAT_2
            for statement in schema.split(";")[:-1]:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_FORMAT}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(
                f"{self.path}: {reason}; nothing that was stored is lost. "
                "Make room or choose another --out, then repeat the command: it carries on"
            ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
