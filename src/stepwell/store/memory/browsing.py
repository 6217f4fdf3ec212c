"""Lists that pages turn: workflows, queues, schedules, and the steps of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stepwell.core.records import UNRESOLVED, Page, QueueState
from stepwell.errors import ErrorInfo
from stepwell.store.memory import showing
from stepwell.store.memory.scheduling import states
from stepwell.store.port import Around, Halt, Known, Published, Story
from stepwell.store.shown import FIRST_STEP, place_after, read_place

if TYPE_CHECKING:
    from collections.abc import Collection

    from stepwell.core.records import ScheduleState, StepRecord
    from stepwell.store.memory.tables import Row, Tables


def around(tables: Tables) -> Around:
    """See `Store.around`."""
    lanes = frozenset(lane for lane in tables.lanes if lane.version == UNRESOLVED)
    return Around(frozenset(tables.halts), showing.workers(tables), lanes)


def catalog(tables: Tables, find: str, after: str) -> list[Known]:
    """See `Store.catalog`. Here all versions are told."""
    retries: dict[str, dict[str | None, str]] = {halt.name: {} for halt in tables.halts if halt.kind == "workflow"}
    for definition in tables.definitions.values():
        retries.setdefault(definition.name, {})[definition.version] = definition.retry
    return [
        Known(name, retries[name], Halt("workflow", name) in tables.halts)
        for name in sorted(retries)
        if name > after and find.lower() in name.lower()
    ]


def published(tables: Tables, workflow: str, limit: int) -> Published:
    """See `Store.published`."""
    found = [definition for (name, _), definition in tables.definitions.items() if name == workflow]
    ordered = sorted(found, key=lambda definition: definition.version or "")
    return Published(tuple(ordered[:limit]), Halt("workflow", workflow) in tables.halts)


def queues(tables: Tables) -> list[QueueState]:
    """See `Store.queues`."""
    names = {definition.queue for definition in tables.definitions.values()} | {lane.queue for lane in tables.lanes}
    names |= {halt.name for halt in tables.halts if halt.kind == "queue"}
    return [QueueState(name=name, paused=Halt("queue", name) in tables.halts) for name in sorted(names)]


# -- schedules


def schedules_page(tables: Tables, find: str, declared: tuple[str, str] | None, others: tuple[str, str] | None) -> list[ScheduleState]:
    """See `Store.schedules_page`."""
    found = []
    for state in states(tables, None, None):
        after = declared if state.declared else others
        is_after = after is not None and (state.workflow, state.name) > after
        if is_after and (find.lower() in state.workflow.lower() or find.lower() in state.name.lower()):
            found.append(state)
    return sorted(found, key=lambda state: not state.declared)


def schedules_of(tables: Tables, workflows: Collection[str], limit: int) -> dict[str, list[ScheduleState]]:
    """See `Store.schedules_of`."""
    found = {workflow: sorted(states(tables, workflow, None), key=lambda state: not state.declared)[:limit] for workflow in workflows}
    return {workflow: listed for workflow, listed in found.items() if listed}


def due_schedules(tables: Tables, before: float, cap: int) -> tuple[int, int]:
    """See `Store.due_schedules`."""
    due = [state.next_at.timestamp() for state in states(tables, None, None) if state.declared and state.next_at is not None][: cap + 1]
    return len(due), sum(at < before for at in due)


# -- a run


def story(tables: Tables, row: Row, limit: int) -> Story:
    """See `Store.story`."""
    definition = tables.definitions.get((row.new.workflow, row.new.version))
    return Story(showing.run(row), row.events[-limit:], None if definition is None else definition.retry)


def trace(row: Row) -> list[StepRecord]:
    """See `Store.trace`."""
    return [replace(record, output=None, error=_type(record.error)) for record in showing.steps(row)]


def _type(error: ErrorInfo | None) -> ErrorInfo | None:
    return None if error is None else ErrorInfo(error.type, "")


def some_steps(row: Row, key: str | None, attempt: int | None, cursor: str | None, limit: int) -> Page[StepRecord]:
    """See `Store.some_steps`."""
    after = FIRST_STEP if cursor is None else read_place(cursor)
    found = [
        each for each in showing.begun(row) if key in (None, each.key) and attempt in (None, each.attempt) and showing.place(each) > after
    ]
    return Page(
        items=tuple(showing.step(row, each) for each in found[:limit]),
        next_cursor=place_after(showing.place(found[limit - 1])) if len(found) > limit else None,
    )
