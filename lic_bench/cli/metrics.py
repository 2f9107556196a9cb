"""`lic-bench metrics`."""

from __future__ import annotations

from lic_bench.cli import console
from lic_bench.cli.options import Plugins


def metrics(plugin: Plugins = []) -> None:
    """List the metrics: their figures, which way is better, and why one cannot be used here.

    `run --metrics` and `measure --metrics` take the names in the first column, or those of figures;
    `psnr`, `ssim` and `ms-ssim` mean RGB. The default is what every run measures.

    - `lic-bench metrics`
    - `lic-bench metrics --plugin my_metric.toml`
    """
    from rich.console import Console
    from rich.markup import escape

    from lic_bench.metric.base import scores_of
    from lic_bench.metric.registry import MetricRegistry
    from lic_bench.plugins.spec import option_texts

    table = console.PlainTable(box=None, padding=(0, 2, 0, 0))
    for column in ("metric", "figures", "better", "least side", "options", "from"):
        table.add_column(column, overflow="fold")
    problems = []
    for entry in MetricRegistry(plugin).entries():
        figures = better = least = options = ""
        if entry.cls is not None:
            scores = scores_of(entry.cls)
            figures = "\n".join(
                f"{score.name} [{score.unit}]" if score.unit else score.name for score in scores
            )
            better = "\n".join(score.better for score in scores)
            least = str(entry.cls.least_side)
            options = "\n".join(option_texts(entry.cls))
        if entry.problem is not None:
            problems.append(f"{entry.name} cannot be used here: {entry.problem}")
        name = entry.name if entry.problem is None else f"{entry.name} (unavailable)"
        table.add_row(*map(escape, (name, figures, better, least, options, entry.origin)))
    Console(highlight=False).print(table)
    for problem in problems:
        console.say(f"\n{problem}")
