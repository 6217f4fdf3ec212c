"""`export_history` and `replay`: whether code still fits what a run has recorded."""

from __future__ import annotations

import asyncio
import json
import threading
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell import (
    ContinueAsNew,
    DefinitionError,
    Handle,
    Logger,
    NonDeterminism,
    NonRetryable,
    Retry,
    RunFailed,
    RunInfo,
    RunNotFound,
    RunStatus,
    Schedule,
    Step,
    SyncStep,
    Workflow,
    workflow,
)
from stepwell.testing import EPOCH, Replayed, TestApp, export_history, replay
from tests.engine.harness import Counter, caught, memory_of, scenario, settled

History = dict[str, Any]

counter = Counter()


@workflow
async def trip(city: str, step: Step, logger: Logger) -> str:
    logger.info("leaving", to=city)
    await step.run("book", counter.step, city)
    await step.sleep("until it begins", "10 days")
    number = await step.random()
    await step.run("greet", counter.step, city)
    return f"{city} {number}"


async def lived(definition: Workflow[Any, Any], input: Any, days: int, **options: Any) -> History:
    """What is recorded after so many days, as read from a file."""
    async with TestApp(definition, self_moving=False) as app:
        handle = await app.start(definition, input, **options)
        await app.advance(f"{days} days")
        return json.loads(json.dumps(await export_history(handle)))  # type: ignore[no-any-return]


def changed(function: Any, **options: Any) -> Workflow[Any, Any]:
    """Other code for the trip."""
    definition: Workflow[Any, Any] = workflow(name="trip", **options)(function)
    return definition


# -- what is exported


@scenario
async def test_a_history_has_all_that_a_replay_needs_as_json() -> None:
    history = await lived(trip, "Rome", 20, tags=["eu"])

    assert {name: history[name] for name in ("format", "workflow", "version", "input", "attempt", "status", "tags", "started_at")} == {
        "format": 1, "workflow": "trip", "version": None, "input": "Rome", "attempt": 1, "status": "completed", "tags": ["eu"],
        "started_at": EPOCH,
    }  # fmt: skip
    assert [(each["key"], each["kind"], each.get("value", "none")) for each in history["outcomes"]] == [
        ("book", "function", "Rome"),
        ("until it begins", "sleep", "none"),
        ("random", "value", history["outcomes"][2]["value"]),
        ("greet", "function", "Rome"),
    ]
    assert history["attempts"] == {}


@scenario
async def test_a_long_history_is_exported_whole() -> None:
    @workflow
    async def long(step: Step) -> int:
        return len(await step.map("each", counter.step, range(2_345)))

    async with TestApp(long) as app:
        handle = await app.start(long)
        await handle.result()
        history = await export_history(handle)

    assert len(history["outcomes"]) == 2_345
    assert (await replay(long, history)).output == 2_345


@scenario
async def test_only_what_a_handle_stands_for_is_exported() -> None:
    async with TestApp(trip) as app:
        with pytest.raises(RunNotFound):
            await export_history(app.handle("nowhere"))
        with pytest.raises(TypeError, match="export_history takes the handle of a run"):
            await export_history("nowhere")  # type: ignore[arg-type]


# -- code that fits


@scenario
async def test_a_replay_calls_no_step_and_says_what_it_has_met() -> None:
    history = await lived(trip, "Rome", 20)
    before = len(counter.calls)

    replayed = await replay(trip, history)

    assert replayed.matched == ("book", "until it begins", "random", "greet")
    assert (replayed.end, replayed.output) == ("completed", f"Rome {history['outcomes'][2]['value']}")
    assert (replayed.waiting_for, replayed.error, replayed.changed_arguments) == ((), None, ())
    assert len(counter.calls) == before


@scenario
async def test_a_replay_ends_where_the_record_ends_and_says_what_the_code_waits_for() -> None:
    assert await replay(trip, await lived(trip, "Rome", 1)) == Replayed(
        matched=("book",), end="waiting", waiting_for=("sleep 'until it begins'",)
    )

    async def longer(city: str, step: Step) -> None:
        await step.run("book", counter.step, city)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(step.run("pack", counter.step, city))
            group.create_task(step.uuid())
            canceled = group.create_task(step.run("never", counter.step, city))
            await asyncio.sleep(0)
            canceled.cancel()

    before = len(counter.calls)
    replayed = await replay(changed(longer), await lived(trip, "Rome", 1))

    assert replayed.waiting_for == ("step '@0/pack'", "value '@1/uuid'", "timer")
    assert len(counter.calls) == before + 1  # by `lived`


@scenario
async def test_a_timer_that_has_not_fired_in_the_record_does_not_fire_in_a_replay() -> None:
    @workflow
    async def past(step: Step) -> None:
        await step.run("book", counter.step, 1)
        await step.sleep_until("long ago", datetime(2000, 1, 1, tzinfo=UTC))

    history = await lived(past, None, 1)
    history["outcomes"].pop()

    assert (await replay(past, history)).waiting_for == ("sleep 'long ago'",)


