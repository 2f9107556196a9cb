"""The helper that runs command lines: it sees what a process would show, and leaves nothing."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from command import command


def state() -> tuple[object, ...]:
    streams = sys.stdout, sys.stderr, os.fstat(1).st_ino, os.fstat(2).st_ino
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    return Path.cwd(), dict(os.environ), sys.argv, streams, handlers, list(warnings.filters)


def test_all_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state()
    assert command("--version", cwd=tmp_path, SOME="variable").stdout.startswith("lic-bench ")
    assert state() == before

    def spoils() -> None:
        assert (Path.cwd(), os.environ["SOME"]) == (tmp_path, "variable")
        os.chdir("/")
        os.environ["PATH"] = ""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        warnings.simplefilter("error")
        raise KeyError

    monkeypatch.setattr("command.main", spoils)
    with pytest.raises(KeyError):
        command(cwd=tmp_path, SOME="variable")
    assert state() == before


def test_what_processes_print_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def prints() -> None:
        sys.stdout.write("mine, ")
        sys.stdout.flush()
        code = "import sys; print('theirs'); print('wrong', file=sys.stderr)"
        subprocess.run([sys.executable, "-c", code], check=True)
        warnings.warn("careful", UserWarning, stacklevel=2)

    monkeypatch.setattr("command.main", prints)
    ended = command()
    assert ended.stdout == "mine, theirs\n"
    assert ended.stderr.startswith("wrong\n")
    assert "UserWarning: careful" in ended.stderr


@pytest.mark.parametrize(
    ("main", "options"),
    [
        (lambda: sys.exit(2), {}),
        (lambda: None, {"code": 2}),
        (lambda: sys.stderr.write("Traceback"), {}),
        (lambda: None, {"traceback": True}),
    ],
)
def test_what_was_not_expected_is_an_error(
    main: Callable[[], object], options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("command.main", main)
    with pytest.raises(AssertionError):
        command(**options)
