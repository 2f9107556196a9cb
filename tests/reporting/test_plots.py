import itertools
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lic_bench.analysis import published_curves as published
from lic_bench.analysis.curves import aggregate
from lic_bench.errors import LicBenchError, SpecError, UndefinedError
from lic_bench.metric.quality import QUALITIES
from lic_bench.reporting.looks import COLOURS, look_of, short_names
from lic_bench.reporting.plots import darker, save_plot
from lic_bench.reporting.plots import plot as axes_of

TWELVE = [f"codec-{i}" for i in range(12)]


def measurements(
    *codecs: str, images: int = 3, dataset: str = "kodak", lossless: bool = False
) -> pd.DataFrame:
    """Five points of each codec; each codec's PSNR is 1 dB above the one before."""
    rows = []
    for c, codec in enumerate(codecs):
        for p in range(5):
            for i in range(images):
                psnr = np.inf if lossless else 25 + c + 3 * p + i / 10
                ssim = 1.0 if lossless else 1 - 0.1 / (c + p + 1)
                rows.append(
                    {"dataset": dataset, "image": f"{i}.png", "width": 768, "height": 512}
                    | {"codec": codec, "point": str(p), "point_index": p}
                    | {
                        "bytes": 6144 * 2**p,
                        "bpp": 0.125 * 2**p,
                        "mse_rgb": 255**2 * 10 ** (-psnr / 10),
                    }
                    | dict.fromkeys(["psnr_rgb_db", "psnr_y_db", "psnr_y709_db"], psnr)
                    | dict.fromkeys(["ssim_rgb", "ssim_y", "ms_ssim_rgb", "ms_ssim_y"], ssim)
                    | {"encode_s": 0.1, "decode_s": 0.1, "error": None}
                )
    frame = pd.DataFrame(rows)
    return frame.assign(dataset_images=frame.groupby("dataset")["image"].transform("nunique"))


def plot(*arguments: Any, **named: Any) -> Figure:
    """The figure that axes of its own are in."""
    figure = axes_of(*arguments, **named).figure
    assert isinstance(figure, Figure)
    return figure


def lines(figure: Figure) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[0].lines}


def legends(figure: Figure) -> list[Any]:
    return [*figure.legends, *filter(None, [figure.axes[0].get_legend()])]


def texts(figure: Figure) -> list[str]:
    """The names of curves, wherever they stand."""
    found = [text for legend in legends(figure) for text in legend.get_texts()]
    return [text.get_text() for text in found or figure.axes[0].texts]


@pytest.mark.parametrize("metric", QUALITIES.values(), ids=QUALITIES.keys())
def test_draws_the_aggregate_and_says_its_units(metric: Any) -> None:
    frame = measurements("jpeg", "jpeg2000")
    figure = plot(frame, metric=metric.name)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Rate [bpp]"
    assert axes.get_ylabel() == metric.axis
    assert axes.get_ylabel().endswith("[dB]")
    assert axes.get_title() == f"kodak, 3 images, {metric.rule}"
    assert texts(figure) == ["jpeg", "jpeg2000"]
    assert list(lines(figure)) == ["jpeg", "jpeg2000"]
    for codec, rows in aggregate(frame).groupby("codec"):
        np.testing.assert_array_equal(lines(figure)[codec].get_xdata(), rows[metric.rate])
        np.testing.assert_array_equal(lines(figure)[codec].get_ydata(), rows[metric.value])


def test_options_of_the_axes() -> None:
    frame = measurements("jpeg", images=1)
    figure = plot(frame, xlim=(0.1, 1.5), ylim=(20, 45), xscale="log", width="wide")
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_xscale()) == ((0.1, 1.5), (20, 45), "log")
    assert axes.get_title().startswith("kodak, 1 image, ")
    assert figure.get_figwidth() == 7.16
    figure.draw_without_rendering()
    assert "0.5" in [label.get_text() for label in axes.get_xticklabels()]
    half = plot(frame, ylim=(20, None))
    assert half.axes[0].get_ylim()[0] == 20 and half.axes[0].get_ylim()[1] > 37
    assert half.get_figwidth() == 3.5


