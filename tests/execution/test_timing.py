"""Speed: what is measured, and in which order; never how long something takes on this machine."""

import json
import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

from lic_bench import Image, Registry, SpecError, UndefinedError, load_dataset, write_image
from lic_bench.execution.timing import Entry, matched, schedule, summarise, time_codecs
from lic_bench.reporting.complexity import front

PLUGIN = '''
import os, sys, time
from pathlib import Path
import numpy as np
from lic_bench import Codec

LOG = Path(__file__).with_name("log")
now = 0.0

class Naps(Codec):
    """Loses the lowest bits, and takes so long."""
    name = "naps"
    points = (1, 2, 3, 4, 5, 6, 7, 8)
    point_unit = "bits"

    def __init__(self, encode_ms: int = 0, decode_ms: int = 0, megabytes: int = 0) -> None:
        self._naps = encode_ms / 1000, decode_ms / 1000
        self._size = megabytes * 1_000_000

    def _nap(self, which):
        """Let time pass on the clock of this process, on which nothing else takes any."""
        global now
        time.perf_counter = lambda: now
        now += self._naps[which] or 1e-6

    def _note(self, what):
        with LOG.open("a") as log:
            log.write(f"{os.getpid()} {what} {self.options['encode_ms']}\\n")

    def encode(self, image, point):
        self._note("encode")
        self._nap(0)
        np.ones(self._size, np.uint8)
        print("chatter")
        coarse = image >> (8 - point) << (8 - point)
        return bytes([image.shape[0], image.shape[1]]) + coarse.tobytes()

    def decode(self, stream):
        self._note("decode")
        self._nap(1)
        return np.frombuffer(stream[2:], np.uint8).reshape(stream[0], stream[1], 3).copy()

class Threads(Naps):
    name = "threads"
    def encode(self, image, point):
        cores = len(os.sched_getaffinity(0))
        assert (cores, os.environ["OMP_NUM_THREADS"]) == (1, "1"), cores
        return super().encode(image, point)

_pictures = []

class Remembers(Naps):
    name = "remembers"
    points = (8,)
    def encode(self, image, point):
        _pictures.append(image.copy())
        return b"%d" % (len(_pictures) - 1)
    def decode(self, stream):
        return _pictures[int(stream)]

class Smaller(Naps):
    name = "smaller"
    points = (8,)
    def decode(self, stream):
        return super().decode(stream)[1:]

class Fails(Naps):
    name = "fails"
    def decode(self, stream): raise ValueError("no such luck")

class Dies(Naps):
    name = "dies"
    def encode(self, image, point): os._exit(3)

class Convolves(Naps):
    """A convolution of 3 to 8 channels, 5 x 5, when encoding; a matrix product when decoding."""
    name = "convolves"
    points = (8,)
    def encode(self, image, point):
        import torch
        with torch.inference_mode():
            torch.nn.Conv2d(3, 8, 5, padding=2)(torch.zeros(1, 3, *image.shape[:2]))
        return super().encode(image, point)

    def decode(self, stream):
        import torch
        torch.zeros(10, 20) @ torch.zeros(20, 30)
        return super().decode(stream)
'''


@pytest.fixture
def folder(tmp_path: Path, photo: Image) -> Path:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "photos").mkdir()
    for i in range(2):
        write_image(tmp_path / "photos" / f"{i}.png", photo[100 * i : 100 * i + 60, :80])
    return tmp_path


def timed(folder: Path, *specs: str, **options: object):
    registry = Registry([folder / "plugin.py"])
    return time_codecs(
        {spec: registry.codec(spec) for spec in specs},
        load_dataset(str(folder / "photos")).images,
        plugins=[folder / "plugin.py"],
        **options,
    )


def test_a_schedule_takes_turns_in_changing_order() -> None:
    entries = [Entry(name, None) for name in "abcd"]
    order = list(schedule(entries, images=3, repeats=5))
    assert len(order) == len(set(order)) == 4 * 3 * 5
    blocks = [order[i : i + 4] for i in range(0, len(order), 4)]
    assert [{(r, i) for r, i, _ in block} for block in blocks] == [
        {(r, i)} for r in range(5) for i in range(3)
    ]
    assert len({tuple(entry for *_, entry in block) for block in blocks}) > 5
    first = Counter(block[0][2].spec for block in schedule_blocks(entries))
    assert all(0.15 < first[name] / sum(first.values()) < 0.35 for name in "abcd")


def schedule_blocks(entries: list[Entry]) -> list[list[tuple[int, int, Entry]]]:
    order = list(schedule(entries, images=20, repeats=20))
    return [order[i : i + 4] for i in range(0, len(order), 4)]


@pytest.mark.parametrize(
    ("target", "expected"), [(0, 1), (14, 1), (16, 2), (34, 3), (36, 4), (99, 8), (80, 8)]
)
def test_the_nearest_point_is_found_with_few_measurements(target: float, expected: int) -> None:
    asked: list[int] = []

    def quality(point: int) -> float:
        asked.append(point)
        return 10.0 * point

    assert matched(quality, range(1, 9), target) == expected
    assert len(set(asked)) <= 5


