"""One vocabulary: a figure has one name, whatever people type."""

import pytest

from lic_bench import SpecError
from lic_bench.metric.base import Score
from lic_bench.metric.quality import full_name, learn, metric_named


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("psnr", "psnr_rgb"),
        ("PSNR", "psnr_rgb"),
        ("ms-ssim", "ms_ssim_rgb"),
        ("MS-SSIM", "ms_ssim_rgb"),
        ("ssim", "ssim_rgb"),
        ("psnr_rgb_db", "psnr_rgb"),
        ("psnr-rgb-pooled", "psnr_rgb_pooled"),
        ("ms_ssim_y", "ms_ssim_y"),
    ],
)
def test_the_habit_of_the_field_is_understood(typed: str, meant: str) -> None:
    assert full_name(typed) == meant == metric_named(typed).name


def test_a_figure_of_every_run_cannot_become_another() -> None:
    for name, unit in (("psnr_rgb", "dB"), ("ssim_rgb", "dB"), ("mse_rgb", "")):
        with pytest.raises(SpecError, match="figure of every run"):
            learn(Score(name, "Mine", unit, better="lower" if name != "mse_rgb" else "higher"))


@pytest.mark.parametrize("name", ["bpp", "error", "Mine", "a b", "", "x" * 80, "1st", 'x"y'])
def test_a_name_that_no_column_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot be the name of a figure"):
        Score(name, "Mine")
