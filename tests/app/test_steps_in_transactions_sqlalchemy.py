"""`step.transaction` of an app that was given an engine of SQLAlchemy: its functions get the engine's connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import stepwell
from stepwell import DefinitionError, Retry, RunFailed, Step, Stepwell, workflow
from tests.engine.harness import caught, scenario

NEVER = Retry.never()


@pytest.fixture
def table(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A user's own connection to the database, with a table of its own in it."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ledger")
        connection.execute("CREATE TABLE ledger (n integer UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        yield connection


def booked(table: psycopg.Connection[Any]) -> list[Any]:
    return [number for (number,) in table.execute("SELECT n FROM ledger ORDER BY n")]


def url_of(postgres_url: str) -> str:
    return postgres_url.replace("postgresql://", "postgresql+psycopg://")


@asynccontextmanager
async def async_app(postgres_url: str, namespace: str, *workflows: Any, **options: Any) -> AsyncIterator[Stepwell]:
    engine = create_async_engine(url_of(postgres_url), **options)
    async with Stepwell(engine, namespace=namespace, workflows=workflows) as app, app.worker():
        yield app
    await engine.dispose()


@asynccontextmanager
async def plain_app(postgres_url: str, namespace: str, *workflows: Any, **options: Any) -> AsyncIterator[Stepwell]:
    engine = create_engine(url_of(postgres_url), **options)
    async with Stepwell(engine, namespace=namespace, workflows=workflows) as app, app.worker():
        yield app
    engine.dispose()


INSERT = text("INSERT INTO ledger VALUES (:number)")


def book(connection: Connection, number: int) -> int:
    connection.execute(INSERT, {"number": number})
    return number


async def abook(connection: AsyncConnection, number: int) -> int:
    await connection.execute(INSERT, {"number": number})
    return number


@pytest.mark.parametrize("options", [{}, {"isolation_level": "AUTOCOMMIT"}], ids=str)
@scenario
async def test_a_def_gets_a_connection_of_an_engine(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], options: Any
) -> None:
    attempts = []

    @stepwell.step("risky", retry=Retry(2, "1ms", jitter=0))
    def risky(connection: Connection, number: int) -> int:
        attempts.append(type(connection))
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.execute(INSERT, {"number": number})
            session.commit()
        if len(attempts) == 1:
            raise OSError("not yet")
        return number

    @workflow
    async def w(input: int, step: Step) -> list[int]:
        first = await step.transaction("a", book, input)
        last: int = await step.transaction("b", risky, input + 1)
        return [first, last]

    async with plain_app(postgres_url, postgres_namespace, w, **options) as app:
        assert await app.execute(w, 1) == [1, 2]
        handles = await app.start_many(w, [number * 10 for number in range(1, 20)])
        await asyncio.gather(*(handle.result() for handle in handles))

    assert attempts[0] is Connection
    assert booked(table) == sorted([1, 2, *range(10, 200, 10), *range(11, 201, 10)])


@pytest.mark.parametrize("options", [{}, {"isolation_level": "AUTOCOMMIT"}], ids=str)
@scenario
async def test_an_async_def_gets_a_connection_of_an_async_engine(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], options: Any
) -> None:
    attempts = []

    @stepwell.step("risky", retry=Retry(2, "1ms", jitter=0))
    async def risky(connection: AsyncConnection, number: int) -> int:
        attempts.append(type(connection))
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            await session.execute(INSERT, {"number": number})
            await session.commit()
        if len(attempts) == 1:
            raise OSError("not yet")
        return number

    @workflow
    async def w(input: int, step: Step) -> list[int]:
        first = await step.transaction("a", abook, input)
        last: int = await step.transaction("b", risky, input + 1)
        return [first, last]

    async with async_app(postgres_url, postgres_namespace, w, **options) as app:
        assert await app.execute(w, 1) == [1, 2]
        handles = await app.start_many(w, [number * 10 for number in range(1, 20)])
        await asyncio.gather(*(handle.result() for handle in handles))

    assert attempts[0] is AsyncConnection
    assert booked(table) == sorted([1, 2, *range(10, 200, 10), *range(11, 201, 10)])


@pytest.mark.parametrize(
    ("makes", "function", "said"),
    [
        (plain_app, abook, "is an `async def`, and the app was given an Engine"),
        (async_app, book, "is a `def`, and the app was given an AsyncEngine"),
    ],
)
@scenario
async def test_a_function_of_the_other_kind_is_refused(
    postgres_url: str, postgres_namespace: str, makes: Any, function: Callable[..., Any], said: str
) -> None:
    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", function, 1)

    async with makes(postgres_url, postgres_namespace, w) as app:
        assert said in str(await caught(app.execute(w)))


ENDINGS: dict[str, Callable[[Connection], object]] = {
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "close": lambda connection: connection.close(),
    "COMMIT": lambda connection: connection.execute(text("COMMIT")),
    "COMMIT, and more": lambda connection: (connection.execute(text("COMMIT")), connection.execute(text("SELECT 1"))),
}


@pytest.mark.parametrize("ending", ENDINGS)
@scenario
async def test_a_function_that_ends_the_transaction_is_told(postgres_url: str, postgres_namespace: str, ending: str) -> None:
    def ends(connection: Connection) -> None:
        ENDINGS[ending](connection)

    async def ends_too(connection: AsyncConnection) -> None:
        await (connection.run_sync(ENDINGS[ending]) if ending != "close" else connection.close())

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", ends)

    @workflow
    async def v(step: Step) -> None:
        await step.transaction("a", ends_too)

    async with plain_app(postgres_url, postgres_namespace, w) as app:
        assert "the step commits what it writes together with its own record" in str(await caught(app.execute(w)))
    async with async_app(postgres_url, postgres_namespace, v) as app:
        assert "the step commits what it writes together with its own record" in str(await caught(app.execute(v)))


@scenario
async def test_a_constraint_that_fails_at_the_commit_fails_the_attempt(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any]
) -> None:
    async def twice(connection: AsyncConnection) -> None:
        await abook(connection, 1)
        await abook(connection, 1)

    @workflow(retry=NEVER)
    async def w(step: Step) -> None:
        await step.transaction("a", twice)

    async with async_app(postgres_url, postgres_namespace, w) as app:
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by("UniqueViolation")
        assert booked(table) == []


@pytest.mark.parametrize("is_async", [False, True])
@scenario
async def test_a_connection_that_is_lost_costs_no_attempt(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], is_async: bool
) -> None:
    calls = []

    def cut(pid: Any) -> None:
        calls.append(pid)
        if len(calls) == 1:
            table.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    def loses(connection: Connection) -> int:
        cut(connection.execute(text("SELECT pg_backend_pid()")).scalar())
        return book(connection, 1)

    async def loses_too(connection: AsyncConnection) -> int:
        cut((await connection.execute(text("SELECT pg_backend_pid()"))).scalar())
        return await abook(connection, 1)

    @workflow(retry=NEVER)
    async def w(step: Step) -> Any:
        return await (step.transaction("a", loses_too) if is_async else step.transaction("a", loses))

    async with (async_app if is_async else plain_app)(postgres_url, postgres_namespace, w) as app:
        handle = await app.start(w)

        assert await handle.result() == 1
        assert (len(calls), booked(table)) == (2, [1])
        assert [step.attempt for step in await handle.steps()] == [1]


@pytest.mark.parametrize("is_async", [False, True])
@scenario
async def test_when_its_timeout_has_passed_it_is_stopped_and_rolled_back(
    postgres_url: str, postgres_namespace: str, table: psycopg.Connection[Any], is_async: bool
) -> None:
    began, ended = threading.Event(), threading.Event()

    @stepwell.step("limited", timeout="1s", retry=NEVER)
    def limited(connection: Connection) -> None:
        book(connection, 1)
        began.set()
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT pg_sleep(60)"))
        ended.set()

    @stepwell.step("limited", timeout="1s", retry=NEVER)
    async def limited_too(connection: AsyncConnection) -> None:
        await abook(connection, 1)
        began.set()
        try:
            await connection.execute(text("SELECT pg_sleep(60)"))
        finally:
            ended.set()

    @workflow
    async def w(step: Step) -> None:
        await (step.transaction("a", limited_too) if is_async else step.transaction("a", limited))

    async with (async_app if is_async else plain_app)(postgres_url, postgres_namespace, w) as app:
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by("StepTimeout")
        assert (ended.is_set(), booked(table)) == (began.is_set(), [])


def test_an_app_is_made_from_the_url_of_its_engine(postgres_url: str) -> None:
    assert Stepwell(create_engine(url_of(postgres_url))).database_url == url_of(postgres_url)


def test_an_engine_for_another_database_is_refused() -> None:
    with pytest.raises(DefinitionError, match="not Engine for sqlite; give its URL instead"):
        Stepwell(create_engine("sqlite://"))
