"""Opening a database that anybody may have sent.

SQLite trusts what it opens: a journal beside it may name any file to be removed, its schema may
hold triggers and views that run in whatever is asked, its pages may be made up. Its manual says
what to do about it ("Defense Against The Dark Arts"), and here it is done, in one place:

- Nothing is opened that is no database of ours, by its first bytes alone, or that has a pipe, a
  link or a journal of several databases beside it.
- What only reads opens it read-only: it rolls nothing back.
- The schema must be ours to the letter, each table with pages of its own; nothing in it is trusted
  to call functions.
- Every table is checked as a whole, and every row against its types and rules (which SQLite itself
  does only where it may write); bitstreams, by far the most of a store, have each a checksum
  instead.
- A query takes so many steps at most for each byte of the file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lic_bench.errors import StoreError

APPLICATION_ID = 0x4C696342
"""Of our databases: "LicB"."""

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
_VERSION, _APPLICATION, _JOURNALLED = slice(60, 64), slice(68, 72), slice(18, 20)
_WAL = b"\2\2"
_OF_JOURNAL = bytes.fromhex("d9d505f920a163d7")
_BESIDE = ("-journal", "-wal", "-shm")
_OPCODES = 100_000  # between two looks at what a query has taken
_STEPS, _STEPS_A_BYTE = 5_000_000, 2  # what is asked of a large store takes up to 0.1 a byte
_WAIT_S = 60
_checked: set[tuple[object, ...]] = set()


class Schema(NamedTuple):
    """What a database of ours is."""

    statements: str
    """They make its tables."""
    rules: Mapping[str, str]
    """By table: an expression that is true of its rows, or NULL."""
    version: int
    """Of its format, as its header tells."""


def connect(path: Path, schema: Schema, *, reading: bool) -> sqlite3.Connection:
    """Open a database of ours, whoever made it.

    Parameters
    ----------
    reading
        Whether it is opened to be read alone; else an empty file is given the tables.

    Raises
    ------
    StoreError
        Where it is not ours, or of another format, or something is amiss with it.
    sqlite3.Error, OSError
        Where it cannot be opened or read.
    """
    _check_beside(path)
    empty = _is_empty(path, schema.version)
    if empty and reading:
        raise StoreError(f"{path} is empty: it holds no measurements")
    mode = "ro" if reading else "rwc"
    if reading and _cannot_be_locked(path):
        mode = "ro&immutable=1"
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_WAIT_S,
        isolation_level=None,
        # Whoever opens it in one thread may close it in another.
        check_same_thread=not reading,
    )
    try:
        _restrict(db, reading=reading)
        if not reading:
            _make(db, schema)
        _check(db, path, schema)
    except BaseException:
        db.close()
        raise
    return db


class Bound:
    """How long a query may take, in steps of SQLite's machine, whatever the data make of it."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._path, self._steps = path, 0
        db.set_progress_handler(self._step, _OPCODES)

    def begin(self) -> None:
        """Count anew."""
        self._steps = 0

    @property
    def reached(self) -> bool:
        """Whether a query was broken off."""
        return self._steps > _STEPS + _STEPS_A_BYTE * _size(self._path)

    def _step(self) -> bool:
        self._steps += _OPCODES
        return self.reached


def _size(path: Path) -> int:
    size = path.stat().st_size
    with suppress(FileNotFoundError):  # another process may take it away at any time
        size += path.with_name(f"{path.name}-wal").stat().st_size
    return size


def _check_beside(path: Path) -> None:
    """Refuse what SQLite would follow, wait for, or remove a file of somebody's for."""
    for suffix in _BESIDE:
        beside = path.with_name(f"{path.name}{suffix}")
        try:
            status = beside.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise StoreError(f"{beside} is no plain file: a store has none such; take it away")
        if suffix == "-journal" and _names_another(beside, status.st_size):
            raise StoreError(
                f"{beside} names another file for SQLite to remove, as a store's never does; "
                "do not use what else came with it, or take it away"
            )


def _names_another(journal: Path, size: int) -> bool:
    """Whether a rollback journal is one of several databases, with a super-journal."""
    with suppress(FileNotFoundError), journal.open("rb") as file:  # or its owner is done with it
        file.seek(max(0, size - len(_OF_JOURNAL)))
        return file.read() == _OF_JOURNAL and size > len(_OF_JOURNAL)
    return False


def _is_empty(path: Path, version: int) -> bool:
    """Whether there is nothing in it yet; what is there must be ours.

    The first bytes alone decide: SQLite might alter what is of another program.
    """
    if not path.exists():
        return True
    if not path.is_file():
        raise StoreError(f"{path} is no file; choose another --out")
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if not head.strip(b"\0"):  # a power cut may leave zeros, and a journal that takes them back
        return not path.with_name(f"{path.name}-journal").exists()
    if not head.startswith(_MAGIC):
        raise StoreError(f"{path} is no store; choose another --out")
    if int.from_bytes(head[_APPLICATION], "big") != APPLICATION_ID:
        raise StoreError(f"{path} is a database of something else; choose another --out")
    _check_version(path, int.from_bytes(head[_VERSION], "big"), version)
    return False


