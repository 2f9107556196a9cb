"""What is fuzzed beside bitstreams: stores, imports, weights, what a report shows.

A target is given a source of chance and a folder, makes an input there and has it read. The answer
is success or a `LicBenchError`; whatever else is raised is a fault.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from hostile_stores import SCORES, good_store

from lic_bench import LicBenchError
from lic_bench.importers import entries, figures
from lic_bench.learned.safe_weights import read_header
from lic_bench.reporting.page import data
from lic_bench.reporting.page.html import as_json
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.table import frame
from lic_bench.store.texts import metrics_of, provenance_of, source_of

Target = Callable[[random.Random, Path], None]

NUMBERS = (
    *("0", "-0", "1", "-1", "0.5", "1e308", "1e309", "-1e309", "9" * 400, "1e-400", "NaN"),
    *("Infinity", "-Infinity", "2147483648", "9223372036854775807", "9223372036854775808", "0x10"),
    *("1_000", "1,5", "٣", "½", " 1", "1 ", "+1", "--1", "1e", "", "null", "true", "[]", "{}"),
)
TEXTS = (
    *(
        "",
        "x",
        "toy",
        "a.png",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "\ud800",
        "é",
        "\u2028",
        "=1+1",
        "../a",
    ),
    *("a" * 5000, "'; DROP TABLE runs", "</script>", "{", "[" * 3000, '"', "\\", ",", ";", "\n"),
)


def _noise(rng: random.Random, content: bytes) -> bytes:
    """Damage bytes: some changed, a part left out, repeated, exchanged or cut off."""
    damaged = bytearray(content)
    for _ in range(rng.choice((0, 1, 1, 2, 8, 64))):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, rng.randrange(256)))
    a, b = sorted(rng.randrange(len(damaged) + 1) for _ in range(2))
    match rng.randrange(8):
        case 0:
            del damaged[a:b]
        case 1:
            damaged[a:a] = damaged[a:b]
        case 2:
            del damaged[a:]
        case 3:
            damaged[a:b] = rng.randbytes(b - a)
    return bytes(damaged)


def _value(rng: random.Random, depth: int = 0) -> object:
    """Any value of JSON's, NaN and lone surrogates among them."""
    match rng.randrange(9 if depth < 3 else 6):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.choice((0, -1, 1, 1 << 31, 1 << 63, -(1 << 63), 1 << 70, 10**400))
        case 2:
            return rng.choice((0.0, -0.5, 1e308, float("inf"), float("-inf"), float("nan")))
        case 3 | 4 | 5:
            return rng.choice(TEXTS)
        case 6:
            return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(TEXTS): _value(rng, depth + 1) for _ in range(rng.randrange(4))}


def _changed(rng: random.Random, value: object) -> object:
    """A value of JSON's with some part of it replaced, left out or added."""
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return _value(rng)
    if isinstance(value, list):
        value = list(value)
        where = rng.randrange(len(value))
        value[where : where + rng.choice((0, 1, 1))] = [_changed(rng, value[where])]
        return value
    value = dict(value)
    key = rng.choice(list(value))
    match rng.randrange(5):
        case 0:
            del value[key]
        case 1:
            value[rng.choice(TEXTS)] = _value(rng)
        case _:
            value[key] = _changed(rng, value[key])
    return value


def _text(rng: random.Random, value: object) -> bytes:
    """JSON of a changed value, now and then damaged."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(rng, value)
    content = json.dumps(value, ensure_ascii=rng.random() < 0.7).encode(errors="surrogatepass")
    return _noise(rng, content) if rng.random() < 0.3 else content


# Weights


def header(rng: random.Random, folder: Path) -> None:
    """The header of a safetensors file."""
    tensor = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    good = {"__metadata__": {"content-weighted": "{}"}, "a": tensor, "b": dict(tensor)}
    text = _text(rng, good)
    length = rng.choice((len(text),) * 8 + (0, 1, len(text) + 1, 1 << 24, 1 << 63, 2**64 - 1))
    path = folder / "w.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + text + bytes(rng.choice((12, 12, 0, 11))))
    found = read_header(path)
    room = path.stat().st_size
    assert all(2 * abs(a) <= room or not a for shape in found.shapes.values() for a in shape)


# Texts of a store


def texts(rng: random.Random, folder: Path) -> None:
    """What a store keeps as JSON."""
    metrics = {"psnr_rgb_db": 30.0, "mse_rgb": "Infinity", "ssim_y": None}
    notes = {"command": "x", "codecs": {"a": "{}"}, "points": {"a": ["1"]}, "datasets": {"s": "1"}}
    source = {"run": 1, "measured": "x", "point": "1", "encode_s": 1.0, "decode_s": None}
    read, good = rng.choice(((metrics_of, metrics), (provenance_of, notes), (source_of, source)))
    read(_text(rng, good).decode(errors="replace"))


# Imports


def points(rng: random.Random, folder: Path) -> None:
    """A CSV of points."""
    names = ["codec", "dataset", "point", "bpp", "bytes", "psnr_rgb", "ms_ssim_rgb", "encode_s"]
    rng.shuffle(names)
    rows = [names[: rng.randrange(1, 9)]]
    for _ in range(rng.randrange(5)):
        rows.append(
            [rng.choice(TEXTS if rng.random() < 0.3 else NUMBERS) for _ in rows[0]]
            if rng.random() < 0.5
            else [{"codec": "c", "dataset": "s"}.get(name, "0.9") for name in rows[0]]
        )
    separator = rng.choice(",,,;\t")
    content = "\n".join(map(separator.join, rows)).encode(errors="surrogatepass")
    _imported(folder / "p.csv", _noise(rng, content) if rng.random() < 0.4 else content)


def results(rng: random.Random, folder: Path) -> None:
    """CompressAI's JSON."""
    lists = {"bpp": [0.1, 0.2], "psnr-rgb": [30.0, 32.0], "ms-ssim-rgb": [0.9, 0.95]}
    _imported(folder / "r.json", _text(rng, {"name": "n", "results": lists}))


