"""The command `lic-bench report`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.analysis.anchor import usual_anchor
from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Folders,
    Jobs,
    Json,
    Memory,
    OnlyCodecs,
    OriginalsOf,
    Plugins,
    PointsOf,
    Published,
    Quiet,
    Timeout,
)
from lic_bench.errors import SpecError, StoreError
from lic_bench.files import as_json as text_of

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.execution.runner import Limits
    from lic_bench.images.dataset import Dataset
    from lic_bench.reporting.page.data import Json as JsonData
    from lic_bench.reporting.page.pictures import Picture
    from lic_bench.reporting.page.scenes import Scene
    from lic_bench.store.database import Store

_MB = 1_000_000
_PAGE = 200_000  # bytes of the page itself, more or less


def report(
    folders: Folders = [str(RESULTS)],
    codecs: OnlyCodecs = [],
    dataset: OriginalsOf = [],
    points: PointsOf = [],
    published: Published = [],
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
    paths: Annotated[
        bool, typer.Option("--paths", help="Say in which folders of this machine files lie.")
    ] = False,
    jobs: Jobs = None,
    plugin: Plugins = [],
    timeout: Timeout = 60,
    memory: Memory = None,
    quiet: Quiet = False,
    json: Json = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="An .html file; DIR/report.html."),
    ] = None,
) -> None:
    """Make one HTML file of the curves, BD-rates, images and pictures: it opens from disk.

    Pictures are decoded without a network, and kept for the next report in LIC_BENCH_CACHE, up to
    500 MB. A codec whose options name a file (weights=...) is shown
    where --codecs names it: a store that was sent must not choose files here.

    - `lic-bench report`
    - `lic-bench report results/mine -c jpeg,jpeg2000 -d kodak --images 8 -o report.html`
    - `lic-bench report ours=results/mine theirs=results/from-the-cluster -o both.html`
    - `lic-bench report --no-viewer --published vtm,bpg_444_x265_ycbcr`
    """
    from lic_bench.cli.arguments import names, originals, points_by_spec, specs
    from lic_bench.cli.reading import beside
    from lic_bench.execution.memory import most_memory_gb
    from lic_bench.execution.runner import Limits
    from lic_bench.rating import results
    from lic_bench.reporting.page import data
    from lic_bench.reporting.page import html as page
    from lic_bench.store.database import Store
    from lic_bench.store.selection import select
    from lic_bench.store.together import named

    path = out or beside(folders) / "report.html"
    if path.suffix != ".html":
        raise SpecError(f"{path}: a report is written as .html")
    wanted_rates = _rates(rates)
    stores = named(folders)
    with _one_store(list(stores.values())) as folder:
        with Store.open(folder) as store:
            typed = specs(codecs)
            measurements = _read(store, stores, typed)
            runs, store_path = store.runs(), store.path
            people = results.of_store(store)
        measured = sorted(set(measurements["dataset"]))
        sets: dict[str, Dataset | None] = dict.fromkeys(measured)
        if viewer or dataset:
            found = originals(dataset, measured)
            sets = {name: None if isinstance(one, str) else one for name, one in found.items()}
            for name, one in found.items():
                if isinstance(one, str):
                    console.say(f"Without the originals of {name}: {one}", err=True)
        asked = points_by_spec(points)
        measurements = select(measurements, codecs=typed, datasets=list(sets), points=asked)
        chosen = list(measurements["codec"].unique()) if typed else []
        _warn(measurements)
        content = data.gather(measurements, runs, names(published)) | {"people": people}
        some = images if viewer else 0
        scenes, missing = _scenes(content, measurements, wanted_rates, some, sets)
        budget = int(max_size * _MB) - len(page.as_json(content)) - _PAGE
        memory = most_memory_gb() if memory is None else memory
        limits = Limits(timeout, memory, confined=True)
        made = _pictures(scenes, store_path, budget, jobs, plugin, chosen, limits)
        pictures = [*made, *missing]
        specs_of = dict(zip(measurements["codec"], measurements["spec"], strict=True))
        about = _about(content, scenes, specs_of, plugin)
        page.write(path, content | about, pictures, folders=paths)
    _summarise(pictures, path, as_json=json)


@contextmanager
def _one_store(folders: list[Path]) -> Iterator[Path]:
    """A folder; or several put together, for as long as they are needed."""
    if len(folders) == 1:
        yield folders[0]
        return
    from lic_bench.store.database import FILE_NAME
    from lic_bench.store.merging import merge

    with TemporaryDirectory(prefix="lic-bench-") as together:
        try:
            path = merge(folders, Path(together))
        except StoreError as error:
            ours = str(Path(together) / FILE_NAME)
            raise StoreError(str(error).replace(ours, "another of the folders")) from error
        yield path.parent


def _read(store: Store, stores: dict[str, Path], typed: list[str]) -> pd.DataFrame:
    """The measurements of an open store, with each codec's `spec`.

    Where stores were put together that have a codec in different states, these are called after
    their stores, as the other commands call them.
    """
    from lic_bench.store.table import frame
    from lic_bench.store.together import states_together

    names = states_together(stores) if len(stores) > 1 else {}
    of_state = {
        spec if identity == store.latest(spec) else f"{spec}@{number}": (spec, identity)
        for spec, identities in store.states().items()
        for identity, number in identities.items()
    }
    others = [name for name, state in of_state.items() if state in names and name != state[0]]
    table = frame(store, [*typed, *others])
    called = {name: names[state] for name, state in of_state.items() if state in names}
    plain = {name: spec for name, (spec, _) in of_state.items()}
    plain |= {f"{spec}@{n}": spec for spec, own in store.states().items() for n in own.values()}
    table = table.assign(
        spec=table["codec"].map(lambda name: plain.get(name, name)),
        codec=table["codec"].map(lambda name: called.get(name, name)),
    )
    return table.sort_values(["dataset", "codec"], kind="stable", ignore_index=True)


def _warn(measurements: pd.DataFrame) -> None:
    """Say which BD-rates against the usual anchor are to be read with care."""
    from lic_bench.analysis.curves import aggregate, bd_rates

    averages = aggregate(measurements)
    codecs = list(averages["codec"].unique())
    if not codecs:
        return
    anchor = usual_anchor(codecs)
    for row in bd_rates(averages, anchor).to_dict("records"):
        if row["warnings"]:
            name = f"{row['dataset']}: {row['codec']} against {anchor}, psnr_rgb"
            console.note(f"{name}: {row['warnings']}")


def _about(
    content: JsonData, scenes: list[Scene], specs: Mapping[str, str], plugins: list[Path]
) -> JsonData:
    """What the page says beside the measurements: units, targets, and how it came about."""
    from datetime import UTC, datetime
    from importlib.metadata import version

    from lic_bench.execution import provenance
    from lic_bench.metric.targets import parse_target

    targets = {scene.rate for scene in scenes if isinstance(scene.rate, str)}
    return {
        "codecs": [
            {**codec, "unit": _unit(specs.get(codec.get("spec", ""), codec["name"]), plugins)}
            for codec in content["codecs"]
        ],
        "targets": {target: parse_target(target).text for target in targets},
        "version": version("lic-bench"),
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": provenance.command(),
        "noPictures": "There are no pictures of this data set in the page; "
        "lic-bench report without --no-viewer puts them in.",
    }


def _pictures(
    scenes: list[Scene],
    store: Path,
    budget: int,
    jobs: int | None,
    plugins: list[Path],
    named: list[str],
    limits: Limits,
) -> list[Picture]:
    """Make the pictures, and show how far it is."""
    if not scenes:
        return []
    from lic_bench.execution.runner import cores
    from lic_bench.reporting.page import remembered
    from lic_bench.reporting.page.gallery import make_all

    files = tuple(plugin.resolve() for plugin in plugins)
    jobs = min(jobs or cores(), len(scenes))
    groups = make_all(
        scenes,
        store,
        budget=budget,
        jobs=jobs,
        plugins=files,
        named=named,
        limits=limits,
        remembered=remembered.Remembered(remembered.folder()),
    )
    return [
        picture for group in console.tracked(groups, "pictures", len(scenes)) for picture in group
    ]


def _scenes(
    content: JsonData,
    measurements: pd.DataFrame,
    rates: list[float],
    images: int,
    sets: dict[str, Dataset | None],
) -> tuple[list[Scene], list[Picture]]:
    """Set each data set's rates; choose the pictures at them, and say which there cannot be."""
    from lic_bench.analysis.curves import aggregate
    from lic_bench.reporting.page import data
    from lic_bench.reporting.page import scenes as choice

    averages = aggregate(measurements)
    files = choice.originals([dataset for dataset in sets.values() if dataset])
    scenes, missing = [], []
    for dataset in content["datasets"]:
        dataset["rates"] = rates or choice.common_rates(averages, dataset["name"])
        for one in (dataset, *dataset["tags"]):
            one["atRates"] = data.at_rates({**one, "rates": dataset["rates"]})
        if images:
            shown = {image["name"] for image in dataset["images"]}
            rows = measurements[measurements["image"].isin(shown)]
            chosen, lost = choice.scenes(rows, dataset["name"], dataset["rates"], images, files)
            scenes += chosen
            missing += lost
    return scenes, missing


def _unit(spec: str, plugins: list[Path]) -> str:
    """What the operating points of a codec are; nothing for one that is not known here."""
    from lic_bench.codec.registry import Registry
    from lic_bench.plugins.spec import parse_spec

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


def _summarise(pictures: list[Picture], path: Path, *, as_json: bool) -> None:
    """Say what was written, and which pictures are not in it and why."""
    problems = Counter(picture.problem for picture in pictures if picture.problem is not None)
    there, size = len(pictures) - problems.total(), path.stat().st_size
    if as_json:
        written = {"file": str(path), "bytes": size, "pictures": there, "left_out": dict(problems)}
        console.give(text_of(written))
        return
    for problem, number in problems.items():
        console.say(f"{number} picture{'s'[: number > 1]} left out: {problem}", err=True)
    console.tell(f"{path}: {size / _MB:.1f} MB, {there} pictures")
