"""Nothing that is printed steers a terminal, whatever a store or an import calls things."""

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "hostile"))

from hostile_stores import altered, good_store

from lic_bench.cli import console
from lic_bench.printable import printable_json, printable_lines

LIC_BENCH = [sys.executable, "-m", "lic_bench"]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\r"
# What rich itself writes to a terminal: colours, the cursor, lines that are cleared.
OURS = re.compile(r"\x1b\[(\d*(;\d+)*m|\?25[lh]|2K|1A)|\r\n|\r(?=\x1b\[2K|\n)|\r$")


def shown(words: list[str], folder: Path) -> str:
    """What a command writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*LIC_BENCH, *words], stdout=theirs, stderr=theirs, stdin=theirs, cwd=folder,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way of saying that there is nobody left
                break
            if not part:
                break
            said += part
        process.wait(60)
    os.close(ours)
    return said.decode()


def steering(text: str) -> list[str]:
    """What would steer the terminal, and is not ours."""
    rest = OURS.sub("", text)
    return re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069].{0,20}", rest)


STORES = {
    "codec": "UPDATE codecs SET spec = ? || spec",
    "dataset": "UPDATE images SET dataset = ? || dataset",
    "image": "UPDATE images SET image = ? || image",
    "point": "UPDATE measurements SET point = ? || point",
    "error": "UPDATE measurements SET error = ?",
    "notes": "UPDATE runs SET provenance = json_object('command', ?, 'machine', ?1, 'x', ?1)",
    "curve": "UPDATE imported_curves SET codec = ? || codec",
}


@pytest.mark.parametrize("what", STORES)
def test_a_store_steers_no_terminal(what: str, tmp_path: Path) -> None:
    folder = good_store(tmp_path / "sent")
    text = EVIL.replace("'", "''")
    altered(folder, STORES[what].replace("?1", "?").replace("?", f"'{text}'"))
    for words in (["table"], ["runs"], ["report", "--no-viewer"]):
        said = shown([words[0], str(folder), *words[1:]], tmp_path)
        assert said.strip()
        assert not steering(said), said
        assert "Traceback" not in said
    shutil.rmtree(folder)


def test_an_import_steers_no_terminal(tmp_path: Path) -> None:
    header = "codec,dataset,point,bpp,psnr_rgb\n"
    rows = [f"theirs,{EVIL.strip()}set,{EVIL.strip()},1,30", "theirs,x,y,z,30", f"{EVIL},s,p,1,30"]
    for row in rows:
        (tmp_path / "points.csv").write_bytes((header + row + "\n").encode())
        said = shown(["import", "points.csv", "-o", "out"], tmp_path)
        assert not steering(said), said
        assert "Traceback" not in said
    said = shown(["import", f"no\x1b[2J.csv", "--as", EVIL, "-o", "out"], tmp_path)  # noqa: F541
    assert not steering(said), said


def test_printable_lines_and_json() -> None:
    assert printable_lines("a\tb\n\x1b[2J") == "a\tb\n\\x1b[2J"
    value = {"a\x9b": ["\u202e", "\x1b", "ä", "\n"]}
    text = printable_json(value)
    assert not steering(text)
    assert "ä" in text
    import json

    assert json.loads(text) == value


def test_a_table_is_shown_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    names = ["points", "bpp", "psnr_rgb", "ms_ssim_rgb", "butteraugli", "butteraugli_3norm", "nlpd"]
    table = console.plain_table("codec", *names)
    cells = ["content-weighted:metric=mse", "12", "0.145 to 0.723", *5 * ["-12.3 %"]]
    table.add_row(*cells)
    console.show(table)
    titles, row = capsys.readouterr().out.splitlines()
    assert titles.split() == ["codec", *names]
    assert row.split() == " ".join(cells).split()


def test_a_table_of_many_figures_keeps_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    table = console.plain_table("codec", "bpp", *(f"metric{i}" for i in range(12)))
    table.add_row("jpeg:subsampling=4:4:4", "0.242 to 3.289", *["undefined", "+0.0 %"] * 6)
    console.show(table)
    _, line = capsys.readouterr().out.splitlines()
    figures = ["undefined", "+0.0", "%"] * 6
    assert line.split() == ["jpeg:subsampling=4:4:4", "0.242", "to", "3.289", *figures]
