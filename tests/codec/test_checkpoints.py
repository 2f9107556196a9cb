import hashlib
import os
from pathlib import Path

import pytest

from lic_bench import Point, SpecError, file_digest, find_checkpoints


def found(folder: Path, text: str, *names: str) -> dict[Point, str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    paths = find_checkpoints(f"{folder}/{text}".rstrip("/"), (".pth", ".pth.tar"))
    return {point: path.read_text() for point, path in paths.items()}


def test_a_pattern_gives_numbers_in_their_order(tmp_path: Path) -> None:
    names = ["l-0.1.pth", "l-0.013.pth", "l-1e-3.pth", "l-0.0035.pth", "log-0.1.csv", "l-0.1.pth.x"]
    points = found(tmp_path, "l-{point}.pth", *names)
    assert list(points.items()) == [
        (0.001, "l-1e-3.pth"),
        (0.0035, "l-0.0035.pth"),
        (0.013, "l-0.013.pth"),
        (0.1, "l-0.1.pth"),
    ]
    whole = found(tmp_path, "q{point}/best.pth", "q10/best.pth", "q9/best.pth", "q8/last.pth")
    assert repr(whole) == "{9: 'q9/best.pth', 10: 'q10/best.pth'}"


def test_a_pattern_may_have_its_place_twice(tmp_path: Path) -> None:
    points = found(tmp_path, "{point}/m-{point}.pth", "1/m-1.pth", "2/m-2.pth", "2/m-1.pth")
    assert points == {1: "1/m-1.pth", 2: "2/m-2.pth"}


def test_what_else_stands_in_a_pattern_is_meant_as_it_is(tmp_path: Path) -> None:
    points = found(tmp_path, "[a]*{point}.pth", "[a]*1.pth", "a2.pth", "[a]b3.pth")
    assert points == {1: "[a]*1.pth"}


def test_a_folder_gives_the_names_of_its_files(tmp_path: Path) -> None:
    names = ["rate-10.pth.tar", "rate-9.pth", "notes.txt", ".hidden.pth", "deep/rate-1.pth"]
    assert list(found(tmp_path, "", *names)) == ["rate-9", "rate-10"]
    numbers = ["0.0018.pth", "0.1.pth", "0.05.pth"]
    assert list(found(tmp_path / "b", "", *numbers)) == [0.0018, 0.05, 0.1]


def test_a_list_is_numbered(tmp_path: Path) -> None:
    for name in ("low", "high"):
        (tmp_path / name).write_text(name)
    points = find_checkpoints(os.pathsep.join([f"{tmp_path}/low", f"{tmp_path}/high"]), ())
    assert points == {1: tmp_path / "low", 2: tmp_path / "high"}


def test_one_file_is_one_point(tmp_path: Path) -> None:
    assert found(tmp_path, "a.pth", "a.pth", "b.pth") == {None: "a.pth"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent.pth", r"there is no file .*absent\.pth"),
        ("0.1.pth:absent.pth", r"there is no file .*absent\.pth"),
        ("absent/{point}.pth", "there are no checkpoints .*point"),
        ("empty", "there are no checkpoints .*empty"),
        ("{point}.pth", "0.1.*pth and .*0.1.*pth have the same operating point, 0.1"),
    ],
)
def test_what_is_not_there_is_said(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("0.1.pth", "0.10.pth"):
        (tmp_path / name).touch()
    with pytest.raises(SpecError, match=message):
        find_checkpoints(text.replace(":", os.pathsep), (".pth",))


def test_the_digest_is_of_the_content_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    for content in (b"one", b"another"):
        path.write_bytes(content)
        assert file_digest(path) == hashlib.sha256(content).hexdigest()
