"""Decoded images from elsewhere: found in a folder, and measured as our own.

A picture is called as its original is, in PNG, PPM, BMP or TIFF; folders around it are operating
points. The size of its bitstream is that of the one file beside it of the same name and another
suffix, or stands in a CSV file: columns image, bytes or bpp, and point where there are several;
encode_s and decode_s as well, where they are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from lic_bench.errors import ImportedResultsError
from lic_bench.execution.faults import FaultError
from lic_bench.execution.figures import Asked
from lic_bench.execution.measure import Compare
from lic_bench.execution.memory import most_memory_gb
from lic_bench.execution.runner import Limits, Runners
from lic_bench.images.dataset import Dataset, ImageFile
from lic_bench.importers.entries import Original, Originals, size_in_bytes
from lic_bench.importers.figures import MOST_BYTES, number, rate, read_text, seconds, table
from lic_bench.printable import printable
from lic_bench.store.records import Measurement

_LOSSLESS = (".png", ".ppm", ".pgm", ".pnm", ".bmp", ".tif", ".tiff")
_SHOWN = 3  # of names in a note


@dataclass(frozen=True)
class Decoded:
    """A picture, its original, and what is told of its bitstream."""

    original: ImageFile
    point: str
    path: Path
    size: int
    """Of the bitstream, in bytes."""
    encode_s: float | None = None
    decode_s: float | None = None


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    pictures: tuple[Decoded, ...]
    """Image by image, so that a worker keeps its original."""
    notes: tuple[str, ...]
    """What was left out, and what is missing."""


def any_in(folder: Path) -> bool:
    """Whether there are pictures in a folder, at any depth."""
    return any(path.suffix.lower() in _LOSSLESS for path in _files(folder))


def find(folder: Path, dataset: Dataset) -> Found:
    """Find the decoded pictures of a data set's images, and the sizes of their bitstreams.

    Raises
    ------
    ImportedResultsError
        Where a picture has no size, or two; where no picture is of the data set.
    """
    originals = Originals.of(dataset)
    images = {image.name: image for image in dataset.images}
    files: dict[tuple[str, str], list[Path]] = {}
    tables, strange = [], []
    for path in _files(folder):
        if path.suffix.lower() == ".csv":
            tables.append(path)
            continue
        point, original = _placed(printable(path.relative_to(folder).as_posix()), originals)
        if original is None:
            strange.append(path)
        else:
            files.setdefault((original.name, point), []).append(path)
    if len(tables) > 1:
        raise ImportedResultsError(
            f"{folder} holds several CSV files ({_some(tables)}); leave the sizes"
        )
    sizes = _sizes(tables[0], originals) if tables else None
    pictures, alone = [], []
    for (name, point), beside in files.items():
        decoded = [path for path in beside if path.suffix.lower() in _LOSSLESS]
        streams = [path for path in beside if path not in decoded]
        if not decoded:
            alone += streams
            continue
        if len(decoded) > 1:
            raise ImportedResultsError(
                f"{folder}: there are two pictures of {name}: {_some(decoded)}"
            )
        one = Decoded(images[name], point, decoded[0], 0)
        pictures.append(_sized(one, streams) if sizes is None else _told(one, sizes, tables[0]))
    if not pictures:
        raise ImportedResultsError(
            f"no picture in {folder} is called as an image of {dataset.name}; "
            f"those are called {_some([image.path for image in dataset.images])}"
        )
    order = {image.name: i for i, image in enumerate(dataset.images)}
    pictures.sort(key=lambda one: order[one.original.name])
    return Found(tuple(pictures), tuple(_notes(dataset, pictures, strange, alone)))


def _files(folder: Path) -> list[Path]:
    """The files at every depth but hidden ones, in order of their names.

    Raises
    ------
    ImportedResultsError
        Where one is a link that leads out of the folder, or larger than any picture.
    """
    files = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():  # a pipe would be waited for
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise ImportedResultsError(
                f"{path} is a link that leads out of {folder}; lay a copy there"
            )
        if path.stat().st_size > MOST_BYTES:  # it may be sparse, and take no room
            raise ImportedResultsError(f"{path} has more than 2 GiB; no picture or bitstream has")
        files.append(path)
    return files


def _placed(name: str, originals: Originals) -> tuple[str, Original | None]:
    """The operating point and the original of a file, by its path in the folder."""
    found = originals.get(name)
    if found is not None:
        return "", found
    point, _, rest = name.partition("/")
    return point, originals.get(rest) if rest else None


@dataclass(frozen=True)
class _Told:
    """What a CSV file tells of a bitstream."""

    where: str
    bpp: float | None
    size: int | None
    encode_s: float | None
    decode_s: float | None


def _sizes(path: Path, originals: Originals) -> dict[tuple[str, str], _Told]:
    """What a CSV file tells, by name of image and point."""
    told: dict[tuple[str, str], _Told] = {}
    for where, cells in table(read_text(path)[0], path):
        if "image" not in cells or not cells.keys() & {"bytes", "bpp"}:
            raise ImportedResultsError(f"{where} needs columns image, and bytes or bpp")
        original = originals.get(cells["image"])
        if original is None:
            raise ImportedResultsError(
                f"{where}: {originals.dataset} has no image {cells['image']!r}"
            )
        key = (original.name, cells.get("point", ""))
        if key in told:
            raise ImportedResultsError(f"{where}: {' '.join(key).strip()} is there twice")
        names = cells.keys() & {"bytes", "bpp", "encode_s", "decode_s"}
        numbers = {name: number(cells[name], name, where) for name in names}
        encode_s, decode_s = seconds(numbers, ("encode_s", "decode_s"), where)
        told[key] = _Told(where, *rate(numbers, where), encode_s, decode_s)
    return told


def _told(one: Decoded, sizes: Mapping[tuple[str, str], _Told], path: Path) -> Decoded:
    told = sizes.get((one.original.name, one.point))
    if told is None:
        at = f" at point {one.point} (column point)" if one.point else ""
        raise ImportedResultsError(f"{path} tells no size of {one.original.name}{at}")
    pixels = max(1, one.original.width * one.original.height)
    size = size_in_bytes(told.bpp, told.size, pixels, told.where)
    return replace(one, size=size, encode_s=told.encode_s, decode_s=told.decode_s)


def _sized(one: Decoded, streams: Sequence[Path]) -> Decoded:
    if len(streams) != 1:
        found = f"there are {len(streams)}: {_some(streams)}" if streams else "there is none"
        raise ImportedResultsError(
            f"{one.path}: its bitstream, of the same name and another suffix, should lie beside "
            f"it, and {found}; or a CSV file tells the sizes: image,point,bytes"
        )
    size = streams[0].stat().st_size
    if not size:
        raise ImportedResultsError(f"{streams[0]} is empty; a bitstream has 1 byte or more")
    return replace(one, size=size)


def _notes(
    dataset: Dataset, pictures: Iterable[Decoded], strange: Sequence[Path], alone: Sequence[Path]
) -> Iterator[str]:
    if strange:
        yield (
            f"{len(strange)} files are not called as an image of {dataset.name}, and are left out: "
            f"{_some(strange)}"
        )
    if alone:
        yield f"{len(alone)} bitstreams have no picture, and are left out: {_some(alone)}"
    points: dict[str, int] = {}
    for one in pictures:
        points[one.point] = points.get(one.point, 0) + 1
    for point, number_of in points.items():
        if number_of < len(dataset.images):
            yield (
                f"{f'point {point}: ' if point else ''}{number_of} of the {len(dataset.images)} "
                f"images of {dataset.name} have a picture: it will not stand on the curve"
            )


def _some(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(path.name for path in paths[:_SHOWN]) + more


def measure_all(
    pictures: Sequence[Decoded], jobs: int, wanted: tuple[Asked, ...]
) -> Iterator[tuple[Measurement, str]]:
    """Measure pictures in worker processes, in their order.

    Parameters
    ----------
    wanted
        The metrics.

    Returns
    -------
    Each measurement, without a stream, and the SHA-256 of the picture's file. A picture that cannot
    be measured has an error.
    """
    runners = Runners(Limits(memory_gb=most_memory_gb(), confined=True))
    threads = ThreadPoolExecutor(jobs)

    def measure(picture: Decoded) -> tuple[Measurement, str]:
        try:
            measurement, sha256 = runners.ask(Compare(picture.original, picture.path, wanted))
        except FaultError as fault:
            measurement, sha256 = Measurement(error=str(fault)), ""
        timed = replace(measurement, encode_s=picture.encode_s, decode_s=picture.decode_s)
        return timed, sha256

    def measure_some(some: Sequence[Decoded]) -> list[tuple[Measurement, str]]:
        return list(map(measure, some))

    by_image = [list(some) for _, some in groupby(pictures, lambda picture: picture.original.key)]
    try:
        for measured in threads.map(measure_some, by_image):
            yield from measured
    finally:
        runners.close()
        threads.shutdown(cancel_futures=True)


def kept(one: Decoded, measurement: Measurement, sha256: str) -> Measurement:
    """The measurement with its picture, which is the file as it was when it was measured.

    Raises
    ------
    ImportedResultsError
        Where it was altered since.
    """
    if measurement.error is not None:
        return measurement
    content = one.path.read_bytes() if one.path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ImportedResultsError(f"{one.path} was altered meanwhile; repeat the command")
    return replace(measurement, stream=content)


def digest(folder: Path, pictures: Iterable[Decoded], sums: Iterable[str]) -> str:
    """SHA-256 over the names, contents and sizes of what was imported, in hexadecimal."""
    lines = sorted(
        f"{one.path.relative_to(folder).as_posix()}\0{sha256}\0{one.size}\n"
        for one, sha256 in zip(pictures, sums, strict=True)
    )
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
