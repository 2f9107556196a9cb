"""Some of the measurements of a table: of certain codecs, data sets, images and points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from lic_bench.errors import SpecError, check_known, find_known
from lic_bench.store.table import spelled


def select(
    measurements: pd.DataFrame,
    *,
    codecs: Iterable[str] = (),
    datasets: Iterable[str] = (),
    images: Iterable[str] = (),
    points: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Select measurements; what is not given selects all.

    Names may be typed in any case, and with or without hyphens.

    Parameters
    ----------
    measurements
        As `lic_bench.load` returns them.
    points
        Operating points by codec, under ``""`` those of all other codecs: as they are spelled, or
        those from one number to another: ``10:90``, ``:50`` or, in steps, ``10:90:20``.

    Returns
    -------
    The rows, in the order of the codecs that are given.

    Raises
    ------
    SpecError
        Where there is nothing of such a name, or no such point.
    """
    rows = measurements
    for column, kind, wanted in (
        ("dataset", "measured data set", datasets),
        ("image", "measured image", images),
        ("codec", "measured codec", codecs),
    ):
        known = list(rows[column].dropna().unique())
        names = [find_known(kind, name, known) for name in wanted]
        if names:
            rows = rows[rows[column].isin(names)]
        if names and column == "codec":
            rows = rows.sort_values(column, key=lambda own: own.map(names.index), kind="stable")
    return _at_points(rows, points) if points else rows


def only_dataset(measurements: pd.DataFrame, dataset: str | None) -> str:
    """The data set that is asked for; where none is, the only one that there is.

    Raises
    ------
    SpecError
        Where there is none of this name, or none is named among several.
    """
    datasets = list(measurements["dataset"].unique())
    if dataset is None and len(datasets) > 1:
        raise SpecError(f"Name the data set with --dataset: {', '.join(datasets)}.")
    dataset = dataset or datasets[0]
    check_known("data set", dataset, datasets)
    return dataset


def _at_points(rows: pd.DataFrame, points: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    known = list(rows["codec"].unique())
    of = {
        spec and find_known("measured codec", spec, known): texts for spec, texts in points.items()
    }
    kept = pd.Series(data=True, index=rows.index)
    for codec in known:
        texts = of.get(codec, of.get(""))
        if texts is None:
            continue
        own = rows["codec"] == codec
        measured = spelled(rows.loc[own, "point"])
        chosen = {point for text in texts for point in _meant(text, list(measured.unique()))}
        if not chosen:
            there = ", ".join(map(str, measured.unique()))
            raise SpecError(f"{codec} was not measured at {','.join(texts)}, but at {there}")
        kept[own] = measured.isin(chosen)
    return rows[kept]


def _meant(text: str, points: Sequence[str]) -> list[str]:
    """Those of some operating points that a text such as ``50``, ``10:`` or ``10:90:20`` means."""
    if text in points:
        return [text]
    numbers = {point: number for point in points if (number := _number(point)) is not None}
    ends = [_number(end) for end in text.split(":")]
    if any(end is None and part for end, part in zip(ends, text.split(":"), strict=True)):
        return []  # it is a word
    if len(ends) == 1:
        return [point for point, number in numbers.items() if number == ends[0]]
    low, high, *step = ends
    return [
        point
        for point, number in numbers.items()
        if (low is None or number >= low)
        and (high is None or number <= high)
        and not (step and step[0] and (number - (low or 0)) % step[0])
    ]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
