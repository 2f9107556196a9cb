"""The bytes are everything: who decodes has nothing else of who encoded."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lic_bench
from lic_bench import write_image

PLUGIN = """
import os
from lic_bench import Codec

_pictures = []

class Remembers(Codec):
    name = "remembers"
    points = (None,)
    def encode(self, image, point):
        _pictures.append(image.copy())
        return b"%03d" % (len(_pictures) - 1)
    def decode(self, stream):
        return _pictures[int(stream)]

class Empty(Codec):
    name = "empty"
    points = (None,)
    def encode(self, image, point):
        return b""
    def decode(self, stream):
        raise AssertionError("is not asked")

class Tells(Codec):
    name = "tells"
    points = tuple(range(6))
    def encode(self, image, point):
        return b"%d " % os.getpid() + b"%d %d " % image.shape[:2] + image.tobytes()
    def decode(self, stream):
        import numpy as np
        pid, height, width, pixels = stream.split(b" ", 3)
        with open(os.path.join(os.environ["TOLD"], f"{int(pid)}-{os.getpid()}"), "a") as told:
            told.write("x")
        return np.frombuffer(pixels, np.uint8).reshape(int(height), int(width), 3)

class Batched(Tells):
    name = "batched"
    points = (None,)
    batch_size = 3
    device = "cpu"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    random = np.random.default_rng(1)
    for i in range(4):
        image = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        write_image(tmp_path / "images" / f"{i}.png", image)
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return tmp_path


def measured(folder: Path, codec: str, jobs: int = 1) -> pd.DataFrame:
    return lic_bench.run(
        [codec],
        [str(folder / "images")],
        out=folder / "out",
        plugins=[folder / "plugin.py"],
        jobs=jobs,
    )


def test_a_codec_that_keeps_its_pictures_in_memory_fails(folder: Path) -> None:
    """With both in one process it had streams of 3 bytes, and no error at all."""
    table = measured(folder, "remembers")
    assert len(table) == 4
    assert table["error"].str.contains("IndexError").all()
    assert table["psnr_rgb_db"].isna().all()


def test_a_stream_without_bytes_is_refused(folder: Path) -> None:
    table = measured(folder, "empty")
    assert table["error"].str.contains("encode returned no bytes").all()


@pytest.mark.parametrize("codec", ["tells", "batched"])
def test_two_processes_a_worker_each_with_one_role(
    codec: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "told").mkdir()
    monkeypatch.setenv("TOLD", str(folder / "told"))
    table = measured(folder, codec, jobs=2)
    assert table["error"].isna().all()
    assert (table["mse_rgb"] == 0).all()
    assert (table["encode_s"] > 0).all()
    assert (table["decode_s"] > 0).all()
    pairs = [path.name.split("-") for path in (folder / "told").iterdir()]
    encoders, decoders = ({pair[i] for pair in pairs} for i in (0, 1))
    assert not encoders & decoders
    assert len(pairs) == len(encoders) == len(decoders) <= 2


def test_the_stream_of_what_did_not_decode_is_kept(folder: Path) -> None:
    measured(folder, "remembers")
    with closing(sqlite3.connect(folder / "out" / "store.sqlite")) as db:
        streams = [stream for (stream,) in db.execute("SELECT stream FROM bitstreams")]
    assert sorted(streams) == [b"000", b"001", b"002", b"003"]
