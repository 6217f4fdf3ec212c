"""Forking: a new run with the history of another up to a step."""

import pytest

from stepwell.core.naming import BODY
from stepwell.core.records import Kind, Outcome, Tried
from stepwell.core.status import Action, RunStatus
from stepwell.errors import DefinitionError, RunNotFound
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    LANE,
    NOW,
    STEP_FAILED,
    attempt,
    bring_to,
    claim_one,
    claimed_run,
    claims,
    everything,
    failure,
    line,
    move,
    new_run,
    numbers,
    outcome,
    progress,
    remembered,
    run_id,
    write,
)

SECOND = run_id(2)


def copied(*outcomes: Outcome) -> list[Outcome]:
    return [each._replace(run=SECOND, claim=0) for each in outcomes]


async def fork(store: Store, from_step: str = "charge", number: int = 2, **changed: object) -> str:
    return await store.fork(FIRST, new_run(number, **{"created_at": NOW + 9, **changed}), from_step, "eve")


async def test_a_fork_has_the_outcomes_before_the_step_and_begins_with_it(store: Store) -> None:
    before, beside = outcome("reserve", 1), outcome("beside", 4, asked=1)
    await claimed_run(store)
    await write(store, before, outcome("charge", 2, asked=1), outcome("ship", 3, asked=2), beside, outcome("tell", 5, asked=4))
    await write(store, move(Action.COMPLETE))

    assert await fork(store) == SECOND

    (claimed,) = await claims(store, BOB)
    assert (claimed.id, claimed.claim, claimed.attempt, claimed.generation) == (SECOND, 1, 1, 0)
    assert remembered(claimed.outcomes) == copied(before, beside)


async def test_a_fork_is_a_run_like_others_that_says_where_it_comes_from(store: Store) -> None:
    await claimed_run(store, tags=("eu",), key="order-7")
    await write(store, outcome("charge", 1), progress(), line("hello"))

    await fork(store, version="v2", input='{"a": 2}', tags=("again",), queue="slow", priority=3, timeout=60.0)

    run = await store.get(SECOND)
    assert (run.status, run.forked_from, run.version, run.input, run.tags) == (RunStatus.PENDING, FIRST, "v2", {"a": 2}, ("again",))
    assert (run.queue, run.priority, run.key, run.worker, run.started_at, run.finished_at) == ("slow", 3, None, None, None, None)
    assert (run.output, run.error, run.progress) == (None, None, None)
    assert run.deadline_at is not None
    assert run.deadline_at.timestamp() == NOW + 69
    assert LANE._replace(queue="slow", version="v2") in await store.lanes()


@pytest.mark.parametrize("status", list(RunStatus))
async def test_the_source_is_left_as_it_is_whatever_it_is_doing(store: Store, status: RunStatus) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1), attempt("ship"), line("hello"))
    if status is not RunStatus.RUNNING:
        await _bring_on(store, status)
    before = await everything(store)

    await fork(store)

    assert await everything(store) == before
    assert (await store.get(FIRST)).forked_from is None


async def _bring_on(store: Store, status: RunStatus) -> None:
    match status:
        case RunStatus.SLEEPING:
            await write(store, move(Action.PARK))
        case RunStatus.PENDING:
            await write(store, move(Action.RELEASE))
        case RunStatus.PAUSED:
            await store.act(FIRST, Action.PAUSE, NOW)
        case RunStatus.CANCELED:
            await store.act(FIRST, Action.CANCEL, NOW)
        case _:
            await write(store, move(Action.COMPLETE if status is RunStatus.COMPLETED else Action.FAIL))


async def test_a_fork_goes_its_own_way(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("reserve", 1), outcome("charge", 2, asked=1))
    await fork(store)
    (claimed,) = await claims(store, BOB)

    other = outcome("charge", 2, run=SECOND, claim=claimed.claim, asked=1, value='"other"')
    assert await write(store, other, worker=BOB) == {}

    assert [step.output for step in await store.steps(FIRST)] == ["done", "done"]
    assert [step.output for step in await store.steps(SECOND)] == ["done", "other"]


