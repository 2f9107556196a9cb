"""The study's page in a real browser: by keyboard, mouse and touch; offline and served."""

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rater
from chromium import Page
from command import command
from hostile_answers import session

from lic_bench import read_image
from lic_bench.rating import judged, serving
from lic_bench.rating.study import Study
from lic_bench.store.file import store_in
from lic_bench.store.ratings import Ratings


@pytest.fixture
def opened(browser: Page, page: Path) -> Page:
    """The page as somebody sees it who opens it for the first time."""
    browser.screen(1200, 800)
    browser.open(page)
    browser.run("localStorage.clear()")
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(page)
    return browser


@pytest.fixture
def study(kept: tuple[Path, Study]) -> Study:
    return kept[1]


def remembered(page: Page) -> dict[str, Any]:
    return dict(json.loads(page.run("Object.values(localStorage)[0]")))


def enabled(page: Page) -> bool:
    return not page.run("document.querySelector('[data-answer]').disabled")


def test_nothing_begins_without_consent(opened: Page, page: Path) -> None:
    opened.click("#begin")
    assert not rater.visible(opened, "#rater")
    opened.click("#agreed")
    opened.click("#begin")
    opened.click("#set-up")  # the zoom is not confirmed
    assert not rater.visible(opened, "#train")
    opened.click("#zoomed")
    opened.click("#set-up")
    assert rater.visible(opened, "#train")
    assert opened.requests == [page.resolve().as_uri()]
    assert opened.complaints == []


@pytest.mark.parametrize(("width", "height", "ratio"), [(1200, 800, 1), (901, 651, 1.5)])
def test_a_pixel_of_the_picture_is_one_of_the_screen(
    width: int, height: int, ratio: float, opened: Page, study: Study, measured: Path
) -> None:
    opened.screen(width, height, ratio=ratio)
    rater.begin(opened)
    trial = study.orders[remembered(opened)["order"]][0]
    name = study.images[study.pictures[trial.left].image].name
    original = read_image(measured / "photos" / name)
    opened.press("ArrowLeft")
    opened.press("ArrowUp")
    opened.settle()
    seen = rater.stage(opened)
    high, wide, _ = original.shape
    top, left = ((seen.shape[i] - original.shape[i]) / 2 for i in (0, 1))
    places = [
        (y, x)
        for y in range(int(top) - 2, int(top) + 4)
        for x in range(int(left) - 2, int(left) + 4)
        if np.array_equal(seen[y : y + high, x : x + wide], original)
    ]
    assert len(places) == 1
    around = seen.astype(int)
    y, _ = places[0]
    assert (around[: y - 1] == 0x77).all()  # neutral grey


def test_by_keyboard(opened: Page) -> None:
    rater.begin(opened)
    assert not enabled(opened)
    opened.press("1")
    assert remembered(opened)["trials"] == []  # nothing was looked at
    opened.press("ArrowLeft")
    opened.press("ArrowUp")
    opened.press("ArrowLeft")
    opened.settle()
    assert not enabled(opened)  # switched often enough, but B was not seen
    opened.press("ArrowRight")
    opened.settle()
    assert enabled(opened)
    opened.press("2")
    rater.ready(opened)
    [trial] = remembered(opened)["trials"]
    assert (trial["answer"], trial["switches"]) == ("same", 4)
    assert trial["seconds"] > 0
    assert rater.visible(opened, "#next")
    assert re.match("Right|Look once more", rater.text(opened, "#question"))


def test_by_mouse(opened: Page) -> None:
    rater.begin(opened)
    opened.screen(200, 330)  # smaller than the picture
    opened.settle()
    opened.click("#stage")
    opened.settle()
    assert opened.run("document.getElementById('stage').dataset.drawn") == "left"
    before = rater.stage(opened)
    box = opened.box("#stage")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.drag(x, y, x - 20, y)
    opened.settle()
    # The picture has moved with the mouse, and no switch was made.
    moved = rater.stage(opened)
    assert np.array_equal(moved[:, 30:150], before[:, 50:170])
    opened.click("[data-view=right]")
    opened.click("[data-view=left]")
    opened.settle()
    assert np.array_equal(rater.stage(opened), moved)  # the place is kept
    opened.click("[data-answer=right]")
    rater.ready(opened)
    assert remembered(opened)["trials"][0]["answer"] == "right"


