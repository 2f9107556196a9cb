"""Scores of codecs from what people answered, with intervals, and the differences between them.

A score is given in JOD and as Elo. One JOD above another means that 75 % of the answers that prefer
one of the two prefer it: odds of 3 to 1. 400 Elo are odds of 10 to 1. Both are the model's score in
other units (`lic_bench.rating.davidson`); their mean over the codecs is 0 JOD, and 1500 Elo.

Answers of one rater are alike, and so are answers about one image. How much the scores owe to the
choice of raters and of images is found by a bootstrap over each, and one over single answers, which
both of the others hold: variance = that over raters + that over images - that over answers (A.
Cameron, J. Gelbach and D. Miller, "Robust inference with multiway clustering", Journal of Business
and Economic Statistics 29, 2011). Raters and images drawn at once would count what is due to single
answers three times (A. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007).
Intervals are those of Student's t, with as many degrees of freedom as the two clusterings support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from lic_bench.errors import UndefinedError
from lic_bench.rating.comparisons import linked
from lic_bench.rating.davidson import Array, Fit, Indices, fit

JOD = math.log(3)
"""In the unit of the model."""
ELO = math.log(10) / 400

FEWEST = 5
"""Answers for each two codecs that were compared, in the mean."""
_MOST_CODECS, _MOST_COUNTS = 200, 20_000_000
RESAMPLES = 1000


@dataclass(frozen=True)
class Tally:
    """How often one codec was preferred to another, in all and by raters and images."""

    codecs: tuple[str, ...]
    pairs: Indices
    """Shape (m, 2): the codecs of each pair, by their numbers."""
    by_rater: Array
    """Shape (raters, m, 3): the first preferred, neither, the second."""
    by_image: Array
    """Shape (images, m, 3)."""

    @property
    def counts(self) -> Array:
        """In all: shape (m, 3)."""
        return np.asarray(self.by_rater.sum(axis=0))


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """By how much one codec is above another, in JOD."""

    first: str
    second: str
    jod: Estimate
    p: float
    """Of no difference, corrected after Holm for all differences."""


@dataclass(frozen=True)
class Scores:
    """What came of a study. The codecs go from the best to the worst."""

    codecs: tuple[str, ...]
    jod: tuple[Estimate, ...]
    elo: tuple[Estimate, ...]
    differences: tuple[Difference, ...]
    """Of each two, the better one first."""
    wins: Array
    """Shape (n, n): how often the codec of the row was preferred to that of the column."""
    ties: Array
    """Shape (n, n): how often nobody could tell."""
    tie_share: float
    """Of two equal codecs, by the model."""
    covariance: Array
    """Of the scores, in JOD²; shape (n, n)."""
    answers: int
    raters: int
    images: int
    notes: tuple[str, ...] = ()


def tally(trials: pd.DataFrame) -> Tally:
    """Count the trials that count; see `lic_bench.rating.judged` for their columns.

    Raises
    ------
    UndefinedError
        Where codecs, or raters and images, are more than a study can have.
    """
    codecs = sorted({*trials["left"], *trials["right"]})
    most = max(trials["rater"].nunique(), trials["image"].nunique())
    if len(codecs) > _MOST_CODECS or most * len(codecs) ** 2 > _MOST_COUNTS:
        raise UndefinedError(
            f"{len(codecs)} codecs judged by {trials['rater'].nunique()} raters on "
            f"{trials['image'].nunique()} images are more than there can be scores of"
        )
    numbers = {codec: number for number, codec in enumerate(codecs)}
    every = list(combinations(range(len(codecs)), 2))
    places = {pair: place for place, pair in enumerate(every)}
    left, right = (trials[side].map(numbers).to_numpy(dtype=np.intp) for side in ("left", "right"))
    turned = left > right
    pair = np.array(
        [places[min(a, b), max(a, b)] for a, b in zip(left, right, strict=True)], dtype=np.intp
    )
    answer = trials["answer"].map({"left": 0, "same": 1, "right": 2}).to_numpy(dtype=np.intp)
    outcome = np.where(turned, 2 - answer, answer)

    def by(column: str) -> Array:
        codes, names = pd.factorize(trials[column])
        table = np.zeros((len(names), len(every), 3))
        np.add.at(table, (codes, pair, outcome), 1)
        return table

    by_rater, by_image = by("rater"), by("image")
    compared = by_rater.sum(axis=(0, 2)) > 0
    pairs = np.array(every, dtype=np.intp).reshape(-1, 2)[compared]
    return Tally(tuple(codecs), pairs, by_rater[:, compared], by_image[:, compared])


def check(counted: Tally) -> None:
    """Refuse what there are no scores of.

    Raises
    ------
    UndefinedError
        Where nothing was answered, codecs cannot be compared, or the answers are too few.
    """
    if not len(counted.pairs):
        raise UndefinedError("there are no answers yet: lic-bench rate add answers/*.json")
    names = counted.codecs
    groups = linked([(names[a], names[b]) for a, b in counted.pairs], names)
    if len(set(groups.values())) > 1:
        parts = " | ".join(
            ", ".join(name for name in names if groups[name] == group)
            for group in sorted(set(groups.values()))
        )
        raise UndefinedError(f"there are no common scores: no answer links {parts}")
    answers, pairs = int(counted.counts.sum()), len(counted.pairs)
    if answers < FEWEST * pairs:
        raise UndefinedError(
            f"there are too few answers: {answers}, and scores want {FEWEST} or more for each "
            f"two codecs that were compared, {FEWEST * pairs} in all"
        )


def scores(counted: Tally, *, resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Find the scores.

    Parameters
    ----------
    resamples
        How often each bootstrap draws anew.
    seed
        Of the draws: the same one gives the same intervals.

    Raises
    ------
    UndefinedError
        See `check`.
    """
    check(counted)
    number = len(counted.codecs)
    found = fit(counted.counts, counted.pairs, number)
    spread = Spread.of(counted, found, resamples, seed)
    order = [int(i) for i in np.argsort(-found.scores, kind="stable")]
    names = tuple(counted.codecs[i] for i in order)
    eye = np.eye(number)
    jod = [_estimate(found, spread, eye[i], JOD) for i in order]
    elo = [
        Estimate(*(1500 + value * JOD / ELO for value in (one.value, one.low, one.high)))
        for one in jod
    ]
    wins, ties = np.zeros((number, number)), np.zeros((number, number))
    for (a, b), (first, neither, second) in zip(counted.pairs, counted.counts, strict=True):
        wins[a, b], wins[b, a] = first, second
        ties[a, b] = ties[b, a] = neither
    nu = math.exp(float(found.log_ties))
    grid = np.ix_(order, order)
    covariance = (
        np.array([[spread.covariance(eye[i], eye[j]) for j in order] for i in order]) / JOD**2
    )
    return Scores(
        codecs=names,
        jod=tuple(jod),
        elo=tuple(elo),
        differences=_differences(found, spread, order, names),
        wins=wins[grid],
        ties=ties[grid],
        tie_share=nu / (2 + nu),
        covariance=covariance,
        answers=int(counted.counts.sum()),
        raters=len(counted.by_rater),
        images=len(counted.by_image),
        notes=tuple(_notes(counted)),
    )


