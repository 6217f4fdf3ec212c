"""Schedules: what comes when and why it did not, and what people do about it: pause, trigger, backfill."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException

from stepwell.core.cron import in_words
from stepwell.web.paging import SIZE, asked, part_of

if TYPE_CHECKING:
    from starlette.responses import Response

    from stepwell.core.records import RunSummary, ScheduleState
    from stepwell.web.site import Visit

_NEXT: Final = 5
"""Slots to come that are shown."""

_SLOTS: Final = 50
"""Slots gone by on a page."""


async def show(visit: Visit) -> Response:
    """The page of all of them: those that fire, and those that nobody declares."""
    wanted = asked(visit.query)
    part = part_of(await visit.app.schedules.page(find=wanted.find, ended=True, limit=SIZE, cursor=wanted.cursor), wanted)
    return visit.page(
        "schedules.html",
        tab="schedules",
        part=part,
        last=await visit.app.overview.summaries([state.last_run_id for state in part.items if state.last_run_id is not None]),
        groups=[
            ("", [state for state in part.items if state.declared]),
            ("No worker declares these", [state for state in part.items if not state.declared]),
        ],
    )


async def show_one(visit: Visit) -> Response:
    """The page of one."""
    workflow, name = visit.request.path_params["workflow"], visit.request.path_params["name"]
    schedules = visit.app.schedules
    state = await schedules.get(workflow, name)
    slots = await schedules.slots(workflow, name, limit=_SLOTS + 1, before=_before(visit))
    return visit.page(
        "schedule.html",
        tab="schedules",
        state=state,
        words=in_words(state.expression),
        schedule_zone=ZoneInfo(state.timezone),
        coming=await schedules.preview(workflow, name, _NEXT) if state.declared else [],
        slots=slots[:_SLOTS],
        older=slots[_SLOTS - 1].number if len(slots) > _SLOTS else None,
        last=await _last_run(visit, state),
    )


def _before(visit: Visit) -> int | None:
    text = visit.query.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000000000000000000") else None


async def _last_run(visit: Visit, state: ScheduleState) -> RunSummary | None:
    """The run that was started last; None: there is none, or not any more."""
    run_id = state.last_run_id
    return None if run_id is None else (await visit.app.overview.summaries([run_id])).get(run_id)


async def act(visit: Visit) -> Response:
    """Do what the form says."""
    workflow, name = visit.request.path_params["workflow"], visit.request.path_params["name"]
    fields, schedules, actor = await visit.form(), visit.app.schedules, visit.user.actor
    page = visit.url("schedule", workflow=workflow, name=name)
    match fields.get("action"):
        case "pause":
            await schedules.pause(workflow, name, actor=actor)
            return visit.back(fields, page, f"schedule {name} is paused: it does not fire until it is resumed")
        case "resume":
            state = await schedules.resume(workflow, name, actor=actor)
            when = "" if state.next_at is None else f", next at {state.next_at.astimezone(visit.zone):%Y-%m-%d %H:%M:%S %Z}"
            return visit.back(fields, page, f"schedule {name} fires again{when}")
        case "trigger":
            handle = await schedules.trigger(workflow, name, actor=actor)
            return visit.go(visit.url("run", run_id=handle.run_id), f"schedule {name} has started this run")
        case "backfill":
            return await _backfill(visit, fields, page)
        case _:
            raise HTTPException(404, "a schedule can be paused, resumed, triggered and backfilled")


async def _backfill(visit: Visit, fields: dict[str, str], page: str) -> Response:
    workflow, name = visit.request.path_params["workflow"], visit.request.path_params["name"]
    state = await visit.app.schedules.get(workflow, name)
    zone = ZoneInfo(state.timezone)
    start, end = (_instant(fields.get(field, ""), field, zone) for field in ("start", "end"))
    if start >= end:
        raise ValueError("the start of a backfill lies before its end")
    handles = await visit.app.schedules.backfill(workflow, name, start, end, actor=visit.user.actor)
    said = "every slot of that time has had a run already, or will fire by itself" if not handles else f"{_runs(len(handles))} started"
    return visit.back(fields, page, said)


def _instant(text: str, field: str, zone: ZoneInfo) -> datetime:
    """What was typed is on the clocks of the schedule's zone, unless it says otherwise. Raises ValueError."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"the {field} of a backfill is a time such as 2026-01-31T12:00, not {text!r}") from None
    when = when if when.utcoffset() is not None else when.replace(tzinfo=zone)
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"the {field} of a backfill is no time that a calendar has: {text!r}") from None


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count:,} runs were"
