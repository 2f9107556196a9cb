"""Pages of the site that lie elsewhere in the repository, and links to its files.

The same Markdown is read in the repository and on the site. A link to a file that is a page of the
site leads there; any other file that is linked to is put into the site as it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    "examples/gallery/README.md": "gallery.md",
    "results/kodak/README.md": "results/kodak.md",
    "results/field/README.md": "results/field.md",
    "results/clic2025-valid/README.md": "results/clic2025-valid.md",
    "datasets/published/README.md": "results/published.md",
    "codecs/content_weighted/MODEL_CARD.md": "codecs/content-weighted.md",
    "codecs/content_weighted/TRIALS.md": "codecs/content-weighted-trials.md",
    "codecs/cae_pca/MODEL_CARD.md": "codecs/cae-pca.md",
    "codecs/compressive_autoencoder/MODEL_CARD.md": "codecs/compressive-autoencoder.md",
    "codecs/entropy_autoencoder/MODEL_CARD.md": "codecs/entropy-autoencoder.md",
    "codecs/modulated_autoencoder/MODEL_CARD.md": "codecs/modulated-autoencoder.md",
    "codecs/nctu/MODEL_CARD.md": "codecs/nctu.md",
    "codecs/recurrent/MODEL_CARD.md": "codecs/recurrent.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
}
"""Where on the site a file of the repository is a page."""

FILES = "files"
"""The site's folder of files that pages link to."""

_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_HOMES = {page: file for file, page in PAGES.items()}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages, and the files that pages link to."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text + _scripts(source)))
    linked = {}
    for file in files.documentation_pages():
        source = home(file.src_uri)
        linked |= dict.fromkeys(assets(source, file.content_string), source)
    for path, source in sorted(linked.items()):
        if not (ROOT / path).is_file():
            raise FileNotFoundError(f"{source} links to {path}, which is not there")
        files.append(File.generated(config, f"{FILES}/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to where things are on the site."""
    return rewritten(home(page.file.src_uri), page.file.src_uri, markdown)


def home(page: str) -> str:
    """The file of the repository that a page of the site is."""
    return _HOMES.get(page, f"docs/{page}")


def assets(source: str, text: str) -> set[str]:
    """The files that a page links to which are no pages."""
    paths = {_resolved(source, match[1]) for match in _LINK.finditer(_FENCED.sub("", text))}
    return {path for path in paths if path not in PAGES and not path.startswith("docs/")}


def rewritten(source: str, page: str, text: str) -> str:
    """The text of a page whose links lead to the site's pages and files."""

    def link(match: re.Match[str]) -> str:
        path = _resolved(source, match[1])
        there = path.removeprefix("docs/") if path.startswith("docs/") else f"{FILES}/{path}"
        there = PAGES.get(path, there)
        return posixpath.relpath(there, posixpath.dirname(page) or ".") + (match[2] or "")

    return _outside_code(text, lambda prose: _LINK.sub(link, prose))


def _scripts(source: str) -> str:
    """The gallery's scripts, shown on its page."""
    if source != "examples/gallery/README.md":
        return ""
    parts = []
    for script in sorted((ROOT / source).parent.glob("[0-9]*")):
        language = {".py": "python", ".sh": "sh"}[script.suffix]
        parts.append(f"\n## {script.name}\n\n```{language}\n{script.read_text()}```\n")
    return "".join(parts)


def _resolved(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change what is not in a block of code."""
    parts, end = [], 0
    for block in _FENCED.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])
