"""The map in CONTRIBUTING.md names every package and module, and nothing that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("lic_bench", "codecs")


def on_disk(root: Path) -> set[str]:
    """Packages, as ``lic_bench/images/``, and modules, as ``lic_bench/images/image``."""
    files = [path.relative_to(root) for room in ROOMS for path in (root / room).rglob("*.py")]
    return {
        f"{path.parent.as_posix()}/" if path.stem == "__init__" else path.with_suffix("").as_posix()
        for path in files
    }


def on_map(text: str) -> list[str]:
    """What the map names, by its indentation."""
    [block] = re.findall(r"```\n(lic_bench/.*?)```", text, re.DOTALL)
    names, folders = [], [""]
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 4
        del folders[depth + 1 :]
        names.append(folders[-1] + name)
        folders.append(folders[-1] + name)
    return [name for name in names if name.startswith(ROOMS)]


def test_the_map_is_complete_and_true() -> None:
    named = on_map((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert sorted(on_disk(ROOT) - set(named)) == [], "CONTRIBUTING.md's map does not name these"
    assert sorted(set(named) - on_disk(ROOT)) == [], "CONTRIBUTING.md's map names what is not there"
    assert len(named) == len(set(named)), "CONTRIBUTING.md's map names one twice"


@pytest.mark.parametrize("line", ["    stray             no such module\n", ""])
def test_an_omission_and_a_stray_name_are_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "lic_bench" / "images").mkdir(parents=True)
    for name in ("__init__", "images/__init__", "images/image"):
        (tmp_path / "lic_bench" / f"{name}.py").touch()
    text = f"```\nlic_bench/   the bench\n    images/   images\n{line}```\n"
    named = set(on_map(text))
    assert on_disk(tmp_path) - named == {"lic_bench/images/image"}
    assert named - on_disk(tmp_path) == ({"lic_bench/stray"} if line else set())


def test_no_two_modules_of_tests_have_one_name() -> None:
    """Or pytest finds one of them alone, and stops, once no bytecode is left from before."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names == sorted(set(names))
