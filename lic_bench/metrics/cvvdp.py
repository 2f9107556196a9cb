"""ColorVideoVDP: what an observer sees of the difference, on a stated display.

R. K. Mantiuk, P. Hanji, M. Ashraf, Y. Asano, A. Chapiro, "ColorVideoVDP: a visual difference
predictor for image, video and display distortions", ACM Transactions on Graphics (SIGGRAPH), 2024;
by its authors' package `cvvdp`. In JOD, just-objectionable differences: 10 where images are alike,
and lower by 1 where three of four observers see that a picture is worse. Not symmetric.

The value is of a display at a distance: by default ``standard_4k``, a 30-inch 4K monitor of 200
cd/m² at 0.75 m in an office, which is 75 pixels a degree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from lic_bench.errors import check_known
from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric


class Cvvdp(Metric):
    """ColorVideoVDP.

    Parameters
    ----------
    display
        One of those that the package describes: ``standard_4k``, ``standard_fhd`` ...; its size,
        distance, luminance, contrast and surroundings decide on the value.
    """

    name = "cvvdp"
    label = "ColorVideoVDP"
    unit = "JOD"
    least_side = 16
    identical = 10.0
    on_gpu = True
    requires: ClassVar = dict.fromkeys(("torch", "pycvvdp"), "pip install 'lic-bench[cvvdp]'")

    def __init__(self, display: str = "standard_4k") -> None:
        self._display = display

    def versions(self) -> Mapping[str, str]:
        conditions = json.dumps(self._conditions(), sort_keys=True)
        return {"cvvdp": version("cvvdp"), "torch": version("torch"), "display": conditions}

    def make_ready(self) -> None:
        self._conditions()

    def prepare(self, reference: Image) -> Compare:
        model = _model(self._display, self.device)

        def compare(distorted: Image) -> float:
            value, _ = model.predict(distorted, reference, dim_order="HWC")
            return float(value)

        return compare

    def _conditions(self) -> dict[str, object]:
        """What the package says of the display."""
        displays = _displays()
        check_known("display", self._display, displays)
        return displays[self._display]


@lru_cache(maxsize=1)
def _displays() -> dict[str, dict[str, object]]:
    found = find_spec("pycvvdp")
    assert found is not None and found.origin is not None  # noqa: S101 - see `requires`
    file = Path(found.origin).with_name("vvdp_data") / "display_models.json"
    displays: dict[str, dict[str, object]] = json.loads(file.read_text())
    return displays


@lru_cache(maxsize=2)
def _model(display: str, device: str) -> Any:
    import torch

    from lic_bench.plugins.torchvision import import_with_torchvision

    package = import_with_torchvision("pycvvdp")
    return package.cvvdp(display_name=display, device=torch.device(device), quiet=True)
