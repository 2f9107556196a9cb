"""The command `lic-bench report`."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.errors import DatasetError, SpecError, UnavailableError

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.execution.runner import Limits
    from lic_bench.images.dataset import Dataset
    from lic_bench.reporting.page.data import Json
    from lic_bench.reporting.page.pictures import Picture
    from lic_bench.reporting.page.scenes import Scene

_MB = 1_000_000
_PAGE = 200_000  # bytes of the page itself, more or less


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder that `lic-bench run --out` wrote.")
    ] = Path("results/mine"),
    codecs: Annotated[
        list[str],
        typer.Option("--codecs", "-c", metavar="SPECS", help="Separated by commas; all."),
    ] = [],
    dataset: Annotated[
        list[str],
        typer.Option(
            "--dataset",
            "-d",
            metavar="NAME|PATH",
            help="Data sets to show, as they were given to the run; all. A folder's originals are "
            "found by its path alone.",
        ),
    ] = [],
    published: Annotated[
        list[str],
        typer.Option(metavar="NAMES", help="Curves that others published, to be set beside ours."),
    ] = [],
    viewer: Annotated[bool, typer.Option(help="Put pictures into the page.")] = True,
    images: Annotated[
        int, typer.Option(min=1, help="Images of each data set in the viewer, evenly chosen.")
    ] = 24,
    rates: Annotated[
        str,
        typer.Option(
            metavar="BPP,...", help="Rates of the pictures; those of 0.15,0.3,0.6 that are reached."
        ),
    ] = "",
    max_size: Annotated[
        float, typer.Option(metavar="MB", min=1, help="Leave out pictures beyond this size.")
    ] = 60,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; one a core.")
    ] = None,
    plugin: Annotated[
        list[Path], typer.Option("--plugin", metavar="FILE", help="As they were given to the run.")
    ] = [],
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="For one picture; its codec is then left out; 0: none."
        ),
    ] = 60,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0, help="For one worker, on Linux; 0: no limit. Most."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="An .html file; DIR/report.html."),
    ] = None,
) -> None:
    """Make one HTML file of the curves, BD-rates, images and pictures: it opens from disk.

    - `lic-bench report`
    - `lic-bench report results/mine -c jpeg,jpeg2000 -d kodak --images 8 -o report.html`
    - `lic-bench report --no-viewer --published vtm,bpg_444_x265_ycbcr`
    """
    from datetime import UTC, datetime
    from importlib.metadata import version

    from lic_bench.codec.spec import split_specs
    from lic_bench.execution import provenance
    from lic_bench.execution.runner import Limits, most_memory_gb
    from lic_bench.metrics.targets import parse_target
    from lic_bench.reporting.page import data
    from lic_bench.reporting.page import html as page
    from lic_bench.store import table as measurements
    from lic_bench.store.database import Store

    path = out or (folder if folder.is_dir() else folder.parent) / "report.html"
    if path.suffix != ".html":
        raise SpecError(f"{path}: a report is written as .html")
    wanted_rates = _rates(rates)
    with Store.open(folder) as store:
        frame, runs = measurements.frame(store), store.runs()
        store_path = store.path
    measured = sorted(set(frame["dataset"]))
    sets = _datasets(dataset, measured) if viewer or dataset else dict.fromkeys(measured)
    frame = _chosen(frame, list(sets), [spec for text in codecs for spec in split_specs(text)])
    others = list(dict.fromkeys(name for text in published for name in text.split(",") if name))
    gathered = data.gather(frame, runs, others)
    scenes, shots = _scenes(gathered, frame, wanted_rates, images if viewer else 0, sets)
    budget = int(max_size * _MB) - len(page.as_json(gathered)) - _PAGE
    limits = Limits(timeout, most_memory_gb() if memory is None else memory)
    made = _made(scenes, store_path, budget, jobs, plugin, limits) if scenes else []
    everything = [*made, *shots]
    targets = {one.rate for one in scenes if isinstance(one.rate, str)}
    for codec in gathered["codecs"]:
        codec["unit"] = _unit(codec["name"], plugin)
    gathered |= {
        "targets": {target: parse_target(target).text for target in targets},
        "version": version("lic-bench"),
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": provenance.command(),
        "noPictures": "There are no pictures of this data set in the page; "
        "lic-bench report without --no-viewer puts them in.",
    }
    page.write(path, gathered, everything)
    _tell(everything, path)


def _made(
    scenes: list[Scene],
    store: Path,
    budget: int,
    jobs: int | None,
    plugins: list[Path],
    limits: Limits,
) -> list[Picture]:
    """Make the pictures, and show how far it is."""
    from rich.console import Console
    from rich.progress import track

    from lic_bench.execution.runner import cores
    from lic_bench.reporting.page.gallery import make_all

    files = tuple(plugin.resolve() for plugin in plugins)
    jobs = min(jobs or cores(), len(scenes))
    groups = make_all(scenes, store, budget=budget, jobs=jobs, plugins=files, limits=limits)
    console = Console(stderr=True)
    shown = track(
        groups,
        "pictures",
        total=len(scenes),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    return [picture for group in shown for picture in group]


def _scenes(
    gathered: Json,
    frame: pd.DataFrame,
    rates: list[float],
    images: int,
    sets: dict[str, Dataset | None],
) -> tuple[list[Scene], list[Picture]]:
    """Set each data set's rates; choose the pictures at them, and tell which there cannot be."""
    from lic_bench.analysis.curves import aggregate
    from lic_bench.reporting.page import scenes as choice

    aggregated, files = aggregate(frame), choice.originals([one for one in sets.values() if one])
    scenes, missing = [], []
    for one in gathered["datasets"]:
        one["rates"] = rates or choice.common_rates(aggregated, one["name"])
        if images:
            shown = {image["name"] for image in one["images"]}
            found, lost = choice.scenes(
                frame[frame["image"].isin(shown)], one["name"], one["rates"], images, files
            )
            scenes += found
            missing += lost
    return scenes, missing


