"""Training of the modulated autoencoder.

``prior``
    The priors alone, on the latents of the network as it is.
``all``
    Everything: lambda MSE + bits a pixel, at several lambdas in each step (paper, equation 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lic_bench.codecs.modulated_autoencoder.model import (
    TRADEOFFS,
    ModulatedAutoencoder,
    Settings,
    nearest,
)
from lic_bench.codecs.modulated_autoencoder.start import start
from lic_bench.codecs.modulated_autoencoder.weights import read_network, settings_of, weights_file
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.priors import gaussian_bits, noisy, rounded
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

_START = (6, 8, 256)  # batches of so many crops, and their side, that principal components are of
_FAST = {"prior": 0.2, "all": 0.65, "prior again": 0.15}


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train modulated-autoencoder` was asked for."""

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=lambda: Recipe("paper", 1e-4, 8, 240))
    tradeoffs: tuple[float, ...] = TRADEOFFS
    """Lambdas that are trained, rising."""
    seed: int = 0

    @property
    def fast(self) -> bool:
        """Whether the training starts from principal components, and draws its lambdas."""
        return self.recipe.name == "fast"


class Session(Stages):
    """A training in its folder.

    Parameters
    ----------
    plan
        What is trained, and how.
    steps
        Names and lengths of the stages.
    images
        Photographs.
    out
        The folder.
    device
        Where it runs.
    weights
        Weights to begin with.
    """

    def __init__(
        self,
        plan: Plan,
        steps: tuple[tuple[str, int], ...],
        images: Photographs,
        out: Path,
        device: torch.device,
        weights: Path | None = None,
    ) -> None:
        self.device, self.asked = device, plan
        torch.manual_seed(plan.seed)
        self.photographs, _ = images.split(HELD_OUT, plan.seed)
        self.net = ModulatedAutoencoder(plan.settings)
        if weights is not None:
            self.net.load_state_dict(read_network(weights))
        elif plan.fast and not (out / "checkpoint.pt").exists():
            count, size, side = _START
            side = min(side, self.photographs.largest_crop // 64 * 64)
            crops = [self.photographs.batch(k, size, side, plan.seed) for k in range(count)]
            only = plan.tradeoffs[0] if plan.settings.steering == "none" else None
            start(self.net, torch.cat(crops), only)
        self.photographs = self.photographs.to(device)
        super().__init__(self.net.to(device), plan, plan.recipe, steps, out)

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """Tables learn fastest; what divides, slowest: its inputs are large."""
        if not self.asked.fast:
            return {1.0: list(self.net.parameters())}
        slow = ("gamma_root", "modulation", "scale")
        groups: dict[float, list[nn.Parameter]] = {0.03: [], 0.2: [], 1.0: [], 5.0: []}
        for name, parameter in self.net.named_parameters():
            if "prior.prior" in name or name.startswith("prior"):
                groups[5.0].append(parameter)
            elif stage == "all" or name.startswith("hyperprior"):
                usual = 1.0 if name.startswith("hyperprior") else 0.2
                groups[0.03 if any(x in name for x in slow) else usual].append(parameter)
        return {factor: own for factor, own in groups.items() if own}

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """Lambda times MSE, and bits a pixel; of the priors alone, the bits."""
        recipe, number = self.recipe, self.asked.seed + 1000 * self.stage
        x = self.photographs.batch(step, recipe.batch, recipe.side, number)
        x, tradeoff = self._at_tradeoffs(x, step)
        with torch.set_grad_enabled(stage == "all"):
            y = self.net.encode(x, tradeoff)
        torch.manual_seed(number + 7919 * (step + 1))  # of the noise, whatever came before
        joint = stage == "all"
        coded = noisy(y) if joint else y.round()
        bits = self.bits(coded, y, tradeoff, both=not joint)
        bpp = bits / x[0, 0].numel()
        figures: Figures = {"bpp": bpp.detach().mean()}
        if not joint:
            return bpp.mean(), figures
        # The paper gives the synthesis noise too.
        shown = self.net.decode(rounded(y) if self.asked.fast else coded, tradeoff)
        mse = (x - shown).square().mean((1, 2, 3))
        figures["mse"] = mse.detach().mean()
        loss = tradeoff * mse / 255**2 + bpp
        if self.asked.fast:
            # High rates, whose losses are large, would drown the others.
            loss = loss * (math.sqrt(TRADEOFFS[0] * TRADEOFFS[-1]) / tradeoff).sqrt()
        return loss.mean(), figures

    def bits(self, coded: Tensor, y: Tensor, tradeoff: Tensor, both: bool) -> Tensor:
        """What latents cost each image: B.

        Parameters
        ----------
        coded
            Rounded latents, or such with noise.
        y
            The latents themselves, which the hyperprior is made of.
        tradeoff
            Lambdas: B.
        both
            Train the factorised prior of the latents beside the hyperprior, as another way to code
            the same.
        """
        condition, hyperprior = nearest(tradeoff), self.net.hyperprior
        if hyperprior is None:
            return self.net.prior.bits(coded, condition).sum((1, 2, 3))
        z = hyperprior.analyse(y, tradeoff)
        cost = hyperprior.prior.bits(noisy(z), condition).sum((1, 2, 3))
        log_scale = hyperprior.log_scales(rounded(z), tradeoff)
        cost = cost + gaussian_bits(coded, log_scale).sum((1, 2, 3))
        if both:
            own = self.net.prior.bits(coded.detach(), condition).sum((1, 2, 3))
            cost = cost + (own - own.detach())
        return cost

    def _at_tradeoffs(self, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The batch at all lambdas, as in the paper; or each crop at one that is drawn."""
        trained = torch.tensor(self.asked.tradeoffs, device=self.device)
        if not self.asked.fast:
            return x.repeat(len(trained), 1, 1, 1), trained.repeat_interleave(len(x))
        generator = torch.Generator().manual_seed(self.asked.seed + 104_729 * (step + 1))
        # One from each of as many parts of the whole range.
        place = (torch.arange(len(x)) + torch.rand(len(x), generator=generator)) / len(x)
        low, high = math.log(trained[0]), math.log(trained[-1])
        return x, torch.exp(low + (high - low) * place).to(self.device)

    def export(self, module: nn.Module) -> bytes:
        """The network in half precision, and its tables."""
        return weights_file(self.net, {"training": self.plan})


def plan_for(options: TrainingOptions) -> tuple[Plan, tuple[tuple[str, int], ...]]:
    """Fill in what a user left open: the plan, and the stages.

    Raises
    ------
    SpecError
        Where an option is of no use here.
    """
    refuse_others(options, "modulated-autoencoder", "weights", "width", "code_channels")
    fast = options.recipe == "fast"
    settings = Settings(96, 288, 48) if fast else Settings(hyper=128)
    if options.weights is not None:
        settings = settings_of(options.weights)
    if options.width is not None:
        settings = replace(settings, filters=options.width)
    if options.code_channels is not None:
        settings = replace(settings, latents=options.code_channels)
    if not fast:
        recipe = Recipe("paper", 1e-4, options.batch or 8, 256)
        return Plan(settings, recipe, seed=options.seed), (("all", options.steps or 1_200_000),)
    recipe = Recipe("fast", 1e-3, options.batch or 4, 128)
    total = options.steps or 4_000
    steps = tuple((name, max(round(share * total), 1)) for name, share in _FAST.items())
    return Plan(settings, recipe, seed=options.seed), steps


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    say = partial(print, flush=True)
    plan, steps = plan_for(options)
    clock = Clock(options.minutes)
    images = photographs(options, clock, say)
    session = Session(
        plan, steps, images, options.out, torch.device(options.device), options.weights
    )
    advance(session, clock, say)
    say_end(session, say)
