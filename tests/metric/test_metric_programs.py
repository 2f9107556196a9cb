"""Metrics that are a program: what they are told, what they print, and how they fail."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lic_bench import Image, SpecError, UnavailableError, read_image
from lic_bench.errors import MetricError
from lic_bench.metric import profile
from lic_bench.metric.base import Comparison, Metric, scores_of
from lic_bench.metric.programs import load
from lic_bench.metric.registry import MetricRegistry
from lic_bench.plugins.identity import identity

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON = Path(sys.executable).resolve()

# It prints what it was told, and the mean absolute difference of two PPM files.
PROGRAM = f"""#!{PYTHON} -S
import sys
def samples(path):
    with open(path, "rb") as file:
        return file.read()
a, b = map(samples, sys.argv[1:3])
print("told", *sys.argv[3:], file=sys.stderr)
print("difference:", sum(abs(x - y) for x, y in zip(a, b)) / len(a))
print("largest:", max(abs(x - y) for x, y in zip(a, b)))
"""


def metric(folder: Path, code: str = PROGRAM, **keys: object) -> Metric:
    """The metric of a TOML file, with some keys changed, or left out where None."""
    folder.mkdir(exist_ok=True)
    (folder / "program").write_text(code)
    (folder / "program").chmod(0o755)
    described = {
        "name": "mine",
        "compare": "./program {reference} {distorted}",
        "figure": "^difference: ([0-9.]+)$",
        "better": "lower",
        "reads": "rgb24",
    } | keys
    path = folder / "mine.toml"
    tables = {key: value for key, value in described.items() if isinstance(value, dict)}
    lines = [
        f"{k} = {json.dumps(v)}" for k, v in described.items() if v is not None and k not in tables
    ]
    for key, table in tables.items():
        for name, figure in table.items():
            lines += [f"[{key}.{name}]", *(f"{k} = {json.dumps(v)}" for k, v in figure.items())]
    path.write_text("\n".join(lines))
    return MetricRegistry([path]).metric("mine")


def changed(image: Image) -> Image:
    return np.where(image < 250, image + np.uint8(3), image)


def test_the_number_is_taken_from_what_the_program_prints(noise: Image, tmp_path: Path) -> None:
    compare = Comparison(metric(tmp_path), noise).compare
    expected = float(np.abs(changed(noise).astype(int) - noise).mean())
    assert compare(changed(noise)) == {"mine": pytest.approx(expected)}
    assert compare(noise) == {"mine": 0}


def test_several_figures_come_from_one_call(noise: Image, tmp_path: Path) -> None:
    figures = {
        "mean": {"figure": "difference: (.*)", "better": "lower"},
        "most": {"figure": "largest: (\\d+)", "unit": "dB"},
    }
    mine = metric(tmp_path, figure=None, better=None, figures=figures)
    assert [(one.name, one.column, one.better) for one in scores_of(mine)] == [
        ("mean", "mean", "lower"),
        ("most", "most_db", "higher"),
    ]
    found = Comparison(mine, noise).compare(changed(noise))
    assert found["most_db"] == 3
    assert 0 < (found["mean"] or 0) < 3


@pytest.mark.parametrize("picture", ["png", "ppm", "bmp", "tiff"])
def test_a_program_is_given_the_images_as_it_reads_them(
    picture: str, noise: Image, tmp_path: Path
) -> None:
    kept = tmp_path / f"kept.{picture}"
    code = f"""#!{PYTHON} -S
