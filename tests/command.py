"""`lic-bench` as the tests call it: from within, which costs no process and no imports.

What a real process alone can show (signals, imports, the installed command) has one of its own.
"""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import lic_bench
from lic_bench.cli.main import main

PROGRAM = str(Path(lic_bench.__file__).with_name("__main__.py"))
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def printed(self) -> str:
        """All that it printed."""
        return self.stdout + self.stderr


def command(
    *arguments: object,
    cwd: Path | None = None,
    code: int | None = 0,
    traceback: bool = False,
    **environment: str,
) -> Ended:
    """Run a command line as `python -m lic_bench` would, and leave all else as it was.

    What its processes print is caught, too. What escapes it is raised, as a process would show it
    with a traceback.

    Parameters
    ----------
    arguments
        The words behind `lic-bench`.
    cwd
        The folder in which it runs; the current one by default.
    code
        The exit code that it must end with; `None` for any.
    traceback
        Whether it must show a traceback; otherwise it must not.
    environment
        Variables beside those of the tests. `COLUMNS` is 120 by default.
    """
    with ExitStack() as stack:
        stack.enter_context(_as_it_was())
        out, err = stack.enter_context(_caught())
        os.environ.update({"COLUMNS": "120"} | environment)
        if cwd is not None:
            os.chdir(cwd)
        sys.argv = [PROGRAM, *map(str, arguments)]
        try:
            main()
        except SystemExit as end:
            assert isinstance(end.code, int | None), end.code
            given = end.code or 0
        else:
            given = 0
        sys.stdout.flush()
        sys.stderr.flush()
        ended = Ended(given, _text(out), _text(err))
    assert code in (None, ended.code), f"{ended.code}\n{ended.printed}"
    assert ("Traceback" in ended.stderr) == traceback, ended.stderr
    return ended


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Restore what is the process's own; meanwhile warnings are shown, as in a new one."""
    folder, variables, arguments = Path.cwd(), dict(os.environ), sys.argv
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    root = logging.getLogger()
    loggers, level, disabled = list(root.handlers), root.level, root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            for kind in (ResourceWarning, ImportWarning, PendingDeprecationWarning):
                warnings.simplefilter("ignore", kind)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.showwarning = _show
            yield
    finally:
        root.handlers[:], root.manager.disable = loggers, disabled
        root.setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)


def _show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_) -> None:
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


@contextmanager
def _caught() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Lead what this process and those that it starts print into two files."""
    kept = sys.stdout, sys.stderr
    for stream in kept:
        stream.flush()
    with TemporaryFile() as out, TemporaryFile() as err, ExitStack() as stack:
        for descriptor, file in ((1, out), (2, err)):
            former = os.dup(descriptor)
            stack.callback(os.close, former)
            stack.callback(os.dup2, former, descriptor)
            os.dup2(file.fileno(), descriptor)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        try:
            yield out, err
        finally:
            ours = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = kept
            for stream in ours:
                stream.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
