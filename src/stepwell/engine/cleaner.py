"""Deletes runs that ended longer ago than they are to be kept: of all workflows, whichever worker has executed them.

Any worker of an app with a retention does it, with no leader: two at once find less each. It goes in batches, and rests in between for
longer than they took, so that claims and commits hardly notice.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from stepwell.core.records import RunFilter
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepwell.core.status import RunStatus
    from stepwell.engine.clock import Clock
    from stepwell.engine.service import Outage
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

EVERY: Final = 60.0
"""Seconds between two passes, up to a half more or less: workers that were started together need not ask together."""

FEWEST: Final = 10
MOST: Final = 500
"""Runs that one transaction deletes. How much belongs to a run, nobody knows before: a batch is doubled while the last one was brief."""

BRIEF: Final = 0.05
"""Seconds that a batch may take, the wait for its turn included: while the database is busy, batches are small."""

REST: Final = 4.0
"""Times as long as a batch took, and at most `LONGEST_REST`."""

LONGEST_REST: Final = 10.0
"""Seconds: a clock that was set must not stop it."""

_DOES: Final = "delete runs that were kept long enough"


class Cleaner:
    """Deletes, a batch at a time.

    Args:
        retention: seconds for which ended runs of a status are kept; one that is not in it, for ever.
        label: who does it, for the log.
    """

    def __init__(self, store: Store, clock: Clock, retention: Mapping[RunStatus, float], outage: Outage, label: str) -> None:
        self.waker = Waker(clock)
        self._store = store
        self._clock = clock
        self._outage = outage
        self._label = label
        self._kept = _by_age(retention)

    async def run(self) -> None:
        """Delete until canceled: soon, about each minute, and when it is woken."""
        while not self._kept:
            await self.waker.wait_until(None)
        pause = EVERY * self._clock.random()
        while True:
            await self.waker.wait_for(pause)
            await self._pass()
            pause = EVERY * (0.5 + self._clock.random())

    async def _pass(self) -> None:
        deleted = 0
        try:
            for age, statuses in self._kept.items():
                deleted += await self._delete(RunFilter(statuses=statuses, finished_before=self._clock.now() - age))
        except DatabaseUnavailable as error:
            self._outage.met(_DOES, error)
        else:
            self._outage.over(_DOES)
        if deleted:
            log.info("%s has deleted %d runs that ended longer ago than they are to be kept", self._label, deleted)

    async def _delete(self, where: RunFilter) -> int:
        """All that match; how many."""
        deleted, limit = 0, FEWEST
        while True:
            began = self._clock.now()
            last = await self._store.delete_all(where, limit)
            took = max(self._clock.now() - began, 0.0)
            deleted += last
            if last < limit:
                return deleted
            limit = min(limit * 2, MOST) if took <= BRIEF else max(limit // 2, FEWEST)
            if took:
                await self.waker.wait_for(min(took * REST, LONGEST_REST))


def _by_age(retention: Mapping[RunStatus, float]) -> dict[float, frozenset[RunStatus]]:
    """What is kept equally long is deleted together."""
    ages = sorted(set(retention.values()))
    return {age: frozenset(status for status, kept in retention.items() if kept == age) for age in ages}
