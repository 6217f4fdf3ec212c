"""A worker's life: it registers, beats, is drained, leaves, or is found dead and its runs are taken from it."""

from datetime import UTC, datetime, timedelta

import pytest

from stepwell.core.status import Action, RunStatus
from stepwell.errors import WorkerCrashed
from stepwell.store.port import Beat, Peer, Store, WorkerLost
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    LANE,
    NOW,
    attempt,
    bring_to,
    claim_one,
    claimed_run,
    claims,
    definition,
    everything,
    line,
    move,
    new_run,
    new_worker,
    numbers,
    outcome,
    remembered,
    run_id,
    serves,
    write,
)

CAROL = "carol"


def beat_of(store: Store, worker: str = ALICE, now: float = NOW) -> Beat:
    beat = store.beat(worker, 0, 0, now)
    assert beat is not None
    return beat


async def died(store: Store, worker: str = ALICE, *, now: float = NOW, limit: int = 100, max_crashes: int = 5) -> int:
    """Another worker finds that this one has never beaten."""
    return await store.rescue(worker, 0, now, limit, max_crashes)


async def names(store: Store) -> list[str]:
    return [worker.id for worker in await store.workers()]


# -- registering


async def test_a_registered_worker_is_shown_as_it_made_itself_known(store: Store) -> None:
    definitions = (definition("pay"), definition("ship", "v2", takes_version=True))
    carol = new_worker(CAROL, *definitions, name="c1", host="box", pid=42, queues=("slow", "eu"), concurrency=3, lease=12.5)

    await store.register(carol)

    (shown,) = [worker for worker in await store.workers() if worker.id == CAROL]
    assert (shown.name, shown.host, shown.pid, shown.queues, shown.concurrency) == ("c1", "box", 42, ("slow", "eu"), 3)
    assert (shown.lease, shown.running, shown.parked, shown.draining) == (timedelta(seconds=12.5), 0, 0, False)
    assert shown.definitions == ("pay", "ship v2")
    assert shown.serves == {("pay", None), ("ship", "v2"), ("ship", "*")}
    assert shown.started_at == shown.beat_at == datetime.fromtimestamp(NOW, UTC)


async def test_a_worker_of_all_queues_says_so(store: Store) -> None:
    (alice, _) = await store.workers()

    assert alice.queues is None


async def test_workers_are_shown_in_the_order_in_which_they_began(store: Store) -> None:
    await store.register(new_worker("zoe", started_at=NOW - 5))
    await store.register(new_worker("abe", started_at=NOW + 5))

    assert await names(store) == ["zoe", ALICE, BOB, "abe"]


async def test_registering_the_same_worker_again_changes_nothing(store: Store) -> None:
    beat_of(store, now=NOW + 3)
    before = await store.workers()

    await store.register(new_worker(ALICE))

    assert await store.workers() == before


async def test_definitions_of_all_workers_are_published(store: Store) -> None:
    pay = definition(
        "pay", None, queue="slow", priority=3, timeout=60.5, input_schema='{"type": "null"}', output_schema='{"a": 1}'
    )._replace(retry='{"max_attempts": 1}')
    pay2, ship = definition("pay", "v2", takes_version=True), definition("ship")
    await store.register(new_worker(CAROL, pay, pay2))
    await store.register(new_worker("dave", pay2, ship))

    assert set(await store.definitions()) == {pay, pay2, ship}
    assert len(await store.definitions()) == 3


async def test_what_was_registered_last_is_the_definition(store: Store) -> None:
    await store.register(new_worker(CAROL, definition("pay", priority=1)))
    await store.register(new_worker("dave", definition("pay", priority=2)))

    assert await store.definitions() == [definition("pay", priority=2)]


async def test_definitions_stay_when_their_worker_goes(store: Store) -> None:
    await store.register(new_worker(CAROL, definition("pay")))

    await store.hand_back(CAROL, NOW, 10)

    assert CAROL not in await names(store)
    assert await store.definitions() == [definition("pay")]


# -- the heartbeat


async def test_a_beat_shows_the_load_and_its_time(store: Store) -> None:
    store.beat(ALICE, 4, 7, NOW + 3)

    (alice, bob) = await store.workers()
    assert (alice.running, alice.parked, alice.beat_at.timestamp()) == (4, 7, NOW + 3)
    assert (bob.running, bob.parked, bob.beat_at.timestamp()) == (0, 0, NOW)


async def test_each_beat_is_another_number_to_the_others(store: Store) -> None:
    seen = []
    for _ in range(3):
        beat_of(store, BOB)
        seen.append(beat_of(store, ALICE).peers[BOB].beat)

    assert seen == sorted(set(seen))


