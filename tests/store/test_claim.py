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
from stepwell.store.port import Store
from tests.store.adapters import ADAPTERS
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
    line,
    move,
    new_run,
    outcome,
    run_id,
    write,
)


def numbers(claimed: list[Claimed]) -> list[int]:
    return [int(each.id[-12:], 16) for each in claimed]


async def test_a_claimed_run_comes_with_what_it_was_started_with(store: Store) -> None:
    lane = Lane("slow", "pay", "v2")
    await store.enqueue([new_run(version="v2", input='{"a": [1,2]}', queue="slow", tags=("eu", "big"))])

    (claimed,) = await store.claim(ALICE, [lane], 1, NOW)

    assert claimed == Claimed(
        id=FIRST,
        claim=1,
        workflow="pay",
        version="v2",
        input='{"a": [1,2]}',
        attempt=1,
        generation=0,
        created_at=NOW - 999,
        started_at=NOW,
        scheduled_at=None,
        tags=("eu", "big"),
        outcomes=(),
        tried={},
        logged=(-1, 0),
    )


async def test_a_claimed_run_is_running_and_its_workers(store: Store) -> None:
    await claimed_run(store)

    run = await store.get(FIRST)
    assert (run.status, run.worker) == (RunStatus.RUNNING, ALICE)
    assert dict(await store.standing(ALICE, NOW)) == {FIRST: (1, RunStatus.RUNNING)}


async def test_a_run_is_claimed_once(store: Store) -> None:
    await claimed_run(store)

    assert await store.claim(BOB, [LANE], 10, NOW) == []
    assert await store.claim(ALICE, [LANE], 10, NOW) == []


async def test_the_most_urgent_run_is_claimed_first_then_the_oldest(store: Store) -> None:
    priorities = {1: 0, 2: 5, 3: -1, 4: 5, 5: 0}
    await store.enqueue([new_run(number, priority=priority) for number, priority in priorities.items()])

    assert numbers(await store.claim(ALICE, [LANE], 10, NOW)) == [2, 4, 1, 5, 3]


async def test_the_order_holds_from_one_claim_to_the_next(store: Store) -> None:
    await store.enqueue([new_run(number, priority=number % 3) for number in range(1, 10)])

    claims = [numbers(await store.claim(ALICE, [LANE], 2, NOW)) for _ in range(5)]

    assert claims == [[2, 5], [8, 1], [4, 7], [3, 6], [9]]


async def test_priority_compares_across_lanes(store: Store) -> None:
    slow = Lane("slow", "pay", None)
    await store.enqueue([new_run(1), new_run(2, queue="slow", priority=1), new_run(3, priority=2)])

    assert numbers(await store.claim(ALICE, [LANE, slow], 10, NOW)) == [3, 2, 1]


async def test_a_run_that_has_begun_goes_before_those_that_were_started_after_it(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(2), new_run(3)])
    await write(store, move(Action.RELEASE))

    assert numbers(await store.claim(BOB, [LANE], 2, NOW)) == [1, 2]


async def test_no_more_are_claimed_than_asked_for(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])

    assert numbers(await store.claim(ALICE, [LANE], 3, NOW)) == [1, 2, 3]
    assert numbers(await store.claim(BOB, [LANE], 3, NOW)) == [4, 5]
    assert await store.claim(ALICE, [LANE], 3, NOW) == []


@pytest.mark.parametrize("limit", [0, -1])
async def test_whoever_has_no_room_claims_nothing(store: Store, limit: int) -> None:
    await store.enqueue([new_run(1), new_run(2)])

    assert await store.claim(ALICE, [LANE], limit, NOW) == []
    assert (await store.get(run_id(1))).status is RunStatus.PENDING


@pytest.mark.parametrize("lane", [Lane("slow", "pay", None), Lane("default", "ship", None), Lane("default", "pay", "v2")])
async def test_a_run_of_another_lane_is_not_claimed(store: Store, lane: Lane) -> None:
    await store.enqueue([new_run(1)])

    assert await store.claim(ALICE, [lane], 10, NOW) == []
    assert await store.claim(ALICE, [], 10, NOW) == []


async def test_a_run_is_claimed_from_its_due_time_on(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    assert await store.claim(ALICE, [LANE], 10, NOW + 9.999) == []
    assert numbers(await store.claim(ALICE, [LANE], 10, NOW + 10)) == [1]


async def test_a_run_that_sleeps_in_nobodys_memory_is_claimed_when_it_is_due(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, due=NOW + 60))

    assert await store.claim(BOB, [LANE], 10, NOW + 59.999) == []
    assert (await claim_one(store, BOB, NOW + 60)).claim == 2


async def test_a_run_that_sleeps_in_a_workers_memory_is_nobody_elses(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    assert await store.claim(BOB, [LANE], 10, NOW + 1_000) == []
    assert await store.claim(ALICE, [LANE], 10, NOW + 1_000) == []


@pytest.mark.parametrize("status", [status for status in RunStatus if status not in (RunStatus.PENDING, RunStatus.SLEEPING)])
async def test_what_does_not_wait_for_a_worker_is_not_claimed(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    assert await store.claim(BOB, [LANE], 10, NOW + 1_000) == []


async def test_a_resumed_run_whose_worker_still_has_it_is_not_claimed(store: Store) -> None:
    await bring_to(store, RunStatus.PENDING)

    assert await store.claim(BOB, [LANE], 10, NOW + 1_000) == []


async def test_the_number_of_the_claim_grows_with_each_claim(store: Store) -> None:
    await claimed_run(store)

    claims: list[int] = []
    for worker in (BOB, ALICE, ALICE):
        await write(store, move(Action.RELEASE, claim=len(claims) + 1), worker=(await store.get(FIRST)).worker or "")
        claims.append((await claim_one(store, worker)).claim)

    assert claims == [2, 3, 4]


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

    assert claimed.outcomes == (outcome("a", 1), outcome("b", 2), outcome("c", 5, asked=2), outcome("d", 7, asked=5))


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
INSTANTS = st.floats(min_value=0, max_value=1e11)


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
    created, started = data.draw(INSTANTS), NOW + data.draw(st.floats(0, 1e6))
    text = data.draw(TEXTS)

    async def scenario() -> None:
        async with ADAPTERS[adapter]() as store:
            await store.enqueue([new_run(input=text, created_at=created, tags=(text, "b"))])
            first = await claim_one(store, now=started)
            await write(store, written, tried, move(Action.RELEASE))

            again = await claim_one(store, now=started)

            assert again == replace(first, claim=2, outcomes=(written,), tried=again.tried)
            assert (again.input, again.created_at, again.started_at, again.tags) == (text, created, started, (text, "b"))
            assert again.tried["tried"] == Tried(tried.attempt, 1, tried.due or 0, evidence=True)

    asyncio.run(scenario())
