"""A simulated rater, who sees only the page: its pixels and texts, through the browser."""

import base64
import hashlib
import io
import math
import re
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from chromium import Page

from lic_bench.rating.davidson import chances, fit
from lic_bench.rating.scores import JOD
from lic_bench.rating.study import Study

Pixels = Any
SENSITIVITY = 0.35
"""Of a rater: logits for each dB of PSNR (luma, after a blur) on the screen."""
LOG_TIES = math.log(0.5)


def text(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).textContent"))


def stage(page: Page) -> Pixels:
    """What the screen shows of the picture: uint8, height x width x 3, in device pixels."""
    box = page.run(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect();"
        "return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
    )
    taken = page.call("Page.captureScreenshot", clip={**box, "scale": 1}, optimizeForSpeed=True)
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB"))


def begin(page: Page, name: str = "simulated") -> None:
    """Go through what comes before the training, with the mouse."""
    page.click("#agreed")
    page.click("#begin")
    page.run(f"document.getElementById('rater').value = {name!r}")
    page.click("#zoomed")
    page.click("#fits")
    page.click("#set-up")
    page.click("#train")
    ready(page)


def ready(page: Page) -> None:
    """Wait until the page has shown what comes next."""
    page.wait("document.documentElement.dataset.ready === 'true'")
    page.settle()


def visible(page: Page, selector: str) -> bool:
    return bool(page.run(f"document.querySelector({selector!r})?.checkVisibility() ?? false"))


Judge = Callable[[Pixels, Pixels, Pixels], str]
"""Of the original, A and B: the key that answers, 1, 2 or 3."""


def look(page: Page) -> tuple[Pixels, Pixels, Pixels]:
    """Switch to each of the three pictures, by keyboard, and see it."""
    seen = []
    for key in ("ArrowUp", "ArrowLeft", "ArrowRight"):
        page.press(key)
        page.settle()
        seen.append(stage(page))
    return seen[0], seen[1], seen[2]


def answer_all(page: Page, judge: Judge, most: int = 10_000) -> int:
    """Answer, one trial after the other, to the end or so many; say how many."""
    for answered in range(most):
        if visible(page, "#earnest"):
            page.click("#earnest")
        elif visible(page, "#carry-on"):
            page.click("#carry-on")
        elif visible(page, "#remark"):
            return answered
        ready(page)
        page.press(judge(*look(page)))
        if visible(page, "#next"):
            page.click("#next")
        ready(page)
    return most


class Eye:
    """Sees as PSNR does after a blur, remembers what it saw, and prefers by Davidson's model."""

    def __init__(self, seed: int, sensitivity: float = SENSITIVITY) -> None:
        self._rng = np.random.default_rng(seed)
        self._sensitivity = sensitivity
        self._known: dict[bytes, float] = {}

    def __call__(self, original: Pixels, left: Pixels, right: Pixels) -> str:
        if np.array_equal(left, right):
            return "2"
        difference = self._sensitivity * (self._db(original, left) - self._db(original, right))
        terms = np.exp([difference / 2, LOG_TIES, -difference / 2])
        return str(1 + self._rng.choice(3, p=terms / terms.sum()))

    def _db(self, original: Pixels, picture: Pixels) -> float:
        key = hashlib.sha256(original.tobytes() + picture.tobytes()).digest()
        if key not in self._known:
            self._known[key] = seen_db(original, picture)
        return self._known[key]


def seen_db(original: Pixels, picture: Pixels) -> float:
    """How near a picture looks to its original: PSNR of luma after a blur of 2 x 2, 50 at most."""
    difference = luma(original) - luma(picture)
    height, width = (side // 2 * 2 for side in difference.shape)
    blurred = difference[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    return min(50.0, -10 * math.log10((blurred**2).mean() / 255**2 + 1e-12))


def truth(study: Study, page: Path, sensitivity: float = SENSITIVITY) -> dict[str, float]:
    """The scores in JOD that any number of such raters would give the codecs of a study.

    From the pictures in the page's file and the study's key, without a browser: the chances of each
    answer to each pair, taken together for each two codecs, and scored.
    """
    blobs = re.findall(r'id="blob-\d+">([^<]*)<', page.read_text(encoding="utf-8"))
    pictures = [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(blob)))) for blob in blobs]
    originals = {
        shown.image: pictures[number]
        for number, shown in enumerate(study.pictures)
        if shown.role == "original"
    }
    db = [
        seen_db(originals[shown.image], picture)
        for shown, picture in zip(study.pictures, pictures, strict=True)
    ]
    codecs = study.codecs
    pairs = list(combinations(range(len(codecs)), 2))
    expected: list[list[Any]] = [[] for _ in pairs]
    for pair in study.pairs:
        first, second = sorted(pair, key=lambda number: study.pictures[number].codec)
        place = pairs.index(
            (
                codecs.index(study.pictures[first].codec),
                codecs.index(study.pictures[second].codec),
            )
        )
        expected[place].append(chances(np.array(sensitivity * (db[first] - db[second])), LOG_TIES))
    counts = np.array([1e6 * np.mean(some, axis=0) if some else np.zeros(3) for some in expected])
    found = fit(counts, np.array(pairs), len(codecs)).scores / JOD
    return dict(zip(codecs, map(float, found), strict=True))


def luma(pixels: Pixels) -> Any:
    return pixels.astype(np.float64) @ [0.299, 0.587, 0.114]


def save(page: Page, folder: Path) -> Path:
    """Save the answers to a file, as the page's button does."""
    before = set(folder.iterdir())
    where = {"behavior": "allow", "downloadPath": str(folder)}
    page.call("Browser.setDownloadBehavior", **where)
    page.click("#save")
    end = time.monotonic() + 30
    while not (new := set(folder.glob("*.json")) - before):
        if time.monotonic() > end:
            raise TimeoutError("no file was saved")
        time.sleep(0.05)
    return new.pop()
