"""What is due is made ready; and the look that says what there is to do."""

from datetime import UTC, datetime

from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Look, Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    LANE,
    NOW,
    attempt,
    bring_to,
    claim_one,
    claimed_run,
    claims,
    leave,
    move,
    new_run,
    numbers,
    run_id,
    serves,
    write,
)


async def available_at(store: Store, run: str = FIRST) -> float:
    instant = (await store.get(run)).available_at
    assert instant is not None
    return instant.timestamp()


# -- make_ready


async def test_a_delayed_start_is_made_ready_when_it_is_due(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    assert await store.make_ready(NOW + 9.999, 10) == 0
    assert await store.make_ready(NOW + 10, 10) == 1
    assert await store.make_ready(NOW + 10, 10) == 0
    assert (await store.get(FIRST)).status is RunStatus.PENDING


async def test_a_sleeper_in_nobodys_memory_becomes_pending_when_it_is_due(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, due=NOW + 60))

    await store.make_ready(NOW + 60, 10)

    run = await store.get(FIRST)
    assert (run.status, run.available_at) == (RunStatus.PENDING, datetime.fromtimestamp(NOW + 60, UTC))


async def test_a_sleeper_in_a_workers_memory_is_left_to_it(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    assert await store.make_ready(NOW + 1_000, 10) == 0
    assert (await store.get(FIRST)).status is RunStatus.SLEEPING


async def test_a_paused_sleeper_is_not_made_ready(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, due=NOW + 60))
    await store.act(FIRST, Action.PAUSE, NOW)

    assert await store.make_ready(NOW + 100, 10) == 0


async def test_those_that_are_due_first_are_made_ready_first_and_no_more_than_asked_for(store: Store) -> None:
    dues = {1: 30.0, 2: 10.0, 3: 20.0, 4: 10.0, 5: 99.0}
    await store.enqueue([new_run(number, available_at=NOW + due) for number, due in dues.items()])

    seen = []
    for _ in range(4):
        assert await store.make_ready(NOW + 50, 1) == 1
        seen += numbers(await store.claim(ALICE, serves(LANE), 10, NOW + 50))

    assert seen == [2, 4, 3, 1]
    assert await store.make_ready(NOW + 50, 10) == 0


async def test_a_late_sleeper_could_be_claimed_from_its_due_time_on(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    await store.make_ready(NOW + 500, 10)

    assert await available_at(store) == NOW + 10


async def test_a_run_that_sleeps_shows_when_it_can_be_claimed(store: Store) -> None:
    await claimed_run(store)

    await write(store, move(Action.PARK, due=NOW + 60))

    assert await available_at(store) == NOW + 60


async def test_a_run_that_is_resumed_released_handed_back_or_retried_can_be_claimed_from_now_on(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.RELEASE), now=NOW + 1)
    assert await available_at(store) == NOW + 1

    await store.act(FIRST, Action.PAUSE, NOW + 2)
    await store.act(FIRST, Action.RESUME, NOW + 3)
    assert await available_at(store) == NOW + 3

    await claim_one(store, now=NOW + 4)
    await leave(store, now=NOW + 5)
    assert await available_at(store) == NOW + 5

    await store.act(FIRST, Action.CANCEL, NOW + 6)
    await store.act(FIRST, Action.RETRY, NOW + 7)
    assert await available_at(store) == NOW + 7


async def test_a_body_that_is_tried_again_later_sleeps_until_then(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge"), move(Action.RETRY_LATER, due=NOW + 30))

    assert await store.make_ready(NOW + 29, 10) == 0
    assert await store.make_ready(NOW + 30, 10) == 1
    assert (await claims(store, BOB, 10, NOW + 30))[0].attempt == 2


# -- look


async def test_in_an_empty_store_there_is_nothing_to_do(store: Store) -> None:
    assert await store.look(ALICE, NOW) == Look(ready=False, due=None, notices=False)


async def test_a_run_that_can_be_claimed_is_seen_until_it_is_claimed(store: Store) -> None:
    await store.enqueue([new_run(1)])
    assert await store.look(ALICE, NOW) == Look(ready=True, due=None, notices=False)

    await claim_one(store)

    assert await store.look(BOB, NOW) == Look(ready=False, due=None, notices=False)


async def test_the_next_due_time_is_seen_and_makes_nothing_ready_by_itself(store: Store) -> None:
    await store.enqueue([new_run(1, available_at=NOW + 30), new_run(2, available_at=NOW + 10)])

    assert await store.look(ALICE, NOW) == Look(ready=False, due=NOW + 10, notices=False)
    assert await store.look(ALICE, NOW + 20) == Look(ready=False, due=NOW + 10, notices=False)

    await store.make_ready(NOW + 20, 10)

    assert await store.look(ALICE, NOW + 20) == Look(ready=True, due=NOW + 30, notices=False)


async def test_the_due_time_of_a_sleeper_is_seen_when_no_worker_has_it(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, due=NOW + 60, keep=True))
    assert (await store.look(BOB, NOW)).due is None

    await write(store, move(Action.RELEASE))

    assert (await store.look(BOB, NOW)).due == NOW + 60


async def test_what_is_over_or_paused_is_not_due(store: Store) -> None:
    await store.enqueue([new_run(number, available_at=NOW + 10) for number in (1, 2)])
    await store.act(run_id(1), Action.CANCEL, NOW)
    await store.act(run_id(2), Action.PAUSE, NOW)

    assert await store.look(ALICE, NOW) == Look(ready=False, due=None, notices=False)
