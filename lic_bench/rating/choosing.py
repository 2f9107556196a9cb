"""Which pair to ask next: where an answer tells most.

The rule of ASAP (A. Mikhailiuk, C. Wilmot, M. Perez-Ortiz, D. Yue and R. Mantiuk, "Active sampling
for pairwise comparisons via approximate message passing and information gain maximization", ICPR
2020): the gain of a pair is how much its answer is expected to tell of the scores, that is the
mutual information of both; and pairs are taken in batches along the tree that links all codecs and
has the most of it (in the paper: the spanning tree for which the inverse gains are least), so that
none is left out. The distribution of the scores, which the paper finds by message passing, is here
the normal one about the likeliest scores; a pair has three answers instead of two.
"""

from __future__ import annotations

import numpy as np

from lic_bench.rating.davidson import Array, Indices, chances, covariance, fit

AFTER = 50
"""Answers, before which pairs are asked as the orders say."""
_NODES = 21


def gains(counts: Array, pairs: Indices, number: int) -> Array:
    """What an answer to each pair is expected to tell, in nats; shape (n, n), symmetric.

    Parameters
    ----------
    counts, pairs, number
        The answers so far; see `davidson.fit`.
    """
    from scipy.special import roots_hermitenorm  # type: ignore[import-untyped]

    found = fit(counts, pairs, number)
    spread = covariance(counts, pairs, found)[:number, :number]
    nodes, weights = roots_hermitenorm(_NODES)
    weights = weights / weights.sum()
    variance = np.diag(spread)[:, None] + np.diag(spread)[None] - 2 * spread
    mean = found.scores[:, None] - found.scores[None]
    drawn = mean[..., None] + np.sqrt(np.maximum(variance, 0))[..., None] * nodes
    p = chances(drawn, float(found.log_ties))
    expected = (p * weights[:, None]).sum(axis=-2)
    gain = _entropy(expected) - (_entropy(p) * weights).sum(axis=-1)
    np.fill_diagonal(gain, 0)
    return np.asarray(np.maximum(gain, 0))


def batch(gain: Array, allowed: Indices) -> list[tuple[int, int]]:
    """The pairs of a batch, the most telling first: a spanning tree.

    Parameters
    ----------
    gain
        As `gains` returns it.
    allowed
        Shape (m, 2): the pairs that can be asked.
    """
    ordered = sorted(((int(a), int(b)) for a, b in allowed), key=lambda pair: -gain[pair])
    group = list(range(len(gain)))
    tree = []
    for a, b in ordered:  # Kruskal's
        if group[a] != group[b]:
            old, new = group[b], group[a]
            group = [new if of == old else of for of in group]
            tree.append((a, b))
    return tree


def _entropy(p: Array) -> Array:
    return np.asarray(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=-1))
