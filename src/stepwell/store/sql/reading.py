"""What users read: runs, pages of them, steps, lines and workers."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic_core import from_json, to_json

from stepwell.core.failure import error_from
from stepwell.core.naming import BODY, can_be_kept
from stepwell.core.records import (
    UNRESOLVED,
    Definition,
    Event,
    Kind,
    LogLine,
    Page,
    Run,
    RunFilter,
    RunProgress,
    StepRecord,
    WorkerState,
    instant,
    optional_instant,
    version_label,
)
from stepwell.core.registry import Lane
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound
from stepwell.store.port import Ended, Halt
from stepwell.store.shown import read_cursor, settled, unsettled
from stepwell.store.sql.claiming import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from stepwell.store.sql.transaction import Transaction

T = TypeVar("T")

STATUS: Final = {str(status): status for status in RunStatus}
"""By the text of the column: ten times as fast as to call the enum."""

_FEW: Final = frozenset(RunStatus) - {RunStatus.COMPLETED}
"""Statuses that few runs have, for long: their own index finds them sooner than that of the workflow."""


# -- runs


async def get(transaction: Transaction, run_id: str) -> Run:
    """See `Store.get`."""
    rows = await transaction.records("get", run=run_id)
    if not rows:
        raise RunNotFound(run_id)
    return run_of(rows[0])


def run_of(row: dict[str, Any]) -> Run:
    """A run from its row."""
    progress = None if row["progress"] is None else from_json(row["progress"])
    return Run(
        id=row["id"],
        workflow=row["workflow"],
        version=None if row["version"] == UNRESOLVED else row["version"] or None,
        status=RunStatus(row["status"]),
        input=from_json(row["input"]) if row["input"] else None,  # it may be to be computed yet
        output=None if row["output"] is None else from_json(row["output"]),
        error=None if row["error"] is None else error_from(row["error"]),
        attempt=row["attempt"],
        key=row["key"],
        queue=row["queue"],
        priority=row["priority"],
        tags=tuple(from_json(row["tags"])) if row["tags"] else (),
        parent_id=row["parent_id"],
        forked_from=row["forked_from"],
        schedule=row["schedule"],
        scheduled_at=optional_instant(row["scheduled_at"]),
        progress=None if progress is None else RunProgress(**progress),
        created_at=instant(row["created_at"]),
        available_at=instant(row["available_at"]),
        deadline_at=optional_instant(row["deadline_at"]),
        started_at=optional_instant(row["started_at"]),
        finished_at=optional_instant(row["finished_at"]),
        worker=row["worker"],
        claimed_at=optional_instant(row["claimed_at"]),
        claimed_by=row["claimed_by"],
    )


# -- pages


async def find(transaction: Transaction, where: RunFilter, newest: bool, limit: int, cursor: str | None) -> Page[Run]:
    """See `Store.find`."""
    page = await ids_of_page(transaction, where, newest, limit, cursor)
    rows = await transaction.records("shown", runs=to_json(page.items).decode())
    return replace(page, items=tuple(run_of(row) for row in rows))


async def ids_of_page(transaction: Transaction, where: RunFilter, newest: bool, limit: int, cursor: str | None) -> Page[Any]:
    """A page with the ids of its runs."""
    direction, start = turn_of(newest, cursor)
    return page_of(await matching(transaction, where, newest=direction, limit=limit + 1, start=start), limit, cursor, str)


def turn_of(newest: bool, cursor: str | None) -> tuple[bool, str | None]:
    """Whether a page is read from the newest on, and from which run. A page before another is read from its end. Raises ValueError."""
    direction, start = ("n", None) if cursor is None else read_cursor(cursor)
    return newest is not (direction == "p"), start


def page_of(found: Sequence[T], limit: int, cursor: str | None, id_of: Callable[[T], str]) -> Page[T]:
    """A page of what was found as `turn_of` says: up to one more than fits on it."""
    more, items = len(found) > limit, tuple(found[:limit])
    backwards = cursor is not None and cursor.startswith("p")
    if backwards:
        items = items[::-1]
    has_next, has_previous = (bool(items), more) if backwards else (more, cursor is not None and bool(items))
    return Page(
        items=items,
        next_cursor=f"n:{id_of(items[-1])}" if has_next else None,
        previous_cursor=f"p:{id_of(items[0])}" if has_previous else None,
    )


class Part(NamedTuple):
    """Runs that are read by one index."""

    condition: str
    """The index's own; empty: all runs, in the order of their ids."""
    column: str = ""
    """Of the index, before the id: those of one value."""
    by_end: bool = False
    whole: bool = False
    """All that the index finds are meant, so that no row is looked at."""


