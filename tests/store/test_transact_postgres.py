"""What a step may do with the connection that PostgreSQL gives it, and what becomes of it when the server or others are in the way."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from stepwell.core.status import Action, RunStatus
from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import EffectFailed, Store, WriteRefused
from stepwell.store.postgres.connection import TRIES
from tests.postgres.shared import database_url
from tests.store.adapters import ADAPTERS
from tests.store.effects import BROKEN, Wish, book, booked, recorded, with_table
from tests.store.making import ALICE, BOB, FIRST, NOW, claim_one, claimed_run, leave, new_run, outcome, run_id, write


@pytest.fixture(params=[name for name in ADAPTERS if name.startswith("postgres")])
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store with a table of a user's in its database."""
    with with_table(request.param, runner) as store:
        yield store


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    """Somebody else's connection to the database."""
    with psycopg.connect(database_url(), autocommit=True) as connection:
        yield connection


async def abook(connection: psycopg.AsyncConnection[Any], number: int = 1) -> None:
    await connection.execute("INSERT INTO ledger VALUES (%s)", (number,))


class Held:
    """A function that waits in the middle of its transaction until it is let go."""

    def __init__(self) -> None:
        self.has_written = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.pid = 0

    async def __call__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection)
        self.pid = connection.info.backend_pid
        self.has_written.set()
        await self.goes_on.wait()

    async def meanwhile(self, store: Store, wish: Wish) -> asyncio.Task[RunStatus | None]:
        """The transaction, with its function in the middle."""
        task = asyncio.ensure_future(store.transact(ALICE, wish, NOW))
        await self.has_written.wait()
        return task


def held() -> tuple[Held, Wish]:
    function = Held()
    wish = Wish(function)
    wish.is_async = True
    return function, wish


# -- what it is given


async def test_an_async_function_is_awaited_with_an_async_connection(store: Store) -> None:
    await claimed_run(store)
    given = []

    async def keeps(connection: psycopg.AsyncConnection[Any]) -> None:
        given.append(connection)
        await abook(connection)

    assert await store.transact(ALICE, Wish(keeps), NOW) is RunStatus.RUNNING

    assert isinstance(given[0], psycopg.AsyncConnection)
    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_a_def_is_called_in_a_thread_with_a_connection_that_blocks(store: Store) -> None:
    await claimed_run(store)
    given: list[Any] = []

    def keeps(connection: psycopg.Connection[Any]) -> None:
        given.extend((connection, threading.current_thread()))

    await store.transact(ALICE, Wish(keeps), NOW)

    assert isinstance(given[0], psycopg.Connection)
    assert given[1] is not threading.current_thread()


async def test_its_statements_are_planned_as_any_others(store: Store) -> None:
    await claimed_run(store)
    seen: list[Any] = []

    def looks(connection: psycopg.Connection[Any]) -> None:
        names = ("enable_seqscan", "plan_cache_mode", "statement_timeout", "transaction_isolation")
        seen.extend(connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names)

    await store.transact(ALICE, Wish(looks), NOW)

    assert seen == [("on",), ("auto",), ("1h",), ("read committed",)]


async def test_nothing_of_a_function_is_left_on_the_connection_for_the_next_one(store: Store) -> None:
    await claimed_run(store)
    seen: list[Any] = []

    def looks(connection: psycopg.Connection[Any]) -> None:
        (path,) = connection.execute("SELECT current_setting('search_path')").fetchone() or ("",)
        locks = connection.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()").rowcount
        seen.append((connection.info.backend_pid, path, locks))

    def changes(connection: psycopg.Connection[Any]) -> None:
        looks(connection)
        connection.row_factory = psycopg.rows.dict_row
        connection.execute("SET search_path = nowhere")
        connection.execute("SELECT pg_advisory_lock(7)")
        connection.execute("CREATE TEMP TABLE mine (n integer)")
        for number in range(20):
            connection.execute("SELECT %s::integer", (number,))

    await store.transact(ALICE, Wish(changes, "a", 1), NOW)
    await store.transact(ALICE, Wish(changes, "b", 2), NOW)
    await store.transact(ALICE, Wish(looks, "c", 3), NOW)

    assert seen == [seen[0]] * 3


