"""DISTS: structure and texture in the features of a network.

K. Ding, K. Ma, S. Wang, E. P. Simoncelli, "Image quality assessment: unifying structure and texture
similarity", IEEE Transactions on Pattern Analysis and Machine Intelligence, 2020, equations 4 to 6:
means and covariances of the image and of five stages of VGG16, whose pooling is an L2 norm under a
Hanning window; images in their own size. 0 where images are alike; lower is better. Symmetric.

How far it is from the authors' package: docs/metrics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare
from lic_bench.metrics.backbones import NetworkMetric, heads, samples

if TYPE_CHECKING:
    from torch import Tensor

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LEAST = 1e-6  # c1 and c2


class Dists(NetworkMetric):
    """DISTS: structure and texture in the features of VGG16.

    Its weights are torchvision's (553 MB), fetched into torch's cache at first use; or a file is
    named.

    Parameters
    ----------
    weights
        A file of VGG16's weights, in place of the one that torchvision publishes.
    """

    name = "dists"
    label = "DISTS"
    least_side = 16
    network = "vgg16"

    def prepare(self, reference: Image) -> Compare:
        import torch

        network = self._backbone.network(self.device)
        constants = torch.tensor([_MEAN, _DEVIATION], device=self.device)[:, None, :, None, None]
        alpha, beta = (
            torch.from_numpy(heads()[f"dists_{name}"]).double() for name in ("alpha", "beta")
        )
        total = alpha.sum() + beta.sum()

        def features(image: Image) -> list[Tensor]:
            seen = samples(image, self.device) / 255
            stages = network.features((seen - constants[0]) / constants[1], _pool)
            return [stage[0].flatten(1) for stage in (seen, *stages)]

        with torch.inference_mode():
            first = features(reference)
            moments = [_moments(x) for x in first]

        def compare(distorted: Image) -> float:
            with torch.inference_mode():
                texture, structure = [], []
                for x, (mean_x, variance_x), y in zip(
                    first, moments, features(distorted), strict=True
                ):
                    mean_y, variance_y = _moments(y)
                    covariance = (x * y).mean(dim=1) - mean_x * mean_y
                    texture.append(
                        (2 * mean_x * mean_y + _LEAST) / (mean_x**2 + mean_y**2 + _LEAST)
                    )
                    structure.append((2 * covariance + _LEAST) / (variance_x + variance_y + _LEAST))
                alike = alpha @ torch.cat(texture).cpu().double()
                alike += beta @ torch.cat(structure).cpu().double()
                return float(1 - alike / total)

        return compare


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of C x places."""
    mean = features.mean(dim=1)
    return mean, (features - mean[:, None]).square_().mean(dim=1)


def _pool(features: Tensor) -> Tensor:
    """The L2 norm under a 3x3 Hanning window, at every other place."""
    import torch
    from torch.nn import functional

    window = np.hanning(5)[1:-1]
    taps = torch.from_numpy(np.outer(window, window) / window.sum() ** 2).to(features)
    channels = features.shape[1]
    kernel = taps.expand(channels, 1, 3, 3)
    squares = functional.conv2d(features.square(), kernel, stride=2, padding=1, groups=channels)
    return (squares + 1e-12).sqrt_()
