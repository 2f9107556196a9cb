"""The context model of the bits: a network that tells the chance of each from those before it.

Toderici et al. (section 4) predict the bits of an iteration by a recurrent network from those
coded before at the sites above, and from the iterations before. Here the pairs of bits of the
linear path are coded, symbols of -1, 0 and 1: first whether one is 0, then its sign. Iteration by
iteration, in each coefficient by coefficient, and these in raster order; so all symbols before the
own coefficient's are known at the nine sites around, and its own at the sites before.

One hidden layer is fed by

- each symbol before that is not 0, at the nine sites (`event`);
- the size that the own coefficient has reached, here and around (`own`), and that of its neighbours
  in frequency and in the other planes (`beside`), in classes by the threshold;
- how far a linear prediction from the sites around lies from what is known, in classes (`bucket`).

The sign is told by the sign of the same difference. `lic_bench.codecs.recurrent.coder` codes with
it, in integers; sizes and classes are integers here, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad, softplus

from lic_bench.codecs.recurrent.model import COEFFICIENTS, PRODUCTS, STRIDE
from lic_bench.learned.surroundings import BEFORE, CENTRE, CLIP, NEAR

SIZE_BITS = 6
"""Binary places of sizes and thresholds, in 8-bit steps."""
PREDICTION_BITS = 10
"""Binary places of the weights of the linear prediction."""
CLASSES = 5
CLASS_BOUNDS = (0, 6, 14, 28)
"""A size of more than so many quarters of the threshold is of the next class."""
BUCKETS = 6
BUCKET_BOUNDS = (1, 2, 4, 8, 16)
"""A difference of at least so many eighths of the threshold is of the next class."""
BESIDE = 6
"""Neighbours of a coefficient: four in frequency, and itself in the two other planes."""
PLACES = len(NEAR)


@dataclass(frozen=True)
class Table:
    """What is coded, in integers.

    Attributes
    ----------
    chosen
        The coefficient of each symbol: iterations x pairs.
    value, threshold
        What a symbol adds to its size, and its threshold, in 2^-6 of an 8-bit step: the same shape.
    """

    chosen: NDArray[np.int64]
    value: NDArray[np.int64]
    threshold: NDArray[np.int64]

    @classmethod
    def of(cls, chosen: Tensor, value: Tensor, threshold: Tensor) -> Table:
        """The table of a linear path, as half precision holds it."""
        value, threshold = (
            (x.detach().cpu().half().double() * (1 << SIZE_BITS)).round().long().clamp_min(1)
            for x in (value, threshold)
        )
        return cls(chosen.cpu().long().numpy(), value.numpy(), threshold.numpy())

    @property
    def iterations(self) -> int:
        """How many there are."""
        return len(self.chosen)


def neighbours() -> NDArray[np.int64]:
    """The coefficients beside each, -1 where there is none: 768 x `BESIDE`."""
    number = np.arange(COEFFICIENTS).reshape(3, STRIDE, STRIDE)
    wide = np.pad(number, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    frequency = (wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:])
    planes = (number + PRODUCTS) % COEFFICIENTS, (number + 2 * PRODUCTS) % COEFFICIENTS
    found: NDArray[np.int64] = np.stack([*frequency, *planes], -1).reshape(COEFFICIENTS, BESIDE)
    return found


def size_class(size: Tensor, threshold: Tensor) -> Tensor:
    """The class of a size: 0 to `CLASSES` - 1, as `CLASS_BOUNDS` has it."""
    bounds = torch.tensor(CLASS_BOUNDS, device=size.device) / 4
    return torch.bucketize(size / threshold, bounds)


class ContextModel(nn.Module):
    """Chances of the symbols.

    Parameters
    ----------
    iterations, pairs
        Of the codec.
    hidden
        Features.
    """

    predict: Tensor

    def __init__(self, iterations: int, pairs: int, hidden: int = 32) -> None:
        super().__init__()

        def normal(scale: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(shape))

        self.event = normal(0.02, PLACES, iterations, pairs, hidden)
        self.own = normal(0.1, PLACES, CLASSES, hidden)
        self.beside = normal(0.1, BESIDE, CLASSES, hidden)
        self.bucket = normal(0.1, BUCKETS, hidden)
        self.channel = normal(0.1, iterations, pairs, hidden)
        self.out = normal(0.1, iterations, pairs, hidden)
        self.bias = nn.Parameter(torch.full((iterations, pairs), -2.0))
        self.sign = nn.Parameter(torch.zeros(iterations, pairs, BUCKETS))
        # Of the coefficient at the nine sites around, 0 at the own.
        self.register_buffer("predict", torch.zeros(PLACES, COEFFICIENTS))

    def forward(self, symbols: Tensor, inside: Tensor, table: Table) -> Tensor:
        """The bits of the symbols at each site: S x iterations x pairs.

        Parameters
        ----------
        symbols
            Those at the nine sites, -1, 0 or 1: S x 9 x iterations x pairs.
        inside
            Whether each site is within the image: S x 9, bool.
        """
        sites, device = len(symbols), symbols.device
        known = torch.zeros(sites, PLACES, COEFFICIENTS, device=device)
        sums = torch.zeros(sites, self.bucket.shape[-1], device=device)
        beside = torch.from_numpy(neighbours()).to(device)
        predict = self.predict.half().float()
        costs = []
        for t in range(table.iterations):
            own = torch.from_numpy(table.chosen[t]).to(device)
            value, threshold = (
                torch.from_numpy(x[t]).float().to(device) for x in (table.value, table.threshold)
            )
            symbol = symbols[:, :, t].float()
            before = known[:, :, own]
            here = before.clone()
            here[:, :BEFORE] += symbol[:, :BEFORE] * value
            # How far the prediction lies from what is known.
            difference = (here * predict[:, own]).sum(1)
            difference = difference - before[:, CENTRE]
            bounds = torch.tensor(BUCKET_BOUNDS, device=device) / 8
            bucket = torch.bucketize(difference.abs() / threshold, bounds, right=True)
            classes = size_class(here.abs(), threshold)
            near = known[:, CENTRE][:, beside[own].clamp_min(0)].abs()
            near = near * (beside[own] >= 0)
            near_classes = size_class(near, threshold[:, None])
            events = (symbol != 0).float().permute(2, 0, 1)
            fed = (events @ self.event[:, t].transpose(0, 1)).transpose(0, 1)
            total = sums[:, None] + fed.cumsum(1) - fed + self.channel[t]
            # A product of what is 0 or 1 is faster than reading rows.
            classes = one_hot(classes.movedim(1, 2), CLASSES) * inside[:, None, :, None]
            told = (classes, one_hot(near_classes, CLASSES), one_hot(bucket, BUCKETS)[:, :, None])
            rows = (self.own, self.beside, self.bucket[None])
            for ones, weights in zip(told, rows, strict=True):
                total = total + ones.flatten(2).float() @ weights.flatten(0, 1)
            features = total.clamp(0, CLIP)
            logit = (features * self.out[t]).sum(-1) + self.bias[t]
            on = symbol[:, CENTRE] != 0
            cost = softplus(logit) - on * logit
            same = (symbol[:, CENTRE] > 0) == (difference >= 0)
            logit = self.sign[t][torch.arange(len(own), device=device), bucket]
            costs.append(cost + on * (softplus(logit) - same * logit))
            sums = sums + fed.sum(1)
            known = known.index_add(2, own, symbol * value)
        return torch.stack(costs, 1) / float(np.log(2))


class Codes:
    """Symbols of many images of one size, laid out so that windows are read at once.

    Parameters
    ----------
    symbols
        N x iterations x pairs x H x W, int8.
    """

    def __init__(self, symbols: Tensor) -> None:
        n, _, _, height, width = symbols.shape
        self.shape = n, height, width
        self._symbols = pad(symbols, (1, 1, 1, 1)).permute(0, 3, 4, 1, 2).contiguous()
        self._inside = pad(torch.ones(height, width, dtype=torch.bool), (1, 1, 1, 1))

    def windows(self, sites: Tensor) -> tuple[Tensor, Tensor]:
        """What lies around sites, S x 3 (image, row, column): what `ContextModel` takes."""
        image, row, column = sites.T
        steps = torch.tensor(NEAR).T + 1
        rows, columns = row[:, None] + steps[0], column[:, None] + steps[1]
        return self._symbols[image[:, None], rows, columns], self._inside[rows, columns]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """The same of so many sites, drawn at random."""
        drawn = np.stack([rng.integers(side, size=count) for side in self.shape], 1)
        return self.windows(torch.from_numpy(drawn))

    def log_odds(self) -> Tensor:
        """The logarithm of the odds that a symbol is not 0: iterations x pairs."""
        on = self._symbols.ne(0).sum((0, 1, 2)).float()
        sites = float(np.prod(self.shape))
        return ((on + 0.5) / (sites - on + 0.5)).log()

    def prediction(self, table: Table) -> Tensor:
        """The weights that predict a coefficient from those around, by least squares: 9 x 768."""
        n, height, width = self.shape
        added = torch.from_numpy(table.value) * self._symbols
        known = torch.zeros(n, height + 2, width + 2, COEFFICIENTS)
        known.index_add_(3, torch.from_numpy(table.chosen).flatten(), added.flatten(3).float())
        weights = torch.zeros(PLACES, COEFFICIENTS, dtype=torch.double)
        others = [place for place in range(PLACES) if place != CENTRE]
        for c in np.unique(table.chosen):
            seen = known[..., int(c)].unfold(1, 3, 1).unfold(2, 3, 1).reshape(-1, 9).double()
            x, y = seen[:, others], seen[:, CENTRE]
            gram = x.T @ x
            gram += 0.01 * gram.trace() / 8 * torch.eye(8).double() + torch.eye(8).double()
            weights[others, int(c)] = torch.linalg.solve(gram, x.T @ y)
        return weights.float()
