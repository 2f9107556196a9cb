"""Butteraugli's parts, beside plain loops; beside libjxl's program: test_reference_scores."""

import numpy as np
import pytest

from lic_bench import Image
from lic_bench.metrics import butteraugli
from lic_bench.metrics.butteraugli import Butteraugli


@pytest.fixture
def plane() -> np.ndarray:
    return np.random.default_rng(0).random((21, 38), np.float32)


@pytest.mark.parametrize(("sigma", "side"), [(1.56416327805, 7), (2.7, 13), (7.15593339443, 33)])
def test_a_blur_is_a_mean_of_what_there_is(plane: np.ndarray, sigma: float, side: int) -> None:
    reach = side // 2  # libjxl has these sides
    expected = np.empty_like(plane)
    rows, columns = np.indices(plane.shape)
    for (y, x), _ in np.ndenumerate(plane):
        weights = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))
        weights *= (abs(rows - y) <= reach) & (abs(columns - x) <= reach)
        expected[y, x] = (weights * plane).sum() / weights.sum()
    assert butteraugli._blurred(plane, sigma) == pytest.approx(expected, rel=1e-5)


def test_the_blur_of_light_is_mirrored(plane: np.ndarray) -> None:
    wide = np.pad(plane, 2, mode="symmetric")
    taps = np.exp(-((np.arange(5) - 2) ** 2) / (2 * 1.2**2))
    taps /= taps.sum()
    expected = np.empty_like(plane)
    for (y, x), _ in np.ndenumerate(plane):
        expected[y, x] = taps @ wide[y : y + 5, x : x + 5] @ taps
    assert butteraugli._blurred(plane, 1.2) == pytest.approx(expected, rel=1e-5)


def test_there_are_sixteen_lines_of_each_kind() -> None:
    for lines, most in ((butteraugli._lines(), 9), (butteraugli._dotted_lines(), 5)):
        assert sum(line[4, 4] ** 2 for line in lines) == pytest.approx(16)
        for line in lines:
            assert line.tolist() == line[::-1, ::-1].tolist()
            assert np.count_nonzero(line) in {7 if most == 9 else 5, most}


def test_the_erosion_is_a_mean_of_the_three_least(plane: np.ndarray) -> None:
    expected = np.empty_like(plane)
    for (y, x), here in np.ndenumerate(plane):
        apart = plane[y % 3 :: 3, x % 3 :: 3]
        i, j = y // 3, x // 3
        around = apart[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].ravel().tolist()
        expected[y, x] = np.sort([*around, 2 * here, 2 * here])[:3] @ (0.45, 0.3, 0.25)
    assert butteraugli._eroded(plane) == pytest.approx(expected, rel=1e-5)


def test_the_norm_is_a_mean_of_three() -> None:
    differences = np.array([[0, 2], [1, 4]], np.float32)
    largest, norm = butteraugli._norms(differences)
    expected = [np.mean(differences.astype(float) ** p) ** (1 / p) for p in (3, 6, 12)]
    assert (largest, norm) == pytest.approx((4, np.mean(expected)))


def test_a_reference_serves_several_pictures(photo: Image) -> None:
    image = photo[:64, :67]
    compare = Butteraugli().prepare(image)
    for picture in (image[::-1], image // 2, image):
        found = butteraugli.butteraugli(image, picture)
        assert found is not None
        assert compare(picture) == dict(
            zip(("butteraugli", "butteraugli_3norm"), found, strict=True)
        )
