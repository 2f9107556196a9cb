"""Training of the content-weighted codec, in stages.

``code``
    Encoder, binarizer and decoder, without the importance map (Li et al., CVPR 2018, section 4.1).
``map-start``
    Only where there is a linear path: the importance branch alone learns where the last 1 of each
    site is, so that the next stage begins with a map that cuts off little.
``map``
    Everything together, under a rate target or a Lagrange multiplier for each operating point.
``decoder``
    The decoder alone, on the codes of an encoder that stays as it is. The gradients that pass a
    binarizer are made up, and late in a training they lead astray; these are true.
``context``
    The context model of the entropy coder, on the codes of the finished network: of some dozens of
    crops at a time, from whose sites some hundred steps are drawn.

A training without the importance map has no stage ``map``: its network keeps all channels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet, Settings
from lic_bench.codecs.content_weighted.rates import (
    between,
    multiplier_for,
    steered_to,
    usual_multipliers,
)
from lic_bench.codecs.content_weighted.report import report
from lic_bench.codecs.content_weighted.start import blocks, layout, start
from lic_bench.codecs.content_weighted.weights import (
    read_weights,
    stored_metadata,
    structure,
    weights_file,
)
from lic_bench.errors import SpecError
from lic_bench.files import atomic_write
from lic_bench.learned.command import HELD_OUT, advance, photographs, refuse_others, say_end
from lic_bench.learned.context import Codes, ContextModel, begin, prepare
from lic_bench.learned.data import Photographs
from lic_bench.learned.losses import LOSSES, distortion
from lic_bench.learned.rate import RateModel, bits
from lic_bench.learned.training import Clock, Figures, Log, Recipe, Trainer, restore, save

if TYPE_CHECKING:
    from lic_bench.learned.options import TrainingOptions

COLUMNS = [
    "stage", "step", "seconds", "loss", "distortion", "mse", "bpp", "map_bpp", "kept",
    "gradient_norm", "rate_factor",
]  # fmt: skip


_CONTEXT_RATE = 3e-3  # the learning rate of the stage "context"
_CONTEXT_SITES = 1024  # sites of a step
_CONTEXT_SAMPLE = 60_000  # sites that the linear predictions are fitted to
_POOL = 48  # crops whose codes are made at a time
_POOL_STEPS = 200  # steps that draw their sites from these


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
    hidden: int = 64
    """Hidden features of the entropy coder's context model."""
    with_map: bool = True
    """Without the importance map, all channels are kept."""
    seed: int = 0
    held_out: int = HELD_OUT


class Codec(nn.Module):
    """The network, and the model that tells its rate while it is trained."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = ContentWeightedNet(settings)
        self.rate = RateModel(settings.levels - 1 + settings.n, settings.points)


@dataclass
class Symbols:
    """What is coded for a batch: the planes of the importance map, then the masked code."""

    x: Tensor
    """0 or 1: B x (L - 1 + n) x H/8 x W/8."""
    active: Tensor
    """1 where a symbol is coded, of x's shape."""


