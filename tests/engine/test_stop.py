"""How a worker leaves: steps may end, runs are handed back, and nothing takes longer than the grace and two seconds."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.status import Action
from stepwell.engine.clock import SystemClock
from stepwell.engine.worker import Worker
from tests.engine.harness import Counter, jumping_scenario, scenario
from tests.engine.rig import Gate, Rig
from tests.loops import turns


class Stop:
    """A worker with one run whose first step waits, and one that sleeps."""

    def __init__(self, grace: float = 10.0, **options: Any) -> None:
        self.gate, self.after = Gate(), Counter()
        gate, after = self.gate, self.after

        @workflow
        async def works(step: Step) -> str:
            await step.run("first", gate.step)
            await step.run("second", after.step)
            return "done"

        @workflow
        async def sleeps(step: Step) -> None:
            await step.sleep("long", "1h")

        self.rig = Rig(works, sleeps)
        self.worker = self.rig.worker(grace=grace, **options)

    async def begin(self) -> None:
        await self.worker.__aenter__()
        self.working, self.sleeping = await self.rig.start("works"), await self.rig.start("sleeps")
        await turns()

    def stopping(self) -> asyncio.Task[None]:
        return self.worker.loop.create_task(self.worker.stop())


@scenario
async def test_a_step_that_ends_within_the_grace_is_recorded_and_its_run_handed_back_before_the_next() -> None:
    room = Stop()
    await room.begin()

    stopping = room.stopping()
    await turns()
    late = await room.rig.start("works")
    await turns()
    sleeping = await room.rig.run(room.sleeping)
    room.gate.open()
    await stopping

    run = await room.rig.run(room.working)
    assert (sleeping.status, sleeping.worker) == (RunStatus.SLEEPING, None)
    assert (run.status, run.worker, run.attempt) == (RunStatus.PENDING, None, 1)
    assert [(each.key, each.status) for each in await room.rig.store.steps(room.working)] == [("first", "completed")]
    assert await room.rig.status(late) is RunStatus.PENDING
    assert (room.gate.calls, room.after.calls, await room.rig.store.workers()) == (1, [], [])


@scenario
async def test_after_the_grace_a_step_is_canceled_and_its_run_handed_back_with_no_attempt_used() -> None:
    room = Stop(grace=10.0)
    await room.begin()

    stopping = room.stopping()
    await turns()
    await room.rig.passes(9.5)
    before = room.gate.canceled
    await room.rig.passes(0.5)
    await stopping

    run = await room.rig.run(room.working)
    assert (before, room.gate.canceled) == (0, 1)
    assert (run.status, run.worker, run.attempt) == (RunStatus.PENDING, None, 1)
    assert await room.rig.store.steps(room.working) == []
    async with room.rig.worker() as heir:
        room.gate.open()
        await turns(40)
        assert await room.rig.status(room.working) is RunStatus.COMPLETED
        assert heir.id != room.worker.id


@scenario
async def test_a_step_that_fails_within_the_grace_is_not_tried_again_here() -> None:
    go_on, tries = asyncio.Event(), Counter()

    async def fails() -> None:
        tries.plain()
        await go_on.wait()
        raise OSError("once")

    @workflow
    async def flow(step: Step) -> None:
        await step.run("fails", fails)

    rig = Rig(flow)
    worker = rig.worker(grace=60.0)
    await worker.__aenter__()
    run_id = await rig.start("flow")
    await turns()
    stopping = worker.loop.create_task(worker.stop())
    await turns()
    go_on.set()
    await stopping

    assert (await rig.status(run_id), len(tries.calls)) == (RunStatus.PENDING, 1)
    assert [(each.attempt, each.status) for each in await rig.store.steps(run_id)] == [(1, "failed")]


@scenario
async def test_a_run_whose_other_steps_go_on_waits_for_the_last_of_them() -> None:
    gates = [Gate(), Gate()]

    @workflow
    async def flow(step: Step) -> None:
        await asyncio.gather(*(step.run("work", gate.step) for gate in gates))

    rig = Rig(flow)
    worker = rig.worker(grace=60.0)
    await worker.__aenter__()
    run_id = await rig.start("flow")
    await turns()
    stopping = worker.loop.create_task(worker.stop())
    gates[0].open()
    await turns()
    between = len(await rig.store.steps(run_id)), stopping.done()
    gates[1].open()
    await stopping

    assert between == (1, False)
    assert len(await rig.store.steps(run_id)) == 2
    assert await rig.status(run_id) is RunStatus.PENDING


@scenario
async def test_stopping_twice_or_at_once_from_two_places_is_stopping_once() -> None:
    room = Stop()
    await room.begin()
    room.gate.open()

    await asyncio.gather(room.worker.stop(), room.worker.stop(), room.worker.stop_now())
    await room.worker.stop()

    assert await room.rig.store.workers() == []


@pytest.mark.parametrize("heart", ["loop", "thread"])
@pytest.mark.parametrize(("away", "hanging"), [("", ""), ("beat", ""), ("register", ""), ("", "register")])
@scenario
async def test_a_worker_that_is_stopped_while_it_begins_leaves_and_is_not_registered_any_more(away: str, hanging: str, heart: str) -> None:
    rig = Rig()
    rig.store.away, rig.store.hanging = frozenset({away}), frozenset({hanging})
    worker = Worker(rig.store, rig.registry, rig.clock if heart == "loop" else SystemClock(), heart=heart)  # type: ignore[arg-type]

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await turns()
        await worker.stop()
        if hanging:
            running.cancel()  # an answer that never comes; adapters have limits of their own

    assert (await rig.store.workers(), worker.failure) == ([], None)


@scenario
async def test_who_is_in_a_hurry_waits_for_no_step() -> None:
    room = Stop(grace=3_600.0)
    await room.begin()

    stopping = room.stopping()
    await turns()
    await room.worker.stop_now()
    await stopping

    assert room.gate.canceled == 1
    assert (await room.rig.run(room.working)).worker is None


@scenario
async def test_a_stop_that_nobody_waits_for_any_more_goes_on() -> None:
    room = Stop()
    await room.begin()

    stopping = room.stopping()
    await turns()
    stopping.cancel()
    room.gate.open()
    await turns(60)

    assert await room.rig.store.workers() == []


@pytest.mark.parametrize("how", ["away", "hanging"])
@jumping_scenario
async def test_without_a_database_a_worker_leaves_all_the_same_within_two_seconds(how: str) -> None:
    room = Stop(grace=0.0)
    await room.begin()
    if how == "away":
        room.rig.store.go_away()
    else:
        room.rig.store.hanging = frozenset({"commit", "hand_back", "look"})
    began = room.worker.loop.time()

    await room.worker.stop()

    assert room.worker.loop.time() - began < 2.0
    assert (room.worker.here, room.gate.canceled) == ({}, 1)


@scenario
async def test_a_thread_that_is_stuck_keeps_no_worker_from_leaving() -> None:
    release, entered = threading.Event(), threading.Event()

    def stuck() -> None:
        entered.set()
        release.wait(20)

    @workflow
    async def flow(step: Step) -> None:
        await step.run("stuck", stuck)

    rig = Rig(flow)
    worker = Worker(rig.store, rig.registry, SystemClock(), grace=0.1)
    await worker.__aenter__()
    run_id = await rig.start("flow")
    while not entered.is_set():
        await asyncio.sleep(0.001)
    began = worker.loop.time()
    await worker.stop()
    took = worker.loop.time() - began
    release.set()

    assert took < 2.1
    assert await rig.status(run_id) is RunStatus.PENDING


@scenario
async def test_an_operator_can_drain_a_worker_and_its_run_call_returns() -> None:
    room = Stop(lease=6.0)
    running = asyncio.get_running_loop().create_task(room.worker.run())
    await turns()
    room.working = await room.rig.start("works")
    await turns()

    await room.rig.store.drain(room.worker.id, room.rig.clock.now())
    await room.rig.passes(1.25)
    still = running.done()
    room.gate.open()
    await running

    assert not still
    assert await room.rig.status(room.working) is RunStatus.PENDING
    assert await room.rig.store.workers() == []


@scenario
async def test_a_worker_whose_run_call_is_canceled_leaves_without_the_grace() -> None:
    room = Stop(grace=3_600.0)
    running = asyncio.get_running_loop().create_task(room.worker.run())
    await turns()
    room.working = await room.rig.start("works")
    await turns()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert (await room.rig.run(room.working)).worker is None
    assert await room.rig.store.workers() == []


@scenario
async def test_a_worker_that_is_taken_for_dead_while_it_stops_just_leaves() -> None:
    room = Stop(grace=60.0, lease=6.0)
    await room.begin()
    stopping = room.stopping()
    await turns()
    await room.rig.store.rescue(room.worker.id, room.rig.store._tables.workers[room.worker.id].beat, room.rig.clock.now(), 500, 5)
    await room.rig.passes(2.0)
    await stopping

    assert room.gate.canceled == 1
    assert await room.rig.store.workers() == []


@scenario
async def test_a_run_that_is_resumed_while_its_worker_stops_is_handed_back_like_the_others() -> None:
    room = Stop(grace=10.0)
    await room.begin()
    await room.rig.act(room.working, Action.PAUSE)
    await turns()
    stopping = room.stopping()
    await turns()
    await room.rig.act(room.working, Action.RESUME)
    await turns()
    room.gate.open()
    await room.rig.passes(10.0)
    await stopping

    run = await room.rig.run(room.working)
    assert (run.status, run.worker) == (RunStatus.PENDING, None)
    assert room.after.calls == []


@scenario
async def test_a_run_that_is_paused_and_resumed_while_its_worker_stops_leaves_when_its_step_has_ended() -> None:
    room = Stop(grace=10.0)
    await room.begin()
    stopping = room.stopping()
    await turns()
    await room.rig.act(room.working, Action.PAUSE)
    await turns()
    await room.rig.act(room.working, Action.RESUME)
    await room.rig.passes(1.0)
    room.gate.open()
    await stopping  # and no time passes

    run = await room.rig.run(room.working)
    assert (run.status, run.worker) == (RunStatus.PENDING, None)
    assert [(each.key, each.status) for each in await room.rig.store.steps(room.working)] == [("first", "completed")]
    assert room.after.calls == []


# -- until idle


@scenario
async def test_a_worker_until_idle_returns_when_nothing_is_due_and_lets_go_of_what_sleeps() -> None:
    room = Stop()
    room.gate.open()
    ids = [await room.rig.start(name) for name in ("works", "sleeps", "works", "unknown")]
    delayed = await room.rig.start("works", delay=60.0)

    await room.worker.run_until_idle()

    statuses = [await room.rig.status(run_id) for run_id in [*ids, delayed]]
    assert statuses == [
        RunStatus.COMPLETED, RunStatus.SLEEPING, RunStatus.COMPLETED, RunStatus.PENDING, RunStatus.PENDING,
    ]  # fmt: skip
    assert (await room.rig.run(ids[1])).worker is None
    assert await room.rig.store.workers() == []


@scenario
async def test_a_worker_until_idle_executes_what_is_due_already_and_more_runs_than_it_has_slots() -> None:
    room = Stop(concurrency=2)
    room.gate.open()
    delayed = [await room.rig.start("works", delay=60.0) for _ in range(9)]
    room.rig.clock.move_to(room.rig.clock.now() + 60.0)

    await room.worker.run_until_idle()

    assert {await room.rig.status(run_id) for run_id in delayed} == {RunStatus.COMPLETED}


@scenario
async def test_a_worker_until_idle_takes_over_what_a_dead_one_left() -> None:
    room = Stop()
    await room.begin()
    room.worker.abandon()
    room.rig.store.gone.add(room.worker.id)
    room.gate.open()

    await room.rig.worker().run_until_idle()

    assert await room.rig.status(room.working) is RunStatus.COMPLETED


@scenario
async def test_a_worker_until_idle_waits_for_a_database_that_is_away() -> None:
    room = Stop()
    room.gate.open()
    run_id = await room.rig.start("works")
    room.rig.store.go_away("claim", "look")
    idle = asyncio.get_running_loop().create_task(room.worker.run_until_idle())
    await room.rig.passes(5.0)
    early = idle.done()
    room.rig.store.come_back()
    await room.rig.passes(3.0)
    await idle

    assert not early
    assert await room.rig.status(run_id) is RunStatus.COMPLETED


def test_a_run_call_whose_loop_went_away_ends_without_waiting_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    async def abandoned() -> None:
        worker = Rig().worker()
        tasks.append(asyncio.get_running_loop().create_task(worker.run()))
        await turns()
        worker.abandon()
        await turns()

    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandoned())
    loop.set_exception_handler(lambda _, context: None)
    loop.close()
    tasks.clear()
    gc.collect()

    assert ignored == []
