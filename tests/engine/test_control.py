"""Pause, resume, cancel and retry, whatever the run is doing; and steps that the body itself withdraws."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from stepwell import DatabaseUnavailable, IllegalTransition, Retry, RunCanceled, RunFailed, RunStatus, Step, StepFailed, SyncStep, workflow
from stepwell.core.records import Claimed
from stepwell.core.registry import Lane
from stepwell.handle import Handle
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Notices, Pin
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, WITHIN, Counter, caught, memory_of, scenario, settled, until, worker_of


class Gate:
    """A step that ends when it is let through."""

    def __init__(self) -> None:
        self.waiting = 0
        self.calls = 0
        self.canceled = 0
        self._open = asyncio.Event()

    async def step(self, value: Any = None) -> Any:
        self.calls += 1
        self.waiting += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        finally:
            self.waiting -= 1
        return value

    def open(self) -> None:
        self._open.set()


def claims(app: TestApp, handle: Handle[Any]) -> int:
    claim: int = memory_of(app)._tables.rows[handle.run_id].claim
    return claim


# -- withdrawal


async def _wait_for(step: Step, gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(step.run("slow", gate.step), 0.02)


async def _timeout(step: Step, gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await step.run("slow", gate.step)


async def _task_cancel(step: Step, gate: Gate) -> None:
    task = asyncio.create_task(step.run("slow", gate.step))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _task_group(step: Step, gate: Gate) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.02)
        raise OSError

    with pytest.raises(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("slow", gate.step))
            group.create_task(fail())


@pytest.mark.parametrize("way", [_wait_for, _timeout, _task_cancel, _task_group])
@scenario
async def test_a_step_that_the_body_no_longer_waits_for_is_canceled_and_its_attempt_kept(way: Any) -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step) -> str:
        await way(step, gate)
        return await step.run("after", lambda: "done")

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == "done"
        records = await handle.steps()

    assert gate.canceled == 1
    ends = [(record.key.rpartition("/")[2], record.status, record.attempt) for record in records]
    assert ends == [("slow", "canceled", 1), ("after", "completed", 1)]


@scenario
async def test_the_late_result_of_a_step_that_ignores_its_cancellation_is_dropped() -> None:
    async def stubborn() -> str:
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.03)
        return "late"

    @workflow
    async def flow(step: Step) -> str:
        await caught(asyncio.wait_for(step.run("stubborn", stubborn), 0.01))
        await step.run("longer", asyncio.sleep, 0.15)
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == "done"
        records = {record.key: record.status for record in await handle.steps()}

    assert records == {"stubborn": "canceled", "longer": "completed"}


@scenario
async def test_a_thread_that_the_body_no_longer_waits_for_runs_out_and_its_result_is_dropped() -> None:
    release, ends = threading.Event(), Counter()

    def slow() -> str:
        release.wait(10)
        ends.plain()
        return "late"

    @workflow
    async def flow(step: Step) -> str:
        await caught(asyncio.wait_for(step.run("slow", slow), 0.01))
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == "done"
        assert worker_of(app).threads.left_behind == 1
        release.set()
        await until(lambda: worker_of(app).threads.left_behind == 0)
        records = [record.status for record in await handle.steps()]

    assert ends.calls == [None]
    assert records in (["canceled"], [])


@scenario
async def test_a_step_canceled_before_its_first_line_leaves_nothing_behind() -> None:
    """Two outcomes in one commit: upon the first the body starts a step, upon the second it cancels it."""
    both, begun = asyncio.Event(), Counter()

    async def together(name: str) -> str:
        await both.wait()
        return name

    @workflow
    async def flow(step: Step) -> str:
        async def first() -> None:
            await step.run("first", together, "first")
            await step.run("hopeless", begun.step)

        hopeless = asyncio.create_task(first())
        await asyncio.sleep(0)  # so that the first asks first
        await step.run("second", together, "second")
        hopeless.cancel()
        await caught(asyncio.wait({hopeless}))
        await step.sleep("a while", "30 days")
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: worker_of(app).steps.running == 2)
        both.set()
        assert await handle.result() == "done"
        assert worker_of(app).steps.running == 0

    assert len(begun.calls) <= 1


# -- pause and resume


@pytest.mark.parametrize("kind", ["async", "def"])
@scenario
async def test_a_pause_lets_the_step_in_progress_end_keeps_its_result_and_starts_no_other(kind: str) -> None:
    gate, next_step = Gate(), Counter()

    @workflow(name="flow")
    async def flow(step: Step) -> list[Any]:
        return [await step.run("first", gate.step, 1), await step.run("second", next_step.step, 2)]

    @workflow(name="flow")
    def def_flow(step: SyncStep) -> list[Any]:
        return [step.run("first", gate.step, 1), step.run("second", next_step.plain, 2)]

    async with TestApp(flow if kind == "async" else def_flow) as app:
        handle = await app.start("flow")
        await until(lambda: gate.waiting)
        paused = await handle.pause()
        await settled(app)
        still_running = gate.waiting
        gate.open()
        await until(lambda: not worker_of(app)._running)
        row = await handle.get()
        recorded = [(record.key, record.output) for record in await handle.steps()]
        await handle.resume()
        result = await handle.result()

    assert paused.status is row.status is RunStatus.PAUSED
    assert still_running == 1
    assert row.worker is None
    assert recorded == [("first", 1)]
    assert result == [1, 2]
    assert gate.calls == 1
    assert next_step.calls == [2]


@scenario
async def test_a_pause_and_resume_within_one_step_runs_it_once_and_claims_nothing_anew() -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step) -> str:
        await step.run("first", gate.step)
        return await step.run("second", lambda: "done")

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        for _ in range(3):
            await handle.pause()
            await settled(app)
            await handle.resume()
            await settled(app)
        await handle.pause()
        await handle.resume()
        gate.open()
        assert await handle.result() == "done"
        assert claims(app, handle) == 1

    assert gate.calls == 1


@scenario
async def test_a_sleep_goes_on_counting_while_its_run_is_paused() -> None:
    work = Counter()

    @workflow
    async def flow(step: Step) -> str:
        await step.run("work", work.step, 1)
        await step.sleep("a while", "10h")
        return "done"

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1h")
        parked = await handle.status()
        await handle.pause()
        await app.advance("1h")
        paused = await handle.get()
        await app.advance("10h")
        still = await handle.status()
        await handle.resume()
        await app.advance("1s")
        done = await handle.status()

    assert (parked, paused.status, still, done) == (RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PAUSED, RunStatus.COMPLETED)
    assert paused.worker is None
    assert work.calls == [1]


@scenario
async def test_a_run_that_is_paused_before_it_begins_does_not_begin() -> None:
    entered = Counter()

    @workflow
    async def flow() -> str:
        entered.plain()
        return "done"

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow, delay="1h")
        await handle.pause()
        await handle.pause()
        await app.advance("2h")
        assert (await handle.status(), entered.calls) == (RunStatus.PAUSED, [])
        await handle.resume()
        await handle.resume()
        await app.advance("1s")
        assert await handle.result() == "done"
        with pytest.raises(IllegalTransition):
            await handle.resume()


@scenario
async def test_a_pause_that_meets_the_end_of_a_run_lets_it_end_after_the_resume() -> None:
    gate, ends = Gate(), Counter()

    @workflow
    async def flow(step: Step) -> str:
        await step.run("work", gate.step)
        ends.plain()
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        gate.open()
        await until(lambda: ends.calls)
        await handle.pause()
        await until(lambda: not worker_of(app)._running)
        assert await handle.status() is RunStatus.PAUSED
        await handle.resume()
        assert await handle.result() == "done"

    assert gate.calls == 1


@scenario
async def test_a_retry_that_is_due_while_its_run_is_paused_waits_for_the_resume() -> None:
    tries = Counter()

    async def flaky() -> str:
        tries.plain()
        if len(tries.calls) == 1:
            raise OSError("again")
        return "done"

    @workflow(retry=Retry(3, "1h", max_interval="1h"))
    async def flow(step: Step) -> str:
        return await step.run("flaky", flaky)

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1m")
        await handle.pause()
        await app.advance("10h")
        assert len(tries.calls) == 1
        await handle.resume()
        await app.advance("1s")
        assert await handle.result() == "done"
        assert [record.attempt for record in await handle.steps()] == [1, 2]


@scenario
async def test_a_body_that_spins_can_be_paused_and_canceled() -> None:
    stop = Counter()

    @workflow
    async def spinning() -> str:
        while not stop.calls:
            await asyncio.sleep(0)
        return "done"

    async with TestApp(spinning) as app:
        handle = await app.start(spinning)
        await until(lambda: worker_of(app)._running)
        await handle.pause()
        await until(lambda: not worker_of(app)._running)
        assert (await handle.get()).worker is None
        await handle.resume()
        await until(lambda: worker_of(app)._running)
        await handle.cancel()
        await until(lambda: not worker_of(app)._running)


@pytest.mark.parametrize("block", range(10))
@scenario
async def test_however_pauses_and_resumes_fall_each_step_runs_once(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        chance, work = random.Random(seed), Counter()

        async def step_of(name: str, turns: int, work: Counter = work) -> str:
            work.plain(name)
            for _ in range(turns):
                await asyncio.sleep(0)
            return name

        async def body(step: Step, step_of: Any = step_of, pause: float = 0.3 if seed % 2 else 5.0) -> list[list[str]]:
            async def branch(name: str) -> list[str]:
                done = []
                for number in range(3):
                    done.append(await step.run("work", step_of, f"{name}{number}", len(name) * number))
                    await asyncio.sleep(pause)
                return done

            return list(await asyncio.gather(branch("a"), branch("bb"), branch("ccc")))

        flow = _without_defaults(body)

        async with TestApp(flow) as app:
            handle = await app.start(flow)
            for _ in range(12):
                for _ in range(chance.randrange(12)):
                    await asyncio.sleep(0)
                status = await handle.status()
                if status.ended:
                    break
                await (handle.resume() if status is RunStatus.PAUSED else handle.pause())
            if await handle.status() is RunStatus.PAUSED:
                await handle.resume()
            result = await handle.result(WITHIN)

        assert result == [[f"{name}{number}" for number in range(3)] for name in ("a", "bb", "ccc")], seed
        assert work.repeated == [], seed


def _without_defaults(body: Any) -> Any:
    async def flow(step: Step) -> list[list[str]]:
        return await body(step)  # type: ignore[no-any-return]

    return workflow(flow)


# -- cancel


@scenario
async def test_a_run_can_be_canceled_before_it_begins_and_while_it_sleeps() -> None:
    work = Counter()

    @workflow
    async def flow(step: Step) -> None:
        await step.sleep("a while", "1 day")
        await step.run("work", work.step)

    async with TestApp(flow, self_moving=False) as app:
        pending, sleeping = await app.start(flow, delay="1 day"), await app.start(flow)
        await app.advance("1h")
        for handle in (pending, sleeping):
            assert (await handle.cancel()).status is RunStatus.CANCELED
            assert (await handle.cancel()).status is RunStatus.CANCELED
            with pytest.raises(RunCanceled):
                await handle.result()
            with pytest.raises(IllegalTransition):
                await handle.pause()
        await app.advance("3 days")
        assert not worker_of(app)._parked

    assert work.calls == []


@scenario
async def test_canceling_a_run_cancels_its_async_step_and_runs_its_cleanup_without_steps() -> None:
    gate, trace = Gate(), Counter()

    @workflow
    async def flow(step: Step) -> None:
        try:
            await step.run("work", gate.step)
        finally:
            trace.plain("finally")
            await step.run("undo", trace.step, "undo")

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        await handle.cancel()
        await until(lambda: not gate.waiting and not worker_of(app)._running)
        row = await handle.get()

    assert gate.canceled == 1
    assert trace.calls == ["finally"]
    assert (row.status, row.error, row.worker) == (RunStatus.CANCELED, None, None)
    assert row.finished_at is not None


@scenario
async def test_a_canceled_run_lets_its_thread_run_out_and_drops_the_result() -> None:
    release, began = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        release.wait(10)
        return "late"

    @workflow
    async def flow(step: Step) -> None:
        await step.run("slow", slow)

    @workflow
    def def_flow(step: SyncStep) -> None:
        step.run("slow", slow)

    async with TestApp(flow, def_flow) as app:
        for each in (flow, def_flow):
            began.clear()
            handle: Handle[Any] = await app.start(each)
            await until(began.is_set)
            await handle.cancel()
            await until(lambda: not worker_of(app)._running)
            release.set()
            await settled(app)
            assert [record.status for record in await handle.steps()] == []
            release.clear()


# -- retry by hand


@scenario
async def test_a_retry_keeps_finished_steps_and_gives_the_failed_one_a_new_budget() -> None:
    work, tries, works = Counter(), Counter(), asyncio.Event()

    async def charge() -> str:
        tries.plain()
        if not works.is_set():
            raise OSError("down")
        return "charged"

    @workflow(retry=Retry(2, "1s"))
    async def flow(step: Step) -> list[Any]:
        return [
            await step.run("before", work.step, "before"),
            await step.run("charge", charge),
            await step.run("after", work.step, "after"),
        ]

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert isinstance(await caught(handle.result()), RunFailed)
        await handle.retry()
        assert isinstance(await caught(handle.result()), RunFailed)
        works.set()
        await handle.retry()
        assert await handle.result() == ["before", "charged", "after"]
        records = await handle.steps()
        with pytest.raises(IllegalTransition):
            await handle.retry()

    assert work.calls == ["before", "after"]
    assert len(tries.calls) == 5
    assert [(record.key, record.attempt, record.status) for record in records] == [
        ("before", 1, "completed"),
        ("charge", 1, "failed"), ("charge", 2, "failed"), ("charge", 3, "failed"), ("charge", 4, "failed"), ("charge", 5, "completed"),
        ("after", 1, "completed"),
    ]  # fmt: skip


@scenario
async def test_a_retry_takes_back_what_was_asked_for_in_the_knowledge_of_the_failure_and_keeps_busy_branches() -> None:
    works, calls = asyncio.Event(), Counter()

    async def charge() -> str:
        if not works.is_set():
            raise OSError("down")
        return "charged"

    @workflow(retry=ONCE)
    async def flow(step: Step) -> list[Any]:
        async def busy() -> str:
            for number in range(3):
                await step.run("busy", calls.step, f"busy {number}")
            return "busy"

        async def pays() -> str:
            try:
                return await step.run("charge", charge)
            except StepFailed:
                await step.run("refund", calls.step, "refund")
                await step.run("wait for the others", asyncio.sleep, 0.03)
                raise

        return list(await asyncio.gather(busy(), pays()))

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert isinstance(await caught(handle.result()), RunFailed)
        before = sorted(record.key for record in await handle.steps() if record.status == "completed")
        works.set()
        await handle.retry()
        assert await handle.result() == ["busy", "charged"]
        after = sorted(record.key for record in await handle.steps() if record.status == "completed")

    assert "@1/refund" in before
    assert after == ["@0/busy", "@0/busy:1", "@0/busy:2", "@1/charge"]
    assert calls.calls.count("busy 0") == 1
    assert calls.calls.count("refund") == 1


@scenario
async def test_a_canceled_run_can_be_taken_up_again() -> None:
    work, gate = Counter(), Gate()

    @workflow
    async def flow(step: Step) -> list[Any]:
        return [await step.run("before", work.step, "before"), await step.run("gate", gate.step, "through")]

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        await handle.cancel()
        await until(lambda: not gate.waiting)
        gate.open()
        await handle.retry()
        assert await handle.result() == ["before", "through"]

    assert work.calls == ["before"]


# -- a claim that is lost


@scenario
async def test_a_worker_that_has_lost_a_run_writes_nothing_of_it_and_drops_it() -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step, logger: Any) -> str:
        await step.run("first", gate.step)
        await step.run("second", gate.step)
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        row = memory_of(app)._tables.rows[handle.run_id]
        row.claim += 1
        row.worker = "another"
        gate.open()
        await until(lambda: not worker_of(app)._running)
        assert row.outcomes == {}
        assert (row.status, row.worker) == (RunStatus.RUNNING, "another")

    assert gate.calls == 1


class _SlowNotices(MemoryStore):
    """Its answers to the question for notices are old when they arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        answer = await super().notices(worker, seen, now)
        self.asked.set()
        await self.go_on.wait()
        return answer


