"""What a run shows at the terminal: its tables, what differed, what failed.

The modules that bring pandas are imported when they are needed: workers start, and measure,
meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from lic_bench.analysis.anchor import usual_anchor
from lic_bench.cli import console
from lic_bench.errors import LicBenchError, UndefinedError

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.execution.decodes import Verdict
    from lic_bench.execution.plan import Plan
    from lic_bench.metric.profile import Profile
    from lic_bench.metric.targets import Target
    from lic_bench.reporting.tables import PaperTable

_BD_METRICS = ("psnr_rgb", "ms_ssim_rgb")
"""Of a run's table, beside those that not every run gives."""
_LISTED = 5  # images that are named
_MATCH_METRICS = ("psnr_rgb", "ssim_rgb", "ms_ssim_rgb")
_MATCH_WIDTH = 140  # rather a wrapped line than a figure that is cut
_PROFILE_WIDTH = 220
_AGAIN = "The same command tries what failed again."


def images_left_out(planned: Plan) -> None:
    """Say which images cannot be read, and of which some metrics are not defined."""
    for dataset in planned.datasets:
        damaged = [image.error for image in dataset.images if image.error is not None]
        for what, lines in (("left out", dataset.unread), ("cannot be measured", damaged)):
            for line in lines[:_LISTED]:
                console.note(f"{dataset.name}: {what}: {line}")
            if len(lines) > _LISTED:
                console.note(f"{dataset.name}: {what}: {len(lines) - _LISTED} more images")


def too_small(table: pd.DataFrame, planned: Plan) -> None:
    """Say on which images a metric is not defined: its curve lacks all points, for their sake.

    The table may have more than this run was asked for, which was measured with other metrics.
    """
    from lic_bench.metric.quality import qualities_in

    fine = table[table["error"].isna() & table["metric_errors"].isna() & ~table["imported"]]
    of_images: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in qualities_in(score.column for score, _ in planned.scores):
        of_image = fine.groupby(["dataset", "image"])[one.images]
        lacking = fine[of_image.transform("count") == 0].drop_duplicates(["dataset", "image"])
        for name, rows in lacking.groupby("dataset"):
            images = tuple(f"{row.image} ({row.width}x{row.height})" for row in rows.itertuples())
            of_images.setdefault((str(name), images), []).append(one.name)
    for (name, images), metrics in of_images.items():
        more = f" and {len(images) - _LISTED} more" if len(images) > _LISTED else ""
        console.note(
            f"{name}: too small for {', '.join(metrics)}: {', '.join(images[:_LISTED])}{more}; "
            "there is no curve without these images' figures"
        )


def plan(planned: Plan, out: Path, *, as_json: bool = False) -> None:
    """Say what would be measured: of each codec, how much is known already."""
    from lic_bench.codec.base import point_text
    from lic_bench.files import as_json as text_of
    from lic_bench.store.database import FILE_NAME, Store

    known: dict[str, int] = {}
    if (out / FILE_NAME).is_file():
        with Store.open(out) as store:
            for key in store.measured(planned.scores):
                if key in planned:
                    known[key.identity] = known.get(key.identity, 0) + 1
    rows = [
        {
            "codec": spec,
            "points": list(map(point_text, planned.points[spec])),
            "measurements": planned.count(identity),
            "known": known.get(identity, 0),
        }
        for spec, identity in planned.identities.items()
    ]
    sets = {dataset.name: len(dataset.images) for dataset in planned.datasets}
    if as_json:
        console.give(text_of({"datasets": sets, "codecs": rows, "metrics": list(planned.metrics)}))
        return
    listed = ", ".join(
        f"{name} ({images} image{'s'[: images > 1]})" for name, images in sets.items()
    )
    console.say(f"{listed}; {', '.join(planned.metrics)}; into {out}")
    table = console.plain_table("codec", "measurements", "known", "to do")
    table.add_column("points", overflow="fold")
    for row in rows:
        done, there = int(str(row["known"])), int(str(row["measurements"]))
        points = ", ".join(map(point_text, planned.points[str(row["codec"])]))
        table.add_row(escape(str(row["codec"])), str(there), str(done), str(there - done), points)
    console.show(table)