async def test_a_beat_shows_the_other_workers_and_their_leases(store: Store) -> None:
    await store.register(new_worker(CAROL, lease=7.5))

    beat = beat_of(store)

    assert set(beat.peers) == {BOB, CAROL}
    assert beat.peers[CAROL] == Peer(beat=beat.peers[CAROL].beat, lease=7.5, gone=False)
    assert not beat.draining


async def test_a_worker_that_is_not_registered_has_no_heartbeat(store: Store) -> None:
    assert store.beat(CAROL, 0, 0, NOW) is None


async def test_a_worker_that_is_to_stop_learns_it_with_its_beat(store: Store) -> None:
    assert await store.drain(ALICE, NOW, "eve")
    assert await store.drain(ALICE, NOW)

    assert beat_of(store, ALICE).draining
    assert not beat_of(store, BOB).draining
    assert [worker.draining for worker in await store.workers()] == [True, False]


async def test_a_worker_that_is_not_registered_cannot_be_asked_to_stop(store: Store) -> None:
    assert not await store.drain(CAROL, NOW)


# -- a worker that leaves


async def test_a_worker_that_leaves_is_forgotten_when_it_has_nothing_left(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 6)])
    await claims(store)

    assert [await store.hand_back(ALICE, NOW, 2) for _ in range(3)] == [2, 2, 1]

    assert await names(store) == [BOB]
    assert numbers(await claims(store, BOB)) == [1, 2, 3, 4, 5]


async def test_leaving_counts_no_crash(store: Store) -> None:
    await claimed_run(store)
    for _ in range(5):
        await store.hand_back(ALICE, NOW, 10)
        await store.register(new_worker(ALICE))
        assert (await claim_one(store)).crashes == 0


async def test_a_worker_that_has_left_cannot_claim_beat_or_write(store: Store) -> None:
    await claimed_run(store)
    await store.hand_back(ALICE, NOW, 10)

    assert store.beat(ALICE, 0, 0, NOW) is None
    assert await write(store, outcome("charge", 1)) == {(FIRST, 1): None}
    with pytest.raises(WorkerLost):
        await store.claim(ALICE, serves(LANE), 1, NOW)


# -- a worker that is dead


async def test_what_a_dead_worker_executed_can_be_claimed_at_once_with_one_more_crash(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1), attempt("ship"), line("hello", after=1))

    assert await died(store, now=NOW + 5) == 1

    claimed = await claim_one(store, BOB, NOW + 5)
    assert (claimed.crashes, claimed.claim, claimed.attempt) == (1, 2, 1)
    assert remembered(claimed.outcomes) == remembered([outcome("charge", 1)])
    assert list(claimed.tried) == ["ship"]


@pytest.mark.parametrize("status", [RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING])
async def test_what_it_did_not_execute_is_taken_without_a_crash(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    assert await died(store) == 1

    run, history = await store.get(FIRST), await store.history(FIRST)
    assert (run.status, run.worker, history.crashes) == (status, None, 0)


async def test_what_slept_in_a_dead_worker_wakes_at_its_time(store: Store) -> None:
    await bring_to(store, RunStatus.SLEEPING)
    await died(store)

    assert await claims(store, BOB, 1, NOW + 59) == []
    assert (await claim_one(store, BOB, NOW + 60)).crashes == 0


async def test_a_worker_that_has_beaten_since_is_left_alone(store: Store) -> None:
    await claimed_run(store)
    seen = beat_of(store, BOB).peers[ALICE].beat
    beat_of(store, ALICE)
    before = await everything(store)

    assert await store.rescue(ALICE, seen, NOW, 100, 5) == 0

    assert await everything(store) == before
    assert await write(store, outcome("charge", 1)) == {}
    assert beat_of(store, ALICE).peers.keys() == {BOB}


async def test_a_worker_that_was_taken_for_dead_cannot_claim_beat_or_write(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2), new_run(3)])
    await claims(store, ALICE, 2)

    assert await died(store, limit=1) == 1  # of two: it is not forgotten yet

    assert store.beat(ALICE, 0, 0, NOW) is None
    assert not await store.drain(ALICE, NOW)
    with pytest.raises(WorkerLost):
        await store.claim(ALICE, serves(LANE), 1, NOW)
    answers = await write(store, outcome("a", 1), outcome("a", 1, run=run_id(2)), move(Action.COMPLETE, run=run_id(2)))
    assert answers == {(run_id(1), 1): None, (run_id(2), 1): None}
    assert [len(await store.steps(run_id(number))) for number in (1, 2)] == [0, 0]


