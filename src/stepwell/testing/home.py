"""`TestHome`: the inside of a `TestApp`. It opens at once, and those who wait are told when they wait in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from stepwell.core.records import Run
from stepwell.core.status import RunStatus
from stepwell.engine.clock import RunIds
from stepwell.errors import RunNotFound, Stuck
from stepwell.home import Home
from stepwell.store.port import Ended, Hint, Store
from stepwell.testing.clock import MovedClock

_PATIENCE: Final = 1.0
"""Real seconds in which nothing happens before those who await a result are told that nothing will."""

_NOT_RUNNING: Final = "this TestApp is not running, so nothing will change; wait within `async with TestApp(...) as app`"


class TestHome(Home):
    """The inside of a `TestApp`: it opens at once, and those who wait are told when they wait in vain."""

    __test__ = False

    def __init__(
        self,
        store: Store,
        clock: MovedClock,
        begin: Callable[[], Coroutine[Any, Any, None]],
        end: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(store, clock)
        self._begin_app = begin
        self._end_app = end
        self.news = asyncio.Event()
        """Set when something has happened since it was cleared."""
        self._awaited: dict[asyncio.Future[None], str] = {}
        self._unlisten: Callable[[], None] | None = None
        self.keep(store)
        self.follow(clock)

    def keep(self, store: Store) -> None:
        """Have the runs there."""
        self._store = self.kept = store

    def follow(self, clock: MovedClock) -> None:
        """Have the time from there."""
        self._clock = self.moved = clock
        self._ids = RunIds(clock)

    async def _begin(self) -> None:
        await self.kept.open()
        self._unlisten = self.kept.listen(self._told)
        await self._begin_app()

    async def _end(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        self.refuse(RuntimeError(_NOT_RUNNING))
        try:
            await self._end_app()
        finally:
            await self.kept.close()

    def _check_open(self) -> None:
        """Memory can be looked at, and runs be stored in it, whether a worker runs or not."""

    def _told(self, _: Hint) -> None:
        self.news.set()
        for future in self._awaited:
            if not future.done():
                future.set_result(None)

    async def ended(self, run_id: str) -> Ended:
        """See `Home.ended`. Raises RuntimeError: the app is not running; Stuck: nothing that could end the run will happen by itself."""
        while True:
            known = await self.kept.ended([run_id])
            if run_id not in known:
                await self._something(run_id)
            elif (how := known[run_id]) is None:
                raise RunNotFound(run_id)
            else:
                return how

    async def _something(self, run_id: str) -> None:
        if not self.is_open:
            raise RuntimeError(_NOT_RUNNING)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited[future] = run_id
        self.news.set()
        try:
            await future
        finally:
            del self._awaited[future]

    async def awaits_what_may_end(self) -> bool:
        """Whether somebody awaits a run that nothing keeps from going on."""
        runs = await self.explained([await self.kept.get(run_id) for run_id in set(self._awaited.values())])
        return any(_obstacle(run) is None for run in runs)

    def refuse(self, error: BaseException) -> None:
        """Nothing will happen any more, because of this."""
        self.news.set()
        for future in self._awaited:
            if not future.done():
                future.set_exception(error)

    async def hears_something(self) -> bool:
        """Wait until something happens. False: nothing did for a while, though somebody waits for it."""
        try:
            async with asyncio.timeout(_PATIENCE if self._awaited else None):
                await self.news.wait()
        except TimeoutError:
            return False
        return True

    async def tell_those_who_wait_in_vain(self) -> None:
        """Nothing happens by itself any more: who waits for a run that only somebody outside can move is told what it waits for."""
        for future, run_id in list(self._awaited.items()):
            (run,) = await self.explained([await self.kept.get(run_id)])
            reason = _obstacle(run)
            if reason is not None and not future.done():
                future.set_exception(Stuck(f"run {run_id} of {run.workflow} will not end by itself: {reason}"))


def _obstacle(run: Run) -> str | None:
    if run.status is RunStatus.PAUSED:
        return "it is paused; resume it" if run.error is None else f"it is paused, by {run.error}"
    return run.waiting_for
