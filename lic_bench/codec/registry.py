"""Which codecs there are, and which of them can be used here."""

from __future__ import annotations

from pathlib import Path

from lic_bench.codec.base import Codec
from lic_bench.codec.programs import ProgramCodec, load
from lic_bench.plugins import programs
from lic_bench.plugins.registry import PluginRegistry

GROUP = "lic_bench.codecs"


class Registry(PluginRegistry[Codec]):
    """The codecs at hand: those installed, and those of the given plugin files.

    Raises
    ------
    SpecError
        Where a plugin file cannot be loaded, holds nothing, or takes a name that is taken.
    """

    group = GROUP
    base = Codec
    commands = frozenset({"encode", "decode"})

    def codec(self, text: str) -> Codec:
        """Make the codec of a spec such as ``jpeg:subsampling=4:4:4``.

        Raises
        ------
        SpecError
            Where the spec is wrong.
        UnavailableError
            Where the codec cannot be used here.
        """
        return self.make(text)

    def _described(self, path: Path) -> type[ProgramCodec]:
        return load(path)

    @classmethod
    def _is_described(cls, path: Path) -> bool:
        # What is of no kind at all is said to be no codec.
        return "compare" not in programs.keys(path)
