"""The command line: lic-bench run | plot | verify | codecs | datasets | encode | decode ...

Each command imports what it needs when it is called, so that help and listings answer at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lic_bench.cli.check import check
from lic_bench.cli.evaluate import compare, table, time
from lic_bench.cli.import_results import bring, forget
from lic_bench.cli.report import report
from lic_bench.cli.train import train
from lic_bench.errors import BitstreamError, LicBenchError, SpecError
from lic_bench.printable import printable

if TYPE_CHECKING:
    from lic_bench.codec.base import Codec, Point
    from lic_bench.execution.decodes import Verdict
    from lic_bench.metrics.targets import Target

app = typer.Typer(
    help="The bench on which learned and classical image codecs meet on equal terms.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
datasets_app = typer.Typer(
    help="List the known data sets, or fetch one.", rich_markup_mode="markdown"
)
app.add_typer(datasets_app, name="datasets", invoke_without_command=True)
app.command()(train)
app.command()(check)
app.command()(bring)
app.command()(forget)
app.command()(compare)
app.command()(table)
app.command()(time)
app.command()(report)

_RESULTS = Path("results/mine")

Plugins = Annotated[
    list[Path],
    typer.Option("--plugin", metavar="FILE", help="Further codecs, in a Python or TOML file."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="[DIR]", help="The folder that `lic-bench run --out` wrote.")
]


def main() -> None:
    """Run the command line; what a user can mend is told without a traceback."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # nor do workers import from the current folder
    try:
        app()
    except LicBenchError as error:
        text = "\n".join(map(printable, f"lic-bench: {error}".split("\n")))
        Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lic-bench {version('lic-bench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    codecs: Annotated[
        list[str],
        typer.Option(
            "--codecs", "-c", metavar="SPECS", help="Codecs, separated by commas; or all."
        ),
    ] = ["jpeg,jpeg2000"],
    dataset: Annotated[
        list[str],
        typer.Option(
            "--dataset", "-d", metavar="NAME|PATH", help="A known data set, or a folder of images."
        ),
    ] = ["sample"],
    points: Annotated[
        list[str],
        typer.Option(
            "--points",
            "-p",
            metavar="[SPEC=]POINTS",
            help="Operating points: 10,50,90 or 10:90:20, for all codecs or, after SPEC=, for one.",
        ),
    ] = [],
    match: Annotated[
        list[str],
        typer.Option(
            metavar="bpp=RATE|METRIC=DB",
            help="Search the point of each image that meets this rate or quality, too.",
        ),
    ] = [],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; one a core.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where the metrics are computed: cpu, cuda, cuda:1.")
    ] = "cpu",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Where results are kept and resumed.")
    ] = _RESULTS,
    plugin: Plugins = [],
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="For one measurement, which fails after it; 0: no limit."
        ),
    ] = 600,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            min=0,
            help="For one worker, on Linux; 0: no limit. Most there is, or none with a GPU.",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Measure on a Dask cluster: tcp://HOST:8786 of its scheduler."
        ),
    ] = None,
    check_decode: Annotated[
        bool,
        typer.Option(
            "--check-decode",
            help="Decode each bitstream again, with other threads or on a GPU, and compare.",
        ),
    ] = False,
    anchor: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="The anchor of the BD-rates; jpeg, or the first codec."),
    ] = None,
) -> None:
    """Measure codecs on data sets; then show a table, and draw the curves.

    What DIR holds already is not measured again: repeat a command to carry on after a break, or
    name a further codec to add it.

    - `lic-bench run --codecs jpeg,jpeg2000 --dataset kodak`
    - `lic-bench run -c jpeg:subsampling=4:4:4 -d "~/my photos" --points 5:95:5`
    - `lic-bench run -c jpeg,jpeg2000 -p jpeg=10,50,90 -p jpeg2000=96,48,24 -o results/three`
    - `lic-bench run -c jpeg,jpeg2000 -d kodak --match bpp=0.25 --match psnr_rgb=32`
    - `lic-bench run --plugin my_codec.py --codecs my-codec,jpeg`
    """
    from lic_bench.cli import show
    from lic_bench.cli.specs import expand, points_by_spec
    from lic_bench.execution.plan import plan
    from lic_bench.execution.run import execute, workers_for

    specs = expand(codecs, plugin)
    if anchor is not None and anchor not in specs:
        raise SpecError(f"the anchor {anchor!r} is none of the run's codecs: {', '.join(specs)}")
    targets = _targets(match)
    planned = plan(
        specs,
        [str(Path(name).expanduser()) if name.startswith("~") else name for name in dataset],
        points=points_by_spec(points),
        device=device,
        plugins=plugin,
    )
    workers = workers_for(
        planned, jobs=jobs, timeout_s=timeout, memory_gb=memory, scheduler=scheduler
    )
    with _resumable(), show.progress() as report:
        measurements = execute(planned, out, workers=workers, report=report)
        if targets:
            from lic_bench.execution.matching import match as search

            measurements = search(planned, targets, out, workers=workers, report=report)
        verdicts: list[Verdict] = []
        if check_decode:
            from lic_bench.execution import decodes

            verdicts = decodes.check(planned, out, jobs=jobs, timeout_s=timeout, report=report)
    show.summary(measurements, anchor or ("jpeg" if "jpeg" in specs else specs[0]))
    if targets:
        show.matches(measurements, targets, anchor)
    show.written(measurements, out)
    if show.differences(verdicts) | show.failures(measurements):
        raise typer.Exit(1)


