"""Retrying a run that has ended: what is taken back, and what stays."""

from stepwell.core.failure import error_text
from stepwell.core.naming import BODY
from stepwell.core.records import Kind, Tried
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Store
from tests.store.making import (
    BOB,
    FIRST,
    NOW,
    STEP_FAILED,
    Write,
    attempt,
    bring_to,
    claim_one,
    claimed_run,
    failure,
    line,
    move,
    outcome,
    remembered,
    write,
)


async def failed_run(store: Store, *writes: Write, error: str = STEP_FAILED) -> None:
    await claimed_run(store)
    await write(store, *writes)
    await write(store, move(Action.FAIL, error=error))


async def test_a_retried_run_is_pending_and_shows_no_end(store: Store) -> None:
    await failed_run(store, failure("charge", 1))

    run = await store.act(FIRST, Action.RETRY, NOW + 5)

    assert (run.status, run.error, run.finished_at, run.worker, run.attempt) == (RunStatus.PENDING, None, None, None, 1)
    assert run.available_at is not None
    assert run.available_at.timestamp() == NOW + 5


async def test_the_failed_step_is_taken_back_and_finished_ones_stay(store: Store) -> None:
    done = outcome("reserve", 1)
    await failed_run(store, done, failure("charge", 2, asked=1))

    await store.act(FIRST, Action.RETRY, NOW)

    assert remembered((await claim_one(store, BOB)).outcomes) == remembered([done])


async def test_all_that_was_asked_for_in_the_knowledge_of_the_failure_is_taken_back(store: Store) -> None:
    before, beside = outcome("reserve", 1), outcome("beside", 4, asked=1)
    await failed_run(store, before, failure("charge", 2, asked=1), outcome("undo", 3, asked=2), beside, outcome("tell", 5, asked=4))

    await store.act(FIRST, Action.RETRY, NOW)

    assert remembered((await claim_one(store, BOB)).outcomes) == remembered([before, beside])


async def test_the_failed_step_has_a_new_budget_and_its_attempts_are_counted_on(store: Store) -> None:
    await failed_run(store, attempt("charge", 1), attempt("charge", 2), failure("charge", 1, attempt=3))

    await store.act(FIRST, Action.RETRY, NOW)

    assert (await claim_one(store, BOB)).tried == {"charge": Tried(3, 0, 0.0, evidence=False)}


async def test_attempts_of_other_steps_stay_evidence_unless_they_were_asked_for_in_the_knowledge_of_the_failure(store: Store) -> None:
    await failed_run(store, attempt("beside"), failure("charge", 2), attempt("undo", asked=2))

    await store.act(FIRST, Action.RETRY, NOW)

    assert (await claim_one(store, BOB)).tried == {
        "beside": Tried(1, 1, NOW + 10, evidence=True),
        "charge": Tried(1, 0, 0.0, evidence=False),
        "undo": Tried(1, 0, 0.0, evidence=False),
    }


async def test_attempts_that_were_taken_back_are_still_shown(store: Store) -> None:
    await failed_run(store, attempt("charge", 1), failure("charge", 1, attempt=2, started_at=NOW + 10, at=NOW + 11))

    await store.act(FIRST, Action.RETRY, NOW + 20)
    claimed = await claim_one(store, BOB, NOW + 20)
    await write(store, outcome("charge", 1, claim=claimed.claim, attempt=3, started_at=NOW + 20, at=NOW + 21), worker=BOB)

    assert [(step.attempt, step.status) for step in await store.steps(FIRST)] == [(1, "failed"), (2, "failed"), (3, "completed")]


async def test_a_body_that_failed_by_itself_keeps_all_steps_and_is_tried_as_for_the_first_time(store: Store) -> None:
    history = (outcome("reserve", 1), failure("charge", 2), outcome("pack", 3))
    await failed_run(store, *history, attempt(BODY, 1), attempt(BODY, 2), error=error_text(ErrorInfo("ValueError", "no")))

    await store.act(FIRST, Action.RETRY, NOW)

    claimed = await claim_one(store, BOB)
    assert (claimed.tried, claimed.attempt) == ({}, 1)
    assert remembered(claimed.outcomes) == remembered(history)


