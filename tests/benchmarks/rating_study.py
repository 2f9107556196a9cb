"""A blind comparison from bitstreams to scores, with simulated raters at a real browser.

Six codecs at equal rate: measured, made into a page, judged, added and scored, each by the command
that a user would type. The raters are programs that see only what Chromium shows (screenshots of
the page, its texts) and press keys. They prefer by a known model with noise: the difference in PSNR
of luma after a blur, with Davidson's chances. So the true scores are known, from the pictures and
the study's key; the last table says whether they lie within the intervals found.

No person is asked: this tells whether the instrument measures, not which codec looks best.

It needs Chromium, and takes about six minutes for the measurements and half a minute a rater. Begun
again, it goes on where it was.

    python tests/benchmarks/rating_study.py OUT [--dataset kodak] [--raters 16]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / room) for room in ("", "rating"))
import rater
from chromium import Page, chromium

from lic_bench.rating import judged
from lic_bench.rating.page.html import study_in
from lic_bench.store.ratings import Ratings

CODECS = "jpeg,jpeg2000,webp,avif,hevc,content-weighted"
# Where the search for the equal rate begins, and what the catches are shown at: the first of each.
POINTS = ("jpeg=1,10", "jpeg2000=160,60", "webp=0,10", "avif=0,30", "hevc=51,37",
          "content-weighted=1,5")  # fmt: skip


def lic_bench(*arguments: object) -> None:
    """Run a command, and show it."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ lic-bench {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "lic_bench", *words], check=True)


def answer(page: Page, file: Path, folder: Path, number: int) -> None:
    """Let a rater answer the study of a page, from the first screen to the saved file."""
    begun = time.monotonic()
    page.open(file)
    page.run("localStorage.clear()")
    page.open(file)
    rater.begin(page, f"simulated-{number:02}")
    answered = rater.answer_all(page, rater.Eye(number))
    saved = rater.save(page, folder)
    assert not page.complaints, page.complaints
    print(f"{saved.name}: {answered} trials, {time.monotonic() - begun:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--dataset", default="kodak")
    parser.add_argument("--raters", type=int, default=16)
    arguments = parser.parse_args()
    out: Path = arguments.out
    folder, file, answers = out / "study", out / "study.html", out / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    same = ("-c", CODECS, "-d", arguments.dataset, "--match", "bpp=0.25")
    if not file.exists():
        points = [word for points in POINTS for word in ("-p", points)]
        lic_bench("run", *same, *points, "-o", folder)
        # The points of some codecs are too coarse for rates within 5 %.
        lic_bench("rate", "make", folder, *same, "--unequal", "mark", "-o", file)
    with chromium() as page:
        page.screen(800, 900)  # any Kodak image fits
        for number in range(arguments.raters):
            if not list(answers.glob(f"answers-simulated-{number:02}-*")):
                answer(page, file, answers, number)
    lic_bench("rate", "add", *sorted(answers.glob("*.json")), "-o", folder)
    lic_bench("rate", "show", folder, "--screen", "--out", out / "scores.json")
    with Ratings.open(folder) as ratings:
        study = judged.find(ratings, study_in(file))
    true = rater.truth(study, file)
    print("\ncodec              true JOD   found   95 %")
    found = json.loads((out / "scores.json").read_text())["scores"]
    for one in found:
        jod, value = one["jod"], true[one["codec"]]
        within = "" if jod["low"] <= value <= jod["high"] else "   not within"
        print(
            f"{one['codec']:18} {value:+8.2f} {jod['value']:+7.2f}"
            f"   {jod['low']:+.2f} to {jod['high']:+.2f}{within}"
        )


if __name__ == "__main__":
    main()
