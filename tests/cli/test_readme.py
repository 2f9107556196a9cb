"""What the README shows must work as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from command import command

from lic_bench import Image, write_image

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, having: str) -> str:
    """The code block of a language that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [code] = [text for text in blocks if having in text]
    return code


@pytest.fixture
def folder(photo: Image, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "cat.png", photo)
    return tmp_path


@pytest.mark.slow
def test_the_plugin_of_the_readme_runs(folder: Path) -> None:
    code = block("python", "class WebP(Codec)")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (folder / "my_codec.py").write_text(code)
    words = shlex.split(block("sh", "--plugin my_codec.py").strip())
    assert words[:2] == ["lic-bench", "run"]
    command(*words[1:], "--dataset", "photos", cwd=folder)
    table = pd.read_parquet(folder / "results" / "mine" / "measurements.parquet")
    rows = table[table["codec"] == "my-webp"]
    assert len(rows) >= 4
    assert rows["error"].isna().all()
    assert rows["psnr_rgb_db"].is_monotonic_increasing


def test_the_entry_point_of_the_readme_is_the_one_we_read() -> None:
    from lic_bench.codec.registry import GROUP

    assert f'[project.entry-points."{GROUP}"]' in block("toml", "entry-points")


@pytest.mark.slow
def test_the_python_of_the_readme_runs(folder: Path) -> None:
    code = block("python", "import lic_bench\n")
    (folder / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "jpeg2000" in done.stdout
    assert (folder / "rd.pdf").exists()


def test_every_command_of_the_readme_exists() -> None:
    for name in set(re.findall(r"lic-bench ([a-z]+)", README)):
        command(name, "--help")
