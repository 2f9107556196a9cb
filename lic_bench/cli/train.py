"""`lic-bench train CODEC`: hands over to the training of a codec.

A codec offers its training in the entry-point group ``lic_bench.trainers``, under its own name, as
a function that takes `TrainingOptions`. Nothing large is imported before it is called.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from lic_bench.errors import SpecError, UnavailableError
from lic_bench.learned.options import Rounding, TrainingOptions

TRAINERS = "lic_bench.trainers"


def train(
    codec: Annotated[str, typer.Argument(metavar="CODEC", help="One that can be trained.")],
    images: Annotated[
        list[Path],
        typer.Option("--images", metavar="PATH", help="A folder or tar file of photographs."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where the training is kept.")
    ],
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; the same command goes on.")
    ] = None,
    target_bpp: Annotated[
        str, typer.Option("--target-bpp", help="Rates of the operating points; 0.12,0.3,0.67")
    ] = "",
    loss: Annotated[str, typer.Option(help="mse, ssim, ms-ssim or mse+ms-ssim.")] = "mse",
    recipe: Annotated[
        str,
        typer.Option(help="paper: as published. fast: started from a DCT, rate from the coder."),
    ] = "paper",
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on from these instead of the start.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the first layer.")] = None,
    code_channels: Annotated[int | None, typer.Option(help="Channels of the code.")] = None,
    without_map: Annotated[
        bool, typer.Option("--no-map", help="Without the importance map, to see what it is worth.")
    ] = False,
    decoder_only: Annotated[
        bool,
        typer.Option("--decoder-only", help="With --weights: leave the encoder, and so the code."),
    ] = False,
    rounding: Annotated[
        str,
        typer.Option(help="straight-through, noise or stochastic; of compressive-autoencoder."),
    ] = "",
    batch: Annotated[int | None, typer.Option(help="Crops in a batch.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the whole training.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network, on a GPU.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a codec, in pieces of any length: the same command goes on where the last one stopped.

    - `lic-bench train content-weighted --images photos/ --minutes 9 --out runs/mine --recipe fast`
    - `lic-bench train modulated-autoencoder --images photos/ --out runs/all-rates --recipe fast`
    """
    if recipe not in ("paper", "fast"):
        raise SpecError(f"there is no recipe {recipe!r}: paper or fast")
    if rounding and rounding not in get_args(Rounding):
        raise SpecError(f"--rounding {rounding}: {', '.join(get_args(Rounding))}")
    try:
        targets = tuple(float(text) for text in target_bpp.split(",") if text)
    except ValueError:
        raise SpecError(f"--target-bpp {target_bpp}: numbers are wanted, as in 0.12,0.3") from None
    options = TrainingOptions(
        images=tuple(images),
        out=out,
        minutes=minutes,
        target_bpp=targets,
        loss=loss,
        recipe="paper" if recipe == "paper" else "fast",
        weights=weights,
        width=width,
        code_channels=code_channels,
        without_map=without_map,
        decoder_only=decoder_only,
        rounding=cast(Rounding, rounding) if rounding else None,
        batch=batch,
        steps=steps,
        device=device,
        compiled=compiled,
        seed=seed,
    )
    _trainer(codec)(options)


def _trainer(codec: str) -> Callable[[TrainingOptions], None]:
    points = {point.name: point for point in entry_points(group=TRAINERS)}
    if codec not in points:
        known = ", ".join(sorted(points)) or "none"
        raise SpecError(f"no training is known for {codec!r}; for these there is: {known}")
    missing = [name for name in ("torch", "safetensors") if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"training needs {' and '.join(missing)}; pip install 'lic-bench[learned]'"
        )
    trainer: Callable[[TrainingOptions], None] = points[codec].load()
    return trainer
