"""Means from coarse to fine: against a slow account of the same, and what it is for."""

import numpy as np
import pytest

from lic_bench.learned import pyramid
from lic_bench.learned.pyramid import PHASES, phases, quantise, rebuild


def smooth(height, width, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * np.sin(x / 19 + k) + 5 * np.cos(y / 23) + rng.normal() for k in range(3)])


def site_by_site(numbers):
    """The plane of numbers, H x W, from the definition; its predictions, too."""
    height, width = numbers.shape
    plane, known = np.zeros(numbers.shape, int), np.zeros(numbers.shape, bool)
    predicted = np.zeros(numbers.shape, int)
    steps = (16, 16, 22, 26, 32, 38, 48, 64, 74)
    order = [(phase_of(i, j), i, j) for i in range(height) for j in range(width)]
    for phase, i, j in sorted(order):
        far = 2 ** (4 - (phase + 1) // 2)
        around = [(-far, 0), (far, 0), (0, -far), (0, far)]
        if phase == 0:
            around = [(-16, 0), (0, -16)]
        elif phase % 2:
            around = [(-far, -far), (-far, far), (far, -far), (far, far)]
        places = [(i + down, j + right) for down, right in around]
        values = [plane[p] for p in places if 0 <= p[0] < height and 0 <= p[1] < width]
        assert all(known[p] for p in places if 0 <= p[0] < height and 0 <= p[1] < width)
        predicted[i, j] = np.floor(sum(values) / len(values) + 0.5) if values else 0
        size = abs(int(numbers[i, j]))
        moved = sum(steps[phase] if k < 8 else 64 for k in range(size)) * np.sign(numbers[i, j])
        plane[i, j] = min(max(predicted[i, j] + moved, -121 * 64), 121 * 64)
        known[i, j] = True
    return plane, predicted


def phase_of(i, j):
    """0 where 16 divides both; else by the highest power of two that divides both, and by half."""
    if i % 16 == j % 16 == 0:
        return 0
    power = max(k for k in range(4) if i % 2**k == j % 2**k == 0)
    both = (i >> power) % 2 == (j >> power) % 2 == 1
    return 7 - 2 * power + (0 if both else 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 18), (20, 47)])
def test_planes_are_those_of_the_definition(size):
    z = smooth(*size) + np.random.default_rng(1).normal(0, 3, (3, *size))
    coded = quantise(z)
    assert np.array_equal(rebuild(coded.numbers), coded.planes)
    assert np.array_equal(
        phases(*size), [[phase_of(i, j) for j in range(size[1])] for i in range(size[0])]
    )
    assert phases(*size).max() < PHASES
    for k in range(3):
        plane, predicted = site_by_site(coded.numbers[k])
        assert np.array_equal(coded.planes[k], plane)
        assert np.array_equal(coded.predicted[k], predicted)


def test_no_site_is_far_off_however_the_plane_jumps():
    """Half a step and a little more: the largest steps are 74 / 64, rounded up from 0.55 on."""
    rng = np.random.default_rng(0)
    for scale in (0.3, 3.0, 50.0):
        z = (rng.normal(0, scale, (2, 50, 61))).clip(-55, 55)
        coded = quantise(z)
        assert np.abs(coded.planes / 64 - z).max() <= 0.64
        assert coded.numbers.dtype == np.int8 and np.abs(coded.numbers).max() <= 121


def test_a_slope_takes_few_numbers_and_has_no_terraces():
    y, x = np.mgrid[:64, :96]
    z = 0.11 * x + 0.07 * y
    coded = quantise(z)
    assert np.count_nonzero(coded.numbers) < 0.03 * z.size
    assert np.square(coded.planes / 64 - z).mean() < 0.4 * np.square(np.rint(z) - z).mean()


def test_tiles_do_not_know_of_each_other(monkeypatch):
    monkeypatch.setattr(pyramid, "TILE", 32)
    z = smooth(50, 70)
    whole = quantise(z)
    assert np.array_equal(rebuild(whole.numbers), whole.planes)
    part = quantise(z[:, 32:, 32:64])
    assert np.array_equal(part.planes, whole.planes[:, 32:, 32:64])
    assert np.array_equal(whole.steps[32:, 32:64], part.steps)
