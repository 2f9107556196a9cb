"""The reference of commands, as Markdown, from the program itself.

Nothing here needs MkDocs but `on_files`, which puts the page into the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import typer

from lic_bench.cli.main import app

PAGE = "reference/commands.md"

_INTRODUCTION = """\
# Commands

This page is made from the program: it says what `lic-bench COMMAND --help` says. Names are
separated by commas (`--codecs jpeg,webp`); an option that takes several values may also be given
again.
"""


def on_files(files: Any, config: Any) -> Any:
    """Put the page into the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=page()))
    return files


def commands() -> list[tuple[str, str, Any]]:
    """Every command, in the order of `lic-bench --help`: group, full name, click's command."""
    found = []
    for group, name, command in _of("", typer.main.get_command(app)):
        members = list(_of(f"{name} ", command, group))
        found += members or [(group, name, command)]
    groups = list(dict.fromkeys(group for group, _, _ in found))
    return sorted(found, key=lambda one: groups.index(one[0]))


def page() -> str:
    """The page's text."""
    parts = [_INTRODUCTION, "## Options of all commands\n", *_options(typer.main.get_command(app))]
    for group, members in groupby(commands(), key=lambda found: found[0]):
        parts.append(f"## {group}\n")
        for _, name, command in members:
            parts += [f"### lic-bench {name}\n", f"{command.help}\n"]
            parts += [f"```text\n{usage(name)}\n```\n", *_options(command)]
    return "\n".join(parts)


def usage(name: str) -> str:
    """How a command is called."""
    [command] = [command for _, known, command in commands() if known == name]
    arguments = [one.metavar or one.name for one in command.params if _is_argument(one)]
    return " ".join(["lic-bench", name, "[OPTIONS]", *arguments])


def _of(prefix: str, group: Any, panel: str | None = None) -> Iterator[tuple[str, str, Any]]:
    """The commands of a group, those of a panel together."""
    for name, command in getattr(group, "commands", {}).items():
        yield panel or command.rich_help_panel, f"{prefix}{name}", command


def _options(command: Any) -> Iterator[str]:
    """A table of the arguments and options for each panel of the help."""
    context = command.make_context(command.name, [], resilient_parsing=True)
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        usual = "Arguments" if _is_argument(parameter) else "Options"
        names, meaning = parameter.get_help_record(context)
        if _is_argument(parameter):
            names = parameter.metavar or parameter.name
        row = f"| `{names}` | {_cell(meaning)} |"
        panels.setdefault(parameter.rich_help_panel or usual, []).append(row)
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "| --- | --- |", *rows, ""])


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
