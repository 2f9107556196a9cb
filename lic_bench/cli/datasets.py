"""`lic-bench datasets` and `lic-bench datasets fetch`."""

from __future__ import annotations

from typing import Annotated

import typer

from lic_bench.cli import console

app = typer.Typer(help="List the known data sets, or fetch one.", rich_markup_mode="markdown")


@app.callback()
def datasets(context: typer.Context) -> None:
    """List the known data sets, and where each lies or how to get it."""
    if context.invoked_subcommand is not None:
        return
    from lic_bench.images.manifest import known_datasets

    for known in known_datasets():
        size = f"{known.bytes / 1e6:.0f} MB to fetch" if known.bytes else "nothing to fetch"
        typer.secho(known.name, bold=True)
        console.say(f"  {known.summary}; {known.images} images, {size}")
        console.say(f"  {known.licence}")
        for line in (known.problem or f"at hand: {known.path}").splitlines():
            console.say(f"  {line}")


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Fetch data sets, check them, and put them where every run finds them.

    - `lic-bench datasets fetch kodak`
    """
    from lic_bench.images.fetch import fetch

    for name in names:
        console.say(fetch(name))
