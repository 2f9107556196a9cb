"""A small store with what a report must cope with, and the report of it."""

from pathlib import Path

import numpy as np
import pytest
from command import command
from oddities import NAMES, PLUGIN, RATES

from lic_bench import Image, run, write_image


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "coarse.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, large_photo: Image, plugin: Path) -> Path:
    """A folder in which three codecs were run on three images of a folder `photos`."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "photos").mkdir()
    for i, name in enumerate(NAMES):  # 242 x 190 pixels: sides that are no multiples of 4
        part = large_photo[100 * i : 100 * i + 190, 200 * i : 200 * i + 242]
        write_image(folder / "photos" / name, np.ascontiguousarray(part))
    points = {
        "jpeg": ["5:45:10"],
        "jpeg2000": ["100", "60", "40", "24", "12"],
        "coarse": ["250", "100", "80", "60", "40", "20"],
    }
    run(
        ["jpeg", "jpeg2000", "coarse"],
        [str(folder / "photos")],
        out=folder,
        points=points,
        jobs=1,
        plugins=[plugin],
    )
    return folder


@pytest.fixture(scope="session")
def made(store: Path, plugin: Path) -> Path:
    """The report of the store, with pictures at two rates."""
    path = store / "report.html"
    command(
        "report", store, "-d", store / "photos", "--plugin", plugin, "--rates", RATES, "-j", "1"
    )
    return path