class Span(NamedTuple):
    """Runs by their ids."""

    low: str
    """From this one on."""
    high: str
    """Below this one."""


_ALL: Final = Span("", "~")


async def matching(
    transaction: Transaction, where: RunFilter, *, limit: int, newest: bool = False, start: str | None = None, by_end: bool = False
) -> list[str]:
    """The ids of runs that match, by age, beyond `start`. Each status is read by its own index, in order; then they are merged.

    With `by_end`, of those that ended before a time the first that did are taken: no other is looked at.
    """
    asked = asked_for(transaction, where, limit=limit, newest=newest, start=start, by_end=by_end)
    found = [] if asked is None else await transaction.query(asked.text, asked.parameters)
    return sorted((row[0] for row in found), reverse=newest)[:limit]


class Asked(NamedTuple):
    """A statement that was put together."""

    text: str
    parameters: dict[str, Any]
    parts: int
    """How many statements it is made of: each has an order, and a limit of its own."""


def asked_for(
    transaction: Transaction, where: RunFilter, *, limit: int, newest: bool, start: str | None = None, by_end: bool = False
) -> Asked | None:
    """What finds the runs that match: up to `limit` of each status, in no order. None: none can match."""
    span = span_of(where, start, newest=newest)
    beyond = "AND r.id <> :start" if start is not None else ""
    parts = parts_of(transaction, where, by_end=by_end)
    statements = [listing(transaction, where, part, span, newest=newest, also=beyond) for part in parts]
    given = {**parameters(where, span), "limit": limit, "start": start}
    return Asked(united(statements), given, len(statements)) if statements else None


def span_of(where: RunFilter, start: str | None = None, *, newest: bool = False) -> Span:
    """The ids that the filter allows, up to where a page begins, or from there."""
    lows = [where.id_prefix, where.id_from, None if newest else start]
    highs = [where.id_prefix and f"{where.id_prefix}~", where.id_below, start if newest else None]
    return Span(max(filter(None, lows), default=_ALL.low), min(filter(None, highs), default=_ALL.high))


def united(statements: Sequence[str]) -> str:
    """One statement of several that each have an order and a limit."""
    if len(statements) == 1:
        return statements[0]
    numbered = enumerate(statements)
    return "\nUNION ALL\n".join(f"SELECT * FROM (\n{text}\n) part{number}" for number, text in numbered)  # noqa: S608  # named ones


def parts_of(transaction: Transaction, where: RunFilter, *, by_end: bool = False) -> list[Part]:
    """Parts that together hold all runs that match, none of them a run of another's, each with the index that finds it soonest."""
    if where.within is not None:
        return [Part("")]
    if where.statuses is not None and (where.statuses <= _FEW or (where.workflow is None and not where.tags)):
        if by_end and where.finished_before is not None:
            return [Part(f"AND r.status = '{status}' AND r.finished_at < :finished_before", by_end=True) for status in where.statuses]
        whole = _is_only(where, "statuses")
        return [Part(of_status(transaction, status), "r.status", whole=whole) for status in where.statuses]
    if where.workflow is not None:
        return [Part(transaction.part("of_workflow"), "r.workflow", whole=_is_only(where, "workflow"))]
    return [Part("", whole=_is_only(where))]


def of_status(transaction: Transaction, status: RunStatus, name: str = "of_status") -> str:
    """The condition of a status, written out: one statement reads several."""
    return transaction.part(name).replace(":status", f"'{status}'")


def _is_only(where: RunFilter, *names: str) -> bool:
    """Whether it filters by nothing but this, and by ids."""
    left_out: dict[str, Any] = dict.fromkeys((*names, "id_prefix", "id_from", "id_below"))
    return replace(where, **left_out) == RunFilter()


def within(where: RunFilter, statuses: frozenset[RunStatus]) -> RunFilter:
    """The filter, for runs in one of these statuses only."""
    return replace(where, statuses=statuses if where.statuses is None else statuses & where.statuses)


