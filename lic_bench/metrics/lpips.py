"""LPIPS: how far the features of a network are apart, weighted by what people said.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The unreasonable effectiveness of deep
features as a perceptual metric", CVPR 2018, equation 1, version 0.1 of its weights ("lin"), images
in their own size. 0 where images are alike; lower is better. Symmetric.

How far it is from the authors' package: docs/metrics.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare
from lic_bench.metrics.backbones import NetworkMetric, heads, samples

if TYPE_CHECKING:
    from torch import Tensor

_MEAN, _DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of samples in -1 to 1


class _Lpips(NetworkMetric):
    heads: ClassVar[str]

    def prepare(self, reference: Image) -> Compare:
        import torch

        network = self._backbone.network(self.device)
        constants = torch.tensor([_MEAN, _DEVIATION], device=self.device)[:, None, :, None, None]
        weights = [
            torch.from_numpy(heads()[f"lpips_{self.heads}_{stage}"]).to(self.device)
            for stage in range(5)
        ]

        def features(image: Image) -> list[Tensor]:
            seen = (samples(image, self.device) / 127.5 - 1 - constants[0]) / constants[1]
            return [_unit(stage) for stage in network.features(seen)]

        with torch.inference_mode():
            first = features(reference)

        def compare(distorted: Image) -> float:
            with torch.inference_mode():
                second = features(distorted)
                apart = [
                    torch.einsum("nchw,c->nhw", (x - y).square_(), weight).mean()
                    for x, y, weight in zip(first, second, weights, strict=True)
                ]
                return float(sum(apart))

        return compare


class Lpips(_Lpips):
    """LPIPS of AlexNet, which its authors advise to measure with.

    Its weights are torchvision's (244 MB), fetched into torch's cache at first use; or a file is
    named.

    Parameters
    ----------
    weights
        A file of AlexNet's weights, in place of the one that torchvision publishes.
    """

    name = "lpips"
    label = "LPIPS (AlexNet)"
    least_side = 31  # the second pooling needs 3 samples
    network = "alexnet"
    heads = "alex"


class LpipsVgg(_Lpips):
    """LPIPS of VGG16.

    Its weights are torchvision's (553 MB), fetched into torch's cache at first use; or a file is
    named.

    Parameters
    ----------
    weights
        A file of VGG16's weights, in place of the one that torchvision publishes.
    """

    name = "lpips_vgg"
    label = "LPIPS (VGG16)"
    least_side = 16
    network = "vgg16"
    heads = "vgg"


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 at each place."""
    length = features.square().sum(dim=1, keepdim=True).sqrt_()
    return features / (length + 1e-10)
