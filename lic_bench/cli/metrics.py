"""`lic-bench metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.complete import complete_metrics
from lic_bench.cli.options import Json, Plugins
from lic_bench.printable import printable

if TYPE_CHECKING:
    from lic_bench.metric.base import Metric
    from lic_bench.plugins.registry import Entry


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

    registry = MetricRegistry(plugin)
    wanted = [registry.entry(registry.name(name)) for name in names or registry.names()]
    if json:
        console.give(as_json([_facts(entry) for entry in wanted]))
        return
    if names:
        for entry in wanted:
            _tell(entry)
        return
    table = console.words_table("metric", "figures", "better", "")
    for entry in wanted:
        scores = scores_of(entry.cls) if entry.cls is not None else ()
        figures = "\n".join(
            f"{score.name} [{score.unit}]" if score.unit else score.name for score in scores
        )
        better = "\n".join(score.better for score in scores)
        ready = "ready" if entry.problem is None else f"missing: {entry.problem}"
        table.add_row(*map(escape, (entry.name, figures, better, ready)))
    console.show(table)
    console.say("lic-bench metrics NAME tells its options.")


def _facts(entry: Entry[Metric]) -> dict[str, object]:
    """What is known of a metric, for programs."""
    from lic_bench.metric.base import scores_of
    from lic_bench.plugins.spec import option_texts

    scores = () if entry.cls is None else scores_of(entry.cls)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "ready": entry.problem is None,
        "problem": entry.problem,
        "figures": [
            {"name": one.name, "label": one.label, "unit": one.unit, "better": one.better}
            for one in scores
        ],
        "least_side": None if entry.cls is None else entry.cls.least_side,
        "options": [] if entry.cls is None else option_texts(entry.cls),
        "from": entry.origin,
    }


def _tell(entry: Entry[Metric]) -> None:
    """All that is known of a metric, for people."""
    import inspect

    from lic_bench.metric.base import scores_of
    from lic_bench.plugins.spec import option_texts

    typer.secho(printable(entry.name), bold=True)
    if entry.problem is not None:
        console.say(f"  cannot be used here: {entry.problem}")
    if entry.cls is not None:
        text = inspect.getdoc(entry.cls) or ""
        for line in text.partition("\nParameters\n")[0].splitlines():
            console.say(f"  {line}".rstrip())
        for score in scores_of(entry.cls):
            unit = f" [{score.unit}]" if score.unit else ""
            console.say(f"  {score.name}{unit}: {score.label}; {score.better} is better")
        console.say(f"  images of at least {entry.cls.least_side} pixels at each side")
        for option in option_texts(entry.cls):
            console.say(f"  option {option}")
    console.say(f"  from {entry.origin}\n")