def symbols(planes: Tensor, mask: Tensor, code: Tensor, means: int) -> Symbols:
    """Join map and code for the rate model.

    A plane is coded where the one before it is 1: elsewhere it is 0 for certain. The first code
    channels, those of the means, are coded otherwise. A digit beyond 1 is taken for 1.
    """
    first = torch.ones_like(planes[:, :1])
    x = torch.cat([planes, (code * mask).clamp_max(1)], 1)
    active = torch.cat(
        [first, planes[:, :-1], torch.zeros_like(mask[:, :means]), mask[:, means:]], 1
    )
    return Symbols(x, active)


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
        self._context: dict[str, Tensor] | None = None
        self._untrained: ContextModel | None = None
        self._pool: tuple[int, Codes] | None = None
        self.half = plan.recipe.name == "fast" and device.type == "cuda"
        if weights is not None:
            self._begin_with(weights)
        elif plan.settings.coefficients:
            found = layout(blocks(images.images, 100_000, plan.seed), plan.settings.n)
            start(self.codec.net, list(plan.multipliers), found)
            self._start_rate()
        if not plan.with_map:
            self._keep_all()
            self._context = None
        self.photographs, self.held_out = self.photographs.to(device), self.held_out.to(device)
        self.codec.to(device)
        if self.half:
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

    def _start_rate(self) -> None:
        """Give the rate model the frequency of each symbol, as found in a few crops."""
        codec, points = self.codec, self.plan.settings.points
        x = self.photographs.batch(0, 16, self.plan.recipe.side, self.plan.seed)
        with torch.no_grad():
            for index in range(points):
                codes = codec.net.encode(x, torch.full((len(x),), index))
                chance = codes.bits.mean((0, 2, 3)).clamp(1e-4, 1 - 1e-4)
                codec.rate.bias[index, -len(chance) :] = torch.logit(chance)

    def _begin_with(self, weights: Path) -> None:
        net, context, rate = read_weights(weights)
        found = stored_metadata(weights).get("training", {}).get("multipliers", ())
        wanted = self.plan.multipliers
        if found and wanted and tuple(found) != wanted:
            net = steered_to(net, found, wanted)
            rate["bias"] = between(rate["bias"], found, wanted)
            for key in ("point", "bias", "level_point", "level_bias"):
                last = -1 if key.endswith("bias") else 0
                rows = between(context[key].movedim(last, 0), found, wanted)
                context[key] = rows.movedim(0, last)
        self._context = context
        self.codec.net.load_state_dict(net)
        self.codec.rate.load_state_dict(rate)

    def _keep_all(self) -> None:
        """Set the importance to 1 everywhere, and its planes to near certain."""
        weight, bias = self.codec.net.importance[-1].parameters()
        with torch.no_grad():
            weight.zero_()
            bias.fill_(30.0)  # the sigmoid of that is 1 in float32
            self.codec.rate.bias[:, : self.plan.settings.levels - 1] = 11.0

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
        begun, start = clock.seconds(), self._steps_done()
        while not clock.over() and not self.finished:
            self.log.add(self.trainer.advance(self._loss))
            self.seconds = before + clock.seconds()
            name = self.plan.steps[self.stage][0]
            done = self.trainer.step >= self.trainer.steps
            if self.trainer.step % every == 0 or done:
                means = self.log.write(stage=name, step=self.trainer.step, seconds=self.seconds)
                shown = ", ".join(f"{key} {means[key]:.4g}" for key in COLUMNS if key in means)
                taken = (clock.seconds() - begun) / max(self._steps_done() - start, 1)
                left = taken * (sum(steps for _, steps in self.plan.steps) - self._steps_done())
                say(
                    f"{name} {self.trainer.step}/{self.trainer.steps}, {self.share():.1%} of all, "
                    f"{self.seconds / 60:.1f} min, about {left / 60:.0f} to go: {shown}"
                )
            if done:
                self._next_stage()
            if done or clock.seconds() - saved > 60:
                self.save()
                saved = clock.seconds()
        self.save()

    def _steps_done(self) -> int:
        before = sum(steps for _, steps in self.plan.steps[: self.stage])
        return before if self.finished else before + self.trainer.step

    def share(self) -> float:
        """How much of the training is done, 0 to 1, by its steps."""
        return self._steps_done() / sum(steps for _, steps in self.plan.steps)

    def compile(self) -> None:
        """Compile the parts of the network that are plain convolutions."""
        self.codec.net.encoder.compile()
        self.codec.net.decoder.compile()

    def save(self) -> None:
        """Write the checkpoint and, beside it, the weights so far."""
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
        weights = self.export() if self.finished else self.preliminary()
        with atomic_write(self.out / "weights.safetensors") as part:
            part.write_bytes(weights)

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
            self.trainer = self._trainer(resumed=state["trainer"] is not None)
            if state["trainer"] is not None:
                self.trainer.restore(state["trainer"])
        elif state["coder"] is not None:
            self.coder = self._context_model()
            self.coder.load_state_dict(state["coder"])

    def _next_stage(self) -> None:
        self.trainer.use_average()
        self.stage += 1
        if not self.finished:
            self.trainer = self._trainer()

    def _trainer(self, resumed: bool = False) -> Trainer:
        name, steps = self.plan.steps[self.stage]
        net = self.codec.net
        if name == "context":
            self.coder = self._context_model()
            if not resumed:
                self._start_context(self.coder)
            recipe = replace(self.plan.recipe, rate=_CONTEXT_RATE)
            return Trainer(self.coder, {1.0: list(self.coder.parameters())}, recipe, steps)
        if name == "map-start":
            groups = {3.0: list(net.importance.parameters())}
        elif name == "decoder":
            groups = {1.0: [*net.decoder.parameters()]}
            if self.plan.settings.steered:
                groups[1.0].append(net.log_code_gain)
            if self.plan.settings.coefficients:
                groups[0.2] = list(net.synthesis.parameters())
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
                groups[40.0] = list(self.codec.rate.parameters())
        return Trainer(self.codec, groups, self.plan.recipe, steps)

    def _context_model(self) -> ContextModel:
        settings, hidden = self.plan.settings, self.plan.hidden
        torch.manual_seed(self.plan.seed)
        if self._context is not None:
            hidden = self._context["out"].shape[-1]
        form = structure(self.codec.net.state_dict(), settings)
        return ContextModel(form, settings.points, hidden).to(self.device)

    def _start_context(self, coder: ContextModel, fitted: bool = True) -> None:
        """Begin with the model of the given weights, or with what a few crops tell.

        That is frequencies and, where it shall be `fitted`, what the training takes as given.
        """
        if self._context is not None:
            coder.load_state_dict(self._context)
            return
        codes = self._codes(0, coder)
        if fitted:
            prepare(coder, codes, _CONTEXT_SAMPLE, self.plan.seed)
        begin(coder, codes)

    def _codes(self, number: int, coder: ContextModel) -> Codes:
        """The codes of some crops, as the network is that finished."""
        net, points = self.codec.net, self.plan.settings.points
        # Large crops: less of them is border, where the window is cut off.
        side = min(2 * self.plan.recipe.side, self.photographs.largest_crop) // STRIDE * STRIDE
        values = []
        index = (torch.arange(_POOL) + number * _POOL) % points
        x = self.photographs.batch(number, _POOL, side, self.plan.seed + 1000 * self.stage)
        for k in range(_POOL):
            with torch.no_grad():
                codes = net.encode(x[k : k + 1], index[k : k + 1].to(self.device))
                code = codes.bits * net.mask(codes.p) if self.plan.with_map else codes.bits
                values.append(net.coded(net.unrounded(code, codes.z)))
        return Codes(np.concatenate(values), index.numpy(), coder.form, self.device)

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        recipe = self.plan.recipe
        size, side = recipe.batch, recipe.side
        # Stages draw different batches.
        x = self.photographs.batch(step, size, side, self.plan.seed + 1000 * self.stage)
        if self.half:
            x = x.contiguous(memory_format=torch.channels_last)
        point = (torch.arange(size) + step * size) % self.plan.settings.points
        return x, point.to(self.device)

    def _loss(self, step: int) -> tuple[Tensor, Figures]:
        name = self.plan.steps[self.stage][0]
        if name == "context":
            return self._context_loss(step)
        x, point = self._batch(step)
        net = self.codec.net
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)
        with half, torch.set_grad_enabled(name != "decoder"):
            codes = net.encode(x, point)
        if name == "map-start":
            return self._map_start(codes.bits, codes.p.float())
        has_map = name == "map" or (name == "decoder" and self.plan.with_map)
        p = codes.p.float() if has_map else torch.ones_like(codes.p, dtype=torch.float32)
        code, mask = codes.bits.float(), net.mask(p)
        coded, left_over = net.with_means(code * mask, codes.z)
        with half:
            y = net.decode(coded, point)
        y = y.float()
        pixels = x.shape[-1] * x.shape[-2]
        d = self.distortion(x, y)
        figures: Figures = {
            "distortion": d.detach().mean(),
            "mse": (x - y.detach()).square().mean(),
            "kept": mask.detach().mean(),
        }
        if name == "decoder":
            loss = (d * self._multiplier(point).rsqrt()).mean()
        elif self.plan.rate == "entropy":
            multiplier = self._multiplier(point)
            s = symbols(net.planes(p), mask, code, net.mean_channels)
            with half:
                logits = self.codec.rate(s.x, point).float()
            levels = self.plan.settings.levels
            r_map = bits(logits[:, : levels - 1], s.x[:, : levels - 1], s.active[:, : levels - 1])
            r_code = bits(logits[:, levels - 1 :], s.x[:, levels - 1 :], s.active[:, levels - 1 :])
            # Of the means no bits are coded, but what their predictions leave over.
            r_code = r_code + torch.log2(1 + left_over.abs()).sum((1, 2, 3))
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

    def _multiplier(self, point: Tensor) -> Tensor:
        """The Lagrange multiplier of each operating point; 1 where the recipe has none."""
        multipliers = self.plan.multipliers or (1.0,) * self.plan.settings.points
        return torch.tensor(multipliers, device=self.device)[point]

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

    def _context_loss(self, step: int) -> tuple[Tensor, Figures]:
        coder = self.coder
        if coder is None:
            raise ValueError("there is no context model")
        number = step // _POOL_STEPS
        if self._pool is None or self._pool[0] != number:
            codes = self._codes(number, coder)
            self._pool = number, codes
        rng = np.random.default_rng((self.plan.seed, 4, step))
        windows = self._pool[1].draw(rng, _CONTEXT_SITES)
        cost, levels = coder(windows)
        bpp = (cost.sum(1) + levels) / STRIDE**2
        # So that low rates count for something beside high ones, in relative terms.
        multiplier = self._multiplier(windows.point)
        loss = (bpp * (multiplier / multiplier.mean()).sqrt()).mean()
        map_bpp = levels.detach().mean() / STRIDE**2
        return loss, {"bpp": bpp.detach().mean(), "map_bpp": map_bpp}

    def export(self) -> bytes:
        """The weights of a finished training, as a safetensors file."""
        if self.coder is None:
            raise ValueError("the context model is not trained yet")
        return weights_file(
            self.codec.net, self.coder, self.codec.rate, {"training": _plain(self.plan)}
        )

    def preliminary(self) -> bytes:
        """The weights of the running average so far, as a file that can be used.

        Before the last stage with a context model that knows frequencies and no more, those of its
        first call; before the importance map is trained, all channels are kept.
        """
        kept, self.codec = self.codec, deepcopy(self.codec)
        try:
            coder = self.coder
            if coder is not None:
                coder = deepcopy(coder)
                coder.load_state_dict(self.trainer.average)
            else:
                self.codec.load_state_dict(self.trainer.average)
                if self.plan.steps[self.stage][0] in ("code", "map-start"):
                    self._keep_all()
                if self._untrained is None:
                    self._untrained = self._context_model()
                    self._start_context(self._untrained, fitted=False)
                coder = self._untrained
            return weights_file(
                self.codec.net, coder, self.codec.rate, {"training": _plain(self.plan)}
            )
        finally:
            self.codec = kept

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
            energy = energy * (2 * net.log_code_gain[point]).exp()
            energy = energy / (3 * code[0, 0].numel() * STRIDE**2)
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
    if stored is None and options.decoder_only:
        raise SpecError("--decoder-only goes on from weights: give --weights")
    with_map = stored is None or stored.get("training", {}).get("with_map", True)
    if not with_map and not options.without_map:
        raise SpecError(f"{options.weights} was trained without the importance map: add --no-map")
    return (_paper if options.recipe == "paper" else _fast)(options, images, stored)


