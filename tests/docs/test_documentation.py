"""The documentation is true: its commands and code run, its links and its reference hold.

Blocks of code are run page by page, in a folder where `results/mine` holds JPEG and WebP on the
data set "sample", whose images are cut to a sixth of their pixels. A block that needs more (a
network, a GPU, hours) has a comment before it, `<!-- not run: why -->`: it is skipped with this
reason, and its commands are only read.
"""

import hashlib
import os
import re
import runpy
import shlex
import shutil
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pandas as pd
import pytest
import typer
import yaml
from command import command
from markdown_it import MarkdownIt

from lic_bench import load_dataset, write_image
from lic_bench.cli.main import app
from lic_bench.images.manifest import manifests

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "hooks"))
import commands as reference  # noqa: E402
import repository  # noqa: E402

sys.path.pop(0)

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
OTHERS = [*sorted(set(repository.PAGES) - set(PAGES) - {"CHANGELOG.md"}), "results/README.md"]
LANGUAGES = {"sh", "python", "toml", "csv", "yaml", "text"}
NOTE = re.compile(r"<!-- (not run|from): (.+?) -->")
COMMANDS = {name: found for _, name, found in reference.commands()}


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: str
    line: int
    language: str
    title: str
    """The file that it is, where it has a name."""
    excerpt: str
    """The file of the repository that it is taken from."""
    code: str
    not_run: str
    """Why it is not run; empty where it is."""


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    note = ("", "")
    for token in MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = re.fullmatch(r'title="(.*?)"', rest)
            assert title or not rest, f"{page}: {token.info}"
            found.append(
                Block(
                    page,
                    line=(token.map or [0])[0] + 1,
                    language=language,
                    title=title[1] if title else "",
                    excerpt=note[1] if note[0] == "from" else "",
                    code=token.content,
                    not_run=note[1] if note[0] == "not run" else "",
                )
            )
        match = NOTE.fullmatch(token.content.strip()) if token.type == "html_block" else None
        note = (match[1], match[2]) if match else ("", "")
    return found


def lines(code: str) -> list[list[str]]:
    """The commands of a block, as words."""
    read = [shlex.split(line, comments=True) for line in code.replace("\\\n", " ").splitlines()]
    return [words for words in read if words]


BLOCKS = [block for page in PAGES for block in blocks(page)]
NOT_RUN_BLOCKS = [block for block in BLOCKS if block.not_run]
RUN = [
    page
    for page in PAGES
    if any(
        block.language in ("sh", "python") and not (block.not_run or block.excerpt)
        for block in blocks(page)
    )
]


def called(words: list[str]) -> tuple[str, list[str]]:
    """The name of a command, and what it is given."""
    for many in (2, 1):
        if (name := " ".join(words[1 : 1 + many])) in COMMANDS:
            return name, words[1 + many :]
    pytest.fail(f"there is no such command: {' '.join(words)}")


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_command_can_be_read(page: str) -> None:
    for block in blocks(page):
        for words in lines(block.code) if block.language == "sh" else ():
            if words[0] == "lic-bench" and words[1] not in ("--help", "--version"):
                name, rest = called([word for word in words if word != "--debug"])
                COMMANDS[name].make_context(name, rest)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_option_that_is_named_in_passing_exists(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    for code in re.findall(r"`(lic-bench [^`]+)`", text):
        words = code.split()
        if words[1].isupper() or words[1].startswith("--"):
            continue
        name, rest = called(words) if words[1] != "rate" or len(words) > 2 else ("rate make", [])
        options = {option for one in COMMANDS[name].params for option in one.opts}
        wrong = {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)} - options
        assert not wrong, f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_to_what_is_run_here(page: str) -> None:
    for block in blocks(page):
        where = f"{page}:{block.line}"
        assert block.language in LANGUAGES, f"{where}: {block.language!r}"
        if block.excerpt:
            assert block.code in (ROOT / block.excerpt).read_text(encoding="utf-8"), where
        elif block.language == "sh" and not block.not_run:
            programs = {words[0] for words in lines(block.code)}
            assert programs == {"lic-bench"}, f"{where}: run, or say why not: {programs}"
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "yaml":
            yaml.safe_load(block.code)


