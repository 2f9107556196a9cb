"""Plugin files of Python, and the modules that lie beside them.

``import helper`` in ``my_codec.py`` finds the ``helper.py`` of its own folder, wherever the import
stands: at the top or within `encode`. It does so for the plugin and its neighbours alone. Nothing
is put on `sys.path`: two plugins may each have their ``helper.py``, the current folder is not
searched, and nobody else imports a neighbour by accident. The standard library and installed
packages come first, so that a neighbour shadows none of them.

A plugin file is loaded as ``lic_bench_plugin_<digest>.my_codec``, and its neighbours as
``lic_bench_plugin_<digest>.helper``; the digest is that of its path. So ``from . import helper``
works, too.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import sys
from contextlib import AbstractContextManager, redirect_stdout
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import packages_distributions
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lic_bench.errors import error_place
from lic_bench.printable import printable, reason

PREFIX = "lic_bench_plugin_"


def load_plugin(path: Path) -> ModuleType:
    """Load a plugin file, anew each time it is asked for, and its neighbours with it.

    Raises
    ------
    Exception
        Whatever its code raises.
    """
    path = path.resolve()
    package = PREFIX + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    sys.modules[package] = folder = ModuleType(package)
    folder.__path__ = [str(path.parent)]
    name = f"{package}.{path.stem.replace('.', '_')}"
    loader = _Loader(name, str(path))
    module = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    with aside():
        loader.exec_module(module)
    return module


def aside() -> AbstractContextManager[object]:
    """Lead what the code of a plugin prints past our own output, which a program may read."""
    return redirect_stdout(sys.stderr)


def told(error: BaseException) -> str:
    """What the code of a plugin raised, and where, in a line."""
    place = printable(error_place(error))
    return f"{reason(error)}{f' ({place})' if place else ''}"


class _Loader(SourceFileLoader):
    """Gives the code of a module an ``__import__`` of its own, as `exec` documents it."""

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file as it is now; bytecode kept from before may be older than it tells."""
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]

        def import_(
            name: str,
            globals: Any = None,
            locals: Any = None,
            fromlist: Any = (),
            level: int = 0,
        ) -> ModuleType:
            top = name.partition(".")[0]
            if level or not _lies_beside(package, top):
                return builtins.__import__(name, globals, locals, fromlist, level)
            found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist)
            # As the built-in does: of `import a.b`, where nothing is taken from it, `a`.
            return found if fromlist else importlib.import_module(f"{package}.{top}")

        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_}
        super().exec_module(module)


class _Finder:
    """Finds the neighbours of plugins, under the names that are theirs."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX) or path is None:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder)


def _lies_beside(package: str, name: str) -> bool:
    """Whether a name is that of a neighbour, and of nothing that is installed."""
    return (
        name not in sys.stdlib_module_names
        and PathFinder.find_spec(name, list(sys.modules[package].__path__)) is not None
        and name not in _installed()
    )


@cache
def _installed() -> set[str]:
    """The names under which installed packages are imported."""
    return set(packages_distributions())
