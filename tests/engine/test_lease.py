"""Whether a worker lives: its own lease, others that are dead, and being taken for dead oneself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.status import Action
from stepwell.engine.lease import Load, Pulse, Silences
from stepwell.engine.worker import Worker
from stepwell.store.port import Beat, Peer
from stepwell.testing.clock import MovedClock
from tests.engine.harness import Counter, scenario
from tests.engine.rig import Gate, Rig
from tests.loops import turns


def _two_steps(gate: Gate, after: Counter) -> Any:
    @workflow(name="flow")
    async def flow(step: Step) -> str:
        await step.run("first", gate.step)
        await step.run("second", after.step)
        return "done"

    return flow


# -- who is dead


def _peer(beat: int, lease: float = 30.0, *, gone: bool = False) -> Peer:
    return Peer(beat, lease, gone)


def test_a_peer_is_dead_when_its_beat_has_not_changed_for_a_whole_lease_of_its_own_since_it_was_first_seen() -> None:
    silences = Silences()

    found = [silences.dead({"quick": _peer(7, 10.0), "slow": _peer(9, 30.0)}, now) for now in (100.0, 109.0, 110.0, 129.0, 130.0)]

    assert found == [{}, {}, {"quick": 7}, {"quick": 7}, {"quick": 7, "slow": 9}]


def test_a_peer_that_beats_is_not_dead_however_seldom_it_is_looked_at() -> None:
    silences = Silences()

    assert [silences.dead({"other": _peer(beat)}, now) for beat, now in ((1, 0.0), (2, 1e6), (3, 2e6))] == [{}, {}, {}]


def test_a_peer_whose_process_is_gone_is_dead_at_once() -> None:
    assert Silences().dead({"other": _peer(4, gone=True)}, 0.0) == {"other": 4}


def test_a_peer_that_was_forgotten_and_comes_back_is_seen_for_the_first_time() -> None:
    silences = Silences()
    silences.dead({"other": _peer(4)}, 0.0)
    silences.dead({}, 10.0)

    assert silences.dead({"other": _peer(4)}, 31.0) == {}


class _Bearer:
    """What a pulse has told its worker."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def load(self) -> Load | None:
        return Load("me", 1, 2)

    def beaten(self, beat: Beat, dead: Mapping[str, int]) -> None:
        self.told.append(dict(dead))

    def lapsed(self) -> None:
        self.told.append("lapsed")

    def lost(self, worker: str) -> None:
        self.told.append(f"{worker} is lost")

    def failed(self, error: BaseException) -> None:
        raise error


def test_a_worker_that_stood_still_beats_once_more_before_it_takes_others_for_dead() -> None:
    clock, bearer = MovedClock(), _Bearer()
    pulse = Pulse(bearer, 30.0, lambda seconds, callback: clock.call_at(clock.now() + seconds, callback))

    def beat(at: float, number: int, *, gone: bool = False) -> bool:
        return pulse.beaten("me", Beat(None, False, {"other": _peer(number, gone=gone)}), at, at)

    soon = [beat(at, 4) for at in (0.0, 5.0, 1_000.0, 1_000.1)]
    gone = beat(9_000.0, 4, gone=True)

    assert soon == [False, False, True, False]
    assert gone
    assert bearer.told == [{}, {}, {}, {"other": 4}, {"other": 4}]


def test_an_answer_to_a_worker_that_has_another_id_by_now_is_no_news() -> None:
    clock, bearer = MovedClock(), _Bearer()
    pulse = Pulse(bearer, 30.0, lambda seconds, callback: clock.call_at(clock.now() + seconds, callback))

    pulse.beaten("me before", None, 0.0, 0.0)
    pulse.beaten("me", None, 0.0, 0.0)

    assert bearer.told == ["me is lost"]


@scenario
async def test_a_lease_ends_so_long_after_the_last_good_beat_began() -> None:
    clock, bearer = MovedClock(), _Bearer()
    pulse = Pulse(bearer, 30.0, lambda seconds, callback: clock.call_at(clock.now() + seconds, callback))
    pulse.start()
    clock.move_to(clock.now() + 12.0)
    pulse.beaten("me", Beat(None, False, {}), 10.0, 12.0)
    began = clock.now()

    told = []
    for seconds in (27.9, 28.0):
        clock.move_to(began + seconds)
        await turns(2)
        told.append(list(bearer.told))

    assert told == [[{}], [{}, "lapsed"]]


# -- rescue


@scenario
async def test_the_runs_of_a_worker_that_died_go_on_elsewhere_after_its_lease_and_not_before() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    dying = rig.worker(lease=30.0)
    await dying.__aenter__()
    run_id = await rig.start("flow")
    await turns()
    async with rig.worker(lease=30.0) as heir:
        await rig.passes(10.0)
        dying.abandon()
        await rig.passes(24.0, 0.5)
        early = (await rig.run(run_id)).worker
        await rig.passes(14.0, 0.5)
        late = (await rig.run(run_id)).worker
        gate.open()
        await turns()

        assert (early, late) == (dying.id, heir.id)
        assert await rig.status(run_id) is RunStatus.COMPLETED
        assert [worker.id for worker in await rig.store.workers()] == [heir.id]


