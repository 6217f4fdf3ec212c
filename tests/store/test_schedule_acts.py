"""What people do to schedules: pause, resume and trigger; what workers learn of it; and records of slots."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell.core.records import NewSlot, RunFilter, instant
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ScheduleNotFound
from stepwell.store.port import Hint, Store
from tests.store.making import ALICE, BOB, FIRST, NOW, claim_one, run_id
from tests.store.scheduling import (
    HOUR,
    KEY,
    NIGHTLY,
    SLOT,
    cursor,
    declaration,
    declared,
    deeds,
    fired,
    firing,
    new_schedule,
    records,
    scheduled_run,
    told,
)
from tests.store.test_hints import listening


async def resumed(store: Store, next_at: float | None = SLOT + HOUR, skipped: NewSlot | None = None, actor: str | None = None) -> bool:
    """Whether it was, from where it stands."""
    return await store.resume_schedule(await cursor(store), next_at, skipped, NOW + 5.0, actor)


async def withdrawn(store: Store) -> None:
    """It is declared no more."""
    await store.declare(BOB, [declaration(digest="none")], None, NOW)


async def ids(store: Store) -> list[str]:
    """Of all runs."""
    return [run.id for run in (await store.find(RunFilter(), newest=False, limit=1_000, cursor=None)).items]


# -- pause and resume


async def test_a_schedule_is_paused_and_says_since_when_and_by_whom(store: Store) -> None:
    await declared(store)

    assert await store.pause_schedule("pay", NIGHTLY, NOW, "eve")

    (state,) = await store.schedules()
    assert (state.paused, state.paused_at, state.paused_by, state.next_at) == (True, instant(NOW), "eve", None)
    stands = await cursor(store)
    assert (stands.paused, stands.next_at) == (True, SLOT)


async def test_to_pause_twice_changes_nothing(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW, "eve")
    before, count = await store.schedules(), await deeds(store)

    assert await store.pause_schedule("pay", NIGHTLY, NOW + 9.0, "bob")

    assert await store.schedules() == before
    assert await deeds(store) == count


async def test_a_schedule_that_nobody_has_declared_cannot_be_paused(store: Store) -> None:
    await declared(store)

    assert not await store.pause_schedule("pay", "weekly", NOW)
    assert not await store.pause_schedule("ship", NIGHTLY, NOW)

    assert not (await cursor(store)).paused


async def test_a_schedule_that_is_not_declared_any_more_can_be_paused_and_resumed(store: Store) -> None:
    await declared(store)
    await withdrawn(store)

    assert await store.pause_schedule("pay", NIGHTLY, NOW, "eve")
    assert (await cursor(store)).paused
    assert await resumed(store)

    stands = await cursor(store)
    assert (stands.paused, stands.next_at) == (False, None)


async def test_a_slot_that_waits_is_skipped_when_its_schedule_is_paused(store: Store) -> None:
    await declared(store)
    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)

    await store.pause_schedule("pay", NIGHTLY, SLOT + 5.0)

    (record,) = await records(store)
    assert (record.outcome, record.at, record.until, record.count) == ("skipped", instant(SLOT), instant(SLOT), 1)
    assert (record.reason, record.recorded_at) == ("the schedule was paused while this slot waited", instant(SLOT + 5.0))
    assert (await cursor(store)).waiting_at is None


async def test_a_schedule_is_resumed_with_the_slot_that_is_said(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    skipped = NewSlot(SLOT, SLOT + HOUR, 2, "skipped", "the schedule was paused")

    assert await resumed(store, SLOT + 2 * HOUR, skipped)

    (state,) = await store.schedules()
    assert (state.paused, state.paused_at, state.paused_by, state.next_at) == (False, None, None, instant(SLOT + 2 * HOUR))
    (record,) = await records(store)
    assert (record.outcome, record.at, record.until, record.count) == ("skipped", instant(SLOT), instant(SLOT + HOUR), 2)
    assert await fired(store, slot=SLOT + 2 * HOUR)


async def test_to_resume_twice_changes_nothing(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    seen = await cursor(store)
    skipped = NewSlot(SLOT, SLOT, 1, "skipped", "the schedule was paused")
    assert await store.resume_schedule(seen, SLOT, skipped, NOW, None)
    count = await deeds(store)

    assert await store.resume_schedule(seen, SLOT, skipped, NOW, None)

    assert await deeds(store) == count
    assert len(await records(store)) == 1


async def test_to_resume_what_is_not_paused_changes_nothing(store: Store) -> None:
    await declared(store)
    before, count = await cursor(store), await deeds(store)

    assert await resumed(store, SLOT + 9 * HOUR, NewSlot(SLOT, SLOT, 1, "skipped", "the schedule was paused"))

    assert (await cursor(store), await deeds(store), await records(store)) == (before, count, [])


@pytest.mark.parametrize("changed", [{"next_at": SLOT + 1.0}, {"digest": "two"}, {"name": "weekly"}, {"workflow": "ship"}], ids=str)
async def test_a_schedule_that_does_not_stand_as_it_was_seen_is_not_resumed(store: Store, changed: dict[str, Any]) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    seen = (await cursor(store))._replace(**changed)

    assert not await store.resume_schedule(seen, SLOT + HOUR, None, NOW, None)

    assert (await cursor(store)).paused


async def test_a_schedule_that_was_changed_meanwhile_is_not_resumed_as_it_was(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    seen = await cursor(store)
    await declared(store, new_schedule(expression="0 12 * * *"), worker=BOB, digest="two")

    assert not await store.resume_schedule(seen, SLOT + HOUR, None, NOW, None)
    assert await resumed(store)


# -- trigger


async def test_a_schedule_is_triggered_by_hand(store: Store) -> None:
    await declared(store)

    assert await store.trigger(scheduled_run(slot=NOW + 7.0, input='"by hand"'), NOW + 7.0, "eve") == FIRST

    run = await store.get(FIRST)
    assert (run.status, run.input, run.schedule, run.scheduled_at) == (RunStatus.PENDING, "by hand", NIGHTLY, instant(NOW + 7.0))
    assert [(event.action, event.actor, event.at) for event in await store.events(FIRST)] == [("trigger", "eve", instant(NOW + 7.0))]
    (record,) = await records(store)
    assert (record.outcome, record.at, record.until, record.count) == ("triggered", instant(NOW + 7.0), instant(NOW + 7.0), 1)
    assert (record.run_id, record.actor, record.reason) == (FIRST, "eve", None)


async def test_a_trigger_leaves_the_slots_as_they_are(store: Store) -> None:
    await declared(store)

    await store.trigger(scheduled_run(slot=NOW), NOW)

    stands = await cursor(store)
    assert (stands.next_at, stands.last_run, stands.going) == (SLOT, FIRST, True)
    (state,) = await store.schedules()
    assert (state.last_at, state.last_run_id) == (None, FIRST)


async def test_the_same_trigger_again_changes_nothing(store: Store) -> None:
    await declared(store)
    run = scheduled_run(slot=NOW)
    await store.trigger(run, NOW, "eve")
    await fired(store, 2)

    assert await store.trigger(run, NOW, "eve") == FIRST

    assert await ids(store) == [FIRST, run_id(2)]
    assert (len(await store.events(FIRST)), len(await records(store))) == (1, 2)
    assert (await cursor(store)).last_run == run_id(2)


async def test_a_paused_schedule_can_be_triggered(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)

    await store.trigger(scheduled_run(slot=NOW), NOW)

    assert (await claim_one(store)).id == FIRST


@pytest.mark.parametrize("verb", ["trigger", "backfill"])
@pytest.mark.parametrize("known", ["never", "once"])
async def test_a_schedule_that_is_not_declared_starts_nothing(store: Store, verb: str, known: str) -> None:
    if known == "once":
        await declared(store)
        await withdrawn(store)
    run = scheduled_run(slot=SLOT - 10 * HOUR)

    with pytest.raises(ScheduleNotFound) as refusal:
        await (store.trigger(run, NOW) if verb == "trigger" else store.backfill([run], NOW))

    assert (refusal.value.workflow, refusal.value.schedule) == KEY
    assert (await ids(store), await records(store)) == ([], [])


# -- what workers learn of it

DEEDS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "a new schedule": lambda store: declared(store, new_schedule(), new_schedule("weekly"), worker=BOB, digest="two"),
    "another expression": lambda store: declared(store, new_schedule(expression="0 12 * * *"), worker=BOB, digest="two"),
    "another input": lambda store: declared(store, new_schedule(input="7"), worker=BOB, digest="two"),
    "an end": withdrawn,
    "a pause": lambda store: store.pause_schedule("pay", NIGHTLY, NOW),
}


@pytest.mark.parametrize("name", DEEDS)
async def test_workers_see_that_something_was_done_to_a_schedule_and_are_told(store: Store, name: str) -> None:
    await declared(store)
    before = await deeds(store)

    async with listening(store) as listener:
        await DEEDS[name](store)
        await listener.hear(Hint.DUE)

    assert await deeds(store) > before


async def test_workers_see_that_a_schedule_was_resumed_and_are_told(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    before = await deeds(store)

    async with listening(store) as listener:
        await resumed(store)
        await listener.hear(Hint.DUE)

    assert await deeds(store) > before


async def test_each_deed_has_a_number_of_its_own(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    seen = [await deeds(store)]
    for name in (NIGHTLY, "weekly"):
        await store.pause_schedule("pay", name, NOW)
        seen.append(await deeds(store))
        await store.resume_schedule(await cursor(store, name), SLOT, None, NOW, None)
        seen.append(await deeds(store))

    assert seen == sorted(set(seen))


async def test_those_are_found_to_which_something_was_done_after_a_deed(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    first = await deeds(store)
    await store.pause_schedule("pay", "weekly", NOW)
    second = await deeds(store)
    await fired(store)

    assert sorted(await store.changed_schedules(0, 10)) == [KEY, ("pay", "weekly")]
    assert len(await store.changed_schedules(0, 1)) == 1
    assert await store.changed_schedules(first, 10) == [("pay", "weekly")]
    assert await store.changed_schedules(second, 10) == []


async def test_without_schedules_nothing_was_done_to_any(store: Store) -> None:
    assert await deeds(store) == 0


async def test_what_schedules_do_by_themselves_is_no_deed(store: Store) -> None:
    await declared(store)
    before = await deeds(store)

    await fired(store)
    await store.trigger(scheduled_run(2, NOW), NOW)
    await store.backfill([scheduled_run(3, SLOT - 10 * HOUR)], NOW)
    await store.forget_slots([KEY], 0)

    assert await deeds(store) == before


async def test_the_heart_sees_it_too_where_it_looks(store: Store) -> None:
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)

    beat = store.beat(ALICE, 0, 0, NOW)

    assert beat is not None
    assert beat.look is None or beat.look.schedules == await deeds(store)


async def test_who_waits_for_runs_hears_of_a_trigger_and_of_a_backfill(store: Store) -> None:
    await declared(store)

    async with listening(store) as listener:
        await store.trigger(scheduled_run(1, NOW), NOW)
        await listener.hear(Hint.READY)
    async with listening(store) as listener:
        await store.backfill([scheduled_run(2, SLOT - 10 * HOUR)], NOW)
        await listener.hear(Hint.READY)


# -- records of slots


async def test_records_are_read_page_by_page_the_newest_first(store: Store) -> None:
    await declared(store)
    for number in range(7):
        await fired(store, number, SLOT + number * HOUR)

    whole = await records(store)
    first = await store.slots("pay", NIGHTLY, 3)
    second = await store.slots("pay", NIGHTLY, 3, first[-1].number)
    third = await store.slots("pay", NIGHTLY, 3, second[-1].number)

    assert [*first, *second, *third] == whole
    assert [record.at for record in whole] == [instant(SLOT + number * HOUR) for number in reversed(range(7))]
    assert [record.number for record in whole] == sorted({record.number for record in whole}, reverse=True)
    assert await store.slots("pay", NIGHTLY, 3, third[-1].number) == []


async def test_records_of_one_transaction_are_in_the_order_in_which_they_were_given(store: Store) -> None:
    await declared(store)
    slots = tuple(NewSlot(SLOT + number, SLOT + number, 1, "skipped", str(number)) for number in range(50))

    await store.fire([firing(await cursor(store), slots=slots)], SLOT)

    assert [record.reason for record in reversed(await records(store))] == [str(number) for number in range(50)]


async def test_records_are_those_of_one_schedule(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    await fired(store)

    assert await records(store, "weekly") == await records(store, NIGHTLY, "ship") == await records(store, "none") == []
    assert await store.slots("pay", NIGHTLY, 0) == []


async def test_a_record_may_be_of_more_slots_than_were_counted(store: Store) -> None:
    await declared(store)
    slot = NewSlot(SLOT + 0.25, SLOT + 9.75, None, "missed", "no worker fired it in time")

    await store.fire([firing(await cursor(store), slots=(slot,))], SLOT + 10.5)

    (record,) = await records(store)
    assert (record.at, record.until, record.count) == (instant(SLOT + 0.25), instant(SLOT + 9.75), None)
    assert (record.outcome, record.reason, record.recorded_at) == ("missed", "no worker fired it in time", instant(SLOT + 10.5))
    assert (record.run_id, record.actor) == (None, None)


@pytest.mark.parametrize("keep", [0, 1, 3, 5, 9])
async def test_the_oldest_records_are_forgotten(store: Store, keep: int) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    await store.trigger(scheduled_run(100, NOW, schedule="weekly"), NOW)
    for number in range(5):
        await fired(store, number, SLOT + number * HOUR)
    before, others = await records(store), await records(store, "weekly")

    await store.forget_slots([KEY, ("pay", "none")], keep)

    assert await records(store) == before[:keep]
    assert await records(store, "weekly") == others
    await fired(store, 7, SLOT + 5 * HOUR)
    assert (await records(store))[0].number > before[0].number


async def test_of_several_schedules_each_keeps_its_newest_records(store: Store) -> None:
    await declared(store, new_schedule(), new_schedule("weekly"))
    for number in range(4):
        await store.trigger(scheduled_run(number, NOW + number), NOW)
        await store.trigger(scheduled_run(10 + number, NOW + number, schedule="weekly"), NOW)

    await store.forget_slots([KEY, ("pay", "weekly")], 2)

    assert await told(store) == await told(store, "weekly") == [("triggered", NOW + 3.0), ("triggered", NOW + 2.0)]


async def test_to_forget_nothing_does_nothing(store: Store) -> None:
    await declared(store)
    await fired(store)

    await store.forget_slots([], 0)

    assert len(await records(store)) == 1


async def test_records_stay_when_their_runs_are_deleted(store: Store) -> None:
    await declared(store)
    await fired(store)
    await store.act(FIRST, Action.CANCEL, SLOT)

    await store.delete(FIRST)

    assert [record.run_id for record in await records(store)] == [FIRST]
