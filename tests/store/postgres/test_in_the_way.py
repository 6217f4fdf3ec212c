"""What is seen of rows that others have locked: how they left them, and not how they were when the statement began to wait."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import psycopg
import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.store.port import WorkerLost
from stepwell.store.postgres.store import PostgresStore
from tests.store.making import ALICE, FIRST, NOW, bring_to, claimed_run, claims, move, new_run, new_worker, write

T = TypeVar("T")


class Place(NamedTuple):
    """A schema on a server."""

    url: str
    namespace: str


@pytest.fixture
def place(postgres_url: str, postgres_namespace: str) -> Place:
    """For one test."""
    return Place(postgres_url, postgres_namespace)


@asynccontextmanager
async def opened(place: Place, options: str = "") -> AsyncIterator[PostgresStore]:
    """A store in which Alice is registered."""
    store = PostgresStore(place.url + options, namespace=place.namespace)
    await store.open()
    try:
        await store.register(new_worker(ALICE))
        yield store
    finally:
        await store.close()


async def behind(place: Place, statements: list[str], work: Coroutine[Any, Any, T]) -> T:
    """What `work` makes of it when another transaction has executed these, and is committed only when `work` waits for it."""
    async with (
        await psycopg.AsyncConnection.connect(place.url) as other,
        await psycopg.AsyncConnection.connect(place.url, autocommit=True) as watcher,
    ):
        await other.execute(f'SET search_path = "{place.namespace}"')
        for statement in statements:
            await other.execute(statement)
        waiting = asyncio.create_task(work)
        blocked = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        async with asyncio.timeout(50):
            while await (await watcher.execute(blocked, (other.info.backend_pid,))).fetchone() is None and not waiting.done():
                await asyncio.sleep(0.01)
        assert not waiting.done()
        await other.commit()
        return await waiting


async def test_a_notice_tells_what_was_done_by_those_whom_it_waited_for(place: Place) -> None:
    async with opened(place) as store:
        await claimed_run(store)
        await store.signal(FIRST, "s", "hello", "1", NOW)
        canceled = [
            "UPDATE runs SET status = 'canceled', worker = NULL",
            "INSERT INTO notices (worker, run) SELECT 'alice', id FROM runs ON CONFLICT (worker, run) DO UPDATE SET number = NULL",
        ]

        told = await behind(place, canceled, store.notices(ALICE, 0, NOW))

        assert dict(told.runs) == {FIRST: None}


async def test_a_run_that_is_claimed_while_its_worker_leaves_is_handed_back_too(place: Place) -> None:
    async with opened(place) as store:
        await store.enqueue([new_run()])
        claim = [
            "SELECT id FROM workers WHERE id = 'alice' AND NOT dead FOR KEY SHARE",
            "UPDATE runs SET status = 'running', worker = 'alice', claim = 1, head = 1",
        ]

        count = await behind(place, claim, store.hand_back(ALICE, NOW, 10))

        assert count == 1
        assert (await store.get(FIRST)).status is RunStatus.PENDING
        with pytest.raises(WorkerLost):
            await claims(store)


async def test_a_move_is_applied_that_the_status_allows_now_and_did_not_before(place: Place) -> None:
    async with opened(place) as store:
        await bring_to(store, RunStatus.PAUSED)

        await behind(place, ["UPDATE runs SET status = 'pending'"], write(store, move(Action.WAKE)))

        assert (await store.get(FIRST)).status is RunStatus.RUNNING
