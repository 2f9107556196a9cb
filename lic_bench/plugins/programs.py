"""What comes as programs instead of Python: a TOML file names them, and they are called safely.

A command is a list of words, or a text that is split into words as a shell would; no shell runs it.
A program whose name has a slash is looked for from the folder of the TOML file, ``{folder}`` in the
commands; any other one on the PATH. Each call runs in a temporary folder of its own, has nothing to
read from standard input, and leaves no process behind.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Annotated, ClassVar, TypeVar, cast

import msgspec

from lic_bench.errors import SpecError
from lic_bench.plugins.base import Plugin
from lic_bench.plugins.toml import read_toml

_MAXIMUM_BYTES = 1 << 30
"""Of a file that a program writes."""
_TAIL = 1 << 16
"""How much of what a program says is kept, in bytes."""
_PATIENCE_S = 0.05
_VERSION_S = 20
_KIND = "plugin file"
_VERSION_LENGTH = 200
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a TOML file says, whatever its programs are for."""

    name: str
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 300
    """For one call."""
    version: str | list[str] = ""
    """A command whose output is part of the identity; it must be the same at every call.

    Without it the identity has the SHA-256 of the programs, and of the files that the commands name
    by their whole path.
    """
    remedy: str = ""
    """What to do where a program is missing: ``apt install webp``."""


Described = TypeVar("Described", bound=Description)


class OfPrograms(Plugin):
    """A plugin that calls programs; a subclass is made for each TOML file."""

    source: ClassVar[Path]
    """The TOML file."""
    description: ClassVar[Description]
    commands: ClassVar[Mapping[str, Sequence[str]]]
    """The words of each command, ``version`` included where it is given."""

    @classmethod
    def unavailable(cls) -> str | None:
        for program, *_ in cls.commands.values():
            if shutil.which(program) is None:
                remedy = cls.description.remedy or "install it, or mend the command"
                return f"there is no program {program!r}, which {cls.source.name} calls; {remedy}"
        return None

    def versions(self) -> Mapping[str, str]:
        return _versions(type(self))

    def call(self, command: str, values: Mapping[str, object], folder: Path) -> str:
        """Run one of the commands in a folder; return what it said last.

        Raises
        ------
        ProgramError
            Where it does not start, fails or takes too long.
        """
        words = [_filled(word, values) for word in self.commands[command]]
        return call(words, folder, self.description.timeout_s)


class ProgramError(Exception):
    """A program failed; the text tells how."""


def keys(path: Path) -> set[str]:
    """The keys of a TOML file, by which it is known what it describes; see `described`."""
    return set(read_toml(path, dict[str, object], _KIND))


def described(path: Path, kind: type[Described]) -> Described:
    """What a TOML file describes.

    Raises
    ------
    SpecError
        Where it cannot be read, or a key is missing, unknown or wrong.
    """
    return read_toml(path, kind, _KIND)


def words(
    key: str, command: str | list[str], folder: Path, needed: set[str], possible: set[str]
) -> list[str]:
    """Split a command into words, and see that its placeholders are those that it needs.

    Parameters
    ----------
    key
        Of the TOML file, for errors.
    folder
        Where that lies.
    possible
        The placeholders there are beside those that are needed.

    Raises
    ------
    ValueError
        Where it is no command.
    """

    def wrong(what: str) -> ValueError:
        return ValueError(f"{what} - at `$.{key}`")

    try:
        given = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise wrong(f"no command: {error}") from None
    if not given or not given[0]:
        raise wrong("an empty command: it begins with the name of a program")
    asked = {name for word in given for name in _PLACEHOLDER.findall(word)}
    possible = {"folder"} | needed | possible
    if missing := needed - asked:
        raise wrong(f"{{{min(missing)}}} is missing")
    if unknown := asked - possible:
        raise wrong(
            f"{{{min(unknown)}}} is no placeholder here; there are "
            + ", ".join(f"{{{name}}}" for name in sorted(possible))
        )
    program, *others = (_filled(word, {"folder": folder}) for word in given)
    program = str(folder / program) if "/" in program else program
    found = shutil.which(program)
    return [str(Path(found).absolute()) if found else program, *others]


def _filled(word: str, values: Mapping[str, object]) -> str:
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), word)


@cache
def _versions(cls: type[OfPrograms]) -> Mapping[str, str]:
    if "version" in cls.commands:
        with temporary_folder() as own:
            try:
                # Not every program calls it a success to tell its version.
                said = call(cls.commands["version"], own, _VERSION_S, check=False)
            except ProgramError as error:
                raise SpecError(f"{cls.source}: {error} - at `$.version`") from error
        text = " ".join(said.split())
        if not text:
            raise SpecError(f"{cls.source}: the program says nothing - at `$.version`")
        if len(text) > _VERSION_LENGTH:  # some give their whole help
            digest = hashlib.sha256(said.encode()).hexdigest()[:16]
            text = f"{text[:_VERSION_LENGTH]} sha256:{digest}"
        return {Path(cls.commands["version"][0]).name: text}
    words = [word for command in cls.commands.values() for word in command]
    files: dict[str, list[str]] = defaultdict(list)
    for path in sorted({Path(word.rpartition("=")[2]) for word in words}):
        if path.is_absolute() and path.is_file():
            with path.open("rb") as file:
                files[path.name].append(hashlib.file_digest(file, "sha256").hexdigest()[:16])
    return {name: " ".join(digests) for name, digests in files.items()}


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder for the files of a call."""
    with tempfile.TemporaryDirectory(prefix="lic-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def call(words: Sequence[str], folder: Path, timeout_s: float, check: bool = True) -> str:
    """Run a program to its end; return what it said last. It leaves no process behind.

    Raises
    ------
    ProgramError
        Where it does not start, fails or takes too long.
    """
    program = Path(words[0]).name
    deadline = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(  # noqa: S603 - the words are the user's own
            words,
            cwd=folder,
            # Our own workers have it; a program in Python may want the modules beside it.
            env={name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        raise ProgramError(f"{program} does not start: {error}") from error
    with process:
        try:
            _limit_files(process.pid)
            said = _said(process, deadline)
            code = process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{program} was stopped after {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if check and code:
        how = f"ended with exit code {code}" if code > 0 else f"died of {_signal(-code)}"
        raise ProgramError(f"{program} {how}{_last_lines(said)}")
    return said


def _said(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Read what a program says until it ends, and keep the end of it."""
    pipe = cast("IO[bytes]", process.stdout)
    tail = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], min(left, _PATIENCE_S))[0]:
            piece = os.read(pipe.fileno(), 1 << 16)
            if not piece:
                break
            tail = (tail + piece)[-_TAIL:]
        elif process.poll() is not None:
            break  # what it started still holds the pipe
    return tail.decode(errors="replace")


def _last_lines(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = "; ".join(lines[-3:])[-300:]
    return ": " + "".join(c if c.isprintable() else "?" for c in text) if text else ", silently"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _limit_files(pid: int) -> None:
    """Keep a program, misled by a damaged stream, from filling the disk."""
    if sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended already
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_MAXIMUM_BYTES, _MAXIMUM_BYTES))


def content(path: Path) -> bytes:
    """Read the file that a program was to write.

    Raises
    ------
    ProgramError
        Where there is none, or it is no plain file of a possible size.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise ProgramError("no file was written to {output}") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a link may lead anywhere
        raise ProgramError("what was written to {output} is no regular file")
    if not 0 < status.st_size < _MAXIMUM_BYTES:
        raise ProgramError(f"the file written to {{output}} has {status.st_size} bytes")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProgramError(f"the file written to {{output}} cannot be read: {error}") from error
