"""Pairs of a Kodak image and a distorted one, and what reference programs say of them.

`reference_scores.csv` beside this holds, for each pair, the SHA-256 of the distorted image's
samples and the scores; docs/metrics.md says which programs they are of. They were made with
libjpeg-turbo 3.2.0 and libwebp 1.6.0: where another version decodes to other samples, a pair has no
scores.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from scipy.ndimage import gaussian_filter

from lic_bench import Image, read_image

SCORES = Path(__file__).with_name("reference_scores.csv")


def _coded(format_: str, quality: int) -> Callable[[Image], Image]:
    def through(image: Image) -> Image:
        stream = io.BytesIO()
        PillowImage.fromarray(image).save(stream, format_, quality=quality)
        return np.asarray(PillowImage.open(stream).convert("RGB"))

    return through


def _bytes(samples: np.ndarray) -> Image:
    return np.rint(np.clip(samples, 0, 255)).astype(np.uint8)


DISTORTIONS: dict[str, Callable[[Image], Image]] = {
    "identical": lambda image: image,
    **{f"jpeg-{quality}": _coded("JPEG", quality) for quality in (5, 10, 30, 50, 75, 95)},
    **{f"webp-{quality}": _coded("WEBP", quality) for quality in (10, 60)},
    "blur-1.5": lambda image: _bytes(gaussian_filter(image.astype(np.float64), (1.5, 1.5, 0))),
    "noise-10": lambda image: _bytes(image + np.random.default_rng(0).normal(0, 10, image.shape)),
    "shift": lambda image: _bytes(1.05 * image + 5),
}


def pairs(
    kodak: Path, only: set[tuple[str, str]] | None = None
) -> Iterator[tuple[str, Image, Image, dict[str, float]]]:
    """The pairs that can be made here: name, reference, distorted, the score of each program."""
    with SCORES.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        image, distortion, sha256 = row.pop("image"), row.pop("distortion"), row.pop("sha256")
        if only is not None and (image, distortion) not in only:
            continue
        reference = read_image(kodak / f"{image}.png")
        distorted = DISTORTIONS[distortion](reference)
        if hashlib.sha256(distorted.tobytes()).hexdigest() == sha256:
            scores = {name: float(score) for name, score in row.items()}
            yield f"{image} {distortion}", reference, distorted, scores
