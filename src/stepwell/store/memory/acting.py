"""What happens to a run from outside its worker: by operators, by time, and by the death of the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.core.failure import error_from
from stepwell.core.records import Event, instant
from stepwell.core.status import Action, RunStatus, after
from stepwell.core.taking_back import forked, is_void, retaken
from stepwell.errors import IllegalTransition
from stepwell.store.memory.canceling import cancel
from stepwell.store.memory.mailing import tell_parent
from stepwell.store.memory.writing import set_aside
from stepwell.store.port import Hint
from stepwell.store.verdicts import deadline_exceeded, worker_crashed

if TYPE_CHECKING:
    from stepwell.core.records import NewRun
    from stepwell.store.memory.tables import Row, Tables


def act(tables: Tables, row: Row, action: Action, now: float, actor: str | None) -> set[Hint]:
    """Do what an operator asks for. Raises IllegalTransition."""
    target = after(row.status, action)
    if target is None:
        raise IllegalTransition(run_id=row.new.id, status=row.status, action=action)
    if target is row.status:
        return set()
    if action is Action.CANCEL:
        return cancel(tables, row, now, actor)
    owner = row.worker
    match action:
        case Action.PAUSE:
            _pause(row)
        case Action.RESUME:
            row.get_ready(now)
        case Action.RETRY:
            _retry(row, now)
        case _:
            raise ValueError(f"{action} is nothing that operators do")
    row.events.append(Event(at=instant(now), action=action.value, actor=actor))
    told = row.hints() | tables.notice(owner, row)
    if target is RunStatus.PENDING and row.deadline_at is not None:
        told.add(Hint.DUE)
    return told


def _pause(row: Row) -> None:
    if row.status is RunStatus.SLEEPING:
        row.worker = None  # nothing of it is executing: whoever has it in memory lets go of it
    row.status, row.due = RunStatus.PAUSED, None


def _retry(row: Row, now: float) -> None:
    failed = set(error_from(row.error).steps) if row.error else set()
    back = retaken(row.outcomes.values(), failed)
    for key in back.deleted_keys:
        row.numbers.discard(row.outcomes.pop(key).seq)
    row.attempts |= {(attempt.key, attempt.attempt): attempt for attempt in back.as_attempts}
    row.void |= {place for place, attempt in row.attempts.items() if is_void(attempt.key, attempt.asked, back.first, failed)}
    set_aside(row, back.first)
    row.get_ready(now)
    row.count_deadline()
    row.attempt, row.crashes = 1, 0
    row.error = row.finished_at = None


def fork(tables: Tables, source: Row, new: NewRun, from_step: str, actor: str | None) -> set[Hint]:
    """Add a run that begins with what the source had recorded. Raises DefinitionError."""
    attempts = [attempt for place, attempt in source.attempts.items() if place not in source.void]
    begins_with = forked(source.outcomes.values(), attempts, from_step, source.new.id, new.id)
    row = tables.add(new)
    row.due, row.forked_from, row.news = None, source.new.id, source.news  # its outcomes refer to numbers of the source's signals
    row.outcomes = {outcome.key: outcome for outcome in begins_with.outcomes}
    row.numbers = {outcome.seq for outcome in begins_with.outcomes}
    row.attempts = {(attempt.key, attempt.attempt): attempt for attempt in begins_with.attempts}
    row.events.append(Event(at=instant(new.created_at), action="fork", actor=actor))
    return row.hints() | ({Hint.DUE} if row.deadline_at is not None else set())


def expire(tables: Tables, row: Row, now: float) -> set[Hint]:
    """Its deadline has passed."""
    owner = row.worker
    row.error = deadline_exceeded(row.new.id, row.new.workflow, row.new.timeout or 0.0)
    row.end(RunStatus.FAILED, now)
    return row.hints() | tables.notice(owner, row) | tell_parent(tables, row, now)


def take(tables: Tables, row: Row, now: float, max_crashes: int | None) -> set[Hint]:
    """Take a run from its worker, which is dead, or leaves (`max_crashes` None: then no crash is counted)."""
    if row.status is RunStatus.RUNNING and max_crashes is not None:
        row.crashes += 1
        if row.crashes >= max_crashes:
            row.error = worker_crashed(row.new.id, row.new.workflow, row.crashes)
            row.end(RunStatus.FAILED, now)
            return row.hints() | tell_parent(tables, row, now)
    row.worker = None
    if after(row.status, Action.RESCUE) is RunStatus.PENDING:
        row.get_ready(now)
    return row.hints()


def keep_start(row: Row) -> None:
    """Who has started the run, where that was said."""
    if row.new.actor is not None:
        row.events.append(Event(at=instant(row.new.created_at), action="start", actor=row.new.actor))
