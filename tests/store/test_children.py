"""Children: runs that a run starts, told of their ends."""

import json
from typing import Any

import pytest

from stepwell.core.children import heard, mail_from
from stepwell.core.records import UNRESOLVED, Kind
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    CARD_DECLINED,
    FIRST,
    LANE,
    NOW,
    cancel_child,
    claim_one,
    claimed_run,
    claims,
    definition,
    failure,
    leave,
    move,
    new_run,
    new_worker,
    outcome,
    run_id,
    start_child,
    write,
)

CHILD = run_id(2)


async def family(store: Store, **changed: Any) -> None:
    """Run 1 of Alice awaits run 2, which Bob executes."""
    await claimed_run(store)
    await write(store, start_child(**changed))
    await claims(store, BOB)


async def mail(store: Store, run: str = FIRST) -> list[tuple[str, tuple[bool, Any]]]:
    """What children have said to the run."""
    news = (await store.news({run: 0}))[run]
    told = [(signal.name, heard(signal.payload)) for signal in news.signals]
    return [(name, (ok, json.loads(text))) for name, (ok, text) in told]


async def of_child(store: Store, action: Action, **changed: Any) -> None:
    await write(store, move(action, run=CHILD, **changed), worker=BOB)


async def test_a_child_is_started_with_what_its_parent_writes(store: Store) -> None:
    await claimed_run(store)

    await write(store, start_child(), outcome("charge", 1))

    child = await store.get(CHILD)
    assert (child.status, child.parent_id, child.workflow) == (RunStatus.PENDING, FIRST, "pay")


async def test_a_child_that_is_there_already_stays_as_it_is(store: Store) -> None:
    await family(store)
    await write(store, start_child(new={"input": '"other"'}))

    child = await store.get(CHILD)
    assert (child.status, child.input) == (RunStatus.RUNNING, None)


async def test_a_parent_that_was_canceled_starts_no_child(store: Store) -> None:
    await claimed_run(store)
    await store.act(FIRST, Action.CANCEL, NOW)

    await write(store, start_child())

    assert dict(await store.ended([CHILD])) == {CHILD: None}


@pytest.mark.parametrize(("action", "ok", "text"), [(Action.COMPLETE, True, "paid"), (Action.FAIL, False, json.loads(CARD_DECLINED))])
async def test_the_end_of_a_child_is_told_to_its_parent_and_the_worker_that_has_it(
    store: Store, action: Action, ok: bool, text: Any
) -> None:
    await family(store)

    await of_child(store, action)

    assert await mail(store) == [(mail_from(CHILD), (ok, text))]
    assert dict((await store.notices(ALICE, 0, NOW)).runs) == {FIRST: (1, RunStatus.RUNNING)}


async def test_a_child_that_is_canceled_expires_or_crashes_is_told_of_too(store: Store) -> None:
    await claimed_run(store)
    await write(store, *(start_child(number, new={"timeout": 60.0 if number == 3 else None}) for number in (2, 3, 4)))
    await claims(store, BOB)
    (beat,) = [store.beat(BOB, 1, 0, NOW)]
    assert beat is not None

    await store.act(run_id(2), Action.CANCEL, NOW)
    await store.expire(NOW + 61, 10)
    await store.rescue(BOB, 1, NOW + 61, 10, 1)

    told = [(name, ok, error["type"]) for name, (ok, error) in await mail(store)]
    assert told == [
        (mail_from(run_id(2)), False, "RunCanceled"),
        (mail_from(run_id(3)), False, "DeadlineExceeded"),
        (mail_from(run_id(4)), False, "WorkerCrashed"),
    ]


async def test_a_parent_that_sleeps_is_woken_by_the_end_of_its_child(store: Store) -> None:
    await family(store)
    await write(store, move(Action.PARK, due=None, seen=0))

    await of_child(store, Action.COMPLETE)

    assert (await store.get(FIRST)).status is RunStatus.PENDING
    assert [signal.name for signal in (await claim_one(store)).signals] == [mail_from(CHILD)]


async def test_a_parent_that_falls_asleep_as_its_child_ends_is_not_lost(store: Store) -> None:
    await family(store)
    await of_child(store, Action.COMPLETE)

    await write(store, move(Action.PARK, due=None, keep=True, seen=0))
    await leave(store)

    assert [signal.name for signal in (await claim_one(store)).signals] == [mail_from(CHILD)]


async def test_a_second_end_of_a_child_is_not_told(store: Store) -> None:
    await family(store)
    await of_child(store, Action.FAIL)
    await store.act(CHILD, Action.RETRY, NOW)
    await claims(store, BOB)

    await of_child(store, Action.COMPLETE, claim=2)

    assert len(await mail(store)) == 1


async def test_nobody_is_told_of_the_end_of_a_run_that_is_not_awaited(store: Store) -> None:
    await family(store, new={"awaited_as": None})

    await of_child(store, Action.COMPLETE)

    assert await mail(store) == []