@scenario
async def test_a_run_that_comes_back_while_the_worker_asks_what_was_done_to_it_is_not_dropped() -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step) -> str:
        return await step.run("work", gate.step, "done")

    app = TestApp(flow)
    app.store = store = _SlowNotices()
    async with app:
        handle = await app.start(flow)
        await until(lambda: gate.waiting)
        await handle.cancel()
        worker_of(app).here[handle.run_id].drop()  # as the answer of a commit would have it
        await store.asked.wait()
        await handle.retry()
        await until(lambda: gate.waiting)
        store.go_on.set()
        await settled(app)
        gate.open()
        assert await handle.result(WITHIN) == "done"

    assert gate.calls == 2


class _LosesAnswersOfClaims(MemoryStore):
    """Its first claim is made, and the answer lost."""

    lost = False

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        claimed = await super().claim(worker, serves, limit, now, suspects=suspects)
        if claimed and not self.lost:
            self.lost = True
            raise DatabaseUnavailable("the answer is lost")
        return claimed


@scenario
async def test_a_run_whose_claim_was_made_and_never_answered_is_given_back_and_executed() -> None:
    @workflow
    async def flow(step: Step) -> int:
        return await step.run("work", _one)

    app = TestApp(flow)
    app.store = _LosesAnswersOfClaims()
    async with app:
        handle = await app.start(flow)
        for _ in range(5):
            await app.advance("2s")

        assert await handle.result(WITHIN) == 1
        assert [(record.key, record.attempt) for record in await handle.steps()] == [("work", 1)]


