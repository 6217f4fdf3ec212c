"""What is read: a run, its steps, its lines, what a worker owns; and what is left by a worker that is gone."""

from datetime import UTC, datetime

import pytest

from stepwell.core.naming import BODY
from stepwell.core.records import Kind, LogLine, StepRecord
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    STEP_FAILED,
    attempt,
    bring_to,
    claim_one,
    claimed_run,
    claims,
    failure,
    leave,
    line,
    move,
    new_run,
    outcome,
    progress,
    remembered,
    run_id,
    started,
    write,
)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# -- steps


async def test_a_step_is_shown_with_its_result_and_its_times(store: Store) -> None:
    await claimed_run(store)

    await write(store, outcome("@0.1/send%2Fmail:3", 1, value='{"id": 7}', attempt=2, started_at=NOW + 1, at=NOW + 2.5))

    assert await store.steps(FIRST) == [
        StepRecord(
            key="@0.1/send%2Fmail:3", name="send/mail", kind="function", status="completed", attempt=2, output={"id": 7}, error=None,
            started_at=at(NOW + 1), finished_at=at(NOW + 2.5),
        )
    ]  # fmt: skip


async def test_attempts_are_shown_with_what_became_of_them(store: Store) -> None:
    await claimed_run(store)
    canceled = attempt("charge", 2, canceled=True, error=None, due=None, started_at=NOW + 1, finished_at=NOW + 2)

    await write(store, attempt("charge", 1), canceled, failure("charge", 1, attempt=3, started_at=NOW + 3, at=NOW + 4))

    steps = await store.steps(FIRST)
    assert [(step.attempt, step.status, step.output) for step in steps] == [(1, "failed", None), (2, "canceled", None), (3, "failed", None)]
    assert [step.error for step in steps] == [ErrorInfo("CardDeclined", "no funds"), None, ErrorInfo("CardDeclined", "no funds")]


async def test_a_failed_attempt_says_when_the_next_is_due_and_the_one_that_settles_its_step_does_not(store: Store) -> None:
    await claimed_run(store)

    await write(store, attempt("ship", due=NOW + 60), attempt("charge", 1), failure("charge", 1, attempt=2, started_at=NOW + 3, at=NOW + 4))

    due = {(step.key, step.attempt): step.retry_at for step in await store.steps(FIRST)}
    assert due[("ship", 1)] == at(NOW + 60)
    assert due[("charge", 2)] is None


