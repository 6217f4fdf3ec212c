"""Starting runs: `enqueue` and `lanes`."""

import asyncio
from datetime import UTC, datetime

import pytest

from stepwell.core.records import UNRESOLVED
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.errors import DefinitionError, RunNotFound
from stepwell.store.port import Store
from tests.store.making import ALICE, ALL, FIRST, LANE, NOW, bring_to, claim_one, claims, everything, move, new_run, run_id, write


async def test_a_started_run_is_pending_and_shows_what_it_was_started_with(store: Store) -> None:
    new = new_run(version="v2", input='{"a":1.5}', queue="slow", priority=3, tags=("eu", "big"), key="order-7", available_at=NOW + 0.25)

    ids = await store.enqueue([new])

    run = await store.get(FIRST)
    assert ids == [FIRST]
    assert (run.id, run.status, run.workflow, run.version, run.input) == (FIRST, RunStatus.PENDING, "pay", "v2", {"a": 1.5})
    assert (run.queue, run.priority, run.tags, run.key, run.attempt) == ("slow", 3, ("eu", "big"), "order-7", 1)
    assert (run.output, run.error, run.progress, run.worker, run.started_at, run.finished_at) == (None,) * 6
    assert run.created_at == datetime.fromtimestamp(NOW - 9_999, UTC)
    assert run.available_at == datetime.fromtimestamp(NOW + 0.25, UTC)


async def test_many_runs_are_started_at_once_and_their_ids_come_back_in_order(store: Store) -> None:
    ids = await store.enqueue([new_run(3), new_run(1), new_run(2)])

    assert ids == [run_id(3), run_id(1), run_id(2)]
    assert [(await store.get(each)).id for each in ids] == ids


async def test_no_runs_are_no_ids(store: Store) -> None:
    assert await store.enqueue([]) == []


async def test_the_same_id_again_changes_nothing(store: Store) -> None:
    await store.enqueue([new_run(input="1")])

    ids = await store.enqueue([new_run(input="2", priority=9)])

    run = await store.get(FIRST)
    assert (ids, run.input, run.priority) == ([FIRST], 1, 0)


@pytest.mark.parametrize("status", list(RunStatus))
async def test_the_same_id_again_changes_nothing_whatever_has_become_of_the_run(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)
    before = await everything(store)

    await store.enqueue([new_run()])

    assert await everything(store) == before


async def test_a_key_that_is_taken_gives_the_run_that_has_it(store: Store) -> None:
    await store.enqueue([new_run(1, key="order-7", input="1")])

    ids = await store.enqueue([new_run(2, key="order-7", input="2")])

    assert ids == [run_id(1)]
    assert (await store.get(run_id(1))).input == 1
    with pytest.raises(RunNotFound):
        await store.get(run_id(2))


async def test_a_key_taken_by_a_run_is_still_taken_when_the_run_has_ended(store: Store) -> None:
    await store.enqueue([new_run(1, key="order-7")])
    await claim_one(store)
    await write(store, move(Action.COMPLETE))

    assert await store.enqueue([new_run(2, key="order-7")]) == [run_id(1)]


async def test_a_key_belongs_to_a_workflow_in_all_its_versions_and_queues(store: Store) -> None:
    await store.enqueue([new_run(1, key="order-7")])

    other_version = await store.enqueue([new_run(2, key="order-7", version="v2", queue="slow")])
    other_workflow = await store.enqueue([new_run(3, key="order-7", workflow="ship")])

    assert (other_version, other_workflow) == ([run_id(1)], [run_id(3)])


async def test_of_two_runs_with_one_key_in_one_call_the_first_is_started(store: Store) -> None:
    ids = await store.enqueue([new_run(1, key="order-7"), new_run(2, key="order-7"), new_run(3)])

    assert ids == [run_id(1), run_id(1), run_id(3)]


async def test_starting_a_run_with_a_key_again_gives_its_own_id(store: Store) -> None:
    await store.enqueue([new_run(1, key="order-7")])

    assert await store.enqueue([new_run(1, key="order-7")]) == [run_id(1)]


async def test_fifty_starts_with_one_key_at_once_are_one_run(store: Store) -> None:
    ids = await asyncio.gather(*(store.enqueue([new_run(number, key="order-7")]) for number in range(50)))

    assert len({each for (each,) in ids}) == 1
    assert [each.id for each in await claims(store, ALICE, 100, NOW)] == ids[0]


async def test_a_run_that_was_started_for_a_schedule_or_by_a_parent_says_so(store: Store) -> None:
    await store.enqueue([new_run(1, schedule="nightly", scheduled_at=NOW + 0.5, parent_id=run_id(9))])

    run = await store.get(FIRST)
    assert (run.schedule, run.scheduled_at, run.parent_id) == ("nightly", datetime.fromtimestamp(NOW + 0.5, UTC), run_id(9))
    assert (run.forked_from, run.waiting_for) == (None, None)
    assert (await claim_one(store)).scheduled_at == NOW + 0.5


async def test_a_run_of_which_no_version_is_known_yet_shows_none(store: Store) -> None:
    await store.enqueue([new_run(1, version=UNRESOLVED)])

    assert (await store.get(FIRST)).version is None
    assert set(await store.lanes()) == {Lane("default", "pay", UNRESOLVED)}


async def test_a_start_within_a_transaction_needs_a_connection_to_the_same_database(store: Store) -> None:
    with pytest.raises(DefinitionError):
        await store.enqueue_within(object(), [new_run(1)])

    assert dict(await store.count(ALL)) == {}


async def test_lanes_say_where_runs_wait_or_have_waited(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, version="v2"), new_run(3, queue="slow"), new_run(4, workflow="ship"), new_run(5)])
    await claims(store, ALICE, 100, NOW)

    lanes = await store.lanes()

    assert set(lanes) == {LANE, Lane("default", "pay", "v2"), Lane("slow", "pay", None), Lane("default", "ship", None)}
    assert len(lanes) == 4


async def test_lanes_that_were_answered_do_not_change_later(store: Store) -> None:
    await store.enqueue([new_run(1)])
    lanes = await store.lanes()

    await store.enqueue([new_run(2, queue="slow")])

    assert set(lanes) == {LANE}
