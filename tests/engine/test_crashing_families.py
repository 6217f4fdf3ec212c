"""Runs that start, await and signal one another, whose worker is lost at each commit in turn: of each child there is one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from stepwell import ChildFailed, ContinueAsNew, RunInfo, Step, SyncStep, Workflow, workflow
from stepwell.testing import TestApp, crash_everywhere
from tests.engine.harness import ONCE, scenario


@workflow
async def part(input: int, step: Step) -> int:
    await step.sleep("a while", f"{input % 3 + 1}m")
    return await step.run("double", double, input)


async def double(number: int) -> int:
    return 2 * number


@workflow
async def sender(input: str, step: Step) -> str:
    for number in range(3):
        await step.send_signal(input, "go", number)
        await step.sleep("a while", "1m")
    return "sent"


@workflow(retry=ONCE)
async def breaks(step: Step) -> None:
    await step.sleep("a while", "1m")
    raise ValueError("no funds")


@workflow
async def never(step: Step) -> None:
    await step.wait_for_signal("what nobody sends")


@workflow
async def gathers(run: RunInfo, step: Step) -> list[Any]:
    await step.start(sender, run.id)
    parts = await asyncio.gather(*(step.execute(part, number) for number in range(4)))
    return [parts, *[await step.wait_for_signal("go") for _ in range(3)]]


@workflow
async def waits_side_by_side(run: RunInfo, step: Step) -> list[Any]:
    started = await step.start(sender, run.id, key="the one")
    again = await step.start(sender, run.id, key="the one", name="again")
    found = await asyncio.gather(*(step.wait_for_signal("go") for _ in range(3)))
    return [started.run_id == again.run_id, *found]


@workflow
async def is_let_down(step: Step) -> list[str]:
    found = []
    try:
        await step.execute(breaks)
    except ChildFailed as failure:
        found.append(failure.error.message)
    try:
        await step.execute(never, timeout="2h")
    except TimeoutError:
        found.append("late child")
    try:
        async with asyncio.timeout(60):
            await step.execute(never, name="unwanted")
    except TimeoutError:
        found.append("unwanted child")
    try:
        await step.wait_for_signal("go", timeout="1h")
    except TimeoutError:
        found.append("late signal")
    return found


@workflow
async def goes_on_as_new(input: list[int], run: RunInfo, step: Step) -> list[int]:
    if not input:
        await step.execute(sender, run.id)
    found = [*input, await step.wait_for_signal("go")]
    if len(found) < 3:
        raise ContinueAsNew(found)
    return found


@workflow
def plain(run: RunInfo, step: SyncStep) -> list[Any]:
    step.start(sender, run.id)
    return [step.execute(part, 1), step.wait_for_signal("go"), step.wait_for_signal("go")]


@pytest.mark.parametrize(
    ("flow", "input", "runs"),
    [
        (gathers, None, {"gathers": 1, "sender": 1, "part": 4}),
        (waits_side_by_side, None, {"waits_side_by_side": 1, "sender": 1}),
        (is_let_down, None, {"is_let_down": 1, "breaks": 1, "never": 2}),
        (goes_on_as_new, [], {"goes_on_as_new": 1, "sender": 1}),
        (plain, None, {"plain": 1, "sender": 1, "part": 1}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@scenario
async def test_a_family_comes_to_the_same_end_wherever_its_worker_is_lost(
    flow: Workflow[Any, Any], input: Any, runs: dict[str, int]
) -> None:
    apps: list[TestApp] = []

    async def family() -> tuple[Counter[str], set[str]]:
        found = [run async for run in apps[-1].runs.iterate()]
        unwanted = {run.status.value for run in found if run.workflow == "never"}
        return Counter(run.workflow for run in found), unwanted

    report = await crash_everywhere(
        flow, input, setup=lambda app: apps.append(app), effects=family, workflows=[part, sender, breaks, never]
    )

    assert report.crashes >= 10
    assert await family() == (runs, {"canceled"} if "never" in runs else set())
