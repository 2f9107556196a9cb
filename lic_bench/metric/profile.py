"""Profiles: test conditions as data. Which rates, which metrics, against which anchor.

Those that come along lie in `datasets/profiles`; one's own is a TOML file with the keys of
`Profile`.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec

from lic_bench.errors import check_known
from lic_bench.metric.targets import RATE, Target
from lic_bench.plugins.toml import parse_toml, read_toml

_FOLDER = resources.files("lic_bench.datasets") / "profiles"


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Test conditions."""

    title: str
    rates: Annotated[
        tuple[Annotated[float, msgspec.Meta(gt=0, le=100)], ...], msgspec.Meta(min_length=1)
    ]
    """In bits per pixel, ascending: each image is coded at the points nearest to them."""
    metrics: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Specs of the metrics."""
    figures: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Names of the figures that are reported."""
    anchor: str = ""
    """The codec that BD-rates are against; empty: that of the run."""
    source: str = ""
    """Where the conditions are laid down."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is searched for."""
        return tuple(Target(RATE, rate) for rate in sorted(set(self.rates)))


def names() -> list[str]:
    """The profiles that come along."""
    return sorted(
        file.name.removesuffix(".toml") for file in _FOLDER.iterdir() if file.name.endswith(".toml")
    )


def load(text: str) -> Profile:
    """The profile of a name, or of a TOML file.

    Raises
    ------
    SpecError
        Where there is none, or a key is missing, unknown or wrong.
    """
    if text.endswith(".toml"):
        return read_toml(Path(text).expanduser(), Profile, "profile")
    check_known("profile", text, names())
    return parse_toml((_FOLDER / f"{text}.toml").read_bytes(), Profile, text)
