"""A strip of pictures for a paper: the original, and codecs beside it with rate and quality."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from lic_bench.images.image import Image
from lic_bench.metric.quality import metric_named
from lic_bench.reporting.extracts import Extract
from lic_bench.reporting.plots import SIZES, STYLE

_CAPTION = 0.32  # inches: two lines of 7-point type
_GAP = 0.05
_ABREAST = 6  # pictures


def draw(
    rows: Sequence[tuple[Image, Sequence[Extract]]],
    pictures: Sequence[Sequence[Image]],
    *,
    metric: str = "psnr_rgb",
    labels: dict[str, str] | None = None,
) -> Figure:
    """Draw a strip of two columns' width, ready for `save_plot`; beneath each its bpp and quality.

    Parameters
    ----------
    rows
        For each image the original, and what is shown beside it; both uint8, H x W x 3.
    pictures
        The pictures as they are drawn, cropped and enlarged: the original's first.
    labels
        What to call codecs.
    """
    kind = metric_named(metric)
    across = min(max(map(len, pictures)), _ABREAST)
    width = (SIZES["wide"][0] - _GAP * (across - 1)) / across
    lines: list[list[tuple[Image, str]]] = []
    for (_, extracts), shown in zip(rows, pictures, strict=True):
        captions = ["original\n", *(_caption(one, kind.name, labels or {}) for one in extracts)]
        cells = list(zip(shown, captions, strict=True))
        lines += [cells[i : i + across] for i in range(0, len(cells), across)]
    heights = [width * max(i.shape[0] / i.shape[1] for i, _ in line) for line in lines]
    total = sum(heights) + len(lines) * (_CAPTION + _GAP)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((SIZES["wide"][0], total))
        top = total
        for line, height in zip(lines, heights, strict=True):
            for column, (image, caption) in enumerate(line):
                own = width * image.shape[0] / image.shape[1]
                box = (column * (width + _GAP), top - own, width, own)
                whole = SIZES["wide"][0], total
                place = [side / whole[k % 2] for k, side in enumerate(box)]
                axes = figure.add_axes((place[0], place[1], place[2], place[3]))
                axes.imshow(image, interpolation="nearest", aspect="auto")
                axes.set_axis_off()
                figure.text(
                    place[0] + place[2] / 2,
                    (top - height - 0.04) / total,
                    caption,
                    ha="center",
                    va="top",
                    fontsize=7,
                    parse_math=False,
                )
            top -= height + _CAPTION + _GAP
    return figure


def _caption(extract: Extract, metric: str, labels: dict[str, str]) -> str:
    kind, wanted = metric_named(metric), extract.wanted
    value = wanted.quality.get(metric)
    figure = "" if value is None else f", {value:.2f} {kind.unit}".rstrip()
    return f"{labels.get(wanted.codec, wanted.codec)}\n{wanted.bpp:.3f} bpp{figure}"
