"""Nobody hangs on a server that does not answer: not who gives up, not who closes, and not who waits with patience."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
import pytest

from stepwell import DatabaseUnavailable, RunStatus, Step, Stepwell, workflow
from stepwell.core.records import NewRun
from stepwell.store.postgres import connection
from stepwell.store.postgres.store import PostgresStore
from tests.loops import turns
from tests.postgres.server import Server
from tests.store.making import new_run, run_id

WITHIN = 20.0
"""Seconds in which whoever gives up is let go, on a busy machine: sooner than a server is given up that does not answer."""


@workflow
async def nap(step: Step) -> None:
    await step.sleep("nap", "1h")


@asynccontextmanager
async def opened(url: str, namespace: str = "patience") -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, namespace=namespace)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_who_gives_up_waiting_for_a_frozen_server_is_let_go_at_once(server: Server) -> None:
    async with opened(server.url()) as store:
        await store.enqueue([new_run()])
        other = PostgresStore(server.url(), namespace="patience")
        began = monotonic()
        with server.frozen():
            for waiting in (store.enqueue([new_run(2)]), store.get(run_id(1)), store.lanes(), other.open()):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await waiting
            assert monotonic() - began < WITHIN

        assert (await store.get(run_id(1))).status is RunStatus.PENDING
        await other.close()


async def test_a_frozen_server_is_given_up_and_used_again_when_it_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(server.url()) as store:
        await store.enqueue([new_run()])
        monkeypatch.setattr(connection, "ALTOGETHER", 0.3)
        with server.frozen():
            began = monotonic()
            for number in (2, 3):
                with pytest.raises(DatabaseUnavailable, match=r"has not answered for 0\.3 s"):
                    await store.enqueue([new_run(number)])
            with pytest.raises(DatabaseUnavailable, match=r"has not answered for 0\.3 s"):
                await store.get(run_id(1))
            assert monotonic() - began < WITHIN

        monkeypatch.undo()
        assert await store.enqueue([new_run(4)]) == [run_id(4)]


async def test_a_store_is_closed_soon_even_while_its_server_is_frozen(server: Server) -> None:
    store = PostgresStore(server.url(), namespace="patience")
    await store.open()
    await store.enqueue([new_run()])
    with server.frozen():
        waiting = [asyncio.ensure_future(store.get(run_id(1))) for _ in range(20)]
        await turns()
        began = monotonic()
        await store.close()
        assert monotonic() - began < WITHIN

    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseUnavailable}


async def test_statements_that_take_long_are_ended_when_the_store_is_closed(server: Server) -> None:
    store = PostgresStore(server.url(), namespace="patience")
    await store.open()
    await store.enqueue([new_run()])
    with psycopg.connect(server.url()) as other:
        other.execute("LOCK TABLE patience.runs")
        waiting = asyncio.ensure_future(store.enqueue([new_run(2)]))
        await turns()
        began = monotonic()
        await store.close()

        assert monotonic() - began < WITHIN
        assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], DatabaseUnavailable)


async def test_a_closed_store_says_so(server: Server) -> None:
    async with opened(server.url()) as store:
        pass
    for verb in (store.enqueue([new_run()]), store.get(run_id(1)), store.lanes()):
        with pytest.raises(DatabaseUnavailable, match="not open"):
            await verb


async def test_two_connections_are_enough_for_a_thousand_who_wait(server: Server) -> None:
    async with Stepwell(f"{server.url()}?pool_size=2", namespace="crowded", workflows=[nap]) as app, app.worker():
        handles = await app.start_many(nap, [None] * 1_000)
        waiting = [asyncio.ensure_future(handle.result()) for handle in handles]
        await turns()

        async with asyncio.timeout(WITHIN):
            await app.start(nap)
        async with asyncio.timeout(WITHIN):
            await handles[0].cancel()

        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        used = server.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stepwell'")
        assert used[0][0] <= 2 + 2 + 2 + 1  # of workers, of people, for hints, for the heart


def test_a_process_that_was_forked_says_that_it_needs_an_app_of_its_own(server: Server) -> None:
    async def fork() -> str:
        async with opened(server.url()) as store:
            await store.enqueue([new_run()])
            reader, writer = os.pipe()
            child = multiprocessing.get_context("fork").Process(target=_start_in_child, args=(store, writer))
            child.start()
            os.close(writer)
            with os.fdopen(reader) as said:
                answer = await asyncio.to_thread(said.read)
            await asyncio.to_thread(child.join, 20)
            assert await store.enqueue([new_run(2)]) == [run_id(2)]  # the parent's connections are as they were
        return answer

    assert "this process was forked" in asyncio.run(fork())


def _start_in_child(store: PostgresStore, writer: int) -> None:
    """On a loop of its own, as a child has."""
    asyncio.events._set_running_loop(None)

    async def start(run: NewRun) -> str:
        try:
            await store.enqueue([run])
        except RuntimeError as error:
            return str(error)
        return "started"

    os.write(writer, asyncio.run(start(new_run(3))).encode())