def test_a_lossless_end_can_be_matched() -> None:
    assert matched({1: 30.0, 2: 40.0, 3: np.inf}.__getitem__, (1, 2, 3), 50) == 2


def test_repetitions_become_medians_and_images_a_mean() -> None:
    samples = pd.DataFrame(
        [
            ("x", "1", image, pixels, repetition, seconds, 2 * seconds)
            for image, pixels, times in (("a", 1e6, (1, 9, 1.1)), ("b", 3e6, (4, 4.4, 3.6)))
            for repetition, seconds in enumerate(times)
        ],
        columns=["codec", "point", "image", "pixels", "repetition", "encode_s", "decode_s"],
    )
    [row] = summarise(samples).to_dict("records")
    assert row["encode_s"] == pytest.approx((1.1 + 4) / 2)
    assert row["decode_s"] == pytest.approx(1.1 + 4)
    assert row["encode_mp_s"] == pytest.approx(4 / 5.1)
    # Deviations of 0, 0, 9.1, 10, 10 and 718 per cent.
    assert row["encode_mad_percent"] == pytest.approx((100 * 0.1 / 1.1 + 10) / 2)
    [alone] = summarise(samples[samples["repetition"] == 0]).to_dict("records")
    assert np.isnan(alone["encode_mad_percent"])


def test_what_takes_longer_is_slower(folder: Path) -> None:
    fast, slow = "naps:encode_ms=5,decode_ms=20", "naps:encode_ms=20,decode_ms=5"
    found = timed(folder, slow, fast, repeats=3)
    assert found.summary["codec"].tolist() == [slow, fast]
    table = found.summary.set_index("codec")
    seconds = table.loc[[slow, fast], ["encode_s", "decode_s"]].to_numpy()
    assert seconds == pytest.approx(np.array([[0.02, 0.005], [0.005, 0.02]]))
    assert table.loc[slow, "encode_mp_s"] == pytest.approx(0.0048 / 0.02)
    assert len(found.samples) == 2 * 2 * 3
    assert (found.samples.groupby(["codec", "image"]).size() == 3).all()
    assert {"threads", "load_average", "processor", "command"} <= set(found.conditions)


def test_codecs_take_turns_each_in_a_process_after_a_warm_up(folder: Path) -> None:
    specs = ("naps", "naps:encode_ms=1", "naps:encode_ms=2")
    timed(folder, *specs, points={spec: [8] for spec in specs}, repeats=4)
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    roles = {(process, what, option) for process, what, option in lines}
    assert len(roles) == 2 * 3 == len({process for process, *_ in roles})  # one each
    assert str(os.getpid()) not in {process for process, *_ in roles}
    turns = [(process, option) for process, what, option in lines if what == "encode"]
    assert len(turns) == 3 * 2 + 3 * 2 * 4 + 3  # warm-up, repetitions, for the operations
    measured = turns[6:-3]
    for i in range(0, len(measured), 3):
        assert len(set(measured[i : i + 3])) == 3
    for before, after in pairwise(lines[:-3]):
        # Nobody begins before the other has decoded.
        assert (before[1], after[1]) in (("encode", "decode"), ("decode", "encode"))
        assert before[2] == after[2] or after[1] == "encode"


def test_who_decodes_has_nothing_but_the_bytes(folder: Path) -> None:
    """With both in one process it had streams of one byte, and no error at all."""
    found = timed(folder, "remembers", "smaller", "naps:encode_ms=1", repeats=1)
    assert found.problems == (
        "remembers 8: IndexError: list index out of range",
        "smaller 8: TypeError: decode returned uint8 of shape (59, 80, 3), not uint8 of "
        "(60, 80, 3)",
    )
    assert set(found.summary["codec"]) == {"naps:encode_ms=1"}


@pytest.mark.slow
def test_points_are_matched_by_quality_or_given(folder: Path) -> None:
    found = timed(folder, "naps", "naps:encode_ms=1", match=("psnr_rgb", 29.0), repeats=1)
    # b bits are kept: an error from 0 to 2^(8 - b) - 1, evenly. With 5: 0 to 7, 35.7 dB; 4: 29.0.
    assert found.summary["point"].tolist() == ["4", "4"]
    assert found.summary["psnr_rgb_db"].tolist() == pytest.approx([29.0] * 2, abs=1)
    assert found.summary["bpp"].tolist() == pytest.approx([24 + 16 / 4800] * 2)
    given = timed(folder, "naps", points={"naps": [2, 8]}, repeats=1)
    assert given.summary["point"].tolist() == ["2", "8"]
    assert given.summary["psnr_rgb_db"][1] == np.inf


@pytest.mark.slow
def test_memory_is_what_the_codec_adds(folder: Path) -> None:
    table = timed(folder, "naps", "naps:megabytes=300", repeats=1).summary
    if not Path("/proc/self/status").exists():
        assert table["peak_memory_mb"].isna().all()
        return
    small, large = table["peak_memory_mb"]
    assert large - small == pytest.approx(300, abs=30)
    assert small < 100


