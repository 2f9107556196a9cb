"""The search for the points that meet a target, against a look at every point there is."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command
from hypothesis import example, given
from hypothesis import strategies as st

from lic_bench import (
    Image,
    Registry,
    SpecError,
    UndefinedError,
    aggregate,
    export,
    image_metrics,
    read_image,
    write_image,
)
from lic_bench.execution.matching import Search, match
from lic_bench.execution.measure import Task
from lic_bench.execution.plan import Plan, plan
from lic_bench.execution.run import execute
from lic_bench.execution.workers import Processes
from lic_bench.metric.targets import Target, parse_target
from lic_bench.reporting.tables import PaperTable, match_table
from lic_bench.store.database import Store


def searched(search: Search, over: dict[float, float]) -> list[float]:
    """The points that a search tries; each is looked up, and told."""
    tried = []
    while (point := search.next()) is not None:
        assert point not in tried
        tried.append(point)
        search.learn(point, over[point])
    return tried


@given(st.lists(st.floats(0.001, 2), min_size=99, max_size=99), st.floats(-40, 240), st.booleans())
def test_among_whole_numbers_the_nearest_is_found(
    steps: list[float], target: float, falling: bool
) -> None:
    curve = np.cumsum([0, *steps]) - target
    over = dict(zip(range(100), curve[::-1] if falling else curve, strict=True))
    search = Search((99, 0) if falling else (0, 99), 0.005)
    tried = searched(search, over)
    assert abs(over[search.nearest()]) == min(map(abs, over.values()))
    assert len(tried) <= 2 + 3 + 7  # the ends; by lines; by halves


@given(st.floats(0.3, 8), st.floats(-8, 1.5), st.sampled_from([1, 1.2, 1.4]))
@example(3.2265625, 0.0, 1.4)
def test_among_fractions_the_target_is_met(factor: float, target: float, bend: float) -> None:
    low, high = 1000.0, 1.0

    def over(ratio: float) -> float:  # about as compression ratios behave: log rate against log
        return factor - math.copysign(abs(math.log(ratio)) ** bend, math.log(ratio)) - target

    search, tried = Search((low, high), 0.005), []
    while (point := search.next()) is not None:
        assert isinstance(point, float)
        tried.append(point)
        search.learn(point, over(point))
    assert len(tried) <= 12
    nearest = over(search.nearest())
    if over(low) > 0 or over(high) < 0:
        assert nearest == min(over(low), over(high), key=abs)
    else:
        assert abs(nearest) <= 0.01  # 0.005 but for steps of the fourth digit


@given(st.lists(st.floats(-3, 3), min_size=30, max_size=30))
def test_a_curve_that_does_not_rise_ends_the_search_all_the_same(values: list[float]) -> None:
    over = dict(enumerate(values))
    search = Search((0, 29), 0.005)
    tried = searched(search, over)
    assert len(tried) <= 12
    assert abs(over[search.nearest()]) == min(abs(over[point]) for point in tried)


def test_a_search_begins_with_what_is_known() -> None:
    over = {point: (point - 41.3) / 7 for point in range(100)}
    known = {40: over[40], 43: over[43]}
    assert searched(Search((0, 99), 0.005, known), over) == [41, 42]
    assert searched(Search((0, 99), 0.005, over), over) == []
    # A target that the range does not reach costs one try.
    assert searched(Search((0, 99), 0.005, {40: 1.0}), {0: 0.5}) == [0]


@given(st.integers(0, 10_000), st.sets(st.sampled_from([0, 99]), min_size=1), st.booleans())
def test_where_an_end_of_the_range_fails_the_rest_is_searched(
    target: int, failing: set[int], falling: bool
) -> None:
    over = {p: (99 - p if falling else p) ** 2 - target for p in range(100) if p not in failing}
    ends, usual = ((99, 0), (70, 20)) if falling else ((0, 99), (20, 70))
    search = Search(ends, 0.005, usual=usual)
    while (point := search.next()) is not None:
        if point in failing:
            failing.remove(point)  # once
            search.fail(point)
        else:
            search.learn(point, over[point])
    assert abs(over[search.nearest()]) == min(map(abs, over.values()))


def test_a_codec_that_always_fails_is_given_up() -> None:
    search, tried = Search((63, 0), 0.005, usual=(50, 22)), []
    while (point := search.next()) is not None:
        tried.append(point)
        search.fail(point)
    assert tried == [50, 22, 63]


def test_beyond_the_usual_points_only_what_must_be_is_tried() -> None:
    over = {qp: 40.3 - qp for qp in range(64)}
    assert {63, 0}.isdisjoint(searched(Search((63, 0), 0.005, usual=(50, 22)), over))
    beyond = {qp: 10.3 - qp for qp in range(64)}
    search = Search((63, 0), 0.005, usual=(50, 22))
    assert searched(search, beyond)[:3] == [50, 22, 0]
    assert search.nearest() == 10


def test_without_a_range_nothing_is_tried() -> None:
    search = Search(None, 0.005, {"low": -0.4, "high": 0.3})
    assert search.next() is None
    assert search.nearest() == "high"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bpp", "is no target"),
        ("bpp=0", "is no target"),
        ("bpp=nan", "is no target"),
        ("=3", "There is no target"),
        ("beauty=90", "There is no target 'beauty'"),
        ("psnr_rbg=32", "did you mean psnr_"),
        ("psnr_rgb_pooled=32", "of a whole data set"),
        ("ms_ssim_rgb=0.95", "ms_ssim_rgb=13.01"),
    ],
)
def test_what_is_no_target_is_refused(text: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        parse_target(text)


def test_targets_are_spelled_in_one_way() -> None:
    assert str(parse_target("bpp=.250")) == "bpp=0.25"
    assert parse_target("psnr_rgb = 32.0") == Target("psnr_rgb", 32)


def test_the_distance_from_a_target() -> None:
    row = {"bpp": 0.5, "mse_rgb": 4.0, "psnr_rgb_db": 31.0, "ms_ssim_rgb": 0.9, "ssim_y": None}
    assert Target("bpp", 0.25).over(row) == pytest.approx(math.log(2))
    assert Target("psnr_rgb", 32).over(row) == -1
    assert Target("ms_ssim_rgb", 9).over(row) == pytest.approx(1)
    assert np.isnan(Target("ssim_y", 9).over(row))
    lossless = row | {"mse_rgb": 0, "psnr_rgb_db": math.inf, "ms_ssim_rgb": 1 + 1e-9}
    assert Target("ms_ssim_rgb", 9).over(lossless) == math.inf


TARGETS = ("bpp=0.6", "psnr_rgb=30")


@pytest.fixture(scope="module")
def images(photo: Image, large_photo: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matching") / "photos"
    folder.mkdir()
    write_image(folder / "a.png", np.ascontiguousarray(photo[60:160, 100:228]))
    write_image(folder / "b.png", np.ascontiguousarray(large_photo[200:300, 200:328]))
    return folder


@pytest.fixture(scope="module")
def planned(images: Path) -> Plan:
    return plan(["jpeg", "jpeg2000", "none"], [str(images)], points={"jpeg": ["20:80:20"]})


@pytest.fixture(scope="module")
def found(planned: Plan, images: Path) -> pd.DataFrame:
    """The measurements of a run that was followed by a search."""
    execute(planned, images.parent, workers=Processes(1))
    return match(
        planned, [parse_target(text) for text in TARGETS], images.parent, workers=Processes(1)
    )


def matched(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[[target in text.split() for text in table["matches"]]]


@pytest.mark.slow
def test_the_points_found_are_the_nearest_of_all_qualities(
    found: pd.DataFrame, images: Path
) -> None:
    jpeg = Registry().codec("jpeg")
    for name in ("a.png", "b.png"):
        image = read_image(images / name)
        streams = {quality: jpeg.encode(image, quality) for quality in range(1, 101)}
        rates = {q: abs(math.log(8 * len(s) / (100 * 128) / 0.6)) for q, s in streams.items()}
        psnr = {
            q: abs(float(image_metrics(image, jpeg.decode(s))["psnr_rgb_db"] or 0) - 30)
            for q, s in streams.items()
        }
        for target, far in (("bpp=0.6", rates), ("psnr_rgb=30", psnr)):
            table = matched(found, target)
            [point] = table[(table["codec"] == "jpeg") & (table["image"] == name)]["point"]
            assert far[int(point)] == pytest.approx(min(far.values()), abs=1e-9)


def test_fractions_come_within_the_tolerance_or_a_step_of_the_codec(found: pd.DataFrame) -> None:
    rates = matched(found, "bpp=0.6").query("codec == 'jpeg2000'")["bpp"]
    quality = matched(found, "psnr_rgb=30").query("codec == 'jpeg2000'")["psnr_rgb_db"]
    assert len(rates) == len(quality) == 2
    assert rates.to_numpy() == pytest.approx(0.6, rel=0.01)
    assert quality.to_numpy() == pytest.approx(30, abs=0.1)


def test_curves_and_averages_are_as_without_the_search(
    found: pd.DataFrame, planned: Plan, images: Path
) -> None:
    alone = execute(planned, images.parent / "alone", workers=Processes(1))
    assert found["searched"].any()
    seconds = ["encode_s", "decode_s"]
    pd.testing.assert_frame_equal(
        aggregate(found).drop(columns=seconds), aggregate(alone).drop(columns=seconds)
    )
    kept = found[~found["searched"]].reset_index(drop=True)
    columns = ["image", "codec", "point", "point_index", "bytes", "psnr_rgb_db", "searched"]
    pd.testing.assert_frame_equal(kept[columns], alone[columns])


@pytest.mark.slow
def test_a_searched_point_that_is_planned_later_joins_the_curve(
    found: pd.DataFrame, images: Path
) -> None:
    point = found[found["searched"] & (found["codec"] == "jpeg")]["point"].iloc[0]
    other = images.parent / "later"
    first = plan(["jpeg"], [str(images)], points={"jpeg": ["50"]})
    execute(first, other, workers=Processes(1))
    tried = match(first, [parse_target(text) for text in TARGETS], other, workers=Processes(1))
    assert int(point) not in set(aggregate(tried)["point"].astype(int))
    again = plan(["jpeg"], [str(images)], points={"jpeg": [point]})
    points = aggregate(execute(again, other, workers=Processes(1))).astype({"point": int})
    assert points.set_index("point").loc[int(point), "complete"]


def test_a_further_search_measures_only_what_is_new(
    found: pd.DataFrame, planned: Plan, images: Path
) -> None:
    tasks: list[Task | None] = []
    again = match(
        planned,
        [parse_target(text) for text in TARGETS],
        images.parent,
        workers=Processes(1),
        report=lambda now: tasks.append(now.latest),
    )
    assert set(tasks) == {None}
    columns = ["image", "codec", "point", "matches"]
    pd.testing.assert_frame_equal(again[columns], found[columns])
    nearby = match(
        plan(["jpeg"], [str(images)], points={"jpeg": ["40"]}),
        [parse_target("bpp=0.61")],
        images.parent,
        workers=Processes(1),
        report=lambda now: tasks.append(now.latest),
    )
    # Of two images, next to where the search for 0.6 bpp was.
    assert len(list(filter(None, tasks))) <= 4
    assert len(matched(nearby, "bpp=0.61")) == len(matched(nearby, "bpp=0.6")) == 2


def test_a_table_of_measurements_tells_of_the_search(
    found: pd.DataFrame, images: Path, tmp_path: Path
) -> None:
    with Store.open(images.parent) as store:
        assert list(TARGETS) in [run.get("match") for run in store.runs()]
    export(found, tmp_path / "table.parquet")
    back = pd.read_parquet(tmp_path / "table.parquet")
    assert back["searched"].tolist() == found["searched"].tolist()
    assert back["matches"].tolist() == found["matches"].tolist()
    assert set(matched(found, "bpp=0.6")["codec"]) == {"jpeg", "jpeg2000"}  # `none` has no choice


def rows_of(made: PaperTable) -> pd.DataFrame:
    assert list(made.frame.columns) == [column.name for column in made.columns]
    return made.frame.set_index("codec")


def test_the_table_at_equal_rate_tells_quality_and_how_near(found: pd.DataFrame) -> None:
    made = match_table(found, parse_target("bpp=0.6"), metrics=("psnr_rgb", "ms_ssim_rgb"))
    rows = rows_of(made)
    points = matched(found, "bpp=0.6")
    for codec in ("jpeg", "jpeg2000"):
        own = points[points["codec"] == codec]
        off = 100 * (own["bpp"] / 0.6 - 1)
        assert rows.loc[codec, "bpp"] == pytest.approx(own["bpp"].mean())
        assert rows.loc[codec, "psnr_rgb_db"] == pytest.approx(own["psnr_rgb_db"].mean())
        assert abs(rows.loc[codec, "worst"]) == pytest.approx(off.abs().max(), rel=1e-3)
        assert rows.loc[codec, "missed"] == (off.abs() > 5).sum()
        assert rows.loc[codec, "points"] == " to ".join(sorted(own["point"], key=float))
    assert np.isnan(rows["ms_ssim_rgb_db"]).all()  # images of 128 x 100 pixels
    assert made.notes == ("none: not matched: a single operating point",)
    assert "0.6 bpp" in made.caption and "2 images" in made.caption


def test_the_table_at_equal_quality_tells_rates_against_the_anchor(found: pd.DataFrame) -> None:
    rows = rows_of(match_table(found, parse_target("psnr_rgb=30"), metrics=("psnr_rgb", "psnr_y")))
    bpp = matched(found, "psnr_rgb=30").pivot(index="codec", columns="image", values="bpp")
    ratio = bpp.loc["jpeg2000"] / bpp.loc["jpeg"]
    percent = rows.loc["jpeg2000", ["rate_percent", "least_percent", "most_percent"]]
    wanted = [math.sqrt(ratio["a.png"] * ratio["b.png"]), ratio.min(), ratio.max()]
    assert percent.tolist() == pytest.approx([100 * (one - 1) for one in wanted])
    assert rows.loc["jpeg", "rate_percent"] == 0
    assert rows.loc["jpeg", "psnr_rgb_db"] == pytest.approx(30, abs=0.3)
    assert "psnr_y_db" in rows.columns


def test_the_table_says_why_images_miss_a_target(tmp_path: Path, images: Path) -> None:
    made = plan(["jpeg", "jpeg2000"], [str(images)], points={"jpeg": ["50"], "jpeg2000": ["24"]})
    execute(made, tmp_path, workers=Processes(1))
    texts = ("bpp=0.01", "psnr_rgb=70")
    table = match(made, [parse_target(text) for text in texts], tmp_path, workers=Processes(1))
    low, high = (match_table(table, parse_target(text)) for text in texts)
    assert any("jpeg: 2 of 2 images miss" in note and "lowest (2)" in note for note in low.notes)
    assert any(
        "jpeg: 2 of 2 images miss" in note and "highest point (2)" in note for note in high.notes
    )
    coarse = table[(table["codec"] == "jpeg") & ~table["searched"]].assign(matches="bpp=1")
    others = coarse.assign(point="1", bpp=0.5), coarse.assign(point="99", bpp=2.0)
    both = pd.concat([coarse.assign(bpp=1.1), *(one.assign(matches="") for one in others)])
    [note] = match_table(both, parse_target("bpp=1")).notes
    assert note.endswith("more than 5 %: the points are too coarse (2)")


def test_what_was_not_searched_is_said(found: pd.DataFrame) -> None:
    with pytest.raises(UndefinedError, match=r"run --match bpp=0\.3"):
        match_table(found, parse_target("bpp=0.3"))
    with pytest.raises(SpecError, match="matched"):
        match_table(found, parse_target("bpp=0.6"), anchor="none")


def test_an_image_that_one_codec_has_no_match_for_is_left_out_for_all(found: pd.DataFrame) -> None:
    lost = (found["image"] == "a.png") & (found["codec"] == "jpeg")
    made = match_table(found[~lost], parse_target("bpp=0.6"))
    assert "left out, as not every codec was measured on them: a.png" in made.notes
    alone = matched(found, "bpp=0.6").query("image == 'b.png' and codec == 'jpeg2000'")
    assert rows_of(made).loc["jpeg2000", "bpp"] == pytest.approx(alone["bpp"].iloc[0])


def test_the_commands(found: pd.DataFrame, images: Path) -> None:
    out = str(images.parent)
    done = command(
        *("run", "-c", "jpeg,jpeg2000,none", "-d", str(images), "-o", out, "-j", "1"),
        *("-p", "jpeg=20:80:20", "--match", "bpp=0.6", "--match", "psnr_rgb=30"),
    )
    assert "Equal rate: each image of photos (2 images)" in done.stdout
    assert "Equal quality" in done.stdout and "a single operating point" in done.stdout
    latex = command("table", out, "--match", "bpp=0.6", "--format", "latex").stdout
    assert latex.startswith(r"\begin{table}") and "jpeg2000 &" in latex
    told = command("table", out, "--match", "bpp=0.7", code=2).stderr
    assert "run --match bpp=0.7" in told
    told = command("run", "-d", str(images), "--match", "ssim_rgb=0.9", code=2).stderr
    assert "ssim_rgb=10.00" in told


PLUGIN = """
import numpy as np
from lic_bench import Codec

