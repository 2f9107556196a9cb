"""The report restricted to images of one kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import Page
from command import command

from lic_bench import Image, bd_rates, run, select, write_image
from lic_bench.reporting.page.tags import tags

PORTRAITS = ["people/one.png", "people/two.png"]
LANDSCAPES = ["trees/four.png", "trees/three.png"]
LONG = "jpeg:subsampling=4:4:4"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, large_photo: Image) -> Path:
    """A folder with a report of two codecs on two portraits and two landscapes, in folders."""
    folder = tmp_path_factory.mktemp("tags")
    for i, name in enumerate([*PORTRAITS, *LANDSCAPES]):
        rows, columns = (96, 64) if name in PORTRAITS else (64, 96)
        part = large_photo[60 * i + 40 :, 150 * i :][:rows, :columns]
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / "photos" / name, np.ascontiguousarray(part))
    photos = str(folder / "photos")
    points = {LONG: [20, 50, 80, 95], "webp": [10, 40, 70, 90]}
    run([LONG, "webp"], photos, points=points, out=folder, jobs=1)
    command("report", folder, "-d", photos, "--rates", "1,2", "-j", "1")
    return folder


@pytest.fixture
def page(browser: Page, measured: Path) -> Page:
    browser.screen(1200, 900)
    browser.call("Page.navigate", url="about:blank")
    browser.complaints.clear()
    browser.open(measured / "report.html")
    return browser


def texts(page: Page, selector: str) -> Any:
    return page.run(f"[...document.querySelectorAll('{selector}')].map((one) => one.textContent)")


def chosen(page: Page, tag: str) -> None:
    [value] = [
        page.run(f"document.querySelectorAll('#tag option')[{i}].value")
        for i, text in enumerate(texts(page, "#tag option"))
        if text.rpartition(":")[0] == tag
    ]
    page.choose("tag", value)
    page.settle()


def test_all_of_the_page_keeps_to_the_images_with_a_tag(page: Page, measured: Path) -> None:
    kinds = ["all 4", "in people/: 2", "in trees/: 2", "landscape: 2", "portrait: 2"]
    assert texts(page, "#tag option") == kinds
    chosen(page, "portrait")
    assert sorted(texts(page, "#table tbody td:first-child")) == PORTRAITS
    assert texts(page, "#view-image option") == PORTRAITS
    assert texts(page, "#curve-image option") == ["all, averaged", *PORTRAITS]
    assert page.run("document.querySelectorAll('#thumbs button').length") == 2
    # The viewer was turned to one of them, and turns no further than to the other.
    seen = set()
    for _ in range(3):
        seen.add(page.run("document.getElementById('view-image').selectedOptions[0].textContent"))
        page.click("#next")
        page.settle()
    assert seen == set(PORTRAITS)
    note = page.run("document.getElementById('chart-note').textContent")
    assert note.startswith("photos, portrait, 2 images: ")
    assert page.complaints == []
    page.choose("tag", "")
    assert len(texts(page, "#table tbody tr")) == 4


def test_averages_are_those_of_the_images_with_the_tag(page: Page, measured: Path) -> None:
    table = pd.read_parquet(measured / "measurements.parquet")
    found = {}
    for tag, names in (("portrait", PORTRAITS), ("landscape", LANDSCAPES)):
        chosen(page, tag)
        rows = table[table["image"].isin(names)]
        means = rows.groupby(["codec", "point"])[["bpp", "psnr_rgb_db"]].mean()
        drawn = texts(page, "#points tbody tr td:nth-of-type(2)")
        assert sorted(map(float, drawn)) == pytest.approx(sorted(means["bpp"]), abs=6e-5)
        rates = bd_rates(select(rows, images=names), LONG).set_index("codec")["bd_rate_percent"]
        page.choose("table-anchor", "0")
        cells = texts(page, "#matrix tbody td:not(.none)")
        shown = f"{abs(rates['webp']):.1f} %"
        assert any(cell.removeprefix("\u2212").startswith(shown) for cell in cells)
        found[tag] = cells
    assert found["portrait"] != found["landscape"]


def test_the_address_names_the_tag(page: Page, measured: Path) -> None:
    page.click("#tag")
    chosen(page, "in trees/")
    page.wait("location.hash.includes('tag=in+trees')")
    address = page.run("location.hash")
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=(measured / "report.html").resolve().as_uri() + address)
    page.wait("document.documentElement?.dataset.ready && document.readyState == 'complete'")
    assert sorted(texts(page, "#table tbody td:first-child")) == LANDSCAPES
    assert texts(page, "#view-image option") == LANDSCAPES


@pytest.mark.parametrize("width", [1200, 390])
def test_names_and_links_are_not_cut(page: Page, width: int) -> None:
    page.screen(width, 844)
    for selector in ("#matrix th", "nav"):
        found = f"[...document.querySelectorAll('{selector}')]"
        spills = page.run(f"{found}.map((one) => one.scrollWidth - one.clientWidth)")
        assert spills and max(spills) <= 0, selector
    assert LONG in texts(page, "#matrix tbody th")
    assert page.run("document.documentElement.scrollWidth <= window.innerWidth")


def table_of(sizes: dict[str, tuple[int, int]], rates: dict[str, float]) -> pd.DataFrame:
    """Measurements at two points, of which the one takes three times as many bits."""
    return pd.DataFrame(
        [
            {
                **{"image": image, "codec": "c", "point": point, "error": None, "searched": False},
                **{"width": size[0], "height": size[1], "bpp": rates[image] * times},
            }
            for point, times in (("1", 1), ("2", 3))
            for image, size in sizes.items()
        ]
    )


def test_thirds_are_made_by_the_bits_that_images_take() -> None:
    names = [f"{i}.png" for i in range(7)]
    sizes = dict.fromkeys(names, (30, 20))
    rates = dict(zip(names, [0.5, 3.0, 0.2, 0.9, 4.0, 0.1, 0.7], strict=True))
    found = tags(table_of(sizes, rates))
    assert found == {"fewest bits": ["2.png", "5.png"], "most bits": ["1.png", "4.png"]}
    # A point that an image lacks says nothing of any: were it counted, 4.png would seem cheap.
    rows = table_of(sizes, rates)
    rows.loc[(rows["image"] == "4.png") & (rows["point"] == "2"), "error"] = "refused"
    assert tags(rows) == found
    # Where rates are prescribed, no image is harder than another.
    assert tags(table_of(sizes, dict.fromkeys(names, 0.5))) == {}
    assert tags(table_of({"0.png": (30, 20)}, rates)) == {}
