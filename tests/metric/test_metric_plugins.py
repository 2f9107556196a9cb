"""Metrics of one's own, from a run to its tables; and such as do what they must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

import lic_bench
from lic_bench import Image, Metric, UnavailableError, aggregate, bd_rate, curve, write_image
from lic_bench.metric.base import Comparison, Score
from lic_bench.metric.registry import MetricRegistry

# A metric that does as its reference's first sample says.
METRIC = """
import os
import time
from lic_bench import Metric

class Distance(Metric):
    name = "distance"
    label = "Distance"
    better = "lower"
    identical = 0.0
    symmetric = True

    def prepare(self, reference):
        samples = reference.astype(float)

        def compare(distorted):
            fate = int(reference[0, 0, 0])
            if fate == 1:
                raise ValueError("not this one")
            if fate == 2:
                return float("nan")
            if fate == 3:
                return "far"
            if fate == 4:
                distorted[:] = reference
            if fate == 5:
                os._exit(3)
            if fate == 6:
                os.kill(os.getpid(), 11)
            if fate == 7:
                time.sleep(1000)
            if fate == 8:
                eaten = [bytearray(1 << 28) for _ in range(1000)]
            return float(abs(samples - distorted).mean())

        return compare
"""

# A codec that loses what it is told to, and writes a line each time that it encodes.
CODEC = """
from pathlib import Path
import numpy as np
from lic_bench import Codec

