"""What is compared: the pictures that met a target, in pairs of about equal rate.

Pairs of unequal rate say more about the rate than about the codecs, and pairs whose outcome is
foregone say nothing: both are left out, and told. A pair is foregone where PSNR (Y) and MS-SSIM (Y)
both set the same picture above the other by 5 dB or more; the closest of them stay where the codecs
would fall apart without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from lic_bench.errors import SpecError, UndefinedError, check_known
from lic_bench.metric.targets import Target
from lic_bench.store.records import Key

UNEQUAL = 1.05
"""The ratio of two rates from which they are unequal."""
FOREGONE_DB = 5.0

_LOW = 0.7  # of the rate compared at: what is shown as the lowest rate must be no more than that


@dataclass(frozen=True)
class Candidate:
    """A picture that was measured."""

    image: str
    codec: str
    key: Key
    bpp: float
    mse: float
    """Mean squared error over R, G and B, as measured."""
    qualities: tuple[float, float]
    """PSNR (Y) and MS-SSIM (Y), in dB; NaN where it is undefined."""


@dataclass(frozen=True)
class Pair:
    """Two pictures of one image, by two codecs."""

    first: Candidate
    second: Candidate

    @property
    def ratio(self) -> float:
        """The larger rate over the smaller."""
        rates = sorted((self.first.bpp, self.second.bpp))
        return rates[1] / rates[0]

    @property
    def gap(self) -> float:
        """By how much both qualities set the same picture above the other, in dB; at least 0."""
        gaps = np.subtract(self.first.qualities, self.second.qualities)
        gaps = gaps[~np.isnan(gaps)]
        return float(max(gaps.min(), (-gaps).min(), 0.0)) if len(gaps) else 0.0

    @property
    def codecs(self) -> tuple[str, str]:
        """By name, in alphabetical order."""
        low, high = sorted((self.first.codec, self.second.codec))
        return low, high


@dataclass(frozen=True)
class Comparisons:
    """What is compared, and what is not."""

    images: tuple[str, ...]
    pairs: tuple[Pair, ...]
    low: dict[str, Candidate]
    """By image: the picture of the lowest rate."""
    notes: tuple[str, ...]
    """What was left out, and why."""


def choose(
    measurements: pd.DataFrame,
    dataset: str,
    codecs: Sequence[str],
    target: Target,
    *,
    images: int,
    mark_unequal: bool = False,
    foregone_db: float = FOREGONE_DB,
) -> Comparisons:
    """Choose the pairs of a study.

    Parameters
    ----------
    measurements
        As `lic_bench.store.table.load` returns them.
    images
        How many of the data set's images, at even distances.
    mark_unequal
        Whether pairs of unequal rate are shown all the same.
    foregone_db
        From which gap on a pair is foregone; infinite: none is.

    Raises
    ------
    SpecError
        Where there is no such data set or codec, or fewer than two codecs are named.
    UndefinedError
        Where pictures at the target, or of a low rate, are missing; with the command that makes
        them.
    """
    if len(codecs) < 2:
        raise SpecError("a comparison needs two codecs or more, as in --codecs jpeg,webp")
    check_known("measured data set", dataset, list(measurements["dataset"].unique()))
    rows = measurements[
        (measurements["dataset"] == dataset)
        & measurements["error"].isna()
        & measurements["image"].notna()
        & ~measurements["imported"]
    ]
    for codec in codecs:
        check_known(f"codec measured on {dataset}", codec, list(rows["codec"].unique()))
    rows = rows[rows["codec"].isin(codecs)]
    names = list(rows.drop_duplicates("image")["image"])
    chosen = [names[i] for i in sorted(set(np.linspace(0, len(names) - 1, images).astype(int)))]
    matched = rows[rows["matches"].map(lambda text: str(target) in text.split())]
    command = f"lic-bench run --codecs {','.join(codecs)} --dataset {dataset} --match {target}"
    for codec in codecs:
        missing = set(chosen) - set(matched.loc[matched["codec"] == codec, "image"])
        if missing:
            raise UndefinedError(
                f"{codec} has no picture of {len(missing)} of {len(chosen)} images that was "
                f"matched to {target}; make them: {command}"
            )
    pairs: list[Pair] = []
    low: dict[str, Candidate] = {}
    for image in chosen:
        there = {c.codec: c for c in map(_candidate, _records(matched, image))}
        pairs += [Pair(there[a], there[b]) for a, b in combinations(codecs, 2)]
        low[image] = min(map(_candidate, _records(rows, image)), key=lambda one: one.bpp)
        least = min(one.bpp for one in there.values())
        if low[image].bpp > _LOW * least:
            raise UndefinedError(
                f"{image} has no picture of a rate low enough to tell it from the original at a "
                f"glance (the least has {low[image].bpp:.3f} bpp); measure one of half the rate or "
                "less: lic-bench run --codecs CODEC --points CODEC=POINT"
            )
    pairs, notes = _equal(pairs, mark_unequal)
    pairs, more = _open(pairs, foregone_db)
    if apart := _apart(pairs, codecs):
        raise UndefinedError(
            f"{' and '.join(apart)} cannot be compared: no pair of equal rate links them. "
            "Show pairs of unequal rate, marked, with --unequal mark; or take another --match"
        )
    return Comparisons(tuple(chosen), tuple(pairs), low, (*notes, *more))


def _records(rows: pd.DataFrame, image: str) -> list[dict[Any, Any]]:
    return rows[rows["image"] == image].to_dict("records")


def _candidate(row: dict[Any, Any]) -> Candidate:
    ms_ssim = row["ms_ssim_y"]
    db = float("nan") if pd.isna(ms_ssim) else -10 * float(np.log10(max(1 - ms_ssim, 1e-12)))
    key = Key(row["image_sha256"], row["identity"], row["point"])
    quality = (min(float(row["psnr_y_db"]), 999.0), db)
    return Candidate(row["image"], row["codec"], key, row["bpp"], row["mse_rgb"], quality)


def _equal(pairs: list[Pair], mark: bool) -> tuple[list[Pair], list[str]]:
    """Leave out pairs of unequal rate, or keep them and say so."""
    unequal = [pair for pair in pairs if pair.ratio > UNEQUAL]
    if not unequal:
        return pairs, []
    most = 100 * (max(pair.ratio for pair in unequal) - 1)
    share = (
        f"{len(unequal)} of {len(pairs)} pairs differ in rate by more than 5 % (up to {most:.0f} %)"
    )
    if mark:
        return pairs, [f"{share}: they are shown, and marked in the scores"]
    kept = [pair for pair in pairs if pair.ratio <= UNEQUAL]
    return kept, [f"{share}: they are left out; --unequal mark shows them"]


def _open(pairs: list[Pair], foregone_db: float) -> tuple[list[Pair], list[str]]:
    """Leave out pairs whose outcome is foregone, as far as the codecs stay linked."""
    kept = [pair for pair in pairs if pair.gap < foregone_db]
    foregone = sorted((p for p in pairs if p.gap >= foregone_db), key=lambda pair: pair.gap)
    codecs = sorted({codec for pair in pairs for codec in pair.codecs})
    linking: set[tuple[str, str]] = set()
    for pair in foregone:
        groups = linked([p.codecs for p in kept] + sorted(linking), codecs)
        if groups[pair.codecs[0]] != groups[pair.codecs[1]]:
            linking.add(pair.codecs)
    back = [pair for pair in foregone if pair.codecs in linking]
    left_out = len(foregone) - len(back)
    notes = []
    if left_out:
        notes.append(
            f"{left_out} pairs are left out as foregone: {foregone_db:g} dB or more apart in both "
            "PSNR (Y) and MS-SSIM (Y)"
        )
    if back:
        notes.append(
            f"{len(back)} pairs are foregone, but shown, since they alone link "
            f"{', '.join(' and '.join(two) for two in sorted(linking))}"
        )
    shown = set(map(id, [*kept, *back]))
    return [pair for pair in pairs if id(pair) in shown], notes


def linked(links: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, str]:
    """By name: one of those that links connect it with, the same for all of these."""
    group = {name: name for name in names}
    for one, other in links:
        old, new = group[one], group[other]
        if old != new:
            group = {name: new if of == old else of for name, of in group.items()}
    return group


def _apart(pairs: list[Pair], codecs: Sequence[str]) -> list[str]:
    """One of each group of codecs, where they are several."""
    groups = sorted(set(linked([pair.codecs for pair in pairs], codecs).values()))
    return groups if len(groups) > 1 else []
