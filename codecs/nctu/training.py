"""Training of the codec in the three phases of the paper, section 3.2.

``autoencoder``
    Encoder and decoder, all bits kept: the distortion alone.
``importance``
    The importance net alone: lambda rate + distortion (equation 4).
``joint``
    Everything, for the same.

The rate is the sum of the importance over all features; the distortion weighs squared error and
MS-SSIM (equation 5). So trains ``--recipe paper``. The fast recipe (``--recipe fast``) starts from
a lapped transform, has all operating points at once, and estimates the rate by `SymbolRate`, in the
first phase, too.
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
from torch.nn.functional import conv2d, softplus

from lic_bench.codecs.nctu.inference import features, numbers
from lic_bench.codecs.nctu.model import CHANNELS, NctuNet, Settings
from lic_bench.codecs.nctu.quantiser import BITS, importance_nearness, kept, soft_indices
from lic_bench.codecs.nctu.start import MEANS, STEPS, start
from lic_bench.codecs.nctu.weights import form, weights_file
from lic_bench.learned.bitplanes import PlaneCoder, chances
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.losses import distortion
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

PHASES = ("autoencoder", "importance", "joint")
_FAST = {"autoencoder": 0.5, "importance": 0.15, "joint": 0.35}
_PRICE = 0.14  # squared error that a bit is worth at a step of 1: ln 2 / 6, and a dead zone
_COUNTED, _COUNTED_SIDE = 96, 256  # crops that chances are counted in


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train nctu` was asked for.

    Attributes
    ----------
    price
        Lambda of the paper's loss: distortion, in squared 8-bit steps, that a bit of importance a
        pixel is worth.
    """

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=Recipe)
    steps: tuple[tuple[str, int], ...] = tuple((phase, 400_000) for phase in PHASES)
    price: float = 10.0
    seed: int = 0
    held_out: int = HELD_OUT


