"""Each metric beside the program that defines it, on pairs that show where the two could differ.

Every pair, and the largest differences: tests/benchmarks/metric_agreement.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from reference_pairs import pairs

from lic_bench import Image
from lic_bench.metrics.ssimulacra2 import ssimulacra2

Scored = list[tuple[str, Image, Image, dict[str, float]]]

# A coarse one, a fine one, noise, blur, and a sky that is nearly flat.
PAIRS = {
    ("kodim05", "jpeg-10"),
    ("kodim13", "noise-10"),
    ("kodim20", "jpeg-95"),
    ("kodim23", "blur-1.5"),
}


@pytest.fixture(scope="module")
def scored(kodak: Path) -> Scored:
    made = list(pairs(kodak, PAIRS))
    assert len(made) >= 2  # noise and blur come out alike everywhere
    return made


@pytest.mark.parametrize(
    ("metric", "program", "within"),
    [
        (ssimulacra2, "ssimulacra2", 1e-3),
    ],
)
def test_a_metric_gives_what_its_program_gives(
    scored: Scored, metric: Callable[[Image, Image], float], program: str, within: float
) -> None:
    for name, reference, distorted, scores in scored:
        found = metric(reference, distorted)
        assert found == pytest.approx(scores[program], abs=within), name
