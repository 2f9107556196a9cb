"""Data sets: folders as users have them, and fetching from a server that may fail."""

import hashlib
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import PIL.Image
import pytest

from lic_bench.errors import DatasetError, UnavailableError
from lic_bench.images.dataset import load_dataset
from lic_bench.images.fetch import fetch
from lic_bench.images.manifest import Manifest, known_datasets


def png(seed=0, size=(7, 5)):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def place(folder, **files):
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache, no data sets at hand, and no proxy before the test's own server."""
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIC_BENCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache" / "datasets"


# Folders of one's own


def test_a_folder(tmp_path):
    names = ["img10.png", "img2.PNG", "deep/er/a b.png", "zwei\nZeilen ü.png", ".hidden.png"]
    folder = tmp_path / "my images"
    for name in [*names, ".git/x.png", "notes.txt"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    found = load_dataset(str(folder))
    assert found.name == "my images"
    assert [image.path for image in found.images] == [folder / names[i] for i in (2, 1, 0, 3)]
    shown = [names[2], names[1], names[0], r"zwei\nZeilen ü.png"]
    assert [image.name for image in found.images] == shown
    for image in found.images:
        assert (image.width, image.height, image.error) == (7, 5, None)
        assert image.sha256 == sha256(png())


def test_names_of_data_sets(tmp_path, monkeypatch):
    folder = place(tmp_path / "a=b", x_png=png())
    (tmp_path / "link").symlink_to(folder)
    (folder / "sub").mkdir()
    place(tmp_path / "kodak", x_png=png())
    monkeypatch.chdir(folder)
    assert load_dataset(".").name == "a=b"
    assert load_dataset(str(folder) + "/").name == "a=b"
    assert load_dataset(f"mine={folder}").name == "mine"
    assert load_dataset("mine=.").images[0].path == folder / "x.png"
    assert load_dataset("x.png").name == "x"
    assert load_dataset("x.png").images[0].name == "x.png"
    monkeypatch.chdir(folder / "sub")
    assert load_dataset("..").name == "a=b"
    monkeypatch.chdir(tmp_path)
    assert load_dataset("link").name == "link"
    assert load_dataset("a=b").name == "a=b"
    assert load_dataset("./kodak").name == "kodak"
    with pytest.raises(UnavailableError):
        load_dataset("kodak")


def test_unreadable_images_are_kept_with_their_error(tmp_path):
    folder = place(tmp_path / "set", a_png=png(), b_png=b"", c_png=b"no image")
    (folder / "d.png").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "e.png")
    images = load_dataset(str(folder)).images
    assert [image.name for image in images] == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert images[0].error is None
    for image, word in zip(images[1:], ["empty", "no image", "nowhere", "not a file"], strict=True):
        assert str(image.path) in image.error
        assert word in image.error
        assert (image.width, image.height) == (0, 0)
    assert images[1].sha256 == sha256(b"")
    assert images[3].sha256 == ""


def test_loops_of_links_end(tmp_path):
    folder = place(tmp_path / "set", a_png=png())
    (folder / "loop").symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    first, second = load_dataset(str(folder)).images
    assert (first.name, second.name) == ("a.png", "self.png")
    assert second.error


def test_names_that_are_no_text(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(png())
    except OSError:
        pytest.skip("this file system takes no such names")
    found = load_dataset(str(folder))
    assert found.images[0].name == "caf\\xe9.png"
    assert found.images[0].error is None
    assert found.digest


def test_digest(tmp_path):
    one = place(tmp_path / "one", a_png=png(1), b_png=png(2))
    two = place(tmp_path / "two", b_png=png(2), a_png=png(1))
    renamed = place(tmp_path / "three", a_png=png(1), c_png=png(2))
    changed = place(tmp_path / "four", a_png=png(1), b_png=png(3))
    digests = [load_dataset(str(folder)).digest for folder in (one, two, renamed, changed)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("kodac", "did you mean kodak"),
        ("/nowhere/at all", "lic-bench datasets"),
        ("mine=/nowhere", "lic-bench datasets"),
        ("", "lic-bench datasets"),
        ("x" * 5000, "lic-bench datasets"),
        ("a\0b", "lic-bench datasets"),
    ],
)
def test_unknown(spec, words):
    with pytest.raises(DatasetError, match=words) as error:
        load_dataset(spec)
    assert str(error.value).count("\n") <= 1


