"""Children, as bodies start and await them."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from stepwell import (
    ChildFailed,
    Handle,
    InvalidInput,
    NotInStep,
    RunFailed,
    RunStatus,
    Step,
    SyncStep,
    WaitTimeout,
    workflow,
)
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, WITHIN, Counter, crash, scenario, settled, successor, until, worker_of


class Receipt(BaseModel):
    amount: int


@workflow
async def charge(amount: int, step: Step) -> Receipt:
    await step.sleep("a while", "1m")
    return Receipt(amount=amount)


@workflow
async def order(input: int, step: Step) -> int:
    return (await step.execute(charge, input)).amount


@workflow(retry=ONCE)
async def breaks() -> None:
    raise ValueError("no funds")


@workflow
async def naps(step: Step) -> str:
    await step.sleep("a while", "30 days")
    return "rested"


async def children(app: TestApp, of: Handle[Any]) -> list[str]:
    return sorted([run.id async for run in app.runs.iterate() if run.parent_id == of.run_id])


@scenario
async def test_a_body_gets_the_typed_output_of_its_child() -> None:
    async with TestApp(order, charge) as app:
        handle = await app.start(order, 7)

        assert await handle.result() == 7
        (step,) = await handle.steps()
        assert step.child_id is not None
        child = await app.runs.get(step.child_id)
    assert (step.key, step.kind, step.status, step.output) == ("charge", "child", "completed", {"amount": 7})
    assert (child.workflow, child.parent_id, child.input, child.status) == ("charge", handle.run_id, 7, RunStatus.COMPLETED)


@scenario
async def test_the_id_of_a_child_is_one_of_its_parents_shard() -> None:
    async with TestApp(order, charge) as app:
        handle = await app.start(order, 7)
        await handle.result()
        (child,) = await children(app, handle)

    made, parent = UUID(child), UUID(handle.run_id)
    assert (made.version, made.variant) == (7, parent.variant)
    assert (made.int >> 54) & 0xFF == (parent.int >> 54) & 0xFF
    assert (made.int >> 80) - (parent.int >> 80) < 10_000


@scenario
async def test_a_parent_that_waits_takes_no_slot() -> None:
    async with TestApp(order, charge, concurrency=1) as app:
        assert await app.execute(order, 7) == 7


@scenario
async def test_a_child_is_executed_by_name() -> None:
    @workflow
    async def by_name(step: Step) -> Any:
        return await step.execute("charge", 3, name="pay")

    async with TestApp(by_name, charge) as app:
        handle = await app.start(by_name)
        assert await handle.result() == {"amount": 3}
        assert [step.key for step in await handle.steps()] == ["pay"]


@scenario
async def test_a_child_of_a_workflow_that_only_others_have_is_executed_there() -> None:
    @workflow(name="elsewhere", queue="far", version="v2")
    async def elsewhere() -> str:
        return "there"

    @workflow
    async def asks(step: Step) -> Any:
        return await step.execute("elsewhere")

    far = TestApp(elsewhere)
    async with TestApp(asks) as app:
        far = successor(app, elsewhere)
        async with far:
            handle = await app.start(asks)
            result = asyncio.ensure_future(handle.result())
            await until(lambda: result.done())
            assert result.result() == "there"


@scenario
async def test_the_failure_of_a_child_is_raised_now_and_on_replay() -> None:
    seen: list[tuple[str, str, bool]] = []

    @workflow
    async def catches(step: Step) -> str:
        try:
            await step.execute(breaks)
        except ChildFailed as failure:
            seen.append((failure.key, failure.workflow, failure.caused_by(ValueError)))
            run_id = failure.run_id
        await step.sleep("a while", "1h")
        return run_id

    async with TestApp(catches, breaks) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(catches)
        child = await handle.result()

        assert [child] == await children(app, handle)
        (step, _) = await handle.steps()
    assert set(seen) == {("breaks", "breaks", True)}
    assert len(seen) > 1
    assert (step.status, step.child_id) == ("failed", child)
    assert step.error is not None
    assert step.error.message == "no funds"


@scenario
async def test_a_child_that_is_canceled_has_failed_for_its_parent() -> None:
    @workflow
    async def awaits(step: Step) -> str:
        return await step.execute(naps)

    async with TestApp(awaits, naps, self_moving=False) as app:
        handle = await app.start(awaits)
        await until_started(app, handle)
        (child,) = await children(app, handle)
        await app.runs.cancel(child)

        with pytest.raises(RunFailed, match="was canceled") as failed:
            await handle.result()
        assert failed.value.caused_by(ChildFailed)
        assert (await handle.get()).attempt == 1


async def until_started(app: TestApp, handle: Handle[Any], count: int = 1) -> None:
    async with asyncio.timeout(WITHIN):
        while len(await children(app, handle)) < count:
            await asyncio.sleep(0)
    await settled(app)


@scenario
async def test_canceling_a_parent_cancels_its_child_and_a_retry_has_another() -> None:
    @workflow
    async def awaits(step: Step) -> str:
        return await step.execute(naps)

    async with TestApp(awaits, naps, self_moving=False) as app:
        handle = await app.start(awaits)
        await until_started(app, handle)
        (first,) = await children(app, handle)
        await handle.cancel()
        assert (await app.runs.get(first)).status is RunStatus.CANCELED
        await handle.retry()
        await until_started(app, handle, 2)
        await app.advance("31 days")

        assert await handle.result() == "rested"
        assert len(await children(app, handle)) == 2


@scenario
async def test_a_retry_of_a_parent_gives_a_failed_step_another_child_and_keeps_the_others() -> None:
    works = [False]

    @workflow(retry=ONCE)
    async def shaky(step: Step) -> str:
        if not works[0]:
            raise ValueError("no funds")
        return "paid"

    @workflow
    async def both(step: Step) -> list[Any]:
        return [(await step.execute(charge, 1)).amount, await step.execute(shaky)]

    async with TestApp(both, charge, shaky) as app:
        handle = await app.start(both)
        with pytest.raises(RunFailed):
            await handle.result()
        works[0] = True
        await handle.retry()

        assert await handle.result() == [1, "paid"]
        runs = [await app.runs.get(child) for child in await children(app, handle)]
    assert sorted((run.workflow, run.status.value) for run in runs) == [
        ("charge", "completed"),
        ("shaky", "completed"),
        ("shaky", "failed"),
    ]


# -- time, and what the body cancels


@scenario
async def test_a_child_that_takes_too_long_is_canceled_and_a_timeout_error_raised() -> None:
    @workflow
    async def impatient(step: Step) -> str:
        try:
            return await step.execute(naps, timeout="1h")
        except TimeoutError as error:
            assert isinstance(error, WaitTimeout)
            return error.key

    async with TestApp(impatient, naps) as app:
        handle = await app.start(impatient)

        assert await handle.result() == "naps"
        (child,) = await children(app, handle)
        await settled(app)
        assert (await app.runs.get(child)).status is RunStatus.CANCELED


@scenario
async def test_a_parent_that_failed_because_its_child_took_too_long_gives_another_its_whole_time() -> None:
    @workflow
    async def impatient(step: Step) -> int:
        return (await step.execute(charge, 5, timeout="30s")).amount

    @workflow(name="impatient")
    async def patient(step: Step) -> int:
        return (await step.execute(charge, 5, timeout="90s")).amount

    app = TestApp(impatient, charge)
    async with app:
        handle = await app.start(impatient)
        with pytest.raises(RunFailed) as failed:
            await handle.result()
        assert failed.value.caused_by(TimeoutError)
    async with successor(app, patient, charge) as other:
        handle = other.handle(handle.run_id)
        await handle.retry()
        assert await handle.result() == 5


@scenario
async def test_a_child_that_the_body_does_not_await_any_more_is_canceled() -> None:
    @workflow
    async def races(step: Step) -> str:
        try:
            async with asyncio.timeout(60):
                return await step.execute(naps)
        except TimeoutError:
            await step.sleep("a while", "1h")
            return "late"

    app = TestApp(races, naps, self_moving=False)
    async with app:
        handle = await app.start(races)
        await until_started(app, handle)
        (child,) = await children(app, handle)
        await app.advance("61s")
        assert (await app.runs.get(child)).status is RunStatus.CANCELED
        await crash(app)
    async with successor(app, races, naps) as other:
        assert await other.handle(handle.run_id).result() == "late"
        assert await children(other, handle) == [child]


@pytest.mark.parametrize("lost", range(1, 12))
@scenario
async def test_a_child_is_one_and_is_canceled_whenever_its_parent_crashes(lost: int) -> None:
    @workflow
    async def races(step: Step) -> str:
        try:
            return await asyncio.wait_for(step.execute(naps), 60)
        except TimeoutError:
            return "late"

    app = TestApp(races, naps, self_moving=False)
    async with app:
        handle = await app.start(races)
        await settled(app, lost)
        await crash(app)
    middle = successor(app, races, naps, self_moving=False)
    async with middle:
        await middle.advance("60s")
        await settled(middle, lost)
        await crash(middle)
    async with successor(app, races, naps, self_moving=False) as other:
        await other.advance("61s")
        assert await other.handle(handle.run_id).result() == "late"
        await settled(other)
        (child,) = await children(other, handle)
        assert (await other.runs.get(child)).status is RunStatus.CANCELED


@scenario
async def test_pausing_a_parent_does_not_pause_its_child() -> None:
    async with TestApp(order, charge, self_moving=False) as app:
        handle = await app.start(order, 7)
        await until_started(app, handle)
        (child,) = await children(app, handle)
        await handle.pause()
        await app.advance("2m")
        assert (await app.handle(child).result()) == {"amount": 7}
        assert await handle.status() is RunStatus.PAUSED
        await handle.resume()

        assert await handle.result() == 7


# -- crashes and replays


@scenario
async def test_many_children_side_by_side_are_one_each_though_the_parent_is_let_go_of_again_and_again() -> None:
    counter = Counter()

    @workflow
    async def part(input: int, step: Step) -> int:
        await step.sleep("a while", f"{input % 7 + 1}s")
        return int(await step.run("count", counter.step, input))

    @workflow
    async def fans_out(step: Step) -> list[int]:
        return await asyncio.gather(*(step.execute(part, number) for number in range(30)))

    async with TestApp(fans_out, part) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(fans_out)

        assert await handle.result() == list(range(30))
        assert len(await children(app, handle)) == 30
    assert sorted(counter.calls) == list(range(30))


@scenario
async def test_a_child_that_ends_while_its_parent_is_with_no_worker_is_found() -> None:
    app = TestApp(order, charge, self_moving=False)
    async with app:
        handle = await app.start(order, 7)
        await until_started(app, handle)
        await crash(app)
    async with successor(app, charge) as other:
        (child,) = await children(other, handle)
        await other.handle(child).result()
    async with successor(app, order) as last:
        assert await last.handle(handle.run_id).result() == 7


@scenario
async def test_a_def_body_executes_and_starts_children() -> None:
    @workflow
    def plain(step: SyncStep) -> list[Any]:
        started = step.start(breaks)
        return [step.execute(charge, 4).amount, started.run_id]

    async with TestApp(plain, charge, breaks) as app:
        handle = await app.start(plain)
        amount, run_id = await handle.result()

        assert amount == 4
        assert (await app.runs.get(run_id)).parent_id == handle.run_id


# -- children that are not awaited


@scenario
async def test_a_child_is_started_once_and_outlives_its_parent() -> None:
    @workflow
    async def starts(step: Step) -> str:
        started = await step.start(charge, 9, name="begin", tags=["a"], delay="1h")
        await step.sleep("a while", "1s")
        return started.run_id

    async with TestApp(starts, charge) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(starts)
        run_id = await handle.result()

        assert await children(app, handle) == [run_id]
        assert await app.handle(run_id).result() == {"amount": 9}
        run = await app.runs.get(run_id)
        assert (run.parent_id, run.tags) == (handle.run_id, ("a",))
        (begin, _) = await handle.steps()
    assert (begin.key, begin.kind, begin.output, begin.child_id) == ("begin", "child", run_id, run_id)


@pytest.mark.parametrize("taken", [False, True])
@scenario
async def test_a_start_with_a_key_gives_the_run_that_has_it(taken: bool) -> None:
    @workflow
    async def starts(step: Step) -> list[str]:
        first = await step.start(charge, 1, key="k")
        second = await step.start(charge, 2, key="k")
        return [first.run_id, second.run_id]

    async with TestApp(starts, charge) as app:
        worker_of(app)._max_parked = 0
        known = await app.start(charge, 0, key="k") if taken else None
        first, second = await app.execute(starts)

        assert first == second
        assert known is None or known.run_id == first
        assert await app.handle(first).result() == {"amount": 0 if taken else 1}


@scenario
async def test_canceling_a_parent_leaves_a_run_that_it_only_started() -> None:
    @workflow
    async def starts(step: Step) -> None:
        await step.start(naps)
        await step.sleep("a while", "1h")

    async with TestApp(starts, naps, self_moving=False) as app:
        handle = await app.start(starts)
        await until_started(app, handle)
        await handle.cancel()

        (child,) = await children(app, handle)
        assert not (await app.runs.get(child)).status.ended


@scenario
async def test_a_run_that_a_body_has_started_has_only_its_id_there() -> None:
    @workflow(retry=ONCE)
    async def looks(step: Step) -> Any:
        started: Any = await step.start(naps)
        return await started.result()

    async with TestApp(looks, naps, self_moving=False) as app:
        with pytest.raises(RunFailed, match=r"step\.execute") as failed:
            await app.execute(looks)
        assert failed.value.caused_by(NotInStep)


# -- what is refused


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda step: step.execute(charge, "much"), InvalidInput),
        (lambda step: step.execute(print), "DefinitionError"),
        (lambda step: step.execute(charge, 1, timeout=5), ValueError),
        (lambda step: step.execute(charge, 1, name=""), "DefinitionError"),
        (lambda step: step.start(charge, 1, colour="red"), "DefinitionError"),
        (lambda step: step.start(charge, 1, delay="1h", at="noon"), "DefinitionError"),
    ],
)
@scenario
async def test_what_is_no_child_is_refused_at_its_line(call: Any, error: Any) -> None:
    @workflow(retry=ONCE)
    async def asks(step: Step) -> None:
        await call(step)

    async with TestApp(asks, charge) as app:
        handle = await app.start(asks)
        with pytest.raises(RunFailed) as failed:
            await handle.result()
        assert failed.value.caused_by(error)
        assert await children(app, handle) == []