def listing(transaction: Transaction, where: RunFilter, part: Part, span: Span, *, newest: bool, also: str = "") -> str:
    """The statement that reads the ids of a part in order, up to `:limit`: those for which `also` holds."""
    by_tag = bool(where.tags) and not part.condition and where.within is None
    base = "find_newest" if where.within is not None else "find_by_tag" if by_tag else "find"
    run = "t.run" if by_tag else "r.id"
    columns = ["r.finished_at"] if part.by_end else [part.column, run]
    order = ", ".join(f"{column} {'DESC' if newest else 'ASC'}" for column in columns if column)
    filters = "" if part.whole else transaction.part("filters")
    texts = (transaction.part(base), part.condition, _ids(span, run), also, filters, f"ORDER BY {order} LIMIT :limit")
    return "\n".join(filter(None, texts))


def _ids(span: Span, run: str) -> str:
    """The condition for ids, where there is one."""
    low = f"AND {run} >= :low" if span.low != _ALL.low else ""
    high = f"AND {run} < :high" if span.high != _ALL.high else ""
    return f"{low} {high}".strip()


def parameters(where: RunFilter, span: Span) -> dict[str, Any]:
    """What statements that were put together for this filter are given."""
    return {
        "workflow": where.workflow,
        "version": where.version,
        "queue": where.queue,
        "statuses": None if where.statuses is None else to_json([str(status) for status in where.statuses]).decode(),
        "created_after": where.created_after,
        "created_before": where.created_before,
        "finished_before": where.finished_before,
        "tags": to_json(where.tags).decode() if where.tags else None,
        "tag": where.tags[0] if where.tags else None,
        "search": None if where.search is None else like(where.search),
        "unseen": to_json([_in_any_case(part) for part in where.unseen]).decode() if where.unseen else None,
        "id_from": where.id_from,
        "id_below": where.id_below,
        "within": where.within,
        "low": span.low,
        "high": span.high,
    }


def like(text: str) -> str:
    """The pattern of LIKE for what has this text in it."""
    return f"%{_escaped(text)}%"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


_ALSO_SMALL: Final = {
    "i": "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}",
    "k": "\N{KELVIN SIGN}",
    "å": "\N{ANGSTROM SIGN}",
    "ω": "\N{OHM SIGN}",
}
"""Signs of which Python makes these as it makes small letters."""


def _in_any_case(part: str) -> str:
    """A pattern, of GLOB as well as of regular expressions, for the name that is this in small letters.

    SQLite knows capitals of ASCII only, and PostgreSQL those of its locale. For what is no letter any sign may stand.
    """
    return "".join(f"[{sign}{sign.upper()[:1]}{_ALSO_SMALL.get(sign, '')}]" if sign.isalnum() else "[^a]" for sign in part)


async def count(transaction: Transaction, where: RunFilter) -> dict[RunStatus, int]:
    """See `Store.count`."""
    counts: dict[str, int] = {}
    if where == RunFilter():
        counts.update(_pairs(await transaction.many("count_all")))
    else:
        base, filters, span = transaction.part("count"), transaction.part("filters"), span_of(where)
        for part in parts_of(transaction, where, by_end=True):
            statement = "\n".join(filter(None, (base, part.condition, _ids(span, "r.id"), filters, "GROUP BY r.status")))
            counts.update(_pairs(await transaction.query(statement, parameters(where, span))))
    return {status: counts[status] for status in RunStatus if status in counts}