@scenario
async def test_a_worker_that_starts_takes_over_at_once_what_a_process_left_that_is_known_to_be_gone() -> None:
    gate, after = Gate(), Counter()
    gate.open()
    rig = Rig(_two_steps(gate, after))
    dead = rig.worker()
    await dead.__aenter__()
    run_id = await rig.start("flow")
    dead.abandon()
    rig.store.gone.add(dead.id)

    async with rig.worker():
        await turns(40)

        assert await rig.status(run_id) is RunStatus.COMPLETED


@scenario
async def test_a_thousand_runs_of_a_dead_worker_are_taken_in_portions() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    dead = rig.worker(concurrency=1_200)
    await dead.__aenter__()
    for _ in range(1_200):
        await rig.start("flow")
    await turns()
    dead.abandon()
    rig.store.gone.add(dead.id)
    gate.open()

    async with rig.worker():
        await turns(400)

    assert rig.store.asked["rescue"] == 3
    assert {row.status for row in rig.store._tables.rows.values()} == {RunStatus.COMPLETED}


@scenario
async def test_workers_on_one_clock_that_jumps_do_not_take_each_other_for_dead() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker() as first, rig.worker() as second:
        run_id = await rig.start("flow")
        await rig.passes(20.0)
        for _ in range(5):
            await rig.jumps(86_400.0)
        gate.open()
        await turns(40)

        assert {worker.id for worker in await rig.store.workers()} == {first.id, second.id}
        assert await rig.status(run_id) is RunStatus.COMPLETED
    assert (gate.calls, rig.store.asked["rescue"]) == (1, 0)


@scenario
async def test_a_run_that_takes_its_worker_down_each_time_fails_and_the_others_go_on() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    run_id = await rig.start("flow")
    for _ in range(3):
        dead = rig.worker(max_crashes=3)
        await dead.__aenter__()
        await turns()
        dead.abandon()
        rig.store.gone.add(dead.id)

    gate.open()
    async with rig.worker(max_crashes=3):
        other = await rig.start("flow")
        await turns(60)

        run = await rig.run(run_id)
        assert (run.status, run.error and run.error.type) == (RunStatus.FAILED, "WorkerCrashed")
        assert await rig.status(other) is RunStatus.COMPLETED


@scenario
async def test_a_rescue_that_the_database_does_not_answer_is_tried_again_with_the_next_beat() -> None:
    gate, after = Gate(), Counter()
    gate.open()
    rig = Rig(_two_steps(gate, after))
    dead = rig.worker()
    await dead.__aenter__()
    run_id = await rig.start("flow")
    dead.abandon()
    rig.store.gone.add(dead.id)
    rig.store.go_away("rescue")

    async with rig.worker(lease=6.0):
        await rig.passes(3.0)
        rig.store.come_back()
        await rig.passes(1.5)

        assert await rig.status(run_id) is RunStatus.COMPLETED


# -- one's own lease


@scenario
async def test_a_worker_whose_lease_has_run_out_begins_no_step_and_claims_nothing_until_it_has_it_again() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker(lease=6.0) as worker:
        run_id = await rig.start("flow")
        await turns()
        rig.store.go_away("beat", "look")
        await rig.passes(5.5)
        still = worker.leased
        await rig.passes(2.0)
        claims = rig.store.asked["claim"]
        gate.open()
        other = await rig.start("flow")
        await rig.passes(5.0)
        held = (worker.leased, list(after.calls), await rig.status(other), rig.store.asked["claim"] - claims)
        rig.store.come_back()
        await rig.passes(2.0)

        assert still
        assert held == (False, [], RunStatus.PENDING, 0)
        assert worker.leased
        assert [await rig.status(each) for each in (run_id, other)] == [RunStatus.COMPLETED] * 2
    assert after.calls == [None, None]


@scenario
async def test_a_step_that_executes_when_the_lease_runs_out_goes_on_and_its_outcome_is_written() -> None:
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker(lease=6.0):
        run_id = await rig.start("flow")
        await turns()
        rig.store.go_away()
        await rig.passes(10.0)
        gate.open()
        await rig.passes(10.0)
        rig.store.come_back()
        await rig.passes(10.0)

        assert await rig.status(run_id) is RunStatus.COMPLETED
    assert (gate.calls, gate.canceled, after.calls) == (1, 0, [None])


