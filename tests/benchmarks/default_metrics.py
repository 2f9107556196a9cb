"""The metrics of every run beside those of an earlier commit: how long, and how equal.

JPEG at seven qualities on a folder of images (Kodak), one thread. The two take turns, and the first
of a turn changes, so that a machine whose speed drifts slows both.

    python tests/benchmarks/default_metrics.py COMMIT [FOLDER] [--images 24]
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from lic_bench import Image, read_image
from lic_bench.codecs.jpeg import Jpeg
from lic_bench.metrics import builtin

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
FILE = "lic_bench/metrics/builtin.py"


def of_commit(commit: str, folder: Path) -> ModuleType:
    """The module as it was; what it imports is as it is."""
    root = Path(__file__).parents[2]
    text = subprocess.check_output(["git", "show", f"{commit}:{FILE}"], cwd=root)
    path = folder / "builtin_of_before.py"
    path.write_bytes(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def pictures(image: Image) -> list[Image]:
    codec = Jpeg()
    return [codec.decode(codec.encode(image, quality)) for quality in QUALITIES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("LIC_BENCH_DATA", "."), "kodak")
    parser.add_argument("commit")
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--images", type=int, default=24)
    arguments = parser.parse_args()

    cv2.setNumThreads(1)
    apart = dict.fromkeys(builtin.METRICS, 0.0)
    prepared: list[list[float]] = [[], []]
    compared: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as name:
        modules = of_commit(arguments.commit, Path(name)), builtin
    for path in sorted(arguments.folder.glob("*.png"))[: arguments.images]:
        image = read_image(path)
        megapixels = image.shape[0] * image.shape[1] / 1e6
        references = []
        for module, times in zip(modules, prepared, strict=True):
            start = time.process_time()
            references.append(module.Reference(image[None]))
            times.append(1000 * (time.process_time() - start) / megapixels)
        for turn, picture in enumerate(pictures(image)):
            found: list[dict[str, float]] = [{}, {}]
            for which in (turn % 2, 1 - turn % 2):
                start = time.process_time()
                [found[which]] = references[which].compare(picture[None])
                compared[which].append(1000 * (time.process_time() - start) / megapixels)
            for metric, before in found[0].items():
                apart[metric] = max(apart[metric], abs(found[1][metric] - before) / abs(before))

    for what, times in (("reference", prepared), ("each picture", compared)):
        ratio = statistics.median(np.divide(times[1], times[0]))
        before, after = map(statistics.median, times)
        print(
            f"{what}: {before:.0f} ms/MP before, {after:.0f} after; "
            f"median of {len(times[0])} ratios {ratio:.3f}"
        )
    print("largest relative differences:")
    for metric, difference in apart.items():
        print(f"  {metric:12} {difference:.1e}")


if __name__ == "__main__":
    main()
