"""Tables for a paper: BD-rates and operating points as Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lic_bench.analysis.anchor import usual_anchor
from lic_bench.analysis.comparison import compare_codecs
from lic_bench.analysis.curves import aggregate, averages_of_curves, bd_rates, curve
from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.files import as_json
from lic_bench.metric.quality import Quality, measured_quality, qualities_with_figures
from lic_bench.metric.targets import Target
from lic_bench.store.selection import only_dataset
from lic_bench.store.table import display_names

UNDEFINED = "--"
"""What stands where there is no figure."""


@dataclass(frozen=True)
class Column:
    """A column of a table and how its cells are written."""

    name: str
    """In the frame."""
    title: str
    digits: int | None = None
    """Behind the point; none for text."""
    signed: bool = False
    ends: tuple[str, str] | None = None
    """The columns of the frame that have the ends of its interval, shown in the same cell."""

    def cell(self, row: Mapping[Hashable, object]) -> str:
        """Its cell in a row of the frame: figures with the same number of digits all the way down.

        Text as it is; ``-42.6 [-49.3, -33.7]`` where there is an interval.
        """
        value = row[self.name]
        if self.digits is None:
            return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
        shown = self._figure(value)
        ends = [row[end] for end in self.ends or ()]
        if not ends or pd.isna(ends).any():
            return shown
        return f"{shown} [{', '.join(map(self._figure, ends))}]"

    def _figure(self, value: object) -> str:
        if pd.isna(value):  # type: ignore[call-overload]
            return UNDEFINED
        return f"{value:{'+' if self.signed else ''}z.{self.digits}f}"


@dataclass(frozen=True)
class PaperTable:
    """A table with all that a reader must know of it."""

    caption: str
    """Data set, number of images, averaging, anchor, rates: in one line."""
    columns: tuple[Column, ...]
    frame: pd.DataFrame
    """The figures at full precision; its columns are those of `columns`, and ends of intervals."""
    label: str
    """For `\\ref`."""
    notes: tuple[str, ...] = ()
    """Why figures are missing."""
    anchor: str | None = None
    """What the first column calls the codec that the others are set against; it has no figures."""

    def markdown(self) -> str:
        """As a table of GitHub's Markdown, below its caption."""
        titles = [_markdown_escaped(column.title) for column in self.columns]
        lines = [_markdown_escaped(self.caption), "", _row(titles)]
        lines.append(_row("---" if column.digits is None else "---:" for column in self.columns))
        lines += [_row(map(_markdown_escaped, cells)) for cells in self.cells()]
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        shown = [[html.escape(text) for text in cells] for cells in self.cells()]
        heads = "".join(f"<th>{html.escape(column.title)}</th>" for column in self.columns)
        rows = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in shown)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        caption = f"<caption>{html.escape(self.caption)}</caption>"
        return (
            f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{notes}"
        )

    def latex(self) -> str:
        """As a floating table of LaTeX, for the package booktabs."""
        layout = "".join("l" if column.digits is None else "r" for column in self.columns)
        titles = [_latex_escaped(column.title) for column in self.columns]
        rows = [[_latex_cell(cell) for cell in cells] for cells in self.cells()]
        body: list[str] = []
        for before, cells in zip([None, *rows], rows, strict=False):
            # Rows of one codec stand together, where codecs have several.
            if before and before[0] != cells[0] and len(rows) > self.frame.iloc[:, 0].nunique():
                body.append(r"\addlinespace")
            body.append(" & ".join(cells) + r" \\")
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                rf"  \caption{{{_latex_escaped(self.caption)}}}",
                rf"  \label{{{self.label}}}",
                rf"  \begin{{tabular}}{{{layout}}}",
                r"    \toprule",
                "    " + " & ".join(titles) + r" \\",
                r"    \midrule",
                *(f"    {line}" for line in body),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
                "",
            ]
        )

    def csv(self) -> str:
        """As comma-separated values at full precision: titles, then rows, as pandas reads them."""
        return self.frame.to_csv(index=False, lineterminator="\n")

    def cells(self) -> Iterable[list[str]]:
        """The rows, as text; of the anchor a name that says so, and dashes."""
        for row in self.frame.to_dict("records"):
            first, *others = self.columns
            if row[first.name] == self.anchor and self.anchor is not None:
                yield [f"{self.anchor} (anchor)", *[UNDEFINED] * len(others)]
            else:
                yield [column.cell(row) for column in self.columns]


def _as_json(table: PaperTable) -> str:
    rows = table.frame.to_dict("records")
    content = {"caption": table.caption, "rows": rows, "notes": table.notes}
    return as_json(content)


