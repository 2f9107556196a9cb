"""What parts of the codec nctu are worth: the importance maps, the contexts of the coder.

    python tests/benchmarks/nctu_parts.py PHOTOGRAPHS IMAGES --every 6

Bytes, PSNR and MS-SSIM over the images at all points, and BD-rates against the codec as it is.
`PHOTOGRAPHS` are those that the chances of each variant are counted on, in 48 crops. The network
was trained with the maps: one trained without them would make more of its bits.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lic_bench.analysis.curves import bd_rate_percents
from lic_bench.codecs.nctu.codec import WEIGHTS
from lic_bench.codecs.nctu.inference import Model, features, load_model, numbers
from lic_bench.images.image import read_image
from lic_bench.learned.bitplanes import PlaneCoder, chances
from lic_bench.learned.data import load
from lic_bench.learned.losses import ms_ssim

HEADER = 18
Variant = Callable[[Model, np.ndarray, int], np.ndarray]


def with_maps(model: Model, image: np.ndarray, point: int) -> np.ndarray:
    return numbers(model.net, features(model.net, image, point), point)


def all_bits(model: Model, image: np.ndarray, point: int) -> np.ndarray:
    v = model.net.numbers(features(model.net, image, point))
    return v[0].to(torch.int16).numpy()


def counted(model: Model, crops: list[np.ndarray], variant: Variant, point: int) -> PlaneCoder:
    counts = np.zeros((*model.form.chances, 2), np.int64)
    for crop in crops:
        PlaneCoder(model.form).count(variant(model, crop, point), counts)
    return PlaneCoder(model.form, chances(counts))


def zeroth_order(v: np.ndarray) -> float:
    """Bytes by the entropy of each map's own histogram."""
    total = 0.0
    for own in v:
        share = np.unique(own, return_counts=True)[1] / own.size
        total -= float((share * np.log2(share)).sum()) * own.size
    return total / 8


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--every", type=int, default=1, help="of the images, one in so many")
    options = parser.parse_args()
    images = [read_image(path) for path in sorted(options.images.glob("*.png"))[:: options.every]]
    model = load_model(WEIGHTS, "cpu")
    photographs = load([options.photographs], 200)
    crops = [
        crop.permute(1, 2, 0).to(torch.uint8).numpy()
        for step in range(3)
        for crop in photographs.batch(step, 16, 256, 7)
    ]
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for point in range(model.settings.points):
        for name, variant in (("importance maps", with_maps), ("all bits", all_bits)):
            coder = counted(model, crops, variant, point)
            size, entropy, quality = 0, 0.0, []
            for image in images:
                v = variant(model, image, point)
                size += HEADER + len(coder.encode(v, model.form.halves))
                entropy += HEADER + zeroth_order(v)
                found = model.decoder.pixels(v, point)[: image.shape[0], : image.shape[1]]
                mse = np.square(found.astype(float) - image).mean()
                similar = float(ms_ssim(tensor(image), tensor(found)))
                quality.append((10 * np.log10(255**2 / mse), similar))
            psnr, similar = np.mean(quality, 0)
            for whole, total in ((name, size), (f"{name}, entropy of each map's", entropy)):
                curves.setdefault(whole, []).append((8 * total / pixels, psnr, similar))
    for name, points in curves.items():
        print(f"{name}: " + "; ".join(f"{b:.4f}, {p:.2f}, {s:.4f}" for b, p, s in points))
    base = np.array(curves["importance maps"]).T
    for name, points in curves.items():
        own = np.array(points).T
        for metric, row in (("PSNR", 1), ("MS-SSIM", 2)):
            rate = bd_rate_percents(base[:1], base[row][None], own[:1], own[row][None])
            print(f"{name}: {float(rate[0]):+.1f} % in {metric}")


if __name__ == "__main__":
    main()
