"""A schedule fires: its cursor moves and its runs are made, in one transaction, for whoever comes first."""

from typing import Any

import pytest

from stepwell.core.failure import error_text
from stepwell.core.records import TO_COMPUTE, NewSlot, RunFilter, instant
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Hint, Store, WriteRefused
from tests.store.making import ALICE, BOB, FIRST, NOW, bring_to, claim_one, claims, move, new_run, run_id, start_child, write
from tests.store.scheduling import (
    HOUR,
    NIGHTLY,
    SLOT,
    cursor,
    declaration,
    declared,
    fired,
    firing,
    new_schedule,
    records,
    scheduled_run,
    started,
    told,
)
from tests.store.test_hints import listening

INPUT_FAILED = error_text(ErrorInfo("ValueError", "no such table"))
LIVE = [status for status in RunStatus if not status.ended]
ENDED = [status for status in RunStatus if status.ended]


async def due(store: Store, *names: str) -> None:
    """Schedules of `pay`."""
    await declared(store, *(new_schedule(name) for name in names or (NIGHTLY,)))


async def ids(store: Store) -> list[str]:
    """Of all runs."""
    return [run.id for run in (await store.find(RunFilter(), newest=False, limit=1_000, cursor=None)).items]


# -- the run of a slot


async def test_a_slot_makes_a_run_and_moves_the_cursor(store: Store) -> None:
    await due(store)

    assert await fired(store)

    assert await ids(store) == [FIRST]
    stands = await cursor(store)
    assert (stands.next_at, stands.waiting_at, stands.last_run, stands.going) == (SLOT + HOUR, None, FIRST, True)
    (state,) = await store.schedules()
    assert (state.next_at, state.last_at, state.last_run_id) == (instant(SLOT + HOUR), instant(SLOT), FIRST)


async def test_the_run_says_which_slot_of_which_schedule_has_made_it(store: Store) -> None:
    await due(store)

    await fired(store, input='{"day":1}', tags=("eu", "night"), queue="reports", priority=5, version="v2", timeout=60.0)

    run = await store.get(FIRST)
    assert (run.schedule, run.scheduled_at, run.created_at) == (NIGHTLY, instant(SLOT), instant(SLOT))
    assert (run.status, run.input, run.tags, run.queue, run.priority) == (RunStatus.PENDING, {"day": 1}, ("eu", "night"), "reports", 5)
    assert (run.workflow, run.version, run.deadline_at) == ("pay", "v2", instant(SLOT + 60.0))
    assert [found.id for found in (await store.find(RunFilter(tags=("night",)), newest=True, limit=9, cursor=None)).items] == [FIRST]


async def test_the_body_sees_its_slot(store: Store) -> None:
    await due(store)
    await fired(store)

    assert (await claim_one(store, now=SLOT)).scheduled_at == SLOT


async def test_the_run_of_a_slot_can_be_claimed_at_once_or_later(store: Store) -> None:
    await due(store, NIGHTLY, "weekly")
    now, later = scheduled_run(1), scheduled_run(2, schedule="weekly", available_at=SLOT + 5.0)

    await store.fire([firing(await cursor(store), now), firing(await cursor(store, "weekly"), later)], SLOT)

    assert [run.id for run in await claims(store, now=SLOT)] == [FIRST]
    assert [run.id for run in await claims(store, now=SLOT + 5.0)] == [run_id(2)]


async def test_several_slots_make_a_run_each_in_their_order(store: Store) -> None:
    await due(store)
    runs = [scheduled_run(number, SLOT + number * HOUR) for number in range(3)]

    await store.fire([firing(await cursor(store), *runs, next_at=SLOT + 3 * HOUR)], SLOT + 3 * HOUR)

    assert await ids(store) == [run.id for run in runs]
    stands = await cursor(store)
    assert (stands.next_at, stands.last_run) == (SLOT + 3 * HOUR, runs[2].id)
    assert (await store.schedules())[0].last_at == instant(SLOT + 2 * HOUR)


async def test_a_slot_may_make_no_run(store: Store) -> None:
    await due(store)
    await fired(store)
    skipped = NewSlot(SLOT + HOUR, SLOT + HOUR, 1, "skipped", f"run {FIRST} was still going")

    await store.fire([firing(await cursor(store), next_at=SLOT + 2 * HOUR, slots=(skipped,))], SLOT + HOUR)

    assert await ids(store) == [FIRST]
    assert (await cursor(store)).last_run == FIRST
    assert (await store.schedules())[0].last_at == instant(SLOT)
    assert (await records(store))[0].reason == f"run {FIRST} was still going"


