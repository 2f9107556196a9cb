"""The entropy coder's context model against the one of the paper, trained on the same codes.

Both learn to predict the code of one operating point of a file of weights, from the codes of
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

The paper's codes the bits of the digits and the importance map; ours the whole numbers that these
are digits of, and the levels that these need, from which the code follows. The means of blocks,
which are coded from coarse to fine, are left out of both, and a digit beyond 1 is 1 for the
paper's. The paper's decodes one bit at a time. Its rate needs no decoding: it is the cross entropy
with all bits known. Of the code it is estimated from bits drawn at random; the interval is that of
two standard errors. Ours are computed as a whole, without the adaption of the coder.

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
from lic_bench.codecs.content_weighted.inference import Model
from lic_bench.codecs.content_weighted.model import STRIDE
from lic_bench.codecs.content_weighted.weights import read_weights
from lic_bench.learned import context
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


def codes_of(model: Model, images: list[np.ndarray], point: int) -> Codes:
    net = model.net
    planes, code, mask = [], [], []
    for image in images:
        height, width = (side // STRIDE * STRIDE for side in image.shape[:2])
        x = torch.from_numpy(image[:height, :width]).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            codes = net.encode(x, torch.tensor([point]))
            planes.append(net.planes(codes.p).to(torch.uint8))
            mask.append(net.mask(codes.p).to(torch.uint8)[:, net.mean_channels :])
            bits = codes.bits.clamp_max(1).to(torch.uint8)
            code.append(bits[:, net.mean_channels :] * mask[-1])
    return Codes(torch.cat(planes), torch.cat(code), torch.cat(mask))


def numbers_of(model: Model, images: list[np.ndarray], point: int) -> context.Codes:
    """The same, as our model takes it."""
    v = np.concatenate(
        [
            model.values(
                image[
                    None, : image.shape[0] // STRIDE * STRIDE, : image.shape[1] // STRIDE * STRIDE
                ],
                point,
            )
            for image in images
        ]
    )
    return context.Codes(v, np.full(len(v), point), model.coder.form)


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


def train_ours(codes: context.Codes, minutes: float) -> context.ContextModel:
    codes.point.zero_()
    net = context.ContextModel(codes.form, 1)
    context.prepare(net, codes, 30_000, 0)
    context.begin(net, codes)

    def loss(rng: np.random.Generator) -> Tensor:
        numbers, levels = net(codes.draw(rng, 1024))
        return (numbers[:, codes.form.means :].sum() + levels.sum()) / (1024 * STRIDE**2)

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


def our_bits(net: context.ContextModel, codes: context.Codes) -> tuple[float, float]:
    """The bits of an image's numbers, less the means, and of its levels."""
    _, height, width = codes.shape
    ranges = [torch.zeros(1, dtype=torch.int64), torch.arange(height), torch.arange(width)]
    total = np.zeros(2)
    for sites in torch.split(torch.cartesian_prod(*ranges), 1024):
        numbers, levels = net(codes.windows(sites))
        total += [numbers[:, codes.form.means :].sum().item(), levels.sum().item()]
    return float(total[0]), float(total[1])


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
    _, stored, _ = read_weights(arguments.weights)
    shipped = context.ContextModel(model.coder.form, model.settings.points, stored["out"].shape[-1])
    shipped.load_state_dict(stored)

    images = [image.numpy() for image in load([arguments.photographs]).images]
    large = [image for image in images if min(image.shape[:2]) >= SIDE]
    chosen = np.random.default_rng(0).permutation(len(large))[: arguments.count]
    cuts = [large[i][:SIDE, :SIDE] for i in chosen]
    codes, numbers = codes_of(model, cuts, point), numbers_of(model, cuts, point)
    del images, large, cuts
    print(
        f"point {point + 1}, codes of {len(codes.code)} photographs, {torch.get_num_threads()} "
        f"threads, {arguments.minutes:g} CPU minutes for each network",
        flush=True,
    )
    windows = codes.code_windows
    print("  paper, code", flush=True)
    paper = train_paper(windows, arguments.minutes)
    print("  paper, told the channel, code", flush=True)
    told = train_paper(windows, arguments.minutes, windows.shape[1])
    del windows
    print("  paper, map (a quarter of the time)", flush=True)
    paper_map = train_paper(codes.map_windows, arguments.minutes / 4)
    print("  ours, code and map", flush=True)
    ours = train_ours(numbers, arguments.minutes)

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
            costs = [paper_bits(paper, windows, places), paper_bits(told, windows, places)]
            whole = []
            for net, index in ((ours, 0), (shipped, point)):
                numbers = numbers_of(model, [image], point)
                numbers.point.fill_(index)
                whole.append(our_bits(net, numbers))
        map_bits += [by_map, by_map, *(levels for _, levels in whole)]
        code_bits += [count * cost.mean().item() for cost in costs] + [bits for bits, _ in whole]
        # Ours are exact: what varies is the estimate of the paper's.
        drawn = [costs[0] - costs[0], costs[1] - costs[0], costs[0], costs[0]]
        variance += [count**2 * cost.var().item() / len(places) for cost in drawn]
    total = code_bits + map_bits
    columns = ("context model", "parameters", "code, bpp", "map or levels, bpp", "both, bpp")
    print(f"\n| {' | '.join(columns)} | against the first |")
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
