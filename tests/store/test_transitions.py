"""Every pair of a status and an action, against the table."""

import pytest

from stepwell.core.status import TRANSITIONS, Action, RunStatus, after
from stepwell.errors import IllegalTransition, RunNotFound
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    OPERATORS,
    WRITTEN_BY_WORKERS,
    bring_to,
    claim_one,
    claims,
    everything,
    line,
    move,
    new_run,
    outcome,
    write,
)

LIVE = [status for status in RunStatus if not status.ended]


@pytest.mark.parametrize("keep", [False, True], ids=["let go", "kept"])
@pytest.mark.parametrize("action", WRITTEN_BY_WORKERS)
@pytest.mark.parametrize("status", LIVE)
async def test_a_move_is_applied_when_the_table_allows_it(store: Store, status: RunStatus, action: Action, keep: bool) -> None:
    await bring_to(store, status)
    before = await everything(store)

    await write(store, move(action, keep=keep))

    target = after(status, action)
    if target is None:
        assert await everything(store) == before
    else:
        run = await store.get(FIRST)
        assert run.status is target
        assert run.worker == (ALICE if keep and not target.ended else None)


async def test_every_action_of_the_table_is_a_workers_an_operators_or_the_stores_own() -> None:
    others = {Action.CLAIM, Action.MAKE_READY, Action.RESCUE, Action.EXPIRE}

    assert {action for _, action in TRANSITIONS} == {*WRITTEN_BY_WORKERS, *OPERATORS, *others}


# -- what else a move changes


