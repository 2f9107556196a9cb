"""Figures beyond curves: they show the figures of the measurements, and nothing is cut off."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import command
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import trapezoid

import lic_bench
from lic_bench import Image, SpecError, UndefinedError, write_image
from lic_bench.metric.base import Score
from lic_bench.metric.quality import learn

learn(Score("falling", "Falling", better="lower"))

FACTORS = (0.5, 0.6, 0.7, 0.9, 1.3)
"""What "test" needs of the anchor's rate, image by image."""


def measurements(*more: str, bend: float = 0.0) -> pd.DataFrame:
    """The anchor, a test, and further codecs like the anchor; the test's saving may bend."""
    rows = []
    for codec in ("anchor", "test", *more):
        for i, factor in enumerate(FACTORS):
            for p in range(5):
                psnr = 26 + 3 * p + (0.7 if codec == "test" else 0) + i / 10
                own = factor * (1 + bend * (p - 2) ** 2) if codec == "test" else 1.0
                bpp = own * 0.1 * 2 ** ((psnr - 26 - i / 10) / 3)
                rows.append(
                    {"dataset": "photos", "image": f"{i}.png", "image_sha256": str(i)}
                    | {"width": 500, "height": 400, "codec": codec, "point": str(p)}
                    | {"point_index": p, "bytes": bpp * 25_000, "bpp": bpp, "error": None}
                    | {"mse_rgb": 255**2 * 10 ** (-psnr / 10), "falling": -psnr}
                    | dict.fromkeys(("psnr_rgb_db", "psnr_y_db", "psnr_y709_db"), psnr)
                    | dict.fromkeys(("ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"), np.nan)
                    | {"encode_s": 0.1 * (1 + i), "decode_s": 0.02, "dataset_images": len(FACTORS)}
                    | {"searched": False, "imported": False}
                )
    return pd.DataFrame(rows)


def line(axes: Axes, name: str) -> Any:
    [found] = [one for one in axes.lines if one.get_label() == name]
    return found


def test_each_dot_is_the_bd_rate_of_an_image() -> None:
    table = measurements()
    axes = lic_bench.plot_by_image(table, "anchor")
    dots = sorted(line(axes, "test").get_xdata())
    assert dots == pytest.approx([100 * (factor - 1) for factor in FACTORS])
    interval, across = axes.lines[-2:]
    expected = lic_bench.compare(table, "anchor", "test").rate
    assert list(interval.get_xdata()) == [expected.low, expected.high]
    assert set(across.get_xdata()) == {expected.value}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["test"]


def test_rows_go_by_bd_rate_and_dots_of_one_rate_stand_apart() -> None:
    table = measurements("like")
    fewer = table[table["codec"] == "test"].assign(codec="fewer", bpp=lambda rows: rows["bpp"] / 2)
    axes = lic_bench.plot_by_image(pd.concat([table, fewer]), "anchor")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["fewer", "test", "like"]
    like = line(axes, "like")
    assert like.get_xdata() == pytest.approx(np.zeros(5), abs=1e-9)
    assert len(set(like.get_ydata())) == 5
    assert all(1.5 < y < 2.5 for y in like.get_ydata())


@pytest.mark.parametrize("metric", ["psnr_rgb", "falling"])
def test_the_mean_of_savings_over_quality_is_the_bd_rate(metric: str) -> None:
    table = measurements(bend=0.05)
    axes = lic_bench.plot_by_quality(table, "anchor", metric=metric)
    drawn = line(axes, "test")
    quality, percents = drawn.get_xdata(), drawn.get_ydata()
    logs = np.log1p(percents / 100)
    mean = trapezoid(logs, quality) / (quality[-1] - quality[0])
    [expected] = lic_bench.bd_rates(table, "anchor", metric)["bd_rate_percent"][1:]
    assert 100 * np.expm1(mean) == pytest.approx(expected, abs=0.02)
    assert np.ptp(percents) > 5
    marked = quality[drawn.get_markevery()]
    own = lic_bench.aggregate(table).query("codec == 'test'")
    assert set(marked) <= set(own["psnr_rgb_db"] if metric == "psnr_rgb" else own["falling"])
    assert len(marked) == 4  # the fifth lies beyond the anchor's last


def test_a_constant_saving_is_a_level_line() -> None:
    table = measurements()
    table.loc[table["codec"] == "test", "bpp"] = table["bpp"] * 0.8 / np.mean(FACTORS)
    drawn = line(lic_bench.plot_by_quality(table, "anchor"), "test")
    # As the anchor's points do, a straight line in log rate: interpolation is exact.
    assert drawn.get_ydata() == pytest.approx(np.full(len(drawn.get_xdata()), -20.0), abs=1e-6)


