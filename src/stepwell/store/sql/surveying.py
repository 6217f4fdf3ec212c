"""What pages show of the whole: runs without payloads, and how many there are of what. No statement here reads more than it is told to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from stepwell.core.naming import BODY
from stepwell.core.records import (
    UNRESOLVED,
    Backlog,
    DatabaseFacts,
    Ends,
    Kind,
    LiveVersion,
    Page,
    RunFilter,
    RunProgress,
    RunSummary,
    Speed,
    StepChip,
    Waiting,
    instant,
    optional_instant,
)
from stepwell.core.status import RunStatus
from stepwell.store.port import MAX_CHIPPED, MAX_LISTED
from stepwell.store.shown import LAST_EVENTS, LOOKED_AT, MAX_ERROR, intervals, speed_of
from stepwell.store.sql.reading import STATUS, Span, asked_for, listing, of_status, page_of, parameters, parts_of, span_of, turn_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from stepwell.store.sql.transaction import Transaction

_MICROSECOND: Final = 1e-6

_HOW: Final = {-2: "running", -1: "retrying", 0: "failed", 1: "completed"}
"""What statements say of a step."""


# -- runs


async def summaries(transaction: Transaction, where: RunFilter, newest: bool, limit: int, cursor: str | None) -> Page[RunSummary]:
    """See `Store.summaries`."""
    direction, start = turn_of(newest, cursor)
    asked = asked_for(transaction, where, limit=limit + 1, newest=direction, start=start)
    if asked is None:
        return Page(items=())
    way = "DESC" if direction else "ASC"
    # Of what several parts have found, only so much is looked at as is shown.
    found = asked.text if asked.parts == 1 else f"SELECT * FROM (\n{asked.text}\n) listed\nORDER BY id {way}\nLIMIT :limit"  # noqa: S608
    shown = await _found(transaction, found, f"ORDER BY r.id {way}", asked.parameters)
    return page_of(shown, limit, cursor, lambda run: run.id)


async def summaries_of(transaction: Transaction, run_ids: Collection[str]) -> dict[str, RunSummary]:
    """See `Store.summaries_of`."""
    known = to_json([run_id for run_id in run_ids if "\0" not in run_id]).decode()
    rows = await transaction.many("summaries", runs=known, characters=MAX_ERROR, looked=LAST_EVENTS)
    return {summary.id: summary for summary in (_summary(row) for row in rows)}


async def active(transaction: Transaction, limit: int) -> list[RunSummary]:
    """See `Store.active`."""
    return await _found(transaction, transaction.part("active"), "ORDER BY x.place, r.id DESC", {"limit": limit})


async def _found(transaction: Transaction, found: str, order: str, given: dict[str, Any]) -> list[RunSummary]:
    """What is shown of the runs that a statement finds: both at once."""
    columns, _, _ = transaction.part("summaries").partition("\nFROM ")
    text = f"{columns}\n{transaction.part('found').replace(':found', found)}\n{order}\nLIMIT :limit"
    return [_summary(row) for row in await transaction.query(text, {**given, "characters": MAX_ERROR, "looked": LAST_EVENTS})]


def _summary(row: Sequence[Any]) -> RunSummary:
    (
        run_id, workflow, version, status, preview, attempt, key, queue, priority, tags, parent_id, forked_from, schedule, scheduled_at,
        progress, created_at, available_at, started_at, finished_at, worker, error, paused_by,
    ) = row  # fmt: skip
    return RunSummary(
        id=run_id,
        workflow=workflow,
        version=None if version == UNRESOLVED else version or None,
        status=STATUS[status],
        preview=preview,
        attempt=attempt,
        key=key,
        queue=queue,
        priority=priority,
        tags=tuple(from_json(tags)) if tags else (),
        parent_id=parent_id,
        forked_from=forked_from,
        schedule=schedule,
        scheduled_at=optional_instant(scheduled_at),
        progress=None if progress is None else RunProgress(**from_json(progress)),
        created_at=instant(created_at),
        available_at=instant(available_at),
        started_at=optional_instant(started_at),
        finished_at=optional_instant(finished_at),
        worker=worker,
        error=error,
        paused_by=paused_by,
    )


# -- counts


async def tally(transaction: Transaction, where: RunFilter, cap: int) -> dict[RunStatus, int]:
    """See `Store.tally`."""
    statuses = [status for status in RunStatus if where.statuses is None or status in where.statuses]
    if not statuses:
        return {}
    span = span_of(where)
    rows = await transaction.query(_tally(transaction, where, statuses, span), {**parameters(where, span), "limit": cap + 1})
    counts = {STATUS[status]: count for status, count in rows}
    return {status: min(counts.get(status, 0), cap + 1) for status in statuses}


def _tally(transaction: Transaction, where: RunFilter, statuses: Sequence[RunStatus], span: Span) -> str:
    """One statement for all statuses. The newest are read first, since those are what times are about."""
    if where.within is not None:  # so many are looked at, once
        base, filters = transaction.part("find_newest"), transaction.part("filters")
        return f"{base.replace('SELECT r.id', 'SELECT r.status, count(*)', 1)}\n{filters}\nGROUP BY r.status"
    counted = []
    for status in statuses:
        (part,) = parts_of(transaction, replace(where, statuses=frozenset({status})))
        also = "" if part.column == "r.status" else of_status(transaction, status, "also_of_status")
        text = listing(transaction, where, part, span, newest=True, also=also)
        counted.append(f"SELECT '{status}', (SELECT count(*) FROM (\n{text}\n) {status})")  # noqa: S608  # of statements that are named
    return "\nUNION ALL\n".join(counted)


# -- steps


async def chips(transaction: Transaction, run_ids: Collection[str], limit: int) -> dict[str, tuple[int, list[StepChip]]]:
    """See `Store.chips`."""
    found = dict.fromkeys(run_ids, (0, list[StepChip]()))
    known = to_json([run_id for run_id in run_ids if "\0" not in run_id]).decode()
    for run_id, status, count, settled, others in await transaction.many("chips", runs=known, body=BODY, limit=limit, most=MAX_CHIPPED + 1):
        is_over = STATUS[status].ended
        steps = [_chip(is_over, *step) for step in (*reversed(settled), *others)]
        found[run_id] = (min(count + len(others), MAX_CHIPPED + 1), steps[-limit:])
    return found


def _chip(is_over: bool, key: str, kind: int, how: int) -> StepChip:
    status = "failed" if is_over and how < 0 else _HOW[how]
    return StepChip(key=key, status=status, kind=Kind(kind).name.lower())


# -- ends and speeds


async def ends(transaction: Transaction, since: float, until: float, width: float, workflow: str | None) -> list[Ends]:
    """See `Store.ends`."""
    if workflow is None:
        rows = await transaction.many("ends", since=since, until=until, width=width)
    else:
        rows = await transaction.many("ends_of", since=since, until=until, width=width, workflow=workflow)
    return intervals(since, until, width, ((place, status, count) for place, status, count in rows))


async def ends_by_workflow(
    transaction: Transaction, since: float, until: float, width: float, workflows: Collection[str] | None = None
) -> dict[str, list[Ends]]:
    """See `Store.ends_by_workflow`."""
    found: dict[str, list[tuple[int, str, int]]] = {}
    given = {"since": since, "until": until, "width": width, "workflows": _names(workflows)}
    for workflow, *counted in await transaction.many("ends_by_workflow", **given):
        found.setdefault(workflow, []).append((counted[0], counted[1], counted[2]))
    return {workflow: intervals(since, until, width, found[workflow]) for workflow in sorted(found)}


async def speeds(transaction: Transaction, limit: int, workflows: Collection[str] | None = None) -> list[Speed]:
    """See `Store.speeds`."""
    given = {"limit": limit, "looked": limit * LOOKED_AT, "most": MAX_LISTED, "workflows": _names(workflows)}
    rows = await transaction.many("speeds", **given)
    return [speed_of(name, [(status, _seconds(took)) for status, took in ended]) for name, ended in rows]


def _names(workflows: Collection[str] | None) -> str | None:
    return None if workflows is None else to_json([name for name in workflows if "\0" not in name]).decode()


async def waits(
    transaction: Transaction, parts: Sequence[tuple[str, str]], limit: int, now: float, workflow: str | None
) -> list[list[float]]:
    """See `Store.waits`."""
    given = {"parts": to_json(parts).decode(), "limit": limit, "now": now}
    if workflow is None:
        rows = await transaction.many("waits", **given)
    else:
        rows = await transaction.many("waits_of", **given, workflow=workflow)
    return [[max(waited * _MICROSECOND, 0.0) for waited in found] for (found,) in rows]


def _seconds(took: int | None) -> float | None:
    return None if took is None else took * _MICROSECOND


# -- what waits


async def live_versions(transaction: Transaction, cap: int) -> list[LiveVersion]:
    """See `Store.live_versions`."""
    rows = sorted((name, version, count) for name, version, count in await transaction.many("live_versions", cap=cap))
    return [LiveVersion(workflow=name, version=version or None, count=count) for name, version, count in rows]


async def backlog(transaction: Transaction, cap: int) -> Backlog:
    """See `Store.backlog`."""
    rows = await transaction.many("backlog", limit=cap + 1, most=MAX_LISTED)
    firsts = [first for *_, first in rows]
    oldest = await transaction.one("oldest_ready", limit=cap)
    if oldest is not None and oldest[0] is not None:
        firsts.append(oldest[0])
    return Backlog(
        oldest_ready_at=optional_instant(min(firsts, default=None)),
        ready=tuple(Waiting(queue=queue, workflow=name, version=version or None, count=count) for queue, name, version, count, _ in rows),
    )


# -- the database


async def facts(transaction: Transaction, kind: str, now: Callable[[], float]) -> DatabaseFacts:
    """See `Store.facts`."""
    before = now()
    row = await transaction.one("facts")
    after = now()
    version, size, applied, time = row or ("", None, "[]", None)
    return DatabaseFacts(
        kind=kind,
        version=version,
        size=size,
        migrations=tuple(name.removesuffix(".sql") for name in from_json(applied)),
        clock_skew=None if time is None else time - (before + after) / 2,
    )
