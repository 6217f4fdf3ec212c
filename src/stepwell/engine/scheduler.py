"""Turns the slots of a worker's schedules into runs.

The store moves a cursor and adds the run in one transaction, for whoever comes first: that is all the coordination there is. So each worker
keeps in memory when the schedules that it declares come next, waits for exactly that, and asks nothing of the database in between.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import to_json

from stepwell.core.cron import Cron
from stepwell.core.failure import describe, error_text
from stepwell.core.records import TO_COMPUTE, Cursor, Declaration, Firing, NewRun, NewSchedule, NewSlot
from stepwell.core.shards import shard_of_key
from stepwell.core.slots import LATE, planned
from stepwell.engine.clock import RunIds
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import WorkerLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stepwell.core.definition import Workflow
    from stepwell.core.options import Schedule
    from stepwell.core.registry import Registry
    from stepwell.core.slots import Plan
    from stepwell.engine.inputs import Inputs
    from stepwell.engine.worker import Worker
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

AT_ONCE: Final = 250
"""Schedules that one transaction fires."""

COMPUTED_AT_ONCE: Final = 64
"""Functions of schedules that are called at the same time."""

AGAIN: Final = 1.0
"""Seconds until the next try when the database was away."""

OUTVOTED: Final = 10.0
"""Seconds between two looks whether the release that has overruled this one lives still."""

ENDS_APART: Final = 0.1
"""Seconds between two looks whether a run has ended that a slot waits for: in a busy system, others end all the time."""

KEPT: Final = 1_000
"""Records of slots that are kept of each schedule; about a quarter more."""

FORGOTTEN_AFTER: Final = KEPT // 4
"""Records after which the oldest of a schedule are forgotten."""

_DECLARES: Final = "say which schedules it has"
_FIRES: Final = "fire schedules"

Key = tuple[str, str]
"""Workflow and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A schedule that this worker declares."""

    workflow: Workflow[Any, Any]
    schedule: Schedule
    timezone: str
    cron: Cron
    input: str | None
    """Its text; None: a function computes it."""
    likeness: str | None
    """What it has in common with the same input in other processes."""

    def declared(self, now: float | None) -> NewSchedule:
        """As the store is told. Without a time, without its first slot."""
        schedule = self.schedule
        return NewSchedule(
            name=schedule.name,
            expression=schedule.expression,
            timezone=self.timezone,
            overlap=schedule.overlap,
            catch_up=schedule.catch_up,
            jitter=None if schedule.jitter is None else schedule.jitter.total_seconds(),
            input=self.input,
            version=self.workflow.version,
            first_at=None if now is None else self.cron.after(now),
        )


class _Job(NamedTuple):
    """A firing whose inputs are being computed."""

    own: Own
    cursor: Cursor
    plan: Plan
    seen_at: float
    """When the slots were found due."""
    began: float
    """The same, by the time of the loop."""


class Scheduler:
    """Fires the schedules of one worker.

    Args:
        timezone: of schedules that name none.
    """

    def __init__(self, worker: Worker, store: Store, registry: Registry, inputs: Inputs, timezone: str) -> None:
        self.waker = Waker(worker.clock)
        self._worker = worker
        self._store = store
        self._clock = worker.clock
        self._ids = RunIds(worker.clock)
        self.inputs = inputs
        self._own = {(own.workflow.name, own.schedule.name): own for own in _own(registry, inputs, timezone)}
        self._said: dict[str, list[Own]] = {workflow.name: [] for workflow in registry.newest()}
        """By workflow: also of those without any, whose schedules have ended."""
        for own in self._own.values():
            self._said[own.workflow.name].append(own)
        self._digests = {name: _digest(each) for name, each in self._said.items()}
        self._release: int | None = None
        self._declared_by = ""
        """The id of the worker under which it has said so."""
        self._is_silent = False
        """Whether it has taken that back."""
        self._declare_at: float | None = None
        self._deed = -1
        """The last that was done to schedules, as far as is known here."""
        self._deed_told = 0
        self._next: dict[Key, float] = {}
        """When each comes that fires here."""
        self._heap: list[tuple[float, Key]] = []
        """The same, with some that have moved since."""
        self.ends_at: float | None = None
        """When to look whether a run has ended that a slot waits for; None: nobody has heard of an end."""
        self._waiting: dict[Key, None] = {}
        """Those of which a slot waits for the end of the last run."""
        self._in_doubt: list[Key] = []
        """Those of them that are to be looked at now."""
        self._ends_seen_at = -math.inf
        self._jobs: dict[Key, _Job] = {}
        self._computed: list[Firing] = []
        self._room = asyncio.Semaphore(COMPUTED_AT_ONCE)
        self._records: dict[Key, int] = {}
        """How many were made since the oldest were forgotten, as far as is known here."""

    # -- what others see of it

    @property
    def next_at(self) -> float | None:
        """When the next slot comes."""
        while self._heap and self._next.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def busy(self) -> bool:
        """Whether inputs are being computed, or it has not said yet which schedules there are."""
        return bool(self._jobs) or self._declared_by != self._worker.id

    @property
    def idle(self) -> bool:
        """Whether nothing is due."""
        next_at = self.next_at
        return self.waker.waiting and not self.busy and (next_at is None or next_at > self._clock.now())

    def learn(self, deed: int) -> None:
        """The store says how much was done to schedules; and time has passed for those that wait for the end of a run."""
        self._deed_told = deed
        if deed != self._deed:
            self.waker.set()
        self.heard_of_an_end()

    def heard_of_an_end(self) -> None:
        """Some run has ended. It may be one that a slot waits for."""
        if self._waiting:
            now = self._clock.now()
            is_crowded = 0.0 < now - self._ends_seen_at < ENDS_APART
            self.ends_at = self._ends_seen_at + ENDS_APART if is_crowded else now
            self.waker.set()

    async def sees_an_end(self) -> bool:
        """Whether a run has ended that a slot waits for. It is seen to, then. Raises DatabaseUnavailable."""
        waiting = await self._store.cursors(list(self._waiting)) if self._waiting else []
        has_ended = any(not cursor.going for cursor in waiting)
        if has_ended:
            self.heard_of_an_end()
        return has_ended

    def own(self, workflow: str, name: str) -> Own | None:
        """The schedule of that name; None: it is not declared here."""
        return self._own.get((workflow, name))

    # -- its loop

    async def begin(self) -> None:
        """Say at once which schedules there are, so that whoever has begun the worker finds them. If it fails, the loop does it."""
        try:
            await self._declare()
        except DatabaseUnavailable as error:
            self._worker.outage.met(_DECLARES, error)

    async def run(self) -> None:
        """Fire until canceled."""
        while True:
            try:
                again = await self._pass()
            except DatabaseUnavailable as error:
                self._worker.outage.met(_FIRES, error)
                self._deed = -1  # what was written is not known
                await self.waker.wait_for(AGAIN)
                continue
            self._worker.outage.over(_FIRES)
            self._worker.changed()
            if not again:
                await self.waker.wait_until(self._wakes_at())

    def _wakes_at(self) -> float | None:
        if not self._worker.may_claim:
            return None  # it is told when it may
        return min((when for when in (self.next_at, self._declare_at, self.ends_at) if when is not None), default=None)

    async def _pass(self) -> bool:
        """Whether there may be more to do at once."""
        worker = self._worker
        if worker.stops and not self._is_silent:
            await self._fall_silent()
        if not worker.may_claim:
            return False
        if self._declared_by != worker.id or (self._declare_at is not None and self._declare_at <= self._clock.now()):
            await self._declare()
            return self._declared_by == worker.id
        if self._deed != self._deed_told:
            await self._reload()
        now = self._clock.now()
        keys = self._due(now)
        if not keys and not self._computed:
            return False
        firings, self._computed = self._computed, []
        firings += await self._firings(keys)
        if firings:
            await self._fire(firings)
        await asyncio.sleep(0)  # others have their turn, however many are due
        return True

    async def _declare(self) -> None:
        worker, now = self._worker.id, self._clock.now()
        said = [Declaration(name, self._digests[name], tuple(own.declared(now) for own in each)) for name, each in self._said.items()]
        try:
            self._release = await self._store.declare(worker, said, self._release, now)
        except WorkerLost:
            self._worker.loop.call_soon(self._worker.lost, worker)
            self._declare_at = None
            await asyncio.sleep(0)
            return
        self._worker.outage.over(_DECLARES)
        self._declared_by = worker
        self._declare_at = None
        self._deed = -1

    async def _fall_silent(self) -> None:
        """It fires no more, and may take long to stop: a release that it has overruled need not wait for that."""
        with suppress(WorkerLost):  # nobody heeds it any more
            await self._store.declare(self._worker.id, [], self._release, self._clock.now())
        self._is_silent = True

    async def _reload(self) -> None:
        """See how those stand to which something was done."""
        deed = self._deed_told
        keys = await self._changed(deed)
        for first in range(0, len(keys), AT_ONCE):
            for cursor in await self._store.cursors(keys[first : first + AT_ONCE]):
                self._see(cursor)
            await asyncio.sleep(0)
        self._deed = deed

    async def _changed(self, deed: int) -> list[Key]:
        """Those to which something was done since the last deed that is known here; all of them, where that is not known, or is much."""
        if 0 <= self._deed < deed:
            changed = await self._store.changed_schedules(self._deed, AT_ONCE)
            if len(changed) < AT_ONCE:
                return [key for key in changed if key in self._own]
        self._next.clear()
        self._heap.clear()
        self._waiting.clear()
        return list(self._own)

    def _see(self, cursor: Cursor) -> None:
        """It stands so: remember when it comes, if it fires here."""
        key = (cursor.workflow, cursor.name)
        before = self._next.pop(key, None)
        self._waiting.pop(key, None)
        if cursor.digest != self._digests[cursor.workflow]:
            if self._declare_at is None:
                self._declare_at = self._clock.now() + OUTVOTED
            return
        if cursor.paused:
            return
        if cursor.next_at is not None:
            self._next[key] = cursor.next_at
            if cursor.next_at != before:
                heapq.heappush(self._heap, (cursor.next_at, key))
        if cursor.waiting_at is not None:
            self._waiting[key] = None

    def _due(self, now: float) -> list[Key]:
        """Schedules to look at now, those that have come first before the others. They are not due any more until they were looked at."""
        if self.ends_at is not None and self.ends_at <= now:
            self.ends_at, self._ends_seen_at, self._in_doubt = None, now, list(self._waiting)
        keys = [key for key in self._in_doubt[:AT_ONCE] if key not in self._jobs]
        del self._in_doubt[:AT_ONCE]
        while len(keys) < AT_ONCE and (next_at := self.next_at) is not None and next_at <= now:
            _, key = heapq.heappop(self._heap)
            del self._next[key]
            if key not in self._jobs and key not in keys:
                keys.append(key)
        return keys

    # -- what is due

    async def _firings(self, keys: Sequence[Key]) -> list[Firing]:
        """What can be fired at once. For the others, the computing of their inputs begins."""
        if not keys:
            return []
        firings, early = [], 0.0
        for cursor in await self._store.cursors(keys):
            self._see(cursor)
            key = (cursor.workflow, cursor.name)
            if key not in self._next and key not in self._waiting:
                continue
            own, now = self._own[key], self._clock.now() if cursor.seen_at is None else cursor.seen_at
            plan = planned(own.cron, own.schedule.overlap, own.schedule.catch_up, cursor, now)
            if plan is None:
                early = max(early, self._clock.now() - now)
                continue
            self._next.pop(key, None)
            if own.input is not None or not plan.start:
                firings.append(self._firing(own, cursor, plan, {}, now))
            else:
                self._jobs[key] = job = _Job(own, cursor, plan, now, self._worker.loop.time())
                self._worker.services.begin(partial(self._compute, key, job))
        if not firings and early > 0.0:
            await self.waker.wait_for(min(early, AGAIN))  # this machine's clock was set forward, and the heart has not noticed yet
        return firings

    async def _compute(self, key: Key, job: _Job) -> None:
        slots = job.plan.start
        try:
            # Beside each other: if each of a hundred missed slots takes its time, those that come next are not to wait for an hour.
            inputs = dict(zip(slots, await asyncio.gather(*(self._input(job.own, slot) for slot in slots)), strict=True))
        finally:
            self._jobs.pop(key, None)
        self._computed.append(self._firing(job.own, job.cursor, job.plan, inputs, self._time_after(job)))
        self.waker.set()

    def _time_after(self, job: _Job) -> float:
        """What time it is, though this machine's clock may have been set, and the heart has not noticed yet."""
        shown, expected = self._clock.now(), job.seen_at + self._worker.loop.time() - job.began
        return shown if abs(shown - expected) < LATE else expected

    async def _input(self, own: Own, slot: float) -> str | BaseException:
        try:
            async with self._room:
                return await self.inputs.computed(own.workflow, own.schedule, slot, own.timezone)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # SystemExit, too, is the failure of the run and not of the worker
            log.warning("the input of schedule %s of %s failed: %r", own.schedule.name, own.workflow.name, error)
            return error

    def _firing(self, own: Own, cursor: Cursor, plan: Plan, inputs: dict[float, str | BaseException], now: float) -> Firing:
        runs, failed, records = [], [], list(plan.records)
        for slot in plan.start:
            given = own.input if own.input is not None else inputs[slot]
            run = self._new_run(own, slot, given if isinstance(given, str) else TO_COMPUTE, now)
            runs.append(run)
            if isinstance(given, BaseException):
                info = describe(given)
                failed.append((run.id, error_text(info)))
                records.append(NewSlot(slot, slot, 1, "failed", f"its input could not be computed: {info}", run.id))
            else:
                records.append(NewSlot(slot, slot, 1, "started", None, run.id))
        return Firing(cursor, plan.next_at, plan.waiting_at, tuple(runs), tuple(failed), plan.cancel, tuple(records))

    def _new_run(self, own: Own, slot: float, input: str, now: float) -> NewRun:
        workflow, jitter = own.workflow, own.schedule.jitter
        delay = 0.0 if jitter is None else self._clock.random() * jitter.total_seconds()
        return NewRun(
            id=self._ids.new(shard_of_key(workflow.name, own.schedule.name)),
            workflow=workflow.name,
            version=workflow.version,
            input=input,
            created_at=now,
            available_at=max(now, slot + delay) if delay else now,
            queue=workflow.queue,
            priority=workflow.priority,
            timeout=None if workflow.timeout is None else workflow.timeout.total_seconds(),
            schedule=own.schedule.name,
            scheduled_at=slot,
        )

    async def _fire(self, firings: Sequence[Firing]) -> None:
        """Write them. One that somebody else was quicker with is looked at again."""
        now = self._clock.now()
        won = await self._store.fire(firings, now)
        for firing, is_mine in zip(firings, won, strict=True):
            seen = firing.cursor
            key = (seen.workflow, seen.name)
            if is_mine:
                self._count_records(key, len(firing.slots))
                last = firing.runs[-1].id if firing.runs else seen.last_run
                self._see(seen._replace(next_at=firing.next_at, waiting_at=firing.waiting_at, last_run=last))
            else:
                self._see(seen._replace(next_at=now, waiting_at=None))
        await self._forget_old()

    def _count_records(self, key: Key, made: int) -> None:
        # It begins anywhere: else nobody would forget those of a schedule that comes more seldom than its workers are restarted.
        counted = self._records.get(key)
        self._records[key] = made + (int(self._clock.random() * FORGOTTEN_AFTER) if counted is None else counted)

    async def _forget_old(self) -> None:
        """Nobody asks for the oldest records of a schedule that comes each second."""
        full = [key for key, count in self._records.items() if count >= FORGOTTEN_AFTER]
        if full:
            await self._store.forget_slots(full, KEPT)
            for key in full:
                self._records[key] = 0


def _own(registry: Registry, inputs: Inputs, timezone: str) -> Iterator[Own]:
    """The schedules of the newest version of each workflow: an old one is kept for its runs, and begins no new ones."""
    for workflow in registry.newest():
        for schedule in workflow.schedules:
            zone = schedule.timezone or timezone
            is_computed = callable(schedule.input)
            text = None if is_computed else inputs.text(workflow, schedule.input, schedule.name)
            like = None if text is None else inputs.likeness(workflow, schedule.input, text)
            cron = Cron(schedule.expression, zone)
            yield Own(workflow=workflow, schedule=schedule, timezone=zone, cron=cron, input=text, likeness=like)


def _digest(own: Iterable[Own]) -> str:
    """Of all that is said of the schedules of a workflow."""
    said = [list(each.declared(None)._replace(input=each.likeness)) for each in own]
    return sha256(to_json(said)).hexdigest()[:16]
