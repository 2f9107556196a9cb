import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

import lic_bench
from lic_bench import (
    Image,
    SpecError,
    StoreError,
    UnavailableError,
    image_metrics,
    write_image,
)
from lic_bench.execution.measure import Task
from lic_bench.execution.plan import plan
from lic_bench.execution.run import Progress, execute
from lic_bench.execution.workers import Processes
from lic_bench.store.database import FILE_NAME, Store
from lic_bench.store.table import load

# Codecs that write a line each time they encode, and that fail as their point says.
PLUGIN = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from lic_bench import Codec

LOG = Path(__file__).with_name("log")

class Toy(Codec):
    name = "toy"
    points = ("good", "fine")
    def encode(self, image, point):
        with LOG.open("a") as log:
            log.write(f"{point} {image.mean():.6f}\\n")
        if point == "slow":
            time.sleep(0.05)
        if point == "raises":
            raise ValueError("not\\nme")
        if point == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if point == "destroys":
            image[:] = 0
        height, width, _ = image.shape
        return f"{width} {height} {point}".encode()
    def decode(self, stream):
        width, height, point = stream.decode().split()
        return np.full((int(height), int(width), 3), 128, np.uint8)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "toy.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "my images"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name in ("a", "b", "ü c"):
        write_image(folder / f"{name}.png", random.integers(0, 256, (16, 24, 3), dtype=np.uint8))
    return folder


def encoded(plugin: Path) -> list[str]:
    log = plugin.with_name("log")
    return log.read_text().splitlines() if log.exists() else []


def run(plugin: Path, images: Path, *points: str) -> pd.DataFrame:
    chosen = {"toy": points} if points else None
    return lic_bench.run(
        ["toy"], [str(images)], out=plugin.parent / "out", points=chosen, plugins=[plugin], jobs=2
    )


def test_a_run_measures_what_was_planned(photo: Image, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "photo.png", photo)
    table = lic_bench.run(["jpeg", "none"], [str(folder)], out=tmp_path / "out", jobs=2)
    jpeg = lic_bench.Registry().codec("jpeg")
    assert table["codec"].tolist() == ["jpeg"] * len(jpeg.points) + ["none"]
    for _, row in table[table["codec"] == "jpeg"].iterrows():
        stream = jpeg.encode(photo, int(row["point"]))
        assert row["bytes"] == len(stream)
        assert row["bpp"] == pytest.approx(8 * len(stream) / (451 * 300))
        for name, value in image_metrics(photo, jpeg.decode(stream)).items():
            assert row[name] == pytest.approx(value, abs=1e-6)
        assert row["encode_s"] > 0 < row["decode_s"]
    last = table.iloc[-1]
    assert (last["point"], last["mse_rgb"], last["psnr_rgb_db"]) == ("", 0, np.inf)
    assert table["error"].isna().all()
    assert (tmp_path / "out" / "store.sqlite").exists()


def test_nothing_is_measured_twice(plugin: Path, images: Path) -> None:
    first = run(plugin, images)
    assert len(encoded(plugin)) == len(first) == 6
    pd.testing.assert_frame_equal(run(plugin, images), first)
    assert len(encoded(plugin)) == 6
    run(plugin, images, "good", "slow")
    assert len(encoded(plugin)) == 9  # only what was new
    # The same image under another name and in another set is the same measurement.
    (images / "a.png").rename(images / "z.png")
    images.rename(images.with_name("moved"))
    again = run(plugin, images.with_name("moved"))
    assert len(encoded(plugin)) == 9
    assert set(again["image"]) == {"b.png", "z.png", "ü c.png"}


@pytest.mark.slow
def test_an_edited_image_or_codec_is_measured_anew(plugin: Path, images: Path) -> None:
    run(plugin, images)
    write_image(images / "a.png", np.zeros((16, 24, 3), np.uint8))
    edited = run(plugin, images)
    assert len(encoded(plugin)) == 8
    assert (edited[edited["image"] == "a.png"]["mse_rgb"] == 128**2).all()
    plugin.write_text(PLUGIN.replace("128", "0"))
    assert (run(plugin, images).query("image == 'a.png'")["mse_rgb"] == 0).all()
    assert len(encoded(plugin)) == 14


