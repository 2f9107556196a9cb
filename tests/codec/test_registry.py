import json
import subprocess
import sys
from pathlib import Path

import pytest

from lic_bench import Registry, SpecError, UnavailableError
from lic_bench.execution.plan import plan
from lic_bench.plugins.identity import identity

PLUGIN = """
from lic_bench import Codec

class Mine(Codec):
    name = "{name}"
    def encode(self, image, point): return b""
    def decode(self, stream): ...
    {more}
"""


def plugin(folder: Path, name: str = "mine", more: str = "", file: str = "mine.py") -> Path:
    path = folder / file
    path.write_text(PLUGIN.format(name=name, more=more))
    return path


def test_our_codecs_come_through_the_entry_points() -> None:
    registry = Registry()
    assert {"jpeg", "jpeg2000", "none"} <= set(registry.names())
    for name in ("jpeg", "jpeg2000", "none"):
        assert registry.entry(name).problem is None
        assert registry.codec(name).name == name


def test_a_plugin_file_adds_its_codecs(tmp_path: Path) -> None:
    registry = Registry([plugin(tmp_path)])
    assert "mine" in registry.names()
    assert registry.entry("mine").origin == str(tmp_path / "mine.py")
    assert registry.codec("mine").name == "mine"


def test_a_base_class_without_a_name_is_no_codec(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    text = path.read_text().replace("class Mine(Codec):", "class Base(Codec):")
    path.write_text(
        text.replace('    name = "mine"\n', "") + "\nclass One(Base):\n    name = 'one'\n"
        "class Two(Base):\n    name = 'two'\n"
    )
    registry = Registry([path])
    assert set(registry.names()) - set(Registry().names()) == {"one", "two"}


def test_a_codec_that_is_not_there_is_named_with_a_near_one() -> None:
    with pytest.raises(SpecError, match="no codec 'jepg'; did you mean 'jpeg'"):
        Registry().codec("jepg")


def test_an_unavailable_codec_is_listed_and_refused_with_the_remedy(tmp_path: Path) -> None:
    more = "unavailable = classmethod(lambda cls: 'it needs libfoo; install libfoo')"
    registry = Registry([plugin(tmp_path, more=more)])
    assert registry.entry("mine").problem == "it needs libfoo; install libfoo"
    with pytest.raises(UnavailableError, match="cannot be used here: it needs libfoo; install"):
        registry.codec("mine")


def test_a_check_that_fails_makes_the_codec_unavailable(tmp_path: Path) -> None:
    registry = Registry([plugin(tmp_path, more="unavailable = classmethod(lambda cls: 1 / 0)")])
    assert "division by zero" in str(registry.entry("mine").problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import does_not_exist", "does not load: ModuleNotFoundError"),
        ("def", "does not load: SyntaxError"),
        ("x = 1", "holds neither codec nor metric"),
        ("from lic_bench import Codec", "holds neither codec nor metric"),
        (PLUGIN.format(name="jpeg", more=""), "name 'jpeg' is taken"),
        (PLUGIN.format(name="a:b", more=""), "'a:b' is no name for a codec"),
        (PLUGIN.format(name="", more="").replace('name = ""', ""), "Mine has no name; give it"),
    ],
)
def test_a_wrong_plugin_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as error:
        Registry([path])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["absent.py", "notes.txt"])
def test_a_plugin_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SpecError, match=name):
        Registry([tmp_path / name])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("def __init__(self): open('nowhere')", "cannot be made: FileNotFoundError: .*mine.py:8, "),
        (
            "def __init__(self): raise OSError('a\\n\\x1b[2Jb')",
            r"made: OSError: a \\x1b\[2Jb \(mine.py",
        ),
        ("def versions(self): return 1 // 0", "gives no versions.*ZeroDivisionError.*mine.py:8"),
        ("def versions(self): return {'a': b''}", "gives no versions.*bytes is not JSON"),
        ("points = 'low'", r"no tuple such as \(10, 50, 90\), but 'low'"),
        ("points = ()", r"no tuple such as \(10, 50, 90\), but \(\)"),
        ("import numpy; points = numpy.arange(3)", "no tuple such as"),
        ("import numpy; points = tuple(numpy.arange(3))", "int, float or str, not int64"),
        ("points = (False, True)", "int, float or str, not bool"),
    ],
)
def test_what_a_codec_says_of_itself_wrongly_is_told(
    tmp_path: Path, more: str, message: str
) -> None:
    file = plugin(tmp_path, more=more)
    with pytest.raises(SpecError, match=message):
        assert plan(["mine"], ["sample"], plugins=[file]).identities


def test_what_a_plugin_prints_is_not_among_our_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "print('loaded')\n    def __init__(self): print('made')\n"
    more += "    def versions(self): print('asked'); return {}"
    identity(Registry([plugin(tmp_path, more=more)]).codec("mine"))
    out, err = capsys.readouterr()
    assert (out, err.split()) == ("", ["loaded", "made", "asked"])


def test_two_plugin_files_may_not_share_a_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="name 'mine' is taken"):
        Registry([plugin(tmp_path), plugin(tmp_path, file="other.py")])


def test_the_identity_tells_what_decides_on_the_result(tmp_path: Path) -> None:
    plain = Registry().codec("jpeg")
    assert identity(plain) == identity(Registry().codec("jpeg:subsampling=4:2:0"))
    assert identity(plain) != identity(Registry().codec("jpeg:subsampling=4:4:4"))
    assert {"pillow", "libjpeg-turbo"} <= set(json.loads(identity(plain))["versions"])

    before = identity(Registry([plugin(tmp_path)]).codec("mine"))
    plugin(tmp_path, more="loops = 3")
    assert identity(Registry([tmp_path / "mine.py"]).codec("mine")) != before


def test_listing_codecs_imports_nothing_heavy() -> None:
    code = """
import sys
from lic_bench import Registry
registry = Registry()
for name in registry.names():
    registry.entry(name)
print(*({"torch", "compressai", "pandas", "matplotlib", "glymur", "skimage"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
