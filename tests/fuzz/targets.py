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

import rating_targets
from hostile_stores import SCORES, good_store
from inputs import NUMBERS, TEXTS, changed, changed_text, noise
from weights_target import shipped_weights, weights

from lic_bench import LicBenchError
from lic_bench.codec.programs import load as load_codec
from lic_bench.importers import entries, figures
from lic_bench.learned.safe_weights import read_header
from lic_bench.metric import profile
from lic_bench.metric.programs import load as load_metric
from lic_bench.rating.results import of_store
from lic_bench.reporting.page import data
from lic_bench.reporting.page.html import as_json
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.table import frame
from lic_bench.store.texts import metrics_of, provenance_of, source_of

Target = Callable[[random.Random, Path], None]

# Weights


def header(rng: random.Random, folder: Path) -> None:
    """The header of a safetensors file."""
    tensor = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    good = {"__metadata__": {"content-weighted": "{}"}, "a": tensor, "b": dict(tensor)}
    text = changed_text(rng, good)
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
    read(changed_text(rng, good).decode(errors="replace"))


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
    _imported(folder / "p.csv", noise(rng, content) if rng.random() < 0.4 else content)


def results(rng: random.Random, folder: Path) -> None:
    """CompressAI's JSON."""
    lists = {"bpp": [0.1, 0.2], "psnr-rgb": [30.0, 32.0], "ms-ssim-rgb": [0.9, 0.95]}
    _imported(folder / "r.json", changed_text(rng, {"name": "n", "results": lists}))


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
            rating_targets.add_answers(path)
            with closing(sqlite3.connect(path)) as db:
                for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
                    found = db.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
                    _columns[table] = found.fetchall()
            _template["bytes"] = path.read_bytes()
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
        path.write_bytes(noise(rng, path.read_bytes()))
    if rng.random() < 0.1:
        beside = path.with_name(f"{FILE_NAME}{rng.choice(('-journal', '-wal', '-shm'))}")
        beside.write_bytes(noise(rng, _good()[: rng.choice((0, 40, 600, 20_000))]))
    return out


_JSON: dict[str, Callable[[], object]] = {
    **dict.fromkeys(
        ("metrics", "provenance", "source", "text"),
        lambda: {"psnr_rgb_db": 1.0, "codecs": {}, "points": {}},
    ),
    "definition": lambda: json.loads(rating_targets.study().text()),
    "about": lambda: {"remark": "x", "width": 1},
}
"""What the columns hold that are JSON."""


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
            if kind == "TEXT" and column in _JSON:
                value = changed_text(rng, _JSON[column]())
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
        path = opened.path
    rating_targets.shown(path)


def report(rng: random.Random, folder: Path) -> None:
    """A store, shown as a report's page without pictures."""
    with Store.open(_made(rng, folder)) as opened:
        measurements, runs, judgements = frame(opened), opened.runs(), of_store(opened)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_json(data.gather(measurements, runs))
    as_json(judgements)


# Ratings


def answer_file(rng: random.Random, folder: Path) -> None:
    """A file of answers."""
    rating_targets.answer_file(rng, folder, _good())


# TOML files

_METRIC = {
    "name": "m", "compare": "m {reference} {distorted}", "figure": "([0-9.]+)", "label": "M",
    "better": "lower", "identical": 0.0, "least_side": 8, "timeout_s": 5.0, "unit": "dB",
}  # fmt: skip
_METRICS = {
    "name": "m", "compare": ["m", "{reference}", "{distorted}"], "version": "m -v",
    "figures": {"a": {"figure": "a=(.*)", "better": "lower"}, "b": {"figure": "b=(.*)"}},
}  # fmt: skip
_CODEC = {
    "name": "c", "encode": "c {input} {output} {point}",
    "decode": ["c", "-d", "{input}", "{output}"],
    "points": [1, 2, 3], "reads": "ppm", "writes": "png",
}  # fmt: skip
_PROFILE = {
    "title": "T", "rates": [0.1, 0.5], "metrics": ["default"], "figures": ["psnr_rgb"],
    "anchor": "jpeg", "notes": ["n"], "source": "s",
}  # fmt: skip


def toml_files(rng: random.Random, folder: Path) -> None:
    """A metric or codec that is a program, or a profile. No program is called to read it."""
    path = folder / "f.toml"
    read, made = rng.choice(
        (
            (load_metric, _METRIC),
            (load_metric, _METRICS),
            (load_codec, _CODEC),
            (lambda path: profile.load(str(path)), _PROFILE),
        )
    )
    value: object = made
    for _ in range(rng.choice((0, 1, 1, 2))):
        value = changed(rng, value)
    content = _toml(value).encode(errors="surrogatepass")
    path.write_bytes(noise(rng, content) if rng.random() < 0.3 else content)
    read(path)


def _toml(value: object) -> str:
    if not isinstance(value, dict):
        return f"x = {_toml_value(value)}\n"
    return "".join(f"{_toml_text(key)} = {_toml_value(one)}\n" for key, one in value.items())


def _toml_value(value: object) -> str:
    match value:
        case None:
            return "1979-05-27T07:32:00Z"
        case bool() | int():
            return str(value).lower()
        case float():
            return repr(value)
        case str():
            return _toml_text(value)
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case dict():
            pairs = (f"{_toml_text(key)} = {_toml_value(one)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
    raise TypeError(value)


def _toml_text(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")


# All of them


TARGETS: dict[str, Target] = {
    "safetensors header": header,
    "texts of a store": texts,
    "CSV of points": points,
    "CompressAI's JSON": results,
    "store": store,
    "report data": report,
    "answers of raters": answer_file,
    "TOML files": toml_files,
    "weights": weights,
    "shipped weights": shipped_weights,
}


def tried(target: Target, seed: int, folder: Path) -> str:
    """Have a target answer to the input of a seed; see `refused_or_read`."""
    return refused_or_read(target, random.Random(seed), folder)  # noqa: S311 - to be repeated


def refused_or_read(target: Target, rng: random.Random, folder: Path) -> str:
    """Have a target answer to an input: ``read`` or ``refused``; what else it raises is a fault."""
    try:
        target(rng, folder)
    except LicBenchError as error:
        text, cause = str(error), error.__cause__
        assert not isinstance(cause, MemoryError), "it took all memory there is"
        assert 0 < len(text) < 5000
        assert text.count("\n") < 5
        return "refused"
    return "read"
