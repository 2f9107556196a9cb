"""What the codec adds to CompressAI: `encode` and `decode` beside `compress` and `decompress`.

Both take the same photographs with the same weights in the same process, in turns. The direct calls
begin with a padded tensor and end with one, as in CompressAI's evaluation: pixels of 8 bits, header
and checksum are on the codec's account. There is one thread, as in a worker, and its CPU time is
what counts, so that other processes disturb less.

Weights are the published ones of the given qualities of bmshj2018-factorized, as far as they are in
the cache of `torch.hub`, and a mean-scale hyperprior of the published size with random ones.

    python tests/benchmarks/compressai_overhead.py [FOLDER] [--repeats 3] [--images 8]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lic_bench import Image, Registry, load_dataset, read_image
from lic_bench.codecs.compressai.inference import import_compressai
from lic_bench.codecs.compressai.weights import published
from lic_bench.execution.runner import environment


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def compare(
    title: str, spec: str, point: int | None, net: Any, images: list[Image], repeats: int
) -> None:
    codec = Registry().codec(spec)
    tensors = [torch.from_numpy(i).permute(2, 0, 1)[None].float().div(255) for i in images]
    times: dict[str, list[float]] = {"encode": [], "compress": [], "decode": [], "decompress": []}
    for repeat in range(repeats + 1):  # the first is to warm up
        for index, (image, x) in enumerate(zip(images, tensors, strict=True)):

            def ours(image: Image = image) -> dict[str, float]:
                encode, stream = seconds(lambda: codec.encode(image, point))
                decode, _ = seconds(lambda: codec.decode(stream))
                return {"encode": encode, "decode": decode}

            def theirs(x: torch.Tensor = x) -> dict[str, float]:
                with torch.no_grad():
                    compress, made = seconds(lambda: net.compress(x))
                    decompress, _ = seconds(lambda: net.decompress(made["strings"], made["shape"]))
                return {"compress": compress, "decompress": decompress}

            turns = (ours, theirs) if (repeat + index) % 2 else (theirs, ours)
            found = turns[0]() | turns[1]()
            if repeat:
                for name, value in found.items():
                    times[name].append(value)
    print(f"{title}: medians of {repeats * len(images)}")
    for mine, bare in (("encode", "compress"), ("decode", "decompress")):
        ratio = statistics.median(a / b for a, b in zip(times[mine], times[bare], strict=True))
        a, b = (1000 * statistics.median(times[name]) for name in (mine, bare))
        print(f"  {mine} {a:.1f} ms, {bare} {b:.1f} ms, ratio {ratio:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("LIC_BENCH_DATA", "."), "kodak")
    parser.add_argument("folder", type=Path, nargs="?", default=default)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=8)
    arguments = parser.parse_args()
    if not environment().items() <= os.environ.items():  # as in a worker
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment())
    files = load_dataset(str(arguments.folder)).images[: arguments.images]
    images = [read_image(file.path) for file in files]
    compressai = import_compressai()
    for quality, weights in enumerate(published("bmshj2018-factorized", "mse"), 1):
        if weights.at_hand():
            net = compressai.zoo.bmshj2018_factorized(quality, pretrained=True).eval()
            title = f"bmshj2018-factorized, quality {quality}"
            compare(title, "compressai", quality, net, images, arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        net = compressai.models.MeanScaleHyperprior(128, 192).eval()
        net.update()
        path = Path(folder) / "weights.pth"
        torch.save(net.state_dict(), path)
        spec = f"compressai:model=mbt2018-mean,checkpoint={path}"
        compare("mbt2018-mean, random weights", spec, None, net, images, arguments.repeats)


if __name__ == "__main__":
    main()
