"""`lic-bench rate`: people judge."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import (
    RESULTS,
    Folder,
    Jobs,
    Memory,
    OnDataset,
    OnlyCodecs,
    Out,
    Plugins,
    Timeout,
)
from lic_bench.errors import DatasetError, ImportedResultsError, SpecError, UndefinedError

if TYPE_CHECKING:
    from lic_bench.images.dataset import ImageFile

_MB = 1_000_000

app = typer.Typer(
    help="People judge: a blind comparison, from bitstreams to scores with intervals.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

StudyName = Annotated[
    str | None,
    typer.Option("--study", metavar="ID", help="Where there are several: how its id begins."),
]


@app.command()
def make(
    folder: Folder = RESULTS,
    codecs: OnlyCodecs = [],
    dataset: OnDataset = "kodak",
    match: Annotated[
        str,
        typer.Option(
            metavar="bpp=RATE|METRIC=DB", help="As it was given to `lic-bench run --match`."
        ),
    ] = "bpp=0.25",
    images: Annotated[
        int, typer.Option(min=1, help="How many images of the data set, evenly chosen.")
    ] = 12,
    pairs: Annotated[
        int, typer.Option(min=4, max=1000, help="Pairs that a rater is asked, after the training.")
    ] = 60,
    unequal: Annotated[
        str, typer.Option(metavar="refuse|mark", help="Pairs whose rates differ by over 5 %.")
    ] = "refuse",
    foregone: Annotated[
        float,
        typer.Option(
            metavar="DB",
            min=0,
            help="Leave out pairs so far apart in both PSNR (Y) and MS-SSIM (Y). 0: none.",
        ),
    ] = 5.0,
    title: Annotated[str, typer.Option(help="The page's heading; it should name no codec.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the orders in which pairs are shown.")] = 0,
    jobs: Jobs = None,
    plugin: Plugins = [],
    timeout: Timeout = 60,
    memory: Memory = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The page, an .html file.")
    ] = Path("study.html"),
) -> None:
    """Make the page of a blind comparison: one file, which raters open from disk.

    It holds pictures without loss, under tokens; what these stand for stays in the store. Raters
    send back a file of answers.

    - `lic-bench run -c jpeg,webp,hevc -d kodak --match bpp=0.25`
    - `lic-bench rate make -c jpeg,webp,hevc -d kodak --match bpp=0.25 -o study.html`
    """
    from lic_bench.cli.arguments import specs
    from lic_bench.execution import provenance
    from lic_bench.execution.memory import most_memory_gb
    from lic_bench.execution.runner import Limits, cores
    from lic_bench.metric.targets import parse_target
    from lic_bench.rating import making
    from lic_bench.rating.comparisons import choose
    from lic_bench.rating.page import html as page
    from lic_bench.store.database import Store
    from lic_bench.store.ratings import Ratings
    from lic_bench.store.table import frame

    if out.suffix != ".html":
        raise SpecError(f"{out}: a study's page is written as .html")
    if unequal not in ("refuse", "mark"):
        raise SpecError(f"--unequal {unequal}: there are refuse and mark")
    chosen, target = specs(codecs), parse_target(match)
    with Store.open(folder) as store:
        measurements, store_path = frame(store, chosen), store.path
    name, files = _originals(dataset)
    comparisons = choose(
        measurements,
        name,
        chosen,
        target,
        images=images,
        mark_unequal=unequal == "mark",
        foregone_db=foregone or math.inf,
    )
    _check_at_hand(comparisons.images, files, measurements, name)
    for text in comparisons.notes:
        console.note(text)
    pictures = making.wanted(comparisons)
    memory = most_memory_gb() if memory is None else memory
    blobs = list(
        console.tracked(
            making.make_pictures(
                pictures,
                files,
                store_path,
                jobs=min(jobs or cores(), len(pictures)),
                plugins=tuple(path.resolve() for path in plugin),
                limits=Limits(timeout, memory, confined=True),
            ),
            "pictures",
            len(pictures),
        )
    )
    study, ordered = making.put_together(
        comparisons,
        pictures,
        blobs,
        files,
        title=title,
        dataset=name,
        target=str(target),
        command=provenance.command(),
        pairs=pairs,
        seed=seed,
    )
    with Ratings(store_path) as ratings:  # first: a page without its key would be of no use
        ratings.add_study(study.id, study.text())
    page.write(out, study, ordered)
    asked = len(study.orders[0])
    console.say(
        f"{out}: {out.stat().st_size / _MB:.0f} MB, study {study.id[:8]}: {len(chosen)} codecs, "
        f"{len(comparisons.images)} images, {len(comparisons.pairs)} pairs; a rater is shown "
        f"{asked}. Its key is in {store_path}."
    )


def _originals(dataset: str) -> tuple[str, dict[str, ImageFile]]:
    """A data set's name, and its images by theirs."""
    from lic_bench.images.dataset import load_dataset

    loaded = load_dataset(dataset)
    return loaded.name, {image.name: image for image in loaded.images if image.error is None}


