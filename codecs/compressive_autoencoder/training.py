"""Training of the codec: the paper's, and one that a CPU can do.

The paper's (``--recipe paper``) has two stages:

``network``
    Everything for one rate: beta D + R, where mixtures and network are trained in turns, and
    coefficients are enabled one after the other (sections 2.2 and 3.2).
``scales``
    The scales of all rates, and their mixtures, with the network as it is (section 2.3).

The fast recipe (``--recipe fast``) starts from a lapped transform:

``all``
    Everything at once, for all rates.
``decoder``
    The decoder alone, on coefficients as they will be chosen when images are coded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lic_bench.codecs.compressive_autoencoder.model import (
    LATENTS,
    STEPS,
    CompressiveAutoencoder,
    Mixtures,
    Settings,
    worth_of,
)
from lic_bench.codecs.compressive_autoencoder.start import normalise, start
from lic_bench.codecs.compressive_autoencoder.weights import (
    counted,
    read_network,
    settings_of,
    weights_file,
)
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.options import Rounding
from lic_bench.learned.priors import noisy, rounded, stochastic
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

ROUNDINGS: dict[Rounding, Callable[[Tensor], Tensor]] = {
    "straight-through": rounded,
    "noise": noisy,
    "stochastic": stochastic,
}
_BASE = 3  # the rate that the paper's network is trained for
_FIRST, _ENABLING = 2, 0.5  # coefficients enabled at first; the share of the stage until all are
_DECODER = 0.15  # of the steps
_START = 6, 16  # batches of so many crops that the start is of
_COUNTED, _COUNTED_SIDE = 8, 256  # batches of 16 crops that histograms are of


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train compressive-autoencoder` was asked for."""

    settings: Settings = field(default_factory=lambda: Settings(rates=len(STEPS)))
    recipe: Recipe = field(default_factory=Recipe)
    rounding: Rounding = "straight-through"
    seed: int = 0


