"""SSIMULACRA 2; beside libjxl's program: test_reference_scores."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lic_bench import Image
from lic_bench.metrics.recursive_gaussian import fused, recursive, windowed
from lic_bench.metrics.ssimulacra2 import SIDE, ssimulacra2


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (61, 40), (200, 131)])
def test_equal_images_have_the_highest_score(photo: Image, size: tuple[int, int]) -> None:
    image = photo[: size[0], : size[1]]
    assert ssimulacra2(image, image.copy()) == 100


@pytest.mark.parametrize("size", [(8, 8), (9, 17), (67, 129)])
def test_more_noise_and_more_blur_score_less(photo: Image, size: tuple[int, int]) -> None:
    image = photo[100 : 100 + size[0], 100 : 100 + size[1]]
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    noisy = [np.clip(image + s * noise, 0, 255).astype(np.uint8) for s in (2, 8, 30)]
    blurred = [gaussian_filter(image, (s, s, 0)) for s in (0.5, 1, 3)]
    for row in (noisy, blurred):
        scores = [ssimulacra2(image, each) or math.nan for each in row]
        assert 100 > scores[0] > scores[1] > scores[2]


def test_an_image_that_is_too_small_has_none(photo: Image) -> None:
    assert ssimulacra2(photo[: SIDE - 1], photo[: SIDE - 1]) is None
    assert ssimulacra2(photo[:, : SIDE - 1], photo[:, : SIDE - 1]) is None


def test_another_size_is_refused(photo: Image) -> None:
    with pytest.raises(ValueError, match="shape"):
        ssimulacra2(photo, photo[:-1])


@pytest.mark.parametrize("size", [(4, 4), (5, 8), (9, 12), (40, 31), (24, 400)])
def test_the_recursion_is_the_window_but_for_rounding(size: tuple[int, int]) -> None:
    planes = np.random.default_rng(0).random((2, *size), np.float32)
    assert recursive(planes) == pytest.approx(windowed(planes), abs=2e-5)


def test_the_window_is_a_gaussian_of_one_and_a_half_samples() -> None:
    planes = np.zeros((1, 25, 25), np.float32)
    planes[0, 12, 12] = 1
    expected = gaussian_filter(planes[0].astype(np.float64), 1.5, mode="constant", truncate=6)
    found = windowed(planes)[0]
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert found == pytest.approx(expected, abs=2e-3)
    assert found[12] @ (np.arange(25) - 12) ** 2 / found[12].sum() == pytest.approx(2.25, rel=1e-5)


def test_a_fused_product_is_rounded_once() -> None:
    a = np.array([1 + 2**-12], np.float32)  # its square ends in 2**-24, which float32 drops
    c = np.array([-(1 + 2**-11)], np.float32)
    assert fused(a, a, c).tolist() == [2**-24]
