"""MS-SSIM as the JPEG AI common test conditions take it.

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multi-scale structural similarity for image quality
assessment", Asilomar 2003, of the 10-bit luma of BT.709 (`lic_bench.metrics.colour.jpeg_ai_luma`),
with the window and the weights of `lic_bench.metrics.builtin`. 0 to 1, higher is better. Symmetric.

How far it is from pytorch-msssim 1.0.0, which the JPEG AI reference software uses: docs/metrics.md.
"""

from __future__ import annotations

import numpy as np

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Value
from lic_bench.metrics.builtin import CENTRE, MS_SSIM_SIDE, ReferencePlane
from lic_bench.metrics.colour import seen_by_jpeg_ai


class JpegAiMsSsim(Metric):
    """MS-SSIM of the luma that JPEG AI takes."""

    name = "jpegai_ms_ssim"
    label = "MS-SSIM (JPEG AI)"
    least_side = MS_SSIM_SIDE
    identical = 1.0
    symmetric = True

    def prepare(self, reference: Image) -> Compare:
        x = seen_by_jpeg_ai(reference)
        plane = ReferencePlane((x[None] - CENTRE).astype(np.float32))

        def compare(distorted: Image) -> Value:
            error = seen_by_jpeg_ai(distorted)[None] - x
            return plane.compare(error.astype(np.float32))[1][0]

        return compare
