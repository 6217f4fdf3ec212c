"""What a worker claims: its queues and versions, as much as there is room for, long histories, and runs under suspicion."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.records import UNRESOLVED, Claimed, Kind, Outcome
from stepwell.core.registry import Lane, Registry
from stepwell.core.status import Action
from stepwell.engine.claims import Lanes
from stepwell.store.port import Pin
from tests.engine.harness import Counter, scenario, until
from tests.engine.rig import Database, Gate, Rig
from tests.loops import turns


@workflow
async def quick() -> str:
    return "done"


@workflow(name="pay", version="v2", timeout="5m")
async def pay_v2() -> str:
    return "v2"


@workflow(name="pay", version="v10")
async def pay_v10() -> str:
    return "v10"


@workflow(name="any")
async def takes_any(version: str) -> str:
    return version


@pytest.mark.parametrize(
    ("lane", "pin"),
    [
        (Lane("default", "quick", None), Pin(None, None)),
        (Lane("default", "quick", "v1"), None),
        (Lane("default", "pay", "v2"), Pin("v2", 300.0)),
        (Lane("default", "pay", UNRESOLVED), Pin("v10", None)),
        (Lane("default", "any", "v7"), Pin("v7", None)),
        (Lane("default", "any", UNRESOLVED), Pin(None, None)),
        (Lane("default", "nobody", UNRESOLVED), None),
        (Lane("mail", "quick", None), None),
    ],
)
def test_a_worker_serves_the_lanes_of_its_queues_for_which_it_has_a_function(lane: Lane, pin: Pin | None) -> None:
    lanes = Lanes(Registry([quick, pay_v2, pay_v10, takes_any]), {"default"})

    assert lanes.serve(lane) == pin


def test_a_worker_without_queues_serves_all_of_them() -> None:
    assert Lanes(Registry([quick]), None).serve(Lane("mail", "quick", None)) == Pin(None, None)


@scenario
async def test_a_run_of_an_unknown_version_is_pinned_by_the_worker_that_claims_it() -> None:
    rig = Rig(pay_v2, pay_v10)
    run_id = await rig.start("pay", version=UNRESOLVED)
    await rig.worker().run_until_idle()

    run = await rig.run(run_id)
    assert (run.version, run.output) == ("v10", "v10")


@scenario
async def test_a_worker_leaves_other_queues_and_versions_to_others() -> None:
    rig = Rig(quick, pay_v2)
    other = await rig.start("quick", queue="mail")
    older = await rig.start("pay", version="v1")
    await rig.worker(queues=frozenset({"default"})).run_until_idle()

    assert [await rig.status(run_id) for run_id in (other, older)] == [RunStatus.PENDING] * 2


@scenario
async def test_a_worker_with_free_slots_claims_upon_a_hint_and_asks_no_more_when_there_is_nothing() -> None:
    rig = Rig(quick)
    async with rig.worker():
        await turns()
        rig.store.asked.clear()
        for _ in range(5):
            await rig.start("quick")
            await turns()

        assert rig.store.asked["claim"] == 5


@scenario
async def test_a_full_worker_claims_when_a_slot_is_free_again() -> None:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(works)
    async with rig.worker(concurrency=2):
        ids = [await rig.start("works") for _ in range(6)]
        await turns()
        at_once = gate.waiting
        gate.open()
        await turns(60)

        assert at_once == 2
        assert {await rig.status(run_id) for run_id in ids} == {RunStatus.COMPLETED}


@scenario
async def test_hints_that_come_one_after_the_other_never_fill_a_worker_beyond_its_slots() -> None:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(works)
    async with rig.worker(concurrency=3) as worker:
        for _ in range(20):
            await rig.start("works")
            worker.hint()
            await asyncio.sleep(0)
        await turns()

        assert (len(worker.here), gate.waiting) == (3, 3)


# -- suspects


@scenario
async def test_of_runs_that_took_workers_down_twice_one_executes_at_a_time() -> None:
    gates = {name: Gate() for name in "abc"}

    @workflow
    async def works(input: str, step: Step) -> None:
        await step.run("work", gates[input].step)

    rig = Rig(works)
    ids = [await rig.start("works", f'"{name}"') for name in "abc"]
    for _ in range(2):
        dead = rig.worker(concurrency=3)
        await dead.__aenter__()
        await turns(40)
        dead.abandon()
        rig.store.gone.add(dead.id)
    for row in rig.store._tables.rows.values():
        assert row.crashes == 1
    before = {name: gate.calls for name, gate in gates.items()}

    async with rig.worker():
        waiting = []
        for _ in range(3):
            await rig.passes(1.0)
            (now,) = [name for name, gate in gates.items() if gate.calls > before[name] and gate.waiting]
            waiting.append(now)
            gates[now].open()
        await turns(60)

        assert sorted(waiting) == ["a", "b", "c"]
        assert {await rig.status(run_id) for run_id in ids} == {RunStatus.COMPLETED}


@scenario
async def test_a_run_is_no_suspect_any_more_when_a_step_of_it_was_recorded() -> None:
    first, second = Gate(), Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("first", first.step)
        await step.run("second", second.step)

    rig = Rig(works)
    for _ in range(2):
        await rig.start("works")
    for _ in range(2):
        dead = rig.worker()
        await dead.__aenter__()
        await rig.passes(2.0)
        dead.abandon()
        rig.store.gone.add(dead.id)
        await turns()

    async with rig.worker():
        await rig.passes(3.0)
        alone = first.waiting
        first.open()
        await rig.passes(3.0)

        assert (alone, second.waiting) == (1, 2)


# -- few free slots


@pytest.mark.parametrize("busy", [6, 7])
@scenario
async def test_the_last_slots_of_a_busy_worker_are_used_within_a_second_or_so(busy: int) -> None:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(works, quick)
    async with rig.worker(concurrency=8):
        for _ in range(busy):
            await rig.start("works")
        await rig.passes(1.0)
        run_id = await rig.start("quick")
        await rig.passes(1.5)

        assert gate.waiting == busy
        assert await rig.status(run_id) is RunStatus.COMPLETED


# -- what comes when it is too late


class _TakenOnTheWay(Database):
    """Something happens to the worker while the first answer to a claim is on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[str], Awaitable[None]] | None = None

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        claimed = await super().claim(worker, serves, limit, now, suspects=suspects)
        if claimed and self.then is not None:
            then, self.then = self.then, None
            await then(worker)
        return claimed


