"""Runs on a Dask cluster of several processes, whose working folders are elsewhere."""

import json
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

import lic_bench
from lic_bench import UnavailableError, write_image
from lic_bench.execution import cluster
from lic_bench.execution.plan import plan
from lic_bench.execution.runner import Limits
from lic_bench.store.records import Measurement

distributed = pytest.importorskip("distributed", reason="needs lic-bench[cluster]")
Client = distributed.Client

PLUGIN = """
import os, signal, time
import numpy as np
from lic_bench import Codec

class Toy(Codec):
    name = "toy"
    points = ("good", "fine")
    def encode(self, image, point):
        if point == "slow":
            time.sleep(0.3)
        if point == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        height, width, _ = image.shape
        return f"{width} {height} {int(image.mean())} {point}".encode()
    def decode(self, stream):
        width, height, mean, _ = stream.decode().split()
        return np.full((int(height), int(width), 3), int(mean), np.uint8)

class Gpu(Toy):
    name = "gpu"
    points = (None,)
    device = "cuda"
    def encode(self, image, point):
        return super().encode(image, os.environ.get("HAS_GPU", "none"))
"""
FIGURES = ["image", "codec", "point", "bytes", "error", *lic_bench.METRICS]

Start = Callable[..., subprocess.Popen[bytes]]


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
    for i in range(6):
        write_image(folder / f"ü {i}.png", random.integers(0, 256, (48, 40, 3), dtype=np.uint8))
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker of the scheduler whose address is in `tmp_path / "scheduler.json"`."""
    processes = []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = str(tmp_path / "scheduler.json")

    def begin(what: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, "--scheduler-file", file, *options]
        with (tmp_path / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=elsewhere, env=os.environ | environment, stdout=log, stderr=log
            )
        processes.append(process)
        return process

    begin("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
    yield lambda *options, **environment: begin(
        "worker", "--no-nanny", "--no-dashboard", "--nthreads", "1", *options, **environment
    )
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def address(tmp_path: Path, start: Start) -> str:
    file = tmp_path / "scheduler.json"
    while not file.exists() or not file.read_text():
        time.sleep(0.05)
    return str(json.loads(file.read_text())["address"])


def measured(
    plugin: Path, images: Path, out: str, scheduler: str | None = None, *points: str
) -> pd.DataFrame:
    return lic_bench.run(
        ["jpeg", "toy"],
        [str(images)],
        out=plugin.parent / out,
        points={"jpeg": ["20", "80"], "toy": points or ("good", "fine")},
        plugins=[plugin],
        scheduler=scheduler,
        jobs=2,
    )


def streams(folder: Path) -> set[tuple[object, ...]]:
    with sqlite3.connect(folder / "store.sqlite") as db:
        return set(
            db.execute(
                "SELECT image_key, identity, point, stream FROM measurements m "
                "LEFT JOIN bitstreams b ON b.measurement = m.id"
            )
        )


def test_a_cluster_measures_what_one_machine_does(
    plugin: Path, images: Path, start: Start, address: str
) -> None:
    start(), start()
    there = measured(plugin, images, "there", address)
    here = measured(plugin, images, "here")
    pd.testing.assert_frame_equal(there[FIGURES], here[FIGURES], check_exact=True)
    assert here["error"].notna().sum() == 4  # of the damaged image
    assert streams(plugin.parent / "there") == streams(plugin.parent / "here")
    assert not list((plugin.parent / "elsewhere").rglob("*.png"))


def test_a_worker_that_dies_costs_a_retry(
    plugin: Path, images: Path, start: Start, address: str
) -> None:
    workers = [start(), start(), start()]
    killer = Thread(target=kill_when_busy, args=(workers[0], plugin.parent / "there"))
    killer.start()
    table = measured(plugin, images, "there", address, *["slow", "good"])
    killer.join()
    assert workers[0].poll() == -signal.SIGKILL
    assert table[table["image"] != "damaged.png"]["error"].isna().all()
    assert len(table) == 7 * 4


def kill_when_busy(worker: subprocess.Popen[bytes], folder: Path) -> None:
    """Kill a worker as soon as a first measurement is in the store: it is then at another."""
    while True:
        time.sleep(0.05)
        with suppress(sqlite3.Error), sqlite3.connect(folder / "store.sqlite") as db:
            if db.execute("SELECT count(*) FROM measurements").fetchone()[0]:
                return worker.kill()


def test_a_bad_codec_costs_only_its_own_measurements(
    plugin: Path, images: Path, start: Start, address: str
) -> None:
    for i in range(2, 6):
        (images / f"ü {i}.png").unlink()
    worker = start()
    table = measured(plugin, images, "there", address, *["good", "segfault", "fine"])
    table = table[table["image"] != "damaged.png"]
    assert table[table["point"] == "segfault"]["error"].str.contains("SIGSEGV").all()
    assert table[table["point"] != "segfault"]["error"].isna().all()
    assert worker.poll() is None


def test_what_needs_a_gpu_goes_where_there_is_one(
    plugin: Path, images: Path, start: Start, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> pd.DataFrame:
        out = plugin.parent / "there"
        return lic_bench.run(["gpu"], [str(images)], out=out, plugins=[plugin], scheduler=address)

    start(), start()
    with monkeypatch.context() as impatient:
        impatient.setattr(cluster, "_comes_true", lambda what: what())
        with pytest.raises(UnavailableError, match="resources GPU=1"):
            run()
    start("--resources", "GPU=1", HAS_GPU="yes")
    run()
    told = {stream.split()[-1] for *_, stream in streams(plugin.parent / "there") if stream}
    assert told == {b"yes"}


def test_nothing_that_travels_names_a_folder_of_this_machine(plugin: Path, images: Path) -> None:
    planned = plan(["jpeg", "toy"], [str(images)], plugins=[plugin])
    tasks = [task for _, task in planned.tasks()]
    whole = [task for task in tasks if task.image.error is None]
    sent = cluster.to_bytes(cluster.packed(whole, Limits()))
    assert images.name.encode() not in sent
    assert str(plugin.parent).encode() not in sent
    assert whole[0].image.path.read_bytes() in sent


def test_what_lies_beside_a_plugin_travels_with_it(tmp_path: Path, images: Path) -> None:
    here = tmp_path / "here"
    (here / "parts").mkdir(parents=True)
    toy = PLUGIN.replace("import numpy", "from parts.how import told\nimport numpy")
    (here / "toy.py").write_text(toy.replace("{point}", "{told(point)}"))
    (here / "parts/how.py").write_text("def told(point): return 'how-' + point\n")
    (here / "secret.py").write_text("no neighbour that is used")
    planned = plan(["toy"], [str(images)], plugins=[here / "toy.py"])
    tasks = [task for _, task in planned.tasks() if task.image.error is None]
    parcel = cluster.packed(tasks, Limits())
    assert {path.name for path in map(Path, parcel.files) if path.suffix == ".py"} == {
        "toy.py",
        "how.py",
    }
    here.rename(tmp_path / "gone")
    # The identity is that of here: a worker measures nothing under the name of another codec.
    assert {result.error for result, _ in cluster.measure_parcel(parcel)} == {None}


def test_what_travels_is_plain_data_and_comes_back_as_it_was(plugin: Path, images: Path) -> None:
    planned = plan(["jpeg", "toy"], [str(images)], plugins=[plugin], points={"jpeg": ["20"]})
    figures = {"psnr_rgb_db": np.inf, "x": None}
    kept = Measurement(40, 48, b"stream", 0.1, None, figures, {"x": "why"}, "no", "trace")
    tasks = [replace(task, kept=kept) for _, task in planned.tasks()]
    parcel = cluster.packed(tasks, Limits(7, 0.5, 3))
    assert cluster._parcels.decode(cluster.to_bytes(parcel)) == parcel
    assert {task.point for task in parcel.tasks} == {20, "good", "fine"}
    results = [(kept, 0.5), (Measurement(), 1.0)]
    assert cluster._results(cluster.to_bytes(results), 2, "") == results


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


@pytest.mark.parametrize(
    "sent",
    [
        pickle.dumps(Evil()),
        msgspec.msgpack.encode([]),
        msgspec.msgpack.encode([[{"width": "x"}, 1.0]]),
        msgspec.msgpack.encode([[{"metrics": {"psnr_rgb_db": [1]}}, 1.0]]),
        msgspec.msgpack.encode([[{}, None]]),
        b"",
        None,
        [(Measurement(), 1.0)],
    ],
    ids=["pickle", "too-few", "types", "metrics", "no-seconds", "nothing", "none", "objects"],
)
def test_what_a_worker_sends_that_is_no_measurement_is_refused(sent: object) -> None:
    with pytest.raises(UnavailableError, match="sent what is no measurement"):
        cluster._results(sent, 1, "tcp://127.0.0.1:1")


def test_no_object_of_ours_reaches_dask(
    plugin: Path, images: Path, start: Start, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is submitted and what comes back are bytes, and bytes Dask does not pickle."""
    submit, seen = Client.submit, []

    def watched(self: Any, function: Any, *given: Any, **options: Any) -> Any:
        future = submit(self, function, *given, **options)
        seen.append((given, future))
        return future

    monkeypatch.setattr(Client, "submit", watched)
    results = cluster._results
    came: list[object] = []
    monkeypatch.setattr(cluster, "_results", lambda *a: came.append(a[0]) or results(*a))
    start()
    measured(plugin, images, "there", address)
    assert seen
    assert all(type(one) is bytes for given, _ in seen for one in given)
    assert came
    assert {type(one) for one in came} == {bytes}
    header, _ = distributed.protocol.serialize(came[0])
    assert header["serializer"] == "dask"


def test_a_scheduler_that_does_not_answer_is_told(
    plugin: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        measured(plugin, images, "there", "tcp://127.0.0.1:1")


def test_a_scheduler_without_workers_is_told(
    plugin: Path, images: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Client.wait_for_workers
    monkeypatch.setattr(
        Client, "wait_for_workers", lambda *given, timeout: waits(*given, timeout=1)
    )
    with pytest.raises(UnavailableError, match="has no workers; start some with"):
        measured(plugin, images, "there", address)