class Steps(Codec):
    name = "steps"
    points = (64, 32, 16, 8, 4)

    def encode(self, image, point):
        with Path(__file__).with_name("log").open("a") as log:
            log.write("encoded\\n")
        height, width, _ = image.shape
        coarse = (image.astype(int) // point * point + point // 2).clip(0, 255).astype(np.uint8)
        filler = bytes(10 * 256 // point)
        return width.to_bytes(2, "big") + height.to_bytes(2, "big") + coarse.tobytes() + filler

    def decode(self, stream):
        width, height = int.from_bytes(stream[:2], "big"), int.from_bytes(stream[2:4], "big")
        return np.frombuffer(stream[4 : 4 + 3 * width * height], np.uint8).reshape(height, width, 3)
"""

PLUGINS = ("--plugin", "steps.py", "--plugin", "mine.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the plugin, and two photographs for it."""
    (tmp_path / "mine.py").write_text(METRIC)
    (tmp_path / "steps.py").write_text(CODEC)
    (tmp_path / "photos").mkdir()
    for seed in (0, 1):
        image = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        image[0, 0] = 200
        write_image(tmp_path / "photos" / f"{seed}.png", image)
    return tmp_path


def encoded(folder: Path) -> int:
    log = folder / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def run(folder: Path, metrics: str, **more: object) -> pd.DataFrame:
    return lic_bench.run(
        ["steps"],
        [str(folder / "photos")],
        out=folder / "out",
        plugins=[folder / "steps.py", folder / "mine.py"],
        metrics=metrics.split(","),
        jobs=1,
        **more,
    )


def test_a_metric_of_ones_own_has_a_column_and_curves_that_fall(folder: Path) -> None:
    table = run(folder, "default,distance")
    assert table["distance"].notna().all()
    rows = table[table["point"] == 32]
    decoded = [lic_bench.read_image(folder / "photos" / name) for name in rows["image"]]
    expected = [np.abs(im - (im // 32 * 32.0 + 16).clip(0, 255)).mean() for im in decoded]
    assert rows["distance"].tolist() == pytest.approx(expected)
    line = curve(aggregate(table), "photos", "steps", "distance")
    assert (np.diff(line.value) < 0).all()
    assert bd_rate(line, line).percent == pytest.approx(0)
    assert bd_rate(line, replace(line, bpp=0.8 * line.bpp)).percent == pytest.approx(-20)
    upside_down = replace(line, codec="c", value=line.value[::-1])
    assert bd_rate(line, upside_down).reason == "c does not fall from each point to the next"


def test_another_metric_encodes_nothing_and_leaves_the_others(folder: Path) -> None:
    first = run(folder, "default")
    assert "distance" not in first
    second = run(folder, "default,distance")
    assert encoded(folder) == 10
    pd.testing.assert_frame_equal(second.drop(columns="distance"), first)
    third = run(folder, "distance,vif")  # too small for VIF
    assert encoded(folder) == 10
    assert third["vif"].isna().all() and third["metric_errors"].isna().all()


def test_a_metric_that_was_mended_is_computed_anew_and_no_other(folder: Path) -> None:
    run(folder, "default,distance")
    (folder / "mine.py").write_text(METRIC.replace(".mean())", ".mean()) + 1"))
    table = run(folder, "distance", points={"steps": ["8"]})
    assert (table.loc[table["point"] == 8, "distance"] > 1).all()
    # What was not computed again is of the metric as it was, and is not shown.
    assert table.loc[table["point"] != 8, "distance"].isna().all()
    assert table["psnr_rgb_db"].notna().all()


@pytest.mark.slow
def test_measure_takes_kept_bitstreams_and_encodes_nothing(folder: Path) -> None:
    run(folder, "default")
    words = ["measure", "out", *PLUGINS, "--metrics", "distance", "-d", "photos"]
    told = command(*words, cwd=folder)
    assert "10 of 10" in told.stderr
    assert encoded(folder) == 10
    table = lic_bench.load(folder / "out")
    assert table["distance"].notna().all()
    assert (table["run"] == 1).all()
    assert "10 known" in command(*words, cwd=folder).stderr
    never = command("plot", "out", "-m", "vif", cwd=folder, code=2).stderr
    assert "vif" in never
    # Without the plugin, what the store tells of the metric suffices.
    command("plot", "out", "-m", "distance", cwd=folder)
    assert (folder / "out" / "distance.png").is_file()
    table_ = command("table", "out", "--by-point", "-m", "distance,psnr", cwd=folder).stdout
    assert "| Codec | Point | Rate [bpp] | Distance | PSNR (RGB) [dB] |" in table_
    compared = command("compare", "out", "out", "-m", "distance", "--fail-if", "bd_distance>0",
                       cwd=folder)  # fmt: skip
    assert "passed" in compared.stdout
    page = command("report", "out", "--no-viewer", "-o", "page.html", cwd=folder)
    assert '"better":"lower"' in (folder / "page.html").read_text().replace(" ", ""), page.printed


def test_measure_says_what_it_cannot_measure(folder: Path) -> None:
    run(folder, "default")
    gone = command("measure", "out", "--metrics", "gmsd", "--plugin", "mine.py", cwd=folder.parent,
                   code=2)  # fmt: skip
    assert "holds no measurements" in gone.stderr
    told = command("measure", "out", "--metrics", "gmsd", cwd=folder)
    assert "10 measurements left out: there is no codec 'steps'" in told.stderr
    (folder / "steps.py").write_text(CODEC.replace("// point * point", "// point * (point + 0)"))
    words = ["measure", "out", *PLUGINS, "--metrics", "gmsd", "-d", "photos"]
    assert "is not what was measured: steps.py changed" in command(*words, cwd=folder).stderr
    assert "no metric 'gmds'" in command(*words[:7], "gmds", cwd=folder, code=2).stderr


@pytest.mark.parametrize(
    ("fate", "limit", "told"),
    [(7, {"timeout_s": 8}, "8 s"), (8, {"memory_gb": 1.5}, "memory")],
)
@pytest.mark.slow
def test_a_metric_that_hangs_or_eats_memory_costs_its_own_figures_alone(
    fate: int, limit: dict[str, float], told: str, folder: Path
) -> None:
    path = folder / "photos" / "1.png"
    image = lic_bench.read_image(path)
    image[0, 0] = fate
    write_image(path, image)
    table = run(folder, "default,distance", points={"steps": ["8"]}, **limit)
    bad = table["image"] == "1.png"
    assert table["error"].isna().all()
    assert table["psnr_rgb_db"].notna().all()
    assert table.loc[~bad, "distance"].notna().all()
    assert all(told in error for error in table.loc[bad, "metric_errors"])


@pytest.mark.parametrize(
    ("fate", "told"),
    [
        (1, "ValueError: not this one"),
        (2, "it gave nan"),
        (3, "TypeError: it gave str"),
        (4, "read-only"),
        (5, "exit code 3"),
        (6, "SIGSEGV"),
    ],
)
@pytest.mark.slow
def test_a_metric_that_fails_costs_its_own_figures_alone(
    fate: int, told: str, folder: Path
) -> None:
    path = folder / "photos" / "1.png"
    image = lic_bench.read_image(path)
    image[0, 0] = fate
    write_image(path, image)
    table = run(folder, "default,distance", points={"steps": ["16", "8"]})
    bad = table["image"] == "1.png"
    assert table["error"].isna().all()
    assert table["psnr_rgb_db"].notna().all()
    assert table.loc[~bad, "distance"].notna().all()
    assert table.loc[~bad, "metric_errors"].isna().all()
    assert table.loc[bad, "distance"].isna().all()
    assert all(told in error for error in table.loc[bad, "metric_errors"])
    # It is tried again, and told.
    again = command("run", "-c", "steps", "-d", "photos", "-o", "out", *PLUGINS, "-p",
                    "16,8", "--metrics", "default,distance", cwd=folder, code=1)  # fmt: skip
    assert "4 measurements, 2 known" in again.stderr
    assert "no figure: 1.png, steps 16 and 1 more: distance: " in again.stderr
    # Nothing of it concerns a command that does not ask for it.
    for others in (
        ("run", "-c", "steps", "-d", "photos", "-p", "16,8", "-o", "out"),
        ("measure", "out", "-d", "photos", "--metrics", "nlpd"),
    ):
        assert "no figure" not in command(*others, *PLUGINS, cwd=folder).stderr


def test_a_pair_of_figures_without_names_is_told_as_such(noise: Image) -> None:
    class Pair(Metric):
        name = "pair"
        scores = (Score("first", "First"), Score("second", "Second"))

        def prepare(self, reference: Image) -> object:
            return lambda distorted: (1, 2)

    with pytest.raises(TypeError, match="it gave tuple, not a value by name: first, second"):
        Comparison(Pair(), noise).compare(noise)


def test_a_metric_is_named_by_a_figure_and_asked_for_once(folder: Path) -> None:
    assert list(lic_bench.metric.registry.metrics(["psnr", "ms-ssim", "default"])) == ["default"]
    assert MetricRegistry().metric("psnr_hvs_m").name == "psnr_hvs"
    with pytest.raises(lic_bench.SpecError, match="did you mean 'ssimulacra2'"):
        MetricRegistry().metric("ssimulacra")


def test_what_a_metric_lacks_is_told_before_any_work(folder: Path) -> None:
    (folder / "mine.py").write_text(
        METRIC.replace('label = "Distance"', 'requires = {"nowhere": "pip install nowhere"}')
    )
    with pytest.raises(UnavailableError, match="nowhere not installed; pip install nowhere"):
        run(folder, "default,distance")
    assert encoded(folder) == 0
    listed = command("metrics", "--plugin", folder / "mine.py").stdout
    assert "missing: nowhere not installed" in " ".join(listed.split())
    assert "pip install nowhere" in listed


@pytest.mark.slow
def test_match_searches_for_a_figure_that_falls(photo: Image, tmp_path: Path) -> None:
    write_image(tmp_path / "photo.png", photo[:96, :96])
    command("run", "-c", "jpeg", "-p", "10,90", "-d", "photo.png", "-o", "out", "--match",
            "gmsd=0.05", cwd=tmp_path)  # fmt: skip
    table = lic_bench.load(tmp_path / "out")
    [found] = table[table["matches"] == "gmsd=0.05"]["gmsd"]
    assert abs(found - 0.05) == (table["gmsd"] - 0.05).abs().min()
    assert abs(found - 0.05) < 0.005
