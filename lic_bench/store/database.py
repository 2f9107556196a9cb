"""The store remembers every measurement, its bitstream, and how it came about.

One SQLite file. A measurement is kept under what decides its result: the image's SHA-256, the
codec's identity and the operating point. So the same image in two data sets, or a codec spelled in
two ways, is measured once; and a new library version or an edited image is measured anew, while
what was measured before stays.

What a name stands for *now* is kept beside it: a data set's images and a codec spec's identity, as
the latest run saw them. `Store.current` gives the measurements of these.

What others measured is imported under a name of its own, whose identity begins with `IMPORTED`:
measurements of images, beside ours, and curves that are averages already (`Average`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lic_bench.errors import StoreError
from lic_bench.store.records import IMPORTED, Average, CheckedDecode, Key, Measurement

if TYPE_CHECKING:
    from lic_bench.images.dataset import Dataset

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
CREATE TABLE imported_curves (
    codec TEXT NOT NULL, dataset TEXT NOT NULL, position INTEGER NOT NULL,
    bpp REAL NOT NULL, metrics TEXT NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (codec, dataset, position)
) STRICT;
"""

_OF_KEY = """
FROM measurements
WHERE image_key = ? AND identity = (SELECT id FROM identities WHERE text = ?) AND point = ?
"""


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
            for spec in codecs:
                if self._is_imported(spec):
                    raise StoreError(
                        f"{spec} was imported into {self.path}; choose "
                        f"another --out, or take it out: lic-bench forget {spec}"
                    )
            return self._enter(provenance, datasets, codecs)

    def _enter(
        self,
        provenance: Mapping[str, object],
        datasets: Iterable[Dataset],
        codecs: Mapping[str, str],
    ) -> int:
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
        stream = measurement.stream
        with self._transaction():
            self._put(run, key, measurement, None if stream is None else len(stream))

    def _put(self, run: int, key: Key, measurement: Measurement, size: int | None) -> None:
        m = measurement
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
                size,
                m.encode_s,
                m.decode_s,
                json.dumps(dict(m.metrics)),
                m.metrics_version,
                m.error,
                key.identity,
            ),
        ).fetchone()
        if m.stream is not None:
            self._db.execute("INSERT OR REPLACE INTO bitstreams VALUES (?, ?)", (row[0], m.stream))
            self._db.execute("DELETE FROM decodes WHERE measurement = ?", row)

    def add_decode(self, key: Key, decode: CheckedDecode) -> None:
        """Remember what came of decoding a measurement's bitstream again."""
        with self._transaction():
            self._db.execute(
                f"INSERT OR REPLACE INTO decodes SELECT id, ?, ?, ?, ?, ? {_OF_KEY}",
                (
                    decode.circumstances,
                    _now(),
                    decode.differing,
                    decode.largest,
                    decode.error,
                    *(key.image_key, key.identity, key.point),
                ),
            )

    def decode(self, key: Key, circumstances: str) -> CheckedDecode | None:
        """What came of decoding a bitstream again; nothing where that was not done."""
        with self._errors():
            row = self._db.execute(
                f"""
                SELECT circumstances, differing, largest, error FROM decodes
                WHERE measurement = (SELECT id {_OF_KEY}) AND circumstances = ?
                """,  # noqa: S608 - ours
                (key.image_key, key.identity, key.point, circumstances),
            ).fetchone()
        return None if row is None else CheckedDecode(*row)

    def add_imported(
        self,
        provenance: Mapping[str, object],
        datasets: Iterable[Dataset],
        codecs: Mapping[str, str],
        averages: Iterable[Average] = (),
        measurements: Iterable[tuple[Key, Measurement, int | None]] = (),
    ) -> None:
        """Take in what was measured elsewhere: all of it, or nothing.

        It replaces what was imported under these names before.

        Parameters
        ----------
        provenance
            Where it comes from; it is told beside the runs.
        datasets
            Those whose images are not known here yet.
        codecs
            The identity, which begins with `IMPORTED`, of each name.
        averages
            Those of one codec and data set from low rate to high.
        measurements
            Of images: each with the size in bytes of what it was decoded from. Its stream, where it
            has one, is not that, but the decoded picture, in a file that `read_image` reads.

        Raises
        ------
        StoreError
            Where a codec of such a name was measured here.
        """
        with self._transaction():
            for name in codecs:
                self._forget(name)
            run = self._enter(provenance, datasets, codecs)
            for position, one in enumerate(averages):
                source = {"point": one.point, "encode_s": one.encode_s, "decode_s": one.decode_s}
                row = (one.codec, one.dataset, position, one.bpp, json.dumps(dict(one.metrics)))
                self._db.execute(
                    "INSERT INTO imported_curves VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, json.dumps({**source, "run": run, "measured": _now()})),
                )
            for key, measurement, size in measurements:
                self._put(run, key, measurement, size)
            self._db.execute("UPDATE runs SET finished = ? WHERE id = ?", (_now(), run))

    def forget(self, name: str) -> None:
        """Take out what was imported under a name; the note of where it came from stays.

        Raises
        ------
        StoreError
            Where nothing was imported under this name.
        """
        with self._transaction():
            if not self._is_imported(name):
                raise StoreError(f"nothing called {name!r} was imported into {self.path}")
            self._forget(name)

    def check_free(self, name: str) -> None:
        """Refuse a name for what is to be imported.

        Raises
        ------
        StoreError
            Where a codec of this name was measured here.
        """
        if self._is_imported(name) is False:
            raise StoreError(
                f"{name} was measured in {self.path}; import this under another name: --as NAME"
            )

    def _forget(self, name: str) -> None:
        self.check_free(name)
        identity = "(SELECT identity FROM codecs WHERE spec = ?)"
        old = f"(SELECT id FROM measurements WHERE identity = {identity})"  # noqa: S608 - ours
        for statement in (
            *(
                f"DELETE FROM {table} WHERE measurement IN {old}"  # noqa: S608 - ours
                for table in ("bitstreams", "decodes", "matches")
            ),
            f"DELETE FROM measurements WHERE identity = {identity}",  # noqa: S608 - ours
            f"DELETE FROM identities WHERE id = {identity}",  # noqa: S608 - ours
            "DELETE FROM imported_curves WHERE codec = ?",
            "DELETE FROM codecs WHERE spec = ?",
        ):
            self._db.execute(statement, (name,))

    def _is_imported(self, name: str) -> bool | None:
        """Whether a name stands for what was imported; nothing where it stands for nothing."""
        with self._errors():
            row = self._db.execute(
                "SELECT text FROM codecs JOIN identities ON id = identity WHERE spec = ?", (name,)
            ).fetchone()
        return None if row is None else str(row[0]).startswith(IMPORTED)

    def images(self, dataset: str) -> dict[str, tuple[str, int | None, int | None]]:
        """The images of a data set by name: key, width and height, as far as these are known."""
        with self._errors():
            rows = self._db.execute(
                """
                SELECT im.image, im.image_key, max(m.width), max(m.height)
                FROM images im LEFT JOIN measurements m ON m.image_key = im.image_key
                WHERE im.dataset = ? GROUP BY im.position ORDER BY im.position
                """,
                (dataset,),
            )
            return {image: (key, width, height) for image, key, width, height in rows}

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

    def known(
        self, identity: str, metrics_version: int
    ) -> Iterator[tuple[Key, dict[str, float | None]]]:
        """What succeeded with a codec: ``bpp``, and the metrics, if they are of this version."""
        with self._errors():
            for image, point, bpp, values in self._db.execute(
                """
                SELECT image_key, point, 8.0 * bytes / (width * height), metrics FROM measurements
                WHERE identity = (SELECT id FROM identities WHERE text = ?)
                    AND error IS NULL AND metrics_version = ?
                """,
                (identity, metrics_version),
            ):
                yield Key(image, identity, point), {"bpp": bpp, **json.loads(values)}

    def match(self, target: str, keys: Iterable[Key]) -> None:
        """Remember what a search for a target found, in place of what it found before.

        Parameters
        ----------
        keys
            One for an image and a codec.
        """
        with self._transaction():
            for key in keys:
                values = {"target": target, **vars(key)}
                self._db.execute(
                    """
                    DELETE FROM matches WHERE target = :target AND measurement IN (
                        SELECT id FROM measurements WHERE image_key = :image_key
                            AND identity = (SELECT id FROM identities WHERE text = :identity)
                    )
                    """,
                    values,
                )
                self._db.execute(
                    """
                    INSERT INTO matches
                    SELECT :target, id FROM measurements WHERE image_key = :image_key
                        AND identity = (SELECT id FROM identities WHERE text = :identity)
                        AND point = :point
                    """,
                    values,
                )

    def runs(self) -> list[dict[str, object]]:
        """Every run: its number, when it started and finished (UTC), and its provenance."""
        with self._errors():
            rows = self._db.execute("SELECT id, started, finished, provenance FROM runs").fetchall()
        return [
            {"run": run, "started": started, "finished": finished, **json.loads(provenance)}
            for run, started, finished, provenance in rows
        ]

    def current(self) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The measurements of every data set and codec spec, as the latest runs saw those.

        Returns
        -------
        The names of the columns, and the rows as they are read; ``metrics`` is a JSON object.
        """
        with self._errors():
            cursor = self._db.execute(
                """
                SELECT im.dataset, im.image, m.width, m.height, c.spec AS codec, m.point, m.bytes,
                       m.metrics, m.encode_s, m.decode_s, m.error, im.position,
                       im.image_key AS image_sha256, i.text AS identity, m.run, m.measured,
                       n.dataset_images, coalesce(t.targets, '') AS matches
                FROM images im
                JOIN (SELECT dataset, count(*) AS dataset_images FROM images GROUP BY dataset) n
                    ON n.dataset = im.dataset
                JOIN measurements m ON m.image_key = im.image_key
                JOIN codecs c ON c.identity = m.identity
                JOIN identities i ON i.id = m.identity
                LEFT JOIN (
                    SELECT measurement, group_concat(target, ' ') AS targets
                    FROM (SELECT * FROM matches ORDER BY target) GROUP BY measurement
                ) t ON t.measurement = m.id
                """
            )
            return [column[0] for column in cursor.description], self._each(cursor)

    def averages(self) -> list[dict[str, Any]]:
        """The points of curves that were imported: rows as those of `current`, and their bpp."""
        with self._errors():
            rows = self._db.execute(
                """
                SELECT b.dataset, b.codec, b.position, b.bpp, b.metrics, i.text, b.source,
                       (SELECT count(*) FROM images WHERE dataset = b.dataset)
                FROM imported_curves b
                JOIN codecs c ON c.spec = b.codec JOIN identities i ON i.id = c.identity
                """
            ).fetchall()
        names = ("dataset", "codec", "position", "bpp", "metrics", "identity")
        return [
            {**dict(zip(names, row, strict=False)), **json.loads(source), "dataset_images": images}
            for *row, source, images in rows
        ]

    def _each(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        with self._errors():
            yield from cursor

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
