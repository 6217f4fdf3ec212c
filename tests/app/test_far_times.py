"""Waits without end and times that no calendar has: whoever asks for one waits, and nobody else does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from stepwell import RetryAfter, RunFailed, RunStatus, Step, Stepwell, workflow
from stepwell.core.records import instant
from tests.app.apps import Opened
from tests.engine.harness import ONCE, scenario, status_is

END = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
NUMBERS = [inf, nan, -inf]


@workflow
async def quick(input: int) -> int:
    return input


@workflow
async def waits(input: str) -> None:
    await asyncio.sleep(float(input))


@workflow
async def guarded(input: str, step: Step) -> str:
    async with asyncio.timeout(float(input)):
        await step.sleep("a moment", "20ms")
    return "done"


@workflow(retry=ONCE)
async def counts(input: str, step: Step) -> None:
    await step.progress(float(input))


@workflow(retry=ONCE)
async def counts_to(input: str, step: Step) -> None:
    await step.progress(1, float(input))


@workflow
async def again_much_later(input: int) -> None:
    raise RetryAfter(timedelta(days=4_000_000), "come back later")


@workflow
async def sleeps(input: int, step: Step) -> None:
    await step.sleep("for ever", timedelta.max)


@scenario
async def test_a_body_that_waits_for_ever_waits_and_others_go_on(opened: Opened) -> None:
    async with opened(waits, quick) as app:
        handle = await app.start(waits, "inf")
        await status_is(handle, RunStatus.SLEEPING)

        assert await app.execute(quick, 1) == 1
        assert (await handle.get()).available_at == END
        assert await handle.status() is RunStatus.SLEEPING


@pytest.mark.parametrize("seconds", ["inf", "nan"])
@scenario
async def test_a_timeout_without_end_never_comes(url: str, seconds: str) -> None:
    async with Stepwell(url, workflows=[guarded, quick]) as app, app.worker(grace="0s"):
        assert await app.execute(guarded, seconds) == "done"
        assert await app.execute(quick, 1) == 1


@pytest.mark.parametrize("number", NUMBERS)
@scenario
async def test_progress_that_is_no_number_fails_its_run_and_no_other(opened: Opened, number: float) -> None:
    async with opened(counts, counts_to, quick) as app:
        for flow in (counts, counts_to):
            with pytest.raises(RunFailed, match="progress is counted in numbers"):
                await app.execute(flow, str(number))
        assert await app.execute(quick, 1) == 1


@scenario
async def test_runs_that_are_due_after_the_last_day_can_be_looked_at(opened: Opened) -> None:
    async with opened(again_much_later, sleeps, quick) as app:
        later = await app.start(again_much_later, 1)
        sleeping = await app.start(sleeps, 1)
        await status_is(later, RunStatus.SLEEPING)
        await status_is(sleeping, RunStatus.SLEEPING)

        assert {run.id for run in await app.runs.list()} == {later.run_id, sleeping.run_id}
        assert {(await each.get()).available_at for each in (later, sleeping)} == {END}
        assert await app.execute(quick, 1) == 1


def test_an_instant_after_the_last_day_is_on_that_day() -> None:
    assert instant(1e15) == instant(inf) == END
    assert instant(0.5) == datetime(1970, 1, 1, microsecond=500_000, tzinfo=UTC)
