"""Whether the loader of photographs keeps up with training.

Batches of 32 random crops of 128 and 256 pixels: how many a second, how many megapixels a second,
and what of a batch's time is the CPU's own, by batches of tiny crops that cost next to nothing
else; beside the time of a training step on such batches. On a GPU the photographs lie there, and
the CPU only draws numbers and starts operations: what counts is that its own time is far below a
step.

    python tests/benchmarks/loader.py PHOTOGRAPHS [--device cuda] [--count 200] [--width 96]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lic_bench.codecs.content_weighted.training import Session, plan_for
from lic_bench.learned.data import load
from lic_bench.learned.options import TrainingOptions

BATCH, TINY = 32, 8


def cpu_seconds(work: Callable[[int], object], repeats: int) -> float:
    """CPU time of one call, whatever the device does meanwhile."""
    work(0)
    start = time.process_time()
    for step in range(repeats):
        work(step)
    return (time.process_time() - start) / repeats


def seconds(work: Callable[[int], object], repeats: int, device: torch.device) -> float:
    """Seconds for one call, everything on the device done."""
    work(0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for step in range(repeats):
        work(step)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, help="folder or tar file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--count", type=int, default=200, help="photographs")
    parser.add_argument("--width", type=int, default=None, help="of the network")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    images = load([arguments.photographs], arguments.count)
    placed = images.to(device)
    own = cpu_seconds(lambda step: placed.batch(step, BATCH, TINY, 0), 10 * arguments.repeats)
    print(f"{len(images.images)} photographs on {device}, {torch.get_num_threads()} threads")
    print(f"the CPU's own time for a batch of {BATCH}: {1000 * own:.2f} ms")
    print("| crops | batch | batches/s | Mpx/s | training step | share of the loader |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        options = TrainingOptions(
            (), Path(name), recipe="fast", device=arguments.device, batch=BATCH,
            width=arguments.width,
        )  # fmt: skip
        session = Session(plan_for(options, images), images, options.out, device)
        for side in (128, 256):
            load_s = seconds(
                lambda step, side=side: placed.batch(step, BATCH, side, 0),
                arguments.repeats,
                device,
            )
            batch = placed.batch(0, BATCH, side, 0)
            point = torch.arange(BATCH, device=device) % session.plan.settings.points
            session._batch = lambda step, batch=batch, point=point: (batch, point)
            step_s = seconds(
                lambda step: session.trainer.advance(session._loss), arguments.repeats // 4, device
            )
            print(
                f"| {BATCH} x {side} | {1000 * load_s:.1f} ms | {1 / load_s:.0f} "
                f"| {BATCH * side**2 / load_s / 1e6:.1f} | {1000 * step_s:.0f} ms "
                f"| {100 * load_s / (load_s + step_s):.1f} % |"
            )


if __name__ == "__main__":
    main()
