"""From figures to what the store keeps: codecs named, images identified, points in order."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from lic_bench.analysis.comparison import PUBLISHED
from lic_bench.errors import ImportedResultsError, check_known
from lic_bench.images.dataset import Dataset
from lic_bench.importers.figures import Row
from lic_bench.plugins.spec import split_specs
from lic_bench.printable import printable, printable_lines
from lic_bench.store.records import Average, Key, Measurement

_NEAR = 0.01  # how far, as a share, a given rate may be from that of the given bytes
_LONGEST = 100


@dataclass(frozen=True)
class Original:
    """An image of a data set, as far as figures need it."""

    name: str
    key: str
    """What its measurements are kept under."""
    width: int | None
    height: int | None


class Originals:
    """The images of a data set, found by name: with its suffix or without, in any Unicode form."""

    def __init__(self, dataset: str, images: Iterable[Original]) -> None:
        self.dataset = dataset
        self._by_name: dict[str, Original] = {}
        stems: dict[str, Original | None] = {}
        for image in images:
            self._by_name[_composed(image.name)] = image
            stem = without_suffix(_composed(image.name))
            stems[stem] = None if stem in stems else image
        for stem, only in stems.items():
            if only is not None:
                self._by_name.setdefault(stem, only)

    @classmethod
    def of(cls, dataset: Dataset) -> Originals:
        """Those of a data set at hand."""
        return cls(
            dataset.name,
            (Original(i.name, i.key, i.width or None, i.height or None) for i in dataset.images),
        )

    def get(self, name: str) -> Original | None:
        """The image of a name; nothing where there is none, or more than one."""
        composed = _composed(name)
        return self._by_name.get(composed) or self._by_name.get(without_suffix(composed))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def without_suffix(name: str) -> str:
    """A path within a folder, with ``/`` between its parts, without the suffix of the last."""
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.name else name


def imported_identity(name: str, source: str, sha256: str) -> str:
    """What results from elsewhere are kept under: their name, and what they were read from."""
    return json.dumps({"imported": name, "from": source, "sha256": sha256}, ensure_ascii=False)


def assigned(
    rows: Sequence[Row], *, name: str | None, dataset: str | None, codecs: Sequence[str]
) -> list[Row]:
    """Give each row its codec and data set, and leave out those that are not wanted.

    Parameters
    ----------
    name
        What the codec is to be called.
    dataset
        The data set of rows that name none; of the others, the one that is wanted.
    codecs
        Those that are wanted, by the names in the file; all.

    Raises
    ------
    ImportedResultsError
        Where a codec or a data set has no name, or a codec one that cannot be.
    SpecError
        Where there is nothing of a codec or data set that is wanted.
    """
    for codec in codecs:
        check_known("codec in the file", codec, sorted({row.codec for row in rows}))
    if dataset is not None:
        datasets = sorted({row.dataset or dataset for row in rows})
        check_known("data set in the file", dataset, datasets)
    rows = [
        row
        for row in rows
        if (not codecs or row.codec in codecs) and (not dataset or row.dataset in ("", dataset))
    ]
    if name is not None and len(there := dict.fromkeys(row.codec for row in rows)) > 1:
        raise ImportedResultsError(
            f"--as {name} names one codec, and here are {', '.join(there)}; choose: --codecs"
        )
    chosen = [
        replace(
            row,
            codec=row.codec if name is None else name,
            dataset=printable(row.dataset or dataset or ""),
            point=printable(row.point),
            error=row.error if row.error is None else printable_lines(row.error),
        )
        for row in rows
    ]
    for row in chosen:
        if not row.codec:
            raise ImportedResultsError(f"{row.where} names no codec; name it: --as NAME")
        if not row.dataset:
            raise ImportedResultsError(
                f"{row.where} names no data set; name it, as in --dataset kodak"
            )
    for codec in {row.codec for row in chosen}:
        check_name(codec)
    return chosen


def check_name(name: str) -> None:
    """Refuse what other commands could not take for the name of a codec.

    Raises
    ------
    ImportedResultsError
        With the remedy.
    """
    # A name that begins with _ is none to matplotlib.
    good = (
        name.isprintable()
        and not name.startswith("_")
        and name == name.strip()
        and split_specs(name) == [name]
    )
    taken = name.startswith(PUBLISHED) or "/" in name.partition(":")[0] or name == "all"
    taken = taken or re.search(r"@\d+$", name) is not None  # a state of a codec
    if not good or taken or len(name) > _LONGEST:
        raise ImportedResultsError(
            f"{name[:_LONGEST]!r} cannot be the name of a codec here: up to {_LONGEST} letters, "
            "without commas and slashes, the first no _; give another: --as NAME"
        )


def averages(rows: Iterable[Row]) -> list[Average]:
    """The points of averaged curves, each curve's from low rate to high.

    Points that have no name are numbered.
    """
    points = []
    for (codec, dataset), own in _curves(rows):
        if any(row.image for row in own):
            continue
        for row in own:
            if row.bpp is None:
                raise ImportedResultsError(f"{row.where}: an average over a data set needs a bpp")
        own.sort(key=lambda row: row.bpp or 0)
        if len(own) > 1 and not any(row.point for row in own):
            own = [replace(row, point=str(i)) for i, row in enumerate(own, start=1)]
        _check_once((row.point, row) for row in own)
        points += [
            Average(codec, dataset, r.point, r.bpp, r.metrics, r.encode_s, r.decode_s)
            for r in own
            if r.bpp is not None
        ]
    return points


def measurements(
    rows: Iterable[Row], originals: Mapping[str, Originals], identities: Mapping[str, str]
) -> list[tuple[Key, Measurement, int | None]]:
    """Figures of single images, as `Store.add_imported` takes them.

    Parameters
    ----------
    originals
        By data set.
    identities
        By codec.
    """
    results = []
    for (codec, dataset), own in _curves(rows):
        placed = []
        for row in own:
            if not row.image:
                continue
            original = originals[dataset].get(row.image)
            if original is None:
                raise ImportedResultsError(f"{row.where}: {dataset} has no image {row.image!r}")
            key = Key(original.key, identities[codec], row.point)
            placed.append(((key.image_key, row.point), row))
            results.append((key, *_measurement(row, original)))
        _check_once(placed)
    return results


def _measurement(row: Row, original: Original) -> tuple[Measurement, int | None]:
    width, height = original.width, original.height
    measurement = Measurement(width, height, encode_s=row.encode_s, decode_s=row.decode_s)
    if row.error is not None:
        return replace(measurement, error=row.error), row.size
    if width is None or height is None:
        raise ImportedResultsError(
            f"{row.where}: the size of {original.name} is not known: it could never be read"
        )
    size = size_in_bytes(row.bpp, row.size, width * height, row.where)
    return replace(measurement, metrics=row.metrics), size


def size_in_bytes(bpp: float | None, size: int | None, pixels: int, where: str) -> int:
    """The size of a bitstream, given in bytes or, to the nearest byte, by its rate."""
    if size is None:
        return max(1, round((bpp or 0) * pixels / 8))
    if bpp is not None and not math.isclose(8 * size / pixels, bpp, rel_tol=_NEAR):
        raise ImportedResultsError(
            f"{where}: {size} bytes are {8 * size / pixels:.4f} bpp, but its bpp is {bpp:.4f}"
        )
    return size


def _curves(rows: Iterable[Row]) -> Iterator[tuple[tuple[str, str], list[Row]]]:
    """The rows of each codec on each data set: all of images, or all averages."""
    curves: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        curves.setdefault((row.codec, row.dataset), []).append(row)
    for pair, own in curves.items():
        if len({bool(row.image) for row in own}) > 1:
            bare = next(row for row in own if not row.image)
            raise ImportedResultsError(f"{bare.where} names no image, and others of {pair[0]} do")
        yield pair, own


def _check_once(rows: Iterable[tuple[object, Row]]) -> None:
    seen: dict[object, Row] = {}
    for key, row in rows:
        if key in seen:
            raise ImportedResultsError(
                f"{row.where} is of the same point as {seen[key].where.rpartition(', ')[2]}"
                f"{f', {row.image}' if row.image else ''}; name operating points in a column point"
            )
        seen[key] = row