def test_by_touch(opened: Page) -> None:
    opened.call("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        opened.screen(390, 800, ratio=2)
        rater.begin(opened)

        def tap(selector: str) -> None:
            box = opened.box(selector)
            at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
            opened.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[at])
            opened.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            opened.settle()

        drawn = []
        for _ in range(3):
            tap("#stage")
            drawn.append(opened.run("document.getElementById('stage').dataset.drawn"))
        assert drawn == ["left", "right", "left"]
        tap("[data-answer=left]")
        rater.ready(opened)
        assert remembered(opened)["trials"][0]["answer"] == "left"
        assert opened.run("document.documentElement.scrollWidth <= innerWidth")
    finally:
        opened.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_a_rater_who_sees_only_the_page(
    opened: Page, kept: tuple[Path, Study], tmp_path: Path
) -> None:
    """From the first screen to the scores; with an undo, and a reload in between."""
    folder, study = kept
    rater.begin(opened, "simulated")
    eye = rater.Eye(0, sensitivity=20)  # always prefers what is nearer, on the screen
    rater.answer_all(opened, eye, 9)
    before = remembered(opened)["trials"]
    opened.press("Backspace")
    rater.ready(opened)
    assert remembered(opened)["trials"] == before[:-1]
    look = rater.look(opened)
    other = {"left": "3", "right": "1", "same": "1"}[before[-1]["answer"]]
    assert look is not None
    opened.press(other)
    rater.ready(opened)
    again = remembered(opened)["trials"][-1]
    assert again["first"] == before[-1]["answer"] != again["answer"]
    opened.run("window.former = true")
    opened.call("Page.reload")
    opened.wait("!window.former && document.documentElement?.dataset.ready === 'true'")
    assert len(remembered(opened)["trials"]) == len(before)
    assert "simulated has answered 9 of" in rater.text(opened, "#screen")
    rater.answer_all(opened, eye)
    opened.run(
        "(() => { const r = document.getElementById('remark'); r.value = '<b>fine</b>';"
        "r.dispatchEvent(new Event('input')); })()"
    )
    file = rater.save(opened, tmp_path)
    assert opened.complaints == []
    handed = json.loads(file.read_text())
    assert handed["remark"] == "<b>fine</b>"
    order = study.orders[handed["order"]]
    assert [(t["left"], t["right"]) for t in handed["trials"]] == [
        (study.pictures[t.left].token, study.pictures[t.right].token) for t in order
    ]
    # It saw each catch, and knew what was the same.
    for position, (trial, given) in enumerate(zip(order, handed["trials"], strict=True)):
        if trial.kind in ("catch", "identical") and position != len(before) - 1:
            assert given["answer"] == study.expected(trial)
    command("rate", "add", file, "--out", folder)
    with Ratings.open(folder) as ratings:
        found = judged.judged(ratings, study)
    assert found.complete == 1
    assert ("simulated", "<b>fine</b>") in found.remarks


def test_the_preferences_of_raters_who_see_only_the_page_are_found_again(
    opened: Page, page: Path, kept: tuple[Path, Study], tmp_path: Path
) -> None:
    """A small one: tests/benchmarks/rating_study.py has six codecs, and takes its time."""
    folder, study = kept
    opened.screen(420, 400)
    files = []
    for number in range(3):
        opened.run("localStorage.clear()")
        opened.open(page)
        rater.begin(opened, f"rater {number}")
        rater.answer_all(opened, rater.Eye(number))
        files.append(rater.save(opened, tmp_path))
    command("rate", "add", *files, "-o", folder)
    command("rate", "show", folder, "--out", folder / "scores.json")
    found = json.loads((folder / "scores.json").read_text())
    true = rater.truth(study, page)
    assert max(true.values()) - min(true.values()) > 0.5
    for one in found["scores"]:
        # Twice the interval: orders are drawn by chance, and one of twenty would lie outside.
        jod, away = one["jod"], abs(one["jod"]["value"] - true[one["codec"]])
        assert away < jod["high"] - jod["low"]


