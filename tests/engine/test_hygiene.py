"""What a body must not do is refused at its line; what it does badly disturbs no other run."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import warnings
from collections import Counter as Tally
from typing import Any

import pytest

from stepwell import NotInStep, RunFailed, Step, workflow
from stepwell.engine.execution import Execution
from stepwell.engine.requests import StepRequest
from stepwell.engine.runloop import RunLoop
from stepwell.testing import TestApp
from tests.engine.harness import Counter, caught, scenario, settled, until


@workflow
async def other() -> int:
    return 1


def _in_loop(call: Any) -> Any:
    async def body(app: TestApp) -> Any:
        result = call(asyncio.get_running_loop())
        return await result if asyncio.iscoroutine(result) else result

    return body


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda app: asyncio.open_connection("127.0.0.1", 9), "step.run("),
        (lambda app: asyncio.start_server(print, "127.0.0.1", 0), "step.run("),
        (lambda app: asyncio.create_subprocess_exec("true"), "subprocess"),
        (lambda app: asyncio.create_subprocess_shell("true"), "subprocess"),
        (lambda app: asyncio.to_thread(print), "thread"),
        (_in_loop(lambda loop: loop.run_in_executor(None, print)), "thread"),
        (_in_loop(lambda loop: loop.getaddrinfo("localhost", 80)), "address"),
        (_in_loop(lambda loop: loop.add_reader(0, print)), "step.run("),
        (_in_loop(lambda loop: loop.call_soon_threadsafe(print)), "thread"),
        (_in_loop(lambda loop: loop.add_signal_handler(signal.SIGUSR1, print)), "signal"),
        (_in_loop(lambda loop: loop.run_until_complete(None)), "event loop itself"),
        (_in_loop(lambda loop: loop.sock_recv(None, 1)), "step.run("),
        (lambda app: app.start(other), "start it in a step"),
        (lambda app: app.execute(other), "start it in a step"),
        (lambda app: app.handle("some run").result(), "wait for it in a step"),
    ],
)
@scenario
async def test_io_in_a_body_is_refused_at_its_line_with_what_to_write_and_not_retried(act: Any, says: str) -> None:
    entered = Counter()

    @workflow
    async def flow(step: Step) -> None:
        entered.plain()
        await act(app)

    async with TestApp(flow, other) as app:
        failed = await caught(app.execute(flow))

    assert isinstance(failed, RunFailed)
    assert failed.caused_by(NotInStep)
    assert says in failed.error.message
    assert "the body of a workflow" in failed.error.message
    assert "test_hygiene.py" in failed.error.traceback
    assert len(entered.calls) == 1


@scenario
async def test_runs_can_be_started_and_awaited_in_a_step() -> None:
    @workflow
    async def flow(step: Step) -> int:
        async def start_and_wait() -> int:
            return await (await app.start(other)).result()

        return await step.run("other", start_and_wait)

    async with TestApp(flow, other) as app:
        assert await app.execute(flow) == 1


@scenario
async def test_a_set_of_coroutines_for_as_completed_is_refused_and_a_list_is_fine() -> None:
    work = Counter()

    @workflow
    async def flow(step: Step) -> list[int]:
        with pytest.raises(NotInStep, match="Pass a list"):
            for each in asyncio.as_completed({step.run("x", work.step, number) for number in range(3)}):
                await each
        return sorted([await each for each in asyncio.as_completed([step.run("x", work.step, number) for number in range(3)])])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        async with TestApp(flow) as app:
            assert await app.execute(flow) == [0, 1, 2]
        gc.collect()


@scenario
async def test_a_body_that_spins_lets_others_run_and_is_warned_about_with_its_place() -> None:
    stop = Counter()
    records: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    @workflow
    async def spinning() -> str:
        while not stop.calls:
            await asyncio.sleep(0)
        return "done"

    keeper = Keeper()
    logging.getLogger("stepwell").addHandler(keeper)
    try:
        async with TestApp(spinning, other) as app:
            handle = await app.start(spinning)
            assert await app.execute(other) == 1
            await until(lambda: records)
            stop.plain()
            assert await handle.result() == "done"
    finally:
        logging.getLogger("stepwell").removeHandler(keeper)

    message = records[0].getMessage()
    assert "over a second" in message
    assert "test_hygiene.py:" in message
    assert "in spinning" in message


@scenario
async def test_runs_leave_nothing_for_the_garbage_collector() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()  # a timer of asyncio would keep its context until it is due, canceled or not

    @workflow
    async def flow(number: int, step: Step) -> int:
        async def branch() -> Any:
            return await step.run("work", Counter().step, number)

        await asyncio.gather(branch(), branch())
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(branch())
        await caught(asyncio.wait_for(step.run("endless", endless), 0.001))
        await step.sleep("a while", "1 day")
        return number

    async with TestApp(flow) as app:
        await app.execute(flow, 0)
        gc.collect()
        before = Tally(type(each) for each in gc.get_objects())  # those that other tests have left behind on purpose
        gc.disable()
        try:
            handles = [await app.start(flow, number) for number in range(500)]
            for handle in handles:
                await handle.result()
            await settled(app, 100)
            kinds = Tally(type(each) for each in gc.get_objects())
            found = gc.collect()
        finally:
            gc.enable()

    assert all(kinds[kind] <= before[kind] for kind in (Execution, RunLoop, StepRequest))
    assert found < 500 * 4
