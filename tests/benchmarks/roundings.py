"""What stands for rounding in training: straight-through, noise and stochastic, trained alike.

Each from the same start (a lapped transform), on the same batches, for as many steps; then all
numbers are rounded to the nearest and cost what histograms of photographs, in integer tables, say.

    python tests/benchmarks/roundings.py PHOTOGRAPHS KODAK --steps 300
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from lic_bench import read_image
from lic_bench.codecs.compressive_autoencoder import training
from lic_bench.codecs.compressive_autoencoder.inference import Model, channel_rows
from lic_bench.codecs.compressive_autoencoder.model import STEPS, CompressiveAutoencoder, Settings
from lic_bench.codecs.compressive_autoencoder.training import ROUNDINGS, Plan, Session
from lic_bench.learned.data import load
from lic_bench.learned.tables import cost
from lic_bench.learned.training import Clock, Recipe


def nearest(self, z, rate, bits):
    """As the paper has it, in place of the choice by rate and distortion."""
    return z.round()


def measured(model: Model, images: list[np.ndarray], rate: int) -> tuple[float, float]:
    """Bits a pixel and PSNR in dB: means over images."""
    rows = []
    for image in images:
        z = model.transform.coefficients(image, rate)
        shown = model.transform.pixels(z, rate, *image.shape[:2]).astype(float)
        bpp = cost(z, channel_rows(z.shape, rate), model.tables) / image[..., 0].size
        rows.append((bpp, 10 * np.log10(255**2 / ((shown - image) ** 2).mean())))
    bpp, psnr = np.mean(rows, 0)
    return float(bpp), float(psnr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("images", type=Path, help="what is measured on, such as Kodak")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--every", type=int, default=6, help="of the images every so many")
    options = parser.parse_args()
    photographs = load([options.photographs])
    files = sorted(options.images.glob("*.png"))[:: options.every]
    images = [read_image(file) for file in files]
    CompressiveAutoencoder.quantised = nearest
    training._COUNTED = 2
    rates = (1, 3, 5)
    print("| trained with | " + " | ".join(f"rate {rate}: bpp, PSNR" for rate in rates) + " |")
    print("| --- | --- | --- | --- |")
    for rounding in ROUNDINGS:
        settings = Settings(options.width, linear=True, rates=len(STEPS))
        plan = Plan(settings, Recipe("fast", 5e-4, 4), rounding)
        with tempfile.TemporaryDirectory() as folder:
            steps = (("all", options.steps),)
            session = Session(plan, steps, photographs, Path(folder), torch.device("cpu"))
            session.run(Clock(None), lambda _: None)
            model = Model(Path(folder) / "weights.safetensors", "cpu")
        found = (measured(model, images, rate) for rate in rates)
        print(f"| {rounding} | " + " | ".join(f"{b:.3f}, {p:.2f}" for b, p in found) + " |")


if __name__ == "__main__":
    main()
