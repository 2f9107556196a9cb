"""What holds of every perceptual metric; beside the programs that define them:
test_reference_scores."""

import math

import numpy as np
import pytest
from reference_pairs import METRICS
from scipy.ndimage import gaussian_filter

from lic_bench import Image
from lic_bench.metrics import butteraugli, fsim, gmsd, haarpsi, iw_ssim, nlpd, ssimulacra2, vif
from lic_bench.metrics.colour import jpeg_ai_luma, luma, studio_luma
from lic_bench.metrics.psnr_hvs import psnr_hvs

LEAST = {
    "ssimulacra2": ssimulacra2.SIDE,
    "butteraugli": butteraugli.SIDE,
    "vif_p": vif.SIDE,
    "jpegai_nlpd": nlpd.SIDE,
    "fsimc": fsim.SIDE,
    "iw_ssim": iw_ssim.SIDE,
    "gmsd": gmsd.SIDE,
    "haarpsi": haarpsi.SIDE,
}
# Those that need no files of weights and no extra; of the others, test_networks.
AT_HAND = [name for name in METRICS if name not in ("lpips_alex", "lpips_vgg", "dists", "cvvdp")]
LESS_IS_BETTER = {"butteraugli", "butteraugli_3norm", "gmsd", "jpegai_nlpd"}
SYMMETRIC = {"fsim", "fsimc", "gmsd", "haarpsi", "jpegai_nlpd", "psnr_hvs", "psnr_hvs_m"}


@pytest.mark.parametrize("name", AT_HAND)
def test_equal_images_are_best_and_more_noise_and_blur_are_worse(photo: Image, name: str) -> None:
    metric, *_ = METRICS[name]
    image = photo[100:277, 100:263]  # odd sides
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    noisy = [np.clip(image + s * noise, 0, 255).astype(np.uint8) for s in (2, 12)]
    blurred = [gaussian_filter(image, (s, s, 0)) for s in (0.6, 2)]
    sign = -1 if name in LESS_IS_BETTER else 1
    for row in (noisy, blurred):
        scores = [sign * (metric(image, each) or 0) for each in (image, *row)]
        assert scores[0] > scores[1] > scores[2]
    if name in SYMMETRIC:
        assert metric(noisy[1], image) == pytest.approx(metric(image, noisy[1]), rel=1e-9)


@pytest.mark.parametrize("name", LEAST)
def test_the_least_image_has_a_score_and_a_smaller_one_none(photo: Image, name: str) -> None:
    metric, _, _ = METRICS[name]
    for size in ((LEAST[name], 200), (200, LEAST[name])):
        image = photo[: size[0], : size[1]]
        assert math.isfinite(metric(image, image[::-1]) or math.nan)
        small = photo[: size[0] - (size[0] != 200), : size[1] - (size[1] != 200)]
        assert metric(small, small) is None


@pytest.mark.parametrize("name", AT_HAND)
def test_flat_images_are_measured_and_another_size_is_refused(name: str) -> None:
    metric, *_ = METRICS[name]
    flat = np.full((200, 180, 3), 90, np.uint8)
    assert math.isfinite(metric(flat, flat + np.uint8(9)) or 0)
    with pytest.raises(ValueError, match="shape"):
        metric(flat, flat[:-8])


def test_psnr_hvs_of_one_coefficient_is_its_weighted_error() -> None:
    # A mean that is off by 2 is a first coefficient that is off by 16, and JPEG divides it by 16.
    flat = np.full((16, 24), 100.0)
    expected = 10 * math.log10(255**2 / ((16 * 25.73509 / 16) ** 2 / 64))
    assert psnr_hvs(flat, flat + 2) == pytest.approx((expected, expected))
    assert psnr_hvs(flat, flat) == (math.inf, math.inf)


def test_white_has_the_codes_that_each_kind_of_luma_gives_it() -> None:
    white, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    for kind, low, high in ((luma, 0, 255), (jpeg_ai_luma, 0, 255), (studio_luma, 16, 235)):
        assert kind(white) == pytest.approx(high)
        assert kind(black) == pytest.approx(low)
