"""The entropy coder: exact, lossless, and as good as the model says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

pytest.importorskip("constriction")
torch = pytest.importorskip("torch")

from lic_bench import BitstreamError  # noqa: E402
from lic_bench.learned.context import ContextModel, bits  # noqa: E402
from lic_bench.learned.entropy import BinaryCoder, Gates, map_and_code_gates  # noqa: E402

LEVELS, N, POINTS = 4, 12, 2
CHANNELS = LEVELS - 1 + N


def model(hidden=3, scale=0.3):
    torch.manual_seed(0)
    context = ContextModel(CHANNELS, POINTS, hidden)
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.copy_((scale * torch.randn(parameter.shape)).half())
    return context


def coder(context):
    parts = (context.weight, context.own, context.bias, context.mix)
    return BinaryCoder(
        *(part.detach().numpy().astype(np.float16) for part in parts),
        map_and_code_gates(LEVELS, N),
    )


def draw(height, width, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.integers(1, LEVELS + 1, (height, width))
    planes = level > np.arange(1, LEVELS)[:, None, None]
    mask = np.arange(N)[:, None, None] < level * (N // LEVELS)
    return np.concatenate([planes, mask & (rng.random((N, height, width)) < 0.3)]).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2), (9, 16), (70, 66)])
@pytest.mark.parametrize("hidden", [0, 3])
def test_what_goes_in_comes_out(size, hidden):
    x, made = draw(*size), coder(model(hidden))
    for point in range(POINTS):
        assert np.array_equal(made.decode(made.encode(x, point), *size, point), x)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_any_bits_come_back(seed, height, width):
    x, made = draw(height, width, seed), coder(model())
    assert np.array_equal(made.decode(made.encode(x, 1), height, width, 1), x)


def test_the_bytes_cost_what_the_model_says():
    x, made = draw(64, 96), coder(model())
    real = 8 * len(made.encode(x, 0))
    assert made.cost(x, 0) <= real <= 1.001 * made.cost(x, 0) + 64


def test_the_integers_follow_the_model_that_was_trained():
    x, context = draw(24, 32), model()
    made = coder(context)
    active = np.zeros_like(x)
    for k, gate in enumerate(map_and_code_gates(LEVELS, N).of):
        active[k] = 1 if gate < 0 else x[gate]
    tensor = torch.from_numpy(x)[None].float()
    with torch.no_grad():
        logits = context(tensor, torch.tensor([1]))
        expected = bits(logits, tensor, torch.from_numpy(active)[None].float()).item()
    assert made.cost(x, 1) == pytest.approx(expected, rel=5e-3)


def test_a_bit_is_predicted_from_bits_before_it_only():
    x, context = draw(10, 10), model()
    tensor = torch.from_numpy(x)[None].float()
    with torch.no_grad():
        before = context(tensor, torch.tensor([0]))
        k, i, j = 6, 4, 5  # an odd site
        tensor[0, k, i, j] = 1 - tensor[0, k, i, j]
        after = context(tensor, torch.tensor([0]))
    changed = (before != after)[0]
    assert not changed[: k + 1].any()  # nor other odd sites of its own channel
    assert changed[k + 1 :].any()
    tensor = torch.from_numpy(x)[None].float()
    tensor[0, k, 4, 4] = 1 - tensor[0, k, 4, 4]  # an even site: its odd neighbours see it
    with torch.no_grad():
        changed = (before != context(tensor, torch.tensor([0])))[0]
    assert not changed[:k].any()
    assert sorted(map(tuple, changed[k].nonzero().tolist())) == [(3, 4), (4, 3), (4, 5), (5, 4)]


def test_threads_do_not_matter():
    x, made = draw(128, 96), coder(model())
    streams = set()
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            streams.add(made.encode(x, 0))
            assert np.array_equal(made.decode(made.encode(x, 0), 128, 96, 0), x)
    assert len(streams) == 1


def test_sums_are_exact_in_any_order_and_batch():
    """float32 sums of the coder's integers equal those of int64, however they are cut up."""
    made = coder(model(scale=2.0))
    rng = np.random.default_rng(0)
    block = made._blocks[-1]
    matrix = block.reshape(-1, block.shape[2] * block.shape[3])
    rows = rng.integers(0, 2, (500, len(matrix)))
    exact = rows @ matrix.astype(np.int64)
    order = rng.permutation(len(matrix))
    single = rows.astype(np.float32)
    assert np.array_equal(single @ matrix, exact)
    assert np.array_equal(single[:, order] @ matrix[order], exact)
    assert np.array_equal(np.concatenate([row[None] @ matrix for row in single]), exact)
    if torch.cuda.is_available():
        device = torch.device("cuda")
        on_gpu = (
            torch.from_numpy(single).to(device).double()
            @ torch.from_numpy(matrix).to(device).double()
        )
        assert np.array_equal(on_gpu.cpu().numpy(), exact)


def test_weights_too_large_to_be_exact_are_refused():
    context = model()
    with torch.no_grad():
        context.weight.fill_(100.0)
    with pytest.raises(ValueError, match="exact"):
        coder(context)


def test_a_payload_of_another_length_is_refused():
    x, made = draw(16, 16), coder(model())
    stream = made.encode(x, 0)
    with pytest.raises(BitstreamError):
        made.decode(stream[:-1], 16, 16, 0)
    with pytest.raises(BitstreamError):
        made.decode(stream + bytes(8), 16, 16, 0)


def test_gates():
    gates = map_and_code_gates(4, 8)
    assert gates.of == (-1, 0, 1, -1, -1, 0, 0, 1, 1, 2, 2)
    assert list(gates.groups())[:4] == [(0, 1), (1, 2), (2, 3), (3, 5)]
    assert list(Gates(()).groups()) == []
