"""Figures from elsewhere: CompressAI's JSON, and tables of points as CSV.

A figure is taken as what its name says, and refused where it cannot be that: an MS-SSIM over 1 is
dB, a rate is positive, and nothing is NaN. All of a file is good, or none of it is taken.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lic_bench.errors import ImportedResultsError
from lic_bench.metric.base import Score
from lic_bench.metric.quality import DEFAULT_SCORES, learn
from lic_bench.metric.registry import MetricRegistry
from lic_bench.printable import printable
from lic_bench.store.table import MARK

_LARGEST = 256 << 20  # bytes of a file
_MOST_BPP = 100  # more is no rate, but bytes
MOST_BYTES = 1 << 31
"""Of a bitstream, or of a picture's file: images have 2 GiB at most."""
_MOST_SECONDS = 1e9
_MOST_DB = 200


@dataclass(frozen=True)
class Row:
    """What is told of one operating point, on an image or on a data set as a whole."""

    where: str
    """File and line, for errors."""
    codec: str = ""
    """Its name, where the file gives one."""
    dataset: str = ""
    """Likewise."""
    image: str = ""
    """Its name; none for an average."""
    point: str = ""
    bpp: float | None = None
    size: int | None = None
    """The bitstream, in bytes."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By column of figure."""
    encode_s: float | None = None
    decode_s: float | None = None
    error: str | None = None
    """Why the measurement failed."""


@dataclass(frozen=True)
class Figures:
    """What a source tells."""

    kind: str
    """What sort of source it is."""
    sha256: str
    """Of the file; of several, of their names and SHA-256."""
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
    """Columns that are not known here."""


def read(source: Path) -> Figures:
    """Read a JSON file of CompressAI's, a folder of those of single images, or a CSV.

    The content of a file decides, not its name.

    Raises
    ------
    ImportedResultsError
        Where it cannot be read, or a figure in it cannot be right.
    """
    if source.is_dir():
        return _images_of_compressai(sorted(source.rglob("*.json")), source)
    text, sha256 = read_text(source)
    if text.lstrip().startswith(("{", "[")):
        return _compressai(text, sha256, source)
    rows, left_out = _points(text, source)
    return Figures("CSV", sha256, tuple(rows), left_out)


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and its SHA-256."""
    try:
        if not path.is_file():  # a pipe would be waited for, a device has no end
            raise ImportedResultsError(f"{path} is no file; name one")
        if path.stat().st_size > _LARGEST:
            raise ImportedResultsError(
                f"{path} is larger than {_LARGEST >> 20} MB: no table of points is; cut it in parts"
            )
        content = path.read_bytes()
        return content.decode("utf-8-sig"), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise ImportedResultsError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ImportedResultsError(
            f"{path} is not text in UTF-8; save it as CSV or JSON in UTF-8"
        ) from None


# What a figure of every run may be called, and how its value becomes the one that is kept.
# What comes first goes before what follows.
_DEFAULT = [score.column for score in DEFAULT_SCORES]
_PSNR = [name.removesuffix("_db") for name in _DEFAULT if name.startswith("psnr")]
_SSIM = [name for name in _DEFAULT if "ssim" in name]
_NAMES: dict[str, tuple[str, str]] = {
    **{name: (name, "as it is") for name in _DEFAULT},
    **{name: (f"{name}_db", "as it is") for name in _PSNR},
    **{f"{name}_db": (name, "index of dB") for name in _SSIM},
    "psnr_rgb_pooled_db": ("mse_rgb", "error of dB"),
    "psnr_rgb_pooled": ("mse_rgb", "error of dB"),
}
# Columns of our own exports that say nothing of the figures.
_IDLE = {
    *("point_index", "dataset_images", "image_sha256", "identity", "run", "measured"),
    *("imported", "searched", "width", "height", "metric_errors"),
}
_KNOWN = {
    *("codec", "dataset", "source", "image", "point", "error"),
    *("bpp", "bpp_pooled", "bytes", "encode_s", "decode_s"),
    *_IDLE,
}


def scores() -> list[Score]:
    """The figures that can be imported: those of all metrics that are known here."""
    return [*DEFAULT_SCORES, *_others().values()]


@cache
def _others() -> dict[str, Score]:
    """Those that not every run gives, by column."""
    found = {score.column: score for score in MetricRegistry().scores()}
    for score in found.values():
        learn(score)
    return {column: score for column, score in found.items() if column not in _DEFAULT}


@cache
def _names() -> dict[str, tuple[str, str]]:
    """As `_NAMES`, with those of other metrics, by name and by column."""
    others = {
        name: (one.column, "as it is")
        for one in _others().values()
        for name in (one.name, one.column)
    }
    return {**_NAMES, **others}


def table(text: str, path: Path) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file by column, each with its line for errors; empty cells are left out.

    Commas or semicolons separate, ``#`` begins a comment above the header, and the names of columns
    may have capitals, spaces and hyphens.
    """
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if first is None:
        raise ImportedResultsError(f"{path} is empty")
    header = lines[first]
    reader = csv.reader(lines[first:], delimiter=";" if ";" in header else ",", strict=True)
    try:
        names = [re.sub(r"[\s-]+", "_", name.strip().lower()) for name in next(reader)]
        rows = []
        for cells in reader:
            where = f"{path}, line {first + reader.line_num}"
            if len(cells) != len(names) and any(cells):
                raise ImportedResultsError(
                    f"{where} has {len(cells)} fields, the header {len(names)}; numbers are "
                    "written with a point, as in 0.25, and texts that hold a comma in quotes"
                )
            row = {n: c.strip() for n, c in zip(names, cells, strict=False) if c.strip()}
            if row:
                rows.append((where, row))
    except csv.Error as error:
        raise ImportedResultsError(f"{path} is no CSV ({error}, line {reader.line_num})") from error
    if twice := {name for name in names if names.count(name) > 1 and name}:
        raise ImportedResultsError(f"{path} has two columns {', '.join(sorted(twice))}; leave one")
    if not rows:
        raise ImportedResultsError(f"{path} has a header, and no row below it")
    return rows


