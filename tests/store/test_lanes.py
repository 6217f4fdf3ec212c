"""Lanes: in which order runs are claimed, which lanes a worker serves, unresolved versions, and what is halted as a whole."""

from collections.abc import Callable

import pytest

from stepwell.core.records import UNRESOLVED
from stepwell.core.registry import Lane
from stepwell.core.status import Action
from stepwell.store.port import Halt, Pin, Store
from tests.loops import on_a_loop
from tests.store.adapters import with_workers
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    LANE,
    NOW,
    claim_one,
    claimed_run,
    claims,
    move,
    new_run,
    numbers,
    run_id,
    serves,
    write,
)

SLOW = Lane("slow", "pay", None)
SHIP = Lane("default", "ship", None)
OPEN = Lane("default", "pay", UNRESOLVED)


# -- in which order


async def test_the_most_urgent_run_is_claimed_first_then_the_oldest(store: Store) -> None:
    priorities = {1: 0, 2: 5, 3: -1, 4: 5, 5: 0}
    await store.enqueue([new_run(number, priority=priority) for number, priority in priorities.items()])

    assert numbers(await claims(store)) == [2, 4, 1, 5, 3]


async def test_the_order_holds_from_one_claim_to_the_next(store: Store) -> None:
    await store.enqueue([new_run(number, priority=number % 3) for number in range(1, 10)])

    seen = [numbers(await claims(store, limit=2)) for _ in range(5)]

    assert seen == [[2, 5], [8, 1], [4, 7], [3, 6], [9]]


async def test_priority_compares_across_lanes(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, queue="slow", priority=1), new_run(3, priority=2)])

    assert numbers(await claims(store, ALICE, 10, NOW, LANE, SLOW)) == [3, 2, 1]


async def test_lanes_of_one_priority_are_served_in_turn(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 7)])
    await store.enqueue([new_run(number, workflow="ship") for number in range(7, 9)])

    claimed = await claims(store, ALICE, 10, NOW, LANE, SHIP)

    assert [each.workflow for each in claimed[:4]].count("ship") == 2
    assert [each for each in numbers(claimed) if each < 7] == [1, 2, 3, 4, 5, 6]
    assert [each for each in numbers(claimed) if each >= 7] == [7, 8]


async def test_a_long_queue_of_one_workflow_does_not_keep_another_waiting(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 101)])
    await store.enqueue([new_run(101, workflow="ship")])

    assert 101 in numbers(await claims(store, ALICE, 2, NOW, LANE, SHIP))


async def test_the_turn_goes_on_from_one_claim_to_the_next(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 5)])
    await store.enqueue([new_run(number, workflow="ship") for number in range(5, 9)])

    seen = [(await claims(store, ALICE, 1, NOW, LANE, SHIP))[0].workflow for _ in range(6)]

    assert seen in (["pay", "ship"] * 3, ["ship", "pay"] * 3)


def every(lane: Lane) -> Pin:
    """It is served."""
    return Pin(lane.version, None)


async def many_lanes(store: Store, each: int = 2) -> None:
    """Runs of forty workflows."""
    await store.enqueue([new_run(number, workflow=f"many{number % 40:02}") for number in range(40 * each)])


@pytest.mark.parametrize("limit", [1, 2, 8])
async def test_a_run_that_has_just_come_does_not_wait_until_many_other_lanes_have_had_their_turn(store: Store, limit: int) -> None:
    await many_lanes(store)
    for _ in range(4):
        await store.claim(ALICE, every, limit, NOW)
    await store.enqueue([new_run(1_000)])

    assert 1_000 in [number for _ in range(4 // limit + 1) for number in numbers(await store.claim(ALICE, every, limit, NOW))]


async def test_runs_of_one_lane_that_come_now_and_then_go_ahead_oldest_first_until_none_is_left(store: Store) -> None:
    await many_lanes(store)
    await store.enqueue([new_run(1_000), new_run(1_001)])

    seen = []
    for number in range(1_002, 1_006):
        seen += [each for each in numbers(await store.claim(ALICE, every, 8, NOW)) if each >= 1_000]
        await store.enqueue([new_run(number)])

    assert seen == [1_000, 1_001, 1_002, 1_003]


@pytest.mark.parametrize("limit", [1, 3, 8])
async def test_what_has_just_come_keeps_the_others_from_no_more_than_a_quarter_of_the_claims(store: Store, limit: int) -> None:
    await many_lanes(store, 1)

    ahead = 0
    for claim in range(24 // limit):
        await store.enqueue([new_run(1_000 + claim * 10 + number, workflow=f"new{claim:02}{number}") for number in range(8)])
        ahead += sum(number >= 1_000 for number in numbers(await store.claim(ALICE, every, limit, NOW)))

    assert ahead == 24 // 4


async def test_a_run_that_has_begun_goes_before_those_that_were_started_after_it(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(2), new_run(3)])
    await write(store, move(Action.RELEASE))

    assert numbers(await claims(store, BOB, 2)) == [1, 2]


async def begun_and_fresh(store: Store) -> None:
    """Twenty runs that go on, the even ones, and twenty that wait for their first start."""
    await store.enqueue([new_run(number) for number in range(2, 42, 2)])
    begun = await claims(store, ALICE, 20)
    await write(store, *(move(Action.RELEASE, run=each.id) for each in begun))
    await store.enqueue([new_run(number) for number in range(1, 41, 2)])


async def test_those_that_have_begun_have_three_quarters_of_a_claim(store: Store) -> None:
    await begun_and_fresh(store)

    assert numbers(await claims(store, limit=8)) == [2, 4, 6, 8, 10, 12, 1, 3]
    assert numbers(await claims(store, limit=2)) == [14, 16]


async def test_those_that_have_begun_have_the_whole_claim_when_no_others_wait(store: Store) -> None:
    await begun_and_fresh(store)
    await claims(store, limit=60)
    await write(store, *(move(Action.RELEASE, run=run_id(number), claim=2) for number in range(2, 42, 2)))

    assert numbers(await claims(store, BOB, 20)) == list(range(2, 42, 2))


async def test_those_that_wait_for_their_first_start_have_what_the_others_leave(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(number) for number in range(2, 10)])
    await write(store, move(Action.RELEASE))

    assert numbers(await claims(store, limit=5)) == [1, 2, 3, 4, 5]


async def test_the_urgency_of_runs_that_wait_for_their_first_start_does_not_take_the_share_of_the_others(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(number, priority=9) for number in range(2, 10)])
    await write(store, move(Action.RELEASE))

    assert numbers(await claims(store, limit=4)) == [1, 2, 3, 4]


