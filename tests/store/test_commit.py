"""What a worker writes: the fence, the answers, and the same batch again after a lost answer."""

import pytest

from stepwell.core.naming import BODY
from stepwell.core.records import RunProgress
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    WRITTEN_BY_WORKERS,
    Write,
    attempt,
    batch,
    bring_to,
    cancel_child,
    claim_one,
    claimed_run,
    claims,
    everything,
    failure,
    leave,
    line,
    move,
    new_run,
    outcome,
    progress,
    run_id,
    start_child,
    started,
    write,
)

EVERY_KIND: list[Write] = [
    outcome("charge", 1),
    failure("charge", 1),
    attempt("charge"),
    attempt(BODY),
    line("hello"),
    progress(),
    started("ship"),
    start_child(),
    cancel_child(),
    *(move(action) for action in WRITTEN_BY_WORKERS),
    move(Action.PARK, keep=True),
]


def named(value: object) -> str | None:
    action = getattr(value, "action", "")
    return f"{type(value).__name__}-{action}" if isinstance(value, tuple) else None


# -- answers


async def test_nothing_is_answered_when_all_is_well(store: Store) -> None:
    await claimed_run(store)

    assert await write(store, outcome("charge", 1), attempt("ship"), line("hello"), progress()) == {}
    assert await write(store, move(Action.PARK, keep=True)) == {}
    assert await write(store, outcome("ship", 2)) == {}
    assert await write(store, move(Action.WAKE)) == {}
    assert await write(store, move(Action.COMPLETE)) == {}


async def test_an_empty_batch_is_answered_with_nothing(store: Store) -> None:
    assert await write(store) == {}


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
@pytest.mark.parametrize("status", list(RunStatus))
async def test_each_write_is_answered_with_a_status_that_the_worker_does_not_expect(
    store: Store, status: RunStatus, written: Write
) -> None:
    await bring_to(store, status)

    answers = await write(store, written)

    expected = {} if status in (RunStatus.RUNNING, RunStatus.SLEEPING) else {(FIRST, 1): status}
    assert answers == expected


async def test_one_answer_a_run_and_only_for_the_runs_of_the_batch(store: Store) -> None:
    await store.enqueue([new_run(number) for number in (1, 2, 3)])
    await claims(store, ALICE, 3, NOW)
    await store.act(run_id(2), Action.PAUSE, NOW)
    await store.act(run_id(3), Action.CANCEL, NOW)

    answers = await write(store, outcome("a", 1), outcome("a", 1, run=run_id(2)), line("b", run=run_id(2)), progress(run=run_id(2)))

    assert answers == {(run_id(2), 1): RunStatus.PAUSED}


async def test_the_status_answered_is_the_one_before_the_move_of_the_batch(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED)

    answers = await write(store, outcome("charge", 1), move(Action.RELEASE))

    assert answers == {(FIRST, 1): RunStatus.PAUSED}


