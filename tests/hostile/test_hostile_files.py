"""Hostile files: images, names, folders, manifests and archives."""

import io
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import threading
import zipfile
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from command import command

from lic_bench import DatasetError, Image, ImageError, load_dataset, read_image, run
from lic_bench.images.fetch import fetch
from lic_bench.images.image import image_size
from lic_bench.images.manifest import Manifest
from lic_bench.printable import printable

RGB = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
MOST_PIXELS = 13_000  # a side; larger images are refused by their header


def saved(format: str, image: Image = RGB, **options: object) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, format, **options)
    return stream.getvalue()


def png(width: int, height: int, pixels: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def pages(count: int) -> bytes:
    """A TIFF of so many pages, each of one pixel."""
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 0)]
    tags += [(277, 3, 1), (279, 4, 1)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    size = 2 + len(entries) + 4
    content = b"II*\0" + struct.pack("<I", 8)
    for i in range(count):
        following = 8 + (i + 1) * size if i < count - 1 else 0
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return content


def scans(count: int) -> bytes:
    """A progressive JPEG with its scans repeated, of as many pixels as are read."""
    data = bytearray(saved("JPEG", progressive=True))
    struct.pack_into(">HH", data, data.index(b"\xff\xc2") + 5, MOST_PIXELS, MOST_PIXELS)
    start = data.index(b"\xff\xda")
    return bytes(data[:start] + data[start:-2] * count + data[-2:])


ROW = b"\0" + bytes(3 * 7)
LARGE = zlib.compress(bytes(100_000_000), 9)
BOMBS = {
    "png-size": png(2**31 - 1, 2**31 - 1, ROW),
    "png-no-data": png(MOST_PIXELS, MOST_PIXELS, b""),
    "png-iTXt": png(7, 1, ROW, (b"iTXt", b"k\0\1\0\0\0" + LARGE)),
    "png-zTXt": png(7, 1, ROW, (b"zTXt", b"k\0\0" + LARGE)),
    "png-iCCP": png(7, 1, ROW, (b"iCCP", b"k\0\0" + LARGE)),
    "png-frames": png(7, 1, ROW, (b"acTL", struct.pack(">II", 1 << 31, 0))),
    "tiff-pages": pages(20_000),
    "tiff-loop": pages(2)[:-4] + struct.pack("<I", 8),
    "webp-canvas": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\xff\xff\xfe\0\0",
    "ppm-size": b"P6 99999 99999 255\n",
    "ppm-digits": b"P6 " + b"9" * 1_000_000 + b" 1 255\n",
    "ppm-no-data": b"P3 13000 13000 255 1",
    "bmp-size": b"BM"
    + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    "jpeg-scans": scans(500),
    "gif": saved("GIF"),
    "jp2": saved("JPEG2000"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_for_little_memory_and_time(name: str, tmp_path: Path) -> None:
    """In a process whose memory the system limits."""
    path = tmp_path / "bomb.png"
    path.write_bytes(BOMBS[name])
    code = f"""
import resource, sys, warnings
import numpy, PIL.Image
from pathlib import Path
from lic_bench import ImageError, read_image
warnings.simplefilter("ignore")
before = int(next(l for l in open("/proc/self/status") if l.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (before + (200 << 20), -1))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    read_image(Path({str(path)!r}))
except ImageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: "), done.stdout


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_an_image_cut_short_anywhere_is_refused_or_whole(format: str) -> None:
    """What follows the pixels may be missing: then the picture is the same to the last sample."""
    data = saved(format)
    whole = read_image(data)
    read = []
    for length in range(len(data)):
        try:
            assert np.array_equal(read_image(data[:length]), whole), length
            read.append(length)
        except ImageError as error:
            assert str(error).count("\n") <= 1
    assert not read or min(read) > len(data) - 120, read


# Names

NAMES = [
    b"two\nlines.png",
    b"tab\tand\rreturn.png",
    b"\x1b[2J\x1b]0;owned\x07.png",
    b"\xc2\x9b31m.png",
    "\u202egnp.exe.png".encode(),
    b"caf\xe9.png",
    b"\xff\xfe.png",
    "Käse \U0001f9c0 中文 \u202f.png".encode(),
    b"=cmd|'calc'!A0.png",
    b"@SUM(1+1)*cmd.png",
    b"-rf.png",
    b"<img src=x onerror=alert(1)>.png",
    b"[red]not markup[.png",
    b"'; DROP TABLE images; --.png",
    b'a,b;"c".png',
    b"back\\x1b.png",
    b"back\x1b.png",
    b"%s%n{0}.png",
    b"x" * 251 + b".png",
]


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder of good images under all these names, and of one bad image under a bad name."""
    folder = tmp_path / "names"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        image = np.full((24, 32, 3), i, np.uint8)
        (folder / os.fsdecode(name)).write_bytes(saved("PNG", image))
    (folder / os.fsdecode(b"bad\x1b[31m\xe9\n.png")).write_bytes(b"no image")
    os.mkfifo(folder / os.fsdecode(b"pipe\x1b\xe9.png"))
    return folder


def steers(text: str) -> list[str]:
    """What a terminal would obey, but ends of lines; and what is no text."""
    return re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]", text)


def test_printable() -> None:
    assert printable("Käse 中文 \u202f\U0001f9c0.png") == "Käse 中文 \u202f\U0001f9c0.png"
    assert printable("a\x1b[2J\n\u202e\udce9\ud800") == r"a\x1b[2J\n\u202e\xe9\ud800"
    for code in range(0x20000):
        assert not steers(printable(chr(code)))


@pytest.mark.slow
def test_every_name_is_measured_told_and_written(named: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = ("run", "-c", "jpeg", "-p", "50", "-j", "2", "-d", named, "-o", out)
    said = command(*run, code=1).printed  # all of it is text
    assert not steers(said), steers(said)
    assert said.count("failed: ") == 2
    assert "is no image" in said
    assert "is not a file" in said

    table = pd.read_parquet(out / "measurements.parquet")
    assert len(table) == len(NAMES) + 2
    assert table["error"].isna().sum() == len(NAMES)
    assert table["image"].is_unique
    assert not steers("".join(table["image"]))
    written = pd.read_csv(out / "measurements.csv")
    assert list(written["image"]) == list(table["image"])
    assert [name for name in table["image"] if name.startswith("=")] == ["=cmd|'calc'!A0.png"]
    with sqlite3.connect(out / "store.sqlite") as store:
        assert store.execute("SELECT count(*) FROM images").fetchone()[0] == len(table)

    # The second time all good ones are known; and a page can be made of them.
    assert f"{len(NAMES)} known" in command(*run, code=1).stderr
    page = out / "report.html"
    command("report", out, "-d", named, "-o", page, "--images", "3")
    assert "<img src=x onerror" not in page.read_text()


def test_a_folder_whose_own_name_is_hostile(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\x1b[31m\xe9\n<b>")
    folder.mkdir()
    (folder / "a.png").write_bytes(saved("PNG"))
    found = load_dataset(str(folder))
    assert (found.name, found.images[0].error) == (r"\x1b[31m\xe9\n<b>", None)
    assert found.digest
    (folder / "a.png").unlink()
    words = [sys.executable, "-m", "lic_bench", "run", "-d", os.fsencode(folder), "-c", "jpeg"]
    done = subprocess.run(words, capture_output=True, cwd=tmp_path)
    assert done.returncode == 2
    assert b"holds no images" in done.stderr
    assert not steers(done.stderr.decode())


# Folders


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "folder.png").mkdir(parents=True)
    (folder / "folder.png" / "inside.png").write_bytes(saved("PNG"))
    (folder / "good.png").write_bytes(saved("PNG"))
    (folder / "text.jpg").write_bytes(saved("BMP"))
    os.mkfifo(folder / "pipe.png")
    for name, to in (
        ("endless", "/dev/zero"),
        ("terminal", "/dev/tty"),
        ("memory", "/proc/self/mem"),
        ("secret", "/etc/passwd"),
        ("self", "self.png"),
        ("up", ".."),
    ):
        (folder / f"{name}.png").symlink_to(to)
    (folder / "above").symlink_to("..")
    (folder / "root").symlink_to("/")
    with (folder / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    images = load_dataset(str(folder)).images  # which would never end, were one of them read
    good = {image.name for image in images if image.error is None}
    assert good == {"good.png", "folder.png/inside.png", "text.jpg"}
    bad = {image.name: str(image.error) for image in images if image.error is not None}
    assert bad.keys() == {
        f"{name}.png"
        for name in ("pipe", "endless", "terminal", "memory", "secret", "self", "sparse")
    }
    assert "root:" not in "".join(bad.values())
    assert "2 GiB" in bad["sparse.png"]
    table = run(["none"], [str(folder)], out=tmp_path / "out", jobs=1)
    assert table["error"].isna().sum() == 3


def test_folders_within_folders_within_folders(tmp_path: Path) -> None:
    before = Path.cwd()
    (tmp_path / "set").mkdir()
    try:
        os.chdir(tmp_path / "set")
        for _ in range(1500):  # the path is too long for a single call
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    (tmp_path / "set" / "a.png").write_bytes(saved("PNG"))
    try:
        assert [image.name for image in load_dataset(str(tmp_path / "set")).images] == ["a.png"]
    except DatasetError as error:
        assert "too deep" in str(error)
    subprocess.run(["rm", "-rf", str(tmp_path / "set")], check=True)


def test_thousands_of_files(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    content = saved("PNG")
    for i in range(3000):
        (folder / f"{i}.png").write_bytes(content)
    found = load_dataset(str(folder))
    assert [image.name for image in found.images] == [f"{i}.png" for i in range(3000)]
    assert len({image.key for image in found.images}) == 1  # equal images are measured once


# Manifests and archives

ABOUT = {"summary": "", "licence": "", "source": "", "images": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../evil"},
        {"name": ".."},
        {"name": "/tmp/evil"},  # noqa: S108
        {"name": "a/b"},
        {"name": ""},
        {"name": "n", "files": {"../evil.png": "0" * 64}},
        {"name": "n", "files": {"a/../../evil.png": "0" * 64}},
        {"name": "n", "files": {"/etc/evil.png": "0" * 64}},
        {"name": "n", "files": {"": "0" * 64}},
        {"name": "n", "files": {"a\0.png": "0" * 64}},
        {"name": "n", "package": "skimage", "folder": "../../.."},
        {"name": "n", "package": "skimage", "folder": "/etc"},
        {"name": "n", "package": "os.path", "folder": "data"},
        {"name": "n", "package": "../x", "folder": "data"},
    ],
)
def test_a_manifest_stays_in_its_folder(fields: dict[str, object]) -> None:
    with pytest.raises(DatasetError, match=r"leads out of|no plain name"):
        Manifest(**ABOUT, **fields)
    with pytest.raises(DatasetError, match=r"leads out of|no plain name"):
        msgspec.json.decode(json.dumps(ABOUT | fields).encode(), type=Manifest)


class Handler(BaseHTTPRequestHandler):
    """Sends without end, or a few bytes that unpack to many."""

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/packed.png":
            packed = zlib.compressobj(9, zlib.DEFLATED, 31)
            content = packed.compress(bytes(50_000_000)) + packed.flush()
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.end_headers()
        with suppress(OSError):
            for _ in range(1000):
                self.wfile.write(bytes(1 << 20))
                self.server.sent += 1

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", ["endless.png", "packed.png"])
def test_a_server_that_sends_more_than_was_published(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("LIC_BENCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.sent = 0
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        m = Manifest(**ABOUT, name="n", address=address, files={name: "0" * 64}, bytes=1000)
        with pytest.raises(DatasetError, match="sends more than") as error:
            fetch(m, progress=False)
        assert str(error.value).count("\n") == 1
        assert server.sent < 100  # what the system's buffers take
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], **options: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (kind | 0o666) << 16
    return info


def encrypted(data: bytes) -> bytes:
    return data.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0")


GOOD = saved("PNG")
ARCHIVES = {
    "twice": (zipped(("a.png", GOOD), ("a.png", GOOD)), "two files in one place"),
    "file-and-folder": (zipped(("a.png", GOOD), ("a.png/b.png", GOOD)), "two files in one place"),
    "same-once-the-top-is-gone": (
        zipped(("t/a.png", GOOD), ("t/./a.png", GOOD)),
        "two files|leads",
    ),
    "lzma": (zipped(("a.png", GOOD), compression=zipfile.ZIP_LZMA), "oddly compressed"),
    "encrypted": (encrypted(zipped(("a.png", GOOD))), "encrypted"),
    "link": (zipped((special("a.png", 0o120000), b"/etc/passwd")), "leads out"),
    "damaged": (
        zipped(("a.png", GOOD * 99), compression=zipfile.ZIP_DEFLATED).replace(GOOD[40:60], b"")[
            :60
        ]
        + b"\xff" * 200
        + b"PK",
        "not a zip file",
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", ARCHIVES)
def test_a_hostile_archive_leaves_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lic_bench.images import fetch as fetching

    data, words = ARCHIVES[case]
    folder = tmp_path / "cache" / "unpacked"
    archive = tmp_path / "archive.zip"
    archive.write_bytes(data)
    with pytest.raises((DatasetError, zipfile.BadZipFile), match=words):
        fetching._unpack(archive, folder)
    assert not folder.exists()


def test_a_device_in_an_archive_becomes_a_plain_file(tmp_path: Path) -> None:
    from lic_bench.images import fetch as fetching

    archive = tmp_path / "archive.zip"
    archive.write_bytes(
        zipped(
            (special("device.png", 0o020000), GOOD),
            (special("pipe.png", 0o010000), GOOD),
            (special("executable.png", 0o104777), GOOD),
        )
    )
    fetching._unpack(archive, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert path.is_file()
        assert not path.is_symlink()
        assert not path.stat().st_mode & 0o6111


def test_the_header_alone_tells_the_size_of_what_is_refused_later(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(BOMBS["png-no-data"])
    assert image_size(path) == (MOST_PIXELS, MOST_PIXELS)
