"""The command line from within: one process, no codec of more than a few lines."""

import inspect
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

import lic_bench
from lic_bench import write_image
from lic_bench.cli import options
from lic_bench.cli.arguments import bounds, expand, names, numbers, points_of
from lic_bench.cli.main import app
from lic_bench.codec.registry import Registry
from lic_bench.errors import SpecError
from lic_bench.metric.quality import QUALITIES
from lic_bench.store import table

FAILS = """
import os
import time
from lic_bench import Codec

class Fails(Codec):
    name = "fails"
    points = (1, 2)
    def encode(self, image, point): raise ValueError("no such luck")
    def decode(self, stream): ...

class Dies(Codec):
    name = "dies"
    def encode(self, image, point): os._exit(3)
    def decode(self, stream): ...

class Sleeps(Codec):
    name = "sleeps"
    def encode(self, image, point): time.sleep(60)
    def decode(self, stream): ...
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "photos" / "noise.png", noise)
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIC_BENCH_DEBUG", raising=False)
    (tmp_path / "photos").mkdir()


def test_python_and_the_command_line_leave_the_same_tables(photos: Path, tmp_path: Path) -> None:
    lic_bench.run(["none"], [str(photos)], out=tmp_path / "python", jobs=1)
    command("run", "-c", "none", "-d", photos, "-o", "typed", "-j", 1)
    for name in ("measurements.parquet", "measurements.csv"):
        read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
        python, typed = (read(tmp_path / out / name) for out in ("python", "typed"))
        columns = ["image", "codec", "bytes", "psnr_rgb_db", "ms_ssim_y"]
        pd.testing.assert_frame_equal(python[columns], typed[columns])
        assert len(python) == 1


@pytest.mark.slow
@pytest.mark.parametrize("match", [[], ["--match", "bpp=4"]])
def test_the_store_becomes_a_table_once_a_run(
    match: list[str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    frame = table.frame
    monkeypatch.setattr(table, "frame", lambda store: calls.append(store) or frame(store))
    done = command("run", "-c", "jpeg", "-p", "20,80", "-d", photos, "-j", 1, *match)
    assert len(calls) == 1
    assert "results/mine/measurements.parquet" in done.stdout
    assert ("Equal rate" in done.stdout) == bool(match)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(["--debug", "plot"], None), (["plot"], "1")],
)
def test_debug_shows_the_traceback_of_what_is_otherwise_a_line(
    arguments: list[str], environment: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = command("plot", code=2)
    if environment is not None:
        monkeypatch.setenv("LIC_BENCH_DEBUG", environment)
    debugged = command(*arguments, code=2, traceback=True)
    assert "StoreError" in debugged.stderr
    assert debugged.stderr.endswith(plain.stderr)


def test_debug_may_stand_behind_run() -> None:
    command("run", "--debug", "-c", "nope", code=2, traceback=True)
    command("run", "-c", "nope", code=2)


def test_debug_shows_the_traceback_that_the_store_keeps_of_each_reason(
    photos: Path, tmp_path: Path
) -> None:
    write_image(photos / "second.png", np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "plugin.py").write_text(FAILS)
    run = ("run", "-c", "fails", "--plugin", "plugin.py", "-d", photos, "-j", 1)
    plain = command(*run, code=1)
    assert "noise.png, fails 1 and 3 more: ValueError: no such luck" in plain.stderr
    debugged = command("--debug", *run, code=1, traceback=True)
    assert debugged.stderr.count("Traceback") == 1
    assert 'plugin.py", line 9, in encode' in debugged.stderr


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ("fails", "fails: ValueError: no such luck"),
        ("dies", "dies: the process ended with exit code 3"),
        ("sleeps", "sleeps: took longer than 1 s (--timeout)"),
    ],
)
def test_a_codec_that_goes_wrong_costs_encode_a_line(
    codec: str, message: str, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "plugin.py").write_text(FAILS)
    encode = ("encode", "--plugin", "plugin.py", "-c", codec, photos / "noise.png", "stream")
    point = ("-p", 1) if codec == "fails" else ()
    done = command(*encode, *point, "--timeout", 1 if codec == "sleeps" else 60, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "stream").exists()
    if codec == "fails":
        debugged = command("--debug", *encode, *point, code=2, traceback=True).stderr
        assert 'plugin.py", line' in debugged
        assert debugged.endswith(done.stderr)


def test_an_option_of_several_commands_is_declared_once() -> None:
    declarations = defaultdict(set)
    for registered in app.registered_commands:
        assert registered.callback is not None
        for hint in inspect.get_annotations(registered.callback, eval_str=True).values():
            for option in getattr(hint, "__metadata__", ()):
                declarations[option.param_decls, option.help].add(id(option))
    assert len(declarations) > 40
    assert [key for key, objects in declarations.items() if key[1] and len(objects) > 1] == []


def test_the_help_names_every_metric() -> None:
    [option] = options.MetricName.__metadata__  # type: ignore[attr-defined]
    listed = option.help.partition(", or another")[0].split(", ")
    assert listed == list(QUALITIES)


def test_texts_of_a_command_line() -> None:
    codecs = {spec: Registry().codec(spec) for spec in ("jpeg", "jpeg2000", "none")}
    assert points_of(codecs, ["jpeg=10:50:20", "jpeg2000=96"]) == {
        "jpeg": [10, 30, 50],
        "jpeg2000": [96.0],
    }
    with pytest.raises(SpecError, match="'webp', which is none of the codecs"):
        points_of(codecs, ["webp=1"])
    assert expand(["jpeg,none", "jpeg"]) == ["jpeg", "none"]
    assert names(["a, b", "a,,c"]) == ["a", "b", "c"]
    assert numbers("--at", "0.25,1") == [0.25, 1]
    assert [bounds("--xlim", text) for text in (None, "0,2", ",2")] == [None, (0, 2), (None, 2)]
    with pytest.raises(SpecError, match="--at 1,x: numbers are wanted"):
        numbers("--at", "1,x")


def test_the_panels_of_the_help_name_options_that_there_are() -> None:
    from typer.main import get_command

    from lic_bench.cli.panels import _PANELS

    top = get_command(app)
    known = {**top.commands, **top.commands["rate"].commands}
    for command_name, panels in _PANELS.items():
        placed = [option for names in panels.values() for option in names]
        options = {one.name: one for one in known[command_name].params}
        assert len(placed) == len(set(placed))
        assert set(placed) <= set(options), command_name
        assert all(options[name].rich_help_panel in panels for name in placed)
    crowded = {name for name, one in known.items() if len(one.params) > 13}
    assert crowded <= set(_PANELS)
