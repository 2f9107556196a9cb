"""`lic-bench published`: what it lists, and what it tells of one curve."""

import os
import subprocess
import sys

from lic_bench.analysis import published_curves as published


def command(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lic_bench", "published", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_each_curve_has_a_line_with_its_year_and_source() -> None:
    lines = {tuple(line.split()[:2]) for line in command("--dataset", "tecnick").splitlines()}
    there = [entry for entry in published.listing() if entry.dataset == "tecnick"]
    assert len(there) > 40
    assert {(str(entry.year), entry.name) for entry in there} <= lines
    assert ("2026", "glic@glic") in lines
    assert not any("kodak" in line[0] for line in lines if line)


def test_of_one_there_is_where_it_is_from_and_what_is_wrong_with_it() -> None:
    told = command("vtm@compressai", "-d", "kodak")
    for words in ("2020", "github.com/InterDigitalInc", "BSD-3-Clause-Clear", "too high above 2"):
        assert words in told
    assert "clic2020" not in told


def test_what_is_not_there_is_refused_with_what_is_near() -> None:
    assert "did you mean vtm?" in command("vmt", "-d", "kodak", code=2)
    assert "did you mean kodak?" in command("-d", "kodack", code=2)
