"""The only reader of time and chance. Everything else is handed a `Clock`, so that tests and simulations can move it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Final, Protocol

from stepwell.core.shards import SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """It will not be made. Canceling twice changes nothing."""


class Clock(Protocol):
    """Time and chance."""

    def now(self) -> float:
        """Seconds since 1970, UTC, in whole microseconds: as fine as databases keep it."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call back at this instant, from a plain callback of the running loop; at once when it has passed."""

    def random(self) -> float:
        """A number in [0, 1)."""

    def random_bits(self, count: int) -> int:
        """`count` random bits."""


LONGEST_WAIT: Final = 2.0
"""Seconds after which an alarm looks at the clock again: it may have jumped. A slot of a schedule may be late by ten."""

JUMP: Final = 0.5
"""Seconds by which the time of day moves against all other time when somebody sets it, or the machine was asleep."""


class SystemClock:
    """The clock of the database, as far as this machine knows it, on the running event loop.

    Without a database that tells its time it is the machine's own clock.
    """

    def __init__(self, random_source: random.Random | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._random = random_source or random.SystemRandom()
        self.offset = 0.0
        """Seconds by which the database is ahead of this machine."""
        self._ahead = time.time() - time.monotonic()

    def follow(self, offset: float) -> None:
        """The database is so many seconds ahead of this machine; negative: behind. From whatever thread."""
        self.offset = offset

    def has_jumped(self) -> bool:
        """Whether the machine's clock was set, or stood still, since this was asked last. From one thread."""
        ahead = time.time() - time.monotonic()
        jump, self._ahead = ahead - self._ahead, ahead
        return abs(jump) > JUMP

    def now(self) -> float:
        """Seconds since 1970, UTC, in whole microseconds: what databases keep, so that a replay sees the same as the first pass."""
        return int((time.time() + self.offset) * 1e6) / 1e6  # five times as fast as `round`

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """Call back at this instant: once, and not before the clock shows it, however it is set meanwhile."""
        return _InstantAlarm(self._loop, self, when, callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Alarm:
        """Call back after so many seconds, whatever becomes of the time of day."""
        return self._loop.call_later(seconds, callback)

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def random_bits(self, count: int) -> int:
        """`count` random bits."""
        return self._random.getrandbits(count)


class _InstantAlarm:
    """Waits in portions: a machine that was asleep, or whose clock was set, must neither be late by hours nor early."""

    __slots__ = ("_callback", "_clock", "_handle", "_loop", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: SystemClock, when: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._clock = clock
        self._when = when
        self._callback = callback
        self._arm()

    def cancel(self) -> None:
        self._handle.cancel()

    def _arm(self) -> None:
        left = self._when - self._clock.now()
        self._handle = self._loop.call_later(min(max(left, 0.0), LONGEST_WAIT), self._look)

    def _look(self) -> None:
        if self._clock.now() >= self._when:
            self._callback()
        else:
            self._arm()


def call_later(clock: Clock, seconds: float, callback: Callable[[], None]) -> Alarm:
    """Call back after a time. A clock that is moved has no other time than the one it shows."""
    if isinstance(clock, SystemClock):
        return clock.call_later(seconds, callback)
    return clock.call_at(clock.now() + seconds, callback)


def monotonic() -> float:
    """Seconds since some moment, which nobody sets: for durations within this process. From whatever thread."""
    return time.monotonic()


_VERSION_7: Final = 0x7000
_VARIANT: Final = 0x8000_0000_0000_0000


class RunIds:
    """Makes run ids: UUIDs of version 7, so that runs of one moment are neighbours in every index.

    The top 8 of the random bits are the shard, by which all rows of a run can be placed on one of several databases.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def new(self, shard: int | None = None) -> str:
        """An id greater than all that were made here before. A shard is a number below 256; left out, chance decides.

        Raises:
            ValueError: there is no such shard.
        """
        if shard is not None and not 0 <= shard < SHARDS:
            raise ValueError(f"a shard is a number from 0 to {SHARDS - 1}, not {shard}")
        tick = int(self._clock.now() * 1_000) << 12  # milliseconds, and a counter within them
        self._last = tick = max(tick, self._last + 1)
        low = self._clock.random_bits(62)
        if shard is not None:
            low = (low & ((1 << 54) - 1)) | (shard << 54)
        digits = f"{tick >> 12:012x}{_VERSION_7 | (tick & 0xFFF):04x}{_VARIANT | low:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
