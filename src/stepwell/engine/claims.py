"""Makes ready runs this worker's own while it has slots, and gives back those that it was given and never got."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from stepwell.core.failure import describe, error_text
from stepwell.core.records import TO_COMPUTE, UNRESOLVED, Move
from stepwell.core.status import Action, RunStatus
from stepwell.engine.execution import SUSPECT
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable, DefinitionError, RunNotFound, WorkflowNotFound
from stepwell.store.port import Pin, WorkerLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from stepwell.core.records import Claimed, Outcome
    from stepwell.core.registry import Lane, Registry
    from stepwell.engine.worker import Worker
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

PAGE: Final = 1_000
"""Outcomes read at once of a history that was too long for its claim."""

_DOES: Final = "claim runs"
_COMPARES: Final = "see which runs it owns"
_LOADS: Final = "read what belongs to a run"

T = TypeVar("T")


class Lanes:
    """Which lanes a worker takes runs from: those of its queues for which it has a function."""

    def __init__(self, registry: Registry, queues: Collection[str] | None) -> None:
        self._registry = registry
        self._queues = queues

    def serve(self, lane: Lane) -> Pin | None:
        """What an unresolved run of this lane is; None: it is left to others. From whatever thread."""
        if self._queues is not None and lane.queue not in self._queues:
            return None
        version = lane.version
        if version == UNRESOLVED:
            try:
                version = self._registry.resolve_version(lane.workflow)
            except WorkflowNotFound:
                return None
        workflow = self._registry.find(lane.workflow, version)
        if workflow is None:
            return None
        return Pin(version, None if workflow.timeout is None else workflow.timeout.total_seconds())


class Claims:
    """Claims for one worker, whenever there may be something to claim and there is room for it."""

    def __init__(self, worker: Worker, store: Store, lanes: Lanes) -> None:
        self.waker = Waker(worker.clock)
        self.passes = 0
        """How often it has come to the end of what there was."""
        self._worker = worker
        self._store = store
        self._lanes = lanes
        self._under_way = False  # until what was claimed has begun
        self._loading: dict[str, Claimed] = {}
        self._for_few = False  # also where few slots are free
        self._more = False  # there may be more to claim than there were slots
        self._is_unknown = False  # an answer to a claim was lost, at some time
        self._strays: set[tuple[str, int]] = set()

    @property
    def busy(self) -> bool:
        """Whether runs may be on their way to the worker."""
        return self._under_way or bool(self._loading)

    @property
    def loading(self) -> int:
        """Runs whose histories are being read."""
        return len(self._loading)

    def hint(self) -> None:
        """There may be something to claim."""
        self.waker.set()

    def found(self) -> None:
        """There is something to claim: it is not to wait until more slots are free."""
        self._for_few = True
        self.waker.set()

    def freed(self) -> None:
        """There is a slot more. What could not be claimed before may be claimed now."""
        if self._more:
            self.waker.set()

    def forget(self) -> None:
        """The worker was taken for dead: what was on its way is another's."""
        self._loading.clear()
        self._strays.clear()

    async def run(self) -> None:
        """Claim until canceled."""
        while True:
            if not await self._claim_some():
                self._worker.changed()
                await self.waker.wait_until(None)

    async def _claim_some(self) -> bool:
        """Whether there may be more."""
        worker = self._worker
        free = worker.free_slots
        for_few, self._for_few = self._for_few, False
        # A few free slots in a busy worker are not worth a trip to the database, but for the one look a second.
        if not worker.may_claim or free <= 0 or (free * 4 < worker.concurrency and not for_few):
            self._more = True
            return False
        suspects = not (
            any(execution.suspect for execution in worker.running) or any(each.crashes >= SUSPECT for each in self._loading.values())
        )
        name = worker.id
        claimed = await self._claim(name, free, suspects=suspects)
        if claimed is None:
            return False
        self.passes += len(claimed) < free
        if claimed:
            self._under_way = True
            worker.loop.call_soon(self._begin, name, claimed)  # bodies are stepped from plain callbacks only
            await asyncio.sleep(0)
        # Of suspects one is claimed at a time: others may have stayed behind.
        self._more = not suspects or len(claimed) >= free or any(each.crashes >= SUSPECT for each in claimed)
        return len(claimed) >= free

    async def _claim(self, name: str, limit: int, *, suspects: bool) -> list[Claimed] | None:
        """None: it is not known, or another worker has taken this one's place."""
        worker = self._worker
        self._under_way = True
        try:
            claimed = await self._store.claim(name, self._lanes.serve, limit, worker.clock.now(), suspects=suspects)
        except DatabaseUnavailable as error:
            worker.outage.met(_DOES, error)
            self._is_unknown = True
            return None
        except WorkerLost:
            worker.loop.call_soon(worker.lost, name)
            return None
        finally:
            self._under_way = False
        worker.outage.over(_DOES)
        worker.counters.claims += 1
        worker.counters.claimed += len(claimed)
        return claimed

    def _begin(self, name: str, claimed: list[Claimed]) -> None:
        self._under_way = False
        worker = self._worker
        if worker.id != name:
            return  # it was taken for dead meanwhile, and these with it
        for each in claimed:
            self._loading.pop(each.id, None)  # an older claim of it, taken away before it could begin
            if each.complete and each.input != TO_COMPUTE:
                worker.begin(each)
            else:
                self._loading[each.id] = each
                worker.services.begin(partial(self._load if each.input != TO_COMPUTE else self._supply, name, each))

    # -- long histories

    async def _load(self, name: str, claimed: Claimed) -> None:
        """Read what its claim has left out; other runs go on meanwhile."""
        outcomes = list(claimed.outcomes)
        while page := await self._page(claimed.id, outcomes[-1].seq if outcomes else 0):
            outcomes += page
            if len(page) < PAGE:
                break
        whole = replace(claimed, outcomes=tuple(outcomes), complete=True)
        self._worker.loop.call_soon(self._loaded, name, whole)

    async def _page(self, run_id: str, after: int) -> list[Outcome]:
        return await self._until_answered(partial(self._store.outcomes, run_id, after, PAGE))

    async def _until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        worker, pause = self._worker, Waker(self._worker.clock)
        while True:
            try:
                answer = await ask()
            except DatabaseUnavailable as error:
                worker.outage.met(_LOADS, error)
                await pause.wait_for(1.0)
            else:
                worker.outage.over(_LOADS)
                return answer

    def _loaded(self, name: str, claimed: Claimed) -> None:
        if self._is_here(name, claimed):
            del self._loading[claimed.id]
            self._worker.begin(claimed)

    def _is_here(self, name: str, claimed: Claimed) -> bool:
        """Whether it was not taken away meanwhile."""
        known = self._loading.get(claimed.id)
        return known is not None and known.claim == claimed.claim and self._worker.id == name

    # -- runs of schedules whose input is still to be computed

    async def _supply(self, name: str, claimed: Claimed) -> None:
        """Give the run its input, once for all, or let it fail."""
        try:
            text = await self._computed(claimed)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever the user's function raises is the run's failure and not the worker's
            log.warning("the input of run %s of %s failed: %r", claimed.id, claimed.workflow, error)
            self._leave(name, claimed, Move(claimed.id, claimed.claim, Action.FAIL, error=error_text(describe(error))))
            return
        if not await self._until_answered(partial(self._store.supply, name, claimed.id, claimed.claim, text)):
            self._leave(name, claimed)
            return
        match await self._status(claimed.id):
            case RunStatus.RUNNING:
                self._worker.loop.call_soon(self._loaded, name, replace(claimed, input=text))
            case RunStatus.PAUSED | RunStatus.PENDING:  # nothing of it may begin; or it was resumed since, and may begin anywhere
                self._leave(name, claimed, Move(claimed.id, claimed.claim, Action.RELEASE))
            case _:
                self._leave(name, claimed)  # it was canceled just now, or has met its deadline: it is nobody's any more

    async def _status(self, run_id: str) -> RunStatus | None:
        """How the run stands; None: it has ended meanwhile, and was deleted."""
        try:
            return (await self._until_answered(partial(self._store.get, run_id))).status
        except RunNotFound:
            return None

    def _leave(self, name: str, claimed: Claimed, move: Move | None = None) -> None:
        """It does not begin here."""
        if not self._is_here(name, claimed):
            return  # what is here by now is a later claim of it
        del self._loading[claimed.id]
        if move is not None:
            self._worker.committer.put(move, self)
        self.freed()
        self._worker.changed()

    async def _computed(self, claimed: Claimed) -> str:
        run = await self._until_answered(partial(self._store.get, claimed.id))
        own = self._worker.scheduler.own(claimed.workflow, run.schedule or "")
        if own is None:
            raise DefinitionError(
                f"workflow {claimed.workflow!r} has no schedule {run.schedule!r} any more that could compute the input of this run"
            )
        if own.input is not None:
            return own.input
        slot = claimed.created_at if claimed.scheduled_at is None else claimed.scheduled_at
        return await self._worker.scheduler.inputs.computed(own.workflow, own.schedule, slot, own.timezone)

    # -- runs whose claim was never answered

    async def give_back_strays(self) -> None:
        """Runs that the store says are here, and are not: the answer to their claim was lost. Twice in a row is sure."""
        if not self._is_unknown:
            return
        worker, name = self._worker, self._worker.id
        self._is_unknown = False  # before the store is asked: a claim whose answer gets lost meanwhile is to be looked for next time
        try:
            standing = await self._store.standing(name, worker.clock.now())
        except DatabaseUnavailable as error:
            worker.outage.met(_COMPARES, error)
            self._is_unknown = True
            return
        worker.outage.over(_COMPARES)
        if worker.id == name:
            self._compare({(run_id, claim) for run_id, (claim, _) in standing.items()})

    def _compare(self, owned: set[tuple[str, int]]) -> None:
        worker = self._worker
        here = {run_id: execution.claimed.claim for run_id, execution in worker.here.items()}
        here |= {run_id: claimed.claim for run_id, claimed in self._loading.items()}
        strays = {(run_id, claim) for run_id, claim in owned if here.get(run_id, -1) < claim}  # an older claim of it may be leaving still
        for run_id, claim in self._strays & strays:
            log.warning("%s gives back run %s, which it was given and never got", worker.label, run_id)
            worker.committer.put(Move(run_id, claim, Action.RELEASE), self)
        if strays or self._strays:
            self._is_unknown = True
        self._strays = strays if not self._under_way else set()

    def written(self, write: Move, status: RunStatus | None) -> None:
        """A stray run is given back. One whose input could not be computed has failed; or was paused before, and is given back, too."""
        if write.action is Action.FAIL and status is not None and not status.ended:
            self._worker.committer.put(Move(write.run, write.claim, Action.RELEASE), self)

    def refused(self, write: object, error: Exception) -> None:
        """A move without data gives no reason to refuse it."""
        raise RuntimeError(f"the database refuses {write}") from error
