"""Claiming: who gets which runs, and with what."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.naming import BODY
from stepwell.core.records import Claimed, Tried
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store, WorkerLost
from tests.store.adapters import ADAPTERS, loop_for, with_workers
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
    line,
    move,
    new_run,
    numbers,
    outcome,
    remembered,
    run_id,
    serves,
    write,
)


async def test_a_claimed_run_comes_with_what_it_was_started_with(store: Store) -> None:
    lane = Lane("slow", "pay", "v2")
    await store.enqueue([new_run(version="v2", input='{"a": [1,2]}', queue="slow", tags=("eu", "big"))])

    (claimed,) = await store.claim(ALICE, serves(lane), 1, NOW)

    assert claimed == Claimed(
        id=FIRST,
        claim=1,
        workflow="pay",
        version="v2",
        input='{"a": [1,2]}',
        attempt=1,
        generation=0,
        created_at=NOW - 9_999,
        started_at=NOW,
        scheduled_at=None,
        tags=("eu", "big"),
        outcomes=(),
        tried={},
        logged=(-1, 0),
        crashes=0,
        complete=True,
    )


async def test_a_claimed_run_is_running_and_its_workers(store: Store) -> None:
    await claimed_run(store)

    run = await store.get(FIRST)
    assert (run.status, run.worker) == (RunStatus.RUNNING, ALICE)
    assert dict(await store.standing(ALICE, NOW)) == {FIRST: (1, RunStatus.RUNNING)}


async def test_a_run_is_claimed_once(store: Store) -> None:
    await claimed_run(store)

    assert await claims(store, BOB, 10, NOW) == []
    assert await claims(store, ALICE, 10, NOW) == []


async def test_no_more_are_claimed_than_asked_for(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])

    assert numbers(await claims(store, ALICE, 3, NOW)) == [1, 2, 3]
    assert numbers(await claims(store, BOB, 3, NOW)) == [4, 5]
    assert await claims(store, ALICE, 3, NOW) == []


async def test_workers_that_claim_at_the_same_time_never_get_the_same_run(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 101)])

    claimed = await asyncio.gather(*(store.claim(worker, serves(LANE), 7, NOW) for worker in [ALICE, BOB] * 10))

    assert sorted(number for each in claimed for number in numbers(each)) == list(range(1, 101))


@pytest.mark.parametrize("limit", [0, -1])
async def test_whoever_has_no_room_claims_nothing(store: Store, limit: int) -> None:
    await store.enqueue([new_run(1), new_run(2)])

    assert await claims(store, ALICE, limit, NOW) == []
    assert (await store.get(run_id(1))).status is RunStatus.PENDING


@pytest.mark.parametrize("lane", [Lane("slow", "pay", None), Lane("default", "ship", None), Lane("default", "pay", "v2")])
async def test_a_run_of_another_lane_is_not_claimed(store: Store, lane: Lane) -> None:
    await store.enqueue([new_run(1)])

    assert await store.claim(ALICE, serves(lane), 10, NOW) == []
    assert await store.claim(ALICE, serves(), 10, NOW) == []


async def test_a_worker_that_is_not_registered_claims_nothing(store: Store) -> None:
    await store.enqueue([new_run(1)])

    with pytest.raises(WorkerLost):
        await store.claim("carol", serves(LANE), 10, NOW)

    assert (await store.get(FIRST)).status is RunStatus.PENDING


async def test_what_is_due_is_claimed_only_when_it_was_made_ready(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    assert await store.claim(ALICE, serves(LANE), 10, NOW + 20) == []
    assert await store.make_ready(NOW + 20, 10) == 1
    assert numbers(await store.claim(ALICE, serves(LANE), 10, NOW + 20)) == [1]


async def test_a_run_is_claimed_from_its_due_time_on(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    assert await claims(store, ALICE, 10, NOW + 9.999) == []
    assert numbers(await claims(store, ALICE, 10, NOW + 10)) == [1]


async def test_a_run_that_sleeps_in_nobodys_memory_is_claimed_when_it_is_due(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, due=NOW + 60))

    assert await claims(store, BOB, 10, NOW + 59.999) == []
    assert (await claim_one(store, BOB, NOW + 60)).claim == 2


async def test_a_run_that_sleeps_in_a_workers_memory_is_nobody_elses(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    assert await claims(store, BOB, 10, NOW + 1_000) == []
    assert await claims(store, ALICE, 10, NOW + 1_000) == []


@pytest.mark.parametrize("status", [status for status in RunStatus if status not in (RunStatus.PENDING, RunStatus.SLEEPING)])
async def test_what_does_not_wait_for_a_worker_is_not_claimed(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    assert await claims(store, BOB, 10, NOW + 1_000) == []


async def test_a_resumed_run_whose_worker_still_has_it_is_not_claimed(store: Store) -> None:
    await bring_to(store, RunStatus.PENDING)

    assert await claims(store, BOB, 10, NOW + 1_000) == []


async def test_the_number_of_the_claim_grows_with_each_claim(store: Store) -> None:
    await claimed_run(store)

    seen: list[int] = []
    for worker in (BOB, ALICE, ALICE):
        await write(store, move(Action.RELEASE, claim=len(seen) + 1), worker=(await store.get(FIRST)).worker or "")
        seen.append((await claim_one(store, worker)).claim)

    assert seen == [2, 3, 4]


async def test_the_first_start_stays(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.RELEASE))

    claimed = await claim_one(store, BOB, NOW + 100)

    assert claimed.started_at == NOW


async def test_the_history_comes_back_in_the_order_in_which_it_was_numbered(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("a", 1), outcome("b", 2))
    await write(store, outcome("c", 5, asked=2))
    await write(store, outcome("d", 7, asked=5), move(Action.RELEASE))

    claimed = await claim_one(store)

    assert remembered(claimed.outcomes) == remembered(
        [outcome("a", 1), outcome("b", 2), outcome("c", 5, asked=2), outcome("d", 7, asked=5)]
    )


async def test_failed_attempts_are_counted_and_the_last_says_when_the_next_is_due(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", 1, due=NOW + 1), attempt("charge", 2, due=NOW + 3), attempt("ship", 1, due=NOW + 2))
    await write(store, move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.tried == {"charge": Tried(2, 2, NOW + 3, evidence=True), "ship": Tried(1, 1, NOW + 2, evidence=True)}


async def test_a_canceled_attempt_is_evidence_and_uses_up_no_budget(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", 1), attempt("charge", 2, canceled=True, error=None, due=None), move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.tried == {"charge": Tried(2, 1, NOW + 10, evidence=True)}


async def test_attempts_of_a_step_that_has_an_outcome_are_of_no_interest(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", 1), outcome("charge", 1, attempt=2), move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.tried == {}


async def test_attempts_of_the_body_come_with_the_claim(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt(BODY, 1), move(Action.RETRY_LATER, due=NOW + 5, attempt=2))

    claimed = await claim_one(store, now=NOW + 5)

    assert claimed.attempt == 2
    assert claimed.tried[BODY].failures == 1


async def test_the_claim_says_what_the_body_has_logged_last(store: Store) -> None:
    await claimed_run(store)
    await write(store, line("a", 1, after=0), line("b", 2, after=0), line("c", 1, after=4), line("in a step", 9, after=-1, scope="s#1.1"))
    await write(store, move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.logged == (4, 1)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
INSTANTS = st.integers(0, 4 * 10**15).map(lambda microseconds: microseconds / 1e6)


@pytest.mark.usefixtures("stores_are_kept")
@pytest.mark.parametrize("adapter", ADAPTERS)
@given(data=st.data())
def test_what_was_written_comes_back_bit_for_bit(adapter: str, data: st.DataObject) -> None:
    ok = data.draw(st.booleans())
    written = outcome(
        data.draw(TEXTS),
        data.draw(st.integers(1, 2**31 - 1)),
        asked=data.draw(st.integers(0, 2**31 - 1)),
        kind=data.draw(st.integers(0, 3)),
        ok=ok,
        value=data.draw(st.none() | TEXTS),
        at=data.draw(INSTANTS),
        mark=data.draw(st.integers(0, 2**32 - 1)),
        attempt=data.draw(st.integers(1, 30_000)),
        started_at=data.draw(INSTANTS),
        python=data.draw(st.sampled_from([311, 312, 313])),
    )
    tried = attempt("tried", data.draw(st.integers(1, 30_000)), due=data.draw(INSTANTS))
    created, started = data.draw(INSTANTS), data.draw(INSTANTS)
    text = data.draw(TEXTS)

    async def scenario() -> None:
        async with with_workers(adapter) as store:
            await store.enqueue([new_run(input=text, created_at=created, tags=(text, "b"))])
            first = await claim_one(store, now=started)
            await write(store, written, tried, move(Action.RELEASE), now=started)

            again = await claim_one(store, now=started)

            assert again == replace(first, claim=2, outcomes=again.outcomes, tried=again.tried)
            assert remembered(again.outcomes) == remembered([written])
            assert (again.input, again.created_at, again.started_at, again.tags) == (text, created, started, (text, "b"))
            assert again.tried["tried"] == Tried(tried.attempt, 1, tried.due or 0, evidence=True)

    with loop_for(adapter) as runner:
        runner.run(scenario())
