"""Measurements selected by the names and points that people type."""

import pandas as pd
import pytest

from lic_bench.errors import SpecError, find_known
from lic_bench.store.selection import select

POINTS = {
    "jpeg": ["10", "50", "90"],
    "jpeg2000": ["192", "12.5"],
    "none": [""],
    "zoo": ["low", "5"],
}
TABLE = pd.DataFrame(
    [
        {"dataset": "set", "image": image, "codec": codec, "point": point}
        for codec, points in POINTS.items()
        for point in points
        for image in ("a.png", "b.png")
    ]
)


def chosen(**asked: object) -> dict[str, list[str]]:
    rows = select(TABLE, **asked)  # type: ignore[arg-type]
    return {
        str(codec): list(own.unique()) for codec, own in rows.groupby("codec", sort=False)["point"]
    }


def test_nothing_selects_all() -> None:
    pd.testing.assert_frame_equal(select(TABLE), TABLE)


@pytest.mark.parametrize(
    ("texts", "points"),
    [
        (["10"], ["10"]),
        (["50.0"], ["50"]),
        (["10", "90"], ["10", "90"]),
        (["10:50"], ["10", "50"]),
        ([":50"], ["10", "50"]),
        (["11:"], ["50", "90"]),
        (["10:90:80"], ["10", "90"]),
    ],
)
def test_points_as_they_are_typed(texts: list[str], points: list[str]) -> None:
    assert chosen(codecs=["jpeg"], points={"": texts}) == {"jpeg": points}
    others = {codec: own for codec, own in POINTS.items() if codec != "jpeg"}
    assert chosen(points={"jpeg": texts}) == {"jpeg": points, **others}


def test_points_may_be_words() -> None:
    assert chosen(codecs=["zoo"], points={"zoo": ["low"]}) == {"zoo": ["low"]}
    assert chosen(codecs=["zoo"], points={"zoo": ["1:9"]}) == {"zoo": ["5"]}


def test_codecs_come_in_the_order_in_which_they_are_named() -> None:
    assert list(chosen(codecs=["none", "JPEG-2000"])) == ["none", "jpeg2000"]
    assert set(select(TABLE, images=["b.png"])["image"]) == {"b.png"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"codecs": ["jpg"]}, "did you mean jpeg"),
        ({"datasets": ["kodak"]}, "There are set"),
        ({"points": {"jpeg": ["60:80"]}}, "jpeg was not measured at 60:80, but at 10, 50, 90"),
        ({"points": {"webp": ["1"]}}, "no measured codec 'webp'"),
    ],
)
def test_what_is_not_there_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        select(TABLE, **asked)  # type: ignore[arg-type]


def test_a_name_that_could_be_two_is_none() -> None:
    assert find_known("codec", "A-B", ["ab", "c"]) == "ab"
    with pytest.raises(SpecError, match="no codec 'A-B'"):
        find_known("codec", "A-B", ["ab", "a_b"])
