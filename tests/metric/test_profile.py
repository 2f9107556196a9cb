"""Test conditions as data: JPEG AI's, CLIC's and a laboratory's own."""

import re
from pathlib import Path

import pytest
from command import command

import lic_bench
from lic_bench import Image, SpecError, UndefinedError, write_image
from lic_bench.metric.profile import load, names
from lic_bench.metric.registry import MetricRegistry, metrics

OWN = """
title = "Ours"
rates = [0.01, 0.02, 0.5, 1, 1.5, 2]
metrics = ["default", "gmsd"]
figures = ["psnr_rgb", "gmsd"]
anchor = "webp"
notes = ["A note of ours."]
"""


@pytest.mark.parametrize("name", names())
def test_those_that_come_along_name_what_there_is(name: str) -> None:
    profile = load(name)
    registry = MetricRegistry()
    given = {score.name for score in registry.scores()} | {"psnr_rgb_pooled"}
    assert set(profile.figures) <= given
    assert {registry.spec(text) for text in profile.metrics} <= set(registry.names())
    if not any(registry.entry(text).problem for text in profile.metrics):
        assert metrics(profile.metrics)


def test_jpeg_ai_has_its_seven_metrics_and_rates() -> None:
    profile = load("jpeg-ai")
    assert len(profile.figures) == 7
    assert (min(profile.rates), max(profile.rates)) == (0.06, 0.75)
    assert profile.anchor == "vvc"


@pytest.mark.slow
def test_one_of_ones_own_gives_bd_rates_and_their_mean(photo: Image, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", photo[:120, :160])
    (tmp_path / "ours.toml").write_text(OWN)
    words = ["run", "--profile", "ours.toml", "-c", "jpeg", "-d", "photos", "-o", "out"]
    told = command(*words, cwd=tmp_path)
    assert "Ours: BD-rate against webp on photos" in told.stdout
    text = (tmp_path / "out" / "photos-ours.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith("| jpeg |")][:1]
    psnr, gmsd, mean = (float(cell) for cell in row.strip("| ").split("|")[1:])
    assert mean == pytest.approx((psnr + gmsd) / 2, abs=0.1)
    assert "A note of ours." in text
    # Neither gets so low: their last points stand for two rates, and once on the curves.
    assert re.search(r"jpeg: 0\.(\d+) in place of 0\.01, 0\.\1 in place of 0\.02 bpp", text)
    table = lic_bench.load(tmp_path / "out")
    found = table[table["matches"] != ""]
    assert found["gmsd"].notna().all()
    # What the search tried besides has none of the metrics that only the results need.
    assert table.loc[table["matches"] == "", "gmsd"].isna().all()
    assert "webp (anchor)" in told.stdout
    again = command(*words, cwd=tmp_path)
    assert again.stdout == told.stdout
    for words in (("plot", "out"), ("table", "out"), ("compare", "jpeg", "webp", "out")):
        refused = command(*words, cwd=tmp_path, code=2).stderr
        assert "There are no curves here" in refused
        assert "table --match bpp=0.01" in refused
    matched = command("table", "out", "--match", "bpp=1", cwd=tmp_path).stdout
    assert re.search(r"\| jpeg \|.* [01]\.\d+ \|", matched)
    # Where one codec has a curve by now, it is the anchor.
    command("run", "-c", "webp", "-p", "20,40,60,80", "-d", "photos", "-o", "out", cwd=tmp_path)
    assert "webp (anchor)" in command("table", "out", cwd=tmp_path).stdout
    measurements = lic_bench.load(tmp_path / "out")
    assert "webp (anchor)" in lic_bench.table(measurements).markdown()
    with pytest.raises(UndefinedError, match="There are no curves here"):
        lic_bench.bd_rates(measurements[measurements["codec"] == "jpeg"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OWN.replace("rates = [0.01, 0.02, 0.5, 1, 1.5, 2]", ""), "rates"),
        (OWN.replace("0.5,", "-1,"), "rates"),
        (OWN + "more = 1", "more"),
        ("title =", "ours.toml"),
    ],
)
def test_a_wrong_file_is_refused(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=told):
        load(str(path))


def test_a_wrong_name_is_told_what_there_is() -> None:
    with pytest.raises(SpecError, match=r"did you mean jpeg-ai\?"):
        load("jpegai")
    with pytest.raises(SpecError, match="there is no profile"):
        load("nowhere.toml")
