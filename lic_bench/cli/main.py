"""The command line: the commands put together, and errors in a line or two.

Each command imports what it needs when it is called, so that help and listings answer at once.
"""

from __future__ import annotations

import os
import traceback
from typing import Annotated, Any

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
    import_results,
    measure,
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
from lic_bench.errors import LicBenchError


class _Commands(TyperGroup):
    """The commands; what a user can mend is shown without a traceback, unless it is asked for."""

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
    help="The bench on which learned and classical image codecs meet on equal terms.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(measure.measure)
app.command()(plot.plot)
app.command()(table.table)
app.command()(compare.compare)
app.command()(report.report)
app.add_typer(rate.app, name="rate")
app.command()(time.time)
app.command()(verify.verify)
app.command()(published.published)
app.command()(codecs.codecs)
app.command()(metrics.metrics)
app.command()(check.check)
app.add_typer(datasets.app, name="datasets", invoke_without_command=True)
app.command()(coding.encode)
app.command()(coding.decode)
app.command()(train.train)
app.command("import")(import_results.import_results)
app.command()(import_results.forget)
app.command()(export.export)
app.command()(runs.runs)


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # nor do workers import from the current folder
    app()


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
    pass
