"""Measurements as a tidy table: one row for each image, codec and operating point.

================  ==================================================================================
dataset, image    the data set's name, and the image's within it
width, height     of the image, in pixels
codec             the spec as given; ``jpeg@1`` for an older state of it
point             the operating point as text, in the codec's own unit; empty if there is one only
point_index       the points of a codec on a data set in order of mean rate, from 1
bytes, bpp        size of the bitstream, in all and in bits for each pixel
mse_rgb ...       the metrics, see `metrics.builtin`; missing where the image is too small for one;
                  and behind them those of other metrics that the store has values of
encode_s          seconds of wall time, measured while other workers run: for the order of magnitude
decode_s          likewise
error             why the measurement failed; the figures are then missing
metric_errors     why figures of a metric alone are missing
dataset_images    how many images the data set has, measured or not
image_sha256      of the image file, and how much is cut off it
identity          what the codec was made of: options, versions, weights; as JSON
run, measured     the run that measured it (see `lic-bench runs`), and when, in UTC
matches           the targets that a search met with it: ``bpp=0.25 psnr_rgb=32``; mostly empty
searched          a search alone tried this point on this data set: on no curve, and its point_index
                  tells nothing
imported          whether it comes from elsewhere (`lic-bench import`) and was not measured by a run
================  ==================================================================================

A row without an image is an average over the data set, which was imported as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

import pandas as pd

from lic_bench.codec.base import point_text
from lic_bench.errors import SpecError, StoreError
from lic_bench.files import atomic_write
from lic_bench.metric import quality
from lic_bench.metric.quality import DEFAULT_SCORES
from lic_bench.printable import printable_lines
from lic_bench.store.database import Store

MARK = " (imported)"
"""What stands behind the names of codecs that were not measured by a run."""

_TEXTS = (
    *("dataset", "image", "codec", "point", "error", "image_sha256", "identity", "measured"),
    *("matches", "kind", "metric_errors"),
)
_NUMBERS = {
    **dict.fromkeys(("width", "height", "bytes"), "Int64"),
    **dict.fromkeys(("encode_s", "decode_s"), "float64"),
    **dict.fromkeys(("position", "run", "dataset_images"), "int64"),
}
_ROWS = 20_000  # made into columns at a time: a row takes ten times as much
_DEFAULT = [score.column for score in DEFAULT_SCORES]
_BEFORE = (
    *("dataset", "image", "width", "height", "codec", "point", "point_index", "bytes", "bpp"),
)
_AFTER = (
    *("encode_s", "decode_s", "error", "metric_errors", "dataset_images", "image_sha256"),
    *("identity", "run", "measured", "matches", "searched", "imported"),
)
_SETTING = ["dataset", "codec", "point"]


def load(path: str | Path, also: Iterable[str] = ()) -> pd.DataFrame:
    """Load measurements: of every data set and codec of a store, as the latest runs saw them.

    Parameters
    ----------
    path
        The folder that ``lic-bench run --out`` wrote, or its store.
    also
        Names of codecs, of which those such as ``jpeg@1`` add the measurements of this state; see
        `lic_bench.store.names`.

    Returns
    -------
    A table whose columns the module's text explains.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be read.
    SpecError
        Where a codec has no such state.
    """
    with Store.open(Path(path)) as store:
        return frame(store, also)


def frame(store: Store, also: Iterable[str] = ()) -> pd.DataFrame:
    """The measurements of an open store; see `load`."""
    names, measured = store.current(also)
    averages = store.averages()
    figures = _learned(store)
    rows = chain(measured, (tuple(map(average.get, names)) for average in averages))
    texts: dict[str, str] = {}
    parts = [_part(names, [], figures, texts)]  # the columns, where there is no row
    while some := list(islice(rows, _ROWS)):
        parts.append(_part(names, some, figures, texts))
    table = pd.concat(parts, ignore_index=True)
    del parts
    rates = pd.Series([average["bpp"] for average in averages], dtype="float64")
    rates.index += len(table) - len(rates)
    computed = (8 * table["bytes"] / (table["width"] * table["height"])).astype("float64")
    table["bpp"] = computed.fillna(rates)
    table["imported"] = table["kind"] == "imported"
    table["matches"] = table["matches"].fillna("")
    table["searched"] = _searched(table, store.runs())
    on_curves = table["bpp"].mask(table["searched"])
    rate = on_curves.groupby([table[name] for name in _SETTING]).transform("mean")
    rank = rate.groupby([table["dataset"], table["codec"]]).rank("dense", na_option="bottom")
    table["point_index"] = rank.astype("int64")
    # Points of one rate, as a codec without compression has them, go by quality.
    table["quality"] = -table["mse_rgb"]
    order = ["dataset", "codec", "point_index", "position", "quality", "point"]
    return table.sort_values(order, ignore_index=True)[[*_BEFORE, *figures, *_AFTER]]


def _learned(store: Store) -> list[str]:
    """The columns of figures, and what they are: known from now on, wherever they come from."""
    others = {
        column: score
        for column, (score, _) in store.shown_scores().items()
        if column not in _DEFAULT
    }
    for score in others.values():
        quality.learn(score)
    return [*_DEFAULT, *others]


def _part(
    names: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    figures: Sequence[str],
    texts: dict[str, str],
) -> pd.DataFrame:
    """Some rows as a table. Equal texts, of which there are many, are one object in `texts`."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    series: dict[str, pd.Series[Any]] = {
        name: pd.Series([_shared(x, texts) for x in columns.get(name, ())], dtype=object)
        for name in _TEXTS
    }
    for name, kind in _NUMBERS.items():
        series[name] = pd.Series(columns.get(name, ()), dtype=kind)
    missing = (None,) * len(rows)
    for name in figures:
        series[name] = pd.Series(columns.get(name, missing), dtype="float64")
    return pd.DataFrame(series)


