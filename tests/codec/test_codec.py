import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from lic_bench import Codec, Image, Point, SpecError
from lic_bench.codec.points import parse_points
from lic_bench.plugins.spec import build, option_texts, parse_spec, split_specs


class Toy(Codec):
    name = "toy"
    points: Sequence[Point] = (10, 20, 30)
    point_unit = "quality"

    def __init__(self, mode: Literal["fast", "best"] = "fast", depth: int = 3, on: bool = False):
        if depth > 9:
            raise ValueError("depth goes up to 9")
        self.arguments = (mode, depth, on)

    def encode(self, image: Image, point: Point) -> bytes:
        raise AssertionError

    def decode(self, stream: bytes) -> Image:
        raise AssertionError


class Plain(Toy):
    points = (None,)

    def __init__(self, model: str) -> None:
        self.model = model


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("jpeg", ["jpeg"]),
        ("jpeg, jpeg2000,", ["jpeg", "jpeg2000"]),
        ("jpeg:subsampling=4:4:4,jpeg2000", ["jpeg:subsampling=4:4:4", "jpeg2000"]),
        ("z:model=a,metric=b:c,jpeg:x=1", ["z:model=a,metric=b:c", "jpeg:x=1"]),
        ("", []),
    ],
)
def test_commas_separate_codecs_but_not_their_options(text: str, specs: list[str]) -> None:
    assert split_specs(text) == specs


def test_a_spec_is_a_name_and_options() -> None:
    spec = parse_spec("jpeg:subsampling=4:4:4,optimize=true")
    assert spec.name == "jpeg"
    assert spec.options == (("subsampling", "4:4:4"), ("optimize", "true"))


@pytest.mark.parametrize("text", ["", ":a=1", "a=1", "toy:", "toy:depth", "toy:=1", "toy:a=1,a=2"])
def test_a_spec_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="spec"):
        parse_spec(text)


def test_options_take_the_types_of_the_constructor() -> None:
    codec = build(Toy, parse_spec("toy:depth=5,on=true"))
    assert isinstance(codec, Toy)
    assert codec.arguments == ("fast", 5, True)
    assert codec.options == {"mode": "fast", "depth": 5, "on": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("toy:width=1", r"no option 'width'; it has: mode=fast \(or best\); depth=3"),
        ("toy:mode=slow", "mode=slow is not possible"),
        ("toy:depth=deep", "depth=deep is not possible"),
        ("toy:depth=10", "depth goes up to 9"),
    ],
)
def test_a_wrong_option_is_refused_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(Toy, parse_spec(text))


def test_a_missing_option_is_named() -> None:
    with pytest.raises(SpecError, match=r"needs the option 'model'; it has: model \(str\)"):
        build(Plain, parse_spec("plain"))


def test_options_are_described_as_they_are_typed() -> None:
    assert option_texts(Toy) == ["mode=fast (or best)", "depth=3 (int)", "on=False (bool)"]


def test_points_take_the_type_of_the_codecs_own() -> None:
    assert parse_points(Toy(), ["10", "99"]) == [10, 99]
    assert parse_points(Toy(), ["5:20:5", "20"]) == [5, 10, 15, 20]
    assert parse_points(Toy(), ["30:10:-10"]) == [30, 20, 10]


@pytest.mark.parametrize("text", ["high", "1.5", "", "1:2", "1:9:0", "a:b:c"])
def test_points_of_another_type_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="no operating point; they are quality such as 10,20,30"):
        parse_points(Toy(), [text])


def test_a_codec_of_one_point_takes_none() -> None:
    with pytest.raises(SpecError, match="single operating point"):
        parse_points(Plain("m"), ["10"])


@pytest.mark.parametrize(
    ("points", "texts", "expected"),
    [((0.5, 1), ["2", "0.25"], [2.0, 0.25]), (("low", "high"), ["low", "7"], ["low", "7"])],
)
def test_points_may_be_fractions_or_words(
    points: tuple[Point, ...], texts: list[str], expected: list[Point]
) -> None:
    codec = Toy()
    codec.points = points
    assert parse_points(codec, texts) == expected


@pytest.mark.parametrize(
    ("points", "point_range", "possible", "refused", "message"),
    [
        ((5, 9), (1, 100), (1, 7, 100), (0, 101, 50.0, "50", None, True), "whole .* 1 to 100"),
        ((40, 20), (51, 0), (0, 51), (-1, 52), "a whole number from 0 to 51"),
        ((9.0, 3.0), (100.0, 1.5), (1.5, 2, 99.9), (1, 101, math.nan, "2"), "from 1.5 to 100"),
        ((1, 2, 3, 4), None, (1, 9), (1.5, "1", None, True), "a whole number such as 1, 2, 3$"),
        ((1, 2.5), None, (1, 9, 0.1), ("1", None, math.inf), "a number such as 1, 2.5"),
        (("low", "high"), None, ("low", "mid"), (1, None), "a word such as low, high"),
        ((None,), None, (None,), (1, "1"), "there is only one"),
    ],
)
def test_a_point_is_possible_in_the_range_or_else_of_the_type_of_the_points(
    points: tuple[Point, ...],
    point_range: tuple[int, int] | None,
    possible: tuple[Point, ...],
    refused: tuple[Point, ...],
    message: str,
) -> None:
    codec = Toy()
    codec.points, codec.point_range = points, point_range
    for point in possible:
        codec.check_point(point)
    for point in refused:
        with pytest.raises(SpecError, match=f"^toy: {point!r} is no quality: .*{message}"):
            codec.check_point(point)


def test_what_a_codec_requires_is_looked_for_and_named_with_the_remedy() -> None:
    class Needy(Toy):
        requires: ClassVar = {
            "zlib": "pip install zlib",
            "no_such_module": "pip install such",
            "nor_such": "pip install such",
            "and_none": "apt install none",
        }

    assert Toy.unavailable() is None
    assert Needy.unavailable() == (
        "no_such_module, nor_such, and_none not installed; pip install such; apt install none"
    )


def test_options_without_annotations_take_the_types_of_their_defaults() -> None:
    class Bare(Toy):
        def __init__(self, level=9, share=0.5, on=False, word="a", nothing=None):  # type: ignore[no-untyped-def]
            self.arguments = (level, share, on, word, nothing)

    codec = build(Bare, parse_spec("toy:level=3,share=2,on=true,word=7,nothing=x"))
    assert repr(codec.arguments) == repr((3, 2.0, True, "7", "x"))  # type: ignore[attr-defined]
    assert option_texts(Bare)[:2] == ["level=9 (int)", "share=0.5 (float)"]
    with pytest.raises(SpecError, match=r"level=deep is not possible .*level=9 \(int\)"):
        build(Bare, parse_spec("toy:level=deep"))


def test_an_option_may_be_a_path() -> None:
    class Filed(Toy):
        def __init__(self, weights: Path | None = None, folder: Path = Path("here")) -> None:
            self.paths = (weights, folder)

    codec = build(Filed, parse_spec("toy:weights=a/b.pt,folder=c"))
    assert codec.paths == (Path("a/b.pt"), Path("c"))  # type: ignore[attr-defined]
