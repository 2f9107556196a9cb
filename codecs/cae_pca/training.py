"""Training of the codec: the paper's, and one that a CPU can do.

The paper's (``--recipe paper``) has one stage:

``noise``
    Encoder and decoder on planes of luma, uniform noise of 2^-10 for the quantiser, and the loss
    ||x - x'||² + lambda ||y||² (section II.B).

The fast recipe (``--recipe fast``) starts from a lapped transform, and knows quantiser and rate:

``transform``
    Everything, for all operating points at once: distortion of what the quantiser leaves, its
    gradient passed straight through, and the bits that `LocalRate` expects.
``decoder``
    The decoder alone, on the latents of an encoder that stays as it is, rotated as they will be.

After both the latents are rotated onto their principal components, and the chances that the coder
of bit planes begins with are counted.
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

from lic_bench.codecs.cae_pca.inference import latents
from lic_bench.codecs.cae_pca.model import (
    LATENTS,
    PLANES,
    CaeNet,
    Settings,
    kept,
    steps,
    ycbcr,
)
from lic_bench.codecs.cae_pca.start import start
from lic_bench.codecs.cae_pca.weights import form, weights_file
from lic_bench.learned.bitplanes import PlaneCoder, chances
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.data import Photographs
from lic_bench.learned.stages import Stages
from lic_bench.learned.training import Clock, Figures, Recipe

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

WORTH = (1.0, 1.086, 0.825)
"""What a squared error of Y, Cb and Cr adds to the mean over R, G and B."""
_NOISE = 2.0**-10  # the paper's
_ENERGY = 1.0  # lambda, what the paper's loss weighs the energy of the latents by
_SLOPE = 0.14  # squared error that a bit is worth at a step of 1: ln 2 / 6, and a dead zone
_COUNTED, _COUNTED_SIDE = 12, 256  # batches of 16 crops that chances are counted in
_ROTATED = 8  # and that tell the principal components
_CHROMA = 8  # of so many crops, one is also seen in Cb and one in Cr


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train cae-pca` was asked for."""

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=Recipe)
    steps: tuple[tuple[str, int], ...] = (("noise", 800_000),)
    seed: int = 0
    held_out: int = HELD_OUT


class LocalRate(nn.Module):
    """The bits of rotated latents, by a Laplace distribution that follows what is around.

    What is around a latent is known to the coder up to the plane before, on all its sides and in
    all maps of the site before it: its magnitudes make the scale, its values the mean.
    """

    inner: Tensor
    before: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((PLANES, LATENTS), -1.0))
        self.around = nn.Parameter(torch.full((PLANES, LATENTS, 1, 3, 3), -3.0))
        self.site = nn.Parameter(torch.full((PLANES, LATENTS, LATENTS, 1, 1), -5.0))
        self.mean = nn.Parameter(torch.zeros(PLANES, LATENTS, 1, 3, 3))
        with torch.no_grad():
            self.mean[:, 0] = 0.125
        inner, n = torch.ones(3, 3), torch.arange(LATENTS)
        inner[1, 1] = 0
        self.register_buffer("inner", inner, persistent=False)
        before = (n[None, :] < n[:, None]).float()[:, :, None, None]
        self.register_buffer("before", before, persistent=False)

    def forward(self, y: Tensor, known: Tensor, plane: int, noise: Tensor) -> Tensor:
        """Bits of each image: of latents, and of what is known of them, both in steps."""
        size = known.abs()
        scale = softplus(self.scale[plane])[:, None, None] + 0.05
        around = softplus(self.around[plane]) * self.inner
        scale = scale + conv2d(size, around, padding=1, groups=LATENTS)
        scale = scale + conv2d(size, softplus(self.site[plane]) * self.before)
        mean = conv2d(known, self.mean[plane] * self.inner, padding=1, groups=LATENTS)
        z = (y + noise - mean).abs()
        # The mass of an interval of 1: within it lies the peak, or beside it.
        # Far outside exp would overflow: infinite, and no number as a gradient, though not chosen.
        near = z.clamp_max(0.5) / scale
        inside = 1 - (-0.5 / scale).exp() * (0.5 * (near.exp() + (-near).exp()))
        beside = (-z / scale).exp() * torch.sinh(0.5 / scale)
        mass = torch.where(z < 0.5, inside, beside).clamp_min(1e-9)
        return -mass.log2().sum((1, 2, 3))