def _late() -> tuple[Rig, _TakenOnTheWay, Gate]:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("work", gate.step)

    rig = Rig(works)
    rig.store = store = _TakenOnTheWay()
    return rig, store, gate


@scenario
async def test_runs_that_are_given_to_a_worker_that_was_taken_for_dead_meanwhile_begin_once() -> None:
    rig, store, gate = _late()

    async def die(name: str) -> None:
        await store.rescue(name, store._tables.workers[name].beat, rig.clock.now(), 500, 5)
        worker.lost(name)

    store.then = die
    async with rig.worker() as worker:
        first = worker.id
        run_id = await rig.start("works")
        await rig.passes(2.0)

        assert worker.id != first
        assert (gate.calls, (await rig.run(run_id)).worker) == (1, worker.id)


@scenario
async def test_runs_that_are_given_to_a_worker_that_has_left_do_not_begin() -> None:
    rig, store, gate = _late()

    async def leave(_: str) -> None:
        worker.loop.call_soon(worker.abandon)

    store.then = leave
    worker = rig.worker()
    await worker.__aenter__()
    await rig.start("works")
    await turns()

    assert (gate.calls, worker.here) == (0, {})


# -- long histories


def _long(rig: Rig, run_id: str, count: int) -> None:
    row = rig.store._tables.rows[run_id]
    now = rig.clock.now()
    for n in range(count):
        key = f"step:{n}" if n else "step"
        row.outcomes[key] = Outcome(run_id, 0, key, n + 1, n, Kind.FUNCTION, True, "1", now, 0, 1, now, 311)
        row.numbers.add(n + 1)


