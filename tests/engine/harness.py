"""What the tests of the engine share: a loop for each test, crashes, and successors that find what a dead worker has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, ParamSpec

import pytest

from stepwell import Retry, RunStatus, Workflow
from stepwell.engine import stopping
from stepwell.engine.worker import Worker
from stepwell.handle import Handle
from stepwell.store.memory import MemoryStore
from stepwell.testing import TestApp
from tests.loops import JumpingLoop

P = ParamSpec("P")

WITHIN: Final = 50.0
"""Seconds in which a test, or what it waits for, comes to an end, on a busy machine."""

ONCE = Retry.never()
TWICE = Retry(2, jitter=0)


def scenario(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on a loop of its own. An error in a callback of the engine, which nobody would see, fails it too."""
    return _on(asyncio.new_event_loop, test)


def jumping_scenario(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """The same on a loop whose time jumps, for tests that say how long something takes."""
    return _on(JumpingLoop, test)


def _on(new_loop: Callable[[], asyncio.AbstractEventLoop], test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        errors: list[dict[str, Any]] = []

        async def watched() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            async with asyncio.timeout(WITHIN):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(watched())
        assert errors == []

    return run


class Counter:
    """Steps that count how often they were executed."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def step(self, value: Any = None) -> Any:
        self.calls.append(value)
        return value

    def plain(self, value: Any = None) -> Any:
        self.calls.append(value)
        return value

    @property
    def repeated(self) -> list[Any]:
        return [call for place, call in enumerate(self.calls) if call in self.calls[:place]]


def successor(app: TestApp, *workflows: Workflow[Any, Any], **options: Any) -> TestApp:
    """Another app on the same store and clock."""
    other = TestApp(*workflows, **options)
    other.store, other.clock = app.store, app.clock
    return other


async def crash(app: TestApp) -> None:
    """The worker dies where it is, and somebody notices."""
    worker = worker_of(app)
    worker.abandon()
    await app.store.hand_back(worker.id, app.clock.now(), 1_000)


def memory_of(app: TestApp) -> MemoryStore:
    assert isinstance(app.store, MemoryStore)
    return app.store


def worker_of(app: TestApp) -> Worker:
    assert app._worker is not None
    return app._worker


def looks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process, whose leases must be long too, find what others do by hints alone."""
    defaults = Worker.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "poll", 3_600.0)


@contextmanager
def leaving_takes_its_time() -> Iterator[None]:
    """Workers of this process take as long as they need to hand back what they have: on a busy machine, a database may need more than they
    would give it elsewhere, and then it is for others to find out that they are gone.
    """
    limits = {"TO_LET_GO": stopping.TO_LET_GO, "TO_LEAVE": stopping.TO_LEAVE}
    vars(stopping).update(dict.fromkeys(limits, WITHIN))
    yield
    vars(stopping).update(limits)


async def until(condition: Callable[[], Any]) -> None:
    """Wait, in turns of the loop and a little real time, until it holds."""
    async with asyncio.timeout(WITHIN):
        turn = 0
        while not condition():
            turn += 1
            await asyncio.sleep(0 if turn % 50 else 0.001)


async def status_is(handle: Handle[Any], status: RunStatus) -> None:
    async with asyncio.timeout(WITHIN):
        while await handle.status() is not status:
            await asyncio.sleep(0)


async def settled(app: TestApp, turns: int = 20) -> None:
    """Let the worker do what it can do now."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def caught(what: Awaitable[Any]) -> BaseException | None:
    """What this raises."""
    try:
        await what
    except Exception as error:  # noqa: BLE001  # which one is the test's matter
        return error
    return None