async def test_a_child_whose_parent_was_deleted_ends_in_peace(store: Store) -> None:
    await family(store)
    await write(store, move(Action.COMPLETE))
    await store.delete(FIRST)

    await of_child(store, Action.COMPLETE)

    assert (await store.get(CHILD)).status is RunStatus.COMPLETED


# -- canceling


async def test_canceling_a_parent_cancels_what_it_awaits_and_what_that_awaits(store: Store) -> None:
    await family(store)
    await write(store, start_child(3, run=CHILD, new={"parent_id": CHILD}), worker=BOB)
    await write(store, start_child(4, new={"awaited_as": None}))

    await store.act(FIRST, Action.CANCEL, NOW, "ann")

    statuses = [(await store.get(run_id(number))).status for number in (1, 2, 3, 4)]
    assert statuses == [RunStatus.CANCELED] * 3 + [RunStatus.PENDING]
    (event,) = await store.events(CHILD)
    assert (event.action, event.actor) == ("cancel", f"run {FIRST}")
    assert dict((await store.notices(BOB, 0, NOW)).runs) == {CHILD: None}


async def test_pausing_a_parent_leaves_its_children_alone(store: Store) -> None:
    await family(store)

    await store.act(FIRST, Action.PAUSE, NOW)

    assert (await store.get(CHILD)).status is RunStatus.RUNNING


async def test_a_parent_that_was_canceled_counts_on_when_it_is_retried(store: Store) -> None:
    await family(store)
    await store.act(FIRST, Action.CANCEL, NOW)
    await store.act(FIRST, Action.RETRY, NOW)

    claimed = await claim_one(store)

    assert claimed.tried["ship"].attempts == 1
    assert not claimed.tried["ship"].evidence
    assert claimed.signals == ()


async def test_a_child_that_failed_is_taken_back_by_a_retry_of_its_parent(store: Store) -> None:
    await family(store)
    await of_child(store, Action.FAIL)
    error = '{"type": "ChildFailed", "message": "", "steps": ["ship"]}'
    failed = failure("ship", 1, kind=Kind.CHILD, mark=1, child=CHILD)
    await write(store, failed, move(Action.FAIL, error=error))

    await store.act(FIRST, Action.RETRY, NOW)

    claimed = await claim_one(store)
    assert claimed.outcomes == ()
    assert claimed.tried["ship"].attempts == 1


async def test_a_child_that_is_not_awaited_any_more_is_canceled_and_not_told_of(store: Store) -> None:
    await family(store)

    await write(store, cancel_child())
    await write(store, cancel_child())

    assert (await store.get(CHILD)).status is RunStatus.CANCELED
    assert await mail(store) == []


@pytest.mark.parametrize("number", [2, 3, 9])
async def test_a_parent_cancels_no_run_that_has_ended_is_another_s_or_is_not_there(store: Store, number: int) -> None:
    await family(store)
    await of_child(store, Action.COMPLETE)
    await store.enqueue([new_run(3)])

    await write(store, cancel_child(number))

    assert [(await store.get(run_id(each))).status for each in (2, 3)] == [RunStatus.COMPLETED, RunStatus.PENDING]


# -- what is started


async def test_a_child_of_a_workflow_that_others_have_is_what_they_have_published(store: Store) -> None:
    await store.register(new_worker("carol", definition("mail", "2", queue="post", priority=3, timeout=60.0)))
    await claimed_run(store)

    await write(store, start_child(by_name=True, new={"workflow": "mail", "version": UNRESOLVED}))

    child = await store.get(CHILD)
    assert (child.version, child.queue, child.priority) == ("2", "post", 3)
    assert child.deadline_at is not None
    assert Lane("post", "mail", "2") in await store.lanes()


async def test_a_child_of_a_workflow_that_nobody_knows_waits_for_who_does(store: Store) -> None:
    await claimed_run(store)

    await write(store, start_child(by_name=True, new={"workflow": "mail", "version": UNRESOLVED}))

    assert Lane("default", "mail", UNRESOLVED) in await store.lanes()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_parent_is_told_which_run_has_the_key_that_it_gave(store: Store, taken: bool) -> None:
    if taken:
        await store.enqueue([new_run(7, key="k")])
    await claimed_run(store) if not taken else await _first_claimed(store)

    await write(store, start_child(new={"key": "k", "awaited_as": None}))
    await write(store, start_child(new={"key": "k", "awaited_as": None}))

    assert await mail(store) == [(mail_from(CHILD), (True, run_id(7) if taken else CHILD))]


async def _first_claimed(store: Store) -> None:
    await store.enqueue([new_run(1)])
    await claims(store, ALICE, 1, NOW, LANE)


async def test_the_child_of_a_step_is_shown_with_it(store: Store) -> None:
    await family(store)
    await write(store, outcome("ship", 1, kind=Kind.CHILD, child=CHILD))

    (step,) = await store.steps(FIRST)

    assert (step.kind, step.child_id) == ("child", CHILD)
    assert (await store.history(FIRST)).outcomes[0].child == CHILD
