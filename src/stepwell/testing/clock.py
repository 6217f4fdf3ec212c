"""Clocks for tests: one that is moved, and one that follows an event loop's own time."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.engine.clock import Alarm

EPOCH: Final = 1_800_000_000.0
"""When a moved clock begins: 15 January 2027, 08:00 UTC."""


class _Entry:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def ring(self) -> None:
        if self.callback is not None:  # not canceled since it was due
            self.callback()


class MovedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, seed: int = 0, start: float = EPOCH) -> None:
        self._now = start
        self._random = random.Random(seed)
        self._heap: list[tuple[float, int, _Entry]] = []
        self._count = 0

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call back when the clock is moved to this instant; at once when it has passed."""
        entry = _Entry(callback)
        if when <= self._now:
            asyncio.get_running_loop().call_soon(entry.ring)
        else:
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, entry))
        return entry

    def random(self) -> float:
        """A number in [0, 1): the same ones for the same seed."""
        return self._random.random()

    def random_bits(self, count: int) -> int:
        """`count` random bits: the same ones for the same seed."""
        return self._random.getrandbits(count)

    def next(self) -> float | None:
        """When somebody wants to be called next."""
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def move_to(self, when: float) -> None:
        """Make it `when`, and call those who are due by then, on the running loop. Never back."""
        self._now = max(self._now, _microsecond_from(when))
        loop = asyncio.get_running_loop()
        while (due := self.next()) is not None and due <= self._now:
            loop.call_soon(heapq.heappop(self._heap)[2].ring)


def _microsecond_from(when: float) -> float:
    """The first whole microsecond that is not before `when`, or what waits for that would never be due."""
    count = math.ceil(when * 1e6)
    return count / 1e6 if count / 1e6 >= when else (count + 1) / 1e6  # the product may have been rounded down to a whole number


class LoopClock:
    """The time of an event loop, for loops whose time is simulated."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random) -> None:
        self._loop = loop
        self._random = chance

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call back at this time of the loop."""
        return self._loop.call_at(when, callback)

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def random_bits(self, count: int) -> int:
        """`count` random bits."""
        return self._random.getrandbits(count)
