"""What a step writes to the database itself: with its outcome, or not at all; and nobody else's writes are the worse for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.errors import DefinitionError
from stepwell.store.memory import MemoryStore
from stepwell.store.port import EffectFailed, Store
from tests.store.adapters import ADAPTERS
from tests.store.effects import BROKEN, Wish, book, booked, fail, recorded, with_table
from tests.store.making import ALICE, BOB, FIRST, NOW, bring_to, claim_one, claimed_run, leave, new_run, outcome, run_id, write


@pytest.fixture(params=[name for name in ADAPTERS if name != "memory"])
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store with a database, and a table of a user's in it."""
    with with_table(request.param, runner) as store:
        yield store


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

    def returns(connection: Any) -> object:
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


async def test_a_store_in_memory_has_nothing_to_write_to() -> None:
    with pytest.raises(DefinitionError, match="has no database"):
        await MemoryStore().transact(ALICE, Wish(book(1)), NOW)
