"""`lic-bench run`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.analysis.anchor import usual_anchor
from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Anchor,
    Codecs,
    Debug,
    Device,
    Jobs,
    Json,
    Memory,
    Metrics,
    OnDatasets,
    Out,
    Plugins,
    Points,
    Quiet,
    Timeout,
)
from lic_bench.errors import SpecError, UndefinedError

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.metric.targets import Target


def run(
    codecs: Codecs = ["jpeg,jpeg2000"],
    dataset: OnDatasets = ["sample"],
    points: Points = [],
    images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only so many of each data set, evenly chosen, called kodak-4of24."
        ),
    ] = None,
    match: Annotated[
        list[str],
        typer.Option(
            metavar="bpp=RATE|METRIC=DB",
            help="Search the point of each image that meets this rate or quality, too.",
        ),
    ] = [],
    metrics: Metrics = [],
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Test conditions, for rates, metrics and anchor: jpeg-ai, clic, or a .toml file.",
        ),
    ] = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    out: Out = RESULTS,
    plugin: Plugins = [],
    timeout: Timeout = 600,
    memory: Memory = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Measure on a Dask cluster: tcp://HOST:8786 of its scheduler."
        ),
    ] = None,
    insecure_scheduler: Annotated[
        bool,
        typer.Option(
            "--insecure-scheduler",
            help="Let the scheduler be on another machine without TLS: whoever reaches it, or is "
            "on the way to it, can run code here and on its workers.",
        ),
    ] = False,
    check_decode: Annotated[
        bool,
        typer.Option(
            "--check-decode",
            help="Decode each bitstream again, with other threads or on a GPU, and compare.",
        ),
    ] = False,
    anchor: Anchor = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be measured, and measure nothing.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch known data sets that are not here.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure codecs on data sets; then show a table, and draw the curves.

    What DIR holds already is not measured again: repeat a command to carry on after a break, or
    name a further codec to add it.

    - `lic-bench run --codecs jpeg,jpeg2000 --dataset kodak`
    - `lic-bench run -c jpeg,webp -d kodak --images 4 --dry-run`
    - `lic-bench run -c jpeg:subsampling=4:4:4 -d "~/my photos" --points 5:95:5`
    - `lic-bench run -c jpeg,jpeg2000 -p jpeg=10,50,90 -p jpeg2000=96,48,24 -o results/three`
    - `lic-bench run -c jpeg,jpeg2000 -d kodak --match bpp=0.25 --match psnr_rgb=32`
    - `lic-bench run -c jpeg,webp -d kodak --metrics ssimulacra2,vif`
    - `lic-bench run --profile jpeg-ai -c jpegxl,avif -d kodak`
    - `lic-bench run --plugin my_codec.py --codecs my-codec,jpeg`
    """
    from lic_bench.cli import show
    from lic_bench.cli.arguments import expand, points_by_spec
    from lic_bench.cli.arguments import specs as split
    from lic_bench.execution.plan import plan
    from lic_bench.execution.run import TABLES, execute, workers_for
    from lic_bench.metric.profile import load as load_profile
    from lic_bench.metric.quality import metrics_of_targets

    specs = expand(codecs, plugin)
    conditions = None if profile is None else load_profile(profile)
    if conditions is not None:
        anchor = anchor or conditions.anchor or None
        specs += [anchor] if anchor and anchor not in specs else []
    if anchor is not None and anchor not in specs:
        raise SpecError(f"the anchor {anchor!r} is none of the run's codecs: {', '.join(specs)}")
    datasets = [str(Path(one).expanduser()) if one.startswith("~") else one for one in dataset]
    _fetch_missing(datasets, unasked=fetch)
    planned = plan(
        specs,
        datasets,
        points=points_by_spec(points),
        device=device,
        plugins=plugin,
        metrics=[*split(metrics), *metrics_of_targets(match)],
        images=images,
    )
    if not (quiet or json):
        show.images_left_out(planned)
    if dry_run:
        show.plan(planned, out, as_json=json)
        return
    targets = _targets(match)  # of metrics that are known by now
    more = None
    if conditions is not None:
        targets = list(dict.fromkeys([*targets, *conditions.targets]))
        planned, more = (
            planned.searching(points_by_spec(points)),
            planned.with_metrics(conditions.metrics),
        )
    workers = workers_for(
        planned,
        jobs=jobs,
        timeout_s=timeout,
        memory_gb=memory,
        scheduler=scheduler,
        insecure_scheduler=insecure_scheduler,
    )
    verdicts = []
    with console.resumable(), console.run_progress(quiet=quiet or json) as report:
        if targets:
            from lic_bench.execution.matching import match as search

            measurements = search(
                planned, targets, out, afterwards=more, workers=workers, report=report
            )
        else:
            measurements = execute(planned, out, workers=workers, report=report)
        if check_decode:
            from lic_bench.execution import decodes

            verdicts = decodes.check(planned, out, jobs=jobs, timeout_s=timeout, report=report)
    against = anchor or usual_anchor(specs)
    drawn = [] if conditions is not None else _draw(measurements, out)
    paths = [*(out / name for name in TABLES), *drawn]
    if json:
        show.summary_as_json(measurements, against, paths)
    elif not quiet:
        if conditions is not None:
            show.conditions(measurements, conditions, anchor, out, Path(profile or "").stem)
        else:
            show.summary(measurements, against)
            show.too_small(measurements, planned)
        if targets and conditions is None:
            show.matches(measurements, targets, anchor)
        for path in paths:
            console.say(path)
    differ = show.differences(verdicts)
    figures = {score.name for score, _ in (more or planned).scores}
    tracebacks = out if debug else None
    if show.failures(measurements, figures=figures, tracebacks=tracebacks) or differ:
        raise typer.Exit(1)


def _fetch_missing(datasets: Sequence[str], *, unasked: bool) -> None:
    """Fetch known data sets that are not here, where the user says so."""
    import sys

    from lic_bench.errors import plain
    from lic_bench.images.fetch import fetch
    from lic_bench.images.manifest import known_datasets

    wanted = set(map(plain, datasets))
    for known in known_datasets() if unasked or sys.stdin.isatty() else ():
        if plain(known.name) not in wanted or known.path is not None or not known.bytes:
            continue
        question = f"{known.name} is not here. Fetch it ({known.bytes / 1e6:.0f} MB)?"
        if unasked or typer.confirm(question, default=True, err=True):
            fetch(known.name)


def _targets(texts: Sequence[str]) -> list[Target]:
    if not texts:
        return []
    from lic_bench.metric.targets import parse_target  # brings pandas

    return list(dict.fromkeys(map(parse_target, texts)))


def _draw(table: pd.DataFrame, out: Path) -> list[Path]:
    """Draw each data set's curves into the folder; return where."""
    from lic_bench.reporting import plots

    drawn = []
    for name in table["dataset"].unique():
        path = out / f"{name}.png"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the table has said it
                plots.save_plot(plots.plot(table, dataset=name), path)
        except UndefinedError as error:
            console.messages().print(f"No plot of {name}: {error}", markup=False)
        else:
            drawn.append(path)
    return drawn