def _check_version(path: Path, found: int, version: int) -> None:
    if found != version:
        raise StoreError(
            f"{path} was written by another lic-bench (format {found}, this one reads {version}); "
            "choose another --out"
        )


def _cannot_be_locked(path: Path) -> bool:
    """Whether it wants files beside it that cannot be made, as on a CD: then nobody writes it."""
    if path.with_name(f"{path.name}-wal").exists() or os.access(path.parent, os.W_OK):
        return False
    with path.open("rb") as file:
        return file.read(_HEADER)[_JOURNALLED] == _WAL


def _restrict(db: sqlite3.Connection, *, reading: bool) -> None:
    """Take from a connection what a store needs not."""
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        db.execute(f"PRAGMA {pragma}")
    if reading:
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    if hasattr(db, "setconfig"):  # from Python 3.12 on
        for name, value in (("DEFENSIVE", True), ("ENABLE_TRIGGER", False), ("ENABLE_VIEW", False)):
            db.setconfig(getattr(sqlite3, f"SQLITE_DBCONFIG_{name}"), value)


def _make(db: sqlite3.Connection, schema: Schema) -> None:
    """Make the tables where there is nothing: a journal may have taken back what there was."""
    if _is_made(db):
        return
    db.execute("BEGIN IMMEDIATE")
    if not _is_made(db):  # by another process, while this one waited
        for statement in schema.statements.split(";")[:-1]:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {schema.version}")
    db.execute("COMMIT")


def _is_made(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def _check(db: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Compare a database with what it must be; what this process has found good is not again."""
    known = _state(path)
    if known in _checked:
        return
    [(application,)] = db.execute("PRAGMA application_id")
    if application != APPLICATION_ID:  # its journal has taken back the header
        raise StoreError(f"{path} is a database of something else; choose another --out")
    _check_version(path, db.execute("PRAGMA user_version").fetchone()[0], schema.version)
    bound = Bound(db, path)
    if wrong := next(_faults(db, schema), None):
        raise StoreError(
            f"{path} is damaged, or was made to be ({wrong}); take a copy of before, or choose "
            "another"
        )
    if bound.reached:
        raise StoreError(f"{path} takes too long to check for its size; it was made to")
    _checked.add(known)


def _faults(db: sqlite3.Connection, schema: Schema) -> Iterator[str]:
    """What is wrong with a database."""
    objects, checks = _wanted(schema)
    if set(db.execute(_OBJECTS)) != objects:
        yield "it holds not the tables of a store, or more than these"
    [(all_objects, roots)] = db.execute(_ROOTS)
    if all_objects != roots:
        yield "two tables are in one place"
    for table, check in checks.items():
        if table == "bitstreams":
            continue
        for (said,) in db.execute(f"PRAGMA quick_check('{table}')"):
            if said != "ok":
                yield f"{table}: {' '.join(str(said).split())[:200]}"
        if db.execute(check).fetchone():
            yield f"{table} holds what cannot be"


_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_schema"
_ROOTS = "SELECT count(*), count(DISTINCT rootpage) FROM sqlite_schema"


@cache
def _wanted_of(statements: str) -> tuple[frozenset[tuple[str, ...]], dict[str, str]]:
    """The tables and indexes that statements make, and the types of each table's columns."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(statements)
        objects = frozenset(db.execute(_OBJECTS))
        types = {}
        for table in sorted(name for kind, name, *_ in objects if kind == "table"):
            columns = db.execute("SELECT name, lower(type) FROM pragma_table_info(?)", (table,))
            types[table] = " AND ".join(
                f"typeof({name}) IN ('{kind}', 'null')" for name, kind in columns
            )
    return objects, types


def _wanted(schema: Schema) -> tuple[frozenset[tuple[str, ...]], dict[str, str]]:
    """What a database must hold, and for each table a query that finds a row that must not be."""
    objects, types = _wanted_of(schema.statements)
    return objects, {
        table: f"SELECT 1 FROM {table} WHERE NOT ({kinds} AND ({schema.rules.get(table, '1')}))"  # noqa: S608
        for table, kinds in types.items()
    }


def _state(path: Path) -> tuple[object, ...]:
    """What changes with a file and with what lies beside it."""
    found: list[object] = [path.absolute()]
    for suffix in ("", *_BESIDE[:2]):
        beside = path.with_name(f"{path.name}{suffix}")
        with suppress(FileNotFoundError):
            status = beside.stat()
            found += [suffix, status.st_ino, status.st_size, status.st_mtime_ns]
    return tuple(found)
