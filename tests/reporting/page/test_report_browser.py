"""The report in a real browser: it does what its switches, keys and sliders say."""

import base64
import io
import itertools
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from chromium import Page
from matplotlib import colormaps
from oddities import NAMES, SCRIPT

from lic_bench import load_dataset, read_image
from lic_bench.analysis import published_curves
from lic_bench.analysis.comparison import Side, compare_sides
from lic_bench.analysis.curves import aggregate, bd_rate, curve
from lic_bench.reporting.page import data
from lic_bench.reporting.page.html import write
from lic_bench.reporting.tables import rates_table
from lic_bench.store.table import load


@pytest.fixture(scope="module")
def opened(browser: Page, made: Path) -> Page:
    browser.screen(1200, 900)
    browser.open(made)
    return browser


@pytest.fixture
def page(opened: Page) -> Page:
    """The page as it is when it was just opened."""
    opened.screen(1200, 900)
    opened.requests.clear()
    opened.complaints.clear()
    opened.reload()
    return opened


@pytest.fixture
def stage(page: Page) -> Page:
    """The page with the viewer in sight, and focused."""
    page.box("#stage")
    page.run("document.getElementById('stage').focus()")
    return page


def pressed(page: Page, key: str) -> None:
    """Press a key, and wait until the viewer has drawn what it asked for, if it draws at all."""
    page.press(key)
    page.settle()


def canvas(page: Page, side: str) -> Any:
    """The pixels of a side."""
    url = page.run(
        f"document.querySelector('.pane[data-side=\"{side}\"] canvas').toDataURL('image/png')"
    )
    return decoded(base64.b64decode(url.partition(",")[2]))


def decoded(content: bytes) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def shown(page: Page) -> Any:
    return json.loads(page.run("document.getElementById('data').textContent"))


def blob(page: Page, image: str, codec: int, rate: float, what: str = "data") -> Any:
    """What the file holds of a picture, decoded here."""
    [one] = [
        p
        for p in shown(page)["pictures"]
        if p["image"] == image and p["codec"] == codec and (codec < 0 or p["rate"] == rate)
    ]
    text = page.run(f"document.getElementById('blob-{one[what]}').textContent")
    return decoded(base64.b64decode(text))


def view(page: Page) -> dict[str, Any]:
    """What the viewer's selects say."""
    ids = ("view-image", "view-rate", "view-left", "view-right")
    values = [page.run(f"document.getElementById('{name}').value") for name in ids]
    image = shown(page)["datasets"][0]["images"][int(values[0])]["name"]
    return {
        "image": image,
        "rate": float(values[1]),
        "left": int(values[2]),
        "right": int(values[3]),
    }


def close(a: Any, b: Any, most: float = 1.0) -> bool:
    """Two decoders of one file differ by a step here and there."""
    return a.shape == b.shape and bool(np.abs(a - b).mean() <= most)


def test_it_loads_without_an_error_or_a_request(page: Page, made: Path) -> None:
    assert page.complaints == []
    assert page.requests == [made.resolve().as_uri()]
    assert "photos" in page.run("document.title")


def test_names_are_text(page: Page) -> None:
    options = "[...document.getElementById('view-image').options].map((o) => o.textContent)"
    assert sorted(page.run(options)) == sorted(NAMES)
    assert SCRIPT in page.run("document.getElementById('table').innerText")
    assert "</script><script>" in page.run("document.getElementById('failures').textContent")
    page.choose(
        "curve-image", str([i["name"] for i in shown(page)["datasets"][0]["images"]].index(SCRIPT))
    )
    assert SCRIPT in page.run("document.getElementById('chart-note').textContent")
    assert page.run("document.images.length") == 0
    assert page.run("window.owned === undefined")
    assert page.complaints == []


def test_no_script_but_its_own_would_run(page: Page) -> None:
    page.run(
        "document.body.append(Object.assign(document.createElement('script'),"
        "{textContent: 'window.owned = 1'}))"
    )
    assert page.run("window.owned === undefined")


def curves(page: Page) -> list[int]:
    found = page.run(
        "[...document.querySelectorAll('#chart .codec:has(polyline)')].map((g) => g.dataset.codec)"
    )
    return sorted(map(int, found))


def test_codecs_are_switched_on_and_off(page: Page) -> None:
    assert curves(page) == [0, 1, 2]
    page.click("#legend label:nth-of-type(2)")
    assert curves(page) == [0, 2]
    rows = "[...document.querySelectorAll('#matrix tbody th')].map((h) => h.textContent)"
    assert sorted(page.run(rows)) == ["coarse", "jpeg2000"]
    page.click("#legend button:last-of-type")
    assert curves(page) == []
    assert "nothing to draw" in page.run("document.getElementById('chart').textContent")
    page.click("#legend button:first-of-type")
    assert curves(page) == [0, 1, 2]
    # By keyboard, too.
    page.run("document.querySelector('#legend input').focus()")
    page.press(" ")
    assert curves(page) == [1, 2]


