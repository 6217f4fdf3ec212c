"""What is measured of the engine's pure part, each beside plain asyncio in the same run."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import tracemalloc
from typing import Any

from benchmarks.null_store import NullStore
from stepwell import Step, Workflow, workflow
from stepwell.core.mark import mark_of
from stepwell.core.records import Claimed, Kind, Outcome
from stepwell.core.registry import Registry
from stepwell.engine.clock import RunIds, SystemClock
from stepwell.engine.runloop import RunLoop
from stepwell.engine.worker import Worker

STEPS = 100
RESULT = {"ok": True, "n": 1}


async def no_op(n: int) -> dict[str, Any]:
    """The least that a step can do, with a result that pydantic has to write and read."""
    return RESULT


@workflow
async def many_steps(input: int, step: Step) -> int:
    for n in range(input):
        await step.run("no_op", no_op, n)
    return input


@workflow
async def one_step(input: int, step: Step) -> dict[str, Any]:
    return await step.run("no_op", no_op, input)


@workflow
async def sleeper(input: int, step: Step) -> None:
    await step.run("no_op", no_op, input)
    await step.sleep("long", "30 days")


def claimed(ids: RunIds, definition: Workflow[Any, Any], text: str, outcomes: tuple[Outcome, ...] = ()) -> Claimed:
    now = time.time()
    return Claimed(
        id=ids.new(), claim=1, workflow=definition.name, version=None, input=text, attempt=1, generation=0, created_at=now, started_at=now,
        scheduled_at=None, tags=(), outcomes=outcomes, tried={}, logged=(-1, 0),
    )  # fmt: skip


async def executed(definition: Workflow[Any, Any], runs: list[Claimed], concurrency: int) -> float:
    """Seconds that a worker takes for these runs."""
    ended = asyncio.Event()
    store = NullStore(runs, ended.set)
    worker = Worker(store, Registry([definition]), SystemClock(), name="bench", concurrency=concurrency, poll=3_600.0)
    began = time.perf_counter()
    async with worker:
        await ended.wait()
        seconds = time.perf_counter() - began
    if worker.failure is not None or store.failed:
        raise RuntimeError(f"{store.failed} runs have failed") from worker.failure
    return seconds


# -- figures


async def steps_per_second(runs: int, steps: int = STEPS) -> float:
    """No-op async steps of so many runs at once, over a store that does nothing."""
    ids = RunIds(SystemClock())
    seconds = await executed(many_steps, [claimed(ids, many_steps, str(steps)) for _ in range(runs)], runs)
    return runs * steps / seconds


async def plain_steps_per_second(runs: int, steps: int = STEPS) -> float:
    """The same loops in plain asyncio: each step a task of its own, its result through pydantic."""
    from stepwell.core.codec import codec_of  # noqa: PLC0415  # what both sides have in common

    codec = codec_of(dict[str, Any])

    async def body() -> None:
        loop = asyncio.get_running_loop()
        for n in range(steps):
            codec.decode(codec.encode(await loop.create_task(no_op(n)), "step"))

    began = time.perf_counter()
    await asyncio.gather(*(body() for _ in range(runs)))
    return runs * steps / (time.perf_counter() - began)


async def runs_per_second(runs: int = 5_000, concurrency: int = 200) -> float:
    """One-step runs from claim to end."""
    ids = RunIds(SystemClock())
    seconds = await executed(one_step, [claimed(ids, one_step, "1") for _ in range(runs)], concurrency)
    return runs / seconds


async def replayed_per_second(steps: int = 5_000, runs: int = 20) -> float:
    """Recorded steps delivered again to bodies that start from their first line."""
    ids = RunIds(SystemClock())
    text = '{"ok":true,"n":1}'
    now = time.time()
    # The last step is not recorded, so the replay ends where the run would go on.
    outcomes = tuple(
        Outcome("", 1, f"no_op:{n}" if n else "no_op", n + 1, n, Kind.FUNCTION, True, text, now, mark_of("no_op", (n,), {}), 1, now, 311)
        for n in range(steps - 1)
    )
    seconds = await executed(many_steps, [claimed(ids, many_steps, str(steps), outcomes) for _ in range(runs)], 10)
    return runs * steps / seconds


class _Owner:
    def timer_set(self, timer: Any) -> None: ...
    def timer_canceled(self, timer: Any) -> None: ...
    def stray_error(self, error: BaseException, message: str) -> None: ...


async def _switches(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def switch_microseconds(count: int = 200_000, tasks: int = 10) -> float:
    """A switch from one task of a body to the next, in the run's own loop."""
    loop = RunLoop(_Owner(), 0.0)  # type: ignore[abstract]  # its I/O is refused, method by method
    outer = loop.enter()

    async def main() -> None:
        await asyncio.gather(*(_switches(count // tasks) for _ in range(tasks)))

    loop.start(main(), contextvars.copy_context())
    began = time.perf_counter()
    while not loop.run_ready():
        pass
    seconds = time.perf_counter() - began
    loop.leave(outer)
    return seconds / count * 1e6


async def plain_switch_microseconds(count: int = 200_000, tasks: int = 10) -> float:
    """The same in the worker's loop."""
    began = time.perf_counter()
    await asyncio.gather(*(_switches(count // tasks) for _ in range(tasks)))
    return (time.perf_counter() - began) / count * 1e6


async def parked_bytes(runs: int = 2_000) -> float:
    """Memory of one parked run, as tracemalloc counts it: everything that was allocated for it and is still held."""
    ids = RunIds(SystemClock())
    store = NullStore([], lambda: None)
    worker = Worker(store, Registry([sleeper]), SystemClock(), name="bench", concurrency=runs, max_parked=10 * runs, poll=3_600.0)
    async with worker:
        await _park(store, worker, ids, 200)  # caches fill
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await _park(store, worker, ids, runs)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        worker.abandon()
    return held / runs


async def _park(store: NullStore, worker: Worker, ids: RunIds, runs: int) -> None:
    store._runs = [claimed(ids, sleeper, "1") for _ in range(runs)]
    store._left = 10**9
    until = store.parked + runs
    worker.hint()
    while store.parked < until:
        await asyncio.sleep(0.001)
