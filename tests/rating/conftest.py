"""A small study: two photographs, three codecs at about equal rate."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from command import command

from lic_bench import Image, write_image
from lic_bench.execution.matching import match
from lic_bench.execution.plan import plan
from lic_bench.execution.runner import Limits
from lic_bench.execution.workers import Processes
from lic_bench.metric.targets import parse_target
from lic_bench.rating import judged
from lic_bench.rating.page.html import study_in
from lic_bench.rating.study import Study
from lic_bench.store.file import FILE_NAME
from lic_bench.store.ratings import Ratings

CODECS = ("jpeg", "jpeg2000", "webp")


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory, large_photo: Image) -> Path:
    """A folder with measurements of three codecs, matched to 0.8 bpp, on three images."""
    folder = tmp_path_factory.mktemp("rated")
    (folder / "photos").mkdir()
    for i in range(3):
        part = large_photo[100 * i : 100 * i + 190, 200 * i : 200 * i + 242]
        write_image(folder / "photos" / f"{i}.png", np.ascontiguousarray(part))
    points = {"jpeg": ["5", "20"], "jpeg2000": ["160", "30"], "webp": ["0", "20"]}
    planned = plan(list(CODECS), [str(folder / "photos")], points=points)
    match(planned, [parse_target("bpp=0.8")], folder, workers=Processes(1, Limits()))
    return folder


@pytest.fixture(scope="session")
def page(measured: Path) -> Path:
    """The page of a study of them, of 12 counted pairs a rater."""
    path = measured / "study.html"
    command(
        *("rate", "make", measured, "-c", ",".join(CODECS), "-d", measured / "photos"),
        *("--match", "bpp=0.8", "--unequal", "mark", "--pairs", "12", "-j", "1", "-o", path),
    )
    return path


@pytest.fixture
def kept(page: Path, measured: Path, tmp_path: Path) -> tuple[Path, Study]:
    """A folder with a store that knows the study and has no answers, and the study."""
    with closing(sqlite3.connect(measured / FILE_NAME)) as db:
        db.execute("VACUUM INTO ?", (str(tmp_path / FILE_NAME),))
    with Ratings.open(tmp_path) as ratings:
        return tmp_path, judged.find(ratings, study_in(page))
