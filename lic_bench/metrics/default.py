"""The metrics of every run: MSE, PSNR, SSIM and MS-SSIM, computed together."""

from __future__ import annotations

from lic_bench.images.image import Image
from lic_bench.metric.base import Compare, Metric, Value
from lic_bench.metric.device import on_device
from lic_bench.metric.quality import DEFAULT_SCORES


class Default(Metric):
    """Those of `lic_bench.metrics.builtin`, which share most of their work."""

    name = "default"
    label = "MSE, PSNR, SSIM, MS-SSIM"
    on_gpu = True
    symmetric = True
    identical = 0.0
    scores = DEFAULT_SCORES

    def prepare(self, reference: Image) -> Compare:
        from lic_bench.metrics.builtin import Reference

        prepared = Reference(on_device(reference[None], self.device))

        def compare(distorted: Image) -> dict[str, Value]:
            [values] = prepared.compare(on_device(distorted[None], self.device))
            return {score.name: values[score.column] for score in self.scores}

        return compare
