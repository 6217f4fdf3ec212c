"""What a worker makes of the slots of its schedules: one run each, whoever else fires them and whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell import Retry, RunInfo, RunStatus, Schedule, Step, Workflow, workflow
from stepwell.core.cron import Cron
from stepwell.core.records import Cursor, Run, RunFilter, Slot
from stepwell.core.slots import skipped_while_paused
from stepwell.core.status import Action
from stepwell.engine.scheduler import KEPT
from stepwell.engine.worker import Worker
from stepwell.testing.clock import EPOCH
from tests.engine.harness import scenario, until
from tests.engine.rig import Database, Gate, Rig
from tests.loops import turns

EVERY_MINUTE = "* * * * *"
LONG = 1e9
"""Seconds of a lease: the worker is heard of, however far the clock is moved."""


def job(*schedules: Schedule, name: str = "job", **options: Any) -> Workflow[Any, Any]:
    """A workflow that does nothing, on these schedules."""

    async def does_nothing(run: RunInfo) -> str:
        return str(run.scheduled_at)

    return workflow(does_nothing, name=name, schedules=schedules, **options)


def gated(gate: Gate, *schedules: Schedule) -> Workflow[Any, Any]:
    """A workflow whose runs go on until the gate is opened."""

    @workflow(name="job", schedules=schedules, retry=Retry.never())
    async def waits(step: Step) -> None:
        await step.run("wait", gate.step)

    return waits


def minutely(**options: Any) -> Schedule:
    return Schedule("each", EVERY_MINUTE, **options)


async def runs(rig: Rig, workflow: str = "job") -> list[Run]:
    """All of them, the oldest first."""
    page = await rig.store.find(RunFilter(workflow=workflow), newest=False, limit=10_000, cursor=None)
    return list(page.items)


def after_epoch(when: datetime | None) -> float:
    assert when is not None
    return when.timestamp() - EPOCH


async def fired(rig: Rig, workflow: str = "job") -> list[float]:
    """The slots that have made runs, in seconds since the beginning."""
    return sorted(after_epoch(run.scheduled_at) for run in await runs(rig, workflow))


async def records(rig: Rig, name: str = "each") -> list[Slot]:
    return (await rig.store.slots("job", name, 1_000))[::-1]


async def told(rig: Rig, name: str = "each") -> list[tuple[float, str]]:
    """What has become of slots, in seconds since the beginning."""
    return [(after_epoch(each.at), each.outcome) for each in await records(rig, name)]


async def pause(rig: Rig, name: str = "each") -> None:
    assert await rig.store.pause_schedule("job", name, rig.clock.now(), "ops")


async def resume(rig: Rig, name: str = "each") -> None:
    (seen,) = await rig.store.cursors([("job", name)])
    next_at, skipped = skipped_while_paused(Cron(EVERY_MINUTE, "UTC"), seen.next_at, rig.clock.now())
    assert await rig.store.resume_schedule(seen, next_at, skipped, rig.clock.now(), "ops")


def fires(rig: Rig, **options: Any) -> Worker:
    return rig.worker(**{"lease": LONG} | options)


# -- each slot one run


@scenario
async def test_each_slot_makes_one_run_when_it_comes_from_the_first_after_the_schedule_was_seen() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig):
        await rig.passes(59.75)
        assert await fired(rig) == []

        await rig.passes(121.0)

    assert await fired(rig) == [60.0, 120.0, 180.0]
    assert await told(rig) == [(60.0, "started"), (120.0, "started"), (180.0, "started")]
    assert [after_epoch(run.created_at) for run in await runs(rig)] == [60.0, 120.0, 180.0]


@scenario
async def test_a_run_of_a_slot_is_what_its_workflow_says() -> None:
    rig = Rig(job(minutely(input=None), version="v2", queue="slow", priority=7, timeout="1h"))
    async with fires(rig, queues={"other"}):
        await rig.passes(61.0)

    (run,) = await runs(rig)
    assert (run.version, run.queue, run.priority, run.schedule, run.input) == ("v2", "slow", 7, "each", None)
    assert after_epoch(run.scheduled_at) == 60.0
    assert run.status is RunStatus.PENDING
    assert run.deadline_at == datetime.fromtimestamp(EPOCH + 3_660.0, UTC)


@scenario
async def test_only_the_newest_version_of_a_workflow_has_schedules() -> None:
    rig = Rig(job(Schedule("old", EVERY_MINUTE), version="v9"), job(Schedule("new", EVERY_MINUTE), version="v10"))
    async with fires(rig):
        await rig.passes(61.0)

    assert [(run.schedule, run.version) for run in await runs(rig)] == [("new", "v10")]


@scenario
async def test_a_worker_fires_the_schedules_of_workflows_whose_runs_it_does_not_take() -> None:
    rig = Rig(job(minutely(), queue="elsewhere"))
    async with fires(rig, queues={"default"}):
        await rig.passes(61.0)

    assert await fired(rig) == [60.0]


@scenario
async def test_a_schedule_without_a_zone_is_in_that_of_its_worker() -> None:
    rig = Rig(job(Schedule("each", "30 17 * * *")))
    async with fires(rig, timezone="Asia/Seoul"):  # there, it is 17:00
        await rig.jumps(1_800.0)

    assert await fired(rig) == [1_800.0]


@scenario
async def test_ten_workers_make_one_run_of_each_slot() -> None:
    rig = Rig(job(minutely(), Schedule("seconds", "*/7 * * * * *")))
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(fires(rig))
        await rig.passes(121.0)

    assert [after_epoch(run.scheduled_at) for run in await runs(rig) if run.schedule == "each"] == [60.0, 120.0]
    sevenths = [float(second) for minute in (0, 60, 120) for place in range(0, 60, 7) if 0 < (second := minute + place) <= 121]
    assert [after_epoch(run.scheduled_at) for run in await runs(rig) if run.schedule == "seconds"] == sevenths


@scenario
async def test_who_loses_the_race_for_a_slot_goes_on_with_the_next_one_and_asks_no_more() -> None:
    rig = Rig(job(minutely()))
    rig.store.slow = frozenset({"fire"})
    async with fires(rig), fires(rig):
        await rig.passes(59.75)
        rig.store.asked.clear()
        await rig.passes(0.5)
        tries, looks = rig.store.asked["fire"], rig.store.asked["cursors"]
        await rig.passes(59.0)

        assert (tries, rig.store.asked["fire"]) == (2, 2)
        assert (looks, rig.store.asked["cursors"]) == (3, 3)  # both have looked, and the loser once more
        await rig.passes(1.0)

    assert await fired(rig) == [60.0, 120.0]


@scenario
async def test_many_schedules_that_are_due_at_once_are_fired_in_batches_and_other_work_goes_on() -> None:
    rig = Rig(job(*(Schedule(f"s{place}", EVERY_MINUTE) for place in range(600))), job(name="other"))
    async with fires(rig, concurrency=5):
        await rig.passes(59.75)
        rig.store.asked.clear()
        rig.clock.move_to(EPOCH + 60.0)
        other = await rig.start("other", priority=1)
        await until(lambda: rig.store.asked["fire"] == 3)
        finished = await rig.run(other)
        await turns(100)

    assert finished.status is RunStatus.COMPLETED
    assert await fired(rig) == [60.0] * 600
    assert rig.store.asked["fire"] == rig.store.asked["cursors"] == 3


# -- the database fails


@scenario
async def test_a_slot_whose_firing_was_written_and_not_answered_makes_no_second_run() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig):
        await rig.passes(59.75)
        rig.store.losing = frozenset({"fire"})
        await rig.passes(0.5)
        rig.store.come_back()
        await rig.passes(61.0)

    assert await fired(rig) == [60.0, 120.0]
    assert await told(rig) == [(60.0, "started"), (120.0, "started")]


@scenario
async def test_a_slot_whose_firing_was_not_written_is_fired_when_the_database_is_back() -> None:
    rig = Rig(job(minutely(catch_up="none")))
    async with fires(rig):
        await rig.passes(59.75)
        rig.store.go_away("fire")
        await rig.passes(7.0)
        tries = rig.store.asked["fire"]
        rig.store.come_back()
        await rig.passes(2.0)

    assert await fired(rig) == [60.0]
    assert 6 <= tries <= 8  # a second apart


@pytest.mark.parametrize("verb", ["cursors", "fire", "look", "declare"])
@scenario
async def test_an_outage_of_some_seconds_costs_no_slot(verb: str) -> None:
    rig = Rig(job(minutely(catch_up="none")))
    async with fires(rig):
        await rig.passes(58.0)
        rig.store.go_away(verb)
        await rig.passes(6.0)
        rig.store.come_back()
        await rig.passes(60.0)

    assert await fired(rig) == [60.0, 120.0]


@pytest.mark.parametrize(("catch_up", "slots"), [("latest", [180.0, 240.0]), ("all", [60.0, 120.0, 180.0, 240.0]), ("none", [240.0])])
@scenario
async def test_slots_of_a_long_outage_are_made_up_for_as_the_schedule_says(catch_up: Any, slots: list[float]) -> None:
    rig = Rig(job(minutely(catch_up=catch_up)))
    async with fires(rig):
        await rig.passes(50.0)
        rig.store.go_away()
        await rig.passes(160.0, step=1.0)
        rig.store.come_back()
        await rig.passes(32.0)

    assert await fired(rig) == slots
    missed = [each for each in await records(rig) if each.outcome == "missed"]
    assert sum(each.count or 0 for each in missed) == 4 - len(slots)


@scenario
async def test_a_worker_that_could_not_say_which_schedules_it_has_says_so_when_the_database_is_back() -> None:
    rig = Rig(job(minutely()))
    rig.store.go_away("declare")
    async with fires(rig):
        await rig.passes(30.0)
        rig.store.come_back()
        await rig.passes(31.0)

    assert await fired(rig) == [60.0]


# -- its lease


async def take_for_dead(rig: Rig, worker: Worker) -> None:
    beat = rig.store._tables.workers[worker.id].beat
    await rig.store.rescue(worker.id, beat, rig.clock.now(), 500, 5)


@scenario
async def test_a_worker_that_was_taken_for_dead_declares_under_its_new_id_and_fires_on() -> None:
    rig = Rig(job(minutely()))
    async with rig.worker() as worker:
        await rig.passes(61.0)
        await take_for_dead(rig, worker)
        await rig.passes(120.0)

        assert worker.scheduler._declared_by == worker.id

    assert await fired(rig) == [60.0, 120.0, 180.0]


@scenario
async def test_a_worker_that_learns_while_it_declares_that_it_was_taken_for_dead_registers_anew() -> None:
    rig = Rig(job(minutely()))
    async with rig.worker() as worker, fires(rig.beside(job(minutely(overlap="skip")))):
        await rig.passes(5.0)
        first = worker.id
        await take_for_dead(rig, worker)
        worker.scheduler._declare_at = rig.clock.now()
        worker.scheduler.waker.set()
        await rig.passes(20.0)

        assert worker.id != first
        assert worker.scheduler._declared_by == worker.id
        assert [state.overlap for state in await rig.store.schedules()] == ["skip"]  # and it outranks nobody


@scenario
async def test_a_worker_whose_lease_has_run_out_fires_nothing_and_does_so_when_it_has_it_again() -> None:
    rig = Rig(job(minutely(catch_up="all")))
    async with rig.worker(lease=6.0):
        await rig.passes(50.0)
        rig.store.go_away("beat")
        rig.store.asked.clear()
        await rig.passes(80.0)
        without = rig.store.asked["fire"]
        rig.store.come_back()
        await rig.passes(5.0)

    assert without == 0
    assert await fired(rig) == [60.0, 120.0]


# -- what others do to schedules, with all hints lost


@pytest.mark.parametrize("is_silent", [True, False])
@scenario
async def test_a_paused_schedule_fires_nothing_until_it_is_resumed(is_silent: bool) -> None:
    rig = Rig(job(minutely()))
    rig.store.is_silent = is_silent
    async with fires(rig):
        await rig.passes(65.0)
        await pause(rig)
        await rig.passes(120.0)
        await resume(rig)
        await rig.passes(60.0)

    assert await fired(rig) == [60.0, 240.0]
    assert await told(rig) == [(60.0, "started"), (120.0, "skipped"), (240.0, "started")]


@scenario
async def test_a_schedule_that_is_paused_in_the_moment_of_its_slot_does_not_fire() -> None:
    rig = Rig(job(minutely()))
    rig.store.is_silent = True
    async with fires(rig):
        await rig.passes(59.99)
        await pause(rig)
        rig.store.asked.clear()
        await rig.passes(0.01, step=0.01)
        await rig.passes(10.0)

        assert rig.store.asked["fire"] == 0
        assert rig.store.asked["cursors"] <= 2

    assert await fired(rig) == []


@pytest.mark.parametrize("is_silent", [True, False])
@scenario
async def test_what_a_newer_release_says_holds_from_the_next_look_on(is_silent: bool) -> None:
    rig = Rig(job(minutely()))
    rig.store.is_silent = is_silent
    async with fires(rig):
        await rig.passes(65.0)
        async with fires(rig.beside(job(Schedule("each", "30 * * * * *")))):
            await rig.passes(90.0)

    assert await fired(rig) == [60.0, 90.0, 150.0]


@scenario
async def test_when_the_newer_release_has_gone_the_older_one_has_its_word_again_within_its_interval() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig):
        async with fires(rig.beside(job(Schedule("other", EVERY_MINUTE)))):
            await rig.passes(65.0)
        await rig.passes(120.0)

    assert [(run.schedule, after_epoch(run.scheduled_at)) for run in await runs(rig)] == [
        ("other", 60.0), ("each", 120.0), ("each", 180.0),
    ]  # fmt: skip


@scenario
async def test_a_schedule_that_a_newer_release_leaves_out_fires_no_more_while_that_one_works() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig), fires(rig.beside(job())):
        await rig.passes(121.0)

    assert await fired(rig) == []


@scenario
async def test_without_a_worker_that_declares_it_a_schedule_does_not_fire() -> None:
    rig = Rig(job(minutely(catch_up="none")))
    async with fires(rig):
        await rig.passes(65.0)
    async with fires(rig.beside(job(name="other"))):
        await rig.passes(130.0)
        assert await fired(rig) == [60.0]
    async with fires(rig):
        await rig.passes(60.0)

    assert await told(rig) == [(60.0, "started"), (120.0, "missed"), (240.0, "started")]


# -- overlap


@pytest.mark.parametrize("is_silent", [True, False])
@scenario
async def test_a_slot_that_waits_fires_when_the_last_run_has_ended(is_silent: bool) -> None:
    gate = Gate()
    rig = Rig(gated(gate, minutely(overlap="wait")))
    rig.store.is_silent = is_silent
    async with fires(rig):
        await rig.passes(122.0)
        before = await fired(rig)
        gate.open()
        await turns(100)
        at_once = await fired(rig)
        await rig.passes(2.0)

        assert before == [60.0]
        assert at_once == ([60.0] if is_silent else [60.0, 120.0])
        assert await fired(rig) == [60.0, 120.0]


@scenario
async def test_a_slot_that_waits_fires_when_the_last_run_was_deleted() -> None:
    rig = Rig(gated(Gate(), minutely(overlap="wait")))
    rig.store.is_silent = True
    async with fires(rig):
        await rig.passes(122.0)
        (first,) = await runs(rig)
        await rig.act(first.id, Action.CANCEL)
        await rig.store.delete(first.id)
        await rig.passes(2.0)

        assert await fired(rig) == [120.0]


@scenario
async def test_a_paused_run_is_still_going() -> None:
    gate = Gate()
    rig = Rig(gated(gate, minutely(overlap="skip")))
    async with fires(rig):
        await rig.passes(62.0)
        (run,) = await runs(rig)
        await rig.act(run.id, Action.PAUSE)
        await rig.passes(60.0)

    (_, skipped) = await records(rig)
    assert skipped.outcome == "skipped"
    assert run.id in str(skipped.reason)


@scenario
async def test_a_slot_takes_the_place_of_the_last_run_where_the_schedule_cancels_it() -> None:
    rig = Rig(gated(Gate(), minutely(overlap="cancel")))
    async with fires(rig):
        await rig.passes(121.0)

        assert [run.status for run in await runs(rig)] == [RunStatus.CANCELED, RunStatus.RUNNING]


# -- stopping


@scenario
async def test_a_worker_that_drains_fires_no_more() -> None:
    gate = Gate()
    rig = Rig(gated(gate, minutely(overlap="allow")))
    worker = fires(rig, grace=1_000.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run())
        await rig.passes(61.0)
        await rig.store.drain(worker.id, rig.clock.now(), "ops")
        worker.beaten(rig.store.beat(worker.id, 0, 0, rig.clock.now()), {})  # type: ignore[arg-type]  # it is registered
        await rig.passes(120.0)
        assert await fired(rig) == [60.0]
        gate.open()
        await rig.passes(5.0)

    assert await fired(rig) == [60.0]


@scenario
async def test_a_worker_that_stops_while_an_input_is_computed_does_not_fire_it() -> None:
    gate = Gate()
    rig = Rig(job(minutely(input=gate.step)))
    async with fires(rig):
        await rig.passes(61.0)
        assert gate.waiting == 1

    gate.open()
    await rig.passes(5.0)

    assert await fired(rig) == []
    assert gate.canceled == 1


@scenario
async def test_a_worker_that_runs_until_idle_makes_up_for_missed_slots_first() -> None:
    rig = Rig(job(minutely(catch_up="all")))
    await rig.worker().run_until_idle()
    rig.clock.move_to(EPOCH + 185.0)
    await rig.worker().run_until_idle()

    assert [(after_epoch(run.scheduled_at), run.status) for run in await runs(rig)] == [
        (60.0, RunStatus.COMPLETED), (120.0, RunStatus.COMPLETED), (180.0, RunStatus.COMPLETED),
    ]  # fmt: skip


@scenario
async def test_a_worker_that_runs_until_idle_computes_inputs_and_executes_their_runs() -> None:
    rig = Rig(job(minutely(input=lambda: None, catch_up="all")))
    await rig.worker().run_until_idle()
    rig.clock.move_to(EPOCH + 130.0)
    await rig.worker().run_until_idle()

    assert [run.status for run in await runs(rig)] == [RunStatus.COMPLETED] * 2


@pytest.mark.parametrize("is_silent", [True, False])
@scenario
async def test_a_worker_that_runs_until_idle_fires_slots_that_wait_for_runs_which_it_brings_to_their_end(is_silent: bool) -> None:
    rig = Rig(job(minutely(overlap="wait", catch_up="all")))
    rig.store.is_silent = is_silent
    await rig.worker().run_until_idle()
    rig.clock.move_to(EPOCH + 130.0)
    await rig.worker().run_until_idle()

    assert await fired(rig) == [60.0, 120.0]
    assert {run.status for run in await runs(rig)} == {RunStatus.COMPLETED}


@scenario
async def test_a_worker_that_runs_until_idle_does_not_wait_for_runs_that_sleep_with_a_slot_behind_them() -> None:
    @workflow(name="job", schedules=[minutely(overlap="wait", catch_up="all")])
    async def sleeps(step: Step) -> None:
        await step.sleep("long", "1 day")

    rig = Rig(sleeps)
    await rig.worker().run_until_idle()
    rig.clock.move_to(EPOCH + 130.0)
    await rig.worker().run_until_idle()

    assert await fired(rig) == [60.0]


# -- jitter


@scenario
async def test_jitter_puts_runs_off_within_its_bounds_and_never_before_their_slots() -> None:
    rig = Rig(job(*(Schedule(f"s{place}", EVERY_MINUTE, jitter="20s") for place in range(200))))
    async with fires(rig, queues={"other"}):
        await rig.passes(61.0)

    delays = [after_epoch(run.available_at) - 60.0 for run in await runs(rig)]
    assert len(delays) == 200
    assert 0.0 <= min(delays) < 2.0
    assert 18.0 < max(delays) <= 20.0


@scenario
async def test_a_late_slot_is_not_put_off_beyond_the_jitter_from_its_time() -> None:
    rig = Rig(job(*(Schedule(f"s{place}", EVERY_MINUTE, jitter="2s") for place in range(50))))
    async with fires(rig, queues={"other"}):
        await rig.passes(50.0)
        rig.store.go_away()
        await rig.passes(15.0)
        rig.store.come_back()
        await rig.passes(3.0)

    runs_of_it = await runs(rig)
    assert len(runs_of_it) == 50
    assert all(run.available_at == run.created_at for run in runs_of_it)


# -- what it costs

VERBS = ("declare", "changed_schedules", "cursors", "fire")


async def asks(rig: Rig, seconds: float, worker: Worker) -> dict[str, int]:
    """What the store is asked about schedules in this time. After whatever happens, the scheduler waits: it never turns in a circle."""
    rig.store.asked.clear()
    for _ in range(int(seconds * 4)):
        await rig.passes(0.25)
        assert worker.scheduler.waker.waiting
    return {verb: rig.store.asked[verb] for verb in VERBS if rig.store.asked[verb]}


def daily(count: int) -> list[Schedule]:
    return [Schedule(f"s{place}", "0 0 * * *") for place in range(count)]


@scenario
async def test_ten_thousand_idle_schedules_cost_no_questions() -> None:
    asked = []
    for rig in (Rig(job()), Rig(*(job(*daily(100), name=f"job_{place}") for place in range(100)))):
        async with rig.worker() as worker:
            await rig.passes(1.0)
            assert await asks(rig, 25.0, worker) == {}
            asked.append(dict(rig.store.asked))

    assert len(worker.scheduler._own) == 10_000
    assert asked[0] == asked[1]


@scenario
async def test_what_is_done_to_one_of_many_schedules_costs_no_question_of_the_others() -> None:
    rig = Rig(job(minutely(), *daily(2_000)))
    async with fires(rig) as worker:
        await rig.passes(2.0)
        assert len(worker.scheduler._next) == 2_001

        await pause(rig)
        assert await asks(rig, 2.0, worker) == {"changed_schedules": 1, "cursors": 1}
        assert len(worker.scheduler._next) == 2_000

        await resume(rig)
        assert await asks(rig, 2.0, worker) == {"changed_schedules": 1, "cursors": 1}
        assert len(worker.scheduler._next) == 2_001

        for place in range(300):
            await pause(rig, f"s{place}")
        assert await asks(rig, 2.0, worker) == {"changed_schedules": 1, "cursors": 9}
        assert len(worker.scheduler._next) == 1_701


@scenario
async def test_a_schedule_takes_little_memory() -> None:
    rig = Rig(job(*daily(1_000)))
    gc.collect()
    tracemalloc.start()
    async with rig.worker():
        await rig.passes(1.0)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert used < 1_000 * 4_000


@scenario
async def test_a_slot_costs_one_question_how_its_schedule_stands_and_one_firing() -> None:
    rig = Rig(job(minutely(), *daily(1_000)))
    async with fires(rig) as worker:
        await rig.passes(1.0)

        assert await asks(rig, 50.0, worker) == {}
        assert await asks(rig, 50.0, worker) == {"cursors": 1, "fire": 1}


@scenario
async def test_without_schedules_nothing_is_asked() -> None:
    rig = Rig(job())
    async with fires(rig) as worker:
        await rig.passes(1.0)

        assert await asks(rig, 120.0, worker) == {}


@scenario
async def test_a_paused_schedule_costs_nothing() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig) as worker:
        await pause(rig)
        await rig.passes(2.0)

        assert await asks(rig, 180.0, worker) == {}


@scenario
async def test_a_release_that_is_outvoted_asks_every_ten_seconds_whether_it_is_still() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig) as worker, fires(rig.beside(job(*daily(1)))):
        await rig.passes(2.0)

        assert await asks(rig, 180.0, worker) == {"declare": 18, "cursors": 18}


@scenario
async def test_a_slot_that_waits_costs_a_question_a_second() -> None:
    rig = Rig(gated(Gate(), minutely(overlap="wait")))
    async with fires(rig) as worker:
        await rig.passes(122.0)
        asked = await asks(rig, 50.0, worker)

        assert set(asked) == {"cursors"}
        assert 45 <= asked["cursors"] <= 55


@scenario
async def test_runs_that_end_all_the_time_do_not_each_cost_a_question_of_those_that_wait() -> None:
    rig = Rig(gated(Gate(), minutely(overlap="wait")), job(name="other"))
    async with fires(rig) as worker:
        await rig.passes(122.0)
        rig.store.asked.clear()
        for _ in range(500):
            await rig.start("other")
            await rig.passes(0.002)

        assert rig.store.asked["commit"] >= 400
        assert rig.store.asked["cursors"] <= 25
        assert len(worker.scheduler._heap) <= 5


@scenario
async def test_an_end_that_comes_just_after_another_is_seen_all_the_same() -> None:
    gate = Gate()
    rig = Rig(gated(gate, minutely(overlap="wait")), job(name="other"))
    async with fires(rig):
        await rig.passes(122.0)
        await rig.start("other")
        await rig.passes(0.01, step=0.01)
        gate.open()
        await rig.passes(0.02, step=0.01)
        await rig.passes(0.1, step=0.1)

        assert await fired(rig) == [60.0, 120.0]


@scenario
async def test_hundreds_of_slots_that_wait_are_looked_at_in_batches() -> None:
    gate = Gate()
    rig = Rig(gated(gate, *(Schedule(f"s{place}", EVERY_MINUTE, overlap="wait") for place in range(300))))
    async with fires(rig, concurrency=1_000) as worker:
        for _ in range(2):
            await rig.jumps(61.0)
            await turns(200)
        assert len(worker.scheduler._waiting) == 300

        gate.open()
        await turns(200)
        await rig.passes(1.5)

        assert worker.scheduler._waiting == {}
        assert len(await runs(rig)) == 600


@scenario
async def test_without_its_lease_a_worker_asks_nothing() -> None:
    rig = Rig(job(minutely()))
    async with rig.worker(lease=6.0) as worker:
        rig.store.go_away("beat")
        await rig.passes(10.0)

        assert await asks(rig, 120.0, worker) == {}


@scenario
async def test_while_the_database_is_away_it_is_asked_once_a_second() -> None:
    rig = Rig(job(minutely()))
    async with fires(rig) as worker:
        await rig.passes(55.0)
        rig.store.go_away("cursors")
        asked = await asks(rig, 60.0, worker)

        assert set(asked) == {"cursors"}
        assert 50 <= asked["cursors"] <= 60


class Behind(Database):
    """A database that tells its own time, which is behind that of this machine."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        super().__init__()
        self._clock = rig.clock
        self._seconds = seconds

    async def cursors(self, keys: Collection[tuple[str, str]]) -> list[Cursor]:
        now = self._clock.now() - self._seconds
        return [cursor._replace(seen_at=now) for cursor in await super().cursors(keys)]


