"""Rate-distortion curves that others published, to be set beside our own measurements.

The figures lie in `datasets/published/`, whose README says where they come from and under which
licence. A curve is called by its name, ``vtm``; where several sources have one of that name, by
``webp@tfc``: the name alone then stands for the source that comes first in `sources`.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import msgspec
import numpy as np
import pandas as pd

from lic_bench.analysis.curves import Curve
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.images.manifest import contents, manifests
from lic_bench.metrics.quality import QUALITIES, metric_named

_FOLDER = resources.files("lic_bench.datasets") / "published"


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

    @property
    def name(self) -> str:
        """The name with its source, which no other curve has: ``webp@tfc``."""
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
    matching = []
    for (name, codec, source), rows in _rows().items():
        points = [(float(row["bpp"]), float(row[metric])) for row in rows if row.get(metric)]
        if points and dataset in (None, name):
            bpp, mean = np.array(points).T
            unnamed, value = ("",) * len(bpp), quality.from_mean(mean)
            matching.append(PublishedCurve(name, codec, metric, bpp, value, unnamed, source=source))
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
        check_known("published curve", name, sorted({codec for codec, _ in names}))
    others = ", ".join(
        other
        for other in QUALITIES
        if any(name in (known.codec, known.name) for known in curves(dataset, other))
    )
    raise UndefinedError(f"{name} was not published in {metric} on {dataset}, but in {others}.")


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
    for row in csv.DictReader((_FOLDER / "curves.csv").read_text().splitlines()):
        rows.setdefault((row["dataset"], row["codec"], row["source"]), []).append(row)
    return rows
