"""A report of 24 images x 12 codecs: how long it takes to make, again, and to be usable.

Kodak with twelve cheap codecs of different options is measured into a folder, unless that holds
them already. Then: the report without pictures of earlier ones, and with them; and the page in a
headless Chromium, from the start of its loading until it is drawn and answers (chart, tables,
controls), and until the viewer shows its first pair of pictures; the best of some times.

    python tests/benchmarks/report_page.py [--folder FOLDER] [--repeats 5]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import chromium

import lic_bench
from lic_bench.reporting.page import remembered

CODECS = [
    *("jpeg", "jpeg:subsampling=4:2:2", "jpeg:subsampling=4:4:4", "jpeg2000", "webp"),
    *(f"webp:method={method}" for method in range(7)),
]
WATCH = """
(function watch() {
  if (document.getElementById("stage")?.dataset.drawn) window.firstPair = performance.now();
  else requestAnimationFrame(watch);
})();
"""


def seconds_of_report(folder: Path, out: Path) -> float:
    start = time.perf_counter()
    lic_bench.report(folder, out=out)
    return time.perf_counter() - start


def opened(page: chromium.Page, path: Path) -> tuple[float, float]:
    """Milliseconds until the page is drawn, and until its first pair of pictures is."""
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=path.resolve().as_uri())
    page.wait("window.firstPair")
    drawn, pair = page.run("[Number(document.documentElement.dataset.ready), window.firstPair]")
    return drawn, pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="of the results")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary, "results")
        table = lic_bench.run(CODECS, "kodak", out=folder)
        images, codecs = table["image"].nunique(), table["codec"].nunique()
        out = Path(temporary, "report.html")
        shown = Path(temporary, "pictures")
        remembered.folder = lambda: shown
        first, second = seconds_of_report(folder, out), seconds_of_report(folder, out)
        kept = sum(file.stat().st_size for file in shown.iterdir())
        print(f"{images} images, {codecs} codecs: {out.stat().st_size / 1e6:.1f} MB")
        print(f"report: {first:.1f} s; again: {second:.1f} s, {first / second:.1f} times as fast")
        print(f"pictures kept: {kept / 1e6:.1f} MB")
        if chromium.PROGRAM is None:
            print("There is no Chromium here.")
            return
        with chromium.chromium() as page:
            page.screen(1280, 800)
            page.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
            times = [opened(page, out) for _ in range(arguments.repeats)]
        for what, values in zip(
            ("drawn, and answers", "first pair of pictures"), zip(*times, strict=True), strict=True
        ):
            print(f"{what}: {min(values):.0f} ms, median {statistics.median(values):.0f} ms")


if __name__ == "__main__":
    main()
