import io
import math

import numpy as np
import pytest
from PIL import Image as PillowImage
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from lic_bench import METRICS, Image, image_metrics
from lic_bench.metrics.builtin import Reference

TOLERANCE = 1e-5


def distorted(image: Image, quality: int) -> Image:
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(PillowImage.open(stream))


def luma(image: Image, weights: tuple[float, float, float]) -> np.ndarray:
    return image.astype(np.float64) @ np.array(weights)


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float:
    """By another implementation."""
    import pytorch_msssim  # brings torch, for which other tests need not wait
    import torch

    tensors = []
    for image in (original, decoded):
        channels = image if image.ndim == 3 else image[..., None]
        tensors.append(torch.from_numpy(channels.astype(np.float64)).permute(2, 0, 1)[None])
    return float(pytorch_msssim.ms_ssim(*tensors, data_range=255))


BT601, BT709 = (0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("quality", [1, 10, 50, 95])
def test_each_metric_equals_its_reference(photo: Image, quality: int) -> None:
    decoded = distorted(photo, quality)
    found = image_metrics(photo, decoded)
    y, y_decoded = luma(photo, BT601), luma(decoded, BT601)
    ssim = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
    }
    expected = {
        "mse_rgb": mean_squared_error(photo, decoded),
        "psnr_rgb_db": peak_signal_noise_ratio(photo, decoded),
        "psnr_y_db": peak_signal_noise_ratio(y, y_decoded, data_range=255),
        "psnr_y709_db": peak_signal_noise_ratio(
            luma(photo, BT709), luma(decoded, BT709), data_range=255
        ),
        "ssim_rgb": structural_similarity(photo, decoded, channel_axis=2, **ssim),
        "ssim_y": structural_similarity(y, y_decoded, **ssim),
        "ms_ssim_rgb": ms_ssim(photo, decoded),
        "ms_ssim_y": ms_ssim(y, y_decoded),
    }
    assert set(found) == set(METRICS) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=TOLERANCE), name


@pytest.mark.parametrize("size", [(161, 161), (162, 171), (177, 333)])
def test_ms_ssim_of_odd_sizes_equals_its_reference(photo: Image, size: tuple[int, int]) -> None:
    original = photo[: size[0], : size[1]]
    decoded = distorted(original, 20)
    expected = ms_ssim(original, decoded)
    assert image_metrics(original, decoded)["ms_ssim_rgb"] == pytest.approx(expected, abs=TOLERANCE)


def test_a_bright_flat_area_costs_no_precision() -> None:
    # Where float32 is worst: squares of large samples whose variance is small.
    original = np.full((200, 200, 3), 254, np.uint8)
    decoded = original.copy()
    decoded[::7, ::5] = 251
    expected = ms_ssim(original, decoded)
    assert image_metrics(original, decoded)["ms_ssim_rgb"] == pytest.approx(expected, abs=TOLERANCE)


def test_negative_structure_counts_as_nothing_in_ms_ssim_alone(photo: Image) -> None:
    negative = 255 - photo
    found = image_metrics(photo, negative)
    assert found["ssim_rgb"] < 0
    assert found["ms_ssim_rgb"] == 0


def test_equal_images_are_equal(photo: Image) -> None:
    found = image_metrics(photo, photo.copy())
    assert found["mse_rgb"] == 0
    assert [found[name] for name in METRICS if name.startswith("psnr")] == [math.inf] * 3
    assert [found[name] for name in METRICS if "ssim" in name] == [1] * 4


@pytest.mark.parametrize(
    ("size", "has_ssim", "has_ms_ssim"),
    [
        ((1, 1), False, False),
        ((10, 300), False, False),
        ((11, 11), True, False),
        ((300, 160), True, False),
        ((161, 300), True, True),
    ],
)
def test_a_metric_that_an_image_is_too_small_for_is_missing(
    photo: Image, size: tuple[int, int], has_ssim: bool, has_ms_ssim: bool
) -> None:
    original = photo[: size[0], : size[1]]
    found = image_metrics(original, distorted(original, 30))
    assert math.isfinite(found["psnr_rgb_db"] or math.nan)
    for plane in ("rgb", "y"):
        assert (found[f"ssim_{plane}"] is not None) == has_ssim
        assert (found[f"ms_ssim_{plane}"] is not None) == has_ms_ssim


def test_a_batch_of_tensors_gives_what_single_arrays_give(photo: Image) -> None:
    import torch

    originals = np.stack([photo, photo[::-1]])
    decoded = np.stack([distorted(photo, 10), distorted(np.ascontiguousarray(photo[::-1]), 60)])
    tensors = Reference(torch.from_numpy(originals)).compare(torch.from_numpy(decoded))
    assert len(tensors) == 2
    for original, other, found in zip(originals, decoded, tensors, strict=True):
        for name, value in image_metrics(original, other).items():
            assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_gpu_gives_what_the_cpu_gives(photo: Image) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    decoded = distorted(photo, 30)
    tensors = (torch.from_numpy(image[None]).cuda() for image in (photo, decoded))
    original, other = tensors
    [found] = Reference(original).compare(other)
    assert found == pytest.approx(image_metrics(photo, decoded), abs=1e-6)


def test_another_size_is_refused(photo: Image) -> None:
    with pytest.raises(ValueError, match="shape"):
        image_metrics(photo, photo[:-1])
