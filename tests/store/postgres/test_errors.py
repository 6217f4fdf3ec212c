"""What is said when the database cannot be used: what is wrong, with which one, what to do; and never the password."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from stepwell import DatabaseTooNew, DatabaseUnavailable, DefinitionError, Stepwell, workflow
from stepwell.config import settings_of
from stepwell.store.postgres.store import PostgresStore
from tests.postgres.server import Server
from tests.store.making import new_run

SECRET = "correcthorse"


@workflow
async def ship(input: int) -> int:
    return input


def as_user(server: Server, name: str) -> str:
    """The URL of a new user whose password is the SECRET."""
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    return server.url().replace(f"postgres:{server.password}", f"{name}:{SECRET}")


@asynccontextmanager
async def opened(url: str, namespace: str = "stepwell", *, migrate: bool = True) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, namespace=namespace)
    await store.open(migrate=migrate)
    try:
        yield store
    finally:
        await store.close()


async def refused(url: str, namespace: str = "stepwell", *, migrate: bool = True) -> DatabaseUnavailable:
    """What is said when it is opened."""
    with pytest.raises(DatabaseUnavailable) as caught:
        async with opened(url, namespace, migrate=migrate):
            pass
    assert SECRET not in f"{caught.value!r} {caught.value}"
    return caught.value


# -- the way there


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("127.0.0.1:1/db", "Connection refused"),
        ("nowhere.invalid/db", "failed to resolve host 'nowhere.invalid'"),
        ("127.0.0.1:1,127.0.0.1:2/db", "Connection refused"),
    ],
)
async def test_a_server_that_is_not_there_may_come_back(place: str, said: str) -> None:
    error = await refused(f"postgresql://ann:{SECRET}@{place}")

    assert not error.permanent
    assert str(error).startswith(f"postgresql://ann@{place}: ")
    assert said in str(error)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("127.0.0.1:port/db", 'invalid integer value "port"'),
        ("127.0.0.1:1/db?foo=bar", 'invalid URI query parameter: "foo"'),
        ("127.0.0.1:1/db?sslmode=maybe", 'invalid sslmode value: "maybe"'),
    ],
)
async def test_a_url_that_libpq_cannot_read_is_not_tried_again(place: str, said: str) -> None:
    error = await refused(f"postgresql://ann:{SECRET}@{place}")

    assert error.permanent
    assert said in str(error)


async def test_what_another_try_would_not_mend_is_not_tried_again(server: Server) -> None:
    right = server.url()
    for wrong, said in (
        (right.replace(server.password, SECRET), 'password authentication failed for user "postgres"'),
        (right.replace(f":{server.password}", ""), "no password supplied"),
        (server.url("nowhere"), 'database "nowhere" does not exist'),
    ):
        error = await refused(wrong)
        assert error.permanent
        assert said in str(error)


async def test_a_server_without_a_free_connection_may_have_one_soon(server: Server) -> None:
    url = as_user(server, "crowd")
    server.execute("ALTER ROLE crowd CONNECTION LIMIT 1")
    with psycopg.connect(url):
        error = await refused(url)

    assert not error.permanent
    assert "has no connection left; raise max_connections, or put a pooler in front" in str(error)


# -- what the user may do


async def test_a_server_that_takes_no_writes_says_so(server: Server) -> None:
    url = as_user(server, "reader")
    server.execute("ALTER ROLE reader SUPERUSER")
    server.execute("ALTER ROLE reader SET default_transaction_read_only = on")
    empty = await refused(url, "reading")
    async with opened(server.url()), opened(url) as store:
        with pytest.raises(
            DatabaseUnavailable, match="the server takes no writes now: a standby, or one that was made read-only"
        ) as caught:
            await store.enqueue([new_run()])

    assert not empty.permanent
    assert not caught.value.permanent


async def test_a_user_who_may_not_make_the_tables_is_told_who_else_can(server: Server) -> None:
    error = await refused(as_user(server, "guest"), "guests")

    assert error.permanent
    assert "may not make the tables of namespace 'guests'; have one who may run `stepwell migrate`" in str(error)
    assert "permission denied for database" in str(error)


async def test_a_user_without_rights_on_the_tables_is_told_so(server: Server) -> None:
    async with opened(server.url(), "theirs"):
        error = await refused(as_user(server, "stranger"), "theirs")

    assert error.permanent
    assert "the user may not do this (permission denied for schema theirs)" in str(error)


async def test_a_user_who_may_use_the_tables_need_not_be_allowed_to_make_them(server: Server) -> None:
    url = as_user(server, "clerk")
    async with opened(server.url(), "granted"):
        server.execute("GRANT USAGE ON SCHEMA granted TO clerk")
        server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA granted TO clerk")
    async with opened(url, "granted") as store:
        assert await store.enqueue([new_run()]) == [new_run().id]


# -- what is there


@pytest.mark.parametrize(("table", "said"), [("runs ()", "has tables of somebody else's"), ("schema (x int)", "or somebody else's")])
async def test_a_schema_of_somebody_else_is_left_alone(server: Server, table: str, said: str) -> None:
    namespace = f"of_{table.split(maxsplit=1)[0]}"
    server.execute(f"CREATE SCHEMA {namespace}")
    server.execute(f"CREATE TABLE {namespace}.{table}")

    error = await refused(server.url(), namespace)

    assert error.permanent
    assert said in str(error)
    assert "choose another namespace" in str(error)
    assert server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = %s", namespace) == [(1,)]


async def test_a_newer_database_is_refused(server: Server) -> None:
    async with opened(server.url(), "newer"):
        server.execute("INSERT INTO newer.schema (number, name) VALUES (9999, 'future')")
    with pytest.raises(DatabaseTooNew, match=r"has schema 9999, .*; upgrade Stepwell here"):
        async with opened(server.url(), "newer"):
            pass


@pytest.mark.parametrize("change", ["ALTER TABLE {}.schema DROP COLUMN digest", "UPDATE {}.schema SET digest = 'of another'"])
async def test_a_database_from_before_a_release_is_refused(server: Server, change: str) -> None:
    namespace = f"early_{change[0].lower()}"
    async with opened(server.url(), namespace):
        server.execute(change.format(namespace))

    error = await refused(server.url(), namespace)

    assert error.permanent
    assert "never released" in str(error)


async def test_an_empty_database_that_may_not_be_migrated_says_how(server: Server) -> None:
    error = await refused(server.url(), "absent", migrate=False)

    assert error.permanent
    assert "namespace 'absent'" in str(error)
    assert "`stepwell migrate`" in str(error)
    assert server.execute("SELECT FROM pg_namespace WHERE nspname = 'absent'") == []


@pytest.mark.parametrize(("setting", "said"), [("lock_timeout", "waited too long for a lock"), ("statement_timeout", "took too long")])
async def test_a_statement_that_takes_too_long_is_ended_by_the_server_and_the_url_may_say_when(
    server: Server, setting: str, said: str
) -> None:
    async with opened(f"{server.url()}?options=-c%20{setting}%3D50", "slow") as store:
        await store.enqueue([new_run()])
        with psycopg.connect(server.url()) as other:
            other.execute("LOCK TABLE slow.runs")
            with pytest.raises(DatabaseUnavailable, match=rf"{said}.*\(canceling statement due to [a-z ]+\)$") as caught:
                await store.enqueue([new_run(2)])

        assert not caught.value.permanent
        assert await store.enqueue([new_run(2)]) == [new_run(2).id]


# -- what is said before anything is opened


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:{SECRET}@x@host/db",
        f"postgresql://ann:x/{SECRET}@host/db",
        f"postgresql://ann:x?{SECRET}@host/db",
        f"postgresql:/ann:{SECRET}@host/db",
        f"postgres//ann:{SECRET}@host/db",
        f"postgre://ann:{SECRET}@host/db",
        f"mysql://ann:{SECRET}@host/db",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        settings_of(url)

    assert SECRET not in str(caught.value)
    assert "write" in str(caught.value) or "known are" in str(caught.value)


@pytest.mark.parametrize("option", ["pool_size=0", "pool_size=many", "pool_size=", "hints=maybe", "prepare=1"])
def test_an_option_of_ours_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(DefinitionError, match=f"{option.partition('=')[0]}.* in database_url is .*not"):
        settings_of(f"postgresql://ann@host/db?{option}")


def test_options_of_libpq_reach_it_as_they_were_written() -> None:
    target = PostgresStore("postgres+psycopg://ann@host/db?options=-c%20a%3Db&hints=off&password=a+b&pool_size=7")._target

    assert target.url == "postgresql://ann@host/db?options=-c%20a%3Db&password=a+b"
    assert (target.size, target.hints, target.prepare) == (7, False, True)
    assert target.label == "postgresql://ann@host/db"


@pytest.mark.parametrize("namespace", ["pg_mine", "information_schema"])
def test_a_namespace_of_postgresql_itself_is_refused(namespace: str) -> None:
    with pytest.raises(DefinitionError, match=f"namespace '{namespace}' is one of PostgreSQL's own; choose"):
        Stepwell("postgresql://host/db", namespace=namespace)


def test_without_psycopg_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
import stepwell
stepwell.Stepwell("sqlite://")
try:
    stepwell.Stepwell("postgresql://host/db")
except stepwell.DefinitionError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50).stdout

    assert 'pip install "stepwell[postgres]"' in said


def test_the_password_is_in_no_log_and_no_name(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def use() -> str:
        async with Stepwell(server.url(), namespace="logged", workflows=[ship]) as app, app.worker() as worker:
            await app.runs.count()
            return f"{app!r} {worker!r} {app._home.store!r} {await app.workers.list()}"

    said = asyncio.run(use())

    assert server.password not in said + caplog.text
