"""Releases say which schedules there are: whose word holds, and what it leaves of those that were there."""

from typing import Any

import pytest

from stepwell.core.records import Cursor, instant
from stepwell.store.port import Store, WorkerLost
from tests.store.making import ALICE, BOB, NOW, new_worker
from tests.store.scheduling import (
    HOUR,
    KEY,
    NIGHTLY,
    SLOT,
    cursor,
    declaration,
    declared,
    deeds,
    dies,
    fired,
    firing,
    new_schedule,
    records,
    returns,
    told,
)

LATER = SLOT + 5 * HOUR
NOON = "0 12 * * *"


async def expressions(store: Store) -> dict[str, str]:
    """Of the schedules that are declared."""
    return {state.name: state.expression for state in await store.schedules() if state.declared}


# -- what a declaration makes


async def test_a_new_schedule_begins_with_its_first_slot(store: Store) -> None:
    await declared(store)

    assert await cursor(store) == Cursor("pay", NIGHTLY, "one", SLOT)


async def test_a_schedule_is_shown_as_it_was_declared(store: Store) -> None:
    await declared(
        store,
        new_schedule(
            expression=NOON, timezone="Asia/Seoul", overlap="wait", catch_up="all", jitter=1.5, input='{"a":[1,null]}', version="v2"
        ),
    )

    (state,) = await store.schedules()

    assert (state.workflow, state.name, state.expression, state.timezone) == ("pay", NIGHTLY, NOON, "Asia/Seoul")
    assert (state.overlap, state.catch_up, state.version) == ("wait", "all", "v2")
    assert (state.input, state.input_is_computed) == ({"a": [1, None]}, False)
    assert state.jitter is not None
    assert state.jitter.total_seconds() == 1.5
    assert (state.next_at, state.last_at, state.last_run_id, state.waiting_at) == (instant(SLOT), None, None, None)
    assert (state.paused, state.paused_at, state.paused_by, state.declared) == (False, None, None, True)


async def test_an_input_that_is_computed_is_shown_as_such(store: Store) -> None:
    await declared(store, new_schedule(input=None), new_schedule("null", input="null"))

    assert [(state.name, state.input, state.input_is_computed) for state in await store.schedules()] == [
        (NIGHTLY, None, True),
        ("null", None, False),
    ]


async def test_a_schedule_may_have_no_slot_at_all(store: Store) -> None:
    await declared(store, new_schedule(first_at=None))

    assert (await cursor(store)).next_at is None


async def test_slots_are_kept_to_the_microsecond(store: Store) -> None:
    await declared(store, new_schedule(first_at=SLOT + 0.123457))
    await declared(store, new_schedule(first_at=SLOT + 0.123457), worker=BOB)

    assert (await cursor(store)).next_at == SLOT + 0.123457
    assert await fired(store, slot=SLOT + 0.123457)


async def test_schedules_are_found_by_workflow_and_name(store: Store) -> None:
    said = [declaration(new_schedule(), new_schedule("weekly")), declaration(new_schedule(), workflow="ship")]
    await store.declare(ALICE, said, None, NOW)

    assert [(state.workflow, state.name) for state in await store.schedules()] == [KEY, ("pay", "weekly"), ("ship", NIGHTLY)]
    assert [state.name for state in await store.schedules("pay")] == [NIGHTLY, "weekly"]
    assert [state.workflow for state in await store.schedules("ship", NIGHTLY)] == ["ship"]
    assert await store.schedules("ship", "weekly") == []
    assert await store.schedules("PAY") == []


async def test_cursors_are_found_of_schedules_that_were_declared(store: Store) -> None:
    await declared(store)

    assert await store.cursors([]) == []
    assert [found.name for found in await store.cursors([("pay", "none"), KEY, ("ship", NIGHTLY)])] == [NIGHTLY]


async def test_without_a_workflow_a_release_still_has_a_number(store: Store) -> None:
    first = await store.declare(ALICE, [], None, NOW)

    assert await store.declare(BOB, [], None, NOW) > first


# -- a release after another


async def test_what_is_the_same_goes_on_where_it_stands(store: Store) -> None:
    await declared(store)
    await fired(store)
    before = await cursor(store)

    await declared(store, new_schedule(first_at=LATER), worker=BOB, digest="two")

    assert await cursor(store) == before._replace(digest="two")


@pytest.mark.parametrize(
    "changed", [{"input": "7"}, {"input": None}, {"overlap": "skip"}, {"catch_up": "none"}, {"jitter": 3.0}, {"version": "v2"}], ids=str
)
async def test_what_changes_anything_but_the_slots_goes_on_where_it_stands(store: Store, changed: dict[str, Any]) -> None:
    await declared(store)

    await declared(store, new_schedule(first_at=LATER, **changed), worker=BOB, digest="two", now=SLOT + 1.0)

    assert (await cursor(store)).next_at == SLOT
    assert await records(store) == []


