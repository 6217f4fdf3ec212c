"""The port on dictionaries: for tests and for a first try. Nothing survives the process.

It can lose the process at any commit (`Faults`), which is what the proof of replay is made with, and is the first fixture of the suite
that every adapter has to pass.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import from_json

from stepwell.core.failure import error_from
from stepwell.core.history import taken_back
from stepwell.core.naming import BODY, name_of
from stepwell.core.records import Attempt, Claimed, Kind, LogEntry, LogLine, NewRun, Outcome, Run, StepRecord, Tried, instant
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import IllegalTransition, RunNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from stepwell.core.records import Move, Progress
    from stepwell.store.port import Batch

_TAKING = (RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING)
"""Statuses in which the holder of the claim may still write."""


class Faults(Protocol):
    """What goes wrong, for tests."""

    async def before_commit(self, number: int) -> None:
        """Called with the number of the commit, from 1, before anything is written. Raise, or never return."""

    async def after_commit(self, number: int) -> None:
        """Called when everything is written and nobody has been told."""


@dataclass(slots=True)
class _Row:
    """A run, with everything that belongs to it."""

    new: NewRun
    number: int
    status: RunStatus
    input: str
    due: float | None
    worker: str | None = None
    claim: int = 0
    attempt: int = 1
    generation: int = 0
    output: str | None = None
    error: str | None = None
    progress: tuple[float, float | None, str | None] | None = None
    started_at: float | None = None
    begun_at: float | None = None
    """When it was first claimed since it went on as new: the body's time begins with it."""
    finished_at: float | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    """Of the outcomes."""
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    void: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that a retry has taken back: they are shown, and count no more."""
    logs: dict[tuple[int, str, int], LogEntry] = field(default_factory=dict)

    @property
    def lane(self) -> Lane:
        """Where it waits."""
        return Lane(self.new.queue, self.new.workflow, self.new.version)


class MemoryStore:
    """A store in this process's memory. Like any adapter it keeps text, and hands out fresh records."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._rows: dict[str, _Row] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._lanes: set[Lane] = set()
        self._faults = faults
        self._changed: list[asyncio.Future[None]] = []
        self.commits = 0

    # -- start, claim

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`."""
        ids = []
        for new in runs:
            taken = self._keys.get((new.workflow, new.key)) if new.key is not None else None
            if taken is None and new.id not in self._rows:
                self._rows[new.id] = row = _Row(new, len(self._rows), RunStatus.PENDING, new.input, new.available_at)
                self._lanes.add(row.lane)
                if new.key is not None:
                    self._keys[new.workflow, new.key] = new.id
            ids.append(taken or new.id)
        self.tell()
        return ids

    async def lanes(self) -> Collection[Lane]:
        """See `Store.lanes`."""
        return frozenset(self._lanes)

    async def claim(self, worker: str, lanes: Collection[Lane], limit: int, now: float) -> list[Claimed]:
        """See `Store.claim`."""
        ready = [row for row in self._rows.values() if _is_ready(row, now) and row.lane in lanes]
        ready.sort(key=lambda row: (-row.new.priority, row.number))
        return [self._claim(row, worker, now) for row in ready[: max(limit, 0)]]

    def _claim(self, row: _Row, worker: str, now: float) -> Claimed:
        if row.status is RunStatus.SLEEPING:
            row.status = _after(row.status, Action.MAKE_READY)
        row.status = _after(row.status, Action.CLAIM)
        row.worker, row.due, row.error = worker, None, None
        row.claim += 1
        if row.started_at is None:
            row.started_at = now
        if row.begun_at is None:
            row.begun_at = now
        new = row.new
        return Claimed(
            id=new.id,
            claim=row.claim,
            workflow=new.workflow,
            version=new.version,
            input=row.input,
            attempt=row.attempt,
            generation=row.generation,
            created_at=new.created_at,
            started_at=row.begun_at,
            scheduled_at=None,
            tags=new.tags,
            outcomes=tuple(row.outcomes.values()),
            tried=_tried(row),
            logged=max(((entry.after, entry.n) for entry in row.logs.values() if entry.after >= 0), default=(-1, 0)),
        )

    # -- what a worker writes

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        self.commits += 1
        number = self.commits
        if self._faults is not None:
            await self._faults.before_commit(number)
        answers: dict[tuple[str, int], RunStatus | None] = {}
        outcomes = [(row, outcome) for outcome in batch.outcomes if (row := self._owned(worker, outcome, answers)) is not None]
        for row, outcome in _new(outcomes):
            row.outcomes[outcome.key] = outcome
            row.numbers.add(outcome.seq)
        for attempt in batch.attempts:
            if (row := self._owned(worker, attempt, answers)) is not None:
                row.attempts[attempt.key, attempt.attempt] = attempt
        for entry in batch.logs:
            if (row := self._owned(worker, entry, answers)) is not None:
                row.logs.setdefault((entry.after, entry.scope, entry.n), entry)
        for progress in batch.progress:
            if (row := self._owned(worker, progress, answers)) is not None:
                row.progress = (progress.done, progress.total, progress.message)
        for move in batch.moves:
            if (row := self._owned(worker, move, answers)) is not None:
                self._move(row, move, now)
        if self._faults is not None:
            await self._faults.after_commit(number)
        self.tell()
        return answers

    def _owned(
        self, worker: str, write: Outcome | Attempt | LogEntry | Move | Progress, answers: dict[tuple[str, int], RunStatus | None]
    ) -> _Row | None:
        """The fence: the run's row, when this worker may write to it."""
        row = self._rows.get(write.run)
        claim = (write.run, write.claim)
        if row is None or row.claim != write.claim or (row.worker != worker and row.status in _TAKING):
            answers[claim] = None
            return None
        if row.status not in (RunStatus.RUNNING, RunStatus.SLEEPING):
            answers[claim] = row.status
        return row if row.status in _TAKING else None

    @staticmethod
    def _move(row: _Row, move: Move, now: float) -> None:
        status = after(row.status, move.action)
        if status is None:
            return
        row.status = status
        if move.due is not None:
            row.due = move.due
        elif status is RunStatus.PENDING:
            row.due = now
        row.output = move.output or row.output
        row.error = move.error or row.error
        row.attempt = move.attempt or row.attempt
        if not move.keep or status.ended:
            row.worker = None
        if status.ended:
            row.finished_at = now
        if move.action is Action.CONTINUE_AS_NEW:
            row.input = move.input or "null"
            row.generation += 1
            row.attempt, row.due, row.begun_at = 1, now, None
            row.outcomes, row.numbers, row.attempts, row.void, row.logs = {}, set(), {}, set(), {}

    # -- what operators do

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        """See `Store.standing`."""
        return {run_id: (row.claim, row.status) for run_id, row in self._rows.items() if row.worker == worker}

    async def hand_back(self, worker: str, now: float) -> int:
        """See `Store.hand_back`."""
        owned = [row for row in self._rows.values() if row.worker == worker]
        for row in owned:
            if row.status is RunStatus.RUNNING:
                row.due = now
            row.status = _after(row.status, Action.RESCUE)
            row.worker = None
        self.tell()
        return len(owned)

    async def pause(self, run_id: str, now: float) -> Run:
        """See `Store.pause`."""
        row = self._act(run_id, Action.PAUSE)
        if row.status is RunStatus.SLEEPING:
            row.worker = None  # nothing of it is executing: whoever has it in memory lets go of it
        row.status = RunStatus.PAUSED
        return self._told(row)

    async def resume(self, run_id: str, now: float) -> Run:
        """See `Store.resume`."""
        row = self._act(run_id, Action.RESUME)
        if row.status is RunStatus.PAUSED:
            row.status, row.due = RunStatus.PENDING, now
        return self._told(row)

    async def cancel(self, run_id: str, now: float) -> Run:
        """See `Store.cancel`."""
        row = self._act(run_id, Action.CANCEL)
        if row.status is not RunStatus.CANCELED:
            row.status, row.worker, row.finished_at = RunStatus.CANCELED, None, now
        return self._told(row)

    async def retry(self, run_id: str, now: float) -> Run:
        """See `Store.retry`."""
        row = self._act(run_id, Action.RETRY)
        failed = set(error_from(row.error).steps) if row.error else set()
        kept, first = taken_back(row.outcomes.values(), failed)
        outcomes = {outcome.key: outcome for outcome in kept}
        for key, outcome in row.outcomes.items():
            if key not in outcomes and not outcome.ok and outcome.kind == Kind.FUNCTION:
                row.attempts[key, outcome.attempt] = _as_attempt(outcome)
        row.outcomes, row.numbers = outcomes, {outcome.seq for outcome in kept}
        row.void |= {
            place for place, attempt in row.attempts.items() if attempt.asked >= first or attempt.key in failed or attempt.key == BODY
        }
        # What was said in the knowledge of what is taken back stays to be read, and leaves its place to what will be said there now.
        lines = (
            entry if entry.after < first else entry._replace(after=-1, scope=f"~{row.claim}.{entry.after}") for entry in row.logs.values()
        )
        row.logs = {(entry.after, entry.scope, entry.n): entry for entry in lines}
        row.status, row.due, row.attempt = RunStatus.PENDING, now, 1
        row.error = row.finished_at = None
        return self._told(row)

    def _act(self, run_id: str, action: Action) -> _Row:
        row = self._row(run_id)
        if after(row.status, action) is None:
            raise IllegalTransition(run_id=run_id, status=row.status, action=action)
        return row

    # -- what is read

    async def get(self, run_id: str) -> Run:
        """See `Store.get`."""
        return _run(self._row(run_id))

    async def steps(self, run_id: str) -> list[StepRecord]:
        """See `Store.steps`."""
        row = self._row(run_id)
        begun: list[Attempt | Outcome] = [attempt for attempt in row.attempts.values() if attempt.key != BODY]
        begun += [outcome for outcome in row.outcomes.values() if outcome.kind != Kind.TIMER]
        begun.sort(key=lambda each: (each.started_at, each.asked, each.attempt))
        return [_step(each) if isinstance(each, Outcome) else _failed_attempt(each) for each in begun]

    async def logs(self, run_id: str) -> list[LogLine]:
        """See `Store.logs`."""
        entries = sorted(self._row(run_id).logs.values(), key=lambda entry: entry.at)
        return [_line(entry) for entry in entries]

    async def changed(self) -> None:
        """Wait until something was written: for those who await a run's end."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.append(future)
        await future

    def next_due(self) -> float | None:
        """When the next run can be claimed that nobody has; in the past, when one can be now."""
        return min(
            (row.due for row in self._rows.values() if row.worker is None and row.status in _WAITING and row.due is not None), default=None
        )

    def tell(self) -> None:
        """Let those go on who wait for a change."""
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)

    def _told(self, row: _Row) -> Run:
        self.tell()
        return _run(row)

    def _row(self, run_id: str) -> _Row:
        row = self._rows.get(run_id)
        if row is None:
            raise RunNotFound(run_id)
        return row


_WAITING = (RunStatus.PENDING, RunStatus.SLEEPING)


def _is_ready(row: _Row, now: float) -> bool:
    return row.worker is None and row.status in _WAITING and row.due is not None and row.due <= now


def _after(status: RunStatus, action: Action) -> RunStatus:
    result = after(status, action)
    if result is None:
        raise RuntimeError(f"a {status} run cannot {action}")
    return result


def _new(outcomes: Sequence[tuple[_Row, Outcome]]) -> list[tuple[_Row, Outcome]]:
    """Those that are not there yet. Raises RuntimeError when one contradicts what is."""
    new: dict[tuple[str, str], tuple[_Row, Outcome]] = {}
    numbers: set[tuple[str, int]] = set()
    for row, outcome in outcomes:
        place = (outcome.run, outcome.key)
        there = new[place][1] if place in new else row.outcomes.get(outcome.key)
        if there is not None:
            if there != outcome:
                raise RuntimeError(f"run {outcome.run} has another outcome for {outcome.key!r} already: {there}, not {outcome}")
            continue
        number = (outcome.run, outcome.seq)
        if outcome.seq in row.numbers or number in numbers:
            raise RuntimeError(f"run {outcome.run} has an outcome number {outcome.seq} already")
        numbers.add(number)
        new[place] = (row, outcome)
    return list(new.values())


def _tried(row: _Row) -> dict[str, Tried]:
    tried: dict[str, Tried] = {}
    for place, attempt in row.attempts.items():
        known = tried.get(attempt.key, Tried(0, 0, 0.0))
        counts = place not in row.void
        if attempt.key in row.outcomes or (not counts and attempt.key == BODY):
            continue
        tried[attempt.key] = Tried(
            max(known.attempts, attempt.attempt),
            known.failures + (counts and not attempt.canceled),
            max(known.due, attempt.due or 0.0) if counts else known.due,
            known.evidence or counts,
        )
    return tried


def _as_attempt(outcome: Outcome) -> Attempt:
    return Attempt(
        outcome.run, outcome.claim, outcome.key, outcome.attempt, outcome.asked, False, outcome.value, outcome.started_at, outcome.at, None
    )  # fmt: skip


def _run(row: _Row) -> Run:
    new = row.new
    return Run(
        id=new.id,
        workflow=new.workflow,
        version=new.version,
        status=row.status,
        input=from_json(row.input),
        output=None if row.output is None else from_json(row.output),
        error=None if row.error is None else error_from(row.error),
        attempt=row.attempt,
        key=new.key,
        queue=new.queue,
        priority=new.priority,
        tags=new.tags,
        progress=row.progress,
        created_at=instant(new.created_at),
        available_at=None if row.due is None else instant(row.due),
        started_at=None if row.started_at is None else instant(row.started_at),
        finished_at=None if row.finished_at is None else instant(row.finished_at),
        worker=row.worker,
    )


def _step(outcome: Outcome) -> StepRecord:
    return StepRecord(
        key=outcome.key,
        name=name_of(outcome.key),
        kind=Kind(outcome.kind).name.lower(),
        status="completed" if outcome.ok else "failed",
        attempt=outcome.attempt,
        output=from_json(outcome.value) if outcome.ok and outcome.value is not None else None,
        error=None if outcome.ok or outcome.value is None else error_from(outcome.value),
        started_at=instant(outcome.started_at),
        finished_at=instant(outcome.at),
    )


def _failed_attempt(attempt: Attempt) -> StepRecord:
    return StepRecord(
        key=attempt.key,
        name=name_of(attempt.key),
        kind="function",
        status="canceled" if attempt.canceled else "failed",
        attempt=attempt.attempt,
        output=None,
        error=None if attempt.error is None else error_from(attempt.error),
        started_at=instant(attempt.started_at),
        finished_at=instant(attempt.finished_at),
    )


def _line(entry: LogEntry) -> LogLine:
    fields: dict[str, Any] = from_json(entry.fields)
    return LogLine(at=instant(entry.at), level=entry.level, message=entry.message, fields=fields, step=entry.step)
