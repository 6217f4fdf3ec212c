"""How many statements the verbs of schedules execute: as many for thousands of schedules as for two."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from stepwell.store.sql import scheduling
from stepwell.store.sql.starting import Lanes
from stepwell.store.sqlite import SqliteStore
from stepwell.store.sqlite.transaction import Transaction
from tests.loops import on_a_loop
from tests.store.making import ALICE, NOW
from tests.store.scheduling import HOUR, SLOT, declaration, firing, new_schedule, scheduled_run
from tests.store.test_sql import STATEMENTS, opened

Deed = Callable[[Transaction, int], Awaitable[object]]


class Counting(Transaction):
    """Counts the statements that are executed, by their names."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection, STATEMENTS)
        self.executed: Counter[str] = Counter()

    async def execute(self, name: str, /, **parameters: Any) -> int:
        self.executed[name] += 1
        return await super().execute(name, **parameters)

    async def one(self, name: str, /, **parameters: Any) -> Any:
        self.executed[name] += 1
        return await super().one(name, **parameters)

    async def many(self, name: str, /, **parameters: Any) -> Any:
        self.executed[name] += 1
        return await super().many(name, **parameters)


@asynccontextmanager
async def with_schedules(count: int, *, workflows: int = 1) -> AsyncIterator[tuple[SqliteStore, Counting]]:
    """So many, of so many workflows, and a transaction."""
    async with opened() as (store, connection):
        per_workflow = [[new_schedule(f"s{n}") for n in range(count) if n % workflows == number] for number in range(workflows)]
        said = [declaration(*schedules, workflow=f"w{number}") for number, schedules in enumerate(per_workflow)]
        await store.declare(ALICE, said, None, NOW)
        yield store, Counting(connection)


async def fire(transaction: Transaction, lanes: Lanes, count: int, *, workflows: int = 1, slot: float = SLOT) -> list[bool]:
    """All of them, every third with an input that has failed."""
    seen = await scheduling.cursors(transaction, [(f"w{n % workflows}", f"s{n}") for n in range(count)])
    number = round(slot - SLOT) * 10
    firings = []
    for place, each in enumerate(seen):
        run = scheduled_run(number + place, slot, workflow=each.workflow, schedule=each.name, tags=("cron",))
        failed = ((run.id, '{"type":"E","message":""}'),) if place % 3 == 0 else ()
        firings.append(firing(each, run, next_at=slot + HOUR, failed=failed))
    return await scheduling.fire(transaction, lanes, firings, slot)


async def executed(count: int, deed: Deed) -> Counter[str]:
    """By a verb over so many schedules."""
    async with with_schedules(count) as (_, transaction):
        await deed(transaction, count)
        return transaction.executed


@on_a_loop
async def test_five_hundred_schedules_fire_with_as_many_statements_as_two() -> None:
    async def all_of_them(transaction: Transaction, count: int) -> None:
        assert all(await fire(transaction, Lanes(), count))

    few, many = await executed(2, all_of_them), await executed(500, all_of_them)

    assert many == few
    assert sum(many.values()) == 10


@on_a_loop
async def test_schedules_of_many_workflows_fire_with_a_few_statements_where_their_lanes_are_there() -> None:
    async with with_schedules(200, workflows=100) as (_, transaction):
        await fire(transaction, Lanes(), 200, workflows=100)
        transaction.executed.clear()

        assert all(await fire(transaction, Lanes(), 200, workflows=100, slot=SLOT + HOUR))

        assert transaction.executed["lanes"] == 1
        assert sum(transaction.executed.values()) == 9


@on_a_loop
async def test_thousands_are_declared_seen_and_filled_in_with_as_many_statements_as_two() -> None:
    async def declare(transaction: Transaction, count: int) -> None:
        said = [declaration(*(new_schedule(f"s{n}", expression="0 12 * * *") for n in range(count)), workflow="w0", digest="two")]
        await scheduling.declare(transaction, ALICE, said, None, SLOT + 1.0)

    async def backfill(transaction: Transaction, count: int) -> None:
        runs = [scheduled_run(n, SLOT - n * HOUR, workflow="w0", schedule="s0") for n in range(1, count)]
        assert len(await scheduling.backfill(transaction, Lanes(), runs, NOW, "eve")) == count - 1

    async def forget(transaction: Transaction, count: int) -> None:
        await scheduling.forget_slots(transaction, [("w0", f"s{n}") for n in range(count)], 1)

    for deed in (declare, backfill, forget):
        assert await executed(2, deed) == await executed(3_000, deed)