def tip(page: Page) -> str:
    return str(
        page.run(
            "document.querySelector('.tip').hidden ? '' : document.querySelector('.tip').innerText"
        )
    )


def test_a_point_under_the_pointer_is_named(page: Page, store: Path) -> None:
    averages = aggregate(load(store))
    wanted = averages[(averages["codec"] == "jpeg") & (averages["point"] == "15")].iloc[0]
    assert tip(page) == ""
    place = page.run(
        "(() => { const e = document.querySelectorAll('.codec[data-codec=\"1\"] .mark-shape')[1];"
        "e.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const b = e.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.mouse("Moved", place[0] + 3, place[1] - 2)
    text = tip(page)
    assert text.startswith("jpeg\n")
    assert "quality 15" in text
    assert f"{wanted['bpp']:.3f} bpp" in text
    assert f"{wanted['psnr_rgb_db']:.2f} dB" in text
    assert page.run("document.querySelectorAll('.cross line').length") == 2
    page.mouse("Moved", 5, 5)
    assert tip(page) == ""


def test_the_arrow_keys_walk_along_the_curves(page: Page) -> None:
    page.run("document.querySelector('#chart svg').focus()")
    for key, codec, point in (
        ("ArrowRight", "coarse", "step 100"),
        ("ArrowRight", "coarse", "step 80"),
        ("ArrowLeft", "coarse", "step 100"),
        ("ArrowDown", "jpeg", "quality"),
        ("ArrowDown", "jpeg2000", "compression ratio"),
    ):
        page.press(key)
        assert codec in tip(page).splitlines()[0] and point in tip(page)
    page.press("Escape")
    assert tip(page) == ""


def test_any_metric_against_rate_and_times(page: Page, store: Path) -> None:
    averages = aggregate(load(store))
    for metric in ("psnr_rgb", "psnr_y709", "ssim_rgb"):
        page.choose("metric", metric)
        cells = page.run(
            "[...document.querySelectorAll('#matrix tbody td')].map((c) => c.firstChild.data)"
        )
        order = page.run(
            "[...document.querySelectorAll('#matrix tbody th')].map((c) => c.textContent)"
        )
        expected = []
        for test in order:
            for anchor in order:
                sides = [curve(averages, "photos", name, metric) for name in (anchor, test)]
                rate = bd_rate(*sides).percent
                same = "" if anchor == test else "–"
                expected.append(
                    same if rate is None or anchor == test else f"{rate:+.1f} %".replace("-", "−")
                )
        assert cells == expected
    text = "document.querySelector('#chart').textContent"
    assert "SSIM (RGB) [dB]" in page.run(text) and "Rate [bpp]" in page.run(text)
    for axis, name in (("encode_s", "Encoding"), ("decode_s", "Decoding")):
        page.choose("axis", axis)
        assert f"{name} [s per image]" in page.run(text)
        assert curves(page) == [0, 1, 2]
        assert page.run("document.getElementById('log').checked")
    # Points lie where an axis of logarithms has them.
    rows = averages[(averages["codec"] == "jpeg") & averages["complete"]]["decode_s"].to_numpy()
    x = page.run(
        "[...document.querySelectorAll('#chart .codec[data-codec=\"1\"] .mark-shape')]"
        ".map((m) => m.transform.baseVal.getItem(0).matrix.e)"
    )
    np.testing.assert_allclose(np.corrcoef(np.log(rows), x)[0, 1], 1, atol=1e-3)
    page.choose("metric", "ms_ssim_rgb")  # the images are large enough for none of its scales
    page.choose("axis", "bpp")
    page.choose("limit", "1")


def test_bd_rates_are_sorted_and_have_the_intervals_of_compare(page: Page, store: Path) -> None:
    measurements = load(store)
    sides = [Side(n, n, measurements[measurements["codec"] == n]) for n in ("jpeg", "jpeg2000")]
    rate = compare_sides(*sides, resamples=500).rate
    cell = "document.querySelector('#matrix [title=\"jpeg2000 against jpeg\"]')"
    ends = page.run(f"{cell}.querySelector('small').textContent").replace("\u2212", "-")
    assert [float(end) for end in ends.split(" to ")] == pytest.approx(
        [rate.low, rate.high], abs=0.06
    )
    pale = page.run(f"{cell}.classList.contains('unsure')")
    assert pale == (rate.low <= 0 <= rate.high)
    page.click("#matrix th:nth-child(2) button")
    values = page.run(
        "[...document.querySelectorAll('#matrix tbody tr')].map((r) => r.cells[1].firstChild?.data)"
    )
    first = page.run("document.querySelector('#matrix thead th').textContent")
    known = [
        float(v.rstrip(" %").replace("\u2212", "-")) for v in values if v and v[0] in "+\u2212"
    ]
    assert first and known == sorted(known)


def test_the_table_at_equal_rate_is_that_of_the_command(page: Page, store: Path) -> None:
    wanted = rates_table(load(store), [0.5, 1.5], metrics=["psnr_rgb"]).frame
    for row in page.run(
        "[...document.querySelectorAll('#equal tbody tr')]"
        ".map((r) => [...r.cells].map((c) => c.textContent))"
    ):
        expected = wanted[wanted["codec"] == row[0]]["psnr_rgb_db"]
        for text, value in zip(row[1:], expected, strict=True):
            assert (
                text == "–" if np.isnan(value) else float(text) == pytest.approx(value, abs=0.006)
            )


def table(page: Page) -> list[list[str]]:
    return list(
        page.run(
            "[...document.querySelectorAll('#table tbody tr')]"
            ".map((r) => [...r.cells].map((c) => c.innerText))"
        )
    )


def test_images_are_listed_worst_first_and_lead_to_the_viewer(page: Page) -> None:
    page.choose("table-codec", "2")
    page.choose("table-anchor", "1")
    mine = shown(page)["datasets"][0]
    rates = mine["bdByImage"]["psnr_rgb"][1][2]
    order = sorted(range(3), key=lambda i: -rates[i])
    names = [mine["images"][i]["name"] for i in order]
    assert [row[0] for row in table(page)] == names
    assert table(page)[0][1] == f"{rates[order[0]]:+.1f} %".replace("-", "−")
    page.click("#table th:nth-child(1) button")
    assert [row[0] for row in table(page)] == sorted(names, key=str.casefold)
    page.click("#table th:nth-child(2) button")
    page.click("#table th:nth-child(2) button")
    assert [row[0] for row in table(page)] == names[::-1]
    assert page.run("document.querySelectorAll('#table th')[1].ariaSort") == "ascending"
    page.click("#table tbody tr:nth-child(2) button")
    page.settle()
    assert view(page) == {"image": names[1], "rate": view(page)["rate"], "left": 1, "right": 2}
    assert page.run("document.activeElement.id") == "stage"


def test_both_sides_show_what_the_file_holds(stage: Page) -> None:
    now = view(stage)
    for side in ("left", "right"):
        assert close(canvas(stage, side), blob(stage, now["image"], now[side], now["rate"]))
    stage.choose("view-left", "-1")
    stage.settle()
    assert close(canvas(stage, "left"), blob(stage, now["image"], -1, 0))
    pressed(stage, "n")
    assert view(stage)["image"] != now["image"]
    assert close(canvas(stage, "left"), blob(stage, view(stage)["image"], -1, 0))
    pressed(stage, "b")
    pressed(stage, "r")
    assert view(stage) == now | {"left": -1, "rate": 1.5 if now["rate"] == 0.5 else 0.5}
    pressed(stage, "x")
    assert view(stage)["right"] == -1
    assert stage.complaints == []


def clip(page: Page) -> float:
    """Where the right picture begins, in per cent of the width."""
    text = page.run("document.querySelector('.pane[data-side=\"right\"] .view').style.clipPath")
    return float(re.findall(r"([\d.]+)%\)", text)[0]) if "%" in text else 0.0


def test_the_slider_parts_the_pictures(stage: Page) -> None:
    assert clip(stage) == 50
    box = stage.box("#stage")
    middle = box["y"] + box["height"] / 2
    stage.drag(box["x"] + box["width"] / 2, middle, box["x"] + box["width"] * 0.8, middle)
    assert clip(stage) == pytest.approx(80, abs=1)
    assert stage.run("document.getElementById('handle').ariaValueNow") == "80"
    stage.run("document.getElementById('handle').focus()")
    stage.press("ArrowLeft")
    assert clip(stage) == pytest.approx(78, abs=1)
    stage.press("Home")
    assert clip(stage) == 0
    # What is seen left and right of it: the pictures themselves, pixel by pixel.
    stage.run("document.getElementById('handle').blur()")
    pressed(stage, "1")
    stage.drag(box["x"] + 1, middle, box["x"] + box["width"] / 2, middle)
    assert clip(stage) == pytest.approx(50, abs=1)
    box = stage.box("#stage")
    seen = decoded(stage.screenshot())
    left, right = canvas(stage, "left"), canvas(stage, "right")
    _, x, y = transform(stage)
    x, y = round(box["x"] + x), round(box["y"] + y)
    rows = slice(y + 60, y + 80)  # between captions and knob
    assert close(seen[rows, x + 20 : x + 80], left[60:80, 20:80], 0.5)
    assert close(seen[rows, x + 150 : x + 220], right[60:80, 150:220], 0.5)


def zoomed(page: Page) -> str:
    return str(page.run("document.getElementById('zoom').textContent"))


def transform(page: Page) -> list[float]:
    """Scale, and place of the left picture in its pane."""
    text = page.run("getComputedStyle(document.querySelector('.pane canvas')).transform")
    a, _, _, _, x, y = map(float, re.findall(r"-?[\d.]+(?:e-?\d+)?", text))
    return [a, x, y]


def test_zoom_shows_real_pixels(stage: Page) -> None:
    pressed(stage, "1")
    assert zoomed(stage) == "100 %"
    for _ in range(3):
        pressed(stage, "+")
    assert zoomed(stage) == "800 %"
    assert transform(stage)[0] == 8
    assert "pixelated" in stage.run(
        "getComputedStyle(document.querySelector('.pane canvas')).imageRendering"
    )
    # Each pixel is a square of one colour, and the colour is that of the picture.
    box = stage.box("#stage")
    _, x, y = transform(stage)
    picture, seen = canvas(stage, "left"), decoded(stage.screenshot())
    column, row = int((60 - x) // 8) + 1, int((70 - y) // 8) + 1
    left, top = round(box["x"] + x + 8 * column), round(box["y"] + y + 8 * row)
    part = seen[top : top + 80, left : left + 160].reshape(10, 8, 20, 8, 3)
    assert np.ptp(part, axis=(1, 3)).max() == 0
    assert close(part[:, 0, :, 0], picture[row : row + 10, column : column + 20], 0.5)
    pressed(stage, "-")
    assert zoomed(stage) == "400 %"
    pressed(stage, "0")
    assert transform(stage)[0] == 1  # it fits as it is
    stage.click("#zoom-in")
    assert zoomed(stage) == "200 %"
    stage.click("#zoom-real")
    assert zoomed(stage) == "100 %"


def test_real_pixels_are_the_screens(stage: Page) -> None:
    stage.screen(1200, 900, ratio=2)
    pressed(stage, "1")
    assert (zoomed(stage), transform(stage)[0]) == ("100 %", 0.5)


def test_it_is_moved_and_zoomed_by_pointer_and_wheel(stage: Page) -> None:
    for _ in range(4):
        pressed(stage, "+")
    box = stage.box("#stage")
    x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5
    before = transform(stage)
    stage.drag(x, y, x + 40, y - 10)
    after = transform(stage)
    assert [after[1] - before[1], after[2] - before[2]] == pytest.approx([40, -10], abs=1)
    pressed(stage, "ArrowLeft")
    assert transform(stage)[1] - after[1] == pytest.approx(60, abs=1)
    # The wheel zooms about the pointer: what is under it stays there.
    a, left, top = transform(stage)
    under = [(x - box["x"] - left) / a, (y - box["y"] - top) / a]
    stage.mouse("Wheel", x, y, deltaX=0, deltaY=-120)
    stage.settle()
    b, left, top = transform(stage)
    assert b / a == pytest.approx(2**0.5, rel=0.01)
    assert [(x - box["x"] - left) / b, (y - box["y"] - top) / b] == pytest.approx(under, abs=0.3)


def test_the_page_scrolls_until_the_viewer_is_clicked(page: Page) -> None:
    box = page.box("#stage")
    before = zoomed(page)
    page.mouse("Wheel", box["x"] + 50, box["y"] + 50, deltaX=0, deltaY=-120)
    page.settle()
    assert zoomed(page) == before


def visible(page: Page) -> list[str]:
    return list(
        page.run(
            "[...document.querySelectorAll('.pane')]"
            ".filter((p) => getComputedStyle(p).visibility === 'visible')"
            ".map((p) => p.dataset.side)"
        )
    )


def test_a_key_flips_between_the_two(stage: Page) -> None:
    assert visible(stage) == ["left", "right"]
    pressed(stage, "f")
    [first] = visible(stage)
    pressed(stage, " ")
    [second] = visible(stage)
    assert {first, second} == {"left", "right"}
    pressed(stage, "f")
    assert visible(stage) == [first]
    assert clip(stage) == 0
    pressed(stage, "s")
    boxes = [stage.box(f".pane[data-side={side}]") for side in ("left", "right")]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    pressed(stage, "l")
    assert clip(stage) == 50


def test_the_difference_is_that_of_the_pictures(stage: Page) -> None:
    left, right = canvas(stage, "left"), canvas(stage, "right")
    pressed(stage, "d")
    assert visible(stage) == ["left"]
    stage.choose("gain", "2")
    stage.settle()
    np.testing.assert_array_equal(canvas(stage, "left"), np.minimum(2 * abs(left - right), 255))
    pressed(stage, "d")
    np.testing.assert_array_equal(canvas(stage, "left"), left)


def test_the_error_map_has_the_colours_of_its_scale(stage: Page, store: Path) -> None:
    now = view(stage)
    pressed(stage, "e")
    levels = blob(stage, now["image"], now["left"], now["rate"], "error")[..., 0]
    expected = colormaps["inferno"](np.minimum(levels / 4 / 32, 1))[..., :3] * 255
    seen = canvas(stage, "left")
    assert np.abs(seen[::4, ::4] - expected).max() < 8  # matplotlib has 256 steps of it
    assert (seen[:188:4, :240:4] == seen[3:188:4, 3:240:4]).all()
    # And it is dark where the picture is like the original, which the file holds, too.
    originals = {one.name: one.path for one in load_dataset(str(store / "photos")).images}
    error = np.abs(
        blob(stage, now["image"], now["left"], now["rate"]) - read_image(originals[now["image"]])
    )
    blocks = error.mean(axis=2)[:188, :240].reshape(47, 4, 60, 4).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), seen.sum(axis=2)[:188:4, :240:4].ravel())[0, 1] > 0.9
    assert "8-bit steps" in stage.run("document.getElementById('scale').textContent")


