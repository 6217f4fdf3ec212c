"""Which database belongs to a folder: a file in it, or a schema of a server that a file in it names. What is stored there, as it is."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest


class Database(NamedTuple):
    """Where runs are kept."""

    url: str
    namespace: str

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql:")

    def table(self, name: str) -> str:
        """Its name in this database."""
        return f"{self.namespace}{'.' if self.is_postgres else '_'}{name}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Past the app, and durable: the rows, if it has any."""
        if self.is_postgres:
            with psycopg.connect(self.url, autocommit=True) as connection:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            return other.execute(statement).fetchall()

    def is_held(self) -> bool:
        """Whether somebody is amid a transaction that others have to wait for."""
        if self.is_postgres:
            ((held,),) = self.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
            )
            return bool(held)
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None, timeout=0.1)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            other.execute("ROLLBACK")
            return False

    def has_worker(self, process: int) -> bool:
        """Whether a worker of this process is registered, and nobody has taken it for dead."""
        return bool(self.execute(f"SELECT id FROM {self.table('workers')} WHERE pid = {process} AND NOT dead"))

    def bury(self) -> None:
        """All registered workers are dead: what others find out when their lease is over, or at once where they share a file."""
        self.execute(f"UPDATE {self.table('workers')} SET dead = {'true' if self.is_postgres else 1}")


def database_of(folder: Path) -> Database:
    """The one that was said, or else a file in the folder."""
    said = folder / "database"
    if said.exists():
        url, namespace = said.read_text().split()
        return Database(url, namespace)
    return Database(f"sqlite:///{folder / 'runs.db'}", "stepwell")


def say_where(folder: Path, url: str, namespace: str = "stepwell") -> None:
    """Let this be the database of the folder."""
    (folder / "database").write_text(f"{url} {namespace}")


on_sqlite = pytest.mark.parametrize("folder", ["sqlite"], indirect=True)
"""For tests of what is so on files only."""

on_postgres = pytest.mark.parametrize("folder", ["postgres"], indirect=True)
"""For tests of what is so on servers only."""


def own_of(folder: Path, name: str) -> Path:
    """A folder in this one, whose database is its own, and of the same kind."""
    own = folder / name
    own.mkdir(parents=True)
    there = database_of(folder)
    if there.is_postgres:
        say_where(own, there.url, f"own_{hashlib.md5(name.encode()).hexdigest()}")
    return own
