"""Convolutions in whole numbers: those of torch, to within the rounding of weights, and exact."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import conv2d, conv_transpose2d  # noqa: E402

from lic_bench.learned.exact import MOST, UNIT_BITS, exponentials, layer, proven, sums  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("doubling", "side"), [(False, 3), (False, 5), (True, 3), (True, 4), (True, 5)]
)
@pytest.mark.parametrize("inputs", [3, 64, 700])
def test_layers_are_those_of_torch(doubling, side, inputs):
    torch.manual_seed(inputs)
    doubled = {"stride": 2, "padding": (side - 1) // 2, "output_padding": side % 2}
    if doubling:
        made = torch.nn.ConvTranspose2d(inputs, 8, side, **doubled)
    else:
        made = torch.nn.Conv2d(inputs, 8, side, padding=side // 2)
    x = torch.randint(-MOST, MOST + 1, (1, inputs, 9, 7)).float()
    own = layer(made.weight.data, made.bias.data, UNIT_BITS, CPU, doubling)
    with torch.no_grad():
        expected = made.double()(x.double() / 2**UNIT_BITS) * 2**UNIT_BITS
        found = sums(x, own).double()
        # The same in float64, where no sum is rounded.
        taken = own.weights[0].shape[0 if doubling else 1]
        again = own.bias.double()[:, None, None]
        for part, weight in zip(x.double().split(taken, 1), own.weights, strict=True):
            if doubling:
                again = again + conv_transpose2d(part, weight.double(), **doubled)
            else:
                again = again + conv2d(part, weight.double(), padding=side // 2)
    assert torch.equal(found, (again * own.scale.double()).float().double())
    # Weights have 4 units in the mean at least: the rounding of each is an eighth of it at most.
    assert float((found - expected).square().mean().sqrt()) < 0.1 * float(expected.std())


def test_sums_are_exact_here():
    proven(CPU)


def test_weights_that_are_too_large_are_refused():
    weight = torch.ones(1, 1, 151, 151)
    with pytest.raises(ValueError, match="too large"):
        layer(weight, torch.zeros(1), UNIT_BITS, CPU)


def test_exponentials_are_near_and_of_few_digits():
    x = np.linspace(-8, 3, 50)
    found = exponentials(x)
    assert np.allclose(found, np.exp(x), atol=2.0**-20)
    assert np.array_equal(found * 2**20, np.rint(found * 2**20))
