"""A study: what is compared, in which order, what its page holds, and which answers it takes."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import command
from hostile_answers import HOSTILE, answered, session

from lic_bench import SpecError, StoreError, UndefinedError
from lic_bench.metric.targets import parse_target
from lic_bench.rating import answers, judged
from lic_bench.rating.comparisons import choose
from lic_bench.rating.orders import Material, counted, make_orders
from lic_bench.rating.page.html import study_in
from lic_bench.rating.study import TRAINING, WARMUPS, Study
from lic_bench.store.file import FILE_NAME
from lic_bench.store.ratings import Ratings
from lic_bench.store.table import load

CODECS, IMAGES = 6, 12


def material() -> Material:
    """Six codecs on twelve images, an original and a low picture each."""
    kinds = [f"codec {i}" for i in range(CODECS)] + ["", ""]
    image = [i for i in range(IMAGES) for _ in kinds]
    codec = kinds * IMAGES
    first = [i * len(kinds) for i in range(IMAGES)]
    pairs = [(f + a, f + b) for f in first for a in range(CODECS) for b in range(a)]
    return Material(
        pairs, image, codec, [f + CODECS for f in first], [f + CODECS + 1 for f in first], first
    )


@pytest.fixture(scope="module")
def orders() -> list[Any]:
    return make_orders(material(), 12, seed=3)


def test_a_session_is_made_as_it_should_be(orders: list[Any]) -> None:
    for order in orders:
        kinds = Counter(trial.kind for trial in order)
        assert kinds == {
            "training": TRAINING, "warmup": WARMUPS, "pair": 48, "catch": 5, "repeat": 5,
            "identical": 2,
        }  # fmt: skip
        body = order[TRAINING + WARMUPS :]
        assert len(body) == 60
        pairs = {(t.left, t.right) for t in body if t.kind == "pair"}
        assert all((t.right, t.left) in pairs for t in body if t.kind == "repeat")
        assert all(t.left == t.right for t in body if t.kind == "identical")
        # One catch in each twelve.
        assert all(
            Counter(t.kind for t in body[i : i + 12])["catch"] == 1 for i in range(0, 60, 12)
        )


def test_no_image_comes_twice_running(orders: list[Any]) -> None:
    image = material().image
    for order in orders:
        body = [image[t.left] for t in order[TRAINING + WARMUPS :]]
        assert all(a != b for a, b in pairwise(body))


def test_orders_are_balanced_over_pairs_images_and_sides(orders: list[Any]) -> None:
    of = material()
    pairs = [t for order in orders for t in order if t.kind == "pair"]
    candidates = Counter(frozenset((t.left, t.right)) for t in pairs)
    assert len(candidates) == CODECS * (CODECS - 1) // 2 * IMAGES
    assert max(candidates.values()) - min(candidates.values()) <= 2
    for order in orders:
        own = [t for t in order if t.kind == "pair"]
        by_codecs = Counter(frozenset((of.codec[t.left], of.codec[t.right])) for t in own)
        by_image = Counter(of.image[t.left] for t in own)
        assert max(by_codecs.values()) - min(by_codecs.values()) <= 1
        assert max(by_image.values()) - min(by_image.values()) <= 3
    lefts, rights = (
        Counter(of.codec[getattr(t, side)] for t in pairs) for side in ("left", "right")
    )
    assert all(abs(lefts[codec] - rights[codec]) <= 4 for codec in lefts)


def test_orders_follow_from_their_seed(orders: list[Any]) -> None:
    assert make_orders(material(), 2, seed=3) == orders[:2]
    assert make_orders(material(), 2, seed=4) != orders[:2]
    assert orders[0] != orders[1]


def test_who_knows_the_seed_does_not_know_the_codecs() -> None:
    """Orders depend on how chance has numbered the pictures, and not on the codecs' names."""
    of = material()
    named = {f"codec {i}": f"codec {(i + 2) % CODECS}" for i in range(CODECS)}
    other = replace(of, codec=[named.get(codec, codec) for codec in of.codec])
    assert make_orders(other, 3, seed=3) == make_orders(of, 3, seed=3)


