"""What parts of the codec cae-pca are worth: the rotation, whole images, contexts.

    python tests/benchmarks/cae_pca_parts.py PHOTOGRAPHS IMAGES --every 6

At two points, bytes and PSNR over the images. `PHOTOGRAPHS` are those that the chances of each
variant are counted on, in 48 crops.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from lic_bench.codecs.cae_pca.codec import WEIGHTS
from lic_bench.codecs.cae_pca.inference import latents, load_model
from lic_bench.images.image import read_image
from lic_bench.learned.bitplanes import PlaneCoder, chances
from lic_bench.learned.data import load

POINTS = (10, 14)
TILE = 128
HEADER = 18


def psnr(errors: list[float]) -> float:
    return float(np.mean([10 * np.log10(255**2 / error) for error in errors]))


def counted(net, form, crops):
    counts = np.zeros((*form.chances, 2), np.int64)
    for crop in crops:
        PlaneCoder(form).count(latents(net, crop), counts)
    return PlaneCoder(form, chances(counts))


def zeroth_order(v: np.ndarray, unknown: np.ndarray) -> float:
    """Bits by the entropy of each map's own histogram."""
    total = 0.0
    for own in np.sign(v) * (np.abs(v) >> unknown.astype(int)):
        share = np.unique(own, return_counts=True)[1] / own.size
        total -= float((share * np.log2(share)).sum()) * own.size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--every", type=int, default=1, help="of the images, one in so many")
    options = parser.parse_args()
    images = [read_image(path) for path in sorted(options.images.glob("*.png"))[:: options.every]]
    model = load_model(WEIGHTS, "cpu")
    net, form = model.net, model.coder.form
    photographs = load([options.photographs], 200)
    crops = [
        crop.permute(1, 2, 0).to(torch.uint8).numpy()
        for step in range(3)
        for crop in photographs.batch(step, 16, 256, 7)
    ]
    rotation = net.rotation.clone()
    coders = {"principal components": counted(net, form, crops)}
    net.rotation.copy_(torch.eye(rotation.shape[-1]))
    coders["maps as they come"] = counted(net, form, crops)
    net.rotation.copy_(rotation)
    print("| variant | " + " | ".join(f"bpp, PSNR at {point}" for point in POINTS) + " |")
    print("| --- |" + " --- |" * len(POINTS))
    pixels = sum(image.shape[0] * image.shape[1] for image in images)

    def row(name: str, sizes: list[float], quality: list[float] | None = None) -> None:
        cells = [f"{8 * size / pixels:.4f}" for size in sizes]
        if quality is not None:
            cells = [f"{c}, {q:.2f}" for c, q in zip(cells, quality, strict=True)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)

    whole = [latents(net, image) for image in images]
    parts, decoded, entropy = [], [], []
    for point in POINTS:
        streams = [model.coder.encode(v, point) for v in whole]
        parts.append(sum(map(len, streams)) + HEADER * len(images))
        errors, bits = [], 0.0
        for image, v, stream in zip(images, whole, streams, strict=True):
            known, unknown = model.coder.decode(stream, *v.shape[1:], point)
            bits += zeroth_order(known, unknown)
            pixel = model.decoder.pixels(known, unknown, point)
            pixel = pixel[: image.shape[0], : image.shape[1]]
            errors.append(float(np.square(pixel.astype(float) - image).mean()))
        decoded.append(psnr(errors))
        entropy.append(bits / 8)
    row("as it is", parts, decoded)
    row("entropy of each map's histogram instead of the coder", entropy)
    sizes, quality = [], []
    for point in POINTS:
        total, errors = 0, []
        for image in images:
            error = 0.0
            for top in range(0, image.shape[0], TILE):
                for left in range(0, image.shape[1], TILE):
                    tile = np.ascontiguousarray(image[top : top + TILE, left : left + TILE])
                    stream = model.encode(tile, point)
                    total += len(stream)
                    error += float(np.square(model.decode(stream).astype(float) - tile).sum())
            errors.append(error / image.size)
        sizes.append(total)
        quality.append(psnr(errors))
    row(f"tiles of {TILE}x{TILE}, each a stream", sizes, quality)
    count = sum(-(-i.shape[0] // TILE) * -(-i.shape[1] // TILE) for i in images)
    row("the same without their headers", [size - HEADER * count for size in sizes], quality)
    for name, coder in coders.items():
        net.rotation.copy_(rotation if name.startswith("p") else torch.eye(rotation.shape[-1]))
        codes = [latents(net, image) for image in images]
        row(
            f"{name}, chances from 48 crops",
            [sum(len(coder.encode(v, point)) + HEADER for v in codes) for point in POINTS],
        )


if __name__ == "__main__":
    main()
