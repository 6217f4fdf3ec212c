"""The tables are made once, by whoever comes first, or by somebody who may; and each namespace has its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack

import psycopg
import pytest

from stepwell.store.port import Hint
from stepwell.store.postgres.store import PostgresStore
from tests.engine.harness import until
from tests.postgres.shared import fresh_database
from tests.store.making import ALL, new_run

OPENS = """
import asyncio, sys
from stepwell import Stepwell

async def main():
    async with Stepwell(sys.argv[1]):
        pass
    print("opened")

sys.stdin.readline()
asyncio.run(main())
"""


def tables(url: str, namespace: str) -> list[tuple[str, str]]:
    """Each column, and each index, of a namespace."""
    place = f'"{namespace}"' if namespace != namespace.lower() else namespace  # as PostgreSQL writes it
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT table_name || '.' || column_name, data_type || is_nullable FROM information_schema.columns WHERE table_schema = %s "
            "UNION ALL SELECT indexname, replace(indexdef, %s, ' ') FROM pg_indexes WHERE schemaname = %s ORDER BY 1, 2",
            (namespace, f" {place}.", namespace),
        ).fetchall()


def test_four_processes_at_once_make_the_tables_of_an_empty_database_once() -> None:
    with fresh_database() as url:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", OPENS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=50) for process in processes]

        assert said == [("opened\n", "")] * 4
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM stepwell.schema ORDER BY number").fetchall() == [(1,)]
            assert connection.execute("SELECT count(*) FROM stepwell.identity").fetchone() == (1,)


def test_what_is_printed_makes_the_same_tables() -> None:
    migrate = [sys.executable, "-m", "stepwell", "migrate"]
    with fresh_database() as url:
        printed = subprocess.run(
            [*migrate, "--sql", "--database", url, "--namespace", "Acme"], capture_output=True, text=True, check=True, timeout=50
        ).stdout
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SELECT FROM pg_namespace WHERE nspname = 'Acme'").fetchall() == []
            connection.execute(printed.encode())
        said = subprocess.run([*migrate, "--database", url, "--namespace", "Acme"], capture_output=True, text=True, check=True, timeout=50)
        subprocess.run([*migrate, "--database", url], check=True, timeout=50, capture_output=True)

        assert "is up to date" in said.stdout
        assert tables(url, "Acme") == tables(url, "stepwell")


@pytest.mark.parametrize("namespace", ["Acme", "_x9", "select", "a" * 63])
async def test_a_namespace_may_have_any_name(namespace: str) -> None:
    with fresh_database() as url:
        async with AsyncExitStack() as opened:
            stores = [PostgresStore(url, namespace=namespace) for _ in range(2)]
            hints: list[Hint] = []
            stores[1].listen(hints.append)
            for store in stores:
                await store.open()
                opened.push_async_callback(store.close)
            await until(lambda: set(hints) == set(Hint))
            hints.clear()

            await stores[0].enqueue([new_run()])

            await until(lambda: Hint.READY in hints)
            assert [run.id for run in (await stores[1].find(ALL, newest=True, limit=10, cursor=None)).items] == [new_run().id]


async def test_two_namespaces_in_one_database_do_not_see_or_hear_each_other(fresh_postgres_url: str) -> None:
    async with AsyncExitStack() as opened:
        one, other, other_too = (PostgresStore(fresh_postgres_url, namespace=name) for name in ("one", "other", "other"))
        hints: list[Hint] = []
        other.listen(hints.append)
        for store in (one, other, other_too):
            await store.open()
            opened.push_async_callback(store.close)
        await until(lambda: set(hints) == set(Hint))
        hints.clear()

        await one.enqueue([new_run(1)])
        one.hint(Hint.NOTICE)
        other_too.hint(Hint.DUE)

        await until(lambda: bool(hints))
        assert hints == [Hint.DUE]
        assert await other.count(ALL) == {}
