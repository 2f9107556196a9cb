"""Training of the learned coders, on the numbers of an autoencoder that stays as it is.

``coders``
    The factorised model, and the pair with what codes its side information: bits alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lic_bench.codecs.compressive_autoencoder.codec import WEIGHTS as TRANSFORM
from lic_bench.codecs.compressive_autoencoder.inference import Transform
from lic_bench.codecs.entropy_autoencoder.model import EntropyModels, Settings
from lic_bench.codecs.entropy_autoencoder.weights import counted, weights_file
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.lapped import STRIDE
from lic_bench.learned.priors import laplace_bits, noisy, rounded
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

_START = 2, 16  # batches of so many crops that the start is of
_POOL = 400  # batches whose numbers are found once, and come again
_COUNTED = 100  # batches of them that the tables are of


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train entropy-autoencoder` was asked for."""

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=lambda: Recipe("fast", 2e-3, 8))
    transform: str = ""
    """The SHA-256 of the autoencoder's weights."""
    seed: int = 0


class Session(Stages):
    """A training in its folder: resumed from its checkpoint if there is one.

    Parameters
    ----------
    plan
        What is trained, and how.
    steps
        How long.
    images
        Photographs.
    out
        The folder.
    transform
        The autoencoder.
    """

    columns = ("loss", "factorised_bpp", "pair_bpp", "side_bpp", "gradient_norm", "rate_factor")

    def __init__(
        self, plan: Plan, steps: int, images: Photographs, out: Path, transform: Transform
    ) -> None:
        self.asked, self.transform = plan, transform
        self._known: dict[int, Tensor] = {}
        torch.manual_seed(plan.seed)
        self.photographs, _ = images.split(HELD_OUT, plan.seed)
        self.photographs = self.photographs.to(transform.device)
        self.models = EntropyModels(plan.settings)
        if not (out / "checkpoint.pt").exists():
            self._begin()
        stages = (("coders", steps),)
        super().__init__(self.models.to(transform.device), plan, plan.recipe, stages, out)

    @torch.no_grad()
    def _begin(self) -> None:
        count, size = _START
        rates = range(self.asked.settings.rates)
        side = min(self.asked.recipe.side, self.photographs.largest_crop // 32 * 32)
        crops = [self.photographs.batch(k, size, side, self.asked.seed) for k in range(count)]
        x = torch.cat(crops)
        found = [self._numbers(x, torch.full((len(x),), k)).square().mean((0, 2, 3)) for k in rates]
        self.models.set_deviations(torch.stack(found).sqrt().cpu())

    @torch.no_grad()
    def _numbers(self, x: Tensor, rate: Tensor) -> Tensor:
        return torch.cat([self.transform.chosen(x[k : k + 1], int(rate[k])) for k in range(len(x))])

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """The distribution of the side information moves faster."""
        side = list(self.models.side.parameters())
        rest = [x for name, x in self.models.named_parameters() if not name.startswith("side.")]
        return {1.0: rest, 2.5: side}

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """Bits a pixel by the factorised model, and by the pair: both are trained at once."""
        z, rate = self._batch(step % _POOL)
        torch.manual_seed(self.asked.seed + 7919 * (step + 1))  # of the noise, whatever came before
        bits = self.bits(z, rate)
        pixels = STRIDE**2 * z[:, 0].numel()
        factorised, pair, side = (own / pixels for own in bits)
        figures: Figures = {
            "factorised_bpp": factorised.detach(),
            "pair_bpp": (pair + side).detach(),
            "side_bpp": side.detach(),
        }
        return factorised + pair + side, figures

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Numbers of crops, and the rate of each."""
        size, count = self.recipe.batch, self.asked.settings.rates
        rate = (torch.arange(size) * count // size + number) % count
        if number not in self._known:
            x = self.photographs.batch(number, size, self.recipe.side, self.asked.seed)
            self._known[number] = self._numbers(x, rate).to(torch.int16)
        z = self._known[number]
        return z.float(), rate.to(z.device)

    def bits(self, z: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """By the factorised model; by the pair, of numbers and of side information."""
        models = self.models
        side = models.analyse(z, rate)
        log_scale = models.log_scales(rounded(side), rate)
        return (
            models.factorised.bits(z, rate).sum(),
            laplace_bits(z, log_scale).sum(),
            models.side.bits(noisy(side), rate).sum(),
        )

    def export(self, module: nn.Module) -> bytes:
        """The pair in half precision, and tables."""
        models = EntropyModels(self.asked.settings)
        models.load_state_dict({k: x.half().float().cpu() for k, x in module.state_dict().items()})
        models.to(self.transform.device)
        batches = (self._batch(k) for k in range(_COUNTED if self.finished else 1))
        counts = counted(models, batches)
        return weights_file(models.cpu(), counts, self.asked.transform, {"training": self.plan})


def plan_for(options: TrainingOptions, transform: Transform) -> tuple[Plan, int]:
    """Fill in what a user left open: the plan, and the number of steps.

    Raises
    ------
    SpecError
        Where an option is of no use here.
    """
    refuse_others(options, "entropy-autoencoder", "weights", "width")
    settings = Settings(options.width or Settings.width, transform.rates)
    rate = 2e-3 if options.recipe == "fast" else 1e-4
    recipe = Recipe(options.recipe, rate, options.batch or 8)
    plan = Plan(settings, recipe, transform.sha256, options.seed)
    return plan, options.steps or (4_000 if options.recipe == "fast" else 1_000_000)


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    With ``--weights`` on the numbers of that file of compressive-autoencoder.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    say = partial(print, flush=True)
    transform = Transform(options.weights or TRANSFORM, options.device)
    plan, steps = plan_for(options, transform)
    clock = Clock(options.minutes)
    images = photographs(options, clock, say)
    session = Session(plan, steps, images, options.out, transform)
    advance(session, clock, say)
    say_end(session, say)