def _shared(text: str | None, texts: dict[str, str]) -> str | None:
    """A text as the one object that all equal ones are; one that would steer a terminal is no name.

    Whatever is measured or imported is made printable before it is stored.
    """
    if text is None:
        return None
    if text not in texts:
        if printable_lines(text) != text:
            raise StoreError(
                f"the store is damaged, or was made to be: it holds the text {text:.60}"
            )
        texts[text] = text
    return texts[text]


def _searched(table: pd.DataFrame, runs: Sequence[Mapping[str, Any]]) -> pd.Series[bool]:
    """Whether a search alone, and no run's plan, had a point measured on a data set."""
    planned = {
        (dataset, run["codecs"][spec], point)
        for run in runs
        for spec, points in run.get("points", {}).items()
        for dataset, point in product(run.get("datasets", ()), points)
    }
    tried = table["run"].isin([run["run"] for run in runs if "match" in run])
    settings = table.loc[tried, ["dataset", "identity", "point"]]
    for row, *setting in settings.itertuples(name=None):
        tried[row] = tuple(setting) not in planned
    return tried.groupby([table[name] for name in _SETTING]).transform("all")


def spelled(points: pd.Series[Any]) -> pd.Series[Any]:
    """Operating points as they are typed, where a table has them as numbers, or has none."""
    return points.map(lambda point: "" if pd.isna(point) else point_text(point)).astype(object)


def display_names(measurements: pd.DataFrame) -> dict[str, str]:
    """What tables and plots call each codec: those that were imported are marked."""
    codecs, imported = measurements["codec"], measurements.get("imported")
    marked = set() if imported is None else set(codecs[imported])
    return {codec: f"{codec}{MARK}" if codec in marked else str(codec) for codec in codecs.unique()}


def export(measurements: pd.DataFrame, path: str | Path) -> None:
    """Write measurements to a ``.parquet`` or ``.csv`` file, whole or not at all.

    Raises
    ------
    SpecError
        For another suffix.
    OutputError
        Where the file cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise SpecError(f"{path}: measurements are written as .parquet or .csv")
    with atomic_write(path) as part:
        if path.suffix == ".parquet":
            measurements.to_parquet(part, index=False)
        else:
            measurements.to_csv(part, index=False)
