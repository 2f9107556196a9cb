"""What a run shows at the terminal: its progress, its table, where it wrote what.

The modules that bring pandas and matplotlib are imported when they are needed, which `progress`
does in the background: workers start, and measure, meanwhile.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from lic_bench.codec.base import point_text
from lic_bench.errors import LicBenchError, UndefinedError
from lic_bench.execution.run import Progress

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.execution.decodes import Verdict
    from lic_bench.metrics.targets import Target

_BD_METRICS = ("psnr_rgb", "ms_ssim_rgb")
_MATCH_METRICS = ("psnr_rgb", "ssim_rgb", "ms_ssim_rgb")
_MATCH_WIDTH = 140  # rather a wrapped line than a figure that is cut
_QUIET_S = 10  # between two lines of progress where there is no terminal


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """Show a run's progress, with an estimate of the time left: a bar, or lines in a log."""
    Thread(target=import_module, args=("lic_bench.reporting.plots",), daemon=True).start()
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[latest]}"),
    )
    with Bars(*columns, console=console) as bars:
        bar = bars.add_task("measuring", total=None, latest="")

        def report(now: Progress) -> None:
            if now.done == 0:
                for line in now.updates:
                    bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
            failed = f"[red]{now.failed} failed[/] " if now.failed else ""
            task = now.latest
            where = f"{task.image.name} {task.codec} {point_text(task.point)}" if task else ""
            bars.update(
                bar,
                total=now.planned - now.remembered,
                completed=now.done,
                latest=failed + escape(where),
            )

        yield report


def _lines() -> Callable[[Progress], None]:
    start = spoken = time.monotonic()

    def report(now: Progress) -> None:
        nonlocal spoken
        work, seconds = now.planned - now.remembered, time.monotonic() - start
        if now.done == 0:
            for line in now.updates:
                print(line, file=sys.stderr)
            print(f"{now.planned} measurements, {now.remembered} known", file=sys.stderr)
        elif now.done == work or time.monotonic() - spoken > _QUIET_S:
            spoken = time.monotonic()
            left = seconds / now.done * (work - now.done)
            print(
                f"{now.done} of {work} in {seconds:.0f} s, {now.failed} failed, {left:.0f} s left",
                file=sys.stderr,
            )

    return report


def summary(table: pd.DataFrame, anchor: str) -> None:
    """Print a table for each data set: codec, points, range of bpp, BD-rates."""
    from lic_bench.analysis import curves

    averages = curves.aggregate(table)
    by_metric = [curves.bd_rates(averages, anchor, metric) for metric in _BD_METRICS]
    console = Console(highlight=False)
    for name in averages["dataset"].unique():
        mine = averages[averages["dataset"] == name]
        images, all_images = mine["images"].max(), table[table["dataset"] == name]["dataset_images"]
        of_all = "" if images == all_images.max() else f" of {all_images.max()}"
        shown = Table(box=None, padding=(0, 3, 0, 0), title_justify="left")
        shown.title = (
            f"{escape(name)}, {images}{of_all} images; BD-rate against {escape(anchor)} (PCHIP)"
        )
        shown.add_column("codec")
        for column in ("points", "bpp", *_BD_METRICS):
            shown.add_column(column, justify="right")
        notes: dict[str, None] = {}
        for codec in mine["codec"].unique():
            rows = [
                bd[(bd["dataset"] == name) & (bd["codec"] == codec)].iloc[0] for bd in by_metric
            ]
            cells = []
            for row in rows:
                defined = row["bd_rate_percent"] == row["bd_rate_percent"]
                cells.append(f"{row['bd_rate_percent']:+.1f} %" if defined else "undefined")
                if not defined:
                    notes[f"{codec}: BD-rate undefined: {row['undefined']}"] = None
                if row["left_out"]:
                    notes[f"{codec}: left out: {row['left_out']}"] = None
            low, high = rows[0]["bpp_min"], rows[0]["bpp_max"]
            rate = f"{low:.3f} to {high:.3f}" if low == low else ""
            shown.add_row(escape(codec), str(rows[0]["points"]), rate, *cells)
        console.print(shown)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)


def matches(table: pd.DataFrame, targets: Sequence[Target], anchor: str | None) -> None:
    """Print a table for each data set and target of a search: codecs at equal rate or quality."""
    from lic_bench.reporting.tables import match_table

    console = Console(highlight=False, soft_wrap=True, width=max(Console().width, _MATCH_WIDTH))
    for name, target in product(table["dataset"].unique(), targets):
        metrics = _MATCH_METRICS if target.metric is None else ()
        try:
            made = match_table(table, target, anchor=anchor, metrics=metrics, dataset=str(name))
        except LicBenchError as error:
            console.print(f"No table of {name} at {target.text}: {error}", markup=False)
            continue
        shown = Table(box=None, padding=(0, 2, 0, 0))
        for column in made.columns:
            justify: Literal["left", "right"] = "left" if column.digits is None else "right"
            shown.add_column(escape(column.title), justify=justify, no_wrap=True)
        for cells in made.cells():
            shown.add_row(*map(escape, cells))
        console.print(f"\n{made.caption}", markup=False)
        console.print(shown)
        for note in made.notes:
            console.print(note, markup=False)


def differences(verdicts: Sequence[Verdict]) -> bool:
    """Print what came of decoding bitstreams again, for each codec; say whether any differed."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for one in verdicts:
        told = "all gave the same picture"
        if one.differing:
            told = f"{one.differing} differ or fail; {one.worst}"
        how = f"{one.checked} streams decoded again ({one.circumstances})"
        console.print(f"{one.codec}: {how}: {told}", markup=False)
    return any(one.differing for one in verdicts)


def failures(table: pd.DataFrame) -> bool:
    """Print why measurements failed, once for each reason; say whether any did."""
    failed = table[table["error"].notna()]
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for error, rows in failed.groupby("error", sort=False):
        first = rows.iloc[0]
        where = f"{first['image']}, {first['codec']} {first['point'] or ''}".strip()
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        console.print(f"failed: {where}{more}: {error}", markup=False)
    if not failed.empty:
        console.print("The same command tries what failed again.", markup=False)
    return not failed.empty


def written(table: pd.DataFrame, out: Path) -> None:
    """Write the folder's measurements and the plots of a run, and say where."""
    from lic_bench.reporting import plots
    from lic_bench.store import table as measurements

    everything = measurements.load(out)
    paths = [out / "measurements.parquet", out / "measurements.csv"]
    for path in paths:
        measurements.export(everything, path)
    for name in table["dataset"].unique():
        path = out / f"{name}.png"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the table has said it
                plots.save_plot(plots.plot(table, dataset=name), path)
        except UndefinedError as error:
            Console(stderr=True, soft_wrap=True).print(f"No plot of {name}: {error}", markup=False)
        else:
            paths.append(path)
    for path in paths:
        print(path)
