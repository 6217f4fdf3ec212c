"""Workers come, beat, die and leave; and runs become due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from stepwell.core.records import UNRESOLVED, NewWorker
from stepwell.core.status import Action, RunStatus, after
from stepwell.store.port import Hint, Look, Notices
from stepwell.store.sqlite.mailing import tell_parent
from stepwell.store.sqlite.starting import as_json
from stepwell.store.verdicts import deadline_exceeded, worker_crashed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from stepwell.store.sqlite.connection import Transaction


def register(transaction: Transaction, statements: Mapping[str, str], worker: NewWorker, socket: str | None) -> None:
    """See `Store.register`."""
    serves = [(each.name, each.version) for each in worker.definitions]
    serves += [(each.name, UNRESOLVED) for each in worker.definitions if each.takes_version]
    transaction.execute(
        statements["register"],
        {
            "id": worker.id, "name": worker.name, "host": worker.host, "pid": worker.pid, "concurrency": worker.concurrency,
            "queues": None if worker.queues is None else to_json(worker.queues).decode(), "lease": worker.lease,
            "serves": to_json(serves).decode(), "socket": socket, "started_at": worker.started_at,
        },
    )  # fmt: skip
    for each in worker.definitions:
        parameters = {**each._asdict(), "version": each.version or "", "published_at": worker.started_at}
        transaction.execute(statements["publish"], parameters)


def rescue(
    transaction: Transaction, statements: Mapping[str, str], worker: str, beat: int, now: float, limit: int, max_crashes: int
) -> int:
    """See `Store.rescue`."""
    if transaction.execute(statements["declare_dead"], {"worker": worker, "beat": beat}).rowcount == 0:
        return 0
    return take_back(transaction, statements, worker, now, limit, max_crashes)


def take_back(
    transaction: Transaction, statements: Mapping[str, str], worker: str, now: float, limit: int, max_crashes: int | None = None
) -> int:
    """Take runs from a worker; without `max_crashes` it leaves, and no crash is counted."""
    rows: list[tuple[Any, ...]] = []
    owned = transaction.many(statements["owned"], worker=worker, limit=limit)
    for run_id, workflow, status, known_crashes in owned:
        running = status == RunStatus.RUNNING
        crashes = known_crashes + (running and max_crashes is not None)
        head = 2 if crashes >= 2 else 1  # noqa: PLR2004  # from the second crash on it is a suspect
        if running and max_crashes is not None and crashes >= max_crashes:
            rows.append((run_id, RunStatus.FAILED, crashes, head, None, now, worker_crashed(run_id, workflow, crashes)))
            transaction.hints.add(Hint.ENDED)
            continue
        target = after(RunStatus(status), Action.RESCUE)
        is_ready = target is RunStatus.PENDING
        transaction.hints.add(Hint.READY if is_ready else Hint.DUE)
        rows.append((run_id, target, crashes, head, now if is_ready else None, None, None))
    if rows:
        transaction.execute(statements["take_back"], {"runs": as_json(rows)})
        for run_id, status, *_ in rows:
            if status is RunStatus.FAILED:
                tell_parent(transaction, statements, run_id, now)
    if len(owned) < limit:
        transaction.execute(statements["forget_worker"], {"worker": worker})
        transaction.execute(statements["forget_notices"], {"worker": worker, "seen": 1 << 62})
    return len(owned)


def look(connection: sqlite3.Connection, statements: Mapping[str, str], worker: str) -> Look:
    """See `Store.look`."""
    ready, due, deadline, notices = connection.execute(statements["look"], {"worker": worker}).fetchone()
    return Look(bool(ready), min((when for when in (due, deadline) if when is not None), default=None), bool(notices))


def make_ready(transaction: Transaction, statements: Mapping[str, str], now: float, limit: int) -> int:
    """See `Store.make_ready`."""
    count = transaction.execute(statements["make_ready"], {"now": now, "limit": limit}).rowcount
    if count:
        transaction.hints.add(Hint.READY)
    return count


def expire(transaction: Transaction, statements: Mapping[str, str], now: float, limit: int) -> int:
    """See `Store.expire`."""
    expired = transaction.many(statements["expired"], now=now, limit=limit)
    if not expired:
        return 0
    rows = [(run_id, deadline_exceeded(run_id, workflow, timeout)) for run_id, workflow, timeout, _ in expired]
    transaction.execute(statements["expire"], {"runs": as_json(rows), "now": now})
    transaction.hints.add(Hint.ENDED)
    for run_id, *_ in rows:
        tell_parent(transaction, statements, run_id, now)
    if owned := [(worker, run_id) for run_id, _, _, worker in expired if worker is not None]:
        transaction.execute(statements["notify"], {"notices": as_json(owned)})
        transaction.hints.add(Hint.NOTICE)
    return len(expired)


def notices(connection: sqlite3.Connection, statements: Mapping[str, str], worker: str, seen: int) -> Notices:
    """See `Store.notices`."""
    last, runs = seen, {}
    for number, run_id, claim, status, is_mine in connection.execute(statements["notices"], {"worker": worker, "seen": seen}):
        last = number
        runs[run_id] = (claim, RunStatus(status)) if is_mine else None
    return Notices(last, runs)
