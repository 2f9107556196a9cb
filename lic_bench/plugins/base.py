"""What codecs and metrics have in common: a name, options, what they need, what decides on them."""

from __future__ import annotations

import importlib.util
import inspect
from abc import ABC
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, Self


class Plugin(ABC):
    """Something that is known by its name, and made of a spec: a `Codec` or a `Metric`.

    Instances are made often, so that a constructor should cost nothing: what is expensive (weights,
    say) is loaded at first use and shared.
    """

    kind: ClassVar[str] = "plugin"
    """What it is, in a word: ``codec``."""

    ours: ClassVar[tuple[str, ...]] = ()
    """The packages of the bench whose modules decide on what plugins of this kind compute."""

    name: ClassVar[str]
    """How people call it: lower case, no ``:``, ``,`` or ``=``."""

    requires: ClassVar[Mapping[str, str]] = {}
    """The modules without which it cannot be used, each with the remedy where it is missing.

    As in ``{"pillow_heif": "pip install pillow-heif"}``; top-level names, which are looked for and
    not imported.
    """

    device: str = "cpu"
    """Where it runs: ``cpu``, ``cuda``, ``cuda:1``."""

    options: Mapping[str, object] = {}
    """The constructor's arguments, defaults included; filled in when it is made."""

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Note the arguments as `options`: they decide on the result."""
        self = super().__new__(cls)
        if cls.__init__ is object.__init__:
            if arguments or named:
                raise TypeError(f"{cls.__name__} takes no arguments")
            return self
        with suppress(TypeError):  # the constructor says it; and a copy is made without arguments
            bound = inspect.signature(cls.__init__).bind(self, *arguments, **named)
            bound.apply_defaults()
            self.options = dict(list(bound.arguments.items())[1:])
        return self

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot be used here, and the remedy; ``None`` where it can.

        It looks for what `requires` names; one that needs more than modules extends it. Called for
        listings: it should be quick, and import nothing large.
        """
        missing = [name for name in cls.requires if importlib.util.find_spec(name) is None]
        remedies = dict.fromkeys(cls.requires[name] for name in missing)
        return f"{', '.join(missing)} not installed; {'; '.join(remedies)}" if missing else None

    def versions(self) -> Mapping[str, str]:
        """Name and version of all else that decides on its results.

        That is libraries, and the hash of weights that come along. Its own modules and the files
        that options name are known without it. A measurement is valid for these versions only.
        """
        return {}
