"""What several tests need."""

import os
from collections.abc import Iterator
from pathlib import Path

# Tests that run beside others share the cores with them: before a library is loaded that counts
# them. Threads that wait for a core at every step cost a network several times its time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import chromium
import numpy as np
import pytest

from lic_bench import Image, load_dataset, read_image
from lic_bench.execution.runner import cores


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For `-n auto`: one more than there are cores, since some tests wait for a limit of time.

    Each imports torch, and starts processes; beyond some of them there is little to be won.
    """
    return min(cores(), 8) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a browser, a whole report, a cluster or Kodak is slow."""
    for item in items:
        if {"browser", "made", "address", "kodak"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


IMAGES = {image.name: image.path for image in load_dataset("sample").images}


@pytest.fixture(scope="session", autouse=True)
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where reports keep their pictures: nothing of an earlier run of the tests is there."""
    from lic_bench.reporting.page import remembered

    folder = tmp_path_factory.mktemp("remembered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "folder", lambda: folder)
        yield folder


@pytest.fixture(scope="session")
def photo() -> Image:
    """A photograph of 451 x 300 pixels."""
    return read_image(IMAGES["chelsea.png"])


@pytest.fixture(scope="session")
def large_photo() -> Image:
    """A photograph of 741 x 500 pixels."""
    return read_image(IMAGES["motorcycle_left.png"])


@pytest.fixture
def noise() -> Image:
    """Random samples, 48 x 40 pixels."""
    return np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def kodak() -> Path:
    """The folder of the Kodak images, where `LIC_BENCH_DATA` names one that has it."""
    folder = Path(os.environ.get("LIC_BENCH_DATA", "")) / "kodak"
    if "LIC_BENCH_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("LIC_BENCH_DATA names no folder that holds kodak")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[chromium.Page]:
    """A tab of a real browser."""
    if chromium.PROGRAM is None:
        pytest.skip("there is no Chromium here")
    with chromium.chromium() as page:
        yield page
