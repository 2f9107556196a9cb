"""The contract of metrics: all of ours keep it, and those that break it are found out."""

from pathlib import Path

import pytest
from command import command

from lic_bench.checks.contract import ContractError
from lic_bench.checks.metric_contract import (
    CHECKS,
    Check,
    Subject,
    equal_images_are_best,
    is_deterministic,
    is_symmetric_where_stated,
    more_distortion_is_worse,
    takes_any_size,
)
from lic_bench.metric.registry import MetricRegistry

# Those of JPEG AI are the same functions of other samples; one of them stands for all.
NAMES = [
    entry.name
    for entry in MetricRegistry().entries()
    if entry.problem is None
    and (entry.name == "jpegai_vif" or "jpegai" not in entry.name)
    and entry.name not in ("lpips", "lpips_vgg", "dists")  # tests/metrics/test_networks.py
]

METRIC = """
import random
import numpy as np
from lic_bench import Metric

class Mine(Metric):
    name = "mine"
    better = "lower"
    {stated}

    def prepare(self, reference):
        x = reference.astype(float)
        def compare(distorted):
            y = distorted.astype(float)
            return {value}
        return compare
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ours_keep_it(name: str) -> None:
    for check in CHECKS:
        check(Subject(name))


@pytest.mark.parametrize(
    ("check", "value", "stated", "told"),
    [
        (equal_images_are_best, "-abs(x - y).mean()", "", "mine of equal images is -0, of noise"),
        (equal_images_are_best, "abs(x - y).mean()", "identical = 1", "not 1 as is stated"),
        (more_distortion_is_worse, "min(abs(x - y).mean(), 1)", "", "little noise has"),
        (
            is_symmetric_where_stated,
            "abs(x - y).mean() + x.mean()",
            "symmetric = True",
            "the other",
        ),
        (takes_any_size, "abs(x - y)[8:].mean()", "", "images of 1x1"),
        (is_deterministic, "abs(x - y).mean() + random.random()", "", "differ"),
        (is_deterministic, "abs(x - y).mean() + id(Metric) % 977", "", "two processes"),
        (takes_any_size, "__import__('os')._exit(1)", "", "exit code 1"),
    ],
)
def test_what_breaks_it_is_found_out(
    check: Check, value: str, stated: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METRIC.format(value=value, stated=stated or "pass"))
    with pytest.raises(ContractError, match=told):
        check(Subject("mine", (path,)))


def test_a_file_is_checked_by_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    good = METRIC.format(value="abs(x - y).mean()", stated="identical = 0\n    symmetric = True")
    path.write_text(good)
    told = command("check", path)
    assert told.stdout.startswith("mine\n")
    assert told.stdout.count("pass") == len(CHECKS)
