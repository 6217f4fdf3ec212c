"""The life of an app: what it is made with, how it is opened and closed."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

from stepwell import DatabaseUnavailable, DefinitionError, PayloadTooLarge, RunStatus, Step, Stepwell, workflow
from stepwell.home import Home
from stepwell.store.memory import MemoryStore
from stepwell.testing import MovedClock, TestApp
from tests.engine.harness import caught, scenario
from tests.loops import turns


@workflow
async def ship() -> str:
    return "shipped"


# -- what it is made with


def test_making_an_app_opens_nothing(url: str, tmp_path: Path) -> None:
    app = Stepwell(url, workflows=[ship])

    assert (app.database_url, app.namespace, app.timezone) == (url, "stepwell", "UTC")
    assert repr(app) == f"<Stepwell {url}>"
    assert list(tmp_path.iterdir()) == []


def test_an_app_takes_what_the_documentation_says() -> None:
    parameters = inspect.signature(Stepwell).parameters

    assert list(parameters) == [
        "database_url", "workflows", "timezone", "namespace", "migrate", "max_payload", "max_crashes", "retention", "codec", "clock",
    ]  # fmt: skip
    assert [parameters[name].default for name in ("migrate", "max_payload", "max_crashes")] == [True, "4MiB", 5]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retention": "30"}, ValueError, "retention needs a unit"),
        (
            {"retention": {"running": "7d"}},
            DefinitionError,
            "retention is of runs that have ended: completed, failed, canceled; not 'running'",
        ),
        ({"codec": object()}, DefinitionError, "codec is not supported yet"),
        ({"max_payload": "4"}, ValueError, "max_payload needs a unit"),
        ({"max_payload": None}, TypeError, "max_payload is a text such as"),
        ({"max_crashes": 0}, DefinitionError, "max_crashes is at least 1"),
        ({"timezone": "Mars/Olympus"}, DefinitionError, "there is no timezone"),
        ({"namespace": "2"}, DefinitionError, "namespace"),
        ({"workflows": [print]}, DefinitionError, "is the function decorated with @workflow"),
        ({"workflows": [ship, workflow(lambda: None, name="ship")]}, DefinitionError, "there are two workflows 'ship'"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_what_is_no_option_of_an_app_is_refused(url: str, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Stepwell(url, **options)


@scenario
async def test_max_payload_holds_for_inputs_results_and_outputs(url: str) -> None:
    @workflow
    async def large(input: str, step: Step) -> int:
        await step.run("grow", lambda: "x" * 2_000)
        return 1

    async with Stepwell(url, workflows=[large], max_payload="1kB") as app, app.worker():
        with pytest.raises(PayloadTooLarge):
            await app.start(large, "x" * 1_000)
        error = await caught(app.execute(large, "x"))

    assert "max_payload is 1,000" in str(error)


# -- open and closed


@pytest.mark.parametrize("call", ["start", "status", "list", "result"])
@scenario
async def test_an_app_that_is_not_open_says_what_to_write(url: str, call: str) -> None:
    app = Stepwell(url, workflows=[ship])
    handle = app.handle("x")
    calls: dict[str, Any] = {
        "start": lambda: app.start(ship),
        "status": handle.status,
        "list": app.runs.list,
        "result": handle.result,
    }

    for _ in range(2):
        with pytest.raises(RuntimeError, match="this app is not open: use it within `async with app:`"):
            await calls[call]()
        async with app:
            await app.start(ship)
    with pytest.raises(RuntimeError, match="not open"):
        app.now()


def test_an_app_is_opened_on_one_loop_after_the_other_and_its_runs_stay(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    async def start() -> str:
        async with app:
            return (await app.start(ship)).run_id

    async def result(run_id: str) -> Any:
        async with app, app.worker():
            return await app.handle(run_id).result()

    assert asyncio.run(result(asyncio.run(start()))) == "shipped"


@scenario
async def test_an_app_may_be_opened_several_times_at_once_and_is_open_until_the_last_has_closed_it(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    await asyncio.gather(app.open(), app.open(), app.open())
    await asyncio.gather(app.close(), app.close())
    handle = await app.start(ship)
    await app.close()

    with pytest.raises(RuntimeError, match="not open"):
        await handle.status()
    await app.close()
    async with app:
        assert await handle.status() is RunStatus.PENDING


def test_an_app_that_is_open_on_another_loop_is_refused(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    async def use() -> None:
        for refused in (app.open, app.runs.count, app.close):
            with pytest.raises(RuntimeError, match="this app is open on another event loop"):
                await refused()

    with asyncio.Runner() as runner:
        runner.run(app.open())
        asyncio.run(use())
        runner.run(app.close())


def test_an_app_whose_loop_has_gone_can_be_opened_again(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    async def forgets_to_close() -> str:
        await app.open()
        return (await app.start(ship)).run_id

    async def status(run_id: str) -> RunStatus:
        async with app:
            return await app.handle(run_id).status()

    run_id = asyncio.run(forgets_to_close())

    assert asyncio.run(status(run_id)) is RunStatus.PENDING


@scenario
async def test_who_waits_for_a_result_while_the_app_is_closed_is_told(url: str) -> None:
    app = Stepwell(url, workflows=[ship])

    async with app:
        handle = await app.start(ship)
        waiting = asyncio.get_running_loop().create_task(handle.result())
        await turns()

    with pytest.raises(RuntimeError, match="closed"):
        await waiting


@scenario
async def test_an_app_may_keep_its_runs_in_memory(url: str) -> None:
    async with Stepwell("sqlite://", workflows=[ship]) as app, app.worker():
        assert await app.execute(ship) == "shipped"
        assert len(await app.start_many(ship, [None] * 1_500)) == 1_500


@scenario
async def test_two_namespaces_on_one_database_know_nothing_of_each_other(url: str) -> None:
    async with Stepwell(url, workflows=[ship]) as one, Stepwell(url, workflows=[ship], namespace="other") as other:
        handle = await one.start(ship)

        assert await other.runs.count() == {}
        assert await one.runs.count() == {RunStatus.PENDING: 1}
        assert (await handle.get()).id == handle.run_id


@scenario
async def test_an_app_that_must_not_make_tables_finds_none(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="stepwell migrate"):
        await Stepwell(url, migrate=False, clock=MovedClock()).open()
    async with Stepwell(url):
        pass
    async with Stepwell(url, migrate=False) as app:
        assert await app.runs.count() == {}


# -- a database that is away


class _Away(MemoryStore):
    """Cannot be opened the first times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.tries = 0

    async def open(self, *, migrate: bool = True) -> None:
        self.tries += 1
        if self.tries <= self.times:
            raise DatabaseUnavailable("it is away")


