"""The command line: the commands put together, and errors in a line or two.

Each command imports what it needs when it is called, so that help and listings answer at once.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from lic_bench.cli import (
    check,
    codecs,
    coding,
    compare,
    console,
    datasets,
    export,
    extract,
    import_results,
    measure,
    merge,
    metrics,
    plot,
    published,
    rate,
    report,
    run,
    runs,
    table,
    time,
    train,
    verify,
)
from lic_bench.cli.options import DEBUG, Debug
from lic_bench.cli.panels import arrange
from lic_bench.errors import LicBenchError


class _Commands(TyperGroup):
    """The commands; what a user can mend is shown without a traceback, unless it is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for group in (self, *self.commands.values()):
            for command in getattr(group, "commands", {}).values():
                arrange(command)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LicBenchError as error:
            if ctx.meta.get(DEBUG):
                traceback.print_exc()
            console.messages().print(f"lic-bench: {error}", markup=False)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    help="Compare image codecs, learned and classical, by one procedure.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_GROUPS: dict[str, dict[str, Callable[..., object]]] = {
    "Measure and show": {
        "run": run.run,
        "table": table.table,
        "plot": plot.plot,
        "compare": compare.compare,
        "report": report.report,
    },
    "What is available": {
        "codecs": codecs.codecs,
        "metrics": metrics.metrics,
        "datasets": datasets.datasets,
        "fetch": datasets.fetch,
        "published": published.published,
    },
    "Work with results": {
        "measure": measure.measure,
        "extract": extract.extract,
        "export": export.export,
        "merge": merge.merge,
        "import": import_results.import_results,
        "forget": import_results.forget,
        "runs": runs.runs,
    },
    "Speed, people, verification": {
        "time": time.time,
        "rate": rate.app,
        "verify": verify.verify,
    },
    "Codecs, one by one": {
        "check": check.check,
        "encode": coding.encode,
        "decode": coding.decode,
        "train": train.train,
    },
}
"""The commands, in the order in which people need them."""

for _group, _commands in _GROUPS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_group)
        else:
            app.command(_name, rich_help_panel=_group)(_command)

_Refusal = typer.BadParameter.__mro__[2]
"""What the command line cannot be read as; typer has no name of its own for it."""


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # nor do workers import from the current folder
    warnings.showwarning = _warn
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        code = 130
    except Exception as error:
        if not isinstance(error, _Refusal) or not _in_a_line(error):
            raise
        console.messages().print(f"lic-bench: {_in_a_line(error)}", markup=False)
        code = 2
    sys.exit(code)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show what a user must know without the line of code that says it."""
    if issubclass(category, UserWarning):
        console.messages().print(f"Warning: {message}", markup=False)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr)


def _in_a_line(error: Any) -> str:
    """What is wrong with a command line, in a line."""
    text = error.format_message().rstrip(".")
    text = " ".join(text.split())
    text = re.sub(r"\(Possible options: (.*)\)", r"(there is \1)", text)
    text = re.sub(
        r"\. Did you mean (.*)\?$",
        lambda found: f" (there is {found[1].replace(chr(39), '')})",
        text,
    )
    words = error.ctx.command_path.split()[1:] if error.ctx else []
    return f"{text[:1].lower()}{text[1:]}; see {' '.join(['lic-bench', *words, '--help'])}"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.say(f"lic-bench {version('lic-bench')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.QUIET.set(False)  # until a command's --quiet is read