def _points(text: str, path: Path) -> tuple[list[Row], tuple[str, ...]]:
    rows = table(text, path)
    names = {name for _, row in rows for name in row}
    if not names & _names().keys() or not names & {"bpp", "bytes"}:
        raise ImportedResultsError(
            f"{path} is no table of points: it needs a column bpp, or bytes, and one of "
            f"{', '.join(_NAMES)} or another of lic-bench metrics; it has "
            + ", ".join(sorted(names)[:20])
        )
    # What a search tried is on no curve.
    points = [_row(*row) for row in rows if row[1].get("searched", "").lower() != "true"]
    return points, tuple(sorted(names - _KNOWN - _names().keys()))


def _row(where: str, cells: Mapping[str, str]) -> Row:
    codec, error = cells.get("codec", "").removesuffix(MARK), cells.get("error")
    if codec and "source" in cells:
        codec += f"@{cells['source']}"
    numbers = {
        name: number(text, name, where)
        for name, text in cells.items()
        if name in _names() or name in ("bpp", "bpp_pooled", "bytes", "encode_s", "decode_s")
    }
    bpp, pooled = numbers.get("bpp"), numbers.get("bpp_pooled", numbers.get("bpp"))
    if pooled != bpp and not (pooled and bpp and math.isclose(pooled, bpp, rel_tol=1e-6)):
        # A pooled PSNR goes with the pooled rate, and a row has but one.
        numbers = {name: x for name, x in numbers.items() if not name.startswith("psnr_rgb_pooled")}
    bpp, size = rate(numbers, where)
    if error is None and bpp is None and size is None:
        raise ImportedResultsError(f"{where} has no bpp, nor bytes")
    encode_s, decode_s = seconds(numbers, ("encode_s", "decode_s"), where)
    image = cells.get("image", "")
    return Row(
        where,
        codec,
        cells.get("dataset", ""),
        image,
        cells.get("point", ""),
        bpp,
        size,
        _metrics(numbers, where, bool(image)),
        encode_s,
        decode_s,
        error,
    )


