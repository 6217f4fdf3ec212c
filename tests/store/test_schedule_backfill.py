"""Slots of long ago are made up for by hand, unless they have had a run or the schedule comes to them by itself."""

import pytest

from stepwell.core.records import NewSlot, RunFilter, instant
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store
from tests.store.making import FIRST, NOW, new_run, run_id
from tests.store.scheduling import (
    HOUR,
    KEY,
    NIGHTLY,
    SLOT,
    cursor,
    declared,
    fired,
    firing,
    new_schedule,
    records,
    scheduled_run,
)

PAST = SLOT - 10 * HOUR
"""A slot of long ago."""


async def ids(store: Store) -> list[str]:
    """Of all runs."""
    return [run.id for run in (await store.find(RunFilter(), newest=False, limit=1_000, cursor=None)).items]


async def test_slots_are_backfilled_with_a_run_each(store: Store) -> None:
    await declared(store)
    runs = [scheduled_run(number, PAST + number * HOUR, created_at=NOW) for number in range(1, 4)]

    assert await store.backfill(runs, NOW, "eve") == [run.id for run in runs]

    assert await ids(store) == [run.id for run in runs]
    for run in runs:
        assert (await store.get(run.id)).scheduled_at == instant(run.scheduled_at or 0.0)
        assert [(event.action, event.actor, event.at) for event in await store.events(run.id)] == [("backfill", "eve", instant(NOW))]
    assert [(record.outcome, record.at, record.run_id, record.actor) for record in reversed(await records(store))] == [
        ("backfilled", instant(run.scheduled_at or 0.0), run.id, "eve") for run in runs
    ]


async def test_a_backfill_leaves_the_schedule_as_it_stands(store: Store) -> None:
    await declared(store)
    await fired(store)
    before, state = await cursor(store), await store.schedules()

    await store.backfill([scheduled_run(5, PAST)], NOW)

    assert (await cursor(store), await store.schedules()) == (before, state)


async def test_the_same_backfill_again_changes_nothing_and_is_answered_again(store: Store) -> None:
    await declared(store)
    runs = [scheduled_run(number, PAST + number * HOUR) for number in range(1, 4)]
    await store.backfill(runs[:2], NOW)

    assert await store.backfill(runs, NOW) == [run.id for run in runs]
    assert await store.backfill(runs, NOW) == [run.id for run in runs]

    assert await ids(store) == [run.id for run in runs]
    assert len(await records(store)) == 3
    assert len(await store.events(FIRST)) == 1


async def test_a_slot_that_has_had_a_run_is_not_made_again(store: Store) -> None:
    await declared(store)
    await fired(store, 1, SLOT)
    await fired(store, 2, SLOT + HOUR)
    await store.backfill([scheduled_run(3, PAST)], NOW)
    again = [scheduled_run(10 + place, slot) for place, slot in enumerate((PAST, PAST + HOUR, SLOT, SLOT + HOUR))]

    assert await store.backfill(again, SLOT + HOUR) == [again[1].id]


@pytest.mark.parametrize("kept", ["the run", "the record"])
async def test_one_of_run_and_record_is_enough_to_know_that_a_slot_has_had_its_run(store: Store, kept: str) -> None:
    await declared(store)
    await fired(store)
    await store.act(FIRST, Action.CANCEL, SLOT)
    if kept == "the run":
        await store.forget_slots([KEY], 0)
    else:
        await store.delete(FIRST)

    assert await store.backfill([scheduled_run(2)], SLOT + 5.0) == []


async def test_a_slot_that_was_skipped_or_missed_can_be_backfilled(store: Store) -> None:
    await declared(store)
    slots = (
        NewSlot(SLOT, SLOT + 2 * HOUR, 3, "missed", "no worker fired it"),
        NewSlot(SLOT + 3 * HOUR, SLOT + 3 * HOUR, 1, "skipped", "why"),
    )
    await store.fire([firing(await cursor(store), next_at=SLOT + 4 * HOUR, slots=slots)], SLOT + 3 * HOUR)
    runs = [scheduled_run(number, SLOT + number * HOUR) for number in range(4)]

    assert await store.backfill(runs, SLOT + 3 * HOUR) == [run.id for run in runs]


async def test_a_slot_whose_input_failed_has_had_its_run(store: Store) -> None:
    await declared(store)
    run = scheduled_run(input="")
    failed = NewSlot(SLOT, SLOT, 1, "failed", "no such table", run.id)
    await store.fire([firing(await cursor(store), run, failed=((run.id, '{"type":"E","message":""}'),), slots=(failed,))], SLOT)

    assert await store.backfill([scheduled_run(2)], SLOT + 5.0) == []


async def test_a_trigger_at_the_time_of_a_slot_is_not_its_run(store: Store) -> None:
    await declared(store)
    await store.trigger(scheduled_run(1, PAST), PAST)

    assert await store.backfill([scheduled_run(2, PAST)], NOW) == [run_id(2)]
    assert await store.backfill([scheduled_run(3, PAST)], NOW) == []


async def test_a_slot_that_is_named_twice_is_backfilled_once(store: Store) -> None:
    await declared(store)

    assert await store.backfill([scheduled_run(1, PAST), scheduled_run(2, PAST), scheduled_run(3, PAST + HOUR)], NOW) == [FIRST, run_id(3)]


async def test_runs_of_other_schedules_and_workflows_are_of_other_slots(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    await store.enqueue([new_run(8, workflow="ship", schedule=NIGHTLY, scheduled_at=PAST), new_run(9, scheduled_at=PAST)])
    await store.backfill([scheduled_run(1, PAST, schedule="weekly")], NOW)

    assert await store.backfill([scheduled_run(2, PAST)], NOW) == [run_id(2)]


async def test_slots_that_the_schedule_comes_to_by_itself_are_left_to_it(store: Store) -> None:
    await declared(store)
    runs = [scheduled_run(number, SLOT + (number - 2) * HOUR) for number in range(1, 5)]

    assert await store.backfill(runs, SLOT + HOUR) == [FIRST]

    assert await fired(store, 9)
    assert [run.scheduled_at for run in (await store.find(RunFilter(), newest=False, limit=9, cursor=None)).items] == [
        instant(SLOT - HOUR),
        instant(SLOT),
    ]


async def test_a_slot_that_waits_is_left_to_the_schedule(store: Store) -> None:
    await declared(store)
    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)

    assert await store.backfill([scheduled_run()], SLOT + 5.0) == []


async def test_slots_over_which_a_pause_goes_can_be_backfilled_and_those_after_it_not(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    runs = [scheduled_run(number, SLOT + (number - 1) * HOUR) for number in range(1, 4)]

    assert await store.backfill(runs, SLOT + HOUR + 5.0) == [FIRST, run_id(2)]


async def test_a_schedule_without_a_next_slot_can_be_backfilled(store: Store) -> None:
    await declared(store, new_schedule(first_at=None))

    assert await store.backfill([scheduled_run()], SLOT) == [FIRST]


async def test_to_backfill_nothing_does_nothing(store: Store) -> None:
    assert await store.backfill([], NOW) == []


async def test_many_slots_are_backfilled_at_once(store: Store) -> None:
    await declared(store)
    runs = [scheduled_run(number, PAST - number * HOUR) for number in range(1_000)]

    assert await store.backfill(runs, NOW) == [run.id for run in runs]
    assert dict(await store.count(RunFilter())) == {RunStatus.PENDING: 1_000}
