"""Cancels runs, and with them the children that they await."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.core.records import Attempt, Event, instant
from stepwell.core.status import Action, RunStatus
from stepwell.store.memory.mailing import tell_parent

if TYPE_CHECKING:
    from stepwell.store.memory.tables import Row, Tables
    from stepwell.store.port import Hint


def cancel(tables: Tables, row: Row, now: float, actor: str | None) -> set[Hint]:
    """End a run that has not ended, and what it awaits."""
    owner = row.worker
    row.end(RunStatus.CANCELED, now)
    row.events.append(Event(at=instant(now), action=Action.CANCEL.value, actor=actor))
    told = row.hints() | tables.notice(owner, row) | tell_parent(tables, row, now)
    awaited = [each for each in tables.rows.values() if each.new.parent_id == row.new.id and each.new.awaited_as is not None]
    for child in awaited:
        if not child.status.ended:
            _void(row, child, now)
            told |= cancel_child(tables, row.new.id, child.new.id, now)
    return told


def _void(row: Row, child: Row, now: float) -> None:
    """When the run is retried, its step has another child."""
    key = child.new.awaited_as or ""
    number = 1 + max((attempt for known, attempt in row.attempts if known == key), default=0)
    row.attempts[key, number] = Attempt(row.new.id, row.claim, key, number, 0, True, None, child.new.created_at, now, None)
    row.void.add((key, number))


def cancel_child(tables: Tables, run_id: str, child_id: str, now: float) -> set[Hint]:
    """End a child that its parent does not await any more; one that has ended, or is not there, stays so."""
    child = tables.rows.get(child_id)
    if child is None or child.new.parent_id != run_id:
        return set()
    child.new = child.new._replace(awaited_as=None)
    return set() if child.status.ended else cancel(tables, child, now, f"run {run_id}")
