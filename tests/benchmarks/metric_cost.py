"""What each metric costs: the table in docs/metrics.md. Leave the machine alone meanwhile.

python tests/benchmarks/metric_cost.py IMAGE [SPEC...]

Times are of the processor, with the programs that a metric calls: work beside it makes them longer
all the same, as what two threads of a core share. `default` among the names shows by how much.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

REPEATS = 5


def seconds() -> float:
    """What this process and the programs that it has called took of the processor."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def measure(name: str, path: Path) -> None:
    """Print a row: in a process of its own, held to one thread."""
    import cv2
    import numpy as np

    from lic_bench import read_image
    from lic_bench.metric.base import Comparison
    from lic_bench.metric.registry import MetricRegistry

    cv2.setNumThreads(1)
    image = read_image(path)
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    pictures = [
        np.clip(image + noise * (1 + i / 10), 0, 255).astype(np.uint8) for i in range(REPEATS + 1)
    ]
    for each in (image, *pictures):
        each.flags.writeable = False
    metric = MetricRegistry().metric(name)
    megapixels = image.shape[0] * image.shape[1] / 1e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    small = np.ascontiguousarray(image[:200, :200])
    Comparison(metric, small).compare(small)  # what is loaded once
    prepared, compared = [], []
    for picture in pictures:
        start = seconds()
        comparison = Comparison(metric, image)
        middle = seconds()
        comparison.compare(picture)
        prepared.append(middle - start)
        compared.append(seconds() - middle)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    grown = max(grown, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    first, each = (
        1000 * sorted(times)[len(times) // 2] / megapixels for times in (prepared, compared)
    )
    print(f"| `{metric.name}` | {first:.0f} | {each:.0f} | {grown / 1000:.0f} |", flush=True)


def main() -> None:
    from lic_bench.metric.registry import MetricRegistry

    path, *names = sys.argv[1:]
    print("| metric | reference, ms/MP | each picture, ms/MP | MB |\n| --- | ---: | ---: | ---: |")
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    for name in names or MetricRegistry().names():
        code = f"import metric_cost, pathlib; metric_cost.measure({name!r}, pathlib.Path({path!r}))"
        folder = str(Path(__file__).parent)
        environment = {**os.environ, **threads, "PYTHONPATH": folder}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)


if __name__ == "__main__":
    main()
