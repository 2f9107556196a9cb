"""Which codec the others are set against where nobody names one."""

from __future__ import annotations

from collections.abc import Iterable

USUAL = "jpeg"


def usual_anchor(codecs: Iterable[str]) -> str:
    """JPEG where it is among them, or there is none; otherwise the first."""
    there = list(codecs)
    return USUAL if USUAL in there or not there else str(there[0])
