"""Child runs, on each database."""

from __future__ import annotations

import asyncio

import pytest

from stepwell import ChildFailed, Run, RunFailed, RunStatus, Step, Stepwell, workflow
from tests.app.apps import Opened
from tests.engine.harness import ONCE, scenario, status_is


@workflow
async def add(numbers: list[int], step: Step) -> int:
    return await step.run("sum", sum, numbers)


@workflow
async def total(input: list[list[int]], step: Step) -> list[int]:
    return await asyncio.gather(*(step.execute(add, numbers) for numbers in input))


@workflow(retry=ONCE)
async def breaks() -> None:
    raise ValueError("no funds")


@workflow
async def waits(step: Step) -> object:
    return await step.wait_for_signal("go")


@workflow
async def awaits(input: str, step: Step) -> object:
    return await step.execute(input)


@workflow
async def begins(step: Step) -> str:
    return (await step.start(waits, tags=["begun"])).run_id


async def child_of(app: Stepwell) -> Run:
    """The one that waits."""
    while not (page := await app.runs.list(workflow="waits", status="sleeping")).items:
        await asyncio.sleep(0)
    return page.items[0]


@scenario
async def test_children_run_side_by_side_and_their_outputs_come_back(opened: Opened) -> None:
    async with opened(total, add) as app:
        handle = await app.start(total, [[number, 1] for number in range(50)])

        assert await handle.result() == [number + 1 for number in range(50)]
        assert await app.runs.count(workflow="add") == {RunStatus.COMPLETED: 50}
        steps = await handle.steps()
        children = [await app.runs.get(step.child_id) for step in steps if step.child_id is not None]
    assert len(children) == 50
    assert {child.parent_id for child in children} == {handle.run_id}


@scenario
async def test_a_child_that_fails_fails_its_parent(opened: Opened) -> None:
    async with opened(awaits, breaks) as app:
        handle = await app.start(awaits, "breaks")

        with pytest.raises(RunFailed, match=r"child run .* of breaks failed: ValueError: no funds") as failed:
            await handle.result()
    assert failed.value.caused_by(ChildFailed)
    assert failed.value.caused_by(ValueError)


@scenario
async def test_canceling_a_parent_cancels_its_child(opened: Opened) -> None:
    async with opened(awaits, waits) as app:
        handle = await app.start(awaits, "waits")
        child = await child_of(app)
        await handle.cancel(actor="ann")

        assert (await app.runs.get(child.id)).status is RunStatus.CANCELED
        (event,) = await app.runs.events(child.id)
    assert event.actor == f"run {handle.run_id}"


@scenario
async def test_a_run_that_was_started_and_not_awaited_goes_on_after_its_parent(opened: Opened) -> None:
    async with opened(begins, waits) as app:
        run_id = await app.execute(begins)
        child = app.handle(run_id)
        await status_is(child, RunStatus.SLEEPING)
        await child.signal("go", 1)

        assert await child.result() == 1


@scenario
async def test_a_parent_and_its_child_may_be_with_different_workers(url: str) -> None:
    parents, others = Stepwell(url, workflows=[awaits]), Stepwell(url, workflows=[waits])
    async with parents, others, parents.worker(), others.worker():
        handle = await parents.start(awaits, "waits")
        child = await child_of(others)
        await others.runs.signal(child.id, "go", [1])

        assert await handle.result() == [1]