def _paper(options: TrainingOptions, images: Photographs, stored: dict[str, Any] | None) -> Plan:
    n = _channels(options, 64)
    settings = Settings(options.width or 128, n, 16, max(len(options.target_bpp), 1))
    if stored is not None:
        settings = Settings(**stored["settings"])
        n = settings.n
        if len(options.target_bpp) not in (0, settings.points):
            raise SpecError(
                f"{options.weights} has {settings.points} rate levels: give as many --target-bpp"
            )
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
        with_map=not options.without_map,
        seed=options.seed,
    )


def _fast(options: TrainingOptions, images: Photographs, stored: dict[str, Any] | None) -> Plan:
    on_gpu = options.device != "cpu"
    multipliers = tuple(multiplier_for(bpp, options.loss) for bpp in options.target_bpp)
    if stored is not None:
        settings = Settings(**stored["settings"])
        found = tuple(stored.get("training", {}).get("multipliers", ()))
        multipliers = multipliers or found
        if not found and len(multipliers) != settings.points:
            raise SpecError(
                f"{options.weights} was not trained by this recipe: give --target-bpp for its "
                f"{settings.points} rate levels"
            )
        settings = replace(settings, points=len(multipliers))
        shares = {"map": 0.6, "decoder": 0.2, "context": 0.2}
    else:
        # Three means of four digits each, and more.
        n = _channels(options, 400, least=48)
        multipliers = multipliers or usual_multipliers(options.loss)
        coefficients = layout(blocks(images.images, 100_000, options.seed), n).coefficients
        width = options.width or (96 if on_gpu else 32)
        settings = Settings(width, n, 16, len(multipliers), len(coefficients))
        shares = {"code": 0.06, "map-start": 0.03, "map": 0.56, "decoder": 0.15, "context": 0.2}
    return Plan(
        settings=settings,
        # What is trained already would be undone at the rate of a beginning.
        recipe=Recipe(
            "fast", 5e-4 if stored is None else 2e-4, options.batch or (32 if on_gpu else 8)
        ),
        loss=options.loss,
        rate="entropy",
        multipliers=multipliers,
        steps=_shares(options, 60_000 if on_gpu else 8_000, shares),
        with_map=not options.without_map,
        seed=options.seed,
    )


