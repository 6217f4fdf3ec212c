"""The stores that are simulated, and what is in them: which runs have changed since somebody last looked."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from stepwell.core.status import RunStatus
from stepwell.store.memory import MemoryStore, writing
from stepwell.store.port import Batch, Effect, Store
from stepwell.store.sqlite import SqliteStore
from tests.simulation.ledger import Entry


@dataclass(frozen=True, slots=True)
class Seen:
    """A run, as it stands in the store."""

    workflow: str
    key: str | None
    status: RunStatus
    worker: str | None
    claim: int
    generation: int
    error: str | None
    outcomes: dict[str, Any]
    """By key; to be compared."""


class Tables(Protocol):
    """A store, from outside of its port."""

    def store(self, process: int) -> Store:
        """What this process works with."""

    def changed(self, known: dict[str, Seen]) -> Iterator[tuple[str, Seen | None]]:
        """The runs that are not as they are known, and how they stand now; None: it is gone."""

    def has_worker(self, worker: str) -> bool:
        """Whether it is registered, alive or dead."""

    def lives(self, worker: str) -> bool:
        """Whether it is registered, and not declared dead."""

    def end(self, worker: str) -> bool:
        """The process of this worker is known to have ended; False: this store has no way to know."""

    def book(self, connection: Any, entry: Entry) -> None:
        """Write this by the connection of a transaction."""

    def booked(self) -> list[Entry]:
        """All that was written so."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...


class Booking(MemoryStore):
    """A store in memory whose transactions can write down entries."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """All of it happens in one turn of the loop."""
        there = self._tables.rows[effect.run].outcomes.get(effect.key) if effect.numbered and effect.run in self._tables.rows else None
        entries: list[Entry] = []
        effect.number()
        if there is not None:
            effect.found(there)
        else:
            there = effect.outcome(effect.call(entries))
        answers, _ = writing.apply(self._tables, worker, Batch([there], (), (), (), ()), now)
        status = answers.get((effect.run, effect.claim), RunStatus.RUNNING)
        if status is not None and not status.ended:
            self.entries += entries
        return status


class InMemory:
    """Dictionaries."""

    def __init__(self) -> None:
        self._store = Booking()
        self._tables = self._store._tables

    def store(self, process: int) -> Store:
        return self._store

    def changed(self, known: dict[str, Seen]) -> Iterator[tuple[str, Seen | None]]:
        rows = self._tables.rows
        for run_id, row in list(rows.items()):
            seen = known.get(run_id)
            if (
                seen is None
                or seen.status is not row.status
                or seen.claim != row.claim
                or seen.worker != row.worker
                or seen.generation != row.generation
                or seen.outcomes != row.outcomes
            ):
                new, outcomes = row.new, dict(row.outcomes)
                yield run_id, Seen(new.workflow, new.key, row.status, row.worker, row.claim, row.generation, row.error, outcomes)
        if len(known) > len(rows):
            yield from ((run_id, None) for run_id in list(known) if run_id not in rows)

    def has_worker(self, worker: str) -> bool:
        return worker in self._tables.workers

    def lives(self, worker: str) -> bool:
        return self._tables.lives(worker)

    def end(self, worker: str) -> bool:
        self._store.gone.add(worker)
        return True

    def book(self, connection: Any, entry: Entry) -> None:
        connection.append(entry)

    def booked(self) -> list[Entry]:
        return self._store.entries

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


class InSqlite:
    """SQLite, in memory, in a file that all processes share one connection to, or in one to which each has its own."""

    def __init__(self, chance: random.Random, processes: int) -> None:
        self._stack = ExitStack()
        path, count = None, 1
        if chance.random() < 0.4:
            shared = Path("/dev/shm")  # no disk is waited for
            directory = self._stack.enter_context(TemporaryDirectory(dir=shared if shared.is_dir() else None))
            path, count = f"{directory}/runs.db", chance.choice((1, processes))
        self._stores = [SqliteStore(path, threads=False) for _ in range(count)]

    def store(self, process: int) -> Store:
        return self._stores[process % len(self._stores)]

    @property
    def _connection(self) -> sqlite3.Connection:
        connection = self._stores[0]._shared
        assert connection is not None
        return connection

    async def open(self) -> None:
        for store in self._stores:
            await store.open()
        self._connection.executescript(_TRIGGERS)

    async def close(self) -> None:
        for store in self._stores:
            await store.close()
        self._stack.close()

    def changed(self, known: dict[str, Seen]) -> Iterator[tuple[str, Seen | None]]:
        execute = self._connection.execute
        changed = [run_id for (run_id,) in execute("SELECT DISTINCT run FROM simulation_changed")]
        if not changed:
            return
        execute("DELETE FROM simulation_changed")
        for run_id in changed:
            row = execute(_ROW, (run_id,)).fetchone()
            if row is not None:
                workflow, key, status, worker, claim, generation, error = row
                outcomes = {each[0]: each for each in execute(_OUTCOMES, (run_id,))}
                yield run_id, Seen(workflow, key, RunStatus(status), worker, claim, generation, error, outcomes)
            elif run_id in known:
                yield run_id, None

    def has_worker(self, worker: str) -> bool:
        return self._connection.execute("SELECT 1 FROM stepwell_workers WHERE id = ?", (worker,)).fetchone() is not None

    def lives(self, worker: str) -> bool:
        return self._connection.execute("SELECT 1 FROM stepwell_workers WHERE id = ? AND NOT dead", (worker,)).fetchone() is not None

    def end(self, worker: str) -> bool:
        return False

    def book(self, connection: Any, entry: Entry) -> None:
        connection.execute("INSERT INTO simulation_entries VALUES (?, ?, ?, ?)", entry)

    def booked(self) -> list[Entry]:
        return [Entry(*row) for row in self._connection.execute("SELECT run, generation, epoch, key FROM simulation_entries")]


_ROW = "SELECT workflow, key, status, worker, claim, generation, error FROM stepwell_runs WHERE id = ?"
_OUTCOMES = "SELECT key, seq, asked, kind, ok, value, at, mark, attempt FROM stepwell_outcomes WHERE run = ?"
_TRIGGERS = """
CREATE TABLE simulation_entries (run TEXT NOT NULL, generation INTEGER NOT NULL, epoch INTEGER NOT NULL, key TEXT NOT NULL);
CREATE TABLE simulation_changed (run TEXT NOT NULL);
CREATE TRIGGER simulation_new AFTER INSERT ON stepwell_runs BEGIN INSERT INTO simulation_changed VALUES (new.id); END;
CREATE TRIGGER simulation_gone AFTER DELETE ON stepwell_runs BEGIN INSERT INTO simulation_changed VALUES (old.id); END;
CREATE TRIGGER simulation_run AFTER UPDATE OF status, worker, claim, generation ON stepwell_runs
    BEGIN INSERT INTO simulation_changed VALUES (new.id); END;
CREATE TRIGGER simulation_outcome AFTER INSERT ON stepwell_outcomes BEGIN INSERT INTO simulation_changed VALUES (new.run); END;
CREATE TRIGGER simulation_outcome_changed AFTER UPDATE ON stepwell_outcomes BEGIN INSERT INTO simulation_changed VALUES (new.run); END;
CREATE TRIGGER simulation_outcome_gone AFTER DELETE ON stepwell_outcomes BEGIN INSERT INTO simulation_changed VALUES (old.run); END;
"""

STORES = ("memory", "sqlite")


def tables_of(store: str, chance: random.Random, processes: int) -> Tables:
    """New and empty."""
    return InMemory() if store == "memory" else InSqlite(chance, processes)