@app.command()
def plot(
    folder: Folder = _RESULTS,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            "-m",
            help="psnr_rgb, psnr_rgb_pooled, psnr_y, psnr_y709, ssim_rgb, ssim_y, ms_ssim_rgb "
            "or ms_ssim_y.",
        ),
    ] = "psnr_rgb",
    codecs: Annotated[
        list[str],
        typer.Option("--codecs", "-c", metavar="SPECS", help="Separated by commas; all."),
    ] = [],
    dataset: Annotated[
        str | None, typer.Option("--dataset", "-d", help="Needed where DIR holds several.")
    ] = None,
    xlim: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Range of bpp; 0,2 or 0, or ,2.")
    ] = None,
    ylim: Annotated[
        str | None, typer.Option(metavar="LOW,HIGH", help="Range of the metric.")
    ] = None,
    published: Annotated[
        list[str],
        typer.Option(metavar="NAMES", help="Curves that others published, to be set beside ours."),
    ] = [],
    wide: Annotated[bool, typer.Option("--wide", help="Two columns wide instead of one.")] = False,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis of bpp.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help=".png, .pdf or .svg; DIR/METRIC.png."),
    ] = None,
) -> None:
    """Draw rate-distortion curves, fit for a paper.

    - `lic-bench plot --metric ms_ssim_rgb`
    - `lic-bench plot results/mine -c jpeg,jpeg2000 -d kodak --xlim 0,1.5 -o figure.pdf`
    - `lic-bench plot -d kodak --published vtm,bpg_444_x265_ycbcr,webp@tfc`
    """
    from lic_bench.codec.spec import split_specs
    from lic_bench.reporting import plots
    from lic_bench.store.table import load

    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        figure = plots.plot(
            load(folder),
            metric=metric,
            codecs=[spec for text in codecs for spec in split_specs(text)] or None,
            dataset=dataset,
            xlim=_range("--xlim", xlim),
            ylim=_range("--ylim", ylim),
            width="wide" if wide else "column",
            xscale="log" if log else "linear",
            published=[name for text in published for name in text.split(",") if name],
        )
    for note in notes:
        typer.echo(f"Note: {note.message}", err=True)
    path = out or (folder if folder.is_dir() else folder.parent) / f"{metric}.png"
    plots.save_plot(figure, path)
    typer.echo(path)


