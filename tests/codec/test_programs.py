"""Codecs that come as two programs: with programs made here, and with real ones."""

import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

from lic_bench import (
    BitstreamError,
    Codec,
    Image,
    Registry,
    SpecError,
    UnavailableError,
    image_metrics,
    write_image,
)
from lic_bench.errors import CodecError
from lic_bench.plugins import programs
from lic_bench.plugins.identity import identity

EXAMPLES = Path(__file__).parents[2] / "examples"

# Not the virtual environment's: the path to that may hold a space, which a shebang cannot.
PYTHON = Path(sys.executable).resolve()

# It keeps the picture's file as it is, behind what it was told, so that a test can look.
PROGRAM = f"""#!{PYTHON} -S
import json, os, sys
what, source, target, *rest = sys.argv[1:]
with open(source, "rb") as file:
    content = file.read()
if what == "encode":
    told = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "stdin": sys.stdin.read()}}
    content = json.dumps(told).encode() + b"\\n" + content
else:
    content = content.partition(b"\\n")[2]
with open(target, "wb") as file:
    file.write(content)
"""


def script(path: Path, text: str = PROGRAM) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def toml(folder: Path, **keys: object) -> Path:
    """A TOML file for the program above, with some keys changed, or left out where None."""
    if not (folder / "program").exists():
        script(folder / "program")
    described = {
        "name": "mine",
        "encode": "./program encode {input} {output}",
        "decode": "./program decode {input} {output}",
    } | keys
    path = folder / "mine.toml"
    # What is JSON is TOML, for these values.
    path.write_text(
        "".join(f"{key} = {json.dumps(v)}\n" for key, v in described.items() if v is not None)
    )
    return path


def codec(folder: Path, **keys: object) -> Codec:
    return Registry([toml(folder, **keys)]).codec("mine")


def told(stream: bytes) -> dict[str, object]:
    """What the program above was told when it encoded."""
    found: dict[str, object] = json.loads(stream[stream.index(b"{") : stream.index(b"\n")])
    return found


ENCODED = {"encode": "./program encode {input} {output} {point}"}


