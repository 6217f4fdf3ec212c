"""What pages ask and what takes too long is stopped, and nobody else is the worse for it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stepwell.core.records import RunFilter
from stepwell.errors import TooSlow
from stepwell.store.port import Store
from stepwell.store.postgres import connection
from stepwell.store.postgres.store import PostgresStore
from stepwell.store.sql import verbs
from stepwell.store.sql.transaction import Verb
from stepwell.store.sql.verbs import Verbs
from stepwell.store.sqlite import SqliteStore
from tests.store.adapters import ADAPTERS, POOLED, with_workers
from tests.store.making import ALL, FIRST, new_run

ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i % 9 + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture(params=[*(name for name in ADAPTERS if name in ("sqlite", "postgres")), POOLED])
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store that can say how long something takes."""
    opened = with_workers(request.param, request.getfixturevalue("pooler") if request.param == POOLED else "")
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


async def endless(transaction: Any) -> Any:
    return await transaction.query(ENDLESS, {})


async def show(store: Store, verb: Verb[Any] = endless) -> Any:
    assert isinstance(store, Verbs)
    return await store._opened.show(verb)


async def test_what_takes_longer_than_two_seconds_is_too_slow_for_a_page(store: Store) -> None:
    await store.enqueue([new_run()])
    loop = asyncio.get_running_loop()
    begin = loop.time()

    with pytest.raises(TooSlow, match="narrow the time"):
        await show(store)

    assert 1.9 <= loop.time() - begin < 20
    assert [run.id for run in await store.summaries(ALL, newest=True, limit=9, cursor=None)] == [FIRST]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is too slow for a page."""
    monkeypatch.setattr(verbs, "SOON", 3_600.0)
    monkeypatch.setattr(connection, "_READ_SOON", connection._READ)


@pytest.mark.usefixtures("unhurried")
async def test_what_is_written_meanwhile_does_not_wait(store: Store) -> None:
    slow = asyncio.ensure_future(show(store))
    await asyncio.sleep(0)
    await store.enqueue([new_run()])
    assert not slow.done()

    slow.cancel()
    await asyncio.wait([slow])


@pytest.mark.usefixtures("unhurried")
async def test_a_page_that_nobody_waits_for_any_more_is_given_up(store: Store) -> None:
    asked = asyncio.Event()

    async def ask(transaction: Any) -> Any:
        loop.call_soon_threadsafe(asked.set)
        return await endless(transaction)

    loop = asyncio.get_running_loop()
    page = loop.create_task(show(store, ask))
    await asked.wait()
    page.cancel()
    with pytest.raises(asyncio.CancelledError):
        await page

    if isinstance(store, SqliteStore):  # which has one thread for what people look at; a server has several connections
        await store.find(RunFilter(), newest=True, limit=1, cursor=None)


async def test_lists_of_programs_are_not_hurried(store: Store) -> None:
    if not isinstance(store, PostgresStore):  # on SQLite, a limit is set for one verb
        return

    async def limit(session: Any) -> str:
        ((found,),) = await session.query("SELECT current_setting('statement_timeout')", {})
        return str(found)

    assert [await store._opened.show(limit), await store._opened.search(limit), await store._opened.show(limit)] == ["2s", "30s", "2s"]
