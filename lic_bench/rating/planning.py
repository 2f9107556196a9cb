"""How many raters give which interval: answers simulated, and scored as real ones are.

Codecs lie at equal distances; each has on each image a score of its own about its mean, and each
rater a sensitivity of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lic_bench.rating.davidson import Array, chances
from lic_bench.rating.scores import JOD, Tally, scores


@dataclass(frozen=True)
class World:
    """What is taken for true in a simulation."""

    codecs: int = 6
    images: int = 12
    pairs: int = 48
    """Answers of a rater that count."""
    spread_jod: float = 2.0
    """Between the best and the worst codec."""
    ties: float = 0.2
    """How often nobody can tell two equal codecs apart."""
    image_sd_jod: float = 0.4
    """How much a codec's score differs from image to image."""
    rater_sd: float = 0.3
    """Of the logarithm of the raters' sensitivities."""
    lapses: float = 0.02
    """How often an answer is given by chance."""

    @property
    def scores(self) -> Array:
        """Of the codecs, in JOD; their mean is 0."""
        return np.linspace(self.spread_jod / 2, -self.spread_jod / 2, self.codecs)

    @property
    def log_ties(self) -> float:
        """Log nu of Davidson's model."""
        return math.log(2 * self.ties / (1 - self.ties)) if self.ties else -30.0


@dataclass(frozen=True)
class Forecast:
    """What so many raters may give."""

    raters: int
    answers: int
    score_jod: float
    """Half the interval of a score, in the mean."""
    difference_jod: float
    """Half the interval of a difference."""
    found: float
    """The share of the differences that are beyond doubt, after Holm."""


def simulate(world: World, raters: int, rng: np.random.Generator) -> Tally:
    """Let so many raters answer."""
    every = np.array(list(combinations(range(world.codecs), 2)))
    candidates = len(every) * world.images
    jod = world.scores[:, None] + world.image_sd_jod * rng.standard_normal(
        (world.codecs, world.images)
    )
    by_rater = np.zeros((raters, len(every), 3))
    by_image = np.zeros((world.images, len(every), 3))
    # Orders are balanced over all raters: one deck after the other, shuffled.
    deck = np.concatenate(
        [rng.permutation(candidates) for _ in range(math.ceil(raters * world.pairs / candidates))]
    )[: raters * world.pairs]
    pair, image = deck % len(every), deck // len(every)
    rater = np.repeat(np.arange(raters), world.pairs)
    sensitivity = np.exp(world.rater_sd * rng.standard_normal(raters) - world.rater_sd**2 / 2)
    difference = jod[every[pair, 0], image] - jod[every[pair, 1], image]
    p = chances(JOD * difference * sensitivity[rater], world.log_ties)
    p = (1 - world.lapses) * p + world.lapses / 3
    outcome = (rng.random(len(deck))[:, None] > p.cumsum(axis=1)[:, :2]).sum(axis=1)
    np.add.at(by_rater, (rater, pair, outcome), 1)
    np.add.at(by_image, (image, pair, outcome), 1)
    names = tuple(f"codec {i + 1:02}" for i in range(world.codecs))
    return Tally(names, every, by_rater, by_image)


def forecast(
    world: World,
    raters: Sequence[int],
    *,
    studies: int = 40,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, planned: None,
) -> list[Forecast]:
    """Say what each number of raters may give, in the mean of so many simulated studies."""
    forecasts = []
    for position, number in enumerate(raters):
        rng = np.random.default_rng([seed, number])
        of_score, of_difference, found = [], [], []
        for study in range(studies):
            result = scores(simulate(world, number, rng), resamples=200, seed=study)
            of_score += [(one.high - one.low) / 2 for one in result.jod]
            of_difference += [(d.jod.high - d.jod.low) / 2 for d in result.differences]
            found += [d.p < 0.05 for d in result.differences]
            report(position * studies + study + 1, len(raters) * studies)
        means = (float(np.mean(values)) for values in (of_score, of_difference, found))
        forecasts.append(Forecast(number, number * world.pairs, *means))
    return forecasts