class SymbolRate(nn.Module):
    """The bits of signed numbers, by a Laplace distribution that follows what is around.

    What is around a number: of its own map what is coded before it, and the rest to the bit plane
    before; of the maps before its own what is at the same site.
    """

    past: Tensor
    future: Tensor
    before: Tensor

    def __init__(self, points: int) -> None:
        super().__init__()
        c = CHANNELS
        self.scale = nn.Parameter(torch.full((points, c), -1.0))
        self.around = nn.Parameter(torch.full((c, 2, 3, 3), -2.5))
        self.site = nn.Parameter(torch.full((c, c, 1, 1), -4.0))
        self.mean = nn.Parameter(torch.zeros(c, 2, 3, 3))
        with torch.no_grad():
            self.mean[list(MEANS)] = 0.125
        past, n = torch.zeros(3, 3), torch.arange(c)
        past[0], past[1, 0] = 1, 1
        future = past.flip(0, 1)
        self.register_buffer("past", torch.stack([past, future]), persistent=False)
        before = (n[None, :] < n[:, None]).float()[:, :, None, None]
        self.register_buffer("before", before, persistent=False)

    def laplace(self, v: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scales of the numbers, from the numbers themselves: B x 16 x H x W."""
        size = v.abs()
        coarse = (size / 2).floor() * 2
        seen = torch.stack([size, coarse], 2).flatten(1, 2)
        signs = torch.stack([v, v.sign() * coarse], 2).flatten(1, 2)
        around, mean = softplus(self.around) * self.past, self.mean * self.past
        scale = softplus(self.scale)[point][:, :, None, None] + 0.05
        scale = scale + conv2d(seen, around, padding=1, groups=CHANNELS)
        scale = scale + conv2d(size, softplus(self.site) * self.before)
        return conv2d(signs, mean, padding=1, groups=CHANNELS), scale

    def forward(self, v: Tensor, shift: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """Bits of each number: what falls into its interval, -1 to 1 for 0.

        Parameters
        ----------
        v
            Numbers.
        shift
            What intervals are moved by: 0, with the gradient of what was quantised.
        mean, scale
            Of `laplace`.
        """
        half = torch.where(v == 0, 1.0, 0.5)
        distance = (v + 0.5 * v.sign() + shift - mean).abs()
        near = torch.minimum(distance, half) / scale
        inside = 1 - (-half / scale).exp() * (0.5 * (near.exp() + (-near).exp()))
        beside = (-distance / scale).exp() * torch.sinh(half / scale)
        mass = torch.where(distance < half, inside, beside).clamp_min(1e-9)
        return -mass.log2()


class Codec(nn.Module):
    """The network, and what tells the rate while it is trained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = NctuNet(settings)
        if settings.linear:
            self.rate = SymbolRate(settings.points)


class Session(Stages):
    """A training in its folder: resumed from its checkpoint if there is one."""

    def __init__(self, plan: Plan, images: Photographs, out: Path, device: torch.device) -> None:
        self.asked, self.device = plan, device
        self.photographs, self.held_out = images.split(plan.held_out, plan.seed)
        torch.manual_seed(plan.seed)
        self.codec = Codec(plan.settings)
        if plan.settings.linear:
            start(self.codec.net, self.photographs.batch(0, 64, plan.recipe.side, plan.seed))
        self.photographs = self.photographs.to(device)
        self.codec.to(device)
        self.distortion = distortion("mse+ms-ssim")
        super().__init__(self.codec, plan, plan.recipe, plan.steps, out)

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """Of the phases, what each trains; of a linear path it moves little."""
        net = self.codec.net
        groups: dict[float, list[nn.Parameter]] = {1.0: [], 0.2: []}
        for name, parameter in net.named_parameters():
            if name == "shift" or name.startswith("importance_net"):
                if stage != "autoencoder":
                    groups[1.0].append(parameter)
            elif stage != "importance":
                linear = name in ("analysis.weight", "synthesis")
                groups[0.2 if linear else 1.0].append(parameter)
        if net.settings.linear:
            groups[10.0] = list(self.codec.rate.parameters())
        return {factor: own for factor, own in groups.items() if own}

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """Lambda rate + distortion; of the paper's first phase the distortion alone."""
        recipe = self.asked.recipe
        seed = self.asked.seed + 1000 * self.stage
        x = self.photographs.batch(step, recipe.batch, recipe.side, seed)
        self.codec.train()
        if stage == "importance":
            # What stays as it is: the statistics of its normalisation, too.
            self.codec.net.encoder.eval()
            self.codec.net.decoder.eval()
        if self.asked.settings.linear:
            return self._transformed(x, stage, step)
        point = torch.zeros(len(x), dtype=torch.int64, device=self.device)
        with torch.set_grad_enabled(stage != "importance"):
            z = self.codec.net.encode(x, point)
        v = self.codec.net.numbers(z)
        soft = soft_indices(z)
        if stage == "autoencoder":
            shown, bits = v + (soft - soft.detach()), None
        else:
            p = self.codec.net.importance(z, point)
            near = importance_nearness(p)
            options = torch.stack([kept(v, n) for n in range(1, BITS + 1)])
            shown = _chosen(p, options) + (soft - soft.detach())
            shown = shown + _slope(near, options)
            # The sum of the map, with the slope of its soft quantiser.
            most = torch.arange(1.0, BITS + 1, device=self.device)[:, None, None, None, None]
            bits = p.detach().round() + _slope(near, most.expand_as(near))
        y = self.codec.net.decode(self.codec.net.shown(shown, point), point).clamp(0, 255)
        d = self.distortion(x, y)
        figures: Figures = {"mse": (x - y).detach().square().mean()}
        if bits is None:
            return d.mean(), figures
        bpp = bits.sum((1, 2, 3)) / x[0, 0].numel()
        return (d + self.asked.price * bpp).mean(), {**figures, "bpp": bpp.detach().mean()}

    def _transformed(self, x: Tensor, stage: str, step: int) -> tuple[Tensor, Figures]:
        """The loss of the fast recipe: a point for each crop."""
        net, rate = self.codec.net, self.codec.rate
        points = net.settings.points
        point = ((torch.arange(len(x)) + step * len(x)) % points).to(self.device)
        with torch.set_grad_enabled(stage != "importance"):
            z = net.encode(x, point)
        v, moved = net.numbers(z), 2**BITS * (z - z.detach())
        if stage == "autoencoder":
            shown = net.shown(v, point) + moved
            bits = rate(v, moved, *rate.laplace(v, point))
        else:
            p = net.importance(z, point)
            near = importance_nearness(p)
            options = torch.stack([kept(v, n) for n in range(1, BITS + 1)])
            chosen = _chosen(p, options)
            levels = torch.stack([net.shown(option, point) for option in options])
            shown = net.shown(chosen, point) + moved + _slope(near, levels)
            mean, scale = rate.laplace(chosen, point)
            with torch.no_grad():
                costs = rate(options, torch.zeros_like(moved), mean, scale)
            bits = rate(chosen, moved, mean, scale) + _slope(near, costs)
        y = net.decode(shown, point)
        d = self.distortion(x, y)
        bpp = bits.sum((1, 2, 3)) / x[0, 0].numel()
        price = _PRICE * net.scale[point].square()
        # Points of low rate, whose errors are large, would drown the others.
        loss = (d + price * bpp) * price.rsqrt()
        return loss.mean(), {
            "mse": (x - y).detach().square().mean(),
            "bpp": bpp.detach().mean(),
        }

    def export(self, module: nn.Module) -> bytes:
        """The weights as a file, with the chances of photographs counted."""
        done = "all" if self.finished else f"{self.trainer.step} of {self.steps[self.stage][0]}"
        # Of the weights as they will be read: in half precision.
        net = NctuNet(self.asked.settings).eval()
        state = self.codec.net.state_dict()
        net.load_state_dict(
            {k: x.half().cpu() if x.is_floating_point() else x.cpu() for k, x in state.items()}
        )
        shape, found = form(self.asked.settings), []
        side = min(_COUNTED_SIDE, self.photographs.largest_crop)
        count = _COUNTED if self.finished else 2
        crops = self.photographs.batch(0, count, side, self.asked.seed + 1).cpu()
        for point in range(net.settings.points):
            coder, counts = PlaneCoder(shape), np.zeros((*shape.chances, 2), np.int64)
            for crop in crops:
                image = crop.permute(1, 2, 0).to(torch.uint8).numpy()
                coder.count(numbers(net, features(net, image, point), point), counts)
            found.append(chances(counts))
        return weights_file(net, np.stack(found), {"training": {**self.plan, "done": done}})


def _chosen(p: Tensor, options: Tensor) -> Tensor:
    """Of the options for 1 to 4 bits, those of the rounded importance."""
    index = (p.detach().round() - 1).long()
    return options.gather(0, index[None])[0]


def _slope(near: Tensor, options: Tensor) -> Tensor:
    """0, with the slope of the options weighed by how near each is."""
    soft = (near * options.detach()).sum(0)
    return soft - soft.detach()


def plan_for(options: TrainingOptions) -> Plan:
    """Fill in what a user left open."""
    if options.recipe == "paper":
        recipe = Recipe("paper", 1e-4, options.batch or 10)
        steps = options.steps or 1_200_000
        phases = tuple((phase, max(steps // 3, 1)) for phase in PHASES)
        return Plan(Settings(options.width or 128), recipe, phases, seed=options.seed)
    recipe = Recipe("fast", 8e-4, options.batch or 6)
    total = options.steps or 3000
    phases = tuple((phase, max(round(share * total), 1)) for phase, share in _FAST.items())
    settings = Settings(options.width or 64, 1, 2, False, len(STEPS), True)
    return Plan(settings, recipe, phases, seed=options.seed)


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    say = partial(print, flush=True)
    refuse_others(options, "nctu", "width")
    clock = Clock(options.minutes)
    images = photographs(options, clock, say)
    session = Session(plan_for(options), images, options.out, torch.device(options.device))
    advance(session, clock, say)
    say_end(session, say)
