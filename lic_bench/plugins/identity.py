"""What decides on what a codec or a metric computes, and in what two states of one differ."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from lic_bench.errors import LicBenchError, SpecError
from lic_bench.plugins.base import Plugin
from lic_bench.plugins.files import aside, told
from lic_bench.plugins.programs import OfPrograms
from lic_bench.plugins.sources import sources

PLACE = "{point}"
"""In a text that names files: what stands there is an operating point."""

_DIGITS = 16  # of a SHA-256
_MOST = 4  # changes that are named


def identity(plugin: Plugin) -> str:
    """Everything that decides on a codec's bytes and pixels, or a metric's value: canonical JSON.

    Measurements are remembered under it: the same identity gives the same result. It holds

    - the name and the options,
    - the SHA-256 of what options name: a file, the files of a folder, those that a pattern such as
      ``runs/lambda-{point}.pth.tar`` stands for, or those of a list such as ``low.pth:high.pth``,
    - the versions that it states, of libraries and of weights that come along,
    - the SHA-256 of its modules; see `lic_bench.plugins.sources`.

    Raises
    ------
    SpecError
        Where it is not defined in a file, or does not say its versions.
    """
    cls = type(plugin)
    options, files = {}, {}
    for name, value in plugin.options.items():
        options[name] = str(value)
        if isinstance(value, str | os.PathLike) and name not in _choices(cls):
            text = os.fspath(value)
            if contents := _contents(text):
                # Wherever they lie.
                options[name] = os.pathsep.join(Path(t).name for t in text.split(os.pathsep))
                files[name] = contents
    try:
        with aside():
            versions = dict(plugin.versions())
        json.dumps(versions)
    except (LicBenchError, MemoryError):
        raise
    except Exception as error:
        why = f"no versions, each a text by its name: {told(error)}"
        raise SpecError(f"{plugin.name} gives {why}") from error
    modules = dict(sources(cls))
    if issubclass(cls, OfPrograms):
        modules |= _programs(cls)
    return json.dumps(
        {
            plugin.kind: plugin.name,
            "options": options,
            "files": files,
            "versions": versions,
            "sources": modules,
        },
        sort_keys=True,
        ensure_ascii=False,
    )


def changes(before: str, after: str) -> str:
    """In what two identities differ: ``libjpeg-turbo 3.1.0 -> 3.1.1``."""
    old, new = json.loads(before), json.loads(after)
    texts = [
        f"{name} {older} -> {newer}"
        for what in ("versions", "options")
        for name, older, newer in _apart(old.get(what, {}), new.get(what, {}))
    ]
    options = {**old.get("files", {}), **new.get("files", {})}
    contents = [(old.get("sources", {}), new.get("sources", {}))]
    contents += [
        (old.get("files", {}).get(o, {}), new.get("files", {}).get(o, {})) for o in options
    ]
    for older, newer in contents:
        for name, was, is_now in _apart(older, newer):
            how = "is new" if was is None else "is gone" if is_now is None else "changed"
            texts.append(f"{name} {how}")
    more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return ", ".join(texts[:_MOST] + more)


def _apart(
    old: Mapping[str, str], new: Mapping[str, str]
) -> Iterator[tuple[str, str | None, str | None]]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


@cache
def _choices(cls: type[Plugin]) -> set[str]:
    """The options that are words from a list, and name no file even if there is one."""
    try:
        hints = typing.get_type_hints(cls.__init__)
    except Exception:  # noqa: BLE001 - whatever an annotation raises
        return set()
    return {name for name, hint in hints.items() if typing.get_origin(hint) is typing.Literal}


def _contents(text: str) -> dict[str, str]:
    """The digest of each file that an option's value names, if any."""
    if not text:
        return {}
    contents = {shown: _digest(file) for shown, file in _files(Path(text).expanduser())}
    if contents or os.pathsep not in text:
        return contents
    parts = [_contents(part) for part in text.split(os.pathsep)]
    numbered = {
        f"{shown} ({number})": digest
        for number, part in enumerate(parts, 1)
        for shown, digest in part.items()
    }
    return numbered if all(parts) else {}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files that a path or a pattern names, if any: each with its path from there."""
    if PLACE in str(path):
        parts = path.parts
        first = next(i for i, part in enumerate(parts) if PLACE in part)
        folder = Path(*parts[:first])
        wanted = "/".join(glob.escape(part).replace(PLACE, "*") for part in parts[first:])
        files = sorted(folder.glob(wanted))
    elif path.is_dir():
        folder, files = path, sorted(path.rglob("*"))
    else:
        folder, files = path.parent, [path]
    for file in files:
        shown = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in shown.parts):
            yield shown.as_posix(), file


def _programs(cls: type[OfPrograms]) -> dict[str, str]:
    """The digest of a TOML file, and of what lies in its folder and is named by its commands.

    Programs from elsewhere are left to `OfPrograms.versions`.
    """
    folder = cls.source.parent
    words = {word.rpartition("=")[2] for command in cls.commands.values() for word in command}
    paths = {Path(word) for word in words if Path(word).is_relative_to(folder)}
    return {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in {cls.source, *paths}
        if path.is_file()
    }


def _digest(file: Path) -> str:
    return file_digest(file)[:_DIGITS]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits; it is read once, as long as it stays.

    A bitstream that begins with some of it cannot be decoded with another checkpoint by mistake.
    """
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
