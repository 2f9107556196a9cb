"""What modulation costs against a network for each lambda, and gains on scaling the bottleneck.

Each is trained alike: from principal components, with the same batches, for the same number of
steps; an independent network for its lambda alone, the others for all lambdas, of which each step
draws some. Then loss, lambda MSE + bits a pixel, on other images, with rounded latents and
bits by the priors.

    python tests/benchmarks/modulation.py PHOTOGRAPHS KODAK --steps 300
"""

import argparse
import tempfile
from pathlib import Path

import torch

from lic_bench.codecs.modulated_autoencoder.model import Settings, Steering
from lic_bench.codecs.modulated_autoencoder.training import Plan, Session
from lic_bench.learned.data import Photographs, load
from lic_bench.learned.training import Clock, Recipe

TRADEOFFS = (128.0, 512.0, 2048.0)


def trained(
    steering: Steering,
    tradeoffs: tuple[float, ...],
    options: argparse.Namespace,
    images: Photographs,
) -> Session:
    """A network at the end of its training."""
    recipe = Recipe("fast", 1e-3, 4, 128)
    plan = Plan(Settings(options.filters, options.latents, 48, steering), recipe, tradeoffs)
    steps = (("prior", options.steps // 3), ("all", options.steps))
    with tempfile.TemporaryDirectory() as folder:
        session = Session(plan, steps, images, Path(folder), torch.device("cpu"))
        session.run(Clock(None), lambda _: None)
    return session


@torch.no_grad()
def measured(session: Session, tradeoff: float, images: list[torch.Tensor]) -> tuple[float, ...]:
    """Bits a pixel, PSNR in dB and the loss: means over images."""
    rows = []
    for image in images:
        height, width = (side // 64 * 64 for side in image.shape[:2])
        x = image[:height, :width].permute(2, 0, 1)[None].float()
        at = torch.tensor([tradeoff])
        y = session.net.encode(x, at)
        bpp = float(session.bits(y.round(), y, at, both=False)) / (height * width)
        shown = session.net.decode(y.round(), at).clamp(0, 255)
        mse = float((x - shown).square().mean())
        psnr = 10 * float(torch.log10(torch.tensor(255**2 / mse)))
        rows.append((bpp, psnr, tradeoff * mse / 255**2 + bpp))
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("images", type=Path, help="what is measured on, such as Kodak")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--latents", type=int, default=192)
    parser.add_argument("--every", type=int, default=3, help="of the images every so many")
    options = parser.parse_args()
    photographs = load([options.photographs])
    images = load([options.images]).images[:: options.every]
    whole = (TRADEOFFS[0], TRADEOFFS[-1])
    joint = {
        "modulation": trained("modulation", whole, options, photographs),
        "bottleneck": trained("bottleneck", whole, options, photographs),
    }
    print("| lambda | network | bpp | PSNR | loss | against independent |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tradeoff in TRADEOFFS:
        own = trained("none", (tradeoff, tradeoff), options, photographs)
        alone = measured(own, tradeoff, images)
        found = {name: measured(session, tradeoff, images) for name, session in joint.items()}
        for name, (bpp, psnr, loss) in {"independent": alone, **found}.items():
            share = loss / alone[2] - 1
            print(f"| {tradeoff:g} | {name} | {bpp:.3f} | {psnr:.2f} | {loss:.4f} | {share:+.1%} |")


if __name__ == "__main__":
    main()
