import pytest

torch = pytest.importorskip("torch")

from lic_bench.learned.quantise import binarize, importance_level, importance_mask  # noqa: E402


def test_binarizer_rounds_and_passes_the_gradient_of_its_proxy():
    e = torch.tensor([-0.5, -0.5, 0.0, 0.5, 0.500001, 1.0, 1.5, 1.5], requires_grad=True)
    # With a gradient g, descent moves e by -g: outside [0, 1] only the way back is open.
    g = torch.tensor([1.0, -1.0, 3.0, -2.0, 5.0, 7.0, 1.0, -1.0])
    bits = binarize(e)
    assert bits.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    bits.backward(g)
    assert e.grad.tolist() == [0, -1, 3, -2, 5, 7, 1, 0]


def test_binarizer_gradient_is_the_finite_difference_of_clip():
    e = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (binarize(e) * weights).sum().backward()
    step = 1e-6
    up, down = ((e.detach() + sign * step).clamp(0, 1) for sign in (1, -1))
    assert torch.allclose(e.grad, (up - down) / (2 * step) * weights)


def test_levels_are_those_of_the_release():
    p = torch.tensor([0.0, 1 / 16 - 1e-4, 1 / 16, 0.5, 15 / 16, 1.0])
    assert importance_level(p, 16).tolist() == [1, 1, 2, 9, 16, 16]


def test_mask_keeps_the_first_channels():
    p = torch.tensor([0.0, 0.3, 1.0]).view(1, 1, 1, 3)
    mask = importance_mask(p, 64, 16)
    assert mask.sum(1).flatten().tolist() == [4, 20, 64]
    assert mask[0, :20, 0, 1].all() and not mask[0, 20:, 0, 1].any()


def test_mask_gradient_is_the_window_of_the_release():
    n, levels = 64, 16
    p = torch.tensor([0.0, 0.33, 0.97]).view(1, 1, 1, 3).requires_grad_()
    g = torch.randn(1, n, 1, 3, generator=torch.Generator().manual_seed(0))
    importance_mask(p, n, levels).backward(g)
    for site, kept in enumerate((4, 24, 64)):
        window = g[0, max(kept - 4, 0) : kept + 4, 0, site]
        assert p.grad.flatten()[site].item() == pytest.approx(
            levels * window.sum().item(), rel=1e-5
        )


def test_mask_gradient_is_the_finite_difference_of_its_proxy():
    """The proxy: a ramp from 1 to 0 over two groups around the cut, of slope L in p."""
    n, levels = 32, 8
    group = n // levels
    p = torch.full((1, 1, 1, 1), 0.45, dtype=torch.float64, requires_grad=True)
    weights = torch.arange(1.0, n + 1, dtype=torch.float64).view(1, n, 1, 1)
    (importance_mask(p, n, levels) * weights).sum().backward()
    kept = importance_level(p, levels).item() * group

    def proxy(value):
        channels = torch.arange(n)
        inside = (channels >= kept - group) & (channels < kept + group)
        return (weights.flatten() * inside * levels * value).sum()

    step = 1e-6
    difference = (proxy(0.45 + step) - proxy(0.45 - step)) / (2 * step)
    assert p.grad.item() == pytest.approx(difference.item(), rel=1e-6)


def test_mask_wants_whole_groups():
    with pytest.raises(ValueError, match="groups"):
        importance_mask(torch.zeros(1, 1, 1, 1), 30, 16)
