"""The file: page, style, script, orders and pictures in one.

It holds what `Study.public` gives, and pictures. See `lic_bench.reporting.page.html` for how what
comes from data is kept from becoming markup.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lic_bench.errors import SpecError
from lic_bench.files import atomic_write
from lic_bench.rating.study import Study
from lic_bench.reporting.page.html import filled, program, source_hash

# `dom` first: the others use it; `main` last: it begins.
_SCRIPTS = ("dom.js", "session.js", "stage.js", "screens.js", "trial.js", "main.js")
_OFFLINE, _SERVED = "connect-src 'none'", "connect-src 'self'"


def write(path: Path, study: Study, blobs: Sequence[bytes]) -> None:
    """Write the page of a study, whole or not at all.

    Parameters
    ----------
    blobs
        The files of its pictures, in their order.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(_page({"study": study.id, **study.public()}))
        for number, blob in enumerate(blobs):
            text = base64.b64encode(blob).decode("ascii")
            file.write(f'<script type="text/plain" id="blob-{number}">{text}</script>\n')
        file.write("</body>\n</html>\n")


def script() -> str:
    """All that runs in the browser."""
    return program(map(_file, _SCRIPTS))


def study_in(page: Path) -> str:
    """The id of the study that a page is of.

    Raises
    ------
    SpecError
        Where the file is no such page.
    """
    if not page.is_file():  # a pipe would be waited for
        raise SpecError(f"{page} is no file")
    try:
        with page.open(encoding="utf-8") as file:
            head = file.read(200_000)
    except (OSError, UnicodeError) as error:
        raise SpecError(f"{page} cannot be read: {error}") from error
    found = re.search(r'\{"study":"([0-9a-f]{64})"', head)
    if found is None:
        raise SpecError(f"{page} is no page of lic-bench rate make")
    return found[1]


def policy() -> str:
    """What a served page may do, whoever made it: nothing but our script runs."""
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"connect-src 'self'; script-src '{source_hash(script())}'; "
        f"style-src '{source_hash(_file('style.css'))}'"
    )


def served(page: Path) -> bytes:
    """A page as it is served: it may ask its own server, and nobody else."""
    return page.read_bytes().replace(_OFFLINE.encode(), _SERVED.encode(), 1)


def _page(data: dict[str, Any]) -> str:
    return filled(_file("page.html"), _file("style.css"), script(), data)


def _file(name: str) -> str:
    return (resources.files("lic_bench.rating.page") / name).read_text(encoding="utf-8")