def test_each_panel_has_the_curves_of_its_image() -> None:
    table = measurements()
    figure = lic_bench.plot_multiples(table, images=3)
    assert [axes.get_title() for axes in figure.axes] == ["0", "2", "4"]
    for axes in figure.axes:
        for codec in ("anchor", "test"):
            rows = table[(table["image"] == f"{axes.get_title()}.png") & (table["codec"] == codec)]
            np.testing.assert_allclose(line(axes, codec).get_xdata(), rows["bpp"])
            np.testing.assert_allclose(line(axes, codec).get_ydata(), rows["psnr_rgb_db"])
    assert "3 of 5 images" in str(figure.get_suptitle())
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len(lic_bench.plot_multiples(table).axes) == 5
    with pytest.raises(SpecError, match="one at least"):
        lic_bench.plot_multiples(table, images=0)


def test_a_codec_stands_at_its_time_and_bd_rate() -> None:
    table = measurements()
    figure = lic_bench.plot_by_complexity(table, "anchor")
    [expected] = lic_bench.bd_rates(table, "anchor")["bd_rate_percent"][1:]
    encode, decode = figure.axes
    assert line(encode, "test").get_xydata().tolist() == [pytest.approx([0.3 / 0.2, expected])]
    assert line(decode, "anchor").get_xydata().tolist() == [pytest.approx([0.02 / 0.2, 0])]
    assert encode.get_xscale() == decode.get_xscale() == "log"
    assert "not taken alone" in figure.get_suptitle()


def summary(*codecs: str) -> pd.DataFrame:
    """What `timing.time_codecs` gives of each, at two points."""
    return pd.DataFrame(
        [
            {"codec": codec, "point": str(p), "images": 2, "threads": 1, "repeats": 5}
            | {"encode_mp_s": 4.0 / (1 + p), "decode_mp_s": 8.0, "encode_kmacs_per_pixel": None}
            | {"decode_kmacs_per_pixel": 7.0 if codec == "test" else None}
            for codec in codecs
            for p in (0, 1)
        ]
    )


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_times_are_read_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    path, table = tmp_path / f"times{suffix}", summary("anchor", "test")
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        rows = json.loads(table.to_json(orient="records"))
        path.write_text(json.dumps({"processor": "a chip", "summary": rows, "samples": []}))
    with pytest.warns(UserWarning, match=r"like \(no s/MP\)"):
        figure = lic_bench.plot_by_complexity(measurements("like"), "anchor", times=path)
    assert line(figure.axes[0], "test").get_xdata()[0] == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert "2 images; 1 thread, 5 repetitions" in figure.get_suptitle()
    assert ("a chip" in figure.get_suptitle()) == (suffix == ".json")
    with pytest.raises(UndefinedError, match=r"cost in kMAC/pixel: anchor \(no kMAC/pixel\)"):
        lic_bench.plot_by_complexity(measurements(), "anchor", times=path, of="kmacs")


def test_what_holds_no_times_is_refused(tmp_path: Path) -> None:
    for name, text in (("a.json", "{}"), ("b.csv", "codec,bpp\nx,1\n"), ("c.json", "[")):
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError, match=rf"{name} holds no times"):
            lic_bench.plot_by_complexity(measurements(), times=tmp_path / name)
    with pytest.raises(SpecError, match="cannot be read"):
        lic_bench.plot_by_complexity(measurements(), times=tmp_path / "d.json")
    with pytest.raises(SpecError, match="give times="):
        lic_bench.plot_by_complexity(measurements(), of="kmacs")


AXES = [lic_bench.plot_by_image, lic_bench.plot_by_quality, lic_bench.plot_by_metric]
AGAINST = [*AXES, lic_bench.plot_by_complexity]
LONG = "compressai:model=mbt2018-mean,metric=ms-ssim"


@pytest.mark.parametrize("draw", AXES)
def test_axes_labels_colours_and_titles_of_ones_own(draw: Any) -> None:
    figure = Figure((6, 3))
    left, right = figure.subplots(1, 2)
    table = measurements()
    drawn = draw(table, "anchor", ax=left, labels={"test": "Ours"}, colors={"test": "red"})
    assert drawn is left and figure.get_size_inches().tolist() == [6, 3]
    assert line(left, "Ours").get_color() == "red"
    assert left.get_title() != ""
    assert draw(table, "anchor", ax=right, title="").get_title() == ""
    assert draw(table, "anchor", ax=right, title="Mine").get_title() == "Mine"
    with pytest.raises(SpecError, match="did you mean test"):
        draw(table, "anchor", labels={"tess": "Ours"})