async def test_after_the_last_slot_there_is_none(store: Store) -> None:
    await due(store)

    await store.fire([firing(await cursor(store), scheduled_run(), next_at=None)], SLOT)

    assert (await cursor(store)).next_at is None
    assert await store.fire([firing(await cursor(store), scheduled_run(2), next_at=None)], SLOT) == [True]


async def test_a_slot_may_wait(store: Store) -> None:
    await due(store)

    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)
    assert (await store.schedules())[0].waiting_at == instant(SLOT)

    await store.fire([firing(await cursor(store), scheduled_run())], SLOT + 9.0)
    assert ((await cursor(store)).waiting_at, (await cursor(store)).last_run) == (None, FIRST)


@pytest.mark.parametrize("status", RunStatus, ids=str)
async def test_a_cursor_says_whether_the_last_run_is_going_still(store: Store, status: RunStatus) -> None:
    await due(store)
    await bring_to(store, status)
    await store.fire([firing(await cursor(store), scheduled_run())], SLOT)

    assert (await cursor(store)).going is (not status.ended)


async def test_a_run_that_was_deleted_is_not_going(store: Store) -> None:
    await due(store)
    await fired(store)
    before = await cursor(store)
    await store.act(FIRST, Action.CANCEL, SLOT)
    await store.delete(FIRST)

    assert await cursor(store) == before._replace(going=False)
    assert (await store.schedules())[0].last_run_id == FIRST


@pytest.mark.parametrize("everything", [True, False])
async def test_deleting_runs_makes_no_slot_fire_again(store: Store, everything: bool) -> None:
    await due(store)
    seen = await cursor(store)
    await fired(store)
    await store.act(FIRST, Action.CANCEL, SLOT)
    await (store.delete_all(RunFilter(), 10) if everything else store.delete(FIRST))

    assert await store.fire([firing(seen, scheduled_run(2))], SLOT) == [False]
    assert (await cursor(store)).next_at == SLOT + HOUR
    assert await ids(store) == []


async def test_forgetting_records_makes_no_slot_fire_again(store: Store) -> None:
    await due(store)
    seen = await cursor(store)
    await fired(store)
    await store.forget_slots([("pay", NIGHTLY)], 0)

    assert await store.fire([firing(seen, scheduled_run(2))], SLOT) == [False]


# -- who comes first


async def test_a_slot_fires_once(store: Store) -> None:
    await due(store)
    seen = await cursor(store)

    assert await store.fire([firing(seen, scheduled_run(1))], SLOT) == [True]
    assert await store.fire([firing(seen, scheduled_run(2))], SLOT) == [False]
    assert await store.fire([firing(seen, scheduled_run(1))], SLOT) == [False]

    assert await ids(store) == [FIRST]
    assert await told(store) == [("started", SLOT)]


async def test_what_has_not_fired_leaves_no_trace(store: Store) -> None:
    await due(store)
    await store.enqueue([new_run(9)])
    seen = await cursor(store)
    await fired(store)

    late = firing(seen, scheduled_run(2), next_at=None, failed=((run_id(2), INPUT_FAILED),), cancel=run_id(9), waiting_at=SLOT)
    assert await store.fire([late], SLOT) == [False]

    assert await ids(store) == [FIRST, run_id(9)]
    assert (await store.get(run_id(9))).status is RunStatus.PENDING
    assert await told(store) == [("started", SLOT)]
    assert (await cursor(store)).waiting_at is None


@pytest.mark.parametrize(
    "changed",
    [
        {"next_at": SLOT + 1.0},
        {"next_at": SLOT + 0.000001},
        {"next_at": None},
        {"waiting_at": SLOT},
        {"digest": "two"},
        {"name": "weekly"},
        {"workflow": "ship"},
    ],
    ids=str,
)
async def test_a_cursor_that_does_not_stand_as_it_was_seen_does_not_move(store: Store, changed: dict[str, Any]) -> None:
    await due(store)
    stands = await cursor(store)

    assert await store.fire([firing(stands._replace(**changed), scheduled_run())], SLOT) == [False]

    assert await ids(store) == []
    assert await cursor(store) == stands


