"""`lic-bench runs`."""

from __future__ import annotations

from lic_bench.cli import console
from lic_bench.cli.options import RESULTS, Folder
from lic_bench.printable import printable_json


def runs(folder: Folder = RESULTS) -> None:
    """Show how a folder's measurements came about, as JSON: one object for each run.

    Command, machine, versions of libraries, digests of data sets, identities of codecs.
    """
    from lic_bench.store.database import Store

    with Store.open(folder) as store:
        console.say(printable_json(store.runs()))
