"""Effects as the engine has them, and what they write into a table of a user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from stepwell.core.records import Outcome
from stepwell.core.status import Action
from stepwell.store.port import EffectFailed, Store
from tests.store.adapters import with_workers
from tests.store.making import ALICE, BOB, FIRST, LANE, NOW, claim_one, move, new_run, outcome, run_id, serves, write

T = TypeVar("T")

BROKEN = ValueError("no")


@contextmanager
def with_table(adapter: str, runner: asyncio.Runner) -> Iterator[Store]:
    """A store of this adapter, and a table of a user's in its database."""
    opened = with_workers(adapter)
    store = runner.run(opened.__aenter__())
    runner.run(_prepare(store))
    yield store
    runner.run(opened.__aexit__(None, None, None))


async def _prepare(store: Store) -> None:
    def make(connection: Any) -> None:
        connection.execute("DROP TABLE IF EXISTS ledger")
        connection.execute("CREATE TABLE ledger (n integer)")

    await store.enqueue([new_run(9)])
    await claim_one(store)
    await store.transact(ALICE, Wish(make, run=run_id(9)), NOW)
    await write(store, move(Action.COMPLETE, run=run_id(9)))


class Wish:
    """An effect, as the engine has them."""

    def __init__(self, function: Callable[[Any], Any], key: str = "book", seq: int = 1, run: str = FIRST, claim: int = 1) -> None:
        self.run, self.claim, self.key = run, claim, key
        self.is_async = asyncio.iscoroutinefunction(function)
        self.calls = 0
        self.numbered = False
        self.voided = 0
        self.stopped: list[Callable[[], None]] = []
        self.there: Outcome | None = None
        self.blamed: list[Exception | None] = []
        self._seq = seq
        self._function = function

    def number(self) -> None:
        self.numbered = True

    def void(self) -> None:
        self.voided += self.numbered
        self.numbered = False

    def call(self, connection: Any) -> Any:
        self.calls += 1
        try:
            return self._function(connection)
        except BaseException as error:
            raise EffectFailed from error

    async def awaited(self, connection: Any) -> Any:
        self.calls += 1
        try:
            return await self._function(connection)
        except BaseException as error:
            raise EffectFailed from error

    async def in_thread(self, function: Callable[[], T], stop: Callable[[], None]) -> T:
        self.stopped.append(stop)
        return await asyncio.to_thread(function)

    def outcome(self, value: Any) -> Outcome:
        if value is BROKEN:
            raise EffectFailed
        return outcome(self.key, self._seq, run=self.run, claim=self.claim)

    def found(self, outcome: Outcome) -> None:
        self.there = outcome

    def blame(self, error: Exception | None) -> None:
        self.blamed.append(error)


def book(number: int) -> Callable[[Any], None]:
    def booked(connection: Any) -> None:
        connection.execute(f"INSERT INTO ledger VALUES ({number})")

    return booked


def fail(connection: Any) -> None:
    book(13)(connection)
    raise BROKEN


async def booked(store: Store) -> list[int]:
    """What is in the table."""
    found: list[int] = []

    def look(connection: Any) -> None:
        found.extend(number for (number,) in connection.execute("SELECT n FROM ledger ORDER BY n"))
        raise BROKEN  # nothing is to be written for it

    await store.enqueue([new_run(8)])
    (claimed,) = await store.claim(BOB, serves(LANE), 1, NOW)
    with pytest.raises(EffectFailed):
        await store.transact(BOB, Wish(look, run=claimed.id), NOW)
    return found


async def recorded(store: Store) -> list[str]:
    return [each.key for each in await store.outcomes(FIRST, 0, 100)]