def test_the_codecs_that_come_along_can_be_told_apart_in_grey_too() -> None:
    classical = ["jpeg", "jpeg2000", "webp", "avif", "hevc", "heif", "jpegxl", "vvc"]
    names = [*classical, "content-weighted", "content-weighted:metric=mse", "cae-pca", "nctu"]
    names += ["compressive-autoencoder", "modulated-autoencoder", "recurrent", "compressai", "none"]
    looks = [look_of(name) for name in names]
    assert len({(look.line, look.marker) for look in looks}) == len(names)  # grey leaves these
    assert len({look_of(name).colour for name in classical}) == len(classical)
    assert len({look.colour for look in looks}) == len(COLOURS)
    for one, other in itertools.combinations(looks, 2):
        if one.colour == other.colour:
            assert one.line != other.line and one.marker != other.marker
    for colour in COLOURS:  # contrast with white (WCAG 2, 1.4.11 wants 3; pale ones have a marker)
        assert contrast(to_rgb(colour)) > 2
        assert contrast(darker(colour)) >= 4.4  # as text: 1.4.3


def contrast(colour: tuple[float, float, float]) -> float:
    """With white; with a power of 2.2 for the curve of sRGB, which is near enough."""
    return float(1.05 / (np.array(colour) ** 2.2 @ [0.2126, 0.7152, 0.0722] + 0.05))


def test_names_are_short_and_never_alike() -> None:
    names = ["jpeg", "compressai:model=mbt2018-mean,metric=ms-ssim", "x:weights=/a/one.pth"]
    assert list(short_names(names).values()) == [
        "jpeg",
        "compressai mbt2018-mean, ms-ssim",
        "x:weights=one.pth",
    ]
    alike = ["x:weights=/a/one.pth", "x:weights=/b/one.pth"]
    assert list(short_names(alike).values()) == alike


def test_axes_labels_colours_and_titles_of_ones_own() -> None:
    figure = Figure((6, 3))
    left, right = figure.subplots(1, 2)
    frame = measurements("jpeg", "ours:a=1")
    drawn = axes_of(frame, ax=left, labels={"ours:a=1": "Ours"}, colors={"ours:a=1": "red"})
    assert drawn is left and figure.get_size_inches().tolist() == [6, 3]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["jpeg", "Ours"]
    assert left.lines[1].get_color() == "red"
    assert left.lines[0].get_color() == COLOURS[look_of("jpeg").colour]
    axes_of(frame, ax=right, metric="ssim_y", title="")
    assert (left.get_title() != "", right.get_title()) == (True, "")
    assert plot(frame, title="Two codecs").axes[0].get_title() == "Two codecs"
    with pytest.raises(SpecError, match="did you mean jpeg"):
        axes_of(frame, labels={"jpg": "JPEG"})


def test_names_stand_at_the_ends_of_their_curves_where_they_fit() -> None:
    figure = plot(measurements("jpeg", "webp", "avif"), width="wide")
    assert legends(figure) == []
    figure.draw_without_rendering()
    (axes,) = figure.axes
    for text, line in zip(axes.texts, axes.lines, strict=True):
        end = axes.transData.transform(line.get_xydata()[-1])
        box = text.get_window_extent()
        assert text.get_text() == line.get_label()
        assert 0 <= box.x0 - end[0] < 10 and abs((box.y0 + box.y1) / 2 - end[1]) < 15
        assert box.x1 <= figure.bbox.x1
    boxes = sorted(
        (text.get_window_extent().y0, text.get_window_extent().y1) for text in axes.texts
    )
    assert all(below[1] <= above[0] + 2 for below, above in itertools.pairwise(boxes))
    assert legends(plot(measurements("jpeg", "x" * 24))) != []  # where they do not


def test_a_codec_keeps_its_look_whichever_others_are_drawn() -> None:
    frame = measurements(*TWELVE)
    every, some = lines(plot(frame)), lines(plot(frame, codecs=["codec-9", "codec-2"]))
    assert list(some) == ["codec-9", "codec-2"]
    for codec, line in some.items():
        for name in ("color", "marker", "linestyle"):
            assert getattr(line, f"get_{name}")() == getattr(every[codec], f"get_{name}")()


