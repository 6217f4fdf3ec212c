"""What operators do to many runs at once."""

from typing import Any

import pytest

from stepwell.core.children import heard
from stepwell.core.records import RunFilter
from stepwell.core.status import Action, RunStatus, after
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    ALL,
    BOB,
    FIRST,
    NOW,
    OPERATORS,
    claim_one,
    claimed_run,
    claims,
    everything,
    move,
    new_run,
    run_id,
    start_child,
    write,
)


async def one_of_each(store: Store) -> dict[str, RunStatus]:
    """A run in every status, those that can be Alice's hers."""
    await store.enqueue([new_run(number) for number in range(1, 8)])
    await claims(store)
    await write(
        store, move(Action.COMPLETE), move(Action.FAIL, run=run_id(2)), move(Action.PARK, run=run_id(3), keep=True),
        move(Action.RELEASE, run=run_id(4)),
    )  # fmt: skip
    await store.act(run_id(5), Action.CANCEL, NOW)
    await store.act(run_id(6), Action.PAUSE, NOW)
    statuses = {run.id: run.status for run in await store.find(ALL, newest=False, limit=100, cursor=None)}
    assert set(statuses.values()) == set(RunStatus)
    return statuses


@pytest.mark.parametrize("action", OPERATORS)
async def test_every_run_is_acted_on_that_the_table_allows_and_the_action_changes(store: Store, action: Action) -> None:
    before = await one_of_each(store)
    targets = {run: after(status, action) or status for run, status in before.items()}

    count = await store.act_on_all(ALL, action, NOW + 1, "eve", 100)

    assert {run: (await store.get(run)).status for run in before} == targets
    assert count == sum(targets[run] is not status for run, status in before.items())
    assert await store.act_on_all(ALL, action, NOW + 1, "eve", 100) == 0


@pytest.mark.parametrize("action", OPERATORS)
async def test_acting_on_all_is_acting_on_each(store: Store, action: Action) -> None:
    for number in (1, 2):
        await store.enqueue([new_run(number)])
        if action in (Action.RESUME, Action.RETRY):
            await store.act(run_id(number), Action.PAUSE if action is Action.RESUME else Action.CANCEL, NOW)

    await store.act(run_id(1), action, NOW + 5, "eve")
    await store.act_on_all(ALL, action, NOW + 5, "eve", 10)

    one, other = [await store.get(run_id(number)) for number in (1, 2)]
    assert (one.status, one.available_at is None, one.finished_at) == (other.status, other.available_at is None, other.finished_at)
    assert await store.events(run_id(1)) == await store.events(run_id(2))


async def test_only_those_that_match_are_acted_on(store: Store) -> None:
    await store.enqueue([new_run(number, queue="slow" if number % 2 else "fast") for number in range(1, 7)])

    assert await store.act_on_all(RunFilter(queue="slow"), Action.PAUSE, NOW, None, 100) == 3

    assert [(await store.get(run_id(number))).status for number in range(1, 7)] == ["paused", "pending"] * 3


async def test_no_more_are_acted_on_than_asked_for_and_again_until_all_are(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])

    assert [await store.act_on_all(ALL, Action.CANCEL, NOW, None, 2) for _ in range(3)] == [2, 2, 1]


async def test_a_filter_by_the_status_that_the_action_changes_comes_to_its_end(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])
    where = RunFilter(statuses=frozenset({RunStatus.PENDING}))

    counts = [await store.act_on_all(where, Action.PAUSE, NOW, None, 2) for _ in range(4)]

    assert counts == [2, 2, 1, 0]


async def test_workers_are_told_of_what_was_done_to_all(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 4)])
    await claims(store, ALICE, 2)
    await claims(store, BOB, 1)

    await store.act_on_all(ALL, Action.CANCEL, NOW, None, 10)

    assert dict((await store.notices(ALICE, 0, NOW)).runs) == {run_id(1): None, run_id(2): None}
    assert dict((await store.notices(BOB, 0, NOW)).runs) == {run_id(3): None}


async def test_all_that_failed_are_retried_as_each_would_be(store: Store) -> None:
    await store.enqueue([new_run(1)])
    await claim_one(store)
    await write(store, move(Action.FAIL))

    assert await store.act_on_all(ALL, Action.RETRY, NOW + 5, None, 10) == 1

    assert (await claim_one(store, BOB, NOW + 5)).attempt == 1


async def test_deleting_all_deletes_those_that_have_ended(store: Store) -> None:
    before = await one_of_each(store)

    assert await store.delete_all(ALL, 100) == 3
    assert await store.delete_all(ALL, 100) == 0

    left = {run.id: run.status for run in await store.find(ALL, newest=False, limit=100, cursor=None)}
    assert left == {run: status for run, status in before.items() if not status.ended}


async def test_deleting_all_deletes_those_that_match_and_no_more_than_asked_for(store: Store) -> None:
    await store.enqueue([new_run(number, queue="slow" if number % 2 else "fast") for number in range(1, 11)])
    await store.act_on_all(ALL, Action.CANCEL, NOW, None, 100)
    kept = await everything(store, run_id(2))

    assert [await store.delete_all(RunFilter(queue="slow"), 2) for _ in range(3)] == [2, 2, 1]

    assert dict(await store.count(ALL)) == {RunStatus.CANCELED: 5}
    assert await everything(store, run_id(2)) == kept


@pytest.mark.parametrize(
    "where", [{}, {"workflow": "pay"}, {"tags": ("eu",)}, {"queue": "default"}, {"id_prefix": run_id(1)[:-1]}], ids=str
)
async def test_deleting_all_that_ended_before_a_time_keeps_those_that_ended_later(store: Store, where: dict[str, Any]) -> None:
    await store.enqueue([new_run(number, tags=("eu",)) for number in range(1, 9)])
    for seconds, number in enumerate((6, 3, 1, 5, 2, 4)):
        await store.act(run_id(number), Action.CANCEL, NOW + seconds)
    old = RunFilter(finished_before=NOW + 5, **where)

    assert [await store.delete_all(old, 2) for _ in range(4)] == [2, 2, 1, 0]

    left = await store.find(ALL, newest=False, limit=100, cursor=None)
    assert [run.id for run in left] == [run_id(4), run_id(7), run_id(8)]


async def test_deleting_a_child_takes_nothing_from_the_parent_that_awaits_it(store: Store) -> None:
    await claimed_run(store)
    await write(store, start_child())
    await claims(store, BOB)
    await write(store, move(Action.COMPLETE, run=run_id(2)), worker=BOB, now=NOW + 1)
    before = await everything(store)

    assert await store.delete_all(RunFilter(finished_before=NOW + 2), 10) == 1

    assert await everything(store) == before
    (told,) = (await store.history(FIRST)).signals
    assert heard(told.payload) == (True, '"paid"')
