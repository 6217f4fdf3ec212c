"""Tells browsers that something has changed, and nothing of what: each asks for its own page again.

One watcher asks the store for all of them, and only while somebody listens.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.responses import Response, StreamingResponse

from stepwell.errors import DatabaseUnavailable, StepwellError, TooSlow

if TYPE_CHECKING:
    from stepwell.web.site import Visit

log = logging.getLogger(__name__)

MAX_STREAMS: Final = 100
"""In one process. Whoever comes then is told to ask by himself."""

EVERY: Final = 0.25
"""Seconds between two looks of the watcher."""

SILENCE: Final = 15.0
"""Seconds after which a stream says that it is still there: what lies between closes those that say nothing."""

LASTING: Final = 600.0
"""Seconds after which a stream ends and its browser begins another one: clients that have vanished without a word are let go of."""

_CHANGED: Final = "event: changed\ndata: \n\n"
_AWAY: Final = "event: away\ndata: \n\n"
_FULL: Final = "retry: 60000\nevent: full\ndata: \n\n"
_AGAIN: Final = "event: again\ndata: \n\n"
_STILL_THERE: Final = ": still there\n\n"


class Live:
    """Those who listen, in this process.

    Args:
        pulse: gives a text that is another one when something has changed.
    """

    def __init__(self, pulse: Callable[[], Awaitable[str]]) -> None:
        self._pulse = pulse
        self._listeners: set[asyncio.Event] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False
        self._is_away = False
        """Whether the database did not answer when it was asked last."""

    @property
    def streams(self) -> int:
        """How many listen."""
        return len(self._listeners)

    async def events(self) -> AsyncIterator[str]:
        """What one listener is told, until it goes away or the application ends."""
        if len(self._listeners) >= MAX_STREAMS:
            yield _FULL
            return
        if self._closing:
            return
        changed = asyncio.Event()
        self._listeners.add(changed)
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.get_running_loop().create_task(self._watch(), name="stepwell-web-watch")
        loop = asyncio.get_running_loop()
        end = loop.time() + LASTING
        try:
            yield _AWAY if self._is_away else _STILL_THERE
            while self._is_told(changed) and loop.time() < end:
                try:
                    async with asyncio.timeout(SILENCE):
                        await changed.wait()
                except TimeoutError:
                    yield _STILL_THERE
                    continue
                changed.clear()
                if self._is_told(changed):
                    yield _AWAY if self._is_away else _CHANGED
            if self._is_told(changed):
                yield _AGAIN
        finally:
            self._listeners.discard(changed)

    def open(self) -> None:
        """Let streams begin, also after a `close`."""
        self._closing = False

    def close(self) -> None:
        """Let all streams end. None begins any more."""
        self._closing = True
        self._tell()

    async def closed(self) -> None:
        """Wait until the watcher has ended, after `close`: it asks the store no more."""
        if self._watcher is not None and self._watcher.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._watcher])

    def _is_told(self, listener: asyncio.Event) -> bool:
        return listener in self._listeners and not self._closing

    async def _watch(self) -> None:
        try:
            await self._tell_of_changes()
        except StepwellError:
            log.exception("changes are not told any more to those who listen now")
        finally:
            # Nobody listens to a watcher that has gone: browsers whose stream ends come again, and begin another one.
            gone, self._listeners = self._listeners, set()
            for listener in gone:
                listener.set()

    async def _tell_of_changes(self) -> None:
        known, self._is_away = None, False
        while self._listeners and not self._closing and not server_ends():
            try:
                pulse = await self._pulse()
            except (DatabaseUnavailable, TooSlow) as error:
                log.debug("nobody knows whether something has changed: %s", error)
                self._tell_whether_away(True)
            else:
                if not self._tell_whether_away(False) and known not in (None, pulse):
                    self._tell()
                known = pulse
            await asyncio.sleep(EVERY)

    def _tell_whether_away(self, is_away: bool) -> bool:
        """Whether that was told: it is another answer than the last one."""
        is_news, self._is_away = is_away is not self._is_away, is_away
        if is_news:
            self._tell()
        return is_news

    def _tell(self) -> None:
        for listener in self._listeners:
            listener.set()


def server_ends() -> bool:
    """Whether uvicorn, if it serves this process, has been told to end.

    It tells no application before the last answer has ended, and would wait for the streams of all who look at a page, until it is killed.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


async def stream(visit: Visit) -> Response:
    """The stream of a browser."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # the second is for nginx
    if visit.request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(visit.site.live.events(), media_type="text/event-stream", headers=headers)
