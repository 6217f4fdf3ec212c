"""The mailbox of one run: the signals that its body has not read, and who waits for them.

Which signals have been read follows from the outcomes that were delivered to a request that still waited; one that was delivered to a
wait which the body had canceled goes back, and serves the next wait of its name. So a replay reads what the first pass has read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING

from stepwell.core.naming import name_of
from stepwell.core.records import Kind, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stepwell.core.history import History
    from stepwell.core.records import Outcome
    from stepwell.engine.requests import SignalRequest

_NUMBER = attrgetter("number")


class Mailbox:
    """Signals, and the requests that wait for them.

    Attributes:
        seen: the number of the last news that were brought here.
    """

    __slots__ = ("_history", "_read", "_unread", "_waiting", "seen")

    def __init__(self, signals: Iterable[Signal], seen: int, history: History) -> None:
        self.seen = seen
        self._history = history
        self._read: list[int] = []
        self._unread: dict[str, list[Signal]] = {}
        self._waiting: dict[str, deque[SignalRequest]] = {}
        self._put(signals)

    def bring(self, signals: Iterable[Signal], seen: int) -> None:
        """News. What was brought before is passed over."""
        self._put(signal for signal in signals if signal.number > self.seen)
        self.seen = max(self.seen, seen)

    def _put(self, signals: Iterable[Signal]) -> None:
        for signal in signals:
            self._unread.setdefault(signal.name, []).append(signal)

    def wait(self, request: SignalRequest) -> None:
        """The body waits for a signal."""
        self._waiting.setdefault(request.signal, deque()).append(request)

    def has(self, name: str) -> bool:
        """Whether there is a signal of this name."""
        return name in self._unread

    @property
    def unread(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._unread)

    @property
    def awaited(self) -> bool:
        """Whether the body waits for any."""
        return any(self._first(name) is not None for name in list(self._waiting))

    def waiting(self) -> list[SignalRequest]:
        """Those who wait still."""
        requests = [request for waiting in self._waiting.values() for request in waiting]
        return [request for request in requests if not request.answered and self._history.awaits(request.key, request)]

    @property
    def can_answer(self) -> bool:
        """Whether there is one that the body waits for."""
        return next(self._answerable(), None) is not None

    def take(self, sent_by: float | None = None) -> Iterator[tuple[SignalRequest, Signal]]:
        """Take out signals that the body waits for, those sent by then, each with the oldest request of its name."""
        first = [(self._unread[name][0].number, name) for name in self._answerable()]
        heapify(first)
        while first:
            _, name = heappop(first)
            request, signals = self._first(name), self._unread[name]
            if request is None or (sent_by is not None and signals[0].sent_at > sent_by):
                continue
            signal = signals.pop(0)
            if signals:
                heappush(first, (signals[0].number, name))
            else:
                del self._unread[name]
            request.answered = True
            yield request, signal

    def _answerable(self) -> Iterator[str]:
        """Names of which there is a signal and somebody waits."""
        fewer, more = sorted((self._unread.keys(), self._waiting.keys()), key=len)
        for name in list(fewer):
            if name in more and self._first(name) is not None:
                yield name

    def _first(self, name: str) -> SignalRequest | None:
        """The oldest request for signals of this name."""
        waiting = self._waiting.get(name)
        while waiting:
            request = waiting[0]
            if not request.answered and self._history.awaits(request.key, request):
                return request
            waiting.popleft()
        self._waiting.pop(name, None)
        return None

    def delivered(self, outcome: Outcome, *, was_awaited: bool) -> None:
        """An outcome of a signal has had its turn. One that nobody waited for any more goes back, if it was a signal at all."""
        number = outcome.mark
        if not number:
            return
        name = name_of(outcome.key)
        signals = self._unread.get(name, [])
        # A record may have one signal for several waits in turn, of which all but the last were over: to each it goes back.
        place = bisect_left(signals, number, key=_NUMBER)
        is_there = place < len(signals) and signals[place].number == number
        if was_awaited or outcome.kind == Kind.CHILD:
            self._read.append(number)
            if is_there:
                del signals[place]
            if not signals:
                self._unread.pop(name, None)
        elif not is_there:
            signals.insert(place, Signal(number, name, outcome.value or "null", outcome.at))
            self._unread[name] = signals

    @property
    def read(self) -> tuple[int, ...]:
        """The numbers of the signals that the body has read."""
        return tuple(self._read)

    def clear(self) -> None:
        """Nobody waits any more."""
        self._waiting.clear()
        self._unread.clear()
