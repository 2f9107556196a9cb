"""Tables for a paper: what they say is what was measured, in each format."""

import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command
from markdown_it import MarkdownIt
from scipy.interpolate import PchipInterpolator

from lic_bench import Image, SpecError, bd_rates, write_image
from lic_bench.analysis.comparison import compare_codecs
from lic_bench.analysis.curves import aggregate
from lic_bench.metric.quality import QUALITIES
from lic_bench.reporting.tables import (
    FORMATS,
    UNDEFINED,
    PaperTable,
    bd_rate_table,
    points_table,
    rates_table,
)

ODD = r"my_codec:a=50%,b=$1|<script>&{}#~^\x*"


def sweep(codec: str, factor: float, points: int = 5, size: int = 80) -> list[dict]:
    rows = []
    for i in range(3):
        for p in range(points):
            bpp, psnr = factor * 0.1 * 1.7 ** (p + i / 9), 27 + 2.5 * p - i / 3
            rows.append(
                {"dataset": "set", "image": f"{i}.png", "image_sha256": str(i), "codec": codec}
                | {"width": 100 + i * size, "height": 80, "point": str(10 * p), "point_index": p}
                | {"bytes": bpp * (100 + i * size) * 10, "bpp": bpp, "error": None}
                | {"mse_rgb": 255**2 * 10 ** (-psnr / 10), "encode_s": 0.1, "decode_s": 0.1}
                | {"psnr_rgb_db": psnr, "psnr_y_db": psnr + 1, "psnr_y709_db": psnr + 2}
                | {"ssim_rgb": 1 - 10 ** (-psnr / 25), "ssim_y": 1 - 10 ** (-psnr / 24)}
                | {"ms_ssim_rgb": 1 - 10 ** (-psnr / 20), "ms_ssim_y": 1 - 10 ** (-psnr / 19)}
                | {"dataset_images": 3}
            )
    return rows


@pytest.fixture(scope="module")
def measurements() -> pd.DataFrame:
    return pd.DataFrame([*sweep("jpeg", 1), *sweep(ODD, 0.8), *sweep("short", 1.2, points=3)])


@pytest.fixture(scope="module", params=["bd", "bd with intervals", "points", "rates"])
def table(request: pytest.FixtureRequest, measurements: pd.DataFrame) -> PaperTable:
    return {
        "bd": lambda: bd_rate_table(measurements, "jpeg"),
        "bd with intervals": lambda: bd_rate_table(measurements, "jpeg", intervals=True),
        "points": lambda: points_table(measurements),
        "rates": lambda: rates_table(measurements, [0.05, 0.2, 0.5]),
    }[request.param]()


def check(cells: list[list[str]], table: PaperTable) -> None:
    """Whether these are the rows of the table, rounded."""
    assert len(cells) == len(table.frame)
    for row, (_, expected) in zip(cells, table.frame.iterrows(), strict=True):
        if expected["codec"] == table.anchor:
            assert row == [f"{table.anchor} (anchor)", *[UNDEFINED] * (len(table.columns) - 1)]
            continue
        for text, column in zip(row, table.columns, strict=True):
            value = expected[column.name]
            if column.digits is None:
                assert text == value
            elif np.isnan(value):
                assert text == UNDEFINED
            else:
                shown = re.fullmatch(r"(\S+)(?: \[(\S+), (\S+)\])?", text)
                assert shown
                parts = [part for part in shown.groups() if part is not None]
                for part, name in zip(parts, (column.name, *(column.ends or ())), strict=True):
                    near = pytest.approx(expected[name], abs=0.5001 * 10**-column.digits)
                    assert float(part) == near
                    assert re.fullmatch(rf"[+-]?\d+\.\d{{{column.digits}}}", part)


