"""A training in stages, in its folder: it stops on time, and the same command goes on.

What a codec adds is its module, and for each stage the parameters that it trains and its loss.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lic_bench.errors import SpecError
from lic_bench.files import atomic_write
from lic_bench.learned.training import Clock, Figures, Log, Recipe, Trainer, restore, save

_SAVED_EVERY = 60.0  # seconds


class Stages(ABC):
    """A training: resumed from its checkpoint if there is one.

    Parameters
    ----------
    module
        What is trained, as it begins.
    plan
        A dataclass of plain values that tells all of the training.
    recipe
        How each stage optimises.
    steps
        Names and lengths of the stages.
    out
        The folder.

    Raises
    ------
    SpecError
        Where the folder holds a training of another plan.
    """

    columns: tuple[str, ...] = ("loss", "mse", "bpp", "gradient_norm", "rate_factor")
    """What is logged beside stage, step and seconds."""

    def __init__(
        self,
        module: nn.Module,
        plan: Any,
        recipe: Recipe,
        steps: tuple[tuple[str, int], ...],
        out: Path,
    ) -> None:
        self.module, self.recipe, self.steps, self.out = module, recipe, steps, out
        self.plan: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
        self.stage, self.seconds = 0, 0.0
        out.mkdir(parents=True, exist_ok=True)
        self.log = Log(out / "log.csv", ["stage", "step", "seconds", *self.columns])
        state = restore(self.checkpoint)
        if state is not None:
            self._restore(state)
        else:
            self.trainer = self._trainer()

    @abstractmethod
    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """What a stage trains, by the factor on its learning rate."""

    @abstractmethod
    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """The loss of a step, and what is logged of it."""

    def ended(self, stage: str) -> None:  # noqa: B027 - there may be nothing to do
        """What is done once a stage is trained, with the running average in the module."""

    @abstractmethod
    def export(self, module: nn.Module) -> bytes:
        """A file of weights."""

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.stage >= len(self.steps)

    def share(self) -> float:
        """How much is done, 0 to 1, by the steps."""
        done = sum(steps for _, steps in self.steps[: self.stage])
        if not self.finished:
            done += self.trainer.step
        return done / sum(steps for _, steps in self.steps)

    def run(self, clock: Clock, say: Callable[[str], None], every: int = 50) -> None:
        """Train until the time is up or all is done; the checkpoint is kept up to date."""
        before, saved, begun = self.seconds, clock.seconds(), self.share()
        while not clock.over() and not self.finished:
            name, _ = self.steps[self.stage]
            self.log.add(self.trainer.advance(lambda step, name=name: self.loss(name, step)))  # type: ignore[misc]
            self.seconds = before + clock.seconds()
            done = self.trainer.step >= self.trainer.steps
            if self.trainer.step % every == 0 or done:
                means = self.log.write(stage=name, step=self.trainer.step, seconds=self.seconds)
                shown = ", ".join(f"{x} {means[x]:.4g}" for x in self.columns if x in means)
                left = clock.seconds() * (1 - self.share()) / (self.share() - begun)
                say(
                    f"{name} {self.trainer.step}/{self.trainer.steps}, {self.share():.1%} of all, "
                    f"{self.seconds / 60:.1f} min, about {left / 60:.0f} to go: {shown}"
                )
            if done:
                self.trainer.use_average()
                self.stage += 1
                self.ended(name)
                if not self.finished:
                    self.trainer = self._trainer()
            if done or clock.seconds() - saved > _SAVED_EVERY:
                self.save()
                saved = clock.seconds()
        self.save()

    def save(self) -> None:
        """Write the checkpoint and, beside it, the weights of the running average so far."""
        state = {
            "plan": self.plan,
            "steps": [list(x) for x in self.steps],
            "stage": self.stage,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "trainer": None if self.finished else self.trainer.state(),
        }
        save(self.checkpoint, state)
        kept = {key: x.clone() for key, x in self.module.state_dict().items()}
        if not self.finished:
            self.trainer.use_average()
        try:
            with atomic_write(self.out / "weights.safetensors") as part:
                part.write_bytes(self.export(self.module))
        finally:
            self.module.load_state_dict(kept)

    def _trainer(self) -> Trainer:
        name, steps = self.steps[self.stage]
        return Trainer(self.module, self.groups(name), self.recipe, steps)

    def _restore(self, state: Mapping[str, Any]) -> None:
        # The schedule may be stretched or cut; anything else would make it another training.
        names = [[name for name, _ in steps] for steps in (self.steps, state["steps"])]
        differing = [
            key for key in self.plan if key != "steps" and self.plan[key] != state["plan"].get(key)
        ]
        if names[0] != names[1]:
            differing.append("stages")
        if differing:
            raise SpecError(
                f"{self.out} holds a training with other options ({', '.join(differing)}); "
                "repeat its command, or choose another folder"
            )
        self.stage, self.seconds = int(state["stage"]), float(state["seconds"])
        with torch.no_grad():
            self.module.load_state_dict(state["module"])
        if not self.finished:
            self.trainer = self._trainer()
            self.trainer.restore(state["trainer"])
