"""An event loop whose time jumps to the next timer. Threads take part in turns that do not depend on the machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from typing import Any

BEGINNING = 1_000_000.0
"""Seconds since 1970 at which each simulation begins."""

_MOST_TURNS = 50_000
"""Turns of the loop in which nothing waits for time."""

_PATIENCE = 50.0
"""Real seconds in which a thread has to come back."""


class Stalled(Exception):
    """Everything waits, and for nothing."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """No I/O, and no time but its own.

    What threads hand over is taken when all of them have come to rest, in the order of their names: never in the middle of a turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._now = BEGINNING
        self._turns = 0  # at this time
        self._thread = threading.get_ident()
        self._arrived: dict[threading.Thread, list[asyncio.Handle]] = {}
        self._news = threading.Condition()
        self.computing: Callable[[], Collection[threading.Thread]] = lambda: ()
        """The threads that will hand something over."""

    def begin_anew(self) -> None:
        """For the next simulation, time is as it was for the first."""
        self._now = BEGINNING

    def forget(self) -> None:
        """What is still to be called is not called any more."""
        self._scheduled.clear()  # type: ignore[attr-defined]  # asyncio's heap of timers
        self._ready.clear()  # type: ignore[attr-defined]  # asyncio's queue
        with self._news:
            self._arrived.clear()

    def time(self) -> float:
        return self._now

    def call_soon_threadsafe(  # type: ignore[override]  # as every loop's, but for how its parameters are declared
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        if threading.get_ident() == self._thread:
            return self.call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        with self._news:
            self._arrived.setdefault(threading.current_thread(), []).append(handle)
            self._news.notify()
        return handle

    def select(self, timeout: float | None) -> list[Any]:
        if awaited := self.computing():
            self._take(awaited)
            return []
        if timeout is None:
            raise Stalled("everything waits, and for nothing")
        self._turns += 1
        if timeout > 0:
            self._go_on_to(self._scheduled[0].when())  # type: ignore[attr-defined]  # asyncio's heap of timers
        if self._turns > _MOST_TURNS:
            raise Stalled(f"time stands still at {self._now}")
        return []

    def _go_on_to(self, when: float) -> None:
        if when > self._now:
            self._now = when
            self._turns = 0

    def _take(self, awaited: Collection[threading.Thread]) -> None:
        with self._news:
            if not self._news.wait_for(lambda: all(thread in self._arrived for thread in awaited), _PATIENCE):
                raise Stalled("a thread does not come back")
            arrived, self._arrived = self._arrived, {}
        for thread in sorted(arrived, key=lambda thread: thread.name):
            self._ready.extend(arrived[thread])  # type: ignore[attr-defined]  # asyncio's queue

    def _process_events(self, _: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
