"""A start from what is known: which coefficients of a lapped transform to code, in which order.

On photographs the coefficients of the transform are quantised step by step, each time with half of
the threshold before, and it is counted what a step takes away of the squared error, and how many
bits it costs where the coefficients around are known. The steps of the steepest slope come first;
each iteration takes as many as it has pairs of bits, of different coefficients.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from lic_bench.codecs.recurrent.model import COEFFICIENTS, PRODUCTS, STRIDE, RecurrentNet
from lic_bench.learned.lapped import lapped

WORTH = (1.0, 1.086, 0.825)
"""What a squared error of Y, Cb and Cr adds to the mean over R, G and B."""
_LARGEST, _HALVINGS = 512.0, 8  # thresholds, in 8-bit steps
_ZONE = 1.05  # a coefficient is coded from so many times its threshold on
_FEWEST = 20  # coefficients beyond a threshold, for a step to count
_BOUNDS = (0.02, 0.1, 0.2, 0.4, 0.7, 1.1, 2.0)  # of the classes of what is around
_AGES = 4

Numbers = NDArray[np.float64]


def around(size: Tensor) -> tuple[Tensor, Tensor]:
    """Mean sizes of the same coefficient at the eight sites around, and of its neighbours here.

    B x 768 x H x W twice.
    """
    near = (9 * avg_pool2d(size, 3, 1, 1) - size) / 8
    maps = size.view(-1, 3, STRIDE, STRIDE, *size.shape[2:])
    maps = pad(maps, (0, 0, 0, 0, 1, 1, 1, 1))
    beside = maps[:, :, :-2, 1:-1] + maps[:, :, 2:, 1:-1] + maps[:, :, 1:-1, :-2]
    beside = (beside + maps[:, :, 1:-1, 2:]) / 4
    return near, beside.flatten(1, 3)


def _entropy(counts: Tensor) -> Tensor:
    """Bits of binary decisions that were counted, ... x contexts x 2, in all contexts together."""
    share = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    return -(counts * share.clamp_min(1e-12).log2()).sum((-2, -1))


def steps(y: Tensor) -> tuple[Numbers, Numbers, Numbers]:
    """Squared error and bits of each step of each coefficient, a pixel, and what it adds.

    Parameters
    ----------
    y
        Coefficients of photographs: B x 768 x H x W.

    Returns
    -------
    768 x halvings three times: what the step takes away of the mean squared error over R, G and B;
    its bits, infinite where hardly any coefficient is that large; what is added, by the threshold.
    """
    found = torch.zeros_like(y)
    age = torch.zeros(y.shape, dtype=torch.long)
    sites = y[:, 0].numel()
    error, bits, added = (np.zeros((COEFFICIENTS, _HALVINGS)) for _ in range(3))
    worth = torch.tensor(WORTH).repeat_interleave(PRODUCTS).double() / PRODUCTS
    for step in range(_HALVINGS):
        threshold = _LARGEST / 2**step
        rest = y - found
        on = rest.abs() > _ZONE * threshold
        near, beside = around(found.abs() / threshold)
        kind = torch.bucketize(near + beside, torch.tensor(_BOUNDS)) + (len(_BOUNDS) + 1) * age
        n = on.sum((0, 2, 3)).double()
        value = (rest.abs() * on).sum((0, 2, 3)) / n.clamp_min(1).float() / threshold
        move = on * rest.sign() * (value * threshold)[:, None, None]
        gained = (rest.square() - (rest - move).square()).double().mean((0, 2, 3))
        contexts = _AGES * (len(_BOUNDS) + 1)
        index = (2 * kind + on).movedim(1, 0).flatten(1)
        counts = torch.zeros(COEFFICIENTS, 2 * contexts, dtype=torch.double)
        counts.scatter_add_(1, index, torch.ones(index.shape, dtype=torch.double))
        spent = (_entropy(counts.view(COEFFICIENTS, contexts, 2)) + n) / sites / PRODUCTS
        error[:, step] = (gained * worth).numpy()
        bits[:, step] = torch.where(n < _FEWEST, math.inf, spent).numpy()
        added[:, step] = value.numpy()
        found += move
        age = torch.where(age > 0, (age + 1).clamp_max(_AGES - 1), on.long())
    return error, bits, added


def order(error: Numbers, bits: Numbers) -> list[tuple[float, int, int]]:
    """Steps of coefficients by falling slope: slope, coefficient, number of halvings.

    Of one coefficient the steps keep their order: a step whose slope is less than that of steps
    after it is taken together with these.
    """
    found = []
    for coefficient, (gained, spent) in enumerate(zip(error, bits, strict=True)):
        known = np.flatnonzero(np.isfinite(spent))
        at = int(known[0]) if len(known) else len(spent)
        while at < len(spent):
            slopes = np.cumsum(gained[at:]) / np.cumsum(spent[at:])
            best = int(slopes.argmax())
            found += [(float(slopes[best]), coefficient, at + k) for k in range(best + 1)]
            at += best + 1
    return sorted(found, key=lambda x: (-x[0], x[2]))


def schedule(
    ordered: list[tuple[float, int, int]], iterations: int, pairs: int
) -> list[list[tuple[float, int, int]]]:
    """The steps of each iteration: the first ones that are left, of different coefficients.

    Raises
    ------
    ValueError
        Where there are too few.
    """
    left, made = ordered, []
    for _ in range(iterations):
        taken: list[tuple[float, int, int]] = []
        held: set[int] = set()
        later = []
        for step in left:
            if step[1] in held or len(taken) == pairs:
                later.append(step)
            else:
                taken.append(step)
            held.add(step[1])
        if len(taken) < pairs:
            raise ValueError("the photographs have too few coefficients that are worth coding")
        made.append(sorted(taken, key=lambda x: x[1]))
        left = later
    return made


@torch.no_grad()
def start(net: RecurrentNet, x: Tensor) -> Tensor:
    """Set a network with a linear path to a transform codec.

    Parameters
    ----------
    x
        Crops of photographs, B x 3 x H x W, as the network takes them.

    Returns
    -------
    The slope at the end of each iteration: squared error for a bit a pixel.
    """
    linear, settings = net.linear, net.settings
    # In half precision, as the file of weights holds them.
    linear.windows.copy_(torch.from_numpy(lapped(STRIDE)).half())
    error, bits, added = steps(linear.analysis(x))
    made = schedule(order(error, bits), settings.iterations, settings.pairs)
    slopes = torch.zeros(settings.iterations)
    for iteration, taken in enumerate(made):
        thresholds = torch.tensor([_LARGEST / 2.0**step for _, _, step in taken])
        linear.chosen[iteration] = torch.tensor([c for _, c, _ in taken], dtype=torch.int16)
        linear.threshold[iteration] = _ZONE * thresholds
        values = torch.tensor([float(added[c, step]) for _, c, step in taken])
        linear.value[iteration] = values * thresholds
        linear.scale[iteration] = 2.0 ** thresholds.log2().mean().round()
        slopes[iteration] = min(slope for slope, _, _ in taken)
        # Between the size of a picture and that of what is left over.
        linear.log_gain[iteration] = (linear.scale[iteration] / 64).log() / 2 - 0.5
    for layer in (net.binariser, net.decoder.last):
        layer.weight.mul_(0.02)
        layer.bias.mul_(0.02)  # type: ignore[union-attr]
    return slopes
