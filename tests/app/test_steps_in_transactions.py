"""`step.transaction` on a file, where its function runs in the thread that writes, beside all that others write at that time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell import Retry, RunFailed, RunStatus, Step, Stepwell, SyncStepwell, workflow
from tests.engine.harness import WITHIN, caught, scenario, status_is
from tests.loops import turns


@pytest.fixture
def table(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A user's own connection to the database, with a table of its own in it."""
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE ledger (n)")
        yield connection


def booked(table: sqlite3.Connection) -> list[Any]:
    return [number for (number,) in table.execute("SELECT n FROM ledger ORDER BY n")]


def book(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO ledger VALUES (?)", (number,))
    return number


@stepwell.step("risky", retry=Retry(2, "1ms", jitter=0))
def risky(connection: sqlite3.Connection, number: int) -> int:
    book(connection, number)
    if stepwell.current_step().attempt == 1:
        raise OSError("not yet")
    return number


async def double(number: int) -> int:
    return number * 2


@workflow
async def books(input: int, step: Step) -> int:
    first, second = await asyncio.gather(step.transaction("a", book, input), step.run("b", double, input))
    return first + second + await step.transaction("c", risky, input)


@scenario
async def test_hundreds_of_runs_beside_each_other_write_each_of_theirs_once(url: str, table: sqlite3.Connection) -> None:
    async with Stepwell(url, workflows=[books]) as app, app.worker():
        handles = await app.start_many(books, list(range(300)))

        assert [await handle.result() for handle in handles] == [number * 4 for number in range(300)]
        assert booked(table) == sorted([*range(300)] * 2)
        assert await app.runs.count() == {RunStatus.COMPLETED: 300}


def test_without_a_loop_it_is_the_same(url: str, table: sqlite3.Connection) -> None:
    with SyncStepwell(url, workflows=[books]) as app, app.worker():
        assert app.execute(books, 3) == 12

    assert booked(table) == [3, 3]


class Slow:
    """A transaction that takes as long as it is let."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.goes_on = threading.Event()

    def book(self, connection: sqlite3.Connection, number: int) -> int:
        book(connection, number)
        self.began.set()
        assert self.goes_on.wait(WITHIN)
        return number


@scenario
async def test_what_is_written_when_the_timeout_has_passed_is_rolled_back(url: str, table: sqlite3.Connection) -> None:
    loop = asyncio.get_running_loop()

    async def timeout_is_noticed() -> None:
        await asyncio.sleep(0.06)  # on the loop whose timer it is, which is set already
        await turns()

    @stepwell.step("limited", timeout="30ms", retry=Retry.never())
    def limited(connection: sqlite3.Connection, number: int) -> None:
        book(connection, number)
        asyncio.run_coroutine_threadsafe(timeout_is_noticed(), loop).result(WITHIN)

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", limited, 1)

    async with Stepwell(url, workflows=[w]) as app, app.worker():
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by("StepTimeout")
        assert booked(table) == []


@scenario
async def test_what_the_body_has_withdrawn_meanwhile_is_written_with_its_record_or_not_at_all(url: str, table: sqlite3.Connection) -> None:
    slow = Slow()

    async def first() -> None:
        await asyncio.to_thread(slow.began.wait)

    @workflow
    async def w(step: Step) -> str:
        calls = [asyncio.ensure_future(step.run("first", first)), asyncio.ensure_future(step.transaction("slow", slow.book, 1))]
        _, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for call in waiting:
            call.cancel()
        return "left"

    async with Stepwell(url, workflows=[w]) as app, app.worker():
        handle = await app.start(w)
        await asyncio.to_thread(slow.began.wait)
        slow.goes_on.set()

        assert await handle.result() == "left"
        assert booked(table) in ([], [1])
        assert ("@1/slow" in {step.key for step in await handle.steps() if step.status == "completed"}) == (booked(table) == [1])


@scenario
async def test_a_worker_that_stops_waits_for_the_transaction_under_way(url: str, table: sqlite3.Connection) -> None:
    slow = Slow()

    @workflow
    async def w(step: Step) -> int:
        return await step.transaction("slow", slow.book, 1)

    async with Stepwell(url, workflows=[w]) as app:
        async with app.worker():
            handle = await app.start(w)
            await asyncio.to_thread(slow.began.wait)
            asyncio.get_running_loop().call_later(0.05, slow.goes_on.set)
        assert [(step.key, step.status) for step in await handle.steps()] == [("slow", "completed")]
        assert booked(table) == [1]
        async with app.worker():
            assert await handle.result() == 1
        assert booked(table) == [1]


@scenario
async def test_a_reader_of_the_file_sees_what_is_written_and_its_record_at_once(url: str, table: sqlite3.Connection) -> None:
    @workflow
    async def w(step: Step) -> None:
        for number in range(50):
            await step.transaction("a", book, number)

    async def look() -> None:
        while True:
            (entries, outcomes) = table.execute("SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM stepwell_outcomes)").fetchone()
            assert entries == outcomes
            await asyncio.sleep(0)

    async with Stepwell(url, workflows=[w]) as app, app.worker():
        looking = asyncio.ensure_future(look())
        handle = await app.start(w)
        await handle.result()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

        assert looking.cancelled()


@scenario
async def test_a_transaction_waits_until_others_let_go_of_the_file(url: str, table: sqlite3.Connection) -> None:
    gate = asyncio.Event()

    @workflow
    async def w(step: Step) -> int:
        await step.run("wait", gate.wait)
        return await step.transaction("a", book, 1)

    async with Stepwell(url, workflows=[w]) as app, app.worker():
        handle = await app.start(w)
        await status_is(handle, RunStatus.RUNNING)
        table.execute("BEGIN IMMEDIATE")
        gate.set()
        asyncio.get_running_loop().call_later(0.2, table.execute, "COMMIT")

        assert await handle.result() == 1
        assert booked(table) == [1]