@pytest.fixture
def served(page: Path, kept: tuple[Path, Study]) -> Iterator[str]:
    folder, study = kept
    server, address = serving.server(page, serving.Desk(store_in(folder), study))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address
    server.shutdown()
    server.server_close()


def test_answers_go_straight_into_the_store(
    served: str, browser: Page, kept: tuple[Path, Study]
) -> None:
    folder, study = kept
    browser.screen(1200, 800)
    browser.complaints.clear()
    browser.requests.clear()
    browser.call("Page.navigate", url=served)
    browser.wait(f"location.href === {served!r} && document.documentElement?.dataset.ready")
    rater.begin(browser, "served")
    rater.answer_all(browser, rater.Eye(1, sensitivity=20))
    assert "handed in" in rater.text(browser, "#screen")
    assert browser.complaints == []
    assert all(url.startswith((served, "blob:", "data:")) for url in browser.requests)
    with Ratings.open(folder) as ratings:
        [own] = [one for one in ratings.sessions(study.id) if one.rater == "served"]
        assert len(ratings.trials(own.id)) == len(study.orders[own.number])


def test_nobody_else_reaches_the_server(served: str, kept: tuple[Path, Study]) -> None:
    folder, study = kept
    content = json.dumps(session(study, "evil", seed=50)).encode()

    def ask(address: str, data: bytes | None = None, **headers: str) -> int:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            request = urllib.request.Request(address, data, names)  # noqa: S310 - our own
            with urllib.request.urlopen(request) as reply:  # noqa: S310
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:  # it hung up on what was still being sent
            return 0

    origin = served[: served.index("/", 8)]
    json_type = "application/json"
    assert ask(served) == 200
    assert ask(f"{origin}/") == 404
    assert ask(served, Host="evil.example") == 404
    post = f"{served}answers?position=0"
    assert ask(post, content, Content_Type=json_type) == 403
    assert ask(post, content, Content_Type=json_type, Origin="https://evil.example") == 403
    assert ask(post, content, Content_Type="text/plain", Origin=origin) == 403
    assert ask(post, b"[" * 1000, Content_Type=json_type, Origin=origin) == 400
    assert ask(post, b"x" * 3_000_000, Content_Type=json_type, Origin=origin) in (413, 0)
    with Ratings.open(folder) as ratings:
        assert "evil" not in [one.rater for one in ratings.sessions(study.id)]
    assert ask(post, content, Content_Type=json_type, Origin=origin) == 200


def test_after_fifty_answers_pairs_are_chosen_where_they_tell_most(
    kept: tuple[Path, Study],
) -> None:
    """JPEG loses always, and the two others are as good as each other: these are asked about."""
    folder, study = kept
    with Ratings(store_in(folder)) as ratings:
        from lic_bench.rating import answers

        for number in range(8):
            content = session(study, f"earlier {number}", seed=100 + number, order=number)
            parsed = answers.parse(json.dumps(content).encode(), "test")
            answers.add(ratings, study, parsed, "test")
        found = judged.judged(ratings, study)
    assert len(found.counted) >= 50
    desk = serving.Desk(store_in(folder), study)
    order_number = 20
    order = study.orders[order_number]
    whole = session(study, "adaptive", seed=77, order=order_number)
    whole["finished"] = ""
    done: list[Any] = []
    chosen = Counter[bool]()
    for position in range(1, len(order)):
        sent = {**whole, "trials": done[: position - 1]}
        pending = [study.numbers[done[-1][side]] for side in ("left", "right")] if done else []
        pair = desk.take(json.dumps(sent).encode(), position, pending)
        trial = whole["trials"][position - 1]
        done.append({**trial, "position": position - 1})
        if pair is None:
            continue
        assert order[position].kind == "pair"
        assert frozenset(pair) in study.pairs
        chosen[pair != (order[position].left, order[position].right)] += 1
        left, right = (study.pictures[one].token for one in pair)
        whole["trials"][position] |= {"left": left, "right": right}
    assert chosen.total() > 0
    sent = {**whole, "trials": done}
    desk.take(json.dumps(sent).encode(), len(order))
    with Ratings.open(folder) as ratings:
        [own] = [one for one in ratings.sessions(study.id) if one.rater == "adaptive"]
        assert len(ratings.trials(own.id)) == len(done)
