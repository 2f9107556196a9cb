"""`lic-bench measure`."""

from __future__ import annotations

from typing import Annotated

import typer

from lic_bench.analysis.anchor import anchor_of_curves
from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Device,
    Folder,
    Jobs,
    Json,
    Memory,
    OnlyCodecs,
    OriginalsOf,
    Plugins,
    Quiet,
    Timeout,
)


def measure(
    folder: Folder = RESULTS,
    metrics: Annotated[
        list[str],
        typer.Option("--metrics", "-m", metavar="SPECS", help="Separated by commas."),
    ] = ["default"],
    codecs: OnlyCodecs = [],
    dataset: OriginalsOf = [],
    jobs: Jobs = None,
    device: Device = "cpu",
    plugin: Plugins = [],
    timeout: Timeout = 600,
    memory: Memory = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Compute metrics from the bitstreams that DIR keeps; nothing is encoded.

    What DIR has already is not computed again: repeat the command to carry on after a break. Each
    stream is decoded by the codec that made it; where that has changed since, `run` measures anew.
    `lic-bench metrics` lists what there is.

    - `lic-bench measure results/mine --metrics ssimulacra2,psnr_hvs`
    - `lic-bench measure --metrics my-metric --plugin my_metric.py -c jpeg,webp`
    - `lic-bench measure results/mine --metrics vif -d "my photos"`
    """
    from lic_bench.cli import show
    from lic_bench.cli.arguments import originals, specs
    from lic_bench.errors import check_known
    from lic_bench.execution.again import measure_again
    from lic_bench.execution.memory import most_memory_gb
    from lic_bench.execution.runner import Limits, cores
    from lic_bench.execution.workers import Processes
    from lic_bench.metric.base import scores_of
    from lic_bench.metric.device import check_device
    from lic_bench.metric.registry import MetricRegistry
    from lic_bench.store.database import Store

    check_device(device)
    with Store.open(folder) as store:
        measured = store.dataset_names()
        known = list(store.states())
    chosen = specs(codecs)
    for codec in chosen:
        check_known("measured codec", codec, known)
    if memory is None:
        memory = most_memory_gb() if device == "cpu" else 0
    # The streams may be anybody's.
    limits = Limits(timeout, memory, confined=True)
    with console.resumable(), console.run_progress() as report:
        table = measure_again(
            folder,
            specs(metrics),
            originals(dataset, measured),
            codecs=chosen,
            plugins=plugin,
            device=device,
            workers=Processes(jobs or cores(), limits),
            report=report,
            note=lambda text: console.say(f"Note: {text}", err=True),
        )
    shown = table[table["codec"].isin(chosen)] if chosen else table
    if json:
        show.summary_as_json(shown, anchor_of_curves(shown), [])
    elif not quiet:
        for _, own in shown.groupby("dataset", sort=False):
            show.summary(own, anchor_of_curves(own))
    registry = MetricRegistry(plugin)
    figures = {score.name for spec in specs(metrics) for score in scores_of(registry.metric(spec))}
    # What was never encoded has no stream to measure: `run` tells of it.
    if show.failures(shown[shown["error"].isna()], figures=figures):
        raise typer.Exit(1)
