"""`TestApp`: the whole app in memory, on a clock that moves by itself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import NonDeterminism, RunFailed, RunNotFound, RunStatus, Step, Stepwell, Stuck, workflow
from stepwell.testing import EPOCH, MovedClock, TestApp
from tests.engine.harness import WITHIN, caught, scenario, settled, status_is, worker_of


@workflow
async def naps(step: Step) -> str:
    await step.sleep("a while", "30 days")
    return "rested"


@workflow
async def ship() -> str:
    return "shipped"


@scenario
async def test_a_sleep_of_thirty_days_takes_no_time() -> None:
    async with TestApp(naps) as app:
        assert await app.execute(naps) == "rested"
        assert app.now() - EPOCH == pytest.approx(30 * 86_400, abs=60)


@scenario
async def test_a_clock_that_does_not_move_by_itself_is_advanced() -> None:
    async with TestApp(naps, self_moving=False) as app:
        handle = await app.start(naps)
        await app.advance("29 days")
        assert await handle.status() is RunStatus.SLEEPING
        await app.advance("1 day")
        assert await handle.result() == "rested"
        assert app.now() == EPOCH + 30 * 86_400


@scenario
async def test_the_clock_stands_still_while_nothing_is_due() -> None:
    async with TestApp(ship) as app:
        await app.execute(ship)
        began = app.now()
        await settled(app, 200)

        assert app.now() == began


@given(st.floats(0, 10**9))
def test_a_clock_that_is_moved_to_an_instant_has_reached_it(after: float) -> None:
    async def move() -> float:
        clock = MovedClock()
        clock.move_to(EPOCH + after)
        return clock.now()

    assert EPOCH + after <= asyncio.run(move()) <= EPOCH + after + 0.000_002


@scenario
async def test_a_test_app_has_all_that_an_app_has() -> None:
    async with TestApp(naps, ship) as app:
        assert isinstance(app, Stepwell)
        assert await app.execute("ship") == "shipped"
        assert await app.runs.count() == {RunStatus.COMPLETED: 1}
        (worker,) = await app.workers.list()
        assert (worker.name, {state.name for state in await app.workflows.list()}) == ("test", {"naps", "ship"})
        assert (app.database_url, app.namespace, app.timezone) == ("sqlite://", "stepwell", "UTC")


@scenario
async def test_a_test_app_may_have_more_workers() -> None:
    async with TestApp(ship) as app:
        handle = await app.start(ship, queue="slow")
        await app.worker(queues=["slow"]).run_until_idle()
        assert await handle.result() == "shipped"


def test_a_test_app_reads_neither_the_environment_nor_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_DATABASE_URL", "nonsense")
    monkeypatch.setenv("STEPWELL_NAMESPACE", "2")

    assert TestApp(ship).database_url == "sqlite://"


@scenario
async def test_the_same_seed_gives_the_same_ids() -> None:
    async def started(seed: int) -> str:
        return (await TestApp(ship, seed=seed).start(ship)).run_id

    assert await started(1) == await started(1) != await started(2)


@scenario
async def test_a_test_app_may_be_opened_several_times_at_once() -> None:
    async with TestApp(ship) as app:
        async with app:
            assert await app.execute(ship) == "shipped"
        assert await app.execute(ship) == "shipped"
        assert len(await app.workers.list()) == 1


# -- who waits in vain


@scenario
async def test_who_waits_for_a_run_that_nobody_can_execute_is_told_what_it_waits_for() -> None:
    async with TestApp(ship) as app:
        handle = await app.start("ship", version="v2")
        assert (await handle.get()).waiting_for == "no worker has ship v2"
        with pytest.raises(Stuck, match=f"run {handle.run_id} of ship will not end by itself: no worker has ship v2"):
            await handle.result()
        assert await handle.status() is RunStatus.PENDING
        assert await app.execute(ship) == "shipped"


@scenario
async def test_who_waits_for_a_run_that_is_paused_is_told_so() -> None:
    async with TestApp(naps, self_moving=True) as app:
        handle = await app.start(naps, delay="1h")
        await handle.pause()
        with pytest.raises(Stuck, match="it is paused; resume it"):
            await handle.result()
        await handle.resume()
        assert await handle.result() == "rested"


@scenario
async def test_who_waits_for_a_run_whose_code_no_longer_fits_is_told_why() -> None:
    first = [True]

    @workflow
    async def changed(step: Step) -> None:
        await step.run("old" if first[0] else "new", lambda: None)
        await step.sleep("a while", "1h")

    async with TestApp(changed, self_moving=False) as app:
        handle = await app.start(changed)
        await app.advance("1m")
    first[0] = False
    again = TestApp(changed)
    again.store, again.clock = app.store, app.clock

    async with again:
        with pytest.raises(Stuck, match=rf"it is paused, by {NonDeterminism.__name__}"):
            await again.handle(handle.run_id).result()


@scenario
async def test_who_waits_for_a_run_that_a_thread_executes_is_not_told_that_he_waits_in_vain() -> None:
    release = threading.Event()

    @workflow
    async def slow(step: Step) -> bool:
        return await step.run("slow", release.wait, WITHIN)

    async with TestApp(slow, ship) as app:
        handle = await app.start(slow)
        waiting = asyncio.get_running_loop().create_task(handle.result())
        other = await caught((await app.start("ship", version="v2")).result(timeout=1.5))
        release.set()

        assert isinstance(other, TimeoutError)
        assert await waiting is True


@scenario
async def test_nobody_waits_for_a_run_that_there_is_not() -> None:
    async with TestApp(ship) as app:
        with pytest.raises(RunNotFound):
            await app.handle("nowhere").result()


@scenario
async def test_who_still_waits_when_the_app_is_left_is_told() -> None:
    async with TestApp(naps, self_moving=False) as app:
        handle = await app.start(naps)
        waiting = asyncio.get_running_loop().create_task(handle.result())
        await status_is(handle, RunStatus.SLEEPING)

    with pytest.raises(RuntimeError, match="this TestApp is not running"):
        await waiting


@scenario
async def test_an_error_of_the_engine_is_raised_where_the_result_is_waited_for_and_at_the_end() -> None:
    app = TestApp(naps, self_moving=False)

    async def breaks(*_: Any) -> None:
        raise ZeroDivisionError("a bug of the engine")

    with pytest.raises(ZeroDivisionError):
        async with app:
            handle = await app.start(naps)
            await status_is(handle, RunStatus.SLEEPING)
            app.store.look = breaks  # type: ignore[assignment]
            worker_of(app).look()
            with pytest.raises(ZeroDivisionError):
                await handle.result()


@scenario
async def test_a_test_app_is_on_a_clock_that_is_moved() -> None:
    app = TestApp(ship)

    assert isinstance(app.clock, MovedClock)
    with pytest.raises(TypeError, match="a TestApp is on a MovedClock"):
        app._make_home(None, migrate=True)


@scenario
async def test_a_bug_in_a_body_fails_the_run_as_it_does_elsewhere() -> None:
    @workflow
    async def breaks(step: Step) -> None:
        await step.run("divide", lambda: 1 / 0)

    async with TestApp(breaks) as app:
        with pytest.raises(RunFailed, match="ZeroDivisionError"):
            await app.execute(breaks)
