"""One heap of what is due for all runs of a worker: an alarm of the event loop for each parked run would cost more memory than the run."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stepwell.engine.clock import Alarm, Clock


class Sleeper(Protocol):
    """Who wants to be called."""

    alarm_at: float | None
    """When; kept here. None: not at all."""

    def ring(self) -> None:
        """It is time. Called once for each `Alarms.set`, from a plain callback of the worker's loop."""


class Alarms:
    """Calls sleepers when they are due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._count = 0
        self._live = 0
        self._alarm: Alarm | None = None
        self._alarm_at = 0.0

    def set(self, sleeper: Sleeper, when: float | None) -> None:
        """Call this sleeper at `when`, and at no other time; None: never."""
        if sleeper.alarm_at == when:
            return
        if sleeper.alarm_at is not None:
            self._live -= 1  # its entry stays in the heap, and is passed over
        sleeper.alarm_at = when
        if when is None:
            return
        self._live += 1
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, sleeper))
        if len(self._heap) > 64 + 2 * self._live:
            self._compact()
        self._arm()

    def next(self) -> float | None:
        """When somebody is due next."""
        heap = self._heap
        while heap and heap[0][2].alarm_at != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].alarm_at == entry[0]]
        heapq.heapify(self._heap)

    def _arm(self) -> None:
        when = self.next()
        if self._alarm is not None:
            if when is not None and self._alarm_at <= when:
                return  # it rings early, and is set anew then
            self._alarm.cancel()
            self._alarm = None
        if when is not None:
            self._alarm_at = when
            self._alarm = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        now = self._clock.now()
        try:
            while (when := self.next()) is not None and when <= now:
                sleeper = heapq.heappop(self._heap)[2]
                sleeper.alarm_at = None
                self._live -= 1
                sleeper.ring()
        finally:
            self._arm()  # also after an error of one of them: the others are not to sleep on

    def close(self) -> None:
        """Ring no more."""
        self._heap.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
