"""Identities: whatever decides on bytes and pixels is in them, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lic_bench
import lic_bench.codecs
import lic_bench.datasets
from lic_bench import Codec, Registry
from lic_bench.codecs.jpeg import Jpeg
from lic_bench.plugins.identity import changes, identity
from lic_bench.plugins.sources import essence
from lic_bench.plugins.spec import build, parse_spec

PLUGIN = '''
"""A codec."""
{imports}
from lic_bench import Codec

class Mine(Codec):
    """Nothing but a name."""
    name = "mine"
    def __init__(self, weights: str = "", depth: int = 1):  # what it is
        self.depth = depth
    def encode(self, image, point):
        return b"{text}"
    def decode(self, stream): ...
'''


def write(path: Path, imports: str = "", text: str = "a") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PLUGIN.format(imports=imports, text=text))
    return path


def of_plugin(path: Path, spec: str = "mine") -> str:
    """The identity as a new process has it."""
    return identity(Registry([path]).codec(spec))


def test_it_is_the_same_with_and_without_a_registry(tmp_path: Path) -> None:
    assert identity(Jpeg()) == identity(Registry().codec("jpeg"))
    spec = "jpeg:subsampling=4:4:4"
    assert identity(Jpeg("4:4:4")) == identity(Jpeg(subsampling="4:4:4"))
    assert identity(Jpeg("4:4:4")) == identity(Registry().codec(spec)) != identity(Jpeg())


def test_arguments_become_options_however_they_are_given() -> None:
    class Toy(Codec):
        name = "toy"

        def __init__(self, mode: str, depth: int = 3) -> None:
            pass

        def encode(self, image: lic_bench.Image, point: lic_bench.Point) -> bytes: ...
        def decode(self, stream: bytes) -> lic_bench.Image: ...

    assert Toy("a").options == {"mode": "a", "depth": 3}
    assert Toy(depth=4, mode="b").options == build(Toy, parse_spec("toy:depth=4,mode=b")).options
    with pytest.raises(TypeError, match="mode"):
        Toy()  # type: ignore[call-arg]


def test_a_codec_without_options_takes_no_arguments() -> None:
    class Toy(Codec):
        name = "toy"

        def encode(self, image: lic_bench.Image, point: lic_bench.Point) -> bytes: ...
        def decode(self, stream: bytes) -> lic_bench.Image: ...

    assert Toy().options == {}
    with pytest.raises(TypeError, match="takes no arguments"):
        Toy(1)  # type: ignore[call-arg]


# One process for each state of a copy of the whole package, because a process sees a module once.
@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of lic_bench as it is installed, whose files can be edited."""
    folder = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns("__pycache__")
    for module in (lic_bench, lic_bench.codecs, lic_bench.datasets):
        target = folder / module.__name__.replace(".", "/")
        shutil.copytree(Path(module.__file__).parent, target, ignore=ignore)
    (folder / "like_jpeg.py").write_text(
        "from lic_bench.codecs.jpeg import Jpeg\nclass Like(Jpeg):\n    name = 'like'\n"
    )
    return folder


def identities(package: Path) -> dict[str, str]:
    """Those of some codecs in a new process that imports the copy."""
    code = """
import json, lic_bench
from importlib.util import find_spec
from pathlib import Path
from lic_bench.plugins.identity import identity
from lic_bench.codec.registry import Registry
registry = Registry([Path("like_jpeg.py")])
assert lic_bench.__file__.startswith(str(Path.cwd()))
names = [name for name in ("jpeg", "like", "hevc", "content-weighted", "compressai")
         if registry.entry(name).problem is None]
print(json.dumps({name: identity(registry.codec(name)) for name in names}))
"""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=package, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout)
    return found


