"""A worker in the foreground of a real process, and the signals that it gets."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stepwell.engine.signals import on_signals
from tests.engine.harness import scenario, until

_PROCESS = """
import asyncio, sys
from stepwell import Step, workflow
from stepwell.core.records import NewRun
from stepwell.core.registry import Registry
from stepwell.engine.clock import RunIds, SystemClock
from stepwell.engine.worker import Worker
from stepwell.store.memory import MemoryStore

@workflow
async def flow(step: Step) -> None:
    await step.run("work", work)

async def work() -> None:
    print("working", flush=True)
    try:
        await asyncio.sleep(float(sys.argv[1]))
        print("worked", flush=True)
    except asyncio.CancelledError:
        print("canceled", flush=True)
        raise

async def main() -> None:
    store, clock = MemoryStore(), SystemClock()
    now = clock.now()
    run_id = RunIds(clock).new()
    await store.enqueue([NewRun(run_id, "flow", None, "null", now, now)])
    await Worker(store, Registry([flow]), clock, grace=float(sys.argv[2])).run()
    run = await store.get(run_id)
    print(run.status, run.worker, run.attempt, [step.status for step in await store.steps(run_id)], flush=True)

asyncio.run(main())
"""


@contextmanager
def _process(seconds: float, grace: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _PROCESS, str(seconds), str(grace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "working\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_the_step_end_and_hands_its_run_back(number: signal.Signals) -> None:
    with _process(0.3, 30.0) as process:
        process.send_signal(number)
        told, _ = process.communicate(timeout=50)

    assert told.splitlines() == ["worked", "pending None 1 ['completed']"]
    assert process.returncode == 0


def test_the_second_signal_leaves_at_once() -> None:
    with _process(60.0, 60.0) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=50)

    assert told.splitlines() == ["canceled", "pending None 1 []"]
    assert process.returncode == 0


def test_after_the_grace_the_process_leaves_too() -> None:
    with _process(60.0, 0.2) as process:
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=50)

    assert told.splitlines() == ["canceled", "pending None 1 []"]


@scenario
async def test_what_handled_signals_before_does_so_again() -> None:
    got: list[str] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda *_: got.append("before"))
    try:
        with on_signals(lambda: got.append("first"), lambda: got.append("second")):
            for count in (1, 2, 3):
                os.kill(os.getpid(), signal.SIGTERM)
                await until(lambda count=count: len(got) == count)  # type: ignore[misc]
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: len(got) == 4)
        after = signal.getsignal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert got == ["first", "second", "second", "before"]
    assert after == before[signal.SIGINT]


def test_in_another_thread_signals_are_left_alone() -> None:
    seen: list[Any] = []

    async def work() -> None:
        with on_signals(lambda: None, lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()

    assert seen == [before]
