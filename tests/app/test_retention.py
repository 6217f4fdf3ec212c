"""`Stepwell(retention=…)`: how long ended runs are kept, and what becomes of what belongs to them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stepwell import RunNotFound, RunStatus, Step, Stepwell, workflow
from stepwell.testing import MovedClock, TestApp
from tests.app.apps import Gate, Opened, gate_reached, gated
from tests.engine.harness import ONCE, Counter, scenario, status_is

LONG_AGO = 1_700_000_000.0


@workflow
async def ship(input: str) -> str:
    return f"{input} shipped"


# -- over days


@scenario
async def test_a_run_is_there_until_it_was_kept_long_enough_and_not_any_more_after() -> None:
    async with TestApp(ship, retention="30d") as app:
        handle = await app.start(ship, "lamp", key="order-7", tags=["eu"])
        assert await handle.result() == "lamp shipped"
        await app.advance("29 days")
        kept = await handle.status()
        await app.advance("1 day")
        await app.advance("2m")

        assert kept is RunStatus.COMPLETED
        for read in (handle.get, handle.steps, handle.logs, handle.events, handle.result):
            with pytest.raises(RunNotFound):
                await read()
        assert list(await app.runs.list(tags="eu")) == []


@scenario
async def test_the_key_of_a_run_that_is_gone_can_be_given_again() -> None:
    async with TestApp(ship, retention={"completed": "1d"}) as app:
        first = await app.start(ship, "lamp", key="order-7")
        await first.result()
        same = await app.start(ship, "lamp", key="order-7")
        await app.advance("25h")
        new = await app.start(ship, "lamp", key="order-7")

        assert (same.created, same.run_id) == (False, first.run_id)
        assert new.created
        assert new.run_id != first.run_id


@scenario
async def test_a_clock_that_moves_by_itself_brings_the_end_of_what_is_kept_nearer() -> None:
    @workflow
    async def naps(step: Step) -> None:
        await step.sleep("a while", "40 days")

    async with TestApp(ship, naps, retention="30d") as app:
        shipped = await app.start(ship, "lamp")
        await shipped.result()
        await app.execute(naps)

        assert [run.workflow for run in await app.runs.list()] == ["naps"]


@scenario
async def test_an_app_that_says_nothing_keeps_its_runs() -> None:
    async with TestApp(ship) as app:
        handle = await app.start(ship, "lamp")
        await handle.result()
        await app.advance("10000 days")

        assert await handle.status() is RunStatus.COMPLETED


def test_a_test_app_keeps_its_runs_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_RETENTION", "nonsense")

    TestApp(ship)


@pytest.mark.parametrize("said", ["program", "environment", "project"])
@scenario
async def test_a_worker_of_the_app_deletes_from_its_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    async with Stepwell(url, clock=MovedClock(start=LONG_AGO)) as app:
        old = await app.start("ship", "lamp")
        await old.cancel()
    if said == "environment":
        monkeypatch.setenv("STEPWELL_RETENTION", "30d")
    if said == "project":
        (tmp_path / "pyproject.toml").write_text('[tool.stepwell.retention]\ncanceled = "30d"\n')

    async with Stepwell(url, workflows=[ship], retention="30d" if said == "program" else None) as app:
        new = await app.start(ship, "lamp")
        await app.worker().run_until_idle()

        assert [run.id for run in await app.runs.list()] == [new.run_id]


# -- families


@scenario
async def test_a_parent_gets_the_result_of_a_child_that_is_gone_and_does_not_run_it_again() -> None:
    counter = Counter()

    @workflow
    async def child(input: int, step: Step) -> int:
        return int(await step.run("count", counter.step, input))

    @workflow
    async def parent(step: Step) -> list[int]:
        first = await step.execute(child, 1)
        await step.sleep("a while", "90 days")
        return [first, await step.execute(child, 2)]

    async with TestApp(parent, child, retention={"completed": "1d"}, self_moving=False) as app:
        handle = await app.start(parent)
        await app.advance("10 days")
        between = [run.workflow for run in await app.runs.list()]
        await app.advance("80 days")

        assert between == ["parent"]
        assert await handle.result() == [1, 2]
        assert [record.output for record in await handle.steps() if record.kind == "child"] == [1, 2]
    assert counter.calls == [1, 2]


@scenario
async def test_a_child_that_ended_while_its_parent_was_paused_and_is_gone_is_not_run_again() -> None:
    counter, gate = Counter(), Gate()

    @workflow
    async def child(step: Step) -> str:
        await step.run("count", counter.step)
        return await step.run("gate", gate.step)

    @workflow
    async def parent(step: Step) -> str:
        return await step.execute(child)

    async with TestApp(parent, child, retention="1d", self_moving=False) as app:
        handle = await app.start(parent)
        await gate_reached(gate)
        await handle.pause()
        gate.open()
        await app.advance("10 days")
        between = [run.workflow for run in await app.runs.list()]
        await handle.resume()

        assert between == ["parent"]
        assert await handle.result() == "through"
    assert len(counter.calls) == 1


@scenario
async def test_a_retry_of_a_parent_gives_a_failed_child_that_is_gone_another_and_keeps_the_others() -> None:
    counter, broken = Counter(), [True]

    @workflow(retry=ONCE)
    async def child(input: str, step: Step) -> str:
        await step.run("count", counter.step, input)
        if input == "second" and broken[0]:
            raise ValueError("no funds")
        return input

    @workflow(retry=ONCE)
    async def parent(step: Step) -> list[str]:
        return [await step.execute(child, each) for each in ("first", "second")]

    async with TestApp(parent, child, self_moving=False) as app:
        handle = await app.start(parent)
        await status_is(handle, RunStatus.FAILED)
        assert await app.runs.delete_all(workflow="child") == 2
        broken[0] = False
        await handle.retry()

        assert await handle.result() == ["first", "second"]
    assert counter.calls == ["first", "second", "second"]


@scenario
async def test_a_fork_does_not_need_the_run_that_it_was_made_of(opened: Opened) -> None:
    gate, counter = Gate(), Counter()

    @workflow
    async def three(step: Step) -> list[str]:
        return [await step.run(name, counter.step, name) for name in ("a", "b")] + [await step.run("gate", gate.step)]

    async with opened(three) as app:
        source = await app.start(three)
        await gate_reached(gate)
        await source.cancel()
        fork = await app.runs.fork(source.run_id, from_step="b")
        await app.runs.delete(source.run_id)
        gate.open()

        assert await fork.result() == ["a", "b", "through"]
        assert (await fork.get()).forked_from == source.run_id
    assert counter.calls == ["a", "b", "b"]


# -- by hand


@scenario
async def test_runs_are_chosen_by_the_time_of_their_end(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await app.start(flow, "done")
        other = await app.start(flow, "sleep")
        await status_is(handle, RunStatus.COMPLETED)
        await status_is(other, RunStatus.SLEEPING)
        end = (await handle.get()).finished_at
        assert end is not None
        after = datetime.fromtimestamp(end.timestamp() + 0.001, UTC)

        assert [run.id for run in await app.runs.list(finished_before=after)] == [handle.run_id]
        assert await app.runs.count(finished_before=end) == {}
        assert await app.runs.delete_all(finished_before=end) == 0
        assert await app.runs.delete_all(finished_before=after) == 1
        assert [run.id for run in await app.runs.list()] == [other.run_id]


@scenario
async def test_deleting_all_tells_how_far_it_has_come(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    told: list[int] = []

    async with opened(ship, works=False) as app:
        await app.start_many(ship, ["lamp"] * 1_001)
        await app.runs.cancel_all(everything=True)
        with caplog.at_level(logging.INFO, "stepwell"):
            assert await app.runs.delete_all(everything=True, actor="ann", progress=told.append) == 1_001

    assert told == [500, 1_000, 1_001]
    assert "1001 runs were deleted by ann" in caplog.text
