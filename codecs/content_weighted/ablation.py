"""What each part of the codec buys.

For each operating point four codecs, each a mean over the images of a folder: all code channels
everywhere, and those that the importance map keeps together with the map; each written as they are,
and entropy-coded into bitstreams. The last is the codec.

"All channels" should come from a network trained without the map, by the same command with
``--no-map``; the two trainings then take the same number of steps. Without such weights the network
that has the map keeps all its channels: that overstates the map's worth, since its context model
was trained with the map at hand.

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

_METRICS = {"psnr_rgb": "psnr_rgb_db", "ms_ssim_rgb": "ms_ssim_rgb"}
_COLUMNS = ("bpp", "PSNR (dB)", "MS-SSIM", "BD-rate, PSNR", "BD-rate, MS-SSIM")


def figures(
    model: Model, images: list[Image], with_map: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rate (bpp), PSNR (RGB, dB) and MS-SSIM (RGB) by operating point, means over the images.

    Returns
    -------
    Twice points x 3: with bits written as they are, and with bitstreams.
    """
    settings = model.settings
    raw, coded = np.zeros((2, settings.points, len(images), 3))
    for point in range(settings.points):
        for i, image in enumerate(images):
            height, width, _ = image.shape
            [values] = model.values(image[None], point, with_map)
            level = model.level(image, point).astype(np.int64)
            if not with_map:
                level[:] = settings.levels
            bits = level.sum() * settings.n / settings.levels
            bits += level.size * np.log2(settings.levels) if with_map else 0
            stream = model.stream(values, height, width, point)
            [decoded] = model.decode([stream])
            found = image_metrics(image, decoded)
            quality = [found[column] for column in _METRICS.values()]
            raw[point, i] = bits / (height * width), *quality
            coded[point, i] = 8 * len(stream) / (height * width), *quality
    return raw.mean(1), coded.mean(1)


def table(folder: Path, weights: Path, without_map: Path) -> str:
    """The table, in Markdown; the anchor of the BD-rates is the codec without the map."""
    images = [read_image(path) for path in sorted(folder.glob("*.png"))]
    found: dict[tuple[str, str], NDArray[np.float64]] = {}
    for channels, path in (("all", without_map), ("those of the map", weights)):
        both = figures(Model(path, "cpu"), images, with_map=channels != "all")
        found |= {(channels, coding): x for coding, x in zip(("no", "yes"), both, strict=True)}
    lines = [f"| channels | entropy coding | point | {' | '.join(_COLUMNS)} |"]
    lines.append("| --- " * (len(_COLUMNS) + 3) + "|")
    anchors = _curves(found["all", "yes"])
    for (channels, coding), values in found.items():
        rates = [bd_rate(anchor, own) for anchor, own in zip(anchors, _curves(values), strict=True)]
        told = ["undefined" if rate.percent is None else f"{rate.percent:+.1f} %" for rate in rates]
        for point, (bpp, psnr, ms_ssim) in enumerate(values):
            cells = [channels, coding, str(point + 1), f"{bpp:.4f}", f"{psnr:.2f}"]
            cells += [f"{ms_ssim:.4f}", *(told if point == 0 else ["", ""])]
            lines.append(f"| {' | '.join(cells)} |")
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
