"""A codec from another package, in an environment of its own; and packages that are broken."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lic_bench import Image, write_image

pytestmark = pytest.mark.slow

CODEC = '''
import struct

import numpy as np

from lic_bench import BitstreamError, Codec


class Tiny(Codec):
    """Every sample with its lower bits cut off."""

    name = "tiny"
    points = (7, 4, 1)
    point_unit = "bits lost"

    def encode(self, image, point):
        height, width, _ = image.shape
        return struct.pack("<HHB", width, height, point) + (image >> point).tobytes()

    def decode(self, stream):
        try:
            width, height, point = struct.unpack_from("<HHB", stream)
            samples = np.frombuffer(stream, np.uint8, offset=5).reshape(height, width, 3)
        except (struct.error, ValueError) as error:
            raise BitstreamError(f"this is no tiny stream: {error}") from error
        return (samples << point).astype(np.uint8)
'''

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny-codec"
version = "1.2"
dependencies = ["lic-bench"]

[project.entry-points."lic_bench.codecs"]
tiny = "tiny_codec:Tiny"
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment of its own that has the tiny package, and sees ours."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "tiny_codec.py").write_text(CODEC)
    (folder / "pyproject.toml").write_text(PROJECT)
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    [site] = (folder / "venv").glob("lib/*/site-packages")
    ours = sysconfig.get_path("purelib")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, ".", cwd=folder)
    return python


@pytest.fixture
def photos(photo: Image, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "cat.png", photo)
    write_image(tmp_path / "photos" / "part.png", np.ascontiguousarray(photo[:100, :77]))
    return tmp_path


def test_the_codec_of_another_package_runs(python: Path, photos: Path, photo: Image) -> None:
    assert "tiny" in run(python, "-m", "lic_bench", "codecs", cwd=photos)
    assert "tiny-codec 1.2" in run(python, "-m", "lic_bench", "codecs", "tiny", cwd=photos)
    command = ("run", "--codecs", "tiny,jpeg", "--dataset", "photos", "--jobs", "2", "-o", "out")
    run(python, "-m", "lic_bench", *command, "-p", "jpeg=20,80", cwd=photos)
    table = pd.read_parquet(photos / "out" / "measurements.parquet")
    assert table["error"].isna().all()
    tiny = table[table["codec"] == "tiny"]
    assert len(tiny) == 6
    # The error is known: the lower bits of the original.
    cat = tiny[tiny["image"] == "cat.png"]
    assert (cat["bytes"] == 5 + 3 * 451 * 300).all()
    lost = [((photo & bits).astype(float) ** 2).mean() for bits in (0b1111111, 0b1111, 0b1)]
    assert cat["mse_rgb"].tolist() == pytest.approx(lost, rel=1e-6)


def test_the_codec_of_another_package_can_be_checked(python: Path, photos: Path) -> None:
    done = subprocess.run(
        [python, "-m", "lic_bench", "check", "-c", "tiny"],
        cwd=photos,
        capture_output=True,
        text=True,
    )
    # Its rate is the same at every point: that is what is wrong with it, and nothing else.
    assert (done.returncode, done.stdout.count("FAIL")) == (1, 1)
    assert "the rate does not rise from 7 to 1" in done.stdout


def test_our_own_environment_knows_nothing_of_it(python: Path, photos: Path) -> None:
    assert python.exists()
    assert "tiny" not in run(sys.executable, "-m", "lic_bench", "codecs", cwd=photos)


def broken(folder: Path, value: str, code: str) -> dict[str, str]:
    """Variables with which Python sees a package whose entry point is this one."""
    packages = folder / "packages"
    metadata = packages / "broken_codec-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-codec\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[lic_bench.codecs]\nbroken = {value}\n")
    (packages / "broken_codec.py").write_text(code)
    return {"PYTHONPATH": str(packages), "COLUMNS": "150"}


@pytest.mark.parametrize(
    ("value", "code", "problem"),
    [
        ("broken_codec:Codec", "import no_such_library", "No module named 'no_such_library'"),
        ("broken_codec:Codec", "raise SystemExit('never')", "never"),
        ("broken_codec:Missing", "", "has no attribute 'Missing'"),
        ("broken_codec:number", "number = 3", "is no lic_bench.Codec"),
        ("no_such_module:Codec", "", "No module named 'no_such_module'"),
    ],
)
def test_a_broken_package_is_listed_with_what_is_wrong(
    value: str, code: str, problem: str, tmp_path: Path
) -> None:
    variables = broken(tmp_path, value, code)
    command = (sys.executable, "-m", "lic_bench", "codecs")
    listed = run(*command, cwd=tmp_path, **{**variables, "COLUMNS": "300"}).splitlines()
    [reason] = [line for line in listed if line.startswith("broken")]
    assert "missing" in reason
    assert problem in reason
    assert any(
        line.startswith("jpeg ") and line.endswith("ready") for line in map(str.rstrip, listed)
    )
    assert problem in run(*command, "broken", cwd=tmp_path, **variables)


def test_a_broken_package_breaks_no_run_but_its_own(photos: Path) -> None:
    variables = broken(photos, "broken_codec:Codec", "import no_such_library")
    command = (sys.executable, "-m", "lic_bench", "run", "-d", "photos", "-p", "50", "-c")
    run(*command, "jpeg", cwd=photos, **variables)
    refused = subprocess.run(
        [*command, "jpeg,broken", "-o", "other"],
        cwd=photos,
        capture_output=True,
        text=True,
        env=os.environ | variables,
    )
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert "No module named 'no_such_library'" in " ".join(refused.stderr.split())
    assert not (photos / "other").exists()
