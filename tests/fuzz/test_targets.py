"""A few inputs for each target of `make fuzz`, others in every run; a failing seed is told."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from targets import TARGETS, tried


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_is_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 1 << 40))
    def try_it(seed: int) -> None:
        assert tried(TARGETS[name], seed, folder) in ("read", "refused")

    try_it()


FOUND = [
    ("safetensors header", 597),
    ("CSV of points", 2000189),
    ("CSV of points", 32004003),  # a name of many letters, which an error listed
    ("report data", 101000335),  # an average and images under one name
    ("report data", 101000492),
    ("report data", 14000222),  # a damaged index: no point
    ("store", 20000803),  # a schema that SQLite quotes, of several lines
    ("store", 31000616),  # a study that is listed and not found
    ("store", 510001752),  # a place in an order that an index has, below 0
    ("TOML files", 31001606),  # a point beyond any float
    ("weights", 521001946),  # infinitely many operating points
    ("shipped weights", 12),  # a modulation beyond any float
]
"""Target and seed of what once went wrong."""


@pytest.mark.parametrize(("name", "seed"), FOUND)
def test_what_once_went_wrong(name: str, seed: int, tmp_path: Path) -> None:
    assert tried(TARGETS[name], seed, tmp_path) in ("read", "refused")
