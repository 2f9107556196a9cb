"""A study put together: pictures made, tokens given, orders drawn."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from lic_bench.errors import UnavailableError
from lic_bench.execution.faults import FaultError
from lic_bench.execution.runner import Limits, Runners
from lic_bench.images.dataset import ImageFile
from lic_bench.rating.comparisons import UNEQUAL, Candidate, Comparisons, Pair
from lic_bench.rating.orders import PAIRS, Material, make_orders
from lic_bench.rating.pictures import ShowDecoded, ShowOriginal
from lic_bench.rating.study import Role, Shown, Study, StudyImage
from lic_bench.store.database import Store

ORDERS = 100
"""Different orders in a page; each rater gets one of them by chance."""

_RANDOM = SystemRandom()


@dataclass(frozen=True)
class Wanted:
    """A picture that a study shows; without a candidate, the original."""

    image: str
    role: Role
    candidate: Candidate | None = None


def wanted(comparisons: Comparisons) -> list[Wanted]:
    """The pictures of a study, each once."""
    pictures = [Wanted(image, "original") for image in comparisons.images]
    codecs = {
        (c.image, c.codec): c for pair in comparisons.pairs for c in (pair.first, pair.second)
    }
    pictures += [Wanted(c.image, "codec", c) for c in codecs.values()]
    pictures += [Wanted(image, "low", comparisons.low[image]) for image in comparisons.images]
    return pictures


def make_pictures(
    pictures: Sequence[Wanted],
    files: Mapping[str, ImageFile],
    store: Path,
    *,
    jobs: int,
    plugins: Sequence[Path] = (),
    limits: Limits,
) -> Iterator[bytes]:
    """Make the pictures in worker processes: of each its file, in the same order.

    Parameters
    ----------
    files
        The originals, by the name of their image.

    Raises
    ------
    UnavailableError
        Where one cannot be made.
    """
    runners = Runners(limits)
    threads = ThreadPoolExecutor(jobs)

    def make(one: Wanted) -> bytes:
        file, candidate = files[one.image], one.candidate
        try:
            if candidate is None:
                return runners.ask(ShowOriginal(file))
            with Store.open(store) as opened:
                stream = opened.kept(candidate.key).stream or b""
            return runners.ask(
                ShowDecoded(candidate.codec, tuple(plugins), stream, file, candidate.mse)
            )
        except FaultError as fault:
            raise UnavailableError(f"{one.image}: no picture can be shown: {fault}") from fault

    try:
        yield from threads.map(make, pictures)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        runners.close()
        threads.shutdown()


def put_together(
    comparisons: Comparisons,
    pictures: Sequence[Wanted],
    blobs: Sequence[bytes],
    files: Mapping[str, ImageFile],
    *,
    title: str,
    dataset: str,
    target: str,
    command: str,
    pairs: int = PAIRS,
    orders: int = ORDERS,
    seed: int = 0,
    shuffle: Callable[[list[int]], None] = _RANDOM.shuffle,
) -> tuple[Study, list[bytes]]:
    """Give pictures their tokens and raters their orders.

    Parameters
    ----------
    blobs
        The files of the pictures.
    shuffle
        Puts the numbers of pictures, which the page shows, into a random order.

    Returns
    -------
    The study, and the pictures' files in its order.
    """
    places = list(range(len(pictures)))
    shuffle(places)
    image_numbers = {image: number for number, image in enumerate(comparisons.images)}
    shown, number_of = [], {}
    for number, place in enumerate(places):
        one, blob = pictures[place], blobs[place]
        key = one.candidate
        number_of[one.image, one.role, key.codec if key and one.role == "codec" else ""] = number
        shown.append(
            Shown(
                token=secrets.token_hex(8),
                image=image_numbers[one.image],
                role=one.role,
                sha256=hashlib.sha256(blob).hexdigest(),
                codec=key.codec if key else "",
                identity=key.key.identity if key else "",
                point=key.key.point if key else "",
                bpp=key.bpp if key else 0.0,
            )
        )

    def numbers(pair: Pair) -> tuple[int, int]:
        low, high = sorted(
            number_of[one.image, "codec", one.codec] for one in (pair.first, pair.second)
        )
        return low, high

    candidates = {(c.image, c.codec): c for p in comparisons.pairs for c in (p.first, p.second)}
    best = {}
    for candidate in sorted(candidates.values(), key=lambda one: -one.mse):
        best[candidate.image] = number_of[candidate.image, "codec", candidate.codec]
    originals = [number_of[image, "original", ""] for image in comparisons.images]
    low = [number_of[image, "low", ""] for image in comparisons.images]
    material = Material(
        # In the order of the numbers, which chance gave: else orders and their seed, which anybody
        # may know, would tell which codecs a pair is of.
        pairs=sorted(map(numbers, comparisons.pairs)),
        image=[one.image for one in shown],
        codec=[one.codec for one in shown],
        original=originals,
        low=low,
        best=[best.get(image, originals[i]) for i, image in enumerate(comparisons.images)],
    )
    study = Study(
        title=title,
        dataset=dataset,
        target=target,
        command=command,
        images=tuple(
            StudyImage(image, files[image].key, files[image].width, files[image].height)
            for image in comparisons.images
        ),
        pictures=tuple(shown),
        orders=tuple(tuple(order) for order in make_orders(material, orders, seed, pairs)),
        pause=PAIRS // 2,
        unequal=tuple(numbers(pair) for pair in comparisons.pairs if pair.ratio > UNEQUAL),
    )
    return study, [blobs[place] for place in places]
