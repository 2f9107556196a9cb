"""Fuzzed: what raters send back, and what a store says that they did."""

from __future__ import annotations

import json
import random
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rating"))

from hostile_answers import session, small_study
from inputs import changed_text

from lic_bench.printable import printable
from lic_bench.rating import answers, judged
from lic_bench.store.ratings import Ratings

study = cache(small_study)


def add_answers(store: Path) -> None:
    """Add the study to a store, with the answers of a rater."""
    with Ratings(store) as ratings:
        ratings.add_study(study().id, study().text())
        good = session(study(), "one", seed=1)
        content = answers.parse(json.dumps(good).encode(), "good")
        answers.add(ratings, study(), content, "good")


def answer_file(rng: random.Random, folder: Path, store: bytes) -> None:
    """A file of answers, taken in and shown; `store` is one that knows the study."""
    path, sent = folder / "ratings.sqlite", folder / "answers.json"
    path.write_bytes(store)
    good = session(study(), rng.choice(("one", "two")), seed=rng.randrange(1, 4), order=1)
    sent.write_bytes(changed_text(rng, good, times=rng.choice((0, 1, 1, 1, 2))))
    read = answers.read(sent)
    with Ratings(path) as ratings:
        answers.add(ratings, answers.study_for(ratings, read, "sent"), read, "sent")
    shown(path)


def shown(store: Path) -> None:
    """Read all that was answered, as `lic-bench rate show` does."""
    with Ratings(store, reading=True) as ratings:
        for identifier, _ in ratings.studies():
            found = judged.judged(ratings, judged.find(ratings, identifier))
            assert len(found.counted) <= len(found.trials)
            assert all(printable(rater) == rater for rater in found.trials["rater"])
