"""Training that can be cut into pieces: it stops on time, and goes on where it stopped.

A `Trainer` owns what changes: the module, its running average, the optimiser, the number of the
next step. All of it is in the checkpoint, and batches depend on seed and step alone, so that a run
cut into pieces takes the same steps as one in one piece.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lic_bench.errors import UnavailableError

Figures = dict[str, float | Tensor]
"""What is logged of a step. Tensors stay on the device, so that the CPU need not wait for it."""


@dataclass(frozen=True)
class Recipe:
    """How to optimise.

    Attributes
    ----------
    name
        ``paper``: Adam, 1e-4, then 1e-5 and 1e-6, each for a third of the steps (Li et al., CVPR
        2018, section 4.1, lower the rate when the loss stops falling), batches of 32 crops.
        ``fast``: Adam with a warm-up and a cosine decay to 0, and a running average of the weights;
        on a GPU bfloat16, channels last, and a compiled network.
    rate
        The highest learning rate.
    batch
        Crops in a batch.
    side
        Pixels on a side of a crop.
    """

    name: Literal["paper", "fast"] = "paper"
    rate: float = 1e-4
    batch: int = 32
    side: int = 128

    def learning_rate(self, progress: float) -> float:
        """The factor of the learning rate at a progress of 0 to 1."""
        if self.name == "paper":
            return (1.0, 0.1, 0.01)[min(int(progress * 3), 2)]
        return min(1.0, progress / 0.02 + 1e-3) * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer:
    """One stage of a training.

    Parameters
    ----------
    module
        What is trained.
    groups
        Its parameters, by the factor on their learning rate.
    recipe
        How.
    steps
        The length of the stage: the schedule is laid out over it.
    """

    _AVERAGED_OVER = 500  # steps, once there were as many

    def __init__(
        self,
        module: nn.Module,
        groups: Mapping[float, list[nn.Parameter]],
        recipe: Recipe,
        steps: int,
    ) -> None:
        self.module, self.recipe, self.steps, self.step = module, recipe, steps, 0
        self.factors = list(groups)
        self.optimiser = torch.optim.Adam(
            [{"params": parameters} for parameters in groups.values()], lr=recipe.rate
        )
        self.average = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def advance(self, loss: Callable[[int], tuple[Tensor, Figures]]) -> Figures:
        """Take one step: `loss` computes the loss and the figures to log for a step's number."""
        factor = self.recipe.learning_rate(self.step / self.steps)
        for group, own in zip(self.optimiser.param_groups, self.factors, strict=True):
            group["lr"] = self.recipe.rate * factor * own
        self.optimiser.zero_grad(set_to_none=True)
        value, figures = loss(self.step)
        value.backward()  # type: ignore[no-untyped-call]
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, 20.0)
        # A step that overflowed would poison the running averages for good.
        if torch.isfinite(norm):
            self.optimiser.step()
        self.step += 1
        self._update_average()
        return {
            "loss": value.detach(),
            "gradient_norm": norm,
            "rate_factor": factor,
            **figures,
        }

    def _update_average(self) -> None:
        decay = min(1 - 1 / self._AVERAGED_OVER, self.step / (self.step + 9))
        with torch.no_grad():
            for name, value in self.module.state_dict().items():
                average = self.average[name]
                if value.dtype.is_floating_point and self.recipe.name == "fast":
                    average.lerp_(value, 1 - decay)
                else:
                    average.copy_(value)

    def use_average(self) -> None:
        """Put the running average into the module, as at the end of a stage."""
        self.module.load_state_dict(self.average)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "module": self.module.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`."""
        self.step = int(state["step"])
        self.module.load_state_dict(state["module"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])


class Clock:
    """Tells when the given minutes are over, counted from its making."""

    def __init__(self, minutes: float | None) -> None:
        self._start = time.monotonic()
        self._end = math.inf if minutes is None else self._start + 60 * minutes

    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self._end

    def seconds(self) -> float:
        """Since its making."""
        return time.monotonic() - self._start


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint. Whatever interrupts it, the file is the old one or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def restore(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, onto the CPU; None where there is none.

    Raises
    ------
    UnavailableError
        Where it is damaged, or holds anything but tensors and plain values.
    """
    if not path.exists():
        return None
    # Not onto the GPU: Adam counts its steps on the CPU, and is slow where they lie elsewhere.
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnavailableError(
            f"{path} is no checkpoint, or a damaged one, and is not read\n"
            "(torch.load(weights_only=True) refuses it); remove it to start anew"
        ) from error
    return state


class Log:
    """A CSV file with one row now and then: the mean of the figures since the row before."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path, self._columns = path, columns
        self._sums: Figures = {}
        self._counts: dict[str, int] = {}
        if not path.exists():
            with path.open("w", newline="") as file:
                csv.writer(file).writerow(columns)

    def add(self, figures: Figures) -> None:
        """Note the figures of a step."""
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def write(self, **fixed: object) -> dict[str, float]:
        """Write a row, with `fixed` in the columns of that name; return the means."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        row: dict[str, object] = {**means, **fixed}
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([_text(row.get(name, "")) for name in self._columns])
        return means


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
