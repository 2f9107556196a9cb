"""The terminal: consoles, tables that are not cut, progress, and what Ctrl-C leaves behind.

`rich.progress` and what brings pandas are imported when they are needed, so that help and listings
answer at once.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lic_bench.printable import printable, printable_lines

if TYPE_CHECKING:
    from lic_bench.execution.run import Progress

T = TypeVar("T")

WIDE = 120
"""Columns of a table that is not to be cut, in a log either."""

_ENDLESS = 10_000  # columns
_QUIET_S = 10  # between two lines of progress where there is no terminal


class _Terminal(Console):
    """A console that shows texts as they are: nothing in them steers the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        shown = (printable_lines(x) if isinstance(x, str) else x for x in objects)
        super().print(*shown, **options)


class PlainTable(Table):
    """A table whose cells steer no terminal."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        shown = [printable_lines(x) if isinstance(x, str) else x for x in cells]
        super().add_row(*shown, **options)
        for column, cell in zip(self.columns, shown, strict=False):
            if column.no_wrap and isinstance(cell, str):  # rich would measure its longest word
                width = Text.from_markup(cell).cell_len
                column.min_width = max(column.min_width or 0, width)


def output(width: int = 0) -> Console:
    """The console of what a command is called for; a log has at least so many columns, too."""
    return _Terminal(highlight=False, soft_wrap=True, width=max(Console().width, width))


def messages() -> Console:
    """The console of progress, notes and errors: standard error, lines unbroken."""
    return _Terminal(stderr=True, highlight=False, soft_wrap=True)


def say(text: object, *, nl: bool = True, err: bool = False) -> None:
    """Print text, of which names from outside may be a part: nothing in it steers a terminal."""
    typer.echo(printable_lines(str(text)), nl=nl, err=err)


QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether a command is to show nothing but what went wrong, and what it is called for."""


def tell(text: object) -> None:
    """Say what was done: nothing where quiet is wanted."""
    if not QUIET.get():
        say(text)


TERMINAL = Path("-")
"""What stands for the terminal where a file may be named."""


def give(text: str, out: Path | None = None) -> None:
    """Write a text to a file, and say where; or to the terminal, if none is named or ``-`` is."""
    from lic_bench.files import atomic_write

    if out is None or out == TERMINAL:
        say(text.rstrip("\n"))
        return
    with atomic_write(out) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    tell(out)


def note(text: object) -> None:
    """Say what a reader must know of the output: nothing where quiet is wanted."""
    if not QUIET.get():
        say(f"Note: {text}", err=True)


@contextmanager
def notes() -> Iterator[None]:
    """Say, as notes, what is warned of meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        note(warning.message)


def plain_table(first: str, *figures: str, title: str | None = None) -> Table:
    """A table without lines: a column of names, which may be folded, and columns of figures."""
    shown = None if title is None else printable_lines(title)
    table = PlainTable(box=None, padding=(0, 2, 0, 0), title_justify="left", title=shown)
    table.add_column(first, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def words_table(*titles: str) -> Table:
    """A table without lines, of columns of words, which may be folded."""
    table = PlainTable(box=None, padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def show(table: Table) -> None:
    """Print a table, as wide as it must be for no name and no figure in it to be cut."""
    endless = Console(width=_ENDLESS)
    output(Measurement.get(endless, endless.options, table).minimum).print(table)


@contextmanager
def resumable() -> Iterator[None]:
    """Say, where a user stops a run, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        from lic_bench.execution import provenance

        messages().print(
            "Stopped. What was measured is kept; the same command carries on from there:\n"
            f"  {provenance.command()}",
            markup=False,
        )
        raise typer.Exit(130) from None


@contextmanager
def run_progress(*, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show a run's progress, with an estimate of the time left: a bar, or lines in a log.

    Meanwhile matplotlib and pandas are imported, in the background: workers start, and measure.
    """
    with _importing("lic_bench.reporting.plots"), _bar(quiet) as report:
        yield report


@contextmanager
def _importing(module: str) -> Iterator[None]:
    """Import a module in the background. At the end it is waited for.

    An interpreter that ends while another thread imports may end in a fatal error.
    """
    thread = Thread(target=import_module, args=(module,))
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    console = Console(stderr=True)
    if quiet or QUIET.get():
        yield lambda now: None
        return
    if not (console.is_terminal or console.is_jupyter):
        yield _lines()
        return
    from rich import progress
    from rich.markup import escape

    from lic_bench.codec.base import point_text

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("so far,"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("to go"),
        progress.TextColumn("{task.fields[latest]}"),
    )
    with progress.Progress(*columns, console=console) as bars:
        bar = bars.add_task("measuring", total=None, latest="")

        def report(now: Progress) -> None:
            for line in now.updates if now.done == 0 else ():
                shown = printable_lines(line)
                bars.console.print(shown, markup=False, highlight=False, soft_wrap=True)
            failed = f"[red]{now.failed} failed[/] " if now.failed else ""
            task = now.latest
            where = f"{task.image.name} {task.codec} {point_text(task.point)}" if task else ""
            bars.update(
                bar,
                total=now.planned - now.remembered,
                completed=now.done,
                latest=failed + escape(printable(where)),
            )

        yield report


def _lines() -> Callable[[Progress], None]:
    start = latest = time.monotonic()

    def report(now: Progress) -> None:
        nonlocal latest
        work, seconds = now.planned - now.remembered, time.monotonic() - start
        if now.done == 0:
            for line in now.updates:
                say(line, err=True)
            print(f"{now.planned} measurements, {now.remembered} known", file=sys.stderr)
        elif now.done == work or time.monotonic() - latest > _QUIET_S:
            latest = time.monotonic()
            left = seconds / now.done * (work - now.done)
            print(
                f"{now.done} of {work} in {seconds:.0f} s, {now.failed} failed"
                + (f", about {left:.0f} s to go" if now.done < work else ""),
                file=sys.stderr,
            )

    return report


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of progress, where there is a terminal; it moves only when it is called.

    It is called with how much is done, and how much there is.
    """
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, auto_refresh=False, disable=_hidden(console)) as bars:
        task = bars.add_task(title, total=None)

        def report(done: int, planned: int) -> None:
            bars.update(task, completed=done, total=planned, refresh=True)

        yield report


def _hidden(console: Console) -> bool:
    return QUIET.get() or not console.is_terminal


def tracked(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Give the items, and show how many of them are done; the bar vanishes at the end."""
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        items,
        title,
        total=total,
        console=console,
        transient=True,
        disable=_hidden(console),
    )