class Codec(nn.Module):
    """The network, and what tells the rate while it is trained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = CaeNet(settings)
        self.rate = LocalRate()


class Session(Stages):
    """A training in its folder: resumed from its checkpoint if there is one."""

    def __init__(self, plan: Plan, images: Photographs, out: Path, device: torch.device) -> None:
        self.asked, self.device, self.stage = plan, device, 0
        self.photographs, self.held_out = images.split(plan.held_out, plan.seed)
        torch.manual_seed(plan.seed)
        self.codec = Codec(plan.settings)
        if plan.settings.linear:
            start(self.codec.net, ycbcr(self._crops(0, 64))[:, :1])
            self._rotate(self.codec.net)
        self.photographs = self.photographs.to(device)
        self.codec.to(device)
        for half in (self.codec.net.encoder, self.codec.net.decoder):
            half.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(self.codec, plan, plan.recipe, plan.steps, out)

    def ended(self, stage: str) -> None:
        """The latents that are coded, and that the decoder is trained on, are rotated."""
        if stage != "decoder":
            self._rotate(self.codec.net)

    def export(self, module: nn.Module) -> bytes:
        """The weights as a file, with the chances of photographs counted.

        Before the training is done they are those of the running average, as they are.
        """
        done = "all"
        if not self.finished:
            name, _ = self.steps[self.stage]
            done = f"{self.trainer.step} steps of {name}"
            self.ended(name)
        # Of the weights as they will be read: in half precision.
        net = CaeNet(self.asked.settings).eval()
        net.load_state_dict({k: x.half().cpu() for k, x in self.codec.net.state_dict().items()})
        found = form(self.asked.settings)
        coder, counts = PlaneCoder(found), np.zeros((*found.chances, 2), np.int64)
        side = min(_COUNTED_SIDE, self.photographs.largest_crop)
        for step in range(_COUNTED if self.finished else 1):
            for crop in self.photographs.batch(step, 16, side, self.asked.seed + 1).cpu():
                image = crop.permute(1, 2, 0).to(torch.uint8).numpy()
                coder.count(latents(net, image), counts)
        return weights_file(net, chances(counts), {"training": {**self.plan, "done": done}})

    def groups(self, stage: str) -> Mapping[float, list[nn.Parameter]]:
        """The stage `decoder` trains the decoder alone; the others train everything."""
        net = self.codec.net
        decoder = list(net.decoder.parameters())
        if net.settings.points:
            decoder += [net.log_gain, net.offset]
        linear = [net.synthesis.weight] if net.settings.linear else []
        groups = {1.0: decoder}
        if stage != "decoder":
            groups[1.0] = decoder + list(net.encoder.parameters())
            if net.settings.linear:
                linear += net.analysis.parameters()
                groups[10.0] = list(self.codec.rate.parameters())
        if linear:
            groups[0.2] = linear
        return groups

    def _crops(self, step: int, count: int) -> Tensor:
        seed = self.asked.seed + 1000 * self.stage
        return self.photographs.batch(step, count, self.asked.recipe.side, seed)

    @torch.no_grad()
    def _rotate(self, net: CaeNet) -> None:
        """Rotate the latents of each plane onto their principal components, as crops tell."""
        net.rotation.copy_(torch.eye(LATENTS).repeat(PLANES, 1, 1))
        x = ycbcr(torch.cat([self._crops(step, 16) for step in range(_ROTATED)]))
        for plane in range(PLANES):
            y = net.encode(x[:, plane : plane + 1], _full(x, plane))
            flat = y.movedim(1, 0).flatten(1).double()
            net.rotation[plane] = components(flat @ flat.T / flat.shape[1]).to(net.rotation)

    def loss(self, stage: str, step: int) -> tuple[Tensor, Figures]:
        """What the quantiser leaves, and the bits expected; of the paper's stage its own loss."""
        x = ycbcr(self._crops(step, self.asked.recipe.batch))
        if stage == "noise":
            return self._noisy(x[:, :1])
        points = self.asked.settings.points
        first = self.asked.settings.finest - points + 1
        point = (torch.arange(len(x)) + step * len(x)) % points + first
        share = -(-len(x) // _CHROMA)
        taken = [torch.arange(len(x))]
        taken += [(torch.arange(share) + share * (2 * step + k)) % len(x) for k in range(2)]
        loss, mse, bits = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        for plane, own in enumerate(taken):
            d, bpp = self._known(x[own, plane : plane + 1], plane, point[own].to(self.device), step)
            # A step of 8 bits; a half point lies between two.
            size = 2048.0 * 2.0 ** (-point[own] / 2).to(self.device)
            price = _SLOPE * size.square()
            weight = len(x) / len(own)
            # Points of low rate, whose errors are large, would drown the others.
            total = (WORTH[plane] * d + price * bpp) * price.rsqrt()
            loss = loss + weight * total.sum() / len(x)
            mse = mse + weight * WORTH[plane] * d.detach().sum() / len(x)
            bits = bits + weight * bpp.detach().sum() / len(x)
        return loss, {"mse": mse, "bpp": bits}

    def _known(self, x: Tensor, plane: int, point: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Squared error, in 8-bit steps, and bits a pixel, of each crop of a plane."""
        net, which = self.codec.net, _full(x, plane)
        alone = self.steps[self.stage][0] == "decoder"
        with torch.set_grad_enabled(not alone):
            y = net.encode(x, which)
        whole, size = kept(y.detach(), point, net.settings.bits)
        found = net.dequantised(whole, size, point)
        z = net.decode(found + (y - y.detach()), which, point)
        d = (127.5 * (z - x)).square().mean((1, 2, 3))
        if alone:
            return d, torch.zeros_like(d)
        unit = steps(point)[:, None, None, None]
        before, coarse = kept(y.detach(), point - 2, net.settings.bits)
        known = net.dequantised(before, coarse, point) + (y - y.detach())
        noise = torch.empty_like(y).uniform_(-0.5, 0.5, generator=self._generator(step, plane))
        bits = self.codec.rate(y / unit, known / unit, plane, noise)
        return d, bits / x[0].numel()

    def _noisy(self, x: Tensor) -> tuple[Tensor, Figures]:
        """The paper's loss, of luma."""
        net, plane = self.codec.net, _full(x, 0)
        y = net.encode(x, plane)
        noise = _NOISE * (2 * torch.rand_like(y) - 1)
        z = net.decode(y + noise, plane, plane)
        d = (z - x).square().sum((1, 2, 3))
        loss = (d + _ENERGY * y.square().sum((1, 2, 3))).mean()
        return loss, {"mse": 127.5**2 * d.detach().mean() / x[0].numel()}

    def _generator(self, step: int, plane: int) -> torch.Generator:
        seed = (self.asked.seed * 1_000_003 + self.stage) * 1_000_003 + PLANES * step + plane
        return torch.Generator(self.device).manual_seed(seed)


def components(covariance: Tensor) -> Tensor:
    """The principal components of a covariance as columns, by falling energy: orthonormal."""
    values, found = torch.linalg.eigh(covariance)
    vectors: Tensor = found[:, values.argsort(descending=True)]
    # A vector and its opposite are the same component: the one with a positive largest entry.
    largest = vectors.abs().argmax(0)
    turned: Tensor = vectors * vectors[largest, torch.arange(len(vectors))].sign()
    return turned


def _full(x: Tensor, plane: int) -> Tensor:
    return torch.full((len(x),), plane, device=x.device)


def plan_for(options: TrainingOptions) -> Plan:
    """Fill in what a user left open."""
    if options.recipe == "paper":
        recipe = Recipe("paper", 1e-4, options.batch or 16)
        return Plan(Settings(), recipe, (("noise", options.steps or 800_000),), options.seed)
    recipe = Recipe("fast", 8e-4, options.batch or 8)
    total = options.steps or 1700
    stages = (("transform", max(round(0.8 * total), 1)), ("decoder", max(round(0.2 * total), 1)))
    return Plan(Settings(linear=True, points=9, finest=16), recipe, stages, options.seed)


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    say = partial(print, flush=True)
    refuse_others(options, "cae-pca")
    clock = Clock(options.minutes)
    images = photographs(options, clock, say)
    session = Session(plan_for(options), images, options.out, torch.device(options.device))
    advance(session, clock, say)
    say_end(session, say)
