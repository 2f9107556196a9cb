"""Priors, GDN and modulation against their formulas."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.stats import laplace, norm  # noqa: E402

from lic_bench.learned.gdn import GDN  # noqa: E402
from lic_bench.learned.modulation import HIDDEN, Modulation  # noqa: E402
from lic_bench.learned.priors import (  # noqa: E402
    LARGEST_SCALE,
    LEAST_LOG_SCALE,
    LEAST_SCALE,
    SCALES,
    STEP,
    FactorizedPrior,
    gaussian_bits,
    laplace_bits,
    noisy,
    rounded,
)


def test_the_constants_are_what_they_say():
    assert pytest.approx(math.log(LEAST_SCALE), rel=1e-15) == LEAST_LOG_SCALE
    assert pytest.approx(math.log(LARGEST_SCALE / LEAST_SCALE) / (SCALES - 1), rel=1e-15) == STEP


def test_laplace_bits_are_those_of_scipy():
    y, sizes = np.arange(-12.0, 13), np.array([[0.06], [0.5], [3.0], [100.0]])
    below, above = (laplace.sf(np.abs(y) + half, scale=sizes) for half in (-0.5, 0.5))
    found = laplace_bits(torch.from_numpy(y), torch.from_numpy(sizes).log().expand(4, 25)).numpy()
    np.testing.assert_allclose(found, -np.log2(np.maximum(below - above, 1e-9)), rtol=1e-6)


def test_gaussian_bits_are_those_of_scipy():
    scales = np.array([0.2, 1.0, 7.0, 90.0])[:, None]
    y = np.arange(-12, 13)[None] * np.maximum(scales / 4, 0.1).round(1)
    chance = norm.cdf((np.abs(y) + 0.5) / -scales * -1) - norm.cdf((np.abs(y) - 0.5) / scales)
    wanted = -np.log2(np.maximum(chance, 1e-9))
    found = gaussian_bits(torch.from_numpy(y), torch.from_numpy(scales).log().expand(4, 25))
    np.testing.assert_allclose(found.numpy()[chance > 1e-7], wanted[chance > 1e-7], rtol=1e-5)


def test_stand_ins_for_rounding_pass_the_gradient_on():
    torch.manual_seed(0)
    for stand_in in (noisy, rounded):
        y = torch.linspace(-3, 3, 1001, requires_grad=True)
        (stand_in(y) * torch.arange(1001.0)).sum().backward()
        assert torch.equal(y.grad, torch.arange(1001.0))
        error = (stand_in(y) - y).detach()
        assert float(error.abs().max()) <= 0.5
    assert float(noisy(torch.zeros(100_000)).var()) == pytest.approx(1 / 12, rel=0.02)


@pytest.mark.slow
def test_the_factorised_prior_is_a_distribution_that_learns_another():
    torch.manual_seed(0)
    prior = FactorizedPrior(2, 3)
    every = torch.arange(-400.0, 401)[None, None, None].expand(3, 2, 1, -1)
    condition = torch.arange(3)
    total = torch.exp2(-prior.bits(every, condition)).sum(-1)
    np.testing.assert_allclose(total.detach().numpy(), 1, atol=2e-5)
    # Under condition 1 it learns a normal distribution about 3.
    optimiser = torch.optim.Adam(prior.parameters(), 2e-2)
    for _ in range(500):
        sample = torch.randn(1, 2, 1, 512) * 2 + 3
        bits = prior.bits(sample + torch.rand_like(sample) - 0.5, torch.tensor([1])).mean()
        optimiser.zero_grad()
        bits.backward()
        optimiser.step()
    entropy = math.log2(2 * math.sqrt(2 * math.pi * math.e))
    assert float(bits.detach()) == pytest.approx(entropy, abs=0.15)
    cumulative = prior.cumulative(torch.tensor([3.0]))
    np.testing.assert_allclose(cumulative[1, :, 0].numpy(), 0.5, atol=0.05)


def test_gdn_divides_as_the_paper_says_and_its_inverse_multiplies():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 3, 4)
    for inverse in (False, True):
        norm_layer = GDN(5, inverse)
        torch.nn.init.normal_(norm_layer.gamma_root)
        torch.nn.init.normal_(norm_layer.beta_root)
        found = norm_layer(x).detach().numpy()
        beta, gamma = (p.detach().numpy() for p in (norm_layer.beta, norm_layer.gamma))
        for i in range(5):
            size = np.sqrt(beta[i] + sum(gamma[i, j] * x[:, j].numpy() ** 2 for j in range(5)))
            wanted = x[:, i].numpy() * (size if inverse else 1 / size)
            np.testing.assert_allclose(found[:, i], wanted, rtol=1e-5)


def test_modulation_is_exp_of_two_dense_layers():
    torch.manual_seed(0)
    network = Modulation(7)
    assert sum(p.numel() for p in network.parameters()) == 2 * HIDDEN + (HIDDEN + 1) * 7
    (w1, b1), (w2, b2) = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy())
        for layer in (network.hidden, network.out)
    )
    for tradeoff in (64.0, 700.0, 4096.0):
        wanted = np.exp(w2 @ np.maximum(w1[:, 0] * tradeoff / 2048 + b1, 0) + b2)
        found = network(torch.tensor([tradeoff])).detach().numpy()
        np.testing.assert_allclose(found[0, :, 0, 0], wanted, rtol=1e-5)


def test_modulation_can_begin_as_any_smooth_function():
    network = Modulation(3)
    grid = torch.logspace(math.log10(64), math.log10(4096), 97)
    wanted = torch.stack([grid.log() / 2, -grid.log(), torch.zeros(97)], 1)
    network.fit(grid, wanted)
    found = network.log(grid).detach()
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=0.02)
