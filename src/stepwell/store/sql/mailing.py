"""Signals come into the mailboxes of runs, and those who sleep are woken."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from stepwell.core.children import end_told, mail_from
from stepwell.core.records import News, RunFilter, Signal
from stepwell.core.status import RunStatus
from stepwell.errors import IllegalTransition, MailboxFull, RunNotFound
from stepwell.store.port import MAX_SIGNALS, Hint, Portion
from stepwell.store.sql.claiming import MICROSECONDS
from stepwell.store.sql.reading import matching, within
from stepwell.store.sql.starting import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stepwell.store.sql.transaction import Transaction


async def signal(transaction: Transaction, run_id: str, id: str, name: str, payload: str, now: float, actor: str | None) -> None:
    """See `Store.signal`."""
    as_json([id, name, payload])  # refuses what cannot be stored
    row = await transaction.one("mailbox", run=run_id, id=id)
    if row is None:
        raise RunNotFound(run_id)
    status, _, _, news, is_there = row
    if is_there:
        return
    if RunStatus(status).ended:
        raise IllegalTransition(run_id=run_id, status=status, action="signal")
    if news >= MAX_SIGNALS and await _count(transaction, run_id) >= MAX_SIGNALS:
        raise MailboxFull(run_id=run_id, limit=MAX_SIGNALS)
    await put(transaction, run_id, id, name, payload, now, actor)


async def _count(transaction: Transaction, run_id: str) -> int:
    ((count,),) = await transaction.many("signals", run=run_id)
    return int(count)


async def put(transaction: Transaction, run_id: str, id: str, name: str, payload: str, now: float, actor: str | None = None) -> None:
    """Put this into the mailbox of a run, whatever its status; nothing when it is there already, or the run is not."""
    execute = transaction.execute
    row = await transaction.one("mailbox", run=run_id, id=id)
    if row is None:
        return
    status, worker, deaf, news, is_there = row
    if is_there:
        return
    sent = {"run": run_id, "number": news + 1, "id": id, "name": name, "payload": payload, "now": now}
    if actor is None:
        await execute("send", **sent)
    else:
        await transaction.together("send", "event", **sent, subject=name, at=now, action="signal", actor=actor)
    sleeps = status == RunStatus.SLEEPING and not deaf
    await execute("raise_news", run=run_id, number=news + 1, due=sleeps and worker is not None, now=now)
    if worker is not None:
        await execute("notify", notices=as_json([(worker, run_id)]))
        transaction.hints.add(Hint.NOTICE)
    elif sleeps:
        await execute("awake", run=run_id, now=now)
        transaction.hints.add(Hint.READY)


async def tell_parent(transaction: Transaction, run_id: str, now: float) -> None:
    """A run has ended: if its parent awaits it, put that into the parent's mailbox. Once: a second end, after a retry, is not told."""
    await tell_parents(transaction, [run_id], now)


async def tell_parents(transaction: Transaction, runs: Iterable[str], now: float) -> None:
    """The same for several, in the order of the parents: each of them is locked."""
    ends = [(run_id, row) for run_id in runs if (row := await transaction.one("end", run=run_id)) is not None]
    ends.sort(key=lambda end: end[1][0])
    for run_id, (parent, workflow, status, output, error) in ends:
        payload = end_told(run_id, workflow, RunStatus(status), output, error)
        await put(transaction, parent, run_id, mail_from(run_id), payload, now)


async def signal_all(
    transaction: Transaction,
    where: RunFilter,
    id: str,
    name: str,
    payload: str,
    now: float,
    after: str | None,
    limit: int,
    actor: str | None = None,
) -> Portion:
    """See `Store.signal_all`."""
    live = frozenset(status for status in RunStatus if not status.ended)
    runs = await matching(transaction, within(where, live), limit=limit, start=after)
    done = 0
    for run_id in runs:
        with suppress(MailboxFull, IllegalTransition, RunNotFound):  # it may have ended since it was found, or be deleted
            await signal(transaction, run_id, id, name, payload, now, actor)
            done += 1
    return Portion(done, runs[-1] if len(runs) == limit else None)


async def news(transaction: Transaction, seen: Mapping[str, int]) -> dict[str, News]:
    """See `Store.news`."""
    found: dict[str, tuple[int, list[Signal]]] = {}
    for run_id, last, number, name, payload, sent_at in await transaction.many("news", runs=as_json(list(seen.items()))):
        _, signals = found.setdefault(run_id, (last, []))
        if number is not None:
            signals.append(Signal(number, name, payload, sent_at / MICROSECONDS))
    return {run_id: News(last, tuple(signals)) for run_id, (last, signals) in found.items()}
