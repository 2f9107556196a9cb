"""Rate-distortion curves that others published, to be set beside our own measurements.

The figures lie in `datasets/published/`, whose README says where they come from and under which
licence. Of some codecs, the figures of every image are there (`image_figures`). A curve is called
by its name, ``vtm``; where several sources have one of that name, by ``webp@tfc``: the name alone
then stands for the source that comes first in `sources`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources

import msgspec
import numpy as np
import pandas as pd

from lic_bench.analysis.curves import Curve
from lic_bench.errors import SpecError, UndefinedError
from lic_bench.images.manifest import contents, manifests
from lic_bench.metric.quality import DEFAULT_SCORES, metric_named

_FOLDER = resources.files("lic_bench.datasets") / "published"

# The columns of curves.csv that are qualities. MS-SSIM in dB alone was published where nothing says
# that it is the dB of the mean; the networks of LPIPS and DISTS differ between sources.
_METRICS = (
    *("psnr_rgb", "psnr_y", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"),
    *("ms_ssim_db_rgb", "lpips", "dists"),
)

_MEASURED = (
    *(score.column for score in DEFAULT_SCORES),
    "width",
    "height",
    "bytes",
    "encode_s",
    "decode_s",
)
"""Columns of measurements that nobody publishes for every image."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who published curves."""

    title: str
    address: str
    licence: str
    """Of the figures."""


@dataclass(frozen=True)
class PublishedCurve(Curve):
    """A curve of others: `codec` is their name for it, and `points` are unnamed."""

    source: str = ""
    """A name in `sources`."""
    year: int = 0
    """Of the publication that the name stands for; for a standard's codec, of the figures."""

    @property
    def name(self) -> str:
        """The name with its source, which no other curve has: ``webp@tfc``."""
        return f"{self.codec}@{self.source}"


@dataclass(frozen=True)
class Published:
    """What there is of one codec on one data set: an entry of the listing."""

    dataset: str
    codec: str
    source: str
    """A name in `sources`."""
    year: int
    """As in `PublishedCurve`."""
    bpp: tuple[float, ...]
    """The rates of its points, in bits per pixel, ascending."""
    metrics: tuple[str, ...]
    """What was published: names in `quality.QUALITIES`, and others that no curve is drawn of."""
    images: bool
    """Whether the figures of every image are there."""
    file: str
    """The file of the source, or the thread; may be empty, as may the next two."""
    commit: str
    """Its state, twelve digits."""
    note: str
    """What a reader must know."""

    @property
    def name(self) -> str:
        """The name with its source, which no other has on this data set."""
        return f"{self.codec}@{self.source}"


