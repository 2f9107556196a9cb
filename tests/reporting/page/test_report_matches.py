"""The viewer's pictures at the points that a search found."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Page
from command import command

from lic_bench import Image, write_image
from lic_bench.execution.matching import match
from lic_bench.execution.plan import plan
from lic_bench.execution.run import execute
from lic_bench.execution.workers import Processes
from lic_bench.metric.quality import QUALITIES
from lic_bench.metric.targets import parse_target
from lic_bench.store.table import load

TARGETS = ("bpp=0.8", "psnr_rgb=30")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> Path:
    """A folder with a report of two codecs on an image, after a search."""
    folder = tmp_path_factory.mktemp("matches")
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "one.png", np.ascontiguousarray(photo[:176, 100:292]))
    points = {"jpeg": ["20", "60"], "jpeg2000": ["60", "20"]}
    made = plan(["jpeg", "jpeg2000"], [str(folder / "photos")], points=points)
    execute(made, folder, workers=Processes(1))
    match(made, [parse_target(text) for text in TARGETS], folder, workers=Processes(1))
    command("report", folder, "-d", folder / "photos", "--rates", "0.4,1.2", "-j", "1")
    return folder


@pytest.fixture
def opened(browser: Page, searched: Path) -> Page:
    browser.screen(1200, 900)
    browser.open(searched / "report.html")
    browser.wait("document.getElementById('stage').dataset.drawn")  # the choices are in the selects
    browser.choose("view-left", "0")
    browser.choose("view-right", "1")
    return browser


def captions(page: Page) -> list[str]:
    found = page.run("[...document.querySelectorAll('.caption')].map((one) => one.textContent)")
    assert isinstance(found, list)
    return found


def test_the_viewer_offers_what_was_matched_behind_the_rates(opened: Page) -> None:
    told = opened.run("[...document.getElementById('view-rate').options].map((o) => o.text)")
    assert told == ["0.4 bpp", "1.2 bpp", "matched: 0.8 bpp", "matched: PSNR (RGB) 30 dB"]
    # What a search has matched in rate is compared best, and shown first.
    assert opened.run("document.getElementById('view-rate').value") == "bpp=0.8"


@pytest.mark.parametrize("target", TARGETS)
def test_each_codec_is_shown_at_its_own_match(opened: Page, searched: Path, target: str) -> None:
    opened.choose("view-rate", target)
    opened.settle()
    table = load(searched)
    for codec, caption in zip(("jpeg", "jpeg2000"), captions(opened), strict=True):
        rows = table[[target in text.split() for text in table["matches"]]]
        [row] = rows[rows["codec"] == codec].to_dict("records")
        name, point, rate, quality = caption.split(" · ")
        assert name == codec
        assert "\u26a0" not in caption  # rates are alike, or are what is compared
        assert point.split()[-1] == row["point"]
        assert float(rate.removesuffix(" bpp")) == pytest.approx(row["bpp"], abs=6e-4)
        assert float(quality.removesuffix(" dB")) == pytest.approx(row["psnr_rgb_db"], abs=6e-3)
    assert opened.complaints == []


def test_the_caption_follows_the_metric_and_the_key_turns_to_matches(opened: Page) -> None:
    opened.choose("view-rate", "1.2")
    opened.run("document.getElementById('stage').focus()")
    opened.press("r")
    opened.settle()
    assert opened.run("document.getElementById('view-rate').value") == "bpp=0.8"
    before = captions(opened)
    opened.choose("metric", "ms_ssim_rgb")
    opened.settle()
    assert captions(opened) != before
    assert [text.rsplit(" · ", 1)[0] for text in captions(opened)] == [
        text.rsplit(" · ", 1)[0] for text in before
    ]


def test_curves_and_rates_know_nothing_of_the_search(opened: Page, searched: Path) -> None:
    shown: Any = json.loads(opened.run("document.getElementById('data').textContent"))
    [one] = shown["datasets"]
    for metric in QUALITIES:
        assert [curve["points"] for curve in one["curves"][metric]] == [["20", "60"], ["60", "20"]]
    points = {p["point"] for p in shown["pictures"] if p["rate"] in (0.4, 1.2) and p["point"]}
    assert points <= {"20", "60"}
