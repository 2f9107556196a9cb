"""What a store keeps as JSON: written so that any reader takes it, and read against its type."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from lic_bench.errors import StoreError

_INFINITE: Literal["Infinity"] = "Infinity"  # JSON has no such number
_Number = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_metrics = msgspec.json.Decoder(dict[str, _Number | Literal["Infinity"] | None])


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of the point of an imported curve, beside its figures."""

    run: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
    measured: str
    point: str = ""
    encode_s: _Seconds | None = None
    decode_s: _Seconds | None = None


class _Provenance(msgspec.Struct):
    """What others read of the notes of a run; there is more in them, which is shown as it is."""

    command: str = ""
    datasets: dict[str, str] = {}
    codecs: dict[str, str] = {}
    points: dict[str, list[str]] = {}
    match: list[str] = []


_sources = msgspec.json.Decoder(Source)
_provenances = msgspec.json.Decoder(_Provenance)
_anything = msgspec.json.Decoder(dict[str, Any])


def metrics_text(metrics: Mapping[str, float | None]) -> str:
    """Metrics by name; infinity, of a picture without errors, as a text."""
    infinite = {name: _INFINITE for name, value in metrics.items() if value == math.inf}
    return json.dumps({**metrics, **infinite}, allow_nan=False)


def metrics_of(text: str) -> dict[str, float | None]:
    """The metrics in a text.

    Raises
    ------
    StoreError
        Where it holds anything else.
    """
    try:
        found = _metrics.decode(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("metrics", text, error) from error
    return {name: math.inf if value == _INFINITE else value for name, value in found.items()}


def source_of(text: str) -> Source:
    """Of which import a point of a curve is; see `metrics_of` for the error."""
    try:
        return _sources.decode(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("the source of a curve", text, error) from error


def provenance_of(text: str) -> dict[str, Any]:
    """The notes of a run; see `metrics_of` for the error."""
    try:
        checked = _provenances.decode(text)
        if unknown := checked.points.keys() - checked.codecs.keys():
            raise ValueError(f"points of {', '.join(sorted(unknown))}, which it did not measure")
        return _anything.decode(text)
    except (ValueError, RecursionError) as error:
        raise _malformed("the notes of a run", text, error) from error


def _malformed(what: str, text: str, error: Exception) -> StoreError:
    return StoreError(
        f"the store is damaged, or was made to be: {what} cannot be {text:.60} "
        f"({' '.join(str(error).split())[:200]})"
    )