@pytest.mark.parametrize("width", ["column", "wide"])
@pytest.mark.parametrize("draw", [*AGAINST, lic_bench.plot_multiples])
def test_nothing_is_cut_off(draw: Any, width: str) -> None:
    table = measurements(LONG, "like").assign(dataset="clic2020-professional-valid")
    table.loc[table["codec"] == "like", "codec"] = "jpeg:subsampling=4:4:4"
    drawn = draw(table, width=width)
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    figure.draw_without_rendering()
    artists = [*figure.legends, *figure.texts]
    if figure._suptitle is not None:
        artists.append(figure._suptitle)
    boxes = [one.get_window_extent() for one in artists]
    boxes += [axes.get_tightbbox() for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1
    assert all(axes.get_window_extent().height > 0.4 * figure.dpi for axes in figure.axes)


@pytest.mark.parametrize("draw", AGAINST)
def test_what_cannot_be_drawn_is_told(draw: Any) -> None:
    table = measurements()
    with pytest.raises(SpecError, match="did you mean anchor"):
        draw(table, "ancor")
    with pytest.raises(SpecError, match="did you mean test"):
        draw(table, "anchor", codecs="tesst")
    with pytest.raises(SpecError, match="--dataset: photos, other"):
        draw(pd.concat([table, table.assign(dataset="other")]), "anchor")
    with pytest.raises(UndefinedError, match="no codec beside anchor"):
        draw(table[table["codec"] == "anchor"], "anchor")
    with pytest.raises(UndefinedError, match=r"[Nn]o (image|codec) .*has"):
        draw(table[table["point"].isin(["0", "1"])], "anchor")
    with pytest.raises(UndefinedError, match="no measurements"):
        draw(table[:0], "anchor")


def test_an_axis_of_rates_is_even_in_their_ratio() -> None:
    axes = lic_bench.plot_by_metric(measurements(), "anchor")
    halved, same, doubled = (axes.transData.transform((0, p))[1] for p in (-50, 0, 100))
    assert same - halved == pytest.approx(doubled - same)
    for low, high, expected in ((-87, 5, {"0", "−20", "−80"}), (-60, 900, {"0", "−50", "+400"})):
        axes.set_ylim(low, high)
        axes.figure.draw_without_rendering()
        shown = [text.get_text() for text in axes.get_yticklabels()]
        assert expected <= set(shown) and 5 <= len(shown) <= 12
    axes.set_ylim(-7, 4)
    axes.figure.draw_without_rendering()
    assert {"0", "−4", "+2"} <= {text.get_text() for text in axes.get_yticklabels()}


def test_options_of_another_figure_are_refused() -> None:
    for arguments, message in (
        (["--by-image", "--by-metric"], "--by-metric and --by-image are of different figures"),
        (["--by-image", "--xlim", "0,1"], "--xlim is of the figure of curves and --multiples"),
        (["--times", "t.json"], "--times is of --by-complexity, not of curves"),
        (["--by-quality", "--published", "vtm"], "--published is of the figure of curves"),
    ):
        assert message in command("plot", *arguments, code=2).stderr


@pytest.mark.slow
def test_the_command_draws_each(tmp_path: Path, photo: Image) -> None:
    write_image(tmp_path / "cat.png", photo[:176, :200])
    codecs = "jpeg,jpeg:subsampling=4:4:4,webp"
    points = ("-p", "20,40,60,80")
    command("run", "-c", codecs, "-d", "cat.png", *points, "-j", "1", "-o", "out", cwd=tmp_path)
    for options, name in (
        (["--multiples", "--log", "--column"], "multiples-ms_ssim_rgb.png"),
        (["--by-image"], "by-image-ms_ssim_rgb.png"),
        (["--by-quality", "--no-title", "--wide"], "by-quality-ms_ssim_rgb.png"),
        (["--by-complexity", "time"], "by-complexity-ms_ssim_rgb.png"),
        (["--by-metric", "--label", "webp=WebP"], "bd-rates.png"),
    ):
        told = command("plot", "out", *options, "-m", "ms-ssim", cwd=tmp_path)
        assert told.stdout.strip() == f"out/{name}"
        assert (tmp_path / "out" / name).stat().st_size > 10_000
    error = command("plot", "out", "--by-complexity", "kmacs", cwd=tmp_path, code=2).stderr
    assert "needs --times" in error
    error = command("plot", "out", "--by-complexity", "cost", cwd=tmp_path, code=2).stderr
    assert re.search("needs --times|no cost of codecs", error)
