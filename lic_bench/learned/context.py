"""A learned context model for whole numbers: the chance of each, given those before it.

`lic_bench.learned.surroundings` tells what the numbers are and in which order they are coded. Li et
al. (CVPR 2018, section 3.4) predict one bit at a time from a window of 4 channels x 5 x 5 sites, by
a network. Here the numbers themselves are coded, and the window takes in *all* channels before.

Each number is predicted by a linear model (`predict`, `own`), and told as a few decisions: whether
it is 0, whether its sign is that of the prediction, whether its size exceeds 1, 2, ... Of the means
of blocks, which the first channels may be, it is the difference from the prediction. One hidden
layer serves all decisions. It is fed by the sizes of what is known around (`even`) and by the
numbers themselves (`odd`); these change their sign with that of the prediction, so that what is
learned of a number holds for its negative too.

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

from lic_bench.learned.surroundings import (
    ACTIVITIES,
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
        self.rest = self.v.new_zeros((*padded.shape[:3], form.means), dtype=torch.int16)

    def windows(self, sites: Tensor) -> Windows:
        """What lies around sites: S x 3 (image, row, column)."""
        image, row, column = sites.T
        places = torch.tensor([*NEAR, *OWN[BEFORE:]], device=sites.device)
        i, j = (x[:, None] + REACH + step for x, step in zip((row, column), places.T, strict=True))
        at = image[:, None], i, j
        return Windows(
            self.v[at].float(), self.level[at].long(), self.rest[at].float(), self.point[image]
        )

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
    rest: Tensor
    """Means less their prediction: S x 11 x means."""
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
        self.activity = normal(0.05, len(ACTIVITIES) + 1, hidden)
        self.channel = normal(0.1, m, hidden)
        self.point = nn.Parameter(torch.zeros(points, hidden))
        self.out = normal(0.05, HEADS, m, hidden)
        self.bias = nn.Parameter(torch.zeros(HEADS, m, points))
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
        d = self.form.means
        inside = (x.level[:, :, None] > 0).float()
        even = torch.cat([size_of(x.rest), size_of(x.v[..., d:])], -1)
        # Of a mean it tells more how it differs from those around.
        odd = x.v.clone()
        odd[..., :d] = (x.v[..., :d] - x.v[:, CENTRE, None, :d]) * inside
        odd[:, CENTRE, :d] = x.rest[:, CENTRE]
        lows = self.predict.shape[1]
        prediction = odd[:, :_NINE, :lows].flatten(1) @ self.predict.flatten(0, 1)
        prediction[:, d:] += (x.v[:, :BEFORE, d:] * self.own[:, d:]).sum(1)
        if d:
            near = neighbours(x.v[..., :d], x.level)
            prediction[:, :d] += near[:, 1] + ((near - near[:, 1:2]) * self.own[:, :d]).sum(1)
            reach = prediction.new_tensor(self.form.reach[:d])
            prediction[:, :d] = prediction[:, :d].clamp(-reach, reach)
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
            whole, flip, bucket = self._signs(prediction[:, a:b], a)
            h = self._fed(x, index, even, odd, prediction, flip, a, b)
            h = h + base_even[:, None] + flip[..., None] * base_odd[:, None]
            h = h + self.channel[a:b] + self.within[level[index] - group - 1][:, None]
            h = h + self.bucket[bucket]
            if a < d:
                near = neighbours(x.v[index, :, a : min(b, d)], x.level[index])
                active = self.activity[_class_of(_activity(near), ACTIVITIES)]
                h = torch.cat([h[:, : d - a] + active, h[:, d - a :]], 1)
            h = h.clamp(0, CLIP)
            rest, point, k = v[index, a:b] - whole, x.point[index], torch.arange(b - a)
            logits = (h * self.out[0, a:b]).sum(-1) + self.bias[0, a:b].T[point]
            logits = logits + self.bucket_bias[0, a:b][k, bucket]
            result[index, a:b] = softplus(logits) - (rest != 0) * logits
            i, j = torch.nonzero(rest, as_tuple=True)
            rest = rest[i, j] * flip[i, j]
            not_zero.append(_NotZero(index[i], j + a, h[i, j], rest, bucket[i, j], point[i]))
            fed = even[:, :_NINE, a:b].flatten(1), odd[:, :_NINE, a:b].flatten(1)
            base_even = base_even + fed[0] @ self.even[:, a:b].flatten(0, 1)
            base_odd = base_odd + fed[1] @ self.odd[:, a:b].flatten(0, 1)
        found = _NotZero(*(torch.cat(parts) for parts in zip(*not_zero, strict=True)))
        cost = self._sizes_cost(found)
        result = result.index_put((found.site, found.channel), cost, accumulate=True)
        return _LOG2_E * result, self.level_cost(x)

    def _signs(self, prediction: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of predictions from a channel on: what is subtracted, the sign, the class of the size."""
        means = max(self.form.means - first, 0)
        whole = torch.zeros_like(prediction)
        whole[:, :means] = (prediction[:, :means] + 0.5).floor()
        off = prediction - whole
        return whole, torch.where(off >= 0, 1.0, -1.0), _class_of(off.abs(), BUCKETS)

    def _fed(
        self, x: Windows, index: Tensor, even: Tensor, odd: Tensor, prediction: Tensor,
        flip: Tensor, a: int, b: int,
    ) -> Tensor:  # fmt: skip
        """What channels a to b, and those that are related, feed to the features: S x n x hidden.

        `index` are the sites among those of `x`.
        """
        s, n, means = len(index), b - a, max(self.form.means - a, 0)
        # Of the group itself, all channels before are known, and the own at the sites before. Of
        # the means' own it is told by their distance from the prediction.
        k = torch.arange(n, device=even.device)
        before = (k[None, :] < k[:, None]).float()[:, None, :].repeat(1, _NINE, 1)
        mask = before.clone()
        mask[:, :BEFORE] += torch.eye(n, device=even.device)[:, None, :]
        before[means:] = mask[means:]
        own_odd = odd[:, _OWN_PLACES, a:b].transpose(1, 2)
        if means:
            near = neighbours(x.v[index, :, a : a + means], x.level[index])
            own_odd = own_odd.clone()
            own_odd[:, :means] = 0
            m = prediction[:, a : min(a + means, b)]
            own_odd[:, :means, :BEFORE] = near.transpose(1, 2)[:, :n] - m[:, :, None]
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
        largest = torch.tensor(self.form.reach, device=found.rest.device)
        largest[: self.form.means] = HEADS  # a difference may be larger than either
        size, cost = found.rest.abs(), torch.zeros_like(found.rest)
        for head in range(1, HEADS):
            asked = torch.nonzero((size >= head - 1) & (largest[found.channel] >= head))[:, 0]
            c, bucket = found.channel[asked], found.bucket[asked]
            logit = (found.h[asked] * self.out[head][c]).sum(-1)
            logit = (
                logit + self.bias[head][c, found.point[asked]] + self.bucket_bias[head][c, bucket]
            )
            bit = found.rest[asked] > 0 if head == 1 else size[asked] >= head
            cost = cost.index_add(0, asked, softplus(logit) - bit * logit)
        return cost


