"""How a worker stops: steps may end, runs are let go of, the store forgets it. It has a limit, whatever the database or a thread does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from stepwell.engine.clock import call_later
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from stepwell.engine.worker import Worker
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

TO_ARRIVE: Final = 1.0
"""Seconds for a registration under way to be answered; then others will find out that nobody is behind it."""

TO_LET_GO: Final = 1.0
"""Seconds after the grace until what was let go of is written; then it is left to others."""

TO_LEAVE: Final = 0.3
"""Seconds for each of what remains: the last runs handed back, the last beat, the end of the loops."""

AT_ONCE: Final = 500
"""Runs that one statement hands back."""


class Stopping:
    """The end of one worker. It is begun once, whoever asks for it, and can be hurried."""

    def __init__(self, worker: Worker, store: Store, grace: float) -> None:
        self._worker = worker
        self._store = store
        self._grace = grace
        self._ending: asyncio.Task[None] | None = None
        self._is_time_up = False
        self.waker = Waker(worker.clock)
        """To be set when a run has left."""
        self._begun = asyncio.Event()
        self.is_over = False
        """It has left, or was abandoned: nothing more is written."""

    @property
    def has_begun(self) -> bool:
        """Whether it stops, or has stopped."""
        return self._ending is not None

    def begin(self) -> None:
        """Stop, in the background. Twice changes nothing."""
        if self._ending is None:
            self._ending = self._worker.loop.create_task(self._end(), name=f"stepwell-{self._worker.name}-end")
            self._begun.set()
            self._worker.look_up()

    def hurry(self) -> None:
        """Stop, and wait for no step."""
        self._give_up_waiting()
        self.begin()

    async def ended(self) -> None:
        """Wait until it has left. Canceling this call does not keep it from leaving."""
        await self._begun.wait()
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        worker = self._worker
        await self._let_it_arrive()
        if not self.is_over:
            worker.loop.call_soon(worker.no_more)  # out of this task: bodies are stepped from plain callbacks
            await asyncio.sleep(0)
            await self._let_steps_end()
        if not self.is_over:
            worker.loop.call_soon(worker.release_all)
            await asyncio.sleep(0)
            await self._let_runs_go()
        worker.heart.stop()
        if not self.is_over and worker.registered:
            await self._hand_back()
        if not self.is_over:
            worker.abandon()
        await worker.heart.stopped(TO_LEAVE)
        await worker.services.ended(TO_LEAVE)

    async def _let_it_arrive(self) -> None:
        """It may have been told to stop while it began: what has been registered is to be taken back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TO_ARRIVE):
                while self._worker.beginning and not self.is_over:
                    await self.waker.wait_until(None)

    async def _let_steps_end(self) -> None:
        worker = self._worker
        alarm = call_later(worker.clock, self._grace, self._give_up_waiting)
        while worker.here and not self._is_time_up and not self.is_over:
            await self.waker.wait_until(None)
        alarm.cancel()

    def _give_up_waiting(self) -> None:
        self._is_time_up = True
        self.waker.set()

    async def _let_runs_go(self) -> None:
        worker = self._worker
        try:
            async with asyncio.timeout(TO_LET_GO):
                while worker.here and not self.is_over:
                    await self.waker.wait_until(None)
        except TimeoutError:
            log.warning("%s leaves %d runs to others: the database does not answer", worker.label, len(worker.here))

    async def _hand_back(self) -> None:
        """What it still owns as far as the store knows; then the store forgets it."""
        worker = self._worker
        worker.registered = False  # what is answered to it from here on is no news
        try:
            async with asyncio.timeout(TO_LEAVE):
                while await self._store.hand_back(worker.id, worker.clock.now(), AT_ONCE) >= AT_ONCE:
                    pass
        except (TimeoutError, DatabaseUnavailable) as error:
            log.warning("%s could not take leave, and others will find out that it is gone: %r", worker.label, error)
