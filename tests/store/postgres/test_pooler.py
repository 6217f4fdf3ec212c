"""Behind pgbouncer in transaction mode each transaction may have another of the server's connections. See also `POOLED_TESTS`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from stepwell import DatabaseUnavailable, Step, Stepwell, workflow
from stepwell.store.postgres import connection
from stepwell.store.postgres.store import PostgresStore
from tests.postgres.pgbouncer import ABSENT, IGNORED, pgbouncer, program
from tests.postgres.server import Server
from tests.postgres.shared import lacking
from tests.store.making import new_run


@workflow
async def ship(input: int, step: Step) -> int:
    return await step.run("pack", lambda: input)


@pytest.fixture(params=["", IGNORED], ids=["refuses options", "ignores options"])
def url(request: pytest.FixtureRequest, server: Server) -> Iterator[str]:
    """Of a pooler with two connections, which says that it takes no options, or drops them in silence."""
    if program() is None:
        lacking(ABSENT)
    with pgbouncer(server, connections=2, ignoring=request.param) as url:
        yield url


async def test_workers_and_callers_find_each_other_and_leave_nothing_on_the_connections(server: Server, url: str) -> None:
    apps = [Stepwell(url, namespace="pooled", workflows=[ship]) for _ in range(2)]
    async with apps[0], apps[1], apps[1].worker(), asyncio.timeout(30):
        handles = await apps[0].start_many(ship, list(range(50)))

        assert [await handle.result() for handle in handles] == list(range(50))
        with psycopg.connect(url, prepare_threshold=None) as caller:
            within = await apps[0].start(ship, 50, connection=caller)
        assert await within.result() == 50
        for name in ("statement_timeout", "plan_cache_mode", "enable_seqscan"):
            with psycopg.connect(url) as any_of_them, psycopg.connect(server.url()) as plain:
                shown = f"SHOW {name}".encode()
                assert any_of_them.execute(shown).fetchone() == plain.execute(shown).fetchone()
        with psycopg.connect(url) as any_of_them:
            assert any_of_them.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        listeners = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"
        assert server.execute(listeners) == [(0,)]


async def test_statements_have_their_limits_there_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.LIMITS, "lock_timeout", "50ms")
    store = PostgresStore(url, namespace="limited")
    await store.open()
    await store.enqueue([new_run()])
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE limited.runs")
        with pytest.raises(DatabaseUnavailable, match="waited too long for a lock"):
            await store.enqueue([new_run(2)])
    assert await store.enqueue([new_run(2)]) == [new_run(2).id]
    await store.close()


async def test_statements_need_not_be_prepared_straight_to_the_server_either(server: Server) -> None:
    store = PostgresStore(f"{server.url()}?prepare=off&pool_size=1", namespace="unprepared")
    await store.open()
    for number in range(1, 5):
        await store.enqueue([new_run(number)])

    async def prepared(session: connection.Session) -> int:
        rows = await session.query("SELECT count(*) FROM pg_prepared_statements", {})
        count: int = rows[0][0]
        return count

    assert store._pools is not None
    assert await store._pools.glance(prepared) == 0
    await store.close()
