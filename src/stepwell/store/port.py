"""What the engine asks of a database: the verbs in the order of a run's life.

Instants are seconds since 1970, values are JSON text. Every verb may raise `DatabaseUnavailable`, which says that the outcome is unknown;
each can be called again with the same arguments, and what happens then is said with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from stepwell.core.records import Attempt, Claimed, LogEntry, LogLine, Move, NewRun, Outcome, Progress, Run, StepRecord
    from stepwell.core.registry import Lane
    from stepwell.core.status import RunStatus


class WriteRefused(Exception):  # says what happened to the write; users never see it
    """The database finds fault with the data of a batch. Trying again will not help; nothing of it was written."""


class Batch(NamedTuple):
    """What one transaction of a worker writes."""

    outcomes: Sequence[Outcome]
    attempts: Sequence[Attempt]
    moves: Sequence[Move]
    """At most one a run."""
    logs: Sequence[LogEntry]
    progress: Sequence[Progress]


class Store(Protocol):
    """A database with runs in it."""

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """Add runs; the id of each, which is an earlier run's where its workflow and key are taken. The same id again changes nothing."""

    async def lanes(self) -> Collection[Lane]:
        """Where runs wait, or have waited: a worker claims from those that it has functions for."""

    async def claim(self, worker: str, lanes: Collection[Lane], limit: int, now: float) -> list[Claimed]:
        """Make up to `limit` runs that can go on now this worker's own, with their histories: the most urgent first, then the oldest.

        After an unknown outcome, runs may be this worker's without its knowing; `hand_back` returns them.
        """

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """Write the batch, in one transaction.

        Only what concerns a run whose claim this worker holds is written. The answer has an entry for each other run and claim of the
        batch, None; and for each run that was neither running nor sleeping when the batch was applied, its status then. A move is applied
        when the table of transitions allows it from that status.

        Writing the same batch again changes nothing. Raises WriteRefused for data that the database cannot hold. An outcome whose key
        is taken by another one is a breach of everything else here: RuntimeError, which ends the worker.
        """

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        """Claim and status of every run that this worker owns."""

    async def hand_back(self, worker: str, now: float) -> int:
        """Take everything from a worker that is gone; how many runs.

        What it executed can be claimed at once, what slept goes on sleeping.
        """

    async def pause(self, run_id: str, now: float) -> Run:
        """Let the run stop before its next step. Raises RunNotFound, IllegalTransition."""

    async def resume(self, run_id: str, now: float) -> Run:
        """Let a paused run go on; any other live run is left as it is. Raises RunNotFound, IllegalTransition."""

    async def cancel(self, run_id: str, now: float) -> Run:
        """End the run here; a canceled one is left as it is. Raises RunNotFound, IllegalTransition."""

    async def retry(self, run_id: str, now: float) -> Run:
        """Let a failed or canceled run go on from its last good step. Raises RunNotFound, IllegalTransition."""

    async def get(self, run_id: str) -> Run:
        """The run as it stands. Raises RunNotFound."""

    async def steps(self, run_id: str) -> list[StepRecord]:
        """Its steps, one record an attempt, in the order in which they were started. Raises RunNotFound."""

    async def logs(self, run_id: str) -> list[LogLine]:
        """What it has said, in order. Raises RunNotFound."""