@scenario
async def test_nothing_fires_before_the_database_says_that_it_is_time() -> None:
    rig = Rig(job(minutely()))
    rig.store = Behind(rig, 5.0)
    async with fires(rig) as worker:
        await rig.passes(59.5)
        asked = await asks(rig, 5.25, worker)
        too_early = await fired(rig)
        await rig.passes(1.0)

    assert too_early == []
    assert asked["cursors"] <= 7
    assert await fired(rig) == [60.0]


@scenario
async def test_the_oldest_records_of_a_schedule_that_comes_each_second_are_forgotten() -> None:
    rig = Rig(job(Schedule("each", "* * * * * *", catch_up="all"), queue="elsewhere"))
    async with fires(rig, queues={"default"}):
        for _ in range(4):
            await rig.jumps(400.0)
            await turns(50)

    assert KEPT <= len(rig.store._tables.schedules.slots["job", "each"]) <= KEPT * 5 // 4
    assert len(await runs(rig)) > 1_500


@scenario
async def test_records_are_forgotten_also_where_no_worker_lives_for_as_long_as_it_takes_to_make_many() -> None:
    rig = Rig(job(Schedule("each", "* * * * * *", catch_up="all"), queue="elsewhere"))
    for _ in range(40):
        async with fires(rig, queues={"default"}):
            await rig.jumps(100.0)
            await turns(50)
        assert len(rig.store._tables.schedules.slots["job", "each"]) <= KEPT * 2

    assert len(await runs(rig)) > 3_500