@scenario
async def test_a_worker_that_was_taken_for_dead_drops_its_runs_writes_nothing_of_them_and_goes_on_under_a_new_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    gate, after = Gate(), Counter()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker(name="alice", lease=6.0) as worker:
        first_id = worker.id
        run_id = await rig.start("flow")
        await turns()
        await rig.act(run_id, Action.PAUSE)  # so that nobody claims it again
        beat = rig.store._tables.workers[first_id].beat
        assert await rig.store.rescue(first_id, beat, rig.clock.now(), 500, 5) == 1
        await rig.passes(2.0)
        commits, canceled = rig.store.commits, gate.canceled
        other = await rig.start("flow")
        gate.open()
        await turns(40)

        assert worker.id != first_id
        assert worker.id.startswith("alice-")
        assert (commits, canceled) == (0, 1)
        assert (await rig.run(run_id)).worker is None
        assert await rig.status(other) is RunStatus.COMPLETED
        assert [each.id for each in await rig.store.workers()] == [worker.id]
    assert any("was taken for dead: the 1 runs that it has are with others now" in message for message in caplog.messages)


@scenario
async def test_a_worker_learns_from_a_claim_that_it_was_taken_for_dead() -> None:
    gate, after = Gate(), Counter()
    gate.open()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker(lease=3_600.0) as worker:
        first_id = worker.id
        await rig.store.rescue(first_id, rig.store._tables.workers[first_id].beat, rig.clock.now(), 500, 5)
        run_id = await rig.start("flow")
        await turns(40)

        assert worker.id != first_id
        assert await rig.status(run_id) is RunStatus.COMPLETED


@scenario
async def test_a_worker_that_was_taken_for_dead_registers_again_as_soon_as_the_database_lets_it() -> None:
    gate, after = Gate(), Counter()
    gate.open()
    rig = Rig(_two_steps(gate, after))
    async with rig.worker(lease=6.0) as worker:
        rig.store.go_away("register")
        await rig.store.rescue(worker.id, rig.store._tables.workers[worker.id].beat, rig.clock.now(), 500, 5)
        run_id = await rig.start("flow")
        await rig.passes(5.0)
        between = (worker.registered, await rig.status(run_id))
        rig.store.come_back()
        await rig.passes(2.0)

        assert between == (False, RunStatus.PENDING)
        assert await rig.status(run_id) is RunStatus.COMPLETED


# -- what it makes known


@scenario
async def test_a_worker_makes_itself_and_its_workflows_known() -> None:
    @workflow(name="greet", version="v2", queue="mail", timeout="5m", priority=3)
    async def greet(input: int, version: str) -> str: ...  # type: ignore[empty-body]

    rig = Rig(greet)
    async with rig.worker(name="alice", queues=frozenset({"mail", "default"}), concurrency=7, lease=12.0):
        (state,) = await rig.store.workers()
        (definition,) = await rig.store.definitions()

    assert (state.name, state.queues, state.concurrency, state.lease.total_seconds()) == ("alice", ("default", "mail"), 7, 12.0)
    assert definition[:6] == ("greet", "v2", "mail", 3, 300.0, True)
    assert (definition.input_schema, definition.output_schema) == ('{"type":"integer"}', '{"type":"string"}')


@scenario
async def test_a_workflow_whose_types_have_no_schema_is_published_all_the_same() -> None:
    @workflow(input=Gate, output=Any)
    async def odd(input: Gate) -> Any: ...

    rig = Rig(odd)
    async with rig.worker():
        (definition,) = await rig.store.definitions()

    assert (definition.input_schema, definition.output_schema) == ("{}", "{}")


@scenario
async def test_a_worker_says_with_its_beats_how_much_it_has_to_do() -> None:
    gate = Gate()

    @workflow
    async def sleeps(step: Step) -> None:
        await step.sleep("long", "1 day")

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(sleeps, works)
    async with rig.worker():
        for name in ("sleeps", "sleeps", "works"):
            await rig.start(name)
        await rig.passes(6.0)
        (state,) = await rig.store.workers()

    assert (state.running, state.parked) == (1, 2)


@scenario
async def test_a_worker_that_cannot_register_says_so_after_ten_tries() -> None:
    rig = Rig(_two_steps(Gate(), Counter()))
    rig.store.go_away()
    starting = asyncio.get_running_loop().create_task(rig.worker().__aenter__())
    await turns()
    await rig.passes(20.0, 0.5)

    assert type(starting.exception()).__name__ == "DatabaseUnavailable"
    assert rig.store.asked["register"] == 10


@scenario
async def test_a_worker_is_started_once() -> None:
    rig = Rig(_two_steps(Gate(), Counter()))
    async with rig.worker() as worker:
        with pytest.raises(RuntimeError, match="has been started before"):
            await worker.run_until_idle()


@scenario
async def test_an_error_of_the_heart_ends_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="nothing")
    rig = Rig(_two_steps(Gate(), Counter()))
    worker = Worker(rig.store, rig.registry, rig.clock, lease=0.06)
    running = asyncio.get_running_loop().create_task(worker.run())
    while not worker.leased:
        await asyncio.sleep(0.001)

    rig.store._tables.workers = None  # type: ignore[assignment]  # what nobody expects
    with pytest.raises(AttributeError):
        await running
    assert worker.failure is running.exception()
