"""What is measured of schedules: very many that come in the same second, beside other work, and very many that do not come."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from benchmarks.measures import no_op, one_step
from benchmarks.whole import Place, opened, resident
from stepwell import Schedule, Step, Stepwell, Workflow, workflow
from stepwell.core.records import Firing
from stepwell.store.port import Store

LEAD = 15.0
"""Seconds before the slot in which the app and its worker begin."""

NEVER = "0 0 29 2 *"
"""A leap day: on all others, whoever comes at that time is idle."""


class Rush(NamedTuple):
    """What a second in which very many schedules came was like."""

    made: float
    """Seconds from the slot until the last run was made."""
    ended: float
    """And until the last had ended."""
    delayed: float
    """Seconds from start to result that other work, of one step each, took at most."""
    usually: float
    """And before the slot."""
    begun: float
    """Seconds until the worker had begun."""
    megabytes: float
    """What the process has grown by, from before they were declared to its greatest."""


_known: dict[int, Rush] = {}


async def rush(place: Place) -> Rush:
    """Ten thousand schedules come in one second. Asked again of the same place, the answer is the same."""
    if id(place) not in _known:
        _known[id(place)] = await measured(place, 10_000, 100)
    return _known[id(place)]


async def measured(place: Place, schedules: int, workflows: int, lead: float = LEAD) -> Rush:
    """So many schedules come in one second, of so many workflows."""
    gc.collect()
    before = resident()
    began = time.time()
    slot = math.ceil(began + lead)
    counted = Counted(schedules)
    declared = _declared(f"{datetime.fromtimestamp(slot, UTC):%S %M %H %d %m} *", schedules, workflows, counted)
    async with opened(place, *declared) as app:
        fired = _watched(app._home.store)
        async with app.worker():
            begun = time.time() - began
            if begun > lead:
                raise TimeoutError(f"the worker took {begun:.1f} s to begin; give it a longer lead")
            async with _probed(app) as probes:
                await counted.all.wait()
            ended = time.time()
    assert sum(count for _, count in fired) == schedules
    return Rush(
        made=fired[-1][0] - slot,
        ended=ended - slot,
        delayed=max(seconds for at, seconds in probes.taken if at + seconds >= slot),
        usually=max(seconds for at, seconds in probes.taken if begun + began + 1 < at and at + seconds < slot),
        begun=begun,
        megabytes=(probes.resident - before) / 1e6,
    )


class Counted:
    """Runs whose body has come to its end."""

    def __init__(self, expected: int) -> None:
        self.left = expected
        self.all = asyncio.Event()

    def one(self) -> None:
        self.left -= 1
        if not self.left:
            self.all.set()


def _declared(expression: str, schedules: int, workflows: int, counted: Counted) -> list[Workflow[Any, Any]]:
    """Workflows of one step, each with its part of the schedules."""

    async def body(input: int, step: Step) -> None:
        await step.run("no_op", no_op, input)
        counted.one()

    each = schedules // workflows
    return [
        workflow(name=f"rush{w}", schedules=[Schedule(f"s{n}", expression, input=n) for n in range(each)])(body) for w in range(workflows)
    ]


def _watched(store: Store) -> list[tuple[float, int]]:
    """When the store had made runs of slots, and how many."""
    fire, fired = store.fire, []

    async def watched(firings: Sequence[Firing], now: float) -> list[bool]:
        won = await fire(firings, now)
        fired.append((time.time(), sum(won)))
        return won

    store.fire = watched  # type: ignore[method-assign]
    return fired


class Probes:
    """Other work, begun every so often: how long each piece took, from when it should have begun."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, float]] = []
        self.resident = 0.0

    async def one(self, app: Stepwell, at: float) -> None:
        await app.execute(one_step, 1)
        self.taken.append((at, time.time() - at))
        self.resident = max(self.resident, resident())


@asynccontextmanager
async def _probed(app: Stepwell, every: float = 0.1) -> AsyncIterator[Probes]:
    probes = Probes()

    async def keep_probing() -> None:
        async with asyncio.TaskGroup() as group:
            at = time.time()
            while not over.is_set():
                group.create_task(probes.one(app, at))
                at += every
                await asyncio.sleep(at - time.time())

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_probing())
        yield probes
        over.set()


def idle(schedules: int = 10_000, workflows: int = 100) -> list[Workflow[Any, Any]]:
    """Workflows with so many schedules that do not come."""
    return _declared(NEVER, schedules, workflows, Counted(schedules))
