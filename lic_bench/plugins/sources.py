"""The modules that decide on what a plugin computes: those of its classes, and what these import.

They are followed in their text, imports inside functions too, and nothing is imported for it. A
module counts if it is in a package of `Plugin.ours`, or the user's: it lies outside the standard
library and the installed packages, or in the package that the plugin comes from. Installed packages
are left to `Plugin.versions`; the bench's own machinery decides on no byte and no pixel.

What an import computes at run time (`importlib.import_module`) is not seen.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from lic_bench.errors import SpecError
from lic_bench.plugins.base import Plugin
from lic_bench.plugins.files import PREFIX

_BENCH = "lic_bench"
_INSTALLED = {"site-packages", "dist-packages"}


@cache
def sources(cls: type[Plugin]) -> dict[str, str]:
    """The first 16 digits of the SHA-256 of each module, by its path: ``helpers/net.py``.

    Comments, docstrings and blank lines do not count.

    Raises
    ------
    SpecError
        Where the class is not defined in a file.
    """
    package = cls.__module__.partition(".")[0]
    waiting = [start for base in cls.__mro__ if (start := _start(base, package)) is not None]
    if not waiting:
        raise SpecError(f"the {cls.kind} {cls.name!r} is not defined in a file")
    modules = _with_imports(waiting, package, cls.ours)
    digests = {module.shown: _digest(module.file) for module in modules}
    return {name: digest for name, digest in digests.items() if digest}


def plugin_files(plugin: Path) -> dict[str, Path]:
    """A plugin and the modules beside it that it imports, by their paths from its folder."""
    plugin = plugin.resolve()
    modules = _with_imports([_Module(plugin.stem, plugin, plugin.parent)], plugin.stem, ())
    return {
        module.file.relative_to(plugin.parent).as_posix(): module.file
        for module in modules
        if module.file.is_relative_to(plugin.parent)
    }


def _with_imports(waiting: list[_Module], package: str, ours: tuple[str, ...]) -> list[_Module]:
    """Modules, and those that count of what they import."""
    modules: dict[Path, _Module] = {}
    while waiting:
        module = waiting.pop(0)
        if module.file not in modules:
            modules[module.file] = module
            waiting += _imports(module, package, ours)
    return list(modules.values())


class _Module(NamedTuple):
    name: str
    """With dots, as its neighbours import it."""
    file: Path
    root: Path | None
    """The folder in which its imports are looked for before `sys.path`."""

    @property
    def is_package(self) -> bool:
        return self.file.stem == "__init__"

    @property
    def shown(self) -> str:
        name = f"{self.name}.__init__" if self.is_package else self.name
        return name.replace(".", "/") + self.file.suffix


def _start(base: type, package: str) -> _Module | None:
    """The module of a class, if it counts."""
    name = base.__module__
    top, _, _ = name.partition(".")
    if base is object or "ours" in vars(base) or top in sys.stdlib_module_names:
        return None
    try:
        file = inspect.getsourcefile(base)
    except (TypeError, OSError):
        file = None
    if file is None or (_installed(file) and top not in (package, _BENCH)):
        return None
    path = Path(file)
    if sys.modules[name].__spec__ is None or name.startswith(PREFIX):
        # A script, or a plugin: the first part of its name is this process's alone.
        name = name.partition(".")[2] or path.stem
    return _Module(name, path, _root(name, file))


def _imports(module: _Module, package: str, ours: tuple[str, ...]) -> Iterator[_Module]:
    """The modules that are run where this one imports something, if they count."""
    if module.file.suffix != ".py":
        return
    try:
        tree = ast.parse(module.file.read_bytes())
    except (SyntaxError, ValueError):  # its import fails, and says so
        return
    for name in _imported_names(tree, module):
        yield from _located(name, module.root, package, ours)


def _imported_names(node: ast.AST, module: _Module) -> Iterator[str]:
    """What a text imports, with dots; what may be a module or what it holds, as a module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            origin = child.module or ""
            if child.level:
                up = module.name.split(".")
                up = up[: len(up) - child.level + module.is_package]
                origin = ".".join([*up, *filter(None, [origin])])
            yield from (f"{origin}.{alias.name}".lstrip(".") for alias in child.names)
        elif isinstance(child, ast.If) and _is_for_types(child.test):
            for other in child.orelse:
                yield from _imported_names(ast.Module([other], []), module)
        else:
            yield from _imported_names(child, module)