def rate(numbers: Mapping[str, float], where: str) -> tuple[float | None, int | None]:
    """The rate in bits per pixel and the size in bytes, as far as they are told, checked."""
    bpp, size = numbers.get("bpp"), numbers.get("bytes")
    if bpp is not None and not 0 < bpp <= _MOST_BPP:
        raise ImportedResultsError(
            f"{where}: bpp is {bpp:g}; bits per pixel are over 0, and under 100"
        )
    if size is not None and not (size >= 1 and size == int(size)):
        raise ImportedResultsError(f"{where}: bytes is {size:g}; a bitstream has 1 byte or more")
    if size is not None and size > MOST_BYTES:
        raise ImportedResultsError(f"{where}: bytes is {size:g}; no bitstream has so many")
    return bpp, None if size is None else int(size)


def number(text: str, name: str, where: str) -> float:
    """The number that a text is; only what is in dB may be infinite."""
    if re.fullmatch(r"[-+]?\d*,\d+", text):
        raise ImportedResultsError(
            f"{where}: {name} is {text[:60]!r}, with a decimal comma; "
            f"write {text[:60].replace(',', '.')}"
        )
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    in_db = name.startswith(("psnr", "jpegai_psnr")) or name.endswith("_db")
    if math.isnan(value) or (math.isinf(value) and not in_db):
        raise ImportedResultsError(f"{where}: {name} is {text[:60]!r}, which is no number here")
    return value


def _metrics(numbers: Mapping[str, float], where: str, of_image: bool) -> dict[str, float]:
    """The metrics by our names, checked; of an image, squared error and PSNR each by the other."""
    metrics: dict[str, float] = {}
    for name, (ours, how) in _names().items():
        if name not in numbers:
            continue
        value = numbers[name]
        _check(name, value, where)
        if how == "index of dB":
            value = 1 - 10 ** (-value / 10)
        elif how == "error of dB":
            value = 255**2 * 10 ** (-value / 10)
        metrics.setdefault(ours, value)
    if of_image and "psnr_rgb_db" in metrics:
        metrics.setdefault("mse_rgb", 255**2 * 10 ** (-metrics["psnr_rgb_db"] / 10))
    elif of_image and "mse_rgb" in metrics:
        mse = metrics["mse_rgb"]
        metrics["psnr_rgb_db"] = 10 * math.log10(255**2 / mse) if mse else math.inf
    return metrics


def _check(name: str, value: float, where: str) -> None:
    if name not in _NAMES:
        return
    if "ssim" in name and not name.endswith("_db"):
        if value > 1:
            raise ImportedResultsError(
                f"{where}: {name} is {value:g}, over 1: is that dB? Then call it {name}_db; "
                f"{name} is the index itself"
            )
        if value < (-1 if name.startswith("ssim") else 0):
            raise ImportedResultsError(f"{where}: {name} is {value:g}, less than there is")
    elif value < 0 or (_MOST_DB < value < math.inf and name != "mse_rgb"):
        unit = "" if name == "mse_rgb" else " dB"
        raise ImportedResultsError(f"{where}: {name} is {value:g}{unit}, which cannot be")


def seconds(
    numbers: Mapping[str, float], names: Sequence[str], where: str
) -> Iterator[float | None]:
    """The times of these names, as far as they are told, checked."""
    for name in names:
        value = numbers.get(name)
        if value is not None and not 0 <= value < _MOST_SECONDS:
            raise ImportedResultsError(
                f"{where}: {name} is {value:g}; seconds are 0 or more, and no years"
            )
        yield value


# CompressAI's names, once hyphens are underscores; what it calls psnr and ms-ssim is of RGB.
_COMPRESSAI = {"psnr": "psnr_rgb", "ms_ssim": "ms_ssim_rgb", "ms_ssim_db": "ms_ssim_rgb_db"}
_TIMES = ("encoding_time", "decoding_time")
_EXPECTED = (
    'CompressAI writes {"name": ..., "results": {"bpp": [...], "psnr-rgb": [...], '
    '"ms-ssim-rgb": [...]}}'
)


