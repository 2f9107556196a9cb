"""Which codecs there are, and which of them can be used here.

Codecs come through one door: the entry-point group ``lic_bench.codecs``, our own like everybody
else's, and through it at run time the plugin files that a user names.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from lic_bench.codec.base import Codec
from lic_bench.codec.plugins import load_plugin
from lic_bench.codec.programs import load as load_programs
from lic_bench.codec.spec import build, parse_spec
from lic_bench.errors import SpecError, UnavailableError

GROUP = "lic_bench.codecs"


@dataclass(frozen=True)
class CodecEntry:
    """A codec that was found: its class, or why it cannot be used."""

    name: str
    origin: str
    """The distribution or the file that it comes from."""
    cls: type[Codec] | None
    problem: str | None
    """Why it cannot be used here, and the remedy."""


class Registry:
    """The codecs at hand: those installed, and those of the given plugin files.

    Raises
    ------
    SpecError
        Where a plugin file cannot be loaded, holds no codec, or takes a name that is taken.
    """

    def __init__(self, plugins: Iterable[Path] = ()) -> None:
        self._installed = {point.name: point for point in entry_points(group=GROUP)}
        self._loaded: dict[str, CodecEntry] = {}
        for path in plugins:
            for entry in _load_file(path):
                if entry.name in self._installed or entry.name in self._loaded:
                    raise SpecError(
                        f"{path}: the codec name {entry.name!r} is taken; give yours another"
                    )
                self._loaded[entry.name] = entry

    def names(self) -> list[str]:
        """The names of all codecs, in alphabetical order."""
        return sorted({*self._installed, *self._loaded})

    def entry(self, name: str) -> CodecEntry:
        """What there is under a name.

        Raises
        ------
        SpecError
            Where there is nothing.
        """
        if name in self._installed and name not in self._loaded:
            self._loaded[name] = _load_entry_point(self._installed[name])
        if name in self._loaded:
            return self._loaded[name]
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names())}"
        raise SpecError(f"there is no codec {name!r}; {hint}")

    def codec(self, text: str) -> Codec:
        """Make the codec of a spec such as ``jpeg:subsampling=4:4:4``.

        Raises
        ------
        SpecError
            Where the spec is wrong.
        UnavailableError
            Where the codec cannot be used here.
        """
        spec = parse_spec(text)
        entry = self.entry(spec.name)
        if entry.cls is None or entry.problem is not None:
            raise UnavailableError(f"the codec {spec.name!r} cannot be used here: {entry.problem}")
        return build(entry.cls, spec)


def _load_entry_point(point: EntryPoint) -> CodecEntry:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    try:
        cls = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin's import raises
        return CodecEntry(point.name, origin, None, f"{point.value} does not load: {error}")
    if not (isinstance(cls, type) and issubclass(cls, Codec)):
        return CodecEntry(point.name, origin, None, f"{point.value} is no lic_bench.Codec")
    return _checked(cls, point.name, origin)


def _load_file(path: Path) -> list[CodecEntry]:
    path = path.resolve()
    classes = [load_programs(path)] if path.suffix == ".toml" else _load_python(path)
    for cls in classes:
        name = getattr(cls, "name", None)
        if not (isinstance(name, str) and re.fullmatch(r"[^\W_][\w.+-]*", name)):
            raise SpecError(
                f"{path}: {name!r} is no name for a codec; it needs one of letters, digits and "
                "hyphens, as in name = 'my-codec'"
            )
    return [_checked(cls, cls.name, str(path)) for cls in classes]


def _load_python(path: Path) -> list[type[Codec]]:
    if not path.is_file():
        raise SpecError(f"there is no plugin file {path}")
    if path.suffix != ".py":
        raise SpecError(
            f"{path} is neither Python nor TOML; --plugin takes a file such as my_codec.py"
        )
    try:
        module = load_plugin(path)
    except (Exception, SystemExit) as error:
        raise SpecError(f"{path} does not load: {type(error).__name__}: {error}") from error
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Codec)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if not classes:
        raise SpecError(
            f"{path} holds no codec: it needs a subclass of lic_bench.Codec with encode and decode"
        )
    return classes


def _checked(cls: type[Codec], name: str, origin: str) -> CodecEntry:
    try:
        problem = cls.unavailable()
    except Exception as error:  # noqa: BLE001 - as above
        problem = f"its own check failed: {error}"
    return CodecEntry(name, origin, cls, problem)
