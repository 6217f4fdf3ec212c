"""Inputs of scheduled runs that functions compute: before a run is made, or, of one that was started by hand or is tried again, by
the worker that begins it."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stepwell import Logger, Retry, Run, RunStatus, Schedule, Step, Workflow, workflow
from stepwell.core.records import TO_COMPUTE, NewRun
from stepwell.core.status import Action
from stepwell.engine.scheduler import COMPUTED_AT_ONCE
from stepwell.engine.worker import Worker
from stepwell.errors import InvalidInput
from stepwell.testing.clock import EPOCH
from tests.engine.harness import Counter, scenario, until
from tests.engine.rig import Gate, Rig
from tests.engine.test_scheduler import EVERY_MINUTE, LONG, fired, fires, records, runs, told
from tests.loops import turns

COMPLETED, FAILED, CANCELED, PAUSED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED, RunStatus.PAUSED


def echo(input: Any, *, schedule: str = "each", **options: Any) -> Workflow[Any, Any]:
    """A workflow that gives back its input, a number."""

    async def echoes(input: int) -> int:
        return input

    return workflow(echoes, name="job", schedules=[Schedule(schedule, EVERY_MINUTE, input=input, **options)])


async def over(rig: Rig, worker: Worker) -> None:
    """Until nothing is computed any more."""
    await until(lambda: not worker.scheduler.busy)
    await turns(40)


async def one_slot(input: Any, **options: Any) -> tuple[Rig, Run]:
    """The run of the first slot."""
    rig = Rig(echo(input, **options))
    async with fires(rig) as worker:
        await rig.passes(60.0)
        await over(rig, worker)
    (run,) = await runs(rig)
    return rig, run


def behind(gate: Gate, value: int) -> Callable[[], Awaitable[int]]:
    """A function that returns this when the gate is opened."""

    async def compute() -> int:
        await gate.step()
        return value

    return compute


@scenario
async def test_a_worker_refuses_a_value_that_does_not_fit_and_says_of_which_schedule_it_is() -> None:
    with pytest.raises(InvalidInput, match="schedule 'each'"):
        Rig(echo("seven")).worker()


# -- what a function returns


async def _asynchronous() -> int:
    await asyncio.sleep(0)
    return 7


def _awaitable() -> Awaitable[int]:
    return _asynchronous()


@pytest.mark.parametrize("input", [7, lambda: 7, _asynchronous, _awaitable, functools.partial(lambda value: value, 7)])
@scenario
async def test_an_input_is_a_value_or_what_a_function_returns_whatever_its_kind(input: Any) -> None:
    rig, run = await one_slot(input)

    assert (run.status, run.input, run.output) == (COMPLETED, 7, 7)
    assert await told(rig) == [(60.0, "started")]


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
@scenario
async def test_a_function_of_the_slot_gets_its_time_in_the_zone_of_the_schedule(zone: str | None) -> None:
    got: list[datetime] = []

    def compute(slot: datetime) -> int:
        got.append(slot)
        return 1

    await one_slot(compute, timezone=zone)

    assert got == [datetime.fromtimestamp(EPOCH + 60.0, ZoneInfo(zone or "UTC"))]
    assert got[0].tzinfo == ZoneInfo(zone or "UTC")


@scenario
async def test_a_def_function_is_called_off_the_loop() -> None:
    threads: list[int] = []

    def compute() -> int:
        threads.append(threading.get_ident())
        return 1

    await one_slot(compute)

    assert threads != [threading.get_ident()]


@scenario
async def test_of_many_missed_slots_each_gets_its_own_input_and_one_that_fails_spoils_no_other() -> None:
    def compute(slot: datetime) -> int:
        if slot.minute == 2:
            raise ValueError("the second one")
        return slot.minute

    rig = Rig(echo(compute, catch_up="all"))
    async with fires(rig) as worker:
        await rig.passes(1.0)
        await rig.jumps(200.0)
        await over(rig, worker)

    assert [(run.status, run.output) for run in await runs(rig)] == [(COMPLETED, 1), (FAILED, None), (COMPLETED, 3)]
    assert await told(rig) == [(60.0, "started"), (120.0, "failed"), (180.0, "started")]


@scenario
async def test_the_inputs_of_many_missed_slots_are_computed_beside_each_other() -> None:
    gate = Gate()
    rig = Rig(echo(behind(gate, 3), catch_up="all"))
    async with fires(rig) as worker:
        await rig.passes(1.0)
        await rig.jumps(60.0 * COMPUTED_AT_ONCE + 120.0)
        await until(lambda: gate.waiting == COMPUTED_AT_ONCE)
        await turns(40)
        assert gate.waiting == COMPUTED_AT_ONCE
        gate.open()
        await over(rig, worker)

    assert await fired(rig) == [60.0 * place for place in range(1, COMPUTED_AT_ONCE + 3)]


def test_workers_of_one_release_say_the_same_of_an_input_with_a_set_in_it() -> None:
    assert len({_declared_by_a_process(hash_seed) for hash_seed in ("0", "1", "2")}) == 1


def _declared_by_a_process(hash_seed: str) -> str:
    code = """if True:
        import asyncio
        from pydantic import BaseModel
        from stepwell import Schedule, workflow
        from stepwell.store.memory import MemoryStore
        from tests.engine.rig import Rig

        class Wanted(BaseModel):
            tags: set[str]

        @workflow(schedules=[Schedule("each", "@daily", input=Wanted(tags={"red", "green", "blue", "grey"}))])
        async def job(wanted: Wanted) -> None: ...

        async def main():
            rig = Rig(job)
            async with rig.worker():
                (cursor,) = await rig.store.cursors([("job", "each")])
                print(cursor.digest)

        asyncio.run(main())
    """
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout


# -- functions that fail


def _raising(error: BaseException, *, is_async: bool) -> Callable[[], Any]:
    def plain() -> int:
        raise error

    async def asynchronous() -> int:
        raise error

    return asynchronous if is_async else plain


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("no rates today"), "ValueError", "no rates today"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (asyncio.CancelledError(), "DefinitionError", "was canceled"),
        (StopIteration("odd"), None, ""),
        (TimeoutError("its own"), "TimeoutError", "its own"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@scenario
async def test_a_function_that_raises_leaves_a_failed_run_that_says_so(
    error: BaseException, kind: str | None, message: str, is_async: bool
) -> None:
    rig, run = await one_slot(_raising(error, is_async=is_async))

    assert run.status is FAILED
    assert run.error is not None
    assert kind in (None, run.error.type)
    assert message in run.error.message
    assert (run.input, run.scheduled_at, run.started_at) == (None, datetime.fromtimestamp(EPOCH + 60.0, ZoneInfo("UTC")), None)
    (record,) = await records(rig)
    assert (record.outcome, record.run_id) == ("failed", run.id)
    assert "its input could not be computed" in str(record.reason)


@pytest.mark.parametrize(("value", "kind"), [("seven", "InvalidInput"), (object(), "InvalidInput"), (float("nan"), "InvalidInput")])
@scenario
async def test_a_function_that_returns_what_does_not_fit_leaves_a_failed_run(value: Any, kind: str) -> None:
    _, run = await one_slot(lambda: value)

    assert run.status is FAILED
    assert run.error is not None
    assert run.error.type == kind


@pytest.mark.parametrize("by_hand", [False, True])
@scenario
async def test_a_function_that_returns_what_no_database_holds_leaves_a_failed_run_and_the_worker_goes_on(by_hand: bool) -> None:
    async def takes_text(input: str) -> None: ...

    rig = Rig(workflow(takes_text, name="job", schedules=[Schedule("each", EVERY_MINUTE, input=lambda: "a\ud800b")]))
    async with fires(rig) as worker:
        await rig.passes(1.0)
        if by_hand:
            await trigger(rig)
        await rig.passes(58.0 if by_hand else 59.0)
        await over(rig, worker)
        assert worker.failure is None

    (run,) = await runs(rig)
    assert run.status is FAILED


@scenario
async def test_a_function_that_returns_too_much_leaves_a_failed_run() -> None:
    async def takes_text(input: str) -> None: ...

    rig = Rig(workflow(takes_text, name="job", schedules=[Schedule("each", EVERY_MINUTE, input=lambda: "x" * 2_000)]))
    async with fires(rig, max_payload=1_000) as worker:
        await rig.passes(60.0)
        await over(rig, worker)

    (run,) = await runs(rig)
    assert run.error is not None
    assert run.error.type == "PayloadTooLarge"


@scenario
async def test_a_schedule_fires_on_after_its_function_has_failed() -> None:
    numbers: Iterator[int | Exception] = iter([ValueError("first"), 2, ValueError("third"), 4])

    async def compute() -> int:
        number = next(numbers)
        if isinstance(number, Exception):
            raise number
        return number

    rig = Rig(echo(compute, overlap="skip"))
    async with fires(rig):
        await rig.passes(241.0)

    assert [(run.status, run.output) for run in await runs(rig)] == [(FAILED, None), (COMPLETED, 2), (FAILED, None), (COMPLETED, 4)]


# -- functions that take long


def _deaf(gate: threading.Event) -> Callable[[], Any]:
    async def takes_no_notice() -> int:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return 1

    return takes_no_notice


@pytest.mark.parametrize("kind", ["async", "def", "deaf"])
@scenario
async def test_a_function_that_hangs_leaves_a_failed_run_and_holds_up_no_other_schedule(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.inputs.LONGEST", 0.1)
    gate = threading.Event()

    async def hangs() -> int:
        await asyncio.Event().wait()
        return 1

    def hangs_in_its_thread() -> int:
        gate.wait(20.0)
        return 1

    function = {"async": hangs, "def": hangs_in_its_thread, "deaf": _deaf(gate)}[kind]
    rig = Rig(echo(function), *[workflow(_nothing, name="other", schedules=[Schedule("each", EVERY_MINUTE, input=lambda: None)])])
    async with fires(rig) as worker:
        await rig.passes(60.0)
        await until(lambda: len(rig.store._tables.rows) == 1)
        (other,) = await runs(rig, "other")
        await over(rig, worker)
        gate.set()

    (run,) = await runs(rig)
    assert other.status in (RunStatus.PENDING, RunStatus.RUNNING, COMPLETED)
    assert run.status is FAILED
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("TimeoutError", "the input function of schedule 'each' took longer than 0.1 s")


def _nothing() -> None: ...


@scenario
async def test_slots_that_come_while_an_input_is_computed_are_dealt_with_after_it() -> None:
    gate = Gate()
    rig = Rig(echo(behind(gate, 1), catch_up="all"))
    async with fires(rig) as worker:
        await rig.passes(185.0)
        assert (gate.calls, await fired(rig)) == (1, [])
        gate.open()
        await over(rig, worker)
        await over(rig, worker)

    assert await fired(rig) == [60.0, 120.0, 180.0]


@scenario
async def test_a_schedule_that_is_paused_while_an_input_is_computed_does_not_fire() -> None:
    gate = Gate()
    rig = Rig(echo(behind(gate, 1)))
    async with fires(rig) as worker:
        await rig.passes(61.0)
        await rig.store.pause_schedule("job", "each", rig.clock.now(), "ops")
        gate.open()
        await over(rig, worker)
        await rig.passes(5.0)

    assert await fired(rig) == []
    assert gate.calls == 1


@scenario
async def test_of_workers_that_compute_the_same_slot_one_starts_its_run() -> None:
    gate = Gate()
    rig = Rig(echo(behind(gate, 1)))
    async with fires(rig) as first, fires(rig) as second:
        await rig.passes(60.0)
        await until(lambda: gate.calls == 2)
        gate.open()
        await over(rig, first)
        await over(rig, second)

    assert await fired(rig) == [60.0]
    assert len(await told(rig)) == 1


@scenario
async def test_an_input_that_was_computed_while_the_database_was_away_is_used_or_computed_again() -> None:
    gate = Gate()
    rig = Rig(echo(behind(gate, 1)))
    async with fires(rig) as worker:
        await rig.passes(60.0)
        rig.store.go_away()
        gate.open()
        await over(rig, worker)
        await rig.passes(3.0)
        rig.store.come_back()
        await rig.passes(2.0)
        await over(rig, worker)

    assert await fired(rig) == [60.0]
    assert gate.calls <= 3


# -- runs whose input is still to be computed


async def trigger(rig: Rig) -> str:
    now = rig.clock.now() + 0.5
    new = NewRun(rig.ids.new(), "job", None, TO_COMPUTE, rig.clock.now(), rig.clock.now(), schedule="each", scheduled_at=now)
    return await rig.store.trigger(new, rig.clock.now(), "ops")


@asynccontextmanager
async def triggered(function: Any) -> AsyncIterator[tuple[Rig, Worker, str]]:
    """A worker to which a run has just come whose input is to be computed."""
    rig = Rig(echo(function))
    async with fires(rig) as worker:
        await rig.passes(1.0)
        run_id = await trigger(rig)
        await turns(40)
        yield rig, worker, run_id


@scenario
async def test_a_run_that_was_triggered_gets_its_input_from_the_worker_that_begins_it() -> None:
    got: list[datetime] = []

    async def compute(slot: datetime) -> int:
        got.append(slot)
        return 7

    async with triggered(compute) as (rig, _, run_id):
        run = await rig.run(run_id)

        assert (run.status, run.input, run.output) == (COMPLETED, 7, 7)
        assert [slot.timestamp() for slot in got] == [EPOCH + 1.5]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=type)
@scenario
async def test_a_run_that_was_triggered_fails_when_its_function_does_and_the_worker_goes_on(error: BaseException, is_async: bool) -> None:
    async with triggered(_raising(error, is_async=is_async)) as (rig, worker, run_id):
        await until(lambda: not worker.claims.busy)
        await turns(40)

        assert await rig.status(run_id) is FAILED
        assert worker.failure is None
        assert worker.quiet


@scenario
async def test_a_run_whose_schedule_has_gone_fails_and_says_so() -> None:
    rig = Rig(echo(lambda: 1))
    async with fires(rig):
        await rig.passes(1.0)
    run_id = await trigger(rig)
    await rig.beside(echo(lambda: 1, schedule="other")).worker().run_until_idle()

    run = await rig.run(run_id)
    assert run.error is not None
    assert "has no schedule 'each' any more" in run.error.message


@scenario
async def test_a_run_whose_schedule_has_a_value_now_gets_that() -> None:
    rig = Rig(echo(lambda: 1))
    async with fires(rig):
        await rig.passes(1.0)
    run_id = await trigger(rig)
    await rig.beside(echo(9)).worker().run_until_idle()

    assert (await rig.run(run_id)).output == 9


@scenario
async def test_a_retry_computes_the_input_anew_on_whatever_worker() -> None:
    rig, run = await one_slot(_raising(ValueError("no rates today"), is_async=True))
    await rig.act(run.id, Action.RETRY)
    await rig.beside(echo(lambda slot: int(slot.timestamp() - EPOCH))).worker().run_until_idle()

    again = await rig.run(run.id)
    assert (again.status, again.input, again.output, again.error) == (COMPLETED, 60, 60, None)


@scenario
async def test_a_retry_whose_function_fails_again_fails_again() -> None:
    calls: list[int] = []

    async def compute() -> int:
        calls.append(1)
        raise ValueError(f"call {len(calls)}")

    rig, run = await one_slot(compute)
    async with fires(rig):
        for _ in range(2):
            await rig.act(run.id, Action.RETRY)
            await turns(60)

    failed = await rig.run(run.id)
    assert failed.error is not None
    assert (failed.status, failed.error.message) == (FAILED, "call 3")


@scenario
async def test_an_input_that_was_computed_is_not_computed_again_when_the_run_is_retried() -> None:
    calls: list[int] = []

    async def compute() -> int:
        calls.append(len(calls))
        return len(calls)

    async def fails(input: int, logger: Logger) -> None:
        raise ValueError("the body")

    rig = Rig(workflow(fails, name="job", retry=Retry.never(), schedules=[Schedule("each", EVERY_MINUTE, input=compute)]))
    async with rig.worker(lease=LONG) as worker:
        await rig.passes(61.0)
        (run,) = await runs(rig)
        await rig.act(run.id, Action.RETRY)
        await turns(40)
        assert worker.failure is None

    assert (calls, (await rig.run(run.id)).input) == ([0], 1)


@pytest.mark.parametrize("fails", [False, True])
@scenario
async def test_a_run_that_is_paused_while_its_input_is_computed_begins_when_it_is_resumed(fails: bool) -> None:
    gate, bodies = Gate(), []

    async def compute() -> int:
        await gate.step()
        if fails and gate.calls == 1:
            raise ValueError("no")
        return 7

    async def notes(input: int, step: Step) -> int:
        bodies.append(input)
        return await step.run("double", _double, input)

    rig = Rig(workflow(notes, name="job", schedules=[Schedule("each", EVERY_MINUTE, input=compute)]))
    async with fires(rig):
        await rig.passes(1.0)
        run_id = await trigger(rig)
        await turns(40)
        assert gate.waiting == 1
        await rig.act(run_id, Action.PAUSE)
        gate.open()
        await rig.passes(5.0)
        paused, steps = await rig.status(run_id), await rig.store.steps(run_id)
        await rig.act(run_id, Action.RESUME)
        await rig.passes(5.0)
        run = await rig.run(run_id)

    assert (paused, steps) == (PAUSED, [])
    assert (run.status, run.input, run.output) == (COMPLETED, 7, 14)


@pytest.mark.parametrize("fails", [False, True])
@scenario
async def test_a_run_that_is_paused_and_resumed_while_its_input_is_computed_begins(fails: bool) -> None:
    gate = Gate()

    async def compute() -> int:
        await gate.step()
        if fails and gate.calls == 1:
            raise ValueError("no")
        return 7

    async def notes(input: int, step: Step) -> int:
        return await step.run("double", _double, input)

    rig = Rig(workflow(notes, name="job", schedules=[Schedule("each", EVERY_MINUTE, input=compute)]))
    async with fires(rig):
        await rig.passes(1.0)
        run_id = await trigger(rig)
        await turns(40)
        await rig.act(run_id, Action.PAUSE)
        await rig.act(run_id, Action.RESUME)
        gate.open()
        await rig.passes(5.0)
        run = await rig.run(run_id)

    assert (run.status, run.input, run.output) == (COMPLETED, 7, 14)


async def _double(value: int) -> int:
    return 2 * value


@pytest.mark.parametrize("fails", [False, True])
@scenario
async def test_a_run_that_is_canceled_while_its_input_is_computed_stays_so(fails: bool) -> None:
    gate = Gate()

    async def compute() -> int:
        await gate.step()
        if fails:
            raise ValueError("no")
        return 7

    async with triggered(compute) as (rig, worker, run_id):
        await rig.act(run_id, Action.CANCEL)
        gate.open()
        await rig.passes(5.0)

        run = await rig.run(run_id)
        assert (run.status, run.output, run.error) == (CANCELED, None, None)
        assert worker.quiet
        assert worker.here == {}


@pytest.mark.parametrize("is_deleted", [False, True])
@scenario
async def test_a_run_that_is_canceled_just_after_it_has_got_its_input_does_not_begin_and_the_worker_goes_on(is_deleted: bool) -> None:
    gate, began = Gate(), Counter()

    async def begins(value: int, step: Step) -> int:
        return int(await step.run("count", began.step, value))

    rig = Rig(workflow(begins, name="job", schedules=[Schedule("each", EVERY_MINUTE, input=behind(gate, 3))]))
    async with fires(rig) as worker:
        await rig.passes(1.0)
        run_id = await trigger(rig)
        await until(lambda: gate.waiting == 1)
        rig.store.slow = frozenset({"get"})
        gate.open()
        await until(lambda: rig.store.asked["supply"] == 1)
        await rig.act(run_id, Action.CANCEL)
        if is_deleted:
            await rig.store.delete(run_id)
        await rig.passes(5.0)

        assert worker.failure is None
        assert began.calls == []
        assert (worker.quiet, worker.free_slots) == (True, worker.concurrency)


@scenario
async def test_a_worker_that_stops_while_it_computes_the_input_of_a_run_leaves_it_to_others() -> None:
    gate = Gate()
    async with triggered(behind(gate, 3)) as (rig, _, run_id):
        assert gate.waiting == 1
    gate.open()
    assert await rig.status(run_id) is RunStatus.PENDING

    await rig.worker().run_until_idle()

    assert (await rig.run(run_id)).output == 3


@scenario
async def test_a_worker_that_is_taken_for_dead_while_it_computes_the_input_of_a_run_writes_nothing() -> None:
    gate = Gate()
    async with triggered(behind(gate, 3)) as (rig, worker, run_id):
        beat = rig.store._tables.workers[worker.id].beat
        await rig.store.rescue(worker.id, beat, rig.clock.now(), 500, 5)
        await rig.passes(12.0)
        gate.open()
        await rig.passes(2.0)

        run = await rig.run(run_id)
        assert (run.status, run.output, run.worker) == (COMPLETED, 3, None)


@pytest.mark.parametrize("fault", ["away", "losing"])
@scenario
async def test_an_input_is_written_once_however_often_the_database_has_to_be_asked(fault: str) -> None:
    gate = Gate()
    async with triggered(behind(gate, 3)) as (rig, _, run_id):
        setattr(rig.store, fault, frozenset({"supply"}))
        gate.open()
        await rig.passes(3.0)
        rig.store.come_back()
        await rig.passes(2.0)

        assert (await rig.run(run_id)).output == 3
        assert (gate.calls, rig.store.asked["supply"] >= 3) == (1, True)
