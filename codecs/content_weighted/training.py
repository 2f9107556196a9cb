"""Training of the content-weighted codec, in stages.

``code``
    Encoder, binarizer and decoder, without the importance map (Li et al., CVPR 2018, section 4.1).
``map-start``
    Only where there is a linear path: the importance branch alone learns where the last 1 of each
    site is, so that the next stage begins with a map that cuts off little.
``map``
    Everything together, under a rate target or a Lagrange multiplier for each operating point.
``context``
    The context model of the entropy coder, on the codes of the finished network.

A training without the importance map has no stage ``map``: its network keeps all channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lic_bench.codecs.content_weighted.inference import (
    read_weights,
    stored_metadata,
    weights_file,
)
from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet, Settings
from lic_bench.codecs.content_weighted.report import report
from lic_bench.codecs.content_weighted.start import blocks, layout, start
from lic_bench.errors import SpecError
from lic_bench.learned.context import ContextModel, bits
from lic_bench.learned.data import Photographs, load
from lic_bench.learned.losses import LOSSES, distortion
from lic_bench.learned.training import Clock, Figures, Log, Recipe, Trainer, restore, save

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

COLUMNS = [
    "stage", "step", "seconds", "loss", "distortion", "mse", "bpp", "map_bpp", "kept",
    "gradient_norm", "rate_factor",
]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A whole training: what `lic-bench train content-weighted` was asked for."""

    settings: Settings = field(default_factory=Settings)
    recipe: Recipe = field(default_factory=Recipe)
    loss: str = "mse"
    rate: Literal["importance", "entropy"] = "importance"
    """What is held down: the paper's sum of the importance, or the bits of a context model."""
    multipliers: tuple[float, ...] = ()
    """For ``entropy``: MSE, in squared 8-bit steps, that one bit per pixel is worth, by point."""
    price: float = 0.03
    """For ``entropy``: bits that a kept symbol is charged on top of its own, for the work that it
    makes. Without it the map ends up keeping everything: to a good context model a 0 that is likely
    costs less than the map that would cut it off."""
    keep: tuple[float, ...] = (0.33,)
    """For ``importance``: r/n, the share of the code that may be kept, by point."""
    weight: float = 1.0
    """For ``importance``: what the sum of the importance weighs against half the squared error,
    summed over an image of samples in [-1, 1]; the release has 0.96 for n = 64, 9.6 for n = 128."""
    steps: tuple[tuple[str, int], ...] = (("code", 160_000), ("map", 160_000), ("context", 40_000))
    hidden: int = 2
    """Features a channel of the entropy coder's context model."""
    seed: int = 0
    held_out: int = 16

    @property
    def with_map(self) -> bool:
        """Whether the importance map is trained; without, all channels are kept."""
        return "map" in dict(self.steps)


class Codec(nn.Module):
    """The network, and the small context model that tells its rate while it is trained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = ContentWeightedNet(settings)
        self.context = ContextModel(settings.levels - 1 + settings.n, settings.points)


@dataclass
class Symbols:
    """What is coded for a batch: the planes of the importance map, then the masked code."""

    x: Tensor
    """0 or 1: B x (L - 1 + n) x H/8 x W/8."""
    active: Tensor
    """1 where a symbol is coded, of x's shape."""


def symbols(planes: Tensor, mask: Tensor, code: Tensor) -> Symbols:
    """Join map and code for the context model.

    A plane is coded where the one before it is 1: elsewhere it is 0 for certain.
    """
    first = torch.ones_like(planes[:, :1])
    return Symbols(torch.cat([planes, code * mask], 1), torch.cat([first, planes[:, :-1], mask], 1))


