"""Looking for runs, page by page, and acting on all that match."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import (
    DefinitionError,
    IllegalTransition,
    InvalidInput,
    Logger,
    NotInStep,
    RunFailed,
    RunStatus,
    Step,
    Stepwell,
    workflow,
)
from stepwell.core.shards import shard_of, shard_of_key
from stepwell.errors import BadValue
from stepwell.testing import TestApp
from tests.app.apps import Gate, Opened, brought_to, gated
from tests.engine.harness import ONCE, scenario, status_is

MANY = 1_203


@workflow(name="count", version="v1")
async def count_v1(input: int) -> int:
    return input


@workflow(name="count")
async def count(input: int) -> int:
    return input


async def ids(app: Stepwell, **filters: Any) -> list[str]:
    return [run.id async for run in app.runs.iterate(**filters)]


# -- one page


@scenario
async def test_a_page_has_the_newest_first_and_says_where_the_next_begins(opened: Opened) -> None:
    async with opened(count, works=False) as app:
        handles = await app.start_many(count, range(25))
        newest = [handle.run_id for handle in reversed(handles)]

        first = await app.runs.list(limit=10)
        second = await app.runs.list(limit=10, cursor=first.next_cursor)
        third = await app.runs.list(limit=10, cursor=second.next_cursor)
        back = await app.runs.list(limit=10, cursor=second.previous_cursor)

    assert [len(page) for page in (first, second, third)] == [10, 10, 5]
    assert [run.id for page in (first, second, third) for run in page] == newest
    assert (first.previous_cursor, third.next_cursor) == (None, None)
    assert [run.id for run in back] == newest[:10]


@scenario
async def test_a_page_may_have_the_oldest_first_and_has_a_hundred_runs_unless_it_is_said(opened: Opened) -> None:
    async with opened(count, works=False) as app:
        handles = await app.start_many(count, range(120))
        page = await app.runs.list(order="oldest")

    assert [run.id for run in page] == [handle.run_id for handle in handles[:100]]
    assert page.items[0].input == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 0}, ValueError, "limit is a whole number from 1 to 1,000"),
        ({"limit": 1001}, ValueError, "limit is a whole number from 1 to 1,000"),
        ({"order": "latest"}, ValueError, "order is"),
        ({"status": "faileds"}, ValueError, "did you mean 'failed'"),
        ({"cursor": "nonsense"}, ValueError, "cursor"),
        ({"cursor": "n:\ud800"}, ValueError, "cursor is text without NUL and lone surrogates"),
        ({"cursor": 5}, TypeError, "cursor is a text"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"created_after": datetime(2027, 1, 1)}, ValueError, "created_after needs a timezone"),  # noqa: DTZ001  # it is what is refused
    ],
)
@scenario
async def test_what_is_no_filter_is_refused(opened: Opened, options: Any, error: type[Exception], message: str) -> None:
    async with opened(count, works=False) as app:
        with pytest.raises(error, match=message):
            await app.runs.list(**options)


@pytest.mark.parametrize("call", ["get", "steps", "logs", "events", "pause", "resume", "cancel", "retry", "delete", "fork"])
@scenario
async def test_a_handle_or_a_run_is_not_taken_for_its_id(call: str) -> None:
    app = TestApp(count)
    handle = await app.start(count, 1)
    options = {"from_step": "a"} if call == "fork" else {}

    for other in (handle, await handle.get(), 5, None):
        with pytest.raises(TypeError, match="the id of a run is a text"):
            await getattr(app.runs, call)(other, **options)


# -- filters


@scenario
async def test_runs_are_found_by_each_filter_and_by_several(opened: Opened) -> None:
    async with opened(count, count_v1) as app:
        plain = await app.start(count, 1, tags=["acme", "import"])
        versioned = await app.start(count_v1, 2, tags=["acme"], key="order-42")
        slow = await app.start("nobody_has_it", {"city": "Kraków"}, queue="slow")
        for handle in (plain, versioned):
            await status_is(handle, RunStatus.COMPLETED)
        created = (await slow.get()).created_at
        by_filter = {
            "status": await ids(app, status="pending"),
            "statuses": await ids(app, status=["completed", RunStatus.FAILED]),
            "workflow": await ids(app, workflow="count"),
            "version": await ids(app, version="v1"),
            "unversioned": await ids(app, workflow="count", version=""),
            "tag": await ids(app, tags="acme"),
            "tags": await ids(app, tags=["import", "acme"]),
            "queue": await ids(app, queue="slow"),
            "id": await ids(app, search=slow.run_id.upper()),
            "key": await ids(app, search="ORDER-4"),
            "input": await ids(app, search="krak"),
            "prefix": await ids(app, id_prefix=slow.run_id),
            "nothing": await ids(app, workflow="count", queue="slow"),
            "later": await ids(app, created_after=created + timedelta(hours=1)),
            "earlier": await ids(app, created_before=created - timedelta(hours=1)),
            "all": await ids(app, created_after=created - timedelta(hours=1), created_before=created + timedelta(hours=1)),
        }

    p, v, s = plain.run_id, versioned.run_id, slow.run_id
    assert by_filter == {
        "status": [s], "statuses": [v, p], "workflow": [v, p], "version": [v], "unversioned": [p], "tag": [v, p], "tags": [p],
        "queue": [s], "id": [s], "key": [v], "input": [s], "prefix": [s], "nothing": [], "later": [], "earlier": [], "all": [s, v, p],
    }  # fmt: skip


@scenario
async def test_runs_are_counted_by_status(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        for status in RunStatus:
            await brought_to(app, status, flow)
        await brought_to(app, RunStatus.FAILED, flow)

        assert await app.runs.count() == {status: 2 if status is RunStatus.FAILED else 1 for status in RunStatus}
        assert await app.runs.count(workflow="gated", status=["failed", "pending"]) == {RunStatus.FAILED: 2}
        assert await app.runs.count(workflow="none") == {}


# -- every run


@pytest.mark.parametrize("order", ["newest", "oldest"])
@scenario
async def test_iterating_gives_every_run_once_though_runs_are_added_meanwhile(opened: Opened, order: Any) -> None:
    async with opened(count, works=False) as app:
        there = [handle.run_id for handle in await app.start_many(count, range(MANY), tags=["old"])]
        seen = []
        async for run in app.runs.iterate(order=order):
            seen.append(run.id)
            if len(seen) in (1, 600):
                await app.start_many(count, range(10))

    assert len(set(seen)) == len(seen)
    old = [run_id for run_id in seen if run_id in set(there)]
    assert old == (there if order == "oldest" else there[::-1])
    assert len(seen) == (MANY + 20 if order == "oldest" else MANY)


@scenario
async def test_a_wrong_filter_is_found_before_the_first_run_is_asked_for() -> None:
    app = TestApp(count)
    with pytest.raises(ValueError, match="there is no status"):
        app.runs.iterate(status="faileds")


# -- all that match


@pytest.mark.parametrize("action", ["pause_all", "resume_all", "cancel_all", "retry_all", "delete_all"])
@scenario
async def test_everything_must_be_meant(opened: Opened, action: str) -> None:
    async with opened(count, works=False) as app:
        await app.start(count, 1)
        act = getattr(app.runs, action)
        for nothing in ({}, {"status": None, "tags": ()}, {"everything": 1}, {"search": ""}):
            with pytest.raises(ValueError, match=f"{action} needs to be told which runs"):
                await act(**nothing)

        assert await app.runs.count() == {RunStatus.PENDING: 1}
        assert await act(everything=True) in (0, 1)


@scenario
async def test_all_that_match_are_acted_on_and_not_only_the_first_page(opened: Opened) -> None:
    async with opened(count, works=False) as app:
        handles = await app.start_many(count, range(MANY), tags=["bulk"])
        other = await app.start(count, 1)
        runs = app.runs

        changed = [
            await runs.pause_all(tags="bulk", actor="ann"),
            await runs.pause_all(tags="bulk"),
            await runs.resume_all(tags="bulk"),
            await runs.cancel_all(tags="bulk"),
            await runs.cancel_all(tags="bulk"),
            await runs.retry_all(tags="bulk"),
            await runs.cancel_all(tags="bulk", status="pending"),
            await runs.delete_all(tags="bulk"),
            await runs.delete_all(tags="bulk"),
        ]

        assert changed == [MANY, 0, MANY, MANY, 0, MANY, MANY, MANY, 0]
        assert await ids(app) == [other.run_id]
        assert len(handles) == MANY


@scenario
async def test_who_acts_on_all_is_kept_with_each(opened: Opened) -> None:
    async with opened(count, works=False) as app:
        handles = await app.start_many(count, range(3))
        await app.runs.pause_all(workflow="count", actor="ann")
        await app.runs.resume_all(everything=True, actor="bob")

        for handle in handles:
            assert [(event.action, event.actor) for event in await handle.events()] == [("pause", "ann"), ("resume", "bob")]


@scenario
async def test_runs_whose_status_does_not_allow_it_are_passed_over(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handles = {status: await brought_to(app, status, flow) for status in RunStatus}
        counts = [await app.runs.pause_all(everything=True)]
        await status_is(handles[RunStatus.SLEEPING], RunStatus.PAUSED)
        counts.append(await app.runs.cancel_all(everything=True))
        after = {status: await handle.status() for status, handle in handles.items()}
        counts.append(await app.runs.delete_all(status=["completed", "canceled"]))
        left = await app.runs.count()

    canceled = {status: RunStatus.CANCELED for status in RunStatus if not status.ended}
    assert counts == [3, 4, 6]
    assert after == canceled | {status: status for status in RunStatus if status.ended}
    assert left == {RunStatus.FAILED: 1}


@scenario
async def test_retrying_all_ends_though_runs_fail_again_at_once(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handles = [await app.start(flow, "fail") for _ in range(5)]
        for handle in handles:
            await status_is(handle, RunStatus.FAILED)

        assert await app.runs.retry_all(status="failed") == 5


@scenario
async def test_runs_that_were_created_later_are_not_meant() -> None:
    async with TestApp(count, self_moving=False) as app:
        await app.start(count, 1, delay="1h")
        assert await app.runs.cancel_all(everything=True) == 1
        await app.start(count, 1, delay="1h")
        assert await app.runs.cancel_all(created_before=datetime.fromtimestamp(app.now(), UTC)) == 0
        assert await app.runs.cancel_all(created_before=datetime.fromtimestamp(app.now() + 3600, UTC)) == 1


# -- forks


@scenario
async def test_a_run_is_of_the_shard_of_its_key_and_a_fork_of_the_shard_of_its_source(opened: Opened) -> None:
    @workflow
    async def one(step: Step) -> str:
        return await step.run("a", _note, [], "a")

    async with opened(one) as app:
        source = await app.start(one, key="monday")
        await status_is(source, RunStatus.COMPLETED)
        fork = await app.runs.fork(source.run_id, from_step="a")

    assert shard_of(source.run_id) == shard_of(fork.run_id) == shard_of_key("one", "monday")


@scenario
async def test_a_fork_has_what_was_recorded_before_a_step_and_goes_on_from_there(opened: Opened) -> None:
    done: list[str] = []

    @workflow(version="v1", queue="mail", priority=2, retry=ONCE)
    async def three(input: str, step: Step) -> list[str]:
        return [await step.run(name, _note, done, f"{name} {input}") for name in ("a", "b", "c")]

    async with opened(three) as app:
        source = await app.start(three, "old", tags=["acme"], key="k")
        await status_is(source, RunStatus.COMPLETED)
        done.clear()
        same = await app.runs.fork(source.run_id, from_step="b", actor="ann")
        assert await same.result() == ["a old", "b old", "c old"]
        assert done == ["b old", "c old"]
        done.clear()
        other = await app.runs.fork(source.run_id, from_step="c", input="new")
        assert await other.result() == ["a old", "b old", "c new"]
        assert done == ["c new"]
        run, events = await same.get(), await same.events()
        assert [step.key for step in await source.steps()] == ["a", "b", "c"]

    assert same.run_id != source.run_id
    assert (run.forked_from, run.workflow, run.version) == (source.run_id, "three", "v1")
    assert (run.queue, run.priority, run.tags, run.key) == ("mail", 2, ("acme",), None)
    assert [(event.action, event.actor) for event in events] == [("fork", "ann")]


async def _note(done: list[str], value: str) -> str:
    done.append(value)
    return value


@scenario
async def test_a_fork_may_be_of_another_version(opened: Opened) -> None:
    @workflow(name="flow", version="v1", retry=ONCE)
    async def old(step: Step) -> list[str]:
        return [await step.run("a", _note, [], "a1"), await step.run("b", _note, [], "b1")]

    @workflow(name="flow", version="v2", retry=ONCE)
    async def new(step: Step) -> list[str]:
        return [await step.run("a", _note, [], "a2"), await step.run("b", _note, [], "b2")]

    async with opened(old, new) as app:
        source = await app.start(old)
        await status_is(source, RunStatus.COMPLETED)
        fork = await app.runs.fork(source.run_id, from_step="b", version="v2")

        assert await fork.result() == ["a1", "b2"]
        assert (await fork.get()).version == "v2"
        nobody = await app.runs.fork(source.run_id, from_step="b", version=None)
        assert ((await nobody.get()).version, (await nobody.get()).waiting_for) == (None, "no worker has flow without a version")


@scenario
async def test_what_cannot_be_forked_is_refused_and_stores_nothing(opened: Opened) -> None:
    gate = Gate()
    gate.open()
    flow = gated(gate)

    async with opened(flow) as app:
        source = await app.start(flow, "gate")
        await status_is(source, RunStatus.COMPLETED)
        with pytest.raises(DefinitionError, match=r"'nowhere'.*gate"):
            await app.runs.fork(source.run_id, from_step="nowhere")
        with pytest.raises(InvalidInput):
            await app.runs.fork(source.run_id, from_step="gate", input=5)
        with pytest.raises(DefinitionError, match="version"):
            await app.runs.fork(source.run_id, from_step="gate", version="")
        assert await ids(app) == [source.run_id]


@pytest.mark.parametrize(
    "call", ["get", "steps", "logs", "events", "pause", "resume", "cancel", "retry", "delete", "list", "count", "fork"]
)
@scenario
async def test_a_body_neither_looks_for_runs_nor_acts_on_them(call: str) -> None:
    apps: list[TestApp] = []
    arguments: dict[str, Any] = {"list": (), "count": ()}

    @workflow
    async def meddles() -> None:
        options = {"from_step": "a"} if call == "fork" else {}
        await getattr(apps[0].runs, call)(*arguments.get(call, ("x",)), **options)

    async with TestApp(meddles) as app:
        apps.append(app)
        with pytest.raises(RunFailed, match=NotInStep.__name__):
            await app.execute(meddles)


@scenario
async def test_a_step_may_look_for_runs_and_act_on_them() -> None:
    apps: list[TestApp] = []

    @workflow
    async def tidy(step: Step) -> int:
        return await step.run("cancel", lambda: apps[0].runs.cancel_all(workflow="count"))

    async with TestApp(count, tidy, self_moving=False) as app:
        apps.append(app)
        handle = await app.start(count, 1, delay="1h")
        assert await app.execute(tidy) == 1
        with pytest.raises(IllegalTransition):
            await handle.pause()


@scenario
async def test_lines_are_chosen_by_level_and_from_the_end() -> None:
    @workflow
    async def talks(logger: Logger) -> None:
        logger.debug("one")
        logger.warning("two")
        logger.error("three")

    async with TestApp(talks) as app:
        run = await app.start(talks)
        await run.result()

        assert [line.message for line in await app.runs.logs(run.run_id, level="warning")] == ["two", "three"]
        assert [line.message for line in await app.runs.logs(run.run_id, level="debug", last=True, limit=2)] == ["two", "three"]
        assert [line.message for line in await app.runs.logs(run.run_id, last=True, after=1)] == ["one", "two"]
        assert [await app.runs.logs(run.run_id, step=key) for key in ("none", "\0", "\ud800")] == [[], [], []]
        with pytest.raises(ValueError, match="there is no level 'loud'; there are debug, info"):
            await app.runs.logs(run.run_id, level="loud")


@pytest.mark.parametrize(
    "asked",
    [
        lambda app, run_id: app.runs.logs(run_id, limit=-1),
        lambda app, run_id: app.runs.logs(run_id, after=-1),
        lambda app, run_id: app.runs.logs(run_id, after=1 << 40),
        lambda app, run_id: app.runs.events(run_id, limit=0),
        lambda app, run_id: app.runs.events(run_id, limit=True),
        lambda app, run_id: app.runs.some_steps(run_id, attempt=0),
        lambda app, run_id: app.runs.some_steps(run_id, attempt=1 << 70),
        lambda app, _: app.workers.list(limit=-1),
        lambda app, _: app.overview.speeds(["\ud800"]),
    ],
)
@scenario
async def test_what_cannot_be_a_number_or_a_name_of_what_is_listed_is_refused_in_words(opened: Opened, asked: Any) -> None:
    async with opened(count, works=False) as app:
        run = await app.start(count, 1)

        with pytest.raises(BadValue, match=r"is a whole number from \d to|is text without"):
            await asked(app, run.run_id)


@pytest.mark.parametrize("key", ["none", "\0", "\ud800"])
@scenario
async def test_a_step_that_no_run_can_have_has_said_nothing(opened: Opened, key: str) -> None:
    async with opened(count, works=False) as app:
        run = await app.start(count, 1)

        assert await app.runs.logs(run.run_id, step=key) == []
        with pytest.raises(TypeError, match="step is the key"):
            await app.runs.logs(run.run_id, step=3)  # type: ignore[arg-type]
