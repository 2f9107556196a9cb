"""How a codec looks in every figure: colour, line and marker follow from its name alone.

So the figures of one paper match, whichever codecs each of them shows.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

# The palette of M. Okabe and K. Ito, "Color Universal Design", 2008, without its yellow, which
# hardly shows on white; and three of P. Tol's muted scheme, "Colour Schemes", SRON, 2021.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#332288", "#999933"),
)
LINES = ("-", (0, (4, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "d", "p")

_SALT = "651222"
"""Chosen so that our codecs differ in line and marker, and the classical ones in colour, too."""
_LONG = 26  # letters: longer names are shortened


@dataclass(frozen=True)
class Look:
    """Places in `COLOURS`, `LINES` and `MARKERS`."""

    colour: int
    line: int
    marker: int

    @property
    def style(self) -> dict[str, Any]:
        """As matplotlib takes it."""
        return {
            "color": COLOURS[self.colour],
            "linestyle": LINES[self.line],
            "marker": MARKERS[self.marker],
        }


def look_of(name: str) -> Look:
    """The look of a codec, by its spec."""
    number = int.from_bytes(hashlib.sha256(f"{_SALT}{name}".encode()).digest()[:8])
    number, colour = divmod(number, len(COLOURS))
    number, marker = divmod(number, len(MARKERS))
    return Look(colour, number % len(LINES), marker)


def short_names(specs: Iterable[str]) -> dict[str, str]:
    """Names for a figure: long specs by the values of their options, files without their folders.

    Two specs never share a name: where shortening would make them alike, they keep their own.
    """
    specs = list(specs)
    short = {spec: _shortened(spec) for spec in specs}
    often = Counter(short.values())
    return {spec: name if often[name] == 1 else spec for spec, name in short.items()}


def _shortened(spec: str) -> str:
    name = re.sub(r"[^\s=,:]*[/\\][^\s,:]*", lambda match: PurePath(match[0]).name, spec)
    if len(name) > _LONG:
        name = re.sub(r"([:,])[\w-]+=", lambda match: " " if match[1] == ":" else ", ", name)
    return name
