"""The heart in its thread: real time, a real thread, and a loop that is really blocked."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.registry import Registry
from stepwell.engine import blocked
from stepwell.engine.clock import SystemClock
from stepwell.engine.worker import Worker
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Beat
from tests.engine.harness import WITHIN, scenario, until
from tests.engine.rig import Gate, Rig

_LEASE = 0.6

_LONGER_LEASE = 2.1
"""Seconds: no machine stands still for so long."""


def _worker(rig: Rig, **options: Any) -> Worker:
    return Worker(rig.store, rig.registry, SystemClock(), **({"lease": _LEASE, "grace": 0.0} | options))


@workflow
async def blocks(seconds: float, step: Step) -> str:
    async def block() -> str:
        time.sleep(seconds)  # noqa: ASYNC251  # it is what is tested
        return "done"

    return await step.run("block", block)


@scenario
async def test_a_loop_that_is_blocked_for_several_leases_does_not_lose_them() -> None:
    beats, seen = 6 * 2, set[bool]()  # of two leases

    @workflow
    async def waits_for_beats(step: Step) -> None:
        async def block() -> None:
            enough = rig.store.asked["beat"] + beats
            while rig.store.asked["beat"] < enough:
                seen.add(worker.leased)
                time.sleep(0.01)  # noqa: ASYNC251  # it is what is tested

        await step.run("block", block)

    rig = Rig(waits_for_beats)
    async with _worker(rig, lease=_LONGER_LEASE) as worker:
        first_id = worker.id
        run_id = await rig.start("waits_for_beats")
        await until(lambda: rig.store._tables.rows[run_id].status is RunStatus.COMPLETED)

        assert seen == {True}
        assert worker.id == first_id


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set when it is told that something blocks the loop, which is so after a tenth of a second."""
    monkeypatch.setattr(blocked, "PATIENCE", 0.1)
    told, handler = threading.Event(), logging.Handler()
    handler.emit = lambda _: told.set()  # type: ignore[assignment, method-assign]  # it is all that is to be done
    blocked.log.addHandler(handler)
    yield told
    blocked.log.removeHandler(handler)


@scenario
async def test_who_blocks_the_loop_is_named_with_its_stack_and_once_in_a_while(
    told: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    async def flow(step: Step) -> None:
        async def block() -> None:
            told.clear()  # on a busy machine, something may have been in the way before
            assert told.wait(WITHIN)
            time.sleep(0.3)  # noqa: ASYNC251  # it is what is tested

        await step.run("block", block)

    caplog.set_level(logging.WARNING)
    rig = Rig(flow)
    async with _worker(rig):
        run_id = await rig.start("flow")
        await until(lambda: rig.store._tables.rows[run_id].status is RunStatus.COMPLETED)

    (message,) = [message for message in caplog.messages if "step 'block'" in message]
    assert message.startswith(f"step 'block' of run {run_id} has blocked the worker's event loop")
    assert "told.wait(WITHIN)" in message


@scenario
async def test_a_loop_that_is_blocked_by_no_step_is_told_too(told: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with _worker(Rig(blocks)):
        await asyncio.sleep(0.02)
        told.clear()
        assert told.wait(WITHIN)

    (message,) = [message for message in caplog.messages if "told.wait(WITHIN)" in message]
    assert message.startswith("something has blocked the worker's event loop")


def test_a_blockage_is_told_after_a_second_and_again_after_ten(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    watch = blocked.LoopWatch(loop, threading.get_ident())

    told = []
    for now in (0.0, 0.9, 1.0, 2.0, 10.9, 11.0, 12.0):
        caplog.clear()
        watch.look(now)
        told.append(bool(caplog.messages))
    loop.run_until_complete(asyncio.sleep(0))
    for now in (30.0, 30.5):
        caplog.clear()
        watch.look(now)
        told.append(bool(caplog.messages))
    loop.close()

    assert told == [False, False, True, False, False, True, False, False, False]


@scenario
async def test_a_worker_without_its_database_learns_that_its_lease_is_over_and_that_it_is_back() -> None:
    rig = Rig(blocks)
    async with _worker(rig) as worker:
        rig.store.go_away("beat")
        await until(lambda: not worker.leased)
        rig.store.come_back()
        await until(lambda: worker.leased)


@scenario
async def test_a_heart_that_beats_rarely_beats_soon_after_the_machines_clock_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rig, real = Rig(blocks), time.time
    async with _worker(rig, lease=3_600.0):
        await until(lambda: rig.store.asked["beat"] == 1)
        monkeypatch.setattr(time, "time", lambda: real() + 3_600.0)
        await until(lambda: rig.store.asked["beat"] == 2)
        monkeypatch.setattr(time, "time", real)
        await until(lambda: rig.store.asked["beat"] == 3)


@scenario
async def test_a_worker_that_is_killed_is_found_and_its_runs_go_on() -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step) -> str:
        return await step.run("work", gate.step, "done")

    rig = Rig(flow)
    dying = _worker(rig)
    await dying.__aenter__()
    run_id = await rig.start("flow")
    await until(lambda: gate.waiting)
    dying.abandon()
    gate.open()
    async with _worker(rig) as heir:
        await until(lambda: rig.store._tables.rows[run_id].status is RunStatus.COMPLETED)

        assert [each.id for each in await rig.store.workers()] == [heir.id]


@scenario
async def test_a_worker_that_is_taken_for_dead_goes_on_under_another_id() -> None:
    rig = Rig(blocks)
    async with _worker(rig) as worker:
        first_id = worker.id
        while await rig.store.rescue(first_id, rig.store._tables.workers[first_id].beat, worker.clock.now(), 500, 5):
            pass
        await until(lambda: worker.id != first_id and worker.leased)
        run_id = await rig.start("blocks", "0")
        await until(lambda: rig.store._tables.rows[run_id].status is RunStatus.COMPLETED)


class _OfAnotherTime(MemoryStore):
    """A database whose clock is elsewhere."""

    ahead = 0.0

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        answer = super().beat(worker, running, parked, now)
        threading.Event().wait(0.05)  # as a database far away
        return None if answer is None else answer._replace(time=time.time() + self.ahead)


@pytest.mark.parametrize("ahead", [3_600.0, -3_600.0])
@scenario
async def test_a_worker_goes_by_the_clock_of_the_database_before_it_does_anything(ahead: float) -> None:
    store, clock = _OfAnotherTime(), SystemClock()
    store.ahead = ahead
    async with Worker(store, Registry(), clock, lease=_LEASE):
        first = clock.now() - time.time()
        store.ahead = 0.0
        await until(lambda: abs(clock.now() - time.time()) < 60)

    assert first == pytest.approx(ahead, abs=60)


@scenario
async def test_the_thread_ends_with_its_worker() -> None:
    async with _worker(Rig(blocks)):
        during = [thread.name for thread in threading.enumerate()].count("stepwell-heart")
    await until(lambda: "stepwell-heart" not in {thread.name for thread in threading.enumerate()})

    assert during == 1


def test_the_thread_ends_when_the_loop_is_closed_over_it() -> None:
    async def forget() -> None:
        worker = _worker(Rig(blocks), lease=0.06)
        await worker.__aenter__()
        worker.heart.stop = lambda: None  # type: ignore[method-assign]  # nobody stops it
        worker.abandon()

    asyncio.run(forget())
    for thread in threading.enumerate():
        if thread.name == "stepwell-heart":
            thread.join(50)

    assert "stepwell-heart" not in {thread.name for thread in threading.enumerate()}
