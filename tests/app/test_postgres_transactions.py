"""A run that is written with the caller's own transaction on PostgreSQL exists if and only if that commits, whatever library it is of."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from stepwell import DatabaseUnavailable, DefinitionError, RunNotFound, RunStatus, Stepwell, SyncStepwell, workflow
from stepwell.store.port import Hint
from tests.engine.harness import WITHIN, looks_rarely, scenario, until
from tests.postgres.shared import fresh_database, fresh_namespace


@workflow
async def ship(input: int) -> int:
    return input


Place: TypeAlias = tuple[str, str]
Caller: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
"""Opens a connection of one kind to a URL; its transaction is ended by its own `commit` and `rollback`."""


@pytest.fixture
def place(postgres_url: str, postgres_namespace: str) -> Place:
    """A database, and a namespace in it that is new."""
    return postgres_url, postgres_namespace


def app_at(place: Place, **options: Any) -> Stepwell:
    url, namespace = place
    return Stepwell(url, namespace=namespace, workflows=[ship], **options)


def driven_by(url: str, driver: str) -> str:
    return url.replace("postgresql:", f"postgresql+{driver}:")


# -- callers


@asynccontextmanager
async def psycopg_connection(url: str) -> AsyncIterator[Any]:
    with psycopg.connect(url) as connection:
        yield connection


@asynccontextmanager
async def psycopg_async_connection(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def psycopg_with_dictionaries(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        yield connection


@contextmanager
def _engine(url: str, **options: Any) -> Iterator[Any]:
    engine = create_engine(driven_by(url, "psycopg"), **options)
    yield engine
    engine.dispose()


@asynccontextmanager
async def _async_engine(url: str, driver: str, **options: Any) -> AsyncIterator[Any]:
    engine = create_async_engine(driven_by(url, driver), **options)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def sqlalchemy_connection(url: str) -> AsyncIterator[Any]:
    with _engine(url) as engine, engine.connect() as connection:
        yield connection


@asynccontextmanager
async def sqlalchemy_session(url: str) -> AsyncIterator[Any]:
    with _engine(url) as engine, sessionmaker(engine)() as session:
        yield session


@asynccontextmanager
async def sqlalchemy_scoped_session(url: str) -> AsyncIterator[Any]:
    with _engine(url) as engine:
        session = scoped_session(sessionmaker(engine))
        yield session
        session.remove()


def _async_connection(driver: str) -> Caller:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Any]:
        async with _async_engine(url, driver) as engine, engine.connect() as connection:
            yield connection

    return opened


def _async_session(driver: str) -> Caller:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Any]:
        async with _async_engine(url, driver) as engine, async_sessionmaker(engine)() as session:
            yield session

    return opened


@asynccontextmanager
async def sqlalchemy_async_scoped_session(url: str) -> AsyncIterator[Any]:
    async with _async_engine(url, "asyncpg") as engine:
        session = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        yield session
        await session.remove()


BLOCKING: dict[str, Caller] = {
    "psycopg": psycopg_connection,
    "sqlalchemy": sqlalchemy_connection,
    "sqlalchemy session": sqlalchemy_session,
    "sqlalchemy scoped session": sqlalchemy_scoped_session,
}
ASYNC: dict[str, Caller] = {
    "psycopg async": psycopg_async_connection,
    "psycopg dictionaries": psycopg_with_dictionaries,
    "sqlalchemy psycopg": _async_connection("psycopg_async"),
    "sqlalchemy psycopg session": _async_session("psycopg_async"),
    "sqlalchemy asyncpg": _async_connection("asyncpg"),
    "sqlalchemy asyncpg session": _async_session("asyncpg"),
    "sqlalchemy async scoped session": sqlalchemy_async_scoped_session,
}
CALLERS = BLOCKING | ASYNC

of_every_kind = pytest.mark.parametrize("kind", CALLERS)
of_async_kinds = pytest.mark.parametrize("kind", ASYNC)


async def ended(connection: Any, how: str) -> None:
    """Commit or roll back."""
    waiting = getattr(connection, how)()
    if asyncio.iscoroutine(waiting):
        await waiting


async def executed(connection: Any, statement: str) -> None:
    is_plain = isinstance(connection, psycopg.Connection | psycopg.AsyncConnection)
    waiting = connection.execute(statement if is_plain else text(statement))
    if asyncio.iscoroutine(waiting):
        await waiting


# -- what holds for all of them


@of_every_kind
@scenario
async def test_a_run_begins_soon_after_its_transaction_has_committed_and_nobody_sees_it_before(
    place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks_rarely(monkeypatch)  # so that it begins because somebody says so
    async with app_at(place) as app, app.worker(lease="1h"):
        async with CALLERS[kind](place[0]) as connection:
            handle = await app.start(ship, 7, connection=connection, tags=["a"], queue="default")
            assert handle.created
            with pytest.raises(RunNotFound):
                await handle.get()
            assert await app.runs.count() == {}
            await ended(connection, "commit")

        assert await handle.result() == 7
        assert (await handle.get()).tags == ("a",)


@of_every_kind
@scenario
async def test_a_run_whose_transaction_is_rolled_back_never_was(place: Place, kind: str) -> None:
    async with app_at(place) as app:
        async with CALLERS[kind](place[0]) as connection:
            handle = await app.start("nobody_has_it", 7, connection=connection, queue="never_used")
            await ended(connection, "rollback")

        with pytest.raises(RunNotFound):
            await handle.get()
        again = await app.start("nobody_has_it", 7, queue="never_used")
        assert [run.id for run in await app.runs.list(queue="never_used")] == [again.run_id]


@of_every_kind
@scenario
async def test_a_key_that_is_taken_gives_the_first_run(place: Place, kind: str) -> None:
    async with app_at(place) as app:
        first = await app.start(ship, 1, key="k", actor="ada")
        async with CALLERS[kind](place[0]) as connection:
            again = await app.start(ship, 2, key="k", connection=connection, actor="bob")
            new = await app.start(ship, 3, key="new", connection=connection, actor="eve")
            once_more = await app.start(ship, 4, key="new", connection=connection, actor="bob")
            await ended(connection, "commit")

        assert (again.run_id, again.created) == (first.run_id, False)
        assert (once_more.run_id, once_more.created) == (new.run_id, False)
        assert [(event.action, event.actor) for run in (first, new) for event in await run.events()] == [("start", "ada"), ("start", "eve")]
        assert await app.runs.count() == {RunStatus.PENDING: 2}


@of_every_kind
@scenario
async def test_a_transaction_that_has_failed_is_refused_until_it_is_rolled_back(place: Place, kind: str) -> None:
    async with app_at(place) as app, CALLERS[kind](place[0]) as connection:
        with pytest.raises((psycopg.Error, DBAPIError)):
            await executed(connection, "SELECT 1 / 0")

        with pytest.raises(DefinitionError, match="roll it back"):
            await app.start(ship, 1, connection=connection)

        await ended(connection, "rollback")
        handle = await app.start(ship, 1, connection=connection)
        await ended(connection, "commit")
        assert await handle.status() is RunStatus.PENDING


@of_every_kind
@scenario
async def test_a_connection_to_another_database_is_refused_and_its_transaction_goes_on(place: Place, kind: str) -> None:
    with fresh_database() as other:
        async with app_at(place) as app, CALLERS[kind](other) as connection:
            await executed(connection, "CREATE TABLE orders ()")

            with pytest.raises(DefinitionError, match="leads to another database"):
                await app.start(ship, 1, connection=connection)

            await executed(connection, "INSERT INTO orders DEFAULT VALUES")
            await ended(connection, "commit")
            assert await app.runs.count() == {}


@scenario
async def test_another_database_that_has_the_same_namespace_is_another_one_even_if_it_is_a_copy(fresh_postgres_url: str) -> None:
    url, _, name = fresh_postgres_url.rpartition("/")
    async with Stepwell(fresh_postgres_url):
        pass
    with fresh_database() as other:
        with psycopg.connect(f"{url}/postgres", autocommit=True) as maker:
            maker.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"'.encode())
        try:
            async with Stepwell(other) as app:
                for elsewhere in (fresh_postgres_url, f"{fresh_postgres_url}_copy"):
                    with psycopg.connect(elsewhere) as connection, pytest.raises(DefinitionError, match="another database"):
                        await app.start("ship", 1, connection=connection)
            async with Stepwell(fresh_postgres_url) as app:
                with psycopg.connect(f"{fresh_postgres_url}_copy") as connection, pytest.raises(DefinitionError, match="another database"):
                    await app.start("ship", 1, connection=connection)
        finally:
            with psycopg.connect(f"{url}/postgres", autocommit=True) as maker:
                maker.execute(f'DROP DATABASE "{name}_copy" WITH (FORCE)'.encode())


@of_async_kinds
@scenario
async def test_two_callers_with_runs_of_a_new_kind_do_not_wait_for_each_other(place: Place, kind: str) -> None:
    async with app_at(place) as app, CALLERS[kind](place[0]) as one, CALLERS[kind](place[0]) as other:
        for connection in (one, other):
            await app.start("new", 1, connection=connection, queue="new")
        for connection in (other, one):
            await ended(connection, "commit")

        assert await app.runs.count() == {RunStatus.PENDING: 2}


@scenario
async def test_workers_elsewhere_are_told_when_the_transaction_has_committed(place: Place) -> None:
    hints: list[Hint] = []
    async with app_at(place) as app, app_at(place) as other:
        other._home.store.listen(hints.append)
        await until(lambda: set(hints) == set(Hint))  # it listens from now on
        hints.clear()
        with psycopg.connect(place[0]) as connection:
            await app.start(ship, 1, connection=connection)
            await app.start(ship, 2, connection=connection, delay="1h")
            await app.runs.count()
            assert hints == []
            connection.commit()

        await until(lambda: set(hints) == {Hint.READY, Hint.DUE})


# -- what is refused


@scenario
async def test_a_connection_that_commits_by_itself_is_refused_until_a_transaction_is_begun(place: Place) -> None:
    async with app_at(place) as app:
        with psycopg.connect(place[0], autocommit=True) as connection:
            with pytest.raises(DefinitionError, match="has no transaction open"):
                await app.start(ship, 1, connection=connection)
            with connection.transaction():
                handle = await app.start(ship, 1, connection=connection)
        assert await handle.status() is RunStatus.PENDING


@pytest.mark.parametrize("driver", ["psycopg", "psycopg_async", "asyncpg"])
@pytest.mark.parametrize("of_engine", [True, False])
@scenario
async def test_sqlalchemy_that_commits_each_statement_is_refused(place: Place, driver: str, of_engine: bool) -> None:
    commits: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
    options = commits if of_engine else {}
    async with app_at(place) as app:
        if driver == "psycopg":
            with _engine(place[0], **options) as engine, engine.connect() as connection:
                connection.execution_options(**({} if of_engine else commits))
                with pytest.raises(DefinitionError, match="has no transaction open"):
                    await app.start(ship, 1, connection=connection)
        else:
            async with _async_engine(place[0], driver, **options) as engine, engine.connect() as connection:
                await connection.execution_options(**({} if of_engine else commits))
                with pytest.raises(DefinitionError, match="has no transaction open"):
                    await app.start(ship, 1, connection=connection)
        assert await app.runs.count() == {}


@scenario
async def test_what_is_no_connection_to_postgresql_is_refused_by_its_name(place: Place) -> None:
    with _engine(place[0]) as engine, closing(sqlite3.connect(":memory:")) as file:
        in_memory = create_engine("sqlite://")
        with in_memory.connect() as of_sqlite:
            for given, name in (
                (engine, "sqlalchemy.Engine"),
                (sessionmaker(engine), "sqlalchemy.sessionmaker"),
                (of_sqlite, "sqlalchemy.Connection"),
                (file, "sqlite3.Connection"),
                ("postgresql://", "builtins.str"),
            ):
                async with app_at(place) as app:
                    with pytest.raises(DefinitionError, match=f"a connection of psycopg, or .*; not {name}"):
                        await app.start(ship, 1, connection=given)
        in_memory.dispose()


@scenario
async def test_a_connection_that_is_closed_or_was_never_opened_is_refused(place: Place) -> None:
    async with app_at(place) as app, _async_engine(place[0], "asyncpg") as async_engine:
        with _engine(place[0]) as engine:
            closed, of_engine = psycopg.connect(place[0]), engine.connect()
            closed.close()
            of_engine.close()
            for given in (closed, of_engine, Session(), AsyncSession(), async_engine.connect()):
                with pytest.raises(DefinitionError, match=r"connection= (is closed|cannot be used)"):
                    await app.start(ship, 1, connection=given)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@scenario
async def test_a_session_whose_server_is_not_there_says_so(place: Place, driver: str) -> None:
    nowhere = _async_engine("postgresql://postgres@127.0.0.1:1/postgres", driver)
    async with app_at(place) as app, nowhere as engine, AsyncSession(engine) as session:
        with pytest.raises(DatabaseUnavailable, match=r"(?i)connect"):
            await app.start(ship, 1, connection=session)


@scenario
async def test_a_user_without_rights_is_refused_and_its_transaction_goes_on(place: Place) -> None:
    url, namespace = place
    user = f"{namespace}_user"
    async with app_at(place) as app:
        with psycopg.connect(url) as connection:
            connection.execute(f"CREATE ROLE {user}; SET LOCAL ROLE {user}".encode())
            with pytest.raises(DefinitionError, match=f"grant it USAGE on schema {namespace}"):
                await app.start(ship, 1, connection=connection)

            assert connection.info.transaction_status is TransactionStatus.INTRANS
            connection.execute("SELECT 1")
            connection.rollback()


@scenario
async def test_a_user_with_rights_on_the_tables_need_not_be_their_owner(place: Place) -> None:
    url, namespace = place
    user = f"{namespace}_user"
    granted = f"""
        CREATE ROLE {user};
        GRANT USAGE ON SCHEMA {namespace} TO {user};
        GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {namespace} TO {user};
        SET LOCAL ROLE {user}
    """
    async with app_at(place) as app:
        with psycopg.connect(url) as connection:
            connection.execute(granted.encode())
            again = [await app.start(ship, 1, connection=connection, key="k", tags=["a"], actor="ada") for _ in range(2)]
            assert [handle.created for handle in again] == [True, False]
            connection.rollback()


# -- blocking apps


@pytest.mark.parametrize("kind", BLOCKING)
def test_a_sync_app_uses_the_connection_in_the_callers_thread(place: Place, kind: str) -> None:
    url, namespace = place
    started: list[int] = []

    with SyncStepwell(url, namespace=namespace, workflows=[ship]) as app, app.worker():

        async def commit_one(number: int) -> Any:  # on a loop that is not the app's
            async with BLOCKING[kind](url) as connection:
                handle = app.start(ship, number, connection=connection, key=f"{number}")
                started.append(threading.get_ident())
                await ended(connection, "commit" if number == 7 else "rollback")
            return handle

        kept = asyncio.run(commit_one(7))
        never = asyncio.run(commit_one(8))

        assert kept.result() == 7
        with pytest.raises(RunNotFound):
            never.result()
    assert set(started) == {threading.get_ident()}


def test_a_sync_app_starts_runs_of_many_threads_each_with_its_own_transaction(place: Place) -> None:
    url, namespace = place
    with SyncStepwell(url, namespace=namespace, workflows=[ship]) as app, app.worker():
        handles: list[Any] = []

        def request(number: int) -> None:
            with psycopg.connect(url) as connection:
                handles.append(app.start(ship, number, connection=connection))

        threads = [threading.Thread(target=request, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN)

        assert sorted(handle.result() for handle in handles) == list(range(8))


@of_async_kinds
def test_a_sync_app_refuses_a_connection_for_async_code(place: Place, kind: str) -> None:
    url, namespace = place
    with SyncStepwell(url, namespace=namespace, workflows=[ship]) as app:

        async def give() -> None:
            async with ASYNC[kind](url) as connection:
                with pytest.raises(DefinitionError, match="for async code"):
                    app.start(ship, 1, connection=connection)

        asyncio.run(give())
        assert app.runs.count() == {}


@scenario
async def test_two_namespaces_in_one_database_each_know_their_own_connections(postgres_url: str) -> None:
    with fresh_namespace() as first, fresh_namespace() as second, psycopg.connect(postgres_url) as connection:
        async with app_at((postgres_url, first)) as one, app_at((postgres_url, second)) as other:
            handles = [await app.start(ship, 1, connection=connection, key="k") for app in (one, other)]
            connection.commit()

            assert [handle.created for handle in handles] == [True, True]
            assert [[run.id for run in await app.runs.list()] for app in (one, other)] == [[handle.run_id] for handle in handles]
