"""What is measured of the whole: an app and a worker in one process, on a real database."""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.measures import STEPS, many_steps, no_op, one_step, sleeper
from stepwell import Step, Stepwell, Workflow, workflow
from stepwell.core.records import NewRun, NewWorker
from stepwell.engine.clock import Clock, RunIds, SystemClock
from stepwell.home import Home
from stepwell.store.port import Pin, Store


@workflow
async def three_steps(input: int, step: Step) -> int:
    for n in range(3):
        await step.run("no_op", no_op, n)
    return input


class Next:
    """The step after two thousand: in its first life it never ends."""

    reached: asyncio.Event
    began_at = 0.0
    ends = False


async def next_step() -> None:
    Next.began_at = time.perf_counter()
    Next.reached.set()
    if not Next.ends:
        await asyncio.Event().wait()


@workflow
async def long_history(input: int, step: Step) -> None:
    for n in range(input):
        await step.run("no_op", no_op, n)
    await step.run("next", next_step)


WORKFLOWS: list[Workflow[Any, Any]] = [many_steps, one_step, three_steps, sleeper, long_history]


class Place(Protocol):
    """A kind of database."""

    def empty(self) -> AbstractContextManager[Store]:
        """A store that nobody has opened, without any runs; gone afterwards."""


@asynccontextmanager
async def opened(place: Place, *more: Workflow[Any, Any]) -> AsyncIterator[Stepwell]:
    """An app on an empty database."""
    with place.empty() as store:
        async with OnStore(store, workflows=[*WORKFLOWS, *more]) as app:
            yield app


class OnStore(Stepwell):
    """An app on a given store."""

    def __init__(self, store: Store, **options: Any) -> None:
        self._given = store
        super().__init__("sqlite://", **options)

    def _make_home(self, clock: Clock | None, *, migrate: bool) -> Home:
        return Home(self._given, clock, migrate=migrate)


async def steps_per_second(place: Place, runs: int, steps: int = STEPS) -> float:
    """No-op async steps of so many runs at once, from the worker's start to the last result."""
    async with opened(place) as app:
        handles = await app.start_many(many_steps, [steps] * runs)
        began = time.perf_counter()
        async with app.worker(concurrency=runs):
            await asyncio.gather(*(handle.result() for handle in handles))
            return runs * steps / (time.perf_counter() - began)


async def runs_per_second(place: Place, runs: int = 10_000, concurrency: int = 400) -> float:
    """One-step runs, from `start_many` until all have completed."""
    async with opened(place) as app, app.worker(concurrency=concurrency):
        began = time.perf_counter()
        await app.start_many(one_step, list(range(runs)))
        while (await app.runs.count(status="completed")).get("completed", 0) < runs:  # type: ignore[call-overload]  # a StrEnum is its text
            await asyncio.sleep(0.02)
        return runs / (time.perf_counter() - began)


async def results_per_second(place: Place, runs: int = 10_000, concurrency: int = 400) -> float:
    """One-step runs, from `start_many` until every handle has given its result."""
    async with opened(place) as app, app.worker(concurrency=concurrency):
        began = time.perf_counter()
        handles = await app.start_many(one_step, list(range(runs)))
        await asyncio.gather(*(handle.result() for handle in handles))
        return runs / (time.perf_counter() - began)


async def latency_milliseconds(place: Place, runs: int = 200) -> float:
    """Of a run of three steps on an idle system, from `start` to its result: the median."""
    async with opened(place) as app, app.worker():
        await app.execute(three_steps, 0)
        times = []
        for n in range(runs):
            began = time.perf_counter()
            await app.execute(three_steps, n)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1e3


async def idle_percent(place: Place, seconds: float = 5.0, *more: Workflow[Any, Any]) -> float:
    """Of a core, for a worker that has nothing to do."""
    async with opened(place, *more) as app, app.worker():
        await app.execute(three_steps, 0)
        await asyncio.sleep(1.0)  # it has looked once at all that there is
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - cpu) / (time.perf_counter() - began) * 100


async def parked_megabytes(place: Place, runs: int = 10_000) -> float:
    """What the process has grown by for so many runs that sleep in it, as the system counts it."""
    async with opened(place) as app, app.worker(concurrency=200):
        await app.execute(three_steps, 0)
        gc.collect()
        before = resident()
        await app.start_many(sleeper, [1] * runs)
        while (await app.runs.count(status="sleeping")).get("sleeping", 0) < runs:  # type: ignore[call-overload]  # a StrEnum is its text
            await asyncio.sleep(0.02)
        gc.collect()
        return (resident() - before) / 1e6


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


async def return_milliseconds(place: Place, steps: int = 2_000) -> float:
    """From the start of a worker until a run with so many recorded steps has begun its next one."""
    Next.reached, Next.ends = asyncio.Event(), False
    async with opened(place) as app:
        handle = await app.start(long_history, steps)
        async with app.worker(grace="0s"):
            await Next.reached.wait()
        Next.reached, Next.ends = asyncio.Event(), True
        began = time.perf_counter()
        async with app.worker():
            await Next.reached.wait()
            seconds = Next.began_at - began
            await handle.result()
        return seconds * 1e3


async def claim_ratio(place: Place, few: int = 1_000, many: int = 1_000_000) -> float:
    """What a claim of a hundred costs with so many pending runs, in terms of one with few."""
    with place.empty() as store:
        clock = SystemClock()
        ids = RunIds(clock)
        await store.open()
        worker = NewWorker("bench", "bench", "here", 1, None, 100, 3_600.0, clock.now(), ())
        await store.register(worker)
        await _fill(store, ids, clock, few + 2_000)
        with_few = await _claim_seconds(store, clock)
        await _fill(store, ids, clock, many)
        with_many = await _claim_seconds(store, clock)
        await store.close()
        return with_many / with_few


async def _fill(store: Store, ids: RunIds, clock: SystemClock, runs: int) -> None:
    now = clock.now()
    for _ in range(0, runs, 2_000):
        await store.enqueue([NewRun(ids.new(), "one_step", None, "1", now, now) for _ in range(2_000)])


async def _claim_seconds(store: Store, clock: SystemClock, claims: int = 20) -> float:
    times = []
    for _ in range(claims):
        began = time.perf_counter()
        claimed: list[Any] = await store.claim("bench", lambda lane: Pin(lane.version, None), 100, clock.now())
        times.append(time.perf_counter() - began)
        assert len(claimed) == 100
    return statistics.median(times)