EDITS = {
    "lic_bench/codecs/jpeg.py": ('"quality": point', '"quality": 50', {"jpeg", "like"}),
    "lic_bench/codecs/pillow_codec.py": ("import io", "", {"jpeg", "like"}),
    "lic_bench/codecs/ycbcr.py": ("0.299", "0.298", {"hevc"}),
    "lic_bench/learned/entropy.py": ("_SPEED = 128", "_SPEED = 129", {"content-weighted"}),
    "lic_bench/learned/rangecoder.py": ("AT = 0, 1, 2", "AT = 1, 0, 2", {"content-weighted"}),
    "lic_bench/learned/bitstream.py": ("import zlib", "", {"content-weighted", "compressai"}),
    "like_jpeg.py": ("name = 'like'", "name = 'like'; point_range = (2, 99)", {"like"}),
}


def test_a_codec_changes_with_its_bases_and_the_modules_that_it_imports(package: Path) -> None:
    before = identities(package)
    for file, (old, new, _) in EDITS.items():
        text = (package / file).read_text()
        assert old in text
        (package / file).write_text(text.replace(old, new))
        (package / f"{file}.before").write_text(text)
    after = identities(package)
    for file in EDITS:
        (package / f"{file}.before").replace(package / file)
    for name in before:
        expected = [file for file, (_, _, codecs) in EDITS.items() if name in codecs]
        assert changes(before[name], after[name]) == ", ".join(
            f"{file} changed" for file in sorted(expected)
        )


def test_no_codec_changes_with_comments_commands_and_training(package: Path) -> None:
    before = identities(package)
    for file in (
        "cli/train.py",
        "learned/training.py",
        "learned/options.py",
        "codecs/content_weighted/training.py",
        "codec/base.py",
    ):
        path = package / "lic_bench" / file
        path.write_text(path.read_text() + "\n_EDITED = True\n")
    for file in ("codecs/jpeg.py", "codecs/ycbcr.py", "codecs/content_weighted/model.py"):
        path = package / "lic_bench" / file
        text = path.read_text()
        path.write_text(text.replace('"""', '"""Better: ', 1).replace("\n\n", "\n\n# Note\n\n"))
    assert identities(package) == before