def test_markdown_parses_back_to_the_same(table: PaperTable) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(table.markdown())
    assert not [token for token in tokens if token.type == "html_block"]
    texts = []
    for token in tokens:
        if token.type == "inline":
            children = token.children or []
            kinds = {child.type for child in children} - {"text", "text_special"}
            assert not kinds, token.content
            texts.append("".join(child.content for child in children))
    assert texts[0] == table.caption
    width = len(table.columns)
    rows = [texts[i : i + width] for i in range(1, len(texts), width)]
    assert rows[0] == [column.title for column in table.columns]
    check(rows[1:], table)


def test_latex_has_every_row_with_its_signs_escaped(table: PaperTable) -> None:
    text = table.latex()
    body = re.search(r"\\midrule\n(.*?)\s*\\bottomrule", text, re.DOTALL)
    assert body
    lines = [line.strip() for line in body[1].splitlines() if r"\addlinespace" not in line]
    assert all(line.endswith(r" \\") for line in lines)
    rows = [
        [plain(cell) for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))] for line in lines
    ]
    check(rows, table)
    [layout] = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert layout == "".join("l" if column.digits is None else "r" for column in table.columns)
    [caption] = re.findall(r"\\caption\{(.*)\}\n", text)
    assert plain(caption) == table.caption
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")


def plain(latex: str) -> str:
    """What LaTeX would set."""
    named = {
        "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~",
        "textless": "<", "textgreater": ">", "textbar": "|",
    }  # fmt: skip
    text = re.sub(r"^\$([^$]+)\$$", lambda m: m[1].replace(r"\ [", " ["), latex.strip())
    assert not re.search(r"(?<!\\)[$#_%~^]", re.sub(r"\\\\", "", text))
    return re.sub(r"\\(?:([a-z]+)\{\}|(.))", lambda m: named.get(m[1] or "", m[2] or ""), text)


