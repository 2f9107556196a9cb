"""`lic-bench codecs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console, listing
from lic_bench.cli.complete import complete_codecs
from lic_bench.cli.options import Json, Plugins

if TYPE_CHECKING:
    from lic_bench.codec.base import Codec


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

    wanted = listing.entries(Registry(plugin), names)
    if json:
        console.give(as_json([{**listing.facts(entry), **_facts(entry.cls)} for entry in wanted]))
        return
    if names:
        for entry in wanted:
            listing.tell(entry, _about(entry.cls))
        return
    table = console.words_table("codec", "", "")
    for entry in wanted:
        table.add_row(*map(escape, (entry.name, entry.summary, listing.ready(entry))))
    console.show(table)
    console.say("lic-bench codecs NAME shows its options and operating points.")


def _facts(cls: type[Codec] | None) -> dict[str, object]:
    """What a codec has beside what all plugins have, for programs."""
    from lic_bench.codec.base import point_text

    single = cls is None or tuple(cls.points) == (None,)
    return {
        "point_unit": "" if cls is None else cls.point_unit,
        "points": [] if cls is None or single else list(map(point_text, cls.points)),
        "point_range": None if cls is None else cls.point_range,
    }


def _about(cls: type[Codec] | None) -> Iterator[str]:
    """The same for people."""
    from lic_bench.codec.base import point_text

    if cls is not None and cls.points != (None,):
        values = ", ".join(map(point_text, cls.points))
        yield " ".join(filter(None, ["operating points:", cls.point_unit, values]))
    if cls is not None and cls.point_range is not None:
        low, high = map(point_text, cls.point_range)
        yield f"from {low} (lowest rate) to {high}"
