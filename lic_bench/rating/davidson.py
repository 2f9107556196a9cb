"""The model of Bradley and Terry with ties, after Davidson.

R. R. Davidson, "On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments", Journal of the American Statistical Association 65, 1970. With scores s and d = s_i -
s_j, the chances that i is preferred, that nobody can tell, and that j is preferred, are as

    exp(d / 2) : nu : exp(-d / 2)

so that of the answers that prefer one, exp(d) : 1 are for i. (Davidson's pi is exp(s).)

Scores are found by maximum likelihood, with a weak prior that keeps those finite that won or lost
always: normal, with standard deviations of 5 for each score and of 3 for log nu, in the unit of s
(five times more against than for changes odds of 1:1 into 1:148). The posterior is concave, and
Newton's method climbs it; many sets of counts are fitted together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

SCORE_SD, TIES_SD = 5.0, 3.0
_STEPS, _LONGEST, _CONVERGED = 60, 2.0, 1e-10


class Fit(NamedTuple):
    """Scores and ties of one set of counts, or of many."""

    scores: Array
    """Shape (..., n); their mean is 0."""
    log_ties: Array
    """log nu; shape (...)."""


def chances(difference: Array, log_ties: Array | float) -> Array:
    """The chances of the first, of neither, of the second: shape (..., 3)."""
    terms = np.stack(
        np.broadcast_arrays(difference / 2, np.asarray(log_ties, dtype=float), -difference / 2), -1
    )
    terms = np.exp(terms - terms.max(axis=-1, keepdims=True))
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


def fit(counts: Array, pairs: Indices, number: int) -> Fit:
    """Find the scores that make counts most likely.

    Parameters
    ----------
    counts
        Shape (..., m, 3): of each pair how often the first was preferred, neither, the second. They
        need not be whole.
    pairs
        Shape (m, 2): which two a pair is of, by their numbers.
    number
        Of those that are compared.
    """
    outer = counts.shape[:-2]
    flat = np.asarray(counts, dtype=np.float64).reshape(-1, *counts.shape[-2:])
    x, ridge = np.zeros((len(flat), number + 1)), _ridge(number)
    design = _design(pairs, number)
    for _ in range(_STEPS):
        gradient, information = _derivatives(flat, design, x, ridge)
        step = np.linalg.solve(information, gradient[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        x += step * np.minimum(1, _LONGEST / np.maximum(longest, 1e-300))
        if longest.max() < _CONVERGED:
            break
    scores = x[:, :number] - x[:, :number].mean(axis=1, keepdims=True)
    return Fit(scores.reshape(*outer, number), x[:, number].reshape(outer))


def covariance(counts: Array, pairs: Indices, found: Fit) -> Array:
    """What the likelihood's curvature says of the uncertainty: (n + 1) x (n + 1), log nu last.

    It takes every answer for independent of all others.
    """
    number = len(found.scores)
    x = np.append(found.scores, found.log_ties)[None]
    _, information = _derivatives(counts[None], _design(pairs, number), x, _ridge(number))
    return np.asarray(np.linalg.inv(information[0]))


def _ridge(number: int) -> Array:
    return np.append(np.full(number, SCORE_SD**-2), TIES_SD**-2)


def _design(pairs: Indices, number: int) -> Array:
    """Shape (m, n): the score that is added to the difference, and that which is taken off."""
    design = np.zeros((len(pairs), number))
    rows = np.arange(len(pairs))
    design[rows, pairs[:, 0]] += 1
    design[rows, pairs[:, 1]] -= 1
    return design


def _derivatives(counts: Array, design: Array, x: Array, ridge: Array) -> tuple[Array, Array]:
    """Gradient of the log posterior, and its Hessian with the sign turned."""
    number = design.shape[1]
    p = chances(x[:, :number] @ design.T, x[:, number:])
    total = counts.sum(axis=2)
    lead = p[..., 0] - p[..., 2]
    gradient = np.empty_like(x)
    gradient[:, :number] = ((counts[..., 0] - counts[..., 2] - total * lead) / 2) @ design
    gradient[:, number] = (counts[..., 1] - total * p[..., 1]).sum(axis=1)
    gradient -= ridge * x
    of_difference = total * (p[..., 0] + p[..., 2] - lead**2) / 4
    of_both = -total * lead * p[..., 1] / 2
    of_ties = (total * p[..., 1] * (1 - p[..., 1])).sum(axis=1)
    information = np.empty((len(x), number + 1, number + 1))
    information[:, :number, :number] = np.einsum("bm,mi,mj->bij", of_difference, design, design)
    information[:, :number, number] = information[:, number, :number] = of_both @ design
    information[:, number, number] = of_ties
    information += np.diag(ridge)
    return gradient, information
