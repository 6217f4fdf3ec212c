"""What is due: delays, sleeps of runs that nobody has in memory, deadlines; precisely, and with one look a second."""

from __future__ import annotations

import asyncio

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.status import Action
from stepwell.testing.clock import EPOCH
from tests.engine.harness import Counter, scenario
from tests.engine.rig import Database, Gate, Rig
from tests.loops import turns


@workflow
async def quick() -> str:
    return "done"


@workflow
async def sleeps(step: Step) -> str:
    await step.sleep("long", "1h")
    return "done"


@scenario
async def test_a_delayed_run_begins_exactly_when_it_is_due() -> None:
    rig = Rig(quick)
    async with rig.worker():
        run_id = await rig.start("quick", delay=100.0)
        await turns()
        await rig.jumps(99.99)
        before = await rig.status(run_id)
        await rig.jumps(0.01)

        run = await rig.run(run_id)
        assert (before, run.status) == (RunStatus.PENDING, RunStatus.COMPLETED)
        assert run.started_at is not None
        assert run.started_at.timestamp() == pytest.approx(EPOCH + 100.0)


@scenario
async def test_what_becomes_due_earlier_than_all_that_was_known_is_waited_for() -> None:
    rig = Rig(quick)
    async with rig.worker():
        for delay in (100.0, 50.0, 70.0):
            await rig.start("quick", delay=delay)
            await turns()
        done: list[int] = []
        for _ in range(3):
            await rig.jumps(50.0 if not done else 20.0 if len(done) == 1 else 30.0)
            done.append(sum(row.status is RunStatus.COMPLETED for row in rig.store._tables.rows.values()))

    assert done == [1, 2, 3]


@scenario
async def test_a_run_that_nobody_has_in_memory_is_woken_when_its_sleep_is_over() -> None:
    rig = Rig(sleeps)
    async with rig.worker(max_parked=0):
        run_id = await rig.start("sleeps")
        await turns(40)
        owner, status = (await rig.run(run_id)).worker, await rig.status(run_id)
        await rig.jumps(3_600.0)
        await turns(40)

        assert (owner, status) == (None, RunStatus.SLEEPING)
        assert await rig.status(run_id) is RunStatus.COMPLETED


@scenario
async def test_twelve_hundred_runs_that_are_due_at_once_are_made_ready_in_portions() -> None:
    rig = Rig(quick)
    async with rig.worker(concurrency=2_000):
        for _ in range(1_200):
            await rig.start("quick", delay=60.0)
        await turns()
        before = rig.store.asked["make_ready"]
        await rig.jumps(60.0)
        await turns(400)

    assert rig.store.asked["make_ready"] - before == 3
    assert {row.status for row in rig.store._tables.rows.values()} == {RunStatus.COMPLETED}


@scenario
async def test_with_all_hints_lost_what_is_due_is_found_within_a_second() -> None:
    rig = Rig(quick)
    async with rig.worker():
        rig.store.is_silent = True
        run_id = await rig.start("quick", delay=0.1)
        at_once = await rig.start("quick")
        await rig.passes(1.0, 0.05)
        await rig.passes(1.0, 0.05)

        assert [await rig.status(each) for each in (run_id, at_once)] == [RunStatus.COMPLETED] * 2


@scenario
async def test_an_idle_worker_asks_the_database_once_a_second() -> None:
    rig = Rig(quick)
    async with rig.worker(lease=3_600.0):
        await rig.passes(2.0)
        rig.store.asked.clear()
        await rig.passes(60.0)

        assert 59 <= rig.store.asked.pop("look") <= 60
        assert rig.store.asked == {}


@scenario
async def test_a_database_that_was_away_when_something_was_due_is_asked_again() -> None:
    rig = Rig(quick)
    async with rig.worker():
        run_id = await rig.start("quick", delay=5.0)
        await turns()
        rig.store.go_away("make_ready", "expire")
        await rig.passes(10.0)
        between = await rig.status(run_id)
        rig.store.come_back()
        await rig.passes(1.25)

        assert (between, await rig.status(run_id)) == (RunStatus.PENDING, RunStatus.COMPLETED)


