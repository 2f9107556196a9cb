"""The commands `lic-bench import` and `lic-bench forget`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Jobs, Out, Quiet
from lic_bench.errors import DatasetError, ImportedResultsError, SpecError

if TYPE_CHECKING:
    import pandas as pd

    from lic_bench.execution.figures import Asked
    from lic_bench.images.dataset import Dataset
    from lic_bench.importers.entries import Originals
    from lic_bench.importers.figures import Row
    from lic_bench.importers.pictures import Decoded
    from lic_bench.store.records import Average, Key, Measurement, ScoreState

_Known = Mapping[str, Mapping[str, tuple[str, int | None, int | None]]]
"""Of each data set, what `Store.images` tells."""


def import_results(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="CompressAI's JSON, a CSV of points, or a folder of pictures."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="What to call the codec; as SOURCE calls it."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            metavar="NAME|PATH",
            help="What it was measured on; as SOURCE tells, and of several only this one.",
        ),
    ] = None,
    codecs: Annotated[
        list[str],
        typer.Option("--codecs", "-c", metavar="NAMES", help="Only these of SOURCE's; all."),
    ] = [],
    jobs: Jobs = None,
    quiet: Quiet = False,
    out: Out = RESULTS,
) -> None:
    """Import results from elsewhere, to stand in plots, tables and reports beside ours, marked.

    SOURCE is what CompressAI's bench or eval_model writes (or the folder of --per-image); a CSV
    with columns bpp or bytes and psnr_rgb, ms_ssim_rgb ..., and, where they are known, codec,
    dataset, point and image; or a folder of decoded pictures called as the originals, folders in
    it being operating points, with bitstreams beside them or a CSV of image, point, bytes.
    Pictures are measured here.

    What was imported under the same name before is replaced. `lic-bench forget` takes it out.

    - `lic-bench import compressai-mbt2018.json --as mbt2018 --dataset kodak`
    - `lic-bench import points.csv -d kodak`
    - `lic-bench import decoded/ --as theirs -d kodak -o results/mine`
    """
    from lic_bench.cli import show
    from lic_bench.importers import pictures
    from lic_bench.plugins.spec import split_specs
    from lic_bench.store import table as measurements

    if not source.exists():
        raise ImportedResultsError(f"there is no {source}")
    if source.is_dir() and pictures.any_in(source):
        names = [_import_pictures(source, name, dataset, jobs, out)]
    else:
        wanted = [codec for text in codecs for codec in split_specs(text)]
        names = _import_figures(source, name, dataset, wanted, out)
    table = measurements.load(out)
    table = table[table["codec"].isin(names)]
    for line in _summary(table):
        console.tell(line)
    if show.failures(table, remedy=""):
        raise typer.Exit(1)


def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CODECS]...", help="Specs, states such as jpeg@1, imported names."),
    ] = None,
    datasets: Annotated[
        list[str], typer.Option("--dataset", "-d", metavar="NAME", help="A data set, as well.")
    ] = [],
    out: Out = RESULTS,
) -> None:
    """Take out codecs or data sets, with their measurements and bitstreams.

    - `lic-bench forget mbt2018`
    - `lic-bench forget jpeg@1 my-codec`
    - `lic-bench forget --dataset photos -o results/mine`
    """
    from lic_bench.store.database import Store
    from lic_bench.store.file import store_in

    if not (names or datasets):
        raise SpecError("name a codec, or a data set: lic-bench forget --dataset NAME")
    with Store(store_in(out)) as store:
        for name in names or ():
            store.forget(name)
        for dataset in datasets:
            store.forget_dataset(dataset)


def _import_figures(
    source: Path, name: str | None, dataset: str | None, codecs: Sequence[str], out: Path
) -> list[str]:
    """Import a file of figures; return the names of its codecs."""
    from lic_bench.importers import entries, figures
    from lic_bench.store.records import ScoreState

    results = figures.read(source)
    wanted = None if dataset is None else _name_of(dataset)
    rows = entries.assigned(results.rows, name=name, dataset=wanted, codecs=codecs)
    names = list(dict.fromkeys(row.codec for row in rows))
    known = _look(out, names, {row.dataset for row in rows})
    originals, new = _originals(rows, dataset, known)
    identities = {
        codec: entries.imported_identity(codec, source.name, results.sha256) for codec in names
    }
    averages = entries.averages(rows)
    measured = entries.measurements(rows, originals, identities)
    for what in results.left_out:
        console.note(f"{what} is left out: it is not known here")
    about = {"kind": results.kind, "from": str(source), "sha256": results.sha256}
    scores = [ScoreState(score) for score in figures.scores()]
    _write(out, about, identities, new, averages, measured, scores)
    return names


def _import_pictures(
    source: Path, name: str | None, dataset: str | None, jobs: int | None, out: Path
) -> str:
    """Measure a folder's pictures, and import them; return the codec's name."""
    from lic_bench.execution.figures import asked, states
    from lic_bench.images.dataset import load_dataset
    from lic_bench.importers import entries, pictures
    from lic_bench.metric.registry import DEFAULT, metrics
    from lic_bench.store.records import Key

    if name is None or dataset is None:
        raise ImportedResultsError(
            f"{source} holds pictures: give --as NAME and --dataset NAME|PATH"
        )
    entries.check_name(name)
    loaded = load_dataset(dataset)
    known = _look(out, [name], [loaded.name])[loaded.name]
    if known and {n: key for n, (key, *_) in known.items()} != {
        i.name: i.key for i in loaded.images
    }:
        raise ImportedResultsError(
            f"the images of {loaded.name} are not those that were measured in {out}; "
            "call the data set otherwise: --dataset NAME=PATH"
        )
    results = pictures.find(source, loaded)
    for note in results.notes:
        console.note(note)
    chosen = metrics([DEFAULT])
    measured = _measured(results.pictures, jobs, asked(chosen))
    sha256 = pictures.digest(source, results.pictures, [of_file for _, of_file in measured])
    identity = entries.imported_identity(name, source.resolve().name, sha256)
    about = {"kind": "decoded pictures", "from": str(source), "sha256": sha256}
    kept = (
        (
            Key(picture.original.key, identity, picture.point),
            pictures.kept(picture, measurement, of_file),
            picture.size,
        )
        for picture, (measurement, of_file) in zip(results.pictures, measured, strict=True)
    )
    _write(out, about, {name: identity}, [] if known else [loaded], [], kept, states(chosen))
    return name


def _measured(
    pictures: Sequence[Decoded], jobs: int | None, wanted: tuple[Asked, ...]
) -> list[tuple[Measurement, str]]:
    """Measure pictures, and show how far it is."""
    from lic_bench.execution.runner import cores
    from lic_bench.importers.pictures import measure_all

    measured = measure_all(pictures, min(jobs or cores(), len(pictures)), wanted)
    return list(console.tracked(measured, "measuring", len(pictures)))


def _name_of(dataset: str) -> str:
    """The name of a data set; one that is given by its name need not be at hand."""
    from lic_bench.images.dataset import load_dataset

    plain = Path(dataset).name == dataset and "=" not in dataset
    return dataset if plain else load_dataset(dataset).name


def _look(out: Path, names: Iterable[str], datasets: Iterable[str]) -> _Known:
    """The images that a store knows of data sets; refuse names that are taken there."""
    from lic_bench.store.database import FILE_NAME, Store

    path = out / FILE_NAME
    if not path.is_file():
        return {dataset: {} for dataset in datasets}
    with Store.open(out) as store:
        for name in names:
            store.check_free(name)
        return {dataset: store.images(dataset) for dataset in datasets}


def _originals(
    rows: Iterable[Row], dataset: str | None, known: _Known
) -> tuple[dict[str, Originals], list[Dataset]]:
    """The images that figures are of, by data set; and the data sets that the store lacks."""
    from lic_bench.images.dataset import load_dataset, load_named
    from lic_bench.importers.entries import Original, Originals

    originals, new = {}, []
    for name in {row.dataset for row in rows if row.image}:
        if known[name]:
            images = (Original(image, *key_and_size) for image, key_and_size in known[name].items())
            originals[name] = Originals(name, images)
            continue
        try:
            new.append(load_dataset(dataset) if dataset else load_named(name))
        except DatasetError as error:
            raise ImportedResultsError(
                f"figures of single images need the images, and {name} is not known here; "
                f"name its folder: --dataset {name}=FOLDER"
            ) from error
        originals[name] = Originals.of(new[-1])
    return originals, new


def _write(
    out: Path,
    about: Mapping[str, str],
    identities: Mapping[str, str],
    datasets: Iterable[Dataset],
    averages: Iterable[Average],
    measurements: Iterable[tuple[Key, Measurement, int | None]],
    scores: Iterable[ScoreState],
) -> None:
    from lic_bench.execution import provenance
    from lic_bench.store.database import FILE_NAME, Store

    source = {"as": ", ".join(identities), **about}
    noted = {"command": provenance.command(), "imported": source, **provenance.machine()}
    with Store(out / FILE_NAME) as store:
        store.add_imported(noted, datasets, identities, averages, measurements, scores)


def _summary(table: pd.DataFrame) -> Iterator[str]:
    """What is there now: a line for each codec and data set."""
    from lic_bench.analysis.curves import aggregate
    from lic_bench.store.table import display_names

    names = display_names(table)
    for pair, rows in aggregate(table).groupby(["dataset", "codec"], sort=False):
        dataset, codec = map(str, pair)
        images = int(rows["images"].max())
        of = f"{images} image{'s'[: images != 1]}" if images else "averages"
        rates = f"{rows['bpp'].min():.3f} to {rows['bpp'].max():.3f} bpp"
        yield f"{dataset}: {names[codec]}: {len(rows)} point{'s'[: len(rows) != 1]}, {rates}, {of}"
