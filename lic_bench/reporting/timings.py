"""Times as files, under what they were taken, and the rates that they are drawn against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lic_bench.analysis.anchor import usual_anchor
from lic_bench.analysis.curves import aggregate, bd_rates
from lic_bench.errors import check_known
from lic_bench.execution.timing import Timing
from lic_bench.files import atomic_write, write_json
from lic_bench.metric.quality import metric_named
from lic_bench.store.table import load


def title(timing: Timing, dataset: str) -> str:
    """What was timed and how: ``kodak, 24 images; 1 thread, 5 repetitions; the processor``."""
    row = timing.summary.iloc[0]
    counts = {name: _counted(row[f"{name}s"], name) for name in ("image", "thread")}
    repeats = _counted(row["repeats"], "repetition")
    return (
        f"{dataset}, {counts['image']}; {counts['thread']}, {repeats}; "
        f"{timing.conditions['processor']}"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s'[: number != 1]}"


def write(timing: Timing, path: Path) -> None:
    """Write the summary to a ``.csv`` file; or to a ``.json`` file every measurement as well.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    if path.suffix == ".csv":
        with atomic_write(path) as part:
            timing.summary.to_csv(part, index=False)
        return
    tables = {"summary": timing.summary, "samples": timing.samples}
    rows = {name: table.to_dict("records") for name, table in tables.items()}
    write_json(path, {**timing.conditions, **rows, "problems": timing.problems})


@dataclass(frozen=True)
class Rates:
    """What each codec of a store needs at equal quality, against one of them."""

    anchor: str
    metric: str
    """As people read it, without the unit."""
    percent: Mapping[str, float]
    """BD-rate by codec, where it is defined."""


def rates_in(folder: Path, dataset: str, anchor: str | None, metric: str) -> Rates:
    """The BD-rates of a folder's measurements, against jpeg or the first codec by default.

    Raises
    ------
    SpecError
        Where the data set or the anchor was not measured there, or there is no such metric.
    StoreError
        Where the folder holds no measurements.
    """
    label = metric_named(metric).label
    averages = aggregate(load(folder, [anchor or ""]))
    check_known(f"data set measured in {folder}", dataset, averages["dataset"].unique())
    averages = averages[averages["dataset"] == dataset]
    codecs = list(averages["codec"].unique())
    against = anchor or usual_anchor(codecs)
    table = bd_rates(averages, against, metric).dropna(subset="bd_rate_percent")
    percent = dict(zip(table["codec"], table["bd_rate_percent"], strict=True))
    return Rates(against, label, percent)
