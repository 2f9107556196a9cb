"""The codec recurrent, iteration by iteration: rate, quality, and what its parts are worth.

    python tests/benchmarks/recurrent_iterations.py KODAK --every 6

One encoding gives all points of an image, since a stream is the beginning of that of a higher
point. Beside the bytes stand the bits that a histogram of each coefficient in each iteration would
leave, known to the decoder for nothing. JPEG comes along, and the BD-rates against it. With
``--without encoder`` and ``--without decoder`` these networks do nothing, with both of
them the linear path is alone.
"""

import argparse
import io
from pathlib import Path

import bjontegaard
import numpy as np
import PIL.Image
import torch

from lic_bench.codecs.recurrent.codec import WEIGHTS
from lic_bench.codecs.recurrent.inference import CAUTION, Model
from lic_bench.images.image import read_image
from lic_bench.learned.parts import joined
from lic_bench.metrics.builtin import image_metrics

HEADER = 18
QUALITIES = (3, 5, 8, 10, 15, 20, 30, 40, 50, 60, 70, 80, 88)


def histogram(symbols: np.ndarray) -> float:
    """Bits by the entropy of each coefficient's own histogram."""
    total = 0.0
    for own in symbols:
        share = np.unique(own, return_counts=True)[1] / own.size
        total -= float((share * np.log2(share)).sum()) * own.size
    return total


def figures(image: np.ndarray, decoded: np.ndarray, size: float) -> list[float]:
    found = image_metrics(image, np.ascontiguousarray(decoded))
    pixels = image.shape[0] * image.shape[1]
    return [8 * size / pixels, found["psnr_rgb_db"], found["ms_ssim_rgb"]]


def by_iteration(model: Model, image: np.ndarray) -> list[list[float]]:
    height, width, _ = image.shape
    code, pictures = [], []
    for own, picture in model.iterations(image, model.settings.iterations):
        code.append(own)
        pictures.append(picture.pixels()[:height, :width])
    parts, bits, rows = model.coder.encode(np.stack(code)), 0.0, []
    for t, (own, decoded) in enumerate(zip(code, pictures, strict=True)):
        bits += histogram(own)
        row = figures(image, decoded, HEADER + len(joined(parts[: t + 1])))
        rows.append([*row, bits / (height * width)])
    return rows


def jpeg(image: np.ndarray) -> list[list[float]]:
    rows = []
    for quality in QUALITIES:
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "JPEG", quality=quality, optimize=True)
        decoded = np.array(PIL.Image.open(file))
        rows.append(figures(image, decoded, len(file.getvalue())))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--every", type=int, default=1, help="of the images, one in so many")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--without", choices=("encoder", "decoder"), action="append", default=[])
    parser.add_argument("--caution", type=float, default=CAUTION, help="factor on thresholds")
    options = parser.parse_args()
    model = Model(options.weights, "cpu")
    model.net.linear.threshold.mul_(options.caution / CAUTION)
    if "decoder" in options.without:
        model.decoder.network = lambda picture, *_: torch.zeros_like(picture)
    if "encoder" in options.without:
        for parameter in model.net.binariser.parameters():
            parameter.data.zero_()
    images = [read_image(path) for path in sorted(options.images.glob("*.png"))[:: options.every]]
    ours = np.array([by_iteration(model, image) for image in images]).mean(0)
    print("| iterations | bpp | PSNR (RGB) | MS-SSIM | by histograms |")
    print("| --- | --- | --- | --- | --- |")
    for t, (bpp, db, similarity, entropy) in enumerate(ours):
        print(f"| {t + 1} | {bpp:.3f} | {db:.2f} | {similarity:.4f} | {entropy:.3f} |")
    theirs = np.array([jpeg(image) for image in images]).mean(0)
    for name, column in (("PSNR", 1), ("MS-SSIM", 2)):
        # MS-SSIM in dB: cubic curves through what saturates say little.
        quality = [
            x[:, column] if column == 1 else -10 * np.log10(1 - x[:, column])
            for x in (theirs, ours)
        ]
        rate = bjontegaard.bd_rate(
            theirs[:, 0], quality[0], ours[:, 0], quality[1], method="pchip",
            require_matching_points=False, min_overlap=0,
        )  # fmt: skip
        print(f"BD-rate against JPEG in {name}: {rate:+.1f} %")


if __name__ == "__main__":
    main()
