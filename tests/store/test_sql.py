"""What SQL databases share: verbs that others may come between, which SQLite does not allow and others do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stepwell.core.records import Claimed, RunFilter
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.errors import RunNotFound
from stepwell.store.port import Portion
from stepwell.store.sql import acting, mailing, starting
from stepwell.store.sql.choosing import MARKED
from stepwell.store.sql.claiming import Claims
from stepwell.store.sql.starting import Lanes
from stepwell.store.sql.transaction import at_once
from stepwell.store.sqlite import SqliteStore
from stepwell.store.sqlite.transaction import Transaction, statements_of
from stepwell.store.statements import DEFAULT_NAMESPACE
from tests.loops import on_a_loop
from tests.store.making import ALICE, ALL, BOB, FIRST, LANE, NOW, claims, move, new_run, new_worker, numbers, run_id, serves, write

SECOND = run_id(2)
STATEMENTS = statements_of(DEFAULT_NAMESPACE)
Turn = tuple[str, Callable[[], Awaitable[Any]]]


class Interrupted(Transaction):
    """A transaction in which others have their turns, each just before a statement: whoever comes next sees what they have done."""

    def __init__(self, connection: sqlite3.Connection, *turns: Turn) -> None:
        super().__init__(connection, STATEMENTS)
        self.turns = list(turns)

    async def execute(self, name: str, /, **parameters: Any) -> int:
        await self._let_others(name)
        return await super().execute(name, **parameters)

    async def one(self, name: str, /, **parameters: Any) -> Any:
        await self._let_others(name)
        return await super().one(name, **parameters)

    async def many(self, name: str, /, **parameters: Any) -> Any:
        await self._let_others(name)
        return await super().many(name, **parameters)

    async def _let_others(self, name: str) -> None:
        if self.turns and self.turns[0][0] == name:
            _, other = self.turns.pop(0)
            await other()


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[SqliteStore, sqlite3.Connection]]:
    """A store in memory in which Alice and Bob are registered, and its connection."""
    store = SqliteStore(None)
    await store.open()
    for worker in (ALICE, BOB):
        await store.register(new_worker(worker))
    assert store._shared is not None
    yield store, store._shared
    await store.close()


def before(statement: str, verb: Callable[..., Awaitable[Any]], /, *args: Any, **options: Any) -> Turn:
    return statement, lambda: verb(*args, **options)


# -- what never waits


def test_a_coroutine_that_never_waits_is_driven_to_its_result() -> None:
    async def seven() -> int:
        return 7

    async def fail() -> None:
        raise KeyError("seven")

    assert at_once(seven()) == 7
    with pytest.raises(KeyError, match="seven"):
        at_once(fail())


def test_a_coroutine_that_waits_is_refused_and_ended() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append("ended")

    with pytest.raises(RuntimeError, match=r"wait.* waits for something"):
        at_once(wait())
    assert ended == ["ended"]


# -- starts


@on_a_loop
async def test_a_key_that_somebody_takes_just_before_belongs_to_their_run() -> None:
    async with opened() as (store, connection):
        theirs = new_run(1, key="order-7", tags=("theirs",))
        ours = [new_run(2, key="order-7", input='"ours"', tags=("ours",)), new_run(3), new_run(4, key="order-8")]
        transaction = Interrupted(connection, before("enqueue", store.enqueue, [theirs]))

        assert await starting.enqueue(transaction, Lanes(), ours) == [FIRST, run_id(3), run_id(4)]
        with pytest.raises(RunNotFound):
            await store.get(SECOND)
        assert {run.id for run in (await store.find(ALL, newest=False, limit=9, cursor=None)).items} == {FIRST, run_id(3), run_id(4)}
        assert connection.execute("SELECT run FROM stepwell_inputs WHERE run = ?", (SECOND,)).fetchall() == []
        assert connection.execute("SELECT tag FROM stepwell_tags").fetchall() == [("theirs",)]


@on_a_loop
async def test_a_key_whose_run_is_deleted_just_then_is_free_again() -> None:
    async with opened() as (store, connection):

        async def take() -> None:
            await store.enqueue([new_run(1, key="order-7")])
            await store.act(FIRST, Action.CANCEL, NOW)

        transaction = Interrupted(connection, ("enqueue", take), before("by_key", store.delete, FIRST))

        assert await starting.enqueue(transaction, Lanes(), [new_run(2, key="order-7", input='"ours"')]) == [SECOND]
        assert (await store.get(SECOND)).input == "ours"


@on_a_loop
async def test_a_lane_that_somebody_makes_just_before_is_the_same_lane() -> None:
    async with opened() as (store, connection):
        transaction = Interrupted(connection, before("new_lane", store.enqueue, [new_run(1)]))

        await starting.enqueue(transaction, Lanes(), [new_run(2)])

        assert set(await store.lanes()) == {LANE}
        assert numbers(await claims(store)) == [1, 2]


@on_a_loop
async def test_the_number_of_a_lane_is_remembered_once_it_is_committed() -> None:
    async with opened() as (_, connection):
        lanes = Lanes()
        transaction = Interrupted(connection)
        number = await lanes.id_of(LANE, transaction)
        connection.execute("DELETE FROM stepwell_lanes")  # it was rolled back
        connection.execute("INSERT INTO stepwell_lanes VALUES (9, 'default', 'other', '')")

        again = Interrupted(connection)
        assert (number, await lanes.id_of(LANE, again)) == (1, 10)
        for remember in again.committed:
            remember()
        connection.execute("DELETE FROM stepwell_lanes")
        assert await lanes.id_of(LANE, Interrupted(connection)) == 10


# -- claims


@on_a_loop
async def test_a_run_that_another_worker_gets_first_is_not_claimed() -> None:
    async with opened() as (store, connection):
        await store.enqueue([new_run(1), new_run(2)])

        async def bob_gets_the_first() -> None:
            connection.execute("UPDATE stepwell_runs SET worker = 'bob' WHERE id = ?", (FIRST,))

        transaction = Interrupted(connection, ("claimed", bob_gets_the_first))

        assert numbers(await Claims(Lanes()).claim(transaction, ALICE, serves(LANE), 10, NOW, True)) == [2]


@on_a_loop
async def test_a_lane_in_which_others_have_been_faster_leaves_its_part_to_those_that_had_none() -> None:
    async with opened() as (store, connection):
        lanes = [Lane(f"q{number}", "pay", None) for number in range(1, 5)]
        await store.enqueue([new_run(number, queue=f"q{number}") for number in range(1, 5)])

        async def others_claim() -> None:
            await store.claim(BOB, serves(*lanes[:2]), 10, NOW)

        transaction = Interrupted(connection, ("ready", others_claim))

        assert numbers(await Claims(Lanes()).claim(transaction, ALICE, serves(*lanes), 2, NOW, False)) == [3, 4]


async def claimed_with_marks(claims: Claims, connection: sqlite3.Connection, limit: int, now: float = NOW) -> list[int]:
    """What Alice claims, in a transaction that is committed."""
    transaction = Interrupted(connection)
    found: list[Claimed] = await claims.claim(transaction, ALICE, serves(LANE), limit, now, True)
    for remember in transaction.committed:
        remember()
    return numbers(found)


@on_a_loop
async def test_a_claim_begins_where_the_last_one_has_ended_for_half_a_second() -> None:
    async with opened() as (store, connection):
        claims = Claims(Lanes(), marks=True)
        await store.enqueue([new_run(number) for number in range(11, 31)])
        seen = [await claimed_with_marks(claims, connection, 4)]
        await store.enqueue([new_run(1)])
        seen.append(await claimed_with_marks(claims, connection, 4))
        seen.append(await claimed_with_marks(claims, connection, 4, NOW + MARKED))

        assert seen == [[11, 12, 13, 14], [15, 16, 17, 18], [1, 19, 20, 21]]


@on_a_loop
async def test_a_claim_that_gets_less_than_it_wants_looks_again_from_the_start() -> None:
    async with opened() as (store, connection):
        claims = Claims(Lanes(), marks=True)
        await store.enqueue([new_run(number) for number in range(11, 18)])
        seen = [await claimed_with_marks(claims, connection, 4)]
        await store.enqueue([new_run(1)])
        seen += [await claimed_with_marks(claims, connection, 10), await claimed_with_marks(claims, connection, 10)]
        await store.enqueue([new_run(2), new_run(18)])
        seen.append(await claimed_with_marks(claims, connection, 1))

        assert seen == [[11, 12, 13, 14], [1, 15, 16, 17], [], [2]]


@on_a_loop
async def test_what_is_more_urgent_is_claimed_first_wherever_the_last_claim_has_ended() -> None:
    async with opened() as (store, connection):
        claims = Claims(Lanes(), marks=True)
        await store.enqueue([new_run(number) for number in range(11, 31)])
        seen = [await claimed_with_marks(claims, connection, 4)]
        await store.enqueue([new_run(1, priority=1)])
        seen.append(await claimed_with_marks(claims, connection, 4))

        assert seen == [[11, 12, 13, 14], [1, 15, 16, 17]]


@on_a_loop
async def test_a_claim_that_was_rolled_back_leaves_no_mark() -> None:
    async with opened() as (store, connection):
        claims = Claims(Lanes(), marks=True)
        await store.enqueue([new_run(number) for number in range(1, 9)])
        connection.execute("BEGIN")
        rolled_back = await claims.claim(Interrupted(connection), ALICE, serves(LANE), 4, NOW, True)
        connection.execute("ROLLBACK")

        assert numbers(rolled_back) == await claimed_with_marks(claims, connection, 4) == [1, 2, 3, 4]


# -- what is done to many


@on_a_loop
async def test_a_run_that_is_retried_just_before_it_would_be_deleted_stays() -> None:
    async with opened() as (store, connection):
        await store.enqueue([new_run(1, tags=("vip",)), new_run(2)])
        for run in (FIRST, SECOND):
            await store.act(run, Action.CANCEL, NOW)
        transaction = Interrupted(connection, before("tags_of", store.act, FIRST, Action.RETRY, NOW))

        await acting.delete_all(transaction, ALL, 10)

        (left,) = (await store.find(RunFilter(tags=("vip",)), newest=False, limit=9, cursor=None)).items
        assert (left.id, left.status, left.input) == (FIRST, RunStatus.PENDING, None)


@on_a_loop
async def test_runs_that_end_or_go_just_before_do_not_keep_the_others_from_what_is_done_to_all() -> None:
    async with opened() as (store, connection):
        await store.enqueue([new_run(number) for number in range(1, 4)])

        async def end() -> None:
            await store.act(FIRST, Action.CANCEL, NOW)
            await store.act(SECOND, Action.CANCEL, NOW)
            await store.delete(SECOND)

        await acting.act_on_all(Interrupted(connection, ("state", end)), ALL, Action.PAUSE, NOW, None, 10)

        assert {run.id: run.status for run in (await store.find(ALL, newest=False, limit=9, cursor=None)).items} == {
            FIRST: RunStatus.CANCELED,
            run_id(3): RunStatus.PAUSED,
        }


@on_a_loop
async def test_a_signal_to_all_reaches_those_that_have_not_ended_meanwhile() -> None:
    async with opened() as (store, connection):
        await store.enqueue([new_run(1), new_run(2)])
        transaction = Interrupted(connection, before("mailbox", store.act, FIRST, Action.CANCEL, NOW))

        assert await mailing.signal_all(transaction, ALL, "all", "go", "1", NOW, None, 10) == Portion(1, None)


# -- who waits for whom


@on_a_loop
async def test_parents_are_told_in_the_order_of_their_ids() -> None:
    async with opened() as (store, connection):
        await store.enqueue([new_run(1), new_run(2)])
        await store.enqueue([new_run(3, parent_id=SECOND, awaited_as="a"), new_run(4, parent_id=FIRST, awaited_as="b")])
        await store.claim(ALICE, serves(LANE), 10, NOW)
        asked: list[str] = []
        connection.set_trace_callback(asked.append)

        await write(store, *(move(Action.COMPLETE, run=run_id(number)) for number in (3, 4)))

        connection.set_trace_callback(None)
        told = [statement.split("'")[1] for statement in asked if statement.startswith("INSERT INTO stepwell_signals")]
        assert told == [FIRST, SECOND]
