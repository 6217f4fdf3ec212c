"""`app.overview`: what pages show of the whole, as a user of the app asks for it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import NonRetryable, RunFailed, RunStatus, Step, Stepwell, SyncStepwell, workflow
from stepwell.core.records import instant
from stepwell.testing import TestApp
from tests.app.apps import Gate, Opened, brought_to, gated
from tests.engine.harness import scenario


@workflow
async def greet(step: Step, name: str) -> str:
    return await step.run("greet", _hello, name)


async def _hello(name: str) -> str:
    if name == "nobody":
        raise NonRetryable("there is nobody")
    return f"hello {name}"


async def greeted(app: Stepwell, *names: str) -> list[str]:
    handles = [await app.start(greet, name) for name in names]
    for handle in handles:
        try:
            await handle.result()
        except RunFailed:
            continue
    return [handle.run_id for handle in handles]


@scenario
async def test_a_list_shows_runs_without_their_payloads(opened: Opened) -> None:
    async with opened(greet) as app:
        (run_id,) = await greeted(app, "ada" * 100)

        (run,) = await app.overview.runs()

        assert (run.id, run.status, run.preview) == (run_id, RunStatus.COMPLETED, ('"' + "ada" * 100)[:120])
        assert not hasattr(run, "output")


@scenario
async def test_pages_go_on_where_the_last_one_has_ended(opened: Opened) -> None:
    async with opened(greet) as app:
        ids = await greeted(app, *"abcde")

        first = await app.overview.runs(limit=3, order="oldest")
        second = await app.overview.runs(limit=3, order="oldest", cursor=first.next_cursor)
        back = await app.overview.runs(limit=3, order="oldest", cursor=second.previous_cursor)

        assert [[run.id for run in page] for page in (first, second, back)] == [ids[:3], ids[3:], ids[:3]]


@scenario
async def test_filters_mean_what_they_mean_to_app_runs(opened: Opened) -> None:
    async with opened(greet, works=False) as app:
        for name, tags in (("ada", ["eu"]), ("bob", ["us"]), ("cy", ["eu", "big"])):
            await app.start(greet, name, tags=tags)
        now = instant(app.now())
        for filters in (
            {"tags": "eu"},
            {"search": "BOB"},
            {"workflow": "greet", "status": "pending"},
            {"status": ["failed", "canceled"]},
            {"created_after": now - timedelta(hours=1)},
            {"created_after": now + timedelta(hours=1)},
            {"created_before": now - timedelta(hours=1)},
            {"created_after": now - timedelta(hours=1), "created_before": now + timedelta(hours=1), "search": "ada"},
        ):
            expected = await app.runs.list(**filters)
            shown = await app.overview.runs(**filters)
            assert [run.id for run in shown] == [run.id for run in expected], filters
            tallied = await app.overview.tally(**filters)
            assert sum(tallied.values()) == len(expected), filters


@scenario
async def test_a_run_that_nobody_can_take_says_why_it_waits(opened: Opened) -> None:
    async with opened(greet, works=False) as app:
        await app.start(greet, "ada")

        (listed,) = await app.overview.runs()
        (active,) = await app.overview.active()

        assert listed.waiting_for == active.waiting_for == "no worker has greet"


@scenario
async def test_the_active_runs_are_those_that_go_on(opened: Opened) -> None:
    gate = Gate()
    flow = gated(gate)
    async with opened(flow, greet) as app:
        await greeted(app, "ada")
        running = await brought_to(app, RunStatus.RUNNING, flow)

        assert [run.id for run in await app.overview.active()] == [running.run_id]
        assert [run.id for run in await app.overview.active(limit=1)] == [running.run_id]


@scenario
async def test_tallies_are_capped(opened: Opened) -> None:
    async with opened(greet) as app:
        await greeted(app, "a", "b", "c", "nobody")

        everything = await app.overview.tally()
        assert {status: count for status, count in everything.items() if count} == {RunStatus.COMPLETED: 3, RunStatus.FAILED: 1}
        assert await app.overview.tally(cap=1, status="completed") == {RunStatus.COMPLETED: 2}


@scenario
async def test_chips_show_the_last_steps_of_each_run(opened: Opened) -> None:
    async with opened(greet) as app:
        good, bad = await greeted(app, "ada", "nobody")

        shown = await app.overview.chips([good, bad, good])

        assert {run: (count, [(chip.key, chip.status) for chip in chips]) for run, (count, chips) in shown.items()} == {
            good: (1, [("greet", "completed")]),
            bad: (1, [("greet", "failed")]),
        }
        assert await app.overview.chips([]) == {}


@scenario
async def test_ends_are_counted_by_workflow_and_runs_found_by_their_ids(opened: Opened) -> None:
    async with opened(greet) as app:
        handle = await app.start(greet, "Ada")
        await handle.result()
        begin, end = instant(app.now() - 3_600), instant(app.now() + 3_600)

        by_workflow = await app.overview.ends_by_workflow(begin, end, intervals=4)
        found = await app.overview.summaries([handle.run_id, "none"])

        assert by_workflow == {"greet": await app.overview.ends(begin, end, intervals=4)}
        assert list(found) == [handle.run_id]
        assert found[handle.run_id].status is RunStatus.COMPLETED
        assert await app.overview.summaries([]) == {}


@scenario
async def test_ends_and_speeds_are_of_what_has_ended(opened: Opened) -> None:
    async with opened(greet) as app:
        begin = instant(app.now()) - timedelta(minutes=1)
        await greeted(app, "ada", "bob", "nobody")
        end = begin + timedelta(hours=1)

        counted = await app.overview.ends(begin, end, intervals=4, workflow="greet")
        assert [each.at for each in counted] == [begin + number * timedelta(minutes=15) for number in range(4)]
        assert [(each.completed, each.failed, each.canceled) for each in counted] == [(2, 1, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0)]
        assert await app.overview.ends(begin, end, intervals=4) == counted
        assert sum(each.completed for each in await app.overview.ends(begin, end, workflow="other")) == 0
        (speed,) = await app.overview.speeds()
        assert (speed.workflow, speed.runs, speed.failed) == ("greet", 3, 1)
        assert speed.p50 is not None
        assert speed.p95 is not None
        assert timedelta(0) <= speed.p50 <= speed.p95


@scenario
async def test_what_waits_is_said_by_lane_and_version(opened: Opened) -> None:
    async with opened(greet, works=False) as app:
        await app.start(greet, "ada")
        await app.start(greet, "bob", queue="slow")

        backlog = await app.overview.backlog()
        assert [(each.queue, each.workflow, each.count) for each in backlog.ready] == [("default", "greet", 1), ("slow", "greet", 1)]
        assert backlog.oldest_ready_at is not None
        (live,) = await app.overview.live_versions()
        assert (live.workflow, live.version, live.count) == ("greet", None, 2)


@scenario
async def test_facts_name_the_database(opened: Opened) -> None:
    async with opened(greet) as app:
        facts = await app.overview.facts()

        assert facts.kind in ("memory", "SQLite")
        assert facts.clock_skew is None


REFUSED: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "limit": ("runs", {"limit": 0}, ValueError, "limit"),
    "order": ("runs", {"order": "best"}, ValueError, "order"),
    "status": ("runs", {"status": "done"}, ValueError, "there is no status"),
    "filter": ("runs", {"color": "red"}, TypeError, "there is no filter"),
    "cap": ("tally", {"cap": 0}, ValueError, "cap is a whole number"),
    "no cap": ("tally", {"cap": True}, ValueError, "cap is a whole number"),
    "active": ("active", {"limit": 2_000}, ValueError, "limit"),
    "chips": ("chips", {"run_ids": [f"{number:036}" for number in range(1_001)]}, ValueError, "at most 1,000 runs"),
    "no time": ("ends", {"since": datetime(2030, 1, 1, tzinfo=UTC), "until": datetime(2030, 1, 1, tzinfo=UTC)}, ValueError, "since lies"),
    "no time by workflow": (
        "ends_by_workflow",
        {"since": datetime(2030, 1, 1, tzinfo=UTC), "until": datetime(2030, 1, 1, tzinfo=UTC)},
        ValueError,
        "since lies",
    ),
    "summaries": ("summaries", {"run_ids": [f"{number:036}" for number in range(1_001)]}, ValueError, "at most 1,000 runs"),
    "no zone": (
        "ends",
        {"since": datetime(2030, 1, 1), "until": datetime(2030, 1, 2, tzinfo=UTC)},  # noqa: DTZ001  # what is refused
        ValueError,
        "since needs a timezone",
    ),
    "nothing": ("ends", {"since": None, "until": datetime(2030, 1, 2, tzinfo=UTC)}, TypeError, "since is a datetime"),
    "intervals": (
        "ends",
        {"since": datetime(2030, 1, 1, tzinfo=UTC), "until": datetime(2030, 1, 2, tzinfo=UTC), "intervals": 0},
        ValueError,
        "intervals",
    ),
}


@pytest.mark.parametrize(("call", "given", "error", "said"), REFUSED.values(), ids=list(REFUSED))
@scenario
async def test_what_makes_no_sense_is_refused(call: str, given: dict[str, Any], error: type[Exception], said: str) -> None:
    async with TestApp(greet) as app:
        with pytest.raises(error, match=said):
            await getattr(app.overview, call)(**given)


@scenario
async def test_the_body_of_a_workflow_cannot_look(opened: Opened) -> None:
    @workflow
    async def looks(step: Step) -> None:
        await app.overview.tally()

    async with opened(looks) as app:
        handle = await app.start(looks)
        with pytest.raises(RunFailed, match="NotInStep"):
            await handle.result()


def test_code_without_an_event_loop_has_it_too(url: str) -> None:
    with SyncStepwell(url, workflows=[greet]) as app, app.worker():
        app.execute(greet, "ada")

        (run,) = app.overview.runs()
        assert (run.workflow, run.status) == ("greet", RunStatus.COMPLETED)
        assert app.overview.tally()[RunStatus.COMPLETED] == 1
        assert app.overview.facts().kind == "SQLite"


@scenario
async def test_waits_are_those_of_runs_by_when_they_were_created(opened: Opened) -> None:
    async with opened(greet, works=False) as app:
        begin = instant(app.now()) - timedelta(minutes=1)
        await app.start(greet, "ada")
        await app.start(greet, "bob", delay="1h")

        first, second = await app.overview.waits(begin, begin + timedelta(hours=1), intervals=2)
        of_none = await app.overview.waits(begin, begin + timedelta(hours=1), intervals=1, workflow="none")

        assert (first.at, first.runs, second.at, second.runs) == (begin, 1, begin + timedelta(minutes=30), 0)
        assert first.p50 is not None
        assert first.p95 == first.p50 >= timedelta(0)
        assert (second.p50, second.p95) == (None, None)
        assert [each.runs for each in of_none] == [0]
        with pytest.raises(ValueError, match="since lies before until"):
            await app.overview.waits(begin, begin)
