"""What the harness itself costs: time beyond codec and metrics, and a worker's memory.

Time: a codec that does nothing (the samples as they are) at 20 operating points on a folder of
images (Kodak), once through a run with one worker, and once by bare calls of encode, decode and
compare, in turns. The difference is what the harness adds to a measurement: the worker's tasks,
the way of the bitstream (a megabyte and more) to the store and into it, progress. Reading an image,
done once for all its measurements, is told apart.

Memory: the largest resident size of a worker that measures an image of 2040x1356 with JPEG and
JPEG 2000.

    python tests/benchmarks/harness.py [FOLDER] [--repeats 5]
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from lic_bench import Registry, load_dataset, read_image, run, write_image
from lic_bench.execution.plan import plan
from lic_bench.execution.run import Progress, execute
from lic_bench.execution.runner import environment
from lic_bench.execution.workers import Processes
from lic_bench.metrics.builtin import Reference

PLUGIN = """
from lic_bench.codecs.none import NoCodec

class Repeated(NoCodec):
    name = "repeated"
    points = tuple(range(20))
"""


def harness_s(plugin: Path, folder: Path, out: Path) -> float:
    """Seconds for a measurement in a run, from the first that is done to the last."""
    times: list[float] = []

    def report(progress: Progress) -> None:
        times.append(time.perf_counter())

    planned = plan(["repeated"], [f"images={folder}"], plugins=[plugin])
    execute(planned, out, workers=Processes(1), report=report)
    return (times[-1] - times[1]) / (len(times) - 2)


def bare_s(folder: Path) -> tuple[float, float]:
    """Seconds for a measurement by bare calls, and for reading an image."""
    codec = Registry().codec("none")
    reading, measuring, count = 0.0, 0.0, 0
    for file in load_dataset(str(folder)).images:
        start = time.perf_counter()
        image = read_image(file.path.read_bytes())
        read = time.perf_counter()
        reference = Reference(image[None])
        for _ in range(20):
            reference.compare(codec.decode(codec.encode(image, None))[None])
            count += 1
        reading += read - start
        measuring += time.perf_counter() - read
    return measuring / count, reading / (count / 20)


def peak_memory(temporary: Path) -> float:
    """The largest resident size of a worker process, in MB."""
    image = np.random.default_rng(0).integers(0, 256, (1356, 2040, 3), dtype=np.uint8)
    (temporary / "large").mkdir()
    write_image(temporary / "large" / "noise.png", image)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            for child in psutil.Process().children(recursive=True):
                try:
                    peak = max(peak, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    run(["jpeg", "jpeg2000"], [str(temporary / "large")], out=temporary / "memory", jobs=1)
    done.set()
    thread.join()
    return peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("LIC_BENCH_DATA", "."), "kodak")
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if not environment().items() <= os.environ.items():  # the bare calls should be as in a worker
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment())
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        plugin = temporary / "repeated.py"
        plugin.write_text(PLUGIN)
        added = []
        for i in range(arguments.repeats):
            bare, reading = bare_s(arguments.folder)
            harness = harness_s(plugin, arguments.folder, temporary / f"out{i}")
            added.append(1000 * (harness - bare - reading / 20))
            print(
                f"a measurement: {1000 * harness:.2f} ms in a run, {1000 * bare:.2f} ms bare, "
                f"{1000 * reading / 20:.2f} ms of reading: {added[-1]:+.2f} ms",
                flush=True,
            )
        print(f"the harness adds {statistics.median(added):+.2f} ms to a measurement (median)")
        print(f"and reads an image of this size in {1000 * reading:.1f} ms, once for all points")
        print(f"a worker measuring 2040x1356 pixels takes {peak_memory(temporary):.0f} MB")


if __name__ == "__main__":
    main()
