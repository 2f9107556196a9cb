"""Each metric beside the program that defines it, on pairs that show where the two could differ.

Every pair, and the largest differences: tests/benchmarks/metric_agreement.py.
"""

from pathlib import Path

import pytest
from reference_pairs import METRICS, pairs

from lic_bench import Image, UnavailableError

Scored = list[tuple[str, Image, Image, dict[str, float]]]

# A coarse one, noise, blur, a sky that is nearly flat, and one that nothing was done to.
PAIRS = {
    ("kodim05", "jpeg-10"),
    ("kodim13", "noise-10"),
    ("kodim20", "jpeg-95"),
    ("kodim23", "blur-1.5"),
    ("kodim23", "identical"),
}


@pytest.fixture(scope="module")
def scored(kodak: Path) -> Scored:
    made = list(pairs(kodak, PAIRS))
    assert len(made) >= 3  # those without a codec come out alike everywhere
    return made


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_what_its_program_gives(scored: Scored, name: str) -> None:
    metric, within, _ = METRICS[name]
    for pair, reference, distorted, scores in scored:
        try:
            found = metric(reference, distorted)
        except UnavailableError as error:
            pytest.skip(str(error))
        assert found == pytest.approx(scores[name], abs=within), pair
