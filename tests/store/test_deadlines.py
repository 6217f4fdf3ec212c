"""Deadlines: what fails when its time is over, and from when the time counts."""

from typing import Any

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.errors import DeadlineExceeded
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    bring_to,
    claim_one,
    claims,
    everything,
    leave,
    move,
    new_run,
    outcome,
    remembered,
    run_id,
    write,
)

TIMED: dict[str, Any] = {"created_at": NOW, "timeout": 300.0}


async def deadline(store: Store, run: str = FIRST) -> float | None:
    instant = (await store.get(run)).deadline_at
    return None if instant is None else instant.timestamp()


async def test_the_time_counts_from_when_the_run_can_be_claimed(store: Store) -> None:
    await store.enqueue([new_run(1, **TIMED), new_run(2, available_at=NOW + 100, **TIMED), new_run(3)])

    assert [await deadline(store, run_id(number)) for number in (1, 2, 3)] == [NOW + 300, NOW + 400, None]


async def test_a_run_fails_at_its_deadline_and_not_before(store: Store) -> None:
    await store.enqueue([new_run(**TIMED)])

    assert await store.expire(NOW + 299.999, 10) == 0
    assert await store.expire(NOW + 300, 10) == 1
    assert await store.expire(NOW + 300, 10) == 0

    run = await store.get(FIRST)
    assert run.status is RunStatus.FAILED
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == NOW + 300


async def test_the_error_says_what_took_too_long_and_how_long_it_might_take(store: Store) -> None:
    await store.enqueue([new_run(**TIMED)])

    await store.expire(NOW + 300, 10)

    error = (await store.get(FIRST)).error
    assert error is not None
    assert error.type == "DeadlineExceeded"
    assert error.caused_by(DeadlineExceeded)
    assert FIRST in error.message
    assert "took longer than its timeout of 5m" in error.message


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PENDING])
async def test_a_run_that_a_worker_owns_is_taken_from_it(store: Store, status: RunStatus) -> None:
    await bring_to(store, status, **TIMED)

    assert await store.expire(NOW + 300, 10) == 1

    run = await store.get(FIRST)
    assert (run.status, run.worker) == (RunStatus.FAILED, None)
    assert dict(await store.standing(ALICE, NOW)) == {}
    assert dict((await store.notices(ALICE, 0, NOW)).runs) == {FIRST: None}


async def test_a_sleeper_in_nobodys_memory_fails_too(store: Store) -> None:
    await store.enqueue([new_run(**TIMED)])
    await claim_one(store)
    await write(store, move(Action.PARK, due=NOW + 900))

    assert await store.expire(NOW + 300, 10) == 1


async def test_a_worker_that_has_not_heard_of_it_writes_nothing_more(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING, **TIMED)
    await store.expire(NOW + 300, 10)
    before = await everything(store)

    answers = await write(store, outcome("charge", 1), move(Action.COMPLETE))

    assert answers == {(FIRST, 1): RunStatus.FAILED}
    assert await everything(store) == before


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED])
async def test_what_has_ended_has_no_deadline_to_pass(store: Store, status: RunStatus) -> None:
    await bring_to(store, status, **TIMED)

    assert await store.expire(NOW + 1_000, 10) == 0
    assert (await store.look(ALICE, NOW)).due is None


async def test_a_paused_run_does_not_fail_before_it_is_resumed(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED, **TIMED)
    assert await store.expire(NOW + 300, 10) == 0
    assert (await store.look(ALICE, NOW)).due is None

    await store.act(FIRST, Action.RESUME, NOW + 400)

    assert await deadline(store) == NOW + 300
    assert (await store.look(ALICE, NOW + 400)).due == NOW + 300
    assert await store.expire(NOW + 400, 10) == 1


async def test_those_whose_time_was_over_first_fail_first_and_no_more_than_asked_for(store: Store) -> None:
    timeouts = {1: 30.0, 2: 10.0, 3: 20.0, 4: 90.0}
    await store.enqueue([new_run(number, created_at=NOW, timeout=timeout) for number, timeout in timeouts.items()])

    assert await store.expire(NOW + 50, 2) == 2

    failed = [number for number in timeouts if (await store.get(run_id(number))).status is RunStatus.FAILED]
    assert failed == [2, 3]
    assert await store.expire(NOW + 50, 2) == 1


async def test_a_look_shows_the_next_deadline_of_runs_in_execution_too(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING, **TIMED)
    await store.enqueue([new_run(2, available_at=NOW + 500)])

    assert (await store.look(BOB, NOW)).due == NOW + 300


async def test_a_retry_gives_the_whole_time_again(store: Store) -> None:
    await bring_to(store, RunStatus.FAILED, **TIMED)

    await store.act(FIRST, Action.RETRY, NOW + 1_000)

    assert await deadline(store) == NOW + 1_300
    assert await store.expire(NOW + 1_299, 10) == 0


async def test_an_expired_run_can_be_retried(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING, **TIMED)
    await write(store, outcome("charge", 1))
    await store.expire(NOW + 300, 10)

    await store.act(FIRST, Action.RETRY, NOW + 400)

    assert remembered((await claim_one(store, BOB, NOW + 400)).outcomes) == remembered([outcome("charge", 1)])


async def test_a_run_that_goes_on_as_new_has_the_whole_time_again(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING, **TIMED)

    await write(store, move(Action.CONTINUE_AS_NEW), now=NOW + 200)

    assert await deadline(store) == NOW + 500


async def test_a_run_that_sleeps_or_changes_hands_keeps_its_deadline(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING, **TIMED)
    await leave(store, now=NOW + 10)
    await claims(store, BOB, 10, NOW + 60)
    await write(store, move(Action.RELEASE, claim=2), worker=BOB, now=NOW + 70)

    assert await deadline(store) == NOW + 300