async def test_a_dead_worker_is_a_peer_until_all_its_runs_were_taken(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 5)])
    await claims(store)

    assert await died(store, limit=2) == 2
    assert ALICE in beat_of(store, BOB).peers
    assert ALICE not in await names(store)

    assert await died(store, limit=2) == 2
    assert await died(store, limit=2) == 0
    assert ALICE not in beat_of(store, BOB).peers


async def test_a_worker_that_was_forgotten_can_be_registered_again_under_its_id(store: Store) -> None:
    await claimed_run(store)
    await died(store)

    await store.register(new_worker(ALICE))

    assert (await claim_one(store)).claim == 2


async def test_a_second_rescuer_finds_nothing(store: Store) -> None:
    await claimed_run(store)

    assert [await died(store), await died(store)] == [1, 0]


async def test_whoever_was_never_registered_is_not_rescued(store: Store) -> None:
    assert await died(store, CAROL) == 0


async def test_runs_of_the_living_are_left_alone(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await claims(store, ALICE, 1)
    await claims(store, BOB, 1)

    await died(store)

    assert [(await store.get(run_id(number))).status for number in (1, 2)] == ["pending", "running"]


# -- runs that take their workers down


async def crash(store: Store, times: int, max_crashes: int = 5) -> None:
    """Run 1 takes Alice down so often."""
    for _ in range(times):
        (claimed,) = await claims(store, limit=1)
        assert claimed.id == FIRST
        await died(store, max_crashes=max_crashes)
        await store.register(new_worker(ALICE))


async def test_a_run_that_takes_its_workers_down_too_often_fails(store: Store) -> None:
    await store.enqueue([new_run()])
    await crash(store, 2, max_crashes=3)
    assert (await store.get(FIRST)).status is RunStatus.PENDING

    await crash(store, 1, max_crashes=3)

    run = await store.get(FIRST)
    assert run.error is not None
    assert (run.status, run.worker, run.error.type) == (RunStatus.FAILED, None, "WorkerCrashed")
    assert run.error.caused_by(WorkerCrashed)
    assert "3 times in a row" in run.error.message
    assert run.finished_at is not None
    assert run.finished_at.timestamp() == NOW


async def test_a_recorded_outcome_makes_crashes_begin_anew(store: Store) -> None:
    await store.enqueue([new_run()])
    await crash(store, 2)
    claimed = await claim_one(store)
    assert claimed.crashes == 2

    await write(store, outcome("charge", 1, claim=claimed.claim))
    await died(store)

    assert (await claim_one(store, BOB)).crashes == 1


async def test_other_writes_do_not_make_crashes_begin_anew(store: Store) -> None:
    await store.enqueue([new_run()])
    await crash(store, 1)
    await claim_one(store)

    await write(store, attempt("charge", claim=2), line("hello", claim=2), move(Action.PARK, claim=2))

    assert (await store.history(FIRST)).crashes == 1


@pytest.mark.parametrize("action", [Action.RETRY, Action.CONTINUE_AS_NEW])
async def test_a_retry_and_going_on_as_new_make_crashes_begin_anew(store: Store, action: Action) -> None:
    await store.enqueue([new_run()])
    await crash(store, 1)
    await claim_one(store)

    if action is Action.RETRY:
        await store.act(FIRST, Action.CANCEL, NOW)
        await store.act(FIRST, Action.RETRY, NOW)
    else:
        await write(store, move(Action.CONTINUE_AS_NEW, claim=2))

    assert (await claim_one(store, BOB)).crashes == 0


async def suspects(store: Store, count: int) -> None:
    """Runs from 1 on that have taken two workers down each; and run 9, which has not begun."""
    await store.enqueue([new_run(number) for number in range(1, count + 1)])
    for _ in range(2):
        assert len(await claims(store, limit=count)) == count
        await died(store)
        await store.register(new_worker(ALICE))
    await store.enqueue([new_run(9)])


async def test_of_runs_that_are_suspect_one_is_claimed_at_a_time(store: Store) -> None:
    await suspects(store, 3)

    seen = [numbers(await claims(store, BOB)) for _ in range(4)]

    assert [len(each) for each in seen] == [2, 1, 1, 0]
    assert sorted(number for each in seen for number in each) == [1, 2, 3, 9]
    assert 9 in seen[0]


async def test_whoever_executes_a_suspect_claims_no_other(store: Store) -> None:
    await suspects(store, 2)

    assert numbers(await store.claim(BOB, serves(LANE), 10, NOW, suspects=False)) == [9]
    assert await store.claim(BOB, serves(LANE), 10, NOW, suspects=False) == []
    assert len(await store.claim(BOB, serves(LANE), 10, NOW, suspects=True)) == 1


async def test_a_suspect_counts_as_one_of_those_asked_for(store: Store) -> None:
    await suspects(store, 1)

    assert len(await claims(store, BOB, 1)) == 1
