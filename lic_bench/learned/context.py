"""A learned context model for whole numbers: the chance of each, given those before it.

`lic_bench.learned.surroundings` tells what the numbers are and in which order they are coded. Li et
al. (CVPR 2018, section 3.4) predict one bit at a time from a window of 4 channels x 5 x 5 sites, by
a network. Here the numbers themselves are coded, and the window takes in *all* channels before.

Each number is predicted by a linear model (`predict`, `own`), and told as a few decisions: whether
it is 0, whether its sign is that of the prediction, whether its size exceeds 1, 2, ... One hidden
layer serves all decisions. It is fed by the sizes of what is known around (`even`) and by the
numbers themselves (`odd`); these change their sign with that of the prediction, so that what is
learned of a number holds for its negative too. Of the means of blocks, which the first channels may
be, the numbers are what is left over from coarse to fine (`lic_bench.learned.pyramid`); others are
fed how the means around differ.

`lic_bench.learned.entropy` codes with it, in integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from lic_bench.learned.pyramid import PHASES, phases, rebuild
from lic_bench.learned.surroundings import (
    BEFORE,
    BUCKETS,
    CENTRE,
    CLIP,
    HEADS,
    LEVELS,
    LOW,
    NEAR,
    OWN,
    PREDICTION_BITS,
    REACH,
    RELATED,
    Structure,
)

_LOG2_E = 1.4426950408889634
_NINE = len(NEAR)
_OWN_PLACES = [*range(BEFORE), *range(_NINE, _NINE + len(OWN) - BEFORE)]
"""Where the sites of `OWN` are in a window."""


_DIFFERENCE_SHIFT = 3  # of planes of means, whose differences are fed in eighths of a step


def size_of(v: Tensor) -> Tensor:
    """The size of numbers as it is fed: log2(1 + abs(v)), in whole eighths."""
    return (8 * torch.log2(1 + v.abs().float())).round() / 8


class Codes:
    """Numbers of many images of one size, laid out so that windows are read at once.

    Parameters
    ----------
    v
        Numbers, N x M x H x W.
    point
        Operating points, N.
    form
        The channels.
    device
        Where they are kept.
    """

    def __init__(
        self,
        v: NDArray[np.int8],
        point: NDArray[np.int64],
        form: Structure,
        device: torch.device | None = None,
    ) -> None:
        n, _, height, width = v.shape
        self.shape, self.form = (n, height, width), form
        border = ((0, 0), (REACH, REACH), (REACH, REACH))
        padded = np.pad(v.transpose(0, 2, 3, 1), (*border, (0, 0)))
        self.point = torch.from_numpy(point.astype(np.int64)).to(device)
        self.v = torch.from_numpy(padded).to(device)
        # 0: outside.
        self.level = torch.from_numpy(np.pad(form.levels(v), border)).to(device)
        planes = np.pad(rebuild(v[:, : form.means]).transpose(0, 2, 3, 1), (*border, (0, 0)))
        self.plane = torch.from_numpy(planes.astype(np.int16)).to(device)
        self.phase = torch.from_numpy(phases(height, width)).to(device)

    def windows(self, sites: Tensor) -> Windows:
        """What lies around sites: S x 3 (image, row, column)."""
        image, row, column = sites.T
        places = torch.tensor([*NEAR, *OWN[BEFORE:]], device=sites.device)
        i, j = (x[:, None] + REACH + step for x, step in zip((row, column), places.T, strict=True))
        at = image[:, None], i, j
        return Windows(
            self.v[at].float(), self.level[at].long(), self.plane[at].int(),
            self.phase[row, column].long(), self.point[image],
        )  # fmt: skip

    def draw(self, rng: np.random.Generator, count: int) -> Windows:
        """What lies around so many sites, drawn at random."""
        drawn = np.stack([rng.integers(side, size=count) for side in self.shape], 1)
        return self.windows(torch.from_numpy(drawn).to(self.point.device))


@dataclass
class Windows:
    """The surroundings of S sites: at the nine of `NEAR`, then at the two others of `OWN`."""

    v: Tensor
    """Numbers: S x 11 x M."""
    level: Tensor
    """Levels; 0 outside the image: S x 11."""
    plane: Tensor
    """Means, in 2^-6 of a step: S x 11 x means."""
    phase: Tensor
    """Phases of the means at the sites: S."""
    point: Tensor
    """S."""


class ContextModel(nn.Module):
    """Chances of whole numbers from those before them."""

    related: Tensor
    predict: Tensor
    own: Tensor

    def __init__(self, form: Structure, points: int, hidden: int = 64) -> None:
        super().__init__()
        self.form, m, lows = form, form.channels, min(LOW, form.channels)
        fed = len(OWN) + RELATED * len(NEAR)

        def normal(scale: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(shape))

        self.even = normal(0.02, len(NEAR), m, hidden)
        self.odd = normal(0.01, len(NEAR), m, hidden)
        self.near_even = normal(0.1, fed, hidden)
        self.near_odd = normal(0.05, fed, hidden)
        self.around = normal(0.05, len(NEAR), LEVELS + 1, hidden)
        self.within = normal(0.05, LEVELS, hidden)
        self.bucket = normal(0.05, len(BUCKETS) + 1, hidden)
        self.phase = normal(0.05, PHASES, hidden)
        self.channel = normal(0.1, m, hidden)
        self.point = nn.Parameter(torch.zeros(points, hidden))
        self.out = normal(0.05, HEADS, m, hidden)
        self.bias = nn.Parameter(torch.zeros(HEADS, m, points))
        self.phase_bias = nn.Parameter(torch.zeros(HEADS, form.means, PHASES))
        self.bucket_bias = nn.Parameter(torch.zeros(HEADS, m, len(BUCKETS) + 1))
        self.level_near = normal(0.2, len(OWN), LEVELS + 1, hidden)
        self.level_point = nn.Parameter(torch.zeros(points, hidden))
        self.level_out = normal(0.05, LEVELS, hidden)
        self.level_bias = nn.Parameter(torch.zeros(LEVELS, points))
        self.register_buffer("related", torch.full((m, RELATED), -1))
        self.register_buffer("predict", torch.zeros(len(NEAR), lows, m))
        self.register_buffer("own", torch.zeros(BEFORE, m))

    def level_cost(self, x: Windows) -> Tensor:
        """The bits of the levels: S."""
        h = self.level_point[x.point]
        for k, place in enumerate(_OWN_PLACES):
            h = h + self.level_near[k][x.level[:, place]]
        logits = h.clamp(0, CLIP) @ self.level_out.T + self.level_bias.T[x.point]
        symbol = x.level[:, CENTRE] - 1
        node, cost = torch.ones_like(symbol), x.v.new_zeros(len(symbol))
        for shift in (3, 2, 1, 0):
            bit = symbol >> shift & 1
            logit = logits.gather(1, node[:, None])[:, 0]
            cost = cost + softplus(logit) - bit * logit
            node = 2 * node + bit
        return _LOG2_E * cost

    def inputs(self, x: Windows) -> tuple[Tensor, Tensor, Tensor]:
        """Sizes and numbers as they are fed, S x 11 x M each, and predictions, S x M."""
        even, odd = size_of(x.v), _odd(x)
        lows = self.predict.shape[1]
        prediction = odd[:, :_NINE, :lows].flatten(1) @ self.predict.flatten(0, 1)
        prediction = prediction + (x.v[:, :BEFORE] * self.own).sum(1)
        return even, odd, prediction

    def forward(self, x: Windows) -> tuple[Tensor, Tensor]:
        """The bits of the numbers at each site, by channel (0 beyond the level), and of the levels.

        Returns
        -------
        S x M, and S.
        """
        d, bounds = self.form.means, (0, *self.form.bounds)
        even, odd, prediction = self.inputs(x)
        v, level = x.v[:, CENTRE], x.level[:, CENTRE]
        base_even = self.point[x.point]
        for place in range(_NINE):
            base_even = base_even + self.around[place][x.level[:, place]]
        base_odd = torch.zeros_like(base_even)
        result = v.new_zeros(v.shape)
        index = torch.arange(len(level), device=v.device)
        not_zero: list[_NotZero] = []
        # A group of channels ends where the level of some sites does.
        for group, (a, b) in enumerate(pairwise(bounds)):
            kept = level[index] > group
            if not bool(kept.all()):
                index, base_even, base_odd = index[kept], base_even[kept], base_odd[kept]
                even, odd, prediction = even[kept], odd[kept], prediction[kept]
            if not len(index) or a == b:
                continue
            flip = torch.where(prediction[:, a:b] >= 0, 1.0, -1.0)
            bucket = _class_of(prediction[:, a:b].abs(), BUCKETS)
            h = self._fed(x, index, even, odd, flip, a, b)
            h = h + base_even[:, None] + flip[..., None] * base_odd[:, None]
            h = h + self.channel[a:b] + self.within[level[index] - group - 1][:, None]
            h = h + self.bucket[bucket]
            phase = x.phase[index]
            if a < d:
                of_means = self.phase[phase][:, None]
                h = torch.cat([h[:, : d - a] + of_means, h[:, d - a :]], 1)
            h = h.clamp(0, CLIP)
            number, point, k = v[index, a:b], x.point[index], torch.arange(b - a)
            logits = (h * self.out[0, a:b]).sum(-1) + self.bias[0, a:b].T[point]
            logits = logits + self.bucket_bias[0, a:b][k, bucket]
            if a < d:
                of_means = self.phase_bias[0, a:b][:, phase].T
                logits = torch.cat([logits[:, : d - a] + of_means, logits[:, d - a :]], 1)
            result[index, a:b] = softplus(logits) - (number != 0) * logits
            i, j = torch.nonzero(number, as_tuple=True)
            number = number[i, j] * flip[i, j]
            not_zero.append(
                _NotZero(index[i], j + a, h[i, j], number, bucket[i, j], point[i], phase[i])
            )
            fed = even[:, :_NINE, a:b].flatten(1), odd[:, :_NINE, a:b].flatten(1)
            base_even = base_even + fed[0] @ self.even[:, a:b].flatten(0, 1)
            base_odd = base_odd + fed[1] @ self.odd[:, a:b].flatten(0, 1)
        found = _NotZero(*(torch.cat(parts) for parts in zip(*not_zero, strict=True)))
        cost = self._sizes_cost(found)
        result = result.index_put((found.site, found.channel), cost, accumulate=True)
        return _LOG2_E * result, self.level_cost(x)

    def _fed(
        self, x: Windows, index: Tensor, even: Tensor, odd: Tensor, flip: Tensor, a: int, b: int
    ) -> Tensor:
        """What channels a to b, and those that are related, feed to the features: S x n x hidden.

        `index` are the sites among those of `x`.
        """
        s, n, means = len(index), b - a, max(self.form.means - a, 0)
        # Of the group itself, all channels before are known, and the own at the sites before. How
        # means differ is known once all of them are.
        k = torch.arange(n, device=even.device)
        before = (k[None, :] < k[:, None]).float()[:, None, :].repeat(1, _NINE, 1)
        mask = before.clone()
        mask[:, :BEFORE] += torch.eye(n, device=even.device)[:, None, :]
        before[means:] = mask[means:]
        own_odd = x.v[index][:, _OWN_PLACES, a:b].transpose(1, 2)
        related = self.related[a:b]
        fed = []
        for values, own, known in (
            (even, even[:, _OWN_PLACES, a:b].transpose(1, 2), mask),
            (odd, own_odd, before),
        ):
            group = (values[:, None, :_NINE, a:b] * known).reshape(s, n, -1)
            near = values[:, :_NINE, related.clamp_min(0).flatten()].view(s, _NINE, n, -1)
            near = near.permute(0, 2, 3, 1) * (related >= 0).float()[:, :, None]
            fed += [group, own, near.reshape(s, n, -1)]
        fed[3:] = [part * flip[..., None] for part in fed[3:]]
        weight = torch.cat(
            [
                self.even[:, a:b].flatten(0, 1), self.near_even,
                self.odd[:, a:b].flatten(0, 1), self.near_odd,
            ]
        )  # fmt: skip
        return torch.cat(fed, -1) @ weight

    def _sizes_cost(self, found: _NotZero) -> Tensor:
        """The cost of sign and size of numbers that are not 0, in nats."""
        largest = torch.tensor(self.form.reach, device=found.number.device)
        size, cost = found.number.abs(), torch.zeros_like(found.number)
        means = self.form.means
        for head in range(1, HEADS):
            asked = torch.nonzero((size >= head - 1) & (largest[found.channel] >= head))[:, 0]
            c, bucket = found.channel[asked], found.bucket[asked]
            logit = (found.h[asked] * self.out[head][c]).sum(-1)
            logit = (
                logit + self.bias[head][c, found.point[asked]] + self.bucket_bias[head][c, bucket]
            )
            if means:
                of_means = self.phase_bias[head][c.clamp_max(means - 1), found.phase[asked]]
                logit = logit + of_means * (c < means)
            bit = found.number[asked] > 0 if head == 1 else size[asked] >= head
            cost = cost.index_add(0, asked, softplus(logit) - bit * logit)
        return cost


@dataclass
class _NotZero:
    """Numbers that are not 0: all n long."""

    site: Tensor
    channel: Tensor
    h: Tensor
    """The hidden layer: n x hidden."""
    number: Tensor
    """Positive where its sign is as predicted."""
    bucket: Tensor
    point: Tensor
    phase: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter(
            (self.site, self.channel, self.h, self.number, self.bucket, self.point, self.phase)
        )


def _odd(x: Windows) -> Tensor:
    """Numbers as they are fed, S x 11 x M: of means, how those around differ from that here."""
    means = x.plane.shape[-1]
    around = (x.plane - x.plane[:, CENTRE, None]) >> _DIFFERENCE_SHIFT
    around = around * (x.level > 0)[:, :, None] / 8
    return torch.cat([around, x.v[..., means:]], -1)


def _class_of(x: Tensor, bounds: tuple[float, ...]) -> Tensor:
    """How many of the bounds each value reaches."""
    return torch.bucketize(x, torch.tensor(bounds, device=x.device, dtype=x.dtype), right=True)


def prepare(model: ContextModel, codes: Codes, sites: int, seed: int) -> None:
    """Set what no gradients train, from a sample of codes: predictions, and related channels.

    Numbers that are bits have no sign, and are not predicted.
    """
    x = codes.draw(np.random.default_rng((seed, 6)), sites)
    model.predict.zero_()
    model.own.zero_()
    model.related.fill_(-1)
    if model.form.means:
        _fit_predictions(model, x)
    size = size_of(x.v[:, CENTRE])
    size = (size - size.mean(0)) / (size.std(0) + 1e-3)
    gram = (size.T @ size).double() / len(size)
    for c in range(1, model.form.channels):
        # One after the other those that together tell the most of its size.
        chosen: list[int] = []
        for r in range(min(RELATED, c)):
            left = [k for k in range(c) if k not in chosen]
            tried = torch.tensor([[*chosen, k] for k in left], device=gram.device)
            among = gram[tried[:, :, None], tried[:, None, :]]
            among = among + 1e-3 * torch.eye(r + 1, dtype=gram.dtype, device=gram.device)
            towards = gram[tried, c]
            told = (towards * torch.linalg.solve(among, towards)).sum(1)
            chosen.append(left[int(told.argmax())])
            model.related[c, r] = chosen[-1]


def _fit_predictions(model: ContextModel, x: Windows) -> None:
    """Least squares, in which every operating point has the same weight."""
    d, m, lows = model.form.means, model.form.channels, model.predict.shape[1]
    energy = torch.zeros(int(x.point.max()) + 1, device=x.v.device)
    count = torch.bincount(x.point, minlength=len(energy)).clamp_min(1)
    energy.index_add_(0, x.point, x.v[:, CENTRE, d:].square().sum(1)).div_(count)
    weight = energy.clamp_min(1e-3).rsqrt()[x.point][:, None]
    flat = _odd(x)[:, :_NINE, :lows].flatten(1) * weight
    among = flat.T @ flat
    places = torch.arange(_NINE * lows, device=flat.device)
    for c in range(m):
        inputs = torch.cat([x.v[:, :BEFORE, c], x.v[:, CENTRE, c, None]], 1) * weight
        towards, small = flat.T @ inputs, inputs.T @ inputs
        whole = torch.cat(
            [
                torch.cat([small[:-1, :-1], towards[:, :-1].T], 1),
                torch.cat([towards[:, :-1], among], 1),
            ]
        ).double()
        right = torch.cat([small[:-1, -1], towards[:, -1]]).double()
        k = min(c, lows)
        used = torch.cat([places[:BEFORE], BEFORE + places[places % lows < k]])
        part = whole[used][:, used]
        ridge = 3e-4 * part.diagonal().mean() + 1e-6
        part = part + ridge * torch.eye(len(part), device=part.device, dtype=part.dtype)
        solved = torch.linalg.solve(part, right[used]).cpu()
        unit = 1 << PREDICTION_BITS
        # Half precision, in which weights are stored, holds these.
        solved = ((solved * unit).round() / unit).half().float()
        model.own[:, c] = solved[:BEFORE]
        model.predict[:, :k, c] = solved[BEFORE:].view(_NINE, k)


def begin(model: ContextModel, codes: Codes) -> None:
    """Set the biases to the frequencies in codes."""
    form, inside = model.form, slice(REACH, -REACH)
    v, level = codes.v[:, inside, inside].to(torch.int16), codes.level[:, inside, inside]
    bounds = torch.tensor(form.bounds, device=v.device)
    channels = torch.arange(form.channels, device=v.device)
    group = torch.searchsorted(bounds, channels, right=True)
    with torch.no_grad():
        for point in range(model.bias.shape[2]):
            own = codes.point == point
            size = v[own].flatten(0, 2).abs()
            coded = level[own].flatten()[:, None] > group
            for head in (0, *range(2, HEADS)):
                asked = (size >= max(head - 1, 0)) & coded
                told = ((size >= max(head, 1)) & coded).sum(0)
                model.bias[head, :, point] = torch.logit((told + 0.3) / (asked.sum(0) + 1.0))
