"""What each rater is shown, one trial after the other.

A session has four trials of training, three to warm up, and then the counted ones: pairs of codecs,
one catch in twelve, some pictures against themselves, and some pairs a second time with their sides
exchanged. Orders are made together: over all of them, and as far as may be within each, pairs of
codecs, images and sides are balanced. No image is shown twice running, where there are several.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lic_bench.rating.study import TRAINING, WARMUPS, Trial

PAIRS = 60
"""Counted trials of a session."""
_SHARE = 12  # one in twelve is a catch, one in twelve a repeat, one in thirty a picture with itself
_SAME = 30
_APART = 6  # trials between a pair and its repeat, where that can be
_ATTEMPTS = 200


@dataclass(frozen=True)
class Material:
    """What orders are made of; pictures by their numbers."""

    pairs: Sequence[tuple[int, int]]
    """Pictures of two codecs."""
    image: Sequence[int]
    """The image of each picture."""
    codec: Sequence[str]
    """The codec of each picture."""
    original: Sequence[int]
    """By image: the original."""
    low: Sequence[int]
    """By image: the picture of low rate."""
    best: Sequence[int]
    """By image: the codec's picture that is nearest the original."""


def counted(pairs: int, most: int = PAIRS) -> tuple[int, int, int, int]:
    """How many pairs, catches, pictures against themselves and repeats a session has.

    Parameters
    ----------
    pairs
        How many there are to choose from; the session is shorter where these do not fill it.
    most
        How many trials a session may count.
    """
    for total in range(most, 3, -1):
        catches = repeats = max(1, round(total / _SHARE))
        same = max(1, round(total / _SAME))
        if 0 < (rest := total - catches - repeats - same) <= pairs:
            return rest, catches, same, repeats
    return 1, 1, 1, 1


def make_orders(material: Material, number: int, seed: int, most: int = PAIRS) -> list[list[Trial]]:
    """Make so many orders; the same seed gives the same ones."""
    shown: Counter[tuple[int, int]] = Counter()
    lefts: Counter[str] = Counter()
    orders = []
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        orders.append(_order(material, rng, shown, lefts, counted(len(material.pairs), most)))
    return orders


def _order(
    material: Material,
    rng: np.random.Generator,
    shown: Counter[tuple[int, int]],
    lefts: Counter[str],
    numbers: tuple[int, int, int, int],
) -> list[Trial]:
    pairs, catches, same, repeats = numbers
    chosen = _balanced(material, rng, shown, pairs)
    images = len(material.original)
    cycle = _Cycle(images, rng)
    trials = []
    for pair in chosen:
        shown[pair] += 1
        trials.append(_sided(material, pair, rng, lefts))
    again = [trials[i] for i in rng.permutation(len(trials))[:repeats]]
    back = [Trial(trial.right, trial.left, "repeat") for trial in again]
    known = [
        _turned(Trial(material.original[i], material.low[i], "catch"), side)
        for i, side in zip(cycle.take(catches), _sides(catches, rng), strict=True)
    ]
    pictures = sorted({picture for pair in material.pairs for picture in pair})
    picked = rng.permutation(len(pictures))[:same]
    itself = [Trial(pictures[i], pictures[i], "identical") for i in picked]
    body = _sequence(material, trials, again, back, known, itself, rng)
    rest = [pair for pair in material.pairs if pair not in chosen] or list(material.pairs)
    warm = [
        _turned(Trial(*rest[rng.integers(len(rest))], "warmup"), bool(rng.integers(2)))
        for _ in range(WARMUPS)
    ]
    return [*_training(material, cycle, rng), *warm, *body]


class _Cycle:
    """Images in a random order, all of them before one comes again."""

    def __init__(self, images: int, rng: np.random.Generator) -> None:
        self._images, self._rng = images, rng
        self._left: list[int] = []

    def take(self, number: int) -> list[int]:
        while len(self._left) < number:
            self._left += [int(i) for i in self._rng.permutation(self._images)]
        taken, self._left = self._left[:number], self._left[number:]
        return taken


def _sides(number: int, rng: np.random.Generator) -> list[bool]:
    """As many of the one as of the other, or one more; in random order."""
    return [bool(side) for side in rng.permutation([i % 2 for i in range(number)])]


def _turned(trial: Trial, turned: bool) -> Trial:
    return Trial(trial.right, trial.left, trial.kind) if turned else trial


def _training(material: Material, cycle: _Cycle, rng: np.random.Generator) -> list[Trial]:
    """Easy ones, whose answer is known; of one that nobody can tell."""
    first, second, third, fourth = cycle.take(TRAINING)
    trials = [
        Trial(material.original[first], material.low[first], "training"),
        Trial(material.best[second], material.low[second], "training"),
        Trial(material.best[third], material.best[third], "training"),
        Trial(material.best[fourth], material.low[fourth], "training"),
    ]
    return [_turned(trial, side) for trial, side in zip(trials, _sides(TRAINING, rng), strict=True)]


