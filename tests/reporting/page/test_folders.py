"""What the report says of the machine that it was made on."""

import json
from pathlib import Path

import pytest
from command import command

from lic_bench.reporting.page.folders import without_folders


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/ann/.venv/bin/python -m lic_bench report", "python -m lic_bench report"),
        ("run '/home/ann b/my photos' -o x.html", "run 'my photos' -o x.html"),
        ("x:weights=/home/ann/one.pth,quality=2", "x:weights=one.pth,quality=2"),
        ("--dataset=/data/kodak/ -j 2", "--dataset= -j 2"),
        (r"C:\Users\ann\lic\x.png cannot be read", "x.png cannot be read"),
        ("~/photos/cats: no such folder", "cats: no such folder"),
        ("</script><script>x</script>", "</script><script>x</script>"),
        ("0.3 bpp / 2 and a/b, 1/2/3, https://example.org/a/b", None),
        ("jpeg:subsampling=4:4:4", None),
    ],
)
def test_folders_are_left_out(text: str, left: str | None) -> None:
    assert without_folders({"a": [text]}) == {"a": [text if left is None else left]}


def page_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_report_names_no_folder_of_the_machine_unless_asked(
    store: Path, plugin: Path, tmp_path: Path
) -> None:
    common = ("report", store, "-d", store / "photos", "--plugin", plugin, "--no-viewer")
    for more, named in (((), False), (("--paths",), True)):
        path = tmp_path / "report.html"
        command(*common, *more, "-o", path)
        text = page_of(path)
        assert (json.dumps(str(store))[1:-1] in text) == named
        assert (str(tmp_path) in text) == named
        assert " -m lic_bench report " in text
