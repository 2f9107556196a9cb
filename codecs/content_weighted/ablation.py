"""What each part of the codec buys.

For each operating point the codec, and the codec with one part less, each a mean over the images of
a folder:

- without entropy coding: the code channels that the map keeps, and the map, as they are;
- without the map: all code channels everywhere;
- without biases that follow the image;
- without digits beyond 1: large coefficients are clipped.

"Without the map" should come from a network trained so, by the same command with ``--no-map``; the
two trainings then take the same number of steps. Without such weights the network that has the map
keeps all its channels: that overstates the map's worth, since its context model was trained with
the map at hand.

    python -m lic_bench.codecs.content_weighted.ablation DIR --without-map WEIGHTS
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lic_bench import Curve, Image, bd_rate, image_metrics, read_image
from lic_bench.codecs.content_weighted.codec import WEIGHTS
from lic_bench.codecs.content_weighted.inference import Model
from lic_bench.codecs.content_weighted.model import MEANS

_METRICS = {"psnr_rgb": "psnr_rgb_db", "ms_ssim_rgb": "ms_ssim_rgb"}
_COLUMNS = ("bpp", "PSNR (dB)", "MS-SSIM", "BD-rate, PSNR", "BD-rate, MS-SSIM")
WITHOUT = ("nothing", "entropy coding", "the map", "biases that follow", "digits beyond 1")


def figures(model: Model, images: list[Image], without: str) -> NDArray[np.float64]:
    """Rate (bpp), PSNR (RGB, dB) and MS-SSIM (RGB) by operating point, means over the images.

    Parameters
    ----------
    without
        One of `WITHOUT`.

    Returns
    -------
    Points x 3.
    """
    settings, speed = model.settings, model.coder.speed
    found = np.zeros((settings.points, len(images), 3))
    if without == "biases that follow":
        model.coder.speed = 0
    for point in range(settings.points):
        for i, image in enumerate(images):
            height, width, _ = image.shape
            [values] = model.values(image[None], point, with_map=without != "the map")
            if without == "digits beyond 1":
                most = (np.array(model.coder.form.reach[MEANS:])[:, None, None] - 1) // 3
                values[MEANS:] = values[MEANS:].clip(-most, most)
            stream = model.stream(values, height, width, point)
            bits = 8.0 * len(stream)
            if without == "entropy coding":
                level = model.level(image, point).astype(np.int64)
                bits = level.sum() * settings.n / settings.levels
                bits += level.size * np.log2(settings.levels)
            measured = image_metrics(image, model.decode([stream])[0])
            quality = [measured[column] for column in _METRICS.values()]
            found[point, i] = bits / (height * width), *quality
    model.coder.speed = speed
    means: NDArray[np.float64] = found.mean(1)
    return means


def table(folder: Path, weights: Path, without_map: Path) -> str:
    """The table, in Markdown; the anchor of the BD-rates is the codec."""
    images = [read_image(path) for path in sorted(folder.glob("*.png"))]
    lines = [f"| without | point | {' | '.join(_COLUMNS)} |"]
    lines.append("| --- " * (len(_COLUMNS) + 2) + "|")
    anchors: list[Curve] = []
    for without in WITHOUT:
        path = without_map if without == "the map" else weights
        values = figures(Model(path, "cpu"), images, without)
        curves = _curves(values)
        anchors = anchors or curves
        rates = [bd_rate(anchor, own) for anchor, own in zip(anchors, curves, strict=True)]
        told = ["undefined" if rate.percent is None else f"{rate.percent:+.1f} %" for rate in rates]
        for point, (bpp, psnr, ms_ssim) in enumerate(values):
            cells = [without, str(point + 1), f"{bpp:.4f}", f"{psnr:.2f}", f"{ms_ssim:.4f}"]
            lines.append(f"| {' | '.join([*cells, *(told if point == 0 else ['', ''])])} |")
    return "\n".join(lines)


def _curves(values: NDArray[np.float64]) -> list[Curve]:
    points = tuple(str(i + 1) for i in range(len(values)))
    bpp, psnr, ms_ssim = values.T
    db = -10 * np.log10(1 - ms_ssim)
    return [
        Curve("images", "content-weighted", metric, bpp, value, points)
        for metric, value in zip(_METRICS, (psnr, db), strict=True)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of PNG files")
    parser.add_argument("--weights", type=Path, default=WEIGHTS["ms-ssim"])
    parser.add_argument("--without-map", type=Path, help="weights of a training with --no-map")
    given = parser.parse_args()
    print(table(given.folder, given.weights, given.without_map or given.weights))  # noqa: T201


if __name__ == "__main__":
    main()
