"""`app.schedules`: what people see of schedules, and do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from stepwell import (
    DefinitionError,
    InvalidInput,
    NotInStep,
    RunFailed,
    RunInfo,
    RunStatus,
    Schedule,
    ScheduleNotFound,
    Step,
    Stepwell,
    SyncHandle,
    SyncStepwell,
    Workflow,
    workflow,
)
from stepwell.core.records import instant
from stepwell.testing import EPOCH, TestApp
from tests.engine.harness import scenario, successor, until

Begun: TypeAlias = Callable[..., AbstractAsyncContextManager[Stepwell]]
"""Makes an app with these workflows, whose worker has declared their schedules."""

HOUR = timedelta(hours=1)
BEGAN = instant(EPOCH)
"""When the clock of a `TestApp` begins: 15 January 2027, 08:00 UTC."""


@workflow(
    schedules=[
        Schedule("hourly", "0 * * * *", input={"type": "incremental"}, overlap="skip", catch_up="none", jitter="5m"),
        Schedule("daily", "0 2 * * *", input=lambda: {"type": "full"}, timezone="Europe/Paris"),
    ]
)
async def backup(input: dict[str, str], run: RunInfo) -> str:
    return f"{input['type']} {run.scheduled_at:%H:%M}" if run.scheduled_at else input["type"]


@workflow(schedules=[Schedule("hourly", "30 * * * *")])
async def tidy() -> str:
    return "tidied"


def scheduled(*schedules: Schedule, name: str = "work", version: str | None = None) -> Workflow[Any, Any]:
    """A workflow with these schedules, which returns its input."""

    async def body(input: str = "nothing") -> str:
        return input

    definition: Workflow[Any, Any] = workflow(name=name, version=version, schedules=schedules)(body)
    return definition


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def begun(request: pytest.FixtureRequest) -> Begun:
    """Over each database. Where time can be moved, it stands still until it is."""
    if request.param != "postgres":
        return lambda *workflows: TestApp(*workflows, self_moving=False, database="sqlite://" if request.param == "sqlite" else None)
    url, namespace = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_namespace")

    @asynccontextmanager
    async def on_postgres(*workflows: Workflow[Any, Any]) -> AsyncIterator[Stepwell]:
        async with Stepwell(url, namespace=namespace, workflows=workflows) as app, app.worker(grace="0s"):
            yield app

    return on_postgres


@pytest.fixture(params=[None, "sqlite://"], ids=["memory", "sqlite"])
def database(request: pytest.FixtureRequest) -> Any:
    """Of a `TestApp`."""
    return request.param


def past_hours(app: Stepwell, count: int) -> tuple[datetime, datetime]:
    """So many whole hours that are over."""
    end = instant(app.now()).replace(minute=0, second=0, microsecond=0)
    return end - count * HOUR, end


# -- what there is


@scenario
async def test_schedules_are_listed_by_workflow_and_name_with_all_that_they_say(begun: Begun) -> None:
    async with begun(tidy, backup) as app:
        states = await app.schedules.list()
        now = instant(app.now())

    assert [(state.workflow, state.name) for state in states] == [("backup", "daily"), ("backup", "hourly"), ("tidy", "hourly")]
    daily, hourly, _ = states
    assert (daily.expression, daily.timezone, daily.overlap, daily.catch_up, daily.jitter) == (
        "0 2 * * *", "Europe/Paris", "allow", "latest", None,
    )  # fmt: skip
    assert (hourly.timezone, hourly.overlap, hourly.catch_up, hourly.jitter) == ("UTC", "skip", "none", timedelta(minutes=5))
    assert (daily.input_is_computed, daily.input) == (True, None)
    assert (hourly.input_is_computed, hourly.input) == (False, {"type": "incremental"})
    assert hourly.next_at == now.replace(minute=0, second=0, microsecond=0) + HOUR
    assert (hourly.last_at, hourly.last_run_id, hourly.paused, hourly.declared) == (None, None, False, True)


@scenario
async def test_schedules_of_one_workflow_are_listed_by_it_or_its_name(begun: Begun) -> None:
    async with begun(tidy, backup) as app:
        assert (
            await app.schedules.list(workflow="tidy")
            == await app.schedules.list(workflow=tidy)
            == [await app.schedules.get(tidy, "hourly")]
        )
        assert await app.schedules.list(workflow="nobody") == []


@scenario
async def test_a_schedule_that_no_worker_has_declared_yet_is_shown_as_such_and_cannot_be_acted_on(url: str) -> None:
    async with Stepwell(url, workflows=[backup], timezone="Asia/Seoul") as app:
        daily, hourly = await app.schedules.list()

        assert (daily.declared, daily.timezone, daily.input_is_computed) == (False, "Europe/Paris", True)
        assert (hourly.declared, hourly.timezone, hourly.input, hourly.overlap) == (False, "Asia/Seoul", {"type": "incremental"}, "skip")
        assert await app.schedules.get(backup, "hourly") == hourly
        assert await app.schedules.preview(backup, "hourly", 1) == [hourly.next_at]
        assert await app.schedules.slots(backup, "hourly") == []
        assert await app.schedules.events(backup, "hourly") == []
        for act in (app.schedules.pause, app.schedules.resume, app.schedules.trigger):
            with pytest.raises(ScheduleNotFound, match=r"has no schedule 'hourly'; a worker that declares it makes it known"):
                await act(backup, "hourly")


@scenario
async def test_a_name_that_is_not_there_is_told_with_those_that_are(begun: Begun) -> None:
    async with begun(backup) as app:
        schedules, (begin, end) = app.schedules, past_hours(app, 1)
        for call in (
            schedules.get("backup", "weekly"), schedules.preview("backup", "weekly"), schedules.slots("backup", "weekly"),
            schedules.events("backup", "weekly"), schedules.pause("backup", "weekly"), schedules.resume("backup", "weekly"),
            schedules.trigger("backup", "weekly"), schedules.past("backup", "weekly", begin, end),
            schedules.backfill("backup", "weekly", begin, end),
        ):  # fmt: skip
            with pytest.raises(ScheduleNotFound) as caught:
                await call
            assert str(caught.value) == "workflow 'backup' has no schedule 'weekly'; it has 'daily', 'hourly'"
            assert (caught.value.workflow, caught.value.schedule) == ("backup", "weekly")


@pytest.mark.parametrize("name", ["", 5, None])
@scenario
async def test_what_is_no_name_is_refused(name: Any) -> None:
    async with TestApp(backup) as app:
        for call in (app.schedules.get, app.schedules.pause, app.schedules.trigger, app.schedules.slots):
            with pytest.raises(DefinitionError, match="the name of a schedule"):
                await call("backup", name)
            with pytest.raises(DefinitionError, match="the name of a workflow"):
                await call("" if name is None else name, "hourly")


@scenario
async def test_a_preview_gives_the_next_slots_in_utc_also_while_paused() -> None:
    async with TestApp(backup, self_moving=False) as app:
        coming = await app.schedules.preview(backup, "daily", 2)
        await app.schedules.pause(backup, "daily")

        assert coming == [datetime(2027, 1, day, 1, tzinfo=UTC) for day in (16, 17)]
        assert await app.schedules.preview("backup", "daily", 2) == coming
        assert len(await app.schedules.preview(backup, "daily")) == 5


@pytest.mark.parametrize("count", [0, 1001, 2.0, True, None])
@scenario
async def test_a_count_or_limit_that_is_none_is_refused_by_its_name(count: Any) -> None:
    async with TestApp(backup) as app:
        with pytest.raises(ValueError, match=f"^count is a whole number from 1 to 1,000, not {count!r}$"):
            await app.schedules.preview(backup, "daily", count)
        with pytest.raises(ValueError, match=f"^limit is a whole number from 1 to 1,000, not {count!r}; give the number of the last one"):
            await app.schedules.slots(backup, "daily", limit=count)


# -- pausing


@scenario
async def test_a_paused_schedule_fires_no_more_until_it_is_resumed_and_keeps_who_did_it(begun: Begun) -> None:
    async with begun(tidy) as app:
        paused = await app.schedules.pause(tidy, "hourly", actor="ann")
        again = await app.schedules.pause("tidy", "hourly", actor="bob")
        resumed = await app.schedules.resume(tidy, "hourly", actor="bob")
        unchanged = await app.schedules.resume(tidy, "hourly", actor="ann")
        events = await app.schedules.events(tidy, "hourly")

    assert (paused.paused, paused.paused_by, paused.next_at) == (True, "ann", None)
    assert paused.paused_at is not None
    assert again == paused
    assert (resumed.paused, resumed.paused_by, resumed.paused_at) == (False, None, None)
    assert resumed.next_at is not None
    assert unchanged == resumed
    assert [(event.action, event.actor) for event in events] == [("pause", "ann"), ("resume", "bob")]
    assert events[0].at == paused.paused_at


@scenario
async def test_slots_while_it_was_paused_are_skipped_and_recorded(database: Any) -> None:
    async with TestApp(tidy, self_moving=False, database=database) as app:
        await app.schedules.pause(tidy, "hourly")
        await app.advance("3h")
        assert await app.runs.count() == {}
        resumed = await app.schedules.resume(tidy, "hourly")
        await app.advance("1h")

        newest, skipped = await app.schedules.slots(tidy, "hourly")
        assert resumed.next_at == BEGAN + 3.5 * HOUR
        assert (newest.outcome, newest.at) == ("started", BEGAN + 3.5 * HOUR)
        assert (skipped.outcome, skipped.at, skipped.until, skipped.count) == ("skipped", BEGAN + 0.5 * HOUR, BEGAN + 2.5 * HOUR, 3)
        assert skipped.reason == "the schedule was paused"


@scenario
async def test_a_pause_survives_restarts_and_new_releases() -> None:
    async with TestApp(scheduled(Schedule("a", "0 * * * *"), version="v1"), self_moving=False) as app:
        await app.schedules.pause("work", "a", actor="ann")
    later = successor(app, scheduled(Schedule("a", "*/5 * * * *"), version="v2"), self_moving=False)
    async with later:
        state = await later.schedules.get("work", "a")
        await later.advance("2h")

        assert (state.expression, state.version, state.paused, state.paused_by) == ("*/5 * * * *", "v2", True, "ann")
        assert await later.runs.count() == {}


# -- by hand


@scenario
async def test_a_trigger_starts_a_run_now_with_the_input_of_the_schedule_also_while_it_is_paused(begun: Begun) -> None:
    async with begun(backup) as app:
        await app.schedules.pause(backup, "hourly")
        first = await app.schedules.trigger(backup, "hourly", actor="ann")
        second = await app.schedules.trigger("backup", "hourly")
        assert (await first.result()).startswith("incremental")
        run, (event,) = await first.get(), await first.events()
        slots, state = await app.schedules.slots(backup, "hourly"), await app.schedules.get(backup, "hourly")

    assert first.run_id != second.run_id
    assert (run.schedule, run.input, event.action, event.actor) == ("hourly", {"type": "incremental"}, "trigger", "ann")
    assert run.scheduled_at is not None
    assert [(slot.outcome, slot.run_id, slot.actor) for slot in slots] == [
        ("triggered", second.run_id, None),
        ("triggered", first.run_id, "ann"),
    ]
    assert (state.last_run_id, state.last_at) == (second.run_id, None)


@scenario
async def test_a_backfill_starts_a_run_for_each_past_slot_that_has_had_none(begun: Begun) -> None:
    async with begun(backup) as app:
        begin, end = past_hours(app, 5)
        past = await app.schedules.past(backup, "hourly", begin, end)
        some = await app.schedules.backfill(backup, "hourly", begin, begin + 2 * HOUR, actor="ann")
        rest = await app.schedules.backfill("backup", "hourly", begin, end)
        again = await app.schedules.backfill(backup, "hourly", begin, end)
        runs = [await handle.get() for handle in (*some, *rest)]
        (event,) = await some[0].events()
        slots = await app.schedules.slots(backup, "hourly")

    assert past == [begin + number * HOUR for number in range(5)]
    assert [run.scheduled_at for run in runs] == past
    assert (len(some), len(rest), again) == (2, 3, [])
    assert (event.action, event.actor) == ("backfill", "ann")
    assert [(slot.outcome, slot.at) for slot in slots] == [("backfilled", at) for at in reversed(past)]


@scenario
async def test_a_backfill_leaves_what_is_to_come_to_the_schedule() -> None:
    async with TestApp(tidy, self_moving=False) as app:
        past = await app.schedules.past(tidy, "hourly", BEGAN - HOUR, BEGAN + 100 * HOUR)

        assert past == [BEGAN - HOUR / 2]
        assert await app.schedules.past(tidy, "hourly", BEGAN, BEGAN + HOUR) == []
        assert await app.schedules.backfill(tidy, "hourly", BEGAN, BEGAN + HOUR) == []
        assert await app.schedules.backfill(tidy, "hourly", BEGAN, BEGAN) == []


@scenario
async def test_times_of_a_backfill_are_checked() -> None:
    async with TestApp(scheduled(Schedule("each second", "* * * * * *"))) as app:
        for method in (app.schedules.past, app.schedules.backfill):
            with pytest.raises(DefinitionError, match="the start of a backfill needs a timezone: 2027-01-01T00:00:00 is a different"):
                await method("work", "each second", datetime(2027, 1, 1), BEGAN)  # noqa: DTZ001  # that is what is tested
            with pytest.raises(DefinitionError, match="the end of a backfill is a datetime with a timezone, not str: 'now'"):
                await method("work", "each second", BEGAN, "now")  # type: ignore[arg-type]
            with pytest.raises(DefinitionError, match="the start of a backfill must not be after its end"):
                await method("work", "each second", BEGAN, BEGAN - HOUR)
            with pytest.raises(ValueError, match="a backfill goes through 10,000 slots at most"):
                await method("work", "each second", BEGAN - 3 * HOUR, BEGAN)
            with pytest.raises(ValueError, match="a backfill goes through 10,000 slots at most"):
                await method("work", "each second", datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@scenario
async def test_a_body_neither_looks_at_schedules_nor_acts_on_them() -> None:
    apps: list[Stepwell] = []

    @workflow
    async def looks() -> str:
        schedules, said = apps[0].schedules, []
        for call in (
            schedules.list(), schedules.get("w", "n"), schedules.preview("w", "n"), schedules.slots("w", "n"), schedules.events("w", "n"),
            schedules.past("w", "n", BEGAN, BEGAN), schedules.pause("w", "n"), schedules.resume("w", "n"), schedules.trigger("w", "n"),
            schedules.backfill("w", "n", BEGAN, BEGAN),
        ):  # fmt: skip
            try:
                await call
            except NotInStep:
                said.append("refused")
        return " ".join(said)

    async with TestApp(looks) as app:
        apps.append(app)
        assert await app.execute(looks) == " ".join(["refused"] * 10)


# -- inputs


async def _of_the_slot(slot: datetime) -> str:
    return f"{slot:%H:%M %Z}"


INPUTS: dict[str, Any] = {
    "a value": "value",
    "nothing": None,
    "a function": lambda: "called",
    "a function of the slot": lambda slot: f"{slot:%H:%M %Z}",
    "an async function": _of_the_slot,
    "a function with a default": lambda region="eu": region,
    "a method": "ab".upper,
}


@scenario
async def test_an_input_is_a_value_or_a_function_of_nothing_or_of_the_slot(database: Any) -> None:
    schedules = [Schedule(name, "0 9 * * *", input=given, timezone="Asia/Seoul") for name, given in INPUTS.items()]
    async with TestApp(scheduled(*schedules), self_moving=False, database=database) as app:
        await app.advance("1 day")
        runs = {run.schedule: run.output for run in await app.runs.list()}
        triggered = await (await app.schedules.trigger("work", "a function")).result()

    assert runs == {
        "a value": "value",
        "nothing": "nothing",
        "a function": "called",
        "a function of the slot": "09:00 KST",
        "an async function": "09:00 KST",
        "a function with a default": "eu",
        "a method": "AB",
    }
    assert triggered == "called"


@scenario
async def test_a_function_that_raises_leaves_a_failed_run_whose_retry_computes_the_input_anew(begun: Begun) -> None:
    answers: list[Any] = ["later", OSError("the disk is full")]

    def computed() -> Any:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with begun(scheduled(Schedule("a", "0 0 1 1 *", input=computed))) as app:
        handle = await app.schedules.trigger("work", "a")
        with pytest.raises(RunFailed, match="the disk is full"):
            await handle.result()
        await handle.retry()

        assert await handle.result() == "later"
        assert (await handle.get()).input == "later"


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ({"type": 5}, r"the input of schedule 'nightly' does not fit workflow 'backup': type: "),
        (None, "the input of schedule 'nightly' does not fit workflow 'backup': .* No input was given"),
        ({"type": float("nan")}, "the input of schedule 'nightly'"),
    ],
)
@scenario
async def test_a_worker_refuses_to_begin_with_a_schedule_whose_input_does_not_fit(url: str, input: Any, message: str) -> None:
    async def body(input: dict[str, str]) -> None: ...

    definition: Workflow[Any, Any] = workflow(name="backup", schedules=[Schedule("nightly", "@daily", input=input)])(body)
    app = Stepwell(url, workflows=[definition])

    with pytest.raises(InvalidInput, match=message):
        await app.worker().run()
    async with app:
        assert [state.declared for state in await app.schedules.list(ended=True)] == [False]
        assert await app.workers.list() == []


@scenario
async def test_a_workflow_without_an_input_takes_none_from_a_schedule(url: str) -> None:
    async def body() -> None: ...

    definition: Workflow[Any, Any] = workflow(name="tidy", schedules=[Schedule("nightly", "@daily", input="all")])(body)

    with pytest.raises(InvalidInput, match="the input of schedule 'nightly' does not fit workflow 'tidy'"):
        await Stepwell(url, workflows=[definition]).worker().run()


# -- names, versions and releases


@scenario
async def test_names_are_unique_within_a_workflow_only(database: Any) -> None:
    async with TestApp(tidy, backup, self_moving=False, database=database) as app:
        await app.schedules.pause(backup, "hourly")
        await app.advance("1h")

        assert {(run.workflow, run.schedule) for run in await app.runs.list()} == {("tidy", "hourly")}
        assert not (await app.schedules.get(tidy, "hourly")).paused


@scenario
async def test_the_schedules_of_the_newest_version_count(database: Any) -> None:
    old = scheduled(Schedule("a", "0 * * * *", input="old"), Schedule("b", "0 * * * *", input="old"), version="v9")
    new = scheduled(Schedule("a", "0 * * * *", input="new"), version="v10")
    async with TestApp(old, new, self_moving=False, database=database) as app:
        (state,) = await app.schedules.list()
        await app.advance("1h")
        (run,) = await app.runs.list()

    assert (state.name, state.version, state.input) == ("a", "v10", "new")
    assert (run.version, run.schedule, run.output, run.scheduled_at) == ("v10", "a", "new", BEGAN + HOUR)


@scenario
async def test_a_workflow_that_is_given_twice_fires_once() -> None:
    async with TestApp(tidy, tidy, self_moving=False) as app:
        await app.advance("1h")

        assert await app.runs.count() == {RunStatus.COMPLETED: 1}


@scenario
async def test_a_schedule_that_the_newest_release_leaves_out_has_ended() -> None:
    async with TestApp(scheduled(Schedule("a", "0 * * * *"), Schedule("b", "0 * * * *")), self_moving=False) as app:
        await app.advance("1h")
    later = successor(app, scheduled(Schedule("b", "0 * * * *")), self_moving=False)
    async with later:
        await later.advance("1h")
        schedules = later.schedules

        assert [state.name for state in await schedules.list()] == ["b"]
        ended, _ = await schedules.list(ended=True)
        assert (ended.name, ended.declared, ended.next_at, ended.last_at) == ("a", False, None, BEGAN + HOUR)
        assert await schedules.get("work", "a") == ended
        assert [slot.outcome for slot in await schedules.slots("work", "a")] == ["started"]
        for act in (
            schedules.trigger("work", "a"),
            schedules.past("work", "a", BEGAN, BEGAN + HOUR),
            schedules.backfill("work", "a", BEGAN, BEGAN + HOUR),
        ):
            with pytest.raises(ScheduleNotFound, match=r"schedule 'a' of workflow 'work' has ended: no release declares it any more"):
                await act


# -- one slot, one run


@scenario
async def test_each_slot_makes_one_run_that_knows_it(begun: Begun) -> None:
    fired: list[datetime | None] = []

    @workflow(schedules=[Schedule("each second", "* * * * * *")])
    async def tick(step: Step, run: RunInfo) -> None:
        await step.run("note", fired.append, run.scheduled_at)

    async with begun(tick) as app:
        if isinstance(app, TestApp):
            await app.advance("3s")
        else:
            await until(lambda: len(fired) > 1)
        slots = await app.schedules.slots(tick, "each second")
        started = [slot for slot in slots if slot.outcome == "started"]

        assert len({slot.at for slot in started}) == len(started) >= 1
        for slot in started:
            run = await app.runs.get(slot.run_id or "")
            assert (run.schedule, run.scheduled_at) == ("each second", slot.at)


# -- without an event loop


def test_code_without_an_event_loop_has_the_same(url: str) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # the app's clock is the real one
    with SyncStepwell(url, workflows=[backup, tidy]) as app, app.worker():
        assert app.schedules.pause(backup, "hourly", actor="ann").paused
        assert not app.schedules.resume(backup, "hourly", actor="ann").paused
        assert [event.actor for event in app.schedules.events(backup, "hourly")] == ["ann", "ann"]
        assert len(app.schedules.preview(backup, "daily", 3)) == 3
        triggered = app.schedules.trigger(tidy, "hourly")
        filled = app.schedules.backfill(tidy, "hourly", end - 2 * HOUR, end)

        assert triggered.result() == "tidied"
        assert [type(handle) for handle in filled] == [SyncHandle, SyncHandle]
        assert [handle.result() for handle in filled] == ["tidied", "tidied"]
        assert [slot.outcome for slot in app.schedules.slots(tidy, "hourly", limit=3)][-1] == "triggered"
        assert [state.name for state in app.schedules.list(workflow=backup)] == ["daily", "hourly"]