async def test_what_it_sets_for_its_transaction_does_not_disturb_the_steps_own_record(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    other.execute("DROP ROLE IF EXISTS a_tenant")
    other.execute("CREATE ROLE a_tenant")
    other.execute("GRANT INSERT ON ledger TO a_tenant")

    def as_tenant(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SET LOCAL ROLE a_tenant")
        connection.execute("SET LOCAL search_path = public")
        connection.execute("SET LOCAL statement_timeout = 1000")
        book(1)(connection)

    try:
        assert await store.transact(ALICE, Wish(as_tenant), NOW) is RunStatus.RUNNING
    finally:
        other.execute("DROP OWNED BY a_tenant; DROP ROLE a_tenant")
    assert (await recorded(store), await booked(store)) == (["book"], [1])


# -- what it must not do


ENDINGS: dict[str, Callable[[psycopg.Connection[Any]], object]] = {
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "close": lambda connection: connection.close(),
    "with": lambda connection: connection.__exit__(None, None, None),
    "with, after an error": lambda connection: connection.__exit__(ValueError, ValueError(), None),
    "COMMIT": lambda connection: connection.execute("COMMIT"),
    "ROLLBACK": lambda connection: connection.execute("rollback"),
    "COMMIT, and BEGIN": lambda connection: connection.execute("COMMIT; BEGIN"),
    "COMMIT, and more": lambda connection: (connection.execute("COMMIT"), connection.execute("SELECT 1")),
    "COMMIT AND CHAIN": lambda connection: connection.execute("COMMIT AND CHAIN"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_function_that_ends_the_transaction_is_told_that_it_must_not(store: Store, ending: str) -> None:
    await claimed_run(store)
    wish = Wish(lambda connection: ENDINGS[ending](connection))

    with pytest.raises(EffectFailed):
        await store.transact(ALICE, wish, NOW)

    (blamed,) = wish.blamed
    assert isinstance(blamed, DefinitionError)
    assert "the step commits what it writes together with its own record" in str(blamed)
    assert await recorded(store) == []
    assert await store.transact(ALICE, Wish(book(1)), NOW) is RunStatus.RUNNING


@pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
async def test_an_async_function_likewise(store: Store, ending: str) -> None:
    await claimed_run(store)

    async def ends(connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection)
        await getattr(connection, ending)()

    wish = Wish(ends)
    with pytest.raises(EffectFailed):
        await store.transact(ALICE, wish, NOW)

    assert [type(blamed) for blamed in wish.blamed] == [DefinitionError]
    assert (await recorded(store), await booked(store)) == ([], [])


@pytest.mark.parametrize("ending", ["commit", "rollback", "close", "with"])
async def test_a_function_that_takes_no_notice_of_the_refusal_has_ended_nothing(store: Store, ending: str) -> None:
    await claimed_run(store)

    def tries(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        with pytest.raises(psycopg.ProgrammingError, match="takes no"):
            ENDINGS[ending](connection)

    assert await store.transact(ALICE, Wish(tries), NOW) is RunStatus.RUNNING
    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_a_function_that_hides_a_failed_statement_is_told_what_that_does(store: Store) -> None:
    await claimed_run(store)

    def hides(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")

    wish = Wish(hides)
    with pytest.raises(EffectFailed):
        await store.transact(ALICE, wish, NOW)

    assert "takes back all of the transaction" in str(wish.blamed[0])
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_savepoints_of_its_own_it_may_use(store: Store) -> None:
    await claimed_run(store)

    def undoes(connection: psycopg.Connection[Any]) -> None:
        with pytest.raises(errors.DivisionByZero), connection.transaction():
            book(1)(connection)
            connection.execute("SELECT 1 / 0")
        with connection.transaction():
            book(2)(connection)
        connection.execute("SAVEPOINT open")

    assert await store.transact(ALICE, Wish(undoes), NOW) is RunStatus.RUNNING
    assert await booked(store) == [2]


async def test_a_statement_that_is_left_open_writes_nothing(store: Store) -> None:
    await claimed_run(store)

    def leaves(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        connection.pgconn.send_query(b"SELECT 1")

    wish = Wish(leaves)
    with pytest.raises(EffectFailed):
        await store.transact(ALICE, wish, NOW)

    assert "left a statement open" in str(wish.blamed[0])
    assert (await recorded(store), await booked(store)) == ([], [])


# -- what others do meanwhile


async def test_the_run_is_not_locked_while_the_function_goes_on(store: Store) -> None:
    await claimed_run(store)
    function, wish = held()
    task = await function.meanwhile(store, wish)

    await store.act(FIRST, Action.PAUSE, NOW)
    await store.signal(FIRST, run_id(7), "s", "1", NOW)
    function.goes_on.set()

    assert await task is RunStatus.PAUSED
    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_what_is_written_of_a_run_that_is_canceled_meanwhile_is_rolled_back(store: Store) -> None:
    await claimed_run(store)
    function, wish = held()
    task = await function.meanwhile(store, wish)

    await store.act(FIRST, Action.CANCEL, NOW)
    function.goes_on.set()

    assert await task is RunStatus.CANCELED
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_what_is_written_for_a_claim_that_is_lost_meanwhile_is_rolled_back(store: Store) -> None:
    await claimed_run(store)
    function, wish = held()
    task = await function.meanwhile(store, wish)

    await leave(store)
    again = await claim_one(store, BOB)
    function.goes_on.set()

    assert await task is None
    assert await recorded(store) == []
    assert await store.transact(BOB, Wish(book(2), claim=again.claim), NOW) is RunStatus.RUNNING
    assert await booked(store) == [2]


async def test_its_number_is_taken_after_the_function(store: Store) -> None:
    await claimed_run(store)
    function, wish = held()
    task = await function.meanwhile(store, wish)

    assert not wish.numbered
    function.goes_on.set()
    await task
    assert wish.numbered


async def test_effects_wait_for_their_turn_when_all_connections_are_lent(store: Store) -> None:
    await claimed_run(store)
    functions = [held() for _ in range(6)]
    for number, (_, wish) in enumerate(functions):
        wish.key, wish._seq = f"book {number}", number + 1
    tasks = [asyncio.ensure_future(store.transact(ALICE, wish, NOW)) for _, wish in functions]
    await asyncio.gather(*(function.has_written.wait() for function, _ in functions[:4]))

    assert [function.has_written.is_set() for function, _ in functions[4:]] == [False, False]
    for function, _ in functions:
        function.goes_on.set()

    assert set(await asyncio.gather(*tasks)) == {RunStatus.RUNNING}
    assert await booked(store) == [1] * 6


# -- what fails


async def test_where_another_transaction_was_in_the_way_it_is_called_again(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    calls = []

    def conflicts(connection: psycopg.Connection[Any]) -> None:
        calls.append(1)
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM ledger")
        if len(calls) < 3:
            other.execute("UPDATE ledger SET n = n + 1")
        connection.execute("UPDATE ledger SET n = n + 10")

    other.execute("INSERT INTO ledger VALUES (1)")

    assert await store.transact(ALICE, Wish(conflicts), NOW) is RunStatus.RUNNING
    assert (len(calls), await booked(store)) == (3, [13])


async def test_where_others_are_always_in_the_way_it_fails_in_the_end(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    other.execute("INSERT INTO ledger VALUES (1)")

    def conflicts(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM ledger")
        other.execute("UPDATE ledger SET n = n + 1")
        connection.execute("UPDATE ledger SET n = n + 10")

    wish = Wish(conflicts)
    with pytest.raises(EffectFailed) as failed:
        await store.transact(ALICE, wish, NOW)

    assert isinstance(failed.value.__cause__, errors.SerializationFailure)
    assert (wish.calls, await booked(store)) == (TRIES, [1 + TRIES])


async def test_a_constraint_that_fails_at_the_commit_fails_the_attempt(store: Store) -> None:
    await claimed_run(store)

    def makes(connection: psycopg.Connection[Any]) -> None:
        connection.execute("ALTER TABLE ledger ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")

    def twice(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        book(1)(connection)

    await store.transact(ALICE, Wish(makes, "a", 1), NOW)
    wish = Wish(twice, "b", 2)
    with pytest.raises(EffectFailed):
        await store.transact(ALICE, wish, NOW)

    assert [type(blamed) for blamed in wish.blamed] == [errors.UniqueViolation]
    assert not wish.numbered
    assert (await recorded(store), await booked(store)) == (["a"], [])


async def test_an_outcome_that_the_database_cannot_hold_writes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await claimed_run(store)
    wish = Wish(book(1))
    monkeypatch.setattr(wish, "outcome", lambda _: outcome("book", 1, value='"\0"'))

    with pytest.raises(WriteRefused):
        await store.transact(ALICE, wish, NOW)

    assert (await recorded(store), await booked(store)) == ([], [])


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_connection_that_is_lost_is_no_fault_of_the_function(store: Store, other: psycopg.Connection[Any], is_async: bool) -> None:
    await claimed_run(store)

    def loses(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        book(2)(connection)

    async def loses_too(connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection)
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        await abook(connection)

    wish = Wish(loses_too if is_async else loses)
    with pytest.raises(DatabaseUnavailable):
        await store.transact(ALICE, wish, NOW)

    assert (wish.blamed, wish.numbered) == ([None], False)
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_a_connection_that_is_lost_after_the_function_leaves_nothing(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    function, wish = held()
    task = await function.meanwhile(store, wish)

    other.execute("SELECT pg_terminate_backend(%s, 5000)", (function.pid,))
    function.goes_on.set()
    with pytest.raises(DatabaseUnavailable):
        await task

    assert (wish.blamed, wish.numbered) == ([], False)
    assert await store.transact(ALICE, wish, NOW) is RunStatus.RUNNING
    assert (await recorded(store), await booked(store)) == (["book"], [1])


async def test_a_connection_that_had_died_in_the_meantime_is_replaced(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    statement = """
        SELECT pg_terminate_backend(pid, 5000)
        FROM pg_stat_activity
        WHERE pid != pg_backend_pid() AND datname = current_database()
    """
    other.execute(statement)

    assert await store.transact(ALICE, Wish(book(1)), NOW) is RunStatus.RUNNING


_WAITS = """
    SELECT pid
    FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LostAnswer:
    """A trigger of the user's holds up the COMMIT, in the middle of which the client loses the connection."""

    def __init__(self, other: psycopg.Connection[Any]) -> None:
        self._other = other
        other.execute("""
            CREATE OR REPLACE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$
        """)
        other.execute(
            "CREATE CONSTRAINT TRIGGER held_up AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION held_up()"
        )
        other.execute("SELECT pg_advisory_lock(4711)")

    async def waits(self) -> int:
        """The process of the server in which the COMMIT waits."""
        async with asyncio.timeout(50):
            while True:
                row = self._other.execute(_WAITS).fetchone()
                if row is not None:
                    return int(row[0])
                await asyncio.sleep(0.005)

    def go_on(self) -> None:
        self._other.execute("SELECT pg_advisory_unlock(4711)")


async def test_after_a_commit_whose_answer_is_lost_the_next_try_waits_and_finds_it(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    lost = LostAnswer(other)
    faces = []

    def keeps(connection: psycopg.Connection[Any]) -> None:
        faces.append(connection)
        book(1)(connection)

    wish = Wish(keeps)
    task = asyncio.ensure_future(store.transact(ALICE, wish, NOW))
    await lost.waits()
    cut(faces[0])
    with pytest.raises(DatabaseUnavailable):
        await task
    assert wish.numbered

    again = asyncio.ensure_future(store.transact(ALICE, wish, NOW))
    await asyncio.wait([again], timeout=0.1)
    assert not again.done()
    lost.go_on()

    assert await again is RunStatus.RUNNING
    assert (wish.calls, wish.there) == (1, outcome("book", 1))
    assert await booked(store) == [1]


async def test_after_a_commit_that_never_was_the_function_is_called_again(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    lost = LostAnswer(other)
    wish = Wish(book(1))
    task = asyncio.ensure_future(store.transact(ALICE, wish, NOW))
    other.execute("SELECT pg_terminate_backend(%s, 5000)", (await lost.waits(),))
    with pytest.raises(DatabaseUnavailable):
        await task
    assert wish.numbered
    lost.go_on()

    assert await store.transact(ALICE, wish, NOW) is RunStatus.RUNNING

    assert (wish.calls, wish.voided, wish.there) == (2, 1, None)
    assert (await recorded(store), await booked(store)) == (["book"], [1])


def cut(connection: psycopg.Connection[Any]) -> None:
    """The network has swallowed it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


# -- what is not wanted any more


async def test_a_statement_that_is_not_wanted_any_more_is_canceled(store: Store, other: psycopg.Connection[Any]) -> None:
    await claimed_run(store)
    began = threading.Event()

    def waits(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        began.set()
        connection.execute("SELECT pg_sleep(60)")

    wish = Wish(waits)
    task = asyncio.ensure_future(store.transact(ALICE, wish, NOW))
    await asyncio.to_thread(began.wait)
    while not task.done():  # it may not have asked the server yet
        wish.stopped[0]()
        await asyncio.wait([task], timeout=0.05)

    with pytest.raises(EffectFailed) as failed:
        await task
    assert isinstance(failed.value.__cause__, errors.QueryCanceled)
    assert (await recorded(store), await booked(store)) == ([], [])


async def test_a_store_that_is_closed_leaves_a_thread_to_run_out_and_nothing_is_written(store: Store) -> None:
    await claimed_run(store)
    began, goes_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def waits(connection: psycopg.Connection[Any]) -> None:
        book(1)(connection)
        began.set()
        goes_on.wait()
        try:
            book(2)(connection)
        except psycopg.Error as error:
            ended.append(error)
            raise

    task = asyncio.ensure_future(store.transact(ALICE, Wish(waits), NOW))
    await asyncio.to_thread(began.wait)
    await store.close()
    await asyncio.wait([task])
    goes_on.set()
    await asyncio.to_thread(lambda: None)
    await store.open()

    assert (await recorded(store), await booked(store)) == ([], [])
    assert [type(error) for error in ended] == [errors.OperationalError]


async def test_a_closed_store_lends_nothing(store: Store) -> None:
    await store.close()

    with pytest.raises(DatabaseUnavailable, match="is not open"):
        await store.transact(ALICE, Wish(book(1)), NOW)

    await store.open()


async def test_what_a_function_raises_rolls_back(store: Store) -> None:
    await claimed_run(store)

    async def fails(connection: psycopg.AsyncConnection[Any]) -> None:
        await abook(connection)
        raise BROKEN

    wish = Wish(fails)
    with pytest.raises(EffectFailed) as failed:
        await store.transact(ALICE, wish, NOW)

    assert (failed.value.__cause__, wish.blamed) == (BROKEN, [])
    await store.enqueue([new_run(2)])
    await store.act(run_id(2), Action.CANCEL, NOW)
    await write(store, outcome("next", 1))
    assert (await recorded(store), await booked(store)) == (["next"], [])