async def test_one_claim_of_one_run_in_four_is_for_a_first_start(store: Store) -> None:
    await begun_and_fresh(store)

    claimed = [number for _ in range(8) for number in numbers(await claims(store, limit=1))]

    assert [number % 2 for number in claimed].count(1) == 2


# -- which lanes


async def test_a_worker_claims_from_the_lanes_that_it_serves(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, queue="slow"), new_run(3, workflow="ship"), new_run(4, version="v2")])

    assert sorted(numbers(await claims(store, ALICE, 10, NOW, SLOW, Lane("default", "pay", "v2")))) == [2, 4]
    assert sorted(numbers(await claims(store, BOB, 10, NOW, LANE, SHIP))) == [1, 3]


async def test_a_lane_may_be_served_from_one_claim_to_the_next(store: Store) -> None:
    await store.enqueue([new_run(1)])
    assert await store.claim(ALICE, serves(SHIP), 10, NOW) == []

    assert numbers(await store.claim(ALICE, serves(SHIP, LANE), 10, NOW)) == [1]


async def test_names_with_strange_signs_are_lanes_like_others(store: Store) -> None:
    lane = Lane("a'b%_;", 'pay "all" ✓', "*v")
    await store.enqueue([new_run(1, queue=lane.queue, workflow=lane.workflow, version=lane.version)])

    assert set(await store.lanes()) == {lane}
    assert numbers(await claims(store, ALICE, 10, NOW, lane)) == [1]


# -- runs that were started where nothing was known of their workflow


def pins(version: str | None, timeout: float | None = None) -> Callable[[Lane], Pin | None]:
    return lambda lane: Pin(version, timeout) if lane == OPEN else None


@pytest.mark.parametrize("version", [None, "v2"])
async def test_the_first_claim_says_which_version_a_run_is(store: Store, version: str | None) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED)])

    (claimed,) = await store.claim(ALICE, pins(version), 10, NOW)

    assert claimed.version == version
    assert (await store.get(FIRST)).version == version


async def test_a_run_whose_version_was_fixed_waits_in_the_lane_of_that_version(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED)])
    await store.claim(ALICE, pins("v2"), 10, NOW)
    await write(store, move(Action.RELEASE))

    assert Lane("default", "pay", "v2") in await store.lanes()
    assert await store.claim(BOB, pins("v3"), 10, NOW) == []
    (claimed,) = await store.claim(BOB, serves(Lane("default", "pay", "v2")), 10, NOW)
    assert claimed.version == "v2"


async def test_a_worker_that_does_not_serve_unresolved_runs_of_a_workflow_leaves_them(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED)])

    assert await store.claim(ALICE, serves(LANE), 10, NOW) == []


async def test_what_a_worker_says_of_an_unresolved_run_does_not_touch_others(store: Store) -> None:
    await store.enqueue([new_run(1, version="v1"), new_run(2, version=UNRESOLVED)])

    claimed = await store.claim(ALICE, lambda lane: Pin("v9", 60.0), 10, NOW)

    assert {each.id: each.version for each in claimed} == {run_id(1): "v1", run_id(2): "v9"}
    assert (await store.get(run_id(1))).deadline_at is None


async def test_the_first_claim_fixes_the_timeout_counted_from_when_the_run_could_be_claimed(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED, created_at=NOW)])

    await store.claim(ALICE, pins("v2", 300.0), 10, NOW + 50)

    deadline = (await store.get(FIRST)).deadline_at
    assert deadline is not None
    assert deadline.timestamp() == NOW + 300
    assert (await store.look(ALICE, NOW + 50)).due == NOW + 300