async def test_what_was_seen_beside_the_cursor_may_be_old(store: Store) -> None:
    await due(store)
    seen = (await cursor(store))._replace(last_run=run_id(77), going=True)

    assert await store.fire([firing(seen, scheduled_run())], SLOT) == [True]


async def test_a_schedule_whose_declaration_has_changed_does_not_fire_as_it_was(store: Store) -> None:
    await due(store)
    seen = await cursor(store)
    await declared(store, new_schedule(input="7"), worker=BOB, digest="two")

    assert await store.fire([firing(seen, scheduled_run())], SLOT) == [False]
    assert await fired(store)


async def test_a_paused_schedule_does_not_fire(store: Store) -> None:
    await due(store)
    seen = await cursor(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)

    assert await store.fire([firing(seen, scheduled_run())], SLOT) == [False]
    assert not await fired(store)


async def test_a_slot_that_waited_when_the_schedule_was_paused_does_not_fire(store: Store) -> None:
    await due(store)
    await store.fire([firing(await cursor(store), waiting_at=SLOT)], SLOT)
    seen = await cursor(store)
    await store.pause_schedule("pay", NIGHTLY, NOW)
    await store.resume_schedule(await cursor(store), seen.next_at, None, NOW, None)

    assert await store.fire([firing(seen, scheduled_run())], SLOT) == [False]


async def test_of_several_some_fire_and_the_others_do_not(store: Store) -> None:
    names = [f"s{number}" for number in range(9)]
    await due(store, *names)
    seen = [await cursor(store, name) for name in names]
    firings = [firing(each, scheduled_run(place, schedule=each.name)) for place, each in enumerate(seen)]
    await store.fire(firings[::3], SLOT)
    others = [firing(each, scheduled_run(100 + place, schedule=each.name)) for place, each in enumerate(seen)]

    won = await store.fire(others, SLOT)

    assert won == [place % 3 != 0 for place in range(9)]
    assert len(await ids(store)) == 9
    assert [len(await records(store, name)) for name in names] == [1] * 9


async def test_of_several_firings_of_one_schedule_the_first_is_done_at_most(store: Store) -> None:
    await due(store)
    seen = await cursor(store)
    moved = seen._replace(next_at=SLOT + HOUR)

    won = await store.fire([firing(seen, scheduled_run(1)), firing(seen, scheduled_run(2)), firing(moved, scheduled_run(3))], SLOT)

    assert won == [True, False, False]
    assert await ids(store) == [FIRST]


async def test_to_fire_nothing_does_nothing(store: Store) -> None:
    assert await store.fire([], SLOT) == []


@pytest.mark.parametrize(
    "name", ["Grüße ✓ \U0001f600", 'o\'clock "x" \\ :name $1 %s', "w[*/5 * * * *]", "n" * 255, " ", '{"a":[1]}', "e\u0301"]
)
async def test_schedules_and_workflows_may_have_odd_names(store: Store, name: str) -> None:
    await store.declare(ALICE, [declaration(new_schedule(name), new_schedule(name + "!"), workflow=name)], None, NOW)
    run = scheduled_run(workflow=name, schedule=name)

    assert await store.fire([firing(await cursor(store, name, name), run)], SLOT) == [True]

    assert (await store.get(FIRST)).schedule == name
    assert [(record.outcome, record.run_id) for record in await records(store, name, name)] == [("started", FIRST)]
    assert await store.pause_schedule(name, name, NOW, name)
    assert [state.paused_by for state in await store.schedules(name)] == [name, None]
    assert await store.resume_schedule(await cursor(store, name, name), SLOT + HOUR, None, NOW, name)
    assert await store.trigger(scheduled_run(2, workflow=name, schedule=name), NOW, name) == run_id(2)
    assert await store.backfill([scheduled_run(3, SLOT - HOUR, workflow=name, schedule=name)], NOW, name) == [run_id(3)]
    await store.forget_slots([(name, name)], 1)
    assert [record.outcome for record in await records(store, name, name)] == ["backfilled"]


