"""What a user asks of a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Rounding = Literal["straight-through", "noise", "stochastic"]
"""What stands for the quantiser while a network is trained."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `lic-bench train`; None leaves the choice to the codec."""

    images: tuple[Path, ...]
    out: Path
    minutes: float | None = None
    target_bpp: tuple[float, ...] = ()
    loss: str = "mse"
    recipe: Literal["paper", "fast"] = "paper"
    weights: Path | None = None
    width: int | None = None
    code_channels: int | None = None
    without_map: bool = False
    decoder_only: bool = False
    rounding: Rounding | None = None
    batch: int | None = None
    steps: int | None = None
    device: str = "cpu"
    compiled: bool = False
    seed: int = 0