def _compressai(text: str, sha256: str, path: Path) -> Figures:
    """Averages over a data set, as CompressAI's `bench` and `eval_model` write them."""
    name, results, about = _results(text, path)
    if any(isinstance(value, int | float) for value in results.values()):
        image = f" of the image {about['source']}" if "source" in about else ""
        raise ImportedResultsError(
            f"{path} holds single figures{image}, not lists; import the folder of all images"
        )
    columns = {key: _listed(key, value, path) for key, value in results.items() if _wanted(key)}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        differing = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise ImportedResultsError(f"{path}: the lists are of unequal length: {differing}")
    if not lengths or not next(iter(lengths.values())):
        raise ImportedResultsError(f"{path} holds no points; {_EXPECTED}")
    rows = [
        _row_of_compressai(
            dict(zip(columns, values, strict=True)), f"{path}, point {i}", codec=name
        )
        for i, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]
    left_out = tuple(key for key in results if not _wanted(key))
    return Figures("CompressAI's JSON", sha256, tuple(rows), left_out)


def _images_of_compressai(paths: Sequence[Path], folder: Path) -> Figures:
    """Figures of single images, which `eval_model --per-image` writes to a file each.

    What stands behind the image's name in that of the file is the operating point.
    """
    if not paths:
        raise ImportedResultsError(
            f"{folder} holds neither decoded pictures (.png, .ppm, .bmp, .tif) nor .json files"
        )
    rows, digest = [], hashlib.sha256()
    for path in paths:
        text, sha256 = read_text(path)
        digest.update(f"{printable(path.relative_to(folder).as_posix())}\0{sha256}\n".encode())
        name, results, about = _results(text, path)
        image = about.get("source")
        if not isinstance(image, str):
            raise ImportedResultsError(
                f"{path} is not of a single image: it has no source; import the file itself"
            )
        below = path.relative_to(folder).parent / image
        values = {key: _figure(key, value, path) for key, value in results.items() if _wanted(key)}
        point = path.stem.removeprefix(image).strip("-_")
        rows.append(
            _row_of_compressai(
                values, str(path), codec=name, image=printable(below.as_posix()), point=point
            )
        )
    return Figures("CompressAI's JSON, image by image", digest.hexdigest(), tuple(rows))


def _results(text: str, path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The name, the figures, and all else of a file of CompressAI's."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImportedResultsError(f"{path} is no JSON ({error})") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or "bpp" not in results:
        raise ImportedResultsError(f"{path} holds no results with a bpp; {_EXPECTED}")
    if not any(_metric(key) in _names() for key in results):
        raise ImportedResultsError(
            f"{path} holds no metric that is known here, but {', '.join(results)}; {_EXPECTED}"
        )
    name = content.get("name")
    return name if isinstance(name, str) else "", results, content


def _metric(key: str) -> str:
    name = key.lower().replace("-", "_")
    return _COMPRESSAI.get(name, name)


def _wanted(key: str) -> bool:
    return key == "bpp" or key in _TIMES or _metric(key) in _names()


def _listed(key: str, value: object, path: Path) -> list[float]:
    if not isinstance(value, list):
        raise ImportedResultsError(f"{path}: {key} is no list; {_EXPECTED}")
    return [_figure(key, item, path) for item in value]


def _figure(key: str, value: object, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ImportedResultsError(f"{path}: {key} holds {value!r:.40}, which is no number")
    return number(repr(value), _metric(key), str(path))


def _row_of_compressai(
    values: Mapping[str, float], where: str, codec: str, image: str = "", point: str = ""
) -> Row:
    metrics = {_metric(key): value for key, value in values.items()}
    bpp, _ = rate(values, where)
    encode_s, decode_s = seconds(values, _TIMES, where)
    return Row(
        where,
        codec,
        image=image,
        point=point,
        bpp=bpp,
        metrics=_metrics(metrics, where, bool(image)),
        encode_s=encode_s,
        decode_s=decode_s,
    )
