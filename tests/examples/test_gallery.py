"""The gallery's scripts work as they stand, and leave what they say."""

import os
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from command import command

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "examples" / "gallery"
LEAVE = {
    "02_compare_four_codecs.sh": ["results/mine/sample-3of4.png"],
    "03_figure.sh": ["curves.pdf", "some-points.png", "strip.pdf", "pictures/extracted.csv"],
    "04_latex_table.sh": ["bd-rates.tex", "rates.tex", "points.csv"],
    "05_own_codec.py": ["results/own/measurements.csv"],
    "06_own_network.py": ["runs/level-4.npz", "results/network/measurements.csv"],
    "07_notebook.py": ["notebook.png"],
    "08_results_from_elsewhere.sh": ["both.png", "results/all/store.sqlite"],
    "09_subset_of_images.sh": ["results/mine/sample.png"],
    "10_page_to_send.sh": ["results.html"],
}


def test_the_gallery_lists_what_is_in_it() -> None:
    scripts = {path.name for path in GALLERY.iterdir() if path.suffix in (".sh", ".py")}
    assert scripts == {"01_install.sh", *LEAVE}
    readme = (GALLERY / "README.md").read_text()
    assert all(f"[{name}]({name})" in readme for name in scripts)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a script for a POSIX shell")
def test_the_installation_works_as_it_stands(tmp_path: Path) -> None:
    """From a copy of the checkout, and without a network: what lic-bench needs is borrowed."""
    copy, here, others = (tmp_path / name for name in ("checkout", "here", "site-packages"))
    here.mkdir()
    others.mkdir()
    for name in ("lic_bench", "codecs", "datasets", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in sys.path:
        if Path(folder).name in ("site-packages", "dist-packages"):
            for entry in Path(folder).iterdir():
                if "lic_bench" not in entry.name and not (others / entry.name).exists():
                    (others / entry.name).symlink_to(entry)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", copy / "examples/gallery/01_install.sh", "--no-deps", "--no-build-isolation"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(others), "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"lic-bench {version}\n" in done.stdout
    table = pd.read_parquet(here / "results/mine/measurements.parquet")
    assert len(table) == 16
    assert table["error"].isna().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVE)
def test_a_script_works_as_it_stands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "theirs.csv").write_bytes((GALLERY / "theirs.csv").read_bytes())
    if name.endswith(".py"):
        runpy.run_path(str(GALLERY / name), run_name="__main__")
        said = capsys.readouterr().out
    else:
        said = ""
        for line in (GALLERY / name).read_text().splitlines():
            words = shlex.split(line, comments=True)
            if words:
                assert words[0] == "lic-bench"
                said += command(*words[1:]).stdout
    for path in LEAVE[name]:
        assert (tmp_path / path).stat().st_size > 0
    for table in tmp_path.glob("results/*/measurements.parquet"):
        assert pd.read_parquet(table)["error"].isna().all()
    assert "undefined" not in said
