"""Training of the codec: the paper's, and one that a CPU can do.

The paper's (``--recipe paper``) has one stage:

``network``
    The mean absolute error of all iterations on crops of 32x32, bits drawn by chance (section 3).

The fast recipe (``--recipe fast``) starts from a lapped transform, and knows the rate:

``network``
    Encoder, decoder and what each bit is worth: squared error of all iterations, and the bits that
    `LocalRate` expects, at the price that they have in the start.
``context``
    The context model, on the bits of the network as it is then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lic_bench.codecs.recurrent.context import Codes, ContextModel, Table
from lic_bench.codecs.recurrent.model import (
    COEFFICIENTS,
    STRIDE,
    RecurrentNet,
    Settings,
    binarise,
    ycbcr,
)
from lic_bench.codecs.recurrent.start import WORTH, around, start
from lic_bench.codecs.recurrent.weights import weights_file
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

FAST = Settings(
    encoder=(16, 24, 32, 32), decoder=(32, 32, 32, 32, 16), bits=128, pairs=64, hard=True
)
"""The network that comes along."""
_START, _START_SIDE = 12, 256  # batches of 16 crops that the start is made from
_CODED, _CODED_SIDE = 4, 256  # batches of 8 crops whose bits the context model is trained on
_SITES = 96  # of a step of the context model
_CONTEXT_RATE = 6.0  # its learning rate, by the network's


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train recurrent` was asked for."""

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=Recipe)
    steps: tuple[tuple[str, int], ...] = (("network", 1_000_000),)
    seed: int = 0
    held_out: int = HELD_OUT