# -- what is written


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING])
async def test_the_holder_of_a_claim_writes_while_the_run_lives(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    await write(store, outcome("charge", 1), attempt("ship", started_at=NOW + 1), line("hello"), progress(3))

    run, steps, logs, *_ = await everything(store)
    assert [(step.key, step.status) for step in steps] == [("charge", "completed"), ("ship", "failed")]
    assert [each.message for each in logs] == ["hello"]
    assert run.progress == RunProgress(done=3.0, total=10.0, message=None)


@pytest.mark.parametrize("status", [status for status in RunStatus if status.ended])
@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_nothing_is_written_to_a_run_that_has_ended(store: Store, status: RunStatus, written: Write) -> None:
    await bring_to(store, status)
    before = await everything(store)

    await write(store, written)

    assert await everything(store) == before


async def test_a_batch_writes_to_many_runs(store: Store) -> None:
    runs = [run_id(number) for number in range(1, 101)]
    await store.enqueue([new_run(number) for number in range(1, 101)])
    await claims(store, ALICE, 100, NOW)

    answers = await write(store, *(outcome("charge", 1, run=run) for run in runs), *(move(Action.COMPLETE, run=run) for run in runs))

    assert answers == {}
    assert {(await store.get(run)).status for run in runs} == {RunStatus.COMPLETED}


# -- the fence


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_another_worker_writes_nothing(store: Store, written: Write) -> None:
    await claimed_run(store)
    before = await everything(store)

    answers = await write(store, written, worker=BOB)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
@pytest.mark.parametrize("claimer", [ALICE, BOB])
async def test_an_older_claim_writes_nothing_be_it_the_same_workers(store: Store, claimer: str, written: Write) -> None:
    await claimed_run(store)
    await leave(store)
    await claim_one(store, claimer)
    before = await everything(store)

    answers = await write(store, written)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_a_worker_whose_runs_were_handed_back_writes_nothing_before_others_claim_them(store: Store, written: Write) -> None:
    await claimed_run(store)
    await leave(store)
    before = await everything(store)

    answers = await write(store, written)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_a_worker_from_which_a_sleeping_run_was_paused_writes_nothing(store: Store, written: Write) -> None:
    await bring_to(store, RunStatus.SLEEPING)
    await store.act(FIRST, Action.PAUSE, NOW)
    before = await everything(store)

    answers = await write(store, written)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_a_canceled_run_that_is_retried_is_no_longer_its_old_workers(store: Store, written: Write) -> None:
    await bring_to(store, RunStatus.CANCELED)
    await store.act(FIRST, Action.RETRY, NOW)
    before = await everything(store)

    answers = await write(store, written)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
async def test_a_run_that_does_not_exist_is_nobodys(store: Store, written: Write) -> None:
    assert await write(store, written) == {(FIRST, 1): None}


async def test_the_fence_keeps_out_one_run_of_a_batch_and_not_the_others(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store, ALICE, 1, NOW)
    await claims(store, BOB, 1, NOW)

    answers = await write(store, outcome("charge", 1), outcome("charge", 1, run=run_id(2)))

    assert answers == {(run_id(2), 1): None}
    assert [len(await store.steps(run_id(number))) for number in (1, 2)] == [1, 0]


async def test_two_claims_of_one_run_in_one_batch_are_told_apart(store: Store) -> None:
    await claimed_run(store)
    await leave(store)
    await claim_one(store)

    answers = await write(store, outcome("old", 1), outcome("new", 1, claim=2))

    assert answers == {(FIRST, 1): None}
    assert [step.key for step in await store.steps(FIRST)] == ["new"]


# -- the answer was lost: the same batch again, a little later


@pytest.mark.parametrize("written", EVERY_KIND, ids=named)
@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING])
async def test_the_same_batch_again_changes_nothing(store: Store, status: RunStatus, written: Write) -> None:
    await bring_to(store, status)
    await write(store, outcome("before", 9), written)
    before = await everything(store)

    await write(store, outcome("before", 9), written, now=NOW + 5)

    assert await everything(store) == before


@pytest.mark.parametrize("action", [Action.RELEASE, Action.PARK, Action.RETRY_LATER, Action.CONTINUE_AS_NEW])
async def test_the_same_batch_again_changes_nothing_after_another_worker_has_claimed_the_run(store: Store, action: Action) -> None:
    await claimed_run(store)
    writes = (outcome("charge", 1), attempt("ship"), line("hello"), progress(), move(action))
    await write(store, *writes)
    await claim_one(store, BOB, NOW + 100)
    before = await everything(store)

    answers = await write(store, *writes, now=NOW + 101)

    assert answers == {(FIRST, 1): None}
    assert await everything(store) == before


@pytest.mark.parametrize(
    "at", [NOW + 1 / 3, NOW + 0.1, 1_754_000_000.123456, 1_754_000_000.1234564, 1_799_999_999.9999998, 4_000_000_000.000001], ids=str
)
async def test_the_same_outcome_again_changes_nothing_whatever_its_instants(store: Store, at: float) -> None:
    await claimed_run(store)
    written = outcome("charge", 1, started_at=at - 0.7, at=at)
    await write(store, written)

    assert await write(store, written) == {}

    (kept,) = await store.outcomes(FIRST, 0, 10)
    assert abs(kept.at - at) < 1e-6
    assert abs(kept.started_at - written.started_at) < 1e-6