async def test_thousands_of_schedules_are_declared_and_fired(store: Store) -> None:
    names = [f"schedule {number}" for number in range(3_000)]
    await due(store, *names)
    seen = await store.cursors([("pay", name) for name in names])
    assert sorted(each.name for each in seen) == sorted(names)

    won = await store.fire([firing(each, scheduled_run(place, schedule=each.name)) for place, each in enumerate(seen)], SLOT)

    assert won == [True] * 3_000
    assert dict(await store.count(RunFilter())) == {RunStatus.PENDING: 3_000}
    assert {each.next_at for each in await store.cursors([("pay", name) for name in names])} == {SLOT + HOUR}


# -- inputs that could not be computed


async def test_a_run_whose_input_could_not_be_computed_has_failed(store: Store) -> None:
    await due(store, NIGHTLY, "weekly")
    bad, good = scheduled_run(1, input=TO_COMPUTE, timeout=60.0), scheduled_run(2, schedule="weekly")
    failed = firing(
        await cursor(store), bad, failed=((FIRST, INPUT_FAILED),), slots=(started(bad, outcome="failed", reason="no such table"),)
    )

    assert await store.fire([failed, firing(await cursor(store, "weekly"), good)], SLOT) == [True, True]

    run = await store.get(FIRST)
    assert (run.status, run.finished_at, run.input) == (RunStatus.FAILED, instant(SLOT), None)
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("ValueError", "no such table")
    assert (run.schedule, run.scheduled_at, run.started_at) == (NIGHTLY, instant(SLOT), None)
    assert [each.id for each in await claims(store, now=SLOT)] == [run_id(2)]
    assert await store.expire(SLOT + 100.0, 10) == 0
    ended = (await store.ended([FIRST]))[FIRST]
    assert ended is not None
    assert (ended.status, ended.error) == (RunStatus.FAILED, INPUT_FAILED)
    assert await told(store) == [("failed", SLOT)]
    assert not (await cursor(store)).going


async def failed_run(store: Store) -> None:
    """Run 1, whose input could not be computed."""
    await due(store)
    run = scheduled_run(input=TO_COMPUTE)
    await store.fire([firing(await cursor(store), run, failed=((FIRST, INPUT_FAILED),))], SLOT)


async def test_a_run_whose_input_could_not_be_computed_is_found_and_shown(store: Store) -> None:
    await failed_run(store)

    (found,) = (await store.find(RunFilter(search="no such table"), newest=True, limit=9, cursor=None)).items
    assert (found.id, found.input) == (FIRST, None)
    assert (await store.history(FIRST)).input == TO_COMPUTE
    assert (await store.steps(FIRST), await store.logs(FIRST), await store.events(FIRST)) == ([], [], [])
    assert dict(await store.count(RunFilter(statuses=frozenset({RunStatus.FAILED})))) == {RunStatus.FAILED: 1}


async def test_it_can_be_retried_and_its_input_is_to_be_computed_still(store: Store) -> None:
    await failed_run(store)

    run = await store.act(FIRST, Action.RETRY, SLOT + 5.0, "eve")

    assert (run.status, run.finished_at, run.error) == (RunStatus.PENDING, None, None)
    claimed = await claim_one(store, now=SLOT + 5.0)
    assert (claimed.input, claimed.scheduled_at, claimed.outcomes) == (TO_COMPUTE, SLOT, ())


async def test_it_can_be_deleted(store: Store) -> None:
    await failed_run(store)

    await store.delete(FIRST)

    assert await ids(store) == []


# -- the run that makes room


@pytest.mark.parametrize("status", LIVE, ids=str)
async def test_the_run_that_is_going_still_is_canceled(store: Store, status: RunStatus) -> None:
    await due(store)
    await bring_to(store, status)

    await store.fire([firing(await cursor(store), scheduled_run(2), cancel=FIRST)], SLOT)

    run = await store.get(FIRST)
    assert (run.status, run.finished_at) == (RunStatus.CANCELED, instant(SLOT))
    (event,) = [event for event in await store.events(FIRST) if event.action == "cancel"]
    assert (event.actor, event.at) == (f"schedule {NIGHTLY}", instant(SLOT))
    assert (await store.get(run_id(2))).status is RunStatus.PENDING


@pytest.mark.parametrize("status", ENDED, ids=str)
async def test_a_run_that_has_ended_already_stays_as_it_is(store: Store, status: RunStatus) -> None:
    await due(store)
    await bring_to(store, status)
    before = await store.get(FIRST), await store.events(FIRST)

    assert await store.fire([firing(await cursor(store), scheduled_run(2), cancel=FIRST)], SLOT) == [True]

    assert (await store.get(FIRST), await store.events(FIRST)) == before


