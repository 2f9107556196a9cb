"""`lic-bench runs`."""

from __future__ import annotations

import typer

from lic_bench.cli.options import RESULTS, Folder


def runs(folder: Folder = RESULTS) -> None:
    """Show how a folder's measurements came about, as JSON: one object for each run.

    Command, machine, versions of libraries, digests of data sets, identities of codecs.
    """
    import json

    from lic_bench.store.database import Store

    with Store.open(folder) as store:
        typer.echo(json.dumps(store.runs(), indent=2, ensure_ascii=False))