async def test_a_body_that_fails_again_after_a_retry_counts_from_one(store: Store) -> None:
    await failed_run(store, attempt(BODY, 1), error=error_text(ErrorInfo("ValueError", "no")))
    await store.act(FIRST, Action.RETRY, NOW)
    await claim_one(store, BOB)

    await write(store, attempt(BODY, 1, claim=2), move(Action.RETRY_LATER, claim=2, due=NOW + 5, attempt=2), worker=BOB)

    assert (await claim_one(store, BOB, NOW + 5)).tried == {BODY: Tried(1, 1, NOW + 10, evidence=True)}


async def test_a_step_that_fails_again_after_a_retry_counts_from_there(store: Store) -> None:
    await failed_run(store, failure("charge", 1))
    await store.act(FIRST, Action.RETRY, NOW)
    await claim_one(store, BOB)

    await write(store, attempt("charge", 2, claim=2, due=NOW + 7), move(Action.RELEASE, claim=2), worker=BOB)

    assert (await claim_one(store, BOB)).tried == {"charge": Tried(2, 1, NOW + 7, evidence=True)}


async def test_a_canceled_run_keeps_all_that_it_has_done(store: Store) -> None:
    history = (outcome("reserve", 1), failure("charge", 2))
    await bring_to(store, RunStatus.RUNNING)
    await write(store, *history, attempt("pack", 1))
    await store.act(FIRST, Action.CANCEL, NOW)

    await store.act(FIRST, Action.RETRY, NOW)

    claimed = await claim_one(store, BOB)
    assert (remembered(claimed.outcomes), claimed.claim) == (remembered(history), 2)
    assert claimed.tried == {"pack": Tried(1, 1, NOW + 10, evidence=True)}


async def test_a_run_can_fail_and_be_retried_again_and_again(store: Store) -> None:
    await failed_run(store, outcome("reserve", 1), failure("charge", 2, asked=1))
    for number in (2, 3, 4):
        await store.act(FIRST, Action.RETRY, NOW)
        claimed = await claim_one(store, BOB)
        assert (claimed.claim, claimed.tried) == (number, {"charge": Tried(number - 1, 0, 0.0, evidence=False)})
        await write(store, failure("charge", 2, claim=number, asked=1, attempt=number), worker=BOB)
        await write(store, move(Action.FAIL, claim=number, error=STEP_FAILED), worker=BOB)

    assert [(step.key, step.attempt) for step in await store.steps(FIRST)][1:] == [("charge", number) for number in (1, 2, 3, 4)]


async def test_sleeps_and_timers_that_are_taken_back_leave_no_trace(store: Store) -> None:
    await failed_run(store, failure("charge", 1), outcome("nap", 2, asked=1, kind=Kind.SLEEP, value=None))

    await store.act(FIRST, Action.RETRY, NOW)

    assert [(step.key, step.status) for step in await store.steps(FIRST)] == [("charge", "failed")]
    assert (await claim_one(store, BOB)).outcomes == ()


async def test_lines_said_before_what_is_taken_back_are_not_said_again(store: Store) -> None:
    await failed_run(store, outcome("reserve", 1), line("reserved", after=1), failure("charge", 2, asked=1))

    await store.act(FIRST, Action.RETRY, NOW)

    assert (await claim_one(store, BOB)).logged == (1, 1)


async def test_a_line_said_after_a_retry_is_stored_beside_the_one_that_was_said_there_before(store: Store) -> None:
    await failed_run(store, line("begun", 1, after=0), failure("charge", 1), line("charge failed", 2, after=1))

    await store.act(FIRST, Action.RETRY, NOW)
    claimed = await claim_one(store, BOB)
    await write(store, outcome("charge", 1, claim=2, attempt=2), line("charged", 2, after=1, claim=2, at=NOW + 9), worker=BOB)

    assert claimed.logged == (0, 1)
    assert [each.message for each in await store.logs(FIRST)] == ["begun", "charge failed", "charged"]


async def test_lines_of_several_retries_are_all_kept(store: Store) -> None:
    await failed_run(store, failure("charge", 1), line("failed once", after=1))
    await store.act(FIRST, Action.RETRY, NOW)
    await claim_one(store, BOB)
    await write(store, failure("charge", 1, claim=2, attempt=2), line("failed twice", after=1, claim=2, at=NOW + 2), worker=BOB)
    await write(store, move(Action.FAIL, claim=2, error=STEP_FAILED), worker=BOB)

    await store.act(FIRST, Action.RETRY, NOW)

    assert (await claim_one(store, BOB)).logged == (-1, 0)
    assert [each.message for each in await store.logs(FIRST)] == ["failed once", "failed twice"]
