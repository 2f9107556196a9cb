"""Another operating point below the lowest of a file of weights, to go on training from.

What steers an operating point (gains, biases, thresholds; in the context model, biases) goes on
by straight lines, gains in logarithms, from the two lowest points. The others stay as they are.
Untrained, the new point lies about where the curve would go on; training makes it a good one:

    python -m lic_bench.codecs.content_weighted.extend OLD.safetensors NEW.safetensors
    lic-bench train content-weighted --recipe fast --weights NEW.safetensors ...
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lic_bench.codecs.content_weighted.inference import METADATA, stored_metadata
from lic_bench.errors import SpecError

_FACTORS = ("net.gain", "net.code_gain")
_SUMMANDS = ("net.bias", "net.digits.threshold", "net.importance_bias", "context.bias")
_STEP = 1.2  # of the distance between the two lowest points
_MOST = 5.0  # a gain that changes by more from point to point has hardly been trained


def extend(old: Path, new: Path) -> None:
    """Write weights with one operating point more.

    Raises
    ------
    SpecError
        Where the weights have fewer than two points.
    UnavailableError
        Where it is no file of this codec's weights.
    """
    metadata = stored_metadata(old)
    tensors = load_file(old)
    points = metadata["settings"]["points"]
    if points < 2:
        raise SpecError(f"{old} has one operating point; it takes two to go on from")
    for name in (*_FACTORS, *_SUMMANDS):
        if name in tensors:
            values = tensors[name].float()
            values = torch.cat([_below(values, name in _FACTORS)[None], values])
            tensors[name] = values.to(tensors[name].dtype).contiguous()
    metadata["settings"]["points"] = points + 1
    if multipliers := metadata.get("training", {}).get("multipliers"):
        first, second = multipliers[:2]
        metadata["training"]["multipliers"] = [first * (first / second) ** _STEP, *multipliers]
    save_file(tensors, new, {METADATA: json.dumps(metadata, sort_keys=True)})


def _below(values: Tensor, factor: bool) -> Tensor:
    first, second = values[:2]
    if not factor:
        return first + _STEP * (first - second)
    ratio = torch.where(second != 0, first / second, 1.0)
    return first * torch.where(ratio > 0, ratio, 1.0).clamp(1 / _MOST, _MOST) ** _STEP


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    given = parser.parse_args()
    extend(given.old, given.new)


if __name__ == "__main__":
    main()
