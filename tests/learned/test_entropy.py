"""The coder of whole numbers: exact, lossless, and as good as the model says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")
torch = pytest.importorskip("torch")

from lic_bench import BitstreamError  # noqa: E402
from lic_bench.learned import entropy  # noqa: E402
from lic_bench.learned.context import Codes, ContextModel, prepare  # noqa: E402
from lic_bench.learned.entropy import ValueCoder  # noqa: E402
from lic_bench.learned.surroundings import LEVELS, Structure  # noqa: E402

POINTS = 2
# Two means, then channels of falling reach.
REACH = (40, 40, 40, 13, 13, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1)
FORM = Structure(REACH, 2, tuple(range(3, 3 + LEVELS)))
BITS = Structure((1,) * 20, 0, tuple(range(5, 5 + LEVELS)))


def model(form=FORM, hidden=8, scale=0.15):
    torch.manual_seed(0)
    context = ContextModel(form, POINTS, hidden)
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.copy_((scale * torch.randn(parameter.shape)).half())
    codes = Codes(np.stack([draw(24, 24, seed, form) for seed in range(4)]), np.arange(4) % 2, form)
    prepare(context, codes, 2000, 0)
    return context


def coder(context):
    parts = {name: x.detach().numpy() for name, x in context.state_dict().items()}
    return ValueCoder(parts, context.form)


def draw(height, width, seed=0, form=FORM):
    """Numbers as a transform yields them: smooth means, others the rarer the later."""
    rng = np.random.default_rng(seed)
    reach = np.array(form.reach)[:, None, None]
    shape = (form.channels, height, width)
    scale = 0.6 * reach**0.5 / (1 + 0.2 * np.arange(form.channels))[:, None, None]
    v = rng.laplace(0, scale, shape) * (rng.random((1, height, width)) < 0.6)
    y, x = np.mgrid[:height, :width]
    v[: form.means] += 15 * np.sin(x / 7 + y / 5 + rng.random())
    if not form.means:
        v = np.abs(v)
    return np.rint(v).clip(-reach, reach).astype(np.int8)


def by_torch(context, v, point):
    """The bits of the numbers by channel, and of the levels, in floating point."""
    codes = Codes(v[None], np.array([point]), context.form)
    height, width = v.shape[1:]
    i, j = np.divmod(np.arange(height * width), width)
    sites = torch.from_numpy(np.stack([np.zeros_like(i), i, j], 1))
    with torch.no_grad():
        numbers, levels = context(codes.windows(sites))
    return numbers.numpy().reshape(height, width, -1), levels.numpy().reshape(height, width)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2), (9, 16), (40, 36)])
@pytest.mark.parametrize("form", [FORM, BITS])
def test_what_goes_in_comes_out(size, form):
    v, made = draw(*size, form=form), coder(model(form))
    for point in range(POINTS):
        assert np.array_equal(made.decode(made.encode(v, point), *size, point), v)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_any_numbers_come_back(seed, height, width, share):
    """As large as they may be, too, which is where the escape of a number is used."""
    rng, made = np.random.default_rng(seed), coder(model())
    reach = np.array(REACH)[:, None, None]
    v = rng.integers(-reach, reach + 1, (len(REACH), height, width))
    v = (v * (rng.random(v.shape) < share)).astype(np.int8)
    assert np.array_equal(made.decode(made.encode(v, 1), height, width, 1), v)


def test_numbers_beyond_the_heads_come_back_however_many():
    """Means that jump from end to end: their escapes are seen often, and are never impossible."""
    made, rng = coder(model()), np.random.default_rng(0)
    v = np.zeros((len(REACH), 60, 60), np.int8)
    for size in (40, 15, 40):
        v[:2] = np.where(rng.random((2, 60, 60)) < 0.5, -size, size)
        v[:2, 30] = rng.integers(-40, 41, (2, 60))
        stream = made.encode(v, 0)
        assert np.isfinite(made.cost(v, 0)) and 8 * len(stream) < made.cost(v, 0) + 16
        assert np.array_equal(made.decode(stream, 60, 60, 0), v)


def test_the_bytes_cost_what_the_model_says():
    v, made = draw(64, 96), coder(model())
    real = 8 * len(made.encode(v, 0))
    assert made.cost(v, 0) <= real <= 1.0005 * made.cost(v, 0) + 16


@pytest.mark.parametrize("form", [FORM, BITS])
def test_the_integers_follow_the_model_that_was_trained(form):
    """Number by number: by its channel, and in images of few sites, all of which are border."""
    context = model(form)
    made = coder(context)
    made.speed = 0  # torch does not adapt
    for size in ((24, 32), (3, 4), (1, 5)):
        v = draw(*size, seed=3, form=form)
        numbers, levels = by_torch(context, v, 1)
        found = made.costs(v, 1)
        assert found[0] == pytest.approx(levels.sum(), rel=2e-3, abs=0.1)
        # Beyond the heads torch counts nothing.
        plain = np.abs(v).max((1, 2)) < 10
        expected = numbers.sum((0, 1))
        assert found[1:][plain] == pytest.approx(expected[plain], rel=4e-3, abs=0.1)
        assert plain.sum() > 8


@pytest.mark.parametrize("place", [(5, 4, 5), (5, 0, 0), (1, 5, 5), (0, 3, 3), (17, 9, 9)])
def test_a_number_is_predicted_from_numbers_before_it_only(place):
    """Nothing that a decoder reads before a number may depend on it."""
    v, context = draw(10, 10), model()
    v[-1] = 1  # so that all are coded, and levels stay as they are
    before, levels = by_torch(context, v, 0)
    v[place] += 1 if v[place] < 1 else -1
    after, same = by_torch(context, v, 0)
    changed = (abs(before - after) > 1e-4).transpose(2, 0, 1)
    k, i, j = np.indices(v.shape)
    earlier = (k < place[0]) | (
        (k == place[0]) & ((i < place[1]) | ((i == place[1]) & (j < place[2])))
    )
    assert np.array_equal(levels, same) or place[0] == 17
    if place[0] < 17:
        assert not changed[earlier].any()
        # The neighbours of a mean are coded as differences from what it predicts.
        reach = 2 if place[0] >= FORM.means else 3
        near = (abs(i - place[1]) <= reach) & (abs(j - place[2]) <= reach)
        assert changed.any() and not changed[~near].any()
        later = near & (abs(i - place[1]) <= 1) & (abs(j - place[2]) <= 1) & (k > place[0])
        assert changed[later].mean() > 0.5


def test_what_was_seen_moves_the_chances():
    """An image that is all alike costs less and less."""
    made = coder(model())
    v = np.zeros((len(REACH), 40, 40), np.int8)
    v[-1] = 1
    adapting = made.cost(v, 0)
    made.speed = 0
    assert adapting < 0.8 * made.cost(v, 0)


def test_large_images_go_in_tiles(monkeypatch):
    v, made = draw(21, 30), coder(model())
    whole = made.encode(v, 0)
    monkeypatch.setattr(entropy, "TILE", 12)
    tiled = made.encode(v, 0)
    assert tiled != whole and len(tiled) < 1.2 * len(whole)
    assert np.array_equal(made.decode(tiled, 21, 30, 0), v)


def test_a_narrow_model_is_one_of_full_width_with_nothing_in_it():
    """Widths are filled up: 8 features are 64 of which 56 have no weights."""
    context = model(hidden=8)
    wide = ContextModel(FORM, POINTS, 64)
    with torch.no_grad():
        for name, value in wide.state_dict().items():
            small = context.state_dict()[name]
            value.zero_()
            value[..., : small.shape[-1]] = small
    v = draw(12, 12)
    assert coder(wide).encode(v, 0) == coder(context).encode(v, 0)


def test_weights_too_large_to_be_exact_are_refused():
    for name in ("even", "odd", "near_odd", "out", "level_out"):
        context = model()
        with torch.no_grad():
            context.get_parameter(name).fill_(20000.0)
        with pytest.raises(ValueError, match="exact"):
            coder(context)
    with pytest.raises(ValueError, match="64"):
        coder(model(hidden=65))


def test_a_payload_of_another_length_is_refused():
    v, made = draw(16, 16), coder(model())
    stream = made.encode(v, 0)
    # That a few bytes are missing is for a checksum to find: any bytes stand for some numbers.
    for wrong in (stream[: len(stream) // 2], b"", stream + bytes(8)):
        with pytest.raises(BitstreamError):
            made.decode(wrong, 16, 16, 0)
    with pytest.raises(BitstreamError):
        made.decode(stream + b"\1", 16, 16, 0)


def test_made_up_payloads_are_refused_or_decoded():
    made, rng = coder(model()), np.random.default_rng(0)
    refused = 0
    for length in (1, 10, 100, 1000, 10_000):
        for fill in (None, 0, 255):
            payload = rng.bytes(length) if fill is None else bytes([fill]) * length
            try:
                v = made.decode(payload, 30, 30, 0)
            except BitstreamError:
                refused += 1
                continue
            assert (np.abs(v) <= np.array(REACH)[:, None, None]).all()
    assert refused >= 12
