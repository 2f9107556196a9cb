"""`lic-bench merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lic_bench.cli import console
from lic_bench.cli.options import Out, Quiet


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="What `lic-bench run --out` wrote.")
    ],
    quiet: Quiet = False,
    out: Out = Path("results/merged"),
) -> None:
    """Put the results of several folders together, with bitstreams and judgements.

    What they have in common is kept once. Where they measured a codec in different states, that of
    the last folder goes by its name, and the others are called jpeg@1 and so on. The folders stay.

    - `lic-bench merge results/mine results/from-the-cluster -o results/all`
    """
    from lic_bench.execution.run import write_tables
    from lic_bench.store.database import Store
    from lic_bench.store.merging import merge

    with Store(merge(folders, out)) as store:
        table = write_tables(store)
    codecs = table["codec"].nunique()
    console.tell(f"{out}: {len(table)} measurements, {codecs} codec{'s'[: codecs != 1]}")
