"""The threads of a SQLite file: none of them ends by an error, and a slow search holds up nobody but searches."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from stepwell.store.sqlite.connection import Threads, connect
from stepwell.store.sqlite.transaction import Statements, Transaction
from tests.loops import on_a_loop

STATEMENTS = Statements(
    {"insert": "INSERT INTO numbers VALUES (:number)", "all": "SELECT number FROM numbers ORDER BY number"}, frozenset()
)


@asynccontextmanager
async def threads_of(folder: Path) -> AsyncIterator[Threads]:
    path = str(folder / "runs.db")
    with closing(connect(path, create=True)) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER)")
    threads = Threads(path, STATEMENTS, lambda _: None)
    yield threads
    await asyncio.to_thread(threads.close)


async def _insert(transaction: Transaction, number: int) -> int:
    await transaction.execute("insert", number=number)
    return number


async def _without_memory(transaction: Transaction) -> None:
    def fail() -> None:
        raise MemoryError

    await _insert(transaction, 0)
    transaction.finish = fail  # type: ignore[method-assign]  # as SQLite does it in a COMMIT


async def _all(transaction: Transaction) -> list[int]:
    return [number for (number,) in await transaction.many("all")]


@on_a_loop
async def test_an_error_that_is_none_of_sqlite_is_answered_and_the_thread_goes_on(tmp_path: Path) -> None:
    async with threads_of(tmp_path) as threads:
        with pytest.raises(MemoryError):
            await threads.write(_without_memory)

        assert await threads.write(_insert, 1) == 1
        assert await threads.read(_all) == [1]


@on_a_loop
async def test_such_an_error_is_told_to_all_who_shared_the_transaction(tmp_path: Path) -> None:
    async with threads_of(tmp_path) as threads:
        begun, go_on = threading.Event(), threading.Event()

        async def hold(_: Transaction) -> None:
            begun.set()
            go_on.wait(50)

        first = asyncio.ensure_future(threads.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        shared = [asyncio.ensure_future(each) for each in (threads.write(_insert, 1), threads.write(_without_memory))]
        await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.gather(first, *shared, return_exceptions=True)

        assert [type(answer) for answer in answers] == [type(None), MemoryError, MemoryError]
        assert await threads.read(_all) == []


@on_a_loop
async def test_a_slow_search_does_not_hold_up_what_workers_read(tmp_path: Path) -> None:
    async with threads_of(tmp_path) as threads:
        begun, go_on = threading.Event(), threading.Event()

        async def slow(transaction: Transaction) -> list[int]:
            begun.set()
            go_on.wait(50)
            return await _all(transaction)

        search = asyncio.ensure_future(threads.search(slow))
        await asyncio.to_thread(begun.wait, 10)
        await threads.write(_insert, 1)

        assert await threads.read(_all) == [1]
        assert not search.done()
        go_on.set()
        assert await search == [1]
