"""A run that is written with the caller's own transaction exists if and only if that commits."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepwell import DatabaseUnavailable, DefinitionError, InvalidInput, RunNotFound, RunStatus, Step, Stepwell, SyncStepwell, workflow
from stepwell.core.records import NewRun
from stepwell.home import Home
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Ended, Hint
from stepwell.testing import EPOCH, MovedClock, TestApp
from tests.engine.harness import scenario, until
from tests.loops import turns


@workflow
async def ship(input: int) -> int:
    return input


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "test.db")


@scenario
async def test_a_run_begins_when_the_callers_transaction_has_committed(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app, app.worker():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
            connection.execute("INSERT INTO orders VALUES (7)")
            handle = await app.start(ship, 7, connection=connection)
            assert handle.created
            with pytest.raises(RunNotFound):
                await handle.get()
            connection.commit()

        assert await handle.result() == 7


@scenario
async def test_a_run_whose_transaction_is_rolled_back_never_was(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app, app.worker():
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            handle = await app.start("nobody_has_it", 7, connection=connection, queue="never_used")
            connection.rollback()

        with pytest.raises(RunNotFound):
            await handle.result()
        assert await app.runs.count() == {}
        again = await app.start("nobody_has_it", 7, queue="never_used")
        assert [run.id for run in await app.runs.list(queue="never_used")] == [again.run_id]


@scenario
async def test_a_key_that_is_taken_gives_the_first_run_within_a_transaction_too(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        first = await app.start(ship, 1, key="k", actor="ada")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            again = await app.start(ship, 2, key="k", connection=connection, actor="bob")
            new = await app.start(ship, 3, key="new", connection=connection, actor="eve")
            connection.commit()

        assert (again.run_id, again.created) == (first.run_id, False)
        assert [(event.action, event.actor) for run in (first, new) for event in await run.events()] == [("start", "ada"), ("start", "eve")]


@scenario
async def test_workers_are_told_when_the_transaction_has_committed(url: str, path: str) -> None:
    hints: list[Hint] = []

    async with Stepwell(url, workflows=[ship]) as app:
        end = app._home.store.listen(hints.append)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            await app.start(ship, 1, connection=connection)
            await app.start(ship, 2, connection=connection, delay="1h")
            await app.runs.count()
            assert hints == []
            connection.commit()
        await until(lambda: set(hints) == {Hint.READY, Hint.DUE})
        end()


class _Away(MemoryStore):
    """The database is away for the first three looks."""

    looks = 0

    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        self.looks += 1
        if self.looks <= 3:
            raise DatabaseUnavailable("it is away")
        return await super().ended(run_ids)


@pytest.mark.parametrize("commits", [True, False])
@scenario
async def test_a_run_is_looked_for_until_it_is_there_and_not_for_ever(commits: bool) -> None:
    store, clock, hints = _Away(), MovedClock(), list[Hint]()
    home = Home(store, clock)
    await home.open()
    if commits:
        await store.enqueue([NewRun("1", "ship", None, "7", EPOCH, EPOCH)])
        await turns()
    store.listen(hints.append)
    home.tell_when_there("1", Hint.READY)
    while home._tasks:
        clock.move_to(clock.next() or clock.now())
        await asyncio.sleep(0)

    assert hints == ([Hint.READY] if commits else [])
    assert store.looks == (4 if commits else 9)
    assert clock.now() - EPOCH == pytest.approx(0.15 if commits else 5.11)
    await home.close()


@scenario
async def test_an_app_may_be_closed_while_a_transaction_is_open(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        connection = sqlite3.connect(path)
        connection.execute("BEGIN")
        handle = await app.start(ship, 1, connection=connection)
    connection.commit()
    connection.close()

    async with app:
        assert await handle.status() is RunStatus.PENDING


@scenario
async def test_a_bad_input_leaves_the_transaction_as_it_was(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER)")
            connection.execute("INSERT INTO orders VALUES (7)")
            with pytest.raises(InvalidInput):
                await app.start("ship", "seven", connection=connection)
            connection.commit()
            assert connection.execute("SELECT * FROM orders").fetchall() == [(7,)]
        assert await app.runs.count() == {}


@scenario
async def test_a_connection_elsewhere_is_refused(url: str, tmp_path: Path) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        for other in (sqlite3.connect(tmp_path / "other.db"), sqlite3.connect(":memory:")):
            with closing(other), pytest.raises(DefinitionError, match="connection"):
                await app.start(ship, 1, connection=other)
        with pytest.raises(DefinitionError, match="connection"):
            await app.start(ship, 1, connection=object())
        assert await app.runs.count() == {}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has the option since Python 3.12")
@scenario
async def test_a_connection_that_commits_by_itself_is_refused_until_a_transaction_is_begun(url: str, path: str) -> None:
    options: dict[str, Any] = {"autocommit": True}
    async with Stepwell(url, workflows=[ship]) as app:
        with closing(sqlite3.connect(path, **options)) as connection:
            with pytest.raises(DefinitionError, match="execute BEGIN first"):
                await app.start(ship, 1, connection=connection)
            assert not connection.in_transaction
            connection.execute("BEGIN")
            handle = await app.start(ship, 1, connection=connection)
            connection.execute("COMMIT")
        assert await handle.status() is RunStatus.PENDING


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has the option since Python 3.12")
@scenario
async def test_a_connection_that_is_always_in_a_transaction_is_taken(url: str, path: str) -> None:
    options: dict[str, Any] = {"autocommit": False}
    async with Stepwell(url, workflows=[ship]) as app:
        with closing(sqlite3.connect(path, **options)) as connection:
            handle = await app.start(ship, 1, connection=connection)
            connection.commit()
        assert await handle.status() is RunStatus.PENDING


@scenario
async def test_a_task_that_waits_for_the_transaction_of_another_does_not_hold_up_the_loop(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:

        async def request(number: int) -> None:
            with closing(sqlite3.connect(path)) as connection:
                await app.start(ship, number, connection=connection)
                await turns()  # others are at it now; they cannot be done before this is
                connection.commit()

        await asyncio.gather(*(request(number) for number in range(4)))
        assert await app.runs.count() == {RunStatus.PENDING: 4}


@scenario
async def test_a_transaction_waits_no_longer_than_its_connection_would_and_leaves_it_as_it_was(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        with closing(sqlite3.connect(path)) as other, closing(sqlite3.connect(path, timeout=0.05)) as connection:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseUnavailable, match="locked by another program"):
                await app.start(ship, 1, connection=connection)
            assert connection.execute("PRAGMA busy_timeout").fetchone() == (50,)
            other.rollback()
            handle = await app.start(ship, 1, connection=connection)
            connection.commit()
        assert await handle.status() is RunStatus.PENDING


@scenario
async def test_what_the_callers_connection_makes_of_rows_and_texts_does_not_matter(url: str, path: str) -> None:
    def as_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    async with Stepwell(url, workflows=[ship]) as app:
        for row_factory, text_factory in ((as_dict, str), (sqlite3.Row, str), (None, bytes)):
            with closing(sqlite3.connect(path)) as connection:
                connection.row_factory, connection.text_factory = row_factory, text_factory
                first = await app.start(ship, 1, connection=connection, key="k")
                again = await app.start(ship, 2, connection=connection, key="k")
                new = await app.start(ship, 3, connection=connection)
                connection.commit()
                assert connection.row_factory is row_factory
            assert (again.run_id, again.created) == (first.run_id, False)
            assert await new.status() is RunStatus.PENDING


@scenario
async def test_nobody_waits_for_a_run_within_his_own_transaction(url: str, path: str) -> None:
    async with Stepwell(url, workflows=[ship]) as app:
        with closing(sqlite3.connect(path)) as connection:
            with pytest.raises(DefinitionError, match="execute takes no connection"):
                await app.execute(ship, 1, connection=connection)  # type: ignore[call-overload]
            assert not connection.in_transaction


@scenario
async def test_a_test_app_has_no_transactions() -> None:
    async with TestApp(ship) as app:
        with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(DefinitionError, match="in memory"):
            await app.start(ship, 1, connection=connection)


@scenario
async def test_a_step_may_start_a_run_in_a_transaction(url: str, path: str) -> None:
    app = Stepwell(url)

    async def order(number: int) -> str:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            handle = await app.start("ship", number, connection=connection)
            connection.commit()
        return handle.run_id

    @workflow
    async def orders(step: Step) -> str:
        return await step.run("order", order, 7)

    app = Stepwell(url, workflows=[ship, orders])
    async with app, app.worker():
        assert await app.handle(await app.execute(orders)).result() == 7


def test_a_sync_app_uses_the_connection_in_the_callers_thread(url: str, path: str) -> None:
    with SyncStepwell(url, workflows=[ship]) as app, app.worker():
        with closing(sqlite3.connect(path)) as connection:  # which belongs to this thread, and says so in any other
            connection.execute("BEGIN")
            handle = app.start(ship, 7, connection=connection, tags=["a"], at=datetime(1999, 1, 1, tzinfo=UTC))
            assert handle.created
            connection.commit()
        assert handle.result() == 7

        with closing(sqlite3.connect(path)) as connection:
            connection.execute("BEGIN")
            never = app.start(ship, 8, connection=connection)
            connection.rollback()
        with pytest.raises(RunNotFound):
            never.result()


def test_a_sync_app_refuses_a_connection_elsewhere(url: str) -> None:
    with closing(sqlite3.connect(":memory:")) as other:
        with SyncStepwell(url, workflows=[ship]) as app, pytest.raises(DefinitionError, match="connection"):
            app.start(ship, 1, connection=other)
        with pytest.raises(RuntimeError, match="not open"):
            app.start(ship, 1, connection=other)