def summary_as_json(table: pd.DataFrame, anchor: str, paths: Sequence[Path]) -> None:
    """Print what `summary` shows as JSON, and which files were written."""
    from lic_bench.analysis import curves
    from lic_bench.files import as_json

    averages = curves.aggregate(table)
    rows = [
        {"metric": metric, **row}
        for metric in ([] if averages.empty else _chosen(table))
        for row in curves.bd_rates(averages, anchor, metric).to_dict("records")
    ]
    failed = int(table["error"].notna().sum())
    files = [str(path) for path in paths]
    console.give(as_json({"anchor": anchor, "bd_rates": rows, "failed": failed, "files": files}))


def _chosen(table: pd.DataFrame) -> list[str]:
    """The metrics that a run shows BD-rates in."""
    from lic_bench.metric.quality import QUALITIES, qualities_in

    chosen = [
        one.name
        for one in qualities_in(table)
        if one.name in _BD_METRICS or one.name not in QUALITIES
        if table[one.images].notna().any()
    ]
    return chosen or list(_BD_METRICS)


def summary(table: pd.DataFrame, anchor: str) -> None:
    """Print a table for each data set: codec, points, range of bpp, BD-rates."""
    from lic_bench.analysis import curves
    from lic_bench.reporting.tables import counted

    try:
        averages = curves.averages_of_curves(table)
    except UndefinedError as error:
        console.note(error)
        return
    chosen = _chosen(table)
    by_metric = [curves.bd_rates(averages, anchor, metric) for metric in chosen]
    output = console.output(40 + 16 * len(chosen))
    for name in averages["dataset"].unique():
        rows = averages[averages["dataset"] == name]
        title = f"{escape(name)}, {counted(rows)}; BD-rate against {escape(anchor)} (PCHIP)"
        printed = console.plain_table("codec", "points", "bpp", *chosen, title=title)
        notes: dict[str, None] = {}
        for codec in rows["codec"].unique():
            rates = [
                bd[(bd["dataset"] == name) & (bd["codec"] == codec)].iloc[0] for bd in by_metric
            ]
            cells = []
            undefined: dict[str, list[str]] = {}
            for metric, row in zip(chosen, rates, strict=True):
                defined = row["bd_rate_percent"] == row["bd_rate_percent"]
                cells.append(f"{row['bd_rate_percent']:+.1f} %" if defined else "undefined")
                if not defined:
                    undefined.setdefault(row["undefined"], []).append(metric)
            for why, of in undefined.items():
                where = "" if len(of) == len(chosen) else f" in {', '.join(of)}"
                notes[f"{codec}: BD-rate{where} undefined: {why}"] = None
            for metric, row in zip(chosen, rates, strict=True):
                if row["left_out"]:
                    notes[f"{codec}: left out: {row['left_out']}"] = None
                if row["warnings"]:
                    notes[f"Warning: {codec}, {metric}: {row['warnings']}"] = None
            low, high = rates[0]["bpp_min"], rates[0]["bpp_max"]
            rate = f"{low:.3f} to {high:.3f}" if low == low else ""
            printed.add_row(escape(codec), str(rates[0]["points"]), rate, *cells)
        console.show(printed)
        for note in notes:
            output.print(note, markup=False)


def matches(table: pd.DataFrame, targets: Sequence[Target], anchor: str | None) -> None:
    """Print a table for each data set and target of a search: codecs at equal rate or quality."""
    from lic_bench.reporting.tables import match_table

    output = console.output(_MATCH_WIDTH)
    for name, target in product(table["dataset"].unique(), targets):
        metrics = _MATCH_METRICS if target.metric is None else ()
        try:
            paper = match_table(table, target, anchor=anchor, metrics=metrics, dataset=str(name))
        except LicBenchError as error:
            output.print(f"No table of {name} at {target.text}: {error}", markup=False)
            continue
        _print(paper, output)


def _print(paper: PaperTable, output: Console) -> None:
    printed = console.PlainTable(box=None, padding=(0, 2, 0, 0))
    rows = list(paper.cells())
    for column, *cells in zip(paper.columns, *rows, strict=True):
        justify: Literal["left", "right"] = "left" if column.digits is None else "right"
        least = max(map(cell_len, [*column.title.split(), *cells]))  # titles take several lines
        printed.add_column(escape(column.title), justify=justify, min_width=least)
    for row in rows:
        printed.add_row(*map(escape, row))
    output.print(f"\n{paper.caption}", markup=False)
    console.show(printed)
    for note in paper.notes:
        output.print(note, markup=False)


