"""What a training leaves beside its checkpoint: loss curve, samples, weights and model card."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image
import torch

from lic_bench.codecs.content_weighted.model import STRIDE, ContentWeightedNet
from lic_bench.learned.losses import ms_ssim, mse, ssim

if TYPE_CHECKING:
    from lic_bench.codecs.content_weighted.training import Session

_SAMPLES = 4


def report(session: Session, say: Callable[[str], None], over: Callable[[], bool]) -> None:
    """Write everything but checkpoint and weights that can be written at this stage.

    When the time is `over`, nothing is reconstructed after the first photograph.
    """
    table = _samples(session, over)
    if find_spec("matplotlib") is not None:
        _loss_curve(session.out)
    else:
        say("loss.png is not drawn: there is no matplotlib; log.csv has the losses")
    if session.finished:
        (session.out / "MODEL_CARD.md").write_text(_card(session, table))


def _samples(session: Session, over: Callable[[], bool]) -> str:
    """Reconstruct held-out photographs; returns a table with PSNR, SSIM and MS-SSIM."""
    folder = session.out / "samples"
    folder.mkdir(exist_ok=True)
    # A copy that is not compiled: photographs of many sizes would be compiled for one by one.
    net = ContentWeightedNet(session.plan.settings).to(session.device)
    net.load_state_dict(session.codec.net.state_dict())
    begun = session.finished or session.plan.steps[session.stage][0] not in ("code", "map-start")
    with_map = session.plan.with_map and begun
    rows = ["| photograph | point | kept bits a pixel | PSNR (dB) | SSIM | MS-SSIM |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    shown = zip(session.held_out.images[:_SAMPLES], session.held_out.names, strict=False)
    for number, (photograph, name) in enumerate(shown):
        height, width = (side // STRIDE * STRIDE for side in photograph.shape[:2])
        x = photograph[:height, :width].permute(2, 0, 1)[None].float()
        for index in range(session.plan.settings.points):
            if number and over():
                break
            point = torch.tensor([index], device=x.device)
            with torch.inference_mode():
                codes = net.encode(x, point)
                mask = net.mask(codes.p if with_map else torch.ones_like(codes.p))
                code, _ = net.with_means(codes.bits * mask, codes.z)
                y = net.decode(code, point).round().clamp(0, 255)
            psnr = 10 * np.log10(255**2 / float(mse(x, y)))
            rows.append(
                f"| {name} | {index + 1} | {float(mask.sum()) / (height * width):.3f} "
                f"| {psnr:.2f} | {float(ssim(x, y)):.4f} | {float(ms_ssim(x, y)):.4f} |"
            )
            pixels = y[0].to(torch.uint8).permute(1, 2, 0).cpu().numpy()
            stem = f"{Path(name).stem}-{index + 1}"
            PIL.Image.fromarray(pixels).save(folder / f"{stem}.png")
    table = "\n".join(rows) + "\n"
    (folder / "samples.md").write_text(table)
    return table


def _loss_curve(out: Path) -> None:
    from matplotlib.figure import Figure

    with (out / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        axes.plot(
            [float(row["seconds"]) / 60 for row in own],
            [float(row["loss"]) for row in own],
            label=stage,
        )
    axes.set_xlabel("training [min]")
    axes.set_ylabel("loss of the stage")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(out / "loss.png", dpi=150)


def _card(session: Session, table: str) -> str:
    plan = json.dumps(asdict(session.plan), indent=2)
    device = "a CPU" if session.device.type == "cpu" else torch.cuda.get_device_name(session.device)
    return f"""# Model card: content-weighted

Trained on {device} ({platform.processor() or platform.machine()}) in
{session.seconds / 60:.0f} minutes, on {len(session.photographs.images)} photographs;
{len(session.held_out.images)} others were held out. torch {torch.__version__}.

## Plan

```json
{plan}
```

The losses are in `log.csv`.

## Held-out photographs

{table}"""