def changed(plugin: Path, images: Path, spec: str = "toy") -> list[str]:
    """What a run says of what has changed; it measures, too."""
    told: list[str] = []
    planned = plan([spec], [str(images)], plugins=[plugin])
    out = plugin.parent / "out"
    execute(planned, out, workers=Processes(1), report=lambda now: told.extend(now.updates))
    return list(dict.fromkeys(told))


@pytest.mark.slow
def test_a_run_says_why_it_measures_anew(plugin: Path, images: Path) -> None:
    assert changed(plugin, images) == []
    assert changed(plugin, images) == []
    plugin.write_text(PLUGIN.replace("128", "0"))
    assert changed(plugin, images) == ["toy: toy.py changed, 6 measurements; before: toy@1"]
    assert changed(plugin, images) == []
    plugin.write_text(PLUGIN + "    def versions(self): return {'libtoy': '3.1'}\n")
    changed(plugin, images)
    plugin.write_text(PLUGIN + "    def versions(self): return {'libtoy': '3.2'}\n")
    assert changed(plugin, images) == [
        "toy: libtoy 3.1 -> 3.2, toy.py changed, 6 measurements; before: toy@3"
    ]
    plugin.write_text(PLUGIN)  # as at first: known
    assert changed(plugin, images) == []
    sides = [
        load(plugin.parent / "out", ["toy@2"]).query("codec == @name")["mse_rgb"].mean()
        for name in ("toy", "toy@2")
    ]
    assert sides[0] < sides[1]  # all grey is nearer than all black


def test_so_it_does_of_a_retrained_network(plugin: Path, images: Path) -> None:
    plugin.write_text(
        PLUGIN + "    def __init__(self, weights: str): self.weights = Path(weights).read_text()\n"
    )
    weights = plugin.with_name("tiny.pt")
    weights.write_text("1")
    changed(plugin, images, f"toy:weights={weights}")
    weights.write_text("2")
    spec = f"toy:weights={weights}"
    assert changed(plugin, images, spec) == [
        f"{spec}: tiny.pt changed, 6 measurements; before: {spec}@1"
    ]


def test_a_folder_that_was_edited_is_told(plugin: Path, images: Path) -> None:
    changed(plugin, images)
    write_image(images / "a.png", np.zeros((16, 24, 3), np.uint8))
    (images / "b.png").rename(images / "d.png")
    assert changed(plugin, images) == ["my images: 1 image edited, 1 image added, 1 image removed"]


def test_two_folders_of_one_name_are_two_data_sets(plugin: Path, images: Path) -> None:
    for folder, value in (("a", 50), ("b", 100)):
        test = plugin.parent / folder / "test"
        test.mkdir(parents=True)
        write_image(test / "x.png", np.full((16, 24, 3), value, np.uint8))
    first = run(plugin, plugin.parent / "a" / "test")
    with pytest.raises(StoreError, match=r"test in .*/a/test, and the images of .*/b/test are"):
        run(plugin, plugin.parent / "b" / "test")
    pd.testing.assert_frame_equal(lic_bench.load(plugin.parent / "out"), first)
    assert len(encoded(plugin)) == len(first)  # refused before any work


@pytest.mark.slow
def test_what_failed_is_tried_again(plugin: Path, images: Path) -> None:
    """See test_bad_codecs for all that may go wrong."""
    bad = {"raises": "ValueError: not me", "segfault": "the process died of SIGSEGV"}
    table = run(plugin, images, "good", *bad, "fine")
    assert len(table) == 12
    for point, error in bad.items():
        assert table[table["point"] == point]["error"].str.match(error).all()
    before = len(encoded(plugin))
    run(plugin, images, "good", *bad, "fine")
    assert {line.split()[0] for line in encoded(plugin)[before:]} == set(bad)


def test_a_codec_may_write_into_its_image(plugin: Path, images: Path) -> None:
    table = run(plugin, images, "destroys", "good")
    assert table.groupby("image")["mse_rgb"].nunique().eq(1).all()


