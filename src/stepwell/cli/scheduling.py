"""`stepwell schedules pause`, `resume`, `trigger` and `backfill`: acts on one schedule."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from stepwell.app import Stepwell
from stepwell.cli.command import AsJson, BadUsage, Failed, Yes, actor, ask, on_app, runs_counted
from stepwell.cli.output import local_time, note, print_json, say
from stepwell.cli.schedules import ScheduleName, WorkflowName, how_soon, is_served, schedule_named
from stepwell.cli.start import wait_and_print
from stepwell.core.records import instant

if TYPE_CHECKING:
    from stepwell.core.records import ScheduleState

commands = typer.Typer()


@commands.command("pause")
@on_app()
async def pause_schedule(app: Stepwell, workflow: WorkflowName, name: ScheduleName = None) -> None:
    """Let a schedule fire no more until it is resumed, also after restarts. Its slots in that time are skipped; its runs go on."""
    state = await schedule_named(app, workflow, name)
    if state.paused:
        say(f"unchanged {label(state)}: it is paused")
        return
    await app.schedules.pause(state.workflow, state.name, actor=actor())
    say(f"paused {label(state)}")


@commands.command("resume")
@on_app()
async def resume_schedule(app: Stepwell, workflow: WorkflowName, name: ScheduleName = None) -> None:
    """Let a schedule fire again, from its next slot on."""
    state = await schedule_named(app, workflow, name)
    if not state.paused:
        say(f"unchanged {label(state)}: it is not paused")
        return
    state = await app.schedules.resume(state.workflow, state.name, actor=actor())
    say(f"resumed {label(state)}" + (f"; it comes {_next(state, app)}" if state.next_at is not None else ""))
    if not state.declared:
        note("it does not fire: no release declares it any more")


def _next(state: ScheduleState, app: Stepwell) -> str:
    return "" if state.next_at is None else f"{how_soon(state.next_at, instant(app.now()))}, at {local_time(state.next_at)}"


@commands.command("trigger")
@on_app()
async def trigger_schedule(
    app: Stepwell,
    workflow: WorkflowName,
    name: ScheduleName = None,
    *,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end of the run, and print its output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run of a schedule now, with its input, also while it is paused.

    With --wait the output is printed as JSON, and a run that fails or is canceled makes the command fail.
    """
    state = await schedule_named(app, workflow, name)
    handle = await app.schedules.trigger(state.workflow, state.name, actor=actor())
    if not is_served(state, instant(app.now()), await app.workers.list()):
        note(f"no worker lives that has {state.workflow}; the run waits until one does")
    if wait:
        await wait_and_print(handle, as_json=as_json)
    elif as_json:
        print_json(await handle.get())
    else:
        say(f"started {state.workflow} {handle.run_id}")


# -- slots of the past


@commands.command("backfill")
@on_app(is_open=False)
async def backfill_schedule(
    app: Stepwell,
    workflow: WorkflowName,
    name: ScheduleName = None,
    *,
    first: Annotated[str, typer.Option("--from", metavar="T", help="The first instant, as 2026-03-01 or 2026-03-01T02:00+01:00.")],
    end: Annotated[str, typer.Option("--to", metavar="T", help="The instant before which it ends, likewise.")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Start a run for each past slot of a schedule that has had none.

    A time without an offset is meant by the clocks of the schedule's zone; a date alone is its midnight there.
    """
    given = _time(first, "--from"), _time(end, "--to")
    async with app:
        state = await schedule_named(app, workflow, name)
        begin, until = (_in_zone(when, state) for when in given)
        if begin >= until:
            raise BadUsage(f"--from must be before --to, and {first} is not before {end}")
        started = await _backfill(app, state, begin, until, yes=yes)
    if as_json:
        print_json({"started": len(started), "run_ids": started})
    elif started:
        say(f"started {runs_counted(len(started))} of {label(state)}")


async def _backfill(app: Stepwell, state: ScheduleState, begin: datetime, until: datetime, *, yes: bool) -> list[str]:
    """The ids of the runs that it has started."""
    key = (state.workflow, state.name)
    try:
        slots = await app.schedules.past(*key, begin, until)
    except ValueError as error:
        raise Failed(str(error)) from None
    if not slots:
        note(f"{label(state)} has no past slot in that time" + ("; those to come are left to it" if until > instant(app.now()) else ""))
        return []
    zone = ZoneInfo(state.timezone)
    span = f"{slots[0].astimezone(zone):%Y-%m-%d %H:%M:%S} to {slots[-1].astimezone(zone):%Y-%m-%d %H:%M:%S} in {state.timezone}"
    ask(f"start up to {runs_counted(len(slots))} of {label(state)}, one for each slot from {span} that has had none", yes=yes)
    handles = await app.schedules.backfill(*key, begin, until, actor=actor())
    if not handles:
        note(f"nothing to start: each of these slots of {label(state)} has had its run")
    return [handle.run_id for handle in handles]


def _time(text: str, option: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadUsage(f"{option} is no time: {text!r}; write 2026-03-01, 2026-03-01T02:00 or 2026-03-01T02:00:00+01:00") from None


def _in_zone(when: datetime, state: ScheduleState) -> datetime:
    return when if when.utcoffset() is not None else when.replace(tzinfo=ZoneInfo(state.timezone))


def label(state: ScheduleState) -> str:
    """`schedule nightly of backup`."""
    return f"schedule {state.name} of {state.workflow}"
