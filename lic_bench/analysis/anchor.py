"""Which codec the others are set against where nobody names one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

USUAL = "jpeg"


def usual_anchor(codecs: Iterable[str]) -> str:
    """JPEG where it is among them, or there is none; otherwise the first."""
    there = list(codecs)
    return USUAL if USUAL in there or not there else str(there[0])


def anchor_of_curves(measurements: pd.DataFrame) -> str:
    """The usual one of those that have curves, where there are any."""
    codecs = measurements["codec"]
    drawn = codecs[~measurements["searched"]] if "searched" in measurements else codecs
    return usual_anchor((codecs if drawn.empty else drawn).unique())