def _imported(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    found = figures.read(path)
    rows = entries.assigned(found.rows, name=None, dataset="s", codecs=())
    for average in entries.averages(rows):
        assert 0 < average.bpp <= 100
        assert average.codec.isprintable()
        assert average.dataset.isprintable()


# Stores

_columns: dict[str, list[tuple[str, str]]] = {}
_template: dict[str, bytes] = {}


def _good() -> bytes:
    """A good store's file."""
    if not _template:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            path = good_store(Path(name) / "good") / FILE_NAME
            _template["bytes"] = path.read_bytes()
            with closing(sqlite3.connect(path)) as db:
                for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
                    found = db.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
                    _columns[table] = found.fetchall()
    return _template["bytes"]


def _made(rng: random.Random, folder: Path) -> Path:
    """A store whose rows, pages or neighbours are hostile."""
    out = folder / "store"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    path = out / FILE_NAME
    path.write_bytes(_good())
    if rng.random() < 0.6:
        _fill(rng, path)
    if rng.random() < 0.4:
        path.write_bytes(_noise(rng, path.read_bytes()))
    if rng.random() < 0.1:
        beside = path.with_name(f"{FILE_NAME}{rng.choice(('-journal', '-wal', '-shm'))}")
        beside.write_bytes(_noise(rng, _good()[: rng.choice((0, 40, 600, 20_000))]))
    return out


def _fill(rng: random.Random, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA ignore_check_constraints = ON")
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(list(_columns))
            column, kind = rng.choice(_columns[table])
            value: object = {
                "INTEGER": lambda: rng.choice((0, -1, 1, 7, 1 << 31, (1 << 63) - 1, -(1 << 63))),
                "REAL": lambda: rng.choice((0.0, -1.0, 1e-300, 1e300, float("inf"), 3.0)),
                "TEXT": lambda: rng.choice(TEXTS).encode(errors="surrogatepass"),
                "BLOB": lambda: rng.randbytes(rng.randrange(20)),
            }[kind]()
            if kind == "TEXT" and column in ("metrics", "provenance", "source", "text"):
                value = _text(rng, {"psnr_rgb_db": 1.0, "codecs": {}, "points": {}})
            cast = "CAST(? AS TEXT)" if kind == "TEXT" else "?"
            some = rng.choice(("", " WHERE rowid = 1", " WHERE rowid % 2"))
            if rng.random() < 0.1:
                statement, values = f"DELETE FROM {table}{some}", ()  # noqa: S608
            else:
                statement = f"UPDATE OR REPLACE {table} SET {column} = {cast}{some}"  # noqa: S608
                values = (value,)
            try:
                db.execute(statement, values)
            except (sqlite3.Error, UnicodeError):
                continue


def store(rng: random.Random, folder: Path) -> None:
    """A store, read as all commands that read do, without their tables."""
    with Store.open(_made(rng, folder)) as opened:
        rows = list(opened.current()[1])
        opened.averages()
        opened.runs()
        opened.states()
        for (key, *_), _row in zip(opened._rows("SELECT image FROM images"), rows, strict=False):
            opened.images(key)
        for key in opened.measured(SCORES):
            opened.kept(key)


def report(rng: random.Random, folder: Path) -> None:
    """A store, shown as a report's page without pictures."""
    with Store.open(_made(rng, folder)) as opened:
        measurements, runs = frame(opened), opened.runs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_json(data.gather(measurements, runs))


TARGETS: dict[str, Target] = {
    "safetensors header": header,
    "texts of a store": texts,
    "CSV of points": points,
    "CompressAI's JSON": results,
    "store": store,
    "report data": report,
}


def tried(target: Target, seed: int, folder: Path) -> str:
    """Have a target answer to an input: ``read`` or ``refused``; what else it raises is a fault."""
    try:
        target(random.Random(seed), folder)  # noqa: S311 - to be repeated, not secret
    except LicBenchError as error:
        text = str(error)
        assert 0 < len(text) < 5000
        assert text.count("\n") < 5
        return "refused"
    return "read"
