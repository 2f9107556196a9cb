"""Codecs as Python names them: specs, classes and instances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lic_bench.codec.base import Codec
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError
from lic_bench.plugins.classes import plugin_of

Named = str | Codec | type[Codec]
"""A spec, or a codec of one's own: an instance, or its class."""


def named(
    codecs: Named | Iterable[Named], plugins: str | Path | Iterable[str | Path] = ()
) -> tuple[list[str], list[Path]]:
    """The specs of codecs, and the plugin files that these need.

    Raises
    ------
    SpecError
        Where a class cannot be given to a worker.
    """
    several = [codecs] if isinstance(codecs, str | Codec | type) else list(codecs)
    files = [Path(plugin).resolve() for plugin in listed(plugins)]
    specs = []
    for one in several:
        if isinstance(one, str):
            specs.append(one)
            continue
        cls = one if isinstance(one, type) else type(one)
        file = plugin_of(cls)
        if file is not None and file not in files:
            files.append(file)
        specs.append(cls.name if isinstance(one, type) else _spec(one))
    registry = Registry(files)
    return [registry.spec(spec) for spec in specs], files


def _spec(codec: Codec) -> str:
    """The spec of an instance: its name, and the options that are not as they would be anyhow."""
    import inspect

    given = []
    parameters: dict[str, inspect.Parameter] = {}
    if type(codec).__init__ is not object.__init__:
        parameters = dict(inspect.signature(type(codec)).parameters)
    for name, value in codec.options.items():
        if name not in parameters or value == parameters[name].default:
            continue
        text = str(value)
        if "," in text or not text:
            raise SpecError(f"{codec.name}: the option {name}={value!r} cannot be part of a spec")
        given.append(f"{name}={text}")
    return f"{codec.name}:{','.join(given)}" if given else codec.name


def listed(names: str | Path | Iterable[str | Path] | None) -> Sequence[str]:
    """One name or path, or several, as several texts.

    Raises
    ------
    SpecError
        Where one is neither.
    """
    if names is None:
        return []
    several: Iterable[object] = [names]
    if isinstance(names, Iterable) and not isinstance(names, str | type):
        several = names
    texts = []
    for name in several:
        if not isinstance(name, str | Path):
            raise SpecError(
                f"{name!r:.80} is no name, which is a text; a metric of your own comes in a file: "
                "plugins=['my_metric.py']"
            )
        texts.append(str(name))
    return texts
