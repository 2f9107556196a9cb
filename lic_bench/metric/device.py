"""The device that metrics are computed on: NumPy on the CPU, torch elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from lic_bench.errors import UnavailableError
from lic_bench.images.image import Image


def on_device(array: Image, device: str) -> Any:
    """An array as the metrics take it: NumPy's on the CPU, torch's elsewhere."""
    if device == "cpu":
        return array
    import torch

    # TF32 would round the products of the metrics to ten bits.
    torch.set_float32_matmul_precision("highest")
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises
    ------
    UnavailableError
        With the remedy.
    """
    if device == "cpu":
        return
    try:
        import torch
    except ImportError:
        raise UnavailableError(
            f"the device {device} needs torch; pip install 'lic-bench[gpu]'"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UnavailableError(
            f"there is no device {device!r} here ({reason}); the device cpu is always there"
        ) from None
