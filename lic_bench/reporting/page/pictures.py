"""The pictures of the viewer: decoded from the bitstreams that the store keeps.

For each image and codec the operating points nearest a few common rates, so that codecs are looked
at side by side at about the same rate; and those that a search found to meet a target. Each picture
is decoded anew, unless it was brought in, and its error compared with the one that was measured: a
picture that is not the one measured is left out. So is whatever would make the file larger than it
may be; the page tells each picture that is left out, and why.

How pictures are stored:

- A bitstream that browsers decode (JPEG, WebP, AVIF, PNG) into the very pixels that were measured
  stands for its picture.
- Others, and originals, are compressed anew as WebP of quality 90 (38 to 43 dB on Kodak), or
  without loss where that is not within 36 dB of them.
- The error of each 4x4 pixels (root of the mean square over R, G and B) is that of the pixels
  themselves. It is kept as a grey image, in quarters of an 8-bit step up to 63.75, and compressed
  likewise, which costs about half a step.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import loky
import numpy as np
import pandas as pd
import PIL.Image

from lic_bench.codec.base import Codec
from lic_bench.codec.registry import Registry
from lic_bench.codec.spec import parse_points
from lic_bench.errors import LicBenchError, SpecError
from lic_bench.execution.workers import ENVIRONMENT
from lic_bench.images.dataset import Dataset, ImageFile
from lic_bench.images.image import Image, read_image
from lic_bench.metrics.quality import QUALITIES
from lic_bench.store.database import Store
from lic_bench.store.records import BROUGHT_IN, Key

QUALITY = 90
BLOCK = 4
STEPS = 4  # an error of one 8-bit step, as it is stored

_USUAL_RATES = (0.15, 0.3, 0.6)
_NEAR = 1.5  # the factor by which a point's rate may miss a common rate
_TOO_LARGE = "the file would be larger than --max-size"
_HARMLESS = 16.0  # mean squared error: a PSNR of 36 dB
_WEBP_SIDE = 16383
_BROWSERS = ("JPEG", "WEBP", "AVIF", "PNG")


Rate = float | str
"""What pictures are compared at: bits per pixel, or a target as text (``psnr_rgb=32``)."""


@dataclass(frozen=True)
class Shot:
    """A picture that is wanted."""

    codec: str
    point: str
    bpp: float
    mse: float
    """The mean squared error that was measured."""
    key: Key
    quality: Mapping[str, float | None]
    """In dB, by name of metric."""


@dataclass(frozen=True)
class Scene:
    """The pictures of one image at one rate, which are made by one worker."""

    dataset: str
    image: str
    file: ImageFile | None
    """Where the original is at hand."""
    rate: Rate
    shots: tuple[Shot, ...]
    with_original: bool
    """Whether the original itself is among the pictures: once for each image."""


@dataclass(frozen=True)
class Picture:
    """A picture of the page, or why it is missing."""

    dataset: str
    image: str
    rate: Rate
    codec: str | None
    """None for the original."""
    point: str = ""
    bpp: float | None = None
    quality: Mapping[str, float | None] = field(default_factory=dict)
    problem: str | None = None
    exact: bool = False
    """Whether it is the very picture, without compression of ours."""
    data: bytes | None = field(default=None, repr=False)
    """In a format of `_BROWSERS`; so are the other two."""
    error: bytes | None = field(default=None, repr=False)
    """Grey, one sample for each block: its error in steps of 1 / `STEPS`."""
    importance: bytes | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """The bytes that it takes in the file, as base64."""
        parts = (self.data, self.error, self.importance)
        return sum(4 * math.ceil(len(part) / 3) + 100 for part in parts if part is not None)


def common_rates(aggregated: pd.DataFrame, dataset: str) -> list[float]:
    """The rates at which pictures are compared: those of 0.15, 0.3, 0.6 bpp that codecs reach.

    That is, at least half of the codecs have a point within a factor of 1.5. If they reach none of
    them: three rates that divide the median codec's range.
    """
    rows = aggregated[(aggregated["dataset"] == dataset) & aggregated["complete"]]
    rates = [group.to_numpy() for _, group in rows.groupby("codec")["bpp"]]
    if not rates:
        return []

    def reached(rate: float) -> bool:
        near = [np.abs(np.log(mine / rate)).min() <= math.log(_NEAR) for mine in rates]
        return 2 * int(sum(near)) >= len(near)

    usual = [rate for rate in _USUAL_RATES if reached(rate)]
    if usual:
        return usual
    low = float(np.median([mine.min() for mine in rates]))
    high = float(np.median([mine.max() for mine in rates]))
    return sorted({float(f"{rate:.2g}") for rate in np.geomspace(low, high, 5)[1:-1]})


def scenes(
    measurements: pd.DataFrame,
    dataset: str,
    rates: Sequence[float],
    images: int,
    files: Mapping[str, ImageFile],
) -> tuple[list[Scene], list[Picture]]:
    """Choose the pictures of a data set: at some rates, and at each target that was searched for.

    Parameters
    ----------
    measurements
        As `lic_bench.store.table.load` returns them.
    rates
        In bits per pixel.
    images
        How many of the data set's images, at even distances.
    files
        The originals that are at hand, by the key that measurements are kept under.

    Returns
    -------
    The scenes, the middle rate of all images first and then the targets, so that a limit spares
    what matters; and the pictures that there cannot be.
    """
    rows = measurements[
        (measurements["dataset"] == dataset)
        & measurements["error"].isna()
        & measurements["image"].notna()
    ]
    names = list(rows.drop_duplicates("image")["image"])
    chosen = (
        [names[i] for i in sorted(set(np.linspace(0, len(names) - 1, images).astype(int)))]
        if names
        else []
    )
    found: list[Scene] = []
    missing: list[Picture] = []
    by_image = dict(list(rows.groupby("image")))
    middle = rates[(len(rates) - 1) // 2] if rates else 0.0
    ordered = sorted(rates, key=lambda one: abs(math.log(one / middle)))
    targets = sorted({target for text in rows["matches"] for target in text.split()})
    wanted: list[Rate] = [*ordered[:1], *targets, *ordered[1:]]
    for rate in wanted:
        for name in chosen:
            shots = []
            for codec, group in by_image[name].groupby("codec"):
                row = _nearest(group, rate) if isinstance(rate, float) else _match(group, rate)
                if row is None:
                    why = "no point near this rate" if isinstance(rate, float) else "not matched"
                    missing.append(Picture(dataset, name, rate, str(codec), problem=why))
                    continue
                key = Key(row["image_sha256"], row["identity"], row["point"])
                measured = row["point"], row["bpp"], row["mse_rgb"]
                shots.append(Shot(str(codec), *measured, key, _quality(row)))
            file = files.get(by_image[name]["image_sha256"].iloc[0])
            found.append(Scene(dataset, name, file, rate, tuple(shots), rate == wanted[0]))
    return found, missing


def _nearest(rows: pd.DataFrame, rate: float) -> pd.Series[Any] | None:
    """Of a codec's points on an image that one nearest a rate, if it is near enough."""
    rows = rows[~rows["searched"]]
    distance = np.abs(np.log(rows["bpp"] / rate))
    near = not rows.empty and distance.min() <= math.log(_NEAR)
    return rows.loc[distance.idxmin()] if near else None


