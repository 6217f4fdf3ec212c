"""People and clients who act while workers work: whatever meets, a run is in a state of the table, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import Handle, IllegalTransition, Run, RunCanceled, RunStatus, Stepwell
from tests.engine.harness import status_is
from tests.faults.databases import database_of
from tests.faults.flows import naps, notices, short, three, times
from tests.faults.processes import Program, until
from tests.loops import on_a_loop, turns

RACES = 300
DONE = ["ONE", "TWO", "THREE"]

Race = Callable[[Handle[Any], int], Coroutine[Any, Any, None]]


async def tried(action: Awaitable[Run]) -> RunStatus | None:
    """The status that it led to; None: the run's status did not allow it."""
    try:
        return (await action).status
    except IllegalTransition:
        return None


async def raced(app: Stepwell, race: Race) -> list[Handle[Any]]:
    """Hundreds of runs, each at another moment of its life."""
    handles = await app.start_many(three, ["nowhere"] * RACES)
    async with asyncio.TaskGroup() as group:
        for number, handle in enumerate(handles):
            group.create_task(race(handle, number))
    return handles


def each_step_ran_at_most_once(folder: Path) -> bool:
    return set(times(folder).values()) <= {1}


@on_a_loop
async def test_a_pause_that_meets_the_end_of_its_run_comes_before_it_or_is_too_late(folder: Path, app: Stepwell) -> None:
    paused = 0

    async def race(handle: Handle[Any], number: int) -> None:
        nonlocal paused
        await turns(number)
        status = await tried(handle.pause())
        if status is None:
            assert await handle.status() is RunStatus.COMPLETED
        else:
            paused += 1
            assert status is await handle.status() is RunStatus.PAUSED
            assert await tried(handle.resume()) in (RunStatus.PENDING, RunStatus.RUNNING)
        assert await handle.result() == DONE

    async with app, app.worker():
        await raced(app, race)
        assert await app.runs.count() == {RunStatus.COMPLETED: RACES}

    assert paused > 0
    assert set(times(folder).values()) == {1}
    assert len(times(folder)) == 3 * RACES


@on_a_loop
async def test_a_cancel_that_meets_a_pause_wins_or_meets_the_end(folder: Path, app: Stepwell) -> None:
    async def race(handle: Handle[Any], number: int) -> None:
        await turns(number)
        paused, canceled = await asyncio.gather(*[tried(handle.pause()), tried(handle.cancel())][:: 1 if number % 2 else -1])
        if number % 2 == 0:
            paused, canceled = canceled, paused
        assert paused in (RunStatus.PAUSED, None)
        assert canceled in (RunStatus.CANCELED, None)
        assert await handle.status() is (RunStatus.COMPLETED if canceled is None else RunStatus.CANCELED)

    async with app, app.worker():
        await raced(app, race)
        assert set(await app.runs.count()) <= {RunStatus.COMPLETED, RunStatus.CANCELED}

    assert each_step_ran_at_most_once(folder)


@on_a_loop
async def test_a_resume_that_meets_a_cancel_changes_nothing_of_it(folder: Path, app: Stepwell) -> None:
    async def race(handle: Handle[Any], number: int) -> None:
        await turns(number % 50)
        if await tried(handle.pause()) is None:
            return
        calls = [tried(handle.resume()), tried(handle.cancel())]
        _, canceled = await asyncio.gather(*calls)
        assert await handle.status() is (RunStatus.COMPLETED if canceled is None else RunStatus.CANCELED)
        actions = [event.action for event in await handle.events()]
        assert actions in (["pause", "resume", "cancel"], ["pause", "cancel"], ["pause", "resume"])

    async with app, app.worker():
        handles = await raced(app, race)
        await until(lambda: _have_ended(app))
        assert set(await app.runs.count()) <= {RunStatus.COMPLETED, RunStatus.CANCELED}
        assert sum((await app.runs.count()).values()) == len(handles)

    assert each_step_ran_at_most_once(folder)


async def _have_ended(app: Stepwell) -> bool:
    return all(status.ended for status in await app.runs.count())


@on_a_loop
async def test_a_step_in_another_process_is_canceled_with_its_run(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(notices)
        with Program("worker", folder) as worker:
            worker.says("waits")
            assert (await handle.cancel()).status is RunStatus.CANCELED
            with pytest.raises(RunCanceled):
                await handle.result()
            await worker.says_meanwhile("was canceled")
            assert (await handle.cancel()).status is RunStatus.CANCELED
            assert await app.execute(short, 1) == 2

        assert [event.action for event in await handle.events()] == ["cancel"]
    assert not [made for made in times(folder) if "after" in made]


@pytest.mark.parametrize("when", ["before its start", "while it sleeps"])
@on_a_loop
async def test_a_run_that_executes_nowhere_is_canceled_too(app: Stepwell, when: str) -> None:
    async with app, app.worker():
        if when == "before its start":
            handle: Handle[Any] = await app.start(three, "nowhere", delay="1h")
        else:
            handle = await app.start(naps)
            await status_is(handle, RunStatus.SLEEPING)
        await handle.cancel()
        with pytest.raises(RunCanceled):
            await handle.result()
        assert await app.execute(short, 1) == 2
        assert await handle.status() is RunStatus.CANCELED


def memory(process: int) -> int:
    """KiB that a process has had at most."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory another process has had")
@on_a_loop
async def test_thousands_of_runs_due_in_one_second_fill_no_memory_and_keep_no_other_lane_waiting(folder: Path, app: Stepwell) -> None:
    many = 6_000
    async with app:
        await app.start_many(short, range(many), at=datetime.now(UTC) + timedelta(seconds=1))
        with Program("worker", folder) as worker:
            worker.says("is open")
            await until(lambda: _have_completed(app, 1))
            before, most = memory(worker.process.pid), 0
            others = []
            while (await app.runs.count(workflow="short")).get(RunStatus.COMPLETED, 0) < many:
                (state,) = await app.workers.list()
                most = max(most, state.running + state.parked)
                other = await app.start(three, "nowhere")
                assert await other.result() == DONE
                others.append(await other.get())
            assert memory(worker.process.pid) - before < 40 * 1024

    assert most <= 100
    assert len(others) > 1
    assert max(ended_meanwhile(folder, other) for other in others) < many / 2


def ended_meanwhile(folder: Path, other: Run) -> int:
    """How many of the short ones have ended between the start of another run and its end."""
    database = database_of(folder)
    assert other.finished_at is not None
    between = f"finished_at BETWEEN {other.created_at.timestamp()} AND {other.finished_at.timestamp()}"
    ((ended,),) = database.execute(f"SELECT count(*) FROM {database.table('runs')} WHERE workflow = 'short' AND {between}")
    return int(ended)


async def _have_completed(app: Stepwell, number: int) -> bool:
    return (await app.runs.count(workflow="short")).get(RunStatus.COMPLETED, 0) >= number


@on_a_loop
async def test_a_thousand_who_wait_for_results_do_not_keep_a_start_or_a_cancel_waiting(app: Stepwell) -> None:
    async with app, app.worker():
        handles = await app.start_many(naps, [None] * 1_000)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(_canceled(handle)) for handle in handles]
            await turns()
            last = await app.start(short, 4)
            await handles[0].cancel()
            assert await waiting[0]
            assert not any(task.done() for task in waiting[1:])
            assert await last.result() == 8
            assert await app.runs.cancel_all(workflow="naps") == 999

    assert [task.result() for task in waiting] == [True] * 1_000


async def _canceled(handle: Handle[Any]) -> bool:
    try:
        await handle.result()
    except RunCanceled:
        return True
    return False