@pytest.mark.parametrize(("pairs", "most"), [(180, 60), (20, 60), (3, 60), (1, 4), (500, 120)])
def test_a_session_is_shorter_where_there_is_less_to_ask(pairs: int, most: int) -> None:
    asked = counted(pairs, most)
    assert all(number > 0 for number in asked)
    assert asked[0] <= pairs
    assert sum(asked) <= max(most, 4)


def test_unequal_rates_are_refused_or_marked(measured: Path) -> None:
    table = load(measured)
    target = parse_target("bpp=0.8")
    chosen = {"images": 3, "foregone_db": np.inf}
    codecs = ["jpeg", "jpeg2000", "webp"]
    marked = choose(table, "photos", codecs, target, mark_unequal=True, **chosen)
    assert len(marked.pairs) == 9
    # As if JPEG 2000 had missed the rate on one image: in both of its pairs there.
    which = (table["codec"] == "jpeg2000") & (table["image"] == "1.png")
    table.loc[which, "bpp"] *= 1.5
    before = sum(pair.ratio > 1.05 for pair in marked.pairs)
    marked = choose(table, "photos", codecs, target, mark_unequal=True, **chosen)
    unequal = [pair for pair in marked.pairs if pair.ratio > 1.05]
    assert len(unequal) > before
    assert f"{len(unequal)} of 9 pairs differ in rate by more than 5 %" in marked.notes[0]
    table.loc[table["codec"] == "jpeg2000", "bpp"] *= 2
    with pytest.raises(UndefinedError, match=r"jpeg2000.*--unequal mark"):
        choose(table, "photos", codecs, target, **chosen)


def test_foregone_pairs_are_left_out_as_long_as_the_codecs_hang_together(measured: Path) -> None:
    table = load(measured)
    target = parse_target("bpp=0.8")
    worse = table["codec"] == "jpeg"
    table.loc[worse, ["psnr_y_db"]] -= 20
    table.loc[worse, ["ms_ssim_y"]] = 0.1
    codecs = ["jpeg", "jpeg2000", "webp"]
    found = choose(table, "photos", codecs, target, images=3, mark_unequal=True)
    two = Counter(pair.codecs for pair in found.pairs)
    assert len(two) == 2  # JPEG stays linked by one of its two pairs
    assert "3 pairs are left out as foregone" in " ".join(found.notes)
    assert "3 pairs are foregone, but shown" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("codecs", "target", "says"),
    [
        (["jpeg"], "bpp=0.8", "two codecs"),
        (["jpeg", "avif"], "bpp=0.8", "avif"),
        (["jpeg", "webp"], "bpp=0.3", "lic-bench run --codecs jpeg,webp .*--match bpp=0.3"),
    ],
)
def test_what_cannot_be_compared_is_told(
    codecs: list[str], target: str, says: str, measured: Path
) -> None:
    with pytest.raises((SpecError, UndefinedError), match=says):
        choose(load(measured), "photos", codecs, parse_target(target), images=3)


def source(page: Path) -> str:
    """The page's source, without its pictures: base64 spells any word now and then."""
    return re.sub(r'(id="blob-\d+">)[^<]*', r"\1", page.read_text(encoding="utf-8"))


def test_the_page_names_no_codec_rate_or_point(page: Path, measured: Path) -> None:
    text = source(page).casefold()
    rows = load(measured)
    words = {*rows["codec"], *rows["image"], "photos", "jpg", "jp2", "openjpeg", "bpp", "quality"}
    assert [word for word in words if word.casefold() in text] == []
    data = json.loads(re.findall(r'id="data">(.*?)</script>', source(page))[0])
    assert data.keys() == {
        "study", "title", "images", "pictures", "originals", "training", "orders", "counted",
        "pause",
    }  # fmt: skip
    rates = [f"{rate:.3f}" for rate in rows["bpp"]] + list(map(str, rows["bytes"]))
    alone = set(re.findall(r"[\w.]+", json.dumps(data)))
    assert alone.isdisjoint(rates)


