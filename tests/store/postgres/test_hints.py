"""Hints between processes: few, heard by others only, and nothing depends on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import psycopg
import pytest

from stepwell import Stepwell, workflow
from stepwell.store.port import Hint
from stepwell.store.postgres import hints
from stepwell.store.postgres.store import PostgresStore
from tests.engine.harness import until
from tests.store.making import new_run

Place = tuple[str, str]


@workflow
async def ship(input: int) -> int:
    return input


@pytest.fixture
def place(postgres_url: str, postgres_namespace: str) -> Place:
    """A database, and a namespace in it that is new."""
    return postgres_url, postgres_namespace


@asynccontextmanager
async def opened(place: Place, told: Callable[[Hint], None] | None = None, options: str = "") -> AsyncIterator[PostgresStore]:
    url, namespace = place
    store = PostgresStore(url + options, namespace=namespace)
    if told is not None:
        store.listen(told)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def overhearing(place: Place) -> AsyncIterator[list[str]]:
    """All that anybody says in this namespace."""
    url, namespace = place
    said: list[str] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f'LISTEN "{namespace}"'.encode())

        async def listen() -> None:
            async for notice in connection.notifies():
                said.append(notice.payload)  # noqa: PERF401  # as it comes

        listening = asyncio.ensure_future(listen())
        yield said
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_process_says_each_kind_at_most_once_in_20_ms(place: Place) -> None:
    async with opened(place) as store, overhearing(place) as said:
        began = monotonic()
        while monotonic() - began < 0.3:
            for hint in Hint:
                store.hint(hint)
            await asyncio.sleep(0)
        took = monotonic() - began
        await until(lambda: len(said) > 1)

        kinds = Counter(word for words in said for word in words.split()[1:])
        assert set(kinds) == set(Hint)
        assert max(kinds.values()) <= took / hints.APART + 2


async def test_a_process_does_not_hear_its_own_words_twice(place: Place) -> None:
    heard: list[Hint] = []
    async with opened(place, heard.append) as store, overhearing(place) as said:
        await until(lambda: set(heard) == set(Hint))  # when it begins to listen
        heard.clear()

        store.hint(Hint.READY)
        await until(lambda: said)
        async with opened(place) as other:
            other.hint(Hint.DUE)
            await until(lambda: Hint.DUE in heard)

        assert heard == [Hint.READY, Hint.DUE]


async def test_who_has_been_cut_off_listens_again_and_takes_all_to_have_changed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "AGAIN", 0.01)
    url, namespace = place
    heard: list[Hint] = []
    async with opened(place, heard.append), opened(place) as other:
        await until(lambda: set(heard) == set(Hint))
        for _ in range(3):
            heard.clear()
            with psycopg.connect(url) as killer:
                killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s", (f'LISTEN "{namespace}"',))
            await until(lambda: set(heard) == set(Hint))
        heard.clear()

        other.hint(Hint.DUE)

        await until(lambda: heard)
        assert heard == [Hint.DUE]


async def test_whose_mouth_has_been_shut_speaks_again(place: Place) -> None:
    url, _ = place
    async with opened(place) as store, overhearing(place) as said:
        store.hint(Hint.READY)
        await until(lambda: len(said) == 1)
        with psycopg.connect(url) as killer:
            killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s", (f'%NOTIFY "{place[1]}"%',))
        store.hint(Hint.READY)  # may be lost
        await asyncio.sleep(2 * hints.APART)

        store.hint(Hint.DUE)

        await until(lambda: any("due" in words for words in said))


async def test_hints_can_be_switched_off_and_no_transaction_says_anything_by_itself(place: Place) -> None:
    heard: list[Hint] = []
    async with opened(place, heard.append, "?hints=off") as store, overhearing(place) as said:
        await store.enqueue([new_run()])
        assert heard == [Hint.READY]
        async with opened(place) as other:
            other.hint(Hint.DUE)
            await until(lambda: said)

        assert [words.split()[1:] for words in said] == [["due"]]
        assert heard == [Hint.READY]


async def test_without_hints_a_worker_finds_the_runs_of_others_by_itself(place: Place) -> None:
    url, namespace = place
    here, there = (Stepwell(f"{url}?hints=off", namespace=namespace, workflows=[ship]) for _ in range(2))
    async with here, there, there.worker(), asyncio.timeout(20):
        assert await here.execute(ship, 7) == 7