@cache
def sources() -> dict[str, Source]:
    """Who published the curves, by the name behind the ``@``; the preferred ones first."""
    text = (_FOLDER / "sources.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Source])


def curves(dataset: str | None = None, metric: str = "psnr_rgb") -> list[PublishedCurve]:
    """All published curves of a metric, by data set, preferred sources first, then by name.

    Parameters
    ----------
    dataset
        The name of a data set; without it, curves of all data sets.
    metric
        A name in `quality.QUALITIES`. As in `curves.curve`, quality is in dB: for SSIM and MS-SSIM
        the dB of the published mean.

    Raises
    ------
    SpecError
        Where there is no such metric.
    """
    quality = metric_named(metric)
    metric = quality.name
    matching = []
    for (name, codec, source), rows in _rows().items():
        points = [(float(row["bpp"]), float(row[metric])) for row in rows if row.get(metric)]
        if points and dataset in (None, name):
            bpp, mean = np.array(points).T
            unnamed, value = ("",) * len(bpp), quality.from_mean(mean)
            year = int(rows[0]["year"])
            matching.append(
                PublishedCurve(name, codec, metric, bpp, value, unnamed, source=source, year=year)
            )
    order = list(sources())
    return sorted(
        matching, key=lambda known: (known.dataset, order.index(known.source), known.codec)
    )


def curve(name: str, dataset: str, metric: str = "psnr_rgb") -> PublishedCurve:
    """The published curve of a name, as ``vtm`` or ``webp@tfc``.

    A name without a source stands for the curve of the first source in `sources` that has it in
    this metric.

    Raises
    ------
    SpecError
        Where there is no such metric, or no such curve on this data set.
    UndefinedError
        Where it was published in other metrics only.
    """
    for known in curves(dataset, metric):
        if name in (known.codec, known.name):
            return known
    names = [(codec, f"{codec}@{by}") for where, codec, by in _rows() if where == dataset]
    if not names:
        others = ", ".join(dict.fromkeys(where for where, *_ in _rows()))
        raise SpecError(f"No curves are published on {dataset}; there are some on {others}.")
    if not any(name in pair for pair in names):
        near = get_close_matches(name, [codec for codec, _ in names], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SpecError(
            f"no curve called {name!r} is published on {dataset}; {hint}"
            f"lic-bench published --dataset {dataset} lists what there is"
        )
    elsewhere = dict.fromkeys(
        other
        for known in listing()
        if known.dataset == dataset and name in (known.codec, known.name)
        for other in known.metrics
    )
    raise UndefinedError(
        f"{name} was not published in {metric} on {dataset}, but in {', '.join(elsewhere)}."
    )


def listing() -> list[Published]:
    """Everything there is, by data set, then by year, the newest first, then by name."""
    origins = {(row["dataset"], row["codec"], row["source"]): row for row in _table("origins.csv")}
    images = {(row["dataset"], row["codec"], row["source"]) for row in _table("images.csv")}
    entries = []
    for key, rows in _rows().items():
        origin = origins.get(key, {})
        entries.append(
            Published(
                *key,
                year=int(rows[0]["year"]),
                bpp=tuple(float(row["bpp"]) for row in rows),
                metrics=tuple(name for name in _METRICS if any(row[name] for row in rows)),
                images=key in images,
                file=origin.get("file", ""),
                commit=origin.get("commit", ""),
                note=origin.get("note", ""),
            )
        )
    return sorted(entries, key=lambda entry: (entry.dataset, -entry.year, entry.name))


def image_figures(name: str, dataset: str, metric: str) -> pd.DataFrame | None:
    """What was published of every image, in the form of measurements.

    Parameters
    ----------
    name, dataset, metric
        As for `curve`.

    Returns
    -------
    A table as `lic_bench.store.table.load` gives one, with the codec called `name`: rates and
    qualities, images named as in the data set and, where the data set's are known, with their
    SHA-256; whatever was not published is missing. Nothing where averages alone were published, or
    not in this metric.
    """
    column = metric_named(metric).images.removesuffix("_db")
    source = curve(name, dataset, metric).source
    rows = [
        row
        for row in _table("images.csv")
        if (row["dataset"], row["source"]) == (dataset, source)
        and name in (row["codec"], f"{row['codec']}@{source}")
        and row.get(column)
    ]
    if not rows:
        return None
    known = manifests().get(dataset)
    files = known.files if known is not None else {}
    named = [f"{row['image']}.png" for row in rows]
    table = pd.DataFrame(
        {
            "dataset": dataset,
            "codec": name,
            "point": [row["point"] for row in rows],
            "image": named,
            "image_sha256": [files.get(image) for image in named],
            "bpp": [float(row["bpp"]) for row in rows],
            metric_named(metric).images: [float(row[column]) for row in rows],
            "error": None,
        }
    )
    rank = table.groupby("point")["bpp"].mean().rank().astype(int)
    table = table.assign(
        point_index=table["point"].map(rank), dataset_images=table["image"].nunique()
    )
    return table.reindex(columns=[*table.columns, *(c for c in _MEASURED if c not in table)])


def check_images(measurements: pd.DataFrame, dataset: str) -> None:
    """Refuse measurements of other images than those that a data set's curves are published on.

    A name alone is no data set: known are the SHA-256 of its images, and their number. A table
    that has no column `image_sha256` is believed.

    Raises
    ------
    SpecError
        With the remedy.
    """
    m = manifests().get(dataset)
    if m is None or not m.images or "image_sha256" not in measurements:
        return
    rows = measurements[(measurements["dataset"] == dataset) & measurements["image"].notna()]
    if rows.empty:
        return
    size, measured = rows["dataset_images"].max(), set(rows["image_sha256"])
    others = len(measured - (contents(m) or measured))
    if others or size != m.images:
        raise SpecError(
            f"{dataset} here is not the data set of {m.images} images that curves are published "
            f"on: it has {size}, and {others or 'none'} of those measured are others; "
            f"measure that in another folder: lic-bench run --dataset {dataset} --out DIR"
        )


@cache
def _rows() -> dict[tuple[str, str, str], list[dict[str, str]]]:
    """The rows of the table by data set, codec and source, each from low rate to high."""
    rows: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in _table("curves.csv"):
        rows.setdefault((row["dataset"], row["codec"], row["source"]), []).append(row)
    return rows


def _table(name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader((_FOLDER / name).read_text(encoding="utf-8").splitlines())