@dataclass
class _NotZero:
    """Numbers that are not 0, or means that are not as predicted: all n long."""

    site: Tensor
    channel: Tensor
    h: Tensor
    """The hidden layer: n x hidden."""
    rest: Tensor
    """The number, less what is subtracted, positive where its sign is as predicted."""
    bucket: Tensor
    point: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.site, self.channel, self.h, self.rest, self.bucket, self.point))


def neighbours(v: Tensor, level: Tensor) -> Tensor:
    """The means coded before: S x 4 x means (as `NEAR`) from those of windows, S x 11 x means.

    Those outside the image are taken from those inside.
    """
    nw, n, ne, w = v[:, :BEFORE].unbind(1)
    top, left, right = (level[:, place, None] == 0 for place in (1, 3, 2))
    n, nw, ne = (torch.where(top, w, y) for y in (n, nw, ne))
    w, nw = torch.where(left, n, w), torch.where(left, n, nw)
    ne = torch.where(right, n, ne)
    return torch.stack([nw, n, ne, w], 1)


def _activity(near: Tensor) -> Tensor:
    """How much the means around differ: S x 4 x means to S x means."""
    nw, n, ne, w = near.unbind(1)
    return (w - nw).abs() + (nw - n).abs() + (n - ne).abs()


def _class_of(x: Tensor, bounds: tuple[float, ...]) -> Tensor:
    """How many of the bounds each value reaches."""
    return torch.bucketize(x, torch.tensor(bounds, device=x.device, dtype=x.dtype), right=True)


