"""Apps under test: in memory and on a file of SQLite, each with a worker. What is true of an app is true of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from stepwell import Handle, RunStatus, Step, Stepwell, Workflow, workflow
from stepwell.testing import TestApp
from tests.engine.harness import ONCE, status_is, until

KINDS = ("memory", "sqlite")

Opened: TypeAlias = Callable[..., AbstractAsyncContextManager[Stepwell]]
"""Makes an app with these workflows and a worker for them. With `works=False` there is no worker."""


def opener(kind: str, folder: Path) -> Opened:
    """What makes apps of this kind, on one database."""
    if kind == "memory":
        return _in_memory

    @asynccontextmanager
    async def on_sqlite(*workflows: Workflow[Any, Any], works: bool = True, **options: Any) -> AsyncIterator[Stepwell]:
        app = Stepwell(f"sqlite:///{folder / 'test.db'}", workflows=workflows, **options)
        async with app:
            if not works:
                yield app
                return
            async with app.worker(grace="0s"):
                yield app

    return on_sqlite


@asynccontextmanager
async def _in_memory(*workflows: Workflow[Any, Any], works: bool = True) -> AsyncIterator[Stepwell]:
    app = TestApp(*workflows, self_moving=False)
    if not works:
        yield app
        return
    async with app:
        yield app


class Gate:
    """Where steps wait until they are let through. One for each test: each has a loop of its own."""

    def __init__(self) -> None:
        self.entered = 0
        self.fails = False
        self._open = asyncio.Event()

    async def step(self) -> str:
        self.entered += 1
        await self._open.wait()
        if self.fails:
            raise ValueError("no funds")
        return "through"

    def open(self) -> None:
        self._open.set()


def gated(gate: Gate, *, name: str = "gated", **options: Any) -> Workflow[str, str]:
    """A workflow that waits at the gate, sleeps, or neither, as its input says."""

    async def body(input: str, step: Step) -> str:
        if input == "gate":
            return await step.run("gate", gate.step)
        if input == "sleep":
            await step.sleep("a while", "30 days")
        if input == "fail":
            await step.run("charge", _charge)
        return input

    flow: Workflow[str, str] = workflow(name=name, retry=ONCE, **options)(body)
    return flow


async def _charge() -> None:
    raise ValueError("no funds")


async def brought_to(app: Stepwell, status: RunStatus, flow: Workflow[str, str]) -> Handle[Any]:
    """A run in this status, and one that stays in it while nobody acts."""
    if status is RunStatus.PENDING:
        return await app.start("nobody_has_it", "x")
    inputs = {RunStatus.RUNNING: "gate", RunStatus.COMPLETED: "done", RunStatus.FAILED: "fail"}
    handle = await app.start(flow, inputs.get(status, "sleep"))
    if status in (RunStatus.PAUSED, RunStatus.CANCELED):
        await status_is(handle, RunStatus.SLEEPING)
        await (handle.pause() if status is RunStatus.PAUSED else handle.cancel())
    await status_is(handle, status)
    return handle


async def gate_reached(gate: Gate) -> None:
    """Until a step waits there."""
    await until(lambda: gate.entered)