@app.command()
def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where measurements are kept and resumed.")
    ] = _RESULTS,
    codecs: Annotated[
        list[str],
        typer.Option(
            "--codecs", "-c", metavar="SPECS", help="Separated by commas; the quick ones."
        ),
    ] = [],
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; one a core.")
    ] = None,
) -> None:
    """Check that the figures are right: ours beside published ones, on Kodak.

    Measures what DIR does not hold yet. Tells the difference in quality at equal rate and in rate
    at equal quality, and fails where one is larger than it should be.

    - `lic-bench verify`
    - `lic-bench verify results/mine -c webp,compressai`
    """
    from lic_bench.checks import published_figures as verify
    from lic_bench.cli import show
    from lic_bench.codec.spec import split_specs

    chosen = verify.checks([spec for text in codecs for spec in split_specs(text)])
    with _resumable(), show.progress() as report:
        verdicts = verify.verify(chosen, folder, jobs=jobs, report=report)
    for verdict in verdicts:
        typer.echo(f"{verdict}\n")
    found = [verdict.fine for verdict in verdicts]
    count = found.count
    typer.echo(f"{count(True)} fine, {count(False)} not fine, {count(None)} without judgement")
    if False in found:
        raise typer.Exit(1)


@app.command()
def codecs(plugin: Plugins = []) -> None:
    """List the codecs: operating points, options, and which cannot be used here and why."""
    from lic_bench.codec.base import point_text
    from lic_bench.codec.registry import Registry
    from lic_bench.codec.spec import option_texts

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("codec", "operating points", "options", "from"):
        table.add_column(column, overflow="fold")
    problems = []
    registry = Registry(plugin)
    for entry in map(registry.entry, registry.names()):
        points = options = ""
        if entry.cls is not None:
            options = "\n".join(option_texts(entry.cls))
            if entry.cls.points != (None,):
                values = ", ".join(map(point_text, entry.cls.points))
                points = f"{entry.cls.point_unit} {values}".strip()
        if entry.problem is not None:
            problems.append(f"{entry.name} cannot be used here: {entry.problem}")
        name = entry.name if entry.problem is None else f"{entry.name} (unavailable)"
        table.add_row(*(_plain(text) for text in (name, points, options, entry.origin)))
    Console(highlight=False).print(table)
    for problem in problems:
        typer.echo(f"\n{problem}")


@datasets_app.callback()
def datasets(context: typer.Context) -> None:
    """List the known data sets, and where each lies or how to get it."""
    if context.invoked_subcommand is not None:
        return
    from lic_bench.images.manifest import known_datasets

    for known in known_datasets():
        size = f"{known.bytes / 1e6:.0f} MB to fetch" if known.bytes else "nothing to fetch"
        typer.secho(known.name, bold=True)
        typer.echo(f"  {known.summary}; {known.images} images, {size}")
        typer.echo(f"  {known.licence}")
        for line in (known.problem or f"at hand: {known.path}").splitlines():
            typer.echo(f"  {line}")


