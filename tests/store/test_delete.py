"""Deleting: nothing is left of a run, and nothing of others is lost."""

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.errors import IllegalTransition, RunNotFound
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    ALL,
    FIRST,
    NOW,
    attempt,
    bring_to,
    claimed_run,
    claims,
    everything,
    line,
    move,
    new_run,
    outcome,
    progress,
    run_id,
    started,
    write,
)

LIVE = [status for status in RunStatus if not status.ended]


async def full_run(store: Store) -> None:
    """Run 1 with something of everything, completed."""
    await claimed_run(store, key="order-7", tags=("eu",))
    await write(store, outcome("charge", 1), attempt("ship"), line("hello"), progress(), started("ship", 2))
    await store.act(FIRST, Action.PAUSE, NOW, "eve")
    await store.act(FIRST, Action.RESUME, NOW, "eve")
    await write(store, move(Action.WAKE))
    await write(store, move(Action.COMPLETE))


@pytest.mark.parametrize("verb", ["get", "steps", "logs", "events", "history", "delete"])
async def test_a_deleted_run_does_not_exist_any_more(store: Store, verb: str) -> None:
    await full_run(store)

    await store.delete(FIRST)

    with pytest.raises(RunNotFound):
        await getattr(store, verb)(FIRST)
    assert dict(await store.count(ALL)) == {}
    assert dict(await store.ended([FIRST])) == {FIRST: None}
    assert await store.outcomes(FIRST, 0, 10) == []


@pytest.mark.parametrize("status", LIVE)
async def test_a_run_that_has_not_ended_is_not_deleted(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)
    before = await everything(store)

    with pytest.raises(IllegalTransition) as refusal:
        await store.delete(FIRST)

    assert (refusal.value.run_id, refusal.value.status, refusal.value.action) == (FIRST, status, "delete")
    assert await everything(store) == before


async def test_the_key_of_a_deleted_run_can_be_given_again(store: Store) -> None:
    await full_run(store)
    await store.delete(FIRST)

    assert await store.enqueue([new_run(2, key="order-7")]) == [run_id(2)]


async def test_a_run_that_is_started_again_under_the_id_of_a_deleted_one_has_nothing_of_it(store: Store) -> None:
    await full_run(store)
    await store.delete(FIRST)

    await store.enqueue([new_run()])

    run = await store.get(FIRST)
    assert (run.status, run.tags, run.key, run.progress, run.started_at) == (RunStatus.PENDING, (), None, None, None)
    assert (await store.steps(FIRST), await store.logs(FIRST), await store.events(FIRST)) == ([], [], [])
    history = await store.history(FIRST)
    assert (history.outcomes, history.tried, history.claim) == ((), {}, 0)


async def test_other_runs_keep_all_that_they_have(store: Store) -> None:
    await store.enqueue([new_run(2, key="order-8")])
    await claims(store)
    await write(store, outcome("charge", 1, run=run_id(2)), attempt("ship", run=run_id(2)), line("hello", run=run_id(2)))
    await full_run(store)
    before = await everything(store, run_id(2))

    await store.delete(FIRST)

    assert await everything(store, run_id(2)) == before
    assert await store.enqueue([new_run(3, key="order-8")]) == [run_id(2)]


async def test_a_worker_that_writes_to_a_deleted_run_learns_that_it_is_not_its(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await store.act(FIRST, Action.CANCEL, NOW)
    await store.delete(FIRST)

    assert await write(store, outcome("charge", 1), worker=ALICE) == {(FIRST, 1): None}