def _unit(spec: str, plugins: list[Path]) -> str:
    """What the operating points of a codec are; nothing for one that is not known here."""
    from lic_bench.codec.registry import Registry
    from lic_bench.codec.spec import parse_spec

    with suppress(SpecError):
        cls = Registry(plugins).entry(parse_spec(spec).name).cls
        return cls.point_unit if cls is not None else ""
    return ""


def _rates(text: str) -> list[float]:
    try:
        rates = sorted({float(rate) for rate in text.split(",") if rate.strip()})
    except ValueError:
        rates = [math.nan]
    if not all(0 < rate < math.inf for rate in rates):
        raise SpecError(f"--rates {text}: bits per pixel are wanted, as in 0.15,0.3,0.6")
    return rates


def _datasets(specs: list[str], measured: list[str]) -> dict[str, Dataset | None]:
    """The data sets to show, by name; None where the images are not at hand."""
    from lic_bench.errors import check_known
    from lic_bench.images.dataset import load_dataset, load_named

    sets: dict[str, Dataset | None] = {}
    for spec in specs or measured:
        try:
            loaded = load_dataset(spec) if specs else load_named(spec)
        except (DatasetError, UnavailableError) as error:
            if spec not in measured:
                raise
            typer.echo(f"Without the originals of {spec}: {error}", err=True)
            sets[spec] = None
            continue
        check_known("measured data set", loaded.name, measured)
        sets[loaded.name] = loaded
    return sets


def _chosen(frame: pd.DataFrame, datasets: list[str], codecs: list[str]) -> pd.DataFrame:
    from lic_bench.errors import check_known

    frame = frame[frame["dataset"].isin(datasets)]
    for codec in codecs:
        check_known("measured codec", codec, frame["codec"].unique())
    return frame[frame["codec"].isin(codecs)] if codecs else frame


def _tell(pictures: list[Picture], path: Path) -> None:
    lost: dict[str, int] = {}
    for picture in pictures:
        if picture.problem is not None:
            lost[picture.problem] = lost.get(picture.problem, 0) + 1
    for problem, number in lost.items():
        typer.echo(f"{number} picture{'s'[: number > 1]} left out: {problem}", err=True)
    there = len(pictures) - sum(lost.values())
    typer.echo(f"{path}: {path.stat().st_size / _MB:.1f} MB, {there} pictures")