def test_the_importance_map_is_shown_where_there_is_one(stage: Page) -> None:
    stage.choose("view-left", "0")
    stage.choose("view-right", "1")
    stage.choose("view-rate", "1.5")
    pressed(stage, "i")
    assert (canvas(stage, "left") == (200, 60, 20)).all()
    told = stage.run("document.querySelector('.pane[data-side=\"right\"] .missing').textContent")
    assert told == "jpeg has no importance map to show."


def test_the_original_is_shown_while_a_key_is_held(stage: Page) -> None:
    now = view(stage)
    stage.press("o", held=True)
    stage.settle()
    original = blob(stage, now["image"], -1, 0)
    assert close(canvas(stage, "left"), original) and close(canvas(stage, "right"), original)
    stage.release("o")
    stage.settle()
    assert close(canvas(stage, "left"), blob(stage, now["image"], now["left"], now["rate"]))


def test_what_is_missing_says_why(stage: Page) -> None:
    stage.choose("view-rate", "0.5")
    stage.choose("view-left", "0")
    stage.settle()
    assert "no point near this rate" in stage.run("document.querySelector('.missing').textContent")
    assert "no point near this rate" in stage.run("document.getElementById('missing').textContent")


def test_no_codecs_pixels_are_seen_under_the_name_of_another(stage: Page) -> None:
    # Right of the slider, where there is no picture (or no map) of the right codec.
    for rate, left, right, key in (("0.5", "1", "0", "p"), ("1.5", "0", "1", "i")):
        for name, value in (("rate", rate), ("left", left), ("right", right)):
            stage.choose(f"view-{name}", value)
        pressed(stage, key)
        box = stage.box("#stage")
        seen = decoded(stage.screenshot())
        _, x, y = transform(stage)
        x, y = round(box["x"] + x), round(box["y"] + y)
        part = seen[y + 40 : y + 150, x + 125 : x + 240]  # of what is left where the left one ends
        assert (np.median(part, axis=(0, 1)) == part[0, -1]).all()
        assert not close(part, canvas(stage, "left")[40:150, 125:240], 8)
        # And all that says why stands in its own part.
        text = stage.run(
            "(() => { const range = document.createRange();"
            "range.selectNodeContents(document.querySelector('[data-side=right] .missing'));"
            "const box = range.getBoundingClientRect(); return [box.left, box.right]; })()"
        )
        assert box["x"] + box["width"] / 2 < text[0] < text[1] < box["x"] + box["width"]


