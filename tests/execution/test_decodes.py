"""Streams decoded again, under other circumstances."""

from pathlib import Path

import numpy as np
import pytest
from command import command

from lic_bench import write_image
from lic_bench.execution import decodes
from lic_bench.execution.decodes import Verdict
from lic_bench.execution.plan import plan
from lic_bench.execution.requests import another_picture
from lic_bench.execution.run import execute
from lic_bench.execution.workers import Processes

PLUGIN = """
import os, time
import subprocess
import sys
from pathlib import Path
import numpy as np
from lic_bench import Codec

LOG = Path(__file__).with_name("log")

class Toy(Codec):
    name = "toy"
    points = ("exact", "sums", "fails", "hangs")
    def encode(self, image, point):
        height, width, _ = image.shape
        return f"{width} {height} {point}".encode()
    def decode(self, stream):
        threads = int(os.environ["OMP_NUM_THREADS"])
        with LOG.open("a") as log:
            log.write(f"{os.getpid()} {threads}\\n")
        width, height, point = stream.decode().split()
        picture = np.full((int(height), int(width), 3), 128, np.uint8)
        if point == "sums":
            picture[0, :2, 1] += threads - 1
            picture[0, 0, 2] += 4 * (threads - 1)
        if point == "fails" and threads > 1:
            raise ValueError("not with threads")
        if point == "hangs" and threads > 1:
            time.sleep(600)
        return picture
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "toy.py"
    path.write_text(PLUGIN)
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images" / "b.png").write_bytes(
        (tmp_path / "images" / "a.png").read_bytes() + b"another file"
    )
    return path


def checked(plugin: Path, *points: str, timeout_s: float = 60) -> Verdict:
    folder = plugin.parent
    planned = plan(["toy"], [str(folder / "images")], points={"toy": points}, plugins=[plugin])
    execute(planned, folder / "out", workers=Processes(1))
    [verdict] = decodes.check(planned, folder / "out", jobs=1, timeout_s=timeout_s)
    return verdict


def test_equal_pictures_are_found_equal(plugin: Path) -> None:
    assert checked(plugin, "exact") == Verdict("toy", "2 threads", 2, 0, "")


def test_it_decodes_in_processes_that_did_not_measure(plugin: Path) -> None:
    checked(plugin, "exact")
    lines = [line.split() for line in (plugin.parent / "log").read_text().splitlines()]
    measured, usual, unusual = (
        {pid for pid, threads in part if threads == of}
        for part, of in ((lines[:2], "1"), (lines[2:], "1"), (lines[2:], "2"))
    )
    assert len(measured) == len(usual) == len(unusual) == 1
    assert len(measured | usual | unusual) == 3


def test_each_sample_that_differs_is_counted(plugin: Path) -> None:
    found = checked(plugin, "exact", "sums")
    assert (found.checked, found.differing) == (4, 2)
    assert found.worst == "a.png sums: 3 samples differ, by up to 4"


def test_a_stream_that_does_not_decode_is_told_and_the_others_checked(plugin: Path) -> None:
    found = checked(plugin, "fails", "exact")
    assert (found.checked, found.differing) == (4, 2)
    assert found.worst == "a.png fails: ValueError: not with threads"


@pytest.mark.slow
def test_one_that_hangs_is_given_up(plugin: Path) -> None:
    found = checked(plugin, "hangs", "exact", timeout_s=6)
    assert (found.checked, found.differing) == (4, 2)
    assert "took longer than 6 s (--timeout)" in found.worst


def test_what_was_checked_is_not_checked_again(plugin: Path) -> None:
    first = checked(plugin, "exact", "sums")
    before = (plugin.parent / "log").read_text()
    assert checked(plugin, "exact", "sums") == first
    assert (plugin.parent / "log").read_text() == before


@pytest.mark.slow
def test_the_command_line_tells_which_codec_differs(plugin: Path) -> None:
    done = command(
        *("run", "--plugin", plugin, "-c", "toy,jpeg", "-d", plugin.parent / "images"),
        *("-p", "toy=exact,sums", "-p", "jpeg=50", "-o", plugin.parent / "out", "--check-decode"),
        code=1,
    )
    told = done.stderr.splitlines()
    assert "jpeg: 2 streams decoded again (2 threads): all gave the same picture" in told
    assert any(line.startswith("toy: 4 streams") and "2 differ" in line for line in told)


def test_a_picture_is_known_again_by_its_squared_error_where_that_was_measured() -> None:
    original = np.full((8, 16, 3), 100, np.uint8)
    picture = original + np.uint8(3)
    assert another_picture("toy", picture, original, 9.0) is None
    assert another_picture("toy", picture, original, float("nan")) is None
    assert "squared error of 9 instead of 4" in str(another_picture("toy", picture, original, 4.0))
    cut = another_picture("toy", picture[:, :8], original, float("nan"))
    assert cut == "toy here decodes a picture of 8x8, not 16x8"