@scenario
async def test_a_replay_does_not_go_by_the_exporting_version() -> None:
    history = await lived(changed(trip.function, version="1"), "Rome", 20)
    seen: list[Any] = []

    async def later(city: str, step: Step, version: str, run: RunInfo) -> str:
        seen.extend((version, run.id, run.version))
        return await trip.function(city, step, Quiet())  # type: ignore[no-any-return]

    assert (await replay(changed(later, version="2"), history)).end == "completed"
    assert seen == ["1", history["run_id"], "1"]


class Quiet:
    def info(self, message: str, **fields: Any) -> None:
        """Say nothing."""


@scenario
async def test_def_bodies_are_replayed() -> None:
    def plain(city: str, step: SyncStep) -> str:
        step.run("book", counter.plain, city)
        step.sleep("until it begins", "10 days")
        number = step.random()
        step.run("greet", counter.plain, city)
        return f"{city} {number}"

    assert (await replay(changed(plain), await lived(trip, "Rome", 20))).end == "completed"
    assert (await replay(changed(plain), await lived(trip, "Rome", 1))).waiting_for == ("sleep 'until it begins'",)
    await settled_threads()


async def settled_threads() -> None:
    """Until the threads of bodies that were left have ended."""
    async with asyncio.timeout(50):
        while any(thread.name.startswith("stepwell-body") for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


@scenario
async def test_a_replay_says_how_the_run_ends() -> None:
    async def fails(city: str, step: Step) -> None:
        await step.run("book", counter.step, city)
        raise NonRetryable("there is no more")

    async def is_tried_again(city: str, step: Step) -> None:
        await step.run("book", counter.step, city)
        raise ConnectionError("away")

    async def goes_on(city: str, step: Step) -> None:
        await step.run("book", counter.step, city)
        raise ContinueAsNew("Oslo")

    async def hangs(city: str, step: Step) -> None:
        await step.run("book", counter.step, city)
        await asyncio.Event().wait()

    history = await lived(trip, "Rome", 1)
    ends = {each.__name__: await replay(changed(each), history) for each in (fails, is_tried_again, goes_on, hangs)}

    assert {name: (end.end, end.error and end.error.type) for name, end in ends.items()} == {
        "fails": ("failed", "NonRetryable"),
        "is_tried_again": ("retried", "ConnectionError"),
        "goes_on": ("continued", None),
        "hangs": ("failed", "Stuck"),
    }


@scenario
async def test_a_failure_that_is_recorded_is_met_again() -> None:
    async def decline() -> None:
        raise ConnectionError("the bank is away")

    @workflow
    async def pay(step: Step) -> None:
        await asyncio.gather(step.define("charge", decline, retry=Retry.never()).run(), step.run("other", counter.step, 1))

    replayed = await replay(pay, await lived(pay, None, 1))

    assert replayed.end == "failed"
    assert replayed.error is not None
    assert replayed.error.caused_by(ConnectionError)


@scenario
async def test_other_arguments_are_let_through_and_named() -> None:
    async def mended(city: str, step: Step) -> None:
        await step.run("book", counter.step, city.upper())
        await step.sleep("until it begins", "10 days")

    replayed = await replay(changed(mended), await lived(trip, "Rome", 1))
    assert (replayed.end, replayed.changed_arguments) == ("waiting", ("book",))

    async def ends(city: str, step: Step) -> None:
        await step.run("book", counter.step, city.upper())

    replayed = await replay(changed(ends), await lived(trip, "Rome", 1))
    assert (replayed.end, replayed.changed_arguments) == ("completed", ("book",))


@scenario
async def test_a_replay_logs_nothing_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with TestApp(trip, self_moving=False) as app:
        handle = await app.start(trip, "Rome")
        await app.advance("1 day")
        before = (deepcopy(await handle.get()), await handle.logs(), await handle.steps(), memory_of(app).commits)
        history = await export_history(handle)
        caplog.clear()
        await replay(trip, history)
        await settled(app)

        assert caplog.records == []
        assert (await handle.get(), await handle.logs(), await handle.steps(), memory_of(app).commits) == before


# -- code that does not fit


async def renamed(city: str, step: Step) -> None:
    await step.run("reserve", counter.step, city)


async def returns(city: str, step: Step) -> None:
    pass


async def other_kind(city: str, step: Step) -> None:
    await step.sleep("book", "1h")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (renamed, "step 'book' is recorded, and the code does not ask for it.\n  Instead it asks for: step 'reserve'."),
        (returns, "step 'book' is recorded, and the code returns without asking for it."),
        (other_kind, "step 'book' is recorded, and the code asks for a sleep of that name."),
    ],
)
@scenario
async def test_code_that_does_not_fit_is_refused_as_a_worker_would_refuse_it(code: Any, what: str) -> None:
    history = await lived(trip, "Rome", 1)
    error = await caught(replay(changed(code), history))

    assert isinstance(error, NonDeterminism)
    assert what in str(error)
    assert error.key == "book"
    assert str(error) == await explained(code)