async def test_an_attempt_that_a_retry_has_taken_back_waits_for_no_other(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", due=NOW + 60), move(Action.FAIL, error=STEP_FAILED))

    await store.act(FIRST, Action.RETRY, NOW + 5)

    (step,) = await store.steps(FIRST)
    assert (step.status, step.retry_at) == ("failed", None)


async def test_a_run_shows_who_has_claimed_it_last_and_when_also_when_it_has_ended(store: Store) -> None:
    await store.enqueue([new_run()])
    before = await store.get(FIRST)
    await claim_one(store, now=NOW)
    await leave(store, now=NOW + 5)
    await claim_one(store, BOB, now=NOW + 7)
    await write(store, move(Action.COMPLETE, claim=2), worker=BOB, now=NOW + 9)

    run = await store.get(FIRST)
    assert (before.claimed_at, before.claimed_by) == (None, None)
    assert (run.started_at, run.claimed_at, run.claimed_by, run.worker) == (at(NOW), at(NOW + 7), BOB, None)


@pytest.mark.parametrize(("kind", "word"), [(Kind.FUNCTION, "function"), (Kind.SLEEP, "sleep"), (Kind.VALUE, "value")])
async def test_the_kind_of_a_step_is_a_word(store: Store, kind: Kind, word: str) -> None:
    await claimed_run(store)

    await write(store, outcome("x", 1, kind=kind, value=None))

    (step,) = await store.steps(FIRST)
    assert (step.kind, step.output, step.status) == (word, None, "completed")


async def test_timers_of_asyncio_and_attempts_of_the_body_are_no_steps(store: Store) -> None:
    await claimed_run(store)

    await write(store, outcome("~timer", 1, kind=Kind.TIMER, value=None), attempt(BODY, 1))

    assert await store.steps(FIRST) == []


async def test_steps_are_in_the_order_in_which_they_were_started(store: Store) -> None:
    await claimed_run(store)

    await write(store, outcome("long", 3, started_at=NOW, at=NOW + 9), attempt("tried", 1, started_at=NOW + 1, finished_at=NOW + 8))
    await write(
        store, outcome("tried", 4, attempt=2, started_at=NOW + 10, at=NOW + 11), outcome("short", 5, started_at=NOW + 2, at=NOW + 12)
    )

    assert [(step.key, step.attempt) for step in await store.steps(FIRST)] == [("long", 1), ("tried", 1), ("short", 1), ("tried", 2)]


async def test_of_steps_started_in_one_moment_those_asked_for_first_come_first(store: Store) -> None:
    await claimed_run(store)

    await write(store, outcome("reserve", 1, started_at=NOW, at=NOW), attempt("charge", 1, asked=1, started_at=NOW, finished_at=NOW))
    await write(
        store, outcome("charge", 2, asked=1, attempt=2, started_at=NOW, at=NOW), outcome("ship", 3, asked=2, started_at=NOW, at=NOW)
    )

    steps = [(step.key, step.attempt) for step in await store.steps(FIRST)]
    assert steps == [("reserve", 1), ("charge", 1), ("charge", 2), ("ship", 1)]


# -- attempts that are under way


async def shown(store: Store) -> list[tuple[str, int, str]]:
    return [(step.key, step.attempt, step.status) for step in await store.steps(FIRST)]


async def test_an_attempt_that_is_under_way_is_shown_as_running(store: Store) -> None:
    await claimed_run(store)

    await write(store, started("@0.1/send%2Fmail:3", 2, started_at=NOW + 1.5))

    assert await store.steps(FIRST) == [
        StepRecord(
            key="@0.1/send%2Fmail:3", name="send/mail", kind="function", status="running", attempt=2, output=None, error=None,
            started_at=at(NOW + 1.5), finished_at=None,
        )
    ]  # fmt: skip


async def test_an_attempt_that_is_over_is_shown_once_with_its_end(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("charge", 1), started("ship", 1))
    await write(store, attempt("charge", 1), started("charge", 2), outcome("ship", 1, started_at=NOW))

    assert sorted(await shown(store)) == [("charge", 1, "failed"), ("charge", 2, "running"), ("ship", 1, "completed")]


async def test_an_attempt_goes_on_while_its_run_is_being_paused(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("charge"))

    await store.act(FIRST, Action.PAUSE, NOW)

    assert await shown(store) == [("charge", 1, "running")]


async def test_an_attempt_whose_run_was_taken_from_its_worker_does_not_go_on(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("charge"))

    await leave(store)
    assert await shown(store) == []

    await claim_one(store, BOB)
    assert await shown(store) == []


@pytest.mark.parametrize("action", [Action.COMPLETE, Action.FAIL, Action.PARK, Action.RELEASE, Action.CONTINUE_AS_NEW])
async def test_an_attempt_of_a_run_that_is_not_in_execution_does_not_go_on(store: Store, action: Action) -> None:
    await claimed_run(store)
    await write(store, started("charge"))

    await write(store, move(action))

    assert await shown(store) == []


async def test_the_same_mark_again_changes_nothing(store: Store) -> None:
    await claimed_run(store)

    for _ in range(2):
        assert await write(store, started("charge")) == {}

    assert await shown(store) == [("charge", 1, "running")]


async def test_no_replay_reads_that_an_attempt_was_under_way(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("charge"), move(Action.RELEASE))

    assert (await claim_one(store, BOB)).tried == {}


async def test_a_run_that_has_done_nothing_has_no_steps_and_no_lines(store: Store) -> None:
    await store.enqueue([new_run()])

    assert (await store.steps(FIRST), await store.logs(FIRST)) == ([], [])


# -- lines


async def test_a_line_is_shown_as_it_was_said(store: Store) -> None:
    await claimed_run(store)

    await write(store, line("Grüße ✓", 1, level="warning", fields='{"n": [1, null]}', step="charge", after=-1, scope="charge#1.1"))

    assert await store.logs(FIRST) == [LogLine(at=at(NOW + 1), level="warning", message="Grüße ✓", fields={"n": [1, None]}, step="charge")]


async def test_lines_are_in_order_of_time_whatever_the_order_of_writing(store: Store) -> None:
    await claimed_run(store)

    await write(store, line("third", 3), line("first", 1))
    await write(store, line("second", 2))

    assert [each.message for each in await store.logs(FIRST)] == ["first", "second", "third"]


async def test_lines_of_one_moment_are_in_the_order_in_which_they_were_said(store: Store) -> None:
    await claimed_run(store)

    await write(store, *(line(f"{after}.{n}", n, after=after, at=NOW) for after in (0, 2, 10) for n in (1, 2, 11)))

    assert [each.message for each in await store.logs(FIRST)] == ["0.1", "0.2", "0.11", "2.1", "2.2", "2.11", "10.1", "10.2", "10.11"]


# -- what a worker owns


async def test_lines_are_chosen_by_level_and_by_step(store: Store) -> None:
    await claimed_run(store)
    said = [
        line(f"{level} {n}", n, level=level, step="charge" if n > 2 else None)
        for n, level in enumerate(("debug", "info", "error", "info"), 1)
    ]
    await write(store, *said)

    assert [each.message for each in await store.logs(FIRST, levels=("info", "error"))] == ["info 2", "error 3", "info 4"]
    assert [each.message for each in await store.logs(FIRST, step="charge")] == ["error 3", "info 4"]
    assert [each.message for each in await store.logs(FIRST, step="charge", levels=("error",))] == ["error 3"]
    assert [each.message for each in await store.logs(FIRST, 1, 1, levels=("info", "error"))] == ["error 3"]
    assert await store.logs(FIRST, levels=()) == []
    assert await store.logs(FIRST, step="charge\0") == []


async def test_the_last_lines_are_read_from_the_end_and_come_in_order(store: Store) -> None:
    await claimed_run(store)
    await write(store, *(line(str(n), n) for n in range(1, 6)))

    assert [each.message for each in await store.logs(FIRST, 0, 2, last=True)] == ["4", "5"]
    assert [each.message for each in await store.logs(FIRST, 2, 2, last=True)] == ["2", "3"]
    assert [each.message for each in await store.logs(FIRST, 4, 2, last=True)] == ["1"]
    assert await store.logs(FIRST, 5, 2, last=True) == []


async def test_standing_has_every_run_that_the_worker_owns_and_no_other(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 8)])
    await claims(store, ALICE, 5, NOW)
    await claims(store, BOB, 1, NOW)
    await write(store, move(Action.PARK, run=run_id(2), keep=True), move(Action.COMPLETE, run=run_id(3)))
    await store.act(run_id(4), Action.PAUSE, NOW)
    await store.act(run_id(5), Action.PAUSE, NOW)
    await store.act(run_id(5), Action.RESUME, NOW)

    assert dict(await store.standing(ALICE, NOW)) == {
        run_id(1): (1, RunStatus.RUNNING),
        run_id(2): (1, RunStatus.SLEEPING),
        run_id(4): (1, RunStatus.PAUSED),
        run_id(5): (1, RunStatus.PENDING),
    }
    assert dict(await store.standing(BOB, NOW)) == {run_id(6): (1, RunStatus.RUNNING)}
    assert dict(await store.standing("carol", NOW)) == {}


