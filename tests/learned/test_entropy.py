"""The entropy coder: exact, lossless, and as good as the model says."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

pytest.importorskip("constriction")
torch = pytest.importorskip("torch")

from lic_bench import BitstreamError  # noqa: E402
from lic_bench.learned import entropy  # noqa: E402
from lic_bench.learned.context import ContextModel, all_sites  # noqa: E402
from lic_bench.learned.entropy import BinaryCoder, map_and_code_gates  # noqa: E402

LEVELS, N, POINTS = 4, 12, 2
CHANNELS = LEVELS - 1 + N
GATES = map_and_code_gates(LEVELS, N)


def model(hidden=8, scale=0.3):
    torch.manual_seed(0)
    context = ContextModel(CHANNELS, POINTS, hidden)
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.copy_((scale * torch.randn(parameter.shape)).half())
    return context


def coder(context):
    parts = {name: x.detach().half().numpy() for name, x in context.state_dict().items()}
    return BinaryCoder(parts, GATES)


def draw(height, width, seed=0):
    rng = np.random.default_rng(seed)
    level = rng.integers(1, LEVELS + 1, (height, width))
    planes = level > np.arange(1, LEVELS)[:, None, None]
    mask = np.arange(N)[:, None, None] < level * (N // LEVELS)
    return np.concatenate([planes, mask & (rng.random((N, height, width)) < 0.3)]).astype(np.uint8)


def active_of(x):
    active = np.ones_like(x)
    for k, gate in enumerate(GATES.of):
        if gate >= 0:
            active[k] = x[gate]
    return active


def predicted(context, x, active, point):
    """Logits in float32 by torch, C x H x W; 0 where nothing is coded."""
    tensor, where = torch.from_numpy(x)[None], torch.from_numpy(active)[None]
    sites = all_sites(tensor)
    with torch.no_grad():
        found = context(tensor, where, torch.tensor([point]), sites)
    logits = torch.zeros(x.shape)
    _, row, column = sites[found.site].T
    logits[found.channel, row, column] = found.logits
    return logits.numpy()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2), (9, 16), (70, 66)])
def test_what_goes_in_comes_out(size):
    x, made = draw(*size), coder(model())
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
    active = active_of(x)
    logits = predicted(context, x, active, 1)
    expected = (active * (np.logaddexp(0, logits) - x * logits)).sum() / np.log(2)
    assert coder(context).cost(x, 1) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("place", [(LEVELS + 4, 4, 5), (LEVELS + 4, 0, 0), (LEVELS + 1, 9, 9)])
def test_a_bit_is_predicted_from_bits_before_it_only(place):
    """Nothing that a decoder reads before a bit, or in the same wave, may depend on it."""
    x, context = draw(10, 10), model()
    active = np.ones_like(x)
    before = predicted(context, x, active, 0)
    x[place] ^= 1
    changed = before != predicted(context, x, active, 0)
    k, i, j = np.indices(x.shape)
    waves = 2 * i + j + 4 * k
    assert not changed[waves <= waves[place]].any()
    near = (abs(i - place[1]) <= 2) & (abs(j - place[2]) <= 2)
    assert changed.any() and not changed[~near].any()
    later = near & (abs(i - place[1]) <= 1) & (abs(j - place[2]) <= 1) & (k > place[0])
    assert changed[later].mean() > 0.9


class AnyThreads:
    """In place of the limit to one thread: none."""

    def limit(self, **_):
        return nullcontext()


def test_threads_do_not_matter(monkeypatch):
    monkeypatch.setattr(entropy, "_thread_pools", AnyThreads)
    x, made = draw(256, 192), coder(model(hidden=64))
    streams = set()
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            streams.add(made.encode(x, 0))
            assert np.array_equal(made.decode(made.encode(x, 0), 256, 192, 0), x)
    assert len(streams) == 1


def test_the_size_of_the_parts_does_not_matter(monkeypatch):
    x, made = draw(20, 30), coder(model())
    whole = made.encode(x, 0)
    monkeypatch.setattr(entropy, "_ROWS", 3)
    assert made.encode(x, 0) == whole


def test_sums_are_exact_in_any_order_and_batch():
    """float32 sums of the coder's integers equal those of int64, however they are cut up."""
    made = coder(model(hidden=64, scale=2.0))
    rng = np.random.default_rng(0)
    matrix = made._local
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
    # The second layer, on features at their clips.
    features = rng.choice([-1e6, 0.0, 4711.0, 1e6], (500, 64)).astype(np.float32)
    channels = rng.integers(CHANNELS, size=500)
    whole = np.floor(features.astype(np.float64) / 64).clip(0, 512).astype(np.int64)
    expected = (whole * made._out[channels].astype(np.int64)).sum(1)
    assert np.array_equal(made._logits(features, channels), expected)


def test_weights_too_large_to_be_exact_are_refused():
    for name in ("table", "out"):
        context = model()
        with torch.no_grad():
            context.get_parameter(name).fill_(1000.0)
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
    assert map_and_code_gates(4, 8).of == (-1, 0, 1, -1, -1, 0, 0, 1, 1, 2, 2)