@pytest.mark.slow
def test_macs_are_those_of_the_network(folder: Path) -> None:
    pytest.importorskip("torch")
    table = timed(folder, "convolves", "naps", repeats=1).summary
    assert table["encode_kmacs_per_pixel"][0] == pytest.approx(3 * 8 * 5 * 5 / 1000)
    assert table["decode_kmacs_per_pixel"][0] == pytest.approx(10 * 20 * 30 / 1000 / 4800)
    assert np.isnan(table["encode_kmacs_per_pixel"][1])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_codec_is_held_to_its_threads(folder: Path) -> None:
    found = timed(folder, "threads", threads=1, repeats=1)
    assert found.problems == ()
    assert found.summary["threads"].tolist() == [1]
    with pytest.raises(SpecError, match="999 threads cannot be had"):
        timed(folder, "threads", threads=999)


@pytest.mark.slow
def test_one_that_fails_does_not_stop_the_others(folder: Path) -> None:
    found = timed(folder, "fails", "naps", "dies", repeats=2)
    assert found.summary["codec"].tolist() == ["naps"]
    assert set(found.samples["codec"]) == {"naps"}
    fails, dies = found.problems
    assert fails == "fails 1: ValueError: no such luck"
    assert dies.startswith("dies 1: the process ended with exit code 3")
    given = timed(folder, "fails", "naps", points={"fails": [8], "naps": [8]}, repeats=2)
    assert given.problems == ("fails 8: ValueError: no such luck",)
    assert given.summary["codec"].tolist() == ["naps"]
    with pytest.raises(UndefinedError, match=r"no codec could be timed: .*no such luck"):
        timed(folder, "fails")


def test_the_front_is_what_no_other_outdoes() -> None:
    assert front([1, 2, 3, 4], [0, 10, 5, 20]) == [0, 1, 3]
    assert front([4, 3, 2, 1], [0, 0, 0, 0]) == [3]
    assert front([1, 1, 2], [5, 7, 7]) == [1]


@pytest.mark.slow
def test_the_command_shows_writes_and_draws(folder: Path) -> None:
    command(
        *("run", "-c", "jpeg,jpeg:subsampling=4:4:4", "-d", "photos", "-p", "20,40,60,80"),
        *("-j", "1", "-o", "store"),
        cwd=folder,
    )
    told = command(
        *("time", "-c", "jpeg,jpeg:subsampling=4:4:4", "-d", "photos", "--repeats", "2"),
        *("-p", "jpeg=20", "--match", "psnr_y=33", "--images", "1"),
        *("store", "--out", "times.json", "--plot", "pareto.png"),
        cwd=folder,
    ).stdout
    assert "photos, 1 image; 1 thread, 2 repetitions" in told
    assert re.search(r"^jpeg +20 +\d\.\d+ +\d\d\.\d\d +[\d.]+ \S+ ±\d+% ", told, re.MULTILINE)
    assert "chatter" not in told
    assert (folder / "pareto.png").stat().st_size > 10_000
    written = json.loads((folder / "times.json").read_text())
    assert len(written["samples"]) == 2 * 2
    assert written["summary"][0]["encode_kmacs_per_pixel"] is None
    assert written["threads"] == 1
    command("time", "-c", "jpeg", "-d", "photos", "--repeats", "1", "-o", "t.csv", cwd=folder)
    assert pd.read_csv(folder / "t.csv")["codec"].tolist() == ["jpeg"]


def test_times_of_a_codec_without_errors_are_json_for_every_reader(folder: Path) -> None:
    command("time", "-c", "none", "-d", "photos", "--repeats", "1", "-o", "t.json", cwd=folder)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    [row] = json.loads((folder / "t.json").read_text(), parse_constant=refuse)["summary"]
    assert float(row["psnr_rgb_db"]) == np.inf
    assert row["encode_mad_percent"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--match", "psnr_rgb"], "a metric and its value"),
        (["--match", "psnt=3"], "no metric 'psnt'"),
        (["photos"], "--dataset names the images"),
        (["--match", "psnr_rgb=x"], "numbers are wanted"),
        (["--out", "x.xls"], "written as .csv or .json"),
        (["-p", "webp=3"], "none of the codecs"),
        (["nowhere", "--plot", "x.png"], "nowhere holds no measurements"),
        (["--threads", "999"], "999 threads cannot be had"),
    ],
)
def test_a_wrong_request_is_told(folder: Path, arguments: list[str], message: str) -> None:
    told = command("time", "-c", "jpeg", "-d", "photos", *arguments, cwd=folder, code=2).stderr
    assert message in told


def test_what_failed_sets_the_exit_code(folder: Path) -> None:
    told = command(
        *("time", "-c", "fails,naps", "-d", "photos", "--repeats", "1", "--plugin", "plugin.py"),
        cwd=folder,
        code=1,
    ).stderr
    assert "failed: fails 1: ValueError: no such luck" in told