def test_a_plugin_changes_with_what_lies_beside_it(tmp_path: Path) -> None:
    imports = "import helpers.net as net\ndef late():\n    from tables import LEVELS"
    files = {
        "helpers/__init__.py": "",
        "helpers/net.py": "from . import layers\nfrom tables import LEVELS",
        "helpers/layers.py": "WIDTH = 3",
        "tables.py": "LEVELS = 8",
        "unrelated.py": "X = 1",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    # The text of a plugin alone is read: its imports need not work here.
    lazy = "def late():\n" + "\n".join(f"    {line}" for line in imports.splitlines())
    path = write(tmp_path / "plugin.py", lazy)
    before = of_plugin(path)
    assert set(json.loads(before)["sources"]) == {
        "plugin.py", "helpers/net.py", "helpers/layers.py", "tables.py",
    }  # fmt: skip
    (tmp_path / "unrelated.py").write_text("X = 2")
    (tmp_path / "tables.py").write_text("LEVELS = 8  # as in the paper")
    assert of_plugin(path) == before
    for name in ("helpers/layers.py", "tables.py", "helpers/__init__.py"):
        (tmp_path / name).write_text("WIDTH = 4")
        after = of_plugin(path)
        how = "is new" if name == "helpers/__init__.py" else "changed"
        assert changes(before, after) == f"{name} {how}"
        before = after


def test_it_does_not_tell_where_a_plugin_lies(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first = write(tmp_path / "a" / "plugin.py")
    assert of_plugin(first) == of_plugin(Path(shutil.copy(first, tmp_path / "b")))


def test_a_weights_file_counts_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin.py")
    weights = tmp_path / "tiny.pt"
    weights.write_bytes(b"trained")
    before = of_plugin(path, f"mine:weights={weights}")
    weights.write_bytes(b"retrain")  # of one length
    after = of_plugin(path, f"mine:weights={weights}")
    assert changes(before, after) == "tiny.pt changed"
    other = tmp_path / "elsewhere" / "tiny.pt"
    other.parent.mkdir()
    other.write_bytes(b"trained")
    assert of_plugin(path, f"mine:weights={other}") == before
    assert of_plugin(path, "mine:weights=nothing.pt") != before


@pytest.mark.parametrize("value", ["runs", "runs/lambda-{point}.pt", "{point}"])
def test_so_do_all_files_of_a_folder_or_a_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    path = write(tmp_path / "plugin.py")
    runs = tmp_path / "runs"
    runs.mkdir()
    monkeypatch.chdir(runs if value == "{point}" else tmp_path)
    (runs / "lambda-0.1.pt").write_text("a")
    (runs / "lambda-0.2.pt").write_text("b")
    before = of_plugin(path, f"mine:weights={value}")
    (runs / "lambda-0.2.pt").write_text("c")
    after = of_plugin(path, f"mine:weights={value}")
    assert changes(before, after) == "lambda-0.2.pt changed"
    (runs / "lambda-0.3.pt").write_text("c")
    assert changes(after, of_plugin(path, f"mine:weights={value}")) == "lambda-0.3.pt is new"


def test_so_do_the_files_of_a_list_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin.py")
    files = [tmp_path / folder / "best.pt" for folder in ("low", "high")]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name)

    def state(*paths: Path) -> str:
        return of_plugin(path, f"mine:weights={os.pathsep.join(map(str, paths))}")

    before = state(*files)
    assert changes(before, state(*reversed(files))) == "best.pt (1) changed, best.pt (2) changed"
    files[1].write_text("higher")
    assert changes(before, state(*files)) == "best.pt (2) changed"


def test_a_word_from_a_list_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = identity(Jpeg())
    (tmp_path / "4:2:0").write_text("no option's content")
    assert identity(Jpeg()) == before


def test_scripts_beside_a_toml_file_count_whatever_it_calls_its_version(tmp_path: Path) -> None:
    toml, script = tmp_path / "mine.toml", tmp_path / "decode.py"
    toml.write_text(
        'name = "mine"\n'
        'encode = "cp {input} {output}"\n'
        'decode = "python3 {folder}/decode.py {input} {output}"\n'
        'version = "echo 1.0"\n'
    )
    script.write_text("1")
    before = of_plugin(toml)
    script.write_text("2")
    assert changes(before, of_plugin(toml)) == "decode.py changed"


def test_changes_are_told_in_a_few_words() -> None:
    def state(**parts: object) -> str:
        return json.dumps({"codec": "jpeg", **parts})

    old = state(versions={"libjpeg-turbo": "3.1.0", "pillow": "11"}, options={"a": "1"})
    new = state(versions={"libjpeg-turbo": "3.1.1", "pillow": "11"}, options={"a": "2"})
    assert changes(old, new) == "libjpeg-turbo 3.1.0 -> 3.1.1, a 1 -> 2"
    assert changes(old, old) == ""
    many = state(sources={f"{i}.py": "x" for i in range(9)})
    assert changes(state(), many).endswith("3.py is new, and 5 more")


SOURCE = '''"""Docs."""  # and a note
import os
X = """a

b"""  # kept


class C:
    """Docs of ü
    two lines."""
    y = f"""{X}

 # no comment"""
    """Of an attribute."""

    def f(self):  # ü
        "docs"
        return "# no comment", 'é'  # ü
'''
ESSENCE = '''import os
X = """a

b"""
class C:
    y = f"""{X}

 # no comment"""
    def f(self):
        return "# no comment", 'é\''''


def test_the_essence_of_a_module_is_what_it_computes() -> None:
    assert essence(SOURCE) == ESSENCE.replace("\\'", "'")
    assert essence(SOURCE.replace("\n", "\r\n")) == essence(SOURCE)
    assert essence(SOURCE.replace("a\n\nb", "a\n\n\nb")) != essence(SOURCE)
    assert essence(SOURCE.replace("'é'", "'e'")) != essence(SOURCE)
    assert essence("") == essence("# nothing\n\n") == essence('"""Docs."""') == ""