async def test_a_run_that_was_deleted_need_not_be_canceled(store: Store) -> None:
    await due(store)

    assert await store.fire([firing(await cursor(store), scheduled_run(2), cancel=FIRST)], SLOT) == [True]


async def test_with_a_run_the_children_that_it_awaits_are_canceled(store: Store) -> None:
    await due(store)
    await fired(store)
    await claim_one(store, now=SLOT)
    await write(store, start_child(2), start_child(3, key="bill", new={"awaited_as": "bill"}), move(Action.PARK, keep=True), now=SLOT)

    await store.fire([firing(await cursor(store), scheduled_run(4, SLOT + HOUR), next_at=None, cancel=FIRST)], SLOT + HOUR)

    assert {(await store.get(run_id(number))).status for number in (1, 2, 3)} == {RunStatus.CANCELED}
    assert dict((await store.notices(ALICE, 0, SLOT + HOUR)).runs) == {FIRST: None}


async def test_many_runs_make_room_at_once(store: Store) -> None:
    names = [f"s{number}" for number in range(20)]
    await due(store, *names)
    seen = [await cursor(store, name) for name in names]
    await store.fire([firing(each, scheduled_run(place, schedule=each.name)) for place, each in enumerate(seen)], SLOT)
    seen = [await cursor(store, name) for name in reversed(names)]

    await store.fire(
        [
            firing(each, scheduled_run(100 + place, SLOT + HOUR, schedule=each.name), next_at=None, cancel=each.last_run)
            for place, each in enumerate(seen)
        ],
        SLOT + HOUR,
    )

    assert dict(await store.count(RunFilter())) == {RunStatus.CANCELED: 20, RunStatus.PENDING: 20}


# -- what is told, and what is refused


async def test_who_listens_is_told_of_runs_to_claim(store: Store) -> None:
    await due(store)

    async with listening(store) as listener:
        await fired(store)
        await listener.hear(Hint.READY)

    assert Hint.ENDED not in listener.heard


@pytest.mark.parametrize("changed", [{"available_at": SLOT + 5.0}, {"timeout": 60.0}], ids=str)
async def test_who_listens_is_told_of_runs_that_come_due(store: Store, changed: dict[str, Any]) -> None:
    await due(store)

    async with listening(store) as listener:
        await fired(store, **changed)
        await listener.hear(Hint.DUE)


async def test_who_listens_is_told_of_runs_that_have_ended(store: Store) -> None:
    await due(store, NIGHTLY, "weekly")
    await store.enqueue([new_run(5)])

    async with listening(store) as listener:
        await failed_run_of(store, "weekly")
        await listener.hear(Hint.ENDED)
    async with listening(store) as listener:
        await store.fire([firing(await cursor(store), scheduled_run(), cancel=run_id(5))], SLOT)
        await listener.hear(Hint.ENDED)


async def failed_run_of(store: Store, name: str) -> None:
    run = scheduled_run(7, schedule=name, input=TO_COMPUTE)
    await store.fire([firing(await cursor(store, name), run, failed=((run.id, INPUT_FAILED),))], SLOT)


async def test_the_worker_of_a_run_that_makes_room_is_told(store: Store) -> None:
    await due(store)
    await fired(store)
    await claim_one(store, now=SLOT)

    async with listening(store) as listener:
        await store.fire([firing(await cursor(store), scheduled_run(2), cancel=FIRST)], SLOT)
        await listener.hear(Hint.NOTICE)


@pytest.mark.parametrize("sign", ["\0", "\ud800"], ids=["NUL", "lone surrogate"])
async def test_an_input_that_no_database_keeps_is_refused_with_all_that_would_fire(store: Store, sign: str) -> None:
    await due(store, NIGHTLY, "weekly")
    before = [await cursor(store), await cursor(store, "weekly")]
    bad, good = scheduled_run(1, input=f'"{sign}"'), scheduled_run(2, schedule="weekly")

    with pytest.raises(WriteRefused):
        await store.fire([firing(before[1], good), firing(before[0], bad)], SLOT)

    assert [await cursor(store), await cursor(store, "weekly")] == before
    assert await ids(store) == []
