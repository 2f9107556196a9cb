import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lic_bench import image_metrics  # noqa: E402
from lic_bench.learned.losses import LOSSES, distortion, ms_ssim, mse, ssim  # noqa: E402


def test_losses_agree_with_the_metrics(photo):
    rng = np.random.default_rng(0)
    other = np.clip(photo + rng.normal(0, 9, photo.shape), 0, 255).astype(np.uint8)
    expected = image_metrics(photo, other)
    x, y = (torch.from_numpy(i).permute(2, 0, 1)[None].float() for i in (photo, other))
    assert mse(x, y).item() == pytest.approx(expected["mse_rgb"], rel=1e-5)
    assert ssim(x, y).item() == pytest.approx(expected["ssim_rgb"], abs=1e-4)
    # Odd sides are lengthened there and cut here.
    assert ms_ssim(x, y).item() == pytest.approx(expected["ms_ssim_rgb"], abs=2e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_fall_when_descended(name):
    torch.manual_seed(0)
    x = torch.nn.functional.avg_pool2d(255 * torch.rand(2, 3, 72, 72), 9, 1)
    y = (x + 8 * torch.randn_like(x)).requires_grad_()
    loss = distortion(name)
    before = loss(x, y)
    before.sum().backward()
    assert before.shape == (2,) and torch.isfinite(y.grad).all()
    after = loss(x, y.detach() - 0.5 * y.grad / y.grad.abs().max())
    assert (after < before).all()
    assert torch.allclose(loss(x, x), torch.zeros(2), atol=1e-3)