def test_it_opens_at_the_pair_whose_rates_differ_least(page: Page) -> None:
    pictures = [p for p in shown(page)["pictures"] if p["codec"] >= 0 and p["data"] is not None]
    apart = {
        (a["image"], a["rate"], a["codec"], b["codec"]): abs(np.log(a["bpp"] / b["bpp"]))
        for a in pictures
        for b in pictures
        if a["image"] == b["image"] and a["rate"] == b["rate"] and a["codec"] != b["codec"]
    }
    now = view(page)
    assert apart[tuple(now.values())] == min(apart.values())


def test_captions_warn_of_rates_that_differ(stage: Page) -> None:
    pictures = [p for p in shown(stage)["pictures"] if p["codec"] >= 0 and p["data"] is not None]
    names = [one["name"] for one in shown(stage)["datasets"][0]["images"]]
    captions = "[...document.querySelectorAll('.caption')].map((c) => c.innerText)"
    warned = []
    for a, b in itertools.combinations(pictures, 2):
        if (a["image"], a["rate"]) != (b["image"], b["rate"]):
            continue
        for name, value in (("image", names.index(a["image"])), ("rate", a["rate"])):
            stage.choose(f"view-{name}", str(value))
        for side, one in (("left", a), ("right", b)):
            stage.choose(f"view-{side}", str(one["codec"]))
        stage.settle()
        unequal = abs(np.log(a["bpp"] / b["bpp"])) > np.log(1.1)
        for caption, own, other in zip(stage.run(captions), (a, b), (b, a), strict=True):
            percent = 100 * (own["bpp"] / other["bpp"] - 1)
            warning = f"{abs(percent):.0f} % {'more' if percent > 0 else 'fewer'} bits"
            assert (warning in caption) == unequal == ("\u26a0" in caption)
        warned.append(unequal)
    assert {True, False} == set(warned)