FORMATS: dict[str, Callable[[PaperTable], str]] = {
    "markdown": PaperTable.markdown,
    "latex": PaperTable.latex,
    "csv": PaperTable.csv,
    "json": _as_json,
}


def bd_rate_table(
    measurements: pd.DataFrame,
    anchor: str,
    *,
    metrics: Sequence[str] = ("psnr_rgb", "ms_ssim_rgb"),
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    intervals: bool = False,
    labels: Mapping[str, str] | None = None,
) -> PaperTable:
    """Set all codecs against an anchor: BD-rates in several metrics, in per cent.

    Parameters
    ----------
    codecs
        By default all.
    dataset
        Needed where the measurements are of several.
    intervals
        With each BD-rate its 95 % confidence interval, in brackets; in the frame, and so in CSV,
        its ends are columns. See `comparison.compare_sides`.
    labels
        What codecs are called, by spec; by default their specs.

    Raises
    ------
    SpecError
        For what does not exist, or where the data set is not named.
    UndefinedError
        Where there is nothing to show.
    """
    averages, dataset, codecs = _chosen(measurements, dataset, codecs)
    check_known(f"codec measured on {dataset}", anchor, averages["codec"].unique())
    kinds = [measured_quality(name, averages) for name in metrics]
    columns = [Column("codec", "Codec")]
    names = _names(measurements, labels)
    cells: dict[str, list[object]] = {"codec": [names[codec] for codec in codecs]}
    notes: dict[str, None] = {}
    for kind in kinds:
        rates = bd_rates(averages, anchor, kind.name).set_index("codec").loc[list(codecs)]
        cells[kind.name] = list(rates["bd_rate_percent"])
        ends = (f"{kind.name}_low", f"{kind.name}_high") if intervals else None
        columns.append(Column(kind.name, f"{_title(kind)} [%]", 1, signed=True, ends=ends))
        if ends:
            pairs = [_interval(measurements, anchor, codec, kind.name, dataset) for codec in codecs]
            cells |= {name: [pair[k] for pair in pairs] for k, name in enumerate(ends)}
        for codec, row in rates.iterrows():
            if row["undefined"] is not None and not pd.isna(row["undefined"]):
                notes[f"{codec}: BD-rate in {kind.name} undefined: {row['undefined']}"] = None
            if row["left_out"]:
                notes[f"{codec}: left out: {row['left_out']}"] = None
            if row["warnings"]:
                notes[f"{codec}, {kind.name}: {row['warnings']}"] = None
    between = " with its 95 % confidence interval" if intervals else ""
    caption = (
        f"BD-rate{between} against {names[anchor]} on {_what(averages, dataset)}, by PCHIP; "
        f"negative: fewer bits at equal quality. {_averaging(kinds)} {_rates(averages, codecs)}"
    )
    return PaperTable(
        caption,
        tuple(columns),
        pd.DataFrame(cells),
        f"tab:bd-rate-{slug(dataset)}",
        tuple(notes),
        names[anchor],
    )


