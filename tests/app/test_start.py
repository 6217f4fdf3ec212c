"""Starting runs: what may be said of them, and what is refused before anything is stored."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from stepwell import (
    DefinitionError,
    InvalidInput,
    NotSerializable,
    PayloadTooLarge,
    Rate,
    RunFailed,
    RunStatus,
    Step,
    Stepwell,
    Workflow,
    workflow,
)
from stepwell.core.records import Definition, NewWorker
from stepwell.starting import ExecuteOptions, ManyOptions, StartOptions
from stepwell.testing import TestApp
from tests.app.apps import Opened
from tests.engine.harness import scenario, status_is


class Welcome(BaseModel):
    email: str


@workflow(queue="mail", priority=3, timeout="1h")
async def welcome(input: Welcome) -> str:
    return input.email


@workflow(name="tidy")
async def _tidy(input: int = 5) -> int:
    return input


tidy: Any = _tidy  # type checkers ask for the input, though it has a default


ANN = Welcome(email="ann@example.com")


@scenario
async def test_a_start_returns_at_once_and_the_run_is_stored(opened: Opened) -> None:
    async with opened(welcome, works=False) as app:
        before = app.now()
        handle = await app.start(welcome, ANN)
        run = await handle.get()

    assert handle.created
    assert (run.id, run.status, run.workflow, run.version) == (handle.run_id, RunStatus.PENDING, "welcome", None)
    assert (run.input, run.queue, run.priority, run.tags, run.key) == ({"email": "ann@example.com"}, "mail", 3, (), None)
    assert before <= run.created_at.timestamp() + 0.001
    assert run.available_at == run.created_at
    assert run.deadline_at == run.created_at + timedelta(hours=1)


@scenario
async def test_a_start_says_other_than_the_workflow(opened: Opened) -> None:
    async with opened(welcome, works=False) as app:
        handle = await app.start(welcome, ANN, queue="slow", priority=-1, tags=["a", "b", "a"], key="k", timeout="5m", delay="2h")
        run = await handle.get()

    assert (run.queue, run.priority, run.tags, run.key) == ("slow", -1, ("a", "b"), "k")
    assert run.available_at == run.created_at + timedelta(hours=2)
    assert run.deadline_at == run.available_at + timedelta(minutes=5)


@scenario
async def test_a_start_with_a_key_that_is_taken_gives_the_first_run(opened: Opened) -> None:
    async with opened(welcome, tidy) as app:
        first = await app.start(welcome, ANN, key="k")
        again = await app.start(welcome, Welcome(email="bob@example.com"), key="k")
        of_another_workflow = await app.start(tidy, key="k")

        assert (first.created, again.created, of_another_workflow.created) == (True, False, True)
        assert again.run_id == first.run_id != of_another_workflow.run_id
        assert await again.result() == "ann@example.com"
        assert (await app.start(welcome, ANN, key="k")).run_id == first.run_id

        await status_is(first, RunStatus.COMPLETED)
        await app.runs.delete(first.run_id)
        assert (await app.start(welcome, ANN, key="k")).created


@scenario
async def test_an_input_left_out_is_the_bodys_default(opened: Opened) -> None:
    async with opened(tidy) as app:
        assert await (await app.start(tidy)).result() == 5
        assert await (await app.start(tidy, 7)).result() == 7
        assert await (await app.start("tidy")).result() == 5


@scenario
async def test_an_input_is_validated_and_may_be_what_stands_for_it(opened: Opened) -> None:
    async with opened(welcome) as app:
        assert await (await app.start("welcome", {"email": "bob@example.com"})).result() == "bob@example.com"
        assert await (await app.start("welcome", ANN)).result() == "ann@example.com"


@pytest.mark.parametrize("bad", [{"mail": "x"}, None, "ann", {"email": 5}])
@scenario
async def test_a_bad_input_raises_and_stores_nothing(opened: Opened, bad: Any) -> None:
    async with opened(welcome) as app:
        for start in (app.start, app.execute):
            with pytest.raises(InvalidInput, match="the input does not fit workflow 'welcome'"):
                await start("welcome", bad)
        with pytest.raises(InvalidInput) as refused:
            await app.start_many("welcome", [ANN, bad, ANN])

        assert refused.value.__notes__ == ["It is input number 1 of start_many; nothing was started."]
        assert await app.runs.count() == {}


@scenario
async def test_an_input_that_json_does_not_give_back_or_that_is_too_large_is_refused(tmp_path: Any) -> None:
    @workflow
    async def anything(input: Any) -> None: ...

    app = TestApp(anything)
    with pytest.raises(NotSerializable, match="input of workflow 'anything'"):
        await app.start(anything, {1, 2})
    with pytest.raises(NotSerializable, match="input of workflow 'nobody_has_it'"):
        await app.start("nobody_has_it", {1, 2})
    with pytest.raises(PayloadTooLarge, match=r"max_payload is 4,194,304"):
        await app.start(anything, "x" * 5_000_000)
    assert await app.runs.count() == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": ""}, "queue"),
        ({"priority": "high"}, "the priority of workflow 'welcome' is a whole number"),
        ({"tags": "acme"}, "tags are several texts"),
        ({"key": ""}, "idempotency key"),
        ({"delay": "1s", "at": datetime(2027, 1, 1, tzinfo=UTC)}, "delay or at, not both"),
        ({"at": datetime(2027, 1, 1)}, "at needs a timezone"),  # noqa: DTZ001  # it is what is refused
        ({"version": "v2"}, "workflow 'welcome' has no version and cannot be started as 'v2'"),
    ],
)
@scenario
async def test_what_is_no_option_of_a_start_is_refused_and_stores_nothing(options: Any, message: str) -> None:
    app = TestApp(welcome)
    many = {name: value for name, value in options.items() if name != "key"}

    with pytest.raises(DefinitionError, match=message):
        await app.start(welcome, ANN, **options)
    with pytest.raises(DefinitionError, match=message):
        await app.execute(welcome, ANN, **options)
    if many:
        with pytest.raises(DefinitionError, match=message):
            await app.start_many(welcome, [ANN], **many)
    assert await app.runs.count() == {}


@pytest.mark.parametrize("option", ["delay", "timeout"])
@scenario
async def test_a_duration_without_a_unit_is_refused(option: str) -> None:
    app: Any = TestApp(welcome)
    for bare in (5, "5"):
        with pytest.raises(ValueError, match=f"{option} needs a unit"):
            await app.start(welcome, ANN, **{option: bare})
    with pytest.raises(ValueError, match="negative"):
        await app.start(welcome, ANN, **{option: "-5s"})


@scenario
async def test_an_unknown_option_is_refused_as_python_does_it() -> None:
    app: Any = TestApp(welcome)
    for start in (app.start, app.execute, app.start_many):
        with pytest.raises(TypeError, match="dely"):
            await start(welcome, ANN, dely="5s")
    with pytest.raises(TypeError, match="key"):
        await app.start_many(welcome, [ANN], key="k")


def test_the_options_for_type_checkers_are_those_of_the_functions() -> None:
    def options(function: Any) -> set[str]:
        return {name for name, each in inspect.signature(function).parameters.items() if each.kind is each.KEYWORD_ONLY}

    assert options(Stepwell.start) == get_type_hints(StartOptions).keys()
    assert options(Stepwell.start_many) == get_type_hints(ManyOptions).keys()
    assert get_type_hints(ExecuteOptions).keys() == get_type_hints(StartOptions).keys() - {"connection"}


@scenario
async def test_who_starts_runs_is_kept_as_the_first_of_their_events(opened: Opened) -> None:
    async with opened(tidy) as app:
        one = await app.start(tidy, 1, actor="ada", key="k")
        again = await app.start(tidy, 1, actor="bob", key="k")
        many = await app.start_many(tidy, [2, 3], actor="eve")
        await app.execute(tidy, 4, actor="mallory")
        executed = (await app.runs.list(limit=1)).items[0]
        nobody = await app.start(tidy, 5)

        assert again.run_id == one.run_id
        assert [(event.action, event.actor) for event in await one.events()] == [("start", "ada")]
        assert [[event.actor for event in await run.events()] for run in many] == [["eve"], ["eve"]]
        assert [event.actor for event in await app.runs.events(executed.id)] == ["mallory"]
        assert await nobody.events() == []


@pytest.mark.parametrize("actor", [5, "a\0b"])
@scenario
async def test_an_actor_that_is_no_text_starts_nothing(actor: Any) -> None:
    async with TestApp(tidy) as app:
        with pytest.raises((TypeError, ValueError, DefinitionError)):
            await app.start(tidy, 1, actor=actor)
        with pytest.raises((TypeError, ValueError, DefinitionError)):
            await app.start_many(tidy, [1], actor=actor)

        assert len(await app.runs.list()) == 0


@pytest.mark.parametrize("target", [print, 5, None])
@scenario
async def test_what_is_no_workflow_is_not_started(target: Any) -> None:
    with pytest.raises(DefinitionError, match="is it decorated with @workflow"):
        await TestApp(welcome).start(target)


@scenario
async def test_a_workflow_that_asks_for_what_is_not_held_yet_is_not_started() -> None:
    @workflow(rate=Rate(1, "1s"))
    async def limited() -> None: ...

    with pytest.raises(DefinitionError, match="declares rate"):
        await TestApp().start(limited)


# -- when


@scenario
async def test_a_delayed_run_begins_when_its_delay_is_over() -> None:
    async with TestApp(tidy, self_moving=False) as app:
        delayed = await app.start(tidy, delay="1h")
        timed = await app.start(tidy, at=datetime.fromtimestamp(app.now() + 7200, UTC))
        past = await app.start(tidy, at=datetime(1999, 1, 1, tzinfo=UTC))
        assert await past.result() == 5
        await app.advance("59m")
        assert (await delayed.status(), (await delayed.get()).waiting_for) == (RunStatus.PENDING, None)
        await app.advance("1m")
        assert await delayed.result() == 5
        assert await timed.status() is RunStatus.PENDING
        await app.advance("1h")
        assert await timed.result() == 5


@scenario
async def test_a_run_that_takes_longer_than_its_timeout_fails_whatever_it_is_doing() -> None:
    @workflow(timeout="1h")
    async def slow(input: str, step: Step) -> str:
        await step.sleep("a while", input)
        return "done"

    async with TestApp(slow, self_moving=False) as app:
        in_time, late = await app.start(slow, "30m"), await app.start(slow, "2h")
        longer = await app.start(slow, "2h", timeout="3h")
        delayed = await app.start(slow, "30m", delay="2h")
        await app.advance("1h")
        assert await in_time.result() == "done"
        with pytest.raises(RunFailed) as failed:
            await late.result()
        assert failed.value.error.type == "DeadlineExceeded"
        await app.advance("2h")
        assert await longer.result() == "done"
        assert await delayed.result() == "done"


# -- by name


def beside(there: TestApp, *workflows: Workflow[Any, Any]) -> TestApp:
    """Another app on the same store and clock."""
    app = TestApp(*workflows, self_moving=False)
    app.store, app.clock = there.store, there.clock
    return app


@asynccontextmanager
async def _starting_only(there: Stepwell) -> AsyncIterator[Stepwell]:
    """An app on the same database that has no workflows."""
    if isinstance(there, TestApp):
        async with beside(there) as app:
            yield app
    else:
        async with Stepwell(there.database_url) as other:
            yield other


@workflow(name="pay", version="v9")
async def pay_v9() -> str:
    return "v9"


@workflow(name="pay", version="v10")
async def pay_v10() -> str:
    return "v10"


@workflow(name="pay")
async def pay_plain() -> str:
    return "plain"


@scenario
async def test_a_start_by_name_takes_the_function_without_a_version_else_the_newest(opened: Opened) -> None:
    async with opened(pay_v9, pay_v10) as app:
        assert await app.execute("pay") == "v10"
        assert await app.execute("pay", version=None) == "v10"
        assert await app.execute("pay", version="v9") == "v9"
    async with opened(pay_v9, pay_v10, pay_plain) as app:
        assert await app.execute("pay") == "plain"


@scenario
async def test_an_app_without_workflows_starts_what_workers_have_published(opened: Opened) -> None:
    async with opened(pay_v9, pay_v10, welcome) as there, _starting_only(there) as app:
        handle = await app.start("pay")
        assert (await handle.get()).version == "v10"
        assert await handle.result() == "v10"
        run = await (await app.start("welcome", {"email": "ann@example.com"}, delay="1h")).get()
        assert (run.queue, run.priority) == ("mail", 3)
        assert run.available_at is not None
        assert run.deadline_at == run.available_at + timedelta(hours=1)
        with pytest.raises(RunFailed) as failed:
            await app.execute("welcome", {"mail": "x"})
        assert failed.value.error.type == "InvalidInput"


@scenario
async def test_what_workers_publish_later_is_known_a_second_later() -> None:
    app = TestApp(self_moving=False)

    async def publish(version: str) -> None:
        definition = Definition("pay", version, "default", 0, None, False, "{}", "{}")
        await app.store.register(NewWorker(version, "w", "h", 1, None, 1, 30.0, app.now(), (definition,)))

    assert (await (await app.start("pay")).get()).version is None
    await publish("v1")
    assert (await (await app.start("pay")).get()).version is None
    app.clock.move_to(app.now() + 1.1)
    assert (await (await app.start("pay")).get()).version == "v1"
    await publish("v2")
    app.clock.move_to(app.now() + 1.1)
    assert (await (await app.start("pay")).get()).version == "v2"


@scenario
async def test_a_run_of_a_version_that_nobody_has_waits_and_says_so(opened: Opened) -> None:
    async with opened(pay_v9) as app:
        handle = await app.start("pay", version="v1")
        run = await handle.get()
        (listed,) = await app.runs.list()

    assert (run.status, run.version, run.waiting_for) == (RunStatus.PENDING, "v1", "no worker has pay v1")
    assert listed == run


@scenario
async def test_a_run_of_a_name_that_nobody_knows_waits_and_the_first_worker_that_claims_it_pins_it(opened: Opened) -> None:
    async with opened(welcome, works=False) as app:
        handle = await app.start("pay")
        run = await handle.get()
        assert (run.status, run.version, run.waiting_for) == (RunStatus.PENDING, None, "no worker has pay")
    if isinstance(app, TestApp):
        later: Any = beside(app, pay_v9, pay_v10)
    else:
        later = opened(pay_v9, pay_v10)
    async with later as worker:
        assert await worker.handle(handle.run_id).result() == "v10"
        assert (await worker.runs.get(handle.run_id)).version == "v10"


# -- many


@scenario
async def test_many_runs_are_started_in_bulk_in_the_order_of_their_inputs(opened: Opened) -> None:
    async with opened(tidy, works=False) as app:
        handles = await app.start_many(tidy, (number for number in range(2_500)), tags=["bulk"], queue="slow", delay="1h")
        oldest_first = [run async for run in app.runs.iterate(order="oldest", tags="bulk", queue="slow")]

    assert len(handles) == 2_500
    assert [run.id for run in oldest_first] == [handle.run_id for handle in handles]
    assert [run.input for run in oldest_first] == list(range(2_500))


@scenario
async def test_no_runs_may_be_started_at_once(opened: Opened) -> None:
    async with opened(tidy) as app:
        assert await app.start_many(tidy, []) == []
        assert [await handle.result() for handle in await app.start_many("tidy", [1, 2])] == [1, 2]


@pytest.mark.parametrize("inputs", ["abc", {"a": 1}, 5])
@scenario
async def test_one_input_is_not_taken_for_many(inputs: Any) -> None:
    with pytest.raises(DefinitionError, match="start_many takes the inputs of several runs"):
        await TestApp(tidy).start_many("tidy", inputs)


# -- handles


@pytest.mark.parametrize("run_id", [5, None, b"x"])
def test_the_id_of_a_run_is_a_text(run_id: Any) -> None:
    with pytest.raises(TypeError, match="the id of a run is a text"):
        TestApp().handle(run_id)


@scenario
async def test_a_handle_is_not_taken_for_an_id() -> None:
    app: Any = TestApp(tidy)
    handle = await app.start(tidy)

    with pytest.raises(TypeError, match=r"a handle has it as handle\.run_id"):
        app.handle(handle)
    assert repr(handle) == f"<Handle {handle.run_id}>"


@pytest.mark.parametrize("call", ["start", "start_many", "execute"])
@scenario
async def test_a_body_starts_no_runs(call: str) -> None:
    apps: list[TestApp] = []

    @workflow
    async def meddles() -> None:
        await getattr(apps[0], call)(tidy, [1])

    async with TestApp(tidy, meddles) as app:
        apps.append(app)
        with pytest.raises(RunFailed, match="NotInStep: the body of a workflow starts a run"):
            await app.execute(meddles)
