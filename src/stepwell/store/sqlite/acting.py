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
from stepwell.store.sqlite.claiming import outcomes_of
from stepwell.store.sqlite.mailing import tell_parent
from stepwell.store.sqlite.reading import matching, within
from stepwell.store.sqlite.starting import Lanes, as_json, enqueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.core.records import RunFilter
    from stepwell.store.port import Halt
    from stepwell.store.sqlite.connection import Transaction

_TABLES: Final = (
    "delete", "delete_inputs", "delete_outcomes", "delete_attempts", "delete_started", "delete_signals", "delete_logs", "delete_events",
)  # fmt: skip
"""Statements that take away what belongs to runs."""


def act(transaction: Transaction, statements: Mapping[str, str], run_id: str, action: Action, now: float, actor: str | None) -> None:
    """See `Store.act`."""
    row = transaction.execute(statements["state"], {"run": run_id}).fetchone()
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
        _take_back(transaction, statements, run_id, claim, error)
    transaction.execute(statements[action.value], {"run": run_id, "now": now})
    if action is Action.CANCEL:
        tell_parent(transaction, statements, run_id, now)
        _cancel_children(transaction, statements, run_id, now)
    _keep_event(transaction, statements, run_id, now, action.value, actor)
    if worker is not None:
        transaction.execute(statements["notify"], {"notices": as_json([(worker, run_id)])})
        transaction.hints.add(Hint.NOTICE)
    if target.ended:
        transaction.hints.add(Hint.ENDED)
    elif target is RunStatus.PENDING:
        transaction.hints |= {Hint.READY, Hint.DUE}


def _cancel_children(transaction: Transaction, statements: Mapping[str, str], run_id: str, now: float) -> None:
    """Those that the run awaits."""
    for child, key, created_at in transaction.execute(statements["awaited"], {"run": run_id}).fetchall():
        parameters = {"run": run_id, "key": key, "started_at": created_at, "now": now}
        transaction.execute(statements["canceled_with_its_parent"], parameters)
        cancel_child(transaction, statements, run_id, child, now)


def cancel_child(transaction: Transaction, statements: Mapping[str, str], run_id: str, child: str, now: float) -> None:
    """End a child that its parent does not await any more; one that has ended, or is not there, stays so."""
    if transaction.execute(statements["not_awaited"], {"run": child, "parent": run_id}).fetchone() is None:
        return
    with suppress(IllegalTransition):
        act(transaction, statements, child, Action.CANCEL, now, f"run {run_id}")


def _take_back(transaction: Transaction, statements: Mapping[str, str], run_id: str, claim: int, error: str | None) -> None:
    """What a retry does to the history: see `core.taking_back`."""
    failed = list(error_from(error).steps) if error else []
    back = retaken(outcomes_of(transaction.connection, statements, run_id), set(failed))
    execute = transaction.execute
    if back.deleted_keys:
        execute(statements["take_outcomes_back"], {"run": run_id, "keys": as_json(back.deleted_keys)})
    if back.as_attempts:
        execute(statements["attempt"], {"attempts": as_json(back.as_attempts)})
    execute(statements["void_attempts"], {"run": run_id, "first": back.first, "body": BODY, "failed": as_json(failed)})
    execute(statements["move_logs"], {"run": run_id, "claim": claim, "first": back.first})


def _keep_event(transaction: Transaction, statements: Mapping[str, str], run_id: str, now: float, action: str, actor: str | None) -> None:
    transaction.execute(statements["event"], {"run": run_id, "subject": run_id, "at": now, "action": action, "actor": actor})


def act_on_all(
    transaction: Transaction, statements: Mapping[str, str], where: RunFilter, action: Action, now: float, actor: str | None, limit: int
) -> int:
    """See `Store.act_on_all`."""
    changed = frozenset(status for status in RunStatus if after(status, action) not in (None, status))
    runs = matching(transaction.connection, statements, within(where, changed), limit=limit)
    for run_id in runs:
        act(transaction, statements, run_id, action, now, actor)
    return len(runs)


def fork(
    transaction: Transaction, statements: Mapping[str, str], lanes: Lanes, source: str, new: NewRun, from_step: str, actor: str | None
) -> str:
    """See `Store.fork`."""
    if transaction.execute(statements["state"], {"run": source}).fetchone() is None:
        raise RunNotFound(source)
    if transaction.execute(statements["state"], {"run": new.id}).fetchone() is not None:
        return new.id  # it was made before
    attempts = [_attempt_from(row) for row in transaction.execute(statements["standing_attempts"], {"run": source})]
    begins_with = forked(outcomes_of(transaction.connection, statements, source), attempts, from_step, source, new.id)
    enqueue(transaction, statements, lanes, [new._replace(available_at=new.created_at)])
    transaction.execute(statements["fork"], {"run": new.id, "source": source})
    if begins_with.outcomes:
        transaction.execute(statements["record"], {"outcomes": as_json(begins_with.outcomes)})
    if begins_with.attempts:
        transaction.execute(statements["attempt"], {"attempts": as_json(begins_with.attempts)})
    _keep_event(transaction, statements, new.id, new.created_at, "fork", actor)
    return new.id


def _attempt_from(row: Sequence[Any]) -> Attempt:
    run, claim, key, attempt, asked, canceled, error, started_at, finished_at, due = row
    return Attempt(run, claim, key, attempt, asked, bool(canceled), error, started_at, finished_at, due)


def delete(transaction: Transaction, statements: Mapping[str, str], run_id: str) -> None:
    """See `Store.delete`."""
    row = transaction.execute(statements["state"], {"run": run_id}).fetchone()
    if row is None:
        raise RunNotFound(run_id)
    if not RunStatus(row[0]).ended:
        raise IllegalTransition(run_id=run_id, status=row[0], action="delete")
    _delete(transaction, statements, [run_id])


def delete_all(transaction: Transaction, statements: Mapping[str, str], where: RunFilter, limit: int) -> int:
    """See `Store.delete_all`."""
    ended = frozenset(status for status in RunStatus if status.ended)
    runs = matching(transaction.connection, statements, within(where, ended), limit=limit)
    if runs:
        _delete(transaction, statements, runs)
    return len(runs)


def _delete(transaction: Transaction, statements: Mapping[str, str], runs: Sequence[str]) -> None:
    ids = as_json(runs)
    tags = [(tag, run_id) for run_id, known in transaction.execute(statements["tags_of"], {"runs": ids}) for tag in from_json(known)]
    if tags:
        transaction.execute(statements["delete_tags"], {"tags": as_json(tags)})
    for name in _TABLES:
        transaction.execute(statements[name], {"runs": ids})


def halt(transaction: Transaction, statements: Mapping[str, str], what: Halt, halted: bool, now: float, actor: str | None) -> None:
    """See `Store.halt`."""
    parameters = {"kind": what.kind, "name": what.name}
    if transaction.execute(statements["halt" if halted else "unhalt"], parameters).fetchone() is None:
        return  # it was so before
    action = "pause" if halted else "resume"
    subject = f"{what.kind} {what.name}"
    transaction.execute(statements["event"], {"run": None, "subject": subject, "at": now, "action": action, "actor": actor})
    if not halted:
        transaction.hints.add(Hint.READY)


def drain(transaction: Transaction, statements: Mapping[str, str], worker: str, now: float, actor: str | None) -> bool:
    """See `Store.drain`."""
    if transaction.execute(statements["drain"], {"worker": worker}).fetchone() is None:
        return False
    subject = f"worker {worker}"
    transaction.execute(statements["event"], {"run": None, "subject": subject, "at": now, "action": "drain", "actor": actor})
    return True
