"""Lists that pages turn: workflows, queues, schedules, and the steps of a run. Each is read from a place on, as far as a page goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from stepwell.core.naming import BODY
from stepwell.core.records import Page, QueueState
from stepwell.core.registry import Lane
from stepwell.errors import RunNotFound
from stepwell.store.port import MAX_LISTED, Around, Halt, Known, Published, Story
from stepwell.store.shown import FIRST_STEP, MAX_ERROR, place_after, read_place, step_at, step_traced
from stepwell.store.sql.claiming import MICROSECONDS, seconds
from stepwell.store.sql.reading import check, definition_of, event_of, like, run_of, worker_of
from stepwell.store.sql.scheduling import state_of
from stepwell.store.sql.starting import as_json

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stepwell.core.records import ScheduleState, StepRecord
    from stepwell.store.sql.transaction import Transaction


async def around(transaction: Transaction, limit: int) -> Around:
    """See `Store.around`."""
    ((halts, workers, lanes),) = await transaction.many("around", limit=limit)
    return Around(
        frozenset(Halt(*each) for each in halts),
        [worker_of((*rest, started_at / MICROSECONDS, beat_at / MICROSECONDS)) for *rest, started_at, beat_at in workers],
        frozenset(Lane(*each) for each in lanes),
    )


# -- workflows and queues


async def catalog(transaction: Transaction, find: str, after: str, limit: int) -> list[Known]:
    """See `Store.catalog`."""
    rows = await transaction.many("catalog", find=like(find) if find else None, after=after, limit=limit, most=MAX_LISTED)
    return [Known(name, {version or None: retry for version, retry in retries}, bool(paused)) for name, retries, paused in rows]


async def published(transaction: Transaction, workflow: str, limit: int) -> Published:
    """See `Store.published`."""
    rows = await transaction.many("published", workflow=workflow, limit=limit)
    return Published(tuple(definition_of(row) for _, *row in rows if row[0] is not None), any(paused for paused, *_ in rows))


async def queues(transaction: Transaction, limit: int) -> list[QueueState]:
    """See `Store.queues`."""
    return [QueueState(name=name, paused=bool(paused)) for name, paused in await transaction.many("queues", limit=limit)]


# -- schedules


async def schedules_page(
    transaction: Transaction, find: str, declared: tuple[str, str] | None, others: tuple[str, str] | None, limit: int
) -> list[ScheduleState]:
    """See `Store.schedules_page`."""
    workflow, name = declared or (None, None)
    other_workflow, other_name = others or (None, None)
    rows = await transaction.records(
        "schedules_page",
        find=like(find) if find else None,
        workflow=workflow,
        name=name,
        other_workflow=other_workflow,
        other_name=other_name,
        limit=limit,
    )
    states = (state_of(row) for row in rows)
    return sorted(states, key=lambda state: (not state.declared, state.workflow, state.name))[:limit]


async def unknown_schedules(transaction: Transaction, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """See `Store.unknown_schedules`."""
    rows = await transaction.many("unknown_schedules", keys=as_json(list(keys)), limit=len(keys))
    return [(workflow, name) for workflow, name in rows]


async def schedules_of(transaction: Transaction, workflows: Collection[str], limit: int) -> dict[str, list[ScheduleState]]:
    """See `Store.schedules_of`."""
    rows = await transaction.records("schedules_of", workflows=to_json(list(workflows)).decode(), limit=limit)
    found: dict[str, list[ScheduleState]] = {}
    for state in sorted((state_of(row) for row in rows), key=lambda state: (not state.declared, state.name)):
        found.setdefault(state.workflow, []).append(state)
    return found


async def due_schedules(transaction: Transaction, before: float, cap: int) -> tuple[int, int]:
    """See `Store.due_schedules`."""
    count, late = await transaction.one("due_schedules", before=before, limit=cap + 1) or (0, 0)
    return count, late


# -- a run


async def story(transaction: Transaction, run_id: str, limit: int) -> Story:
    """See `Store.story`."""
    rows = await transaction.records("story", run=run_id, limit=limit)
    if not rows:
        raise RunNotFound(run_id)
    said = rows[0]["events"]
    events = [event_of(at / MICROSECONDS, *event) for at, *event in (from_json(said) if isinstance(said, str) else said)]
    return Story(run_of(rows[0]), events, rows[0]["retry"])


async def trace(transaction: Transaction, run_id: str, limit: int) -> list[StepRecord]:
    """See `Store.trace`."""
    rows = await transaction.many("trace", run=run_id, body=BODY, characters=MAX_ERROR, limit=limit)
    return [
        step_traced(key, attempt, kind, how, error, child, began / MICROSECONDS, seconds(ended), seconds(due))
        for key, attempt, kind, how, error, child, began, ended, due in reversed(rows)
    ]


async def some_steps(
    transaction: Transaction, run_id: str, key: str | None, number: int | None, cursor: str | None, limit: int
) -> Page[StepRecord]:
    """See `Store.some_steps`."""
    began, asked, attempt, after = FIRST_STEP if cursor is None else read_place(cursor)
    given = {"began": began, "asked": asked, "attempt": attempt, "after": after, "key": key, "number": number}
    rows = await transaction.many("some_steps", run=run_id, body=BODY, limit=limit + 1, **given)
    if not rows:
        await check(transaction, run_id)
    return Page(items=tuple(_step(row) for row in rows[:limit]), next_cursor=_next(rows, limit))


def _step(row: Sequence[Any]) -> StepRecord:
    key, attempt, _, kind, how, payload, child, began, ended, due = row
    return step_at(key, attempt, kind, how, payload, child, began / MICROSECONDS, seconds(ended), seconds(due))


def _next(rows: Sequence[Sequence[Any]], limit: int) -> str | None:
    if len(rows) <= limit:
        return None
    key, attempt, asked, *_, began, _, _ = rows[limit - 1]
    return place_after((began, asked, attempt, key))
