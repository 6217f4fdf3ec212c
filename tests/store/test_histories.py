"""Long histories, which come in pages; and a history that is looked at without claiming the run."""

from stepwell.core.records import Outcome, Tried
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    attempt,
    claim_one,
    claimed_run,
    claims,
    line,
    move,
    new_run,
    outcome,
    remembered,
    run_id,
    write,
)


def long_history(count: int, run: str = FIRST) -> list[Outcome]:
    return [outcome(f"step:{number}", number, run=run, asked=number - 1) for number in range(1, count + 1)]


async def test_a_history_that_is_too_long_for_a_claim_says_so_and_the_rest_comes_in_pages(store: Store) -> None:
    recorded = long_history(1_200)
    await claimed_run(store)
    await write(store, *recorded, move(Action.RELEASE))

    claimed = await claim_one(store)

    assert not claimed.complete
    outcomes = list(claimed.outcomes)
    assert remembered(outcomes) == remembered(recorded[: len(outcomes)])
    while page := await store.outcomes(FIRST, outcomes[-1].seq if outcomes else 0, 70):
        assert len(page) <= 70
        outcomes += page
    assert remembered(outcomes) == remembered(recorded)


async def test_a_history_of_a_thousand_outcomes_comes_whole(store: Store) -> None:
    recorded = long_history(1_000)
    await claimed_run(store)
    await write(store, *recorded, move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.complete
    assert remembered(claimed.outcomes) == remembered(recorded)


async def test_the_histories_of_one_claim_share_the_room(store: Store) -> None:
    runs = [run_id(number) for number in range(1, 5)]
    await store.enqueue([new_run(number) for number in range(1, 5)])
    await claims(store)
    histories = {run: long_history(count, run) for run, count in zip(runs, (400, 700, 3, 0), strict=True)}
    await write(store, *(each for history in histories.values() for each in history), *(move(Action.RELEASE, run=run) for run in runs))

    claimed = {each.id: each for each in await claims(store, BOB)}

    assert not all(each.complete for each in claimed.values())
    for run, each in claimed.items():
        assert remembered(each.outcomes) == remembered(histories[run][: len(each.outcomes)])
        assert len(each.outcomes) == len(histories[run]) or not each.complete
        after = each.outcomes[-1].seq if each.outcomes else 0
        assert remembered([*each.outcomes, *await store.outcomes(run, after, 5_000)]) == remembered(histories[run])


async def test_steps_of_a_history_that_was_cut_are_not_taken_for_untried(store: Store) -> None:
    await claimed_run(store)
    await write(store, *long_history(1_100), attempt("step:1100", 1), attempt("tried", 1, asked=1_100), move(Action.RELEASE))

    claimed = await claim_one(store)

    assert claimed.tried == {"tried": Tried(1, 1, NOW + 10, evidence=True)}


async def test_outcomes_are_those_after_a_number_which_may_have_gaps(store: Store) -> None:
    recorded = [outcome(f"step:{number}", number) for number in (2, 3, 7, 20)]
    await claimed_run(store)
    await write(store, *recorded)

    assert remembered(await store.outcomes(FIRST, 0, 10)) == remembered(recorded)
    assert remembered(await store.outcomes(FIRST, 3, 10)) == remembered(recorded[2:])
    assert remembered(await store.outcomes(FIRST, 0, 2)) == remembered(recorded[:2])
    assert await store.outcomes(FIRST, 20, 10) == []


async def test_a_retry_takes_back_from_a_long_history_only_what_it_must(store: Store) -> None:
    recorded = long_history(1_200)
    await claimed_run(store)
    await write(store, *recorded)
    await store.act(FIRST, Action.CANCEL, NOW)

    await store.act(FIRST, Action.RETRY, NOW)

    assert remembered(await store.outcomes(FIRST, 0, 5_000)) == remembered(recorded)


async def test_a_long_log_comes_in_pages(store: Store) -> None:
    await claimed_run(store)
    await write(store, *(line(str(n), n, at=NOW + n) for n in range(1, 1_201)))

    assert [each.message for each in await store.logs(FIRST)] == [str(n) for n in range(1, 1_201)]
    assert [each.message for each in await store.logs(FIRST, after=1_000, limit=3)] == ["1001", "1002", "1003"]
    assert await store.logs(FIRST, after=1_200) == []
    assert len(await store.logs(FIRST, limit=5)) == 5


# -- without claiming


async def test_the_history_is_the_run_as_its_worker_got_it(store: Store) -> None:
    claimed = await claimed_run(store, tags=("eu",), input='{"a": 1}')

    assert await store.history(FIRST) == claimed


async def test_looking_at_a_history_shows_what_was_written_and_changes_nothing(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1), attempt("ship"), line("hello", 3, after=1))

    history = await store.history(FIRST)

    assert (history.claim, list(history.tried), history.logged) == (1, ["ship"], (1, 3))
    assert remembered(history.outcomes) == remembered([outcome("charge", 1)])
    run = await store.get(FIRST)
    assert (run.status, run.worker) == (RunStatus.RUNNING, ALICE)


async def test_a_run_that_was_never_claimed_has_an_empty_history(store: Store) -> None:
    await store.enqueue([new_run()])

    history = await store.history(FIRST)

    assert (history.claim, history.outcomes, history.tried, history.logged, history.complete) == (0, (), {}, (-1, 0), True)
    assert (await store.get(FIRST)).status is RunStatus.PENDING


async def test_an_ended_run_has_its_history_still(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1), move(Action.COMPLETE))

    assert remembered((await store.history(FIRST)).outcomes) == remembered([outcome("charge", 1)])
