"""The coder of bit planes: what goes in comes out, embedded, near the entropy of its contexts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from lic_bench import BitstreamError
from lic_bench.learned.bitplanes import CONTEXTS, Form, PlaneCoder, chances
from lic_bench.learned.parts import cut

FORM = Form((0, 0, 1), (0,), 6)
UNSIGNED = Form((0,) * 4, (), 4, signed=False, split=False)
WHOLE = Form((0, 0, 1, 0), (0, 2, 3), 3, split=False)


def maps(form, height, width, seed, scale=3.0):
    """Laplace numbers, of which some maps are smooth, and corners empty."""
    rng = np.random.default_rng(seed)
    x = rng.laplace(0, scale, (len(form.groups), height, width))
    x[:, : height // 2, : width // 2] *= 0.01
    for c in form.means:
        x[c] += 20 * np.sin(np.arange(width) / 9)
    most = (1 << form.planes) - 1
    low = -most if form.signed else 0
    return np.clip(np.rint(x), low, most).astype(np.int16)


def cut_off(v, unknown):
    return np.sign(v) * (np.abs(v) >> unknown << unknown)


@given(
    st.sampled_from([FORM, UNSIGNED, WHOLE]), st.integers(1, 13), st.integers(1, 13),
    st.integers(0, 99), st.floats(0.01, 40), st.integers(0, 12),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_maps_come_back_as_far_as_they_are_coded(form, height, width, seed, scale, halves):
    v, halves = maps(form, height, width, seed, scale), min(halves, form.halves)
    coder = PlaneCoder(form)
    found, unknown = coder.decode(coder.encode(v, halves), height, width, halves)
    assert np.array_equal(found, cut_off(v, unknown.astype(int)))
    if halves == form.halves:
        assert np.array_equal(found, v)


def test_the_code_of_fewer_planes_is_the_beginning_of_the_whole():
    v, coder = maps(FORM, 20, 28, 0), PlaneCoder(FORM)
    whole, errors = coder.encode(v, FORM.halves), []
    for halves in range(FORM.halves + 1):
        part = cut(whole, halves)
        assert part == coder.encode(v, halves)
        assert whole.startswith(part)
        found, _ = coder.decode(part, 20, 28, halves)
        errors.append(np.abs(v - found).sum())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_the_first_half_of_a_plane_is_what_has_something_around():
    v = np.zeros((3, 8, 8), np.int16)
    v[1, 2, 2] = 32  # significant in the first plane
    v[1, 3, 3], v[1, 6, 6] = 16, 16
    coder = PlaneCoder(FORM)
    found, unknown = coder.decode(coder.encode(v, 3), 8, 8, 3)
    assert found[1, 3, 3] == 16
    assert found[1, 6, 6] == 0
    assert unknown[1, 1:4, 1:4].tolist() == [[4] * 3] * 3
    assert (unknown == 4).sum() == 9


def test_bytes_are_what_the_chances_promise():
    """The counted cost of each decision, in bits, and few bytes more."""
    v, coder = maps(FORM, 64, 64, 1), PlaneCoder(FORM)
    counts = np.zeros((*FORM.chances, 2), np.int64)
    cost = coder.count(v, counts)
    size = 8 * len(coder.encode(v, FORM.halves))
    assert cost <= size <= cost + 8 * 4 * FORM.halves


def test_the_rate_is_close_to_the_entropy_of_the_contexts():
    v = maps(FORM, 96, 96, 2)
    counts = np.zeros((*FORM.chances, 2), np.int64)
    PlaneCoder(FORM).count(v, counts)
    total = counts.sum(-1, keepdims=True)
    entropy = -(counts * np.log2(np.maximum(counts, 1) / np.maximum(total, 1))).sum()
    told = PlaneCoder(FORM, chances(counts))
    size = 8 * len(told.encode(v, FORM.halves))
    assert 0.97 * entropy < size < 1.03 * entropy
    # Without being told it has all to learn.
    assert size < 8 * len(PlaneCoder(FORM).encode(v, FORM.halves))


def test_context_coding_beats_the_entropy_of_the_numbers():
    """Where neighbours resemble each other in size, as those of a picture do."""
    rng = np.random.default_rng(3)
    size = np.repeat(np.repeat(rng.choice([0.2, 6.0], (3, 16, 16)), 8, 1), 8, 2)
    v = np.clip(np.rint(rng.laplace(0, 1, size.shape) * size), -63, 63).astype(np.int16)
    share = np.unique(v, return_counts=True)[1] / v.size
    entropy = -(share * np.log2(share)).sum() * v.size
    form = Form((0, 0, 0), (), 6)
    assert 8 * len(PlaneCoder(form).encode(v, form.halves)) < 0.9 * entropy


def test_empty_maps_cost_next_to_nothing():
    v, coder = np.zeros((3, 200, 200), np.int16), PlaneCoder(FORM)
    assert len(coder.encode(v, FORM.halves)) < 3 * FORM.halves
    v[2, 150, 150] = -1
    code = coder.encode(v, FORM.halves)
    assert len(code) < 400
    assert np.array_equal(coder.decode(code, 200, 200, FORM.halves)[0], v)


def test_other_codes_are_refused():
    v, coder = maps(FORM, 16, 16, 4), PlaneCoder(FORM)
    code = coder.encode(v, FORM.halves)
    for length in range(len(code)):
        with pytest.raises(BitstreamError):
            coder.decode(code[:length], 16, 16, FORM.halves)
    for other in (code + b"\0", b"\xff" * 40, b"\x80\x00" + code, bytes(5)):
        with pytest.raises(BitstreamError):
            coder.decode(other, 16, 16, FORM.halves)
    with pytest.raises(BitstreamError):
        coder.decode(code, 2000, 3000, FORM.halves)
    with pytest.raises(BitstreamError):
        cut(code[:4], FORM.halves)


def test_numbers_that_do_not_fit_are_refused():
    v = np.zeros((3, 2, 2), np.int16)
    v[0, 0, 0] = -64
    with pytest.raises(ValueError, match="beyond 63"):
        PlaneCoder(FORM).encode(v, 1)
    v = np.full((4, 2, 2), -1, np.int16)
    with pytest.raises(ValueError, match="negative"):
        PlaneCoder(UNSIGNED).encode(v, 1)
    with pytest.raises(ValueError, match="chances of shape"):
        PlaneCoder(FORM, np.zeros((1, 3, CONTEXTS), np.uint16))
