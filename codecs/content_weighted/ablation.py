"""What each part of the codec buys: ``python -m lic_bench.codecs.content_weighted.ablation DIR``.

For each operating point three codecs from the same weights, each a mean over the images of a
folder: all code channels everywhere, written as they are; those that the importance map keeps, and
the map, written as they are; and the same entropy-coded, which is the codec. A fourth, all channels
everywhere but entropy-coded, shows what the map is worth beside an entropy coder; too much of it,
because the context model was trained with the map at hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lic_bench import compare, read_image
from lic_bench.codecs.content_weighted.codec import WEIGHTS
from lic_bench.codecs.content_weighted.inference import Model


def main(folder: Path, weights: Path = WEIGHTS) -> None:
    """Print the table, in Markdown."""
    model = Model(weights, "cpu")
    settings = model.settings
    paths = sorted(folder.glob("*.png"))
    print("| point | channels | entropy coding | bpp | PSNR (dB) | MS-SSIM |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for point in range(settings.points):
        rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
        for path in paths:
            image = read_image(path)
            height, width, _ = image.shape
            pixels = height * width
            for with_map in (False, True):
                symbols = model.symbols(image, point, with_map)
                planes, code = np.split(symbols, [settings.levels - 1])
                sites = planes[0].size
                kept = (1 + planes.sum(0, dtype=np.int64)).sum() * settings.n / settings.levels
                raw = kept + (sites * np.log2(settings.levels) if with_map else 0)
                found = compare(image, model.reconstruct(code, height, width, point))
                quality = (found["psnr_rgb_db"] or 0.0, found["ms_ssim_rgb"] or 0.0)
                name = "those of the map" if with_map else "all"
                coded = model.coder.cost(symbols, point)
                rows.setdefault((name, "no"), []).append((raw / pixels, *quality))
                rows.setdefault((name, "yes"), []).append((coded / pixels, *quality))
        for (name, coding), values in rows.items():
            bpp, psnr, ms_ssim = np.mean(values, axis=0)
            print(  # noqa: T201
                f"| {point + 1} | {name} | {coding} | {bpp:.4f} | {psnr:.2f} | {ms_ssim:.4f} |"
            )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
