"""Bodies that are plain functions: in a thread of their own, with the same promises."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import stepwell
from stepwell import Logger, OutsideRun, Retry, RunFailed, RunInfo, RunStatus, Step, StepFailed, SyncStep, workflow
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, TWICE, Counter, caught, crash, memory_of, scenario, successor, until, worker_of


@scenario
async def test_a_def_body_runs_its_def_steps_in_its_own_thread_and_its_async_steps_on_the_loop() -> None:
    @workflow
    def flow(step: SyncStep) -> list[str]:
        async def in_loop() -> str:
            return threading.current_thread().name

        return [threading.current_thread().name, step.run("def", lambda: threading.current_thread().name), step.run("async", in_loop)]

    async with TestApp(flow) as app:
        body, in_def, in_async = await app.execute(flow)

    assert body.startswith("stepwell-body-")
    assert in_def == body
    assert in_async == threading.main_thread().name


@stepwell.step
async def async_double(number: int) -> int:
    return number * 2


@stepwell.step
def def_double(number: int) -> int:
    return number * 2


@scenario
async def test_all_that_a_step_can_do_a_def_body_can_do() -> None:
    @workflow(retry=TWICE)
    def flow(name: str, step: SyncStep, logger: Logger, run: RunInfo) -> dict[str, Any]:
        logger.info("begins", name=name)
        step.progress(1, 2, "half")
        return {
            "decorated": [async_double(1), def_double(2)],
            "defined": step.define("defined", def_double, retry=ONCE).run(3),
            "map": step.map("map", def_double, range(4), concurrency=2),
            "map async": step.map("map async", async_double, range(4)),
            "random": 0 <= step.random() < 1,
            "uuid": step.uuid().version,
            "run": run.attempt,
        }

    async with TestApp(flow) as app:
        handle = await app.start(flow, "x")
        result = await handle.result()
        logs, row = await handle.logs(), await handle.get()

    assert result == {
        "decorated": [2, 4], "defined": 6, "map": [0, 2, 4, 6], "map async": [0, 2, 4, 6], "random": True, "uuid": 4, "run": 1,
    }  # fmt: skip
    assert [(line.message, line.fields) for line in logs] == [("begins", {"name": "x"})]
    assert row.progress is not None


@scenario
async def test_a_def_body_is_retried_and_its_failed_steps_are_raised() -> None:
    def fail() -> None:
        raise KeyError("k")

    @workflow(retry=Retry(3, "1s"))
    def flow(step: SyncStep, run: RunInfo) -> str:
        with pytest.raises(StepFailed) as raised:
            step.define("fail", fail, retry=ONCE).run()
        assert raised.value.caused_by(LookupError)
        if run.attempt < 3:
            raise OSError("again")
        return "done"

    @workflow
    def lets_it_out(step: SyncStep) -> None:
        step.define("fail", fail, retry=ONCE).run()

    async with TestApp(flow, lets_it_out) as app:
        assert await app.execute(flow) == "done"
        failed = await caught(app.execute(lets_it_out))

    assert isinstance(failed, RunFailed)
    assert failed.error.steps == ("fail",)


@scenario
async def test_the_cleanup_of_a_def_body_runs_when_it_is_left_but_the_steps_in_it_do_not() -> None:
    trace, work = Counter(), Counter()

    @workflow
    def flow(step: SyncStep) -> None:
        try:
            step.sleep("long", "30 days")
        except Exception:  # noqa: BLE001
            trace.plain("caught")
        finally:
            trace.plain("finally")
            try:
                def_double(1)
            except Exception:  # noqa: BLE001
                trace.plain("caught")
            step.run("undo", work.plain)
            trace.plain("not reached")

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await until(lambda: memory_of(app)._tables.rows[handle.run_id].status is RunStatus.SLEEPING)
        await until(lambda: trace.calls)
        await handle.cancel()

    assert trace.calls == ["finally"]
    assert work.calls == []


@scenario
async def test_a_def_body_goes_on_after_a_crash_where_it_was() -> None:
    work, blocked, release = Counter(), threading.Event(), threading.Event()

    def block() -> str:
        blocked.set()
        release.wait(10)
        return "through"

    @workflow
    def flow(step: SyncStep) -> list[Any]:
        return [step.run("first", work.plain, 1), step.run("block", block)]

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(blocked.is_set)
        await crash(app)
    release.set()
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == [1, "through"]

    assert work.calls == [1]


@scenario
async def test_a_step_of_a_def_body_from_another_thread_is_refused() -> None:
    @workflow
    def flow(step: SyncStep) -> str:
        errors: list[BaseException] = []

        def other() -> None:
            try:
                step.run("other", def_double, 1)
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert isinstance(errors[0], OutsideRun)
        return str(errors[0])

    async with TestApp(flow) as app:
        assert "another thread" in await app.execute(flow)


@scenario
async def test_a_def_body_that_is_canceled_while_it_computes_can_call_no_step_and_catch_nothing() -> None:
    computing, go_on, trace = threading.Event(), threading.Event(), Counter()

    @workflow
    def flow(step: SyncStep) -> None:
        computing.set()
        go_on.wait(10)
        for call in (lambda: step.run("late", def_double, 1), lambda: async_double(1)):
            try:
                call()
            except Exception as error:  # noqa: BLE001
                trace.plain(error)
            except BaseException as error:  # noqa: BLE001
                trace.plain(type(error).__name__)

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(computing.is_set)
        await handle.cancel()
        await until(lambda: not worker_of(app)._running)
        go_on.set()
        await until(lambda: len(trace.calls) == 2)

    assert trace.calls == ["Unwind", "Unwind"]


@scenario
async def test_a_def_body_that_swallows_its_end_for_ever_is_stopped_at_its_next_steps() -> None:
    rounds = Counter()

    @workflow
    def flow(step: SyncStep) -> None:
        while True:
            try:
                step.sleep("long", "1 day")
            except BaseException:  # noqa: BLE001
                rounds.plain()

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await until(lambda: len(rounds.calls) >= 1_000)
        await handle.cancel()
    seen = len(rounds.calls)

    assert seen <= 1_010


def test_neither_a_def_body_nor_a_def_step_that_never_ends_keeps_the_process_from_exiting() -> None:
    program = textwrap.dedent("""
        import asyncio, time
        from stepwell import SyncStep, Step, workflow
        from stepwell.testing import TestApp

        @workflow
        def endless():
            while True:
                time.sleep(0.01)

        @workflow
        async def endless_step(step: Step):
            await step.run("endless", time.sleep, 3600)

        async def main():
            async with TestApp(endless, endless_step) as app:
                await app.start(endless)
                await app.start(endless_step)
                await asyncio.sleep(0.1)
            print("left")

        asyncio.run(main())
        print("ends")
    """)

    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=50, check=False)

    assert (done.stdout.split(), done.returncode) == (["left", "ends"], 0)
    assert [line.split(" go on ")[0] for line in done.stderr.splitlines()] == ["1 of the calls in threads of stepwell-test"]


@scenario
async def test_an_async_body_and_a_def_body_share_nothing_that_could_block_the_other() -> None:
    release = threading.Event()

    @workflow
    def blocked() -> str:
        release.wait(10)
        return "unblocked"

    @workflow
    async def free(step: Step) -> int:
        return await step.run("work", def_double, 2)

    async with TestApp(blocked, free) as app:
        handles = [await app.start(blocked) for _ in range(50)]
        assert await app.execute(free) == 4
        release.set()
        assert [await handle.result() for handle in handles] == ["unblocked"] * 50
