"""BD-rates, metric by metric: what stands where in the picture."""

import numpy as np
import pandas as pd
import pytest

from lic_bench import SpecError, UndefinedError
from lic_bench.metric.base import Score
from lic_bench.metric.quality import learn
from lic_bench.reporting.by_metric import plot_by_metric

learn(Score("falls", "Falls", better="lower"))


def table() -> pd.DataFrame:
    """Two codecs; the test takes half the bits by PSNR, and twice by the metric that falls."""
    rows = []
    for codec, factor in (("anchor", 1.0), ("test", 0.5)):
        for i, bpp in enumerate((0.1, 0.2, 0.4, 0.8, 1.6)):
            psnr = 40 + 10 * np.log10(bpp / factor)
            rows.append(
                {
                    "dataset": "set", "image": "a.png", "width": 100, "height": 100,
                    "codec": codec, "point": str(i), "point_index": i + 1,
                    "bytes": bpp * 1250, "bpp": bpp, "error": None, "dataset_images": 1,
                    "mse_rgb": 255**2 * 10 ** (-psnr / 10), "psnr_rgb_db": psnr,
                    **dict.fromkeys(("psnr_y_db", "psnr_y709_db"), np.nan),
                    **dict.fromkeys(("ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"), np.nan),
                    "falls": -np.log(bpp * factor), "encode_s": 0.1, "decode_s": 0.1,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_each_codec_has_its_bd_rate_at_each_metric() -> None:
    [axes] = plot_by_metric(table(), "anchor").axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["PSNR (RGB)", "Falls"]
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert 100 * np.expm1(lines["test"]) == pytest.approx([-50, 100])


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(SpecError, match="did you mean anchor"):
        plot_by_metric(table(), "ancho")
    with pytest.raises(UndefinedError, match="no codec has a BD-rate"):
        plot_by_metric(table().query("codec == 'anchor'"), "anchor")


def test_without_measurements_there_is_nothing_to_draw() -> None:
    with pytest.raises(UndefinedError, match="no measurements"):
        plot_by_metric(table().iloc[:0], "anchor")
