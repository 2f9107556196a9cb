"""Files of answers: good ones, and such as somebody might send."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lic_bench.rating.study import Shown, Study, StudyImage, Trial

Json = dict[str, Any]


def small_study(
    codecs: tuple[str, ...] = ("toy", "toy2", "toy3"),
    names: tuple[str, str] = ("a.png", "b.png"),
    **about: Any,
) -> Study:
    """Two images, three codecs or more, two orders; made, not measured."""
    some = len(codecs) + 2
    pictures = [
        Shown(f"{some * image + k:016x}", image, role, f"{some * image + k:064x}", codec)
        for image in (0, 1)
        for k, (role, codec) in enumerate(
            [("original", ""), ("low", ""), *(("codec", codec) for codec in codecs)]
        )
    ]
    first = [(k, k + 1) for k in range(2, some - 1)] + [(some - 1, 2)]
    pairs = first + [(some + a, some + b) for a, b in first]
    order = (
        *(Trial(0, 1, "training"), Trial(1, 0, "training"), Trial(2, 2, "training")),
        *(Trial(some + 1, some, "training"), *(Trial(a, b, "warmup") for a, b in pairs[:3])),
        *(Trial(a, b, "pair") for a, b in pairs),
        *(Trial(3, 2, "repeat"), Trial(0, 1, "catch"), Trial(some, some, "identical")),
    )
    turned = tuple(Trial(trial.right, trial.left, trial.kind) for trial in order)
    images = tuple(StudyImage(name, k * 64, 40, 30) for name, k in zip(names, "ab", strict=True))
    said = {
        "title": "Which is closer?", "dataset": "set", "target": "bpp=0.5", "pause": 30,
        "command": "lic-bench rate make", "unequal": ((2, 3),), **about,
    }  # fmt: skip
    return Study(images=images, pictures=tuple(pictures), orders=(order, turned), **said)


def session(
    study: Study, rater: str, *, seed: int = 0, order: int = 0, contrary: bool = False
) -> Json:
    """A session of a rater who likes codecs by their names, the first best, most of the time.

    What it says of two pictures depends on `seed` and on them, not on when and on which side they
    are shown: chance decides that anew for each study.
    """
    rng = np.random.default_rng(seed)
    ranks = {codec: -rank for rank, codec in enumerate(study.codecs)}
    trials = []
    for position, trial in enumerate(study.orders[order]):
        shown = study.pictures[trial.left], study.pictures[trial.right]
        sure = study.expected(trial)
        given = sure or _liked(seed, shown, ranks)
        if contrary:
            given = {"left": "right", "right": "left", "same": "left"}[given]
        trials.append(
            {
                "position": position, "left": shown[0].token, "right": shown[1].token,
                "answer": given, "first": given, "switches": 3, "ratio": 1, "scale": 1,
                "seconds": round(float(rng.gamma(4, 1)), 3),
            }
        )  # fmt: skip
    return {
        "format": "lic-bench answers 1", "study": study.id, "order": order, "rater": rater,
        "session": f"{seed + 1:032x}", "consent": "2026-01-01T10:00:00Z",
        "started": "2026-01-01T10:00:00Z", "finished": "2026-01-01T10:20:00Z",
        "about": {"width": 1920, "height": 1080, "ratio": 1, "light": "dim"}, "remark": "",
        "trials": trials,
    }  # fmt: skip


def _liked(seed: int, shown: tuple[Shown, Shown], ranks: dict[str, int]) -> str:
    """The side of the picture that a rater likes."""
    better, worse = sorted((one.codec for one in shown), key=ranks.__getitem__, reverse=True)
    chance = np.random.default_rng([seed, shown[0].image, -ranks[better], -ranks[worse]])
    first = ranks[better] - ranks[worse] + chance.logistic(scale=0.7) > 0
    return "left" if shown[not first].codec == better else "right"


def answered(folder: Path, content: Json, name: str) -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def _changed(**changes: Any) -> Callable[[Study], bytes]:
    def made(study: Study) -> bytes:
        other = session(study, "other", seed=7, order=1)
        return json.dumps({**other, **changes}).encode()

    return made


def _trial(at: int, **changes: Any) -> Callable[[Study], bytes]:
    def made(study: Study) -> bytes:
        other = session(study, "other", seed=7, order=1)
        other["trials"][at] |= changes
        return json.dumps(other).encode()

    return made


def _number(text: str) -> Callable[[Study], bytes]:
    """A number of seconds that Python would not write."""

    def made(study: Study) -> bytes:
        return _trial(5, seconds=12345)(study).replace(b"12345", text.encode())

    return made


def _million(study: Study) -> bytes:
    other = session(study, "other", seed=7, order=1)
    whole = json.dumps({**other, "trials": []}).encode()
    one = json.dumps(other["trials"][0]).encode()
    return whole.replace(b'"trials": []', b'"trials": [' + (one + b",") * 999_999 + one + b"]")


def _too_many(study: Study) -> bytes:
    other = session(study, "other", seed=7, order=1)
    more = [{**other["trials"][0], "position": i} for i in range(500)]
    return json.dumps({**other, "trials": more}).encode()


def _twice(study: Study) -> bytes:
    other = session(study, "other", seed=7, order=1)
    other["trials"][4] = other["trials"][3]
    return json.dumps(other).encode()


def _swapped(study: Study) -> bytes:
    other = session(study, "other", seed=7, order=1)
    at = next(i for i, t in enumerate(other["trials"]) if t["left"] != t["right"])
    trial = other["trials"][at]
    trial["left"], trial["right"] = trial["right"], trial["left"]
    return json.dumps(other).encode()


def _contradicting(study: Study) -> bytes:
    good = session(study, "good")
    good["trials"][5]["seconds"] += 1
    return json.dumps(good).encode()


def _empty(study: Study) -> bytes:
    """As many trials as fit into a file that is read."""
    text = _changed(trials=[])(study)
    return text.replace(b'"trials": []', b'"trials": [' + b"{}," * 600_000 + b"{}]")


def _repeated(study: Study) -> bytes:
    """A key twice."""
    text = session(study, "other", seed=7, order=1)
    return json.dumps(text).encode().replace(b'"rater"', b'"rater": "first", "rater"')


HOSTILE: dict[str, Callable[[Study], tuple[bytes, str]]] = {
    name: lambda study, made=made, says=says: (made(study), says)
    for name, (made, says) in {
        "foreign study": (_changed(study="0" * 64), "does not hold"),
        "no study": (_changed(study="../../etc"), "holds no answers"),
        "unknown token": (_trial(5, left="f" * 16), "not in the study"),
        "swapped sides": (_swapped, "other pictures than were asked"),
        "other token": (_trial(5, left="<script>"), "holds no answers"),
        "a million trials": (_million, "bytes"),
        "600,000 empty trials": (_empty, "holds no answers"),
        "a key twice": (_repeated, ""),
        "too many trials": (_too_many, "500 trials"),
        "a trial twice": (_twice, "trial 5 stands where"),
        "no such order": (_changed(order=99_999), "no order"),
        "altered answer": (_contradicting, "contradicts"),
        "other rater": (
            lambda study: json.dumps(session(study, "evil")).encode(), "known as one of"
        ),
        "without consent": (_changed(consent=""), "holds no answers"),
        "without a name": (_changed(rater="  "), "no name"),
        "complete in part": (_changed(trials=[]), "says that it is complete"),
        "an answer of its own": (_trial(5, answer="both"), "holds no answers"),
        "no time": (_trial(5, seconds=-1), "holds no answers"),
        "not looked": (_trial(5, switches=0), "holds no answers"),
        "not a number": (_number("NaN"), "holds no answers"),
        "huge number": (_number("1e999"), "holds no answers"),
        "huge whole number": (_number("9" * 5000), "holds no answers"),
        "huge order": (_changed(order=10**300), "holds no answers"),
        "another field": (_changed(more=1), "holds no answers"),
        "deep": (lambda study: b"[" * 100_000, "holds no answers"),
        "no JSON": (lambda study: b"\xff\xfe{", "holds no answers"),
        "empty": (lambda study: b"", "holds no answers"),
        "long remark": (_changed(remark="x" * 3000), "holds no answers"),
        "HTML in the remark": (_changed(remark="<script>alert(1)</script>"), ""),
        "steering remark": (_changed(remark="\x1b[2J\u202e\nlic-bench: refused"), ""),
        "steering name": (_changed(rater="\x1b]0;x\x07\u202eeve"), ""),
        "markup in the name": (_changed(rater="[bold]<b>eve"), ""),
    }.items()
}  # fmt: skip
"""By name: the content of a file, and what is said where it is refused; nothing: it is harmless."""
