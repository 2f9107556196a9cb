"""What `codecs` and `metrics` say of plugins: what all have, and what each kind adds to it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

import typer

from lic_bench.cli import console
from lic_bench.plugins.base import Plugin
from lic_bench.printable import printable

if TYPE_CHECKING:
    from lic_bench.plugins.registry import Entry, PluginRegistry

Kind = TypeVar("Kind", bound=Plugin)


def entries(registry: PluginRegistry[Kind], names: Iterable[str]) -> list[Entry[Kind]]:
    """Those that are named, as people type names; or all."""
    return [registry.entry(registry.name(name)) for name in names or registry.names()]


def ready(entry: Entry[Kind]) -> str:
    """Whether one can be used here, for a cell of a table."""
    return "ready" if entry.problem is None else f"missing: {entry.problem}"


def facts(entry: Entry[Kind]) -> dict[str, object]:
    """What is known of one of any kind, for programs."""
    from lic_bench.plugins.spec import option_texts

    return {
        "name": entry.name,
        "summary": entry.summary,
        "ready": entry.problem is None,
        "problem": entry.problem,
        "options": [] if entry.cls is None else option_texts(entry.cls),
        "from": entry.origin,
    }


def tell(entry: Entry[Kind], about: Iterable[str]) -> None:
    """Print all that is known of one, for people; `about` are the lines that its kind adds."""
    from lic_bench.plugins.spec import option_texts

    typer.secho(printable(entry.name), bold=True)
    if entry.problem is not None:
        console.say(f"  cannot be used here: {entry.problem}")
    if entry.cls is not None:
        text = (inspect.getdoc(entry.cls) or "") if entry.summary else ""  # its own alone
        options = (f"option {option}" for option in option_texts(entry.cls))
        for line in (*text.partition("\nParameters\n")[0].splitlines(), *about, *options):
            console.say(f"  {line}".rstrip())
    console.say(f"  from {entry.origin}\n")