@pytest.mark.parametrize("block", NOT_RUN_BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_not_run(block: Block) -> None:
    pytest.skip(block.not_run)


SIZES = {"astronaut.png": (176, 352)}
"""Of images that pages take parts of: height and width. The others are 176 pixels square."""


@pytest.fixture(scope="session")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the images of the data set "sample", cut to a sixth of their pixels."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "sample").mkdir()
    for image in load_dataset("sample").images:
        height, width = SIZES.get(image.name, (176, 176))
        write_image(folder / "sample" / image.name, image.read()[:height, :width].copy())
    return folder


@pytest.fixture
def sample(small_sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set "sample" is the small one: every page measures or shows some of it."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((small_sample / "sample").iterdir())
    }
    own = msgspec.structs.replace(manifests()["sample"], files=files, package="", folder="")
    monkeypatch.setitem(manifests(), "sample", own)
    monkeypatch.setenv("LIC_BENCH_DATA", str(small_sample))


@pytest.fixture
def results(tmp_path_factory: pytest.TempPathFactory, sample: None) -> Path:
    """Results of JPEG and WebP, as the pages take them for granted; measured once for all."""
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "documentation"
    folder, done = place / "results", place / "done"
    try:
        place.mkdir()
    except FileExistsError:
        while not done.exists():
            time.sleep(0.1)
    else:
        try:
            command("run", "-c", "jpeg,webp", "--match", "bpp=0.5", "-o", folder, "--quiet")
        finally:
            done.touch()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_and_the_code_of_a_page_run(
    page: str, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path / "cache"))
    shutil.copytree(results, tmp_path / "results" / "mine")
    script = ""
    for block in blocks(page):
        if block.not_run or block.excerpt:
            continue
        if block.title:
            (tmp_path / block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            script += block.code
        elif block.language == "sh":
            for words in lines(block.code):
                command(*words[1:])
    if script:
        (tmp_path / "script.py").write_text(script, encoding="utf-8")
        runpy.run_path("script.py", run_name="__main__")
    for table in tmp_path.glob("results/*/measurements.parquet"):
        assert pd.read_parquet(table)["error"].isna().all()


def test_the_codec_of_the_readme_is_short() -> None:
    [block] = [block for block in blocks("README.md") if block.title == "my_codec.py"]
    assert len([line for line in block.code.splitlines() if line.strip()]) <= 20


def test_the_entry_points_of_the_pages_are_those_that_are_read() -> None:
    from lic_bench.codec.registry import GROUP

    groups = re.findall(r'\[project\.entry-points\."(.*?)"\]', "".join(b.code for b in BLOCKS))
    assert groups == [GROUP]


@pytest.mark.slow
def test_the_columns_of_the_measurements_are_explained(results: Path) -> None:
    page = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")
    columns = set(pd.read_parquet(results / "measurements.parquet").columns)
    assert {column for column in columns if f"`{column}`" not in page} == set()


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_links_lead_to_files(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)", text):
        assert (ROOT / page).parent.joinpath(target).is_file(), f"{page}: {target}"


def test_the_site_has_each_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w./-]+\.md", str(site["nav"]))
    made = {reference.PAGE, *repository.PAGES.values()}
    there = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert sorted(named) == sorted(made | there)
    assert all((ROOT / file).is_file() for file in repository.PAGES)


def test_the_reference_has_every_command_and_option() -> None:
    parts = re.findall(r"^### lic-bench (.+?)\n(.*?)(?=^##|\Z)", reference.page(), re.S | re.M)
    sections = dict(parts)
    top = re.findall(r"^│ ([a-z]+) ", command("--help").stdout, re.M)
    rating = re.findall(r"^│ ([a-z]+) ", command("rate", "--help").stdout, re.M)
    assert set(sections) == (set(top) - {"rate"}) | {f"rate {name}" for name in rating}
    for name, text in sections.items():
        shown = command(*name.split(), "--help", COLUMNS="200").stdout
        options = set(re.findall(r"^│ .*?(--[a-z][a-z-]+)", shown, re.M)) - {"--help"}
        assert {option for option in options if f"{option}" not in text} == set(), name


def test_links_lead_to_the_same_things_on_the_site() -> None:
    text = "[a](../guides/codecs.md#x) [b](../../README.md) [c](../../examples/cwebp.toml)\n"
    text += "```sh\n[d](../../README.md)\n```\n[e](https://x.y/z.md)\n"
    there = repository.rewritten("docs/tutorials/own-codec.md", "tutorials/own-codec.md", text)
    assert there == (
        "[a](../guides/codecs.md#x) [b](../index.md) [c](../files/examples/cwebp.toml)\n"
        "```sh\n[d](../../README.md)\n```\n[e](https://x.y/z.md)\n"
    )


def test_typer_still_groups_as_the_reference_takes_for_granted() -> None:
    top = typer.main.get_command(app)
    assert all(one.rich_help_panel for one in top.commands.values())