import shutil, sys
shutil.copy(sys.argv[2], {str(kept)!r})
print("difference:", sys.argv[3])
"""
    command = "./program {reference} {distorted} {width}.{height}"
    compare = Comparison(metric(tmp_path, code, reads=picture, compare=command), noise).compare
    assert compare(changed(noise)) == {"mine": 48.4}
    assert (read_image(kept) == changed(noise)).all()


@pytest.mark.parametrize("end", [r"\n", r"\r\n", r"\r"])
def test_lines_end_as_they_like(end: str, noise: Image, tmp_path: Path) -> None:
    code = f"#!{PYTHON} -S\nimport os\nos.write(1, b'first{end}4.5{end}last{end}')\n"
    mine = metric(tmp_path, code, figure="^([0-9.]+)$")
    assert Comparison(mine, noise).compare(noise) == {"mine": 4.5}


FAILING = {
    "exit": ("sys.exit('no licence')", "ended with exit code 1: no licence"),
    "signal": ("os.kill(os.getpid(), 11)", "died of SIGSEGV"),
    "silent": ("", "printed no mine, but nothing"),
    "nonsense": ("print('difference: many')", "printed no mine, but difference: many"),
    "no number": ("print('difference: 1.2.3')", "printed '1.2.3', which is no number"),
    "binary": ("os.write(1, bytes(range(256)))", "printed no mine"),
    "hang": ("time.sleep(1000)", "program was stopped after 1 s"),
    "talks": ("while True: print('still here', flush=True)", "program was stopped after 1 s"),
    "flood": ("while True: os.write(1, b'9' * 65536)", "program was stopped after 1 s"),
    "closes": ("os.close(1); os.close(2); time.sleep(1000)", "program was stopped after 1 s"),
}


@pytest.mark.parametrize("case", FAILING)
def test_what_goes_wrong_in_a_program_is_told(case: str, noise: Image, tmp_path: Path) -> None:
    code, message = FAILING[case]
    start = f"#!{PYTHON} -S\nimport os, sys, time\n"
    mine = metric(tmp_path, start + code + "\n", timeout_s=1 if message.endswith("1 s") else 60)
    begun = time.monotonic()
    with pytest.raises(MetricError, match=message) as found:
        Comparison(mine, noise).compare(noise)
    assert time.monotonic() - begun < 60
    assert len(str(found.value)) < 600


def test_a_program_leaves_nothing_running(noise: Image, tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = f"""#!{PYTHON}
import subprocess
child = subprocess.Popen(["sleep", "1000"])
open({str(started)!r}, "w").write(str(child.pid))
print("difference: 1")
"""
    assert Comparison(metric(tmp_path, code), noise).compare(noise) == {"mine": 1}
    status = Path(f"/proc/{started.read_text()}/stat")
    for _ in range(1200):  # one that only waits to be reaped has ended
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("what the program started is still there")


@pytest.mark.parametrize(
    ("printed", "message"),
    [("nan", "nan"), ("-inf", "-inf"), ("1e300", "1e.300")],
)
def test_a_number_that_no_image_has_is_refused(
    printed: str, message: str, noise: Image, tmp_path: Path
) -> None:
    code = f"#!{PYTHON} -S\nprint('difference: {printed}')\n"
    with pytest.raises(ValueError, match=message):
        Comparison(metric(tmp_path, code, figure="difference: (.*)"), noise).compare(noise)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"compare": "./program {reference}"}, "{distorted} is missing"),
        ({"compare": "./program {reference} {distorted} {point}"}, "{point} is no placeholder"),
        ({"compare": ""}, "empty command"),
        ({"figure": None}, "one of figure and figures is wanted"),
        ({"figure": "[0-9]+"}, "needs one group"),
        ({"figure": "(["}, "is no regular expression"),
        ({"figures": {"a": {"figure": "(.)"}}}, "one of figure and figures is wanted"),
        ({"better": "up"}, "better"),
        ({"least_side": 0}, "least_side"),
        ({"beter": "lower"}, "beter"),
        ({"name": "bpp"}, "cannot be the name of a figure"),
        ({"name": "a:b"}, "cannot be the name of a figure"),
        ({"name": "ssimulacra2"}, "is taken"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key(
    keys: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message):
        metric(tmp_path, **keys)


def test_a_missing_program_makes_it_unavailable_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no program 'nowhere'.*install nowhere"):
        metric(tmp_path, compare="nowhere {reference} {distorted}", remedy="install nowhere")


def test_the_identity_holds_file_and_program(tmp_path: Path) -> None:
    before = identity(metric(tmp_path / "a"))
    assert identity(metric(tmp_path / "b")) == before
    assert identity(metric(tmp_path / "c", PROGRAM + "# newer\n")) != before
    assert identity(metric(tmp_path / "d", better="higher")) != before


def test_the_example_reads_what_butteraugli_prints() -> None:
    entry = MetricRegistry([EXAMPLES / "butteraugli.toml"]).entry("libjxl-butteraugli")
    said = "9.8512344360\n3-norm: 3.0876\n"  # butteraugli_main of libjxl 0.11.2
    assert entry.cls is not None
    places = entry.cls.places  # type: ignore[attr-defined]
    assert {name: place.search(said)[1] for name, place in places.items()} == {
        "libjxl_butteraugli": "9.8512344360",
        "libjxl_butteraugli_3norm": "3.0876",
    }


BAD_FILES = {
    "deep": (b"a = " + b"[" * 100_000, "f.toml"),
    "long": (b"x" * 2_000_000, "2,000,000 bytes"),
    "quoted": (b"'" + b"a" * 20_000 + b"' = 1\nname = 'm'\ncompare = 'x'", "f.toml"),
    "no text": (b"\xff\xfe", "f.toml"),
    "steering": (b'"\\u001b[2J" = 1\nname = "m"\ncompare = "x"', "f.toml"),
    "expression": (
        b"name = 'm'\ncompare = 'm {reference} {distorted}'\nfigure = '"
        + b"(" * 20_000 + b")" * 20_000 + b"'", "f.toml",
    ),
    "expression that repeats": (
        b"name = 'm'\ncompare = 'm {reference} {distorted}'\nfigure = '(a){99999999999}'", "f.toml"
    ),
    "label": (
        b"name = 'm'\ncompare = 'm {reference} {distorted}'\nfigure = '(a)'\nlabel = '"
        + b"a" * 5000 + b"'", "label",
    ),
}  # fmt: skip


@pytest.mark.parametrize("read", [load, lambda path: profile.load(str(path))], ids=["m", "p"])
@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_was_made_to_do_harm(what: str, read: object, tmp_path: Path) -> None:
    content, says = BAD_FILES[what]
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=says if read is load else "f.toml") as caught:
        read(path)  # type: ignore[operator]
    assert len(str(caught.value)) < 1000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f.toml")
    for read in (load, lambda path: profile.load(str(path))):
        with pytest.raises(SpecError, match="is no file"):
            read(tmp_path / "f.toml")
