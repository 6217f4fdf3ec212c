"""What a handle gives: the typed output, or how else the run has ended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from stepwell import Logger, Run, RunCanceled, RunFailed, RunStatus, Step, workflow
from stepwell.testing import TestApp
from tests.app.apps import Gate, Opened, brought_to, gate_reached, gated
from tests.engine.harness import ONCE, WITHIN, scenario, status_is
from tests.loops import turns


class Receipt(BaseModel):
    amount: int
    at: datetime


@workflow
async def buy(input: int) -> Receipt:
    return Receipt(amount=input, at=datetime(2027, 1, 15, tzinfo=UTC))


@scenario
async def test_a_result_is_typed_by_the_workflow_when_the_start_knew_it(opened: Opened) -> None:
    async with opened(buy) as app:
        handle = await app.start(buy, 3)
        by_name = await app.start("buy", 4)

        assert await handle.result() == Receipt(amount=3, at=datetime(2027, 1, 15, tzinfo=UTC))
        assert await by_name.result() == Receipt(amount=4, at=datetime(2027, 1, 15, tzinfo=UTC))
        assert await app.handle(handle.run_id).result() == {"amount": 3, "at": "2027-01-15T00:00:00Z"}
        assert (await handle.get()).output == {"amount": 3, "at": "2027-01-15T00:00:00Z"}


@scenario
async def test_each_call_gives_a_fresh_object(opened: Opened) -> None:
    @workflow
    async def listed() -> list[int]:
        return [1]

    async with opened(listed) as app:
        handle = await app.start(listed)
        (await handle.result()).append(2)

        assert await handle.result() == [1]


@scenario
async def test_a_run_without_an_output_gives_none(opened: Opened) -> None:
    @workflow
    async def silent() -> None:
        return None

    async with opened(silent) as app:
        handle = await app.start(silent)
        await status_is(handle, RunStatus.COMPLETED)
        results: list[Any] = [*await asyncio.gather(handle.result())]

        assert results == [None]


@scenario
async def test_a_failed_run_raises_its_error(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await app.start(flow, "fail")
        with pytest.raises(
            RunFailed, match=r"of gated failed: StepFailed: step \"charge\" failed after 1 attempt: ValueError: no funds"
        ) as it:
            await handle.result()
        with pytest.raises(RunFailed):
            await app.execute(flow, "fail")

    assert (it.value.run_id, it.value.workflow, it.value.error.type) == (handle.run_id, "gated", "StepFailed")
    assert it.value.caused_by(ValueError)


@scenario
async def test_a_canceled_run_says_so_to_those_who_wait(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await brought_to(app, RunStatus.SLEEPING, flow)
        waiting = [asyncio.get_running_loop().create_task(handle.result()) for _ in range(3)]
        await turns()
        await handle.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in ended] == [RunCanceled] * 3
    assert str(ended[0]) == f"run {handle.run_id} of gated was canceled"


@scenario
async def test_a_result_that_is_not_there_in_time_is_a_timeout_and_the_run_goes_on(opened: Opened) -> None:
    gate = Gate()
    flow = gated(gate)

    async with opened(flow) as app:
        handle = await app.start(flow, "gate")
        await gate_reached(gate)
        with pytest.raises(TimeoutError, match=f"run {handle.run_id} has not ended within 0.05 s; it goes on"):
            await handle.result(timeout=0.05)
        with pytest.raises(TimeoutError, match=f"run {handle.run_id} has not ended yet; it goes on"):
            await handle.result(timeout=0)
        gate.open()

        assert await handle.result(timeout=WITHIN) == "through"
        assert await handle.result(0) == "through"


@pytest.mark.parametrize("time", ["5s", True, [5]])
@scenario
async def test_only_a_number_of_seconds_is_a_time_to_wait(time: Any) -> None:
    async with TestApp(buy) as app:
        handle = await app.start(buy, 1)
        with pytest.raises(TypeError, match=r"the timeout of result\(\) is a number of seconds"):
            await handle.result(time)
        with pytest.raises(ValueError, match="not NaN"):
            await handle.result(float("nan"))


@scenario
async def test_waiting_goes_on_while_the_run_is_paused(opened: Opened) -> None:
    gate = Gate()
    flow = gated(gate)

    async with opened(flow) as app:
        handle = await brought_to(app, RunStatus.RUNNING, flow)
        await handle.pause()
        with pytest.raises(TimeoutError):
            await handle.result(0.05)
        waiting = asyncio.get_running_loop().create_task(handle.result())
        gate.open()
        await handle.resume()

        assert await waiting == "through"


@scenario
async def test_execute_waits_for_seconds_and_gives_the_run_a_duration(opened: Opened) -> None:
    gate = Gate()
    flow = gated(gate)

    async with opened(flow) as app:
        assert await app.execute(flow, "done", timeout=WITHIN) == "done"
        with pytest.raises(TimeoutError):
            await app.execute(flow, "gate", timeout=0.05, tags=["waits"])
        (run,) = await app.runs.list(tags="waits")
        assert (run.deadline_at, run.status.ended) == (None, False)
        await app.execute(flow, "done", timeout="1h", tags=["late"])
        (late,) = await app.runs.list(tags="late")
        assert late.deadline_at is not None
        assert (late.deadline_at - late.created_at).total_seconds() == pytest.approx(3600, abs=0.01)


@scenario
async def test_a_handle_shows_the_run_its_steps_and_its_logs(opened: Opened) -> None:
    @workflow(version="v1", retry=ONCE)
    async def shown(input: dict[str, int], step: Step, logger: Logger) -> int:
        logger.info("began", amount=3)
        return await step.run("double", _double, input["amount"])

    async with opened(shown) as app:
        handle = await app.start(shown, {"amount": 3}, key="k", priority=5, tags=["a", "b"], queue="default")
        assert await handle.result() == 6
        await status_is(handle, RunStatus.COMPLETED)
        run, steps, logs = await handle.get(), await handle.steps(), await handle.logs()
        assert (run, steps, logs) == (
            await app.runs.get(handle.run_id),
            await app.runs.steps(handle.run_id),
            await app.runs.logs(handle.run_id),
        )
        assert await app.runs.logs(handle.run_id, after=1) == []
        assert await app.runs.logs(handle.run_id, limit=1) == logs[:1]

    assert run == Run(
        id=handle.run_id, workflow="shown", version="v1", status=RunStatus.COMPLETED, input={"amount": 3}, output=6, error=None, attempt=1,
        key="k", queue="default", priority=5, tags=("a", "b"), created_at=run.created_at, available_at=run.available_at,
        started_at=run.started_at, finished_at=run.finished_at, worker=None, claimed_at=run.started_at, claimed_by=run.claimed_by,
    )  # fmt: skip
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.created_at <= run.started_at <= run.finished_at
    assert [(step.key, step.name, step.kind, step.status, step.attempt, step.output) for step in steps] == [
        ("double", "double", "function", "completed", 1, 6)
    ]
    assert [(line.level, line.message, line.fields, line.step) for line in logs] == [("info", "began", {"amount": 3}, None)]


def _double(value: int) -> int:
    return value * 2
