"""`lic-bench metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console, listing
from lic_bench.cli.complete import complete_metrics
from lic_bench.cli.options import Json, Plugins

if TYPE_CHECKING:
    from lic_bench.metric.base import Metric


def metrics(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME]...",
            help="All that is known of these metrics.",
            autocompletion=complete_metrics,
        ),
    ] = [],
    plugin: Plugins = [],
    json: Json = False,
) -> None:
    """List the metrics: their figures, which way is better, and why one cannot be used here.

    `run --metrics` and `measure --metrics` take the names in the first column, or those of figures;
    `psnr`, `ssim` and `ms-ssim` mean RGB. The default is what every run measures.

    - `lic-bench metrics`
    - `lic-bench metrics vmaf`
    - `lic-bench metrics --plugin my_metric.toml`
    """
    from rich.markup import escape

    from lic_bench.files import as_json
    from lic_bench.metric.base import scores_of
    from lic_bench.metric.registry import MetricRegistry

    wanted = listing.entries(MetricRegistry(plugin), names)
    if json:
        console.give(as_json([{**listing.facts(entry), **_facts(entry.cls)} for entry in wanted]))
        return
    if names:
        for entry in wanted:
            listing.tell(entry, _about(entry.cls))
        return
    table = console.words_table("metric", "figures", "better", "")
    for entry in wanted:
        scores = scores_of(entry.cls) if entry.cls is not None else ()
        figures = "\n".join(
            f"{score.name} [{score.unit}]" if score.unit else score.name for score in scores
        )
        better = "\n".join(score.better for score in scores)
        table.add_row(*map(escape, (entry.name, figures, better, listing.ready(entry))))
    console.show(table)
    console.say("lic-bench metrics NAME shows its options.")


def _facts(cls: type[Metric] | None) -> dict[str, object]:
    """What a metric has beside what all plugins have, for programs."""
    from lic_bench.metric.base import scores_of

    return {
        "figures": [
            {"name": one.name, "label": one.label, "unit": one.unit, "better": one.better}
            for one in (() if cls is None else scores_of(cls))
        ],
        "least_side": None if cls is None else cls.least_side,
    }


def _about(cls: type[Metric] | None) -> Iterator[str]:
    """The same for people."""
    from lic_bench.metric.base import scores_of

    if cls is not None:
        for score in scores_of(cls):
            unit = f" [{score.unit}]" if score.unit else ""
            yield f"{score.name}{unit}: {score.label}; {score.better} is better"
        yield f"images of at least {cls.least_side} pixels at each side"
