"""Where the state of pools and datasets is kept: a database, so that a command reads and writes what it is about.

LAB/state/zfs.db has two tables. ``facts`` is one row of JSON (pools and what else there is one of). ``datasets`` has
a row of JSON for each filesystem, volume, snapshot and bookmark, and beside it the columns that it is looked for by.
Many read while one writes (SQLite's write-ahead log); a command that is killed has changed nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, MutableMapping

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Dataset = dict[str, Any]

SCHEMA = """
CREATE TABLE facts (value TEXT NOT NULL);
INSERT INTO facts VALUES ('{}');
CREATE TABLE datasets (
    name TEXT PRIMARY KEY, head TEXT NOT NULL, parent TEXT NOT NULL, type TEXT NOT NULL, txg INTEGER NOT NULL,
    guid TEXT NOT NULL, origin TEXT, referenced INTEGER, row TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_head ON datasets (head, txg, name, referenced) WHERE type = 'snapshot';
CREATE INDEX by_parent ON datasets (parent, name) WHERE type IN ('filesystem', 'volume');
CREATE INDEX by_guid ON datasets (guid);
CREATE INDEX by_origin ON datasets (origin, name) WHERE origin IS NOT NULL;
"""
_INSERT = "INSERT OR REPLACE INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def path() -> str:
    return f"{core.folder()}/state/zfs.db"


def connect() -> sqlite3.Connection:
    """The lab's database, made when it is not there yet; what an older lab kept in zfs.json is taken over."""
    there = os.path.exists(path())
    connection = sqlite3.connect(path(), isolation_level=None, timeout=60)
    # The lab's state need not outlive the machine.
    connection.execute("PRAGMA synchronous = OFF")
    if not there or not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
        _make(connection)
    return connection


def _make(connection: sqlite3.Connection) -> None:
    with core.state("zfs-database"):  # locked: two commands may be the first
        old = core.peek("zfs")
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN;{SCHEMA}COMMIT;")
        if old:
            connection.execute("BEGIN")
            for name, row in old.pop("datasets", {}).items():
                connection.execute(_INSERT, _columns(name, row, json.dumps(row)))
            connection.execute("UPDATE facts SET value = ?", (json.dumps(old),))
            connection.execute("COMMIT")


def head(name: str) -> str:
    """The filesystem or volume of a snapshot or bookmark; other names are their own."""
    return name.partition("@")[0].partition("#")[0]


def _columns(name: str, row: Dataset, text: str) -> tuple[Any, ...]:
    origin = row.get("origin")
    top = head(name)
    return (
        *(
            name,
            top,
            top.rpartition("/")[0] if top == name else "",
            row["type"],
            row["txg"],
            str(row["guid"]),
        ),
        *(
            str(origin) if origin else None,
            row.get("referenced") if row["type"] == "snapshot" else None,
            text,
        ),
    )


class Datasets(MutableMapping[str, "Dataset"]):
    """The datasets by name, read when asked for. A row may be changed in place; what `find` looks for (origin, txg,
    referenced) is changed by setting the row anew."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._rows: dict[str, Dataset] = {}
        self._texts: dict[str, str] = {}
        self._due: dict[str, None] = {}

    def __getitem__(self, name: str) -> Dataset:
        row = self._rows.get(name)
        if row is None:
            text = self._texts.get(name)
            if text is None:
                found = self.connection.execute("SELECT row FROM datasets WHERE name = ?", (name,)).fetchone()
                if found is None:
                    raise KeyError(name)
                text = self._texts[name] = found[0]
            row = self._rows[name] = json.loads(text)
        return row

    def __contains__(self, name: object) -> bool:
        if name in self._rows or name in self._texts:
            return True
        return bool(self.connection.execute("SELECT 1 FROM datasets WHERE name = ?", (name,)).fetchone())

    def __setitem__(self, name: str, row: Dataset) -> None:
        self._rows[name] = row
        self._texts[name] = ""
        self._due[name] = None

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._rows.pop(name, None)
        self._texts.pop(name, None)
        self._due.pop(name, None)
        self.connection.execute("DELETE FROM datasets WHERE name = ?", (name,))

    def __iter__(self) -> Iterator[str]:
        return iter(self.find("1"))

    def __len__(self) -> int:
        return len(self.find("1"))

    def find(self, where: str, *values: str, order: str = "name") -> list[str]:
        """The names of the datasets for which the SQL condition holds."""
        return [
            row[0] for row in self.rows(f"SELECT name FROM datasets WHERE {where} ORDER BY {order}", *values)
        ]

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """What a query tells of the datasets as they are now."""
        self.write()
        return self.connection.execute(query, values).fetchall()

    def load(self, where: str, *values: str) -> None:
        """Read many rows at once, before they are asked for one by one."""
        for name, text in self.rows(f"SELECT name, row FROM datasets WHERE {where}", *values):
            if name not in self._rows:
                self._texts[name] = text

    def write(self) -> None:
        """Give the database the rows that were set."""
        if self._due:
            due, self._due = self._due, {}
            self._insert(due)

    def save(self) -> None:
        """Give the database all that was changed."""
        self._insert(self._rows)
        self._due = {}

    def _insert(self, names: Iterable[str]) -> None:
        changed = []
        for name in names:
            text = json.dumps(self._rows[name])
            if text != self._texts[name]:
                self._texts[name] = text
                changed.append(_columns(name, self._rows[name], text))
        self.connection.executemany(_INSERT, changed)
