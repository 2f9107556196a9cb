"""What a large study costs: time and memory of each step, at two sizes, to see how they grow.

Small images x 10 codecs x 8 operating points: planned, stored, resumed, aggregated, tabled,
compared and reported. Measuring itself is left out (its cost is the codecs'): each planned
measurement is stored with a bitstream and figures that are made up, as fast as the store takes
them. Each step runs in a process of its own, whose largest resident size is told.

    python tests/benchmarks/scale.py [--images 1000,10000]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lic_bench import write_image
from lic_bench.execution.plan import Plan, plan
from lic_bench.execution.run import execute
from lic_bench.metrics.builtin import METRICS
from lic_bench.store.database import Store
from lic_bench.store.records import Measurement

CODECS = 10
POINTS = 8
SIDE = 32
PLUGIN = """
from lic_bench import Codec

class _Toy:
    points = tuple(range(8))
    def encode(self, image, point):
        raise NotImplementedError
    def decode(self, stream):
        raise NotImplementedError
""" + "".join(
    f"""
class Toy{i}(_Toy, Codec):
    name = "toy{i}"
"""
    for i in range(CODECS)
)


def planned(folder: Path) -> Plan:
    """The study: every toy codec on every image."""
    codecs = [f"toy{i}" for i in range(CODECS)]
    return plan(codecs, [f"images={folder / 'images'}"], plugins=[folder / "toys.py"])


def make(folder: Path, count: int) -> None:
    """Write the images and the codecs."""
    (folder / "toys.py").write_text(PLUGIN)
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        image = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        write_image(folder / "images" / f"{i:06}.png", image)


def store(folder: Path) -> None:
    """Store a measurement for each that is planned."""
    study = planned(folder)
    random = np.random.default_rng(1)
    with Store(folder / "out" / "store.sqlite") as opened:
        run = opened.begin({}, study.datasets, study.identities, study.scores)
        for key, task in study.tasks():
            better = int(task.codec.removeprefix("toy"))
            size = int(random.integers(50, 60)) * (int(key.point) + 1) - 3 * better
            quality = 20 + 2 * int(key.point) + random.normal() + better / 10
            values = dict.fromkeys(METRICS, 1 - 10 ** (-quality / 20))
            values |= {name: quality for name in values if name.endswith("_db")}
            values["mse_rgb"] = 255**2 * 10 ** (-quality / 10)
            stream = random.bytes(size)
            opened.add(run, key, Measurement(SIDE, SIDE, stream, 1e-3, 1e-3, values))
        opened.finish(run)


def plan_it(folder: Path) -> None:
    """Read the folder and count the plan through."""
    study = planned(folder)
    assert sum(1 for _ in study.tasks()) == len(study)


def resume(folder: Path) -> None:
    """Find out that nothing is left to do, as `lic-bench run` does before it begins."""
    study = planned(folder)
    with Store(folder / "out" / "store.sqlite") as opened:
        known = sum(key in study for key in opened.measured(study.scores))
    assert known == len(study)


def run_again(folder: Path) -> None:
    """The whole of a run that has nothing left to do, its table included."""
    execute(planned(folder), folder / "out")


def aggregate(folder: Path) -> None:
    """Load the table and average it."""
    from lic_bench.analysis import curves
    from lic_bench.store import table as measurements

    averages = curves.aggregate(measurements.load(folder / "out"))
    assert len(averages) == CODECS * POINTS


def command(*arguments: str) -> Callable[[Path], None]:
    """A step that is a command line."""

    def step(folder: Path) -> None:
        from lic_bench.cli.main import app

        out = str(folder / "out")
        app([a.replace("OUT", out) for a in arguments], standalone_mode=False)

    return step


STEPS: dict[str, Callable[[Path], None]] = {
    "plan": plan_it,
    "store": store,
    "resume": resume,
    "run with nothing to do": run_again,
    "aggregate": aggregate,
    "export": command("export", "OUT", "--out", "OUT/all.parquet"),
    "table": command("table", "OUT", "--anchor", "toy0", "--out", "OUT/table.md"),
    "compare": command("compare", "OUT:toy0", "OUT:toy9"),
    "plot": command("plot", "OUT", "--out", "OUT/plot.png"),
    "report": command("report", "OUT", "--out", "OUT/report.html"),
}


def measured(step: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    """Seconds and MB (the largest resident size) of a step in a process of its own."""
    results = multiprocessing.get_context("fork").Queue()

    def child() -> None:
        start = time.perf_counter()
        step(folder)
        seconds = time.perf_counter() - start
        results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the step failed (exit code {process.exitcode})")
    found: tuple[float, float] = results.get()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="1000,10000")
    sizes = [int(text) for text in parser.parse_args().images.split(",")]
    print(
        f"{'step':<24}" + "".join(f"{f'{n * CODECS * POINTS:,} measurements':>30}" for n in sizes)
    )
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, str(count)) for count in sizes]
        for folder, count in zip(folders, sizes, strict=True):
            folder.mkdir()
            make(folder, count)
        for label, step in STEPS.items():
            print(f"{label:<24}", end="", flush=True)
            for folder in folders:
                seconds, megabytes = measured(step, folder)
                print(f"{seconds:>18.1f} s{megabytes:>7.0f} MB", end="", flush=True)
            print()
        for folder in folders:
            size = (folder / "out" / "store.sqlite").stat().st_size
            page = (folder / "out" / "report.html").stat().st_size
            print(f"{folder.name} images: store {size / 1e6:.0f} MB, report {page / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