def points_table(
    measurements: pd.DataFrame,
    *,
    metrics: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> PaperTable:
    """List every operating point of each codec: its rate, and its quality in each metric.

    See `bd_rate_table` for parameters and errors; by default all metrics that were measured. SSIM
    and MS-SSIM stand as they are and in dB.
    """
    averages, dataset, codecs = _chosen(measurements, dataset, codecs)
    every = [one.name for one in qualities_with_figures(measurements)]
    kinds = [measured_quality(name, averages) for name in metrics or every]
    columns = [Column("codec", "Codec"), Column("point", "Point")]
    rates = dict.fromkeys(kind.rate for kind in kinds)
    if np.allclose(averages["bpp"], averages["bpp_pooled"], equal_nan=True):
        rates = {"bpp": None}  # images of one size
    columns += [Column(name, _RATES[name], 4) for name in rates]
    for kind in kinds:
        if kind.scale == "dB of an index":
            columns.append(Column(kind.name, _title(kind), 4))
        columns.append(quality_column(kind, averages[kind.value]))
    rows = pd.concat([averages[averages["codec"] == codec] for codec in codecs])
    whole = rows[rows["complete"]]
    notes = [
        f"{codec}: left out: not measured on every image: "
        + ", ".join("" if pd.isna(point) else str(point) for point in some)
        for codec, some in rows[~rows["complete"]].groupby("codec", sort=False)["point"]
    ]
    frame = whole[[column.name for column in columns]].reset_index(drop=True)
    frame["codec"] = frame["codec"].map(_names(measurements, labels))
    caption = (
        f"Operating points on {_what(averages, dataset)}. {_averaging(kinds)} "
        f"{_rates(averages, codecs)}"
    )
    return PaperTable(caption, tuple(columns), frame, f"tab:points-{slug(dataset)}", tuple(notes))


def rates_table(
    measurements: pd.DataFrame,
    rates: Sequence[float],
    *,
    metrics: Sequence[str] = ("psnr_rgb", "ms_ssim_rgb"),
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> PaperTable:
    """Compare codecs at given rates, in bits per pixel: what lies between points is interpolated.

    By PCHIP over log rate; nothing is extrapolated. See `bd_rate_table` for the other parameters
    and the errors.
    """
    from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]

    if not rates or min(rates) <= 0:
        raise SpecError("rates are numbers of bits per pixel over 0, as in 0.25,0.5,1")
    averages, dataset, codecs = _chosen(measurements, dataset, codecs)
    kinds = [measured_quality(name, averages) for name in metrics]
    wanted = np.log(rates)
    blocks, notes, names = [], [], _names(measurements, labels)
    for codec in codecs:
        block = pd.DataFrame({"codec": names[codec], "bpp": list(rates)})
        for kind in kinds:
            line = curve(averages, dataset, codec, kind.name)
            rising = len(line.bpp) > 1 and bool((np.diff(line.bpp) > 0).all()) and line.bpp[0] > 0
            if rising:
                values = PchipInterpolator(np.log(line.bpp), line.value, extrapolate=False)(wanted)
            else:
                values = np.full(len(rates), np.nan)
                notes.append(f"{codec}: {kind.name}: no curve to interpolate on")
            block[kind.value] = values
            if rising and np.isnan(values).any():
                notes.append(
                    f"{codec}: measured from {line.bpp[0]:.3f} to {line.bpp[-1]:.3f} bpp; "
                    "nothing is extrapolated"
                )
        blocks.append(block)
    columns = [Column("codec", "Codec"), Column("bpp", _RATES["bpp"], 3)]
    columns += [quality_column(kind, averages[kind.value]) for kind in kinds]
    caption = (
        f"Quality at equal rate on {_what(averages, dataset)}, interpolated by PCHIP over log "
        f"rate. {_averaging(kinds)} {_rates(averages, codecs)}"
    )
    frame = pd.concat(blocks, ignore_index=True)
    return PaperTable(
        caption, tuple(columns), frame, f"tab:rates-{slug(dataset)}", tuple(dict.fromkeys(notes))
    )


def match_table(
    measurements: pd.DataFrame,
    target: Target,
    *,
    anchor: str | None = None,
    metrics: Sequence[str] = ("psnr_rgb", "ms_ssim_rgb"),
    codecs: Sequence[str] | None = None,
    dataset: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> PaperTable:
    """Compare codecs at equal rate, or at equal quality, by the points that a search found.

    Each image is at an operating point of its own, and was measured there; see `matching.match`.
    Images that not every codec has such a point for are left out for all.

    Parameters
    ----------
    target
        A rate: the table gives qualities. A quality: it gives rates beside other qualities, and
        the rates' difference to the anchor's, image by image.
    anchor
        By default jpeg, or the first codec.

    See `bd_rate_table` for the other parameters and the errors.
    """
    if measurements.empty:
        raise UndefinedError("There are no measurements to make a table of.")
    dataset = only_dataset(measurements, dataset)
    rows = measurements[(measurements["dataset"] == dataset) & measurements["error"].isna()]
    measured = list(rows["codec"].unique())
    for codec in codecs or ():
        check_known(f"codec measured on {dataset}", codec, measured)
    codecs = list(codecs or measured)
    matched, notes = _matched(rows[rows["codec"].isin(codecs)], target)
    shown = [codec for codec in codecs if codec in set(matched["codec"])]
    anchor = anchor or usual_anchor(shown)
    check_known(f"codec matched on {dataset}", anchor, shown)
    names = _names(measurements, labels)
    averages = aggregate(matched.assign(point=str(target), point_index=1, searched=False))
    table = averages.set_index("codec").loc[shown]
    by_codec = pd.Series(target.over(matched), matched.index).groupby(matched["codec"])
    table["worst"] = by_codec.agg(lambda over: max(over, key=abs))
    table["missed"] = by_codec.agg(lambda over: (over.abs() > target.tolerance).sum())
    table["points"] = matched.groupby("codec")["point"].agg(_span)

    reached, rate = target.metric, Column("bpp", _RATES["bpp"], 3)
    wanted = [measured_quality(name, averages) for name in metrics]
    kinds = [kind for kind in wanted if kind.images != target.images]
    columns = [Column("codec", "Codec"), Column("points", "Points")]
    if reached is None:
        table["worst"] = 100 * np.expm1(table["worst"])
        columns += [
            rate,
            Column("worst", "Worst [%]", 1, signed=True),
            Column("missed", "Missed", 0),
        ]
        against = ""
    else:
        of_reached = quality_column(reached, averages[reached.value])
        table["worst"] *= reached.sign
        columns += [
            of_reached,
            Column("worst", f"Worst{_unit(reached)}", of_reached.digits, signed=True),
            Column("missed", "Missed", 0),
            rate,
        ]
        bpp = matched.pivot(index="image", columns="codec", values="bpp").astype("float64")
        percent = 100 * (bpp.div(bpp[anchor], axis=0) - 1)
        table["rate_percent"] = 100 * np.expm1(np.log1p(percent / 100).mean())
        table["least_percent"], table["most_percent"] = percent.min(), percent.max()
        for name, title in (("rate", "Rate"), ("least", "least"), ("most", "most")):
            columns.append(Column(f"{name}_percent", f"{title} [%]", 1, signed=True))
        against = (
            f" Rate in %: against {names[anchor]}, geometric mean, least and most of the images."
        )
    columns += [quality_column(kind, averages[kind.value]) for kind in kinds]
    equal = "rate" if reached is None else "quality"
    caption = (
        f"Equal {equal}: each image of {_what(averages, dataset)} at its operating point nearest "
        f"to {target.text}. Worst: the largest deviation; missed: how many images are more than "
        f"{_tolerance(target)} off.{against}{' ' + _averaging(kinds) if kinds else ''}"
    )
    frame = table.reset_index()[[column.name for column in columns]]
    frame["codec"] = frame["codec"].map(names)
    label = f"tab:{slug(str(target))}-{slug(dataset)}"
    return PaperTable(caption, tuple(columns), frame, label, tuple(notes))


def _matched(rows: pd.DataFrame, target: Target) -> tuple[pd.DataFrame, list[str]]:
    """The points that met a target, on images that all codecs have one for; and what to know."""
    matched = rows[[str(target) in text.split() for text in rows["matches"]]]
    if matched.empty:
        raise UndefinedError(f"Nothing was searched for {target}: run --match {target} does it.")
    by_codec, notes = matched.groupby("codec", sort=False), []
    for codec, own in rows.groupby("codec", sort=False):
        if codec not in by_codec.groups:
            why = "a single operating point" if own["point"].nunique() == 1 else "not searched"
            why = "imported" if "imported" in own and own["imported"].any() else why
            notes.append(f"{codec}: not matched: {why}")
    codecs = matched.groupby("image", sort=False)["codec"].nunique()
    lost = list(codecs.index[codecs < by_codec.ngroups])
    if lost:
        notes.append(f"left out, as not every codec was measured on them: {', '.join(lost)}")
    matched = matched[~matched["image"].isin(lost)]
    if matched.empty:
        raise UndefinedError(f"There is no image on which every codec was matched to {target}.")
    for codec, own in matched.groupby("codec", sort=False):
        far = own.loc[np.abs(target.over(own)) > target.tolerance, "image"]
        if len(far):
            near = rows[(rows["codec"] == codec) & rows["image"].isin(far)]
            notes.append(
                f"{codec}: {len(far)} of {len(own)} images miss {target.text} by more than "
                f"{_tolerance(target)}: {_reasons(near, target)}"
            )
    return matched, notes


def _reasons(rows: pd.DataFrame, target: Target) -> str:
    """Why a codec misses a target on images: from all that was measured on them."""
    over = pd.Series(target.over(rows), rows.index).groupby(rows["image"])
    below, above = int((over.max() < 0).sum()), int((over.min() > 0).sum())
    counts = {
        "below it even at the codec's highest point": below,
        "above it even at the lowest": above,
        "the points are too coarse": over.ngroups - below - above,
    }
    return ", ".join(f"{why} ({count})" for why, count in counts.items() if count)


def _tolerance(target: Target) -> str:
    if target.metric is None:
        return f"{100 * math.expm1(target.tolerance):.0f} %"
    return f"{target.tolerance:g} {target.metric.unit}".rstrip()


def _span(points: pd.Series[str]) -> str:
    """The operating points that were used, from the least to the greatest."""
    try:
        ordered = sorted(points, key=float)
    except ValueError:
        ordered = sorted(points)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


_RATES = {"bpp": "Rate [bpp]", "bpp_pooled": "Rate, pooled [bpp]"}


def _chosen(
    measurements: pd.DataFrame, dataset: str | None, codecs: Sequence[str] | None
) -> tuple[pd.DataFrame, str, list[str]]:
    """The averages on the wanted data set, its name, and the wanted codecs."""
    if measurements.empty:
        raise UndefinedError("There are no measurements to make a table of.")
    dataset = only_dataset(measurements, dataset)
    averages = averages_of_curves(measurements[measurements["dataset"] == dataset])
    measured = list(averages["codec"].unique())
    for codec in codecs or ():
        check_known(f"codec measured on {dataset}", codec, measured)
    return averages, dataset, list(codecs or measured)


def _names(measurements: pd.DataFrame, labels: Mapping[str, str] | None) -> dict[str, str]:
    """What a table calls each codec: as asked, or by its spec, marked if imported."""
    names = display_names(measurements)
    for codec in labels or ():
        check_known("measured codec", codec, names)
    names |= dict(labels or {})
    if twice := [name for name, number in Counter(names.values()).items() if number > 1]:
        raise SpecError(f"two codecs would be called {twice[0]!r}: give one another name")
    return names


def _interval(
    measurements: pd.DataFrame, anchor: str, codec: str, metric: str, dataset: str
) -> tuple[float, float]:
    rate = compare_codecs(measurements, anchor, codec, metric=metric, dataset=dataset).rate
    return rate.low, rate.high


def _what(averages: pd.DataFrame, dataset: str) -> str:
    return f"{dataset} ({counted(averages)})"


def counted(averages: pd.DataFrame) -> str:
    """Of how many images averages are: ``24 images``, ``3 of 24 images``."""
    images, all_images = int(averages["images"].max()), int(averages["dataset_images"].max())
    if not images:
        return "averages"
    of_all = f" of {all_images}" if images < all_images else ""
    return f"{images}{of_all} image{'' if images == all_images == 1 else 's'}"


def _title(kind: Quality) -> str:
    """A metric without its unit: ``PSNR (RGB)``."""
    return kind.label + (", pooled" if kind.pooled else "")


def _unit(kind: Quality) -> str:
    return f" [{kind.unit}]" if kind.unit else ""


def quality_column(kind: Quality, values: pd.Series[float]) -> Column:
    """The column of a metric's values."""
    return Column(kind.value, f"{_title(kind)}{_unit(kind)}", kind.digits(values))


def _averaging(kinds: Sequence[Quality]) -> str:
    """What was averaged how: ``PSNR (RGB): mean of per-image PSNR; ...``."""
    rules: dict[str, list[str]] = {}
    for kind in kinds:
        rules.setdefault(kind.rule, []).append(_title(kind))
    return "; ".join(f"{', '.join(labels)}: {rule}" for rule, labels in rules.items()) + "."


def _rates(averages: pd.DataFrame, codecs: Sequence[str]) -> str:
    bpp = averages.loc[averages["codec"].isin(codecs) & averages["complete"], "bpp"]
    return "" if bpp.empty else f"Rates from {bpp.min():.3f} to {bpp.max():.3f} bpp."


def slug(text: str) -> str:
    """Text as a label of LaTeX takes it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>|]|(?<=\])\()", r"\\\1", text)


_LATEX = {
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\texttt{\char34}",  # \textquotedbl is not in LaTeX's default encoding
    # What names of codecs and metrics may have, and LaTeX knows as mathematics alone.
    **{
        sign: rf"\ensuremath{{{command}}}"
        for sign, command in {
            **{"−": "-", "≤": r"\leq", "≥": r"\geq", "≈": r"\approx", "∞": r"\infty"},
            **{"→": r"\to", "√": r"\surd", "Δ": r"\Delta", "Σ": r"\Sigma"},
            **{"α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta"},
            **{"ε": r"\epsilon", "η": r"\eta", "θ": r"\theta", "κ": r"\kappa"},
            **{"λ": r"\lambda", "μ": r"\mu", "σ": r"\sigma", "τ": r"\tau", "φ": r"\phi"},
        }.items()
    },
}


def _latex_escaped(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _latex_cell(text: str) -> str:
    """A cell; LaTeX sets a figure's sign as a hyphen unless told that it is mathematics."""
    if re.fullmatch(r"[+-][\d.]+( \[[+-][\d.]+, [+-][\d.]+\])?", text):
        return "$" + text.replace(" [", r"\ [") + "$"
    return _latex_escaped(text)