@dataclass(frozen=True)
class Spread:
    """Replicates of the scores: over raters, over images, over single answers."""

    raters: Array
    """Shape (resamples, n), in the unit of the model; so are the others."""
    images: Array
    answers: Array
    sizes: tuple[int, int]
    """How many raters and images there are."""

    @classmethod
    def of(cls, counted: Tally, found: Fit, resamples: int, seed: int) -> Spread:
        """Draw, and fit anew."""
        rng = np.random.default_rng(seed)
        number = len(found.scores)
        replicates = []
        for clusters in (counted.by_rater, counted.by_image):
            size = len(clusters)
            drawn = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
            counts = np.tensordot(drawn.astype(np.float64), clusters, axes=1)
            replicates.append(fit(counts, counted.pairs, number).scores)
        total = counted.counts
        answers = rng.multinomial(
            int(total.sum()), total.ravel() / total.sum(), size=resamples
        ).astype(np.float64)
        single = fit(answers.reshape(resamples, *total.shape), counted.pairs, number).scores
        sizes = len(counted.by_rater), len(counted.by_image)
        return cls(replicates[0], replicates[1], single, sizes)

    def parts(self, one: Array, other: Array) -> tuple[float, float, float]:
        """Covariances of two sums of scores: over raters, images, answers. One cluster has none."""

        def of(replicates: Array, size: int) -> float:
            if size < 2:
                return 0.0
            pair = np.cov(replicates @ one, replicates @ other)
            return float(pair[0, 1]) * size / (size - 1)

        return (
            of(self.raters, self.sizes[0]),
            of(self.images, self.sizes[1]),
            of(self.answers, 1 << 30),
        )

    def covariance(self, one: Array, other: Array) -> float:
        """Of two sums of scores, both clusterings taken together."""
        raters, images, answers = self.parts(one, other)
        if min(self.sizes) < 2:  # a clustering of one cluster says nothing
            return max(raters, images, answers, key=abs)
        return raters + images - answers

    def error(self, weights: Array) -> tuple[float, float]:
        """Standard error of a sum of scores, and the degrees of freedom of its estimate."""
        raters, images, answers = self.parts(weights, weights)
        variance = max(self.covariance(weights, weights), answers, 1e-300)
        # After Satterthwaite, so far as a clustering adds to the variance of single answers.
        of_raters = raters * max(raters - answers, 0.0)
        of_images = images * max(images - answers, 0.0)
        inverse = (
            of_raters / max(self.sizes[0] - 1, 1) + of_images / max(self.sizes[1] - 1, 1)
        ) / variance**2
        return math.sqrt(variance), 1 / max(inverse, 1e-6)


