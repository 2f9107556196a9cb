"""The decoder in whole numbers: the same scales and pixels on every machine.

Weights are half precision, that is multiples of 2^-24. Activations are rounded to multiples of a
power of two after each layer and held below a bound. Then every product and sum of a convolution is
a whole number below 2^53 of its unit, which float64 holds without rounding, in whatever order it is
added up. What is left, a root and products element by element, IEEE 754 rounds alike everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import fold, unfold

from lic_bench.codecs.modulated_autoencoder.model import TRADEOFFS
from lic_bench.learned.modulation import SCALE
from lic_bench.learned.priors import LEAST_LOG_SCALE, SCALES, STEP

STEPS = 40
"""Lambdas that a stream can name between one of `TRADEOFFS` and the next."""
MOST_STEPS = STEPS * (len(TRADEOFFS) - 1)
_WEIGHT = 24  # binary places of weights
_ACTIVATION = 14  # of what a convolution sees
_MOST = 1 << 19  # and the most that it is, in units
_NORMED = (6, 11, 11)  # of what each inverse GDN sees
_MOST_NORMED = 1 << 15
_HYPER = 10  # of what the hyper-synthesis sees
_MOST_LOG = 80  # of a modulation: its exponential is within float32
_EXACT = 1 << 53


def tradeoff_of(step: int) -> float:
    """The lambda that a stream means by a number of 0 to `MOST_STEPS`."""
    return float(_share(step) * Decimal(SCALE))


def step_of_tradeoff(tradeoff: float) -> int:
    """The number of the nearest lambda that a stream can name."""
    return round(STEPS * float(np.log2(tradeoff / TRADEOFFS[0])))


def _share(step: int) -> Decimal:
    with localcontext() as context:
        context.prec = 30
        return Decimal(2) ** (Decimal(step) / STEPS) * Decimal(TRADEOFFS[0]) / Decimal(SCALE)


class ExactDecoder:
    """Hyper-synthesis and synthesis of one network.

    Parameters
    ----------
    net
        The parameters of a `ModulatedAutoencoder` by name, of half precision.
    device
        Where the convolutions run.

    Raises
    ------
    ValueError
        Where the weights are so large that sums would not be exact.
    """

    def __init__(self, net: Mapping[str, Tensor], device: torch.device) -> None:
        self._net, self._device = dict(net), device
        self._weights = {
            name: (value.double() * (1 << _WEIGHT)).round().to(device)
            for name, value in net.items()
            if name.startswith(("synthesis", "hyperprior.synthesis"))
        }
        for name, weight in self._weights.items():
            # An output adds up a part of the kernel, at the most all of it.
            up = weight.ndim == 4 and not name.endswith("synthesis.4.weight")
            sums = weight.abs().sum((0, 2, 3) if up else (1, 2, 3)) if weight.ndim == 4 else None
            if sums is not None and float(sums.max()) * 2 * _MOST >= _EXACT:
                raise ValueError("the weights of the decoder are too large to be exact")
        for name in ("hyperprior.scale", *(f"demodulation.{layer}" for layer in range(3))):
            if f"{name}.out.weight" in net and self._most_log(name) > _MOST_LOG:
                raise ValueError("the modulation is too strong to be exact")
        self._norms = [self._norm(layer) for layer in range(3)]

    def _most_log(self, name: str) -> float:
        """What no logarithm of a modulation exceeds, whatever the lambda."""
        weight, bias, out, shift = (
            self._net[f"{name}.{part}"].double().abs()
            for part in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
        )
        features = weight[:, 0] * (TRADEOFFS[-1] / SCALE) + bias
        return float((out @ features + shift).max())

    def _norm(self, layer: int) -> tuple[Tensor, Tensor, float]:
        """Gamma, beta, and what a unit of their sum is."""
        name = f"inverse_norms.{layer}"
        gamma = self._net[f"{name}.gamma_root"].double().square()
        beta = self._net[f"{name}.beta_root"].double().square() + 1e-6
        squared = 2 * _NORMED[layer]
        most = gamma.sum(1).max() * float(_MOST_NORMED) ** 2 + beta.max() * 2.0**squared
        places = int(np.floor(np.log2(_EXACT / 4 / float(most))))
        scale = 2.0 ** min(places, 40)
        return (
            (gamma * scale).round().to(self._device),
            (beta * scale * 2.0**squared).round()[:, None, None].to(self._device),
            2.0**-squared / scale,
        )

    def table_rows(self, z: NDArray[np.int32], step: int) -> NDArray[np.int32]:
        """Which table of the Gaussian codes each latent: M x 4H x 4W, of N' x H x W."""
        x = torch.from_numpy(z).double()[None].to(self._device) * (1 << _HYPER)
        with torch.inference_mode():
            for layer in (0, 2):
                x = self._up(x.clamp(-_MOST, _MOST), f"hyperprior.synthesis.{layer}", 2, _HYPER)
                x = (x * 2.0**-_WEIGHT).round().clamp(0, _MOST)
            name = "hyperprior.synthesis.4"
            columns = unfold(x, 3, padding=1)
            sums = self._weights[f"{name}.weight"].flatten(1) @ columns[0]
            sums = sums + self._weights[f"{name}.bias"][:, None] * (1 << _HYPER)
            logs = torch.from_numpy(self._log("hyperprior.scale", step)).to(self._device)
            logs = sums * 2.0 ** -(_WEIGHT + _HYPER) + logs[:, None]
            rows = ((logs - LEAST_LOG_SCALE) / STEP).round().clamp(0, SCALES - 1)
        found: NDArray[np.int32] = rows.view(-1, *x.shape[2:]).to(torch.int32).cpu().numpy()
        return found

    def pixels(self, y: NDArray[np.int16], step: int) -> NDArray[np.uint8]:
        """An image, 16H x 16W x 3, of latents, M x H x W."""
        x = torch.from_numpy(y).double()[None].to(self._device) * (1 << _NORMED[0])
        with torch.inference_mode():
            for layer in range(3):
                x = self._normed(x, layer, step)
                x = self._up(x, f"synthesis.{layer}", 4 if layer == 2 else 2, _ACTIVATION)
                unit = 2.0 ** -(_WEIGHT + _ACTIVATION)
                if layer < 2:
                    x = (x * (unit * 2.0 ** _NORMED[layer + 1])).round()
            x = (x * unit * 255).round().clamp(0, 255)
        image: NDArray[np.uint8] = x[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
        return image

    def _normed(self, x: Tensor, layer: int, step: int) -> Tensor:
        """Inverse GDN and demodulation, from units of `_NORMED` to those of a convolution."""
        gamma, beta, unit = self._norms[layer]
        x = x.clamp(-_MOST_NORMED, _MOST_NORMED)
        sums = (gamma @ x.square().flatten(2)).view_as(x) + beta
        factor = torch.from_numpy(self._factors(f"demodulation.{layer}", step)).to(x.device)
        x = x * (sums * unit).sqrt() * factor[:, None, None]
        return (x * 2.0 ** (_ACTIVATION - _NORMED[layer])).round().clamp(-_MOST, _MOST)

    def _up(self, x: Tensor, name: str, stride: int, places: int) -> Tensor:
        """A transposed convolution, in units of 2^-(24 + places)."""
        weight, bias = (self._weights[f"{name}.{part}"] for part in ("weight", "bias"))
        side, (height, width) = weight.shape[-1], x.shape[-2:]
        windows = weight.flatten(1).T @ x.flatten(2)
        size = (stride * height, stride * width)
        # Beyond the result's ends there are places that fall off.
        edge = side // 2
        total = fold(windows, (size[0] + 2 * edge, size[1] + 2 * edge), side, stride=stride)
        return total[..., edge : edge + size[0], edge : edge + size[1]] + bias[:, None, None] * (
            1 << places
        )

    @lru_cache(maxsize=64)  # noqa: B019 - a decoder lives as long as the process
    def _factors(self, name: str, step: int) -> NDArray[np.float64]:
        """Exp of a modulation's logarithms, in multiples of 2^-24."""
        with localcontext() as context:
            context.prec = 30
            whole = [
                int((Decimal(float(x)).exp() * (1 << _WEIGHT)).to_integral_value())
                for x in self._log(name, step)
            ]
        return np.array(whole, np.float64) / (1 << _WEIGHT)

    def _log(self, name: str, step: int) -> NDArray[np.float64]:
        """The logarithms of a modulation, in multiples of 2^-24: in 64-bit integers."""
        one = 1 << _WEIGHT
        share = int((_share(step) * one).to_integral_value())
        weight, bias, out, shift = (
            np.rint(self._net[f"{name}.{part}"].double().numpy() * one).astype(np.int64)
            for part in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
        )
        features = np.maximum((weight[:, 0] * share >> _WEIGHT) + bias, 0)
        total = ((out * (features >> 4)).sum(1) >> (_WEIGHT - 4)) + shift
        return np.asarray(total, np.float64) / one
