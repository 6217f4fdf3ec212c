"""Daemon threads for `def` steps and `def` bodies, made when needed and kept for the next call.

Daemons, because a step that never ends must not keep the process from ending; the standard library's pools wait for theirs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

log = logging.getLogger(__name__)

MAX_THREADS: Final = 256
"""Calls that run at the same time in one pool; further ones wait for their turn."""

MAX_LEFT_BEHIND: Final = 1_000
"""Calls that go on although nobody waits for them: with so many, further ones fail until some have ended."""


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
        self._warn_at = 1  # left behind; then ten times as many
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
        """Call the function in a thread. Canceling the future leaves the call behind, it cannot be stopped.

        The future raises RuntimeError when there are too many of those.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._is_clogged:
            future.set_exception(self._clogged())
        elif self._has_room():
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
            self._warn()
            self._next()

    def _warn(self) -> None:
        if len(self._left) < self._warn_at:
            return
        self._warn_at *= 10
        log.warning(
            "%d of the calls in threads of %s go on although nobody waits for them: they timed out or were canceled, and a thread cannot "
            "be stopped; with %d of them, `def` steps fail. Give what they call a timeout of its own",
            len(self._left), self._name, MAX_LEFT_BEHIND,
        )  # fmt: skip

    @property
    def _is_clogged(self) -> bool:
        return len(self._left) >= MAX_LEFT_BEHIND

    def _clogged(self) -> RuntimeError:
        return RuntimeError(
            f"{len(self._left):,} calls that timed out or were canceled go on in threads of {self._name}, and no further one is begun "
            "until some have ended; give what they call a timeout of its own"
        )

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
        while self._waiting and (self._is_clogged or self._has_room()):
            future, function = self._waiting.popleft()
            if future.cancelled():
                continue
            if self._is_clogged:
                future.set_exception(self._clogged())
            else:
                self._start(future, function)

    def _has_room(self) -> bool:
        return len(self._under_way) - len(self._left) < self._limit


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if isinstance(error, StopIteration):  # a future refuses to hold one
        future.set_exception(RuntimeError("a step raised StopIteration"))
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
