"""The same work by `compressai.utils.bench` and by `lic-bench run`: how long, and how equal.

JPEG at qualities 5, 10 ... 95 on a folder of images (Kodak), PSNR and MS-SSIM, two jobs. The two
take turns, so that a machine whose speed drifts slows both. At the end CompressAI's once more, with
torch held to one thread a process: as it comes, its processes fight over the cores. Needs the extra
`bench`; `make bench` prepares an environment for it.

    python tests/benchmarks/against_compressai.py [FOLDER] [--repeats 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import lic_bench

# PyPI's torchvision does not load its operators beside a CPU build of torch, and CompressAI does
# not import without them. It only needs them to be declared.
COMPRESSAI = """
import sys, torch
try:
    import torchvision
except RuntimeError:
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from compressai.utils.bench.__main__ import main
main(sys.argv[1:])
"""


def seconds(command: list[str], output: Path, **variables: str) -> float:
    environment = os.environ | variables
    start = time.perf_counter()
    with output.open("w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def compressai(folder: Path, output: Path, **variables: str) -> float:
    qualities = ",".join(str(quality) for quality in range(5, 100, 5))
    arguments = ["jpeg", str(folder), "--qps", qualities, "--num-jobs", "2"]
    return seconds([sys.executable, "-c", COMPRESSAI, *arguments], output, **variables)


def ours(folder: Path, output: Path, out: Path) -> float:
    arguments = ["run", "--codecs", "jpeg", "--points", "5:95:5", "--jobs", "2"]
    arguments += ["--dataset", f"images={folder}", "--out", str(out)]
    return seconds([sys.executable, "-m", "lic_bench", *arguments], output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("LIC_BENCH_DATA", "."), "kodak")
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    ratios = []
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        for i in range(arguments.repeats):
            theirs_s = compressai(arguments.folder, temporary / "theirs.json")
            ours_s = ours(arguments.folder, temporary / "ours.txt", temporary / f"out{i}")
            ratios.append(theirs_s / ours_s)
            print(
                f"CompressAI {theirs_s:.1f} s, lic-bench {ours_s:.1f} s: {ratios[-1]:.1f} times",
                flush=True,
            )
        single_s = compressai(arguments.folder, temporary / "single.json", OMP_NUM_THREADS="1")
        theirs = json.loads((temporary / "theirs.json").read_text())["results"]
        averages = lic_bench.aggregate(lic_bench.load(temporary / "out0"))
    print(f"median of {len(ratios)}: {statistics.median(ratios):.1f} times as fast")
    print(f"CompressAI with one thread a process {single_s:.1f} s: {single_s / ours_s:.1f} times")

    print("largest differences between the means over the images:")
    for key, column in (
        ("bpp", "bpp"),
        ("psnr-rgb", "psnr_rgb_db"),
        ("ms-ssim-rgb", "ms_ssim_rgb"),
    ):
        difference = np.abs(np.array(theirs[key]) - averages[column]).max()
        print(f"  {column:12} {difference:.1e}")


if __name__ == "__main__":
    main()
