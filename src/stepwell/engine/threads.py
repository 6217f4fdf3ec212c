"""Daemon threads for `def` steps and `def` bodies, made when needed and kept for the next call.

Daemons, because a step that never ends must not keep the process from ending; the standard library's pools wait for theirs.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_THREADS: Final = 256
"""Calls that run at the same time in one pool; further ones wait for their turn."""

MAX_LEFT_BEHIND: Final = 1_000
"""Calls that go on although nobody waits for them: with more, no further ones are begun until some have ended."""


class Threads:
    """A pool of daemon threads whose calls end on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, limit: int = MAX_THREADS) -> None:
        self._loop = loop
        self._name = name
        self._limit = limit
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()
        self._idle: list[SimpleQueue[Any]] = []
        self._made = 0
        self._under_way: set[asyncio.Future[Any]] = set()
        self._left: set[asyncio.Future[Any]] = set()
        self._closed = False

    @property
    def busy(self) -> int:
        """Calls that run now, those left behind among them."""
        return len(self._under_way)

    @property
    def left_behind(self) -> int:
        """Calls that nobody waits for any more and that have not ended: timed out or canceled, a thread cannot be stopped."""
        return len(self._left)

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call the function in a thread. Canceling the future leaves the call behind, it cannot be stopped."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._has_room():
            self._start(future, function)
        else:
            self._waiting.append((future, function))
        return future

    def close(self) -> None:
        """Let idle threads end. Calls under way run out, and then their threads end too. Closing twice changes nothing."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _start(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
        if self._idle:
            inbox = self._idle.pop()
        else:
            inbox = SimpleQueue()
            thread = threading.Thread(target=self._work, args=(inbox,), name=f"{self._name}-{self._made + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more of them
                future.set_exception(error)
                return
            self._made += 1
        self._under_way.add(future)
        future.add_done_callback(self._abandoned)
        inbox.put((future, function))

    def _abandoned(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() and future in self._under_way:  # it may have been canceled on the way from its thread
            self._left.add(future)
            self._next()

    def _work(self, inbox: SimpleQueue[Any]) -> None:
        while (job := inbox.get()) is not None:
            future, function = job
            result, error = None, None
            try:
                result = function()
            except BaseException as caught:  # noqa: BLE001  # whatever the user's function raises is its outcome
                error = caught
            try:
                self._loop.call_soon_threadsafe(self._ended, inbox, future, result, error)
            except RuntimeError:
                return  # the loop has been closed meanwhile: nobody waits for this
            del job, future, function, result, error

    def _ended(self, inbox: SimpleQueue[Any], future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._under_way.discard(future)
        self._left.discard(future)
        if self._closed:
            inbox.put(None)
        else:
            self._idle.append(inbox)
        if not future.cancelled():
            _settle(future, result, error)
        self._next()

    def _next(self) -> None:
        while self._waiting and self._has_room():
            future, function = self._waiting.popleft()
            if not future.cancelled():
                self._start(future, function)

    def _has_room(self) -> bool:
        return len(self._under_way) - len(self._left) < self._limit and len(self._left) < MAX_LEFT_BEHIND


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if isinstance(error, StopIteration):  # a future refuses to hold one
        future.set_exception(RuntimeError("a step raised StopIteration"))
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