def _balanced(
    material: Material, rng: np.random.Generator, shown: Counter[tuple[int, int]], number: int
) -> list[tuple[int, int]]:
    """Choose pairs: of each two codecs and of each image as many as of another, if that can be."""
    left = [material.pairs[i] for i in rng.permutation(len(material.pairs))]
    codecs: Counter[tuple[str, str]] = Counter()
    images: Counter[int] = Counter()

    def two(pair: tuple[int, int]) -> tuple[str, str]:
        one, other = sorted((material.codec[pair[0]], material.codec[pair[1]]))
        return one, other

    chosen: list[tuple[int, int]] = []
    for _ in range(number):
        best = min(left, key=lambda p: (codecs[two(p)], images[material.image[p[0]]], shown[p]))
        left.remove(best)
        codecs[two(best)] += 1
        images[material.image[best[0]]] += 1
        chosen.append(best)
    return chosen


def _sided(
    material: Material, pair: tuple[int, int], rng: np.random.Generator, lefts: Counter[str]
) -> Trial:
    """A pair with that codec on the left which was there less often, over all orders."""
    one, other = (material.codec[picture] for picture in pair)
    balance = lefts[one] - lefts[other]
    turned = balance > 0 if balance else bool(rng.integers(2))
    left, right = pair[::-1] if turned else pair
    lefts[material.codec[left]] += 1
    lefts[material.codec[right]] -= 1
    return Trial(left, right, "pair")


def _sequence(
    material: Material,
    pairs: Sequence[Trial],
    again: Sequence[Trial],
    back: Sequence[Trial],
    catches: Sequence[Trial],
    itself: Sequence[Trial],
    rng: np.random.Generator,
) -> list[Trial]:
    """Put a session's trials in a row: no image twice running, repeats late, catches spread."""
    total = len(pairs) + len(back) + len(catches) + len(itself)
    best: tuple[int, list[Trial]] | None = None
    for _ in range(_ATTEMPTS):
        row = _attempt(material, pairs, again, back, catches, itself, total, rng)
        faults = _faults(material, row, again, back)
        if best is None or faults < best[0]:
            best = faults, row
        if not faults:
            break
    assert best is not None  # noqa: S101 - there was an attempt
    return best[1]


def _attempt(
    material: Material,
    pairs: Sequence[Trial],
    again: Sequence[Trial],
    back: Sequence[Trial],
    catches: Sequence[Trial],
    itself: Sequence[Trial],
    total: int,
    rng: np.random.Generator,
) -> list[Trial]:
    # Each catch has a stretch of its own to fall into.
    stretches = np.array_split(np.arange(total), len(catches))
    at = {int(rng.choice(part)): trial for part, trial in zip(stretches, catches, strict=True)}
    early = list(again)
    late = list(back)
    others = [trial for trial in pairs if trial not in again] + list(itself)
    half = max(0, (total - len(catches)) // 2 - len(early))
    mixed = [others[i] for i in rng.permutation(len(others))]
    halves = [early + mixed[:half], late + mixed[half:]]
    pool = halves.pop(0)
    row: list[Trial] = []
    for position in range(total):
        if position in at:
            row.append(at[position])
            continue
        if not pool:
            pool = halves.pop(0)
        row.append(pool.pop(_next(material, pool, row, at.get(position + 1), rng)))
    return row


def _next(
    material: Material,
    pool: Sequence[Trial],
    row: Sequence[Trial],
    following: Trial | None,
    rng: np.random.Generator,
) -> int:
    """One of the pool, of another image than its neighbours, and rather of one with many left."""

    def image(trial: Trial) -> int:
        return material.image[trial.left]

    near = {image(trial) for trial in (*row[-1:], *([following] if following else []))}
    left = Counter(map(image, pool))
    by_image: dict[int, list[int]] = defaultdict(list)
    for i, trial in enumerate(pool):
        if image(trial) not in near:
            by_image[image(trial)].append(i)
    if not by_image:
        return int(rng.integers(len(pool)))
    weights = np.array([left[one] for one in by_image], dtype=float) ** 2
    one = list(by_image)[rng.choice(len(by_image), p=weights / weights.sum())]
    return by_image[one][rng.integers(len(by_image[one]))]


def _faults(
    material: Material, row: Sequence[Trial], again: Sequence[Trial], back: Sequence[Trial]
) -> int:
    images = [material.image[trial.left] for trial in row]
    twice = sum(a == b for a, b in pairwise(images))
    close = sum(
        row.index(late) - row.index(first) <= _APART
        for first, late in zip(again, back, strict=True)
    )
    return 10 * twice + close
