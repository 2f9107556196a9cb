"""Scores against published ones, against counts that have a solution, and against simulation."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from lic_bench.rating import choosing
from lic_bench.rating.agreement import spearman, two_way_mean
from lic_bench.rating.davidson import chances, covariance, fit
from lic_bench.rating.planning import World, forecast, simulate
from lic_bench.rating.scores import JOD, holm, scores


def test_baseball_is_scored_as_agresti_scores_it() -> None:
    """A. Agresti, "Categorical data analysis", 2nd edition, 2002, table 10.10: the American League
    of 1987, and the estimates of section 10.6.1, as R's BradleyTerry2 gives them, too.
    """
    teams = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
    won = np.array(
        [
            [0, 7, 9, 7, 7, 9, 11],
            [6, 0, 7, 5, 11, 9, 9],
            [4, 6, 0, 7, 7, 8, 12],
            [6, 8, 6, 0, 6, 7, 10],
            [6, 2, 6, 7, 0, 7, 12],
            [4, 4, 5, 6, 6, 0, 6],
            [2, 4, 1, 3, 1, 7, 0],
        ]
    )
    pairs = np.array(list(combinations(range(len(teams)), 2)))
    counts = np.array([[won[a, b], 0, won[b, a]] for a, b in pairs])
    found = fit(counts, pairs, len(teams)).scores
    published = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0.0]
    # The weak prior moves them by a little.
    assert found - found[-1] == pytest.approx(published, abs=0.02)


def test_puddings_are_scored_as_davidson_scored_them() -> None:
    """R. R. Davidson, 1970, example 2, with his estimates as R's PlackettLuce prints them.

    In section 2.1 of that package's introduction (CRAN), whose data set `pudding` these counts are.
    """
    pairs = np.array([[j, i] for i in range(6) for j in range(i)])
    first = [19, 16, 19, 18, 23, 19, 13, 16, 16, 17, 18, 22, 13, 14, 11]
    second = [22, 19, 19, 23, 19, 20, 19, 20, 15, 14, 21, 20, 18, 19, 21]
    neither = [16, 12, 10, 13, 9, 15, 18, 12, 17, 16, 12, 12, 10, 18, 12]
    counts = np.array([first, neither, second]).T
    found = fit(counts, pairs, 6)
    worth = np.exp(found.scores)
    published = [0.1388005, 0.1729985, 0.1617420, 0.1653930, 0.1586805, 0.2023855]
    # The weak prior moves them by a little.
    assert worth / worth.sum() == pytest.approx(published, abs=2e-4)
    assert np.exp(found.log_ties) == pytest.approx(0.7468147, abs=1e-3)
    # What it prints of the standard errors, each of the difference from the first brand.
    spread = covariance(counts, pairs, found)
    errors = [np.sqrt(spread[0, 0] + spread[i, i] - 2 * spread[0, i]) for i in range(1, 6)]
    assert errors == pytest.approx([0.1872, 0.1935, 0.1882, 0.1927, 0.1924], rel=0.01)


def test_what_fits_is_likelier_than_anything_else() -> None:
    """Against SciPy's optimiser, which knows nothing of the derivatives."""
    rng = np.random.default_rng(0)
    pairs = np.array(list(combinations(range(4), 2)))
    counts = rng.integers(0, 20, (len(pairs), 3))

    def loss(x: np.ndarray) -> float:
        p = chances(x[pairs[:, 0]] - x[pairs[:, 1]], x[4])
        return float(-(counts * np.log(p)).sum() + (x[:4] ** 2).sum() / 50 + x[4] ** 2 / 18)

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-7}).x
    found = fit(counts, pairs, 4)
    assert found.scores == pytest.approx(best[:4] - best[:4].mean(), abs=1e-5)
    assert float(found.log_ties) == pytest.approx(best[4], abs=1e-5)


