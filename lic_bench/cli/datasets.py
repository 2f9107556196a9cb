"""`lic-bench datasets` and `lic-bench fetch`."""

from __future__ import annotations

from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.complete import complete_datasets
from lic_bench.cli.options import Json, Quiet


def datasets(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME]...",
            help="All that is known of these data sets.",
            autocompletion=complete_datasets,
        ),
    ] = [],
    json: Json = False,
) -> None:
    """List the known data sets; of one that is named, also licence and place.

    - `lic-bench datasets`
    - `lic-bench datasets kodak`
    """
    from lic_bench.errors import find_known
    from lic_bench.files import as_json
    from lic_bench.images.manifest import known_datasets

    known = {one.name: one for one in known_datasets()}
    wanted = [find_known("known data set", name, known) for name in names]
    shown = [known[name] for name in wanted or known]
    if json:
        console.give(as_json([vars(one) | {"path": one.path and str(one.path)} for one in shown]))
        return
    if not wanted:
        table = console.words_table("data set", "images", "MB", "", "")
        for one in shown:
            size = f"{one.bytes / 1e6:.0f}" if one.bytes else ""
            table.add_row(
                one.name, str(one.images), size, "here" if one.path else "to fetch", one.summary
            )
        console.show(table)
        console.say("lic-bench fetch NAME fetches one; a folder of images is a data set, too.")
        return
    for one in shown:
        size = f"{one.bytes / 1e6:.0f} MB to fetch" if one.bytes else "nothing to fetch"
        typer.secho(one.name, bold=True)
        console.say(f"  {one.summary}; {one.images} images, {size}")
        console.say(f"  {one.licence}")
        for line in (one.problem or f"at hand: {one.path}").splitlines():
            console.say(f"  {line}")


def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", autocompletion=complete_datasets)
    ],
    quiet: Quiet = False,
) -> None:
    """Fetch data sets, check them, and put them where every run finds them.

    - `lic-bench fetch kodak`
    """
    from lic_bench.errors import plain
    from lic_bench.images.fetch import fetch
    from lic_bench.images.manifest import manifests

    by_plain = {plain(name): name for name in manifests()}
    for name in names:
        console.tell(fetch(by_plain.get(plain(name), name)))
