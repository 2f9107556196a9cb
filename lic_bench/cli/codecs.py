"""`lic-bench codecs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.complete import complete_codecs
from lic_bench.cli.options import Json, Plugins
from lic_bench.printable import printable

if TYPE_CHECKING:
    from lic_bench.codec.base import Codec
    from lic_bench.plugins.registry import Entry


def codecs(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME]...",
            help="All that is known of these codecs.",
            autocompletion=complete_codecs,
        ),
    ] = [],
    plugin: Plugins = [],
    json: Json = False,
) -> None:
    """List the codecs, and why one cannot be used here; of one that is named, all that is known.

    - `lic-bench codecs`
    - `lic-bench codecs jpeg compressai`
    """
    from rich.markup import escape

    from lic_bench.codec.registry import Registry
    from lic_bench.files import as_json

    registry = Registry(plugin)
    wanted = [registry.entry(registry.name(name)) for name in names or registry.names()]
    if json:
        console.give(as_json([_facts(entry) for entry in wanted]))
        return
    if names:
        for entry in wanted:
            _tell(entry)
        return
    table = console.words_table("codec", "", "")
    for entry in wanted:
        ready = "ready" if entry.problem is None else f"missing: {entry.problem}"
        table.add_row(*map(escape, (entry.name, entry.summary, ready)))
    console.show(table)
    console.say("lic-bench codecs NAME tells its options and operating points.")


def _facts(entry: Entry[Codec]) -> dict[str, object]:
    """What is known of a codec, for programs."""
    from lic_bench.codec.base import point_text
    from lic_bench.plugins.spec import option_texts

    cls = entry.cls
    single = cls is None or tuple(cls.points) == (None,)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "ready": entry.problem is None,
        "problem": entry.problem,
        "point_unit": "" if cls is None else cls.point_unit,
        "points": [] if cls is None or single else list(map(point_text, cls.points)),
        "point_range": None if cls is None else cls.point_range,
        "options": [] if cls is None else option_texts(cls),
        "from": entry.origin,
    }


def _tell(entry: Entry[Codec]) -> None:
    """All that is known of a codec, for people."""
    import inspect

    from lic_bench.codec.base import point_text
    from lic_bench.plugins.spec import option_texts

    typer.secho(printable(entry.name), bold=True)
    if entry.problem is not None:
        console.say(f"  cannot be used here: {entry.problem}")
    if entry.cls is not None:
        text = inspect.getdoc(entry.cls) or ""
        for line in text.partition("\nParameters\n")[0].splitlines():
            console.say(f"  {line}".rstrip())
        if entry.cls.points != (None,):
            values = ", ".join(map(point_text, entry.cls.points))
            console.say(f"  operating points: {entry.cls.point_unit} {values}".rstrip())
        if entry.cls.point_range is not None:
            low, high = map(point_text, entry.cls.point_range)
            console.say(f"  from {low} (lowest rate) to {high}")
        for option in option_texts(entry.cls):
            console.say(f"  option {option}")
    console.say(f"  from {entry.origin}\n")
