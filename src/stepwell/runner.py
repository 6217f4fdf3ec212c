"""A worker of an app, as `app.worker()` gives it: checks its options, opens the app, and makes the engine's worker when it begins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, Literal, NamedTuple, Self, TypedDict, Unpack

from stepwell.core.duration import Duration, parse_duration
from stepwell.core.naming import checked_name
from stepwell.core.options import checked_count
from stepwell.core.registry import Registry
from stepwell.core.status import RunStatus
from stepwell.engine.clock import SystemClock
from stepwell.engine.worker import Worker
from stepwell.errors import DefinitionError
from stepwell.home import Home

MAX_CONCURRENCY: Final = 100_000
"""Runs that one worker executes at the same time, at most."""


class WorkerOptions(NamedTuple):
    """How a worker works, checked."""

    concurrency: int
    queues: frozenset[str] | None
    name: str | None
    lease: float
    grace: float


class Limits(TypedDict):
    """What holds for every worker of an app. `engine.worker.Worker` says what each means."""

    max_payload: int
    max_crashes: int
    retention: Mapping[RunStatus, float]
    timezone: str


def worker_options(concurrency: object, queues: Iterable[str] | None, name: str | None, lease: Duration, grace: Duration) -> WorkerOptions:
    """The options of a worker.

    Raises:
        DefinitionError: one of them is not what it should be.
        ValueError, TypeError: the lease or the grace is no duration.
    """
    count = checked_count(concurrency, "the concurrency of a worker")
    if count > MAX_CONCURRENCY:
        raise DefinitionError(f"the concurrency of a worker is at most {MAX_CONCURRENCY:,}, not {count:,}")
    seconds = parse_duration(lease, "the lease of a worker").total_seconds()
    if not seconds:
        raise DefinitionError('the lease of a worker is longer than zero, such as "30s": without an answer for so long it counts as dead')
    return WorkerOptions(
        concurrency=count,
        queues=_checked_queues(queues),
        name=None if name is None else checked_name(name, "worker"),
        lease=seconds,
        grace=parse_duration(grace, "the grace of a worker").total_seconds(),
    )


def _checked_queues(queues: object) -> frozenset[str] | None:
    if queues is None:
        return None
    if isinstance(queues, str) or not isinstance(queues, Iterable):
        raise DefinitionError(f'queues of a worker are several names, such as ["default", "mail"]; not {queues!r}')
    names = frozenset(checked_name(queue, "queue") for queue in queues)
    if not names:
        raise DefinitionError("queues of a worker names no queue, so it would never work; leave it out for all queues")
    return names


class AppWorker:
    """A worker on the running event loop. It opens the app, if nobody has, for as long as it works.

    Example:
        async with app.worker(concurrency=20):  # in the background
            ...

        await app.worker().run()  # until SIGTERM or SIGINT
    """

    def __init__(self, home: Home, registry: Registry, options: WorkerOptions, **limits: Unpack[Limits]) -> None:
        self._home = home
        self._registry = registry
        self._options = options
        self._limits = limits
        self._worker: Worker | None = None

    async def __aenter__(self) -> Self:
        """Work in the background. Raises RuntimeError: it works already."""
        worker = await self._begin()
        try:
            await worker.__aenter__()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let steps in progress end within the grace, hand every run back, and leave. Raises the error that has ended it, if one has."""
        worker = self._worker
        if worker is None:
            return
        try:
            await worker.__aexit__(None, None, None)
        finally:
            await self._end()
        if worker.failure is not None:  # looked at last: it may be an error of the way out
            raise worker.failure

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until an operator drains it. A second signal leaves at once.

        Raises:
            RuntimeError: it works already.
        """
        async with self._working() as worker:
            await worker.run()

    async def run_until_idle(self) -> None:
        """Work until nothing is due any more: no run executes and none is ready. What sleeps goes on sleeping.

        Raises:
            RuntimeError: it works already.
        """
        async with self._working() as worker:
            await worker.run_until_idle()

    async def stop(self) -> None:
        """Stop it, as the first signal does, and wait until it has left. Changes nothing when it does not work."""
        if self._worker is not None:
            await self._worker.stop()

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[Worker]:
        worker = await self._begin()
        try:
            yield worker
        finally:
            await self._end()

    async def _begin(self) -> Worker:
        if self._worker is not None:
            raise RuntimeError("this worker works already; make another one with app.worker()")
        await self._home.open()
        try:
            home = self._home
            # A clock that is moved must be the only one: a thread's own time would go on beside it.
            heart: Literal["thread", "loop"] = "thread" if isinstance(home.clock, SystemClock) else "loop"
            self._worker = Worker(
                home.store, self._registry, home.clock, heart=heart, counters=home.counters, **self._options._asdict(), **self._limits
            )
        except BaseException:
            await self._home.close()
            raise
        return self._worker

    async def _end(self) -> None:
        self._worker = None
        await self._home.close()
