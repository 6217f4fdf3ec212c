"""Workers as an app makes them."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from stepwell import DefinitionError, Handle, RunStatus, Step, Stepwell, workflow
from stepwell.core.registry import Registry
from stepwell.home import Home
from stepwell.runner import AppWorker, worker_options
from stepwell.store.memory import MemoryStore
from stepwell.testing import MovedClock, TestApp
from tests.app.apps import Gate, gated
from tests.engine.harness import scenario, status_is, until


@workflow
async def ship() -> str:
    return "shipped"


@workflow
async def naps(step: Step) -> None:
    await step.sleep("a while", "30 days")


def test_a_worker_takes_what_the_documentation_says() -> None:
    parameters = inspect.signature(Stepwell.worker).parameters
    defaults = {name: each.default for name, each in parameters.items() if name != "self"}

    assert defaults == {"concurrency": 100, "queues": None, "name": None, "lease": "30s", "grace": "30s"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurrency": 0}, DefinitionError, "the concurrency of a worker is at least 1"),
        ({"concurrency": "many"}, DefinitionError, "the concurrency of a worker is a whole number"),
        ({"concurrency": 10**9}, DefinitionError, "the concurrency of a worker is at most 100,000"),
        ({"queues": "mail"}, DefinitionError, "queues of a worker are several names"),
        ({"queues": []}, DefinitionError, "queues of a worker names no queue"),
        ({"queues": [""]}, DefinitionError, "queue is empty"),
        ({"name": ""}, DefinitionError, "worker is empty"),
        ({"lease": 30}, ValueError, "the lease of a worker needs a unit"),
        ({"lease": "0s"}, DefinitionError, "the lease of a worker is longer than zero"),
        ({"grace": "-1s"}, ValueError, "the grace of a worker cannot be negative"),
    ],
)
def test_what_is_no_option_of_a_worker_is_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TestApp(ship).worker(**options)


def test_an_app_without_workflows_has_no_worker(url: str) -> None:
    with pytest.raises(DefinitionError, match="this app has no workflows, so a worker would have nothing to do"):
        Stepwell(url).worker()


@scenario
async def test_a_worker_works_in_the_background_and_leaves(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        async with app.worker(name="one", concurrency=7, queues=["default", "mail"], lease="20s"):
            assert await app.execute(ship) == "shipped"
            (state,) = await app.workers.list()

        assert await app.workers.list() == []

    assert (state.name, state.concurrency, set(state.queues or ()), state.lease.total_seconds()) == ("one", 7, {"default", "mail"}, 20)


@scenario
async def test_a_worker_opens_the_app_for_as_long_as_it_works(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    async with app.worker():
        assert await app.execute(ship) == "shipped"

    with pytest.raises(RuntimeError, match="not open"):
        await app.runs.count()


@scenario
async def test_a_worker_works_until_nothing_is_due(url: str) -> None:
    async with Stepwell(url, workflows=[ship, naps]) as app:
        runs: list[Handle[Any]] = [*await app.start_many(ship, [None] * 5), await app.start(naps)]
        later = await app.start(ship, delay="1h")
        await app.worker().run_until_idle()

        assert [await run.status() for run in runs] == [RunStatus.COMPLETED] * 5 + [RunStatus.SLEEPING]
        assert await later.status() is RunStatus.PENDING
        await app.worker().run_until_idle()


@scenario
async def test_a_worker_takes_runs_of_its_queues_only(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        mail, other = await app.start(ship, queue="mail"), await app.start(ship, queue="slow")
        async with app.worker(queues=["mail"]):
            assert await mail.result() == "shipped"
            run = await other.get()
            assert (run.status, run.waiting_for) == (RunStatus.PENDING, "no worker that has ship takes queue slow")


@scenario
async def test_several_workers_of_one_app_share_its_runs(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app, app.worker(), app.worker():
        assert len(await app.workers.list()) == 2
        assert {await handle.result() for handle in await app.start_many(ship, [None] * 50)} == {"shipped"}


@scenario
async def test_a_worker_that_works_is_not_started_again(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        worker = app.worker()
        async with worker:
            for again in (worker.__aenter__, worker.run, worker.run_until_idle):
                with pytest.raises(RuntimeError, match="this worker works already"):
                    await again()
            assert await app.execute(ship) == "shipped"
        async with worker:  # it has left, and works anew
            assert await app.execute(ship) == "shipped"


class _Broken(MemoryStore):
    """Has a bug in one of its verbs."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        setattr(self, verb, self._break)

    async def _break(self, *_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug of the store")


def worker_on(store: MemoryStore) -> tuple[Home, AppWorker]:
    home = Home(store, MovedClock())
    options = worker_options(100, None, None, "30s", "0s")
    return home, AppWorker(home, Registry([ship]), options, max_payload=1_000, max_crashes=5, retention={}, timezone="UTC")


@scenario
async def test_a_worker_that_cannot_begin_leaves_the_app_as_it_was() -> None:
    for verb in ("register", "open"):
        home, worker = worker_on(_Broken(verb))
        for begin in (worker.__aenter__, worker.run, worker.run_until_idle):
            with pytest.raises(ZeroDivisionError):
                await begin()
            assert not home.is_open


@scenario
async def test_an_error_of_the_engine_that_has_ended_a_worker_is_raised_when_it_is_left(caplog: pytest.LogCaptureFixture) -> None:
    home, worker = worker_on(_Broken("claim"))

    with pytest.raises(ZeroDivisionError):
        async with worker:
            await until(lambda: "cannot go on" in caplog.text)
            raise ValueError("an error of the caller's, which was there first")

    assert not home.is_open


@scenario
async def test_a_worker_that_does_not_work_is_stopped_and_left_without_more_ado() -> None:
    home, worker = worker_on(MemoryStore())

    await worker.stop()
    await worker.__aexit__(None, None, None)

    assert not home.is_open


@scenario
async def test_a_worker_in_the_foreground_can_be_stopped(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        worker = app.worker()
        working = asyncio.get_running_loop().create_task(worker.run())
        assert await app.execute(ship) == "shipped"
        await worker.stop()
        await working

        assert await app.workers.list() == []


@scenario
async def test_a_drained_worker_ends_its_run(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        running = asyncio.get_running_loop().create_task(app.worker(name="one", lease="1s").run())
        assert await app.execute(ship) == "shipped"
        await app.workers.drain("one")
        await running

        assert await app.workers.list() == []


@scenario
async def test_what_a_worker_lets_go_of_another_goes_on_with(url: str) -> None:
    gate = Gate()
    flow = gated(gate)

    async with Stepwell(url, workflows=[flow]) as app:
        async with app.worker(grace="0s"):
            handle = await app.start(flow, "gate")
            await until(lambda: gate.entered)
        await status_is(handle, RunStatus.PENDING)
        gate.open()
        async with app.worker():
            assert await handle.result() == "through"

    assert gate.entered == 2
