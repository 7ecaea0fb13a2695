-- Times are milliseconds since 1970. `sum` is a hash over all other columns of its row but the rowid.

-- Numbers about the database itself.
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- What is so now. kind: check, told, acknowledgement, downtime. name: of the check, or the number of a downtime.
-- part: the target of what was told, else empty. body: JSON.
CREATE TABLE state (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    part TEXT NOT NULL,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL,
    UNIQUE (kind, name, part)
);

-- What happened. kind: transition, notice, action, or intent: an action that has not ended. number: of an action. body: JSON.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    check_name TEXT NOT NULL,
    number INTEGER,
    body TEXT NOT NULL,
    sum INTEGER NOT NULL
);
-- Covers the search of history: bodies are read only of what is wanted.
CREATE INDEX events_at ON events (at, id, check_name, kind);
CREATE UNIQUE INDEX events_number ON events (number) WHERE number IS NOT NULL;
CREATE INDEX events_intent ON events (id) WHERE kind = 'intent';

-- What is measured. seen: when the last value came, exact to a few hours.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    label TEXT NOT NULL,
    unit TEXT NOT NULL,
    seen INTEGER NOT NULL,
    UNIQUE (check_name, label, unit)
);

-- Values in the order of time, not of series: a flush then writes a few pages at the end instead of one page per series,
-- a roll-up reads and retention deletes one stretch.
CREATE TABLE samples (
    at INTEGER NOT NULL,
    series INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (at, series)
) WITHOUT ROWID;
CREATE TABLE rollups_5m (
    at INTEGER NOT NULL,
    series INTEGER NOT NULL,
    mean REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (at, series)
) WITHOUT ROWID;
CREATE TABLE rollups_1h (
    at INTEGER NOT NULL,
    series INTEGER NOT NULL,
    mean REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (at, series)
) WITHOUT ROWID;

-- Rows that could not be read, for a person to look at.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    body BLOB
);
