"""Which plugins of a kind there are, and which of them can be used here.

They come through one door: an entry-point group, our own like everybody else's, and through it at
run time the plugin files that a user names. A file may hold codecs and metrics; each registry takes
those of its kind.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from lic_bench.errors import SpecError, UnavailableError, plain
from lic_bench.plugins import programs
from lic_bench.plugins.base import Plugin
from lic_bench.plugins.files import load_plugin
from lic_bench.plugins.spec import build, parse_spec

Kind = TypeVar("Kind", bound=Plugin)


@dataclass(frozen=True)
class Entry(Generic[Kind]):
    """A plugin that was found: its class, or why it cannot be used."""

    name: str
    origin: str
    """The distribution or the file that it comes from."""
    cls: type[Kind] | None
    problem: str | None
    """Why it cannot be used here, and the remedy."""

    @property
    def summary(self) -> str:
        """What it is, in a line: that of its class's docstring."""
        text = inspect.getdoc(self.cls) if self.cls and self.cls.__doc__ else None
        return (text or "").partition("\n")[0].rstrip(".")


class PluginRegistry(Generic[Kind]):
    """The plugins of a kind at hand: those installed, and those of the given plugin files.

    Raises
    ------
    SpecError
        Where a plugin file cannot be loaded, holds no plugin, or takes a name that is taken.
    """

    group: ClassVar[str]
    """Of the entry points."""
    base: type[Kind]
    commands: ClassVar[frozenset[str]]
    """The keys by which a TOML file is known to describe one of this kind."""

    def __init__(self, plugins: Iterable[Path] = ()) -> None:
        self._installed = {point.name: point for point in entry_points(group=self.group)}
        self._loaded: dict[str, Entry[Kind]] = {}
        for path in plugins:
            for entry in self._load_file(path.resolve()):
                if entry.name in self._installed or entry.name in self._loaded:
                    raise SpecError(
                        f"{path}: the {self.base.kind} name {entry.name!r} is taken; "
                        "give yours another"
                    )
                self._loaded[entry.name] = entry

    def names(self) -> list[str]:
        """The names of all that there are, in alphabetical order."""
        return sorted({*self._installed, *self._loaded})

    def name(self, text: str) -> str:
        """The name that people mean, whatever its case and hyphens: ``jpeg2000`` for ``JPEG 2000``.

        A text that is none of them is left as it is.
        """
        if text in self._loaded or text in self._installed:
            return text
        near = [name for name in self.names() if plain(name) == plain(text)]
        return near[0] if len(near) == 1 else text

    def spec(self, text: str) -> str:
        """A spec by the name that its plugin has; see `name`."""
        name = parse_spec(text).name
        return self.name(name) + text.removeprefix(name)

    def entry(self, name: str) -> Entry[Kind]:
        """What there is under a name.

        Raises
        ------
        SpecError
            Where there is nothing.
        """
        if name in self._installed and name not in self._loaded:
            self._loaded[name] = self._load_entry_point(self._installed[name])
        if name in self._loaded:
            return self._loaded[name]
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self.names())}"
        raise SpecError(f"there is no {self.base.kind} {name!r}; {hint}")

    def make(self, text: str) -> Kind:
        """Make what a spec such as ``jpeg:subsampling=4:4:4`` asks for.

        Raises
        ------
        SpecError
            Where the spec is wrong.
        UnavailableError
            Where it cannot be used here.
        """
        spec = parse_spec(text)
        entry = self.entry(spec.name)
        if entry.cls is None or entry.problem is not None:
            raise UnavailableError(
                f"the {self.base.kind} {spec.name!r} cannot be used here: {entry.problem}"
            )
        return build(entry.cls, spec)

    def _described(self, path: Path) -> type[Kind]:
        """The class of what a TOML file describes."""
        raise NotImplementedError

    def _load_entry_point(self, point: EntryPoint) -> Entry[Kind]:
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        try:
            cls = point.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin's import raises
            return Entry(point.name, origin, None, f"{point.value} does not load: {error}")
        if not (isinstance(cls, type) and issubclass(cls, self.base)):
            what = f"lic_bench.{self.base.__name__}"
            return Entry(point.name, origin, None, f"{point.value} is no {what}")
        return _checked(cls, point.name, origin)

    def _load_file(self, path: Path) -> list[Entry[Kind]]:
        if path.suffix == ".toml":
            classes = [self._described(path)] if self._is_described(path) else []
        else:
            classes = [cls for cls in _classes(path) if issubclass(cls, self.base)]
        bases = {base for cls in classes for base in cls.__mro__[1:]}
        classes = [cls for cls in classes if hasattr(cls, "name") or cls not in bases]
        for cls in classes:
            name = getattr(cls, "name", None)
            if name is None:
                raise SpecError(
                    f"{path}: {cls.__name__} has no name; give it one, as in name = 'my-{cls.kind}'"
                )
            if not (isinstance(name, str) and re.fullmatch(r"[^\W_][\w.+-]*", name)):
                raise SpecError(
                    f"{path}: {name!r} is no name for a {cls.kind}; it needs one of letters, "
                    f"digits and hyphens, as in name = 'my-{cls.kind}'"
                )
        return [_checked(cls, cls.name, str(path)) for cls in classes]

    @classmethod
    def _is_described(cls, path: Path) -> bool:
        return not cls.commands.isdisjoint(programs.keys(path))


def _classes(path: Path) -> list[type[Plugin]]:
    """The plugins of a Python file, of any kind."""
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
        and issubclass(value, Plugin)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    ]
    if not classes:
        raise SpecError(
            f"{path} holds neither codec nor metric: it needs a subclass of lic_bench.Codec with "
            "encode and decode, or of lic_bench.Metric with prepare"
        )
    return classes


def _checked(cls: type[Kind], name: str, origin: str) -> Entry[Kind]:
    try:
        problem = cls.unavailable()
    except Exception as error:  # noqa: BLE001 - as above
        problem = f"its own check failed: {error}"
    return Entry(name, origin, cls, problem)
