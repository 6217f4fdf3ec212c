"""Claims runs while it has slots, executes them, and keeps those that wait in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Self

from stepwell.core.records import Move
from stepwell.core.status import Action, RunStatus
from stepwell.engine.alarms import Alarms
from stepwell.engine.attempts import StepRunner
from stepwell.engine.committer import Committer
from stepwell.engine.execution import Execution
from stepwell.engine.generators import adopt_generators
from stepwell.engine.threads import Threads
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stepwell.core.ending import Ending
    from stepwell.core.records import Claimed
    from stepwell.core.registry import Registry
    from stepwell.engine.clock import Clock
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

MAX_PAYLOAD: Final = 4 * 1024 * 1024
"""Bytes of JSON of an input, a result or an output."""

WAIT_FOR_SLOT: Final = 1.0
"""Seconds that a run which wakes here waits for a slot; then any worker may take it."""


class Worker:
    """Executes runs on the running event loop.

    Args:
        store: where the runs are.
        registry: the workflows that it can execute.
        clock: time and chance.
        name: by which the store knows it; no two that live may share one.
        concurrency: runs that execute at the same time. Runs that wait do not count.
        park_after: seconds; a run that waits for longer gives up its slot.
        max_parked: waiting runs kept in memory; beyond it, those that wait longest are let go, and come back by replay.
        poll: seconds between two looks for runs when no hint comes.
        max_payload: bytes of JSON.
        on_left: told of each run that has left, and how; None: it was taken away, or canceled.
        on_failure: told when an error of the engine has ended the worker.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        clock: Clock,
        *,
        name: str,
        concurrency: int = 100,
        park_after: float = 1.0,
        max_parked: int = 10_000,
        poll: float = 1.0,
        max_payload: int = MAX_PAYLOAD,
        on_left: Callable[[str, Ending | None], None] | None = None,
        on_failure: Callable[[], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.clock = clock
        self.name = name
        self.max_payload = max_payload
        self.park_after = park_after
        self.committer = Committer(store, name, clock)
        self.alarms = Alarms(clock)
        self.threads = Threads(self.loop, f"stepwell-{name}")
        self.steps = StepRunner(self.loop, clock, self.threads, max_payload)
        self._store = store
        self._registry = registry
        self._concurrency = concurrency
        self._max_parked = max_parked
        self._poll = poll
        self._on_left = on_left
        self._on_failure = on_failure
        self._running: dict[Execution, None] = {}
        self._parked: dict[Execution, None] = {}  # in the order in which they fell asleep
        self._woken: deque[Execution] = deque()  # they wait for a slot
        self._claiming = False
        self._is_claim_unknown = False  # an answer to a claim was lost, at some time
        self._strays: set[tuple[str, int]] = set()
        self._hint: asyncio.Future[None] | None = None
        self._hinted = False
        self._look: asyncio.Future[None] | None = None
        self._stopping = False
        self._services: list[asyncio.Task[Any]] = []
        adopt_generators()

    # -- its life

    async def __aenter__(self) -> Self:
        """Work in the background."""
        self._begin_services()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hand every run back, and end."""
        await self.stop()

    async def run(self) -> None:
        """Work until `stop`, or until an error of the engine itself, which is raised."""
        self._begin_services()
        done, _ = await asyncio.wait(self._services, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.abandon()
                raise error

    def _begin_services(self) -> None:
        for service in (self.committer.run, self._claim_runs, self._watch):
            task = self.loop.create_task(service(), name=f"stepwell-{self.name}-{service.__name__}")
            task.add_done_callback(self._service_ended)
            self._services.append(task)

    def _service_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("worker %s cannot go on: its runs are left to others", self.name, exc_info=error)
            self.abandon()
            if self._on_failure is not None:
                self._on_failure()

    async def stop(self) -> None:
        """Let go of every run, where it is: steps that execute are canceled and run again elsewhere. Stopping twice changes nothing."""
        self._stopping = True
        for execution in [*self._running, *self._parked, *self._woken]:
            execution.release()
        while self._running or self._parked or self._woken or not self.committer.idle:
            if any(task.done() for task in self._services):
                break  # nobody writes any more
            await asyncio.sleep(0)
        self.abandon()
        await asyncio.gather(*self._services, return_exceptions=True)

    def abandon(self) -> None:
        """Leave everything at once and write nothing, as a crash would."""
        self._stopping = True
        for execution in [*self._running, *self._parked, *self._woken]:
            execution.abandon()
        self._running.clear()
        self._parked.clear()
        self._woken.clear()
        self.alarms.close()
        self.threads.close()
        for task in self._services:
            task.cancel()

    @property
    def failure(self) -> BaseException | None:
        """The error of the engine that has ended it."""
        ended = (task for task in self._services if task.done() and not task.cancelled())
        return next((error for task in ended if (error := task.exception()) is not None), None)

    @property
    def quiet(self) -> bool:
        """Whether nothing goes on that would bring a run further: only time, or somebody outside, can."""
        return (
            not self._claiming
            and not self._hinted
            and self.committer.idle
            and self.steps.running == 0
            and not any(execution.busy for execution in self._running)
        )

    # -- claims

    def hint(self) -> None:
        """There may be something to claim."""
        self._hinted = True
        if self._hint is not None and not self._hint.done():
            self._hint.set_result(None)

    async def _claim_runs(self) -> None:
        while not self._stopping:
            self._hinted = False
            free = self._concurrency - len(self._running) - len(self._woken)
            # A few free slots in a busy worker are not worth a trip to the database.
            claimed = await self._claim(free) if free * 4 >= self._concurrency else []
            if claimed:
                self._claiming = True
                self.loop.call_soon(self._begin, claimed)  # bodies are stepped from plain callbacks only
                if len(claimed) == free:
                    await asyncio.sleep(0)
                    continue
            if not self._hinted:
                await self._wait_for_hint()

    async def _claim(self, limit: int) -> list[Claimed]:
        self._claiming = True
        try:
            lanes = [lane for lane in await self._store.lanes() if self._registry.find(lane.workflow, lane.version) is not None]
            return await self._store.claim(self.name, lanes, limit, self.clock.now())
        except DatabaseUnavailable as error:
            log.warning("worker %s cannot claim: %s", self.name, error)
            self._is_claim_unknown = True
            return []
        finally:
            self._claiming = False

    async def _wait_for_hint(self) -> None:
        self._hint = hint = self.loop.create_future()
        alarm = self.clock.call_at(self.clock.now() + self._poll * (0.75 + 0.5 * self.clock.random()), self.hint)
        try:
            await hint
        finally:
            alarm.cancel()
            self._hint = None

    def _begin(self, claimed: list[Claimed]) -> None:
        self._claiming = False
        for each in claimed:
            workflow = self._registry.find(each.workflow, each.version)
            if workflow is None:
                raise RuntimeError(f"the store gave a run of {each.workflow} {each.version}, which this worker did not ask for")
            execution = Execution(each, workflow, self)
            self._running[execution] = None
            if self._stopping:
                execution.release()
            else:
                execution.begin()

    async def _watch(self) -> None:
        """Now and then, see what operators and other workers have done to the runs here: the net below the answers of commits."""
        while True:
            self._look = look = self.loop.create_future()
            alarm = self.clock.call_at(self.clock.now() + self._poll, self.look)
            try:
                await look
            finally:
                alarm.cancel()
            await self._ask_how_runs_stand()

    async def _ask_how_runs_stand(self) -> None:
        here = [*self._running, *self._parked]  # what is claimed while the store is asked is not in its answer
        if not here and not self._is_claim_unknown:
            return
        try:
            standing = await self._store.standing(self.name, self.clock.now())
        except DatabaseUnavailable as error:
            log.warning("worker %s cannot see how its runs stand: %s", self.name, error)
        else:
            self.loop.call_soon(self._compare, here, standing)

    def look(self) -> None:
        """Somebody may have acted on a run that is here."""
        if self._look is not None and not self._look.done():
            self._look.set_result(None)

    def _compare(self, here: list[Execution], standing: Mapping[str, tuple[int, RunStatus]]) -> None:
        for execution in here:
            known = standing.get(execution.id)
            execution.stands(known[1] if known is not None and known[0] == execution.claimed.claim else None)
        self._give_back_strays(standing)

    def _give_back_strays(self, standing: Mapping[str, tuple[int, RunStatus]]) -> None:
        """Runs that the store says are here, and are not: the answer to their claim was lost. Twice in a row is sure."""
        here = {execution.id for execution in [*self._running, *self._parked]}
        strays = {(run_id, claim) for run_id, (claim, _) in standing.items() if run_id not in here}
        for run_id, claim in self._strays & strays:
            log.warning("worker %s gives back run %s, which it was given and never got", self.name, run_id)
            self.committer.put(Move(run_id, claim, Action.RELEASE), self)
        if not strays and not self._strays:
            self._is_claim_unknown = False
        self._strays = strays if not self._claiming else set()

    def written(self, write: object, status: RunStatus | None) -> None:
        """A stray run is given back."""

    def refused(self, write: object, error: Exception) -> None:
        """A move without data gives no reason to refuse it."""
        raise RuntimeError(f"the database refuses {write}") from error

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
        if len(self._running) >= self._concurrency:
            if execution not in self._woken:
                self._woken.append(execution)
                self.clock.call_at(self.clock.now() + WAIT_FOR_SLOT, partial(self._let_go_if_waiting, execution))
            return False
        self._parked.pop(execution, None)
        self._running[execution] = None
        return True

    def _let_go_if_waiting(self, execution: Execution) -> None:
        """Another worker may have a slot for it."""
        if execution in self._woken:
            self._woken.remove(execution)
            execution.release()

    def left(self, execution: Execution, ending: Ending | None) -> None:
        """See `Host.left`."""
        self._running.pop(execution, None)
        self._parked.pop(execution, None)
        if execution in self._woken:
            self._woken.remove(execution)
        if self._on_left is not None:
            self._on_left(execution.id, ending)
        self._freed()

    def _freed(self) -> None:
        if self._woken:
            self.loop.call_soon(self._woken.popleft().ring)
        elif (self._concurrency - len(self._running)) * 4 >= self._concurrency:
            self.hint()
