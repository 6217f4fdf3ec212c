"""What can be a step, how it is named, what it may do, and what its caller sees of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from enum import StrEnum
from functools import partial
from typing import Any

import pytest

import stepwell
from stepwell import (
    DefinitionError,
    NonRetryable,
    NotSerializable,
    OutsideRun,
    Retry,
    RetryAfter,
    RunFailed,
    RunStatus,
    Step,
    StepFailed,
    SyncStep,
    workflow,
)
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, TWICE, Counter, caught, crash, scenario, successor, until, worker_of


async def double(number: int) -> int:
    return number * 2


def triple(number: int) -> int:
    return number * 3


class Multiplier:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, number: int) -> int:
        return number * self.factor

    async def times_async(self, number: int) -> int:
        return number * self.factor

    async def __call__(self, number: int) -> int:
        return number * self.factor

    @stepwell.step
    async def decorated(self, number: int) -> int:
        return number * self.factor


class PlainCall:
    def __call__(self, number: int) -> int:
        return number + 1


@stepwell.step
async def bare(number: int) -> int:
    return number + 100


@stepwell.step("a name of its own")
async def named(number: int) -> int:
    return number + 200


@stepwell.step(retry=ONCE, timeout="10s")
def with_options(number: int) -> int:
    return number + 300


async def run_in_body(what: Any, **options: Any) -> tuple[Any, list[str]]:
    """The result of a body, and the keys of its steps."""

    @workflow(retry=TWICE, **options)  # type: ignore[untyped-decorator]  # which form it is cannot be told from **options
    async def body(step: Step) -> Any:
        return await what(step)

    async with TestApp(body) as app:
        handle = await app.start(body)
        return await handle.result(), [record.key for record in await handle.steps()]


@scenario
async def test_a_step_runs_whatever_can_be_called() -> None:
    five = Multiplier(5)

    async def body(step: Step) -> list[int]:
        return [
            await step.run("async", double, 1),
            await step.run("def", triple, 1),
            await step.run("returns what to await", lambda number: double(number), 1),
            await step.run("partial", partial(double, 1)),
            await step.run("partial of def", partial(triple, number=1)),
            await step.run("method", five.times, 1),
            await step.run("async method", five.times_async, 1),
            await step.run("object", five, 1),
            await step.run("plain object", PlainCall(), 1),
            await step.run("decorated", bare, 1),
            await step.run("decorated method", five.decorated, 1),
            await step.run("partial of decorated", partial(bare, 1)),
        ]

    results, _ = await run_in_body(body)

    assert results == [2, 3, 2, 2, 3, 5, 5, 5, 2, 101, 5, 101]


@scenario
async def test_a_step_without_a_name_is_named_after_its_function() -> None:
    async def body(step: Step) -> None:
        await step.run(double, 1)
        await step.run(partial(triple, 1))
        await step.run(Multiplier(2).times, 1)
        await step.run(Multiplier(2), 1)
        await step.define(Multiplier(2).times_async).run(1)
        await bare(1)
        await named(1)
        await with_options(1)  # type: ignore[misc]
        await Multiplier(2).decorated(1)

    _, keys = await run_in_body(body)

    assert keys == ["double", "triple", "times", "Multiplier", "times_async", "bare", "a name of its own", "with_options", "decorated"]


@scenario
async def test_a_name_used_again_is_another_step_and_any_text_can_be_a_name() -> None:
    class Names(StrEnum):
        CHARGE = "charge"

    odd = ["a/b", "a:1", "100%", "@home", "~tilde", "été 🚀", "two words"]

    async def body(step: Step) -> list[Any]:
        results = [await step.run("again", double, number) for number in range(3)]
        results += [await step.run(name, double, place) for place, name in enumerate(odd)]
        return [*results, await step.run(Names.CHARGE, double, 1)]

    @workflow
    async def flow(step: Step) -> list[Any]:
        return await body(step)

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        results = await handle.result()
        steps = await handle.steps()

    assert results == [0, 2, 4, 0, 2, 4, 6, 8, 10, 12, 2]
    assert [record.name for record in steps] == ["again"] * 3 + odd + ["charge"]
    assert [record.key for record in steps][:3] == ["again", "again:1", "again:2"]
    assert len({record.key for record in steps}) == len(steps)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda step: step.run(lambda: 1), "lambda has no name"),
        (lambda step: step.run("x", double(1)), "was called, and its coroutine given"),
        (lambda step: step.run("x"), "missing"),
        (lambda step: step.run("x", 3), "cannot be called"),
        (lambda step: step.run("", double, 1), "name of a step is empty"),
        (lambda step: step.run("x" * 1000, double, 1), "at most 200 characters"),
        (lambda step: step.map("x", double, [1], concurrency=0), "at least 1"),
        (lambda step: step.map("x", double(1), [1]), "coroutine given"),
        (lambda step: step.sleep("", "1s"), "empty"),
        (lambda step: step.run("x", workflow(double)), "workflow"),
    ],
)
@scenario
async def test_what_cannot_be_a_step_is_refused_with_words(call: Any, says: str) -> None:
    async def body(step: Step) -> str:
        error = await caught(call(step))
        assert isinstance(error, DefinitionError), repr(error)
        return str(error)

    message, _ = await run_in_body(body)

    assert says in message
    assert "object at 0x" not in message


# -- where a step can be called


@scenario
async def test_a_step_inside_a_step_is_refused_and_a_decorated_one_there_is_the_plain_function() -> None:
    async def body(step: Step) -> list[Any]:
        async def outer() -> int:
            return await step.run("inner", double, 1)

        def outer_in_thread() -> Any:
            return asyncio.run(step.run("inner", double, 1))

        async def calls_decorated() -> int:
            return await bare(1)

        errors = [await caught(step.run("outer", outer)), await caught(step.run("thread", outer_in_thread))]
        return [[error.error.message for error in errors if isinstance(error, StepFailed)], await step.run("plain", calls_decorated)]

    (messages, plain), keys = await run_in_body(body)

    assert ["step 'inner' is called inside step" in message for message in messages] == [True, True]
    assert plain == 101
    assert sorted(keys) == ["outer", "plain", "thread"]


@scenario
async def test_a_decorated_step_outside_of_a_run_is_the_plain_function() -> None:
    assert await bare(1) == 101
    assert with_options(1) == 301
    assert await Multiplier(4).decorated(2) == 8


@scenario
async def test_a_step_called_from_a_thread_or_after_the_run_is_refused() -> None:
    kept: list[Step] = []
    in_thread: list[BaseException] = []

    async def body(step: Step) -> None:
        kept.append(step)

        def thread() -> None:
            try:
                asyncio.run(step.run("from a thread", double, 1))
            except BaseException as error:  # noqa: BLE001
                in_thread.append(error)

        def start_thread() -> None:
            other = threading.Thread(target=thread)
            other.start()
            other.join()

        await step.run("start", start_thread)

    await run_in_body(body)
    after = await caught(kept[0].run("too late", double, 1))

    assert isinstance(in_thread[0], OutsideRun)
    assert isinstance(after, OutsideRun)
    assert "'too late'" in str(after)
    assert "outside of the body" in str(after)


@scenario
async def test_a_task_that_a_step_has_left_behind_cannot_call_steps() -> None:
    errors: list[BaseException | None] = []
    tasks: list[asyncio.Task[None]] = []

    async def body(step: Step) -> None:
        async def later() -> None:
            await asyncio.sleep(0.01)
            errors.append(await caught(step.run("late", double, 1)))

        async def leave_a_task() -> None:
            tasks.append(asyncio.get_running_loop().create_task(later()))

        await step.run("leave", leave_a_task)
        await step.run("wait", asyncio.sleep, 0.02)

    await run_in_body(body)
    await asyncio.gather(*tasks)

    assert isinstance(errors[0], OutsideRun)


@scenario
async def test_a_step_that_touches_an_event_of_the_body_fails_and_says_so() -> None:
    async def body(step: Step) -> str:
        event = asyncio.Event()
        waiting = asyncio.create_task(event.wait())
        await asyncio.sleep(0)

        async def touch() -> None:
            event.set()

        error = await caught(step.run("touch", touch))
        waiting.cancel()
        assert isinstance(error, StepFailed)
        assert error.attempts == 1
        return error.error.message

    message, _ = await run_in_body(body)

    assert "Event" in message
    assert "returning" in message


# -- what a step sees


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="nothing")


@scenario
async def test_a_step_sees_the_context_of_its_caller_and_each_attempt_begins_with_it_anew() -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("changed by an attempt")
        if len(seen) == 1:
            raise OSError("again")

    async def body(step: Step) -> str:
        VARIABLE.set("the body's")
        await step.run("look", look)
        await step.run("look in a thread", lambda: seen.append(VARIABLE.get()))
        return VARIABLE.get()

    result, _ = await run_in_body(body)

    assert seen == ["the body's"] * 3
    assert result == "the body's"


@scenario
async def test_a_step_of_a_def_body_sees_the_context_of_its_caller_too() -> None:
    @workflow
    def body(step: SyncStep) -> list[str]:
        async def look() -> str:
            return VARIABLE.get()

        VARIABLE.set("the body's")
        seen = [step.run("async", look), step.run("def", lambda: VARIABLE.get()), step.define("limited", look, timeout="5s").run()]
        VARIABLE.set("the body's now")
        return [*seen, step.run("again", look)]

    async with TestApp(body) as app:
        assert await app.execute(body) == ["the body's"] * 3 + ["the body's now"]


@scenario
async def test_the_current_step_is_known_within_a_step_and_its_idempotency_key_never_changes() -> None:
    seen: list[stepwell.StepInfo] = []

    def note(fails: bool) -> None:
        seen.append(stepwell.current_step())
        if fails:
            raise OSError("again")

    async def in_helper_thread() -> None:
        await asyncio.to_thread(note, fails=False)

    @workflow
    async def body(step: Step) -> None:
        await caught(step.define("flaky", note, retry=TWICE).run(fails=True))
        await step.run("helper", in_helper_thread)

    async with TestApp(body) as app:
        handle = await app.start(body)
        await handle.result()

    assert [(info.name, info.attempt) for info in seen] == [("flaky", 1), ("flaky", 2), ("helper", 1)]
    assert {info.run_id for info in seen} == {handle.run_id}
    assert seen[0].idempotency_key == seen[1].idempotency_key != seen[2].idempotency_key
    with pytest.raises(OutsideRun):
        stepwell.current_step()


# -- failures


class Declined(Exception):
    pass


class CardDeclined(Declined):
    pass


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@scenario
async def test_a_failed_step_tells_what_failed_and_how_also_on_replay() -> None:
    seen: list[dict[str, Any]] = []

    async def charge() -> None:
        raise CardDeclined("no funds")

    @workflow
    async def pay(step: Step) -> None:
        try:
            await step.define("charge", charge, retry=TWICE).run()
        except StepFailed as error:
            seen.append(
                {
                    "step": (error.step, error.key, error.attempts),
                    "error": (error.error.type, error.error.message),
                    "traceback": "raise CardDeclined" in error.error.traceback,
                    "base": (error.caused_by(Declined), error.caused_by("CardDeclined"), error.caused_by(KeyError)),
                    "cause": type(error.__cause__).__name__,
                    "text": str(error),
                }
            )
        await step.sleep("a while", "1 day")

    async with TestApp(pay, self_moving=False) as app:
        handle = await app.start(pay)
        await app.advance("1h")
        await crash(app)
    async with successor(app, pay) as app:
        await app.handle(handle.run_id).result()

    assert len(seen) == 2
    assert seen[0].pop("cause") == "CardDeclined"
    assert seen[1].pop("cause") == "NoneType"
    assert seen[0] == seen[1]
    assert seen[0] == {
        "step": ("charge", "charge", 2),
        "error": ("CardDeclined", "no funds"),
        "traceback": True,
        "base": (True, True, False),
        "text": 'step "charge" failed after 2 attempts: CardDeclined: no funds',
    }


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration, Odd])
@scenario
async def test_whatever_a_step_raises_is_its_failure_and_not_the_worker_s(kind: type[BaseException]) -> None:
    async def in_loop() -> None:
        raise kind("x")

    def in_thread() -> None:
        raise kind("x")

    async def body(step: Step) -> list[str]:
        errors = [await caught(step.run("loop", in_loop)), await caught(step.run("thread", in_thread))]
        return [error.error.type for error in errors if isinstance(error, StepFailed)]

    @workflow
    def def_body(step: SyncStep) -> str:
        try:
            step.run("own thread", in_thread)
        except StepFailed as error:
            return error.error.type
        return "?"

    types, _ = await run_in_body(body)
    async with TestApp(def_body) as app:
        types.append(await app.execute(def_body))

    expected = "RuntimeError" if kind is StopIteration else kind.__name__
    assert types == [expected] * 3


def _cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: {"a": [1.0, float("nan")]}, "$.a[1]"),
        (lambda: {"a": {1, 2}}, "$.a"),
        (lambda: {"f": lambda: 1}, "$.f"),
        (_cycle, "$"),
        (lambda: (number for number in range(3)), "generator"),
        (lambda: {"t": (1, 2)}, "$.t"),
        (lambda: b"bytes", "bytes"),
    ],
)
@scenario
async def test_a_result_that_json_does_not_give_back_names_step_and_path_and_is_not_retried(make: Any, names: str) -> None:
    made = Counter()

    def give() -> Any:
        made.plain()
        return make()

    async def body(step: Step) -> list[Any]:
        error = await caught(step.run("load it", give))
        assert isinstance(error, StepFailed)
        assert error.caused_by(NotSerializable)
        return [error.attempts, error.error.message]

    (attempts, message), _ = await run_in_body(body)

    assert attempts == len(made.calls) == 1
    assert "'load it'" in message
    assert names in message


@scenario
async def test_a_result_is_decoded_by_the_annotation_the_first_time_as_on_replay() -> None:
    seen: list[Any] = []

    def pair() -> tuple[int, str]:
        return (1, "a")

    @workflow
    async def flow(step: Step) -> None:
        seen.append((await step.run("pair", pair), await step.define("set", lambda: {1, 2}, result=set[int]).run()))
        await step.sleep("a while", "1 day")

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1h")
        await crash(app)
    async with successor(app, flow) as app:
        await app.handle(handle.run_id).result()

    assert seen == [((1, "a"), {1, 2})] * 2


# -- retries


async def attempts_of(flow: Any) -> tuple[list[tuple[Any, ...]], RunStatus]:
    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await caught(handle.result())
        records = await handle.steps()
        return [(record.key, record.attempt, record.status) for record in records], await handle.status()


@scenario
async def test_each_step_has_a_budget_of_its_own_and_each_failed_attempt_is_kept() -> None:
    tries: dict[str, int] = {}

    def flaky(name: str, fails: int) -> str:
        tries[name] = tries.get(name, 0) + 1
        if tries[name] <= fails:
            raise OSError(f"{name} {tries[name]}")
        return name

    @workflow(retry=Retry(3, initial_interval="10s", jitter=0))
    async def flow(step: Step) -> None:
        await step.run("a", flaky, "a", 2)
        await step.run("b", flaky, "b", 2)

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await handle.result()
        records = await handle.steps()

    assert [(record.key, record.attempt, record.status) for record in records] == [
        ("a", 1, "failed"), ("a", 2, "failed"), ("a", 3, "completed"), ("b", 1, "failed"), ("b", 2, "failed"), ("b", 3, "completed"),
    ]  # fmt: skip
    assert [record.error.message for record in records if record.error] == ["a 1", "a 2", "b 1", "b 2"]
    assert all("OSError" in record.error.traceback for record in records if record.error)
    starts = [record.started_at for record in records[:3]]
    assert (starts[1] - starts[0]).total_seconds() == pytest.approx(10, abs=0.5)
    assert (starts[2] - starts[1]).total_seconds() == pytest.approx(20, abs=0.5)
    assert all(record.finished_at is not None and record.finished_at >= record.started_at for record in records)


@scenario
async def test_a_step_is_retried_by_its_definition_else_its_decorator_else_the_workflow_s_policy() -> None:
    tries: list[str] = []

    async def fail(name: str) -> None:
        tries.append(name)
        raise OSError(name)

    decorated = stepwell.step("decorated", retry=Retry(2, "1s"))(fail)

    @workflow(retry=Retry(3, "1s"))
    async def flow(step: Step) -> None:
        await caught(step.run("workflow", fail, "workflow"))
        await caught(decorated("decorated"))
        await caught(step.run("decorated", decorated, "run decorated"))
        await caught(step.define("defined", decorated, retry=Retry(4, "1s")).run("defined"))

    async with TestApp(flow) as app:
        await app.execute(flow)

    assert {name: tries.count(name) for name in tries} == {"workflow": 3, "decorated": 2, "run decorated": 2, "defined": 4}


@scenario
async def test_errors_and_policies_decide_whether_and_when_a_step_is_tried_again() -> None:
    tries: list[str] = []
    asked: list[tuple[str, int]] = []

    async def fail(name: str, error: Exception, times: int = 100) -> str:
        tries.append(name)
        if tries.count(name) <= times:
            raise error
        return name

    def decide(error: Exception, attempt: int) -> bool | str:
        asked.append((str(error), attempt))
        return "1h" if attempt == 1 else False

    @workflow
    async def flow(step: Step) -> list[float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await caught(step.run("final", fail, "final", NonRetryable("no")))
        await caught(step.define("excluded", fail, retry=Retry(non_retryable=KeyError)).run("excluded", KeyError("k")))
        await caught(step.define("asks", fail, retry=Retry(should_retry=decide)).run("asks", OSError("ask")))
        after_asking = loop.time()
        await step.run("told", fail, "told", RetryAfter("3h", "later"), 1)
        after_told = loop.time()
        await step.define("unlimited", fail, retry=Retry(None, "1s", max_interval="1s")).run("unlimited", OSError("x"), 40)
        return [after_asking - begun, after_told - after_asking]

    async with TestApp(flow) as app:
        waits = await app.execute(flow)

    assert {name: tries.count(name) for name in tries} == {"final": 1, "excluded": 1, "asks": 2, "told": 2, "unlimited": 41}
    assert asked == [("ask", 1), ("ask", 2)]
    assert waits == [pytest.approx(3600, abs=1), pytest.approx(3 * 3600, abs=1)]


@scenario
async def test_a_run_that_waits_for_a_retry_of_its_step_sleeps_and_a_crash_uses_up_no_attempt() -> None:
    tries = Counter()

    def fail() -> None:
        tries.plain(stepwell.current_step().attempt)
        raise OSError("no")

    @workflow(retry=Retry(3, "1h", jitter=0, max_interval="10h"))
    async def flow(step: Step) -> None:
        await step.run("work", fail)

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("30m")
        assert await handle.status() is RunStatus.SLEEPING
        await crash(app)
    async with successor(app, flow) as app:
        failed = await caught(app.handle(handle.run_id).result())

    assert tries.calls == [1, 2, 3]
    assert isinstance(failed, RunFailed)
    assert "after 3 attempts" in failed.error.message


# -- timeouts of one attempt


@scenario
async def test_an_attempt_that_takes_longer_than_the_step_s_timeout_is_canceled_and_tried_again() -> None:
    seen = Counter()

    async def slow() -> str:
        seen.plain("begun")
        if len(seen.calls) > 2:
            return "in time"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.plain("canceled")
            raise
        return "?"

    decorated = stepwell.step(timeout="500ms")(slow)

    @workflow(retry=Retry(2, "10ms"))
    async def flow(step: Step) -> list[Any]:
        first = await step.define("defined", slow, timeout="500ms").run()
        seen.calls.clear()
        return [first, await decorated()]

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == ["in time", "in time"]
        records = await handle.steps()

    failed = [record for record in records if record.status == "failed"]
    assert [record.error.type for record in failed if record.error] == ["StepTimeout", "StepTimeout"]
    assert all(record.error and "timeout of 0.5 s" in record.error.message for record in failed)


@pytest.mark.parametrize("kind", ["async", "def"])
@scenario
async def test_a_thread_that_takes_longer_than_the_timeout_is_left_behind_and_counted(kind: str) -> None:
    release, calls = threading.Event(), Counter()

    def slow() -> str:
        calls.plain()
        if len(calls.calls) == 1:
            release.wait(10)
        return "late" if len(calls.calls) == 1 else "in time"

    @workflow(retry=Retry(2, "10ms"), name="flow")
    async def async_body(step: Step) -> str:
        return await step.define("slow", slow, timeout="3s").run()

    @workflow(retry=Retry(2, "10ms"), name="flow")
    def def_body(step: SyncStep) -> str:
        return step.define("slow", slow, timeout="3s").run()

    flow = async_body if kind == "async" else def_body
    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == "in time"
        assert worker_of(app).threads.left_behind == 1
        release.set()
        await until(lambda: worker_of(app).threads.left_behind == 0)
        records = await handle.steps()

    assert [(record.status, record.attempt) for record in records] == [("failed", 1), ("completed", 2)]


# -- map


@scenario
async def test_map_gives_results_in_the_order_of_the_items_with_so_many_at_a_time() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (5 - number % 5))
        running -= 1
        return number * 2

    async def body(step: Step) -> list[Any]:
        return [
            await step.map("work", work, range(20), concurrency=3),
            await step.map("none", work, []),
            await step.map("def", triple, iter([1, 2])),
        ]

    results, keys = await run_in_body(body)

    assert results == [[number * 2 for number in range(20)], [], [3, 6]]
    assert most == 3
    assert set(keys) == {"work"} | {f"work:{number}" for number in range(1, 20)} | {"def", "def:1"}


@pytest.mark.parametrize("concurrency", [2, None])
@scenario
async def test_at_the_first_failure_of_a_map_no_further_item_starts_and_those_under_way_end(concurrency: int | None) -> None:
    begun, ended = Counter(), Counter()

    async def work(number: int) -> int:
        begun.plain(number)
        if number == 1:
            raise OSError("item 1")
        await asyncio.sleep(0.02)
        ended.plain(number)
        return number

    @workflow(retry=ONCE)
    async def flow(step: Step) -> None:
        await step.map("work", work, range(1500), concurrency=concurrency)

    async with TestApp(flow) as app:
        failed = await caught(app.execute(flow))

    assert isinstance(failed, RunFailed)
    assert "item 1" in failed.error.message
    assert 1 not in ended.calls
    assert set(begun.calls) - {1} == set(ended.calls)
    assert len(begun.calls) == (2 if concurrency else 1000)


@scenario
async def test_a_map_that_is_canceled_cancels_its_items() -> None:
    canceled = Counter()

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            canceled.plain(number)
            raise

    async def body(step: Step) -> str:
        try:
            async with asyncio.timeout(0.05):
                await step.map("work", work, range(5), concurrency=3)
        except TimeoutError:
            return await step.run("after", lambda: "timed out")
        return "?"

    result, _ = await run_in_body(body)

    assert result == "timed out"
    assert sorted(canceled.calls) == [0, 1, 2]


@scenario
async def test_a_map_of_ten_thousand_items_goes_on_after_a_crash_where_it_was() -> None:
    work = Counter()

    async def item(number: int) -> int:
        work.plain(number)
        return number

    @workflow
    async def flow(step: Step) -> int:
        return sum(await step.map("item", item, range(10_000), concurrency=200))

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await until(lambda: len(work.calls) > 5_000)
        await crash(app)
        recorded = len(await handle.steps())
    async with successor(app, flow) as app:
        assert await app.handle(handle.run_id).result() == sum(range(10_000))

    assert recorded > 4_000
    assert len(work.calls) <= 20_000 - recorded
    assert set(work.calls) == set(range(10_000))


@scenario
async def test_a_map_that_meets_the_limit_of_steps_in_its_midst_fails_and_says_so() -> None:
    @workflow(max_steps=10)
    async def flow(step: Step) -> None:
        await step.map("work", double, range(100), concurrency=2)

    async with TestApp(flow) as app:
        failed = await caught(app.execute(flow))

    assert isinstance(failed, RunFailed)
    assert "max_steps=10" in failed.error.message


@scenario
async def test_a_run_has_at_most_a_thousand_steps_under_way_at_once_retries_included() -> None:
    running, most, tries = 0, 0, Counter()

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        tries.plain(number)
        try:
            await asyncio.sleep(0.01)
            if stepwell.current_step().attempt == 1:
                raise OSError("again")
        finally:
            running -= 1
        return number

    @workflow(retry=Retry(2, "1s", jitter=0))
    async def flow(step: Step) -> int:
        return len(await asyncio.gather(*(step.run("work", work, number) for number in range(1_300))))

    async with TestApp(flow) as app:
        assert await app.execute(flow) == 1_300

    assert most <= 1_000
    assert len(tries.calls) == 2_600


class Parcel:
    """Its instances can be awaited when called; the class itself is called to make one."""

    async def __call__(self) -> int:
        return 1


@scenario
async def test_a_class_is_called_to_make_an_object_whatever_its_objects_can() -> None:
    @workflow
    async def flow(step: Step) -> int:
        await step.define("make", Parcel, retry=Retry.never(), result=Any).run()
        return 1

    async with TestApp(flow) as app:
        with pytest.raises(stepwell.RunFailed) as failed:
            await app.execute(flow)

    assert "returned a Parcel" in failed.value.error.message


@scenario
async def test_a_should_retry_that_raises_is_told_with_the_error_that_it_was_asked_of() -> None:
    def confused(error: Exception, attempt: int) -> bool:
        raise KeyError("what now")

    async def fails() -> None:
        raise ValueError("no")

    @workflow
    async def flow(step: Step) -> None:
        await step.define("ask", fails, retry=Retry(should_retry=confused)).run()

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        with pytest.raises(stepwell.RunFailed):
            await handle.result()
        (record,) = await handle.steps()

    assert record.error is not None
    assert "should_retry raised" in record.error.traceback


@scenario
async def test_items_and_durations_may_be_given_by_name() -> None:
    async def double(number: int) -> int:
        return 2 * number

    @workflow
    async def flow(step: Step) -> list[int]:
        await step.sleep("a while", duration="1 day")
        return await step.map("double", double, items=[1, 2])

    async with TestApp(flow) as app:
        assert await app.execute(flow) == [2, 4]