def test_keys_leave_the_selects_alone(stage: Page) -> None:
    now = view(stage)
    stage.run("document.getElementById('view-left').focus()")
    stage.press("x")
    stage.press("n")
    assert view(stage)["image"] == now["image"]


def at_middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.box(selector)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_a_click_flips_and_a_held_button_shows_the_original(stage: Page) -> None:
    now = view(stage)
    pressed(stage, "f")
    [first] = visible(stage)
    stage.click("#stage")
    stage.settle()
    assert [first] != visible(stage)
    stage.click("#stage")
    stage.settle()
    assert [first] == visible(stage)
    stage.mouse("Pressed", *at_middle(stage, "#stage"), button="left", clickCount=1)
    picture = blob(stage, now["image"], now[first], now["rate"])
    original = blob(stage, now["image"], -1, 0)
    stage.wait("document.querySelector('.caption').textContent === 'original'")
    stage.settle()
    assert close(canvas(stage, first), original)
    stage.mouse("Released", *at_middle(stage, "#stage"), button="left", clickCount=1)
    stage.settle()
    assert close(canvas(stage, first), picture) and visible(stage) == [first]


def test_keys_work_wherever_the_focus_is_while_the_viewer_is_in_view(page: Page) -> None:
    page.run("document.activeElement.blur()")
    before = view(page)["image"]
    page.run("window.scrollTo(0, 0)")
    pressed(page, "n")
    assert view(page)["image"] == before  # it is out of sight
    page.box("#stage")
    pressed(page, "n")
    assert view(page)["image"] != before


