"""What was imported stands in the report, with its pictures, and is marked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import Page
from command import command
from oddities import NAMES, RATES
from test_report_browser import canvas, close

from lic_bench import Registry, read_image, write_image
from lic_bench.cli.import_results import import_results
from lic_bench.store.database import FILE_NAME


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store, with decoded WebP pictures and an averaged curve from elsewhere, and its report.

    The averages are of a data set that the store has no images of.
    """
    folder = tmp_path_factory.mktemp("imported")
    shutil.copy(store / FILE_NAME, folder)
    codec = Registry().codec("webp")
    for point in (20, 40, 60, 80):
        (folder / "decoded" / str(point)).mkdir(parents=True)
        for i, name in enumerate(NAMES):
            stream = codec.encode(read_image(store / "photos" / name), point)
            path = folder / "decoded" / str(point) / name
            write_image(path, codec.decode(stream))
            path.with_suffix(".webp").write_bytes(stream if i else stream + bytes(10))
    photos = str(store / "photos")
    import_results(folder / "decoded", name="<b>theirs", dataset=photos, jobs=1, out=folder)
    (folder / "far.csv").write_text("bpp,psnr_rgb\n0.2,28\n0.4,30\n0.8,33\n1.6,36\n")
    import_results(folder / "far.csv", name="far", dataset="far-away", out=folder)
    import_results(folder / "far.csv", name="near", dataset="photos", out=folder)
    command(
        "report", folder, "-d", photos, "--rates", RATES, "-j", "1", "-c", "jpeg,<b>theirs,near"
    )
    return folder


@pytest.fixture
def page(browser: Page, folder: Path) -> Page:
    browser.screen(1200, 900)
    browser.complaints.clear()
    browser.open(folder / "report.html")
    browser.wait("document.getElementById('stage').dataset.drawn")
    return browser


def test_pictures_are_shown_and_curves_are_marked(page: Page, folder: Path) -> None:
    data = json.loads(page.run("document.getElementById('data').textContent"))
    names = [one["name"] for one in data["codecs"]]
    theirs = names.index("<b>theirs (imported)")
    assert sorted(names) == ["<b>theirs (imported)", "jpeg", "near (imported)"]

    page.box("#stage")
    page.choose("view-rate", "1.5")
    page.choose("view-right", str(theirs))
    page.settle()
    image = page.run("document.getElementById('view-image').selectedOptions[0].textContent")
    rate = float(page.run("document.getElementById('view-rate').value"))
    [told] = [
        one
        for one in data["pictures"]
        if (one["image"], one["codec"], one["rate"]) == (image, theirs, rate)
    ]
    original = read_image(folder / "decoded" / told["point"] / image)
    assert close(canvas(page, "right"), original.astype(int), 3)  # compressed anew for the page
    assert told["error"] is not None

    marked = page.run("document.querySelectorAll('#chart .codec.imported').length")
    assert marked == 2
    fill = (
        "[...document.querySelectorAll('#chart g.codec .mark-shape')]"
        ".map((m) => [m.parentElement.classList.contains('imported'), getComputedStyle(m).fill])"
    )
    fills = page.run(fill)
    hollow, filled = ({f for b, f in fills if b == which} for which in (True, False))
    assert len(hollow) == 1
    assert not hollow & filled
    assert "Hollow, in colour: imported" in page.run(
        "document.getElementById('chart-note').textContent"
    )
    assert "near (imported)" in page.run("document.getElementById('matrix').innerText")
    # An average has no images to be listed.
    options = "[...document.getElementById('table-codec').options].map((o) => o.textContent)"
    assert sorted(page.run(options)) == ["<b>theirs (imported)", "jpeg"]
    assert "decoded pictures" in page.run("document.getElementById('runs').textContent")
    assert page.complaints == []


def test_a_data_set_of_averages_alone_is_drawn(page: Page, folder: Path) -> None:
    command("report", folder, "-d", "far-away", "-o", folder / "far.html", "--no-viewer")
    page.complaints.clear()
    page.open(folder / "far.html")
    assert page.run("document.querySelectorAll('#chart .imported .mark-shape').length") == 4
    assert page.complaints == []


@pytest.mark.slow
def test_the_told_size_is_the_rate(folder: Path) -> None:
    from lic_bench import load

    rows = load(folder).query("codec == '<b>theirs'")
    for row in rows.itertuples():
        beside = (folder / "decoded" / str(row.point) / row.image).with_suffix(".webp")
        assert row.bytes == beside.stat().st_size
        assert np.isclose(row.bpp, 8 * row.bytes / (row.width * row.height))
