"""Sleeps and timers: durable, exact on replay, and cheap while they last."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import RunStatus, Step, SyncStep, workflow
from stepwell.core.registry import Registry
from stepwell.engine.worker import Worker
from stepwell.testing import TestApp
from tests.engine.harness import WITHIN, Counter, caught, crash, scenario, settled, successor, until, worker_of


@scenario
async def test_a_sleep_of_thirty_days_takes_thirty_days_of_the_clock_and_no_slot() -> None:
    @workflow
    async def flow(step: Step) -> None:
        await step.sleep("a month", timedelta(days=30))

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("29 days")
        row, running = await handle.get(), len(worker_of(app)._running)
        await app.advance("1 day")
        done = await handle.get()
        records = await handle.steps()

    assert (row.status, running) == (RunStatus.SLEEPING, 0)
    assert row.available_at == row.created_at + timedelta(days=30)
    assert done.status is RunStatus.COMPLETED
    assert done.finished_at == row.created_at + timedelta(days=30)
    assert [(record.key, record.kind, record.status) for record in records] == [("a month", "sleep", "completed")]
    assert records[0].finished_at == records[0].started_at + timedelta(days=30)


@scenario
async def test_short_waits_keep_running() -> None:
    @workflow
    async def flow(step: Step) -> None:
        await step.sleep("short", "900ms")
        await asyncio.sleep(0.9)

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("500ms")
        first = await handle.status()
        await app.advance("900ms")
        second = await handle.status()
        await app.advance("500ms")
        assert (first, second, await handle.status()) == (RunStatus.RUNNING, RunStatus.RUNNING, RunStatus.COMPLETED)


@scenario
async def test_a_sleep_until_an_instant_ends_then_and_one_in_the_past_at_once() -> None:
    when = datetime(2027, 2, 1, tzinfo=UTC)

    @workflow
    async def flow(step: Step) -> list[datetime]:
        await step.sleep_until("past", datetime(2000, 1, 1, tzinfo=UTC))
        await step.sleep("nothing", "0s")
        before = await step.now()
        await step.sleep_until("then", when)
        return [before, await step.now()]

    async with TestApp(flow) as app:
        before, after = await app.execute(flow)

    assert (before, after) == (datetime(2027, 1, 15, 8, tzinfo=UTC), when)


@scenario
async def test_a_wait_for_an_instant_that_has_passed_needs_no_move_of_the_clock() -> None:
    @workflow
    async def flow(step: Step) -> str:
        await step.sleep_until("past", datetime(2000, 1, 1, tzinfo=UTC))
        await step.sleep("nothing", "0s")
        return "done"

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        assert await handle.result(WITHIN) == "done"


@scenario
async def test_times_that_are_none_are_refused() -> None:
    @workflow
    async def flow(step: Step) -> list[str]:
        tries = [
            step.sleep_until("naive", datetime(2027, 1, 1)),  # noqa: DTZ001
            step.sleep_until("text", "tomorrow"),  # type: ignore[arg-type]
            step.sleep("number", 5),  # type: ignore[arg-type]
            step.sleep("negative", "-5s"),
        ]
        return [f"{type(error).__name__}: {error}" for error in [await caught(each) for each in tries]]

    async with TestApp(flow) as app:
        naive, text, number, negative = await app.execute(flow)

    assert naive.startswith("ValueError")
    assert "no time zone" in naive
    assert text.startswith("TypeError")
    assert "unit" in number
    assert negative.startswith("BadValue")


@scenario
async def test_sleeps_and_timeouts_of_asyncio_are_durable_timers() -> None:
    trace = Counter()

    @workflow
    async def flow(step: Step) -> list[str]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.sleep(3600)
        trace.plain(("slept", loop.time() - begun))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7200):
                await asyncio.Event().wait()
        trace.plain(("timed out", loop.time() - begun))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 86400)
        trace.plain(("waited", loop.time() - begun))
        return ["done"]

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("90m")
        await crash(app)
    async with successor(app, flow, self_moving=False) as app:
        handle = app.handle(handle.run_id)
        await app.advance("10h")
        await crash(app)
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == ["done"]
        assert await app.handle(handle.run_id).steps() == []

    expected = [("slept", 3600.0), ("timed out", 10800.0), ("waited", 97200.0)]
    assert trace.calls == [*expected[:1], *expected[:2], *expected]


@scenario
async def test_a_deadline_counts_the_time_in_which_no_worker_was_there() -> None:
    @workflow
    async def flow(step: Step) -> str:
        try:
            async with asyncio.timeout(3600):
                await step.sleep("longer", "2h")
        except TimeoutError:
            return f"late at {asyncio.get_running_loop().time() - 1_800_000_000:.0f}"
        return "?"

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("10m")
        await crash(app)
    app.clock._now += 5 * 3600
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == f"late at {5 * 3600 + 600}"


@scenario
async def test_what_came_due_while_no_worker_was_there_fires_in_order() -> None:
    @workflow
    async def flow() -> list[Any]:
        done: list[Any] = []

        async def after(seconds: float) -> None:
            await asyncio.sleep(seconds)
            done.append(seconds)

        await asyncio.gather(after(7200), after(3600), after(10_000))
        return done

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1m")
        await crash(app)
    app.clock._now += 86400
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == [3600, 7200, 10_000]


@scenario
async def test_a_step_that_a_timer_cancels_meanwhile_is_not_begun_again_after_a_crash() -> None:
    begun = Counter()

    async def endless() -> None:
        begun.plain()
        await asyncio.Event().wait()

    @workflow
    async def flow(step: Step) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await step.run("endless", endless)
        return "done"

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await until(lambda: begun.calls)
        await crash(app)
    app.clock._now += 3600
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == "done"

    assert len(begun.calls) == 1


# -- parked runs


@scenario
async def test_of_runs_that_wait_only_so_many_stay_in_memory_and_the_others_come_back_by_replay() -> None:
    work, entered = Counter(), Counter()

    @workflow
    async def flow(number: int, step: Step) -> int:
        entered.plain(number)
        await step.run("before", work.step, f"before {number}")
        await step.sleep("a while", f"{number + 1}h")
        await step.run("after", work.step, f"after {number}")
        return number

    async with TestApp(flow, self_moving=False) as app:
        worker_of(app)._max_parked = 5
        handles = [await app.start(flow, number) for number in range(60)]
        await app.advance("1m")
        worker_id = worker_of(app).id
        kept, owned = len(worker_of(app)._parked), [(await handle.get()).worker for handle in handles]
        statuses = {await handle.status() for handle in handles}
        await app.advance("100h")
        results = [await handle.result() for handle in handles]

    assert kept == 5
    assert owned.count(worker_id) == 5
    assert statuses == {RunStatus.SLEEPING}
    assert results == list(range(60))
    assert work.repeated == []
    assert len(entered.calls) == 60 + 55


@scenario
async def test_a_worker_that_keeps_no_parked_runs_lets_go_of_each() -> None:
    @workflow
    async def flow(step: Step) -> str:
        await step.sleep("a while", "1 day")
        return "done"

    async with TestApp(flow, self_moving=False) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(flow)
        await app.advance("1h")
        assert not worker_of(app)._parked
        assert worker_of(app).alarms.next() is None
        await app.advance("1 day")
        assert await handle.result() == "done"


@scenario
async def test_runs_that_wake_wait_for_slots() -> None:
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    @workflow
    async def flow(step: Step) -> str:
        await step.sleep("a while", "1h")
        await step.run("work", work)
        return "done"

    async with TestApp(flow, concurrency=3) as app:
        handles = [await app.start(flow) for _ in range(20)]
        assert [await handle.result() for handle in handles] == ["done"] * 20

    assert most == 3


# -- def bodies


@scenario
async def test_a_def_body_that_sleeps_is_let_go_and_comes_back_by_replay() -> None:
    work, entered = Counter(), Counter()

    @workflow
    def flow(step: SyncStep) -> list[Any]:
        entered.plain()
        first = step.run("first", work.plain, 1)
        step.sleep("short", "100ms")
        step.sleep("long", "1 day")
        return [first, step.run("second", work.plain, 2), step.now() > datetime(2027, 1, 16, tzinfo=UTC)]

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1h")
        between = await handle.get()
        await app.advance("1 day")
        assert await handle.result(WITHIN) == [1, 2, True]

    assert (between.status, between.worker) == (RunStatus.SLEEPING, None)

    assert work.calls == [1, 2]
    assert len(entered.calls) == 2


# -- two loops


def test_two_event_loops_can_be_used_one_after_the_other_in_one_process() -> None:
    @workflow
    async def flow(step: Step) -> list[int]:
        async def numbers() -> Any:
            for number in range(3):
                yield await step.run("number", Counter().step, number)

        return [number async for number in numbers()]

    @scenario
    async def live() -> None:
        async with TestApp(flow) as app:
            assert await app.execute(flow) == [0, 1, 2]

    live()
    live()


@scenario
async def test_a_worker_can_be_driven_without_an_app_and_hands_its_runs_back_when_it_stops() -> None:
    @workflow
    async def flow(step: Step) -> str:
        await step.sleep("a while", "1 day")
        return "done"

    app = TestApp(flow)
    async with Worker(app.store, Registry([flow]), app.clock, name="one", heart="loop") as worker:
        handle = await app.start(flow)
        await settled(app)
        first = await handle.get()
    between = await handle.get()
    async with app:
        assert await handle.result() == "done"

    assert (first.worker, between.worker) == (worker.id, None)
    assert first.status is between.status is RunStatus.SLEEPING
