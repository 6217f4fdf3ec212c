"""Notices: what a worker learns of runs that others have acted on."""

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Notices, Store
from tests.store.making import ALICE, BOB, FIRST, NOW, bring_to, claimed_run, claims, leave, move, new_run, run_id, write


async def noticed(store: Store, worker: str = ALICE, seen: int = 0) -> dict[str, tuple[int, RunStatus] | None]:
    return dict((await store.notices(worker, seen, NOW)).runs)


async def test_a_worker_whose_runs_nobody_has_acted_on_has_no_notices(store: Store) -> None:
    await claimed_run(store)

    last, runs = await store.notices(ALICE, 0, NOW)

    assert (last, dict(runs)) == (0, {})
    assert not (await store.look(ALICE, NOW)).notices


@pytest.mark.parametrize(
    ("status", "action", "told"),
    [
        (RunStatus.RUNNING, Action.PAUSE, (1, RunStatus.PAUSED)),
        (RunStatus.SLEEPING, Action.PAUSE, None),
        (RunStatus.PENDING, Action.PAUSE, (1, RunStatus.PAUSED)),
        (RunStatus.PAUSED, Action.RESUME, (1, RunStatus.PENDING)),
        (RunStatus.RUNNING, Action.CANCEL, None),
        (RunStatus.SLEEPING, Action.CANCEL, None),
        (RunStatus.PAUSED, Action.CANCEL, None),
        (RunStatus.PENDING, Action.CANCEL, None),
    ],
)
async def test_what_an_operator_does_to_a_run_is_told_to_its_worker(
    store: Store, status: RunStatus, action: Action, told: tuple[int, RunStatus] | None
) -> None:
    await bring_to(store, status)
    seen = (await store.notices(ALICE, 0, NOW)).last

    await store.act(FIRST, action, NOW)

    assert (await store.look(ALICE, NOW)).notices
    assert await noticed(store, seen=seen) == {FIRST: told}
    assert await noticed(store, BOB) == {}


@pytest.mark.parametrize(
    ("status", "action"),
    [(RunStatus.RUNNING, Action.RESUME), (RunStatus.SLEEPING, Action.RESUME), (RunStatus.PAUSED, Action.PAUSE)],
)
async def test_an_action_that_changes_nothing_is_not_told(store: Store, status: RunStatus, action: Action) -> None:
    await bring_to(store, status)
    last = (await store.notices(ALICE, 0, NOW)).last

    await store.act(FIRST, action, NOW)

    assert await noticed(store, seen=last) == {}


async def test_a_run_that_nobody_owns_is_noticed_by_nobody(store: Store) -> None:
    await store.enqueue([new_run()])
    for action in (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY):
        await store.act(FIRST, action, NOW)

    assert await noticed(store, ALICE) == await noticed(store, BOB) == {}


async def test_what_a_worker_writes_itself_is_not_told_to_it(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, keep=True))
    await write(store, move(Action.COMPLETE))

    assert await noticed(store) == {}


async def test_notices_are_told_again_until_they_were_seen(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED)
    first = await store.notices(ALICE, 0, NOW)
    assert await store.notices(ALICE, 0, NOW) == first

    assert await noticed(store, seen=first.last) == {}

    assert not (await store.look(ALICE, NOW)).notices
    assert await noticed(store, seen=0) == {}


async def test_seeing_the_first_does_not_hide_the_second(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store)
    await store.act(run_id(1), Action.PAUSE, NOW)
    first = await store.notices(ALICE, 0, NOW)

    await store.act(run_id(2), Action.CANCEL, NOW)

    second = await store.notices(ALICE, first.last, NOW)
    assert second.last > first.last
    assert dict(second.runs) == {run_id(2): None}


async def test_a_run_that_was_acted_on_twice_is_told_as_it_stands_now(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    for action in (Action.PAUSE, Action.RESUME, Action.PAUSE):
        await store.act(FIRST, action, NOW)
    seen = await store.notices(ALICE, 0, NOW)
    assert dict(seen.runs) == {FIRST: (1, RunStatus.PAUSED)}

    assert await store.notices(ALICE, seen.last, NOW) == Notices(seen.last, {})


async def test_a_run_that_another_worker_has_by_now_is_not_the_old_ones(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await store.act(FIRST, Action.CANCEL, NOW)
    await store.act(FIRST, Action.RETRY, NOW)
    await claims(store, BOB)

    assert await noticed(store, ALICE) == {FIRST: None}
    assert await noticed(store, BOB) == {}


async def test_a_run_that_the_same_worker_has_claimed_again_is_told_with_its_new_claim(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await store.act(FIRST, Action.CANCEL, NOW)
    await store.act(FIRST, Action.RETRY, NOW)
    await claims(store, ALICE)

    assert await noticed(store, ALICE) == {FIRST: (2, RunStatus.RUNNING)}


async def test_a_run_that_was_deleted_is_nobodys(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await store.act(FIRST, Action.CANCEL, NOW)
    await store.delete(FIRST)

    assert (await noticed(store, ALICE)).get(FIRST) is None


async def test_notices_go_with_their_worker(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED)

    await leave(store)

    assert await noticed(store) == {}
    assert not (await store.look(ALICE, NOW)).notices
