"""Signals come into the mailboxes of runs, and those who sleep are woken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import from_json

from stepwell.core.children import end_told, mail_from
from stepwell.core.records import News, RunFilter, Signal
from stepwell.core.status import RunStatus
from stepwell.errors import IllegalTransition, MailboxFull, RunNotFound
from stepwell.store.port import MAX_SIGNALS, Hint, Portion
from stepwell.store.sqlite.claiming import MICROSECONDS
from stepwell.store.sqlite.reading import matching, within
from stepwell.store.sqlite.starting import as_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from stepwell.store.sqlite.connection import Transaction


def signal(transaction: Transaction, statements: Mapping[str, str], run_id: str, id: str, name: str, payload: str, now: float) -> None:
    """See `Store.signal`."""
    as_json([id, name, payload])  # refuses what cannot be stored
    row = transaction.execute(statements["mailbox"], {"run": run_id, "id": id}).fetchone()
    if row is None:
        raise RunNotFound(run_id)
    status, _, _, news, is_there = row
    if is_there:
        return
    if RunStatus(status).ended:
        raise IllegalTransition(run_id=run_id, status=status, action="signal")
    if news >= MAX_SIGNALS and transaction.execute(statements["signals"], {"run": run_id}).fetchone()[0] >= MAX_SIGNALS:
        raise MailboxFull(run_id=run_id, limit=MAX_SIGNALS)
    put(transaction, statements, run_id, id, name, payload, now)


def put(transaction: Transaction, statements: Mapping[str, str], run_id: str, id: str, name: str, payload: str, now: float) -> None:
    """Put this into the mailbox of a run, whatever its status; nothing when it is there already, or the run is not."""
    execute = transaction.execute
    row = execute(statements["mailbox"], {"run": run_id, "id": id}).fetchone()
    if row is None:
        return
    status, worker, deaf, news, is_there = row
    if is_there:
        return
    parameters = {"run": run_id, "number": news + 1, "now": now}
    execute(statements["send"], {**parameters, "id": id, "name": name, "payload": payload})
    sleeps = status == RunStatus.SLEEPING and not deaf
    execute(statements["raise_news"], {**parameters, "due": sleeps and worker is not None})
    if worker is not None:
        execute(statements["notify"], {"notices": as_json([(worker, run_id)])})
        transaction.hints.add(Hint.NOTICE)
    elif sleeps:
        execute(statements["awake"], {"run": run_id, "now": now})
        transaction.hints.add(Hint.READY)


def tell_parent(transaction: Transaction, statements: Mapping[str, str], run_id: str, now: float) -> None:
    """A run has ended: if its parent awaits it, put that into the parent's mailbox. Once: a second end, after a retry, is not told."""
    row = transaction.execute(statements["end"], {"run": run_id}).fetchone()
    if row is not None:
        parent, workflow, status, output, error = row
        payload = end_told(run_id, workflow, RunStatus(status), output, error)
        put(transaction, statements, parent, run_id, mail_from(run_id), payload, now)


def signal_all(
    transaction: Transaction, statements: Mapping[str, str], where: RunFilter, id: str, name: str, payload: str, now: float,
    after: str | None, limit: int,
) -> Portion:  # fmt: skip
    """See `Store.signal_all`."""
    live = frozenset(status for status in RunStatus if not status.ended)
    runs = matching(transaction.connection, statements, within(where, live), limit=limit, start=after)
    done = 0
    for run_id in runs:
        try:
            signal(transaction, statements, run_id, id, name, payload, now)
        except MailboxFull:
            continue
        done += 1
    return Portion(done, runs[-1] if len(runs) == limit else None)


def news(connection: sqlite3.Connection, statements: Mapping[str, str], seen: Mapping[str, int]) -> dict[str, News]:
    """See `Store.news`."""
    (text,) = connection.execute(statements["news"], {"runs": as_json(list(seen.items()))}).fetchone()
    found: dict[str, tuple[int, list[Signal]]] = {}
    for run_id, last, number, name, payload, sent_at in from_json(text):
        _, signals = found.setdefault(run_id, (last, []))
        if number is not None:
            signals.append(Signal(number, name, payload, sent_at / MICROSECONDS))
    return {run_id: News(last, tuple(signals)) for run_id, (last, signals) in found.items()}
