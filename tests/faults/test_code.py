"""Values that do not fit, and code that raises anything: each is one failed step or run with a clear error, and the worker goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stepwell import (
    InvalidInput,
    Logger,
    PayloadTooLarge,
    Retry,
    RunFailed,
    RunNotFound,
    RunStatus,
    Step,
    StepFailed,
    Stepwell,
    Workflow,
    workflow,
)
from tests.engine.harness import scenario, status_is
from tests.faults.databases import database_of
from tests.faults.processes import until

ONCE = Retry.never()
LIMIT = 4 * 1024 * 1024
"""Bytes of JSON that are let through unless an app says otherwise."""


def app_of(folder: Path, *workflows: Workflow[Any, Any], **options: Any) -> Stepwell:
    url, namespace = database_of(folder)
    return Stepwell(url, namespace=namespace, workflows=workflows, **options)


async def failed(app: Stepwell, flow: Workflow[Any, Any] | str, given: Any) -> RunFailed:
    """How the run of this fails, at its first attempt; what executes afterwards is executed as ever."""
    handle = await app.start(flow, given)
    with pytest.raises(RunFailed) as failure:
        await handle.result()
    assert (await handle.get()).attempt == 1
    assert await app.execute(fine) == "fine"
    return failure.value


@workflow
async def fine(step: Step) -> str:
    return await step.run("fine", lambda: "fine")


# -- wrong types


class Order(BaseModel):
    amount: int


@workflow(retry=ONCE)
async def order(input: Order, step: Step) -> int:
    async def wrong() -> int:
        return "no number" if input.amount == 1 else input.amount  # type: ignore[return-value]  # that is the case

    async def unwritable() -> Any:
        return {"items": [1, lambda: None]}

    match input.amount:
        case 1:
            return await step.run("wrong", wrong)
        case 2:
            return await step.run("unwritable", unwritable)
        case 3:
            return "no number"  # type: ignore[return-value]  # likewise
    return await step.run("right", wrong)


@scenario
async def test_an_input_of_the_wrong_type_is_refused_at_the_start_and_nothing_is_stored(folder: Path) -> None:
    async with app_of(folder, order) as app:
        with pytest.raises(InvalidInput, match="amount") as refusal:
            await app.start("order", {"amount": "many"})

        assert refusal.value.workflow == "order"
        assert await app.runs.count() == {}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"amount": "many"}, "InvalidInput", "amount"),
        ({}, "InvalidInput", "amount"),
        (None, "InvalidInput", "order"),
        ({"amount": 1}, "StepFailed", "wrong"),
        ({"amount": 2}, "StepFailed", r"unwritable.*items"),
        ({"amount": 3}, "InvalidOutput", "order"),
    ],
)
@scenario
async def test_what_is_of_the_wrong_type_fails_its_run_once_and_no_other(folder: Path, given: Any, kind: str, message: str) -> None:
    async with app_of(folder) as client:
        handle = await client.start("order", given)  # nobody knows the type there
    async with app_of(folder, order, fine) as app, app.worker():
        with pytest.raises(RunFailed, match=message) as failure:
            await app.handle(handle.run_id).result()
        assert failure.value.error.type == kind
        assert (await app.runs.get(handle.run_id)).attempt == 1
        assert await app.execute(order, Order(amount=7)) == 7


# -- sizes


@workflow(retry=ONCE)
async def carry(input: str, step: Step) -> Any:
    """Input, result or output of a size."""
    where, _, size = input.partition(" ")

    async def make() -> str:
        return "x" * int(size)

    if where == "output":
        return "x" * int(size)
    if where == "step":
        try:
            return len(await step.run("make", make))
        except StepFailed as error:
            return [error.caused_by(PayloadTooLarge), str(error)]
    return len(input)


@scenario
async def test_a_value_of_just_the_limit_is_let_through_and_one_byte_more_is_refused(folder: Path) -> None:
    just = LIMIT - len('""')
    async with app_of(folder, carry, fine) as app, app.worker():
        assert await app.execute(carry, "x" * just) == just
        assert await app.execute(carry, f"step {just}") == just
        assert len(await app.execute(carry, f"output {just}")) == just

        with pytest.raises(PayloadTooLarge) as refusal:
            await app.start(carry, "x" * (just + 1))
        assert (refusal.value.size, refusal.value.limit) == (LIMIT + 1, LIMIT)
        caught, message = await app.execute(carry, f"step {just + 1}")
        assert caught
        assert "4,194,305 bytes" in message
        assert "max_payload is 4,194,304" in message
        assert (await failed(app, carry, f"output {just + 1}")).error.type == "PayloadTooLarge"
        assert (await app.runs.count())[RunStatus.FAILED] == 1


@scenario
async def test_a_hundred_megabytes_are_refused_with_the_limit_in_the_message(folder: Path) -> None:
    async with app_of(folder, carry, fine) as app, app.worker():
        caught, message = await app.execute(carry, "step 100000000")

    assert caught
    assert "max_payload is 4,194,304" in message


# -- what a step raises


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    def __reduce__(self) -> Any:
        raise ValueError("no parts")


@workflow(retry=ONCE)
async def raises(input: str, step: Step) -> None:
    errors: dict[str, BaseException] = {
        "unprintable": Unprintable(), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "generator": GeneratorExit(),
        "group": ExceptionGroup("several", [Unprintable(), ValueError("\0")]), "memory": MemoryError(), "stop": StopIteration(1),
        "recursion": RecursionError("too deep"), "huge": ValueError("x" * 10_000_000), "base": BaseException("of the root"),
    }  # fmt: skip

    def fail() -> None:
        raise errors[input.removeprefix("body ")]

    if input.startswith("body "):
        fail()
    await step.run("fail", fail)


@pytest.mark.parametrize("where", ["", "body "])
@pytest.mark.parametrize("kind", ["unprintable", "exit", "interrupt", "generator", "group", "memory", "stop", "recursion", "huge", "base"])
@scenario
async def test_whatever_is_raised_is_a_failed_run_and_the_worker_goes_on(folder: Path, kind: str, where: str) -> None:
    async with app_of(folder, raises, fine) as app, app.worker():
        error = (await failed(app, raises, where + kind)).error

        assert len(error.message) < 100_000
        assert len(error.traceback) < 1_000_000


# -- texts that databases do not like

NUL, HALF = "nul \0 inside", "half a \ud800 pair"
STRANGE = [
    NUL,
    HALF,
    "'; DROP TABLE stepwell_runs; --",
    "a\nb\r\n\tc",
    "\x1b[31mred",
    "\u202eright to left",
    "😀",
    "%s %(x)d {y}",
    "x" * 20_000,
]


@workflow(retry=ONCE)
async def writes(input: str, step: Step, logger: Logger) -> Any:
    where, _, number = input.partition(" ")
    text = STRANGE[int(number)]

    def fail() -> None:
        raise ValueError(text)

    match where:
        case "result":
            return await step.run("text", lambda: text)
        case "argument":
            return await step.run("text", len, text)
        case "step":
            return await step.run(text, lambda: "named")
        case "error":
            return await step.run("fail", fail)
        case "body":
            fail()
        case "log":
            logger.info(text, text=text, **{text: 1})
            await step.run("log", lambda: logger.warning(text, text=text))
        case "progress":
            await step.progress(1, 2, text)
        case "key":
            return {text: 1}
    return text


@pytest.mark.parametrize("place", ["result", "argument", "step", "error", "body", "log", "progress", "key", "output"])
@scenario
async def test_any_text_anywhere_leaves_a_run_that_ends(folder: Path, place: str) -> None:
    async with app_of(folder, writes, fine) as app, app.worker():
        for number, text in enumerate(STRANGE):
            handle = await app.start(writes, f"{place} {number}")
            try:
                result = await handle.result()
            except RunFailed as error:
                assert place in ("error", "body") or text in (NUL, HALF) or len(text) > 1_000
                assert error.error.message
            else:
                assert place not in ("error", "body")
                if place in ("result", "output", "log", "progress"):
                    assert result == text
            await handle.logs()
            await handle.steps()
            assert (await handle.get()).status.ended
        assert await app.execute(fine) == "fine"


@scenario
async def test_sql_in_a_filter_finds_nothing_and_changes_nothing(folder: Path) -> None:
    async with app_of(folder, fine) as app:
        await app.start_many(fine, [None] * 3)
        for text in ("' OR 1=1 --", "%", "_", "'; DELETE FROM stepwell_runs; --", '"', "\\"):
            for options in ({"search": text}, {"workflow": text}, {"tags": [text]}, {"queue": text}, {"version": text}):
                assert list(await app.runs.list(**options)) == [], options
        assert await app.runs.count() == {RunStatus.PENDING: 3}


@pytest.mark.parametrize("run_id", ["", NUL, HALF, "' OR 1=1 --", "x" * 100_000, "../../etc/passwd"])
@scenario
async def test_an_id_that_no_run_can_have_is_not_found_and_disturbs_nobody_who_waits(folder: Path, run_id: str) -> None:
    async with app_of(folder, fine) as app:
        handle = await app.start(fine)
        async with app.worker():
            for ask in ("result", "get", "status", "steps", "logs", "events", "pause", "cancel"):
                with pytest.raises(RunNotFound):
                    await getattr(app.handle(run_id), ask)()
            assert await handle.result() == "fine"


# -- what is stored no longer fits


class OldPrice(BaseModel):
    cents: int


class NewPrice(BaseModel):
    euros: float


@scenario
async def test_a_recorded_result_that_new_code_cannot_read_pauses_the_run_until_the_change_is_undone(folder: Path) -> None:
    async def old() -> OldPrice:
        return OldPrice(cents=250)

    async def new() -> NewPrice:
        raise AssertionError("it was recorded")

    @workflow(name="buy", retry=ONCE)
    async def before(step: Step) -> int:
        price = await step.run("price", old)
        await step.sleep("until the deploy", "1h")
        return price.cents

    @workflow(name="buy", retry=ONCE)
    async def after(step: Step) -> float:
        price = await step.run("price", new)
        await step.sleep("until the deploy", "1h")
        return price.euros

    async with app_of(folder, before) as app, app.worker():
        handle = await app.start(before)
        await status_is(handle, RunStatus.SLEEPING)
        await handle.pause()
    async with app_of(folder, after, fine) as app, app.worker():
        await app.runs.resume(handle.run_id)
        await until(lambda: _is_explained(app, handle.run_id))
        run = await app.runs.get(handle.run_id)
        assert run.error is not None
        assert run.error.type == "NonDeterminism"
        assert "the result recorded for step 'price' does not fit the type that the step returns now" in run.error.message
        assert run.attempt == 1
        assert await app.execute(fine) == "fine"
    async with app_of(folder, before) as app, app.worker():
        await app.runs.resume(handle.run_id)
        await status_is(app.handle(handle.run_id), RunStatus.SLEEPING)


async def _is_explained(app: Stepwell, run_id: str) -> bool:
    """Whether the run is paused, and says why."""
    run = await app.runs.get(run_id)
    return run.status is RunStatus.PAUSED and run.error is not None


@pytest.mark.parametrize(
    ("damage", "becomes"),
    [
        ("inputs SET input = '{'", RunStatus.FAILED),
        ("inputs SET input = '[1, 2'", RunStatus.FAILED),
        ("outcomes SET value = '{'", RunStatus.PAUSED),
        ("outcomes SET value = '\"text\"'", RunStatus.PAUSED),
        ("outcomes SET value = NULL", RunStatus.PAUSED),
    ],
)
@scenario
async def test_a_row_that_somebody_has_damaged_stops_its_run_and_no_worker(folder: Path, damage: str, becomes: RunStatus) -> None:
    async with app_of(folder, naps, fine) as app:
        async with app.worker():
            handle = await app.start(naps, 1)
            await status_is(handle, RunStatus.SLEEPING)
        database = database_of(folder)
        database.execute(f"UPDATE {database.table(damage)}")
        database.execute(f"UPDATE {database.table('runs')} SET due = 0")
        async with app.worker():
            if becomes is RunStatus.FAILED:
                with pytest.raises(RunFailed, match="InvalidInput"):
                    await handle.result()
            else:
                await until(lambda: _is_explained(app, handle.run_id))
            assert await app.execute(fine) == "fine"


@workflow(retry=ONCE)
async def naps(input: int, step: Step) -> int:
    async def number() -> int:
        return input

    first = await step.run("number", number)
    await step.sleep("nap", "1h")
    return first
