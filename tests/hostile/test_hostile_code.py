"""No code runs but what a user installed or named: not from a checkpoint, a folder or a store."""

import ast
import io
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from command import command

from lic_bench import BitstreamError, CodecError, Image, Registry, SpecError, UnavailableError

HOUSE = Path(__file__).parents[2]
SOURCES = sorted([*HOUSE.glob("lic_bench/**/*.py"), *HOUSE.glob("codecs/**/*.py")])
# The command that a user installs; `python -m lic_bench` looks into the current folder for itself.
LIC_BENCH = [str(Path(sys.executable).with_name("lic-bench"))]

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}


def called(node: ast.Call) -> str:
    """What is called, as it is written: ``torch.load``."""
    return ast.unparse(node.func)


def faults(source: str) -> list[str]:
    """What in a source unpickles, evaluates text or starts a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").partition(".")[0]]
        else:
            names = []
        found += [name for name in names if name in FORBIDDEN_MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        bare = name.rpartition(".")[2]
        if name in FORBIDDEN_CALLS:
            found.append(name)
        if keywords.get("shell", "False") != "False":
            found.append(f"{name}(shell=...)")
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{name}(allow_pickle=...)")
        if name in ("torch.load", "torch.hub.load") and keywords.get("weights_only") != "True":
            found.append(f"{name} without weights_only=True")
        if bare in ("load_state_dict_from_url", "unsafe_load", "read_pickle"):
            found.append(name)
        if bare in ("extractall", "unpack_archive"):
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_source_unpickles_evaluates_or_starts_a_shell(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml.loader",
        "eval('1')",
        "exec(text)",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import torch; torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "pandas.read_pickle(path)",
        "tar.extractall(path)",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert faults(source)


# Checkpoints


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.witness),)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture(params=["bare", "torch", "torch-old", "damaged", "text", "empty"])
def checkpoint(request: pytest.FixtureRequest, witness: Path, tmp_path: Path) -> Path:
    """A file that is no good: most of them run code where they are unpickled."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "evil.pth"
    evil = {"state_dict": {"g_a.0.weight": Payload(witness)}, "step": Payload(witness)}
    if request.param == "bare":
        path.write_bytes(pickle.dumps(evil))
    elif request.param == "torch":
        torch.save(evil, path)
    elif request.param == "torch-old":
        torch.save(evil, path, _use_new_zipfile_serialization=False)
    elif request.param == "damaged":
        torch.save({"a": torch.zeros(100)}, path)
        path.write_bytes(path.read_bytes()[:300])
    else:
        path.write_text("no weights" * (request.param == "text"))
    return path


def test_the_payload_runs_where_it_is_unpickled(witness: Path) -> None:
    """Else the tests below would prove nothing."""
    pickle.loads(pickle.dumps(Payload(witness)))  # noqa: S301
    assert witness.exists()


def told(error: pytest.ExceptionInfo[Exception], path: Path) -> None:
    assert str(path) in str(error.value)
    assert str(error.value).count("\n") <= 2


@pytest.mark.slow
def test_a_checkpoint_for_compressai(checkpoint: Path, witness: Path) -> None:
    if find_spec("compressai") is None:
        pytest.skip("CompressAI is not installed")
    codec = Registry().codec(f"compressai:checkpoint={checkpoint}")
    with pytest.raises(UnavailableError) as error:
        codec.check_point(None)
    told(error, checkpoint)
    assert not witness.exists()


def test_weights_for_content_weighted(checkpoint: Path, witness: Path) -> None:
    with pytest.raises(SpecError, match="is no file of content-weighted weights") as error:
        Registry().codec(f"content-weighted:weights={checkpoint}")
    told(error, checkpoint)
    assert not witness.exists()


