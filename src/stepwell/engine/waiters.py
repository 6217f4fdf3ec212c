"""Serves all who wait for the end of a run in this process by one query: upon a hint, or twice a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from stepwell.engine.service import Outage, Waker
from stepwell.errors import DatabaseUnavailable, RunNotFound
from stepwell.store.port import Ended, Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from stepwell.engine.clock import Clock
    from stepwell.store.port import Store

POLL: Final = 0.5
"""Seconds between two looks when no hint comes."""

PAUSE: Final = 0.001
"""Seconds between two looks at least, however many hints come."""

SHARE: Final = 5
"""A look that took long is followed by a pause of so many times that: waiting must not be what the database is busy with."""

LONGEST_PAUSE: Final = 0.25
"""Seconds of it at most: what took long may have been this process's loop, and not the database."""

AT_ONCE: Final = 1_000
"""Runs asked for in one query."""

_SHORTEST: Final = 0.000_1
"""Seconds of a rest at least: less may be nothing, by a clock that counts from far away, and the rest would never be over."""

_DOES: Final = "see which runs have ended"


class Waiters:
    """Those who wait for runs of one store. On one event loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._waker = Waker(clock)
        self._outage = Outage("who waits for results")
        self._waiting: dict[str, set[asyncio.Future[Ended]]] = {}
        self._new: set[str] = set()
        self._hinted = False
        self._looking: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None

    @property
    def waiting(self) -> Collection[str]:
        """The ids of the runs that somebody waits for."""
        return self._waiting.keys()

    async def wait(self, run_id: str) -> Ended:
        """Wait until the run has ended, however long it takes. A run that has ended already is found at once.

        Raises:
            RunNotFound: there is no such run.
            RuntimeError: it was closed while this call waited.
        """
        future: asyncio.Future[Ended] = self._loop.create_future()
        self._waiting.setdefault(run_id, set()).add(future)
        self._new.add(run_id)
        self._begin()
        self._waker.set()
        try:
            return await future
        finally:
            self._forget(run_id, future)

    def close(self) -> None:
        """Wait no more: who waits still gets an error. Closing twice changes nothing; after it, waiting begins anew."""
        self._end()
        self._refuse(lambda: RuntimeError("the app was closed while the end of a run was waited for; the run goes on"))

    def _begin(self) -> None:
        if self._looking is None:
            self._unlisten = self._store.listen(self._told)
            self._looking = self._loop.create_task(self._look_on(), name="stepwell-waiters")
            self._looking.add_done_callback(self._ended)

    def _end(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:  # of the engine or the adapter
            self._end()
            self._refuse(lambda: error)

    def _refuse(self, error: Callable[[], BaseException]) -> None:
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error())

    def _told(self, hint: Hint) -> None:
        if hint is Hint.ENDED:
            self._hinted = True
            self._waker.set()

    def _forget(self, run_id: str, future: asyncio.Future[Ended]) -> None:
        futures = self._waiting.get(run_id, set())
        futures.discard(future)
        if not futures:
            self._waiting.pop(run_id, None)
            self._new.discard(run_id)

    async def _look_on(self) -> None:
        rest_until, poll_at = 0.0, self._loop.time() + POLL
        while True:
            now = self._loop.time()
            if self._new:
                new, self._new = self._new, set()  # they are not to wait for the others
                await self._look(new)
            elif not self._waiting:
                await self._waker.wait_until(None)
                poll_at = self._loop.time() + POLL
            elif now >= rest_until and (self._hinted or now >= poll_at):
                self._hinted = False
                await self._look(self._waiting.keys())
                over = self._loop.time()
                rest_until, poll_at = over + min(max(PAUSE, SHARE * (over - now)), LONGEST_PAUSE), over + POLL
            else:
                await self._rest((rest_until if self._hinted else max(poll_at, rest_until)) - now)

    async def _rest(self, seconds: float) -> None:
        """By real time: a clock that is moved does not move for those who wait."""
        alarm = self._loop.call_later(max(seconds, _SHORTEST), self._waker.set)
        try:
            await self._waker.wait_until(None)
        finally:
            alarm.cancel()

    async def _look(self, run_ids: Collection[str]) -> None:
        ids = list(run_ids)
        try:
            for place in range(0, len(ids), AT_ONCE):
                self._tell(await self._store.ended(ids[place : place + AT_ONCE]))
        except DatabaseUnavailable as error:
            self._outage.met(_DOES, error)
        else:
            self._outage.over(_DOES)

    def _tell(self, ended: Mapping[str, Ended | None]) -> None:
        for run_id, how in ended.items():
            for future in self._waiting.get(run_id, ()):
                if future.done():
                    continue
                if how is None:
                    future.set_exception(RunNotFound(run_id))
                else:
                    future.set_result(how)
