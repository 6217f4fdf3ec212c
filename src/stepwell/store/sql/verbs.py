"""The verbs of the port that are the same on every database with SQL: each is a function over an open transaction.

How a transaction comes about, and what a database does in a way of its own, is said by the adapter that derives from this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from stepwell.store.port import ALL
from stepwell.store.sql import acting, browsing, claiming, keeping, mailing, reading, scheduling, starting, surveying, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from stepwell.core.records import (
        Backlog,
        Claimed,
        Cursor,
        DatabaseFacts,
        Declaration,
        Definition,
        Ends,
        Event,
        Firing,
        LiveVersion,
        LogLine,
        NewRun,
        News,
        NewSlot,
        NewWorker,
        Outcome,
        Page,
        QueueState,
        Run,
        RunFilter,
        RunSummary,
        ScheduleState,
        Slot,
        Speed,
        StepChip,
        StepRecord,
        WorkerState,
    )  # fmt: skip
    from stepwell.core.registry import Lane
    from stepwell.core.status import Action, RunStatus
    from stepwell.store.port import Around, Batch, Ended, Halt, Known, Look, Notices, Pin, Portion, Published, Story
    from stepwell.store.sql.starting import Lanes
    from stepwell.store.sql.transaction import Verb

T = TypeVar("T")


SOON: Final = 2.0
"""Seconds for what pages show."""


class Connections(Protocol):
    """How the verbs reach the database. Each calls `function(transaction, *args)`, a coroutine, and gives back its result."""

    async def write(self, function: Verb[T], /, *args: Any) -> T:
        """In a transaction that is durable when this returns."""

    async def read(self, function: Verb[T], /, *args: Any) -> T:
        """In a transaction that only reads, and sees one moment. For what workers need, which is quick."""

    async def glance(self, function: Verb[T], /, *args: Any) -> T:
        """As `read`, of what executes one statement only."""

    async def search(self, function: Verb[T], /, *args: Any) -> T:
        """As `read`, for what people look at: it may take long, and does not keep `read` waiting."""

    async def show(self, function: Verb[T], /, *args: Any) -> T:
        """As `search`, for what is to be shown soon or not at all. Raises TooSlow: it has taken longer than `SOON`."""


class Verbs:
    """What adapters have in common."""

    kind: str
    """What the database calls itself."""

    _lanes: Lanes
    _claims: claiming.Claims
    _socket: str | None = None
    """By which other processes of this machine know that this one lives."""

    @property
    def _opened(self) -> Connections:
        """The connections of a store that is open. Raises DatabaseUnavailable: it is not."""
        raise NotImplementedError

    # -- start

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`."""
        return await self._opened.write(starting.enqueue, self._lanes, runs)

    async def definitions(self) -> list[Definition]:
        """See `Store.definitions`."""
        return await self._opened.glance(reading.definitions)

    # -- a worker's life

    async def register(self, worker: NewWorker) -> None:
        """See `Store.register`."""
        await self._opened.write(keeping.register, worker, self._socket)

    async def rescue(self, worker: str, beat: int, now: float, limit: int, max_crashes: int) -> int:
        """See `Store.rescue`."""
        return await self._opened.write(keeping.rescue, worker, beat, now, limit, max_crashes)

    async def hand_back(self, worker: str, now: float, limit: int) -> int:
        """See `Store.hand_back`."""
        return await self._opened.write(keeping.take_back, worker, now, limit)

    async def look(self, worker: str, now: float) -> Look:
        """See `Store.look`."""
        return await self._opened.glance(keeping.look, worker)

    async def make_ready(self, now: float, limit: int) -> int:
        """See `Store.make_ready`."""
        return await self._opened.write(keeping.make_ready, now, limit)

    async def expire(self, now: float, limit: int) -> int:
        """See `Store.expire`."""
        return await self._opened.write(keeping.expire, now, limit)

    # -- schedules

    async def declare(self, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> int:
        """See `Store.declare`."""
        return await self._opened.write(scheduling.declare, worker, declarations, release, now)

    async def changed_schedules(self, deed: int, limit: int) -> list[tuple[str, str]]:
        """See `Store.changed_schedules`."""
        return await self._opened.glance(scheduling.changed, deed, limit)

    async def cursors(self, keys: Collection[tuple[str, str]]) -> list[Cursor]:
        """See `Store.cursors`."""
        return await self._opened.glance(scheduling.cursors, keys)

    async def fire(self, firings: Sequence[Firing], now: float) -> list[bool]:
        """See `Store.fire`."""
        return await self._opened.write(scheduling.fire, self._lanes, firings, now)

    async def supply(self, worker: str, run_id: str, claim: int, input: str) -> bool:
        """See `Store.supply`."""
        return await self._opened.write(scheduling.supply, worker, run_id, claim, input)

    async def schedules(self, workflow: str | None = None, name: str | None = None) -> list[ScheduleState]:
        """See `Store.schedules`."""
        return await self._opened.search(scheduling.schedules, workflow, name)

    async def pause_schedule(self, workflow: str, name: str, now: float, actor: str | None = None) -> bool:
        """See `Store.pause_schedule`."""
        return await self._opened.write(scheduling.pause, workflow, name, now, actor)

    async def resume_schedule(self, seen: Cursor, next_at: float | None, skipped: NewSlot | None, now: float, actor: str | None) -> bool:
        """See `Store.resume_schedule`."""
        return await self._opened.write(scheduling.resume, seen, next_at, skipped, now, actor)

    async def trigger(self, run: NewRun, now: float, actor: str | None = None) -> str:
        """See `Store.trigger`."""
        return await self._opened.write(scheduling.trigger, self._lanes, run, now, actor)

    async def backfill(self, runs: Sequence[NewRun], now: float, actor: str | None = None) -> list[str]:
        """See `Store.backfill`."""
        return await self._opened.write(scheduling.backfill, self._lanes, runs, now, actor)

    async def slots(self, workflow: str, name: str, limit: int, before: int | None = None) -> list[Slot]:
        """See `Store.slots`."""
        return await self._opened.search(scheduling.slots, workflow, name, limit, before)

    async def schedule_events(self, workflow: str, name: str, limit: int = ALL) -> list[Event]:
        """See `Store.schedule_events`."""
        return await self._opened.search(scheduling.events, workflow, name, limit)

    async def forget_slots(self, keys: Collection[tuple[str, str]], keep: int) -> None:
        """See `Store.forget_slots`."""
        await self._opened.write(scheduling.forget_slots, keys, keep)

    # -- claim

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        """See `Store.claim`."""
        return await self._opened.write(self._claims.claim, worker, serves, limit, now, suspects)

    async def outcomes(self, run_id: str, after: int, limit: int) -> list[Outcome]:
        """See `Store.outcomes`."""
        return await self._opened.glance(claiming.outcomes_of, run_id, after, limit)

    # -- what a worker writes

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        return await self._opened.write(writing.commit, self._lanes, worker, batch, now)

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        """See `Store.notices`."""
        if seen:
            await self._opened.write(keeping.forget_notices, worker, seen)
        return await self._opened.glance(keeping.notices, worker, seen)

    async def news(self, seen: Mapping[str, int]) -> Mapping[str, News]:
        """See `Store.news`."""
        return await self._opened.glance(mailing.news, seen)

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        """See `Store.standing`."""
        return await self._opened.glance(reading.standing, worker)

    # -- what operators do

    async def act(self, run_id: str, action: Action, now: float, actor: str | None = None) -> Run:
        """See `Store.act`."""
        return await self._opened.write(acting.operate, run_id, action, now, actor)

    async def act_on_all(self, where: RunFilter, action: Action, now: float, actor: str | None, limit: int) -> int:
        """See `Store.act_on_all`."""
        return await self._opened.write(acting.act_on_all, where, action, now, actor, limit)

    async def signal(self, run_id: str, id: str, name: str, payload: str, now: float, actor: str | None = None) -> None:
        """See `Store.signal`."""
        await self._opened.write(mailing.signal, run_id, id, name, payload, now, actor)

    async def signal_all(
        self,
        where: RunFilter,
        id: str,
        name: str,
        payload: str,
        now: float,
        after: str | None,
        limit: int,
        actor: str | None = None,
    ) -> Portion:
        """See `Store.signal_all`."""
        return await self._opened.write(mailing.signal_all, where, id, name, payload, now, after, limit, actor)

    async def fork(self, source: str, new: NewRun, from_step: str, actor: str | None = None) -> str:
        """See `Store.fork`."""
        return await self._opened.write(acting.fork, self._lanes, source, new, from_step, actor)

    async def delete(self, run_id: str) -> None:
        """See `Store.delete`."""
        await self._opened.write(acting.delete, run_id)

    async def delete_all(self, where: RunFilter, limit: int) -> int:
        """See `Store.delete_all`."""
        return await self._opened.write(acting.delete_all, where, limit)

    async def drain(self, worker: str, now: float, actor: str | None = None) -> bool:
        """See `Store.drain`."""
        return await self._opened.write(acting.drain, worker, now, actor)

    async def halt(self, what: Halt, *, halted: bool, now: float, actor: str | None = None) -> None:
        """See `Store.halt`."""
        await self._opened.write(acting.halt, what, halted, now, actor)

    async def halts(self) -> Collection[Halt]:
        """See `Store.halts`."""
        return await self._opened.search(reading.halts)

    # -- what is read

    async def get(self, run_id: str) -> Run:
        """See `Store.get`."""
        return await self._opened.glance(reading.get, run_id)

    async def find(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[Run]:
        """See `Store.find`."""
        return await self._opened.search(reading.find, where, newest, limit, cursor)

    async def count(self, where: RunFilter) -> Mapping[RunStatus, int]:
        """See `Store.count`."""
        return await self._opened.search(reading.count, where)

    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        """See `Store.ended`."""
        return await self._opened.glance(reading.ended, run_ids)

    async def steps(self, run_id: str) -> list[StepRecord]:
        """See `Store.steps`."""
        return await self._opened.search(reading.steps, run_id)

    async def logs(
        self,
        run_id: str,
        after: int = 0,
        limit: int = 10_000,
        *,
        step: str | None = None,
        levels: Collection[str] | None = None,
        last: bool = False,
    ) -> list[LogLine]:
        """See `Store.logs`."""
        return await self._opened.search(reading.logs, run_id, after, limit, step, levels, last)

    async def events(self, run_id: str, limit: int = ALL) -> list[Event]:
        """See `Store.events`."""
        return await self._opened.search(reading.events, run_id, limit)

    async def history(self, run_id: str) -> Claimed:
        """See `Store.history`."""
        return await self._opened.search(claiming.history, run_id)

    async def lanes(self) -> Collection[Lane]:
        """See `Store.lanes`."""
        return await self._opened.search(reading.lanes)

    async def workers(self, limit: int = ALL) -> list[WorkerState]:
        """See `Store.workers`."""
        return await self._opened.search(reading.workers, limit)

    async def pulse(self) -> str:
        """See `Store.pulse`."""
        return await self._opened.search(reading.pulse)

    # -- what pages show

    async def summaries(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[RunSummary]:
        """See `Store.summaries`."""
        return await self._opened.show(surveying.summaries, where, newest, limit, cursor)

    async def summaries_of(self, run_ids: Collection[str]) -> Mapping[str, RunSummary]:
        """See `Store.summaries_of`."""
        return await self._opened.show(surveying.summaries_of, run_ids)

    async def active(self, limit: int) -> list[RunSummary]:
        """See `Store.active`."""
        return await self._opened.show(surveying.active, limit)

    async def tally(self, where: RunFilter, cap: int) -> Mapping[RunStatus, int]:
        """See `Store.tally`."""
        return await self._opened.show(surveying.tally, where, cap)

    async def chips(self, run_ids: Collection[str], limit: int) -> Mapping[str, tuple[int, list[StepChip]]]:
        """See `Store.chips`."""
        return await self._opened.show(surveying.chips, run_ids, limit)

    async def ends(self, since: float, until: float, width_seconds: float, workflow: str | None = None) -> list[Ends]:
        """See `Store.ends`."""
        return await self._opened.show(surveying.ends, since, until, width_seconds, workflow)

    async def ends_by_workflow(
        self, since: float, until: float, width_seconds: float, workflows: Collection[str] | None = None
    ) -> Mapping[str, list[Ends]]:
        """See `Store.ends_by_workflow`."""
        return await self._opened.show(surveying.ends_by_workflow, since, until, width_seconds, workflows)

    async def speeds(self, limit: int, workflows: Collection[str] | None = None) -> list[Speed]:
        """See `Store.speeds`."""
        return await self._opened.show(surveying.speeds, limit, workflows)

    async def waits(self, parts: Sequence[tuple[str, str]], limit: int, now: float, workflow: str | None = None) -> list[list[float]]:
        """See `Store.waits`."""
        return await self._opened.show(surveying.waits, parts, limit, now, workflow)

    async def live_versions(self, cap: int) -> list[LiveVersion]:
        """See `Store.live_versions`."""
        return await self._opened.show(surveying.live_versions, cap)

    async def backlog(self, cap: int) -> Backlog:
        """See `Store.backlog`."""
        return await self._opened.show(surveying.backlog, cap)

    async def facts(self, now: Callable[[], float]) -> DatabaseFacts:
        """See `Store.facts`."""
        return await self._opened.show(surveying.facts, self.kind, now)

    # -- lists that pages turn

    async def around(self, limit: int) -> Around:
        """See `Store.around`."""
        return await self._opened.show(browsing.around, limit)

    async def catalog(self, find: str, after: str, limit: int) -> list[Known]:
        """See `Store.catalog`."""
        return await self._opened.show(browsing.catalog, find, after, limit)

    async def published(self, workflow: str, limit: int) -> Published:
        """See `Store.published`."""
        return await self._opened.glance(browsing.published, workflow, limit)

    async def queues(self, limit: int) -> list[QueueState]:
        """See `Store.queues`."""
        return await self._opened.show(browsing.queues, limit)

    async def schedules_page(
        self, find: str, declared: tuple[str, str] | None, others: tuple[str, str] | None, limit: int
    ) -> list[ScheduleState]:
        """See `Store.schedules_page`."""
        return await self._opened.show(browsing.schedules_page, find, declared, others, limit)

    async def unknown_schedules(self, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """See `Store.unknown_schedules`."""
        return await self._opened.show(browsing.unknown_schedules, keys)

    async def schedules_of(self, workflows: Collection[str], limit: int) -> Mapping[str, list[ScheduleState]]:
        """See `Store.schedules_of`."""
        return await self._opened.show(browsing.schedules_of, workflows, limit)

    async def due_schedules(self, before: float, cap: int) -> tuple[int, int]:
        """See `Store.due_schedules`."""
        return await self._opened.show(browsing.due_schedules, before, cap)

    async def story(self, run_id: str, limit: int) -> Story:
        """See `Store.story`."""
        return await self._opened.show(browsing.story, run_id, limit)

    async def trace(self, run_id: str, limit: int) -> list[StepRecord]:
        """See `Store.trace`."""
        return await self._opened.show(browsing.trace, run_id, limit)

    async def some_steps(self, run_id: str, key: str | None, attempt: int | None, cursor: str | None, limit: int) -> Page[StepRecord]:
        """See `Store.some_steps`."""
        return await self._opened.show(browsing.some_steps, run_id, key, attempt, cursor, limit)
