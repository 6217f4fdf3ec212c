"""Signals, as bodies wait for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from stepwell import ContinueAsNew, InvalidInput, RunFailed, RunNotFound, RunStatus, Step, StepFailed, SyncStep, WaitTimeout, workflow
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, Counter, crash, scenario, settled, status_is, successor, worker_of


class Approval(BaseModel):
    by: str


@workflow
async def waits(step: Step) -> Any:
    return await step.wait_for_signal("go")


@scenario
async def test_a_body_gets_the_signal_that_it_waits_for() -> None:
    async with TestApp(waits) as app:
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        await handle.signal("stop")
        await handle.signal("go", {"a": [1]})

        assert await handle.result() == {"a": [1]}
        (step,) = await handle.steps()
    assert (step.key, step.kind, step.status, step.output) == ("go", "signal", "completed", {"a": [1]})


@scenario
async def test_a_signal_sent_before_the_wait_is_kept_for_it() -> None:
    async with TestApp(waits) as app:
        handle = await app.start(waits, delay="1h")
        await handle.signal("go", 1)

        assert await handle.result() == 1


@scenario
async def test_a_run_that_waits_for_a_signal_takes_no_slot() -> None:
    @workflow
    async def passes() -> str:
        return "through"

    async with TestApp(waits, passes, concurrency=1) as app:
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        assert await app.execute(passes) == "through"
        await handle.signal("go", 1)
        assert await handle.result() == 1


@scenario
async def test_signals_of_one_name_are_read_in_the_order_in_which_they_were_sent() -> None:
    @workflow
    async def reads(step: Step) -> list[Any]:
        return [await step.wait_for_signal("go") for _ in range(5)]

    async with TestApp(reads) as app:
        handle = await app.start(reads)
        for number in range(5):
            await handle.signal("go", number)
            if number % 2:
                await settled(app)

        assert await handle.result() == [0, 1, 2, 3, 4]


@scenario
async def test_several_waits_of_one_name_are_served_in_the_order_in_which_they_began() -> None:
    @workflow
    async def gathers(step: Step) -> list[Any]:
        return await asyncio.gather(*(step.wait_for_signal("go") for _ in range(3)))

    async with TestApp(gathers) as app:
        handle = await app.start(gathers)
        await status_is(handle, RunStatus.SLEEPING)
        for number in range(3):
            await handle.signal("go", number)

        assert await handle.result() == [0, 1, 2]


@scenario
async def test_a_payload_is_read_as_the_type_that_is_waited_for() -> None:
    @workflow
    async def approves(step: Step) -> str:
        return (await step.wait_for_signal("approval", type=Approval)).by

    async with TestApp(approves) as app:
        by_json, by_model = await app.start(approves), await app.start(approves)
        await by_json.signal("approval", {"by": "ann"})
        await by_model.signal("approval", Approval(by="bob"))

        assert [await by_json.result(), await by_model.result()] == ["ann", "bob"]


@scenario
async def test_a_payload_that_does_not_fit_fails_at_the_wait_and_is_not_tried_again() -> None:
    @workflow
    async def approves(step: Step) -> str:
        return (await step.wait_for_signal("approval", type=Approval)).by

    @workflow
    async def asks_again(step: Step) -> str:
        try:
            await step.wait_for_signal("approval", type=Approval)
        except InvalidInput:
            return (await step.wait_for_signal("approval", type=Approval)).by
        return "none"

    async with TestApp(approves, asks_again) as app:
        handle, patient = await app.start(approves), await app.start(asks_again)
        for each in (handle, patient):
            await each.signal("approval", {"by": 1})
        await patient.signal("approval", {"by": "ann"})

        with pytest.raises(RunFailed, match="payload of signal 'approval' does not fit") as failed:
            await handle.result()
        assert failed.value.caused_by(InvalidInput)
        assert (await handle.get()).attempt == 1
        assert await patient.result() == "ann"


# -- time


@workflow(retry=ONCE)
async def waits_an_hour(step: Step) -> Any:
    try:
        return await step.wait_for_signal("go", timeout="1h")
    except TimeoutError as error:
        assert isinstance(error, WaitTimeout)
        return f"late: {error.key}"


@scenario
async def test_a_wait_ends_with_a_timeout_error_when_time_is_up() -> None:
    async with TestApp(waits_an_hour) as app:
        handle = await app.start(waits_an_hour)

        assert await handle.result() == "late: go"
        (step,) = await handle.steps()
    assert (step.kind, step.status) == ("signal", "failed")


@scenario
async def test_a_signal_that_is_sent_in_time_is_read() -> None:
    async with TestApp(waits_an_hour, self_moving=False) as app:
        handle = await app.start(waits_an_hour)
        await app.advance("59m")
        await handle.signal("go", 1)
        await app.advance("5m")

        assert await handle.result() == 1


@pytest.mark.parametrize(("minutes", "answer"), [(59, 1), (61, "late: go")])
@scenario
async def test_while_no_worker_lives_what_comes_first_counts(minutes: int, answer: Any) -> None:
    app = TestApp(waits_an_hour, self_moving=False)
    async with app:
        handle = await app.start(waits_an_hour)
        await app.advance("1s")
        await crash(app)
    app.clock.move_to(app.clock.now() + minutes * 60)
    await app.handle(handle.run_id).signal("go", 1)
    app.clock.move_to(app.clock.now() + 7_200)
    async with successor(app, waits_an_hour) as other:
        assert await other.handle(handle.run_id).result() == answer


@scenario
async def test_a_wait_that_timed_out_for_good_is_waited_again_after_a_retry() -> None:
    @workflow
    async def insists(step: Step) -> Any:
        return await step.wait_for_signal("go", timeout="1h")

    async with TestApp(insists) as app:
        handle = await app.start(insists)
        with pytest.raises(RunFailed) as failed:
            await handle.result()
        assert failed.value.caused_by(TimeoutError)
        assert (await handle.get()).attempt == 1
        await handle.retry()
        await handle.signal("go", 1)

        assert await handle.result() == 1


# -- what the body cancels


@workflow
async def waits_in_time(step: Step) -> list[Any]:
    found = []
    try:
        async with asyncio.timeout(60):
            found.append(await step.wait_for_signal("go"))
    except TimeoutError:
        found.append("late")
    await step.sleep("a while", "1h")
    found.append(await step.wait_for_signal("go"))
    return found


@scenario
async def test_a_signal_for_a_wait_that_was_canceled_goes_to_the_next() -> None:
    async with TestApp(waits_in_time, self_moving=False) as app:
        handle = await app.start(waits_in_time)
        await app.advance("61s")
        await handle.signal("go", 1)
        await app.advance("2h")

        assert await handle.result() == ["late", 1]


@scenario
async def test_a_signal_that_was_on_its_way_to_a_wait_that_is_canceled_goes_back_now_and_on_replay() -> None:
    @workflow
    async def races(step: Step) -> list[Any]:
        first = asyncio.ensure_future(step.wait_for_signal("go"))
        second = asyncio.ensure_future(step.wait_for_signal("stop"))
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        second.cancel()
        again = await step.wait_for_signal("go")
        await step.sleep("a while", "1h")
        return [len(done), second in done, again]

    app = TestApp(races, self_moving=False)
    async with app:
        handle = await app.start(races)
        await handle.signal("stop", 1)  # both are there when the body begins, and both are answered
        await handle.signal("go", 2)
        await app.advance("1s")
        keys = [(step.key, step.output) for step in await handle.steps()]
        await crash(app)
    async with successor(app, races, self_moving=False) as other:
        await other.advance("2h")
        assert await other.handle(handle.run_id).result() == [1, True, 2]
    assert sorted(keys) == [("@0/go", 2), ("@1/stop", 1), ("go", 2)]


# -- nothing is missed


@scenario
async def test_what_was_read_is_not_read_again_by_another_worker() -> None:
    counter = Counter()

    @workflow
    async def reads(step: Step) -> list[Any]:
        found = []
        for _ in range(3):
            found.append(await step.wait_for_signal("go"))
            await step.run("count", counter.step, found[-1])
        return found

    app = TestApp(reads)
    async with app:
        handle = await app.start(reads)
        await handle.signal("go", 0)
        await status_is(handle, RunStatus.SLEEPING)
        await crash(app)
        await app.store.signal(handle.run_id, "one", "go", "1", app.clock.now())
    async with successor(app, reads) as other:
        handle = other.handle(handle.run_id)
        await settled(other)
        await handle.signal("go", 2)
        assert await handle.result() == [0, 1, 2]
    assert counter.calls == [0, 1, 2]


@scenario
async def test_a_run_that_was_let_go_of_is_woken_by_a_signal() -> None:
    async with TestApp(waits) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        while (await handle.get()).worker is not None:
            await asyncio.sleep(0)
        await handle.signal("go", 1)

        assert await handle.result() == 1


@pytest.mark.parametrize("turns", range(12))
@scenario
async def test_a_signal_reaches_a_run_that_is_about_to_be_let_go_of(turns: int) -> None:
    async with TestApp(waits) as app:
        worker_of(app)._max_parked = 0
        handle = await app.start(waits)
        await settled(app, turns)
        await handle.signal("go", 1)

        assert await handle.result() == 1


@scenario
async def test_a_signal_reaches_a_paused_run_when_it_is_resumed() -> None:
    async with TestApp(waits) as app:
        handle = await app.start(waits)
        await status_is(handle, RunStatus.SLEEPING)
        await handle.pause()
        await handle.signal("go", 1)
        await settled(app)
        assert await handle.status() is RunStatus.PAUSED
        await handle.resume()

        assert await handle.result() == 1


@scenario
async def test_a_def_body_waits_for_signals() -> None:
    @workflow
    def approves(step: SyncStep) -> str:
        first = step.wait_for_signal("approval", type=Approval)
        try:
            step.wait_for_signal("approval", timeout="1h")
        except TimeoutError:
            return first.by
        return "two"

    async with TestApp(approves) as app:
        handle = await app.start(approves)
        await status_is(handle, RunStatus.SLEEPING)
        await handle.signal("approval", {"by": "ann"})

        assert await handle.result() == "ann"


@scenario
async def test_a_run_that_goes_on_as_new_has_what_it_did_not_read() -> None:
    @workflow
    async def counts(input: list[Any], step: Step) -> list[Any]:
        found = [*input, await step.wait_for_signal("go")]
        if len(found) < 4:
            raise ContinueAsNew(found)
        return found

    async with TestApp(counts) as app:
        handle = await app.start(counts, [])
        for number in range(4):
            await handle.signal("go", number)

        assert await handle.result() == [0, 1, 2, 3]


# -- runs that send


@scenario
async def test_a_run_sends_a_signal_to_another_once_however_often_it_replays() -> None:
    @workflow
    async def sends(input: str, step: Step) -> None:
        await step.send_signal(input, "go", {"n": 1})
        await step.sleep("a while", "1h")
        await step.send_signal(input, "go", 2)

    @workflow
    async def reads(step: Step) -> list[Any]:
        found = [await step.wait_for_signal("go"), await step.wait_for_signal("go")]
        await step.sleep("a while", "2h")
        return found

    async with TestApp(sends, reads) as app:
        worker_of(app)._max_parked = 0
        reader = await app.start(reads)
        sender = await app.start(sends, reader.run_id)

        assert await reader.result() == [{"n": 1}, 2]
        await sender.result()
        assert [(step.key, step.kind) for step in await sender.steps()] == [
            ("send_signal", "function"), ("a while", "sleep"), ("send_signal:1", "function"),
        ]  # fmt: skip
        assert len((await app.store.news({reader.run_id: 0}))[reader.run_id].signals) == 2


@scenario
async def test_a_signal_to_a_run_that_is_not_there_is_a_failed_step_at_once() -> None:
    @workflow
    async def sends(step: Step) -> str:
        try:
            await step.send_signal("nobody", "go")
        except StepFailed as failure:
            return f"{failure.attempts} {failure.caused_by(RunNotFound)}"
        return "sent"

    async with TestApp(sends) as app:
        assert await app.execute(sends) == "1 True"
