"""`stepwell schedules list`, `show` and `preview`: what comes when, and what has become of it. Owns which schedule a command means."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias
from zoneinfo import ZoneInfo

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import OfWorkflow
from stepwell.cli.command import AsJson, Failed, did_you_mean, on_app
from stepwell.cli.output import Column, draw, local_time, note, print_json, print_table
from stepwell.core.cron import in_words
from stepwell.core.duration import format_duration
from stepwell.core.plain import plain
from stepwell.core.records import ScheduleState, instant
from stepwell.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stepwell.core.records import WorkerState

commands = typer.Typer(help="See what comes when and what has become of it, and pause, trigger or backfill a schedule.")

WorkflowName: TypeAlias = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The name of a workflow.")]
ScheduleName: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="The name of its schedule; may be left out if it has only one.", show_default=False),
]

_OVERDUE: Final = timedelta(minutes=1)
"""How long a slot may be past before nobody can be expected to fire it. The function of an input may take half of that."""

_AT_ONCE: Final = 50
"""Runs that are asked for at the same time."""

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)

_COLUMNS: Final = (
    Column(title="workflow"),
    Column(title="schedule"),
    Column(title="expression", rank=4),
    Column(title="in words", rank=5, short=32),
    Column(title="zone", rank=6),
    Column(title="comes"),
    Column(title="at", rank=1),
    Column(title="last slot", rank=3),
    Column(title="last run", rank=2),
    Column(title="remark", short=16, elastic=True),
)


# -- what there is


@commands.command("list")
@on_app()
async def list_schedules(
    app: Stepwell,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that no release declares any more.")] = False,
    workflow: OfWorkflow = None,
    as_json: AsJson = False,
) -> None:
    """List schedules, with when they come next, and what keeps them from it."""
    states = await app.schedules.list(workflow=workflow, ended=everything)
    if not states and workflow is not None:
        raise await _nobody_has_declared(app, workflow)
    statuses = await _statuses(app, states)
    if as_json:
        print_json({"schedules": [as_record(state, statuses) for state in states]})
        return
    now, workers = instant(app.now()), await app.workers.list()
    rows = [_row(state, statuses, now, workers) for state in states]
    print_table(_COLUMNS, rows, empty="there are no schedules; a worker whose workflows have some makes them known")


def _row(state: ScheduleState, statuses: dict[str, str], now: datetime, workers: Iterable[WorkerState]) -> tuple[object, ...]:
    words = in_words(state.expression)
    return (
        state.workflow,
        state.name,
        state.expression,
        None if words == state.expression else words,
        state.timezone,
        None if state.next_at is None else how_soon(state.next_at, now),
        state.next_at,
        state.last_at,
        statuses.get(state.last_run_id or ""),
        remark_on(state, now, workers),
    )


async def _statuses(app: Stepwell, states: Sequence[ScheduleState]) -> dict[str, str]:
    """By its id, how the last run of each stands."""
    ids = [state.last_run_id for state in states if state.last_run_id is not None]
    found: dict[str, str] = {}
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        found |= dict(zip(some, await asyncio.gather(*(_status(app, run_id) for run_id in some)), strict=True))
    return found


async def _status(app: Stepwell, run_id: str) -> str:
    try:
        return (await app.runs.get(run_id)).status
    except RunNotFound:
        return "deleted"


def as_record(state: ScheduleState, statuses: dict[str, str]) -> dict[str, Any]:
    """The schedule as JSON has it: by its fields, with its expression in words and the status of its last run."""
    record: dict[str, Any] = plain(state)
    return record | {"words": in_words(state.expression), "last_run_status": statuses.get(state.last_run_id or "")}


# -- what is said of one


def remark_on(state: ScheduleState, now: datetime, workers: Iterable[WorkerState]) -> str | None:
    """Why it does not fire, or will not; None: it will, as it should."""
    if not state.declared:
        return "no release declares it any more"
    if state.paused:
        by = "" if state.paused_by is None else f" by {state.paused_by}"
        return f"paused{by}" if state.paused_at is None else f"paused{by} since {local_time(state.paused_at)}"
    if state.next_at is None:
        return "it does not come again"
    nobody = None if is_served(state, now, workers) else f"no worker lives that has {state.workflow}"
    if is_overdue(state, now):
        return f"overdue: {nobody or 'the workers that live do not fire it'}"
    if state.waiting_at is not None:
        return nobody or f"the slot of {local_time(state.waiting_at)} waits for the end of the last run"
    return nobody


def is_overdue(state: ScheduleState, now: datetime) -> bool:
    """Whether it should have fired, and nobody has."""
    return state.declared and not state.paused and state.next_at is not None and now - state.next_at > _OVERDUE


def is_served(state: ScheduleState, now: datetime, workers: Iterable[WorkerState]) -> bool:
    """Whether a worker lives that has its workflow."""
    alive = (worker for worker in workers if now - worker.beat_at <= worker.lease)
    return any(state.workflow == name for worker in alive for name, _ in worker.serves)


def how_soon(when: datetime, now: datetime) -> str:
    """`in 3h12m`, `2d4h ago`, `now`: as much of it as people want to know."""
    away = abs(when - now)
    if away < _SECOND:
        return "now"
    unit = _SECOND if away < timedelta(minutes=1) else timedelta(minutes=1) if away < _DAY else timedelta(hours=1)
    said = format_duration(away - away % unit)
    return f"in {said}" if when >= now else f"{said} ago"


# -- which one is meant


async def schedule_named(app: Stepwell, workflow: str, name: str | None) -> ScheduleState:
    """The schedule of that name, which must be its whole name: what a part of it means changes with the next release.

    Without a name it is the only one that the workflow has.

    Raises:
        Failed: there is none, or there are several; says which may be meant.
    """
    states = await app.schedules.list(workflow=workflow, ended=True)
    if not states:
        raise await _nobody_has_declared(app, workflow)
    if name is None:
        return _only_one(workflow, [state for state in states if state.declared] or states)
    for state in states:
        if state.name == name:
            return state
    raise Failed(f"workflow {workflow!r} has no schedule {name!r}{did_you_mean(name, (state.name for state in states))}")


def _only_one(workflow: str, states: Sequence[ScheduleState]) -> ScheduleState:
    if len(states) > 1:
        raise Failed(f"workflow {workflow!r} has {len(states)} schedules; say which: {', '.join(repr(state.name) for state in states)}")
    return states[0]


async def _nobody_has_declared(app: Stepwell, workflow: str) -> Failed:
    known = {state.workflow for state in await app.schedules.list(ended=True)}
    return Failed(f"no worker has ever declared a schedule of a workflow {workflow!r}{did_you_mean(workflow, known)}")


# -- one of them


@commands.command("show")
@on_app()
async def show_schedule(
    app: Stepwell,
    workflow: WorkflowName,
    name: ScheduleName = None,
    *,
    slots: Annotated[int, typer.Option("--slots", min=1, max=1000, help="How many records of past slots to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a schedule: its policies, its next slots, and what has become of the last ones, so why it did not fire."""
    state = await schedule_named(app, workflow, name)
    key = (state.workflow, state.name)
    coming = await app.schedules.preview(*key) if state.declared else []
    records, events, statuses = await asyncio.gather(
        app.schedules.slots(*key, limit=slots), app.schedules.events(*key), _statuses(app, [state])
    )
    if as_json:
        print_json(as_record(state, statuses) | {"next_slots": coming, "slots": records, "events": events})
        return
    from stepwell.cli.timetable import timetable  # noqa: PLC0415  # only this draws

    now, status = instant(app.now()), statuses.get(state.last_run_id or "")
    draw(timetable(state, status, remark_on(state, now, await app.workers.list()), coming, records, events, now))


@commands.command("preview")
@on_app()
async def preview_schedule(
    app: Stepwell,
    workflow: WorkflowName,
    name: ScheduleName = None,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Print when a schedule comes next, by the clocks of its zone and in UTC."""
    state = await schedule_named(app, workflow, name)
    coming, zone = await app.schedules.preview(state.workflow, state.name, count), ZoneInfo(state.timezone)
    if as_json:
        slots = [{"at": at, "local": at.astimezone(zone).isoformat()} for at in coming]
        print_json({"workflow": state.workflow, "name": state.name, "timezone": state.timezone, "slots": slots})
        return
    now = instant(app.now())
    rows = [(f"{at.astimezone(zone):%a %Y-%m-%d %H:%M:%S %z}", f"{at:%Y-%m-%d %H:%M:%S}", how_soon(at, now)) for at in coming]
    columns = (Column(title=state.timezone), Column(title="UTC"), Column(title="how soon", rank=1))
    print_table(columns, rows, empty=f"schedule {state.name!r} does not come again")
    if not state.declared or state.paused:
        note(f"none of these fires: {remark_on(state, now, ())}")