async def explained(code: Any) -> str:
    """What the engine says when the run that sleeps meets this code."""
    async with TestApp(trip, self_moving=False) as app:
        handle = await app.start(trip, "Rome")
        await app.advance("1 day")
    again = TestApp(changed(code), self_moving=False)
    again.store, again.clock = app.store, app.clock
    async with again:
        await again.advance("20 days")
        run = await again.handle(handle.run_id).get()
    assert run.status is RunStatus.PAUSED
    assert run.error is not None
    return run.error.message


@scenario
async def test_a_step_that_was_only_tried_must_be_asked_for() -> None:
    async def fails(city: str) -> None:
        raise ConnectionError("away")

    @workflow(retry=Retry(None, "1 day", max_interval="1 day"))
    async def stubborn(city: str, step: Step) -> None:
        await step.run("book", fails, city)

    @workflow(name="stubborn")
    async def renamed(city: str, step: Step) -> None:
        await step.run("reserve", fails, city)

    history = await lived(stubborn, "Rome", 3)
    assert history["attempts"]["book"]["failures"] > 1
    assert (await replay(stubborn, history)).waiting_for == ("step 'book'",)
    with pytest.raises(NonDeterminism, match=r"step 'book' was tried .* times, and the code does not ask for it"):
        await replay(renamed, history)


@scenario
async def test_code_that_raises_where_the_run_went_on_does_not_fit() -> None:
    async def typo(city: str, step: Step) -> None:
        functions: dict[str, Any] = {}
        await step.run("book", functions["counter"], city)

    def plain(city: str, step: SyncStep) -> None:
        raise NonRetryable("no more")

    async def other_input(city: int, step: Step) -> None:
        await step.run("book", counter.step, city)

    history = await lived(trip, "Rome", 1)
    errors = [await caught(replay(changed(code), history)) for code in (typo, plain, other_input)]

    assert [str(error).partition(": ")[0] for error in errors] == [
        f"the code of trip raises {kind}" for kind in ("KeyError", "NonRetryable", "InvalidInput")
    ]
    assert all(isinstance(error, NonDeterminism) and error.key == "book" for error in errors)
    assert str(errors[0]).endswith("'counter' before it has asked for 'book', which this run has recorded")
    assert isinstance(errors[0] and errors[0].__cause__, KeyError)
    await settled_threads()


# -- called wrongly


@scenario
async def test_a_history_is_replayed_by_a_workflow_of_its_name() -> None:
    history = await lived(trip, "Rome", 1)

    with pytest.raises(DefinitionError, match=r"a history of workflow 'trip', and 'fare' is another; .* @workflow\(name=\"trip\"\)"):
        await replay(workflow(name="fare")(renamed), history)
    with pytest.raises(DefinitionError, match="replay takes a Workflow"):
        await replay(trip.function, history)  # type: ignore[arg-type]


@pytest.mark.parametrize("history", [None, [], "{}", {}, {"workflow": "trip"}])
@scenario
async def test_what_is_no_history_is_refused(history: Any) -> None:
    with pytest.raises(ValueError, match="this is no history of a run"):
        await replay(trip, history)


@scenario
async def test_a_history_of_another_format_or_with_a_part_missing_is_refused() -> None:
    history = await lived(trip, "Rome", 1)

    with pytest.raises(ValueError, match="this history is of format 2; this version of Stepwell reads format 1"):
        await replay(trip, history | {"format": 2})
    for part in ("outcomes", "started_at", "run_id", "attempts"):
        with pytest.raises(ValueError, match=f"this history is incomplete or was changed: KeyError: '{part}'"):
            await replay(trip, {name: value for name, value in history.items() if name != part})
    with pytest.raises(ValueError, match="this history is incomplete or was changed"):
        await replay(trip, history | {"outcomes": [{"key": "book", "kind": "dream"}]})


def test_a_handle_of_a_run_is_all_that_is_needed() -> None:
    async def exported(handle: Handle[Any]) -> History:
        return await export_history(handle)

    async def work() -> None:
        async with TestApp(trip) as app:
            handle = await app.start(trip, "Rome")
            await handle.result()
            assert (await exported(app.handle(handle.run_id)))["status"] == "completed"

    asyncio.run(work())


@scenario
async def test_a_run_that_its_schedule_has_given_no_input_has_no_history_to_export() -> None:
    def refuse() -> str:
        raise OSError("the disk is full")

    definition = changed(trip.function, schedules=[Schedule("yearly", "@yearly", input=refuse)])
    async with TestApp(definition) as app:
        handle = await app.schedules.trigger("trip", "yearly")
        with pytest.raises(RunFailed, match="the disk is full"):
            await handle.result()

        with pytest.raises(ValueError, match=f"run {handle.run_id} has no history yet: the function of its schedule has not given it"):
            await export_history(handle)
