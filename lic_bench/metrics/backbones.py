"""The networks whose features LPIPS and DISTS compare: AlexNet and VGG16, as torchvision has them.

A. Krizhevsky, I. Sutskever, G. E. Hinton, "ImageNet classification with deep convolutional neural
networks", NIPS 2012, in the variant of "One weird trick for parallelizing convolutional neural
networks", arXiv:1404.5997; K. Simonyan, A. Zisserman, "Very deep convolutional networks for
large-scale image recognition", ICLR 2015, configuration D.

Their weights are what torchvision publishes (trained on ImageNet; torchvision says that terms of
that data may bear on them). They are fetched into the cache of `torch.hub` at first use. Nothing
here imports torch before a network is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lic_bench.errors import SpecError, UnavailableError
from lic_bench.metric.base import Metric
from lic_bench.plugins.identity import file_digest
from lic_bench.plugins.weights import Weights, cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from lic_bench.images.image import Image

Name = Literal["alexnet", "vgg16"]


class Convolution(NamedTuple):
    """A convolution, followed by a rectifier."""

    layer: int
    """Its number in torchvision's `features`."""
    inputs: int
    outputs: int
    side: int
    stride: int
    padding: int


_ALEXNET = (
    (Convolution(0, 3, 64, 11, 4, 2),),
    (Convolution(3, 64, 192, 5, 1, 2),),
    (Convolution(6, 192, 384, 3, 1, 1),),
    (Convolution(8, 384, 256, 3, 1, 1),),
    (Convolution(10, 256, 256, 3, 1, 1),),
)
_VGG16 = tuple(
    tuple(
        Convolution(index, inputs if position == 0 else outputs, outputs, 3, 1, 1)
        for position, index in enumerate(indices)
    )
    for inputs, outputs, indices in (
        (3, 64, (0, 2)),
        (64, 128, (5, 7)),
        (128, 256, (10, 12, 14)),
        (256, 512, (17, 19, 21)),
        (512, 512, (24, 26, 28)),
    )
)
_STAGES: Mapping[Name, tuple[tuple[Convolution, ...], ...]] = {"alexnet": _ALEXNET, "vgg16": _VGG16}
_POOLED: Mapping[Name, tuple[int, ...]] = {"alexnet": (1, 2), "vgg16": (1, 2, 3, 4)}
"""The stages that follow a pooling."""

