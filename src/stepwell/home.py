"""What an app's handles and namespaces share while it is open: its store, its clock, and those who wait for results.

It opens and closes the store, once for all who use the app at the same time. Starts, reads and actions are made by those who hold it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from stepwell.core.records import NewRun, Run, RunSummary, instant
from stepwell.core.waiting import Surroundings, is_ready, waiting_for
from stepwell.engine.clock import Clock, RunIds, SystemClock
from stepwell.engine.counters import Counters
from stepwell.engine.service import Waker
from stepwell.engine.waiters import Waiters
from stepwell.engine.worker import MAX_PAYLOAD
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Ended, Hint, Published, Store

log = logging.getLogger(__name__)

AnyRun = TypeVar("AnyRun", Run, RunSummary)

PATIENCE: Final = 10.0
"""Seconds for which opening tries again while the database is not available."""

_BETWEEN_TRIES: Final = 0.25
"""Seconds."""

_FRESH: Final = 1.0
"""Seconds for which what workers have published is believed without another look."""

_REMEMBERED: Final = 1_000
"""Workflows of which that is remembered."""

MAX_VERSIONS: Final = 10_000
"""Versions of a workflow that are looked at: far more than there are."""

_AROUND: Final = 10_000
"""Workers, and what is paused, that are looked at to say why a run waits: far more than there are."""

_FIRST_LOOK: Final = 0.01
_LAST_LOOK: Final = 5.0
"""Seconds before the first and the last look for a run of a transaction that may not have committed yet. Each is twice the one before."""

_NOT_OPEN: Final = (
    "this app is not open: use it within `async with app:` (`with app:`, if it is a SyncStepwell), or call `await app.open()` first"
)
_FORKED: Final = "this process was forked from one that had the app open; make and open an app of its own after the fork, in each process"
_OTHER_LOOP: Final = "this app is open on another event loop; close it there first, or make one app for each loop"


class Home:
    """The inside of one app.

    Args:
        store: where its runs are.
        clock: time and chance; None: the machine's, from when it is opened.
        migrate: whether opening may make and migrate tables.
    """

    def __init__(self, store: Store, clock: Clock | None, *, migrate: bool = True) -> None:
        self._store = store
        self._given_clock = clock
        self._migrate = migrate
        self.max_payload = MAX_PAYLOAD
        """Bytes of JSON that a signal may carry."""
        self.counters = Counters()
        """Of the workers of the app, in this process."""
        self._users = 0
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._clock: Clock
        self._ids: RunIds
        self._waiters: Waiters
        self._tasks: set[asyncio.Task[None]] = set()
        self._published: dict[str, tuple[float, Published]] = {}

    # -- its life

    async def open(self) -> None:
        """Open the store for one more user. See `Stepwell.open`."""
        loop = asyncio.get_running_loop()
        self._refuse_fork()
        if self._loop is not loop:
            was_open = self._users or self._turn.locked()
            if was_open and self._loop is not None and not self._loop.is_closed():
                raise RuntimeError(_OTHER_LOOP)
            self._loop, self._turn, self._users = loop, asyncio.Lock(), 0
            if was_open:  # on a loop that went away without closing it
                self._tasks.clear()
                await self._store.close()
        async with self._turn:
            if not self._users:
                await self._begin()
            self._users += 1

    async def close(self) -> None:
        """One user less. The last one closes the store; more often changes nothing."""
        self._refuse_fork()
        if self._users and self._loop is not asyncio.get_running_loop():
            raise RuntimeError(_OTHER_LOOP)
        async with self._turn:
            if self._users:
                self._users -= 1
                if not self._users:
                    await self._end()

    async def _begin(self) -> None:
        self._process = os.getpid()
        self._clock = self._given_clock or SystemClock()
        self._ids = RunIds(self._clock)
        self._published.clear()
        await self._open_store()
        self._waiters = Waiters(self._store, self._clock)

    async def _open_store(self) -> None:
        deadline = self._clock.now() + PATIENCE
        while True:
            try:
                return await self._store.open(migrate=self._migrate)
            except DatabaseUnavailable as error:
                if error.permanent or self._clock.now() + _BETWEEN_TRIES > deadline:
                    raise
                log.debug("opening the database is tried again: %s", error)
            await self._pause(_BETWEEN_TRIES)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._waiters.close()
        await self._store.close()

    # -- what is shared

    @property
    def is_open(self) -> bool:
        """Whether somebody has it open."""
        return self._users > 0

    @property
    def store(self) -> Store:
        """Where the runs are. Raises RuntimeError: the app is not open, or open on another event loop."""
        self._check_open()
        return self._store

    @property
    def clock(self) -> Clock:
        """Time and chance. Raises RuntimeError as `store` does."""
        self._check_open()
        return self._clock

    def now(self) -> float:
        """Seconds since 1970. Raises RuntimeError as `store` does."""
        return self.clock.now()

    def new_id(self, shard: int | None = None) -> str:
        """The id of a new run; without a shard, chance decides. Raises RuntimeError as `store` does."""
        self._check_open()
        return self._ids.new(shard)

    def migration_sql(self) -> str:
        """See `Store.migration_sql`."""
        return self._store.migration_sql()

    def _check_open(self) -> None:
        if not self._users:
            raise RuntimeError(_NOT_OPEN)
        self._refuse_fork()
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError(_OTHER_LOOP)

    def _refuse_fork(self) -> None:
        if self._users and os.getpid() != self._process:
            raise RuntimeError(_FORKED)

    async def ended(self, run_id: str) -> Ended:
        """Wait until the run has ended, however long. Raises RunNotFound."""
        self._check_open()
        return await self._waiters.wait(run_id)

    async def published(self, workflow: str) -> Published:
        """What workers have published of a workflow, at most a second ago."""
        now = self.now()
        at, known = self._published.get(workflow, (float("-inf"), None))
        if known is None or not now - _FRESH < at <= now:
            known = await self.store.published(workflow, MAX_VERSIONS)
            self._published.pop(workflow, None)  # the last in the order of the looks
            self._published[workflow] = (now, known)
            while len(self._published) > _REMEMBERED:
                del self._published[next(iter(self._published))]
        return known

    async def explained(self, runs: Sequence[AnyRun]) -> tuple[AnyRun, ...]:
        """The runs, and with those that are ready why they are not executed. Only then is the store asked for more."""
        now = instant(self.now())
        if not any(is_ready(run, now) for run in runs):
            return tuple(runs)
        around = Surroundings(now, *await self.store.around(_AROUND))
        return tuple(replace(run, waiting_for=waiting_for(run, around)) if is_ready(run, now) else run for run in runs)

    # -- runs that are written in a transaction of the caller's

    async def enqueue_within(self, connection: Any, run: NewRun) -> str:
        """Write a run with the caller's connection; its id. In whatever thread the caller uses it: the app's own loop has no part in it."""
        if not self._users:
            raise RuntimeError(_NOT_OPEN)
        (run_id,) = await self._store.enqueue_within(connection, [run])
        return run_id

    def tell_when_there(self, run_id: str, hint: Hint) -> None:
        """Look for a run until its transaction has committed, and tell workers then. If it takes long, they find it by themselves."""
        self._own(self._tell_when_there(run_id, hint))

    async def _tell_when_there(self, run_id: str, hint: Hint) -> None:
        delay = _FIRST_LOOK
        while delay <= _LAST_LOOK:
            await self._pause(delay)
            delay *= 2
            try:
                known = await self._store.ended([run_id])
            except DatabaseUnavailable as error:
                log.debug("run %s is looked for again: %s", run_id, error)
                continue
            if run_id not in known:  # it exists, and goes on
                self._store.hint(hint)
                return

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pause(self, seconds: float) -> None:
        await Waker(self._clock).wait_for(seconds)