@datasets_app.command()
def fetch(names: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Fetch data sets, check them, and put them where every run finds them.

    - `lic-bench datasets fetch kodak`
    """
    from lic_bench.images.fetch import fetch

    for name in names:
        typer.echo(fetch(name))


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(metavar="IMAGE")],
    target: Annotated[Path, typer.Argument(metavar="STREAM")],
    codec: Annotated[str, typer.Option("--codec", "-c", metavar="SPEC")],
    point: Annotated[
        str | None,
        typer.Option("--point", "-p", help="The operating point, where there are several."),
    ] = None,
    show_map: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="Show where the bits went, for codecs that know."),
    ] = None,
    plugin: Plugins = [],
) -> None:
    """Encode an image into a file that holds the bitstream and nothing else.

    - `lic-bench encode --codec jpeg2000 --point 40 in.png out.jp2`
    - `lic-bench encode -c content-weighted -p 3 in.png out.cw --show-map map.png`
    """
    from lic_bench.codec.base import ShowsImportance
    from lic_bench.codec.registry import Registry
    from lic_bench.files import atomic_write
    from lic_bench.images.image import read_image, write_image

    made = Registry(plugin).codec(codec)
    chosen = _point(made, point)
    image = read_image(source)
    shown = None
    if show_map is not None:
        if not isinstance(made, ShowsImportance):
            raise SpecError(f"{made.name} has no importance map to show: leave out --show-map")
        shown = made.importance_map(image, chosen)
    stream = made.encode(image, chosen)
    with atomic_write(target) as part:
        part.write_bytes(stream)
    height, width, _ = image.shape
    rate = 8 * len(stream) / (width * height)
    typer.echo(f"{target}: {width}x{height} pixels in {len(stream):,} bytes, {rate:.4f} bpp")
    if show_map is not None and shown is not None:
        write_image(show_map, shown)
        typer.echo(show_map)


@app.command()
def decode(
    source: Annotated[Path, typer.Argument(metavar="STREAM")],
    target: Annotated[Path, typer.Argument(metavar="IMAGE")],
    codec: Annotated[str, typer.Option("--codec", "-c", metavar="SPEC")],
    plugin: Plugins = [],
) -> None:
    """Decode a bitstream into an image file.

    - `lic-bench decode --codec jpeg2000 out.jp2 back.png`
    """
    from lic_bench.codec.registry import Registry
    from lic_bench.images.image import write_image

    made = Registry(plugin).codec(codec)
    try:
        stream = source.read_bytes()
    except OSError as error:
        raise BitstreamError(f"{source} cannot be read: {error.strerror}") from error
    try:
        image = made.decode(stream)
    except BitstreamError as error:
        raise BitstreamError(f"{source}: {error}") from error
    write_image(target, image)
    height, width, _ = image.shape
    typer.echo(f"{target}: {width}x{height} pixels")


@app.command()
def export(
    folder: Folder = _RESULTS,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A .parquet or .csv file.")
    ] = Path("measurements.csv"),
) -> None:
    """Write the measurements of a folder as Parquet or CSV.

    - `lic-bench export results/mine --out measurements.csv`
    """
    from lic_bench.store import table as measurements

    measurements.export(measurements.load(folder), out)
    typer.echo(out)


@app.command()
def runs(folder: Folder = _RESULTS) -> None:
    """Show how a folder's measurements came about, as JSON: one object for each run.

    Command, machine, versions of libraries, digests of data sets, identities of codecs.
    """
    import json

    from lic_bench.store.database import Store

    with Store.open(folder) as store:
        typer.echo(json.dumps(store.runs(), indent=2, ensure_ascii=False))


@contextmanager
def _resumable() -> Iterator[None]:
    """Say, where a user stops a run, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        from lic_bench.execution import provenance

        Console(stderr=True, soft_wrap=True).print(
            "Stopped. What was measured is kept; the same command carries on from there:\n"
            f"  {provenance.command()}",
            markup=False,
            highlight=False,
        )
        raise typer.Exit(130) from None


def _targets(texts: list[str]) -> list[Target]:
    if not texts:
        return []
    from lic_bench.metrics.targets import parse_target  # brings pandas

    return list(dict.fromkeys(map(parse_target, texts)))


def _point(codec: Codec, text: str | None) -> Point:
    from lic_bench.codec.base import point_text
    from lic_bench.codec.spec import parse_points

    if text is not None:
        return parse_points(codec, [text])[0]
    if len(codec.points) > 1:
        points = ", ".join(map(point_text, codec.points))
        raise SpecError(f"{codec.name} needs a --point: {codec.point_unit} such as {points}")
    return codec.points[0]


def _range(option: str, text: str | None) -> tuple[float | None, float | None] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) if part.strip() else None for part in text.split(","))
    except ValueError:
        raise SpecError(f"{option} {text}: a range is LOW,HIGH, as in 0,2") from None
    return low, high


def _plain(text: str) -> str:
    """Text that rich prints as it is."""
    from rich.markup import escape

    return escape(text)
