"""Makes runs ready that are due, and lets those fail whose deadline has passed.

Any worker does it for all, also for runs that it cannot execute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stepwell.engine.clock import Clock
    from stepwell.engine.service import Outage
    from stepwell.store.port import Store

AT_ONCE: Final = 500
"""Runs that one statement moves."""

_DOES: Final = "wake what is due"


class Timers:
    """Sleeps until exactly the time at which the next run of the store is due."""

    def __init__(self, store: Store, clock: Clock, outage: Outage, fired: Callable[[], None]) -> None:
        self.waker = Waker(clock)
        self._store = store
        self._clock = clock
        self._outage = outage
        self._fired = fired
        self._due: float | None = None

    def learn(self, due: float | None) -> None:
        """The store says when the next run is due."""
        if due != self._due:
            self._due = due
            self.waker.set()

    async def run(self) -> None:
        """Wake until canceled."""
        while True:
            await self.waker.wait_until(self._due)
            if self._due is not None and self._due <= self._clock.now():
                self._due = None
                await self._wake()

    async def _wake(self) -> None:
        try:
            moved = await self._all(self._store.make_ready) + await self._all(self._store.expire)
        except DatabaseUnavailable as error:
            self._outage.met(_DOES, error)  # the next look tells again what is due
            return
        self._outage.over(_DOES)
        if moved:
            self._fired()  # somebody has to ask when the next one is due. Where nothing was moved, another worker did it, and asks

    async def _all(self, move: Callable[[float, int], Awaitable[int]]) -> int:
        moved, last = 0, AT_ONCE
        while last >= AT_ONCE:
            last = await move(self._clock.now(), AT_ONCE)
            moved += last
        return moved
