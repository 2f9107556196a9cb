"""`lic-bench published`."""

from __future__ import annotations

from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import Json, OfDataset

if TYPE_CHECKING:
    from lic_bench.analysis.published_curves import Published


def published(
    names: Annotated[
        list[str], typer.Argument(metavar="[NAME]...", help="Of these curves, all that is known.")
    ] = [],
    dataset: OfDataset = None,
    json: Json = False,
) -> None:
    """List the curves that others published, which `plot`, `report` and `compare` set beside ours.

    The newest first: year, name and source, rates, metrics. Of curves that are named, also address,
    licence and file of the source, and what a reader must know.

    - `lic-bench published --dataset kodak`
    - `lic-bench published mlic++ vtm`
    """
    from lic_bench.analysis import published_curves
    from lic_bench.errors import SpecError, check_known
    from lic_bench.files import as_json

    entries = published_curves.listing()
    if dataset is not None:
        check_known("data set that curves are published on", dataset, {e.dataset for e in entries})
        entries = [entry for entry in entries if entry.dataset == dataset]
    for name in names:
        if not any(name in (entry.codec, entry.name) for entry in entries):
            if dataset is not None:
                published_curves.curve(name, dataset)  # says what is wrong
            near = get_close_matches(name, [entry.codec for entry in entries], n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SpecError(
                f"no published curve is called {name!r}; {hint}lic-bench published lists them"
            )
    wanted = [entry for entry in entries if {entry.codec, entry.name} & {*names} or not names]
    if json:
        console.give(as_json([{"name": entry.name, **asdict(entry)} for entry in wanted]))
        return
    if names:
        for entry in wanted:
            _tell(entry)
        return
    for name in dict.fromkeys(entry.dataset for entry in entries):
        here = [entry for entry in entries if entry.dataset == name]
        typer.secho(name, bold=True)
        width = max(len(entry.name) for entry in here)
        for entry in here:
            rates = f"{entry.bpp[0]:.3f} to {entry.bpp[-1]:.3f} bpp"
            each = ", each image" if entry.images else ""
            what = f"{', '.join(entry.metrics)}{each}"
            typer.echo(f"  {entry.year}  {entry.name:{width}}  {rates}  {what}")
    typer.echo(
        "CODEC@SOURCE; each image: `compare` gives an interval.\n"
        "lic-bench published NAME tells the rest: address, licence, file, and what to know of it."
    )


def _tell(entry: Published) -> None:
    from lic_bench.analysis.published_curves import sources

    source = sources()[entry.source]
    typer.secho(f"{entry.name}, {entry.dataset}", bold=True)
    rates = f"{entry.bpp[0]:.4f} to {entry.bpp[-1]:.4f} bpp"
    lines = [
        f"{entry.year}; {len(entry.bpp)} points, {rates}; {', '.join(entry.metrics)}"
        + ("; each image" if entry.images else ""),
        f"{source.title}; {source.address}",
        f"licence: {source.licence}",
        " at ".join(filter(None, (entry.file, entry.commit))),
        entry.note,
    ]
    for line in filter(None, lines):
        typer.echo(f"  {line}")