async def _one() -> int:
    return 1


@scenario
async def test_a_step_canceled_by_a_body_that_ends_at_once_is_kept_as_canceled() -> None:
    gate = Gate()

    @workflow
    async def flow(step: Step) -> str:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await step.run("slow", gate.step)
        return "in time"

    async with TestApp(flow) as app:
        handle = await app.start(flow)

        assert await handle.result() == "in time"
        assert [(record.key, record.status) for record in await handle.steps()] == [("slow", "canceled")]


@scenario
async def test_the_result_of_a_run_in_an_app_that_is_not_running_is_not_waited_for() -> None:
    @workflow
    async def flow() -> int:
        return 1

    app = TestApp(flow)
    handle = await app.start(flow)

    with pytest.raises(RuntimeError, match="this TestApp is not running"):
        await handle.result()
    async with app:
        assert await handle.result() == 1
    assert await handle.result() == 1


@pytest.mark.parametrize("act", ["get", "steps", "logs", "pause", "resume", "cancel", "retry"])
@scenario
async def test_a_body_neither_looks_at_other_runs_nor_acts_on_them(act: str) -> None:
    others: list[Handle[Any]] = []

    @workflow
    async def waits(step: Step) -> None:
        await step.sleep("a while", "1 day")

    @workflow
    async def meddles() -> None:
        await getattr(others[0], act)()

    async with TestApp(waits, meddles) as app:
        others.append(await app.start(waits))

        with pytest.raises(RunFailed) as failed:
            await app.execute(meddles)
        assert failed.value.error.type == "NotInStep"


@scenario
async def test_a_run_that_a_step_failed_within_a_task_group_says_so() -> None:
    async def decline() -> None:
        raise ValueError("no funds")

    @workflow
    async def flow(step: Step) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.define("charge", decline, retry=Retry.never()).run())

    async with TestApp(flow) as app:
        with pytest.raises(RunFailed) as failed:
            await app.execute(flow)

    assert failed.value.error.type == "StepFailed"
    assert failed.value.error.message == 'step "charge" failed after 1 attempt: ValueError: no funds'