@pytest.mark.parametrize("picture", ["png", "ppm", "bmp", "tiff"])
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (40, 48)])
def test_a_picture_goes_through_the_programs(
    picture: str, size: tuple[int, int], tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    keys = {"reads": picture, "writes": picture, "stream_suffix": ".str"}
    stream = codec(tmp_path, **keys).encode(image, None)
    assert (codec(tmp_path, **keys).decode(stream) == image).all()
    _, given, made = told(stream)["argv"]
    assert (Path(given).is_absolute(), Path(given).suffix) == (True, f".{picture}")
    assert (Path(made).is_absolute(), Path(made).suffix) == (True, ".str")


def test_raw_samples_travel_with_their_size_and_that_counts(noise: Image, tmp_path: Path) -> None:
    keys = {"reads": "rgb24", "writes": "rgb24"}
    stream = codec(tmp_path, **keys).encode(noise, None)
    assert struct.unpack_from("<HH", stream) == (48, 40)
    assert stream.endswith(b"\n" + noise.tobytes())
    assert (codec(tmp_path, **keys).decode(stream) == noise).all()


def test_without_need_nothing_is_added_to_the_programs_bytes(noise: Image, tmp_path: Path) -> None:
    stream = codec(tmp_path, reads="ppm", writes="ppm").encode(noise, None)
    assert stream.startswith(b'{"argv"')
    assert stream.endswith(b"\n" + b"P6\n48 40\n255\n" + noise.tobytes())


def test_what_the_decoder_asks_for_travels_in_the_stream(noise: Image, tmp_path: Path) -> None:
    checking = PROGRAM + 'if what == "decode": assert rest == ["w=48", "40", "0.5"], rest\n'
    script(tmp_path / "program", checking)
    mine = codec(
        tmp_path,
        encode="./program encode {input} {output} {point} {width} {height}",
        decode="./program decode {input} {output} w={width} {height} {point}",
        points=[0.5, 2],
    )
    stream = mine.encode(noise, 0.5)
    assert stream.startswith(struct.pack("<HHB", 48, 40, 3) + b"0.5" + b'{"argv"')
    assert told(stream)["argv"][3:] == ["0.5", "48", "40"]
    assert (mine.decode(stream) == noise).all()
    with pytest.raises(BitstreamError, match=r"AssertionError: \['w=48', '40', '2'\]"):
        mine.decode(struct.pack("<HHB", 48, 40, 1) + b"2" + stream[8:])


@pytest.mark.parametrize(
    ("points", "good", "bad", "typed"),
    [
        ([1, 2, 3], 7, 2.5, "7"),
        ([0.5, 2], 7, "x", "7"),
        ([96, 48.5], 40.0, float("nan"), "40"),
        (["low", "high"], "high", "medium", "high"),
    ],
)
def test_points_are_of_the_kind_of_the_file(
    points: list[object], good: object, bad: object, typed: str, noise: Image, tmp_path: Path
) -> None:
    mine = codec(tmp_path, encode="./program encode {input} {output} {point}", points=points)
    assert told(mine.encode(noise, good))["argv"][3:] == [typed]
    with pytest.raises(SpecError, match="mine: "):
        mine.encode(noise, bad)


def test_a_range_is_of_the_kind_of_the_points(tmp_path: Path) -> None:
    whole = codec(tmp_path, **ENCODED, points=[40, 20], point_range=[51, 0])
    assert whole.point_range == (51, 0)
    fractions = codec(tmp_path, **ENCODED, points=[8.5, 2], point_range=[15, 0.5])
    assert repr(fractions.point_range) == "(15.0, 0.5)"
    assert codec(tmp_path).point_range is None


def test_no_shell_sees_the_words(noise: Image, tmp_path: Path) -> None:
    folder = tmp_path / "a folder; with $HOME"
    folder.mkdir()
    words = ["$(touch evil)", "; touch evil", "a b", "*", "{other", "-x={output}", "{folder}/m.x"]
    program = ["./program", "encode", "{input}", "{output}", *words]
    stream = codec(folder, encode=program).encode(noise, None)
    argv = told(stream)["argv"]
    assert argv[3:8] == words[:5]
    assert argv[8:] == [f"-x={argv[2]}", f"{folder}/m.x"]
    split = codec(folder, encode="./program encode {input} {output} 'a b' \"$HOME\" c\\ d")
    assert told(split.encode(noise, None))["argv"][3:] == ["a b", "$HOME", "c d"]


def test_each_call_has_a_folder_of_its_own_and_nothing_to_read(
    noise: Image, tmp_path: Path
) -> None:
    mine = codec(tmp_path)
    runs = [told(mine.encode(noise, None)) for _ in range(2)]
    assert runs[0]["stdin"] == ""
    assert runs[0]["cwd"] != runs[1]["cwd"]
    assert not Path(str(runs[0]["cwd"])).exists()


FAILING = {
    "exit": ("print('line'); sys.exit('no such luck')", "program ended with exit code 1: line; no"),
    "silent": ("sys.exit(3)", "program ended with exit code 3, silently"),
    "signal": ("os.abort()", "program died of SIGABRT"),
    "nothing": ("pass", "no file was written"),
    "empty": ("open(target, 'w')", "has 0 bytes"),
    "folder": ("os.mkdir(target)", "is no regular file"),
    "link": ("os.symlink(source, target)", "is no regular file"),
    "pipe": ("os.mkfifo(target)", "is no regular file"),
    "elsewhere": ("open('image.png.out', 'w').write('x')", "no file was written"),
    "large": ("open(target, 'wb').write(bytes(3000000))", "SIGXFSZ|File too large|3000000 bytes"),
    "junk": (
        "sys.stdout.buffer.write(bytes(range(256)) * 100000 + b'\\nand out'); sys.exit(1)",
        "exit code 1: .*and out",
    ),
    "hang": ("time.sleep(1000)", "program was stopped after 1 s"),
    "talks": ("while True: print('still here', flush=True)", "program was stopped after 1 s"),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("what", ["encode", "decode"])
def test_what_goes_wrong_in_a_program_is_told(
    case: str, what: str, noise: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, message = FAILING[case]
    monkeypatch.setattr(programs, "_MAXIMUM_BYTES", 1 << 20)
    stream = codec(tmp_path).encode(noise, None)
    start = f"#!{PYTHON} -S\nimport os, sys, time\n_, what, source, target = sys.argv\n"
    script(tmp_path / "program", start + code + "\n")
    mine = codec(tmp_path, timeout_s=1 if message.endswith("1 s") else 60)
    error = {"encode": CodecError, "decode": BitstreamError}[what]
    with pytest.raises(error, match=f"mine did not {what}: .*{message}") as found:
        _ = mine.encode(noise, None) if what == "encode" else mine.decode(stream)
    assert len(str(found.value)) < 500
    assert str(found.value).isprintable()


def test_a_program_that_hangs_dies_with_what_it_started(noise: Image, tmp_path: Path) -> None:
    started = tmp_path / "started"
    script(
        tmp_path / "program",
        f"""#!{PYTHON}
import subprocess, time
child = subprocess.Popen(["sleep", "1000"])
open({str(started)!r}, "w").write(str(child.pid))
time.sleep(1000)
""",
    )
    with pytest.raises(CodecError, match="was stopped after 6 s"):
        codec(tmp_path, timeout_s=6).encode(noise, None)
    assert gone(int(started.read_text()))


def test_a_program_leaves_nothing_running(noise: Image, tmp_path: Path) -> None:
    started = tmp_path / "started"
    more = f"""
import subprocess
child = subprocess.Popen(["sleep", "1000"])
open({str(started)!r}, "w").write(str(child.pid))
"""
    script(tmp_path / "program", PROGRAM.replace(" -S", "") + more)
    stream = codec(tmp_path).encode(noise, None)
    assert told(stream)["argv"][0] == "encode"
    assert gone(int(started.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within a minute; one that only waits to be reaped has ended."""
    for _ in range(1200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("keys", "stream", "message"),
    [
        ({}, b"", "mine: the stream is empty"),
        ({}, b"x\nno picture", "mine did not decode: the picture that it wrote: is no image"),
        ({"writes": "rgb24"}, b"\1\0", "mine: the header makes no sense"),
        ({"writes": "rgb24"}, b"\1\0\0\0x", "mine: the header makes no sense: 1x0 pixels"),
        ({"writes": "rgb24"}, b"\xff\xff\xff\xffx", "makes no sense: 65535x65535 pixels"),
        ({"writes": "rgb24"}, b"\2\0\2\0\n123", "it wrote 3 bytes, not 3 for each pixel"),
        (
            {"decode": "./program decode {input} {output} {width}"},
            b"\3\0\1\0\nP6\n1 1\n255\n123",
            "it wrote 1x1 pixels, not those of the header",
        ),
    ],
)
def test_a_damaged_stream_is_refused(
    keys: dict[str, object], stream: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BitstreamError, match=message):
        codec(tmp_path, **keys).decode(stream)


@pytest.mark.parametrize("text", [b"3--x", b"nan", b"/etc/passwd", b"\xff"])
def test_a_damaged_point_never_reaches_the_program(text: bytes, tmp_path: Path) -> None:
    keys = {
        "encode": "./program encode {input} {output} {point}",
        "decode": "./program decode {input} {output} {point}",
    }
    script(tmp_path / "program", "#!/bin/sh\ntouch " + str(tmp_path / "called"))
    for points in ([1, 2], [0.5, 1], ["low", "high"]):
        with pytest.raises(BitstreamError, match="the header makes no sense"):
            codec(tmp_path, points=points, **keys).decode(bytes([len(text)]) + text + b"payload")
    assert not (tmp_path / "called").exists()


def test_an_image_too_large_for_the_header_is_refused(tmp_path: Path) -> None:
    image = np.zeros((1, 70_000, 3), np.uint8)
    with pytest.raises(CodecError, match="70000x1 pixels are too many"):
        codec(tmp_path, reads="rgb24", writes="rgb24").encode(image, None)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": None}, "missing required field `name`"),
        ({"decode": None}, "missing required field `decode`"),
        ({"name": "a:b"}, "'a:b' is no name for a codec"),
        ({"name": 7}, r"Expected `str`, got `int` - at `\$.name`"),
        ({"encoder": "x"}, "unknown field `encoder`"),
        ({"reads": "gif"}, r"Invalid enum value 'gif' - at `\$.reads`"),
        ({"encode": ""}, r"an empty command.* - at `\$.encode`"),
        ({"encode": []}, r"an empty command.* - at `\$.encode`"),
        ({"encode": ["a", 1]}, r"Expected `str`, got `int` - at `\$.encode\[1\]`"),
        ({"encode": "a 'b"}, r"No closing quotation - at `\$.encode`"),
        ({"encode": "a {input}"}, r"\{output\} is missing - at `\$.encode`"),
        ({"decode": "a {output}"}, r"\{input\} is missing - at `\$.decode`"),
        ({"encode": "a {input} {output} {qp}"}, r"\{qp\} is no placeholder.* - at `\$.encode`"),
        ({"encode": "a {input} {output} {point}"}, r"\{point\} is no placeholder here"),
        ({"version": "a {input}"}, r"\{input\} is no placeholder.* - at `\$.version`"),
        ({"points": [1, 2]}, r"\{point\} is missing - at `\$.encode`"),
        ({"points": 3}, r"Expected `array`, got `int` - at `\$.points`"),
        ({"points": [1, "a"]}, r"all finite numbers or all texts - at `\$.points`"),
        ({"points": [1, 1]}, r"twice - at `\$.points`"),
        ({"points": [True]}, r"at `\$.points\[0\]`"),
        ({"point_range": [1, 2]}, r"points that are numbers - at `\$.point_range`"),
        (ENCODED | {"points": ["a"], "point_range": [1, 2]}, r"numbers - at `\$.point_range`"),
        (ENCODED | {"points": [1], "point_range": [2, 2]}, r"differ - at `\$.point_range`"),
        (ENCODED | {"points": [1], "point_range": [1, 2.5]}, r"integers.* - at `\$.point_range`"),
        (ENCODED | {"points": [1], "point_range": [1]}, r"at `\$.point_range`"),
        ({"timeout_s": 0}, r"at `\$.timeout_s`"),
        ({"stream_suffix": "/../x"}, r"at `\$.stream_suffix`"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(
    keys: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message) as error:
        Registry([toml(tmp_path, **keys)])
    assert str(error.value).startswith(f"{tmp_path / 'mine.toml'}: ")


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe", b"points = [nan]\n"])
def test_what_is_no_toml_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(SpecError, match=r"mine\.toml: "):
        Registry([path])


def test_a_missing_program_makes_the_codec_unavailable_with_the_remedy(tmp_path: Path) -> None:
    path = toml(tmp_path, decode="no-such-program {input} {output}", remedy="apt install it")
    registry = Registry([path])
    assert registry.entry("mine").problem == (
        "there is no program 'no-such-program', which mine.toml calls; apt install it"
    )
    with pytest.raises(UnavailableError, match="apt install it"):
        registry.codec("mine")
    assert registry.codec("jpeg").name == "jpeg"


def test_a_program_that_is_none_is_told(noise: Image, tmp_path: Path) -> None:
    script(tmp_path / "program", "no program")
    with pytest.raises(CodecError, match=r"program does not start: .*Exec format error"):
        codec(tmp_path).encode(noise, None)


def test_the_identity_follows_whatever_decides_on_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("1")
    keys = {"encode": "./program encode {input} {output} --model={folder}/weights"}
    before = identity(codec(tmp_path, **keys))
    assert identity(codec(tmp_path, **keys)) == before

    (tmp_path / "weights").write_text("2")
    assert identity(codec(tmp_path, **keys)) != before
    (tmp_path / "weights").write_text("1")
    assert identity(codec(tmp_path, **keys)) == before

    script(tmp_path / "program", PROGRAM + "\n")
    assert identity(codec(tmp_path, **keys)) != before
    script(tmp_path / "program")
    assert identity(codec(tmp_path, timeout_s=9, **keys)) != before


def test_two_programs_of_one_name_both_count(tmp_path: Path) -> None:
    for folder in ("encoder", "decoder"):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder / "run")
    keys = {what: f"./{what}r/run {what} {{input}} {{output}}" for what in ("encode", "decode")}
    seen = {identity(codec(tmp_path, **keys))}
    for folder in ("encoder", "decoder"):
        script(tmp_path / folder / "run", PROGRAM + "\n")
        seen.add(identity(codec(tmp_path, **keys)))
    assert len(seen) == 3


def test_a_version_command_stands_for_the_programs(tmp_path: Path) -> None:
    tool = script(tmp_path / "tool", "#!/bin/sh\necho tool 1.2\necho >&2 with libtool\nexit 1\n")
    stated = json.loads(identity(codec(tmp_path, version="./tool -V")))["versions"]
    assert stated == {"tool": "tool 1.2 with libtool"}
    script(tool, "#!/bin/sh\nseq 1000\n")
    [first] = codec(tmp_path, version="./tool").versions().values()
    script(tool, "#!/bin/sh\nseq 1001\n")
    [second] = codec(tmp_path, version="./tool").versions().values()
    assert first.startswith("1 2 3")
    assert len(first) < 300
    assert first != second
    script(tool, "#!/bin/sh\n")
    with pytest.raises(SpecError, match=r"mine.toml: the program says nothing - at `\$.version`"):
        codec(tmp_path, version="./tool").versions()


@pytest.mark.slow
def test_the_bench_runs_programs_in_its_workers(photo: Image, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "cat.png", photo)
    write_image(tmp_path / "photos" / "half.png", photo[:150].copy())
    toml(tmp_path, encode="./program encode {input} {output} {point}", points=[1, 2])
    run = ("run", "--plugin", "mine.toml", "--codecs", "mine", "--dataset", "photos", "-j", "2")
    command(*run, "--out", "out", cwd=tmp_path)
    table = pd.read_parquet(tmp_path / "out" / "measurements.parquet")
    assert len(table) == 4
    assert table["error"].isna().all()
    assert (table["mse_rgb"] == 0).all()

    # The same again costs nothing: the identity is the same in another process.
    words = [sys.executable, "-m", "lic_bench", *run, "--out", "out"]
    again = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "4 known" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("name", "tools", "ours"),
    [
        ("cwebp", ("cwebp", "dwebp"), "webp"),
        ("opj", ("opj_compress", "opj_decompress"), "jpeg2000"),
    ],
)
def test_the_examples_do_what_the_libraries_do(
    name: str, tools: tuple[str, str], ours: str, photo: Image
) -> None:
    registry = Registry([EXAMPLES / f"{name}.toml"])
    if not all(map(shutil.which, tools)):
        assert "install" in str(registry.entry(name).problem)
        pytest.skip(str(registry.entry(name).problem))
    mine, other = registry.codec(name), registry.codec(ours)
    assert tuple(mine.points) == tuple(other.points)
    for point in (mine.points[1], mine.points[-2]):
        streams = [one.encode(photo, point) for one in (mine, other)]
        # The programs and the libraries may be of different versions.
        assert len(streams[0]) == pytest.approx(len(streams[1]), rel=0.01)
        quality = [
            image_metrics(photo, one.decode(stream))["psnr_rgb_db"]
            for one, stream in zip((mine, other), streams, strict=True)
        ]
        assert quality[0] == pytest.approx(quality[1], abs=0.05)
        assert (other.decode(streams[0]) == mine.decode(streams[0])).mean() > 0.99