class LocalRate(nn.Module):
    """The bits of symbols, by the sizes around that are known before an iteration."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((settings.iterations, settings.pairs), -3.0))
        self.weight = nn.Parameter(torch.tensor([1.5, 1.5, 0.0]).repeat(settings.iterations, 1))

    def forward(self, on: Tensor, known: Tensor, own: Tensor, threshold: Tensor, t: int) -> Tensor:
        """Bits of each image.

        Parameters
        ----------
        on
            Whether a symbol is not 0: B x pairs x H x W, 0 or 1.
        known
            Sizes before the iteration: B x 768 x H x W.
        own, threshold
            Coefficients and thresholds of the symbols.
        t
            The iteration.
        """
        near, beside = around(known)
        scale = threshold[:, None, None]
        features = (near[:, own] / scale, beside[:, own] / scale, known[:, own] / scale)
        logit = self.bias[t][:, None, None]
        for weight, feature in zip(self.weight[t], features, strict=True):
            logit = logit + weight * torch.log1p(feature)
        bits = on * softplus(-logit) + (1 - on) * softplus(logit)
        return (bits / float(np.log(2)) + on).sum((1, 2, 3))


class Codec(nn.Module):
    """The network, what tells the rate while it is trained, and the context model."""

    slopes: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = RecurrentNet(settings)
        if settings.pairs:
            self.rate = LocalRate(settings)
            self.context = ContextModel(settings.iterations, settings.pairs)
            # What a bit a pixel is worth at the end of each iteration, in squared error.
            self.register_buffer("slopes", torch.ones(settings.iterations))


class Session(Stages):
    """A training in its folder: resumed from its checkpoint if there is one."""

    def __init__(self, plan: Plan, images: Photographs, out: Path, device: torch.device) -> None:
        self.asked, self.device, self.stage = plan, device, 0
        self.photographs, self.held_out = images.split(plan.held_out, plan.seed)
        torch.manual_seed(plan.seed)
        self.codec, self._codes = Codec(plan.settings), None
        if plan.settings.pairs and not (out / "checkpoint.pt").exists():
            side = min(_START_SIDE, self.photographs.largest_crop // STRIDE * STRIDE)
            crops = [self.photographs.batch(k, 16, side, plan.seed + 1) for k in range(_START)]
            self.codec.slopes.copy_(start(self.codec.net, ycbcr(torch.cat(crops))))
        self.photographs = self.photographs.to(device)
        self.codec.to(device)
        super().__init__(self.codec, plan, plan.recipe, plan.steps, out)

    _codes: tuple[Codes, Table] | None

    def export(self, module: nn.Module) -> bytes:
        """The weights as a file."""
        done = "all"
        if not self.finished:
            name, _ = self.steps[self.stage]
            done = f"{self.trainer.step} steps of {name}"
        context = self.codec.context if self.asked.settings.pairs else None
        return weights_file(self.codec.net, context, {"training": {**self.plan, "done": done}})

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """The stage `context` trains the context model alone."""
        if stage == "context":
            return {_CONTEXT_RATE: list(self.codec.context.parameters())}
        net = self.codec.net
        groups = {1.0: [*net.encoder.parameters(), *net.decoder.parameters()]}
        groups[1.0] += net.binariser.parameters()
        if self.asked.settings.pairs:
            groups[20.0] = [net.linear.value]  # in 8-bit steps
            groups[10.0] = [net.linear.log_gain, *self.codec.rate.parameters()]
        return groups

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """The loss of a step."""
        if stage == "context":
            return self._context_loss(step)
        recipe = self.asked.recipe
        seed = self.asked.seed + 1000 * self.stage
        crops = self.photographs.batch(step, recipe.batch, recipe.side, seed)
        return (
            self._rated(ycbcr(crops)) if self.asked.settings.pairs else self._plain(crops - 127.5)
        )

    def _plain(self, x: Tensor) -> tuple[Tensor, Figures]:
        """The paper's loss: the mean absolute residual of all iterations, of samples of 0 to 1."""
        net, total = self.codec.net, x.new_zeros(())
        encoder, decoder = net.begin(x)
        for t in range(self.asked.settings.iterations):
            bits = binarise(net.encode(x, t, encoder), stochastic=True)
            encoder.picture = net.decode(bits, t, decoder)
            total = total + (x - encoder.picture).abs().mean() / 255
        mse = (x - encoder.picture).detach().square().mean()
        return total / self.asked.settings.iterations, {"mse": mse}

    def _rated(self, x: Tensor) -> tuple[Tensor, Figures]:
        """Squared error and bits of all iterations."""
        net, linear = self.codec.net, self.codec.net.linear
        encoder, decoder = net.begin(x)
        known = x.new_zeros(len(x), COEFFICIENTS, *(side // STRIDE for side in x.shape[2:]))
        loss, bpp = x.new_zeros(()), x.new_zeros(())
        worth = x.new_tensor(WORTH)
        figures: Figures = {}
        for t in range(self.asked.settings.iterations):
            bits = binarise(net.encode(x, t, encoder), stochastic=False)
            picture = net.decode(bits, t, decoder)
            # What the encoder makes of a picture is not told to the decoder that made it.
            encoder.picture = picture.detach()
            above, below = bits.chunk(2, 1)
            own = linear.chosen[t].long()
            on = (above + below + 2) / 2
            spent = self.codec.rate(on, known.abs(), own, linear.threshold[t], t)
            bpp = bpp + spent.mean() / x[0, 0].numel()
            symbol = (above - below).detach() / 2 * linear.value[t].detach()[:, None, None]
            known = known.index_add(1, own, symbol)
            mse = ((x - picture).square().mean((0, 2, 3)) * worth).sum()
            slope = self.codec.slopes[t]
            # Iterations of low rate, whose errors are large, would drown the others.
            loss = loss + (mse + slope * bpp) / slope.sqrt()
            if t in (2, 6, 12):
                figures |= {f"mse{t + 1}": mse.detach(), f"bpp{t + 1}": bpp.detach()}
        return loss / self.asked.settings.iterations, figures

    columns = (
        "loss", "mse", "mse3", "bpp3", "mse7", "bpp7", "mse13", "bpp13", "bpp", "gradient_norm",
        "rate_factor",
    )  # fmt: skip

    def _context_loss(self, step: int) -> tuple[Tensor, Figures]:
        codes, table = self._coded()
        symbols, inside = codes.draw(np.random.default_rng((self.asked.seed, 7, step)), _SITES)
        bits = self.codec.context(symbols.to(self.device), inside.to(self.device), table)
        bpp = bits.sum((1, 2)).mean() / STRIDE**2
        return bpp, {"bpp": bpp.detach()}

    @torch.no_grad()
    def _coded(self) -> tuple[Codes, Table]:
        """The symbols of photographs; made once, and the prediction with them."""
        if self._codes is None:
            net = self.codec.net
            table = Table.of(net.linear.chosen, net.linear.value, net.linear.threshold)
            side = min(_CODED_SIDE, self.photographs.largest_crop // STRIDE * STRIDE)
            found = []
            for k in range(_CODED):
                crops = self.photographs.batch(k, 8, side, self.asked.seed + 2)
                found.append(symbols(net, ycbcr(crops)).cpu())
            codes = Codes(torch.cat(found))
            self.codec.context.predict.copy_(codes.prediction(table))
            if not self.trainer.step:
                self.codec.context.bias.copy_(codes.log_odds())
            self._codes = codes, table
        return self._codes


@torch.no_grad()
def symbols(net: RecurrentNet, x: Tensor) -> Tensor:
    """The symbols of pictures in all iterations: B x iterations x pairs x H/16 x W/16, int8."""
    encoder, decoder = net.begin(x)
    found = []
    for t in range(net.settings.iterations):
        bits = binarise(net.encode(x, t, encoder), stochastic=False)
        encoder.picture = net.decode(bits, t, decoder)
        above, below = bits.chunk(2, 1)
        found.append(((above - below) / 2).to(torch.int8))
    return torch.stack(found, 1)


def plan_for(options: TrainingOptions) -> Plan:
    """Fill in what a user left open."""
    if options.recipe == "paper":
        recipe = Recipe("paper", 5e-4, options.batch or 32, 32)
        return Plan(Settings(), recipe, (("network", options.steps or 1_000_000),), options.seed)
    recipe = Recipe("fast", 1.5e-3, options.batch or 4)
    total = options.steps or 800
    network = max(round(total * 3 / 4), 1)
    stages = (("network", network), ("context", max(total - network, 1)))
    return Plan(FAST, recipe, stages, options.seed)


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    say = partial(print, flush=True)
    refuse_others(options, "recurrent")
    clock = Clock(options.minutes)
    images = photographs(options, clock, say)
    session = Session(plan_for(options), images, options.out, torch.device(options.device))
    advance(session, clock, say)
    say_end(session, say)