class Stairs(Codec):
    \"\"\"Keeps the first rows; cannot do the 13 that some targets lead to.\"\"\"
    name = "stairs"
    points = (1, 30)
    point_range = (1, 30)
    def encode(self, image, point):
        if point in FAILS:
            raise ValueError("not this one")
        height, width, _ = image.shape
        return bytes([height, width, point]) + image[:point].tobytes()
    def decode(self, stream):
        height, width, point = stream[:3]
        image = np.zeros((height, width, 3), np.uint8)
        image[:point] = np.frombuffer(stream[3:], np.uint8).reshape(point, width, 3)
        return image

class Listed(Stairs):
    name = "listed"
    points = ("few", "many")
    point_range = None
    def encode(self, image, point):
        return super().encode(image, {"few": 4, "many": 20}[point])

class Together(Stairs):
    name = "together"
    batch_size = 2
    def encode_batch(self, images, point):
        assert len(images) == 2
        return [super(Together, self).encode(image, point) for image in images]
"""


def stairs(tmp_path: Path, fails: str, specs: list[str]) -> pd.DataFrame:
    """The measurements after a search for 10 rows of 32 by codecs that keep the first rows."""
    plugin = tmp_path / "stairs.py"
    plugin.write_text(f"FAILS = {fails}\n{PLUGIN}")
    folder = tmp_path / "noise"
    folder.mkdir()
    random = np.random.default_rng(7)
    for name in ("one", "two"):
        pixels = random.integers(0, 256, (32, 24, 3), dtype=np.uint8)
        write_image(folder / f"{name}.png", pixels)
    made = plan(specs, [str(folder)], plugins=[plugin])
    execute(made, tmp_path, workers=Processes(1))
    rate = 8 * (3 + 10 * 24 * 3) / (32 * 24)
    return match(made, [Target("bpp", rate)], tmp_path, workers=Processes(1))


@pytest.mark.slow
def test_codecs_without_a_range_are_held_to_their_points(tmp_path: Path) -> None:
    table = stairs(tmp_path, "()", ["stairs", "listed", "together"])
    found = table[table["matches"] != ""]
    points = found.groupby("codec")["point"].agg(list)
    assert points.to_dict() == {
        "stairs": ["10", "10"],
        "together": ["10", "10"],
        "listed": ["many", "many"],  # twice as much is nearer than two fifths
    }
    assert table["error"].isna().all()


def test_a_try_that_fails_ends_the_search_at_what_is_known(tmp_path: Path) -> None:
    table = stairs(tmp_path, "range(2, 30)", ["stairs"])
    failed = table[table["error"].notna()]
    assert failed["searched"].all() and len(failed) == 2  # one for an image, and no second one
    assert table[table["matches"] != ""]["point"].tolist() == ["30", "30"]
    assert aggregate(table)["complete"].all()
