"""Takes the runs of workers that are dead. Any worker does it for all; who is dead, its heart says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepwell.engine.clock import Clock
    from stepwell.engine.service import Outage
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

AT_ONCE: Final = 500
"""Runs that one statement takes."""

_DOES: Final = "take the runs of dead workers"


class Rescuer:
    """Makes the runs of the dead ready again."""

    def __init__(self, store: Store, clock: Clock, max_crashes: int, outage: Outage) -> None:
        self.waker = Waker(clock)
        self._store = store
        self._clock = clock
        self._max_crashes = max_crashes
        self._outage = outage
        self._dead: dict[str, int] = {}

    def take(self, dead: Mapping[str, int]) -> None:
        """These are dead, with the beat that was their last. Those told before and not now are not."""
        self._dead = dict(dead)
        if dead:
            self.waker.set()

    async def run(self) -> None:
        """Rescue until canceled."""
        while True:
            await self.waker.wait_until(None)
            try:
                while self._dead:
                    await self._rescue(*self._dead.popitem())
            except DatabaseUnavailable as error:
                self._outage.met(_DOES, error)  # the next beat tells again who is dead
            else:
                self._outage.over(_DOES)

    async def _rescue(self, worker: str, beat: int) -> None:
        taken, last = 0, AT_ONCE
        while last >= AT_ONCE:
            last = await self._store.rescue(worker, beat, self._clock.now(), AT_ONCE, self._max_crashes)
            taken += last
        if taken:
            log.warning("worker %s is dead; %d of its runs go on elsewhere", worker, taken)
