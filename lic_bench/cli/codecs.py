"""`lic-bench codecs`."""

from __future__ import annotations

from lic_bench.cli import console
from lic_bench.cli.options import Plugins


def codecs(plugin: Plugins = []) -> None:
    """List the codecs: operating points, options, and why one cannot be used here."""
    from rich.console import Console
    from rich.markup import escape

    from lic_bench.codec.base import point_text
    from lic_bench.codec.registry import Registry
    from lic_bench.plugins.spec import option_texts

    table = console.PlainTable(box=None, padding=(0, 2, 0, 0))
    for column in ("codec", "operating points", "options", "from"):
        table.add_column(column, overflow="fold")
    problems = []
    registry = Registry(plugin)
    for entry in map(registry.entry, registry.names()):
        points = options = ""
        if entry.cls is not None:
            options = "\n".join(option_texts(entry.cls))
            if entry.cls.points != (None,):
                values = ", ".join(map(point_text, entry.cls.points))
                points = f"{entry.cls.point_unit} {values}".strip()
        if entry.problem is not None:
            problems.append(f"{entry.name} cannot be used here: {entry.problem}")
        name = entry.name if entry.problem is None else f"{entry.name} (unavailable)"
        table.add_row(*map(escape, (name, points, options, entry.origin)))
    Console(highlight=False).print(table)
    for problem in problems:
        console.say(f"\n{problem}")
