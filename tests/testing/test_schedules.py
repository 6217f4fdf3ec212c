"""Schedules in a `TestApp`: its clock passes slots when it is moved by hand, or while somebody awaits what may come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import RunInfo, RunStatus, Schedule, Step, Stuck, Workflow, workflow
from stepwell.testing import TestApp
from stepwell.testing.clock import EPOCH
from tests.engine.harness import caught, scenario, settled
from tests.loops import turns

BEGINNING = datetime.fromtimestamp(EPOCH, UTC)
"""08:00."""

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def hourly(**options: Any) -> Workflow[Any, Any]:
    async def hourly() -> str:
        return "done"

    return workflow(hourly, schedules=[Schedule("each", "0 * * * *", **options)])


def now(app: TestApp) -> timedelta:
    """How far the clock has come."""
    return timedelta(seconds=app.clock.now() - EPOCH)


async def slots(app: TestApp, workflow: str = "hourly") -> list[timedelta]:
    """Those that have made runs, since the beginning."""
    page = await app.runs.list(workflow=workflow, order="oldest", limit=1_000)
    return [run.scheduled_at - BEGINNING for run in page if run.scheduled_at is not None]


@scenario
async def test_a_day_of_hourly_slots_goes_by_when_the_clock_is_moved_by_a_day() -> None:
    async with TestApp(hourly()) as app:
        await app.advance("1d")

        assert await slots(app) == [HOUR * hour for hour in range(1, 25)]
        assert await app.runs.count(workflow="hourly") == {RunStatus.COMPLETED: 24}
        assert now(app) == DAY


@scenario
async def test_each_run_of_a_slot_is_executed_before_the_clock_goes_on() -> None:
    seen: list[tuple[timedelta, timedelta]] = []

    @workflow(schedules=[Schedule("0 * * * *")])
    async def notes(run: RunInfo, step: Step) -> None:
        at = await step.now()
        assert run.scheduled_at is not None
        seen.append((run.scheduled_at - BEGINNING, at - BEGINNING))

    async with TestApp(notes, self_moving=False) as app:
        await app.advance("3h")

    assert seen == [(HOUR * hour, HOUR * hour) for hour in (1, 2, 3)]


@scenario
async def test_slots_and_sleeps_come_in_the_order_of_time() -> None:
    heard: list[str] = []

    @workflow(schedules=[Schedule("0 * * * *")])
    async def strikes(run: RunInfo) -> None:
        assert run.scheduled_at is not None
        heard.append(f"strike {run.scheduled_at:%H:%M}")

    @workflow
    async def sleeps(step: Step) -> None:
        for nap in range(3):
            await step.sleep("nap", "50m")
            heard.append(f"woke {nap}")

    async with TestApp(strikes, sleeps) as app:
        await app.start(sleeps)
        await app.advance("3h")

    assert heard == ["woke 0", "strike 09:00", "woke 1", "strike 10:00", "woke 2", "strike 11:00"]


@scenario
async def test_a_clock_that_moves_by_itself_stands_still_while_nobody_waits_for_anything() -> None:
    async with TestApp(hourly()) as app:
        await turns(500)

        assert now(app) < MINUTE
        assert await slots(app) == []


@scenario
async def test_a_sleep_that_somebody_awaits_takes_the_slots_before_its_end_along() -> None:
    @workflow
    async def sleeps(step: Step) -> str:
        await step.sleep("long", "30 days")
        return "awake"

    daily = workflow(_nothing, name="daily", schedules=[Schedule("@daily")])
    async with TestApp(daily, sleeps) as app:
        assert await app.execute(sleeps) == "awake"

        assert len(await slots(app, "daily")) == 30
        assert now(app) >= DAY * 30


async def _nothing() -> None: ...


@scenario
async def test_a_sleep_that_nobody_awaits_does_not_let_the_clock_pass_a_slot() -> None:
    @workflow
    async def sleeps(step: Step) -> None:
        await step.sleep("short", "20m")
        await step.sleep("long", "30 days")

    async with TestApp(hourly(), sleeps) as app:
        await app.start(sleeps)
        await turns(500)

        assert MINUTE * 20 <= now(app) < HOUR
        assert await slots(app) == []


@scenario
async def test_who_awaits_a_paused_run_is_told_although_a_schedule_could_go_on_for_ever() -> None:
    @workflow
    async def sleeps(step: Step) -> None:
        await step.sleep("long", "1 day")

    async with TestApp(hourly(), sleeps) as app:
        handle = await app.start(sleeps)
        await handle.pause()

        assert isinstance(await caught(handle.result()), Stuck)
        assert await slots(app) == []


@scenario
async def test_a_run_that_waits_for_a_signal_gets_it_from_a_run_of_a_schedule() -> None:
    waiting: list[str] = []

    @workflow
    async def waits(run: RunInfo, step: Step) -> Any:
        waiting.append(run.id)
        return await step.wait_for_signal("go")

    @workflow(schedules=[Schedule("30 9 * * *")])
    async def sends(step: Step) -> None:
        for run_id in set(waiting):
            await step.send_signal(run_id, "go", "at last")

    async with TestApp(waits, sends) as app:
        assert await app.execute(waits) == "at last"

        assert await slots(app, "sends") == [HOUR * 1.5]


@scenario
async def test_mocks_hold_for_runs_of_schedules() -> None:
    @workflow(schedules=[Schedule("@daily")])
    async def report(step: Step) -> str:
        return await step.run("fetch", _fetch)

    async with TestApp(report) as app:
        app.mock_step("fetch", returns="three sales")
        app.fail_step("fetch", times=1)
        await app.advance("1d")

        (run,) = await app.runs.list(workflow="report")
        assert run.output == "three sales"


async def _fetch() -> str:
    raise ConnectionError("there is no such server")


@scenario
async def test_a_schedule_is_triggered_paused_and_filled_in_as_in_any_app() -> None:
    async def doubles(input: int) -> int:
        return 2 * input

    scheduled = workflow(doubles, schedules=[Schedule("each", "0 * * * *", input=lambda slot: slot.hour)])
    async with TestApp(scheduled) as app:
        assert await (await app.schedules.trigger(scheduled, "each")).result() == 16

        await app.schedules.pause(scheduled, "each")
        await app.advance("2h")
        assert (await app.schedules.get(scheduled, "each")).paused

        await app.schedules.resume(scheduled, "each")
        handles = await app.schedules.backfill(scheduled, "each", BEGINNING + MINUTE, BEGINNING + HOUR * 2)
        assert [await handle.result() for handle in handles] == [18]


@scenario
async def test_slots_that_come_while_the_app_is_left_are_made_up_for_when_it_is_entered_again() -> None:
    app = TestApp(hourly(catch_up="all"))
    async with app:
        await settled(app)
    async with app:
        await app.advance("1h")
    app.clock.move_to(EPOCH + 3.5 * 3_600)
    async with app:
        await app.advance("0s")

        assert await slots(app) == [HOUR, HOUR * 2, HOUR * 3]


@pytest.mark.parametrize("self_moving", [True, False])
@scenario
async def test_a_slot_that_waits_for_the_last_run_begins_when_that_has_ended(self_moving: bool) -> None:
    @workflow(schedules=[Schedule("each", "0 * * * *", overlap="wait")])
    async def lasting(step: Step) -> None:
        await step.sleep("long", "90m")

    async with TestApp(lasting, self_moving=self_moving) as app:
        await app.advance("3h")

        runs = await app.runs.list(workflow="lasting", order="oldest")
        began = [run.created_at - BEGINNING for run in runs]
        assert await slots(app, "lasting") == [HOUR, HOUR * 2]
        assert began[0] == HOUR
        assert HOUR * 2.5 <= began[1] < HOUR * 2.5 + MINUTE


@scenario
async def test_in_a_database_slots_come_as_in_memory() -> None:
    async with TestApp(hourly(), database="sqlite://") as app:
        await app.advance("5h")

        assert await slots(app) == [HOUR * hour for hour in range(1, 6)]
