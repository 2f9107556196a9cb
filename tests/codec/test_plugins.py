"""Plugin files that import what lies beside them."""

import sys
from pathlib import Path

import numpy as np
import pytest

import lic_bench
from lic_bench import Codec, Image, Registry, SpecError, write_image

PLUGIN = """
{imports}
from lic_bench import Codec

class Mine(Codec):
    name = "{name}"
    def encode(self, image, point):
        {lazy}
        return {value}
    def decode(self, stream): ...
"""


def codec(folder: Path, value: str, imports: str = "", lazy: str = "", name: str = "mine") -> Codec:
    """The codec of a plugin that encodes everything as one value."""
    folder.mkdir(exist_ok=True)
    (folder / "codec.py").write_text(
        PLUGIN.format(imports=imports, lazy=lazy, value=value, name=name)
    )
    return Registry([folder / "codec.py"]).codec(name)


def files(folder: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize("place", ["imports", "lazy"])
@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("import helper", "helper.VALUE"),
        ("import helper as other", "other.VALUE"),
        ("from helper import VALUE", "VALUE"),
        ("from . import helper", "helper.VALUE"),
        ("import parts.deep", "parts.deep.VALUE"),
        ("import parts.deep as deep", "deep.VALUE"),
        ("from parts import deep", "deep.VALUE"),
        ("from parts.deep import VALUE", "VALUE"),
    ],
)
def test_a_plugin_imports_its_neighbours(
    place: str, statement: str, value: str, tmp_path: Path, noise: Image
) -> None:
    files(
        tmp_path,
        helper="import third\nVALUE = third.VALUE",
        third="VALUE = b'beside'",
        parts____init__="",
        parts__deep="from helper import VALUE",
    )
    mine = codec(tmp_path, value, **{place: statement})
    assert mine.encode(noise, None) == b"beside"
    assert not {"helper", "third", "parts"} & set(sys.modules)
    package = type(mine).__module__.partition(".")[0]
    assert sys.modules[f"{package}.helper"].__file__ == str(tmp_path / "helper.py")


def test_neighbours_of_one_name_are_apart(tmp_path: Path, noise: Image) -> None:
    for name in ("a", "b"):
        files(tmp_path / name, helper=f"VALUE = b'{name}'")
    a, b = (codec(tmp_path / name, "helper.VALUE", lazy="import helper") for name in ("a", "b"))
    assert (a.encode(noise, None), b.encode(noise, None)) == (b"a", b"b")


def test_a_neighbour_shadows_nothing_that_is_installed(tmp_path: Path, noise: Image) -> None:
    files(tmp_path, random="1 / 0", numpy="1 / 0", zlib="1 / 0", PIL____init__="1 / 0")
    mine = codec(
        tmp_path,
        "bytes([numpy.uint8(7)])",
        imports="import random, zlib, numpy, PIL.Image",
    )
    assert mine.encode(noise, None) == b"\7"


def test_nothing_is_imported_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files(tmp_path / "current", helper="VALUE = b'current'"))
    with pytest.raises(SpecError, match=r"does not load: ModuleNotFoundError: .*'helper'"):
        codec(tmp_path / "plugin", "b''", imports="import helper")


def test_others_do_not_see_the_neighbours(tmp_path: Path) -> None:
    codec(files(tmp_path, helper=""), "b''", imports="import helper")
    with pytest.raises(ModuleNotFoundError):
        __import__("helper")
    assert str(tmp_path) not in sys.path


def test_a_neighbour_that_was_changed_is_loaded_anew(tmp_path: Path, noise: Image) -> None:
    for value in (b"1", b"2"):  # within a second, and of one size: bytecode would be stale
        files(tmp_path, helper=f"VALUE = {value!r}")
        mine = codec(tmp_path, "helper.VALUE", imports="import helper")
        assert mine.encode(noise, None) == value
    assert not (tmp_path / "__pycache__").exists()


def test_what_a_neighbour_lacks_is_said(tmp_path: Path) -> None:
    files(tmp_path, helper="import does_not_exist")
    with pytest.raises(SpecError, match="ModuleNotFoundError: No module named 'does_not_exist'"):
        codec(tmp_path, "b''", imports="import helper")


def test_workers_find_the_neighbours(tmp_path: Path, noise: Image) -> None:
    text = """
from lic_bench import Codec

class Mine(Codec):
    name = "mine"
    def encode(self, image, point):
        import helper
        return helper.pack(image)
    def decode(self, stream):
        import helper
        return helper.unpack(stream)
"""
    helper = """
import numpy as np

def pack(image):
    return bytes(image.shape[:2]) + image.tobytes()

def unpack(stream):
    return np.frombuffer(stream, np.uint8, offset=2).reshape(*stream[:2], 3).copy()
"""
    files(tmp_path, helper=helper, codec=text)
    write_image(tmp_path / "noise.png", noise)
    table = lic_bench.run(
        ["mine"],
        [str(tmp_path / "noise.png")],
        out=tmp_path / "out",
        plugins=[tmp_path / "codec.py"],
        jobs=1,
    )
    assert table["error"].isna().all()
    assert table["bytes"].tolist() == [noise.size + 2]
    assert np.isclose(table["mse_rgb"], 0).all()