def chunks(png: bytes) -> Iterator[bytes]:
    """The names of the chunks of a PNG file."""
    at = 8
    while at < len(png):
        yield png[at + 4 : at + 8]
        at += 12 + int.from_bytes(png[at : at + 4])


def test_the_pictures_are_without_loss_and_tell_nothing_else(page: Path, measured: Path) -> None:
    import base64
    import io

    import PIL.Image

    from lic_bench.rating.judged import find

    with Ratings.open(measured) as ratings:
        study = find(ratings, study_in(page))
    blobs = re.findall(r'id="blob-\d+">([^<]*)<', page.read_text(encoding="utf-8"))
    pictures = [PIL.Image.open(io.BytesIO(base64.b64decode(blob))) for blob in blobs]
    assert {picture.format for picture in pictures} == {"PNG"}
    assert all(not picture.info for picture in pictures)
    assert {name for blob in blobs for name in chunks(base64.b64decode(blob))} == {
        b"IHDR", b"IDAT", b"IEND",
    }  # fmt: skip
    # Chance has put them into an order: neither kinds nor codecs lie together, as they were made.
    made = sorted(study.pictures, key=lambda one: (one.role, one.codec, one.image))
    assert list(study.pictures) not in (made, made[::-1])
    arrays = [np.asarray(picture).astype(float) for picture in pictures]
    originals = {s.image: arrays[i] for i, s in enumerate(study.pictures) if s.role == "original"}
    table = load(measured).set_index(["image_sha256", "identity", "point"])
    for shown, array in zip(study.pictures, arrays, strict=True):
        mse = ((array - originals[shown.image]) ** 2).mean()
        if shown.role == "original":
            assert mse == 0
        else:
            row = table.loc[[(study.images[shown.image].key, shown.identity, shown.point)]].iloc[0]
            assert mse == pytest.approx(row["mse_rgb"])


def contents(folder: Path) -> list[Any]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        tables = ("SELECT * FROM sessions", "SELECT * FROM trials")
        return [db.execute(table).fetchall() for table in tables]


def test_answers_are_kept_whole_and_once(kept: tuple[Path, Study]) -> None:
    folder, study = kept
    whole = session(study, "anna")
    part = {**whole, "trials": whole["trials"][:9], "finished": ""}
    first, second = answered(folder, part, "part.json"), answered(folder, whole, "whole.json")
    assert "9 trials new; not complete" in command("rate", "add", first, "--out", folder).stdout
    said = command("rate", "add", second, first, "--out", folder).stdout
    assert f"{len(whole['trials']) - 9} trials new, 9 known; complete" in said
    assert "0 trials new" in said
    sessions, trials = contents(folder)
    assert (len(sessions), len(trials)) == (1, len(whole["trials"]))
    with Ratings.open(folder) as ratings:
        found = judged.judged(ratings, study)
    reasons = dict(judged.left_out(found.trials))
    assert reasons["training"] == TRAINING
    assert reasons["to warm up"] == WARMUPS
    assert sum(reasons.values()) + len(found.counted) == len(trials)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_refused_or_harmless(name: str, kept: tuple[Path, Study]) -> None:
    folder, study = kept
    good = session(study, "good")
    command("rate", "add", answered(folder, good, "good.json"), "--out", folder)
    before = contents(folder)
    content, says = HOSTILE[name](study)
    path = folder / "hostile.json"
    path.write_bytes(content)
    ended = command("rate", "add", path, "--out", folder, code=1 if says else 0)
    if says:
        assert re.search(says, ended.stderr), ended.stderr
        assert ended.stderr.count("\n") <= 2
        assert contents(folder) == before
    shown = command("rate", "show", folder, "--remarks", code=None).printed
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_copy_under_another_name_is_refused(kept: tuple[Path, Study]) -> None:
    folder, study = kept
    good = session(study, "good")
    copy = {**good, "session": "c" * 32, "rater": "somebody else"}
    files = [answered(folder, one, f"{i}.json") for i, one in enumerate((good, copy))]
    ended = command("rate", "add", *files, "--out", folder, code=1)
    assert "it is a copy" in ended.stderr
    assert len(contents(folder)[0]) == 1


