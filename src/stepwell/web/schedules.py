"""Schedules: what comes when and why it did not, and what people do about it: pause, trigger, backfill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException

from stepwell.core.cron import in_words
from stepwell.errors import BadValue
from stepwell.web.access import Role
from stepwell.web.paging import SIZE, asked, part_of
from stepwell.web.words import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from stepwell.core.records import RunSummary, ScheduleState
    from stepwell.web.site import Visit

_SECOND: Final = timedelta(seconds=1)

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
    slots = visit.site.redact.said(await schedules.slots(workflow, name, limit=_SLOTS + 1, before=_before(visit)))
    zone = ZoneInfo(state.timezone)
    coming = await schedules.preview(workflow, name, _NEXT) if state.declared else []
    return visit.page(
        "schedule.html",
        tab="schedules",
        state=state,
        words=in_words(state.expression),
        schedule_zone=zone,
        coming=list(zip(coming, clock_changes(coming, zone, visit.now), strict=True)),
        slots=slots[:_SLOTS],
        can_backfill=state.declared and visit.user.may(Role.OPERATOR),
        one_second=_SECOND,
        older=slots[_SLOTS - 1].number if len(slots) > _SLOTS else None,
        last=await _last_run(visit, state),
    )


def clock_changes(slots: Sequence[datetime], zone: ZoneInfo, now: datetime) -> list[str]:
    """What the clocks of the zone do at each slot, or since the one before it, which starts with now; empty: nothing."""
    return [_clock_change(before, slot, zone) for before, slot in zip((now, *slots), slots, strict=False)]


def _clock_change(before: datetime, slot: datetime, zone: ZoneInfo) -> str:
    local = slot.astimezone(zone)
    if _offset(slot, zone) != _offset(slot - _SECOND, zone):
        return f"right after clocks go {_direction(slot - _SECOND, slot, zone)}"
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        return f"clocks show this time twice: the {'second' if local.fold else 'first'} time"
    if _offset(slot, zone) != _offset(before, zone):
        return f"clocks go {_direction(before, slot, zone)} before it"
    return ""


def _direction(before: datetime, after: datetime, zone: ZoneInfo) -> str:
    shift = _offset(after, zone) - _offset(before, zone)
    return f"{'forward' if shift > timedelta(0) else 'back'} by {duration(abs(shift))}"


def _offset(when: datetime, zone: ZoneInfo) -> timedelta:
    return when.astimezone(zone).utcoffset() or timedelta(0)


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
        raise BadValue("the start of a backfill lies before its end")
    handles = await visit.app.schedules.backfill(workflow, name, start, end, actor=visit.user.actor)
    said = "every slot of that time has had a run already, or will fire by itself" if not handles else f"{_runs(len(handles))} started"
    return visit.back(fields, page, said)


def _instant(text: str, field: str, zone: ZoneInfo) -> datetime:
    """What was typed is on the clocks of the schedule's zone, unless it says otherwise. Raises BadValue."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadValue(f"the {field} of a backfill is a time such as 2026-01-31T12:00, not {text!r}") from None
    when = when if when.utcoffset() is not None else when.replace(tzinfo=zone)
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise BadValue(f"the {field} of a backfill is no time that a calendar has: {text!r}") from None


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count:,} runs were"
