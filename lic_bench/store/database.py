"""The store remembers every measurement, its bitstream, and how it came about.

One SQLite file. A measurement is kept under what decides its result: the image's SHA-256, the
codec's identity and the operating point. So the same image in two data sets, or a codec spelled in
two ways, is measured once; and a new library version or an edited image is measured anew, while
what was measured before stays.

What names stand for is kept beside it; see `lic_bench.store.names`. `Store.current` gives the
measurements of every data set and codec as the latest runs saw them, and of older states of codecs
where they are named.

What others measured is imported under a name of its own: measurements of images, beside ours, and
curves that are averages already (`Average`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from lic_bench.errors import StoreError
from lic_bench.printable import printable
from lic_bench.store.file import FILE_NAME
from lic_bench.store.names import Names
from lic_bench.store.records import Average, CheckedDecode, Key, Measurement
from lic_bench.store.texts import metrics_of, metrics_text, provenance_of, source_of

if TYPE_CHECKING:
    from lic_bench.images.dataset import Dataset

__all__ = ["FILE_NAME", "Store"]

_OF_KEY = """
FROM measurements
WHERE image_key = ? AND identity = (SELECT id FROM identities WHERE text = ?) AND point = ?
"""


class Store(Names):
    """Measurements in one SQLite file; made where there is none.

    Every addition is one transaction, so that a process killed at any moment loses at most the
    measurement it was about to add.

    Raises
    ------
    StoreError
        Where the file cannot be opened or written, is no store, or is of another format; from
        every method.
    """

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

        Raises
        ------
        StoreError
            Where a codec's name is one of imported results, or a data set's stands for other
            images; with the remedies.
        """
        self._write_without_waiting()
        with self.transaction():
            for spec in codecs:
                if self.kind(spec) == "imported":
                    raise StoreError(
                        f"{spec} was imported into {self.path}; choose another --out, or take it "
                        f"out: lic-bench forget {spec} --out {self.path.parent}"
                    )
            self._enter_datasets(datasets)
            self._enter_codecs(codecs, "measured")
            return self._enter_run(provenance)

    def _enter_run(self, provenance: Mapping[str, object]) -> int:
        row = self._row(
            "INSERT INTO runs (started, provenance) VALUES (?, ?) RETURNING id",
            (_now(), json.dumps(provenance, ensure_ascii=False, allow_nan=False)),
        )
        assert row is not None  # noqa: S101 - it was just inserted
        return int(row[0])

    def finish(self, run: int) -> None:
        """Note that a run has come to its end."""
        with self.transaction():
            self._db.execute("UPDATE runs SET finished = ? WHERE id = ?", (_now(), run))

    def measured(self, metrics_version: int) -> Iterator[Key]:
        """The measurements that succeeded, with the metrics of this version."""
        with self.errors():
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
        with self.errors():
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
        with self.transaction():
            self._put(run, key, measurement, None if stream is None else len(stream))

    def _put(self, run: int, key: Key, measurement: Measurement, size: int | None) -> None:
        m = measurement
        row = self._db.execute(
            """
            INSERT INTO measurements
            SELECT NULL, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM identities WHERE text = ?
            ON CONFLICT (image_key, identity, point) DO UPDATE SET
                run = excluded.run, measured = excluded.measured,
                width = excluded.width, height = excluded.height, bytes = excluded.bytes,
                encode_s = excluded.encode_s, decode_s = excluded.decode_s,
                metrics = excluded.metrics, metrics_version = excluded.metrics_version,
                error = excluded.error, traceback = excluded.traceback
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
                metrics_text(m.metrics),
                m.metrics_version,
                m.error,
                m.traceback,
                key.identity,
            ),
        ).fetchone()
        if m.stream is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO bitstreams VALUES (?, ?, ?)",
                (row[0], crc32(m.stream), m.stream),
            )
            self._db.execute("DELETE FROM decodes WHERE measurement = ?", row)

    def add_decode(self, key: Key, decode: CheckedDecode) -> None:
        """Remember what came of decoding a measurement's bitstream again."""
        with self.transaction():
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
        with self.errors():
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
            The identity of each name.
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
        with self.transaction():
            for name in codecs:
                self.check_free(name)
                self._forget_codec(name)
            self._drop_measurements("identity NOT IN (SELECT identity FROM codecs)")
            self._enter_datasets(datasets)
            self._enter_codecs(codecs, "imported")
            run = self._enter_run(provenance)
            for position, average in enumerate(averages):
                source = {
                    "point": average.point,
                    "encode_s": average.encode_s,
                    "decode_s": average.decode_s,
                }
                row = (
                    average.codec,
                    average.dataset,
                    position,
                    average.bpp,
                    metrics_text(average.metrics),
                )
                self._db.execute(
                    "INSERT INTO imported_curves VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, json.dumps({**source, "run": run, "measured": _now()})),
                )
            for key, measurement, size in measurements:
                self._put(run, key, measurement, size)
            self._db.execute("UPDATE runs SET finished = ? WHERE id = ?", (_now(), run))

    def check_free(self, name: str) -> None:
        """Refuse a name for what is to be imported.

        Raises
        ------
        StoreError
            Where a codec of this name was measured here.
        """
        if self.kind(name) == "measured":
            raise StoreError(
                f"{name} was measured in {self.path}; import this under another name: --as NAME"
            )

    def kept(self, key: Key) -> Measurement:
        """A measurement as it was added, its bitstream included."""
        with self.errors():
            row = self._db.execute(
                """
                SELECT m.width, m.height, b.stream, b.crc32, m.encode_s, m.decode_s, m.metrics,
                       m.metrics_version, m.error, m.traceback
                FROM measurements m JOIN identities i ON i.id = m.identity
                LEFT JOIN bitstreams b ON b.measurement = m.id
                WHERE m.image_key = ? AND i.text = ? AND m.point = ?
                """,
                (key.image_key, key.identity, key.point),
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path} holds no measurement {key}")
        width, height, stream, checksum, encode_s, decode_s, metrics, *others = row
        if stream is not None and crc32(stream) != checksum:
            raise StoreError(
                f"{self.path}: a bitstream is damaged; take a copy of the store of before, or "
                "lic-bench forget its codec and measure again"
            )
        return Measurement(width, height, stream, encode_s, decode_s, metrics_of(metrics), *others)

    def known(
        self, identity: str, metrics_version: int
    ) -> Iterator[tuple[Key, dict[str, float | None]]]:
        """What succeeded with a codec: ``bpp``, and the metrics, if they are of this version."""
        with self.errors():
            for image, point, bpp, values in self._db.execute(
                """
                SELECT image_key, point, 8.0 * bytes / (width * height), metrics FROM measurements
                WHERE identity = (SELECT id FROM identities WHERE text = ?)
                    AND error IS NULL AND metrics_version = ?
                """,
                (identity, metrics_version),
            ):
                yield Key(image, identity, point), {"bpp": bpp, **metrics_of(values)}

    def match(self, target: str, keys: Iterable[Key]) -> None:
        """Remember what a search for a target found, in place of what it found before.

        Parameters
        ----------
        keys
            One for an image and a codec.
        """
        with self.transaction():
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
        """Every run: its number, when it started and finished (UTC), and its provenance.

        ``states`` says which state of each codec it measured.
        """
        numbers = self.states()
        runs = []
        for run, started, finished, text in self._rows(
            "SELECT id, started, finished, provenance FROM runs"
        ):
            about = provenance_of(text)
            if "command" in about:  # which is copied into a shell: with a line's end it would run
                about["command"] = printable(about["command"])
            states = {
                spec: f"{spec}@{number}"
                for spec, identity in about.get("codecs", {}).items()
                if (number := numbers.get(spec, {}).get(identity))
            }
            times = {"run": run, "started": started, "finished": finished}
            runs.append({**times, **about, **times, "states": states})
        return runs

    def current(self, also: Iterable[str] = ()) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The measurements of every data set and codec spec, as the latest runs saw those.

        Parameters
        ----------
        also
            Names of codecs, of which those such as ``jpeg@1`` add the measurements of this state.

        Returns
        -------
        The names of the columns, and the rows as they are read; ``metrics`` is a JSON object.

        Raises
        ------
        SpecError
            Where a codec has no such state.
        """
        older = [(name, *state) for name in dict.fromkeys(also) if (state := self.state(name))]
        one_state = " UNION ALL SELECT ?, identity, kind FROM codecs WHERE spec = ? AND state = ?"
        with self.errors():
            cursor = self._db.execute(
                f"""
                WITH c (codec, identity, kind) AS (
                    SELECT spec, identity, kind FROM codecs WHERE latest{one_state * len(older)}
                )
                SELECT im.dataset, im.image, m.width, m.height, c.codec, m.point, m.bytes,
                       m.metrics, m.encode_s, m.decode_s, m.error, im.position,
                       im.image_key AS image_sha256, i.text AS identity, m.run, m.measured,
                       n.dataset_images, coalesce(t.targets, '') AS matches, c.kind
                FROM images im
                JOIN (SELECT dataset, count(*) AS dataset_images FROM images GROUP BY dataset) n
                    ON n.dataset = im.dataset
                JOIN measurements m ON m.image_key = im.image_key
                JOIN c ON c.identity = m.identity
                JOIN identities i ON i.id = m.identity
                LEFT JOIN (
                    SELECT measurement, group_concat(target, ' ') AS targets
                    FROM (SELECT * FROM matches ORDER BY target) GROUP BY measurement
                ) t ON t.measurement = m.id
                """,  # noqa: S608 - ours
                [value for state in older for value in state],
            )
            return [column[0] for column in cursor.description], self._each(cursor)

    def averages(self) -> list[dict[str, Any]]:
        """The points of curves that were imported: rows as those of `current`, and their bpp."""
        rows = self._rows(
            """
            SELECT b.dataset, b.codec, b.position, b.bpp, b.metrics, i.text, c.kind, b.source,
                   (SELECT count(*) FROM images WHERE dataset = b.dataset)
            FROM imported_curves b
            JOIN codecs c ON c.spec = b.codec JOIN identities i ON i.id = c.identity
            """
        )
        names = ("dataset", "codec", "position", "bpp", "metrics", "identity", "kind")
        return [
            {
                **dict(zip(names, row, strict=True)),
                **msgspec.structs.asdict(source_of(source)),
                "dataset_images": images,
            }
            for *row, source, images in rows
        ]

    def _each(self, cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
        with self.errors():
            for row in cursor:  # noqa: UP028 - it would close the cursor
                yield row


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