@pytest.mark.parametrize("width", ["column", "wide"])
@pytest.mark.parametrize("xscale", ["linear", "log"])
@pytest.mark.parametrize(
    "codecs",
    [
        TWELVE,
        TWELVE[:2],
        TWELVE[:5],
        ["compressai:model=mbt2018-mean,metric=ms-ssim", "jpeg:subsampling=4:4:4"],
        ["plugin:weights=/" + "long/" * 20, "jpeg"],
    ],
    ids=["twelve", "two", "five", "options", "long"],
)
def test_nothing_is_cut_off_or_covered(codecs: list[str], width: Any, xscale: Any) -> None:
    frame = measurements(*codecs, dataset="clic2020-professional-valid", images=1)
    figure = plot(frame, metric="psnr_rgb_pooled", width=width, xscale=xscale)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    frame_box = figure.bbox
    legend_boxes = [legend.get_window_extent() for legend in legends(figure)]
    for box in (*legend_boxes, axes.get_tightbbox(), axes.title.get_window_extent()):
        assert box.x0 >= frame_box.x0 and box.x1 <= frame_box.x1
        assert box.y0 >= frame_box.y0 and box.y1 <= frame_box.y1
    for line in axes.lines:
        at = axes.transData.transform(line.get_xydata())
        assert not any(box.count_contains(at) for box in legend_boxes)
    assert axes.get_window_extent().height > 1.7 * figure.dpi
    assert "".join(texts(figure)).replace("\n", "") == "".join(short_names(codecs).values())
    for legend in legends(figure):
        assert min(text.get_fontsize() for text in legend.get_texts()) >= 7


def test_lossless_codecs_are_left_out_aloud() -> None:
    frame = pd.concat([measurements("jpeg"), measurements("none", lossless=True)])
    with pytest.warns(UserWarning, match=r"none \(lossless on an image: 0, 1, 2, 3, 4\)"):
        assert list(lines(plot(frame))) == ["jpeg"]
    with pytest.raises(UndefinedError, match=r"nothing to draw on kodak.*none \(lossless"):
        plot(frame, codecs=["none"])
    frame = measurements("jpeg").assign(psnr_rgb_db=np.nan)
    with pytest.raises(UndefinedError, match=r"in psnr_rgb: .*There are figures of .*\bpsnr_y\b"):
        plot(frame)


def test_published_curves_are_drawn_as_what_they_are() -> None:
    figure = plot(measurements("jpeg", "jpeg2000"), published=["vtm", "webp@tfc"])
    (axes,) = figure.axes
    names = ["jpeg", "jpeg2000", "vtm (published)", "webp@tfc (published)"]
    assert texts(figure) == names
    assert "grey: published (compressai 2020, tfc 2018), not measured" in axes.get_title()
    drawn = lines(figure)
    for name in names[2:]:
        theirs = published.curve(name.split(" (")[0], "kodak")
        at, values = drawn[name].get_data()
        marked = np.array(drawn[name].get_markevery())
        assert np.isin(at[marked], theirs.bpp).all()  # markers are points that were published
        inside = (theirs.bpp >= 0.125) & (theirs.bpp <= 2)
        assert set(theirs.bpp[inside]) <= set(at)
        np.testing.assert_allclose(values, np.interp(at, theirs.bpp, theirs.value))
        assert (at[0], at[-1]) == (0.125, 2)  # the range of rates that was measured, all of it
        figure.draw_without_rendering()
        seen = axes.transData.transform(drawn[name].get_xydata())
        assert axes.bbox.count_contains(seen) == len(seen)
        colour = to_rgb(drawn[name].get_color())
        assert len(set(colour)) == 1  # grey
        assert drawn[name].get_linewidth() < drawn["jpeg"].get_linewidth()
        assert drawn[name].get_zorder() < drawn["jpeg"].get_zorder()
        assert drawn[name].get_markerfacecolor() == "white" != drawn["jpeg"].get_markerfacecolor()
    looks = {(drawn[name].get_marker(), str(drawn[name]._dash_pattern)) for name in names[2:]}
    assert len(looks) == 2


