"""A start from what is known: each layer as the principal components of what it sees.

A layer of stride s takes apart blocks of s x s; its channels become the principal components of
these in photographs, those of most energy first. So the layers together are an orthogonal
transform of blocks of 16 x 16 pixels, and the synthesis is its transpose. GDN starts near the
identity, and the modulation of the latents as the step that suits each lambda.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from lic_bench.codecs.modulated_autoencoder.model import TRADEOFFS, ModulatedAutoencoder
from lic_bench.learned.gdn import GDN
from lic_bench.learned.modulation import Modulation
from lic_bench.learned.priors import LEAST_SCALE

_SHARE = 0.01
"""What GDN starts to divide by, for an input of usual size: the root of 1.01."""
_GRID = 97


def step_of(tradeoff: Tensor) -> Tensor:
    """The step that suits a lambda, for orthonormal coefficients of samples in [0, 1].

    A uniform quantiser of step s has the error s^2/12 in each of three samples a pixel; its slope
    by the bits of one coefficient is -2 ln 2 s^2/12.
    """
    return (36 / (2 * math.log(2) * tradeoff)).sqrt()


@torch.no_grad()
def start(net: ModulatedAutoencoder, x: Tensor, tradeoff: float | None = None) -> None:
    """Set a network to a transform of principal components.

    Parameters
    ----------
    net
        All of it is set but what the hyperprior learns.
    x
        Crops of photographs, B x 3 x H x W, 0 to 255, sides multiples of 64.
    tradeoff
        The lambda of a network that serves only one.
    """
    seen = x / 255
    for layer, (down, up) in enumerate(
        zip(net.analysis, reversed(list(net.synthesis)), strict=True)
    ):
        seen = _principal(cast(nn.Conv2d, down), cast(nn.ConvTranspose2d, up), seen)
        size = seen.std((0, 2, 3))
        if layer == 2:
            size = size / step_of(torch.tensor(TRADEOFFS[3]))
        for norm in (net.norms[layer], net.inverse_norms[2 - layer]):
            _near_identity(cast(GDN, norm), size)
    grid = torch.logspace(math.log10(TRADEOFFS[0]), math.log10(TRADEOFFS[-1]), _GRID)
    gains = step_of(grid).reciprocal().log()[:, None]
    for networks, sign in ((net.modulation, 1), (reversed(list(net.demodulation)), -1)):
        for module in networks:
            modulation = cast(Modulation, module)
            modulation.fit(grid, torch.zeros(_GRID, modulation.out.out_features))
        if len(net.modulation):
            modulation.fit(grid, (sign * gains).expand(-1, net.settings.latents))
    if net.settings.steering == "none":
        step = step_of(torch.tensor(tradeoff))
        cast(nn.Conv2d, net.analysis[2]).weight.div_(step)
        cast(nn.ConvTranspose2d, net.synthesis[0]).weight.mul_(step)
    _widths(net, x, tradeoff)


def _principal(down: nn.Conv2d, up: nn.ConvTranspose2d, seen: Tensor) -> Tensor:
    """Set a layer and its counterpart; returns what it makes of what it sees."""
    (stride, _), (side, _), channels = down.stride, down.kernel_size, down.in_channels
    blocks = unfold(seen, stride, stride=stride)
    rows = blocks.transpose(1, 2).flatten(0, 1).double()
    mean = rows.mean(0)
    _, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    kept = min(down.out_channels, len(mean))
    basis = vectors.T.flip(0)[:kept].float()
    inside = slice(side // 2, side // 2 + stride)
    for layer in (down, up):
        layer.weight.mul_(0.02)  # beside the blocks, and channels that are left over
        layer.weight[:kept, :, inside, inside] = basis.view(kept, channels, stride, stride)
    if down.bias is not None:
        shift = -basis @ mean.float()
        down.bias.zero_()
        down.bias[:kept] = shift
    if up.bias is not None:
        up.bias.copy_(mean.float().view(channels, -1).mean(1))
    height, width = (length // stride for length in seen.shape[2:])
    made = torch.zeros(len(seen), down.out_channels, height * width)
    made[:, :kept] = basis @ (blocks - mean.float()[:, None])
    return made.view(len(seen), -1, height, width)


def _near_identity(norm: GDN, size: Tensor) -> None:
    norm.beta_root.fill_(1.0)
    usual = size.clamp_min(0.05 * float(size.max()))
    norm.gamma_root.copy_(torch.diag(math.sqrt(_SHARE) / usual) + 1e-2 / (len(size) * usual))


def _widths(net: ModulatedAutoencoder, x: Tensor, tradeoff: float | None) -> None:
    """Give the priors the latents' standard deviations."""
    deviations = []
    for one in TRADEOFFS:
        own = torch.full((len(x),), one if tradeoff is None else tradeoff)
        deviations.append(net.encode(x, own).square().mean((0, 2, 3)).sqrt())
    found = torch.stack(deviations).clamp_min(LEAST_SCALE)
    net.prior.set_units(found)
    if net.hyperprior is not None:
        net.hyperprior.scale.fit(torch.tensor(TRADEOFFS), found.log())
        weight, bias = net.hyperprior.synthesis[-1].parameters()
        weight.mul_(0.1)
        bias.zero_()
