"""Which pictures the viewer shows.

For each image and codec the operating points nearest a few common rates, so that codecs are looked
at side by side at about the same rate; and those that a search found to meet a target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lic_bench.images.dataset import Dataset, ImageFile
from lic_bench.metric.quality import qualities_in
from lic_bench.reporting.page.pictures import Picture, Rate
from lic_bench.store.records import Key

_USUAL_RATES = (0.15, 0.3, 0.6)
_NEAR = 1.5  # the factor by which a point's rate may miss a common rate


@dataclass(frozen=True)
class Shot:
    """A picture that is wanted."""

    codec: str
    """As the page calls it."""
    spec: str
    point: str
    bpp: float
    mse: float
    """The mean squared error that was measured."""
    key: Key
    quality: Mapping[str, float | None]
    """By name of metric, in its unit."""
    imported: bool
    """Whether what is kept of it is the picture instead of a bitstream."""


@dataclass(frozen=True)
class Scene:
    """The pictures of one image at one rate, which are made one after the other."""

    dataset: str
    image: str
    file: ImageFile | None
    """Where the original is at hand."""
    rate: Rate
    shots: tuple[Shot, ...]
    with_original: bool
    """Whether the original itself is among the pictures: once for each image."""


def common_rates(aggregated: pd.DataFrame, dataset: str) -> list[float]:
    """The rates at which pictures are compared: those of 0.15, 0.3, 0.6 bpp that codecs reach.

    That is, at least half of the codecs have a point within a factor of 1.5. If they reach none of
    them: three rates that divide the median codec's range.
    """
    rows = aggregated[(aggregated["dataset"] == dataset) & aggregated["complete"]]
    rates = [group.to_numpy() for _, group in rows.groupby("codec")["bpp"]]
    if not rates:
        return []

    def reached(rate: float) -> bool:
        near = [np.abs(np.log(mine / rate)).min() <= math.log(_NEAR) for mine in rates]
        return 2 * int(sum(near)) >= len(near)

    usual = [rate for rate in _USUAL_RATES if reached(rate)]
    if usual:
        return usual
    low = float(np.median([mine.min() for mine in rates]))
    high = float(np.median([mine.max() for mine in rates]))
    return sorted({float(f"{rate:.2g}") for rate in np.geomspace(low, high, 5)[1:-1]})


def scenes(
    measurements: pd.DataFrame,
    dataset: str,
    rates: Sequence[float],
    images: int,
    files: Mapping[str, ImageFile],
) -> tuple[list[Scene], list[Picture]]:
    """Choose the pictures of a data set: at some rates, and at each target that was searched for.

    Parameters
    ----------
    measurements
        As `lic_bench.store.table.load` returns them; with a column `spec`, where codecs are called
        otherwise.
    rates
        In bits per pixel.
    images
        How many of the data set's images, at even distances.
    files
        The originals that are at hand, by the key that measurements are kept under.

    Returns
    -------
    The scenes, the middle rate of all images first and then the targets, so that a limit spares
    what matters; and the pictures that there cannot be.
    """
    rows = measurements[
        (measurements["dataset"] == dataset)
        & measurements["error"].isna()
        & measurements["image"].notna()
    ]
    names = list(rows.drop_duplicates("image")["image"])
    chosen = (
        [names[i] for i in sorted(set(np.linspace(0, len(names) - 1, images).astype(int)))]
        if names
        else []
    )
    found: list[Scene] = []
    missing: list[Picture] = []
    by_image = dict(list(rows.groupby("image")))
    middle = rates[(len(rates) - 1) // 2] if rates else 0.0
    ordered = sorted(rates, key=lambda one: abs(math.log(one / middle)))
    targets = sorted({target for text in rows["matches"] for target in text.split()})
    wanted: list[Rate] = [*ordered[:1], *targets, *ordered[1:]]
    for rate in wanted:
        for name in chosen:
            shots = []
            for codec, group in by_image[name].groupby("codec"):
                row = _nearest(group, rate) if isinstance(rate, float) else _match(group, rate)
                if row is None:
                    why = "no point near this rate" if isinstance(rate, float) else "not matched"
                    missing.append(Picture(dataset, name, rate, str(codec), problem=why))
                    continue
                key = Key(row["image_sha256"], row["identity"], row["point"])
                measured = row["point"], row["bpp"], row["mse_rgb"]
                imported = bool(row["imported"])
                spec = str(row.get("spec", codec))
                shots.append(Shot(str(codec), spec, *measured, key, _quality(row), imported))
            file = files.get(by_image[name]["image_sha256"].iloc[0])
            found.append(Scene(dataset, name, file, rate, tuple(shots), rate == wanted[0]))
    return found, missing


def _nearest(rows: pd.DataFrame, rate: float) -> pd.Series[Any] | None:
    """Of a codec's points on an image that one nearest a rate, if it is near enough."""
    rows = rows[~rows["searched"]]
    distance = np.abs(np.log(rows["bpp"] / rate))
    near = not rows.empty and distance.min() <= math.log(_NEAR)
    return rows.loc[distance.idxmin()] if near else None


def _match(rows: pd.DataFrame, target: str) -> pd.Series[Any] | None:
    """Of a codec's points on an image that one which met a target."""
    found = rows[[target in text.split() for text in rows["matches"]]]
    return None if found.empty else found.iloc[0]


def _quality(row: pd.Series[Any]) -> dict[str, float | None]:
    """The metrics of one measurement; None where they are missing or infinite."""
    found = {
        one.name: math.nan if pd.isna(row[one.images]) else float(one.from_mean(row[one.images]))
        for one in qualities_in(row.index)
    }
    return {
        name: round(value, 4) if row["mse_rgb"] and math.isfinite(value) else None
        for name, value in found.items()
    }


def originals(datasets: Sequence[Dataset]) -> dict[str, ImageFile]:
    """The images at hand, by the key that their measurements are kept under."""
    return {image.key: image for one in datasets for image in one.images if image.error is None}