def test_what_others_published_nothing_of_is_told() -> None:
    frame = measurements("jpeg")
    with pytest.warns(UserWarning, match="vtm was not published in psnr_y on kodak"):
        assert list(lines(plot(frame, metric="psnr_y", published=["vtm"]))) == ["jpeg"]
    with pytest.warns(UserWarning, match=r"vtm was published from 0.048 to 3.633 bpp, all outside"):
        plot(frame, published=["vtm"], xlim=(5, 6))
    with pytest.raises(SpecError, match="did you mean vtm"):
        plot(frame, published=["vmt"])
    with pytest.raises(SpecError, match="No curves are published on clic"):
        plot(measurements("jpeg", dataset="clic"), published=["vtm"])


def test_a_single_published_point_is_seen() -> None:
    frame = measurements("jpeg", dataset="kodak-crops")
    drawn = lines(plot(frame, metric="ssim_y", published=["content-weighted-cvpr2018"]))
    [line] = [line for name, line in drawn.items() if name != "jpeg"]
    assert line.get_xdata().tolist() == [0.6714]
    assert line.get_markevery() == [0]
    assert line.get_marker() not in ("", "None")


def test_what_cannot_be_drawn_is_refused() -> None:
    frame = measurements("jpeg")
    both = pd.concat([frame, measurements("jpeg", dataset="clic")])
    with pytest.raises(SpecError, match="kodak, clic"):
        plot(both)
    assert plot(both, dataset="clic").axes[0].get_title().startswith("clic, 3 images")
    for wrong in ({"metric": "vmaf"}, {"codecs": ["bpg"]}, {"dataset": "tecnick"}):
        with pytest.raises(SpecError, match=r"vmaf|bpg|tecnick"):
            plot(frame, **wrong)
    with pytest.raises(UndefinedError, match="no measurements"):
        plot(frame[:0])


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-"), ("svg", b"<?xml"), ("PNG", b"\x89PNG")],
)
def test_saves_by_suffix_the_same_bytes_each_time(
    tmp_path: Path, suffix: str, magic: bytes
) -> None:
    before = dict(mpl.rcParams)
    paths = [tmp_path / f"{name}.{suffix}" for name in ("one", "two ä")]
    for path in paths:
        save_plot(plot(measurements("jpeg")), path)
    assert paths[0].read_bytes().startswith(magic)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert dict(mpl.rcParams) == before


def test_a_pdf_embeds_truetype(tmp_path: Path) -> None:
    save_plot(plot(measurements("jpeg")), tmp_path / "plot.pdf")
    pdf = (tmp_path / "plot.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    for stream in streams:
        try:
            pdf += zlib.decompress(stream)
        except zlib.error:
            continue
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf


def test_an_svg_keeps_names_as_text(tmp_path: Path) -> None:
    names = ["a<b>&c", "$x_1$ and $"]
    save_plot(plot(measurements(*names, dataset="my $5 & <set>")), tmp_path / "plot.svg")
    found = [element.text for element in ElementTree.parse(tmp_path / "plot.svg").iter()]  # noqa: S314
    assert set(names) <= set(found)
    assert "my $5 & <set>, 3 images, mean of per-image PSNR" in found


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    figure = plot(measurements("jpeg"))
    for name in ("plot.jpg", "plot"):
        with pytest.raises(SpecError, match=r"must end in \.png, \.pdf, \.svg"):
            save_plot(figure, tmp_path / name)
    with pytest.raises(LicBenchError, match=r"no folder.plot\.png cannot be written \(No such"):
        save_plot(figure, tmp_path / "no folder" / "plot.png")
    (tmp_path / "dir.png").mkdir()
    with pytest.raises(LicBenchError, match="not a regular file"):
        save_plot(figure, tmp_path / "dir.png")
    assert [path.name for path in tmp_path.iterdir()] == ["dir.png"]


def test_drawing_needs_neither_a_display_nor_pyplot() -> None:
    code = "import sys, lic_bench.reporting.plots; assert 'matplotlib.pyplot' not in sys.modules"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