@pytest.mark.parametrize(("first", "neither", "second"), [(30, 20, 10), (12, 9, 45), (8, 8, 8)])
def test_two_codecs_have_a_solution_in_closed_form(first: int, neither: int, second: int) -> None:
    found = fit(np.array([[first, neither, second]]), np.array([[0, 1]]), 2)
    assert found.scores[0] - found.scores[1] == pytest.approx(np.log(first / second), abs=0.03)
    assert float(found.log_ties) == pytest.approx(
        np.log(neither / np.sqrt(first * second)), abs=0.1
    )


def test_one_jod_is_three_to_one_of_the_decided() -> None:
    p = chances(np.array(JOD), -0.7)
    assert p[0] / (p[0] + p[2]) == pytest.approx(0.75)


def test_sets_of_counts_that_are_fitted_together_are_fitted_alike() -> None:
    rng = np.random.default_rng(1)
    pairs = np.array([[0, 1], [1, 2]])
    counts = rng.integers(0, 9, (5, 2, 3))
    together = fit(counts, pairs, 3)
    for i, alone in enumerate(counts):
        assert together.scores[i] == pytest.approx(fit(alone, pairs, 3).scores, abs=1e-8)


def test_known_scores_lie_within_their_intervals_as_often_as_they_should() -> None:
    """A small one: tests/benchmarks/rating_coverage.py takes its time."""
    world = World(codecs=4, images=12, image_sd_jod=0.0, rater_sd=0.0, lapses=0.0)
    rng = np.random.default_rng(5)
    hits = []
    for study in range(60):
        found = scores(simulate(world, 12, rng), resamples=200, seed=study)
        truth = [world.scores[int(codec[-2:]) - 1] for codec in found.codecs]
        hits += [one.low <= t <= one.high for one, t in zip(found.jod, truth, strict=True)]
    assert 0.91 <= np.mean(hits) <= 0.99  # 95 %, and what 240 hits that hang together may miss


def test_more_raters_give_narrower_intervals() -> None:
    few, many = forecast(World(codecs=4), [5, 40], studies=3)
    assert many.difference_jod < few.difference_jod / 1.5
    assert many.found >= few.found


def test_holm_corrects_as_published() -> None:
    """The example of Holm's correction in R: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_clusters_that_agree_with_themselves_widen_a_mean() -> None:
    """Ten raters of ten equal answers each are ten answers, whose interval Student's t gives."""
    values = np.repeat([1.0, 0, 1, 1, 0, 0, 1, 0, 1, 0], 10)
    raters, images = np.repeat(np.arange(10), 10), np.tile(np.arange(10), 10)
    found = two_way_mean(values, raters, images)
    by_t = 2.262 * values[::10].std(ddof=1) / np.sqrt(10)
    assert found.high - found.value == pytest.approx(by_t, rel=0.1)


def test_ranks_are_correlated_as_scipy_does() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((3, 7)), rng.integers(0, 4, (3, 7)).astype(float)
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(expected)


def test_the_pair_that_tells_most_is_the_uncertain_one() -> None:
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    counts = np.array([[40, 10, 40], [3, 1, 3], [60, 1, 1]])
    gain = choosing.gains(counts, pairs, 3)
    assert gain == pytest.approx(gain.T)
    assert gain[1, 2] > gain[0, 1]
    tree = choosing.batch(gain, pairs)
    assert len(tree) == 2
    assert tree[0] == (1, 2)


def test_the_gain_is_the_expected_loss_of_entropy() -> None:
    """Against numbers drawn: mutual information of a normal difference and its answer."""
    pairs = np.array([[0, 1]])
    counts = np.array([[6, 3, 4]])
    found = fit(counts, pairs, 2)
    spread = covariance(counts, pairs, found)
    sd = np.sqrt(spread[0, 0] + spread[1, 1] - 2 * spread[0, 1])
    drawn = np.random.default_rng(0).normal(found.scores[0] - found.scores[1], sd, 200_000)
    p = chances(drawn, float(found.log_ties))
    mean = p.mean(axis=0)
    information = (p * np.log(p / mean)).sum(axis=1).mean()
    assert choosing.gains(counts, pairs, 2)[0, 1] == pytest.approx(information, rel=0.03)