def compiled(text: str, folder: Path) -> str:
    """What pdflatex says of a table, in an article that loads booktabs and nothing else."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex")
    document = (
        "\\documentclass{article}\\usepackage{booktabs}"
        f"\\begin{{document}}\n{text}\\end{{document}}\n"
    )
    (folder / "table.tex").write_text(document, encoding="utf-8")
    called = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(called, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_latex_compiles(table: PaperTable, tmp_path: Path) -> None:
    assert "Missing character" not in compiled(table.latex(), tmp_path)


def test_latex_takes_names_of_any_signs(measurements: pd.DataFrame, tmp_path: Path) -> None:
    name = '"Größe" −2 ≤ λ → 0.5 % × µ²'
    text = bd_rate_table(measurements, "jpeg", labels={"short": name}, intervals=True).latex()
    assert "Missing character" not in compiled(text, tmp_path)
    shown = text.replace(r"\texttt{\char34}", '"').replace(r"\%", "%")
    for sign, written in (("−", "-"), ("≤", r"\leq"), ("λ", r"\lambda"), ("→", r"\to")):
        shown = shown.replace(rf"\ensuremath{{{written}}}", sign)
    assert f"    {name} & " in shown


def test_csv_is_the_frame(table: PaperTable) -> None:
    read = pd.read_csv(io.StringIO(table.csv()), dtype={"point": str})
    pd.testing.assert_frame_equal(read, table.frame, check_dtype=False, rtol=1e-15)


def test_the_caption_says_what_a_reader_must_know(table: PaperTable) -> None:
    assert "on set (3 images)" in table.caption
    assert "mean of per-image PSNR" in table.caption
    assert "dB of the mean MS-SSIM" in table.caption
    assert re.search(r"Rates from 0\.08\d to \d\.\d{3} bpp\.", table.caption)
    assert "\n" not in table.caption


def test_bd_rates_are_those_of_the_curves(measurements: pd.DataFrame) -> None:
    table = bd_rate_table(measurements, "jpeg", metrics=["psnr_y", "ssim_y"], intervals=True)
    assert "against jpeg" in table.caption
    for metric in ("psnr_y", "ssim_y"):
        expected = bd_rates(aggregate(measurements), "jpeg", metric)["bd_rate_percent"]
        np.testing.assert_array_equal(table.frame[metric], expected)
        # Every image's rate was changed by the same factor.
        np.testing.assert_allclose(table.frame[f"{metric}_low"], [0, -20, np.nan], atol=1e-9)
        np.testing.assert_allclose(table.frame[f"{metric}_high"], [0, -20, np.nan], atol=1e-9)
    assert table.notes == (
        "short: BD-rate in psnr_y undefined: fewer than four points (short has 3)",
        "short: BD-rate in ssim_y undefined: fewer than four points (short has 3)",
    )


def test_points_are_the_averages(measurements: pd.DataFrame) -> None:
    failed = measurements.copy()
    failed.loc[failed.index[:1], "error"] = "no"
    table = points_table(failed, codecs=["short", "jpeg"])
    averages = aggregate(measurements)
    expected = pd.concat(
        [averages[averages["codec"] == "short"], averages[averages["codec"] == "jpeg"][1:]]
    )
    for column in table.columns:
        assert table.frame[column.name].tolist() == expected[column.name].tolist()
    names = list(table.frame.columns)
    assert [metric.value for metric in QUALITIES.values()] == [
        name for name in names if name.endswith("_db")
    ]
    assert names[:4] == ["codec", "point", "bpp", "bpp_pooled"]
    assert table.notes == ("jpeg: left out: not measured on every image: 0",)
    assert len({column.title for column in table.columns}) == len(table.columns)


def test_a_pooled_rate_that_is_the_same_is_not_shown() -> None:
    table = points_table(pd.DataFrame(sweep("jpeg", 1, size=0)))
    assert "bpp_pooled" not in table.frame


def test_rates_are_interpolated_and_never_extrapolated(measurements: pd.DataFrame) -> None:
    table = rates_table(measurements, [0.05, 0.2, 0.5], metrics=["psnr_rgb", "psnr_rgb_pooled"])
    averages = aggregate(measurements)
    averages = averages[averages["codec"] == "jpeg"]
    found = table.frame[table.frame["codec"] == "jpeg"]
    assert found["bpp"].tolist() == [0.05, 0.2, 0.5]
    for value, rate in (("psnr_rgb_db", "bpp"), ("psnr_rgb_pooled_db", "bpp_pooled")):
        curve = PchipInterpolator(np.log(averages[rate]), averages[value], extrapolate=False)
        np.testing.assert_allclose(found[value], curve(np.log([0.05, 0.2, 0.5])))
        assert np.isnan(found[value].iloc[0])
    assert any(note.startswith("jpeg: measured from 0.1") for note in table.notes)
    at_a_point = rates_table(measurements, [averages["bpp"].iloc[2]], codecs=["jpeg"])
    assert at_a_point.frame["psnr_rgb_db"][0] == pytest.approx(averages["psnr_rgb_db"].iloc[2])


def test_what_does_not_exist_is_refused(measurements: pd.DataFrame) -> None:
    for wrong, message in (
        ({"metrics": ["psnt"]}, "no metric 'psnt'"),
        ({"codecs": ["jpg"]}, "did you mean jpeg"),
        ({"dataset": "sat"}, "did you mean set"),
    ):
        for make in (
            lambda **k: bd_rate_table(measurements, "jpeg", **k),
            lambda **k: points_table(measurements, **k),
            lambda **k: rates_table(measurements, [1], **k),
        ):
            with pytest.raises(SpecError, match=message):
                make(**wrong)
    with pytest.raises(SpecError, match="'bpg'"):
        bd_rate_table(measurements, "bpg")
    with pytest.raises(SpecError, match="over 0"):
        rates_table(measurements, [0])
    both = pd.concat([measurements, measurements.assign(dataset="other")])
    with pytest.raises(SpecError, match="--dataset: set, other"):
        points_table(both)
    assert "on other" in points_table(both, dataset="other").caption


def test_an_interval_stands_in_the_cell_of_its_figure(measurements: pd.DataFrame) -> None:
    spread = measurements.copy()  # each image saves another share
    test = spread["codec"] == ODD
    spread.loc[test, "bpp"] *= 1 + 0.1 * spread.loc[test, "image_sha256"].astype(float)
    table = bd_rate_table(spread, "jpeg", metrics=["psnr_rgb"], intervals=True)
    found = compare_codecs(spread, "jpeg", ODD).rate
    cell = f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
    assert found.high - found.low > 1
    assert [row[1] for row in table.cells()] == [UNDEFINED, cell, UNDEFINED]
    assert cell.replace(" [", r"\ [").join("$$") in table.latex()
    read = pd.read_csv(io.StringIO(table.csv()))
    assert list(read) == ["codec", "psnr_rgb", "psnr_rgb_low", "psnr_rgb_high"]
    assert read["codec"].tolist() == ["jpeg", ODD, "short"]
    assert read["psnr_rgb"].tolist() == pytest.approx([0, found.value, np.nan], nan_ok=True)
    assert read["psnr_rgb_low"][1] == pytest.approx(found.low)


def test_codecs_are_called_as_asked(measurements: pd.DataFrame) -> None:
    labels = {"jpeg": "JPEG", ODD: "Ours"}
    named = bd_rate_table(measurements, "jpeg", labels=labels)
    plainly = bd_rate_table(measurements, "jpeg")
    assert named.frame["codec"].tolist() == ["JPEG", "Ours", "short"]
    pd.testing.assert_frame_equal(
        named.frame.drop(columns="codec"), plainly.frame.drop(columns="codec")
    )
    assert next(iter(named.cells()))[0] == "JPEG (anchor)" and "against JPEG" in named.caption
    for make in (points_table, lambda rows, **more: rates_table(rows, [0.2], **more)):
        assert set(make(measurements, labels=labels).frame["codec"]) == {"JPEG", "Ours", "short"}
    with pytest.raises(SpecError, match="bpg"):
        bd_rate_table(measurements, "jpeg", labels={"bpg": "BPG"})


def test_each_format_has_a_name() -> None:
    assert set(FORMATS) == {"markdown", "latex", "csv", "json"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_image(folder / "cat.png", photo)
    command(
        *("run", "-c", "jpeg,jpeg:subsampling=4:4:4", "-d", "cat.png", "-p", "20,40,60,80"),
        *("-j", "1", "-o", "results/mine"),
        cwd=folder,
    )
    return folder


@pytest.mark.slow
def test_the_command_makes_each_table(store: Path) -> None:
    assert re.search(
        r"^\| jpeg:subsampling=4:4:4 \| [+-]", command("table", cwd=store).stdout, re.M
    )
    printed = command(
        *("table", "results/mine", "--by-point", "-m", "psnr_y", "-c", "jpeg", "-o", "points.csv"),
        cwd=store,
    ).stdout
    assert printed.strip() == "points.csv"
    points = pd.read_csv(store / "points.csv")
    assert points["point"].tolist() == [20, 40, 60, 80]
    assert list(points) == ["codec", "point", "bpp", "psnr_y_db"]
    rates = command("table", "--at", "1,1.5", "-f", "latex", "-m", "all", cwd=store).stdout
    assert r"\bottomrule" in rates and r"jpeg & 1.500 & " in rates
    latex = command("table", "--interval", "-f", "latex", cwd=store).stdout
    assert "tab:bd-rate" in latex


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by-point", "--at", "1"], "give one of them"),
        (["--at", "x"], "numbers are wanted"),
        (["--format", "html"], "no format 'html'"),
        (["--out", "table.doc"], "ends in .md, .tex, .csv"),
        (["--anchor", "bpg"], "'bpg'"),
        (["--label", "bpg=BPG"], "'bpg'"),
        (["nowhere"], "nowhere holds no measurements"),
    ],
)
def test_a_wrong_request_is_told_in_a_line_or_two(
    store: Path, arguments: list[str], message: str
) -> None:
    printed = command("table", *arguments, cwd=store, code=2).stderr
    assert message in printed
    assert printed.count("\n") <= 2