def _check_at_hand(
    images: tuple[str, ...], files: dict[str, ImageFile], measurements: object, dataset: str
) -> None:
    """Refuse originals that are missing, or are others than were measured."""
    import pandas as pd

    assert isinstance(measurements, pd.DataFrame)  # noqa: S101 - pandas is imported late
    rows = measurements[measurements["dataset"] == dataset]
    keys = dict(zip(rows["image"], rows["image_sha256"], strict=True))
    for image in images:
        if image not in files or files[image].key != keys[image]:
            raise DatasetError(
                f"{image} of {dataset} is not at hand as it was measured; name the folder as the "
                "run was given it: --dataset PATH"
            )


@app.command()
def add(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files of answers, as raters sent them.")
    ],
    out: Out = RESULTS,
) -> None:
    """Take in answers: each file is checked against its study, and kept whole or refused.

    - `lic-bench rate add answers/*.json`
    - `lic-bench rate add answers-*.json -o results/mine`
    """
    from lic_bench.rating import answers
    from lic_bench.store.file import store_in
    from lic_bench.store.ratings import Ratings

    refused = new = 0
    with Ratings(store_in(out)) as ratings:
        for file in files:
            try:
                read = answers.read(file)
                study = answers.study_for(ratings, read, str(file))
                added = answers.add(ratings, study, read, str(file))
            except ImportedResultsError as error:
                refused += 1
                console.say(f"refused: {error}", err=True)
                continue
            new += added.new
            state = "complete" if added.complete else "not complete"
            known = f", {added.known} known" if added.known else ""
            console.say(f"{file}: {added.rater}: {added.new} trials new{known}; {state}")
    console.say(f"{new} trials added; {refused} of {len(files)} files refused")
    if refused:
        raise typer.Exit(1)


