"""Workers come, beat, die and leave; and runs become due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from stepwell.core.records import UNRESOLVED, NewWorker
from stepwell.core.status import Action, RunStatus, after
from stepwell.store.port import Hint, Look, Notices
from stepwell.store.sql.mailing import tell_parents
from stepwell.store.sql.starting import as_json
from stepwell.store.verdicts import deadline_exceeded, worker_crashed

if TYPE_CHECKING:
    from stepwell.store.sql.transaction import Transaction


async def register(transaction: Transaction, worker: NewWorker, socket: str | None) -> None:
    """See `Store.register`. `socket` tells others of the same machine whether its process lives."""
    serves = [(each.name, each.version) for each in worker.definitions]
    serves += [(each.name, UNRESOLVED) for each in worker.definitions if each.takes_version]
    await transaction.execute(
        "register", id=worker.id, name=worker.name, host=worker.host, pid=worker.pid, concurrency=worker.concurrency,
        queues=None if worker.queues is None else to_json(worker.queues).decode(), lease=worker.lease, serves=to_json(serves).decode(),
        socket=socket, started_at=worker.started_at,
    )  # fmt: skip
    for each in sorted(worker.definitions, key=lambda each: (each.name, each.version or "")):
        parameters = {**each._asdict(), "version": each.version or "", "published_at": worker.started_at}
        await transaction.execute("publish", **parameters)


async def rescue(transaction: Transaction, worker: str, beat: int, now: float, limit: int, max_crashes: int) -> int:
    """See `Store.rescue`."""
    if await transaction.execute("declare_dead", worker=worker, beat=beat) == 0:
        return 0
    return await take_back(transaction, worker, now, limit, max_crashes)


async def take_back(transaction: Transaction, worker: str, now: float, limit: int, max_crashes: int | None = None) -> int:
    """Take runs from a worker; without `max_crashes` it leaves, and no crash is counted."""
    rows: list[tuple[Any, ...]] = []
    if max_crashes is None:
        await transaction.one("leaving", worker=worker)
    owned = await transaction.many("owned", worker=worker, limit=limit)
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
        await transaction.execute("take_back", runs=as_json(rows))
        await tell_parents(transaction, [run_id for run_id, status, *_ in rows if status is RunStatus.FAILED], now)
    if len(owned) < limit:
        await transaction.execute("forget_worker", worker=worker)
        await forget_notices(transaction, worker, 1 << 62)
    return len(owned)


async def look(transaction: Transaction, worker: str) -> Look:
    """See `Store.look`."""
    ((ready, due, deadline, notices, schedules),) = await transaction.many("look", worker=worker)
    return Look(bool(ready), min((when for when in (due, deadline) if when is not None), default=None), bool(notices), schedules)


async def make_ready(transaction: Transaction, now: float, limit: int) -> int:
    """See `Store.make_ready`."""
    count = await transaction.execute("make_ready", now=now, limit=limit)
    if count:
        transaction.hints.add(Hint.READY)
    return count


async def expire(transaction: Transaction, now: float, limit: int) -> int:
    """See `Store.expire`."""
    expired = await transaction.many("expired", now=now, limit=limit)
    if not expired:
        return 0
    rows = [(run_id, deadline_exceeded(run_id, workflow, timeout)) for run_id, workflow, timeout, _ in expired]
    await transaction.execute("expire", runs=as_json(rows), now=now)
    transaction.hints.add(Hint.ENDED)
    await tell_parents(transaction, [run_id for run_id, _ in rows], now)
    if owned := [(worker, run_id) for run_id, _, _, worker in expired if worker is not None]:
        await transaction.execute("notify", notices=as_json(owned))
        transaction.hints.add(Hint.NOTICE)
    return len(expired)


async def forget_notices(transaction: Transaction, worker: str, seen: int) -> None:
    """Forget those up to the number `seen`: the worker has heeded them."""
    await transaction.execute("forget_notices", worker=worker, seen=seen)


async def notices(transaction: Transaction, worker: str, seen: int) -> Notices:
    """See `Store.notices`. Nothing is forgotten: `forget_notices` comes first."""
    last, runs = seen, {}
    for number, run_id, claim, status, is_mine in await transaction.many("notices", worker=worker, seen=seen):
        last = number
        runs[run_id] = (claim, RunStatus(status)) if is_mine else None
    return Notices(last, runs)
