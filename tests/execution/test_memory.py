"""What a process and its files in memory take."""

import shutil
import threading

from lic_bench.execution import memory


def test_folders_that_go_away_meanwhile_are_left_out(tmp_path):
    (tmp_path / "kept").write_bytes(bytes(20_000))
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            inner = tmp_path / "a" / "b" / "c"
            inner.mkdir(parents=True)
            (inner / "file").write_bytes(b"x")
            shutil.rmtree(tmp_path / "a")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):
            assert memory.taken(None, [tmp_path]) >= 20_000
    finally:
        over.set()
        thread.join()
