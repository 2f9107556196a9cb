"""The entropy coder's context model against the one of the paper, trained on the same codes.

Both learn to predict the bits of one operating point of a file of weights, from the codes of
photographs cut to 512x512 pixels, each for the same CPU time; then they are asked for the bits of
other images (Kodak). Four models:

- ``paper``: Li et al., CVPR 2018, section 3.4, in the released form (``ent_v2.prototxt``): from the
  window of 4 channels x 5 x 5 sites, symbols 0 (not coded, or not known yet), 1 (bit 0) and 2
  (bit 1); one network for the code, another for the importance map in binary planes, the least
  significant first;
- ``paper, told the channel``: the same, with a bias of its own for each channel after the first
  layer. The channels of codes that are digits differ far more than those of the paper's;
- ``ours``: `lic_bench.learned.context`, of this operating point alone;
- ``ours, as shipped``: the one in the file of weights, trained for all points at once.

The paper's decodes one bit at a time. Its rate needs no decoding: it is the cross entropy with all
bits known. Of the code it is estimated from bits drawn at random, the same for all models; the
interval is that of two standard errors of the difference to the paper's.

    OMP_NUM_THREADS=1 python tests/benchmarks/context.py PHOTOGRAPHS [KODAK] --point 3 --minutes 5
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from lic_bench import read_image
from lic_bench.codecs.content_weighted.codec import WEIGHTS
from lic_bench.codecs.content_weighted.inference import Model, read_weights
from lic_bench.learned.context import ContextModel, all_sites
from lic_bench.learned.data import load

SIDE = 512
LOG2_E = 1 / math.log(2)
DEPTH, WINDOW = 4, 5


class CuboidModel(nn.Module):
    """The paper's network: the logit of a bit from its window, B x 4 x 5 x 5 to B."""

    def __init__(self, channels: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(DEPTH, 64, 3, padding=1)
        self.channel = nn.Embedding(channels, 64) if channels else None
        self.rest = nn.Sequential(
            nn.PReLU(64),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.PReLU(64),
            nn.Conv2d(64, 128, 3),
            nn.PReLU(128),
            nn.Conv2d(128, 256, 3),
            nn.PReLU(256),
            nn.Flatten(),
            nn.Linear(256, 32),
            nn.Linear(32, 1),
        )
        if self.channel is not None:
            nn.init.zeros_(self.channel.weight)

    def forward(self, window: Tensor, channel: Tensor) -> Tensor:
        x = self.first(window)
        if self.channel is not None:
            x = x + self.channel(channel)[:, :, None, None]
        return self.rest(x)[:, 0]


class Windows:
    """The binary symbols of one image or of several of one size, and the windows around them."""

    def __init__(self, bit: Tensor, active: Tensor) -> None:
        """Take bits and whether they are coded, both uint8, B x C x H x W."""
        symbols = (1 + bit) * active
        padded = pad(symbols, (2, 2, 2, 2, DEPTH - 1, 0))
        self.flat, self.bit = padded.reshape(-1), bit.reshape(-1)
        self.shape, self.padded = bit.shape, padded.shape
        self.active = torch.nonzero(active.reshape(-1))[:, 0]
        _, _, height, width = self.padded
        k, i, j = torch.meshgrid(
            torch.arange(DEPTH), torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij"
        )
        self.offsets = (k * height + i) * width + j
        here = k == DEPTH - 1
        self.known = (~here | (i < 2) | ((i == 2) & (j < 2))).float()

    def take(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows, channels and bits of symbols, by their index in the flat tensors."""
        _, channels, height, width = self.shape
        rest, j = places // width, places % width
        rest, i = rest // height, rest % height
        image, k = rest // channels, rest % channels
        _, deep, high, wide = self.padded
        corner = ((image * deep + k) * high + i) * wide + j
        window = self.flat[corner[:, None, None, None] + self.offsets].float() * self.known
        return window, k, self.bit[places].float()


@dataclass
class Codes:
    """The codes of images of one size: all B x C x H x W, uint8."""

    planes: Tensor
    code: Tensor
    mask: Tensor

    @property
    def code_windows(self) -> Windows:
        return Windows(self.code, self.mask)

    @property
    def map_windows(self) -> Windows:
        """The importance map in binary planes, the least significant first; all are coded."""
        level = self.planes.sum(1, keepdim=True, dtype=torch.int64)
        count = (self.planes.shape[1]).bit_length()
        binary = (level >> torch.arange(count).view(1, -1, 1, 1) & 1).to(torch.uint8)
        return Windows(binary, torch.ones_like(binary))

    def ours(self) -> tuple[Tensor, Tensor]:
        """Symbols and whether they are coded, as our model takes them."""
        first = torch.ones_like(self.planes[:, :1])
        active = torch.cat([first, self.planes[:, :-1], self.mask], 1)
        return torch.cat([self.planes, self.code], 1), active


def codes_of(model: Model, images: list[np.ndarray], point: int) -> Codes:
    codes = np.concatenate([model.symbols(image[None], point) for image in images])
    symbols = torch.from_numpy(codes)
    levels, n = model.settings.levels, model.settings.n
    planes, code = symbols[:, : levels - 1], symbols[:, levels - 1 :]
    kept = (1 + planes.sum(1, keepdim=True)) * (n // levels)
    mask = (torch.arange(n).view(1, -1, 1, 1) < kept).to(torch.uint8)
    return Codes(planes.contiguous(), code.contiguous(), mask)


def trained(
    net: nn.Module, rate: float, minutes: float, loss: Callable[[np.random.Generator], Tensor]
) -> None:
    """Adam with a cosine decay over the given CPU time; no choice by what is measured later."""
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)
    rng, start, step, shown = np.random.default_rng(0), time.process_time(), 0, 0.0
    while (progress := (time.process_time() - start) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = (
                rate * min(1.0, 50 * progress + 0.01) * 0.5 * (1 + math.cos(math.pi * progress))
            )
        optimiser.zero_grad()
        value = loss(rng)
        value.backward()
        optimiser.step()
        step += 1
        if progress > shown:
            print(f"    step {step}: {value.item():.4f}", flush=True)
            shown += 0.2
    print(f"    {step} steps", flush=True)


def train_paper(windows: Windows, minutes: float, channels: int = 0) -> CuboidModel:
    net = CuboidModel(channels)

    def loss(rng: np.random.Generator) -> Tensor:
        drawn = torch.from_numpy(rng.integers(len(windows.active), size=1024))
        window, channel, bit = windows.take(windows.active[drawn])
        return LOG2_E * binary_cross_entropy_with_logits(net(window, channel), bit)

    trained(net, 1e-3, minutes, loss)
    return net


def train_ours(codes: Codes, minutes: float) -> ContextModel:
    x, active = codes.ours()
    net = ContextModel(x.shape[1], 1)
    ones, coded = (x * active).sum((0, 2, 3)), active.sum((0, 2, 3))
    with torch.no_grad():
        net.bias[0] = torch.logit((ones + 0.01) / (coded + 0.1))
    point = torch.zeros(1, dtype=torch.int64)

    def loss(rng: np.random.Generator) -> Tensor:
        # A photograph at a time, so that no more is turned into floating point.
        image = int(rng.integers(len(x)))
        drawn = [rng.integers(side, size=96) for side in x.shape[2:]]
        sites = torch.from_numpy(np.stack([np.zeros(96, np.int64), *drawn], 1))
        found = net(x[image : image + 1], active[image : image + 1], point, sites)
        return found.bits.sum() / (96 * 64)

    trained(net, 3e-3, minutes, loss)
    return net


def paper_bits(net: CuboidModel, windows: Windows, places: Tensor) -> Tensor:
    """The cost of each of these symbols, in bits."""
    costs = []
    for part in torch.split(places, 4096):
        window, channel, bit = windows.take(part)
        logit = net(window, channel)
        costs.append(LOG2_E * binary_cross_entropy_with_logits(logit, bit, reduction="none"))
    return torch.cat(costs)


def our_bits(net: ContextModel, codes: Codes, point: int) -> Tensor:
    """The cost of all symbols of an image, 0 where none is coded: C x H x W."""
    x, active = codes.ours()
    costs = torch.zeros(x.shape[1:])
    for sites in torch.split(all_sites(x), 512):
        found = net(x, active, torch.tensor([point]), sites)
        _, row, column = sites[found.site].T
        costs[found.channel, row, column] = found.bits
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("LIC_BENCH_DATA", "."), "kodak")
    parser.add_argument("photographs", type=Path, help="folder or tar file")
    parser.add_argument("images", type=Path, nargs="?", default=default)
    parser.add_argument("--weights", type=Path, default=WEIGHTS["ms-ssim"])
    parser.add_argument("--point", type=int, default=3, help="rate level")
    parser.add_argument("--count", type=int, default=160, help="photographs; the paper's number")
    parser.add_argument("--minutes", type=float, default=5, help="CPU time of each training")
    parser.add_argument("--drawn", type=int, default=60_000, help="bits of the code of each image")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, point = Model(arguments.weights, "cpu"), arguments.point - 1
    n, planes = model.settings.n, model.settings.levels - 1
    _, context, _ = read_weights(arguments.weights)
    shipped = ContextModel(planes + n, model.settings.points, context["local"].shape[1])
    shipped.load_state_dict(context)

    images = [image.numpy() for image in load([arguments.photographs]).images]
    large = [image for image in images if min(image.shape[:2]) >= SIDE]
    chosen = np.random.default_rng(0).permutation(len(large))[: arguments.count]
    codes = codes_of(model, [large[i][:SIDE, :SIDE] for i in chosen], point)
    del images, large
    print(
        f"point {point + 1}, codes of {len(codes.code)} photographs, {torch.get_num_threads()} "
        f"threads, {arguments.minutes:g} CPU minutes for each network",
        flush=True,
    )
    windows = codes.code_windows
    print("  paper, code", flush=True)
    paper = train_paper(windows, arguments.minutes)
    print("  paper, told the channel, code", flush=True)
    told = train_paper(windows, arguments.minutes, n)
    del windows
    print("  paper, map (a quarter of the time)", flush=True)
    paper_map = train_paper(codes.map_windows, arguments.minutes / 4)
    print("  ours, code and map", flush=True)
    ours = train_ours(codes, arguments.minutes)

    models = {
        "paper": (paper, paper_map),
        "paper, told the channel": (told, paper_map),
        "ours": (ours,),
        "ours, as shipped": (shipped,),
    }
    rng = np.random.default_rng(1)
    pixels, code_bits, map_bits, variance = 0, np.zeros(4), np.zeros(4), np.zeros(4)
    for path in sorted(arguments.images.glob("*.png")):
        image = read_image(path)
        pixels += image.shape[0] * image.shape[1]
        own = codes_of(model, [image], point)
        windows, map_windows = own.code_windows, own.map_windows
        count = len(windows.active)
        places = windows.active[torch.from_numpy(rng.integers(count, size=arguments.drawn))]
        with torch.inference_mode():
            by_map = paper_bits(paper_map, map_windows, map_windows.active).sum().item()
            whole = [our_bits(ours, own, 0), our_bits(shipped, own, point)]
            costs = [paper_bits(paper, windows, places), paper_bits(told, windows, places)]
        costs += [cost[planes:].reshape(-1)[places] for cost in whole]
        map_bits += [by_map, by_map, *(cost[:planes].sum().item() for cost in whole)]
        code_bits += [count * cost.mean().item() for cost in costs]
        variance += [count**2 * (cost - costs[0]).var().item() / len(places) for cost in costs]
    total = code_bits + map_bits
    print("\n| context model | parameters | code, bpp | map, bpp | both, bpp | against the first |")
    print("| --- | --- | --- | --- | --- | --- |")
    for m, (name, nets) in enumerate(models.items()):
        change, interval = 100 * (total[m] / total[0] - 1), 200 * math.sqrt(variance[m]) / total[0]
        print(
            f"| {name} | {sum(map(size_of, nets))} | {code_bits[m] / pixels:.4f} "
            f"| {map_bits[m] / pixels:.4f} | {total[m] / pixels:.4f} "
            f"| {change:+.2f} % ± {interval:.2f} |"
        )


def size_of(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


if __name__ == "__main__":
    main()