def _match(rows: pd.DataFrame, target: str) -> pd.Series[Any] | None:
    """Of a codec's points on an image that one which met a target."""
    found = rows[[target in text.split() for text in rows["matches"]]]
    return None if found.empty else found.iloc[0]


def _quality(row: pd.Series[Any]) -> dict[str, float | None]:
    """The metrics of one measurement in dB; None where they are missing or infinite."""
    found = {
        name: math.nan if pd.isna(row[one.images]) else float(one.from_mean(row[one.images]))
        for name, one in QUALITIES.items()
    }
    return {
        name: round(value, 4) if row["mse_rgb"] and math.isfinite(value) else None
        for name, value in found.items()
    }


def originals(datasets: Sequence[Dataset]) -> dict[str, ImageFile]:
    """The images at hand, by the key that their measurements are kept under."""
    return {image.key: image for one in datasets for image in one.images if image.error is None}


def make_all(
    wanted: Sequence[Scene], store: Path, *, budget: int, jobs: int, plugins: Sequence[Path] = ()
) -> Iterator[list[Picture]]:
    """Make pictures in worker processes, until they take so many bytes of the file.

    The first scene that does not fit is left out, with all that come after it.
    """
    # loky guards against leaks; what grows here is memory that is kept for the next picture.
    warnings.filterwarnings("ignore", message="A worker (was restarted|stopped)")
    with loky.ProcessPoolExecutor(max_workers=jobs, env=ENVIRONMENT) as workers:
        futures = [workers.submit(make, scene, store, tuple(plugins)) for scene in wanted]
        for scene, future in zip(wanted, futures, strict=True):
            if budget <= 0:
                future.cancel()
                yield _without(scene, _TOO_LARGE)
                continue
            try:
                pictures = future.result()
            except BrokenProcessPool:
                yield _without(scene, "a worker process died: out of memory, or a codec's fault")
                continue
            size = sum(picture.size for picture in pictures)
            budget = budget - size if size <= budget else 0
            yield pictures if budget else _without(scene, _TOO_LARGE)


def _without(scene: Scene, problem: str) -> list[Picture]:
    """A scene's pictures, all missing."""
    empty = Picture(scene.dataset, scene.image, scene.rate, None, problem=problem)
    shots = [replace(_of(scene, shot), problem=problem) for shot in scene.shots]
    return [*([empty] if scene.with_original else []), *shots]


