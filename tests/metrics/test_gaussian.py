import numpy as np
import pytest
from scipy.ndimage import correlate1d

from lic_bench.metrics.gaussian import WINDOW, local_means


@pytest.mark.parametrize("shape", [(1, 11, 11), (2, 12, 53), (3, 75, 42), (1, 43, 107)])
def test_both_filters_equal_scipys(shape: tuple[int, int, int]) -> None:
    import torch

    planes = np.random.default_rng(5).normal(size=shape)
    taps = np.exp(-((np.arange(WINDOW) - 5) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()
    expected = correlate1d(correlate1d(planes, taps, 1), taps, 2)[:, 5:-5, 5:-5]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        by_opencv = local_means(planes.astype(dtype))
        by_products = local_means(torch.from_numpy(planes.astype(dtype)))
        assert by_opencv.dtype == dtype
        np.testing.assert_allclose(by_opencv, expected, atol=tolerance)
        np.testing.assert_allclose(by_products.numpy(), expected, atol=tolerance)