def _is_for_types(test: ast.expr) -> bool:
    names = getattr(test, "id", None), getattr(test, "attr", None)
    return "TYPE_CHECKING" in names


def _located(
    name: str, root: Path | None, package: str, ours: tuple[str, ...]
) -> Iterator[_Module]:
    """The packages that a name goes through, and its module, as far as they exist and count."""
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names:
        return
    spec = None if root is None else PathFinder.find_spec(top, [str(root)])
    if spec is None:
        root, spec = None, _spec_of(top, None)
    while spec is not None:
        if top != _BENCH and top != package and _installed(spec.origin or ""):
            return
        if (
            (top != _BENCH or _within(spec.name, ours))
            and spec.origin
            and Path(spec.origin).is_file()
        ):
            yield _Module(spec.name, Path(spec.origin), root or _root(spec.name, spec.origin))
        if not rest or spec.submodule_search_locations is None:
            return
        spec = _spec_of(f"{spec.name}.{rest.pop(0)}", spec.submodule_search_locations)


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def _root(name: str, origin: str) -> Path | None:
    if name.partition(".")[0] == _BENCH or _installed(origin):
        return None
    file = Path(origin)
    return file.parents[name.count(".") + (file.stem == "__init__")]


def _spec_of(name: str, locations: list[str] | None) -> ModuleSpec | None:
    """Where a module lies; it is not imported, and neither is its package."""
    for finder in sys.meta_path:
        if hasattr(finder, "find_spec") and (spec := finder.find_spec(name, locations)):
            return spec
    return None


def _installed(file: str) -> bool:
    return not _INSTALLED.isdisjoint(Path(file).parts)


def _digest(file: Path) -> str:
    """Of what a module computes; empty where that is nothing."""
    content = file.read_bytes()
    if file.suffix == ".py":
        # What is in another encoding, or no Python, counts as it is.
        with suppress(SyntaxError, ValueError, tokenize.TokenError):
            content = essence(content.decode("utf-8-sig")).encode()
    return hashlib.sha256(content).hexdigest()[:16] if content else ""


def essence(text: str) -> str:
    """A module's text without its comments, docstrings and blank lines.

    It depends on the text alone, not on the version of Python.

    Raises
    ------
    SyntaxError, ValueError, tokenize.TokenError
        Where it is no Python.
    """
    text = text.replace("\r\n", "\n")
    lines = [line.encode() for line in text.split("\n")]
    cuts: dict[int, list[tuple[int, int]]] = defaultdict(list)
    whole: set[int] = set()  # lines that end inside a text: blanks and blank lines count there
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Expr) and _is_text(node.value):
            first, last = node.lineno, node.end_lineno or node.lineno
            for number in range(first, last + 1):
                begin = node.col_offset if number == first else 0
                end = node.end_col_offset if number == last else None
                cuts[number].append((begin, len(lines[number - 1]) if end is None else end))
        elif _is_text(node) or isinstance(node, ast.JoinedStr):
            assert isinstance(node, ast.expr)  # noqa: S101 - for mypy
            whole.update(range(node.lineno, node.end_lineno or node.lineno))
        else:
            waiting.extend(ast.iter_child_nodes(node))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            begin = len(text.split("\n")[row - 1][:column].encode())
            cuts[row].append((begin, len(lines[row - 1])))
    kept = []
    for number, line in enumerate(lines, 1):
        for begin, end in sorted(cuts[number], reverse=True):
            line = line[:begin] + line[end:]
        if number in whole:
            kept.append(line)
        elif line.strip():
            kept.append(line.rstrip())
    return b"\n".join(kept).decode()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
