"""What is started must fit the workflow, and its result is typed by it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

from pydantic import BaseModel

from stepwell import (
    Event,
    Handle,
    Page,
    Run,
    RunStatus,
    ScheduleState,
    Slot,
    Step,
    Stepwell,
    SyncHandle,
    SyncStepwell,
    WorkerState,
    workflow,
)
from stepwell.testing import TestApp


class Welcome(BaseModel):
    email: str


@workflow
async def greet(input: Welcome, step: Step) -> dict[str, bool]:
    return {}


@workflow
async def tidy(step: Step) -> int:
    return 1


ANN = Welcome(email="a@b.c")


async def start(app: Stepwell) -> None:
    handle = await app.start(greet, ANN)
    assert_type(handle, Handle[dict[str, bool]])
    assert_type(await handle.result(), dict[str, bool])

    assert_type(await (await app.start(tidy)).result(timeout=5), int)
    assert_type(await app.start("greet", {"email": "a@b.c"}, version="v1"), Handle[Any])
    assert_type(await app.start(greet, ANN, key="k", delay="5s", timeout="1h", priority=1, queue="q", tags=["a"]), Handle[dict[str, bool]])
    assert_type(await app.start(tidy, at=datetime(2027, 1, 1, tzinfo=UTC), connection=object()), Handle[int])


async def start_many(app: Stepwell) -> None:
    assert_type(await app.start_many(greet, [ANN, ANN], tags=("a",)), list[Handle[dict[str, bool]]])
    assert_type(await app.start_many("greet", [{"email": "a@b.c"}]), list[Handle[Any]])


async def execute(app: Stepwell) -> None:
    assert_type(await app.execute(greet, ANN, timeout=5), dict[str, bool])
    assert_type(await app.execute(tidy, timeout="5s"), int)
    assert_type(await app.execute("greet", ANN), Any)


async def start_in_a_test(app: TestApp) -> None:
    assert_type(await app.start(greet, ANN), Handle[dict[str, bool]])
    assert_type(await app.execute(tidy), int)


async def follow(app: Stepwell) -> None:
    handle = app.handle("id")
    assert_type(handle, Handle[Any])
    assert_type(await handle.status(), RunStatus)
    assert_type(await handle.pause(actor="ann"), Run)
    assert_type(await app.runs.list(status=["failed", RunStatus.CANCELED], limit=10), Page[Run])
    assert_type([run async for run in app.runs.iterate(workflow="greet", order="oldest")], list[Run])
    assert_type(await app.runs.count(tags="a"), dict[RunStatus, int])
    assert_type(await app.runs.cancel_all(workflow="greet", actor="ann"), int)
    assert_type(await app.workers.list(), list[WorkerState])


async def schedule(app: Stepwell, begin: datetime) -> None:
    assert_type(await app.schedules.list(workflow=tidy, ended=True), list[ScheduleState])
    assert_type(await app.schedules.pause(tidy, "nightly", actor="ann"), ScheduleState)
    assert_type(await app.schedules.trigger("tidy", "nightly"), Handle[Any])
    assert_type(await app.schedules.preview(tidy, "nightly", 3), list[datetime])
    assert_type(await app.schedules.past(tidy, "nightly", begin, begin), list[datetime])
    assert_type(await app.schedules.backfill(tidy, "nightly", begin, begin, actor="ann"), list[Handle[Any]])
    assert_type(await app.schedules.slots(tidy, "nightly", limit=5), list[Slot])
    assert_type(await app.schedules.events(tidy, "nightly"), list[Event])
    await app.schedules.preview(tidy)  # type: ignore[call-arg]


def start_without_a_loop(app: SyncStepwell) -> None:
    handle = app.start(greet, ANN, key="k")
    assert_type(handle, SyncHandle[dict[str, bool]])
    assert_type(handle.result(), dict[str, bool])
    assert_type(app.execute(tidy), int)
    assert_type(app.start_many(greet, [ANN]), list[SyncHandle[dict[str, bool]]])
    assert_type(app.handle("id"), SyncHandle[Any])


async def start_wrongly(app: Stepwell) -> None:
    await app.start(greet, "a@b.c")  # type: ignore[misc]
    await app.start(tidy, Welcome(email="a@b.c"))  # type: ignore[misc]
    await app.start_many(greet, ["a@b.c"])  # type: ignore[misc]
    await app.start(tidy, dely="5s")  # type: ignore[call-overload]
    await app.start_many(tidy, [None], key="k")  # type: ignore[call-overload]
    await app.execute(tidy, connection=object())  # type: ignore[call-overload]
    await app.runs.list(colour="red")  # type: ignore[call-arg]
    wrong: int = await (await app.start(greet, ANN)).result()  # type: ignore[assignment]
    print(wrong)