def _pairs(rows: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    return [(status, count) for status, count in rows]


async def ended(transaction: Transaction, run_ids: Collection[str]) -> dict[str, Ended | None]:
    """See `Store.ended`."""
    nowhere = {run_id: None for run_id in run_ids if "\0" in run_id}  # a database would ask for what is before it, or for nothing
    known = [run_id for run_id in run_ids if run_id not in nowhere] if nowhere else list(run_ids)
    return nowhere | {
        run_id: None if workflow is None else Ended(workflow, STATUS[status], output, error)
        for run_id, workflow, status, output, error in await transaction.many("ended", runs=to_json(known).decode())
    }


# -- what belongs to a run


async def steps(transaction: Transaction, run_id: str) -> list[StepRecord]:
    """See `Store.steps`."""
    await check(transaction, run_id)
    records: list[tuple[tuple[float, float, int], StepRecord]] = [
        ((outcome.started_at, outcome.asked, outcome.attempt), settled(outcome))
        for outcome in await outcomes_of(transaction, run_id)
        if outcome.kind != Kind.TIMER
    ]
    for row in await transaction.many("attempts", run=run_id, body=BODY):
        _, _, key, attempt, asked, canceled, error, started_at, finished_at, due = row
        status = "canceled" if canceled else "failed"
        records.append(((started_at, asked, attempt), unsettled(key, attempt, status, error, started_at, finished_at, due)))
    records += [
        ((started_at, math.inf, attempt), unsettled(key, attempt, "running", None, started_at, None))
        for key, attempt, started_at in await transaction.many("under_way", run=run_id)
    ]
    records.sort(key=lambda each: each[0])
    return [record for _, record in records]


async def check(transaction: Transaction, run_id: str) -> None:
    """Raises RunNotFound."""
    if await transaction.one("is_there", run=run_id) is None:
        raise RunNotFound(run_id)


async def logs(
    transaction: Transaction, run_id: str, after: int, limit: int, step: str | None, levels: Collection[str] | None, last: bool
) -> list[LogLine]:
    """See `Store.logs`."""
    if step is not None and not can_be_kept(step):
        return []  # no step has such a key
    wanted = None if levels is None else to_json(list(levels)).decode()
    rows = await transaction.many("last_logs" if last else "logs", run=run_id, after=after, limit=limit, step=step, levels=wanted)
    if not rows:
        await check(transaction, run_id)
    return [
        LogLine(at=instant(at), level=level, message=message, fields=from_json(fields), step=by)
        for at, level, message, fields, by in (reversed(rows) if last else rows)
        if level is not None
    ]


async def events(transaction: Transaction, run_id: str, limit: int) -> list[Event]:
    """See `Store.events`."""
    rows = await transaction.many("events", run=run_id, limit=limit)
    if not rows:
        raise RunNotFound(run_id)
    return [event_of(*row) for row in rows if row[1] is not None]


def event_of(at: float, action: str, actor: str | None, subject: str) -> Event:
    """What was done to a run, from its row."""
    return Event(at=instant(at), action=action, actor=actor, signal=subject if action == "signal" else None)


# -- workers, and what else is known of a whole


async def definitions(transaction: Transaction) -> list[Definition]:
    """See `Store.definitions`."""
    return [definition_of(row) for row in await transaction.many("definitions")]


def definition_of(row: Sequence[Any]) -> Definition:
    """What is published, from its row."""
    name, version, queue, priority, timeout, takes_version, *texts = row
    return Definition(name, version or None, queue, priority, timeout, bool(takes_version), *texts)


async def halts(transaction: Transaction) -> frozenset[Halt]:
    """See `Store.halts`."""
    return frozenset(Halt(*row) for row in await transaction.many("halts"))


async def lanes(transaction: Transaction) -> frozenset[Lane]:
    """See `Store.lanes`."""
    rows = await transaction.many("lanes", known=0)
    return frozenset(Lane(queue, workflow, version or None) for _, queue, workflow, version in rows)


async def standing(transaction: Transaction, worker: str) -> dict[str, tuple[int, RunStatus]]:
    """See `Store.standing`."""
    return {run_id: (claim, STATUS[status]) for run_id, claim, status in await transaction.many("standing", worker=worker)}


async def workers(transaction: Transaction, limit: int) -> list[WorkerState]:
    """See `Store.workers`."""
    return [worker_of(row) for row in await transaction.many("workers", limit=limit)]


def worker_of(row: Sequence[Any]) -> WorkerState:
    """A worker from its row."""
    worker, name, host, pid, queues, concurrency, lease, serves, running, parked, draining, started_at, beat_at = row
    definitions, served = _served(serves)
    return WorkerState(
        id=worker,
        name=name,
        host=host,
        pid=pid,
        queues=None if queues is None else tuple(from_json(queues)),
        concurrency=concurrency,
        running=running,
        parked=parked,
        definitions=definitions,
        lease=timedelta(seconds=lease),
        draining=bool(draining),
        started_at=instant(started_at),
        beat_at=instant(beat_at),
        serves=served,
    )


@lru_cache(maxsize=64)
def _served(text: str) -> tuple[tuple[str, ...], frozenset[tuple[str, str | None]]]:
    """What a worker can run, as people call it and as runs ask for it. Workers of one release say the same, and it may be long."""
    served = [(workflow, version) for workflow, version in from_json(text)]
    labels = tuple(version_label(workflow, version) for workflow, version in served if version != UNRESOLVED)
    return labels, frozenset(served)


async def pulse(transaction: Transaction) -> str:
    """See `Store.pulse`."""
    return ".".join(str(each) for each in await transaction.one("pulse") or ())
