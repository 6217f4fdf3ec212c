"""What operators do to runs, workflows, queues and workers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from stepwell.core.failure import error_from
from stepwell.core.naming import BODY
from stepwell.core.records import Attempt, NewRun
from stepwell.core.status import Action, RunStatus, after
from stepwell.core.taking_back import forked, retaken
from stepwell.errors import IllegalTransition, RunNotFound
from stepwell.store.port import Hint
from stepwell.store.sql.claiming import outcomes_of
from stepwell.store.sql.mailing import tell_parent
from stepwell.store.sql.reading import get, matching, within
from stepwell.store.sql.starting import Lanes, as_json, enqueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Run, RunFilter
    from stepwell.store.port import Halt
    from stepwell.store.sql.transaction import Transaction

_TABLES: Final = (
    "delete", "delete_inputs", "delete_outcomes", "delete_attempts", "delete_started", "delete_signals", "delete_logs", "delete_events",
)  # fmt: skip
"""Statements that take away what belongs to runs."""


_OPERATORS: Final = frozenset({Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY})


async def operate(transaction: Transaction, run_id: str, action: Action, now: float, actor: str | None) -> Run:
    """See `Store.act`. What is answered is what this action has made of the run, and not what came afterwards."""
    if action not in _OPERATORS:
        raise ValueError(f"{action} is nothing that operators do")
    await act(transaction, run_id, action, now, actor)
    return await get(transaction, run_id)


async def act(transaction: Transaction, run_id: str, action: Action, now: float, actor: str | None) -> None:
    """Do this to a run, with all that follows from it for its worker, its parent and its children."""
    row = await transaction.one("state", run=run_id)
    if row is None:
        raise RunNotFound(run_id)
    known, worker, claim, error = row
    status = RunStatus(known)
    target = after(status, action)
    if target is None:
        raise IllegalTransition(run_id=run_id, status=status, action=action)
    if target is status:
        return
    if action is Action.RETRY:
        await _take_back(transaction, run_id, claim, error)
    await transaction.execute(action.value, run=run_id, now=now)
    if action is Action.CANCEL:
        await tell_parent(transaction, run_id, now)
        await _cancel_children(transaction, run_id, now)
    await _keep_event(transaction, run_id, now, action.value, actor)
    if worker is not None:
        await transaction.execute("notify", notices=as_json([(worker, run_id)]))
        transaction.hints.add(Hint.NOTICE)
    if target.ended:
        transaction.hints.add(Hint.ENDED)
    elif target is RunStatus.PENDING:
        transaction.hints |= {Hint.READY, Hint.DUE}


async def _cancel_children(transaction: Transaction, run_id: str, now: float) -> None:
    """Those that the run awaits."""
    for child, key, created_at in await transaction.many("awaited", run=run_id):
        await transaction.execute("canceled_with_its_parent", run=run_id, key=key, started_at=created_at, now=now)
        await cancel_child(transaction, run_id, child, now)


async def cancel_child(transaction: Transaction, run_id: str, child: str, now: float) -> None:
    """End a child that its parent does not await any more; one that has ended, or is not there, stays so."""
    if await transaction.one("not_awaited", run=child, parent=run_id) is None:
        return
    with suppress(IllegalTransition):
        await act(transaction, child, Action.CANCEL, now, f"run {run_id}")


async def _take_back(transaction: Transaction, run_id: str, claim: int, error: str | None) -> None:
    """What a retry does to the history: see `core.taking_back`."""
    failed = list(error_from(error).steps) if error else []
    back = retaken(await outcomes_of(transaction, run_id), set(failed))
    execute = transaction.execute
    if back.deleted_keys:
        await execute("take_outcomes_back", run=run_id, keys=as_json(back.deleted_keys))
    if back.as_attempts:
        await execute("attempt", attempts=as_json(back.as_attempts))
    await execute("void_attempts", run=run_id, first=back.first, body=BODY, failed=as_json(failed))
    await execute("move_logs", run=run_id, claim=claim, first=back.first)


async def _keep_event(transaction: Transaction, run_id: str, now: float, action: str, actor: str | None) -> None:
    await transaction.execute("event", run=run_id, subject=run_id, at=now, action=action, actor=actor)


async def act_on_all(transaction: Transaction, where: RunFilter, action: Action, now: float, actor: str | None, limit: int) -> int:
    """See `Store.act_on_all`."""
    changed = frozenset(status for status in RunStatus if after(status, action) not in (None, status))
    runs = await matching(transaction, within(where, changed), limit=limit)
    for run_id in runs:
        with suppress(IllegalTransition, RunNotFound):  # others have acted on it since it was found, or have deleted it
            await act(transaction, run_id, action, now, actor)
    return len(runs)  # those, too: less than `limit` says that there are no more


async def fork(transaction: Transaction, lanes: Lanes, source: str, new: NewRun, from_step: str, actor: str | None) -> str:
    """See `Store.fork`."""
    if await transaction.one("state", run=source) is None:
        raise RunNotFound(source)
    if await transaction.one("state", run=new.id) is not None:
        return new.id  # it was made before
    attempts = [_attempt_from(row) for row in await transaction.many("standing_attempts", run=source)]
    begins_with = forked(await outcomes_of(transaction, source), attempts, from_step, source, new.id)
    await enqueue(transaction, lanes, [new._replace(available_at=new.created_at)])
    await transaction.execute("fork", run=new.id, source=source)
    if begins_with.outcomes:
        await transaction.execute("record", outcomes=as_json(begins_with.outcomes))
    if begins_with.attempts:
        await transaction.execute("attempt", attempts=as_json(begins_with.attempts))
    await _keep_event(transaction, new.id, new.created_at, "fork", actor)
    return new.id


def _attempt_from(row: Sequence[Any]) -> Attempt:
    run, claim, key, attempt, asked, canceled, error, started_at, finished_at, due = row
    return Attempt(run, claim, key, attempt, asked, bool(canceled), error, started_at, finished_at, due)


async def delete(transaction: Transaction, run_id: str) -> None:
    """See `Store.delete`."""
    row = await transaction.one("state", run=run_id)
    if row is None:
        raise RunNotFound(run_id)
    if not RunStatus(row[0]).ended:
        raise IllegalTransition(run_id=run_id, status=row[0], action="delete")
    await _delete(transaction, [run_id])


async def delete_all(transaction: Transaction, where: RunFilter, limit: int) -> int:
    """See `Store.delete_all`."""
    ended = frozenset(status for status in RunStatus if status.ended)
    runs = await matching(transaction, within(where, ended), limit=limit, by_end=True)
    if runs:
        await _delete(transaction, runs)
    return len(runs)  # also those that others have deleted or retried since: less than `limit` says that there are no more


async def _delete(transaction: Transaction, runs: Sequence[str]) -> None:
    """Those of the runs that have ended still, now that they are locked."""
    tagged = await transaction.many("tags_of", runs=as_json(runs))
    ids = as_json([run_id for run_id, _ in tagged])
    if tags := [(tag, run_id) for run_id, known in tagged if known for tag in from_json(known)]:
        await transaction.execute("delete_tags", tags=as_json(tags))
    for name in _TABLES:
        await transaction.execute(name, runs=ids)


async def halt(transaction: Transaction, what: Halt, halted: bool, now: float, actor: str | None) -> None:
    """See `Store.halt`."""
    if await transaction.one("halt" if halted else "unhalt", kind=what.kind, name=what.name) is None:
        return  # it was so before
    action = "pause" if halted else "resume"
    await transaction.execute("event", run=None, subject=f"{what.kind} {what.name}", at=now, action=action, actor=actor)
    if not halted:
        transaction.hints.add(Hint.READY)


async def drain(transaction: Transaction, worker: str, now: float, actor: str | None) -> bool:
    """See `Store.drain`."""
    if await transaction.one("drain", worker=worker) is None:
        return False
    await transaction.execute("event", run=None, subject=f"worker {worker}", at=now, action="drain", actor=actor)
    return True
