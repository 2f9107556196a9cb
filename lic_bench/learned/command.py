"""What `lic-bench train` does for every codec alike: its options, its photographs, its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Protocol

from lic_bench.errors import SpecError
from lic_bench.learned.data import Photographs, load
from lic_bench.learned.options import TrainingOptions
from lic_bench.learned.training import Clock

HELD_OUT = 16
"""Photographs that are never trained on."""
_ALWAYS = frozenset({"images", "out", "minutes", "recipe", "batch", "steps", "device", "seed"})
_NAMES = {"without_map": "--no-map", "compiled": "--compile"}

Say = Callable[[str], None]


class Training(Protocol):
    """A training in its folder, at some step."""

    out: Path
    seconds: float

    @property
    def finished(self) -> bool:
        """Whether all steps were taken."""

    def share(self) -> float:
        """How much of it was done, 0 to 1."""

    def save(self) -> None:
        """Keep it, so that it can go on."""

    def run(self, clock: Clock, say: Say) -> None:
        """Take steps until it is finished or the time is up."""


def refuse_others(options: TrainingOptions, codec: str, *used: str) -> None:
    """Refuse options that a training would ignore.

    Parameters
    ----------
    options
        What the user gave.
    codec
        Which codec is trained.
    used
        The options that its training takes, beside those that all do.

    Raises
    ------
    SpecError
        Where another has a value.
    """
    given = [
        _NAMES.get(option.name, "--" + option.name.replace("_", "-"))
        for option in fields(options)
        if option.name not in _ALWAYS.union(used)
        and getattr(options, option.name) != option.default
    ]
    if given:
        raise SpecError(f"{', '.join(given)}: of no use to {codec}; leave it out")


def photographs(options: TrainingOptions, clock: Clock, say: Say) -> Photographs:
    """Decode the photographs, and say what was skipped.

    Raises
    ------
    SpecError
        Where a path leads nowhere, or to no more than are held out.
    """
    for path in options.images:
        if not path.exists():
            raise SpecError(f"--images {path}: there is no such folder or file")
    images = load(options.images)
    for reason in images.skipped:
        say(f"skipped {reason}")
    if len(images.images) <= HELD_OUT:
        raise SpecError(
            f"{len(images.images)} photographs are too few; {HELD_OUT + 1} is the least"
        )
    say(f"{len(images.images)} photographs, decoded in {clock.seconds():.0f} s")
    return images


def advance(training: Training, clock: Clock, say: Say) -> None:
    """Train, and keep what there is when Ctrl-C comes."""
    try:
        training.run(clock, say)
    except KeyboardInterrupt:
        training.save()
        say(
            f"{training.out}: interrupted at {training.share():.1%} and kept; "
            "to go on, repeat the command"
        )
        raise


def say_end(training: Training, say: Say) -> None:
    """Say for how long was trained, and whether there is more to do."""
    state = "done" if training.finished else "to go on, repeat the command"
    say(f"{training.out}: {training.seconds:.0f} s of training, {state}")
