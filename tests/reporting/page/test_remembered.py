"""Pictures of earlier reports are shown again, and never in place of others."""

import os
from pathlib import Path
from typing import Any

import pytest

from lic_bench import load_dataset
from lic_bench.execution.runner import Limits, Runners
from lic_bench.reporting.page import gallery, scenes
from lic_bench.reporting.page.pictures import Picture
from lic_bench.reporting.page.remembered import Remembered, key_of
from lic_bench.store.table import load

SHOWN = Picture("set", "a.png", 0.5, "jpeg", data=b"data", error=b"error", exact=True)
EMPTY = Picture("other", "b.png", 0.7, "webp", "30")


def test_a_picture_is_found_by_its_key_with_what_was_kept_of_it(tmp_path: Path) -> None:
    kept = Remembered(tmp_path / "deep" / "pictures")
    assert kept.find("a", EMPTY) is None
    kept.keep("a", SHOWN)
    found = kept.find("a", EMPTY)
    assert found is not None
    assert (found.data, found.error, found.importance, found.exact) == (b"data", b"error", None, 1)
    assert (found.dataset, found.codec, found.point) == ("other", "webp", "30")
    assert kept.find("b", EMPTY) is None


def test_what_is_missing_or_damaged_is_not_kept(tmp_path: Path) -> None:
    kept = Remembered(tmp_path)
    kept.keep("a", Picture("set", "a.png", 0.5, "jpeg", problem="no"))
    assert list(tmp_path.iterdir()) == []
    kept.keep("a", SHOWN)
    content = (tmp_path / "a").read_bytes()
    for damaged in (content[:-1], b"", b"\x90", content + b"x"):
        (tmp_path / "a").write_bytes(damaged)
        assert kept.find("a", EMPTY) is None
    in_a_file = Remembered(tmp_path / "a")  # no folder can be made there
    in_a_file.keep("b", SHOWN)
    assert in_a_file.find("b", EMPTY) is None
    in_a_file.tidy()


def test_those_that_were_not_shown_for_the_longest_time_go_first(tmp_path: Path) -> None:
    kept = Remembered(tmp_path)
    for age, name in enumerate("abcd"):
        kept.keep(name, SHOWN)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert kept.find("d", EMPTY) is not None  # the oldest, shown now
    size = (tmp_path / "a").stat().st_size
    Remembered(tmp_path, 2 * size).tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d"]
    Remembered(tmp_path, 2 * size).tidy()
    assert len(list(tmp_path.iterdir())) == 2


def test_each_part_of_a_key_counts(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("a = 1")
    keys = [key_of("ab", "c"), key_of("a", "bc"), key_of("ab", "c", b""), key_of("ab", 1.5)]
    keys += [key_of("ab", 1.25), key_of("ab", "c", plugins=[plugin])]
    plugin.write_text("a = 12")
    keys += [key_of("ab", "c", plugins=[plugin])]
    assert len(set(keys)) == len(keys)
    assert key_of("ab", "c") == keys[0]


def test_a_second_report_makes_nothing_anew(
    store: Path, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = scenes.originals([load_dataset(str(store / "photos"))])
    wanted, _ = scenes.scenes(load(store), "photos", [1.5], 2, files)
    kept = Remembered(tmp_path)
    options: dict[str, Any] = {"budget": 10**9, "jobs": 1, "limits": Limits(60)}

    def made(**more: Any) -> list[list[Picture]]:
        return list(gallery.make_all(wanted, store, plugins=[plugin], **options, **more))

    first = made(remembered=kept)
    assert all(one.problem is None for group in first for one in group)
    asked: list[object] = []
    ask = Runners.ask
    monkeypatch.setattr(
        Runners, "ask", lambda self, request: asked.append(request) or ask(self, request)
    )
    assert made(remembered=kept) == first
    assert asked == []
    altered = tmp_path / "coarse.py"  # another file of the same codec: its pictures are made anew
    altered.write_text(plugin.read_text() + "\n")
    again = list(gallery.make_all(wanted, store, plugins=[altered], **options, remembered=kept))
    assert again == first
    assert len(asked) == sum(len(group) - 1 for group in first)  # all but the originals
    assert made() == first  # without a memory