def test_an_altered_study_is_not_believed(kept: tuple[Path, Study]) -> None:
    folder, study = kept
    with closing(sqlite3.connect(folder / FILE_NAME)) as db, db:
        db.execute("UPDATE studies SET definition = replace(definition, ?, ?)",
                   (study.pictures[0].token, "0" * 16))  # fmt: skip
    with Ratings.open(folder) as ratings, pytest.raises(StoreError, match="altered"):
        judged.find(ratings, study.id)


def test_what_is_not_enough_has_no_scores(kept: tuple[Path, Study]) -> None:
    folder, study = kept
    assert "no answers yet" in command("rate", "show", folder, code=2).stderr
    command("rate", "add", answered(folder, session(study, "a"), "a.json"), "--out", folder)
    assert "want 5 or more for each two codecs" in command("rate", "show", folder, code=2).stderr


def test_scores_are_shown_with_and_without_those_who_fail(kept: tuple[Path, Study]) -> None:
    folder, study = kept
    files = [
        answered(folder, session(study, f"rater {i}", seed=i, order=i), f"{i}.json")
        for i in range(6)
    ]
    against = session(study, "contrary", seed=9, order=9, contrary=True)
    files.append(answered(folder, against, "contrary.json"))
    command("rate", "add", *files, "--out", folder)
    out, trials, plot = (folder / name for name in ("scores.json", "trials.csv", "scores.png"))
    ended = command(
        "rate", "show", folder, "--screen", "--out", out, "--trials", trials, "--plot", plot
    )
    assert "Screening leaves out 1 of 7 raters" in ended.stdout
    assert re.search(r"contrary saw 0 of \d+ catches", ended.stdout)
    found = json.loads(out.read_text())
    # `session` prefers by name: the first codec is the best.
    assert [one["codec"] for one in found["screened"]["scores"]] == sorted(study.codecs)
    assert found["screened"]["raters"] == 6
    assert len(pd.read_csv(trials)) == sum(len(order) for order in study.orders[:7])
    assert plot.stat().st_size > 10_000
    assert {one["metric"] for one in found["metrics"]} >= {"psnr_rgb", "ssim_y"}
    page = folder / "report.html"
    command("report", folder, "--no-viewer", "--out", page)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page.read_text())[0])
    assert data["people"][0]["scores"] == [
        {**one, "codec": one["codec"]} for one in found["scores"]
    ]


def test_screening_that_leaves_nothing_is_told(kept: tuple[Path, Study]) -> None:
    """Raters who all miss the catches: their scores are shown and written, and nothing beside."""
    folder, study = kept
    files = [
        answered(folder, session(study, f"rater {i}", seed=i, order=i, contrary=True), f"{i}.json")
        for i in range(2)
    ]
    command("rate", "add", *files, "--out", folder)
    out = folder / "scores.json"
    ended = command("rate", "show", folder, "--screen", "--out", out)
    assert "Screening leaves out 2 of 2 raters" in ended.stdout
    assert "without them there are no answers" in ended.stderr
    found = json.loads(out.read_text())
    assert len(found["scores"]) == len(study.codecs)
    assert "scores" not in found["screened"]


def test_a_name_that_no_plot_can_have_is_refused_first(kept: tuple[Path, Study]) -> None:
    folder, _ = kept
    ended = command("rate", "show", folder, "--plot", folder / "scores.txt", code=2)
    assert "scores.txt: the name of a plot must end in" in ended.stderr
    assert ended.stdout == ""


def test_planning_says_more_raters_for_less_doubt() -> None:
    said = command(
        "rate", "plan", "--codecs", "3", "--images", "4", "--raters", "4,16", "--studies", "2"
    ).stdout
    rows = [line.split() for line in said.splitlines() if re.match(r"\d+  ", line)]
    assert [row[0] for row in rows] == ["4", "16"]
    assert float(rows[0][2]) > float(rows[1][2])
    assert answers.LARGEST > 0
