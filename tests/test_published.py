"""Our figures on Kodak beside published ones; needs the images (`LIC_BENCH_DATA`)."""

from pathlib import Path

import pandas as pd
import pytest
from scipy.interpolate import PchipInterpolator

import lic_bench

pytestmark = pytest.mark.slow

PUBLISHED = pd.read_csv(Path(__file__).parent / "data" / "published_kodak.csv", comment="#")


@pytest.fixture(scope="module")
def averages(kodak: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    table = lic_bench.run(
        ["jpeg", "jpeg2000"],
        ["kodak"],
        out=tmp_path_factory.mktemp("kodak"),
        points={"jpeg": ["5:95:5"], "jpeg2000": ["96", "48", "24"]},
    )
    assert table["error"].isna().all()
    averages = lic_bench.aggregate(table)
    assert (averages["images"] == 24).all()
    return averages


def test_jpeg_is_within_tolerance_of_compressais_at_every_quality(averages: pd.DataFrame) -> None:
    ours = averages[averages["codec"] == "jpeg"].reset_index()
    theirs = PUBLISHED[PUBLISHED["codec"] == "jpeg"].reset_index()
    assert ours["point"].tolist() == [str(quality) for quality in range(5, 100, 5)]
    assert ((ours["bpp"] / theirs["bpp"] - 1).abs() < 0.005).all()
    assert ((ours["psnr_rgb_db"] - theirs["psnr_rgb_db"]).abs() < 0.15).all()


def test_jpeg2000_is_as_good_as_openjpeg_can_be(averages: pd.DataFrame) -> None:
    ours = averages[averages["codec"] == "jpeg2000"]
    assert ours["bpp"].tolist() == pytest.approx([0.249, 0.499, 0.999], abs=0.001)
    assert ours["psnr_rgb_db"].tolist() == pytest.approx([29.25, 32.18, 36.00], abs=0.05)
    older = PUBLISHED[PUBLISHED["codec"] == "j2k-opj5"]
    at_our_rates = PchipInterpolator(older["bpp"], older["psnr_rgb_db"])(ours["bpp"])
    assert (ours["psnr_rgb_db"] - at_our_rates).between(0.35, 0.75).all()
