"""What builds on torchvision, imported also beside another torch than it was built for."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

_operators: list[Any] = []  # they are there for as long as this is


def import_with_torchvision(name: str) -> ModuleType:
    """Import a module that imports torchvision, and uses none of its operators.

    Where these do not load (torchvision's wheels are for CUDA), torchvision stops where it
    describes two of them. It is enough that they have been declared.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _operators.append(library)
    return importlib.import_module(name)
