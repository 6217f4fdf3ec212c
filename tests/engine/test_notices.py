"""What operators do to runs that a worker has in memory reaches it: at once by hints, within a second without."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.status import Action
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Notices
from tests.engine.harness import scenario
from tests.engine.rig import Gate, Rig
from tests.loops import turns


def _flow(gate: Gate) -> Any:
    @workflow(name="flow")
    async def flow(step: Step) -> str:
        return await step.run("work", gate.step, "done")

    return flow


@workflow
async def sleeps(step: Step) -> str:
    await step.sleep("long", "1h")
    return "done"


@pytest.mark.parametrize("silent", [False, True])
@scenario
async def test_an_async_step_of_a_canceled_run_is_canceled_at_once_and_within_a_second_with_all_hints_lost(silent: bool) -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await rig.passes(2.1)
        rig.store.is_silent = silent
        await rig.act(run_id, Action.CANCEL)
        if silent:
            await rig.passes(1.0)
        await turns()

        assert (gate.canceled, worker.here) == (1, {})


@scenario
async def test_a_paused_run_begins_no_further_step_also_when_its_news_cannot_be_asked_for() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await rig.passes(5.1)
        rig.store.go_away("news")
        await rig.act(run_id, Action.PAUSE)
        await rig.passes(1.0)

        assert worker.here[run_id]._stopping


@pytest.mark.parametrize("silent", [False, True])
@scenario
async def test_a_sleeping_run_that_is_paused_leaves_memory(silent: bool) -> None:
    rig = Rig(sleeps)
    async with rig.worker() as worker:
        run_id = await rig.start("sleeps")
        await rig.passes(2.1)
        parked = len(worker._parked)
        rig.store.is_silent = silent
        await rig.act(run_id, Action.PAUSE)
        if silent:
            await rig.passes(1.0)
        await turns()

        assert (parked, worker.here) == (1, {})


@scenario
async def test_a_run_that_is_paused_and_resumed_within_one_step_goes_on_where_it_is_with_all_hints_lost() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker():
        run_id = await rig.start("flow")
        await turns()
        rig.store.is_silent = True
        for action in (Action.PAUSE, Action.RESUME):
            await rig.act(run_id, action)
            await rig.passes(1.25)
        status = await rig.status(run_id)
        gate.open()
        await turns()

        assert (status, await rig.status(run_id)) == (RunStatus.RUNNING, RunStatus.COMPLETED)
        assert rig.store._tables.rows[run_id].claim == 1
    assert gate.calls == 1


@scenario
async def test_a_run_that_is_canceled_and_retried_before_its_worker_hears_of_it_is_executed_once_at_a_time() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await turns()
        rig.store.go_away("notices")
        await rig.act(run_id, Action.CANCEL)
        await rig.act(run_id, Action.RETRY)
        await turns()
        at_once = gate.waiting
        await rig.passes(3.0)
        rig.store.come_back()
        await rig.passes(3.0)
        gate.open()
        await turns()

        assert at_once == 1
        assert await rig.status(run_id) is RunStatus.COMPLETED
        assert worker.here == {}
    assert (gate.calls, gate.canceled) == (2, 1)


@scenario
async def test_a_run_that_is_this_worker_s_under_another_claim_is_not_the_one_in_memory() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await turns()
        row = rig.store._tables.rows[run_id]
        row.claim += 1
        rig.store._tables.notice(worker.id, row)
        await rig.passes(1.0)

        assert (worker.here, gate.canceled) == ({}, 1)


@scenario
async def test_notices_are_forgotten_once_they_are_heeded() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await turns()
        for _ in range(3):
            await rig.act(run_id, Action.PAUSE)
            await rig.act(run_id, Action.RESUME)
        await turns()
        asked = rig.store.asked["notices"]
        await rig.passes(5.0)

        assert rig.store._tables.workers[worker.id].notices == {}
        assert rig.store.asked["notices"] == asked


@scenario
async def test_a_notice_of_a_run_that_has_left_meanwhile_is_forgotten_too() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        run_id = await rig.start("flow")
        await turns()
        rig.store.go_away("notices")
        await rig.act(run_id, Action.CANCEL)
        worker.here[run_id].drop()
        rig.store.come_back()
        await rig.passes(2.0)

        assert rig.store._tables.workers[worker.id].notices == {}


@scenario
async def test_a_run_that_comes_while_notices_are_asked_for_is_not_meant_by_them_and_they_are_told_again() -> None:
    """The answer is as old as can be: of a time before the run was claimed."""
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker() as worker:
        rig.store.is_silent = True
        run_id = await rig.start("flow")
        real, told = rig.store.notices, list[Notices]()

        async def old(name: str, seen: int, now: float) -> Notices:
            if told:
                return await real(name, seen, now)
            told.append(Notices(7, {run_id: None}))
            worker.hint()
            await turns(5)
            return told[0]

        rig.store.notices = old  # type: ignore[assignment, method-assign]
        worker.notices.waker.set()
        await turns()
        kept = run_id in worker.here
        gate.open()
        await turns()

        assert kept
        assert worker.notices._seen[1] == 0
        assert await rig.status(run_id) is RunStatus.COMPLETED


@scenario
async def test_a_database_that_does_not_tell_its_notices_is_asked_again() -> None:
    gate = Gate()
    rig = Rig(_flow(gate))
    async with rig.worker():
        run_id = await rig.start("flow")
        await turns()
        rig.store.go_away("notices")
        await rig.act(run_id, Action.CANCEL)
        await rig.passes(0.75)  # after a second the step would be marked as long, and the answer to that tell
        with pytest.raises(DatabaseUnavailable):
            await rig.store.notices("", 0, 0.0)
        before = gate.canceled
        rig.store.come_back()
        await rig.passes(1.25)

    assert (before, gate.canceled) == (0, 1)