@pytest.mark.slow
def test_a_checkpoint_of_a_training(checkpoint: Path, witness: Path) -> None:
    from lic_bench.learned.training import restore

    with pytest.raises(UnavailableError, match="is no checkpoint") as error:
        restore(checkpoint)
    told(error, checkpoint)
    assert not witness.exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"settings": {"points": 10**12}},
        {"settings": {"points": 0}},
        {"settings": {"points": "x"}},
        {"settings": {}},
        {},
        [],
        "[" * 100_000,
    ],
    ids=["many", "none", "text", "missing", "empty", "list", "deep"],
)
def test_weights_whose_header_is_hostile(metadata: object, tmp_path: Path) -> None:
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    header = json.dumps({"__metadata__": {"content-weighted": text}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(SpecError, match="no file of content-weighted weights"):
        Registry().codec(f"content-weighted:weights={path}")


def test_weights_that_hold_another_network(tmp_path: Path, photo: Image) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    for settings in ({"points": 2}, {"points": 2, "n": 10**9}, {"points": 2, "other": 1}):
        path = tmp_path / f"{len(str(settings))}.safetensors"
        text = json.dumps({"settings": settings})
        safetensors.save_file({"net.a": torch.zeros(3)}, path, {"content-weighted": text})
        codec = Registry().codec(f"content-weighted:weights={path}")
        with pytest.raises(UnavailableError, match=r"hold no network|holds no weights"):
            codec.encode(photo, 1)


# What lies in the current folder

NAMES = (
    *("toy", "jpeg", "torch", "numpy", "pandas", "PIL", "loky", "pickle", "struct", "signal"),
    *("random", "typer", "rich", "msgspec", "matplotlib", "sitecustomize", "usercustomize"),
    *("lic_bench/__init__", "lic_bench/__main__", "lic_bench/codecs/jpeg", "codecs/jpeg"),
)


@pytest.fixture
def littered(tmp_path: Path, witness: Path) -> Path:
    """A folder with modules that leave a file behind where one of them is imported."""
    folder = tmp_path / "littered"
    for name in NAMES:
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"import os\nopen({str(witness)!r}, 'a').write({name!r} + '\\n')\n"
            "from lic_bench import Codec\n"
        )
    (folder / "toy.toml").write_text('name = "toy"\nencode = "touch {input} {output}"\n')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["codecs"],
        ["datasets"],
        ["run", "-c", "jpeg", "-p", "50", "-d", "sample", "-j", "2", "-o", "../out"],
        ["check", "-c", "none"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize("program", [LIC_BENCH, [sys.executable, "-m", "lic_bench"]])
def test_modules_in_the_current_folder_are_left_alone(
    program: list[str], arguments: list[str], littered: Path, witness: Path
) -> None:
    if program != LIC_BENCH:
        shutil.rmtree(littered / "lic_bench")  # which is what was asked for there
    done = subprocess.run([*program, *arguments], cwd=littered, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not witness.exists(), witness.read_text()
    assert "toy" not in done.stdout


@pytest.mark.slow
def test_a_plugin_that_was_named_is_imported_and_may_import_what_lies_beside_it(
    tmp_path: Path, photo: Image
) -> None:
    """A program in Python finds the modules beside it, though our own workers would not."""
    (tmp_path / "beside.py").write_text("from shutil import copyfile as copy")
    (tmp_path / "copy.py").write_text("import sys, beside\nbeside.copy(*sys.argv[1:])")
    path = tmp_path / "mine.toml"
    words = [sys.executable, "{folder}/copy.py", "{input}", "{output}"]
    path.write_text(f'name = "mine"\nencode = {json.dumps(words)}\ndecode = {json.dumps(words)}\n')
    words = [*LIC_BENCH, "run", "--plugin", str(path), "-c", "mine", "-o", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Stores


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that somebody else sent, which names plugins, paths and codecs of his."""
    tmp_path = tmp_path_factory.mktemp("store")
    witness = tmp_path / "it-ran"
    out = tmp_path / "sent"
    command("run", "-c", "jpeg,webp", "-p", "20,50,80", "-d", "sample", "-j", "2", "-o", out)
    evil = tmp_path / "evil.py"
    evil.write_text(
        f"open({str(witness)!r}, 'w')\n"
        "from lic_bench import Codec\n"
        "class Evil(Codec):\n"
        "    name = 'evil'\n"
        "    def encode(self, image, point): return b''\n"
        "    def decode(self, stream): return None\n"
    )
    (tmp_path / "evil.toml").write_text(
        f'name = "evil-too"\nencode = "touch {witness} {{input}} {{output}}"\n'
        f'decode = "touch {witness} {{input}} {{output}}"\n'
    )
    provenance = {
        "plugins": [str(evil), str(tmp_path / "evil.toml")],
        "command": "\x1b[2J; rm -rf ~",
    }
    with sqlite3.connect(out / "store.sqlite") as db:
        db.execute("UPDATE runs SET provenance = ?", (json.dumps(provenance),))
        for before, after in (("webp", "evil"), ("jpeg", f"{evil}:x=1")):
            db.execute("UPDATE codecs SET spec = ? WHERE spec = ?", (after, before))
        db.execute("UPDATE images SET dataset = '/'")
        db.execute(
            "UPDATE images SET image = '../../' || image || '</script><b>' WHERE position = 1"
        )
    return out


_listed: list[list[str]] = []
"""Where a list is open, the folders whose content is asked for go there."""


@cache
def _watch_folders() -> None:
    def note(event: str, arguments: tuple[object, ...]) -> None:
        if _listed and event in ("os.listdir", "os.scandir"):
            _listed[-1].append(os.fsdecode(os.path.abspath(arguments[0] or ".")))  # type: ignore  # noqa: PTH100

    sys.addaudithook(note)  # which stays for good


@contextmanager
def folders_listed() -> Iterator[list[str]]:
    """The folders whose content this process asks for meanwhile."""
    _watch_folders()
    _listed.append([])
    try:
        yield _listed[-1]
    finally:
        _listed.pop()


def test_listed_folders_are_noted(tmp_path: Path) -> None:
    with folders_listed() as listed:
        next(Path("/").glob("*"))
        list(tmp_path.iterdir())
    assert {"/", str(tmp_path)} <= set(listed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["table", "{}"],
        ["table", "{}", "--anchor", "evil"],
        ["plot", "{}", "-o", "{}/p.png"],
        ["report", "{}"],
        ["compare", "{}:evil", "{}:evil"],
        ["export", "{}", "-o", "{}/m.csv"],
        ["runs", "{}"],
    ],
    ids=" ".join,
)
def test_a_store_runs_nothing(arguments: list[str], store: Path, tmp_path: Path) -> None:
    words = [word.format(store) for word in arguments]
    with folders_listed() as listed:
        done = command(*words, cwd=tmp_path, code=None)
    # A data set called "/" is not looked for there, among all files of the machine.
    assert "/" not in listed
    assert not (store.parent / "it-ran").exists()
    if arguments[0] == "report":
        assert done.code == 0, done.stderr
        assert "name its folder" in done.stderr
        page = (store / "report.html").read_text()
        assert "there is no codec" in page or "left out" in done.stderr
        assert "</script><b>" not in page


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + b"\xff" * 500, b"no store", b"\x80\x04."]
)
def test_what_is_no_store_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(content)
    assert "lic-bench: " in command("table", tmp_path, cwd=tmp_path, code=2).stderr


# Programs


def programs(folder: Path, shell: str, **keys: object) -> Path:
    """A TOML codec whose encoder is a script of the shell's."""
    script = folder / "encoder"
    script.write_text(f"#!/bin/sh\n{shell}\n")
    script.chmod(0o755)
    described = {
        "name": "mine",
        "encode": "./encoder {input} {output}",
        "decode": "cp {input} {output}",
        "timeout_s": 20,
    } | keys
    path = folder / "mine.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in described.items()))
    return path


def test_what_a_program_leaves_behind_is_gone(tmp_path: Path, noise: Image) -> None:
    """Files beside the wanted one, links that lead out, folders that forbid entering them."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = programs(
        tmp_path,
        f'pwd > {tmp_path}/where; cp "$1" "$2"; ln -s {tmp_path} out; echo x > beside; '
        "mkdir -p deep/er; echo y > deep/er/file; chmod 0 deep",
    )
    codec = Registry([path]).codec("mine")
    stream = codec.encode(noise, None)
    assert (codec.decode(stream) == noise).all()
    assert secret.read_text() == "secret"
    assert not Path((tmp_path / "where").read_text().strip()).exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "../../../../etc/passwd"])
def test_an_output_that_leads_elsewhere_is_not_read(
    target: str, tmp_path: Path, noise: Image
) -> None:
    codec = Registry([programs(tmp_path, f'ln -s {target} "$2"')]).codec("mine")
    with pytest.raises(CodecError, match="no regular file"):
        codec.encode(noise, None)


def test_a_name_that_begins_with_a_hyphen_is_no_option(tmp_path: Path, noise: Image) -> None:
    """A program is given whole paths of ours, and points that its file allows."""
    folder = tmp_path / "--help; -rf"
    folder.mkdir()
    path = programs(
        folder,
        'for word in "$@"; do case "$word" in /*|-3) ;; *) exit 9;; esac; done; cp "$1" "$2"',
        encode="./encoder {input} {output} {folder} {point}",
        points=[-3, 5],
    )
    codec = Registry([path]).codec("mine")
    assert (codec.decode(codec.encode(noise, -3)) == noise).all()
    with pytest.raises(CodecError, match="exit code 9"):
        codec.encode(noise, 5)
    for point in ("-3; touch x", "$(touch x)", float("nan")):
        with pytest.raises(SpecError):
            codec.encode(noise, point)


def test_a_decoder_cannot_be_made_to_read_other_files(tmp_path: Path, noise: Image) -> None:
    """A stream that is a list of files, a link or a script is a file's content to the bench."""
    codec = Registry([programs(tmp_path, 'cp "$1" "$2"')]).codec("mine")
    for stream in (
        b"/etc/passwd",
        b"#!/bin/sh\ntouch x",
        b"<svg><image href='file:///etc/passwd'/>",
    ):
        with pytest.raises(BitstreamError, match="no image"):
            codec.decode(stream)


def test_a_zip_file_is_no_checkpoint_and_no_plugin(tmp_path: Path, witness: Path) -> None:
    """Python would run the module `__main__` of one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__main__.py", f"open({str(witness)!r}, 'w')")
    for name in ("plugin.zip", "plugin.toml", "plugin.py"):
        path = tmp_path / name
        path.write_bytes(stream.getvalue())
        with pytest.raises(SpecError, match=name):
            Registry([path])
    assert not witness.exists()


def test_arrays_are_not_unpickled(witness: Path, tmp_path: Path) -> None:
    """A NumPy file with objects in it, under the name of an image."""
    from lic_bench import ImageError, read_image

    path = tmp_path / "array.png"
    with path.open("wb") as file:
        np.save(file, np.array([Payload(witness)], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError):
        read_image(path)
    assert not witness.exists()
