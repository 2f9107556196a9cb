"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lic_bench.errors import OutputError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path to write to, beside the wanted one; at the end it replaces that in one step.

    Raises
    ------
    OutputError
        Where an `OSError` occurred meanwhile: a full disk, a read-only folder.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        # A device or a folder must not be replaced.
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file; choose another name")
        yield part
        part.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); "
            "make room there, or choose another place"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all; see `atomic_write` for the error."""
    with atomic_write(path) as part:
        part.write_text(as_json(value), encoding="utf-8")


def as_json(value: object) -> str:
    """A value as lines of JSON.

    JSON has no number that is not finite: NaN becomes ``null``, and an infinite one the text
    ``"Infinity"`` or ``"-Infinity"``, which Python, JavaScript and pandas take for a number.
    """
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
