"""What is measured, in which unit, and what it should reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks import measures, on_postgres, schedules, whole
from benchmarks.on_postgres import PostgresServer
from benchmarks.on_sqlite import SqliteFile
from benchmarks.whole import Place


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    unit: str
    measure: Callable[[], Awaitable[float]]
    plain: Callable[[], Awaitable[float]] | None = None
    """The same in plain asyncio."""
    target: float | None = None
    more_is_better: bool = True
    once: bool = False
    """It takes long, and is measured in one window on one kind of loop."""


SQLITE_FILE = SqliteFile()
SERVER = PostgresServer()
SLOW_SERVER = PostgresServer(slow=True)


async def _of_rush(place: Place, what: str) -> float:
    """One figure of the second in which ten thousand schedules come. It is measured once, for all of them."""
    figure: float = getattr(await schedules.rush(place), what)
    return figure


ENGINE = "the engine alone, over a store that does nothing"
SQLITE = "an app and a worker in one process, on a SQLite file with synchronous=FULL"
POSTGRES = "an app and a worker in one process, on a PostgreSQL server on the same machine with fsync and synchronous_commit on"
SLOW = "the same, with two milliseconds added to every flush of the server"

FIGURES: dict[str, list[Figure]] = {
    ENGINE: [
        Figure(
            "steps, 200 runs at once", "steps/s", lambda: measures.steps_per_second(200),
            lambda: measures.plain_steps_per_second(200), 60_000,
        ),
        Figure(
            "steps, 1,000 runs at once", "steps/s", lambda: measures.steps_per_second(1_000, 30),
            lambda: measures.plain_steps_per_second(1_000, 30), 60_000,
        ),
        Figure("one-step runs, 200 at once", "runs/s", measures.runs_per_second),
        Figure("replay", "recorded steps/s", measures.replayed_per_second, None, 150_000),
        Figure("task switch in a run's loop", "µs", measures.switch_microseconds, measures.plain_switch_microseconds, 2.0, False),
        Figure("a parked run", "bytes", measures.parked_bytes, None, 8_000, False),
    ],
    SQLITE: [
        Figure("SQLite: steps, 200 runs", "steps/s", lambda: whole.steps_per_second(SQLITE_FILE, 200), None, 12_000),
        Figure("SQLite: steps, 1,000 runs", "steps/s", lambda: whole.steps_per_second(SQLITE_FILE, 1_000, 30), None, 15_000),
        Figure("SQLite: one-step runs", "runs/s", lambda: whole.runs_per_second(SQLITE_FILE), None, 8_000),
        Figure("SQLite: one-step results", "results/s", lambda: whole.results_per_second(SQLITE_FILE)),
        Figure("SQLite: three-step run, idle", "ms", lambda: whole.latency_milliseconds(SQLITE_FILE), None, 5.0, False),
        Figure("SQLite: idle worker", "% of a core", lambda: whole.idle_percent(SQLITE_FILE), None, 1.0, False, once=True),
        Figure("SQLite: 10,000 parked runs", "MB", lambda: whole.parked_megabytes(SQLITE_FILE), None, 300.0, False, once=True),
        Figure("SQLite: back after 2,000 steps", "ms", lambda: whole.return_milliseconds(SQLITE_FILE), None, 100.0, False),
        Figure(
            "SQLite: idle, 10,000 to come", "% of a core",
            lambda: whole.idle_percent(SQLITE_FILE, 5.0, *schedules.idle()), None, 1.0, False, once=True,
        ),
        Figure("SQLite: 10,000 due, made", "s after the slot", lambda: _of_rush(SQLITE_FILE, "made"), None, 5.0, False, once=True),
        Figure("SQLite: 10,000 due, ended", "s after the slot", lambda: _of_rush(SQLITE_FILE, "ended"), None, 5.0, False, once=True),
        Figure("SQLite: 10,000 due, others", "s at most", lambda: _of_rush(SQLITE_FILE, "delayed"), None, 1.0, False, once=True),
        Figure("SQLite: 10,000 due, memory", "MB", lambda: _of_rush(SQLITE_FILE, "megabytes"), None, 100.0, False, once=True),
        Figure("SQLite: claim, 1M to 1k runs", "times the cost", lambda: whole.claim_ratio(SQLITE_FILE), None, 1.5, False, once=True),
    ],
    POSTGRES: [
        Figure("PostgreSQL: steps, 200 runs", "steps/s", lambda: whole.steps_per_second(SERVER, 200), None, 25_000),
        Figure("PostgreSQL: steps, 1,000 runs", "steps/s", lambda: whole.steps_per_second(SERVER, 1_000, 30)),
        Figure("PostgreSQL: one-step runs", "runs/s", lambda: whole.runs_per_second(SERVER), None, 10_000),
        Figure("PostgreSQL: one-step results", "results/s", lambda: whole.results_per_second(SERVER)),
        Figure("PostgreSQL: four processes", "runs/s", lambda: on_postgres.runs_per_second_of_many(SERVER), None, 25_000),
        Figure("PostgreSQL: three-step run, idle", "ms", lambda: whole.latency_milliseconds(SERVER), None, 8.0, False),
        Figure("PostgreSQL: idle worker", "statements/s", lambda: on_postgres.idle_statements(SERVER), None, 1.0, False, once=True),
        Figure("PostgreSQL: idle worker's time", "% of a core", lambda: whole.idle_percent(SERVER), once=True),
        Figure(
            "PostgreSQL: idle, 10,000 to come", "statements/s",
            lambda: on_postgres.idle_statements(SERVER, 20.0, *schedules.idle()), None, 1.0, False, once=True,
        ),
        Figure("PostgreSQL: 10,000 due, made", "s after the slot", lambda: _of_rush(SERVER, "made"), None, 5.0, False, once=True),
        Figure("PostgreSQL: 10,000 due, ended", "s after the slot", lambda: _of_rush(SERVER, "ended"), None, 5.0, False, once=True),
        Figure("PostgreSQL: 10,000 due, others", "s at most", lambda: _of_rush(SERVER, "delayed"), None, 1.0, False, once=True),
        Figure("PostgreSQL: claim, 5M to 1k runs", "times the cost", lambda: on_postgres.claim_ratio(SERVER), None, 1.5, False, once=True),
        Figure("PostgreSQL: with an old snapshot", "of the rate", lambda: on_postgres.rate_with_old_snapshot(SERVER), None, 0.5, once=True),
        Figure("PostgreSQL: commits of a run", "", lambda: on_postgres.per_run(SERVER, "commits"), once=True),
        Figure("PostgreSQL: rows of a run", "written", lambda: on_postgres.per_run(SERVER, "rows"), once=True),
        Figure("PostgreSQL: WAL of a run", "bytes", lambda: on_postgres.per_run(SERVER, "bytes"), once=True),
    ],
    SLOW: [
        Figure("slow disk: steps, 200 runs", "steps/s", lambda: whole.steps_per_second(SLOW_SERVER, 200)),
        Figure("slow disk: steps, 1,000 runs", "steps/s", lambda: whole.steps_per_second(SLOW_SERVER, 1_000, 30)),
        Figure("slow disk: one-step runs", "runs/s", lambda: whole.runs_per_second(SLOW_SERVER)),
        Figure("slow disk: four processes", "runs/s", lambda: on_postgres.runs_per_second_of_many(SLOW_SERVER)),
        Figure("slow disk: three-step run, idle", "ms", lambda: whole.latency_milliseconds(SLOW_SERVER)),
    ],
}  # fmt: skip


def close() -> None:
    """Stop the servers that were started."""
    for server in (SERVER, SLOW_SERVER):
        server.close()
