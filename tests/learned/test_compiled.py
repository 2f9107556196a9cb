"""Compiled loops are kept for the next process, and work where they cannot be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

MODULE = (
    "from lic_bench.learned.compiled import compiled\n@compiled\ndef twice(x):\n    return 2 * x\n"
)


def run(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import own; print(own.twice(21))"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_compiled_is_kept_where_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE)
    cache = tmp_path / "cache"
    assert run(tmp_path, NUMBA_CACHE_DIR=str(cache)) == "42\n"
    assert list(cache.rglob("own.twice*.nbc"))


def test_without_any_place_to_keep_it_it_is_compiled_anew(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE)
    # A file is no folder, whoever asks; and with this alone numba looks for no other place.
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "cache")
    assert (
        run(tmp_path, NUMBA_CACHE_DIR=place, NUMBA_CACHE_LOCATOR_CLASSES="_EnvironmentCacheLocator")
        == "42\n"
    )
    assert not list(tmp_path.rglob("*.nbc"))
