import json
import re
from pathlib import Path

import pytest

from lic_bench import BitstreamError, Image, Registry, SpecError
from lic_bench.codec.base import Codec
from lic_bench.errors import error_place

PLUGIN = """
import json
import numpy as np
import helper
from lic_bench import Codec

class Mine(Codec):
    name = "mine"
    def encode(self, image, point):
        return {code}
    def decode(self, stream): ...
    def inner(self):
        return 1 // 0
"""


def raised(codec: Codec, image: Image) -> BaseException:
    with pytest.raises(Exception) as caught:
        codec.encode(image, None)
    return caught.value


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("self.inner()", "my_codec.py:13, in inner"),
        ("json.loads('{')", "my_codec.py:10, in encode"),  # raised within the standard library
        ("np.zeros(2).reshape(3)", "my_codec.py:10, in encode"),
        ("np.concatenate([image, 3])", "my_codec.py:10, in encode"),
        ("self.check_point(3)", "my_codec.py:10, in encode"),  # raised within lic-bench
        ("helper.fails()", "helper.py:2, in fails"),
    ],
)
def test_the_place_is_in_the_codecs_own_code(
    code: str, place: str, noise: Image, tmp_path: Path
) -> None:
    (tmp_path / "my_codec.py").write_text(PLUGIN.format(code=code))
    (tmp_path / "helper.py").write_text("def fails():\n    return [][0]\n")
    codec = Registry([tmp_path / "my_codec.py"]).codec("mine")
    assert error_place(raised(codec, noise)) == place


def test_our_own_codecs_are_codecs(noise: Image) -> None:
    place = error_place(raised(Registry().codec("jpeg"), noise))
    assert re.fullmatch(r"pillow_codec\.py:\d+, in encode", place)


def test_an_installed_codec_is_named_where_it_was_called(tmp_path: Path) -> None:
    # What a package does with NumPy is its own affair: all of it is installed.
    text = "import json\ndef encode(): return deeper()\ndef deeper(): return json.loads('{')\n"
    path = tmp_path / "site-packages" / "codec_package.py"
    names: dict[str, object] = {"__name__": "codec_package"}
    exec(compile(text, path, "exec"), names)  # noqa: S102
    with pytest.raises(json.JSONDecodeError) as caught:
        names["encode"]()  # type: ignore[operator]
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    assert error_place(caught.value) == "codec_package.py:2, in encode"


def test_what_was_never_raised_has_no_place() -> None:
    assert error_place(BitstreamError("damaged")) == ""


def test_what_the_bench_raises_alone_has_no_place() -> None:
    with pytest.raises(SpecError) as caught:
        Registry().codec("nothing")
    # Without the frame of this test, which is neither the bench's nor installed.
    caught.value.__traceback__ = caught.value.__traceback__.tb_next  # type: ignore[union-attr]
    assert error_place(caught.value) == ""