async def test_attempts_that_stay_are_copied_and_others_are_not(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", 1), attempt("beside", 1), attempt("undo", 1, asked=1), attempt(BODY, 1))
    await write(store, outcome("charge", 1, attempt=2))

    await fork(store)

    (claimed,) = await claims(store, BOB)
    assert claimed.tried == {"beside": Tried(1, 1, NOW + 10, evidence=True)}


async def test_attempts_that_a_retry_had_taken_back_are_not_copied(store: Store) -> None:
    await claimed_run(store)
    await write(store, failure("charge", 1), outcome("reserve", 2), move(Action.FAIL, error=STEP_FAILED))
    await store.act(FIRST, Action.RETRY, NOW)

    await fork(store, "reserve")

    assert (await store.history(SECOND)).tried == {}
    assert await store.steps(SECOND) == []


async def test_lines_and_events_are_not_copied(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("reserve", 1), outcome("charge", 2), line("hello"))
    await store.act(FIRST, Action.PAUSE, NOW)

    await fork(store)

    assert await store.logs(SECOND) == []
    assert [(event.action, event.actor) for event in await store.events(SECOND)] == [("fork", "eve")]
    assert (await store.history(SECOND)).logged == (-1, 0)


async def test_one_can_fork_from_a_step_that_has_failed(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("reserve", 1), failure("charge", 2, asked=1))

    await fork(store)

    assert remembered((await store.history(SECOND)).outcomes) == copied(outcome("reserve", 1))


async def test_one_can_fork_from_a_sleep_and_a_value(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("now", 1, kind=Kind.VALUE), outcome("nap", 2, kind=Kind.SLEEP, value=None, asked=1))

    await fork(store, "nap", 2)
    await fork(store, "now", 3)

    assert [each.key for each in (await store.history(SECOND)).outcomes] == ["now"]
    assert (await store.history(run_id(3))).outcomes == ()


async def test_a_step_without_an_outcome_cannot_be_forked_from_and_the_message_says_which_can(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("reserve", 1), outcome("pack", 2), attempt("charge"), outcome("~timer", 3, kind=Kind.TIMER, value=None))

    with pytest.raises(DefinitionError, match="charge") as refusal:
        await fork(store)

    assert "reserve" in str(refusal.value)
    assert "pack" in str(refusal.value)
    assert "timer" not in str(refusal.value)
    with pytest.raises(RunNotFound):
        await store.get(SECOND)


async def test_a_run_that_does_not_exist_cannot_be_forked(store: Store) -> None:
    with pytest.raises(RunNotFound) as refusal:
        await fork(store)

    assert refusal.value.run_id == FIRST


async def test_the_same_fork_again_changes_nothing(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("reserve", 1), attempt("beside"), outcome("charge", 2, asked=1))
    await fork(store)
    await store.act(SECOND, Action.PAUSE, NOW)
    before = await everything(store, SECOND)

    assert await fork(store) == SECOND

    assert await everything(store, SECOND) == before


async def test_a_fork_can_be_forked_and_outlives_its_source(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await write(store, outcome("reserve", 1), outcome("charge", 2, asked=1), move(Action.COMPLETE))
    await fork(store)
    await store.delete(FIRST)

    await store.fork(SECOND, new_run(3), "reserve")

    assert (await store.get(SECOND)).forked_from == FIRST
    assert (await store.get(run_id(3))).forked_from == SECOND
    assert sorted(numbers(await claims(store, ALICE))) == [2, 3]


async def test_a_long_history_is_copied_whole(store: Store) -> None:
    await claimed_run(store)
    recorded = [outcome(f"step:{number}", number, asked=number - 1) for number in range(1, 1_201)]
    await write(store, *recorded)

    await fork(store, "step:1200")

    assert remembered(await store.outcomes(SECOND, 0, 5_000)) == copied(*recorded[:-1])


async def test_a_fork_is_claimed_like_a_run_that_has_not_begun(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1))
    await fork(store)

    claimed = await claim_one(store, BOB, NOW + 20)

    assert (claimed.id, claimed.claim, claimed.started_at, claimed.created_at) == (SECOND, 1, NOW + 20, NOW + 9)