def test_an_empty_folder(tmp_path):
    place(tmp_path / "set", notes_txt=b"")
    with pytest.raises(DatasetError, match=r"set: holds no images.*\.png"):
        load_dataset(str(tmp_path / "set"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed(tmp_path):
    folder = place(tmp_path / "set", a_png=png(), sub__b_png=png())
    (folder / "sub").chmod(0)
    with pytest.raises(DatasetError, match="sub: cannot be listed"):
        load_dataset(str(folder))
    (folder / "sub").chmod(0o700)


# Known data sets


def test_the_manifests():
    known = known_datasets()
    assert [line.name for line in known] == [
        "clic2020-mobile-valid",
        "clic2020-professional-valid",
        "div2k-valid",
        "kodak",
        "kodak-crops",
        "sample",
    ]
    for line in known:
        text = resources.files("lic_bench.datasets").joinpath(f"{line.name}.toml").read_bytes()
        m = msgspec.toml.decode(text, type=Manifest)
        assert m.name == line.name
        assert bool(m.archive) + bool(m.address) + bool(m.package) + bool(m.of) == 1
        assert len(m.files) == (0 if m.archive or m.of else m.images)
        assert (m.cut > 0) == bool(m.of)
        assert all(len(digest) == 64 for digest in m.files.values())
        assert len(m.archive_sha256) == (64 if m.archive else 0)
        if m.package:
            assert line.path
            assert line.problem is None
        else:
            assert line.path is None
            assert f"lic-bench fetch {m.of or m.name}" in line.problem
            assert line.problem.count("\n") == 1


def test_sample():
    found = load_dataset("sample")
    assert [(image.name, image.width, image.height) for image in found.images] == [
        ("astronaut.png", 512, 512),
        ("chelsea.png", 451, 300),
        ("coffee.png", 600, 400),
        ("motorcycle_left.png", 741, 500),
    ]
    assert fetch("sample") == found.images[0].path.parent


def test_a_changed_or_missing_embedded_set():
    astronaut = {"astronaut.png": "0" * 64}
    about = {"name": "s", "summary": "", "licence": "", "source": "", "images": 1}
    changed = Manifest(**about, package="skimage", folder="data", files=astronaut)
    for attempt in load_dataset, fetch:
        with pytest.raises(DatasetError, match=r"astronaut\.png is not the published image"):
            attempt(changed)
    missing = Manifest(**about, package="no_such_package", files=astronaut)
    for attempt in load_dataset, fetch:
        with pytest.raises(UnavailableError, match="no_such_package anew"):
            attempt(missing)


def test_the_list_is_cheap():
    code = (
        "import sys, lic_bench; before = set(sys.modules)\n"
        "from lic_bench.images.manifest import known_datasets; known_datasets()\n"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "PIL", "torch", "pooch", "skimage", "requests", "rich", "pandas"}
    assert not heavy & set(done.stdout.split())


DATA = os.environ.get("LIC_BENCH_DATA")


@pytest.mark.skipif(not DATA, reason="environment variable LIC_BENCH_DATA not set")
def test_kodak(monkeypatch):
    if not Path(DATA, "kodak").is_dir():
        pytest.skip("LIC_BENCH_DATA has no Kodak")
    monkeypatch.setenv("LIC_BENCH_DATA", DATA)
    found = load_dataset("kodak")
    assert [image.name for image in found.images] == [f"kodim{i:02}.png" for i in range(1, 25)]
    assert {(image.width, image.height) for image in found.images} == {(768, 512), (512, 768)}
    assert sum(image.path.stat().st_size for image in found.images) == 15_394_305
    assert fetch("kodak") == Path(DATA, "kodak")


def test_a_set_at_hand_is_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("LIC_BENCH_DATA", str(tmp_path / "data"))
    m = manifest("http://127.0.0.1:9/", {"a.png": png(1), "b.png": png(2)})
    folder = place(tmp_path / "data" / m.name, a_png=png(1))
    for attempt in load_dataset, fetch:
        with pytest.raises(DatasetError, match=r"holds 1, without b\.png"):
            attempt(m)
    place(folder, b_png=png(3), extra_png=png(4))
    for attempt in load_dataset, fetch:
        with pytest.raises(DatasetError, match=rf"b\.png is not the published.*{sha256(png(3))}"):
            attempt(m)
    place(folder, b_png=png(2))
    assert [image.name for image in load_dataset(m).images] == ["a.png", "b.png"]
    assert fetch(m) == folder
    (folder / "b.png").unlink()
    (folder / "b.png").mkdir()
    with pytest.raises(DatasetError, match=r"without b\.png"):
        load_dataset(m)


# Crops of another data set


def crops(cut):
    about = {"name": "s-crops", "summary": "", "licence": "", "source": "", "images": 4}
    return Manifest(**about, of="sample", cut=cut)


def test_crops_of_a_known_set():
    whole, cropped = load_dataset("sample"), load_dataset(crops(8))
    assert cropped.name == "s-crops"
    assert [image.name for image in cropped.images] == [image.name for image in whole.images]
    assert cropped.digest != whole.digest
    for before, after in zip(whole.images, cropped.images, strict=True):
        assert (after.width, after.height) == (before.width - 16, before.height - 16)
        assert after.sha256 == before.sha256
        assert after.key != before.key
        pixels = np.array(PIL.Image.open(before.path).convert("RGB"))
        found = after.cropped(pixels)
        assert found.shape == (after.height, after.width, 3)
        assert (found == pixels[8:-8, 8:-8]).all()
        assert found.flags.c_contiguous
        assert before.cropped(pixels) is pixels
    assert fetch(crops(8)) == whole.images[0].path.parent


def test_an_image_that_is_too_small_to_be_cropped():
    sizes = [(image.width, image.height, image.error) for image in load_dataset(crops(160)).images]
    assert sizes[0] == (192, 192, None)
    assert sizes[1][:2] == (0, 0)  # of 451 x 300
    assert "chelsea.png: is too small for 160 pixels" in sizes[1][2]


def test_crops_are_measured_apart_from_whole_images(tmp_path, monkeypatch):
    import lic_bench
    from lic_bench.images import dataset, manifest

    known = {"sample": manifest.manifests()["sample"], "s-crops": crops(100)}
    for module in (manifest, dataset):
        monkeypatch.setattr(module, "manifests", lambda: known)
    table = lic_bench.run(["none"], ["sample", "s-crops"], out=tmp_path, jobs=1)
    assert table["error"].isna().all()
    assert len(table) == 8
    sizes = table.set_index(["dataset", "image"])
    whole, cut = (sizes.loc[(name, "chelsea.png")] for name in ("sample", "s-crops"))
    assert (whole["width"], whole["height"]) == (451, 300)
    assert (cut["width"], cut["height"]) == (251, 100)
    assert cut["bytes"] == pytest.approx(251 * 100 * 3, abs=100)  # raw samples


# Fetching


def manifest(address, files):
    digests = {name: sha256(data) for name, data in files.items()}
    size = sum(map(len, files.values()))
    about = {"name": "tiny", "summary": "", "licence": "", "source": "", "images": len(files)}
    return Manifest(**about, bytes=size, address=address, files=digests)


def archived(address, data, images=1):
    about = {"name": "tiny", "summary": "", "licence": "", "source": "", "images": images}
    url = f"{address}tiny.zip"
    return Manifest(**about, bytes=len(data), archive=url, archive_sha256=sha256(data))


class Server(ThreadingHTTPServer):
    """Serves `files`; breaks off, or stalls, in the middle of what `breaks` or `stalls` lists."""

    daemon_threads = True

    def __init__(self):
        self.files, self.breaks, self.asked = {}, [], []
        self.stalls, self.stalled, self.released = [], threading.Event(), threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/")
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if name in self.server.breaks:
            self.server.breaks.remove(name)
            data = data[: len(data) // 2]
        elif name in self.server.stalls:
            self.server.stalls.remove(name)
            data = data[: len(data) // 2]
            self.wfile.write(data)
            self.server.stalled.set()
            self.server.released.wait(30)
            return
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


FILES = {"a.png": png(1), "b b.png": png(2, (64, 64)), "c.png": png(3)}


def test_fetch(server, home, capfd):
    server.files = {"a.png": FILES["a.png"], "b%20b.png": FILES["b b.png"], "c.png": FILES["c.png"]}
    m = manifest(server.address, FILES)
    with pytest.raises(UnavailableError, match="lic-bench fetch tiny"):
        load_dataset(m)
    assert fetch(m) == home / "tiny"
    assert server.address in capfd.readouterr().err
    assert [image.name for image in load_dataset(m).images] == list(FILES)
    assert list(home.iterdir()) == [home / "tiny"]
    assert fetch(m, progress=False) == home / "tiny"
    assert len(server.asked) == 3
    assert capfd.readouterr() == ("", "")


def test_fetch_again_after_a_break(server, home, capfd):
    files = {"a.png": FILES["a.png"], "b.png": FILES["b b.png"], "c.png": FILES["c.png"]}
    server.files, server.breaks = files, ["b.png"]
    m = manifest(server.address, files)
    with pytest.raises(DatasetError, match=r"broke off.\nTry again"):
        fetch(m, progress=False)
    assert not (home / "tiny").exists()
    assert [path.name for path in (home / "tiny.part").iterdir()] == ["a.png"]
    with pytest.raises(UnavailableError):
        load_dataset(m)
    capfd.readouterr()
    fetch(m, progress=False)
    assert capfd.readouterr() == ("", "")
    assert server.asked == ["a.png", "b.png", "b.png", "c.png"]
    assert len(load_dataset(m).images) == 3


def test_fetch_mends_what_was_damaged(server, home):
    server.files = {"a.png": png(1), "b.png": png(2)}
    m = manifest(server.address, server.files)
    fetch(m, progress=False)
    (home / "tiny" / "a.png").write_bytes(b"?")
    with pytest.raises(DatasetError, match="fetch tiny"):
        load_dataset(m)
    fetch(m, progress=False)
    assert server.asked == ["a.png", "b.png", "a.png"]
    assert len(load_dataset(m).images) == 2


def fetching(m, setup=""):
    """The command of another process that fetches `m`."""
    code = (
        f"import sys, msgspec\n{setup}\nfrom lic_bench.images.fetch import fetch\n"
        "from lic_bench.images.manifest import Manifest\n"
        "fetch(msgspec.json.decode(sys.argv[1], type=Manifest))"
    )
    return [sys.executable, "-c", code, msgspec.json.encode(m).decode()]


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_fetch(server, home, blow):
    server.files, server.stalls = {"a.png": png(1), "b.png": png(2)}, ["b.png"]
    m = manifest(server.address, server.files)
    # What runs the tests in the background may have had SIGINT ignored.
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with subprocess.Popen(fetching(m, heeds), stderr=subprocess.DEVNULL) as process:
        assert server.stalled.wait(30)
        process.send_signal(blow)
        process.wait(30)
    server.released.set()
    assert process.returncode == -blow
    assert not (home / "tiny").exists()
    with pytest.raises(UnavailableError):
        load_dataset(m)
    fetch(m, progress=False)
    assert server.asked == ["a.png", "b.png", "b.png"]
    assert [image.name for image in load_dataset(m).images] == ["a.png", "b.png"]


def test_a_wrong_checksum(server, home):
    server.files = {"a.png": png(2)}
    m = manifest(server.address, {"a.png": png(1)})
    with pytest.raises(DatasetError, match=f"expected {sha256(png(1))} but got {sha256(png(2))}"):
        fetch(m, progress=False)
    assert list((home / "tiny.part").iterdir()) == []
    assert not (home / "tiny").exists()


def test_no_such_file_and_no_server(server):
    m = manifest(server.address, {"a.png": png(1)})
    with pytest.raises(DatasetError, match=r"a\.png: the server answers 404") as error:
        fetch(m, progress=False)
    assert "LIC_BENCH_DATA" in str(error.value)
    m = manifest("http://127.0.0.1:9/", {"a.png": png(1)})
    with pytest.raises(
        DatasetError, match=r"127\.0\.0\.1:9/a\.png: there is no connection"
    ) as error:
        fetch(m, progress=False)
    assert str(error.value).count("\n") == 1


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    server.files = {"a.png": png(1)}
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIC_BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match=r"Not a directory.\n.*LIC_BENCH_CACHE"):
        fetch(manifest(server.address, server.files), progress=False)


def test_a_full_disk(server, home):
    server.files = {"a.png": png(1), "b.png": png(2, (64, 64))}
    m = manifest(server.address, server.files)
    # A limit on the size of files fails in mid-write, as a full disk does, for root as well.
    limit = f"(5000, {resource.RLIM_INFINITY})"
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, {limit})"
    done = subprocess.run(fetching(m, setup), capture_output=True, text=True)
    assert "DatasetError: tiny cannot be fetched" in done.stderr
    assert "File too large" in done.stderr
    assert [path.name for path in (home / "tiny.part").iterdir()] == ["a.png"]


def test_two_fetches_at_once(server):
    server.files = {f"{i}.png": png(i, (64, 64)) for i in range(20)}
    m = manifest(server.address, server.files)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: fetch(m, progress=False), range(4)))
    assert len(folders) == 1
    assert len(load_dataset(m).images) == 20


