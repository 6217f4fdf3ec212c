"""`TestApp`: an app in memory with its worker, on a clock that moves by itself whenever everything waits for it.

What its steps do can be replaced by mocks, which hold for every worker of it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final, cast

from stepwell.app import Stepwell
from stepwell.core.definition import Workflow
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.retention import Retention
from stepwell.engine.clock import Clock
from stepwell.engine.requests import StepRequest
from stepwell.engine.worker import Worker
from stepwell.errors import DefinitionError
from stepwell.handle import Handle
from stepwell.runner import AppWorker
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Store
from stepwell.store.sqlite import SqliteStore
from stepwell.testing.clock import MovedClock
from stepwell.testing.expecting import Expected, check_steps
from stepwell.testing.home import TestHome
from stepwell.testing.mocks import MISSING, Mocks, Raisable

_TURNS: Final = 3
"""How often everything must be found waiting, in turns of the loop, before the clock is moved."""

_TICK: Final = 0.001
"""Seconds between two looks at steps that take real time."""


class TestApp(Stepwell):
    """An app with a worker, in memory, for tests. A sleep of 30 days takes milliseconds.

    It has all that `Stepwell` has. Its runs stay when it is left, and go on when it is entered again. Who awaits the result of a run that
    nothing will ever end (it is paused, or of a version that is not there) gets `Stuck` after a second, unless the clock is moved by hand.

    Args:
        workflows: what it can run; modules stand for all workflows in them.
        concurrency: runs that execute at the same time.
        seed: of the chance in it: jitter, ids, `step.random`.
        self_moving: whether the clock moves by itself; else by `advance`.
        database: where to have the runs, for what writes to the database itself, `step.transaction`: `sqlite://`, which is gone with its
            runs when the app is left, or `sqlite:///file.db`. Left out, they are in plain memory, which is no database.
        retention: how long runs are kept when they have ended, as `Stepwell` takes it; None: for ever.

    Example:
        async with TestApp(trial_reminder) as app:
            handle = await app.start(trial_reminder, Trial(days=30))
            assert await handle.result() == "reminded"
    """

    __test__ = False  # pytest takes classes named Test… for test cases

    _home: TestHome
    _lease = 30.0
    """Seconds after which its worker is taken for dead."""

    def __init__(
        self,
        *workflows: Workflow[Any, Any] | ModuleType,
        concurrency: int = 100,
        seed: int = 0,
        self_moving: bool = True,
        database: str | None = None,
        retention: Retention | None = None,
    ) -> None:
        if database is not None and not database.startswith("sqlite:"):
            raise DefinitionError(f'database is "sqlite://" or "sqlite:///file.db", not {database!r}; in another, use Stepwell itself')
        self._has_database = database is not None
        kept = {} if retention is None else retention  # the environment of a test has no say in it
        url = database or "sqlite://"
        super().__init__(url, workflows=workflows, namespace="stepwell", timezone="UTC", retention=kept, clock=MovedClock(seed))
        self._concurrency = concurrency
        self._self_moving = self_moving
        self._worker: Worker | None = None
        self._mover: asyncio.Task[None] | None = None
        self._mocks = Mocks()

    def _make_home(self, clock: Clock | None, *, migrate: bool) -> TestHome:  # noqa: ARG002  # memory has no tables
        if not isinstance(clock, MovedClock):
            raise TypeError(f"a TestApp is on a MovedClock, not on {clock!r}")
        store = SqliteStore(self._settings.path, threads=False) if self._has_database else MemoryStore()
        return TestHome(store, clock, self._begin, self._end)

    @property
    def store(self) -> Store:
        """Where its runs are. Another TestApp can be given the same one, before it is entered."""
        return self._home.kept

    @store.setter
    def store(self, store: Store) -> None:
        self._home.keep(store)

    @property
    def connection(self) -> sqlite3.Connection:
        """To its database, while it is entered: to make tables for transactions, and to look into them. It commits each statement.

        Raises:
            DefinitionError: the app was made without `database=`.
        """
        if not self._has_database:
            raise DefinitionError('this TestApp has no database; make it by TestApp(..., database="sqlite://")')
        connection: sqlite3.Connection = cast("SqliteStore", self.store).connection
        return connection

    @property
    def clock(self) -> MovedClock:
        """Its time. Another TestApp can be given the same one, before it is entered."""
        return self._home.moved

    @clock.setter
    def clock(self, clock: MovedClock) -> None:
        self._home.follow(clock)

    # -- its life

    async def _begin(self) -> None:
        """Start the worker on the running loop."""
        await self._begin_worker()
        if self._self_moving:
            self._mover = asyncio.get_running_loop().create_task(self._move_by_itself(), name="stepwell-test-clock")

    async def _begin_worker(self) -> None:
        home = self._home
        self._worker = Worker(
            home.kept,
            self._registry,
            home.moved,
            name="test",
            concurrency=self._concurrency,
            lease=self._lease,
            grace=0,
            heart="loop",
            on_failure=self._tell_failure,
            counters=home.counters,
            **self._limits(),
        )
        self._worker.steps.stand_in = self._stand_in
        await self._worker.__aenter__()

    def _stand_in(self, request: StepRequest) -> Callable[..., Any]:
        """See `StepRunner.stand_in`."""
        return self._mocks.stand_in(request)

    async def _end(self) -> None:
        """Stop the worker. Raises the error that has ended it, if one has."""
        if self._mover is not None:
            self._mover.cancel()
            await asyncio.gather(self._mover, return_exceptions=True)
            self._mover = None
        worker, self._worker = self._worker, None
        self._mocks.clear()
        if worker is not None:
            failure = worker.failure
            await worker.stop()
            if failure is not None:
                raise failure

    def _tell_failure(self) -> None:
        if self._worker is not None and self._worker.failure is not None:
            self._home.refuse(self._worker.failure)

    def worker(
        self,
        *,
        concurrency: int = 100,
        queues: Iterable[str] | None = None,
        name: str | None = None,
        lease: Duration = "30s",
        grace: Duration = "30s",
    ) -> AppWorker:
        """One more worker, beside the app's own: see `Stepwell.worker`. The mocks hold for it, too."""
        worker = super().worker(concurrency=concurrency, queues=queues, name=name, lease=lease, grace=grace)
        return _TestWorker(worker, self._stand_in)

    # -- steps

    def mock_step(self, step: str, *, returns: Any = MISSING, raises: Raisable | None = None) -> None:
        """Call this instead of a step's function, in every run, until `unmock_step` or until the app is left.

        The step stays a step: its result is encoded, decoded and recorded as ever, what is raised is retried by its policy. A mock that
        no step comes to is no error. Of two mocks for one step the later counts. Sleeps and recorded values are not mocked: for them,
        there is the clock.

        Args:
            step: its name; or the key of one of several, `charge:1`, which goes before the name.
            returns: the result. What can be called is called with the step's arguments, in the place of its function: on the event loop
                if it is an `async def`, else in a thread. Left out, it is None.
            raises: an exception, or a class of them.

        Raises:
            DefinitionError: both are given, `raises` is no exception, or `step` can be no name.

        Example:
            app.mock_step("charge", returns=Receipt(id="r1"))
            app.mock_step("refund", returns=lambda receipt: receipt.id)
            app.mock_step("ship", raises=OutOfStock("book"))
        """
        self._mocks.mock(step, returns, raises)

    def fail_step(self, step: str, *, times: int = 1, error: Raisable | None = None) -> None:
        """Let the next attempts of a step fail; then its function runs, or its mock. Said again, it counts anew.

        The attempts are counted as they begin, in whatever runs. Delays of retries take no time, where the clock moves by itself.

        Args:
            step: its name or key, as `mock_step` takes it.
            times: how many attempts fail.
            error: what they raise; left out, a RuntimeError that says where it comes from.

        Raises:
            DefinitionError: `times` is no number from 1 on, `error` is no exception, or `step` can be no name.

        Example:
            app.fail_step("charge", times=2, error=ConnectionError("the bank is away"))
        """
        self._mocks.fail(step, times, error)

    def unmock_step(self, step: str) -> None:
        """Let a step do again what it does by itself: forget its mock, and its failures that are still to come.

        Raises:
            DefinitionError: nothing was said of this step. It must be named as it was mocked: by name, or by key.
        """
        self._mocks.unmock(step)

    async def assert_steps(self, handle: Handle[Any], expected: Iterable[Expected]) -> None:
        """Check which steps a run has taken until now, in the order in which they were started.

        Each is named once, however many attempts it took, sleeps and recorded values too. Await the result first, to check a whole run.

        Args:
            handle: of the run.
            expected: names or keys of its steps; or, for the status of the last attempt, `(name, status)`. A status is `running`,
                `completed`, `failed` or `canceled`.

        Raises:
            AssertionError: the steps are others. The message shows where they differ.
            RunNotFound: there is no such run.

        Example:
            await app.assert_steps(handle, ["reserve", ("charge", "failed"), "release"])
        """
        if not isinstance(handle, Handle):
            raise TypeError(f"assert_steps takes the handle of a run, as `app.start` gives it; not {handle!r}")
        check_steps(f"run {handle.run_id}", await handle.steps(), expected)

    # -- time

    async def advance(self, duration: Duration) -> None:
        """Move the clock by hand, and let everything happen that is due by then, in order."""
        end = self.clock.now() + parse_duration(duration).total_seconds()
        while True:
            await self._all_waits()
            when = await self._next_due()
            if when is None or when > end:
                break
            self._move_to(when)
        self._move_to(end)
        await self._all_waits()

    async def _move_by_itself(self) -> None:
        """Time passes a slot only while somebody awaits a result that may come: else schedules alone would keep it going for ever."""
        news = self._home.news
        while self._worker is not None and self._worker.failure is None:
            news.clear()
            await self._all_waits()
            when = await self._next_due()
            if news.is_set():
                continue  # somebody has done something in the meantime: time does not move before that is heeded
            if when is not None and (not self._is_slot(when) or await self._home.awaits_what_may_end()):
                self._move_to(when)
            elif not await self._home.hears_something():
                await self._home.tell_those_who_wait_in_vain()

    def _move_to(self, when: float) -> None:
        self.clock.move_to(when)
        if self._worker is not None:
            self._worker.hint()
            self._worker.look()

    async def _all_waits(self) -> None:
        """Until nothing goes on that does not wait for the clock. While steps run, a self-moving one goes at the speed of the real one."""
        loop, quiet = asyncio.get_running_loop(), 0
        while quiet < _TURNS and self._worker is not None and self._worker.failure is None:
            quiet = quiet + 1 if self._worker.quiet else 0
            if not self._worker.steps.running:
                await asyncio.sleep(0)
                continue
            began = loop.time()
            await asyncio.sleep(_TICK)
            if self._self_moving:
                self.clock.move_to(self.clock.now() + loop.time() - began)

    def _is_slot(self, when: float) -> bool:
        slot = None if self._worker is None else self._worker.scheduler.next_at
        return slot is not None and slot <= when

    async def _next_due(self) -> float | None:
        """When a run goes on next, or a slot comes. The worker's own looks at the database are no reason to move the clock."""
        if self._worker is None or self._worker.failure is not None:
            return None
        look = await self.store.look(self._worker.id, self.clock.now())
        scheduler = self._worker.scheduler
        times = (self._worker.alarms.next(), look.due, scheduler.next_at, scheduler.ends_at)
        return min((when for when in times if when is not None), default=None)


class _TestWorker(AppWorker):
    """A further worker of a `TestApp`."""

    def __init__(self, worker: AppWorker, stand_in: Callable[[StepRequest], Callable[..., Any]]) -> None:
        super().__init__(worker._home, worker._registry, worker._options, **worker._limits)
        self._stand_in = stand_in

    async def _begin(self) -> Worker:
        worker = await super()._begin()
        worker.steps.stand_in = self._stand_in
        return worker