async def test_a_timeout_that_was_given_at_the_start_is_kept(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED, created_at=NOW, timeout=10.0)])

    await store.claim(ALICE, pins("v2", 300.0), 10, NOW + 5)

    assert (await store.look(ALICE, NOW + 5)).due == NOW + 10


async def test_a_run_that_is_retried_keeps_the_version_that_was_fixed(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED)])
    await store.claim(ALICE, pins("v2"), 10, NOW)
    await write(store, move(Action.FAIL))

    await store.act(FIRST, Action.RETRY, NOW)

    assert await store.claim(BOB, pins("v3"), 10, NOW) == []
    assert numbers(await claims(store, BOB, 10, NOW, Lane("default", "pay", "v2"))) == [1]


# -- what is paused as a whole


@pytest.mark.parametrize("halt", [Halt("workflow", "pay"), Halt("queue", "default")])
async def test_no_run_of_what_is_halted_is_claimed(store: Store, halt: Halt) -> None:
    await store.enqueue([new_run(1), new_run(2, version="v2")])

    await store.halt(halt, halted=True, now=NOW)

    assert set(await store.halts()) == {halt}
    assert await store.claim(ALICE, lambda lane: Pin(lane.version, None), 10, NOW) == []


async def test_other_workflows_and_queues_go_on(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, workflow="ship"), new_run(3, queue="slow")])
    await store.halt(Halt("workflow", "slow"), halted=True, now=NOW)
    await store.halt(Halt("queue", "pay"), halted=True, now=NOW)
    await store.halt(Halt("queue", "slow"), halted=True, now=NOW)

    assert sorted(numbers(await claims(store, ALICE, 10, NOW, LANE, SHIP, SLOW))) == [1, 2]


async def test_what_is_claimed_already_goes_on(store: Store) -> None:
    await claimed_run(store)

    await store.halt(Halt("workflow", "pay"), halted=True, now=NOW)

    assert await write(store, move(Action.COMPLETE)) == {}


async def test_runs_are_claimed_again_when_the_halt_is_over(store: Store) -> None:
    await store.enqueue([new_run(1)])
    halt = Halt("workflow", "pay")
    for halted in (True, True, False, False):
        await store.halt(halt, halted=halted, now=NOW, actor="eve")

    assert set(await store.halts()) == set()
    assert (await claim_one(store)).id == FIRST


async def test_runs_of_a_halted_workflow_are_made_ready_and_wait(store: Store) -> None:
    await store.enqueue([new_run(1, available_at=NOW + 10)])
    await store.halt(Halt("workflow", "pay"), halted=True, now=NOW)

    assert await store.make_ready(NOW + 10, 10) == 1
    assert await claims(store, now=NOW + 10) == []


# -- what is remembered from one claim to the next


async def test_lanes_that_come_after_a_claim_are_served_by_the_next(store: Store) -> None:
    both = serves(LANE, SHIP)
    await store.enqueue([new_run(1)])
    first = numbers(await store.claim(ALICE, both, 10, NOW))
    await store.enqueue([new_run(2, workflow="ship"), new_run(3)])

    assert (first, sorted(numbers(await store.claim(ALICE, both, 10, NOW)))) == ([1], [2, 3])


async def test_what_is_halted_and_goes_on_between_claims_is_seen_by_each(store: Store) -> None:
    both, pay = serves(LANE, SHIP), Halt("workflow", "pay")
    await store.enqueue([new_run(number, workflow=("pay", "ship")[number % 2]) for number in range(6)])
    seen = [numbers(await store.claim(ALICE, both, 2, NOW))]
    await store.halt(pay, halted=True, now=NOW)
    seen.append(numbers(await store.claim(ALICE, both, 10, NOW)))
    await store.halt(pay, halted=False, now=NOW)
    seen.append(numbers(await store.claim(ALICE, both, 10, NOW)))

    assert [sorted(each) for each in seen] == [[0, 1], [3, 5], [2, 4]]


async def test_workers_serve_each_their_own_lanes_and_others_when_they_say_so(store: Store) -> None:
    await store.enqueue([new_run(number, workflow=("pay", "ship")[number % 2]) for number in range(6)])

    assert numbers(await store.claim(ALICE, serves(LANE), 1, NOW)) == [0]
    assert numbers(await store.claim(BOB, serves(SHIP), 1, NOW)) == [1]
    assert numbers(await store.claim(ALICE, serves(SHIP), 1, NOW)) == [3]
    assert numbers(await store.claim(BOB, serves(LANE), 1, NOW)) == [2]


@on_a_loop
async def test_a_worker_is_asked_once_which_of_the_known_lanes_it_serves() -> None:
    asked: list[Lane] = []

    def serve(lane: Lane) -> Pin | None:
        asked.append(lane)
        return Pin(lane.version, None)

    async with with_workers("sqlite") as store:
        await store.enqueue([new_run(number, queue=f"q{number}") for number in range(5)])
        for _ in range(5):
            await store.claim(ALICE, serve, 1, NOW)
        before = len(asked)
        for _ in range(5):
            await store.claim(ALICE, serve, 1, NOW)

    assert (len(set(asked)), len(asked)) == (5, before)