def test_damaged_images_fail_and_the_others_are_measured(plugin: Path, images: Path) -> None:
    whole = (images / "a.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "empty.png").touch()
    (images / "nothing.png").touch()
    table = run(plugin, images)
    failed = table[table["error"].notna()]
    assert set(failed["image"]) == {"cut.png", "empty.png", "nothing.png"}
    for _, row in failed.iterrows():
        assert row["image"] in row["error"]  # also where two files are equal
    assert len(table) == 12
    averages = lic_bench.aggregate(table)
    assert averages["images"].tolist() == [3, 3]
    assert averages["complete"].all()


@pytest.mark.slow
def test_new_metrics_decode_kept_bitstreams_and_encode_nothing(
    plugin: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(plugin, images)
    with Store(plugin.parent / "out" / FILE_NAME) as store:
        store._db.execute("UPDATE metrics SET identity = 'as it was before'")
    again = run(plugin, images)
    assert len(encoded(plugin)) == 6
    changed = ["decode_s", "run", "measured"]
    pd.testing.assert_frame_equal(again.drop(columns=changed), first.drop(columns=changed))
    with Store.open(plugin.parent / "out") as store:
        assert len(set(store.measured([]))) == 6


COMMAND = [
    *(sys.executable, "-m", "lic_bench", "run", "--plugin", "toy.py", "--codecs", "toy"),
    *("--dataset", "my images", "--out", "out", "--jobs", "2"),
    *("--points", ",".join(["slow", *map(str, range(60))])),
]


@pytest.mark.slow
def test_a_run_that_was_killed_carries_on(plugin: Path, images: Path) -> None:
    plugin.write_text(PLUGIN.replace('if point == "slow"', "if True"))
    folder, planned = plugin.parent, 3 * 61
    process = subprocess.Popen(COMMAND, cwd=folder, stderr=subprocess.DEVNULL)
    while len(encoded(plugin)) < 100:
        time.sleep(0.02)
        assert process.poll() is None
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Store.open(folder / "out") as store:
        kept = set(store.measured([]))
    assert 40 < len(kept) < planned  # a second of each worker's work may be lost, not more
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive  # a worker ends with its parent
    before = len(encoded(plugin))

    subprocess.run(COMMAND, cwd=folder, check=True, capture_output=True)
    assert len(encoded(plugin)) - before == planned - len(kept)
    table = lic_bench.load(folder / "out")
    assert len(table) == planned
    assert not table.duplicated(["image", "point"]).any()
    assert table["error"].isna().all()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_measured_and_says_so(plugin: Path, images: Path) -> None:
    plugin.write_text(PLUGIN.replace('if point == "slow"', "if True"))
    process = subprocess.Popen(
        COMMAND,
        cwd=plugin.parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while len(encoded(plugin)) < 60:
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "What was measured is kept; the same command carries on" in errors
    assert "Traceback" not in errors
    with Store.open(plugin.parent / "out") as store:
        assert len(set(store.measured([]))) > 10


def test_progress_is_reported(plugin: Path, images: Path) -> None:
    told: list[Progress] = []
    planned = plan(["toy"], [str(images)], plugins=[plugin])
    execute(planned, plugin.parent / "out", workers=Processes(2), report=told.append)
    assert [(p.planned, p.remembered, p.done) for p in told] == [(6, 0, i) for i in range(7)]
    told.clear()
    execute(planned, plugin.parent / "out", report=told.append)
    assert [(p.planned, p.remembered, p.done) for p in told] == [(6, 6, 0)]


def test_work_is_drawn_as_workers_become_free(plugin: Path, images: Path) -> None:
    [(_, task), *_] = plan(["toy"], [str(images)], plugins=[plugin]).tasks()
    drawn = 0

    def endless() -> Iterator[tuple[int, Task]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn, task

    made = Processes(1).measure_all(endless(), count=1_000_000)
    labels = [label for label, _, _ in islice(made, 5)]
    made.close()
    assert sorted(labels) == [1, 2, 3, 4, 5]
    assert drawn < 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codecs": []}, "needs a codec"),
        ({"codecs": ["nope"]}, "no codec 'nope'"),
        ({"datasets": ["a=.", "a=."]}, None),
        ({"datasets": ["a=..", "a=."]}, "two data sets are called 'a'"),
        ({"points": {"jpeg2000": ["5"]}}, "'jpeg2000', which is none of the run's codecs"),
        ({"points": {"": ["high"]}}, "'high' is no operating point"),
        ({"points": {"": ["500"]}}, "500"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, message: str
) -> None:
    monkeypatch.chdir(images)
    request = {"codecs": ["jpeg"], "datasets": ["."]} | arguments
    if message is None:
        plan(**request)
        return
    with pytest.raises(SpecError, match=message):
        plan(**request)


def test_a_device_that_is_not_there_is_refused(images: Path) -> None:
    with pytest.raises(UnavailableError, match="no device 'cuda:99' here"):
        lic_bench.run(["jpeg"], [str(images)], out=images / "out", device="cuda:99")
    assert not (images / "out").exists()


def test_provenance_tells_command_machine_and_versions(plugin: Path, images: Path) -> None:
    run(plugin, images)
    with Store.open(plugin.parent / "out") as store:
        [told] = store.runs()
    assert told["libraries"]["pillow"]
    assert told["datasets"]["my images"] == lic_bench.load_dataset(str(images)).digest
    assert '"codec": "toy"' in told["codecs"]["toy"]
    for name in ("command", "python", "system", "processor", "cores", "workers", "started"):
        assert told[name], name


BATCHED = """
import numpy as np
from lic_bench import Codec

class Batched(Codec):
    name = "batched"
    points = (1, 2)
    batch_size = 3

    def encode(self, image, point):
        return b"%d %d %d " % (*image.shape[:2], point) + image.tobytes()

    def decode(self, stream):
        height, width, point, pixels = stream.split(b" ", 3)
        image = np.frombuffer(pixels, np.uint8).reshape(int(height), int(width), 3)
        return np.clip(image.astype(int) + int(point), 0, 255).astype(np.uint8)

    def encode_batch(self, images, point):
        assert 1 <= len(images) <= 3
        assert len({image.shape for image in images}) == 1
        if any(image[0, 0, 0] == 77 for image in images) and len(images) > 1:
            raise ValueError("one image spoils the batch")
        with open(LOG, "a") as file:
            file.write(f"{len(images)}\\n")
        return super().encode_batch(images, point)
"""


def test_a_codec_that_takes_batches_is_given_images_of_one_size_and_measured_like_others(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    # Seven of one size, one of another, and a damaged one.
    for index in range(8):
        side = 40 if index == 4 else 32
        pixels = rng.integers(100, 150, (side, side, 3), dtype=np.uint8)
        write_image(folder / f"{index}.png", pixels)
    (folder / "9.png").write_bytes(b"no image")
    plugin = tmp_path / "batched.py"
    plugin.write_text(BATCHED.replace("LOG", repr(str(tmp_path / "log"))))
    alone = tmp_path / "alone.py"
    alone.write_text(
        BATCHED.replace('"batched"', '"alone"').replace("batch_size = 3", "batch_size = 1")
    )
    frame = lic_bench.run(
        ["batched", "alone"], [str(folder)], out=tmp_path / "out", plugins=[plugin, alone], jobs=1
    )
    sizes = [int(line) for line in (tmp_path / "log").read_text().split()]
    assert sum(sizes) == 16
    assert max(sizes) == 3
    columns = ["image", "point", "bytes", "psnr_rgb_db", "width"]
    batched, single = (frame[frame.codec == name] for name in ("batched", "alone"))
    pd.testing.assert_frame_equal(
        batched[columns].sort_values(["image", "point"]).reset_index(drop=True),
        single[columns].sort_values(["image", "point"]).reset_index(drop=True),
    )
    assert batched.error.notna().sum() == 2


def test_an_image_that_spoils_its_batch_spoils_no_other(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        pixels = np.full((32, 32, 3), 77 if index == 1 else 50 + index, np.uint8)
        write_image(folder / f"{index}.png", pixels)
    plugin = tmp_path / "batched.py"
    plugin.write_text(BATCHED.replace("LOG", repr(str(tmp_path / "log"))))
    frame = lic_bench.run(["batched"], [str(folder)], out=tmp_path / "out", plugins=[plugin])
    assert frame.error.isna().all()
    assert len(frame) == 6


def test_what_a_usual_point_needs_is_checked_before_any_work(tmp_path: Path) -> None:
    plugin = tmp_path / "needy.py"
    plugin.write_text(
        """
from lic_bench import Codec, UnavailableError

class Needy(Codec):
    name = "needy"
    points = (1, 2)

    def check_point(self, point):
        if point == 2:
            raise UnavailableError("the weights of point 2 are missing")

    def encode(self, image, point): ...
    def decode(self, stream): ...
"""
    )
    with pytest.raises(UnavailableError, match="point 2 are missing"):
        plan(["needy"], ["sample"], plugins=[plugin])
    assert plan(["needy"], ["sample"], points={"needy": ["1"]}, plugins=[plugin]).points
