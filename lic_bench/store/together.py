"""Several stores read as one table, in which each codec's name says where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from lic_bench.errors import SpecError
from lic_bench.store.database import Store
from lic_bench.store.table import load

_SAME = ["dataset", "image", "image_sha256", "codec", "identity", "point"]


def load_together(stores: Mapping[str, Path], also: Iterable[str] = ()) -> pd.DataFrame:
    """Load the measurements of several stores; see `lic_bench.store.table.load`.

    A codec that several stores have in different states is called after its store, as in ``jpeg
    (theirs)``, and so is a data set whose images differ. What they have in common is there once.

    Parameters
    ----------
    stores
        Folders by the names that they are to have.

    Raises
    ------
    StoreError
        Where there is no store, or it cannot be read.
    SpecError
        Where a codec has no such state in one of them.
    """
    if len(stores) == 1:
        return load(next(iter(stores.values())), also)
    tables = {name: load(path, also) for name, path in stores.items()}
    for column, content in (("dataset", ["image", "image_sha256"]), ("codec", ["identity"])):
        for own in _apart(tables.values(), column, content):
            for name, table in tables.items():
                table[column] = table[column].mask(table[column] == own, f"{own} ({name})")
    whole = pd.concat(tables.values(), ignore_index=True)
    averages = whole["image"].isna()
    # Averages that were imported have neither image nor sum: each stands for itself.
    return whole[averages | ~whole.duplicated(_SAME)].reset_index(drop=True)


def states_together(stores: Mapping[str, Path]) -> dict[tuple[str, str], str]:
    """What the present states of the codecs of several stores are called beside each other.

    By spec and identity; ``jpeg (theirs)`` as `load_together` calls it, where they differ.

    Raises
    ------
    StoreError
        Where one cannot be read.
    """
    present: dict[str, dict[str, str]] = {}
    for name, path in stores.items():
        with Store.open(path) as store:
            for spec in store.states():
                if (identity := store.latest(spec)) is not None:
                    present.setdefault(spec, {})[name] = identity
    return {
        (spec, identity): spec if len(set(of.values())) == 1 else f"{spec} ({name})"
        for spec, of in present.items()
        for name, identity in of.items()
    }


def _apart(tables: Iterable[pd.DataFrame], column: str, content: list[str]) -> list[str]:
    """The names that stand for something else in another table."""
    found: dict[str, set[frozenset[tuple[object, ...]]]] = {}
    for table in tables:
        for name, rows in table.groupby(column):
            parts = rows[content].drop_duplicates().itertuples(index=False, name=None)
            found.setdefault(str(name), set()).add(frozenset(parts))
    return [name for name, states in found.items() if not _consistent(states)]


def _consistent(states: Iterable[frozenset[tuple[object, ...]]]) -> bool:
    """Whether nothing in them is said to be two things."""
    pairs = {pair for state in states for pair in state}
    return len({pair[:-1] for pair in pairs}) == len(pairs)


def named(texts: Iterable[str]) -> dict[str, Path]:
    """Folders by name, from ``DIR`` or ``NAME=DIR``; a folder is called after itself.

    Raises
    ------
    SpecError
        Where two have one name.
    """
    stores: dict[str, Path] = {}
    for text in texts:
        before, equals, after = text.partition("=")
        apart = bool(equals and before and after) and not Path(text).exists()
        path = Path(after if apart else text)
        name = before if apart else path.resolve().name
        if name in stores:
            raise SpecError(f"two folders are called {name!r}: call one otherwise: NAME={path}")
        stores[name] = path
    return stores
