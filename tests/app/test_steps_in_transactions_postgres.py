"""`step.transaction` on PostgreSQL, where each function has a transaction of its own, beside all that others do at that time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import stepwell
from stepwell import Retry, RunCanceled, RunFailed, RunStatus, Step, Stepwell, SyncStepwell, workflow
from tests.engine.harness import WITHIN, caught, scenario, status_is

NEVER = Retry.never()


@pytest.fixture
def table(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A user's own connection to the database, with a table of its own in it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ledger")
        connection.execute("CREATE TABLE ledger (n integer)")
        yield connection


def booked(table: psycopg.Connection[Any]) -> list[Any]:
    return [number for (number,) in table.execute("SELECT n FROM ledger ORDER BY n")]


def book(connection: psycopg.Connection[Any], number: int) -> int:
    connection.execute("INSERT INTO ledger VALUES (%s)", (number,))
    return number


async def abook(connection: psycopg.AsyncConnection[Any], number: int) -> int:
    await connection.execute("INSERT INTO ledger VALUES (%s)", (number,))
    return number


@stepwell.step("risky", retry=Retry(2, "1ms", jitter=0))
async def risky(connection: psycopg.AsyncConnection[Any], number: int) -> int:
    await abook(connection, number)
    if stepwell.current_step().attempt == 1:
        raise OSError("not yet")
    return number


async def double(number: int) -> int:
    return number * 2


@workflow
async def books(input: int, step: Step) -> int:
    numbers = await asyncio.gather(step.transaction("a", book, input), step.transaction("b", abook, input), step.run("c", double, input))
    last: int = await step.transaction("d", risky, input)
    return int(sum(numbers)) + last


@scenario
async def test_hundreds_of_runs_beside_each_other_write_each_of_theirs_once(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]
) -> None:
    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[books]) as app, app.worker(), app.worker():
        handles = await app.start_many(books, list(range(100)))

        assert [await handle.result() for handle in handles] == [number * 5 for number in range(100)]
        assert booked(table) == sorted([*range(100)] * 3)


@scenario
async def test_connections_that_are_cut_all_the_time_cost_nothing(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]
) -> None:
    cut = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid != pg_backend_pid() AND datname = current_database() AND query != ''
    """
    app = Stepwell(f"{postgres_url}?hints=off", namespace=postgres_namespace, workflows=[books])
    async with app, app.worker():
        handles = await app.start_many(books, list(range(30)))
        for _ in range(8):
            table.execute(cut)
            await asyncio.wait([asyncio.ensure_future(handle.result()) for handle in handles], timeout=0.1)

        assert [await handle.result() for handle in handles] == [number * 5 for number in range(30)]
        assert booked(table) == sorted([*range(30)] * 3)
        assert all(step.attempt == 1 for step in await handles[0].steps() if step.key != "d")


def test_without_a_loop_it_is_the_same(postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]) -> None:
    with SyncStepwell(postgres_url, namespace=postgres_namespace, workflows=[books]) as app, app.worker():
        assert app.execute(books, 3) == 15

    assert booked(table) == [3, 3, 3]


class Slow:
    """Transactions that take as long as they are let."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended: list[BaseException] = []

    async def waits(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection, 1)
        await self._end(connection.execute("SELECT pg_sleep(60)"))

    async def stands_still(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection, 1)
        await self._end(asyncio.Event().wait())

    async def _end(self, awaitable: Any) -> None:
        self.began.set()
        try:
            await awaitable
        except BaseException as error:
            self.ended.append(error)
            raise

    def blocks(self, connection: psycopg.Connection[Any]) -> None:
        book(connection, 1)
        self.began.set()
        try:
            connection.execute("SELECT pg_sleep(60)")
        except BaseException as error:
            self.ended.append(error)
            raise


@pytest.mark.parametrize("name", ["waits", "stands_still", "blocks"])
@scenario
async def test_when_its_timeout_has_passed_it_is_stopped_and_rolled_back(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], name: str
) -> None:
    slow = Slow()
    limited = stepwell.step("limited", timeout="1s", retry=NEVER)(getattr(slow, name))

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", limited)

    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[w]) as app, app.worker():
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by("StepTimeout")
        assert (len(slow.ended), booked(table)) == (slow.began.is_set(), [])


@pytest.mark.parametrize("name", ["waits", "stands_still", "blocks"])
@scenario
async def test_when_its_run_is_canceled_it_is_stopped_and_rolled_back(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], name: str
) -> None:
    slow = Slow()

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", getattr(slow, name))

    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[w]) as app, app.worker():
        handle = await app.start(w)
        await asyncio.to_thread(slow.began.wait)
        await handle.cancel()

        assert isinstance(await caught(handle.result()), RunCanceled)
        async with asyncio.timeout(WITHIN):
            while not slow.ended:
                await asyncio.sleep(0.01)
        assert booked(table) == []


@scenario
async def test_a_pause_lets_it_end_and_keeps_what_it_wrote(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]
) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()
    calls = []

    async def waits(connection: psycopg.AsyncConnection[Any]) -> None:
        calls.append(await abook(connection, 1))
        began.set()
        await goes_on.wait()

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", waits)
        await step.transaction("b", book, 2)

    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[w]) as app, app.worker():
        handle = await app.start(w)
        await began.wait()
        await handle.pause()
        goes_on.set()
        async with asyncio.timeout(WITHIN):
            while not await handle.steps() or (await handle.steps())[0].status != "completed":
                await asyncio.sleep(0.01)
        await status_is(handle, RunStatus.PAUSED)
        assert booked(table) == [1]
        await handle.resume()
        await handle.result()

        assert (booked(table), calls) == ([1, 2], [1])


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()], ids=repr)
@scenario
async def test_whatever_an_async_function_raises_is_the_failure_of_the_step(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], error: BaseException
) -> None:
    async def raises(connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection, 1)
        raise error

    @workflow(retry=NEVER)
    async def w(step: Step) -> None:
        await step.transaction("a", raises)

    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[w]) as app, app.worker():
        failure = await caught(app.execute(w))

        assert isinstance(failure, RunFailed)
        assert failure.error.caused_by(type(error))
        assert booked(table) == []


@scenario
async def test_a_reader_sees_what_is_written_and_its_record_at_once(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]
) -> None:
    @workflow
    async def w(step: Step) -> None:
        for number in range(50):
            await step.transaction("a", abook, number)

    async def look() -> None:
        while True:
            statement = f"SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM {postgres_namespace}.outcomes)"
            entries, outcomes = table.execute(statement).fetchone() or (0, 1)
            assert entries == outcomes
            await asyncio.sleep(0)

    async with Stepwell(postgres_url, namespace=postgres_namespace, workflows=[w]) as app, app.worker():
        looking = asyncio.ensure_future(look())
        handle = await app.start(w)
        await handle.result()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

        assert looking.cancelled()