async def test_a_completed_run_has_its_output_and_its_end(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    await write(store, move(Action.COMPLETE, output='{"paid": 12.5}'), now=NOW + 7)

    run = await store.get(FIRST)
    assert (run.output, run.error, run.worker) == ({"paid": 12.5}, None, None)
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == NOW + 7


async def test_a_run_that_returns_nothing_is_completed_with_nothing(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    await write(store, move(Action.COMPLETE, output="null"))

    run = await store.get(FIRST)
    assert (run.status, run.output) == (RunStatus.COMPLETED, None)


async def test_a_failed_run_has_its_error_and_its_end(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    await write(store, move(Action.FAIL), now=NOW + 7)

    run = await store.get(FIRST)
    assert run.error is not None
    assert run.finished_at is not None
    assert (run.error.type, run.error.message, run.finished_at.timestamp()) == ("CardDeclined", "no funds", NOW + 7)


async def test_a_run_that_is_tried_again_later_sleeps_till_then_with_the_number_of_the_attempt(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    await write(store, move(Action.RETRY_LATER, due=NOW + 30, attempt=2))

    assert await claims(store, BOB, 1, NOW + 29) == []
    assert (await claim_one(store, BOB, NOW + 30)).attempt == 2


async def test_a_diverged_run_is_paused_with_the_explanation_until_it_is_claimed_again(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await write(store, move(Action.DIVERGE))
    paused = await store.get(FIRST)

    await store.act(FIRST, Action.RESUME, NOW)
    await claim_one(store, BOB)

    assert paused.error is not None
    assert (paused.status, paused.error.type, paused.finished_at) == (RunStatus.PAUSED, "NonDeterminism", None)
    assert (await store.get(FIRST)).error is None


async def test_a_released_run_can_be_claimed_at_once(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    await write(store, move(Action.RELEASE))

    assert (await claim_one(store, BOB)).claim == 2


async def test_a_released_sleeper_sleeps_on(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    await write(store, move(Action.RELEASE))

    assert await claims(store, BOB, 1, NOW + 59) == []
    assert (await claim_one(store, BOB, NOW + 60)).claim == 2


async def test_a_run_that_is_parked_again_wakes_at_the_later_time(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    await write(store, move(Action.PARK, due=NOW + 90))

    assert await claims(store, BOB, 1, NOW + 89) == []
    assert (await claim_one(store, BOB, NOW + 90)).claim == 2


async def test_a_run_that_goes_on_as_new_has_an_empty_history_and_another_input(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await write(store, outcome("charge", 1))

    await write(store, move(Action.CONTINUE_AS_NEW, input='{"page": 2}'), now=NOW + 50)

    claimed = await claim_one(store, BOB, NOW + 50)
    assert (claimed.input, claimed.generation, claimed.attempt, claimed.claim) == ('{"page": 2}', 1, 1, 2)
    assert (claimed.outcomes, claimed.tried, claimed.logged) == ((), {}, (-1, 0))
    assert await store.steps(FIRST) == []
    assert (await store.get(FIRST)).input == {"page": 2}


async def test_the_time_of_a_run_that_goes_on_as_new_starts_anew_and_its_first_start_stays(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await write(store, move(Action.CONTINUE_AS_NEW), now=NOW + 50)

    claimed = await claim_one(store, BOB, NOW + 60)
    await write(store, move(Action.RELEASE, claim=2), worker=BOB)
    again = await claim_one(store, BOB, NOW + 70)

    run = await store.get(FIRST)
    assert run.started_at is not None
    assert (claimed.started_at, again.started_at, run.started_at.timestamp()) == (NOW + 60, NOW + 60, NOW)


# -- operators


@pytest.mark.parametrize("action", OPERATORS)
@pytest.mark.parametrize("status", list(RunStatus))
async def test_an_operator_does_what_the_table_allows(store: Store, status: RunStatus, action: Action) -> None:
    await bring_to(store, status)
    before = await everything(store)
    target = after(status, action)

    if target is None:
        with pytest.raises(IllegalTransition) as refusal:
            await store.act(FIRST, action, NOW)

        assert (refusal.value.run_id, refusal.value.status, refusal.value.action) == (FIRST, status, action)
        assert await everything(store) == before
    else:
        run = await store.act(FIRST, action, NOW + 1)

        assert run.status is target
        assert run == await store.get(FIRST)


@pytest.mark.parametrize("action", OPERATORS)
async def test_there_is_nothing_to_do_with_a_run_that_does_not_exist(store: Store, action: Action) -> None:
    with pytest.raises(RunNotFound) as refusal:
        await store.act(FIRST, action, NOW)

    assert refusal.value.run_id == FIRST


@pytest.mark.parametrize("verb", ["get", "steps", "logs", "events", "history", "delete"])
async def test_there_is_nothing_to_read_of_a_run_that_does_not_exist(store: Store, verb: str) -> None:
    with pytest.raises(RunNotFound) as refusal:
        await getattr(store, verb)(FIRST)

    assert refusal.value.run_id == FIRST


@pytest.mark.parametrize(
    ("status", "action"), [(status, action) for (status, action), target in TRANSITIONS.items() if status is target and action in OPERATORS]
)
async def test_an_action_that_leads_nowhere_changes_nothing(store: Store, status: RunStatus, action: Action) -> None:
    await bring_to(store, status)
    before = await everything(store)

    await store.act(FIRST, action, NOW + 1)

    assert await everything(store) == before


@pytest.mark.parametrize("status", [RunStatus.PENDING, RunStatus.RUNNING])
async def test_pausing_a_run_leaves_it_to_the_worker_that_may_be_executing_a_step(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    await store.act(FIRST, Action.PAUSE, NOW)

    assert await write(store, outcome("charge", 1)) == {(FIRST, 1): RunStatus.PAUSED}
    assert [step.key for step in await store.steps(FIRST)] == ["charge"]


async def test_pausing_and_resuming_often_within_a_step_does_not_lose_the_step(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    for _ in range(3):
        await store.act(FIRST, Action.PAUSE, NOW)
        await store.act(FIRST, Action.PAUSE, NOW)
        await store.act(FIRST, Action.RESUME, NOW)
        await store.act(FIRST, Action.RESUME, NOW)

    answers = await write(store, outcome("charge", 1), move(Action.WAKE))

    run = await store.get(FIRST)
    assert answers == {(FIRST, 1): RunStatus.PENDING}
    assert (run.status, run.worker) == (RunStatus.RUNNING, ALICE)
    assert [step.key for step in await store.steps(FIRST)] == ["charge"]


async def test_pausing_a_sleeping_run_takes_it_from_its_worker(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    run = await store.act(FIRST, Action.PAUSE, NOW)

    assert run.worker is None
    assert dict(await store.standing(ALICE, NOW)) == {}


async def test_a_sleep_that_was_paused_is_ready_at_once_when_it_is_resumed(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)
    await store.act(FIRST, Action.PAUSE, NOW)

    await store.act(FIRST, Action.RESUME, NOW + 5)

    assert (await claim_one(store, BOB, NOW + 5)).claim == 2


async def test_a_delayed_start_that_was_paused_is_ready_at_once_when_it_is_resumed(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 100)])
    await store.act(FIRST, Action.PAUSE, NOW)

    await store.act(FIRST, Action.RESUME, NOW + 5)

    assert (await claim_one(store, BOB, NOW + 5)).claim == 1


async def test_a_run_that_goes_on_as_new_keeps_the_lines_that_were_said_before(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    step_line = line("in a step", 2, after=-1, scope="charge#1.1", step="charge")
    await write(store, line("first page", 1, after=0), step_line, outcome("charge", 1), line("charged", 3, after=1))
    await write(store, move(Action.CONTINUE_AS_NEW))

    claimed = await claim_one(store, BOB)
    again = line("second page", 1, after=0, claim=2, at=NOW + 9)
    await write(store, again, move(Action.CONTINUE_AS_NEW, claim=2), worker=BOB)

    assert claimed.logged == (-1, 0)
    assert [each.message for each in await store.logs(FIRST)] == ["first page", "in a step", "charged", "second page"]


async def test_a_canceled_run_has_its_end_and_no_worker(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)

    run = await store.act(FIRST, Action.CANCEL, NOW + 3)

    assert run.finished_at is not None
    assert (run.finished_at.timestamp(), run.worker) == (NOW + 3, None)
    assert dict(await store.standing(ALICE, NOW)) == {}
