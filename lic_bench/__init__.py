"""lic-bench: image codecs, learned and classical, compared by one procedure.

>>> import lic_bench
>>> measurements = lic_bench.run(["jpeg", "jpeg2000"], "sample")
>>> lic_bench.bd_rates(measurements, anchor="jpeg", metric="ms_ssim_rgb")
>>> lic_bench.compare(measurements, "jpeg", "jpeg2000").rate.value
>>> lic_bench.table(measurements, interval=True)
>>> axes = lic_bench.plot(measurements, metric="psnr_rgb")
>>> lic_bench.save_plot(axes, "rd.pdf")
>>> lic_bench.report()

A codec of your own is a subclass of `Codec`, a metric one of `Metric`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lic_bench.analysis.curves import BDRate, Curve, bd_rate
    from lic_bench.codec.base import MAXIMUM_PIXELS, Codec, Point, ShowsImportance
    from lic_bench.codec.checkpoints import find_checkpoints
    from lic_bench.codec.registry import Registry
    from lic_bench.errors import (
        BitstreamError,
        CodecError,
        DatasetError,
        ImageError,
        ImportedResultsError,
        LicBenchError,
        MetricError,
        OutputError,
        SpecError,
        StoreError,
        UnavailableError,
        UndefinedError,
    )
    from lic_bench.images.dataset import Dataset, load_dataset
    from lic_bench.images.fetch import fetch
    from lic_bench.images.image import Image, read_image, write_image
    from lic_bench.images.manifest import known_datasets
    from lic_bench.metric.base import Metric, Score
    from lic_bench.metrics.builtin import METRICS, image_metrics
    from lic_bench.plugins.identity import file_digest
    from lic_bench.python.measuring import run, time
    from lic_bench.python.showing import (
        aggregate,
        bd_rates,
        compare,
        curve,
        export,
        load,
        plot,
        plot_by_complexity,
        plot_by_image,
        plot_by_metric,
        plot_by_quality,
        plot_multiples,
        report,
        select,
        table,
    )
    from lic_bench.reporting.plots import save_plot

__all__ = [
    "MAXIMUM_PIXELS",
    "METRICS",
    "BDRate",
    "BitstreamError",
    "Codec",
    "CodecError",
    "Curve",
    "Dataset",
    "DatasetError",
    "Image",
    "ImageError",
    "ImportedResultsError",
    "LicBenchError",
    "Metric",
    "MetricError",
    "OutputError",
    "Point",
    "Registry",
    "Score",
    "ShowsImportance",
    "SpecError",
    "StoreError",
    "UnavailableError",
    "UndefinedError",
    "aggregate",
    "bd_rate",
    "bd_rates",
    "compare",
    "curve",
    "export",
    "fetch",
    "file_digest",
    "find_checkpoints",
    "image_metrics",
    "known_datasets",
    "load",
    "load_dataset",
    "plot",
    "plot_by_complexity",
    "plot_by_image",
    "plot_by_metric",
    "plot_by_quality",
    "plot_multiples",
    "read_image",
    "report",
    "run",
    "save_plot",
    "select",
    "table",
    "time",
    "write_image",
]

# Where each name comes from. They are imported when they are first used, because a list of codecs
# should not wait for pandas, nor a codec for matplotlib.
_HOMES = {
    "analysis.curves": ("BDRate", "Curve", "bd_rate"),
    "codec.base": ("MAXIMUM_PIXELS", "Codec", "Point", "ShowsImportance"),
    "codec.checkpoints": ("find_checkpoints",),
    "codec.registry": ("Registry",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "images.dataset": ("Dataset", "load_dataset"),
    "images.fetch": ("fetch",),
    "images.image": ("Image", "read_image", "write_image"),
    "images.manifest": ("known_datasets",),
    "metric.base": ("Metric", "Score"),
    "metrics.builtin": ("METRICS", "image_metrics"),
    "plugins.identity": ("file_digest",),
    "python.measuring": ("run", "time"),
    "python.showing": (
        *("aggregate", "bd_rates", "compare", "curve", "export", "load", "plot", "report"),
        *("select", "table", "plot_by_complexity", "plot_by_image", "plot_by_metric"),
        *("plot_by_quality", "plot_multiples"),
    ),
    "reporting.plots": ("save_plot",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"lic_bench.{home}"), name)
    raise AttributeError(f"module 'lic_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
