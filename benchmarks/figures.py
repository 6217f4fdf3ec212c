"""What is measured, in which unit, and what it should reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks import measures, on_sqlite


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


ENGINE = "the engine alone, over a store that does nothing"
SQLITE = "an app and a worker in one process, on a SQLite file with synchronous=FULL"

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
        Figure("SQLite: steps, 200 runs", "steps/s", lambda: on_sqlite.steps_per_second(200), None, 12_000),
        Figure("SQLite: steps, 1,000 runs", "steps/s", lambda: on_sqlite.steps_per_second(1_000, 30), None, 15_000),
        Figure("SQLite: one-step runs", "runs/s", on_sqlite.runs_per_second, None, 8_000),
        Figure("SQLite: one-step results", "results/s", on_sqlite.results_per_second),
        Figure("SQLite: three-step run, idle", "ms", on_sqlite.latency_milliseconds, None, 5.0, False),
        Figure("SQLite: idle worker", "% of a core", on_sqlite.idle_percent, None, 1.0, False, once=True),
        Figure("SQLite: 10,000 parked runs", "MB", on_sqlite.parked_megabytes, None, 300.0, False, once=True),
        Figure("SQLite: back after 2,000 steps", "ms", on_sqlite.return_milliseconds, None, 100.0, False),
        Figure("SQLite: claim, 1M to 1k runs", "times the cost", on_sqlite.claim_ratio, None, 1.5, False, once=True),
    ],
}  # fmt: skip