@app.command()
def show(
    folder: Folder = RESULTS,
    study: StudyName = None,
    screen: Annotated[
        bool,
        typer.Option(
            "--screen",
            help="Also without raters who miss catches, or are far from the others.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the scores: .png, .pdf or .svg."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Everything as JSON."),
    ] = None,
    trials: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Every trial, with the reason where it does not count: .csv."
        ),
    ] = None,
    remarks: Annotated[
        bool, typer.Option("--remarks", help="Show what the raters remarked.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Show what people judged: scores, differences, and which metric they agree with.

    Scores are in JOD (1 JOD: 75 % of the answers that prefer one prefer it) and as Elo, with
    intervals of 95 % over raters and images; docs/rating.md says how they are made.

    - `lic-bench rate show`
    - `lic-bench rate show results/mine --screen --plot scores.pdf --out scores.json`
    - `lic-bench rate show --trials trials.csv`
    """
    from lic_bench.cli import show_ratings
    from lic_bench.files import atomic_write, write_json
    from lic_bench.rating import judged, results
    from lic_bench.rating.screening import screened
    from lic_bench.store.database import Store
    from lic_bench.store.ratings import Ratings
    from lic_bench.store.table import frame

    with Ratings.open(folder) as ratings:
        found = judged.judged(ratings, judged.find(ratings, study))
    if plot is not None:
        from lic_bench.reporting.plots import check_plot_name

        check_plot_name(plot)
    show_ratings.answered(found)
    if trials is not None:
        with atomic_write(trials) as part:
            found.trials.to_csv(part, index=False)
        console.say(trials)
    if remarks:
        show_ratings.remarked(found)
    with Store.open(folder) as store:
        measurements = frame(store, found.study.codecs)
    of = results.result(found, measurements, seed=seed)
    show_ratings.shown(of)
    reasons = screened(found) if screen else {}
    if screen:
        show_ratings.screened(reasons, len(found.raters))
    content = results.as_json(of)
    if reasons:
        rest: dict[str, object] = {}
        try:
            without = results.result(found.without(reasons), measurements, seed=seed)
        except UndefinedError as error:
            console.note(f"without them {error}")
        else:
            show_ratings.shown(without, "Without them")
            rest = results.as_json(without)
        content["screened"] = {"reasons": reasons, **rest}
    if plot is not None:
        from lic_bench.rating.plots import plot as draw
        from lic_bench.reporting.plots import save_plot

        save_plot(draw(of.scores, show_ratings.caption(of)), plot)
        console.say(plot)
    if out is not None:
        write_json(out, content)
        console.say(out)


@app.command()
def plan(
    codecs: Annotated[int, typer.Option(min=2, max=50, help="How many are compared.")] = 6,
    images: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 12,
    pairs: Annotated[
        int, typer.Option(min=4, max=1000, help="Pairs that a rater is asked, catches included.")
    ] = 60,
    raters: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of raters to try.")
    ] = "6,12,24,48",
    spread: Annotated[
        float, typer.Option(metavar="JOD", min=0, help="From the worst codec to the best.")
    ] = 2.0,
    ties: Annotated[
        float,
        typer.Option(min=0, max=0.95, help="How often nobody can tell two equal codecs apart."),
    ] = 0.2,
    image_sd: Annotated[
        float, typer.Option(metavar="JOD", min=0, help="By how much images differ in a codec.")
    ] = 0.4,
    studies: Annotated[
        int, typer.Option(min=1, max=10_000, help="Studies that are simulated for each number.")
    ] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulation.")] = 0,
) -> None:
    """Say how many raters give which interval, by simulation.

    - `lic-bench rate plan`
    - `lic-bench rate plan --codecs 4 --images 24 --raters 10,20,40 --spread 1`
    """
    from lic_bench.cli import show_ratings
    from lic_bench.rating.orders import counted
    from lic_bench.rating.planning import World, forecast

    numbers = _whole_numbers("--raters", raters)
    asked = counted(codecs * (codecs - 1) // 2 * images, pairs)[0]
    world = World(codecs, images, asked, spread, ties, image_sd)
    with console.bar("simulating") as report:
        forecasts = forecast(world, numbers, studies=studies, seed=seed, report=report)
    show_ratings.planned(world, forecasts)


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or not all(2 <= number <= 10_000 for number in numbers):
        raise SpecError(f"{option} {text}: whole numbers from 2 to 10000 are wanted, as in 6,12,24")
    return numbers


@app.command()
def serve(
    page: Annotated[
        Path, typer.Argument(metavar="FILE", help="The page, as `lic-bench rate make` wrote it.")
    ],
    out: Out = RESULTS,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0: any that is free.")
    ] = 0,
) -> None:
    """Show the page from this machine, with answers straight into the store.

    After 50 answers that count, pairs are chosen where they tell most. It is reached from this
    machine alone; Ctrl-C ends it, and no answer that was handed in is lost.

    - `lic-bench rate serve study.html -o results/mine`
    """
    from lic_bench.rating import judged, serving
    from lic_bench.rating.page.html import study_in
    from lic_bench.store.file import store_in
    from lic_bench.store.ratings import Ratings

    identifier = study_in(page)
    with Ratings.open(out) as ratings:
        found = judged.find(ratings, identifier)
    desk = serving.Desk(store_in(out), found)
    try:
        server, address = serving.server(page, desk, port)
    except OSError as error:
        raise SpecError(f"--port {port} cannot be used: {error.strerror}; take another") from error
    console.say(f"{address}\nCtrl-C ends it.")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.say("Stopped. What was handed in is kept.", err=True)