def _channels(options: TrainingOptions, usual: int, least: int = 16) -> int:
    """The code channels asked for."""
    n = usual if options.code_channels is None else options.code_channels
    if n % 16 or n < least:
        raise SpecError(f"--code-channels {n}: a multiple of 16 is wanted, {least} at least")
    return n


def _shares(
    options: TrainingOptions, usual: int, shares: dict[str, float]
) -> tuple[tuple[str, int], ...]:
    """The stages' steps; without the map, all that trains an encoder is one stage."""
    after = {name: share for name, share in shares.items() if name in ("decoder", "context")}
    if options.decoder_only:
        shares = {"decoder": 0.5, "context": 0.5}
    elif options.without_map:
        shares = {"code": 1 - sum(after.values()), **after}
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
    refuse_others(
        options,
        "content-weighted",
        "target_bpp",
        "loss",
        "weights",
        "width",
        "code_channels",
        "without_map",
        "decoder_only",
        "compiled",
    )
    if options.loss not in LOSSES:
        raise SpecError(f"there is no loss {options.loss!r}: {', '.join(LOSSES)}")
    clock = Clock(options.minutes)
    # What is left is for weights and pictures, and the last seconds for the curve.
    training, pictures = (
        Clock(options.minutes and max(0.5 * options.minutes, options.minutes - left))
        for left in (0.6, 0.1)
    )
    device = torch.device(options.device)
    images = photographs(options, clock, console)
    plan = plan_for(options, images)
    session = Session(plan, images, options.out, device, options.weights)
    if options.compiled:
        session.compile()
    advance(session, training, console)
    report(session, console, pictures.over)
    say_end(session, console)