async def test_a_run_continued_as_new_twice_by_one_batch_is_one_generation_further(store: Store) -> None:
    await claimed_run(store)

    await write(store, outcome("charge", 1), move(Action.CONTINUE_AS_NEW))
    await write(store, outcome("charge", 1), move(Action.CONTINUE_AS_NEW))

    assert (await claim_one(store)).generation == 1


async def test_the_end_written_again_is_answered_with_the_end(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.COMPLETE))

    assert await write(store, move(Action.COMPLETE), now=NOW + 5) == {(FIRST, 1): RunStatus.COMPLETED}


# -- conflicts


async def test_another_outcome_for_a_key_is_refused_loudly(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1))

    with pytest.raises(RuntimeError, match="charge"):
        await write(store, outcome("charge", 2))


@pytest.mark.parametrize(
    "changed", [{"value": '"other"'}, {"ok": False}, {"at": NOW + 1.000001}, {"asked": 1}, {"kind": 1}, {"attempt": 2}], ids=str
)
async def test_an_outcome_that_differs_in_anything_is_another_one(store: Store, changed: dict[str, object]) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1))

    with pytest.raises(RuntimeError, match="charge"):
        await write(store, outcome("charge", 1, **changed))


async def test_of_a_batch_with_a_conflict_nothing_is_written(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store, ALICE, 2, NOW)
    await write(store, outcome("charge", 1))
    before = [await everything(store, run_id(number)) for number in (1, 2)]

    with pytest.raises(RuntimeError):
        await write(store, outcome("pack", 1, run=run_id(2)), line("hello", run=run_id(2)), outcome("charge", 2), move(Action.COMPLETE))

    assert [await everything(store, run_id(number)) for number in (1, 2)] == before


async def test_numbers_and_keys_of_other_runs_are_no_conflict(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store, ALICE, 2, NOW)

    assert await write(store, outcome("charge", 1), outcome("charge", 1, run=run_id(2), value="2")) == {}


async def test_a_conflict_behind_the_fence_is_none(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1))

    assert await write(store, outcome("charge", 2), worker=BOB) == {(FIRST, 1): None}


# -- logs and progress


async def test_a_line_with_a_place_that_is_taken_is_not_stored(store: Store) -> None:
    await claimed_run(store)

    await write(store, line("first", 1), line("second", 2))
    await write(store, line("first, said again", 1), line("third", 1, after=3, at=NOW + 9))

    assert [each.message for each in await store.logs(FIRST)] == ["first", "second", "third"]


async def test_lines_of_different_scopes_are_different_lines(store: Store) -> None:
    await claimed_run(store)

    await write(store, line("a", 1, after=-1, scope="charge#1.1", step="charge"), line("b", 1, after=-1, scope="charge#2.1", at=NOW + 2))

    assert [(each.message, each.step) for each in await store.logs(FIRST)] == [("a", "charge"), ("b", None)]


async def test_the_last_progress_is_shown(store: Store) -> None:
    await claimed_run(store)

    await write(store, progress(1.0, message="begun"))
    await write(store, progress(0.30000000000000004, total=None, message="half"))

    assert (await store.get(FIRST)).progress == RunProgress(done=0.30000000000000004, total=None, message="half")


async def test_attempts_are_kept_by_number(store: Store) -> None:
    await claimed_run(store)

    await write(store, attempt("charge", 1))
    await write(store, attempt("charge", 1), attempt("charge", 2, started_at=NOW + 10, finished_at=NOW + 11))

    assert [step.attempt for step in await store.steps(FIRST)] == [1, 2]


def test_the_batches_here_hold_every_kind_of_write() -> None:
    kinds = {type(each) for each in EVERY_KIND}

    assert len(kinds) == len(batch())