# -- a worker that is gone


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (RunStatus.RUNNING, RunStatus.PENDING),
        (RunStatus.SLEEPING, RunStatus.SLEEPING),
        (RunStatus.PAUSED, RunStatus.PAUSED),
        (RunStatus.PENDING, RunStatus.PENDING),
    ],
)
async def test_everything_is_taken_from_a_worker_that_is_gone(store: Store, status: RunStatus, then: RunStatus) -> None:
    await bring_to(store, status)

    count = await leave(store)

    run = await store.get(FIRST)
    assert (count, run.status, run.worker) == (1, then, None)
    assert dict(await store.standing(ALICE, NOW)) == {}


async def test_handing_back_a_second_time_finds_nothing(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await leave(store)

    assert await leave(store) == 0


async def test_what_it_executed_can_be_claimed_at_once_with_all_that_it_had_written(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING)
    await write(store, outcome("charge", 1), attempt("ship"), line("hello", after=1), progress())

    await leave(store, now=NOW + 5)

    claimed = await claim_one(store, BOB, NOW + 5)
    assert (claimed.claim, claimed.attempt, claimed.logged) == (2, 1, (1, 1))
    assert remembered(claimed.outcomes) == remembered([outcome("charge", 1)])
    assert list(claimed.tried) == ["ship"]


async def test_what_slept_there_goes_on_sleeping(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)

    await leave(store, now=NOW + 5)

    assert await claims(store, BOB, 1, NOW + 59) == []
    assert (await claim_one(store, BOB, NOW + 60)).claim == 2


async def test_what_was_paused_there_can_be_claimed_when_it_is_resumed(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED)
    await leave(store)

    await store.act(FIRST, Action.RESUME, NOW)

    assert (await claim_one(store, BOB)).claim == 2


async def test_what_was_resumed_there_can_be_claimed(store: Store) -> None:
    await bring_to(store, RunStatus.PENDING)

    await leave(store)

    assert (await claim_one(store, BOB)).claim == 2


async def test_runs_of_other_workers_and_ended_ones_are_left_alone(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2), new_run(3)])
    await claims(store, ALICE, 2, NOW)
    await claims(store, BOB, 1, NOW)
    await write(store, move(Action.COMPLETE))

    assert await leave(store) == 1
    assert [(await store.get(run_id(number))).status for number in (1, 2, 3)] == ["completed", "pending", "running"]
