"""``python -m lic_bench.codecs.content_weighted``: the training, without the rest of lic-bench.

For a rented GPU where there is torch, NumPy, Pillow and safetensors but nothing else. The options
are those of `lic-bench train content-weighted`, which tells what they mean.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lic_bench.codecs.content_weighted.training import train
from lic_bench.errors import LicBenchError
from lic_bench.learned.options import TrainingOptions


def _options() -> TrainingOptions:
    parser = argparse.ArgumentParser(
        "python -m lic_bench.codecs.content_weighted", argument_default=argparse.SUPPRESS
    )
    option = parser.add_argument
    option("--images", type=Path, action="append", required=True)
    option("--out", "-o", type=Path, required=True)
    option("--minutes", type=float)
    option("--target-bpp", type=lambda text: tuple(map(float, text.split(","))))
    option("--loss")
    option("--recipe", choices=("paper", "fast"))
    option("--weights", type=Path)
    for name in ("--width", "--code-channels", "--batch", "--steps", "--seed"):
        option(name, type=int)
    option("--no-map", dest="without_map", action="store_true")
    option("--decoder-only", action="store_true")
    option("--device")
    option("--compile", dest="compiled", action="store_true")
    given = vars(parser.parse_args())
    return TrainingOptions(**{**given, "images": tuple(given["images"])})


if __name__ == "__main__":
    try:
        train(_options())
    except LicBenchError as error:
        sys.exit(f"error: {error}")
