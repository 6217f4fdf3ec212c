"""One worker: its parts and how they hang together, its slots, and its life from the first registration until it has left."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Final, Literal, Self

from stepwell.core.records import NewWorker
from stepwell.engine.alarms import Alarms
from stepwell.engine.attempts import StepRunner, current_step
from stepwell.engine.claims import Claims, Lanes
from stepwell.engine.cleaner import Cleaner
from stepwell.engine.clock import call_later
from stepwell.engine.committer import Committer
from stepwell.engine.counters import Counters
from stepwell.engine.effects import Effects
from stepwell.engine.execution import Execution
from stepwell.engine.generators import adopt_generators
from stepwell.engine.inputs import Inputs
from stepwell.engine.lease import Heart, Load, LoopHeart, ThreadHeart
from stepwell.engine.notices import NoticeReader
from stepwell.engine.publishing import definitions_of
from stepwell.engine.rescue import Rescuer
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.service import Outage, Services, Waker
from stepwell.engine.signals import on_signals
from stepwell.engine.stopping import Stopping
from stepwell.engine.threads import Threads
from stepwell.engine.timers import Timers
from stepwell.engine.watch import Watch
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from stepwell.core.ending import Ending
    from stepwell.core.records import Claimed
    from stepwell.core.registry import Registry
    from stepwell.core.status import RunStatus
    from stepwell.engine.clock import Clock
    from stepwell.store.port import Beat, Store

log = logging.getLogger(__name__)

MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Bytes of JSON of an input, a result or an output."""

WAIT_FOR_SLOT: Final = 1.0
"""Seconds that a run which wakes here waits for a slot; then any worker may take it."""

FIRST_TRIES: Final = 10
"""How often a worker that starts tries to register, a second apart; then how many seconds it waits for its first beat."""


