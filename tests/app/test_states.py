"""The table of what may be done to a run in which status, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import IllegalTransition, RunNotFound, RunStatus, Stepwell
from tests.app.apps import Gate, Opened, brought_to, gated
from tests.engine.harness import scenario, status_is

PENDING, RUNNING, SLEEPING, PAUSED, COMPLETED, FAILED, CANCELED = RunStatus

ILLEGAL = None
TABLE: dict[RunStatus, dict[str, RunStatus | None]] = {
    PENDING: {"pause": PAUSED, "resume": PENDING, "cancel": CANCELED, "retry": ILLEGAL},
    RUNNING: {"pause": PAUSED, "resume": RUNNING, "cancel": CANCELED, "retry": ILLEGAL},
    SLEEPING: {"pause": PAUSED, "resume": SLEEPING, "cancel": CANCELED, "retry": ILLEGAL},
    PAUSED: {"pause": PAUSED, "resume": PENDING, "cancel": CANCELED, "retry": ILLEGAL},
    COMPLETED: {"pause": ILLEGAL, "resume": ILLEGAL, "cancel": ILLEGAL, "retry": ILLEGAL},
    FAILED: {"pause": ILLEGAL, "resume": ILLEGAL, "cancel": ILLEGAL, "retry": PENDING},
    CANCELED: {"pause": ILLEGAL, "resume": ILLEGAL, "cancel": CANCELED, "retry": PENDING},
}
CELLS = [(status, action) for status, actions in TABLE.items() for action in actions]

by_handle_or_by_id = pytest.mark.parametrize("by", ["handle", "id"])


async def act(app: Stepwell, by: str, run_id: str, action: str, **options: Any) -> Any:
    return await (getattr(app.handle(run_id), action)(**options) if by == "handle" else getattr(app.runs, action)(run_id, **options))


@by_handle_or_by_id
@pytest.mark.parametrize(("status", "action"), CELLS)
@scenario
async def test_each_cell_of_the_table_of_states(opened: Opened, status: RunStatus, action: str, by: str) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await brought_to(app, status, flow)
        expected = TABLE[status][action]
        if expected is None:
            with pytest.raises(IllegalTransition, match=f"run {handle.run_id} is {status}; it cannot {action} from there") as refused:
                await act(app, by, handle.run_id, action)
            assert (refused.value.run_id, refused.value.status, refused.value.action) == (handle.run_id, status, action)
            assert await handle.status() is status
            events = await handle.events()
        else:
            run = await act(app, by, handle.run_id, action, actor="ann")
            assert (run.id, run.status) == (handle.run_id, expected)
            events = await handle.events()
            assert [(event.action, event.actor) for event in events[-1:]] == ([(action, "ann")] if expected is not status else []) or (
                status in (PAUSED, CANCELED)
            )

        assert sum(event.actor == "ann" for event in events) == (expected is not None and expected is not status)


@by_handle_or_by_id
@pytest.mark.parametrize("action", ["pause", "resume", "cancel", "retry", "steps", "logs", "events", "get"])
@scenario
async def test_a_run_that_does_not_exist_is_not_found_whatever_is_asked_of_it(opened: Opened, action: str, by: str) -> None:
    async with opened(gated(Gate())) as app:
        with pytest.raises(RunNotFound, match="there is no run 01900000-0000-7000-8000-000000000000; it may have been deleted"):
            await act(app, by, "01900000-0000-7000-8000-000000000000", action)


@pytest.mark.parametrize("call", ["result", "status"])
@scenario
async def test_a_run_that_does_not_exist_has_neither_result_nor_status(opened: Opened, call: str) -> None:
    async with opened(gated(Gate())) as app:
        with pytest.raises(RunNotFound):
            await getattr(app.handle("01900000-0000-7000-8000-000000000000"), call)()
        with pytest.raises(RunNotFound):
            await app.handle("01900000-0000-7000-8000-000000000000").result(0)
        with pytest.raises(RunNotFound):
            await app.runs.delete("01900000-0000-7000-8000-000000000000")
        with pytest.raises(RunNotFound):
            await app.runs.fork("01900000-0000-7000-8000-000000000000", from_step="charge")


@pytest.mark.parametrize("status", [status for status in RunStatus if not status.ended])
@scenario
async def test_a_run_that_has_not_ended_is_not_deleted(opened: Opened, status: RunStatus) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await brought_to(app, status, flow)
        with pytest.raises(IllegalTransition, match="delete"):
            await app.runs.delete(handle.run_id)
        assert await handle.status() is status


@pytest.mark.parametrize("status", [status for status in RunStatus if status.ended])
@scenario
async def test_a_run_that_has_ended_is_deleted_with_all_that_belongs_to_it(opened: Opened, status: RunStatus) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await brought_to(app, status, flow)
        await app.runs.delete(handle.run_id, actor="ann")
        for asked in (handle.get, handle.steps, handle.logs, handle.events, handle.result):
            with pytest.raises(RunNotFound):
                await asked()
        with pytest.raises(RunNotFound):
            await app.runs.delete(handle.run_id)
        assert [run.id async for run in app.runs.iterate()] == []


@scenario
async def test_what_was_done_to_a_run_is_kept_with_its_time_and_who_did_it(opened: Opened) -> None:
    flow = gated(Gate())

    async with opened(flow) as app:
        handle = await brought_to(app, SLEEPING, flow)
        before = app.now()
        await handle.pause(actor="ann")
        await handle.pause(actor="too late")
        await handle.resume()
        await status_is(handle, SLEEPING)
        await app.runs.cancel(handle.run_id, actor="bob")
        await app.runs.retry(handle.run_id, actor="eve")
        events = await handle.events()
        assert events == await app.runs.events(handle.run_id)

    assert [(event.action, event.actor) for event in events] == [
        ("pause", "ann"),
        ("resume", None),
        ("cancel", "bob"),
        ("retry", "eve"),
    ]
    assert all(event.at.timestamp() >= before - 0.001 and event.at.tzinfo is not None for event in events)


@scenario
async def test_a_paused_run_that_is_resumed_goes_on_and_its_step_is_not_run_again(opened: Opened) -> None:
    gate = Gate()
    flow = gated(gate)

    async with opened(flow) as app:
        handle = await brought_to(app, RUNNING, flow)
        await handle.pause()
        gate.open()
        await handle.resume()

        assert await handle.result() == "through"
        assert gate.entered == 1


@scenario
async def test_a_failed_run_is_retried_with_a_new_budget(opened: Opened) -> None:
    gate = Gate()
    gate.fails = True
    gate.open()
    flow = gated(gate)

    async with opened(flow) as app:
        handle = await app.start(flow, "gate")
        await status_is(handle, FAILED)
        gate.fails = False
        await handle.retry()

        assert await handle.result() == "through"
        assert [(step.key, step.status, step.attempt) for step in await handle.steps()] == [("gate", "failed", 1), ("gate", "completed", 2)]
