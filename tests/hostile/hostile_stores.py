"""Hostile stores: made from a good one, as somebody would who sends it."""

from __future__ import annotations

import json
import sqlite3
import struct
from contextlib import closing
from itertools import product
from pathlib import Path

from lic_bench.images.dataset import Dataset, ImageFile
from lic_bench.metric.quality import DEFAULT_SCORES
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.records import Average, Key, Measurement, ScoreState

MAGIC = bytes.fromhex("d9d505f920a163d7")
"""Of SQLite's rollback journal: before its header, and behind the name of a super-journal."""
_SECTOR, _PAGE = 512, 4096
_LOCK_PAGE = 0x40000000 // _PAGE + 1

SCORES = [ScoreState(score, "1") for score in DEFAULT_SCORES]
IMPORTED = [ScoreState(score) for score in DEFAULT_SCORES]

KEYS = [
    Key(image * 64, f'{{"codec": "{codec}"}}', point)
    for image, codec, point in product("ab", ("toy", "toy2"), ("10", "20"))
]


def good_store(folder: Path) -> Path:
    """A store with two images, two codecs at two points, and an imported curve."""
    path = folder / FILE_NAME
    images = tuple(ImageFile(f"{k}.png", Path("x.png"), k * 64, 40, 30) for k in "ab")
    dataset = Dataset("set", images, Path("/photos"))
    identities = {"toy": KEYS[0].identity, "toy2": KEYS[2].identity}
    provenance = {
        "command": "lic-bench run",
        "datasets": {"set": dataset.digest},
        "codecs": identities,
        "points": {"toy": ["10", "20"], "toy2": ["10", "20"]},
    }
    with Store(path) as store:
        run = store.begin(provenance, [dataset], identities, SCORES)
        for i, key in enumerate(KEYS):
            better = int(key.point) / 10
            metrics = {"mse_rgb": 40 / better, "psnr_rgb_db": 30 + 3 * better, "ssim_y": 0.9}
            stream = bytes([i]) * int(100 * better + 10 * i)
            store.add(run, key, Measurement(40, 30, stream, 0.1, 0.1, metrics))
        store.finish(run)
        curve = [
            Average("theirs", "set", str(i), 0.5 * i, {"psnr_rgb_db": 29.0 + i}, 1.0, 2.0)
            for i in (1, 2, 3)
        ]
        store.add_imported(
            {}, [], {"theirs": json.dumps({"imported": "theirs"})}, curve, (), IMPORTED
        )
    return folder