class Codec(nn.Module):
    """The network, and what tells the rate while it is trained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = CompressiveAutoencoder(settings)
        self.mixtures = Mixtures(settings.rates)


class Session(Stages):
    """A training in its folder: resumed from its checkpoint if there is one.

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
        self.asked, self.device, self.stage = plan, device, 0
        torch.manual_seed(plan.seed)
        self.photographs, _ = images.split(HELD_OUT, plan.seed)
        self.codec = Codec(plan.settings)
        if not (out / "checkpoint.pt").exists():
            self._begin(weights)
        self.photographs = self.photographs.to(device)
        self.codec.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(self.codec, plan, plan.recipe, steps, out)

    @torch.no_grad()
    def _begin(self, weights: Path | None) -> None:
        net, plan = self.codec.net, self.asked
        count, size = _START
        side = min(plan.recipe.side, self.photographs.largest_crop // 8 * 8)
        crops = [self.photographs.batch(k, size, side, plan.seed) for k in range(count)]
        x = torch.cat(crops)
        if weights is not None:
            net.load_state_dict(read_network(weights).state_dict())
        else:
            normalise(net, x)
            if plan.settings.linear:
                start(net, x, torch.tensor(STEPS[: plan.settings.rates]))
        y = net.analyse(x)
        rates = range(plan.settings.rates)
        deviations = [
            net.scaled(y, torch.full((len(y),), k)).square().mean((0, 2, 3)).sqrt() for k in rates
        ]
        self.codec.mixtures.set_deviations(torch.stack(deviations))

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """By the factor on the learning rate; of what the stage trains."""
        net, mixtures = self.codec.net, list(self.codec.mixtures.parameters())
        if stage == "scales":
            return {10.0: [net.log_scale, *mixtures]}
        halves = [*net.encoder.parameters(), *net.decoder.parameters()]
        if not net.settings.linear:
            return {1.0: halves + mixtures}
        if stage == "decoder":
            steered = [net.log_gain, net.log_step]
            return {1.0: list(net.decoder.parameters()), 0.1: [net.synthesis], 2.0: steered}
        steered = [net.log_scale, net.log_gain, net.log_step]
        linear = [net.synthesis, *net.analysis.parameters()]
        return {1.0: halves, 0.1: linear, 2.0: steered, 10.0: mixtures}

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """D + mu R: squared error in 8-bit steps, and bits a pixel that are worth mu each."""
        recipe, number = self.recipe, self.asked.seed + 1000 * self.stage
        x = self.photographs.batch(step, recipe.batch, recipe.side, number)
        x = x.contiguous(memory_format=torch.channels_last)
        rate = self._rates(stage, step).to(self.device)
        worth = worth_of(rate)
        net, mixtures = self.codec.net, self.codec.mixtures
        with torch.set_grad_enabled(stage in ("network", "all")):
            y = net.analyse(x)
        if stage == "network":
            y = y * (torch.arange(LATENTS, device=self.device) < self.enabled(step))[:, None, None]
        z = net.scaled(y, rate)
        torch.manual_seed(number + 7919 * (step + 1))  # of the noise, whatever came before
        if stage == "decoder":
            with torch.no_grad():
                quantised = net.quantised(z, rate, partial(mixtures.bits, rate=rate))
                bits = mixtures.bits(quantised, rate)
        else:
            quantised = ROUNDINGS[self.asked.rounding](z)
        if stage == "all":
            bits = mixtures.bits(noisy(z), rate)
        elif stage != "decoder":
            bits = self._bound(z, quantised, rate, step)
        bpp = bits.sum((1, 2, 3)) / x[0, 0].numel()
        shown = clipped(net.decode(quantised, rate))
        mse = (x - shown).square().mean((1, 2, 3))
        # Low rates, whose errors are large, would drown the others.
        loss = ((mse + worth * bpp) * worth.rsqrt()).mean()
        return loss, {"mse": mse.detach().mean(), "bpp": bpp.detach().mean()}

    def _bound(self, z: Tensor, quantised: Tensor, rate: Tensor, step: int) -> Tensor:
        """The paper's bound on the bits, in turns for the mixtures and for the network."""
        mixtures = self.codec.mixtures
        own = step % 2 == 0
        v = quantised if self.asked.rounding == "noise" else noisy(quantised)
        return mixtures.density_bits(v.detach() if own else v, rate, fixed=not own)

    def enabled(self, step: int) -> int:
        """How many coefficients are enabled at a step of the stage ``network``."""
        _, total = self.steps[0]
        grown = (LATENTS - _FIRST) * step / (_ENABLING * total)
        return min(_FIRST + int(grown), LATENTS)

    def _rates(self, stage: str, step: int) -> Tensor:
        count, batch = self.asked.settings.rates, self.recipe.batch
        if stage == "network":
            return torch.full((batch,), min(_BASE, count - 1))
        # All in turns, and those of a batch far from each other.
        place = torch.arange(batch) * count // batch
        return (place + step) % count

    def export(self, module: nn.Module) -> bytes:
        """The network in half precision, and histograms of photographs.

        Before the training is done they are those of the running average, of fewer photographs.
        """
        net = CompressiveAutoencoder(self.asked.settings).eval()
        # Of the weights as they will be read.
        state = self.codec.net.state_dict()
        net.load_state_dict({key: x.half().float().cpu() for key, x in state.items()})
        mixtures = deepcopy(self.codec.mixtures).cpu()
        side = min(_COUNTED_SIDE, self.photographs.largest_crop // 8 * 8)
        crops = (
            self.photographs.batch(step, 16, side, self.asked.seed + 1).cpu()
            for step in range(_COUNTED if self.finished else 1)
        )
        return weights_file(net, counted(net, mixtures, crops), {"training": self.plan})


def clipped(x: Tensor) -> Tensor:
    """8-bit steps clipped to 0 to 255, the gradient passed straight through (section 2.1)."""
    return x + (x.clamp(0, 255) - x).detach()


def plan_for(options: TrainingOptions) -> tuple[Plan, tuple[tuple[str, int], ...]]:
    """Fill in what a user left open: the plan, and the stages.

    Raises
    ------
    SpecError
        Where an option is of no use here.
    """
    refuse_others(options, "compressive-autoencoder", "weights", "width", "rounding")
    fast = options.recipe == "fast"
    settings = Settings(64 if fast else 128, linear=fast, rates=len(STEPS))
    if options.weights is not None:
        settings = settings_of(options.weights)
    if options.width is not None:
        settings = replace(settings, width=options.width)
    rounding = options.rounding or "straight-through"
    if not fast:
        recipe = Recipe("paper", 1e-4, options.batch or 32)
        total = options.steps or 1_010_000
        last = max(total // 101, 1)
        steps: tuple[tuple[str, int], ...] = (("network", total - last), ("scales", last))
    else:
        recipe = Recipe("fast", 5e-4, options.batch or 4)
        total = options.steps or 4_000
        last = max(round(_DECODER * total), 1)
        steps = (("all", total - last), ("decoder", last))
    return Plan(settings, recipe, rounding, options.seed), steps


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
