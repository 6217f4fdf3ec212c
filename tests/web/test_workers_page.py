"""The page of workers and queues: how busy, how healthy, what nobody can run, and asking them to leave."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from stepwell import Step, workflow
from stepwell.core.records import UNRESOLVED, Waiting, WorkerState, instant
from stepwell.testing import TestApp
from stepwell.web.workers import health_of, stranded
from tests.engine.harness import scenario
from tests.web.seeing import app_in, seen, send_mail, text_of, with_runs

NOW = instant(1_800_000_000)


def worker(**changes: object) -> WorkerState:
    said: dict[str, object] = {
        "id": "w1", "name": "one", "host": "box", "pid": 1, "queues": None, "concurrency": 8, "running": 3, "parked": 0,
        "definitions": ("send_mail v2",), "lease": timedelta(seconds=30), "draining": False, "started_at": NOW, "beat_at": NOW,
        "serves": frozenset({("send_mail", "v2")}),
    }  # fmt: skip
    return WorkerState(**(said | changes))  # type: ignore[arg-type]


def waiting(version: str | None = "v2", *, workflow: str = "send_mail", queue: str = "default", count: int = 12) -> Waiting:
    return Waiting(queue=queue, workflow=workflow, version=version, count=count)


@pytest.mark.parametrize(("seconds", "health"), [(0, "alive"), (30, "alive"), (31, "late"), (90, "late"), (91, "lost")])
def test_a_worker_is_lost_after_three_leases(seconds: int, health: str) -> None:
    assert health_of(worker(beat_at=NOW - timedelta(seconds=seconds)), NOW) == health


def test_runs_of_a_version_that_no_worker_has_are_stranded() -> None:
    ready = [waiting("v1"), waiting("v2", count=3), waiting("v1", queue="other", count=1)]

    (lane,) = stranded(ready, [worker()], NOW)

    assert (lane.label, lane.runs) == ("send_mail v1", 13)
    assert lane.choice == {"workflow": "send_mail", "version": "v1", "status": "pending", "from": "all"}


@pytest.mark.parametrize(
    "helper",
    [
        worker(beat_at=NOW - timedelta(minutes=5)),
        worker(draining=True),
        worker(queues=("mail",)),
        worker(serves=frozenset({("send_mail", "v1")})),
    ],
)
def test_who_is_late_or_leaves_or_takes_other_queues_or_has_other_code_runs_nothing(helper: WorkerState) -> None:
    assert [(lane.label, lane.runs) for lane in stranded([waiting()], [helper], NOW)] == [("send_mail v2", 12)]


@pytest.mark.parametrize(
    ("helper", "each"),
    [
        (worker(), waiting()),
        (worker(queues=("default",)), waiting()),
        (worker(serves=frozenset({("send_mail", "*")})), waiting("v9")),
        (worker(), waiting(UNRESOLVED)),
    ],
)
def test_whoever_has_the_code_and_takes_the_queue_can_run_it(helper: WorkerState, each: Waiting) -> None:
    assert stranded([each], [helper], NOW) == []


@scenario
async def test_the_page_shows_slots_and_health_and_what_nobody_can_run(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, app.worker(name="late-shift", concurrency=8, queues=["other"]), seen(app) as client:
        text = text_of(await client.get("/workers"))

    assert "late-shift" in text
    assert "● alive" in text
    assert "0/8" in text
    assert "No worker can run nobody_has_it : 1 run waits. Start a worker that has it." in text
    assert "No worker can run send_mail v1 : 1 run waits." in text


@scenario
async def test_where_no_worker_is_alive_the_page_says_what_to_do() -> None:
    app = TestApp(hold, self_moving=False)
    async with app, seen(app) as client:
        alive = text_of(await client.get("/workers"))
        await app.advance("10m")
        (state,) = await app.workers.list()
        app.clock.move_to(app.now() + 3_600)
        text = text_of(await client.get("/workers"))

    assert "No worker is alive" not in alive
    assert state.lease < timedelta(hours=1)
    assert "No worker is alive: runs wait until one is." in text
    assert "✕ lost" in text


@scenario
async def test_an_admin_asks_a_worker_to_leave(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with app, app.worker(name="one", grace="0s"), seen(app) as client:
        (state,) = await app.workers.list()
        answer = await client.post("/workers", data={"action": "drain", "worker": state.id})
        assert answer.status_code == 303

        async def gone() -> bool:
            left = await app.workers.list()
            return not left or left[0].draining

        assert await gone()


@scenario
async def test_who_is_not_there_cannot_be_asked_to_leave(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with app, seen(app) as client:
        answer = await client.post("/workers", data={"action": "drain", "worker": "nobody"})

    assert answer.status_code == 404
    assert "There is no worker" in answer.text


@scenario
async def test_an_admin_pauses_a_queue_and_lets_it_go_on(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with app, seen(app) as client:
        await client.post("/workers", data={"action": "pause", "queue": "mail"})
        assert [state.name for state in await app.queues.list() if state.paused] == ["mail"]
        text = text_of(await client.get("/workers"))
        await client.post("/workers", data={"action": "resume", "queue": "mail"})
        assert not any(state.paused for state in await app.queues.list())

    assert "mail ❚❚ Paused" in text


@workflow
async def hold(step: Step) -> None:
    async def held() -> None:
        _BEGUN.release()
        await asyncio.Event().wait()

    await step.run("hold", held)


_BEGUN = asyncio.Semaphore(0)


@scenario
async def test_a_worker_shows_some_of_the_runs_that_it_executes_and_how_many_more(tmp_path: Path) -> None:
    app = app_in(tmp_path, hold)
    async with app, app.worker(name="busy", concurrency=8, grace="0s"), seen(app) as client:
        runs = [await app.start(hold) for _ in range(5)]
        for _ in runs:
            await _BEGUN.acquire()
        answer = await client.get("/workers")

    assert "+2" in text_of(answer)
    assert sum(f"/runs/{run.run_id}" in answer.text for run in runs) == 3


@scenario
async def test_of_many_workflows_that_nobody_can_run_the_first_are_told(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app) as client:
        for number in range(8):
            await app.start(f"gone_{number}", None)
        text = text_of(await client.get("/workers"))

    assert text.count("No worker can run") == 5
    assert "Nor 3 other workflows and versions that have runs." in text
