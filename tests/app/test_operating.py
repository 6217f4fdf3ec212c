"""Workers, workflows and queues, as operators see and stop them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from stepwell import DefinitionError, QueueState, Retry, RunStatus, StepwellError, WorkflowState, workflow
from stepwell.core.policy import policy_of, policy_text
from stepwell.core.retry import DEFAULT_RETRY
from stepwell.testing import TestApp
from tests.app.apps import Opened
from tests.engine.harness import scenario


@workflow(name="pay", version="v9", queue="money")
async def pay_v9() -> str:
    return "v9"


@workflow(name="pay", version="v10", queue="money", retry=Retry.never())
async def pay_v10() -> str:
    return "v10"


@workflow
async def ship() -> str:
    return "shipped"


@scenario
async def test_a_worker_that_is_registered_is_listed(opened: Opened) -> None:
    async with opened(pay_v9, ship) as app:
        (worker,) = await app.workers.list()

    assert worker.queues is None
    assert (worker.concurrency, worker.running, worker.parked, worker.draining) == (100, 0, 0, False)
    assert set(worker.definitions) == {"pay v9", "ship"}
    assert worker.serves == {("pay", "v9"), ("ship", None)}
    assert worker.lease == timedelta(seconds=30)
    assert worker.beat_at >= worker.started_at
    assert worker.id != worker.name


@scenario
async def test_an_app_without_a_worker_lists_none(opened: Opened) -> None:
    async with opened(ship, works=False) as app:
        assert await app.workers.list() == []


@pytest.mark.parametrize("by", ["id", "name"])
@scenario
async def test_a_worker_is_drained_by_its_id_or_name(opened: Opened, by: str) -> None:
    async with opened(ship) as app:
        (worker,) = await app.workers.list()
        await app.workers.drain(getattr(worker, by), actor="ann")
        draining = [each.draining for each in await app.workers.list()]

    assert draining in ([True], [])  # it may have left already


@scenario
async def test_a_worker_that_is_not_there_cannot_be_drained(opened: Opened) -> None:
    async with opened(ship, works=False) as app:
        with pytest.raises(StepwellError, match=r"there is no worker 'w'; it may have left\. There are: none at all"):
            await app.workers.drain("w")


@scenario
async def test_workflows_are_listed_with_their_versions_the_newest_first(opened: Opened) -> None:
    async with opened(pay_v9, pay_v10, ship) as app:
        await app.workflows.pause("not_known_yet")
        listed = await app.workflows.list()

    assert listed == [
        WorkflowState(name="not_known_yet", versions=(), paused=True),
        WorkflowState(name="pay", versions=("v10", "v9"), paused=False, retry=policy_of(policy_text(Retry.never()))),
        WorkflowState(name="ship", versions=(None,), paused=False, retry=policy_of(policy_text(DEFAULT_RETRY))),
    ]


@scenario
async def test_queues_are_listed_that_workflows_name_runs_have_waited_in_or_that_are_paused(opened: Opened) -> None:
    async with opened(pay_v9, works=False) as app:
        await app.start("nobody_has_it", queue="slow")
        await app.queues.pause("never_used")

        assert await app.queues.list() == [
            QueueState(name="money", paused=False),
            QueueState(name="never_used", paused=True),
            QueueState(name="slow", paused=False),
        ]


@pytest.mark.parametrize(("kind", "reason"), [("workflow", "workflow pay is paused"), ("queue", "queue money is paused")])
@scenario
async def test_a_paused_workflow_or_queue_begins_no_run_until_it_is_resumed(opened: Opened, kind: str, reason: str) -> None:
    async with opened(pay_v9, ship) as app:
        what: Any = app.workflows if kind == "workflow" else app.queues
        name = "pay" if kind == "workflow" else "money"
        await what.pause(name, actor="ann")
        await what.pause(name)
        handle = await app.start(pay_v9)
        assert await app.execute(ship) == "shipped"
        run = await handle.get()
        assert (run.status, run.waiting_for) == (RunStatus.PENDING, reason)
        await what.resume(name, actor="ann")
        await what.resume(name)

        assert await handle.result() == "v9"
        assert (await handle.get()).waiting_for is None


@scenario
async def test_a_pause_of_a_workflow_survives_restarts(opened: Opened) -> None:
    async with opened(ship, works=False) as app:
        await app.workflows.pause("ship")
    if isinstance(app, TestApp):
        again = TestApp(ship)
        again.store = app.store
        assert (await again.workflows.list())[0].paused
    else:
        async with opened(ship, works=False) as later:
            assert (await later.workflows.list())[0].paused


@pytest.mark.parametrize("name", ["", 5, None])
@scenario
async def test_what_is_no_name_is_neither_paused_nor_resumed(name: Any) -> None:
    app = TestApp(ship)
    for call in (app.workflows.pause, app.workflows.resume, app.queues.pause, app.queues.resume):
        with pytest.raises(DefinitionError):
            await call(name)


@scenario
async def test_a_run_that_is_claimed_waits_for_nothing_any_more() -> None:
    async with TestApp(ship) as app:
        waiting = await app.start("pay", version="v9")
        assert (await waiting.get()).waiting_for == "no worker has pay v9"
        other = TestApp(pay_v9)
        other.store, other.clock = app.store, app.clock
        async with other:
            ids = [run.id async for run in other.runs.iterate()]
            assert ids == [waiting.run_id]
            await other.handle(waiting.run_id).result()
        assert [run.waiting_for for run in await app.runs.list()] == [None]