_ADDRESS = "https://download.pytorch.org/models"
_PUBLISHED: Mapping[Name, tuple[str, str]] = {
    "alexnet": (
        "alexnet-owt-7be5be79.pth",  # 244 MB
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    ),
    "vgg16": (
        "vgg16-397923af.pth",  # 553 MB
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
}
_HEADS = Path(__file__).with_name("network_heads.npz")


class Network:
    """The convolutions of one of the two networks.

    Parameters
    ----------
    parameters
        ``features.0.weight`` ..., float32.
    """

    def __init__(self, name: Name, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._stages, self._pooled = _STAGES[name], _POOLED[name]

    def features(
        self, images: Tensor, pool: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[Tensor]:
        """What comes out of each of the five stages, one after the other.

        Parameters
        ----------
        images
            N x 3 x H x W, float32, normalised as torchvision wants it.
        pool
            In place of the network's own pooling, between stages.
        """
        from torch.nn import functional

        own = partial(
            functional.max_pool2d, kernel_size=3 if len(self._pooled) == 2 else 2, stride=2
        )
        pool = pool or own
        for number, convolutions in enumerate(self._stages):
            if number in self._pooled:
                images = pool(images)
            for one in convolutions:
                weight, bias = (
                    self._parameters[f"features.{one.layer}.{what}"] for what in ("weight", "bias")
                )
                images = functional.conv2d(images, weight, bias, one.stride, one.padding)
                images = images.relu_()
            yield images


class Backbone:
    """One of the two networks, with what torchvision publishes or a file of a user's own.

    Parameters
    ----------
    file
        Weights by torchvision's names, in a file of torch or of safetensors; none: as published.
    """

    def __init__(self, name: Name, file: str = "") -> None:
        self._name, self._own = name, bool(file)
        published, sha256 = _PUBLISHED[name]
        self._weights = (
            Weights(Path(file).expanduser())
            if file
            else Weights(cache_folder() / published, f"{_ADDRESS}/{published}", sha256)
        )
        if file and not self._weights.at_hand():
            raise SpecError(f"there is no file of weights {file}")

    def versions(self) -> dict[str, str]:
        """Of torch, and of all weights but a user's own, which an option names."""
        return {
            "torch": version("torch"),
            **({} if self._own else {self._name: self._weights.sha256[:16]}),
            "heads": file_digest(_HEADS)[:16],
        }

    def make_ready(self) -> None:
        """Fetch the weights, and see whether they are what was published; load a user's own.

        Raises
        ------
        UnavailableError
            Where they are not to be had, or are none of this network.
        """
        if self._own:
            self.network("cpu")
            return
        self._weights.fetch()
        if not self._weights.is_published():
            raise UnavailableError(
                f"{self._weights.path} is not what {self._weights.url} holds (SHA-256 "
                f"{self._weights.sha256}): delete it, and it is fetched; or name it by the option "
                "weights"
            )

    def network(self, device: str) -> Network:
        """The network on a device; it is loaded once a process.

        Raises
        ------
        UnavailableError
            Where its weights are not to be had, or not those of this network.
        """
        if not self._own:
            self.make_ready()
        path = self._weights.path
        return _load(self._name, path, file_digest(path), device)


@lru_cache(maxsize=4)
def _load(name: Name, path: Path, _digest: str, device: str) -> Network:
    found = _read(path)
    parameters = {}
    for one in (one for stage in _STAGES[name] for one in stage):
        shape = (one.outputs, one.inputs, one.side, one.side)
        for what, wanted in (("weight", shape), ("bias", shape[:1])):
            key = f"features.{one.layer}.{what}"
            tensor = found.get(key)
            if tensor is None or tensor.shape != wanted:
                there = "missing" if tensor is None else tuple(tensor.shape)
                raise UnavailableError(
                    f"{path} holds no weights of {name}: {key} is {there}, and would be {wanted}"
                )
            if not tensor.isfinite().all():
                raise UnavailableError(f"{path} holds a weight that is no number, in {key}")
            parameters[key] = tensor.float().to(device)
    return Network(name, parameters)


def _read(path: Path) -> Mapping[str, Tensor]:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, Mapping) or not all(map(torch.is_tensor, found.values())):
            raise TypeError("it holds no weights by name")
    except Exception as error:  # whatever a file that is none makes a reader raise
        reason = " ".join(str(error).split())[:200]
        raise UnavailableError(f"{path} holds no weights ({reason})") from error
    return found


def samples(image: Image, device: str) -> Tensor:
    """An image, uint8, H x W x 3, as 1 x 3 x H x W, float32, of 0 to 255."""
    import torch

    torch.set_float32_matmul_precision("highest")  # TF32 would round to ten bits
    torch.backends.cudnn.allow_tf32 = False
    planar = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planar)[None].to(device)


@lru_cache(maxsize=1)
def heads() -> Mapping[str, NDArray[np.float32]]:
    """The weights that LPIPS and DISTS put on features; see network_heads.txt beside this."""
    with np.load(_HEADS, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


class NetworkMetric(Metric):
    """A metric on features of one of the networks: lower is better, 0 where images are alike.

    Parameters
    ----------
    weights
        A file of the network's weights, in place of the one that torchvision publishes.
    """

    better = "lower"
    identical = 0.0
    symmetric = True
    on_gpu = True
    requires: ClassVar = {"torch": "pip install 'lic-bench[lpips]'"}
    network: ClassVar[Name]

    def __init__(self, weights: str = "") -> None:
        self._backbone = Backbone(self.network, weights)

    def versions(self) -> Mapping[str, str]:
        return self._backbone.versions()

    def make_ready(self) -> None:
        self._backbone.make_ready()
