"""The one look a second at the database that an idle worker takes, and who is told what it shows.

Hints make the worker look at once. With all of them lost, this look is what remains, and nothing is missed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from stepwell.core.records import Started
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stepwell.engine.execution import Execution
    from stepwell.engine.worker import Worker
    from stepwell.store.port import Look, Store

LONG: Final = 1.0
"""Seconds after which operators are shown that a step is under way."""

_DOES: Final = "look for work"


class Watch:
    """Looks, and tells the parts of the worker."""

    def __init__(self, worker: Worker, store: Store, poll: float) -> None:
        self.waker = Waker(worker.clock)
        self._worker = worker
        self._store = store
        self._poll = poll
        self._marks = StartedMarks()
        self._marks_at = 0.0
        self._seen_at = -math.inf

    def saw(self, look: Look) -> None:
        """The heart has looked: there is no need to, for a while."""
        self._seen_at = self._worker.clock.now()
        self._heed(look)

    async def run(self) -> None:
        """Look until canceled: now, each `poll` seconds, and whenever it is woken."""
        pause = self._poll * self._worker.clock.random()  # workers that were started together need not ask together
        while True:
            if self._worker.registered:
                await self._look()
                self._mark_long_steps()
                await self._worker.claims.give_back_strays()
            while not await self.waker.wait_for(pause):
                since = self._worker.clock.now() - self._seen_at
                if not 0.0 <= since < self._poll:
                    break
                pause = self._poll - since
            pause = self._poll

    async def _look(self) -> None:
        worker = self._worker
        try:
            look = await self._store.look(worker.id, worker.clock.now())
        except DatabaseUnavailable as error:
            worker.outage.met(_DOES, error)
            return
        worker.outage.over(_DOES)
        self._heed(look)

    def _heed(self, look: Look) -> None:
        worker = self._worker
        if look.ready:
            worker.claims.found()
        if look.notices:
            worker.notices.waker.set()
        worker.timers.learn(look.due)
        worker.scheduler.learn(look.schedules)

    def _mark_long_steps(self) -> None:
        worker, now = self._worker, self._worker.clock.now()
        if abs(now - self._marks_at) < LONG:
            return
        self._marks_at = now
        for execution, mark in self._marks.new(worker.running, now):
            worker.committer.put(mark, execution)


class StartedMarks:
    """Finds attempts that have been under way for long. Nothing is done for the others, which are nearly all."""

    def __init__(self) -> None:
        self._known: frozenset[Started] = frozenset()

    def new(self, executions: Iterable[Execution], now: float) -> Iterator[tuple[Execution, Started]]:
        """Those that were not found before."""
        found = {
            Started(execution.id, execution.claimed.claim, request.key, request.attempt, request.started_at): execution
            for execution in executions
            if execution.executing and not execution.over
            for request in execution.executing.values()
            if now - request.started_at > LONG
        }
        known, self._known = self._known, frozenset(found)
        return ((execution, mark) for mark, execution in found.items() if mark not in known)
