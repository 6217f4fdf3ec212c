"""What background loops wait on, and what becomes of their errors."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stepwell.engine.service import Outage, Services, Waker
from stepwell.testing.clock import EPOCH, MovedClock
from tests.loops import on_a_loop, turns


class Waiting:
    """A task that waits on a waker, and what it was told."""

    def __init__(self, clock: MovedClock) -> None:
        self.waker = Waker(clock)
        self.told: list[bool] = []

    def until(self, when: float | None) -> asyncio.Task[None]:
        async def wait() -> None:
            self.told.append(await self.waker.wait_until(when))

        return asyncio.get_running_loop().create_task(wait())


@on_a_loop
async def test_a_wait_ends_at_its_time_or_when_somebody_ends_it_and_says_which() -> None:
    clock = MovedClock()
    waiting = Waiting(clock)

    waiting.until(EPOCH + 5)
    await turns()
    was_waiting = waiting.waker.waiting
    clock.move_to(EPOCH + 5)
    await turns()
    waiting.until(EPOCH + 50)
    await turns()
    waiting.waker.set()
    is_waiting = waiting.waker.waiting
    await turns()

    assert waiting.told == [False, True]
    assert (was_waiting, is_waiting, clock.next()) == (True, False, None)


@on_a_loop
async def test_what_was_set_before_a_wait_ends_it_at_once_and_only_it() -> None:
    waiting = Waiting(MovedClock())
    waiting.waker.set()
    waiting.waker.set()

    waiting.until(None)
    await turns()
    second = waiting.until(None)
    await turns()

    assert waiting.told == [True]
    assert waiting.waker.waiting
    second.cancel()


@on_a_loop
async def test_a_wait_that_is_canceled_leaves_no_alarm_behind() -> None:
    clock = MovedClock()
    waiting = Waiting(clock)
    task = waiting.until(EPOCH + 5)
    await turns()

    task.cancel()
    await turns()

    assert (clock.next(), waiting.waker.waiting) == (None, False)


@on_a_loop
async def test_a_wait_for_seconds_is_over_after_them() -> None:
    clock, over = MovedClock(), list[bool]()
    waker = Waker(clock)

    async def wait() -> None:
        over.append(await waker.wait_for(2.5))

    task = asyncio.get_running_loop().create_task(wait())
    await turns()
    clock.move_to(EPOCH + 2)
    await turns()
    early = list(over)
    clock.move_to(EPOCH + 3)
    await task

    assert (early, over) == ([], [False])


@on_a_loop
async def test_the_first_error_of_a_service_is_told_once_and_kept() -> None:
    told: list[BaseException] = []
    services, error = Services("test", told.append), ZeroDivisionError("first")

    async def fail() -> None:
        raise error

    async def go_on() -> None:
        await asyncio.Event().wait()

    services.begin(fail, fail, go_on)
    await turns()
    services.cancel()
    await services.ended(1.0)

    assert told == [error]
    assert services.failure is error


@on_a_loop
async def test_the_end_of_services_is_waited_for_only_so_long() -> None:
    services, release = Services("test", lambda _: None), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    services.begin(stubborn)
    await turns()
    services.cancel()
    began = asyncio.get_running_loop().time()
    await services.ended(0.05)
    took = asyncio.get_running_loop().time() - began
    release.set()
    await services.ended(1.0)

    assert 0.04 < took < 0.9


def test_an_outage_is_told_once_for_each_who_suffers_from_it_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    outage, error = Outage("worker w"), ConnectionError("no route")

    for _ in range(3):
        outage.met("claim runs", error)
        outage.met("look for work", error)
    outage.over("claim runs")
    outage.over("claim runs")
    outage.over("never met")
    outage.met("claim runs", error)

    assert caplog.messages == [
        "worker w cannot claim runs, and goes on trying: no route",
        "worker w cannot look for work, and goes on trying: no route",
        "worker w can claim runs again",
        "worker w cannot claim runs, and goes on trying: no route",
    ]
