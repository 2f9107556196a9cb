"""A study: pictures under tokens, what is asked of each rater, and the key to both.

The page holds what `public` gives: tokens, sizes and orders. What they stand for stays in the
store. A study's id is the SHA-256 of that public part, in which each picture stands by its own
SHA-256; answers carry it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from lic_bench.errors import StoreError

Answer = Literal["left", "right", "same"]
"""Which picture is closer to the original; `same`: the rater can't tell."""
Kind = Literal["training", "warmup", "pair", "repeat", "catch", "identical"]
"""Of a trial: with feedback; not counted; counted; a pair again, with its sides exchanged; the
original against a picture of low rate; a picture against itself."""
Role = Literal["original", "codec", "low"]
"""Of a picture; `low` is that of the lowest rate that was measured."""

TRAINING, WARMUPS = 4, 3
"""Trials at the beginning of every session."""

_Text = Annotated[str, msgspec.Meta(max_length=100_000)]
_Place = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=1 << 17)]


class StudyImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image whose pictures are compared."""

    name: _Text
    key: _Text
    """As its measurements are kept under."""
    width: _Side
    height: _Side


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture of a study, and what its token stands for."""

    token: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
    image: _Place
    """Of which image, by its number."""
    role: Role
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """Of its file in the page."""
    codec: _Text = ""
    identity: _Text = ""
    point: _Text = ""
    bpp: _Rate = 0.0


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """Two pictures of one image, by their numbers, and why they are shown."""

    left: _Place
    right: _Place
    kind: Kind


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """Everything about a study."""

    title: _Text
    dataset: _Text
    target: _Text
    """What its pictures meet, such as ``bpp=0.25``."""
    command: _Text
    images: tuple[StudyImage, ...]
    pictures: tuple[Shown, ...]
    orders: tuple[tuple[Trial, ...], ...]
    """What a rater is shown, one after the other; every session has one of them."""
    pause: _Place
    """After so many counted trials a break is offered."""
    unequal: tuple[tuple[_Place, _Place], ...] = ()
    """Pairs of pictures, by their numbers, whose rates differ by more than 5 %, and are shown."""

    @cached_property
    def id(self) -> str:
        """SHA-256 of what the page holds, in hexadecimal."""
        text = json.dumps(self.public(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def public(self) -> dict[str, Any]:
        """What the page holds: no name, no rate, no operating point."""
        originals = [
            (shown.image, number)
            for number, shown in enumerate(self.pictures)
            if shown.role == "original"
        ]
        return {
            "title": self.title,
            "images": [[image.width, image.height] for image in self.images],
            "pictures": [[shown.token, shown.image, shown.sha256] for shown in self.pictures],
            "originals": [number for _, number in sorted(originals)],
            "training": [
                [self.expected(trial) for trial in order[:TRAINING]] for order in self.orders
            ],
            "orders": [[[trial.left, trial.right] for trial in order] for order in self.orders],
            "counted": TRAINING + WARMUPS,
            "pause": self.pause,
        }

    def expected(self, trial: Trial) -> Answer | None:
        """The answer that can be given without a doubt; none where it is a matter of judgement."""
        if trial.left == trial.right:
            return "same"
        ranks = {"original": 2, "codec": 1, "low": 0}
        left, right = (ranks[self.pictures[side].role] for side in (trial.left, trial.right))
        if left == right:
            return None
        return "left" if left > right else "right"

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each picture, by its token."""
        return {shown.token: number for number, shown in enumerate(self.pictures)}

    @cached_property
    def pairs(self) -> frozenset[frozenset[int]]:
        """The pairs of codecs' pictures that are asked about, whichever is on the left."""
        return frozenset(
            frozenset((trial.left, trial.right))
            for order in self.orders
            for trial in order
            if trial.kind == "pair"
        )

    @cached_property
    def marked(self) -> frozenset[frozenset[int]]:
        """The pairs of `unequal`, whichever is on the left."""
        return frozenset(frozenset(pair) for pair in self.unequal)

    @property
    def codecs(self) -> list[str]:
        """The codecs that are compared, by name."""
        return sorted({shown.codec for shown in self.pictures if shown.role == "codec"})

    def text(self) -> str:
        """As JSON, which `study_of` reads."""
        return msgspec.json.encode(self).decode()


_studies = msgspec.json.Decoder(Study)


def study_of(text: str, identifier: str) -> Study:
    """Read a study of a store, and check that it is one.

    Raises
    ------
    StoreError
        Where the text is no study, or not that one.
    """
    try:
        study = _studies.decode(text)
        _check(study)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StoreError(
            f"the store is damaged, or was made to be: no study is {text:.60} ({reason})"
        ) from error
    if study.id != identifier:
        raise StoreError(f"the store is damaged: the study {identifier[:8]} was altered")
    return study


def _check(study: Study) -> None:
    """Refuse what refers to nothing."""
    images, pictures = len(study.images), len(study.pictures)
    originals = [shown.image for shown in study.pictures if shown.role == "original"]
    if not (study.orders and sorted(originals) == list(range(images))):
        raise ValueError("an image has no original, or there is nothing to show")
    if len(study.numbers) != pictures or any(shown.image >= images for shown in study.pictures):
        raise ValueError("two pictures have one token, or one has no image")
    for order in study.orders:
        for trial in order:
            if max(trial.left, trial.right) >= pictures:
                raise ValueError("a trial shows a picture that is not there")
            if study.pictures[trial.left].image != study.pictures[trial.right].image:
                raise ValueError("a trial shows pictures of two images")
