"""Loops compiled by numba, which keeps what it compiled for the next process where it can.

It keeps it beside the module, or in the user's cache folder, or in the folder that the environment
variable ``NUMBA_CACHE_DIR`` names. Where it may write to none of them, each process compiles anew,
for some ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called; its loops do not hold the interpreter's lock."""
    made: Callable[..., Any]
    try:
        made = njit(function, cache=True, nogil=True)
    except RuntimeError:  # there is no place to keep it
        made = njit(function, nogil=True)
    return made
