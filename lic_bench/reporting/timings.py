"""Times as files, with what they were taken under."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lic_bench.errors import SpecError
from lic_bench.execution.timing import Timing
from lic_bench.files import atomic_write, write_json


def title(timing: Timing, dataset: str) -> str:
    """What was timed and how: ``kodak, 24 images; 1 thread, 5 repetitions; the processor``."""
    return f"{dataset}, {how(timing.summary, timing.conditions)}"


def how(summary: pd.DataFrame, conditions: Mapping[str, object]) -> str:
    """How times were taken: ``24 images; 1 thread, 5 repetitions; the processor``."""
    row = summary.iloc[0]
    counts = {name: _counted(row[f"{name}s"], name) for name in ("image", "thread")}
    said = f"{counts['image']}; {counts['thread']}, {_counted(row['repeats'], 'repetition')}"
    processor = conditions.get("processor")
    return f"{said}; {processor}" if processor else said


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write(timing: Timing, path: Path) -> None:
    """Write the summary to a ``.csv`` file; or to a ``.json`` file every measurement as well.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    if path.suffix == ".csv":
        with atomic_write(path) as part:
            timing.summary.to_csv(part, index=False)
        return
    tables = {"summary": timing.summary, "samples": timing.samples}
    rows = {name: table.to_dict("records") for name, table in tables.items()}
    write_json(path, {**timing.conditions, **rows, "problems": timing.problems})


def read(path: Path) -> tuple[pd.DataFrame, str]:
    """Read what `write` wrote: the summary, and how the times were taken.

    Raises
    ------
    SpecError
        Where the file cannot be read, or holds something else.
    """
    conditions: dict[str, Any] = {}
    try:
        if path.suffix == ".json":
            conditions = json.loads(path.read_text(encoding="utf-8"))
            summary = pd.DataFrame(conditions["summary"])
        else:
            summary = pd.read_csv(path)
        taken = how(summary, conditions)
        numbers = summary[_READ].apply(pd.to_numeric)
    except OSError as error:
        raise SpecError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise SpecError(f"{path} holds no times, as lic-bench time --out writes them") from error
    return summary.assign(**numbers), taken


_READ = [
    f"{what}_{figure}" for what in ("encode", "decode") for figure in ("mp_s", "kmacs_per_pixel")
]