class Worker:
    """Executes runs on the running event loop.

    Args:
        store: where the runs are; open.
        registry: the workflows that it can execute.
        clock: time and chance.
        name: by which people know it; left out, host and process. The store knows it by an id of its own.
        queues: from which it takes runs; None: all.
        concurrency: runs that execute at the same time. Runs that wait do not count.
        lease: seconds after which others take its runs when nothing was heard of it.
        grace: seconds that steps have to end when it stops.
        max_crashes: workers that a run may take down in a row before it fails.
        heart: `thread`, or `loop` for clocks that are moved.
        park_after: seconds; a run that waits for longer gives up its slot.
        max_parked: waiting runs kept in memory; beyond it, those that wait longest are let go, and come back by replay.
        poll: seconds between two looks at the database when no hint comes.
        max_payload: bytes of JSON.
        retention: seconds for which ended runs of a status are kept; one that is not in it, for ever.
        timezone: of schedules that name none.
        on_left: told of each run that has left, and how; None: it was taken away, or canceled.
        on_failure: told when an error of the engine has ended the worker.
        counters: of all workers of the app; None: of its own.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        *,
        name: str | None = None,
        queues: Collection[str] | None = None,
        concurrency: int = 100,
        lease: float = 30.0,
        grace: float = 30.0,
        max_crashes: int = 5,
        heart: Literal["thread", "loop"] = "thread",
        park_after: float = 1.0,
        max_parked: int = 10_000,
        poll: float = 1.0,
        max_payload: int = MAX_PAYLOAD,
        retention: Mapping[RunStatus, float] | None = None,
        timezone: str = "UTC",
        on_left: Callable[[str, Ending | None], None] | None = None,
        on_failure: Callable[[], None] | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.clock = clock
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.label = f"worker {self.name}"
        self.id = self._new_id()
        """By which the store knows it. A worker that was taken for dead goes on under a new one."""
        self.max_payload = max_payload
        self.park_after = park_after
        self.concurrency = concurrency
        self.registered = False
        self.leased = False
        """Whether others can be sure that it lives. Without that it begins nothing new."""
        self.may_start = False
        """Whether steps may begin."""
        self.here: dict[str, Execution] = {}
        """The runs in its memory, by their ids."""
        self.outage = Outage(self.label)
        self.services = Services(self.name, self._fail)
        self.counters = counters or Counters()
        self.committer = Committer(store, self.id, clock, self.counters)
        self.alarms = Alarms(clock)
        self.threads = Threads(self.loop, f"stepwell-{self.name}")
        self.steps = StepRunner(
            self.loop, clock, self.threads, Effects(store, self.committer, clock, self.services.fail), max_payload, self.counters
        )
        self.scheduler = Scheduler(self, store, registry, Inputs(self.threads, max_payload), timezone)
        self.claims = Claims(self, store, Lanes(registry, queues))
        self.notices = NoticeReader(self, store)
        self.timers = Timers(store, clock, self.outage, self.look)
        self._watch = Watch(self, store, poll)
        self._rescuer = Rescuer(store, clock, max_crashes, self.outage)
        self._cleaner = Cleaner(store, clock, retention or {}, self.outage, self.label)
        self.heart: Heart = (ThreadHeart if heart == "thread" else LoopHeart)(self, store, clock, lease, self.outage)
        self._stopping = Stopping(self, store, grace)
        self._again = Waker(clock)  # it was taken for dead
        self._pause = Waker(clock)  # between two tries to register
        self._store = store
        self.registry = registry
        self._queues = queues
        self._lease = lease
        self._max_parked = max_parked
        self._on_left, self._on_failure = on_left, on_failure
        self._unlisten: Callable[[], None] | None = None
        self._running: dict[Execution, None] = {}
        self._parked: dict[Execution, None] = {}  # in the order in which they fell asleep
        self._woken: dict[Execution, None] = {}  # they wait for a slot, in the order in which they woke
        self._is_begun = self._has_beaten = False
        self.beginning = False
        """Whether it is on its way to its first beat."""
        self._changed = Waker(clock)
        adopt_generators()

    # -- its life

    async def __aenter__(self) -> Self:
        """Work in the background.

        Raises:
            DatabaseUnavailable: it could not be registered, for ten seconds.
        """
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, as `stop` does."""
        await self.stop()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, `stop`, or an operator's wish. An error of the engine itself is raised.

        The first signal stops it as `stop` does, a second one as `stop_now`. Canceling this call is `stop_now`, too.
        """
        with on_signals(self._stopping.begin, self._stopping.hurry):
            try:
                await self._begin()
                await self._stopping.ended()
            except GeneratorExit:
                raise  # its loop has gone away: nothing can be awaited any more
            except BaseException:
                await self.stop_now()
                raise
        if self.failure is not None:
            raise self.failure

    async def run_until_idle(self) -> None:
        """Work until nothing is due: no run executes, and none that this worker could execute is ready. What sleeps is let go."""
        await self._begin()
        self._cleaner.waker.set()  # it may be gone before the first pass of one that stays
        try:
            while not self._stopping.has_begun and self.failure is None and not await self._is_idle():
                await self._changed.wait_for(1.0)
        finally:
            await self.stop()
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        """Claim no more, let steps that execute end within the grace, let go of every run, and leave. Stopping twice changes nothing.

        What executes still after the grace is canceled, and runs again elsewhere. It takes no longer than the grace and two seconds.
        """
        self._stopping.begin()
        await self._stopping.ended()

    async def stop_now(self) -> None:
        """Stop without the grace; also while it stops already."""
        self._stopping.hurry()
        await self._stopping.ended()

    def abandon(self) -> None:
        """Leave everything at once and write nothing, as a crash would."""
        self._stopping.is_over = True
        self.registered = self.leased = False
        self._see_what_may()
        for execution in list(self.here.values()):
            execution.abandon()
        self._forget_runs()
        self.end_services()
        self.changed()

    def end_services(self) -> None:
        """From here on nothing happens by itself."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        self.heart.stop()
        self.alarms.close()
        self.threads.close()
        self.services.cancel()

    def _forget_runs(self) -> None:
        self.here.clear()
        self._running.clear()
        self._parked.clear()
        self._woken.clear()

    @property
    def failure(self) -> BaseException | None:
        """The error of the engine that has ended it."""
        return self.services.failure

    @property
    def quiet(self) -> bool:
        """Whether nothing goes on that would bring a run further: only time, or somebody outside, can."""
        services = (self.claims, self._watch, self.timers, self.notices, self._rescuer, self._cleaner, self.scheduler)
        return (
            not self.claims.busy
            and not self.scheduler.busy
            and self.committer.idle
            and self.steps.running == 0
            and all(service.waker.waiting for service in services)
            and self._again.waiting
            and not any(execution.busy for execution in self._running)
        )

    async def _begin(self) -> None:
        if self._is_begun:
            raise RuntimeError(f"{self.label} has been started before; make another one")
        self._is_begun = True
        self.counters.workers += 1
        try:
            await self._arrive()
        except BaseException:
            await self.stop_now()
            raise
        if self._stopping.has_begun:
            return  # it was told so on its way
        await self.scheduler.begin()
        self._unlisten = self._store.listen(self._told)
        self.services.begin(
            self.committer.run,
            self.claims.run,
            self.notices.run,
            self.timers.run,
            self._rescuer.run,
            self._cleaner.run,
            self.scheduler.run,
            self._register_again,
            self._watch.run,
        )

    async def _arrive(self) -> None:
        """Register, and beat for the first time; or see that it is to stop."""
        self.beginning = True
        try:
            await self._register(FIRST_TRIES)
            if not self._stopping.has_begun:
                await self._beat_first()
        finally:
            self.beginning = False
            self.changed()

    async def _beat_first(self) -> None:
        """With the first beat it learns the time of the database: before that, something might be done too early."""
        self.heart.start()
        try:
            async with asyncio.timeout(FIRST_TRIES):
                while not self._has_beaten and self.failure is None and not self._stopping.has_begun:
                    await self._changed.wait_until(None)
        except TimeoutError:
            raise DatabaseUnavailable(f"{self.label} is registered, and the database has not answered since, for {FIRST_TRIES} s") from None
        if self.failure is not None:
            raise self.failure

    def _fail(self, error: BaseException) -> None:
        log.critical("%s cannot go on: its runs are left to others", self.label, exc_info=error)
        self.abandon()
        self._stopping.begin()
        if self._on_failure is not None:
            self._on_failure()

    async def _is_idle(self) -> bool:
        """Whether nothing executes, no slot is due, and an attempt to claim that begins now finds nothing."""
        if not self.scheduler.idle:
            return False
        if self._running or self._woken or self.claims.busy or not self._rescuer.waker.waiting:
            return False
        before = self.claims.passes
        while self.claims.passes == before and self.failure is None and not self._stopping.has_begun:
            self.claims.hint()
            await self._changed.wait_for(1.0)
        if self._running or self.claims.busy:
            return False
        try:
            look = await self._store.look(self.id, self.clock.now())
            has_ended = await self.scheduler.sees_an_end()
        except DatabaseUnavailable as error:
            self.outage.met("look for work", error)
            return False
        self.timers.learn(look.due)
        return not has_ended and (look.due is None or look.due > self.clock.now()) and not self._running and self.timers.waker.waiting

    def changed(self) -> None:
        """A run has left or fallen asleep, there is nothing more to claim: who waits for the worker's end is to look."""
        self._changed.set()
        self._stopping.waker.set()

    # -- what it is told

    def hint(self) -> None:
        """There may be something to claim."""
        self.claims.hint()

    def look(self) -> None:
        """Something may have changed in the store: see what."""
        self._watch.waker.set()

    def _told(self, hint: Hint) -> None:
        if hint is Hint.READY:
            self.claims.hint()
        elif hint is Hint.DUE:
            self._watch.waker.set()
        elif hint is Hint.NOTICE:
            self.notices.waker.set()
        elif hint is Hint.ENDED:
            self.scheduler.heard_of_an_end()

    # -- its lease

    def load(self) -> Load | None:
        """See `Bearer.load`."""
        return Load(self.id, len(self._running), len(self._parked)) if self.registered else None

    def beaten(self, beat: Beat, dead: Mapping[str, int]) -> None:
        """See `Bearer.beaten`."""
        if not self.leased:
            log.warning("%s has its lease again, and goes on", self.label)
            self._go_on()
        self._rescuer.take(dead)
        if beat.look is not None:
            self._watch.saw(beat.look)
        self._has_beaten = True
        if beat.draining and not self._stopping.has_begun:
            log.info("%s was asked to stop", self.label)
            self._stopping.begin()
        self.changed()

    def lapsed(self) -> None:
        """See `Bearer.lapsed`."""
        log.warning("%s has not reached the database for its lease of %g s: it begins nothing until it does", self.label, self._lease)
        self.leased = False
        self.counters.leases_lapsed += 1
        self._see_what_may()

    def lost(self, worker: str) -> None:
        """See `Bearer.lost`: it drops its runs, which are others', and begins anew under a new id. Told twice, it does so once."""
        if worker != self.id or not self.registered or self._stopping.is_over:
            return
        self.counters.leases_lost += 1
        runs = list(self.here.values())
        log.error("%s was taken for dead: the %d runs that it has are with others now, and are dropped here", self.label, len(runs))
        self.registered = self.leased = False
        self._see_what_may()
        self.claims.forget()
        self.id = self.committer.worker = self._new_id()
        for execution in runs:
            execution.drop()
        self.changed()
        if not self._stopping.has_begun:
            self._again.set()

    def failed(self, error: BaseException) -> None:
        """See `Bearer.failed`."""
        self.services.fail(error)

    async def _register(self, tries: int | None = None) -> None:
        does = "register"
        while not self.registered and not self._stopping.has_begun:
            try:
                await self._store.register(self._described())
            except DatabaseUnavailable as error:
                self.outage.met(does, error)
                tries = None if tries is None else tries - 1
                if tries == 0:
                    raise
                await self._pause.wait_for(1.0)
            else:
                self.registered = not self._stopping.is_over
                self.outage.over(does)
                self._go_on()

    async def _register_again(self) -> None:
        while True:
            await self._again.wait_until(None)
            await self._register()
            self.heart.renew()
            log.warning("%s is registered again", self.label)

    def _described(self) -> NewWorker:
        return NewWorker(
            id=self.id,
            name=self.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=None if self._queues is None else tuple(sorted(self._queues)),
            concurrency=self.concurrency,
            lease=self._lease,
            started_at=self.clock.now(),
            definitions=definitions_of(self.registry),
        )

    def _new_id(self) -> str:
        return f"{self.name}-{self.clock.random_bits(32):08x}"

    def _go_on(self) -> None:
        """Its lease holds: what was held back may begin."""
        self.leased = True
        self._see_what_may()
        for execution in self._running:
            execution.schedule_pump()
        self.claims.hint()
        self.scheduler.waker.set()
        self.look()

    def _see_what_may(self) -> None:
        self.may_start = self.leased and not self._stopping.has_begun and not self._stopping.is_over

    # -- its slots

    @property
    def running(self) -> Collection[Execution]:
        """The runs that have a slot."""
        return self._running.keys()

    @property
    def free_slots(self) -> int:
        """How many more runs can execute."""
        return self.concurrency - len(self._running) - len(self._woken) - self.claims.loading

    @property
    def stops(self) -> bool:
        """Whether it was told to stop. What executes may still go on for long."""
        return self._stopping.has_begun

    @property
    def may_claim(self) -> bool:
        """Whether it takes new runs."""
        return self.may_start and self.registered

    def begin(self, claimed: Claimed) -> None:
        """A run is this worker's now. From a plain callback of the loop."""
        if self._stopping.is_over:
            return  # it was on its way when the worker left
        workflow = self.registry.find(claimed.workflow, claimed.version)
        if workflow is None:
            raise RuntimeError(f"the store gave a run of {claimed.workflow} {claimed.version}, which this worker did not ask for")
        if (old := self.here.get(claimed.id)) is not None:
            old.drop()  # it was taken away, and nobody has told it yet
        execution = Execution(claimed, workflow, self)
        self.here[execution.id] = execution
        self._running[execution] = None
        if self._stopping.has_begun:
            execution.release()
        else:
            execution.begin()

    def look_up(self) -> None:
        """It is to stop: if it is about to begin, it need not."""
        self._pause.set()
        self.changed()

    def no_more(self) -> None:
        """It stops: nothing new begins, and what executes may end."""
        self._see_what_may()
        self.scheduler.waker.set()
        for execution in list(self.here.values()):
            execution.drain()
        self.changed()

    def release_all(self) -> None:
        """Let go of every run, where it is."""
        for execution in list(self.here.values()):
            execution.release()

    # -- what executions report

    def parked(self, execution: Execution) -> None:
        """See `Host.parked`."""
        self._running.pop(execution, None)
        self._parked[execution] = None
        if len(self._parked) > self._max_parked:
            longest = next(iter(self._parked))
            del self._parked[longest]  # not when it has left: many may fall asleep until then
            longest.release()
        self._freed()

    def woken(self, execution: Execution) -> bool:
        """See `Host.woken`."""
        if len(self._running) >= self.concurrency:
            if execution not in self._woken:
                self._woken[execution] = None
                call_later(self.clock, WAIT_FOR_SLOT, partial(self._let_go_if_waiting, execution))
            return False
        self._parked.pop(execution, None)
        self._running[execution] = None
        return True

    def _let_go_if_waiting(self, execution: Execution) -> None:
        """Another worker may have a slot for it."""
        if execution in self._woken:
            del self._woken[execution]
            execution.release()

    async def send_signal(self, run_id: str, name: str, payload: str) -> None:
        """See `Host.send_signal`."""
        await self._store.signal(run_id, current_step().idempotency_key, name, payload, self.clock.now())

    def left(self, execution: Execution, ending: Ending | None) -> None:
        """See `Host.left`."""
        self.here.pop(execution.id, None)
        self._running.pop(execution, None)
        self._parked.pop(execution, None)
        self._woken.pop(execution, None)
        if self._on_left is not None:
            self._on_left(execution.id, ending)
        self._freed()

    def _freed(self) -> None:
        if self._woken:
            first = next(iter(self._woken))
            del self._woken[first]
            self.loop.call_soon(first.ring)
        elif (self.concurrency - len(self._running)) * 4 >= self.concurrency:
            self.claims.freed()
        self.changed()