@pytest.mark.parametrize("changed", [{"expression": NOON}, {"timezone": "Asia/Seoul"}], ids=str)
async def test_another_expression_or_zone_begins_with_its_own_first_slot(store: Store, changed: dict[str, Any]) -> None:
    await declared(store)

    await declared(store, new_schedule(first_at=LATER, **changed), worker=BOB, digest="two")

    assert (await cursor(store)).next_at == LATER
    assert await records(store) == []


async def test_a_slot_that_has_fired_does_not_fire_again_when_the_expression_changes(store: Store) -> None:
    await declared(store)
    assert await fired(store)

    await declared(store, new_schedule(expression="*/30 * * * *", first_at=SLOT), worker=BOB, digest="two")

    assert (await cursor(store)).next_at == SLOT - SLOT % 1800 + 1800


async def test_a_slot_that_was_due_when_the_expression_changed_was_missed(store: Store) -> None:
    await declared(store)

    await declared(store, new_schedule(expression=NOON, first_at=LATER), worker=BOB, digest="two", now=SLOT + 30.0)

    (record,) = await records(store)
    assert (record.outcome, record.at, record.until, record.count) == ("missed", instant(SLOT), instant(SLOT + 30.0), None)
    assert record.reason == "the schedule was changed before it fired"
    assert (record.run_id, record.recorded_at) == (None, instant(SLOT + 30.0))


async def test_a_slot_that_was_due_while_the_schedule_was_paused_was_skipped(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)

    await declared(store, new_schedule(expression=NOON, first_at=LATER), worker=BOB, digest="two", now=SLOT + 30.0)

    assert await told(store) == [("skipped", SLOT)]


async def test_a_slot_that_waits_goes_on_waiting_when_the_expression_changes(store: Store) -> None:
    await declared(store)
    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)

    await declared(store, new_schedule(expression=NOON, first_at=LATER), worker=BOB, digest="two")

    assert (await cursor(store)).waiting_at == SLOT


async def test_what_has_fired_is_remembered_whatever_a_release_says(store: Store) -> None:
    await declared(store)
    await fired(store)

    await declared(store, new_schedule(expression=NOON, first_at=LATER), worker=BOB, digest="two")

    (state,) = await store.schedules()
    assert (state.last_at, state.last_run_id) == (instant(SLOT), (await cursor(store)).last_run)


# -- schedules that go and come back


async def test_a_schedule_that_is_not_named_any_more_ends(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))

    await declared(store, new_schedule("weekly"), worker=BOB, digest="two")

    assert await expressions(store) == {"weekly": "0 * * * *"}
    assert await cursor(store) == Cursor("pay", NIGHTLY, "two", None)
    (state,) = await store.schedules("pay", NIGHTLY)
    assert (state.declared, state.next_at) == (False, None)


async def test_a_workflow_may_lose_all_of_its_schedules(store: Store) -> None:
    await declared(store)

    await store.declare(BOB, [declaration(digest="none")], None, NOW)

    assert await expressions(store) == {}


async def test_schedules_of_workflows_that_a_release_does_not_have_stay(store: Store) -> None:
    await declared(store)

    await store.declare(BOB, [declaration(new_schedule(), workflow="ship")], None, NOW)

    assert [state.workflow for state in await store.schedules() if state.declared] == ["pay", "ship"]


async def test_one_that_has_ended_does_not_fire(store: Store) -> None:
    await declared(store)
    seen = await cursor(store)
    await store.declare(BOB, [declaration(digest="none")], None, NOW)

    assert await store.fire([firing(seen)], SLOT) == [False]
    assert (await cursor(store)).next_at is None


async def test_a_slot_that_was_due_or_waited_when_its_schedule_ended_was_missed(store: Store) -> None:
    await declared(store)
    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)

    await store.declare(BOB, [declaration(digest="none")], None, SLOT + HOUR)

    assert sorted(await told(store)) == [("missed", SLOT), ("missed", SLOT + HOUR)]
    assert (await cursor(store)).waiting_at is None


async def test_one_that_comes_back_begins_with_its_first_slot(store: Store) -> None:
    await declared(store)
    await store.declare(BOB, [declaration(digest="none")], None, NOW)

    await declared(store, new_schedule(first_at=LATER), digest="three")

    assert (await cursor(store)).next_at == LATER
    assert await records(store) == []


async def test_one_that_comes_back_is_paused_still(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW, "eve")
    await store.declare(BOB, [declaration(digest="none")], None, NOW)

    await declared(store, new_schedule(first_at=LATER), digest="three")

    (state,) = await store.schedules()
    assert (state.declared, state.paused, state.paused_by, state.next_at) == (True, True, "eve", None)


@pytest.mark.parametrize("changed", [{}, {"expression": NOON}, {"input": "7"}], ids=str)
async def test_a_paused_schedule_stays_paused_whatever_a_release_says(store: Store, changed: dict[str, Any]) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW, "eve")

    await declared(store, new_schedule(**changed), worker=BOB, digest="two")

    assert (await cursor(store)).paused


# -- whose word holds


async def test_the_release_that_was_started_last_wins(store: Store) -> None:
    older = await declared(store)
    newer = await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")

    again = await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert newer > older == again
    assert await expressions(store) == {NIGHTLY: NOON}
    assert (await cursor(store)).digest == "two"


