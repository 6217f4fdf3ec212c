"""`app.schedules`, as operations."""

from __future__ import annotations

from stepwell.core.records import Run, ScheduleState
from stepwell.web.api.answers import Instants, Reply, RunIds, Schedules, SlotPage
from stepwell.web.api.calls import Call
from stepwell.web.api.given import Backfill, Nothing, Preview, ScheduleList, Slots


async def list_schedules(call: Call[ScheduleList]) -> Schedules:
    """List schedules: those that are declared, then the others, each by workflow and name."""
    given = call.given
    page = await call.app.schedules.page(find=given.find, ended=given.ended, limit=given.limit, cursor=given.cursor)
    return Schedules(schedules=list(page), next_cursor=page.next_cursor)


async def get_schedule(call: Call[Nothing]) -> ScheduleState:
    """Get a schedule as it stands."""
    return await call.app.schedules.get(call.path("workflow"), call.path("name"))


async def preview_schedule(call: Call[Preview]) -> Instants:
    """Say when a schedule fires next, whether it is paused or not."""
    return Instants(slots=await call.app.schedules.preview(call.path("workflow"), call.path("name"), call.given.count))


async def get_slots(call: Call[Slots]) -> SlotPage:
    """List what has become of a schedule's slots, the newest record first."""
    given = call.given
    slots = await call.app.schedules.slots(call.path("workflow"), call.path("name"), limit=given.limit, before=given.before)
    return SlotPage(slots=slots, next_before=slots[-1].number if len(slots) == given.limit else None)


async def pause_schedule(call: Call[Nothing]) -> ScheduleState:
    """Let a schedule fire no more until it is resumed. Slots in that time are skipped."""
    return await call.app.schedules.pause(call.path("workflow"), call.path("name"), actor=call.actor)


async def resume_schedule(call: Call[Nothing]) -> ScheduleState:
    """Let a schedule fire again, from its next slot on."""
    return await call.app.schedules.resume(call.path("workflow"), call.path("name"), actor=call.actor)


async def trigger_schedule(call: Call[Nothing]) -> Reply[Run]:
    """Start a run of a schedule now, with its input, also while it is paused."""
    handle = await call.app.schedules.trigger(call.path("workflow"), call.path("name"), actor=call.actor)
    return Reply(value=await handle.get(), status=201, headers={"location": call.address(f"/runs/{handle.run_id}")})


async def backfill_schedule(call: Call[Backfill]) -> RunIds:
    """Start a run for each past slot that has had none."""
    given = call.given
    handles = await call.app.schedules.backfill(call.path("workflow"), call.path("name"), given.start, given.end, actor=call.actor)
    return RunIds(run_ids=[handle.run_id for handle in handles])
