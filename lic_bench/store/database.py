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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import contains
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from lic_bench.errors import StoreError
from lic_bench.printable import printable
from lic_bench.store.file import FILE_NAME
from lic_bench.store.records import Average, CheckedDecode, Key, Measurement, ScoreState
from lic_bench.store.scores import OF_KEY, Scores, key_values
from lic_bench.store.texts import metrics_of, metrics_text, provenance_of, source_of

if TYPE_CHECKING:
    from lic_bench.images.dataset import Dataset

__all__ = ["FILE_NAME", "Store"]


class Store(Scores):
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
        scores: Iterable[ScoreState] = (),
    ) -> int:
        """Note that a run begins: its provenance, and what its names stand for.

        Parameters
        ----------
        codecs
            The identity of each codec spec.
        scores
            The figures that it computes, in their present states.

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
            self._enter_scores(scores)
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

    def succeeded(self, key: Key) -> bool:
        """Whether there is a measurement that did not fail."""
        return self._row(f"SELECT id {OF_KEY} AND error IS NULL", key_values(key)) is not None

    def add(self, run: int, key: Key, measurement: Measurement) -> None:
        """Remember a measurement; it replaces a failed one.

        Of one that is there, with the same bitstream, values of other figures stay.
        """
        stream = measurement.stream
        with self.transaction():
            self._put(run, key, measurement, None if stream is None else len(stream))

    def _put(self, run: int, key: Key, m: Measurement, size: int | None) -> None:
        [number] = self._db.execute(
            """
            INSERT INTO measurements
            SELECT NULL, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM identities WHERE text = ?
            ON CONFLICT (image_key, identity, point) DO UPDATE SET
                run = excluded.run, measured = excluded.measured,
                width = excluded.width, height = excluded.height, bytes = excluded.bytes,
                encode_s = excluded.encode_s, decode_s = excluded.decode_s,
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
                m.error,
                m.traceback,
                key.identity,
            ),
        ).fetchone()
        same = self._db.execute(
            "SELECT 1 FROM bitstreams WHERE measurement = ? AND stream = ?", (number, m.stream)
        ).fetchone()
        if m.error is not None or not same:
            self._db.execute("DELETE FROM scores WHERE measurement = ?", (number,))
        if m.stream is not None and not same:
            self._db.execute(
                "INSERT OR REPLACE INTO bitstreams VALUES (?, ?, ?)",
                (number, crc32(m.stream), m.stream),
            )
            self._db.execute("DELETE FROM decodes WHERE measurement = ?", (number,))
        self._put_scores(number, m)

    def add_decode(self, key: Key, decode: CheckedDecode) -> None:
        """Remember what came of decoding a measurement's bitstream again."""
        with self.transaction():
            self._db.execute(
                f"INSERT OR REPLACE INTO decodes SELECT id, ?, ?, ?, ?, ? {OF_KEY}",
                (
                    decode.circumstances,
                    _now(),
                    decode.differing,
                    decode.largest,
                    decode.error,
                    *key_values(key),
                ),
            )

    def decode(self, key: Key, circumstances: str) -> CheckedDecode | None:
        """What came of decoding a bitstream again; nothing where that was not done."""
        with self.errors():
            row = self._db.execute(
                f"""
                SELECT circumstances, differing, largest, error FROM decodes
                WHERE measurement = (SELECT id {OF_KEY}) AND circumstances = ?
                """,  # noqa: S608 - ours
                (*key_values(key), circumstances),
            ).fetchone()
        return None if row is None else CheckedDecode(*row)

    def add_imported(
        self,
        provenance: Mapping[str, object],
        datasets: Iterable[Dataset],
        codecs: Mapping[str, str],
        averages: Iterable[Average] = (),
        measurements: Iterable[tuple[Key, Measurement, int | None]] = (),
        scores: Iterable[ScoreState] = (),
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
        scores
            The figures of all of these; without an identity where they were not computed here.

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
            self._enter_scores(scores)
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
                SELECT m.id, m.width, m.height, b.stream, b.crc32, m.encode_s, m.decode_s,
                       m.error, m.traceback
                FROM measurements m JOIN identities i ON i.id = m.identity
                LEFT JOIN bitstreams b ON b.measurement = m.id
                WHERE m.image_key = ? AND i.text = ? AND m.point = ?
                """,
                key_values(key),
            ).fetchone()
        if row is None:
            raise StoreError(f"{self.path} holds no measurement {key}")
        number, width, height, stream, checksum, encode_s, decode_s, *errors = row
        if stream is not None and crc32(stream) != checksum:
            raise StoreError(
                f"{self.path}: a bitstream is damaged; take a copy of the store of before, or "
                "lic-bench forget its codec and measure again"
            )
        figures = self._scores_of(number)
        return Measurement(width, height, stream, encode_s, decode_s, *figures, *errors)

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
        The names of the columns, and the rows as they are read. Those of figures are called as in
        `shown_scores`; ``metric_errors`` says why there is no value of some.

        Raises
        ------
        SpecError
            Where a codec has no such state.
        """
        older = [(name, *state) for name in dict.fromkeys(also) if (state := self.state(name))]
        figures = [
            f"(SELECT value FROM scores WHERE measurement = m.id AND metric IN "  # noqa: S608 - ours
            f'({", ".join(map(str, states))})) AS "{column}"'
            for column, (_, states) in self.shown_scores().items()
        ]
        one_state = " UNION ALL SELECT ?, identity, kind FROM codecs WHERE spec = ? AND state = ?"
        with self.errors():
            cursor = self._db.execute(
                f"""
                WITH c (codec, identity, kind) AS (
                    SELECT spec, identity, kind FROM codecs WHERE latest{one_state * len(older)}
                )
                SELECT im.dataset, im.image, m.width, m.height, c.codec, m.point, m.bytes,
                       {"".join(f"{figure}, " for figure in figures)} (
                           SELECT group_concat(name || ': ' || s.error, '; ')
                           FROM scores s JOIN metrics ON id = metric
                           WHERE measurement = m.id AND s.error IS NOT NULL AND latest
                       ) AS metric_errors,
                       m.encode_s, m.decode_s, m.error, im.position,
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
            names = [column[0] for column in cursor.description]
        return names, self._each(cursor, [_KINDS.get(name, _FIGURE) for name in names])

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
        shown = self.shown_scores()
        return [
            {
                **{name: x for name, x in metrics_of(row[4]).items() if name in shown},
                **dict(zip(names, row, strict=True)),
                **msgspec.structs.asdict(source_of(source)),
                "dataset_images": images,
            }
            for *row, source, images in rows
        ]

    def _each(
        self, cursor: sqlite3.Cursor, allowed: Sequence[tuple[type, ...]]
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of values of these types: a damaged page may hold others, whatever the schema."""
        known: set[tuple[type, ...]] = set()
        with self.errors():
            for row in cursor:
                kinds = tuple(map(type, row))
                if kinds not in known:
                    if not all(map(contains, allowed, kinds)):
                        raise StoreError(f"{self.path} is damaged: a measurement lacks a part")
                    known.add(kinds)
                yield row


_FIGURE = (float, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("dataset", "image", "codec", "point", "image_sha256", "identity"), (str,)),
    **dict.fromkeys(("measured", "matches", "kind"), (str,)),
    **dict.fromkeys(("metric_errors", "error"), (str, type(None))),
    **dict.fromkeys(("position", "run", "dataset_images"), (int,)),
    **dict.fromkeys(("width", "height", "bytes"), (int, type(None))),
}
"""Of the columns of `Store.current`; the others are figures and times."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