def _estimate(found: Fit, spread: Spread, weights: Array, unit: float) -> Estimate:
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    value, (error, freedom) = float(weights @ found.scores), spread.error(weights)
    reach = float(stdtrit(freedom, 0.975)) * error
    return Estimate(value / unit, (value - reach) / unit, (value + reach) / unit)


def _differences(
    found: Fit, spread: Spread, order: Sequence[int], names: Sequence[str]
) -> tuple[Difference, ...]:
    from scipy.special import stdtr

    eye = np.eye(len(names))
    pairs = list(combinations(range(len(names)), 2))
    estimates, chances = [], []
    for a, b in pairs:
        weights = eye[order[a]] - eye[order[b]]
        error, freedom = spread.error(weights)
        estimates.append(_estimate(found, spread, weights, JOD))
        chances.append(2 * float(stdtr(freedom, -abs(float(weights @ found.scores)) / error)))
    return tuple(
        Difference(names[a], names[b], estimate, p)
        for (a, b), estimate, p in zip(pairs, estimates, holm(chances), strict=True)
    )


def holm(chances: Sequence[float]) -> list[float]:
    """Correct p-values for their number.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979.
    """
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    corrected, least = [0.0] * len(chances), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(chances) - rank) * chances[i]))
        corrected[i] = least
    return corrected


def _notes(counted: Tally) -> list[str]:
    notes = []
    totals, names = counted.counts.sum(axis=1), counted.codecs
    thin = [
        f"{names[a]} and {names[b]}"
        for (a, b), total in zip(counted.pairs, totals, strict=True)
        if total < FEWEST
    ]
    if thin:
        notes.append(f"fewer than {FEWEST} answers compare {'; '.join(thin)}")
    won, lost = np.zeros(len(names)), np.zeros(len(names))
    for (a, b), (first, _, second) in zip(counted.pairs, counted.counts, strict=True):
        won[a], lost[b] = won[a] + first, lost[b] + first
        won[b], lost[a] = won[b] + second, lost[a] + second
    for name, wins, losses in zip(names, won, lost, strict=True):
        if not (wins and losses):
            always = "always" if wins else "never"
            notes.append(f"{name} was {always} preferred: the prior alone keeps its score finite")
    if len(counted.by_rater) < 2:
        notes.append("there is one rater: the intervals know nothing of others")
    if len(counted.by_image) < 2:
        notes.append("there is one image: the intervals know nothing of others")
    return notes
