"""The kinds of images that a page can be restricted to.

All of them follow from the measurements, so that a store suffices that somebody sent: the folder in
which an image lies, its orientation, and how many bits it takes beside the others.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

_MOST_FOLDERS = 12
_ENOUGH = 6  # images, of which thirds are made
_APART = 1.25  # by which the third with the most bits must exceed the one with the fewest


def tags(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Group the images of a data set: each tag with its images.

    Parameters
    ----------
    rows
        Measurements of one data set, as `lic_bench.store.table.load` returns them.

    Returns
    -------
    By tag, names of images in the order of the table. ``in FOLDER/``, the folder as a user named
    it, for the twelve folders with the most images; ``landscape``, ``portrait``, ``square``;
    ``fewest bits``, ``most bits``: thirds of the images, by the geometric mean of their rates over
    the codecs and points that all of them have. A tag that all images share is left out.
    """
    rows = rows[rows["image"].notna()]
    images = rows.drop_duplicates("image").set_index("image")
    found = _folders(list(images.index)) | _orientations(images) | _thirds(rows, list(images.index))
    return {tag: names for tag, names in found.items() if 0 < len(names) < len(images)}


def _folders(names: list[str]) -> dict[str, list[str]]:
    def above(name: str) -> list[str]:
        parts = name.split("/")[:-1]
        return ["/".join(parts[: i + 1]) for i in range(len(parts))]

    number = Counter(folder for name in names for folder in above(name))
    some = sorted(folder for folder, _ in number.most_common(_MOST_FOLDERS))
    return {f"in {folder}/": [name for name in names if folder in above(name)] for folder in some}


def _orientations(images: pd.DataFrame) -> dict[str, list[str]]:
    width, height = images["width"], images["height"]
    kinds = {"landscape": width > height, "portrait": width < height, "square": width == height}
    return {kind: list(images.index[chosen]) for kind, chosen in kinds.items()}


def _thirds(rows: pd.DataFrame, names: list[str]) -> dict[str, list[str]]:
    """The images with the fewest bits and those with the most; nothing where they hardly differ."""
    if len(names) < _ENOUGH:
        return {}
    measured = rows[rows["error"].isna() & (rows["bpp"] > 0) & ~rows["searched"]]
    rates = measured.pivot_table(index="image", columns=["codec", "point"], values="bpp")
    means = rates.reindex(names).dropna(axis="columns").apply(np.log).mean(axis="columns")
    third = len(names) // 3
    ordered = means.sort_values(kind="stable")
    fewest, most = ordered.iloc[:third], ordered.iloc[-third:]
    if not most.mean() - fewest.mean() > np.log(_APART):  # nor where there is no common point
        return {}
    return {
        "fewest bits": [name for name in names if name in fewest.index],
        "most bits": [name for name in names if name in most.index],
    }
