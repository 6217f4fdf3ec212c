"""What one run waits for until some time: timers, sleeps, and the next attempts of its steps."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from stepwell.core.records import LATEST
from stepwell.engine.requests import SignalRequest, SleepRequest, StepRequest
from stepwell.engine.tasks import Timer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepwell.core.history import History

Due = Timer | SleepRequest | SignalRequest | StepRequest

_TIDY: Final = 256


class DueTimes:
    """A heap by due time and creation. What the body has canceled since, or was delivered from the record, is passed over."""

    __slots__ = ("_count", "_heap", "_history")

    def __init__(self, history: History) -> None:
        self._history = history
        self._heap: list[tuple[float, int, Due]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, when: float, what: Due) -> None:
        """Remember what is due at `when`. For ever, also said as infinity or NaN, is until the last instant that can be stored."""
        if not when <= LATEST:
            when = LATEST
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, what))
        if self._count % _TIDY == 0:  # timers that were canceled (a timeout that was not needed) would pile up
            self._heap = [entry for entry in self._heap if self._is_awaited(entry[2])]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """When something is due next."""
        heap = self._heap
        while heap and not self._is_awaited(heap[0][2]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def take(self, now: float) -> Iterator[Due]:
        """Take out what is due by now, in the order of its times."""
        while (when := self.next()) is not None and when <= now:
            yield heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Wait for nothing."""
        self._heap.clear()

    def _is_awaited(self, what: Due) -> bool:
        return self._history.awaits(what.key, what) and not (isinstance(what, SignalRequest) and what.answered)
