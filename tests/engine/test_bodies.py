"""What a body is given, what it gives back, and what becomes of it when it raises."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import pytest
from pydantic import BaseModel

from stepwell import (
    DefinitionError,
    InvalidInput,
    Logger,
    NonRetryable,
    NotInStep,
    PayloadTooLarge,
    Retry,
    RetryAfter,
    RunFailed,
    RunInfo,
    RunStatus,
    Step,
    StepFailed,
    SyncStep,
    current_step,
    workflow,
)
from stepwell.core.records import NewRun
from stepwell.errors import ContinueAsNew
from stepwell.testing import TestApp
from tests.engine.harness import TWICE, Counter, crash, memory_of, scenario, settled, successor, until


class Order(BaseModel):
    item: str
    count: int = 1


@dataclass
class Receipt:
    total: int


class CardDeclined(Exception):
    pass


async def failure_of(app: TestApp, flow: Any, *args: Any) -> RunFailed:
    with pytest.raises(RunFailed) as raised:
        await app.execute(flow, *args)
    return raised.value


# -- what it is given


@scenario
async def test_a_body_gets_by_name_what_it_asks_for_and_its_input_as_the_typed_object() -> None:
    seen: dict[str, Any] = {}

    @workflow(version="v7")
    async def everything(order: Order, step: Step, logger: Logger, version: str, run: RunInfo) -> Receipt:
        seen.update(order=order, step=step, logger=logger, version=version, run=run)
        return Receipt(order.count)

    async with TestApp(everything) as app:
        handle = await app.start(everything, Order(item="book", count=3), tags=("a", "b"))
        receipt = await handle.result()

    assert receipt == Receipt(3)
    assert seen["order"] == Order(item="book", count=3)
    assert isinstance(seen["step"], Step)
    assert isinstance(seen["logger"], Logger)
    assert seen["version"] == "v7"
    run = seen["run"]
    assert (run.id, run.workflow, run.version, run.attempt, run.tags) == (handle.run_id, "everything", "v7", 1, ("a", "b"))
    assert run.created_at == run.started_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert run.scheduled_at is None


@scenario
async def test_a_body_may_ask_for_nothing() -> None:
    @workflow
    async def nothing() -> str:
        return "done"

    @workflow
    def nothing_at_all() -> str:
        return "done too"

    async with TestApp(nothing, nothing_at_all) as app:
        assert await app.execute(nothing) == "done"
        assert await app.execute(nothing_at_all) == "done too"


@scenario
async def test_a_body_without_a_given_input_is_left_to_its_default() -> None:
    @workflow
    async def greet(name: str = "world") -> str:
        return f"hello {name}"

    @workflow
    async def choose(name: str | None) -> str:
        return repr(name)

    async with TestApp(greet, choose) as app:
        assert await app.execute("greet") == "hello world"
        assert await app.execute(greet, "you") == "hello you"
        assert await app.execute(choose, None) == "None"


@scenario
async def test_the_info_on_the_run_is_the_same_on_every_replay_but_for_the_attempt() -> None:
    seen: list[RunInfo] = []

    @workflow(retry=TWICE)
    async def flaky(step: Step, run: RunInfo) -> None:
        seen.append(run)
        await step.run("work", Counter().step)
        await step.sleep("a while", "2 days")
        if run.attempt == 1:
            raise OSError("once")

    async with TestApp(flaky) as app:
        await app.execute(flaky)

    assert [info.attempt for info in seen] == [1, 2]
    assert seen[0].created_at == seen[1].created_at
    assert seen[0].started_at == seen[1].started_at
    assert seen[0].id == seen[1].id


@scenario
async def test_a_stored_input_that_does_not_fit_fails_the_run_before_the_first_line_and_is_not_retried() -> None:
    entered = Counter()

    @workflow
    async def ship(order: Order) -> None:
        entered.plain()

    async with TestApp(ship) as app:
        run = NewRun("018f0000-0000-7000-8000-000000000001", "ship", None, '{"item": 3}', app.clock.now(), app.clock.now())
        await app.store.enqueue([run])
        with pytest.raises(RunFailed) as raised:
            await app.handle(run.id).result()
        row = await app.handle(run.id).get()

    assert raised.value.caused_by(InvalidInput)
    assert "'ship'" in raised.value.error.message
    assert "item" in raised.value.error.message
    assert row.attempt == 1
    assert entered.calls == []


@scenario
async def test_an_input_that_does_not_fit_is_refused_at_the_start_and_nothing_is_stored() -> None:
    @workflow
    async def ship(order: Order) -> None: ...

    @workflow
    async def nothing() -> None: ...

    async with TestApp(ship, nothing) as app:
        with pytest.raises(InvalidInput):
            await app.start("ship", {"count": "many"})
        with pytest.raises(InvalidInput):
            await app.start("ship")
        with pytest.raises(InvalidInput):
            await app.start("nothing", {"what": "for"})
        assert memory_of(app)._tables.rows == {}


# -- what it gives back


@scenario
async def test_an_output_that_does_not_fit_fails_the_run_and_is_not_retried() -> None:
    entered = Counter()

    @workflow
    async def ship() -> Receipt:
        entered.plain()
        return {"total": "nothing"}  # type: ignore[return-value]

    async with TestApp(ship) as app:
        failed = await failure_of(app, ship)

    assert failed.error.type == "InvalidOutput"
    assert "'ship'" in failed.error.message
    assert len(entered.calls) == 1


@scenario
async def test_an_output_that_json_does_not_give_back_fails_the_run_and_says_what_to_annotate() -> None:
    @workflow
    async def when():  # type: ignore[no-untyped-def]
        return {"at": datetime(2027, 1, 1, tzinfo=UTC)}

    async with TestApp(when) as app:
        failed = await failure_of(app, when)

    assert failed.error.type == "NotSerializable"
    assert "$.at" in failed.error.message
    assert "annot" in failed.error.message.lower()


# -- when it raises


@scenario
async def test_a_body_that_raises_is_tried_again_from_the_last_checkpoint() -> None:
    work, entered = Counter(), Counter()

    @workflow(retry=Retry(3, initial_interval="10s", jitter=0))
    async def flaky(step: Step, run: RunInfo) -> str:
        entered.plain((run.attempt, await step.run("work", work.step, "once")))
        if run.attempt < 3:
            raise OSError("not yet")
        return "done"

    async with TestApp(flaky) as app:
        handle = await app.start(flaky)
        assert await handle.result() == "done"
        row = await handle.get()

    assert work.calls == ["once"]
    assert entered.calls == [(1, "once"), (2, "once"), (3, "once")]
    assert row.attempt == 3
    assert row.finished_at is not None
    assert row.started_at is not None
    assert (row.finished_at - row.started_at).total_seconds() == pytest.approx(30, abs=1)


@scenario
async def test_a_run_whose_body_waits_for_its_next_attempt_is_sleeping() -> None:
    @workflow(retry=Retry(2, initial_interval="10s", jitter=0))
    async def flaky(run: RunInfo) -> None:
        if run.attempt == 1:
            raise OSError("not yet")

    async with TestApp(flaky, self_moving=False) as app:
        handle = await app.start(flaky)
        await app.advance("5s")
        assert await handle.status() is RunStatus.SLEEPING
        await app.advance("5s")
        assert await handle.status() is RunStatus.COMPLETED


@scenario
async def test_a_body_that_has_used_up_its_attempts_fails_the_run_with_its_error() -> None:
    @workflow(retry=TWICE)
    async def broken() -> None:
        raise CardDeclined("no funds")

    async with TestApp(broken) as app:
        failed = await failure_of(app, broken)

    assert (failed.error.type, failed.error.message) == ("CardDeclined", "no funds")
    assert failed.caused_by(CardDeclined)
    assert "raise CardDeclined" in failed.error.traceback
    assert "stepwell/engine" not in failed.error.traceback


async def _decline() -> None:
    raise CardDeclined("no funds")


async def _leaves(step: Step) -> None:
    await step.run("charge", _decline)


async def _leaves_as_cause(step: Step) -> None:
    try:
        await step.run("charge", _decline)
    except StepFailed as error:
        raise ValueError("cannot") from error


async def _leaves_as_context(step: Step) -> None:
    try:
        await step.run("charge", _decline)
    except StepFailed:
        raise ValueError("cannot")  # noqa: B904


async def _leaves_in_a_group(step: Step) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(step.run("charge", _decline))


@pytest.mark.parametrize("way", [_leaves, _leaves_as_cause, _leaves_as_context, _leaves_in_a_group])
@scenario
async def test_a_failed_step_that_leaves_the_body_in_any_way_fails_the_run_at_once(way: Any) -> None:
    entered = Counter()

    @workflow(retry=Retry(1))
    async def pay(step: Step) -> None:
        entered.plain()
        await way(step)

    @workflow
    async def pay_with_retries(step: Step) -> None:
        entered.plain()
        await way(step)

    async with TestApp(pay, pay_with_retries) as app:
        failed = await failure_of(app, pay)
        failed_too = await failure_of(app, pay_with_retries)

    assert failed.caused_by(CardDeclined)
    assert failed_too.caused_by(CardDeclined)
    assert failed.error.steps
    assert len(entered.calls) == 2


@scenario
async def test_what_comes_again_however_often_one_tries_is_not_retried() -> None:
    entered = Counter()

    def made(error: Exception) -> Any:
        async def body() -> None:
            entered.plain(type(error).__name__)
            raise error

        return workflow(body, name=type(error).__name__)

    flows = [made(NonRetryable("no")), made(NotInStep("no")), made(DefinitionError("no"))]

    async with TestApp(*flows) as app:
        for flow in flows:
            failed = await failure_of(app, flow)
            assert failed.error.type == flow.name

    assert entered.repeated == []


@scenario
async def test_retry_after_out_of_a_body_sets_the_delay() -> None:
    @workflow
    async def patient(run: RunInfo) -> str:
        if run.attempt == 1:
            raise RetryAfter("3h", "come back later")
        return "done"

    async with TestApp(patient) as app:
        handle = await app.start(patient)
        await handle.result()
        row = await handle.get()

    assert row.finished_at is not None
    assert (row.finished_at - row.created_at).total_seconds() == pytest.approx(3 * 3600, abs=1)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@scenario
async def test_an_exit_out_of_a_body_fails_its_run_and_not_the_worker(kind: type[BaseException]) -> None:
    @workflow
    async def leave() -> None:
        raise kind("now")

    @workflow
    def leave_thread() -> None:
        raise kind("now")

    @workflow
    async def stay() -> str:
        return "still here"

    async with TestApp(leave, leave_thread, stay) as app:
        assert (await failure_of(app, leave)).error.type == kind.__name__
        assert (await failure_of(app, leave_thread)).error.type == kind.__name__
        assert await app.execute(stay) == "still here"


@scenario
async def test_a_cancellation_that_the_engine_did_not_cause_is_a_failure_like_any_other() -> None:
    entered = Counter()

    @workflow(retry=TWICE)
    async def confused() -> None:
        entered.plain()
        raise asyncio.CancelledError

    async with TestApp(confused) as app:
        failed = await failure_of(app, confused)

    assert failed.error.type == "CancelledError"
    assert len(entered.calls) == 2


@scenario
async def test_a_decorator_around_a_body_that_gives_something_to_await_is_fine() -> None:
    class Later:
        def __init__(self, coroutine: Any) -> None:
            self.coroutine = coroutine

        def __await__(self) -> Any:
            return self.coroutine.__await__()

    def decorated(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Later:
            return Later(function(*args, **kwargs))

        return wrapper

    @workflow
    @decorated
    async def wrapped(step: Step) -> int:
        return await step.run("three", lambda: 3)

    async with TestApp(wrapped) as app:
        assert await app.execute(wrapped) == 3


@scenario
async def test_a_decorator_around_a_body_that_raises_is_retried_like_the_body() -> None:
    entered = Counter()

    def refusing(function: Any) -> Any:
        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            entered.plain()
            if len(entered.calls) == 1:
                raise OSError("not yet")
            return function(*args, **kwargs)

        return wrapper

    @workflow(retry=TWICE)
    @refusing
    async def wrapped() -> str:
        return "done"

    async with TestApp(wrapped) as app:
        assert await app.execute(wrapped) == "done"


# -- what is too much


@scenario
async def test_a_step_whose_result_is_too_large_is_named_and_the_body_can_go_on_without_it() -> None:
    made = Counter()

    @workflow
    async def load(step: Step) -> str:
        def huge() -> str:
            made.plain()
            return "x" * (5 * 1024 * 1024)

        try:
            await step.run("load all", huge)
        except StepFailed as error:
            assert error.caused_by(PayloadTooLarge)
            return error.error.message
        return "?"

    async with TestApp(load) as app:
        message = await app.execute(load)

    assert "step 'load all'" in message
    assert "max_payload" in message
    assert len(made.calls) == 1


@scenario
async def test_a_run_that_asks_for_more_steps_than_it_may_fails_and_says_how_to_go_on() -> None:
    work = Counter()

    @workflow(max_steps=5)
    async def many(step: Step) -> None:
        for number in range(10):
            await step.run("work", work.step, number)

    async with TestApp(many) as app:
        failed = await failure_of(app, many)

    assert "max_steps=5" in failed.error.message
    assert "ContinueAsNew" in failed.error.message
    assert work.calls == [0, 1, 2, 3, 4]


@scenario
async def test_timers_of_asyncio_count_as_steps_once_they_have_fired() -> None:
    """Each has a row of history, so a body that does nothing but sleep must come to an end too."""

    @workflow(max_steps=20)
    async def ticking() -> None:
        while True:
            await asyncio.sleep(1)

    @workflow(max_steps=20)
    async def careful(step: Step) -> str:
        for _ in range(15):
            async with asyncio.timeout(60):
                await step.run("work", Counter().step)
        return "timeouts that were not needed count nothing"

    async with TestApp(ticking, careful) as app:
        failed = await failure_of(app, ticking)
        assert await app.execute(careful)

    assert "max_steps=20" in failed.error.message


# -- going on as new


@scenario
async def test_a_run_that_goes_on_as_new_keeps_its_id_and_key_and_starts_with_an_empty_history() -> None:
    keys: list[str] = []

    @workflow
    async def pages(page: int, step: Step) -> int:
        await step.run("fetch", lambda: keys.append(current_step().idempotency_key))
        if page < 3:
            raise ContinueAsNew(page + 1)
        return page

    async with TestApp(pages) as app:
        handle = await app.start(pages, 1, key="the pages")
        assert await handle.result() == 3
        row, steps = await handle.get(), await handle.steps()

    assert row.key == "the pages"
    assert row.input == 3
    assert [step.key for step in steps] == ["fetch"]
    assert keys == [f"{handle.run_id}:fetch", f"{handle.run_id}:1:fetch", f"{handle.run_id}:2:fetch"]


@scenario
async def test_going_on_as_new_with_a_bad_input_fails_the_run() -> None:
    @workflow
    async def pages(page: int) -> None:
        raise ContinueAsNew("next")

    async with TestApp(pages) as app:
        failed = await failure_of(app, pages, 1)

    assert failed.error.type == "InvalidInput"


@scenario
async def test_going_on_as_new_without_an_input_takes_the_default() -> None:
    @workflow
    async def pages(page: int = 7) -> int:
        if page == 1:
            raise ContinueAsNew
        return page

    async with TestApp(pages) as app:
        assert await app.execute(pages, 1) == 7


@scenario
async def test_going_on_as_new_works_from_a_def_body_and_past_except_exception() -> None:
    @workflow
    def pages(page: int, step: SyncStep) -> int:
        step.run("fetch", lambda: None)
        try:
            if page < 3:
                raise ContinueAsNew(page + 1)
        except Exception:  # noqa: BLE001
            return -1
        return page

    async with TestApp(pages) as app:
        assert await app.execute(pages, 1) == 3


# -- what asyncio code leaves behind


@scenario
async def test_tasks_that_are_left_at_the_end_are_canceled_and_run_no_steps() -> None:
    work, ends = Counter(), Counter()

    @workflow
    async def hasty(step: Step) -> str:
        async def straggler() -> None:
            try:
                await step.run("endless", asyncio.sleep, 3600)
            finally:
                ends.plain("left")
                await step.run("too late", work.step, 1)

        left = [asyncio.create_task(straggler())]
        await step.run("first", work.step, 0)
        return f"{len(left)} left"

    async with TestApp(hasty) as app:
        assert await app.execute(hasty) == "1 left"
        await settled(app)

    assert ends.calls == ["left"]
    assert work.calls == [0]


@scenario
async def test_an_error_of_a_task_that_nobody_awaited_disturbs_nobody() -> None:
    @workflow
    async def careless(step: Step) -> str:
        async def broken() -> None:
            raise OSError("nobody sees this")

        left = [asyncio.create_task(broken())]
        await step.run("work", Counter().step)
        return f"{len(left)} left"

    async with TestApp(careless) as app:
        assert await app.execute(careless) == "1 left"


@scenario
async def test_an_async_generator_that_is_left_open_is_closed_within_its_run() -> None:
    ends = Counter()

    @workflow
    async def iterate(step: Step) -> int:
        async def pages() -> Any:
            try:
                for page in range(10):
                    yield await step.run("page", Counter().step, page)
            finally:
                ends.plain("closed")
                await step.run("too late", ends.step, "too late")

        async for page in pages():
            if page == 2:
                break
        return await step.run("after", Counter().step, 5)

    async with TestApp(iterate) as app:
        assert await app.execute(iterate) == 5

    assert ends.calls == ["closed"]


@scenario
async def test_a_body_that_swallows_its_cancellation_for_ever_can_be_left() -> None:
    @workflow
    async def stubborn(step: Step) -> None:
        while True:
            try:
                await step.run("work", asyncio.sleep, 3600)
            except BaseException:  # noqa: BLE001
                continue

    async with TestApp(stubborn) as app:
        handle = await app.start(stubborn)
        await until(lambda: app._worker and app._worker.steps.running)
        await handle.cancel()
        await until(lambda: app._worker and not app._worker._running)


@scenario
async def test_the_cleanup_of_a_body_runs_when_it_is_left_but_the_steps_in_it_do_not() -> None:
    trace, work = Counter(), Counter()

    @workflow
    async def tidy(step: Step) -> None:
        try:
            await step.sleep("long", "30 days")
        except Exception:  # noqa: BLE001
            trace.plain("caught")
        finally:
            trace.plain("finally")
            await step.run("undo", work.step)
            trace.plain("not reached")

    async with TestApp(tidy, self_moving=False) as app:
        handle = await app.start(tidy)
        await app.advance("1s")
        await handle.cancel()
        await settled(app)

    assert trace.calls == ["finally"]
    assert work.calls == []


@scenario
async def test_a_body_that_waits_for_what_nothing_will_bring_fails_with_the_place() -> None:
    @workflow
    async def waiting(step: Step) -> None:
        await step.run("work", Counter().step)
        await asyncio.Event().wait()

    async with TestApp(waiting) as app:
        failed = await failure_of(app, waiting)

    assert failed.error.type == "Stuck"
    assert "test_bodies.py:" in failed.error.message
    assert "in waiting" in failed.error.message


@scenario
async def test_a_crash_in_a_body_that_fails_keeps_what_its_attempts_have_done() -> None:
    work = Counter()

    @workflow(retry=Retry(3, initial_interval="1h", jitter=0))
    async def flaky(step: Step, run: RunInfo) -> int:
        await step.run("work", work.step, "once")
        if run.attempt < 3:
            raise OSError("no")
        return run.attempt

    async with TestApp(flaky, self_moving=False) as app:
        handle = await app.start(flaky)
        await app.advance("10m")
        await crash(app)
    async with successor(app, flaky) as app:
        assert await app.handle(handle.run_id).result() == 3

    assert work.calls == ["once"]


@scenario
async def test_a_branch_of_a_task_group_can_go_on_as_new() -> None:
    @workflow
    async def flow(page: int) -> int:
        async def turn() -> None:
            if page < 3:
                raise ContinueAsNew(page + 1)

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
        return page

    async with TestApp(flow) as app:
        assert await app.execute(flow, 1) == 3