def test_full_screen_keeps_the_controls_and_the_keys(stage: Page) -> None:
    stage.click("#full")
    stage.wait("document.fullscreenElement?.id === 'viewer-body'")
    stage.wait("document.activeElement.id === 'stage'")
    assert stage.run("document.getElementById('view-left').getBoundingClientRect().height") > 0
    before = view(stage)["image"]
    pressed(stage, "n")
    assert view(stage)["image"] != before
    stage.click("#full")
    stage.wait("!document.fullscreenElement && document.activeElement.id === 'full'")


@pytest.mark.parametrize("ratio", [1.25, 1.5])
def test_what_fits_is_shown_pixel_by_pixel_on_scaled_displays(stage: Page, ratio: float) -> None:
    stage.screen(1200, 900, ratio=ratio)
    stage.settle()
    pressed(stage, "0")
    box = stage.box("#stage")
    stage.run("document.getElementById('handle').style.visibility = 'hidden'")
    stage.choose("view-right", str(view(stage)["left"]))
    stage.settle()
    scale, x, y = transform(stage)
    assert scale * ratio == pytest.approx(1)
    left, top = round((box["x"] + x) * ratio), round((box["y"] + y) * ratio)
    seen, picture = decoded(stage.screenshot()), canvas(stage, "left")
    # It is there as it is, wherever scrolling put it; compared below the captions.
    places = itertools.product(range(top - 1, top + 2), range(left - 1, left + 2))
    assert any((seen[y + 60 : y + 150, x : x + 242] == picture[60:150]).all() for y, x in places)


def test_the_stage_is_as_wide_as_the_window(page: Page) -> None:
    page.screen(1900, 900)
    page.settle()
    assert page.box("#stage")["width"] > 1800
    assert page.box("#curves")["width"] == 1200


def test_the_address_says_what_is_chosen(page: Page, made: Path) -> None:
    page.choose("metric", "ssim_y")
    page.click("#legend label:nth-of-type(2)")
    page.box("#stage")
    for key in ("n", "x", "f", "e"):
        pressed(page, key)
    pressed(page, "+")
    now, scale = view(page), zoomed(page)
    page.wait("location.hash.includes('show=error')")
    address = page.run("location.hash")
    page.run("history.replaceState(null, '', location.pathname)")
    page.reload()
    assert view(page) != now
    page.run(f"location.hash = {json.dumps(address)}")
    page.wait("document.getElementById('metric').value === 'ssim_y'")
    page.settle()
    assert (view(page), zoomed(page), curves(page)) == (now, scale, [0, 2])
    assert page.run("document.querySelector('#shows [aria-pressed=true]').value") == "error"
    assert page.run("document.getElementById('stage').dataset.layout") == "flip"
    # What an address says that is not so changes nothing, and is run by nobody.
    page.run("location.hash = '#viewer&image=<img src=x onerror=window.owned=1>&at=a b c&layout=x'")
    page.settle()
    assert view(page) == now
    assert page.run("window.owned === undefined && document.images.length === 0")
    assert page.complaints == []