async def test_the_one_that_wins_may_say_it_again(store: Store) -> None:
    await declared(store)
    newer = await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")

    assert await store.declare(BOB, [declaration(new_schedule(expression=NOON), digest="two")], newer, NOW) == newer

    assert await expressions(store) == {NIGHTLY: NOON}


async def test_an_older_release_says_what_the_newer_one_does_not_speak_of(store: Store) -> None:
    older = await declared(store)
    await store.declare(BOB, [declaration(new_schedule(), workflow="ship")], None, NOW)

    await store.declare(ALICE, [declaration(new_schedule(expression=NOON), digest="two")], older, NOW)

    assert {state.workflow: state.expression for state in await store.schedules()} == {"pay": NOON, "ship": "0 * * * *"}


@pytest.mark.parametrize("leaves", [True, False])
async def test_an_older_release_holds_when_no_worker_says_the_newer_any_more(store: Store, leaves: bool) -> None:
    older = await declared(store)
    await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await (store.hand_back(BOB, NOW, 10) if leaves else dies(store, BOB))

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert await expressions(store) == {NIGHTLY: "0 * * * *"}


async def test_a_worker_that_is_dead_says_nothing_also_while_it_has_runs(store: Store) -> None:
    await store.register(new_worker("carol"))
    older = await declared(store)
    await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    assert await store.rescue(BOB, 0, NOW, 0, 5) == 0

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert await expressions(store) == {NIGHTLY: "0 * * * *"}


async def test_as_long_as_one_of_several_workers_of_the_newer_lives_its_word_holds(store: Store) -> None:
    await store.register(new_worker("carol"))
    older = await declared(store)
    for worker in (BOB, "carol"):
        await declared(store, new_schedule(expression=NOON), worker=worker, digest="two")
    await dies(store, "carol")

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)
    assert await expressions(store) == {NIGHTLY: NOON}

    await dies(store, BOB)
    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)
    assert await expressions(store) == {NIGHTLY: "0 * * * *"}


async def test_workers_that_say_the_same_do_not_disturb_each_other(store: Store) -> None:
    await declared(store)
    await fired(store)
    before, count = await cursor(store), await deeds(store)

    await declared(store, new_schedule(first_at=LATER), worker=BOB)

    assert await cursor(store) == before
    assert await deeds(store) == count


async def test_a_newer_release_that_was_taken_for_dead_wins_again_with_its_number(store: Store) -> None:
    older = await declared(store)
    newer = await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await dies(store, BOB)
    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)
    await returns(store, BOB)

    assert await store.declare(BOB, [declaration(new_schedule(expression=NOON), digest="two")], newer, NOW) == newer

    assert await expressions(store) == {NIGHTLY: NOON}


async def test_an_older_release_that_was_taken_for_dead_does_not_win_with_its_number(store: Store) -> None:
    older = await declared(store)
    await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await dies(store, ALICE)
    await returns(store, ALICE)

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert await expressions(store) == {NIGHTLY: NOON}


async def test_a_worker_that_comes_back_says_nothing_until_it_declares(store: Store) -> None:
    older = await declared(store)
    await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await store.hand_back(BOB, NOW, 10)
    await returns(store, BOB)

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert await expressions(store) == {NIGHTLY: "0 * * * *"}


async def test_registering_again_takes_nothing_back_of_what_a_worker_says(store: Store) -> None:
    older = await declared(store)
    await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await returns(store, BOB)

    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)

    assert await expressions(store) == {NIGHTLY: NOON}


async def test_a_release_without_schedules_does_not_end_those_of_a_newer_one(store: Store) -> None:
    older = await store.declare(ALICE, [declaration(digest="none")], None, NOW)
    await declared(store, worker=BOB)

    await store.declare(ALICE, [declaration(digest="none")], older, NOW)

    assert await expressions(store) == {NIGHTLY: "0 * * * *"}


async def test_numbers_are_not_given_again_when_an_older_word_holds(store: Store) -> None:
    older = await declared(store)
    gone = await declared(store, new_schedule(expression=NOON), worker=BOB, digest="two")
    await dies(store, BOB)
    await store.declare(ALICE, [declaration(new_schedule())], older, NOW)
    await store.register(new_worker("carol"))

    assert await declared(store, worker="carol", digest="three") > gone

    await returns(store, BOB)
    await store.declare(BOB, [declaration(new_schedule(expression=NOON), digest="two")], gone, NOW)
    assert (await cursor(store)).digest == "three"


@pytest.mark.parametrize("release", [None, 1])
async def test_a_worker_that_is_not_registered_says_nothing(store: Store, release: int | None) -> None:
    with pytest.raises(WorkerLost):
        await store.declare("mallory", [declaration(new_schedule())], release, NOW)

    assert await store.schedules() == []


async def test_a_worker_that_was_taken_for_dead_says_nothing(store: Store) -> None:
    await store.enqueue([])
    await store.rescue(ALICE, 0, NOW, 0, 5)

    with pytest.raises(WorkerLost):
        await declared(store)
    assert await store.schedules() == []
