"""The tables of what people judged: studies, who answered, and every trial.

Nothing in them is ever deleted or overwritten; see `lic_bench.store.ratings`.
"""

from __future__ import annotations

_ANSWERS = "('left', 'right', 'same')"

RULES = {
    "studies": "length(id) = 64 AND length(made) < 100",
    "sessions": "id BETWEEN 0 AND 1e9 AND length(session) = 32 AND length(rater) BETWEEN 1 AND 100 "
    "AND number BETWEEN 0 AND 1e6 AND length(added) < 100",
    "trials": f"position BETWEEN 0 AND 1e4 AND answer IN {_ANSWERS} AND first IN {_ANSWERS} "
    "AND seconds BETWEEN 0 AND 1e9 AND switches BETWEEN 0 AND 1e6 AND scale BETWEEN 0 AND 1e3",
}
"""What the rows of a table keep to, beside their types."""

TABLES = f"""
CREATE TABLE studies (
    id TEXT NOT NULL PRIMARY KEY, made TEXT NOT NULL, definition TEXT NOT NULL,
    CHECK ({RULES["studies"]})
) STRICT;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL REFERENCES studies,
    session TEXT NOT NULL,
    rater TEXT NOT NULL,
    number INTEGER NOT NULL,
    added TEXT NOT NULL,
    about TEXT NOT NULL,
    UNIQUE (study, session),
    CHECK ({RULES["sessions"]})
) STRICT;
CREATE TABLE trials (
    session INTEGER NOT NULL REFERENCES sessions,
    position INTEGER NOT NULL,
    left_picture TEXT NOT NULL, right_picture TEXT NOT NULL,
    answer TEXT NOT NULL, first TEXT NOT NULL,
    seconds REAL NOT NULL, switches INTEGER NOT NULL, scale REAL NOT NULL,
    PRIMARY KEY (session, position),
    CHECK ({RULES["trials"]})
) STRICT;
"""
