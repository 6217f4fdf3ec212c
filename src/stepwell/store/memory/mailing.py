"""Signals come into the mailboxes of runs, and those who sleep are woken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.core.children import end_told, mail_from
from stepwell.core.records import Event, Signal, instant
from stepwell.core.status import RunStatus
from stepwell.errors import IllegalTransition, MailboxFull
from stepwell.store.memory.tables import is_storable
from stepwell.store.port import MAX_SIGNALS, Hint, WriteRefused

if TYPE_CHECKING:
    from stepwell.store.memory.tables import Row, Tables


def signal(tables: Tables, row: Row, id: str, name: str, payload: str, now: float, actor: str | None) -> set[Hint]:
    """Send it. Raises IllegalTransition, MailboxFull."""
    for text in (id, name, payload):
        if not is_storable(text):
            raise WriteRefused(f"a signal of run {row.new.id!r} has a NUL or a lone surrogate: {text[:80]!r}")
    if id in row.sent:
        return set()
    if row.status.ended:
        raise IllegalTransition(run_id=row.new.id, status=row.status, action="signal")
    if sum(not sent.name.startswith("~") for sent in row.signals.values()) >= MAX_SIGNALS:  # what children say, nobody can limit
        raise MailboxFull(run_id=row.new.id, limit=MAX_SIGNALS)
    if actor is not None:
        row.events.append(Event(at=instant(now), action="signal", actor=actor, signal=name))
    return put(tables, row, id, name, payload, now)


def put(tables: Tables, row: Row, id: str, name: str, payload: str, now: float) -> set[Hint]:
    """Put it into the mailbox, whatever the run's status; nothing when it is there already."""
    if id in row.sent:
        return set()
    row.news += 1
    row.sent.add(id)
    row.signals[row.news] = Signal(row.news, name, payload, now)
    sleeps = row.status is RunStatus.SLEEPING and not row.deaf
    if row.worker is not None:
        if sleeps:
            row.due = now  # should its worker be gone, it is made ready
        return tables.notice(row.worker, row)
    if sleeps:
        row.get_ready(now)
        return row.hints()
    return set()


def tell_parent(tables: Tables, row: Row, now: float) -> set[Hint]:
    """A run has ended: if its parent awaits it, put that into the parent's mailbox. Once: a second end, after a retry, is not told."""
    new = row.new
    parent = tables.rows.get(new.parent_id or "")
    if parent is None or new.awaited_as is None:
        return set()
    return put(tables, parent, new.id, mail_from(new.id), end_told(new.id, new.workflow, row.status, row.output, row.error), now)