def _of(scene: Scene, shot: Shot) -> Picture:
    """A picture that is still to be made."""
    known = shot.codec, shot.point, shot.bpp, shot.quality
    return Picture(scene.dataset, scene.image, scene.rate, *known)


def make(scene: Scene, store: Path, plugins: tuple[Path, ...]) -> list[Picture]:
    """Make the pictures of a scene; those that cannot be made tell why."""
    empty = Picture(scene.dataset, scene.image, scene.rate, None)
    original, why = None, "the original was not at hand: fetch the data set, or name its folder"
    if scene.file is not None:
        try:
            original = scene.file.cropped(read_image(scene.file.path))
        except LicBenchError as error:
            why = str(error)
    pictures = []
    if scene.with_original:
        kept = {"problem": why} if original is None else {"data": for_display(original)}
        pictures.append(replace(empty, **kept))
    with Store.open(store) as opened:
        for shot in scene.shots:
            picture = _of(scene, shot)
            try:
                stream = opened.kept(shot.key).stream
                if shot.key.identity.startswith(BROUGHT_IN):
                    pictures.append(_brought_in(picture, shot, stream, original))
                    continue
                codec = _registry(plugins).codec(shot.codec)
                pictures.append(_decoded(picture, shot, codec, stream or b"", original))
            except Exception as error:  # noqa: BLE001 - a codec may raise anything
                problem = str(error) if isinstance(error, LicBenchError) else repr(error)
                pictures.append(replace(picture, problem=problem))
    return pictures


@cache
def _registry(plugins: tuple[Path, ...]) -> Registry:
    return Registry(plugins)


def _brought_in(
    picture: Picture, shot: Shot, stream: bytes | None, original: Image | None
) -> Picture:
    """A picture that came decoded: what is kept of it is an image file."""
    if stream is None:
        return replace(picture, problem=f"{shot.codec} was brought in without pictures")
    image = read_image(stream, f"{picture.image} of {shot.codec}")
    return _compared(replace(picture, data=for_display(image)), shot, image, original)


def _decoded(
    picture: Picture, shot: Shot, codec: Codec, stream: bytes, original: Image | None
) -> Picture:
    image = codec.decode(stream)
    direct = _shown_by_browsers(stream, image)
    shown = replace(picture, data=stream if direct else for_display(image), exact=direct)
    shown = _compared(shown, shot, image, original)
    if original is None or shown.problem is not None:
        return shown
    try:
        [point] = parse_points(codec, [shot.point]) if shot.point else codec.points
        importance = codec.importance_map(original, point)
    except SpecError:
        return shown
    return replace(shown, importance=_webp(importance, lossless=True))


def _compared(picture: Picture, shot: Shot, image: Image, original: Image | None) -> Picture:
    """The picture with its errors, or why it must not be shown."""
    if original is None:
        return picture
    squares = (image.astype(np.float32) - original) ** 2
    mse = float(squares.mean(dtype=np.float64))
    if not math.isclose(mse, shot.mse, rel_tol=0.01, abs_tol=1e-3):
        problem = (
            f"{shot.codec} here decodes another picture than was measured: a mean squared error "
            f"of {mse:.4g} instead of {shot.mse:.4g}; repeat the run"
        )
        return replace(picture, data=None, exact=False, problem=problem)
    return replace(picture, error=_webp(_block_errors(squares), quality=QUALITY))


def _shown_by_browsers(stream: bytes, image: Image) -> bool:
    """Whether browsers decode the stream, into these very pixels."""
    try:
        with PIL.Image.open(io.BytesIO(stream), formats=_BROWSERS) as opened:
            return np.array_equal(np.asarray(opened.convert("RGB")), image)
    except Exception:  # noqa: BLE001 - it is no such stream
        return False


def _block_errors(squares: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Image:
    """The error of each block: uint8, blocks in height x blocks in width."""
    height, width, _ = squares.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    # Blocks that stick out are filled up with what is at the edge.
    padding = ((0, rows * BLOCK - height), (0, columns * BLOCK - width))
    whole = np.pad(squares.mean(axis=2), padding, mode="edge")
    blocks = whole.reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))
    steps: Image = np.minimum(np.rint(STEPS * np.sqrt(blocks)), 255).astype(np.uint8)
    return steps


def for_display(image: Image) -> bytes:
    """An image for the eye, H x W x 3: WebP of quality 90, or without loss where that harms it."""
    lossy = _webp(image, quality=QUALITY)
    with PIL.Image.open(io.BytesIO(lossy)) as opened:
        difference = np.asarray(opened.convert("RGB"), dtype=np.float32) - image
    faithful = float((difference**2).mean()) <= _HARMLESS
    return lossy if faithful else _webp(image, lossless=True)


def _webp(image: Image, **options: int) -> bytes:
    """An image in colour or grey as WebP, or as PNG if it is too large for that."""
    kind = "WEBP" if max(image.shape) <= _WEBP_SIDE else "PNG"
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()
