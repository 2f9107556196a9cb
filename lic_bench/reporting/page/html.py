"""The file: page, style, scripts, data and pictures in one.

What comes from the data cannot become markup or script. JSON stands in the page with every `<`
escaped, the scripts make text of it, and the page's own policy lets only the scripts run whose
hash it gives, and lets nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from lic_bench.files import atomic_write
from lic_bench.reporting.page.folders import without_folders
from lic_bench.reporting.page.pictures import BLOCK, QUALITY, STEPS, Picture

# `dom` first: the others use it.
_SCRIPTS = ("dom.js", "chart.js", "tables.js", "viewer.js", "people.js", "address.js", "main.js")


_TELLING = {"codecs", "runs", "command", "failures"}
"""What may name folders."""


def write(
    path: Path, data: dict[str, Any], pictures: Sequence[Picture], *, folders: bool = False
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    data
        What `data.gather` found, with `rates` for each data set, and `version`, `made`, `command`
        and `noPictures` (why, where there are none).
    pictures
        Those that are there, and those that are missing.
    folders
        Whether commands, errors and options say in which folders of this machine files lie.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    blobs: list[bytes] = []

    def kept(blob: bytes | None) -> int | None:
        if blob is None:
            return None
        blobs.append(blob)
        return len(blobs) - 1

    codecs = {
        codec.get("spec", codec["name"]): number for number, codec in enumerate(data["codecs"])
    }
    listed = [
        {
            "dataset": picture.dataset,
            "image": picture.image,
            "rate": picture.rate,
            "codec": -1 if picture.codec is None else codecs[picture.codec],
            "point": picture.point,
            "bpp": picture.bpp,
            "quality": picture.quality,
            "problem": picture.problem,
            "exact": picture.exact,
            "data": kept(picture.data),
            "error": kept(picture.error),
            "importance": kept(picture.importance),
        }
        for picture in pictures
    ]
    constants = {"quality": QUALITY, "errorBlock": BLOCK, "errorSteps": STEPS}
    content = {**data, **constants, "pictures": listed}
    if not folders:
        for telling in content.keys() & _TELLING:
            content[telling] = without_folders(content[telling])
        listed[:] = [one | {"problem": without_folders(one["problem"])} for one in listed]
    page = _page(content)
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(page)
        # Behind the script, which draws the page while they are still being read.
        for number, blob in enumerate(blobs):
            text = base64.b64encode(blob).decode("ascii")
            file.write(f'<script type="text/plain" id="blob-{number}">{text}</script>\n')
        file.write("</body>\n</html>\n")


def _page(data: dict[str, Any]) -> str:
    return filled(_file("page.html"), _file("style.css"), script(), data)


def filled(template: str, style: str, code: str, data: Any) -> str:
    """A page with its style, program and data, and a policy that allows these alone."""
    parts = {
        "style": style,
        "style-hash": source_hash(style),
        "script": code,
        "script-hash": source_hash(code),
        "data": as_json(data),
    }
    # In one pass: what was put in is not looked at again.
    return re.sub(r"\{\{([\w-]+)\}\}", lambda match: parts[match[1]], template)


def script() -> str:
    """All that runs in the browser."""
    return program(map(_file, _SCRIPTS))


def program(parts: Iterable[str]) -> str:
    """Parts of a page's program as one, in a scope of its own, with the page's data."""
    lines = [
        "(() => {",
        "'use strict';",
        "const data = JSON.parse(document.getElementById('data').textContent);",
        *parts,
        "})();\n",
    ]
    return "\n".join(lines)


def as_json(data: object) -> str:
    """JSON that may stand in a page: `<` is escaped, and so ends no element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def source_hash(text: str) -> str:
    """What a policy names a script or a style by."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _file(name: str) -> str:
    return (resources.files("lic_bench.reporting.page") / name).read_text(encoding="utf-8")
