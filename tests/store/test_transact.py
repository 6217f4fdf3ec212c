"""What a step writes to the database itself: with its outcome, or not at all; and nobody else's writes are the worse for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepwell.core.records import Outcome
from stepwell.core.status import Action, RunStatus
from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.memory import MemoryStore
from stepwell.store.port import EffectFailed, Store
from tests.store.adapters import ADAPTERS, with_workers
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    LANE,
    NOW,
    bring_to,
    claim_one,
    claimed_run,
    leave,
    move,
    new_run,
    outcome,
    run_id,
    serves,
    write,
)

BROKEN = ValueError("no")


@pytest.fixture(params=[name for name in ADAPTERS if name.startswith("sqlite")])
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store with a database, and a table of a user's in it."""
    opened = with_workers(request.param)
    store = runner.run(opened.__aenter__())
    runner.run(prepare(store))
    yield store
    runner.run(opened.__aexit__(None, None, None))


async def prepare(store: Store) -> None:
    await store.enqueue([new_run(9)])
    await claim_one(store)
    await store.transact(ALICE, Wish(lambda connection: connection.execute("CREATE TABLE ledger (n)"), run=run_id(9)), NOW)
    await write(store, move(Action.COMPLETE, run=run_id(9)))


class Wish:
    """An effect, as the engine has them."""

    is_async = False

    def __init__(self, function: Callable[[Any], Any], key: str = "book", seq: int = 1, run: str = FIRST, claim: int = 1) -> None:
        self.run, self.claim, self.key = run, claim, key
        self.calls = 0
        self.numbered = False
        self.there: Outcome | None = None
        self.blamed: list[Exception | None] = []
        self._seq = seq
        self._function = function

    def number(self) -> None:
        self.numbered = True

    def call(self, connection: Any) -> Any:
        self.calls += 1
        try:
            return self._function(connection)
        except BaseException as error:
            raise EffectFailed from error

    def outcome(self, value: Any) -> Outcome:
        if value is BROKEN:
            raise EffectFailed
        return outcome(self.key, self._seq, run=self.run, claim=self.claim)

    def found(self, outcome: Outcome) -> None:
        self.there = outcome

    def blame(self, error: Exception | None) -> None:
        self.blamed.append(error)


def book(number: int) -> Callable[[sqlite3.Connection], None]:
    def booked(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO ledger VALUES (?)", (number,))

    return booked


def fail(connection: sqlite3.Connection) -> None:
    book(13)(connection)
    raise BROKEN


async def booked(store: Store) -> list[int]:
    """What is in the table."""
    found: list[int] = []

    def look(connection: sqlite3.Connection) -> None:
        found.extend(number for (number,) in connection.execute("SELECT n FROM ledger ORDER BY rowid"))
        raise BROKEN  # nothing is to be written for it

    await store.enqueue([new_run(8)])
    (claimed,) = await store.claim(BOB, serves(LANE), 1, NOW)
    with pytest.raises(EffectFailed):
        await store.transact(BOB, Wish(look, run=claimed.id), NOW)
    return found


async def recorded(store: Store) -> list[str]:
    return [each.key for each in await store.outcomes(FIRST, 0, 100)]


async def test_what_is_written_is_there_with_its_outcome(store: Store) -> None:
    await claimed_run(store)

    assert await store.transact(ALICE, Wish(book(1)), NOW) is RunStatus.RUNNING

    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_an_effect_that_fails_writes_nothing(store: Store) -> None:
    await claimed_run(store)

    with pytest.raises(EffectFailed) as failed:
        await store.transact(ALICE, Wish(fail), NOW)

    assert failed.value.__cause__ is BROKEN
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_an_effect_whose_result_cannot_be_kept_writes_nothing(store: Store) -> None:
    await claimed_run(store)

    def returns(connection: sqlite3.Connection) -> object:
        book(1)(connection)
        return BROKEN

    with pytest.raises(EffectFailed):
        await store.transact(ALICE, Wish(returns), NOW)

    assert (await recorded(store), await booked(store)) == ([], [])


async def test_effects_side_by_side_do_not_disturb_each_other_nor_anything_else(store: Store) -> None:
    await claimed_run(store)

    answers = await asyncio.gather(
        store.transact(ALICE, Wish(book(1), "a", 1), NOW),
        store.transact(ALICE, Wish(fail, "b", 2), NOW),
        store.enqueue([new_run(2)]),
        store.transact(ALICE, Wish(fail, "c", 3), NOW),
        store.transact(ALICE, Wish(book(2), "d", 4), NOW),
        write(store, outcome("e", 5)),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [RunStatus, EffectFailed, list, EffectFailed, RunStatus, dict]
    assert await recorded(store) == ["a", "d", "e"]
    assert (await store.get(run_id(2))).status is RunStatus.PENDING
    await store.act(run_id(2), Action.CANCEL, NOW)
    assert await booked(store) == [1, 2]


async def test_without_its_claim_a_worker_writes_nothing(store: Store) -> None:
    await claimed_run(store)
    await leave(store)
    await claim_one(store, BOB)

    late = Wish(book(1))

    assert await store.transact(ALICE, late, NOW) is None
    assert (await recorded(store), await booked(store)) == ([], [])


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED])
async def test_nothing_is_written_for_a_run_that_has_ended(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    assert await store.transact(ALICE, Wish(book(1)), NOW) is status
    assert (await recorded(store), await booked(store)) == ([], [])


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING])
async def test_what_is_written_is_answered_with_how_the_run_stands(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    answer = await store.transact(ALICE, Wish(book(1)), NOW)

    assert answer is (RunStatus.RUNNING if status is RunStatus.SLEEPING else status)
    assert await recorded(store) == ["book"]


async def test_after_a_lost_answer_nothing_is_written_again(store: Store) -> None:
    await claimed_run(store)
    wish = Wish(book(1))
    await store.transact(ALICE, wish, NOW)

    assert await store.transact(ALICE, wish, NOW) is RunStatus.RUNNING

    assert wish.calls == 1
    assert wish.there == outcome("book", 1)
    assert await booked(store) == [1]


async def test_after_an_answer_that_was_lost_before_anything_was_written_it_is_written(store: Store) -> None:
    await claimed_run(store)
    wish = Wish(book(1))
    wish.number()

    assert await store.transact(ALICE, wish, NOW) is RunStatus.RUNNING

    assert (wish.calls, wish.there) == (1, None)
    assert await booked(store) == [1]


async def test_an_outcome_that_contradicts_what_is_there_ends_the_worker(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("book", 1, value='"other"'))

    with pytest.raises(RuntimeError, match="has another outcome for 'book' already"):
        await store.transact(ALICE, Wish(book(1)), NOW)

    assert await booked(store) == []


async def test_a_written_effect_shows_that_the_run_survives_its_workers(store: Store) -> None:
    await claimed_run(store)
    await store.rescue(ALICE, 0, NOW, 10, 5)
    again = await claim_one(store, BOB)
    assert again.crashes == 1

    await store.transact(BOB, Wish(book(1), claim=again.claim), NOW)

    assert (await store.history(FIRST)).crashes == 0


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


async def test_a_store_in_memory_has_nothing_to_write_to() -> None:
    with pytest.raises(DefinitionError, match="has no database"):
        await MemoryStore().transact(ALICE, Wish(book(1)), NOW)