def prepare(model: ContextModel, codes: Codes, sites: int, seed: int) -> None:
    """Set what no gradients train, from a sample of codes: predictions, and related channels.

    Numbers that are bits have no sign, and are not predicted. Sets the codes' `rest`, too.
    """
    x = codes.draw(np.random.default_rng((seed, 6)), sites)
    d = model.form.means
    model.predict.zero_()
    model.own.zero_()
    model.related.fill_(-1)
    if d:
        _fit_predictions(model, x)
        set_rest(model, codes)
    size = size_of(x.v[:, CENTRE])
    if d:
        size[:, :d] = size_of(_rests(model, x.v[:, :, :d], x.level))
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
    near = neighbours(x.v[..., :d], x.level)
    odd = x.v[:, :_NINE, :lows].clone()
    inside = (x.level[:, :_NINE, None] > 0).float()
    odd[..., :d] = (odd[..., :d] - odd[:, CENTRE, None, :d]) * inside
    gram: Tensor | None = None
    for c in range(m):
        if c < d:
            # The means are predicted by differences from the one above.
            own, target = near[:, :, c] - near[:, 1:2, c], x.v[:, CENTRE, c] - near[:, 1, c]
            odd[:, CENTRE, c:d] = 0
        else:
            own, target = x.v[:, :BEFORE, c], x.v[:, CENTRE, c]
        if gram is None:
            flat = odd.flatten(1) * weight
        if c >= d and gram is None:
            gram = flat.T @ flat
        inputs = torch.cat([own * weight, (target[:, None]) * weight], 1)
        among = flat.T @ flat if gram is None else gram
        towards, small = flat.T @ inputs, inputs.T @ inputs
        whole = torch.cat(
            [
                torch.cat([small[:-1, :-1], towards[:, :-1].T], 1),
                torch.cat([towards[:, :-1], among], 1),
            ]
        ).double()
        right = torch.cat([small[:-1, -1], towards[:, -1]]).double()
        k = min(c, lows)
        places = torch.arange(_NINE * lows, device=whole.device)
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
        if c < d:
            odd[:, CENTRE, c] = _rests(model, x.v[:, :, :d], x.level)[:, c]


def begin(model: ContextModel, codes: Codes) -> None:
    """Set the biases to the frequencies in codes whose `rest` is set."""
    form, inside = model.form, slice(REACH, -REACH)
    v, level = codes.v[:, inside, inside].clone(), codes.level[:, inside, inside]
    v = v.to(torch.int16)
    v[..., : form.means] = codes.rest[:, inside, inside]
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


def set_rest(model: ContextModel, codes: Codes) -> None:
    """Note the means less their predictions, which are fed too."""
    d = model.form.means
    if not d:
        return
    n, height, width = codes.shape
    ranges = (torch.arange(side, device=codes.v.device) for side in (height, width))
    i, j = torch.cartesian_prod(*ranges).T
    for image in range(n):
        at = [(image, i + REACH + down, j + REACH + right) for down, right in NEAR]
        v = torch.stack([codes.v[place][:, :d] for place in at], 1).float()
        level = torch.stack([codes.level[place] for place in at], 1)
        rests = _rests(model, v, level).to(torch.int16).view(height, width, d)
        codes.rest[image, REACH:-REACH, REACH:-REACH] = rests


def _rests(model: ContextModel, v: Tensor, level: Tensor) -> Tensor:
    """The means, less their predictions, of windows of at least nine sites: S x 9 x d to S x d."""
    d = model.form.means
    near = neighbours(v, level)
    odd = (v[:, :_NINE] - v[:, CENTRE, None]) * (level[:, :_NINE, None] > 0)
    reach = v.new_tensor(model.form.reach[:d])
    for c in range(d):
        total = near[:, 1, c] + ((near[:, :, c] - near[:, 1:2, c]) * model.own[:, c]).sum(1)
        total = total + odd[:, :, :c].flatten(1) @ model.predict[:, :c, c].flatten()
        whole = (total.clamp(-reach[c], reach[c]) + 0.5).floor()
        odd[:, CENTRE, c] = v[:, CENTRE, c] - whole
    return odd[:, CENTRE]
