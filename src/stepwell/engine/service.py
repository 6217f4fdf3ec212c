"""Background loops of a worker: what one waits on, how they are begun and ended, what becomes of an error. Not what they do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from stepwell.engine.clock import call_later

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from stepwell.engine.clock import Alarm, Clock

log = logging.getLogger(__name__)


class Waker:
    """What one background loop waits on: a time, or somebody who wakes it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        """End the wait, or the next one if there is none now. Twice is once."""
        self._is_set = True
        self._ring()

    @property
    def waiting(self) -> bool:
        """Whether the loop waits, and nothing has ended its wait yet."""
        return self._future is not None and not self._future.done()

    async def wait_until(self, when: float | None) -> bool:
        """Until `set`, or until this instant; None: only until `set`. Whether it was set, since the last wait."""
        return await self._wait(None if when is None else lambda: self._clock.call_at(when, self._ring))

    async def wait_for(self, seconds: float) -> bool:
        """Until `set`, or for so long, whatever becomes of the time of day meanwhile. Whether it was set, since the last wait."""
        return await self._wait(lambda: call_later(self._clock, seconds, self._ring))

    async def _wait(self, arm: Callable[[], Alarm] | None) -> bool:
        if not self._is_set:
            self._future = asyncio.get_running_loop().create_future()
            alarm = None if arm is None else arm()
            try:
                await self._future
            finally:
                self._future = None
                if alarm is not None:
                    alarm.cancel()
        was_set, self._is_set = self._is_set, False
        return was_set

    def _ring(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


class Services:
    """The background loops of one worker. The first error that leaves one of them is told once; the others are for the worker to end."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failure: BaseException | None = None
        """The error that has ended one of them."""

    def begin(self, *services: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin loops that go on until they are canceled, or jobs that end by themselves."""
        for service in services:
            task = self._loop.create_task(service(), name=f"stepwell-{self._name}-{getattr(service, '__qualname__', 'job')}")
            task.add_done_callback(self._ended)
            self._tasks.add(task)

    def fail(self, error: BaseException) -> None:
        """An error of the engine: nothing is right any more."""
        if self.failure is None:
            self.failure = error
            self._failed(error)

    def cancel(self) -> None:
        """End them all. Twice changes nothing."""
        for task in self._tasks:
            task.cancel()

    async def ended(self, limit: float) -> None:
        """Wait until all have ended, for so many seconds at most."""
        others = self._tasks - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=limit)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


class Outage:
    """Says once that the database is away, and once that it is back, for each of those who cannot do their work meanwhile."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._without: set[str] = set()

    def met(self, what: str, error: Exception) -> None:
        """`what` could not be done: `claim runs`."""
        if what not in self._without:
            self._without.add(what)
            log.warning("%s cannot %s, and goes on trying: %s", self._who, what, error)

    def over(self, what: str) -> None:
        """It could."""
        if what in self._without:
            self._without.discard(what)
            log.warning("%s can %s again", self._who, what)
