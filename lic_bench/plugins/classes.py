"""Classes of a notebook or of a script, as plugin files that worker processes can load.

A plugin is written of those statements of the notebook's cells, or of the script, that define the
class, and what it names, and so on: imports, constants, functions, classes. The file lies in the
user's cache folder, under the digest of its text, so that the same class is the same plugin
tomorrow.
"""

from __future__ import annotations

import ast
import hashlib
import os
import symtable
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from lic_bench.errors import SpecError
from lic_bench.files import atomic_write
from lic_bench.plugins.base import Plugin


def plugin_of(cls: type[Plugin]) -> Path | None:
    """The plugin file of a class; nothing where it comes with an installed package.

    Raises
    ------
    SpecError
        Where its source is not to be found.
    """
    module = sys.modules.get(cls.__module__)
    file = getattr(module, "__file__", None)
    if cls.__module__ != "__main__" and file is not None:
        return None if _is_packaged(cls) else Path(file).resolve()
    text = _text_of(cls.__name__, module)
    folder = os.environ.get("LIC_BENCH_CACHE") or _cache()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    path = Path(folder, "classes", digest, f"{cls.__name__.lower()}.py").absolute()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as part:
            part.write_text(text, encoding="utf-8")
    return path


def _cache() -> str:
    from platformdirs import user_cache_dir

    return user_cache_dir("lic-bench")


def _is_packaged(cls: type[Plugin]) -> bool:
    top = cls.__module__.partition(".")[0]
    package = sys.modules.get(top)
    return top == "lic_bench" or package is None or hasattr(package, "__path__")


class _Statement(NamedTuple):
    place: int
    text: str
    names: frozenset[str]
    """Which it defines."""


def _text_of(name: str, module: ModuleType | None) -> str:
    """The statements that define a class and what it needs, in their order."""
    statements = _statements(module)
    by_name = {defined: one for one in statements for defined in one.names}  # the last one counts
    if name not in by_name:
        raise SpecError(
            f"the source of {name} is not to be found; put it into a file, and give that: "
            "plugins=['my_codec.py']"
        )
    needed: dict[int, str] = {}
    waiting = [name]
    while waiting:
        one = by_name.get(waiting.pop())
        if one is not None and one.place not in needed:
            needed[one.place] = one.text
            waiting += _read(one.text)
    future = [one.text for one in statements if one.text.startswith("from __future__ import")]
    later = [text for _, text in sorted(needed.items()) if text not in future]
    return "\n\n".join([*dict.fromkeys(future), *later]) + "\n"


def _statements(module: ModuleType | None) -> list[_Statement]:
    """All that define something at the top of a notebook's cells, or of a script."""
    texts = list(getattr(module, "In", []))  # IPython's cells
    file = getattr(module, "__file__", None)
    if file is not None:
        with suppress(OSError, UnicodeError):
            texts = [Path(file).read_text(encoding="utf-8")]
    found: list[_Statement] = []
    for text in texts:
        try:
            body = ast.parse(text).body
        except SyntaxError:  # a magic command
            continue
        for node in body:
            if names := frozenset(_defined(node)):
                source = ast.get_source_segment(text, node) or ""
                lines = text.splitlines()
                first = min([node.lineno, *_decorators(node)])
                if first < node.lineno:
                    source = "\n".join(lines[first - 1 : node.end_lineno])
                found.append(_Statement(len(found), source, names))
    return found


def _decorators(node: ast.stmt) -> list[int]:
    return [one.lineno for one in getattr(node, "decorator_list", [])]


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement defines; none where it is what a script does."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        stored = (one for one in ast.walk(node) if isinstance(one, ast.Name))
        yield from (one.id for one in stored if isinstance(one.ctx, ast.Store))
    elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and not _is_main(node)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from _defined(child)


def _is_main(node: ast.If) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "__name__" for one in ast.walk(node.test))


def _read(text: str) -> Iterator[str]:
    """The names from outside that a statement reads, wherever in it."""
    waiting = [symtable.symtable(text, "<statement>", "exec")]
    while waiting:
        table = waiting.pop()
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if symbol.is_global() or (top and symbol.is_referenced()):
                yield symbol.get_name()
        waiting += table.get_children()