def test_a_point_leads_to_its_picture_and_a_box_is_zoomed_into(page: Page) -> None:
    place = (
        "(() => { const e = document.querySelectorAll('.codec[data-codec=\"2\"] .mark-shape')[3];"
        "e.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const b = e.getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    x, y = page.run(place)
    page.mouse("Pressed", x, y, button="left", clickCount=1)
    page.mouse("Released", x, y, button="left", clickCount=1)
    page.settle()
    assert 2 in (view(page)["left"], view(page)["right"])
    assert page.run("document.activeElement.id") == "stage"
    x, y = page.run(place)
    marks = "document.querySelectorAll('#chart .mark-shape').length"
    before = page.run(marks)
    page.drag(x - 30, y - 20, x + 30, y + 20)
    assert 1 <= page.run(marks) < before
    page.click("#whole")
    assert page.run(marks) == before


def test_small_pictures_choose_the_image(stage: Page) -> None:
    names = "[...document.querySelectorAll('#thumbs button')].map((b) => b.title)"
    assert stage.run(names) == [one["name"] for one in shown(stage)["datasets"][0]["images"]]
    stage.click("#thumbs button:nth-child(3)")
    stage.settle()
    assert view(stage)["image"] == stage.run(names)[2]
    assert stage.run("document.querySelectorAll('#thumbs [aria-pressed=true]').length") == 1
    ink = (
        "(() => { const c = document.querySelector('#thumbs button:nth-child(3) canvas');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v); })()"
    )
    stage.wait(ink)


def test_what_was_chosen_is_drawn_at_once_where_it_was_decoded(stage: Page) -> None:
    # In the very task of the key: nothing is waited for.
    for key in ("x", "x"):
        pressed(stage, key)
    drawn = stage.run(
        "(() => { const stage = document.getElementById('stage'), before = stage.dataset.drawn;"
        "stage.dispatchEvent(new KeyboardEvent('keydown', {key: 'x', bubbles: true}));"
        "return stage.dataset.drawn !== before && stage.ariaBusy === 'false'; })()"
    )
    assert drawn


CONTRASTS = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => {
    const share = top[3] / 255;
    return [0, 1, 2].map((i) => top[i] * share + below[i] * (1 - share)).concat(255);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    if (e.closest('#stage, script, noscript, option, :disabled') || !e.getClientRects().length)
      continue;
    const style = getComputedStyle(e), layers = [];
    for (let p = e; p; p = p.parentElement) layers.unshift(getComputedStyle(p));
    let below = [255, 255, 255, 255], opacity = 1;
    for (const layer of layers) {
      below = over(rgba(layer.backgroundColor), below);
      opacity *= Number(layer.opacity);
    }
    const ink = rgba(e instanceof SVGElement ? style.fill : style.color);
    ink[3] *= opacity;
    const [a, b] = [luminance(over(ink, below)), luminance(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push([e.tagName, e.className, e.textContent.slice(0, 30), ratio]);
  }
  return JSON.stringify(found);
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page: Page, scheme: str) -> None:
    page.screen(1200, 900, scheme=scheme)
    page.click("#legend label:nth-of-type(2)")
    page.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    time.sleep(0.2)  # a transition
    assert json.loads(page.run(CONTRASTS)) == []


def test_it_is_printed_light_and_whole(page: Page) -> None:
    page.screen(800, 1000, scheme="dark")
    page.call("Emulation.setEmulatedMedia", media="print")
    # The browser prefers light on paper; a reader may have chosen dark.
    page.wait("document.documentElement.dataset.theme === 'light'")
    page.run("document.getElementById('theme').click()")
    try:
        assert page.run("document.documentElement.dataset.theme") == "dark"
        assert page.run("getComputedStyle(document.getElementById('curves')).backgroundColor") in (
            "rgb(255, 255, 255)",
            "rgba(0, 0, 0, 0)",
        )
        ink = page.run("getComputedStyle(document.body).color.match(/[0-9]+/g).map(Number)")
        assert max(ink) < 60
        assert page.run("getComputedStyle(document.getElementById('table')).maxHeight") == "none"
        assert page.box("#stage")["height"] > 100
        for gone in ("header", ".controls", "#thumbs"):
            assert page.run(f"document.querySelector('{gone}').offsetParent === null")
    finally:
        page.run("document.getElementById('theme').click()")
        page.call("Emulation.setEmulatedMedia", media="")


def test_forced_colours_leave_what_is_chosen_to_be_seen(page: Page) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
    look = "getComputedStyle(document.querySelector('#layouts [aria-pressed={}]')).backgroundColor"
    assert page.run(look.format("true")) != page.run(look.format("false"))
    line = "getComputedStyle(document.querySelector('#chart .series')).stroke"
    assert page.run(line) != page.run("getComputedStyle(document.body).backgroundColor")


def test_canvases_have_names(stage: Page) -> None:
    now = view(stage)
    names = stage.run("[...document.querySelectorAll('.pane canvas')].map((c) => c.ariaLabel)")
    for name, side in zip(names, ("left", "right"), strict=True):
        assert now["image"] in name and shown(stage)["codecs"][now[side]]["name"] in name
    unnamed = (
        "[...document.querySelectorAll('canvas')].filter((c) => !c.ariaLabel && !c.ariaHidden)"
    )
    assert stage.run(f"{unnamed}.length") == 0


BACKGROUND = "Number(getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0])"


def test_dark_and_light(page: Page) -> None:
    page.wait(f"{BACKGROUND} > 200")
    page.screen(1200, 900, scheme="dark")
    page.wait(f"{BACKGROUND} < 60")
    page.click("#theme")
    page.wait(f"{BACKGROUND} > 200")
    page.click("#theme")
    page.wait(f"{BACKGROUND} < 60")


def test_it_fits_a_phone(page: Page) -> None:
    page.screen(360, 740, ratio=2)
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= 360
    assert page.run("document.querySelector('#chart svg').clientWidth") < 360
    page.run("document.getElementById('stage').focus()")
    pressed(page, "s")
    boxes = [page.box(f".pane[data-side={side}]") for side in ("left", "right")]
    assert boxes[0]["width"] == boxes[1]["width"] > 300
    before = transform(page)
    box = page.box("#stage")
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    for kind, apart in (("Start", 30), ("Move", 45), ("Move", 60)):
        points = [{"x": middle[0] + sign * apart, "y": middle[1]} for sign in (-1, 1)]
        page.call("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.settle()
    assert transform(page)[0] / before[0] == pytest.approx(2, rel=0.1)


def test_the_commands_can_be_read(page: Page) -> None:
    commands = page.run("[...document.querySelectorAll('#commands pre')].map((p) => p.textContent)")
    assert " -m lic_bench report " in commands[-1]
    runs = page.run("document.getElementById('runs').textContent")
    for word in ("48 measurements", "processor", "jpeg2000"):
        assert word in runs


def test_data_sets_are_switched_and_published_curves_lie_behind(
    browser: Page, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurements = load(store)
    monkeypatch.setattr(published_curves, "check_images", lambda *_: None)  # it is not Kodak
    both = pd.concat([measurements, measurements.assign(dataset="kodak")], ignore_index=True)
    gathered = data.gather(both, [], ["vtm"])
    for one in gathered["datasets"]:
        one["rates"] = [0.3]
    path = tmp_path / "two.html"
    more = {"version": "1", "made": "now", "command": "", "noPictures": "no pictures: because"}
    write(path, gathered | more, [])
    browser.complaints.clear()
    browser.open(path)
    assert curves(browser) == [0, 1, 2]
    browser.choose("dataset", "1")
    assert curves(browser) == [0, 1, 2, 3]
    assert "kodak" in browser.run("document.getElementById('chart-note').textContent")
    first = "document.querySelector('#chart .codec').classList.contains('published')"
    assert browser.run(first)
    assert "vtm (published)" in browser.run("document.getElementById('matrix').textContent")
    assert "vtm" not in browser.run("document.getElementById('table-codec').textContent")
    assert browser.run("document.getElementById('viewer-none').innerText") == "no pictures: because"
    assert browser.complaints == []


@pytest.mark.parametrize("times", [[0.0], [0.0, 5e-324], [5e-324, 1e12]], ids=str)
def test_times_that_cannot_be_measured_are_drawn_or_left_out(
    browser: Page, store: Path, tmp_path: Path, times: list[float]
) -> None:
    """Times of an import: none of them has a place on an axis of logarithms, or few have."""
    measurements = load(store)
    jpeg = measurements["codec"] == "jpeg"
    points = measurements["point_index"] % len(times)
    measurements.loc[jpeg, "decode_s"] = points[jpeg].map(dict(enumerate(times)))
    path = tmp_path / "times.html"
    more = {"version": "1", "made": "now", "command": "", "noPictures": "none"}
    gathered = data.gather(measurements, [])
    for one in gathered["datasets"]:
        one["rates"] = [0.3]
    write(path, gathered | more, [])
    browser.complaints.clear()
    browser.open(path)
    browser.choose("axis", "decode_s")  # returns, which it did not where the axis began at 0
    assert browser.run("document.getElementById('log').checked")
    assert curves(browser) == ([0, 1, 2] if max(times) > 0 else [0, 2])
    places = "[...document.querySelectorAll('#chart .mark-shape')].flatMap((m) => {"
    places += "const at = m.transform.baseVal.getItem(0).matrix; return [at.e, at.f]; })"
    assert np.isfinite(np.array(browser.run(places), dtype=float)).all()
    browser.click("#log")
    assert curves(browser) == [0, 1, 2]
    assert np.isfinite(np.array(browser.run(places), dtype=float)).all()
    browser.click("#legend label:nth-of-type(1)")
    browser.click("#legend label:nth-of-type(3)")
    assert curves(browser) == [1]  # alone, on an axis that has no length where all are 0
    assert np.isfinite(np.array(browser.run(places), dtype=float)).all()
    assert browser.complaints == []
