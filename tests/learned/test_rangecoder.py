"""The binary range coder: what goes in comes out, at the cost of its entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from lic_bench import BitstreamError
from lic_bench.learned.rangecoder import (
    check_end,
    decoder,
    encoder,
    finish,
    put,
    take,
)


def coded(bits, chances):
    state, buffer = encoder(), np.zeros(4 * len(bits) + 64, np.uint8)
    for bit, chance in zip(bits, chances, strict=True):
        put(state, buffer, int(bit), int(chance))
    return finish(state, buffer)


def read(stream, chances):
    code = np.frombuffer(stream, np.uint8).copy()
    state = decoder(code)
    bits = [take(state, code, int(chance)) for chance in chances]
    check_end(state, code)
    return bits


CHANCES = st.integers(1, 65535) | st.sampled_from([1, 2, 65534, 65535])


@given(st.lists(st.tuples(st.booleans(), CHANCES), max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_decisions_come_back(decisions):
    bits, chances = [int(bit) for bit, _ in decisions], [chance for _, chance in decisions]
    assert read(coded(bits, chances), chances) == bits


@pytest.mark.parametrize("bit", [0, 1])
def test_a_carry_runs_through_many_bytes(bit):
    """The least likely decision after many likely ones, and the other way round."""
    for length in (1, 7, 100, 3000):
        bits, chances = [1 - bit] * length + [bit] * 3, [65535 * (1 - bit) or 1] * (length + 3)
        assert read(coded(bits, chances), chances) == bits


def test_the_cost_is_the_entropy():
    rng = np.random.default_rng(0)
    chances = rng.integers(1, 65536, 20_000)
    bits = rng.random(20_000) < chances / 65536
    expected = -np.log2(np.where(bits, chances, 65536 - chances) / 65536).sum()
    assert expected <= 8 * len(coded(bits, chances)) + 1e-6 <= expected * 1.0001 + 16


def test_nothing_is_an_empty_code_and_any_byte_more_is_seen():
    assert coded([], []) == b""
    bits, chances = [1, 0, 1, 1] * 50, [30_000] * 200
    stream = coded(bits, chances)
    for wrong in (stream + bytes(1), stream + bytes(7), stream + b"\1", stream[:-7]):
        with pytest.raises(BitstreamError):
            read(wrong, chances)