@scenario
async def test_a_run_that_is_due_and_that_another_worker_has_made_ready_is_no_reason_to_ask_on_and_on() -> None:
    rig = Rig(quick)
    async with rig.worker(queues=frozenset({"other"}), lease=3_600.0):
        await rig.start("quick", delay=5.0)
        await turns()
        await rig.passes(5.0)
        rig.store.asked.clear()
        await rig.passes(10.0)

        assert rig.store.asked["make_ready"] == 0
        assert rig.store.asked["look"] <= 11


class _Barren(Database):
    """Something is due, and cannot be made ready."""

    async def make_ready(self, now: float, limit: int) -> int:
        return 0


@scenario
async def test_what_cannot_be_made_ready_is_tried_again_with_each_look_and_no_sooner() -> None:
    rig = Rig(quick)
    rig.store = _Barren()
    async with rig.worker():
        await rig.start("quick", delay=5.0)
        await turns()
        await rig.passes(5.0)
        rig.store.asked.clear()
        await turns(300)
        at_once = rig.store.asked["make_ready"] + rig.store.asked["look"]
        await rig.passes(10.0)

        assert at_once <= 3
        assert 9 <= rig.store.asked["make_ready"] <= 11


# -- deadlines


@pytest.mark.parametrize("state", ["pending", "running", "sleeping, in memory", "sleeping, let go"])
@scenario
async def test_a_run_fails_exactly_at_its_deadline_whatever_it_is_doing(state: str) -> None:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(works, sleeps)
    async with rig.worker(max_parked=0 if "let go" in state else 10) as worker:
        name = {"pending": "unknown", "running": "works"}.get(state, "sleeps")
        run_id = await rig.start(name, timeout=60.0)
        await turns(40)
        await rig.passes(59.9, 1.0)
        before = await rig.status(run_id)
        await rig.passes(0.1)
        run = await rig.run(run_id)

        assert before.value == state.partition(",")[0]
        assert (run.status, run.error and run.error.type, run.worker) == (RunStatus.FAILED, "DeadlineExceeded", None)
        assert worker.here == {}
    assert gate.canceled == gate.calls


@scenario
async def test_a_run_that_is_paused_at_its_deadline_fails_when_it_is_resumed() -> None:
    rig = Rig(quick)
    async with rig.worker():
        run_id = await rig.start("quick", delay=10.0, timeout=60.0)
        await turns()
        await rig.act(run_id, Action.PAUSE)
        await rig.passes(100.0, 1.0)
        paused = await rig.status(run_id)
        rig.store.go_away("claim")  # it is a race otherwise: the run is ready, and takes no time
        await rig.act(run_id, Action.RESUME)
        await turns(40)

        assert (paused, await rig.status(run_id)) == (RunStatus.PAUSED, RunStatus.FAILED)


# -- what takes long


@scenario
async def test_a_step_that_takes_longer_than_a_second_is_shown_while_it_runs_and_short_ones_cost_nothing() -> None:
    gate, short = Gate(), Counter()

    @workflow
    async def flow(step: Step) -> None:
        await step.run("short", short.step)
        await step.run("long", gate.step)

    rig = Rig(flow)
    async with rig.worker():
        run_id = await rig.start("flow")
        await turns()
        commits = rig.store.commits
        await rig.passes(10.0)
        shown = [(record.key, record.status, record.finished_at is None) for record in await rig.store.steps(run_id)]
        marks = rig.store.commits - commits
        gate.open()
        await turns()

        assert shown == [("short", "completed", False), ("long", "running", True)]
        assert marks == 1
        assert [record.status for record in await rig.store.steps(run_id)] == ["completed", "completed"]


@scenario
async def test_a_clock_that_jumps_wakes_a_sleeper_once() -> None:
    entered = Counter()

    @workflow
    async def flow(step: Step) -> None:
        await step.sleep("long", "1 day")
        await step.run("after", entered.step)

    rig = Rig(flow)
    async with rig.worker():
        await rig.start("flow")
        await turns()
        await rig.jumps(30 * 86_400.0)
        await rig.jumps(30 * 86_400.0)
        await asyncio.sleep(0)

    assert entered.calls == [None]