class Session:
    """A training in its folder: resumed from its checkpoint if there is one.

    Parameters
    ----------
    plan
        What is trained, and how.
    images
        Photographs, on the CPU.
    out
        The folder.
    device
        Where it runs; the photographs are moved there.
    weights
        Weights to begin with.
    """

    def __init__(
        self,
        plan: Plan,
        images: Photographs,
        out: Path,
        device: torch.device,
        weights: Path | None = None,
    ) -> None:
        self.plan, self.out, self.device = plan, out, device
        self.photographs, self.held_out = images.split(plan.held_out, plan.seed)
        torch.manual_seed(plan.seed)
        self.codec = Codec(plan.settings)
        self.channels_last = plan.recipe.name == "fast" and device.type == "cuda"
        if weights is not None:
            self._begin_with(weights)
        elif plan.settings.coefficients:
            found = layout(blocks(images.images, 100_000, plan.seed), plan.settings.n)
            start(self.codec.net, list(plan.multipliers), found)
            self._start_context()
        if not plan.with_map:
            self._keep_all()
        self.photographs, self.held_out = self.photographs.to(device), self.held_out.to(device)
        self.codec.to(device)
        if self.channels_last:
            self.codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distortion = distortion(plan.loss)
        self.coder: ContextModel | None = None
        self.stage = 0
        self.seconds = 0.0
        out.mkdir(parents=True, exist_ok=True)
        self.log = Log(out / "log.csv", COLUMNS)
        self.trainer = self._trainer()
        state = restore(self.checkpoint)
        if state is not None:
            self._restore(state)

    def _start_context(self) -> None:
        """Give the context model the frequency of each symbol, as found in a few crops."""
        codec, points = self.codec, self.plan.settings.points
        x = self.photographs.batch(0, 16, self.plan.recipe.side, self.plan.seed)
        with torch.no_grad():
            for index in range(points):
                codes = codec.net.encode(x, torch.full((len(x),), index))
                chance = codes.bits.mean((0, 2, 3)).clamp(1e-4, 1 - 1e-4)
                codec.context.bias[index, -len(chance) :] = torch.logit(chance)

    def _begin_with(self, weights: Path) -> None:
        net, context = read_weights(weights)
        self.codec.net.load_state_dict(net)
        small = self.codec.context
        with torch.no_grad():
            small.weight.copy_(context["weight"][: small.channels])
            small.own.copy_(context["own"][: small.channels])
            small.bias.copy_(context["bias"][:, : small.channels])

    def _keep_all(self) -> None:
        """Set the importance to 1 everywhere, and its planes to near certain."""
        weight, bias = self.codec.net.importance[-1].parameters()
        with torch.no_grad():
            weight.zero_()
            bias.fill_(30.0)  # the sigmoid of that is 1 in float32
            self.codec.context.bias[:, : self.plan.settings.levels - 1] = 11.0

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all stages are done."""
        return self.stage >= len(self.plan.steps)

    def run(self, clock: Clock, say: Callable[[str], None], every: int = 50) -> None:
        """Train until the time is up or everything is done; the checkpoint is kept up to date."""
        before, saved = self.seconds, clock.seconds()
        while not clock.over() and not self.finished:
            self.log.add(self.trainer.advance(self._loss))
            self.seconds = before + clock.seconds()
            name = self.plan.steps[self.stage][0]
            done = self.trainer.step >= self.trainer.steps
            if self.trainer.step % every == 0 or done:
                means = self.log.write(stage=name, step=self.trainer.step, seconds=self.seconds)
                shown = ", ".join(f"{key} {means[key]:.4g}" for key in COLUMNS if key in means)
                say(
                    f"{name} {self.trainer.step}/{self.trainer.steps} {self.seconds:.0f} s: {shown}"
                )
            if done:
                self._next_stage()
            if done or clock.seconds() - saved > 60:
                self.save()
                saved = clock.seconds()
        self.save()

    def compile(self) -> None:
        """Compile the parts of the network that are plain convolutions."""
        self.codec.net.encoder.compile()
        self.codec.net.decoder.compile()

    def save(self) -> None:
        """Write the checkpoint."""
        save(
            self.checkpoint,
            {
                "plan": _plain(self.plan),
                "stage": self.stage,
                "seconds": self.seconds,
                "codec": self.codec.state_dict(),
                "coder": None if self.coder is None else self.coder.state_dict(),
                "trainer": self.trainer.state() if not self.finished else None,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        asked, found = _plain(self.plan), dict(state["plan"])
        # The schedule may be stretched; anything else would make it another training.
        asked["steps"], found["steps"] = ([name for name, _ in x["steps"]] for x in (asked, found))
        differing = [key for key in asked if asked[key] != found.get(key)]
        if differing:
            raise SpecError(
                f"{self.out} holds a training with other options ({', '.join(differing)}); "
                "repeat its command, or choose another folder"
            )
        self.stage, self.seconds = state["stage"], state["seconds"]
        self.codec.load_state_dict(state["codec"])
        if not self.finished:
            # Together with the trainer comes the coder, where that is what is trained.
            self.trainer = self._trainer()
            if state["trainer"] is not None:
                self.trainer.restore(state["trainer"])
        elif state["coder"] is not None:
            self.coder = self._final_context()
            self.coder.load_state_dict(state["coder"])

    def _next_stage(self) -> None:
        self.trainer.use_average()
        self.stage += 1
        if not self.finished:
            self.trainer = self._trainer()

    def _trainer(self) -> Trainer:
        name, steps = self.plan.steps[self.stage]
        net = self.codec.net
        if name == "context":
            self.coder = self._final_context()
            recipe = replace(self.plan.recipe, rate=20 * self.plan.recipe.rate)
            return Trainer(self.coder, {1.0: list(self.coder.parameters())}, recipe, steps)
        if name == "map-start":
            groups = {3.0: list(net.importance.parameters())}
        else:
            linear = [
                p for key, p in net.named_parameters() if key.startswith(("analysis", "synthesis"))
            ]
            fixed = {id(p) for p in linear}
            if name == "code":
                fixed |= {id(p) for p in net.importance.parameters()}
            groups = {1.0: [p for p in net.parameters() if id(p) not in fixed]}
            if linear:
                groups[0.2] = linear
            if self.plan.rate == "entropy":
                groups[40.0] = list(self.codec.context.parameters())
        return Trainer(self.codec, groups, self.plan.recipe, steps)

    def _final_context(self) -> ContextModel:
        """The entropy coder's model: the small one, as trained, and hidden features beside it."""
        small, settings = self.codec.context, self.plan.settings
        torch.manual_seed(self.plan.seed)
        coder = ContextModel(small.channels, settings.points, self.plan.hidden).to(self.device)
        with torch.no_grad():
            coder.weight[: small.channels] = small.weight
            coder.own[: small.channels] = small.own
            coder.bias[:, : small.channels] = small.bias
        return coder

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        recipe = self.plan.recipe
        size, side = recipe.batch, recipe.side
        if self.plan.steps[self.stage][0] == "context":
            # Fewer and larger crops: less of them is border, where the window is cut off.
            size, side = max(size // 2, 1), min(2 * side, self.photographs.largest_crop)
        # Stages draw different batches.
        x = self.photographs.batch(step, size, side, self.plan.seed + 1000 * self.stage)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        point = (torch.arange(size) + step * size) % self.plan.settings.points
        return x, point.to(self.device)

    def _loss(self, step: int) -> tuple[Tensor, Figures]:
        name = self.plan.steps[self.stage][0]
        x, point = self._batch(step)
        if name == "context":
            return self._context_loss(x, point)
        net = self.codec.net
        amp = self.channels_last
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            codes = net.encode(x, point)
        if name == "map-start":
            return self._map_start(codes.bits, codes.p.float())
        p = codes.p.float() if name == "map" else torch.ones_like(codes.p, dtype=torch.float32)
        code, mask = codes.bits.float(), net.mask(p)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=amp):
            y = net.decode(code * mask, point)
        y = y.float()
        pixels = x.shape[-1] * x.shape[-2]
        d = self.distortion(x, y)
        figures: Figures = {
            "distortion": d.detach().mean(),
            "mse": (x - y.detach()).square().mean(),
            "kept": mask.detach().mean(),
        }
        if self.plan.rate == "entropy":
            multiplier = torch.tensor(self.plan.multipliers, device=self.device)[point]
            s = symbols(net.planes(p), mask, code)
            logits = self.codec.context(s.x, point)
            levels = self.plan.settings.levels
            r_map = bits(logits[:, : levels - 1], s.x[:, : levels - 1], s.active[:, : levels - 1])
            r_code = bits(logits[:, levels - 1 :], s.x[:, levels - 1 :], s.active[:, levels - 1 :])
            bpp_map, bpp_code = r_map / pixels, r_code / pixels
            figures["map_bpp"] = bpp_map.detach().mean()
            figures["bpp"] = (bpp_map + bpp_code).detach().mean()
            bpp = bpp_code
            if name == "map":
                bpp = bpp_code + bpp_map + self.plan.price * mask.sum((1, 2, 3)) / pixels
            # Points of low rate, whose losses are large, would drown the others.
            weight = multiplier.rsqrt()
            loss = ((d + multiplier * bpp) * weight).mean()
            if name == "map" and self.plan.settings.coefficients:
                loss = loss + self._curvature(code.detach(), mask, point, weight)
        else:
            loss = d.mean()
            if name == "map":
                loss = loss + self._importance_rate(p, mask, point)
        return loss, figures

    def _importance_rate(self, p: Tensor, mask: Tensor, point: Tensor) -> Tensor:
        """The paper's rate loss: the sum of the importance, while more is kept than asked for.

        As released it is switched by the mean over the batch; here by that of each operating point.
        """
        total = p.new_zeros(())
        side = p.shape[-1] * p.shape[-2] * STRIDE**2
        for index, keep in enumerate(self.plan.keep):
            own = point == index
            if bool(own.any()) and float(mask.detach()[own].mean()) > keep:
                total = total + p[own].sum()
        # The release weighs it against half the summed squared error of samples in [-1, 1].
        scale = 2 * 127.5**2 / (3 * side)
        return self.plan.weight * scale * total / len(p)

    def _context_loss(self, x: Tensor, point: Tensor) -> tuple[Tensor, Figures]:
        net, levels = self.codec.net, self.plan.settings.levels
        with torch.no_grad():
            codes = net.encode(x, point)
            s = symbols(net.planes(codes.p), net.mask(codes.p), codes.bits)
        logits: Tensor = self.trainer.module(s.x, point)
        pixels = x.shape[-1] * x.shape[-2]
        split = levels - 1
        r_map = bits(logits[:, :split], s.x[:, :split], s.active[:, :split]) / pixels
        r = bits(logits, s.x, s.active) / pixels
        # So that low rates count for something beside high ones, in relative terms.
        multipliers = self.plan.multipliers or (1.0,) * self.plan.settings.points
        multiplier = torch.tensor(multipliers, device=self.device)[point]
        loss = (r * (multiplier / multiplier.mean()).sqrt()).mean()
        bpp, map_bpp = r.detach().mean(), r_map.detach().mean()
        return loss, {"bpp": bpp, "map_bpp": map_bpp, "kept": s.active[:, split:].mean()}

    def export(self) -> bytes:
        """The weights of a finished training, as a safetensors file."""
        if self.coder is None:
            raise ValueError("the context model is not trained yet")
        return weights_file(self.codec.net, self.coder, {"training": _plain(self.plan)})

    def _curvature(self, code: Tensor, mask: Tensor, point: Tensor, weight: Tensor) -> Tensor:
        """A term of value 0 that completes the mask's gradient to a difference.

        The gradient of the squared error by a mask channel is that of a parabola at one end: at a
        channel that is kept, taking it away seems free; at one that is cut off, adding it seems
        worth twice what it is. The difference between the ends is the gradient less, or plus, the
        energy of what the channel adds to the image, which the linear path tells.
        """
        net = self.codec.net
        with torch.no_grad():
            energy = (127.5 * net.synthesis.weight).square().sum((1, 2, 3))
            energy = energy * net.code_gain[point].square() / (3 * code[0, 0].numel() * STRIDE**2)
            v = code * (1 - 2 * mask) * (energy * weight[:, None])[:, :, None, None]
        return ((mask - mask.detach()) * v).sum() / len(code)

    def _map_start(self, code: Tensor, p: Tensor) -> tuple[Tensor, Figures]:
        n, levels = self.plan.settings.n, self.plan.settings.levels
        place = torch.arange(1, n + 1, device=code.device).view(1, n, 1, 1)
        last = (code * place).amax(1, keepdim=True)
        target = (torch.ceil(last / (n // levels)).clamp_min(1) - 0.5) / levels
        # The 0.97 quantile: a map that cuts off too much costs more than one that keeps too much.
        short = (target - p) * levels
        loss = torch.maximum(0.97 * short, -0.03 * short).mean()
        return loss, {"distortion": loss.detach()}


def _plain(plan: Plan) -> dict[str, Any]:
    """A plan as JSON would give it back: with lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return plain


def plan_for(options: TrainingOptions, images: Photographs) -> Plan:
    """Fill in what a user left open.

    Raises
    ------
    SpecError
        Where a rate is out of reach, or there are not as many as the weights have points.
    """
    stored = stored_metadata(options.weights) if options.weights is not None else None
    trained = dict(stored.get("training", {}).get("steps", ())) if stored is not None else {}
    if trained and "map" not in trained and not options.without_map:
        raise SpecError(f"{options.weights} was trained without the importance map: add --no-map")
    plan = (_paper if options.recipe == "paper" else _fast)(options, images, stored)
    given, points = len(options.target_bpp), plan.settings.points
    if given not in (0, points):
        raise SpecError(f"{options.weights} has {points} rate levels: give as many --target-bpp")
    return plan


def _paper(options: TrainingOptions, images: Photographs, stored: dict[str, Any] | None) -> Plan:
    n = options.code_channels or 64
    settings = Settings(options.width or 128, n, 16, max(len(options.target_bpp), 1))
    if stored is not None:
        settings = Settings(**stored["settings"])
        n = settings.n
    for bpp in options.target_bpp:
        if not 0 < bpp <= n / STRIDE**2:
            raise SpecError(
                f"--target-bpp {bpp:g} is out of reach: a code of {n} channels holds up to "
                f"{n / STRIDE**2:g} bits a pixel; see --code-channels"
            )
    shares = {"code": 0.45, "map": 0.45, "context": 0.1}
    return Plan(
        settings=settings,
        recipe=Recipe("paper", 1e-4, options.batch or 32),
        loss=options.loss,
        # A target counts the kept bits of the code, before entropy coding, as in the paper.
        keep=tuple(bpp * STRIDE**2 / n for bpp in options.target_bpp) or (0.33,) * settings.points,
        weight=0.96 if n <= 64 else 9.6,
        steps=_shares(options, 360_000, shares),
        seed=options.seed,
    )


def _fast(options: TrainingOptions, images: Photographs, stored: dict[str, Any] | None) -> Plan:
    on_gpu = options.device != "cpu"
    multipliers = tuple(map(multiplier_for, options.target_bpp))
    if stored is not None:
        settings = Settings(**stored["settings"])
        multipliers = multipliers or tuple(stored.get("training", {}).get("multipliers", ()))
        if len(multipliers) != settings.points:
            raise SpecError(
                f"{options.weights} was not trained by this recipe: give --target-bpp for its "
                f"{settings.points} rate levels"
            )
        shares = {"map": 0.85, "context": 0.15}
    else:
        n = options.code_channels or 320
        multipliers = multipliers or MULTIPLIERS
        found = layout(blocks(images.images, 100_000, options.seed), n)
        width = options.width or (96 if on_gpu else 32)
        settings = Settings(width, n, 16, len(multipliers), len(found.coefficients))
        shares = {"code": 0.06, "map-start": 0.03, "map": 0.76, "context": 0.15}
    return Plan(
        settings=settings,
        recipe=Recipe("fast", 5e-4, options.batch or (32 if on_gpu else 8)),
        loss=options.loss,
        rate="entropy",
        multipliers=multipliers,
        steps=_shares(options, 60_000 if on_gpu else 8_000, shares),
        seed=options.seed,
    )


MULTIPLIERS = (1500.0, 850.0, 480.0, 270.0, 150.0, 85.0, 45.0, 24.0)
"""Of the eight usual operating points."""

# Multipliers and the rates that they led to, in bpp: means over the 24 Kodak images, real bytes,
# of weights trained with them on MSE and MS-SSIM at a width of 32 (MODEL_CARD.md).
_RATES = (
    (1500.0, 0.143), (850.0, 0.188), (480.0, 0.239), (270.0, 0.305), (150.0, 0.391), (85.0, 0.488),
    (45.0, 0.614), (24.0, 0.738),
)  # fmt: skip


def multiplier_for(bpp: float) -> float:
    """The Lagrange multiplier that led to this rate on Kodak.

    Between the rates that were measured, and beyond them, by straight lines in logarithms.

    Raises
    ------
    SpecError
        Where the rate is far from all that were measured.
    """
    if not 0.05 <= bpp <= 2:
        raise SpecError(f"--target-bpp {bpp:g} is out of reach: 0.05 to 2")
    multipliers, rates = np.log(np.array(_RATES).T)
    upper = int(np.searchsorted(rates, np.log(bpp)).clip(1, len(rates) - 1))
    slope = (multipliers[upper] - multipliers[upper - 1]) / (rates[upper] - rates[upper - 1])
    return float(np.exp(multipliers[upper] + slope * (np.log(bpp) - rates[upper])))


def _shares(
    options: TrainingOptions, usual: int, shares: dict[str, float]
) -> tuple[tuple[str, int], ...]:
    """The stages' steps; without the map, what goes before the context model is one stage."""
    if options.without_map:
        shares = {"code": 1 - shares["context"], "context": shares["context"]}
    total = options.steps or usual
    return tuple((name, max(round(total * share), 1)) for name, share in shares.items())


def train(options: TrainingOptions) -> None:
    """Run, or go on with, the training that was asked for.

    Raises
    ------
    SpecError
        Where the options make no sense, or the folder holds a training with others.
    """
    console = partial(print, flush=True)
    if options.loss not in LOSSES:
        raise SpecError(f"there is no loss {options.loss!r}: {', '.join(LOSSES)}")
    clock = Clock(options.minutes)
    device = torch.device(options.device)
    images = load(options.images)
    for reason in images.skipped:
        console(f"skipped {reason}")
    if len(images.images) <= Plan.held_out:
        raise SpecError(f"{len(images.images)} photographs are too few; 17 is the least")
    console(f"{len(images.images)} photographs, decoded in {clock.seconds():.0f} s")
    plan = plan_for(options, images)
    session = Session(plan, images, options.out, device, options.weights)
    if options.compiled:
        session.compile()
    session.run(clock, console)
    report(session, console)
    state = "done" if session.finished else "to go on, repeat the command"
    console(f"{options.out}: {session.seconds:.0f} s of training, {state}")
