"""Measurements as a tidy table: one row for each image, codec and operating point.

================  ==================================================================================
dataset, image    the data set's name, and the image's within it
width, height     of the image, in pixels
codec             the spec as given
point             the operating point as text, in the codec's own unit; empty if there is one only
point_index       the points of a codec on a data set in order of mean rate, from 1
bytes, bpp        size of the bitstream, in all and in bits for each pixel
mse_rgb ...       the metrics, see `lic_bench.metrics`; missing where the image is too small for one
encode_s          seconds of wall time, measured while other workers run: for the order of magnitude
decode_s          likewise
error             why the measurement failed; the figures are then missing
dataset_images    how many images the data set has, measured or not
image_sha256      of the image file, and how much is cut off it
identity          what the codec was made of: options, versions, weights; as JSON
run, measured     the run that measured it (see `lic-bench runs`), and when, in UTC
================  ==================================================================================
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lic_bench.errors import SpecError
from lic_bench.files import written_whole
from lic_bench.metrics import METRICS
from lic_bench.store import Store

_COLUMNS = [
    *("dataset", "image", "width", "height", "codec", "point", "point_index", "bytes", "bpp"),
    *METRICS,
    *("encode_s", "decode_s", "error", "dataset_images", "image_sha256", "identity"),
    *("run", "measured"),
]


def load(path: str | Path) -> pd.DataFrame:
    """Load measurements: of every data set and codec of a store, as the latest runs saw them.

    Parameters
    ----------
    path
        The folder that ``lic-bench run --out`` wrote, or its store.

    Returns
    -------
    A table whose columns the module's text explains.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be read.
    """
    with Store.open(Path(path)) as store:
        return frame(store)


def frame(store: Store) -> pd.DataFrame:
    """The measurements of an open store; see `load`."""
    names, rows = store.current()
    table = pd.DataFrame(rows, columns=names)
    metrics = [json.loads(text) for text in table["metrics"]]
    for name in METRICS:
        table[name] = pd.Series([values.get(name) for values in metrics], dtype="float64")
    for name in ("width", "height", "bytes"):
        table[name] = table[name].astype("Int64")
    for name in ("encode_s", "decode_s"):
        table[name] = table[name].astype("float64")
    table["bpp"] = (8 * table["bytes"] / (table["width"] * table["height"])).astype("float64")
    rate = table.groupby(["dataset", "codec", "point"])["bpp"].transform("mean")
    rank = rate.groupby([table["dataset"], table["codec"]]).rank("dense", na_option="bottom")
    table["point_index"] = rank.astype("int64")
    order = ["dataset", "codec", "point_index", "position"]
    return table.sort_values(order, ignore_index=True)[_COLUMNS]


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
    with written_whole(path) as part:
        if path.suffix == ".parquet":
            measurements.to_parquet(part, index=False)
        else:
            measurements.to_csv(part, index=False)