def hot_journal(store: Path, names: Path) -> None:
    """Lay a journal beside a store that SQLite finds hot, and that names a super-journal.

    Where SQLite rolls it back, it removes the file of that name, whatever it holds.
    """
    header = MAGIC + struct.pack(">5I", 0, 1, store.stat().st_size // _PAGE, _SECTOR, _PAGE)
    name = str(names).encode()
    tail = struct.pack(">I", _LOCK_PAGE) + name + struct.pack(">2I", len(name), sum(name)) + MAGIC
    store.with_name(f"{store.name}-journal").write_bytes(header.ljust(_SECTOR, b"\0") + tail)


def altered(folder: Path, *statements: str, schema: bool = False) -> Path:
    """Execute statements on a store as its sender may."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("PRAGMA foreign_keys = OFF")
        if schema:
            db.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            db.execute(statement)
    return folder


_TYPES = "UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT', ')'), 'TEXT', 'ANY')"

MALFORMED: dict[str, tuple[str, ...]] = {
    "value-error-empty": ("UPDATE scores SET value = NULL, error = ''",),
    "value-huge": ("UPDATE scores SET value = 1e300",),
    "value-negative-infinite": ("UPDATE scores SET value = -9e999",),
    "value-infinite": ("UPDATE scores SET value = 9e999",),
    "value-missing": ("UPDATE scores SET value = NULL",),
    "value-error": ("UPDATE scores SET value = NULL, error = char(27) || '[2J'",),
    "value-error-long": ("UPDATE scores SET value = NULL, error = hex(zeroblob(100000))",),
    "value-error-no-text": ("UPDATE scores SET error = CAST(x'80ff' AS TEXT)",),
    "value-of-nothing": ("UPDATE scores SET metric = 10000 + metric",),
    "metric-column": ("UPDATE metrics SET name = 'bytes' WHERE id = 1",),
    "metric-statement": (
        "UPDATE metrics SET name = 'x\" FROM runs; DROP TABLE runs; --' WHERE id = 1",
    ),
    "metric-empty": ("UPDATE metrics SET name = '' WHERE id = 1",),
    "metric-other": ("UPDATE metrics SET name = 'other' || id",),
    "metric-of-ours": ("UPDATE metrics SET unit = 'dB' WHERE name = 'ssim_rgb'",),
    "metric-no-text": ("UPDATE metrics SET name = CAST(x'80' AS TEXT) WHERE id = 1",),
    "metric-escape": ("UPDATE metrics SET label = char(27) || '[2J', name = 'a' || id",),
    "metric-unit": ("UPDATE metrics SET unit = char(10), name = 'a' || id",),
    "metric-better": ("UPDATE metrics SET better = 'x'",),
    "metric-lower": ("UPDATE metrics SET better = 'lower', name = 'a' || id",),
    "metric-identity": ("UPDATE metrics SET identity = hex(zeroblob(100000)) || id",),
    "metric-none": ("DELETE FROM metrics",),
    "metrics-many": (
        "INSERT INTO metrics WITH RECURSIVE n (i) AS (SELECT 99 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 9000) SELECT NULL, 'm' || i, 'x', '', 'higher', 'x', 1 FROM n",
    ),
    "width-negative": ("UPDATE measurements SET width = -1",),
    "width-zero": ("UPDATE measurements SET width = 0",),
    "width-huge": ("UPDATE measurements SET width = 9223372036854775807",),
    "bytes-huge": ("UPDATE measurements SET bytes = 9223372036854775807",),
    "bytes-negative": ("UPDATE measurements SET bytes = -5",),
    "seconds-infinite": ("UPDATE measurements SET encode_s = 9e999",),
    "seconds-negative": ("UPDATE measurements SET decode_s = -1.0",),
    "point-surrogate": ("UPDATE measurements SET point = CAST(x'eda080' || id AS TEXT)",),
    "point-no-text": ("UPDATE measurements SET point = CAST(x'80ff' || id AS TEXT)",),
    "error-no-text": ("UPDATE measurements SET error = CAST(x'80ff' AS TEXT)",),
    "run-huge": ("UPDATE measurements SET run = -9223372036854775808",),
    "measured-no-date": ("UPDATE measurements SET measured = hex(zeroblob(100000))",),
    "provenance-no-json": ("UPDATE runs SET provenance = 'x'",),
    "provenance-list": ("UPDATE runs SET provenance = '[]'",),
    "provenance-number": ("UPDATE runs SET provenance = '1'",),
    "provenance-codecs": ("""UPDATE runs SET provenance = '{"codecs": [1]}'""",),
    "provenance-codec": ("""UPDATE runs SET provenance = '{"codecs": {"toy": [1]}}'""",),
    "provenance-points": ("""UPDATE runs SET provenance = '{"points": {"toy": 7}}'""",),
    "provenance-unplanned": ("""UPDATE runs SET provenance = '{"points": {"other": ["1"]}}'""",),
    "provenance-nan": ("""UPDATE runs SET provenance = '{"machine": NaN}'""",),
    "provenance-surrogate": (r"""UPDATE runs SET provenance = '{"command": "\udc80"}'""",),
    "provenance-deep": ("UPDATE runs SET provenance = replace(hex(zeroblob(100000)), '00', '[')",),
    "provenance-match": ("""UPDATE runs SET provenance = '{"match": 5, "codecs": null}'""",),
    "started-blob": ("UPDATE runs SET started = ''",),
    "identity-no-json": ("UPDATE identities SET text = 'x' || id",),
    "identity-list": ("UPDATE identities SET text = '[' || id || ']'",),
    "identity-no-text": ("UPDATE identities SET text = CAST(x'80' AS TEXT) WHERE id = 1",),
    "spec-empty": ("UPDATE codecs SET spec = '' WHERE spec = 'toy'",),
    "spec-colon": ("UPDATE codecs SET spec = ':=,' WHERE spec = 'toy'",),
    "state-huge": ("UPDATE codecs SET state = 9223372036854775807",),
    "kind-other": ("UPDATE codecs SET kind = 'x'",),
    "latest-huge": ("UPDATE codecs SET latest = -9223372036854775808",),
    "position-huge": ("UPDATE images SET position = 9223372036854775807 - position",),
    "dataset-empty": ("UPDATE images SET dataset = ''",),
    "match-no-target": ("INSERT INTO matches SELECT 'bpp=x =', id FROM measurements",),
    "match-spaces": ("INSERT INTO matches SELECT '  ', id FROM measurements",),
    "bpp-infinite": ("UPDATE imported_curves SET bpp = 9e999 WHERE position = 1",),
    "bpp-negative": ("UPDATE imported_curves SET bpp = -1",),
    "source-no-json": ("UPDATE imported_curves SET source = '{'",),
    "source-list": ("UPDATE imported_curves SET source = '[1]'",),
    "source-types": ("""UPDATE imported_curves SET source = '{"run": "x", "point": 7}'""",),
    "source-bpp": ("""UPDATE imported_curves SET source = '{"bpp": "x", "identity": []}'""",),
    "averages-metrics": ("UPDATE imported_curves SET metrics = '[]'",),
    "no-images": ("DELETE FROM images",),
    "nothing": ("DELETE FROM images", "DELETE FROM imported_curves", "DELETE FROM runs"),
    "many-images": (
        "INSERT INTO images WITH RECURSIVE n (i) AS (SELECT 99 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 5000) SELECT 'other', i, i, (SELECT image_key FROM images LIMIT 1) FROM n",
        "INSERT INTO measurements WITH RECURSIVE n (i) AS (SELECT 99 UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 5000) SELECT NULL, image_key, identity, i, run, measured, 40, 30, 1, 0, 0, "
        "NULL, NULL FROM n, (SELECT * FROM measurements LIMIT 1)",
    ),
}
"""What a sender may have written into a store of the right schema."""

FOREIGN: dict[str, tuple[str, ...]] = {
    "trigger": (
        "CREATE TRIGGER liar AFTER INSERT ON measurements BEGIN UPDATE measurements SET "
        "bytes = 10 WHERE id = new.id; UPDATE scores SET value = 99.0; END",
    ),
    "endless-view": (
        "DROP TABLE matches",
        "CREATE VIEW matches (target, measurement) AS WITH RECURSIVE n (i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i FROM n",
    ),
    "another-table": ("CREATE TABLE more (x)",),
    "another-index": ("CREATE INDEX more ON measurements (abs(width))",),
    "without-a-table": ("DROP TABLE decodes",),
    "virtual-table": ("CREATE VIRTUAL TABLE text USING fts5(x)",),
    "another-column": ("ALTER TABLE runs ADD COLUMN x",),
    "default": (
        "UPDATE sqlite_schema SET sql = replace(sql, 'finished TEXT', "
        "'finished TEXT DEFAULT (hex(randomblob(100)))') WHERE name = 'runs'",
    ),
    "any-type": (_TYPES, "PRAGMA schema_version = 99999"),
    "no-sql": ("UPDATE sqlite_schema SET sql = 'CREATE TABLE runs (' WHERE name = 'runs'",),
    "one-root": (
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema "
        "WHERE name = 'runs') WHERE name = 'datasets'",
    ),
    "no-root": ("UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 'runs'",),
    "statistics": ("ANALYZE",),
}
"""What a sender may have done to the schema."""
