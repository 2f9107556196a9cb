"""The results of a profile: BD-rates over its rates, and the figures at each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lic_bench.analysis.curves import aggregate, bd_rates
from lic_bench.errors import UndefinedError, check_known
from lic_bench.metric.profile import Profile
from lic_bench.metric.quality import measured_quality
from lic_bench.reporting.tables import Column, PaperTable, quality_column, slug
from lic_bench.store.table import display_names

_LEAST = 4  # rates that a BD-rate is defined for


def profile_tables(
    measurements: pd.DataFrame, profile: Profile, anchor: str, dataset: str
) -> list[PaperTable]:
    """Make the tables of a profile on a data set, from the points that were searched for its rates.

    Where there are four rates or more, BD-rates against the anchor and their mean; and the figures
    at each rate.

    Raises
    ------
    UndefinedError
        Where nothing was searched for the profile's rates.
    SpecError
        Where there is no such codec, or a figure was not measured.
    """
    rows = measurements[measurements["dataset"] == dataset]
    averages = aggregate(_at_rates(rows, profile))
    codecs = list(averages["codec"].unique())
    check_known("codec matched", anchor, codecs)
    kinds = [measured_quality(name, averages) for name in profile.figures]
    names, notes = display_names(rows), [*profile.notes, *_missed(averages, profile)]
    tables = []
    if len(profile.targets) >= _LEAST:
        cells: dict[str, list[object]] = {"codec": [names[codec] for codec in codecs]}
        columns = [Column("codec", "Codec")]
        # A codec that misses several rates by its end has one point for them.
        distinct = averages.drop_duplicates(["codec", "bpp", *(kind.value for kind in kinds)])
        undefined: dict[str, list[str]] = {}
        for kind in kinds:
            rates = bd_rates(distinct, anchor, kind.name).set_index("codec").loc[codecs]
            cells[kind.name] = list(rates["bd_rate_percent"])
            columns.append(Column(kind.name, f"{kind.label} [%]", 1, signed=True))
            for codec, why in rates["undefined"].dropna().items():
                undefined.setdefault(f"{codec}: BD-rate undefined: {why}", []).append(kind.name)
        every = np.array([cells[kind.name] for kind in kinds], dtype=np.float64)
        cells["mean"] = list(every.mean(axis=0))  # undefined where one is
        columns.append(Column("mean", "Mean [%]", 1, signed=True))
        caption = (
            f"{profile.title}: BD-rate against {names[anchor]} on {dataset}, by PCHIP over "
            f"{_listed(profile)} bpp; negative: fewer bits at equal quality."
        )
        label = f"tab:{slug(profile.title)}-{slug(dataset)}"
        for text, lacking in undefined.items():
            everywhere = len(lacking) == len(kinds)
            notes.append(text if everywhere else f"{text} (in {', '.join(lacking)})")
        tables.append(
            PaperTable(
                caption, tuple(columns), pd.DataFrame(cells), label, tuple(notes), names[anchor]
            )
        )
    table = averages.assign(target=averages["point"].map(lambda text: float(text[4:])))
    rate = "bpp_pooled" if any(kind.pooled for kind in kinds) else "bpp"
    columns = [Column("codec", "Codec"), Column("target", "Target [bpp]", 3)]
    columns += [Column(rate, "Rate [bpp]", 3)]
    columns += [quality_column(kind, averages[kind.value]) for kind in kinds]
    frame = table[[column.name for column in columns]].reset_index(drop=True)
    frame["codec"] = frame["codec"].map(names)
    caption = f"{profile.title}: figures at {_listed(profile)} bpp on {dataset}."
    label = f"tab:{slug(profile.title)}-rates-{slug(dataset)}"
    more = () if tables else tuple(notes)
    return [*tables, PaperTable(caption, tuple(columns), frame, label, more)]


def _missed(averages: pd.DataFrame, profile: Profile) -> list[str]:
    """Say of each codec which rates it misses."""
    missed: dict[str, list[str]] = {}
    for target in profile.targets:
        for _, row in averages[averages["point"] == str(target)].iterrows():
            if abs(np.log(row["bpp"] / target.value)) > target.tolerance:
                text = f"{row['bpp']:.3f} in place of {target.value:g}"
                missed.setdefault(row["codec"], []).append(text)
    return [f"{codec}: {', '.join(texts)} bpp" for codec, texts in missed.items()]


def _at_rates(rows: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """The measurements nearest to each rate, the rates being their operating points."""
    parts = []
    for index, target in enumerate(profile.targets, start=1):
        near = rows[[str(target) in text.split() for text in rows["matches"]]]
        parts.append(near.assign(point=str(target), point_index=index, searched=False))
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise UndefinedError(f"Nothing was searched for the rates of {profile.title}.")
    return found


def _listed(profile: Profile) -> str:
    return ", ".join(f"{target.value:g}" for target in profile.targets)
