"""Bitstreams and decoded pictures out of a store, at equal rate or quality, for a paper's figures.

A picture is decoded anew by the codec that made its bitstream, and compared with the measurement:
one that differs is not given.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lic_bench.codec.registry import Registry
from lic_bench.errors import LicBenchError, SpecError, UnavailableError, UndefinedError
from lic_bench.execution.faults import FaultError
from lic_bench.execution.requests import Decode, another_picture
from lic_bench.execution.runner import Limits, Runners
from lic_bench.images.dataset import ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metric.quality import qualities_in
from lic_bench.metric.targets import Target
from lic_bench.plugins.spec import names_files, parse_spec
from lic_bench.store.database import Store
from lic_bench.store.records import Key

FAR = 1.1
"""The factor by which a rate may miss what was asked for before a reader is warned."""


@dataclass(frozen=True)
class Wanted:
    """A measurement whose picture is wanted."""

    dataset: str
    image: str
    codec: str
    point: str
    bpp: float
    quality: Mapping[str, float]
    """By name of metric, in its unit."""
    mse: float
    key: Key = field(repr=False)
    imported: bool = False


@dataclass(frozen=True)
class Extract:
    """A picture, and the bitstream that it was decoded from."""

    wanted: Wanted
    stream: bytes = field(repr=False)
    picture: Image = field(repr=False)
    """uint8, H x W x 3."""


class Crop(NamedTuple):
    """A part of an image, in pixels from its left upper corner."""

    left: int
    top: int
    width: int
    height: int

    def of(self, image: Image) -> Image:
        """The part: uint8, height x width x 3.

        Raises
        ------
        SpecError
            Where it reaches beyond the image.
        """
        rows, columns, _ = image.shape
        if self.left + self.width > columns or self.top + self.height > rows:
            raise SpecError(
                f"the crop {','.join(map(str, self))} reaches beyond an image of {columns}x{rows}"
            )
        across = slice(self.left, self.left + self.width)
        return image[self.top : self.top + self.height, across]


def parse_crop(text: str) -> Crop:
    """Read ``LEFT,TOP,WIDTH,HEIGHT``.

    Raises
    ------
    SpecError
        Where it is anything else.
    """
    try:
        left, top, width, height = map(int, text.split(","))
    except ValueError:
        left, top, width, height = -1, 0, 0, 0
    if min(left, top) < 0 or min(width, height) < 1:
        raise SpecError(
            f"{text!r} is no crop: LEFT,TOP,WIDTH,HEIGHT in pixels, as in 96,64,192,128"
        )
    return Crop(left, top, width, height)


def choose(
    measurements: pd.DataFrame, *, rate: float | None = None, match: Target | None = None
) -> tuple[list[Wanted], list[str]]:
    """Choose the measurements whose pictures are wanted, image by image; and what to know of them.

    Parameters
    ----------
    rate
        Of each image and codec the operating point nearest to so many bits per pixel.
    match
        Those that a search found for this target; see `execution.matching`. Without either, all.

    Raises
    ------
    UndefinedError
        Where there are none.
    """
    fine = measurements["error"].isna() & measurements["image"].notna()
    rows = measurements[fine]
    notes: list[str] = []
    if match is not None:
        rows = rows[[str(match) in text.split() for text in rows["matches"]]]
    elif rate is not None:
        apart = pd.Series(np.abs(np.log(rows["bpp"].to_numpy(dtype="float64") / rate)), rows.index)
        settings = [rows["dataset"], rows["image"], rows["codec"]]
        rows = rows.loc[apart.groupby(settings, sort=False).idxmin()]
    asked = match.value if match is not None and match.metric is None else rate
    for codec, own in rows.groupby("codec", sort=False) if asked else ():
        far = own[np.abs(np.log(own["bpp"] / asked)) > math.log(FAR)]
        if len(far):
            nearer = f"; lic-bench run --match bpp={rate:g} finds nearer points" if rate else ""
            notes.append(
                f"{codec}: {len(far)} of {len(own)} pictures miss {asked:g} bpp by more than 10 %: "
                f"{far['bpp'].min():.3f} to {far['bpp'].max():.3f} bpp{nearer}"
            )
    if rows.empty:
        what = "nothing was measured" if match is None else f"nothing was searched for {match}"
        raise UndefinedError(f"There is no picture to extract: {what}.")
    # Image by image, and in each of them the codecs in their order.
    order = {image: i for i, image in enumerate(rows["image"].unique())}
    rows = rows.sort_values("image", key=lambda own: own.map(order), kind="stable")
    return [_wanted(row) for _, row in rows.iterrows()], notes


def _wanted(row: pd.Series[Any]) -> Wanted:
    quality = {
        one.name: float(one.from_mean(row[one.images]))
        for one in qualities_in(row.index)
        if not one.pooled and pd.notna(row[one.images])
    }
    key = Key(row["image_sha256"], row["identity"], row["point"] or "")
    names = row["dataset"], row["image"], row["codec"], key.point
    imported = bool(row["imported"])
    return Wanted(*names, float(row["bpp"]), quality, float(row["mse_rgb"]), key, imported)


def extract(
    wanted: Iterable[Wanted],
    folder: Path,
    originals: Mapping[str, ImageFile],
    *,
    plugins: Sequence[Path] = (),
    named: Collection[str] = (),
    limits: Limits,
) -> Iterator[Extract]:
    """Decode pictures from the bitstreams of a store, one after the other.

    Parameters
    ----------
    originals
        Those at hand, by the key of their measurements: a picture is compared with what was
        measured.
    named
        The specs that the user has named. Of those that a store alone names, the options that name
        a file are not followed: it may be anybody's.

    Raises
    ------
    UnavailableError
        Where one cannot be decoded here, or is another than was measured.
    """
    registry = Registry(plugins)
    with closing(Runners(limits)) as runners, Store.open(folder) as store:
        for one in wanted:
            stream = store.kept(one.key).stream
            if stream is None:
                raise UnavailableError(f"{one.image}: no bitstream of {one.codec} is kept")
            if one.imported:
                picture = read_image(stream, f"{one.image} of {one.codec}")
            else:
                _check_named(registry, one.codec, named)
                try:
                    picture = runners.ask(Decode(one.codec, tuple(plugins), stream))
                except (FaultError, LicBenchError) as fault:
                    raise UnavailableError(
                        f"{one.image}: {one.codec} cannot decode it here: {fault}"
                    ) from fault
            if one.key.image_key in originals:
                original = originals[one.key.image_key].read()
                if problem := another_picture(one.codec, picture, original, one.mse):
                    raise UnavailableError(f"{one.image}: {problem}")
            yield Extract(one, stream, picture)


def _check_named(registry: Registry, codec: str, named: Collection[str]) -> None:
    spec = parse_spec(codec)
    cls = registry.entry(spec.name).cls
    if cls is not None and codec not in named and names_files(cls, spec):
        raise UnavailableError(
            f"{codec} names a file, which the store alone asks for: name it with --codecs"
        )


def zoomed(image: Image, factor: int) -> Image:
    """Each pixel as a square of so many, so that a viewer blurs nothing."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