def conditions(
    table: pd.DataFrame, profile: Profile, anchor: str | None, out: Path, name: str
) -> None:
    """Print the tables of a profile for each data set, and leave them as Markdown in a folder.

    Parameters
    ----------
    name
        Of the profile, for the files.
    """
    from lic_bench.files import atomic_write
    from lic_bench.reporting.conditions import profile_tables

    output = console.output(_PROFILE_WIDTH)
    for dataset in table["dataset"].unique():
        against = anchor or usual_anchor(table[table["dataset"] == dataset]["codec"].unique())
        try:
            papers = profile_tables(table, profile, against, str(dataset))
        except LicBenchError as error:
            output.print(f"No table of {dataset}: {error}", markup=False)
            continue
        for paper in papers:
            _print(paper, output)
        path = out / f"{dataset}-{name}.md"
        with atomic_write(path) as part:
            notes = [f"- {note}" for paper in papers for note in paper.notes]
            texts = [*(paper.markdown() for paper in papers), "\n".join([*notes, ""])]
            part.write_text("\n".join(texts), encoding="utf-8")
        console.say(path)


def differences(verdicts: Sequence[Verdict]) -> bool:
    """Print what came of decoding bitstreams again, for each codec; say whether any differed."""
    for verdict in verdicts:
        result = "all gave the same picture"
        if verdict.differing:
            result = f"{verdict.differing} differ or fail; {verdict.worst}"
        how = f"{verdict.checked} streams decoded again ({verdict.circumstances})"
        console.messages().print(f"{verdict.codec}: {how}: {result}", markup=False)
    return any(verdict.differing for verdict in verdicts)


def failures(
    table: pd.DataFrame,
    *,
    figures: Collection[str] | None = None,
    tracebacks: Path | None = None,
    remedy: str = _AGAIN,
) -> bool:
    """Print why measurements failed, once for each reason; say whether any did.

    Parameters
    ----------
    figures
        Those that the command was asked for: others that a store lacks are none of its business.
        None: all.
    remedy
        What is said at the end; nothing where it is empty.
    tracebacks
        The folder of a store, to print the traceback that it keeps of the first of each reason.
    """
    failed = table[table["error"].notna()]
    messages = console.messages()
    for error, rows in failed.groupby("error", sort=False):
        first = rows.iloc[0]
        where = f"{first['image']}, {first['codec']} {first['point'] or ''}".strip()
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        messages.print(f"failed: {where}{more}: {error}", markup=False)
        if tracebacks is not None and (text := _traceback(first, tracebacks)):
            messages.print(text.rstrip(), markup=False)
    lacking = table[table["metric_errors"].notna()]
    if figures is not None:
        own = lacking["metric_errors"].map(lambda text: _of_figures(text, figures))
        lacking = lacking.assign(metric_errors=own)[own != ""]
    for error, rows in lacking.groupby("metric_errors", sort=False):
        first = rows.iloc[0]
        where = f"{first['image']}, {first['codec']} {first['point'] or ''}".strip()
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        messages.print(f"no figure: {where}{more}: {error}", markup=False)
    wrong = not (failed.empty and lacking.empty)
    if wrong and remedy:
        messages.print(remedy, markup=False)
    return wrong


def _of_figures(errors: str, figures: Collection[str]) -> str:
    """Those of the errors of metrics, as a table has them, that are of these figures."""
    from lic_bench.metric.quality import known_scores

    known = "|".join(score.name for score in known_scores().values())
    each = re.split(rf"; (?=(?:{known}): )", errors)
    return "; ".join(one for one in each if one.partition(":")[0] in figures)


def _traceback(row: pd.Series, folder: Path) -> str | None:
    from lic_bench.store.database import Store
    from lic_bench.store.records import Key

    with Store.open(folder) as store:
        key = Key(row["image_sha256"], row["identity"], row["point"] or "")
        return store.kept(key).traceback
