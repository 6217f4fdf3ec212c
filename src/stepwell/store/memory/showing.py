"""Rows as users read them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from stepwell.core.failure import error_from
from stepwell.core.naming import BODY
from stepwell.core.records import (
    UNRESOLVED,
    Attempt,
    Kind,
    LogLine,
    Outcome,
    Run,
    RunProgress,
    RunSummary,
    Started,
    StepRecord,
    WorkerState,
    instant,
    optional_instant,
    paused_by,
    version_label,
)
from stepwell.core.status import RunStatus
from stepwell.store.shown import LAST_EVENTS, MAX_ERROR, PREVIEW, settled, unsettled

if TYPE_CHECKING:
    from collections.abc import Collection

    from stepwell.core.records import LogEntry, Progress
    from stepwell.store.memory.tables import Row, Tables, WorkerRow

MICROSECONDS: Final = 1_000_000
UNASKED: Final = (1 << 63) - 1
"""The number of what has not settled: after all others."""


def run(row: Row) -> Run:
    """The run as it stands."""
    new = row.new
    return Run(
        id=new.id,
        workflow=new.workflow,
        version=None if new.version == UNRESOLVED else new.version,
        status=row.status,
        input=from_json(row.input) if row.input else None,  # it may be to be computed yet
        output=None if row.output is None else from_json(row.output),
        error=None if row.error is None else error_from(row.error),
        attempt=row.attempt,
        key=new.key,
        queue=new.queue,
        priority=new.priority,
        tags=new.tags,
        parent_id=new.parent_id,
        forked_from=row.forked_from,
        schedule=new.schedule,
        scheduled_at=optional_instant(new.scheduled_at),
        progress=_progress(row.progress),
        created_at=instant(new.created_at),
        available_at=instant(row.available_at),
        deadline_at=optional_instant(row.deadline_at),
        started_at=optional_instant(row.started_at),
        finished_at=optional_instant(row.finished_at),
        worker=row.worker,
        claimed_at=optional_instant(row.claimed_at),
        claimed_by=row.claimed_by,
    )


def summary(row: Row) -> RunSummary:
    """The run as it stands, as a list shows it."""
    new = row.new
    return RunSummary(
        id=new.id,
        workflow=new.workflow,
        version=None if new.version == UNRESOLVED else new.version,
        status=row.status,
        preview=row.input[:PREVIEW],
        attempt=row.attempt,
        key=new.key,
        queue=new.queue,
        priority=new.priority,
        tags=new.tags,
        parent_id=new.parent_id,
        forked_from=row.forked_from,
        schedule=new.schedule,
        scheduled_at=optional_instant(new.scheduled_at),
        progress=_progress(row.progress),
        created_at=instant(new.created_at),
        available_at=instant(row.available_at),
        started_at=optional_instant(row.started_at),
        finished_at=optional_instant(row.finished_at),
        worker=row.worker,
        error=None if row.error is None else str(error_from(row.error))[:MAX_ERROR],
        paused_by=paused_by(row.events[-LAST_EVENTS:]) if row.status is RunStatus.PAUSED else None,
    )


def _progress(known: Progress | None) -> RunProgress | None:
    return None if known is None else RunProgress(done=known.done, total=known.total, message=known.message)


def steps(row: Row) -> list[StepRecord]:
    """One record an attempt, in the order in which they were started."""
    return [step(row, each) for each in begun(row)]


def begun(row: Row) -> list[Attempt | Outcome | Started]:
    """Attempts that are shown, in the order in which they were started."""
    begun: list[Attempt | Outcome | Started] = [attempt for attempt in row.attempts.values() if attempt.key != BODY]
    begun += [outcome for outcome in row.outcomes.values() if outcome.kind != Kind.TIMER]
    begun += [started for started in row.started.values() if goes_on(row, started)]
    return sorted(begun, key=place)


def place(each: Attempt | Outcome | Started) -> tuple[int, int, int, str]:
    """In that order: microseconds, and how it was asked for."""
    asked = UNASKED if isinstance(each, Started) else each.asked
    return round(each.started_at * MICROSECONDS), asked, each.attempt, each.key


def goes_on(row: Row, started: Started) -> bool:
    """Whether the attempt is under way still."""
    outcome = row.outcomes.get(started.key)
    over = (started.key, started.attempt) in row.attempts or (outcome is not None and outcome.attempt == started.attempt)
    owned = row.worker is not None and row.claim == started.claim and row.status in (RunStatus.RUNNING, RunStatus.PAUSED)
    return owned and not over


def step(row: Row, each: Attempt | Outcome | Started) -> StepRecord:
    """The attempt, as users read it."""
    if isinstance(each, Outcome):
        return settled(each)
    if isinstance(each, Started):
        return unsettled(each.key, each.attempt, "running", None, each.started_at, None)
    due = None if (each.key, each.attempt) in row.void else each.due
    return unsettled(each.key, each.attempt, "canceled" if each.canceled else "failed", each.error, each.started_at, each.finished_at, due)


def lines(row: Row, after: int, limit: int, step: str | None, levels: Collection[str] | None, *, last: bool) -> list[LogLine]:
    """What it has said; see `Store.logs`."""
    entries = sorted(row.logs.values(), key=lambda entry: entry.at)
    found = [each for each in entries if (step is None or each.step == step) and (levels is None or each.level in levels)]
    end = len(found) - after
    return [line(each) for each in (found[max(0, end - limit) : max(0, end)] if last else found[after : after + limit])]


def line(entry: LogEntry) -> LogLine:
    """A line as it was said."""
    fields: dict[str, Any] = from_json(entry.fields)
    return LogLine(at=instant(entry.at), level=entry.level, message=entry.message, fields=fields, step=entry.step)


def workers(tables: Tables) -> list[WorkerState]:
    """Those that live, by the time of their start."""
    living = [known for known in tables.workers.values() if not known.dead]
    return [worker(known) for known in sorted(living, key=lambda known: (known.new.started_at, known.new.name))]


def worker(known: WorkerRow) -> WorkerState:
    """A worker as its last heartbeat showed it."""
    new = known.new
    exact = {(each.name, each.version) for each in new.definitions}
    every = {(each.name, UNRESOLVED) for each in new.definitions if each.takes_version}
    return WorkerState(
        id=new.id,
        name=new.name,
        host=new.host,
        pid=new.pid,
        queues=new.queues,
        concurrency=new.concurrency,
        running=known.running,
        parked=known.parked,
        definitions=tuple(version_label(each.name, each.version) for each in new.definitions),
        lease=timedelta(seconds=new.lease),
        draining=known.draining,
        started_at=instant(new.started_at),
        beat_at=instant(known.beat_at),
        serves=frozenset(exact | every),
    )
