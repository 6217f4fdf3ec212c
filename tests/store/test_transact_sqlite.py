"""What a step may do with the connection that writes to SQLite, and what it may not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import EffectFailed, Store
from tests.store.adapters import ADAPTERS
from tests.store.effects import Wish, book, booked, recorded, with_table
from tests.store.making import ALICE, FIRST, NOW, claimed_run, new_run, outcome, run_id, write


@pytest.fixture(params=[name for name in ADAPTERS if name.startswith("sqlite")])
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store with a database, and a table of a user's in it."""
    with with_table(request.param, runner) as store:
        yield store


ENDINGS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "close": lambda connection: connection.close(),
    "COMMIT": lambda connection: connection.execute("COMMIT"),
    "END": lambda connection: connection.execute("end transaction"),
    "ROLLBACK": lambda connection: connection.execute("ROLLBACK"),
    "BEGIN": lambda connection: connection.execute("BEGIN"),
    "a script": lambda connection: connection.executescript("INSERT INTO ledger VALUES (2);"),
    "with": lambda connection: connection.__exit__(None, None, None),
    "with, after an error": lambda connection: connection.__exit__(ValueError, ValueError(), None),
    "our savepoint": lambda connection: connection.execute("ROLLBACK TO Stepwell_job"),
    "isolation level": lambda connection: setattr(connection, "isolation_level", None),
    "authorizer": lambda connection: connection.set_authorizer(None),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_function_that_would_end_the_transaction_is_refused_and_told_why(store: Store, ending: str) -> None:
    await claimed_run(store)

    def ends(connection: sqlite3.Connection) -> None:
        book(1)(connection)
        ENDINGS[ending](connection)

    wish = Wish(ends)
    answers = await asyncio.gather(store.enqueue([new_run(2)]), store.transact(ALICE, wish, NOW), return_exceptions=True)

    assert isinstance(answers[1], EffectFailed)
    (blamed,) = wish.blamed
    assert isinstance(blamed, DefinitionError)
    assert "the step commits what it writes together with its own record" in str(blamed)
    await store.act(run_id(2), Action.CANCEL, NOW)
    assert (await recorded(store), await booked(store)) == ([], [])


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_function_that_takes_no_notice_of_the_refusal_has_ended_nothing(store: Store, ending: str) -> None:
    await claimed_run(store)

    def tries(connection: sqlite3.Connection) -> None:
        book(1)(connection)
        with pytest.raises(sqlite3.Error):
            ENDINGS[ending](connection)

    assert await store.transact(ALICE, Wish(tries), NOW) is RunStatus.RUNNING
    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_savepoints_of_its_own_it_may_use_and_leave_open(store: Store) -> None:
    await claimed_run(store)

    def undoes(connection: sqlite3.Connection) -> None:
        connection.execute("SAVEPOINT mine")
        book(1)(connection)
        connection.execute("ROLLBACK TO mine")
        book(2)(connection)
        connection.execute("SAVEPOINT open")

    await asyncio.gather(store.transact(ALICE, Wish(undoes), NOW), store.enqueue([new_run(2)]))

    await store.act(run_id(2), Action.CANCEL, NOW)
    assert await booked(store) == [2]


async def test_the_connection_is_given_back_as_it_was(store: Store) -> None:
    await claimed_run(store)

    def changes(connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        connection.text_factory = bytes
        book(1)(connection)

    await store.transact(ALICE, Wish(changes), NOW)

    assert await write(store, outcome("next", 2)) == {}
    assert (await store.history(FIRST)).outcomes[1].key == "next"
    assert await booked(store) == [1]


async def test_a_transaction_that_sqlite_itself_rolls_back_is_written_again_for_all_who_share_it(store: Store) -> None:
    await claimed_run(store)
    await store.transact(ALICE, Wish(lambda connection: connection.execute("CREATE UNIQUE INDEX once ON ledger (n)"), "index", 1), NOW)
    await store.transact(ALICE, Wish(book(1), "one", 2), NOW)

    def collides(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR ROLLBACK INTO ledger VALUES (1)")

    answers = await asyncio.gather(
        store.enqueue([new_run(2)]),
        store.transact(ALICE, Wish(collides, "two", 3), NOW),
        write(store, outcome("x", 4)),
        return_exceptions=True,
    )

    assert isinstance(answers[1], DatabaseUnavailable)
    again = [answer for answer in (answers[0], answers[2]) if isinstance(answer, BaseException)]
    assert all(isinstance(error, DatabaseUnavailable) for error in again)
    await store.enqueue([new_run(2)])
    await write(store, outcome("x", 4))
    assert await recorded(store) == ["index", "one", "x"]
    await store.act(run_id(2), Action.CANCEL, NOW)
    assert await booked(store) == [1]


async def test_a_function_that_hides_what_has_rolled_back_the_transaction_is_blamed_for_it(store: Store) -> None:
    await claimed_run(store)
    await store.transact(ALICE, Wish(lambda connection: connection.execute("CREATE UNIQUE INDEX once ON ledger (n)"), "index", 1), NOW)
    await store.transact(ALICE, Wish(book(1), "one", 2), NOW)

    def collides(connection: sqlite3.Connection) -> None:
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT OR ROLLBACK INTO ledger VALUES (1)")
        book(2)(connection)

    wish = Wish(collides, "two", 3)
    with pytest.raises((DatabaseUnavailable, EffectFailed)):
        await store.transact(ALICE, wish, NOW)

    assert [type(blamed) for blamed in wish.blamed] == [DefinitionError]
    assert (await recorded(store), await booked(store)) == (["index", "one"], [1])


async def test_a_database_that_is_full_is_no_fault_of_the_function(store: Store) -> None:
    await claimed_run(store)

    def fills(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        try:
            connection.execute("INSERT INTO ledger VALUES (zeroblob(1000000))")
        finally:
            connection.execute("PRAGMA max_page_count = 1073741823")

    wish = Wish(fills)
    with pytest.raises(DatabaseUnavailable, match="full"):
        await store.transact(ALICE, wish, NOW)

    assert wish.blamed == [None]
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_sqlite_takes_no_async_function(store: Store) -> None:
    await claimed_run(store)
    wish = Wish(book(1))
    wish.is_async = True

    with pytest.raises(DefinitionError, match="make it a `def`"):
        await store.transact(ALICE, wish, NOW)

    assert not wish.numbered