def _many(work: Counter) -> Any:
    @workflow(name="many", max_steps=10_000)
    async def many(input: int, step: Step) -> int:
        return sum([await step.run("step", work.step) or 1 for _ in range(input)])

    return many


@pytest.mark.parametrize("count", [999, 1_000, 1_001, 2_000, 3_500])
@scenario
async def test_a_run_whose_history_is_too_long_for_its_claim_begins_with_all_of_it(count: int) -> None:
    work = Counter()
    rig = Rig(_many(work))
    run_id = await rig.start("many", str(count + 1))
    _long(rig, run_id, count)

    async with rig.worker():
        while not (await rig.run(run_id)).status.ended:
            await asyncio.sleep(0)

        assert (await rig.run(run_id)).output == count + 1
    assert work.calls == [None]


@scenario
async def test_other_runs_go_on_while_a_long_history_is_read_and_an_unavailable_database_is_asked_again() -> None:
    work = Counter()
    rig = Rig(_many(work), quick)
    long = await rig.start("many", "2001")
    _long(rig, long, 2_000)
    rig.store.go_away("outcomes")

    async with rig.worker() as worker:
        other = await rig.start("quick")
        await rig.passes(3.0)
        between = (await rig.status(other), await rig.status(long), worker.claims.loading)
        rig.store.come_back()
        await rig.passes(2.0)

        assert between == (RunStatus.COMPLETED, RunStatus.RUNNING, 1)
        assert await rig.status(long) is RunStatus.COMPLETED


@scenario
async def test_a_run_that_is_claimed_anew_while_its_history_is_read_begins_once_with_the_new_claim() -> None:
    work = Counter()
    rig = Rig(_many(work))
    run_id = await rig.start("many", "2001")
    _long(rig, run_id, 2_000)
    rig.store.go_away("outcomes")

    async with rig.worker():
        await turns()
        for action in (Action.CANCEL, Action.RETRY):
            await rig.act(run_id, action)
            await turns()
        claim = rig.store._tables.rows[run_id].claim
        rig.store.come_back()
        await rig.passes(2.0)

        assert claim == 2
        assert await rig.status(run_id) is RunStatus.COMPLETED
    assert work.calls == [None]


@scenario
async def test_a_run_whose_history_is_being_read_when_the_worker_stops_is_handed_back() -> None:
    rig = Rig(_many(Counter()))
    run_id = await rig.start("many", "2001")
    _long(rig, run_id, 2_000)
    rig.store.hanging = frozenset({"outcomes"})

    async with rig.worker():
        await turns()
        owner = (await rig.run(run_id)).worker

    run = await rig.run(run_id)
    assert owner is not None
    assert (run.status, run.worker) == (RunStatus.PENDING, None)


@scenario
async def test_a_run_whose_claim_was_never_answered_is_given_back_also_while_an_older_claim_of_it_is_leaving() -> None:
    gate = Gate()

    @workflow
    async def works(step: Step) -> None:
        await step.run("first", gate.step)

    rig = Rig(works)
    run_id = await rig.start("works")
    async with rig.worker() as worker:
        await turns()
        await rig.act(run_id, Action.PAUSE)
        rig.store.asked.clear()
        gate.open()
        await until(lambda: rig.store.asked["commit"])  # its step; the answer is that it is paused
        rig.store.losing = frozenset({"commit", "claim"})
        await turns()
        await rig.act(run_id, Action.RESUME)
        await turns()
        assert (await rig.status(run_id), worker.here[run_id].claimed.claim) == (RunStatus.RUNNING, 1)
        await rig.passes(2.0)  # it asks which runs it owns, and finds this one
        rig.store.come_back()
        await rig.passes(10.0)

        assert await rig.status(run_id) is RunStatus.COMPLETED
