"""Workers and queues: who is there and how busy, what nobody can run, and asking workers to leave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.exceptions import HTTPException

from stepwell.core.records import UNRESOLVED, Waiting, WorkerState, version_label
from stepwell.errors import TooSlow
from stepwell.web.columns import share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from stepwell.core.records import Backlog, QueueState, RunSummary
    from stepwell.web.site import Visit

_RUNS: Final = 500
"""Running runs that are asked for."""

_SHOWN: Final = 3
"""Of them, beside each worker."""

_BANNERS: Final = 5
"""Workflows that nobody can run, each of which is told by itself."""

SLOTS_WIDTH: Final = 80
"""Of the bar that shows how many slots are taken."""

MOST: Final = 1_000
"""Workers that are looked at: more than anybody has."""

_LATE: Final = 3
"""Leases after which a worker that was not heard of counts as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker, as the page shows it."""

    state: WorkerState
    health: str
    """`alive`, `late` or `lost`, by how long it was not heard of."""
    taken: float
    """How long the bar of its slots is."""
    runs: tuple[RunSummary, ...]
    """Some of those that it executes."""
    others: int
    """How many more it executes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue, as the page shows it."""

    name: str
    paused: bool
    ready: int
    """Runs that wait for nothing but a worker."""
    workers: int
    """Those that are alive and take from it."""


async def show(visit: Visit) -> Response:
    """The page."""
    app = visit.app
    states = await app.workers.list(limit=MOST)
    backlog = await backlog_of(visit)
    runs = await _runs_of(visit) if states else {}
    rows = sorted((_row(state, visit.now, runs.get(state.id, [])) for state in states), key=_place)
    ready = () if backlog is None else backlog.ready
    return visit.page(
        "workers.html",
        tab="workers",
        rows=rows,
        alive=sum(row.health == "alive" for row in rows),
        queues=_queues(await app.queues.list(), ready, states, visit.now),
        stranded=stranded(ready, states, visit.now),
        shown_stranded=_BANNERS,
        slots_width=SLOTS_WIDTH,
        slow=backlog is None,
    )


async def act(visit: Visit) -> Response:
    """Ask a worker to leave, pause a queue, or let it go on."""
    fields, page, actor = await visit.form(), visit.url("workers"), visit.user.actor
    match fields.get("action"):
        case "drain":
            await visit.app.workers.drain(fields.get("worker", ""), actor=actor)
            return visit.back(fields, page, "the worker was asked to leave: it lets its steps end, hands its runs back, and goes")
        case "pause":
            await visit.app.queues.pause(fields.get("queue", ""), actor=actor)
            return visit.back(fields, page, f"queue {fields['queue']} is paused: no run in it begins; those that a worker has go on")
        case "resume":
            await visit.app.queues.resume(fields.get("queue", ""), actor=actor)
            return visit.back(fields, page, f"queue {fields['queue']} goes on")
        case _:
            raise HTTPException(404, "a worker can be drained; a queue can be paused and resumed")


async def backlog_of(visit: Visit) -> Backlog | None:
    """What waits for a worker; None: it would take too long to count."""
    try:
        return await visit.app.overview.backlog()
    except TooSlow:
        return None


_HEALTH: Final = ("alive", "late", "lost")


def health_of(state: WorkerState, now: datetime) -> str:
    """By the worker's own lease: within it a worker is alive, and its runs are nobody else's."""
    silent = now - state.beat_at
    return "alive" if silent <= state.lease else "late" if silent <= _LATE * state.lease else "lost"


async def _runs_of(visit: Visit) -> dict[str, list[RunSummary]]:
    """Runs by the worker that executes them, the newest first; not all, where there are many. None are shown where it takes too long."""
    try:
        page = await visit.app.overview.runs(status="running", limit=_RUNS, explain=False)
    except TooSlow:
        return {}
    found: dict[str, list[RunSummary]] = {}
    for run in page.items:
        found.setdefault(run.worker or "", []).append(run)
    return found


def _row(state: WorkerState, now: datetime, runs: Sequence[RunSummary]) -> WorkerRow:
    taken = share(state.running, state.concurrency, SLOTS_WIDTH)
    others = max(state.running, len(runs)) - len(runs[:_SHOWN])  # which of the two is newer, nobody knows
    return WorkerRow(state=state, health=health_of(state, now), taken=taken, runs=tuple(runs[:_SHOWN]), others=others)


def _place(row: WorkerRow) -> tuple[int, str, str]:
    return (_HEALTH.index(row.health), row.state.name, row.state.id)


def _queues(states: Sequence[QueueState], ready: Sequence[Waiting], workers: Sequence[WorkerState], now: datetime) -> list[QueueRow]:
    alive = [worker for worker in workers if health_of(worker, now) == "alive"]
    return [
        QueueRow(
            name=state.name,
            paused=state.paused,
            ready=sum(each.count for each in ready if each.queue == state.name),
            workers=sum(worker.queues is None or state.name in worker.queues for worker in alive),
        )
        for state in states
    ]


class Stranded(NamedTuple):
    """What no worker can run."""

    label: str
    """`send_mail v2`."""
    runs: int
    """How many of it wait."""
    choice: Mapping[str, str]
    """How an address chooses them."""


def stranded(ready: Sequence[Waiting], workers: Sequence[WorkerState], now: datetime) -> list[Stranded]:
    """What no worker can run that is alive and not about to leave."""
    able = [worker for worker in workers if health_of(worker, now) == "alive" and not worker.draining]
    counts: dict[tuple[str, str | None], int] = {}
    for each in ready:
        if not any(_can_run(worker, each) for worker in able):
            key = (each.workflow, None if each.version == UNRESOLVED else each.version)
            counts[key] = counts.get(key, 0) + each.count
    return sorted(Stranded(version_label(*key), count, _choice(*key)) for key, count in counts.items())


def _choice(workflow: str, version: str | None) -> dict[str, str]:
    return {"workflow": workflow, **({} if version is None else {"version": version}), "status": "pending", "from": "all"}


def _can_run(worker: WorkerState, each: Waiting) -> bool:
    if worker.queues is not None and each.queue not in worker.queues:
        return False
    if each.version == UNRESOLVED:
        return any(name == each.workflow for name, _ in worker.serves)
    return (each.workflow, each.version) in worker.serves or (each.workflow, "*") in worker.serves