class Raw:
    """A server that says, and how slowly, what it is given to say."""

    def __init__(self, say):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._say = say
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.recv(1 << 16)
                    for piece in self._say:
                        connection.sendall(piece)

    def close(self):
        self._socket.close()


def test_a_server_that_sends_byte_by_byte_is_broken_off(home, monkeypatch):
    """None of its silences is long enough to end it; all together are."""

    def drip():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
        while True:
            yield b"x"
            time.sleep(0.02)

    monkeypatch.setattr("lic_bench.images.fetch._PATIENCE_S", 0.5)
    with closing(Raw(drip())) as slow:
        start = time.monotonic()
        with pytest.raises(DatasetError, match=r"less than 10 kB a second\.\nTry again"):
            fetch(manifest(slow.address, {"a.png": png(1)}), progress=False)
    assert time.monotonic() - start < 60  # 100 000 bytes would take 2 000 s
    assert list((home / "tiny.part").iterdir()) == []


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:9/",
        "http://[::1]:9/",
        "http://10.0.0.1/",
        "http://2130706433:9/",
        "http://0/",
        "http://[::ffff:127.0.0.1]:9/",
        "//192.168.1.1/a.png",
    ],
)
def test_a_server_outside_sends_nobody_within(target, home, monkeypatch):
    answer = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
    looked_up = socket.getaddrinfo
    with closing(Raw([answer])) as server:
        port = int(server.address.rstrip("/").rpartition(":")[2])

        def outside(host, *rest, **more):
            """The server's name leads to it, and is an address of the world's to who asks first."""
            if host == "elsewhere.example":
                there = "127.0.0.1" if rest[:1] == (port,) else "93.184.216.34"
                return looked_up(there, *rest, **more)
            return looked_up(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", outside)
        m = manifest(f"http://elsewhere.example:{port}/", {"a.png": png(1)})
        with pytest.raises(DatasetError, match="which is an address within"):
            fetch(m, progress=False)


def test_a_server_within_may_send_on_within(server, home):
    server.files = {"a.png": png(1)}
    there = f"{server.address}a.png"
    answer = f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode()
    with closing(Raw([answer])) as first:
        fetch(manifest(first.address, server.files), progress=False)
    assert server.asked == ["a.png"]


def zipped(*members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def test_an_archive(server, home):
    data = zipped(
        ("top/", b""),
        ("top/img10.png", png(1)),
        ("top/sub/img2.png", png(2)),
        ("top/.hidden.png", png(3)),
        ("top/README.txt", b"read me"),
        ("__MACOSX/top/._img10.png", b"?"),
    )
    server.files, server.breaks = {"tiny.zip": data}, ["tiny.zip"]
    m = archived(server.address, data, images=2)
    with pytest.raises(DatasetError, match="broke off"):
        fetch(m, progress=False)
    with pytest.raises(UnavailableError):
        load_dataset(m)
    fetch(m, progress=False)
    assert [image.name for image in load_dataset(m).images] == ["img10.png", "sub/img2.png"]
    assert {path.name for path in home.rglob("*")} == {"tiny", "sub", "img10.png", "img2.png"}
    assert len(server.asked) == 2
    (home / "tiny" / "img10.png").unlink()
    with pytest.raises(DatasetError, match=r"should have 2 images, but .* holds 1"):
        load_dataset(m)


def test_two_fetches_of_an_archive_at_once(server, home):
    data = zipped(*((f"{i}.png", png(i, (64, 64))) for i in range(50)))
    server.files = {"tiny.zip": data}
    m = archived(server.address, data, images=50)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch(m, progress=False), range(4)))
    assert len(load_dataset(m).images) == 50


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../evil.png", png())], "leads out of the archive"),
        ([("top/../../evil.png", png())], "leads out of the archive"),
        ([("/tmp/evil.png", png())], "leads out of the archive"),  # noqa: S108
        ([(link("evil.png"), "/etc/passwd")], "leads out of the archive"),
        ([("bomb.png", b"\0" * 1_000_000)], "more than ten times"),
        ([("a.png", png()), ("b.png", png())], "should have 1 images, but .* holds 2"),
        ([], "should have 1 images, but .* holds 0"),
    ],
    ids=["up", "further-up", "absolute", "link", "bomb", "too-many", "empty"],
)
def test_archives_that_are_refused(server, home, tmp_path, members, words):
    data = zipped(*members)
    server.files = {"tiny.zip": data}
    with pytest.raises(DatasetError, match=words) as error:
        fetch(archived(server.address, data), progress=False)
    assert not (home / "tiny").exists()
    assert not list(tmp_path.rglob("evil.png"))
    assert str(error.value).count("\n") == 1
    assert not Path("/tmp/evil.png").exists()  # noqa: S108


def test_what_is_no_archive(server):
    server.files = {"tiny.zip": b"no archive"}
    with pytest.raises(DatasetError, match="not a zip file"):
        fetch(archived(server.address, b"no archive"), progress=False)
