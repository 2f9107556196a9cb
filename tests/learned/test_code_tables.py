"""Tables of chances: what goes in comes out, at the cost of its distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

pytest.importorskip("numba")

from lic_bench import BitstreamError
from lic_bench.learned.tables import (
    LARGEST,
    TableDecoder,
    TableEncoder,
    cost,
    read_tables,
    stored,
    tables_of,
)

SCALES = np.array([0.11, 0.5, 3.0, 40.0])
EDGES = np.arange(-300, 300) + 0.5
TABLES = tables_of(norm.cdf(EDGES[None] / SCALES[:, None]), -300)


def written(values, rows):
    writer = TableEncoder()
    writer.write(np.array(values, np.int32), np.array(rows, np.int32), TABLES)
    return writer.finish()


@given(st.lists(st.tuples(st.integers(-LARGEST, LARGEST) | st.integers(-9, 9), st.integers(0, 3))))
@settings(max_examples=100, deadline=None)
def test_what_goes_in_comes_out(pairs):
    values, rows = ([pair[k] for pair in pairs] for k in (0, 1))
    reader = TableDecoder(written(values, rows))
    assert reader.read(np.array(rows, np.int32), TABLES).tolist() == values
    reader.check_end()


def test_the_bytes_are_those_of_the_distribution():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, 40_000).astype(np.int32)
    values = np.rint(rng.normal(size=rows.size) * SCALES[rows]).astype(np.int32)
    bits = 8 * len(written(values, rows))
    scale = SCALES[rows]
    ideal = -np.log2(norm.cdf((values + 0.5) / scale) - norm.cdf((values - 0.5) / scale)).sum()
    assert bits == pytest.approx(ideal, rel=0.01)
    assert bits == pytest.approx(cost(values, rows, TABLES), rel=0.002)


def test_a_code_that_is_cut_short_or_goes_on_is_refused():
    values = np.arange(-200, 200, dtype=np.int32)
    rows = np.full(400, 3, np.int32)
    code = written(values, rows)
    for stream in (code[: len(code) // 2], b"", code + b"\x01"):
        reader = TableDecoder(stream)
        with pytest.raises(BitstreamError):
            reader.read(rows, TABLES)
            reader.check_end()


def test_a_file_holds_them():
    found = read_tables(stored(TABLES))
    for mine, theirs in zip(TABLES, found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.update(sizes=x["sizes"] + 1),
        lambda x: x.update(sizes=x["sizes"][:-1]),
        lambda x: x.update(sizes=-x["sizes"]),
        lambda x: x.update(frequencies=x["frequencies"] * 0),
        lambda x: x.update(frequencies=x["frequencies"].astype(np.float32)),
        lambda x: x["frequencies"].__setitem__(1, x["frequencies"][1] + 1),
        lambda x: x.update(lowest=x["lowest"] - (1 << 20)),
    ],
)
def test_what_are_no_tables_is_refused(change):
    arrays = {key: value.copy() for key, value in stored(TABLES).items()}
    change(arrays)
    with pytest.raises(ValueError, match="no tables"):
        read_tables(arrays)