async def moved_on(clock: MovedClock, task: asyncio.Task[Any]) -> None:
    """Let all the time pass that a task waits for."""
    while not task.done():
        when = clock.next()
        if when is not None:
            clock.move_to(when)
        await asyncio.sleep(0)


@scenario
async def test_opening_tries_again_while_the_database_is_away() -> None:
    clock, store = MovedClock(), _Away(12)
    home = Home(store, clock)
    opening = asyncio.get_running_loop().create_task(home.open())
    began = clock.now()
    await moved_on(clock, opening)
    await opening

    assert store.tries == 13
    assert clock.now() - began == pytest.approx(3)
    await home.close()


@scenario
async def test_opening_gives_up_after_ten_seconds_and_can_be_tried_again() -> None:
    clock, store = MovedClock(), _Away(1_000)
    home = Home(store, clock)
    for _ in range(2):
        began = clock.now()
        openings = [asyncio.get_running_loop().create_task(home.open()) for _ in range(2)]
        await moved_on(clock, openings[0])
        assert 9.5 <= clock.now() - began <= 10
        await moved_on(clock, openings[1])
        assert [type(opening.exception()) for opening in openings] == [DatabaseUnavailable] * 2
        assert not home.is_open
    store.times = 0
    await home.open()
    assert home.is_open
    await home.close()


@scenario
async def test_opening_does_not_try_again_what_cannot_succeed(tmp_path: Path) -> None:
    (tmp_path / "test.db").write_text("no database, " * 1_000)
    clock = MovedClock()
    app = Stepwell(f"sqlite:///{tmp_path / 'test.db'}", clock=clock)

    with pytest.raises(DatabaseUnavailable, match="not a SQLite database") as refused:
        await app.open()

    assert refused.value.permanent


@scenario
async def test_a_test_app_keeps_its_runs_when_it_is_entered_again() -> None:
    app = TestApp(ship)
    async with app:
        first = await app.start(ship)
        assert await first.result() == "shipped"
    second = await app.start(ship)

    async with app:
        assert await second.result() == "shipped"
        assert await first.result() == "shipped"
