"""Brings to the runs of a worker what operators and others have done to them: the net below the answers of commits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from stepwell.core.status import RunStatus
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepwell.core.records import News
    from stepwell.engine.execution import Execution
    from stepwell.engine.worker import Worker
    from stepwell.store.port import Notices, Store

_GOING_ON: Final = (RunStatus.RUNNING, RunStatus.SLEEPING)

_DOES: Final = "see what was done to its runs"


class NoticeReader:
    """Reads the notices of one worker, and lets the store forget them when they were heeded."""

    def __init__(self, worker: Worker, store: Store) -> None:
        self.waker = Waker(worker.clock)
        self._worker = worker
        self._store = store
        self._seen = ("", 0)
        """Of which worker, and up to which number."""

    async def run(self) -> None:
        """Read until canceled, whenever there may be some."""
        while True:
            await self.waker.wait_until(None)
            reading = True
            while reading:
                reading = await self._read()

    async def _read(self) -> bool:
        """Whether there were some, and all of them are heeded."""
        worker = self._worker
        name, here = worker.id, dict(worker.here)  # what is claimed meanwhile is not meant
        seen = self._seen[1] if self._seen[0] == name else 0
        try:
            notices = await self._store.notices(name, seen, worker.clock.now())
        except DatabaseUnavailable as error:
            worker.outage.met(_DOES, error)
            return False
        worker.outage.over(_DOES)
        if not notices.runs or worker.id != name:
            return False
        # What is to stop is told before anything else is asked, which may fail.
        if stopped := {run_id: known for run_id, known in notices.runs.items() if known is None or known[1] not in _GOING_ON}:
            worker.loop.call_soon(_heed, here, stopped, {})
        try:
            news = await self._news(here, notices)
        except DatabaseUnavailable as error:
            worker.outage.met(_DOES, error)
            return False
        if worker.id != name:
            return False
        worker.loop.call_soon(_heed, here, notices.runs, news)  # out of this task: bodies are stepped from plain callbacks
        if self._is_unsure(here, notices):
            return False  # they are told again
        await asyncio.sleep(0)  # they are heeded now: the next question tells the store so
        self._seen = (name, notices.last)
        return True

    async def _news(self, here: Mapping[str, Execution], notices: Notices) -> Mapping[str, News]:
        """What has come for those of them that are here still."""
        seen = {run_id: here[run_id].mailbox.seen for run_id, known in notices.runs.items() if known is not None and run_id in here}
        return await self._store.news(seen) if seen else {}

    def _is_unsure(self, here: Mapping[str, Execution], notices: Notices) -> bool:
        """Whether one of them may mean a run that came while the store was asked."""
        unknown = [run_id for run_id in notices.runs if run_id not in here]
        return bool(unknown) and (self._worker.claims.busy or any(run_id in self._worker.here for run_id in unknown))


def _heed(here: Mapping[str, Execution], runs: Mapping[str, tuple[int, RunStatus] | None], news: Mapping[str, News]) -> None:
    for run_id, known in runs.items():
        execution = here.get(run_id)
        if execution is None:
            continue
        mine = known is not None and known[0] == execution.claimed.claim
        if mine and run_id in news:
            execution.hear(news[run_id])
        execution.stands(known[1] if mine and known is not None else None)
