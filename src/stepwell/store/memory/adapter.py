"""The verbs of the port, on `Tables`. Each runs to its end in one turn of the loop, so none sees another half done."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from stepwell.core.records import DatabaseFacts, News, Page
from stepwell.core.status import after as status_after
from stepwell.errors import DefinitionError, IllegalTransition, MailboxFull
from stepwell.store.memory import acting, browsing, claiming, mailing, scheduling, showing, surveying, writing
from stepwell.store.memory.finding import matching, page
from stepwell.store.memory.tables import Tables, WorkerRow
from stepwell.store.port import ALL, Beat, Ended, Hint, Look, Notices, Peer, Portion, WorkerLost

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from stepwell.core.records import (
        Backlog,
        Claimed,
        Cursor,
        Declaration,
        Definition,
        Ends,
        Event,
        Firing,
        LiveVersion,
        LogLine,
        NewRun,
        NewSlot,
        NewWorker,
        Outcome,
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
    )
    from stepwell.core.registry import Lane
    from stepwell.core.status import Action, RunStatus
    from stepwell.store.memory.tables import Row
    from stepwell.store.port import Around, Batch, Effect, Halt, Known, Pin, Published, Story


class Faults(Protocol):
    """What goes wrong, for tests."""

    async def before_commit(self, number: int) -> None:
        """Called with the number of the commit, from 1, before anything is written. Raise, or never return."""

    async def after_commit(self, number: int) -> None:
        """Called when everything is written and nobody has been told."""


class MemoryStore:
    """A store in this process's memory. Like any adapter it keeps text, and hands out fresh records.

    Attributes:
        commits: how many there were, with those that failed.
        gone: workers whose processes are to be known as ended, for tests.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self._tables = Tables()
        self._faults = faults
        self._listeners: dict[object, Callable[[Hint], None]] = {}
        self.commits = 0
        self._told = 0
        """How often somebody was told something."""
        self.gone: set[str] = set()

    # -- the store itself

    async def open(self, *, migrate: bool = True) -> None:
        """See `Store.open`. There is nothing to connect to."""

    async def close(self) -> None:
        """See `Store.close`. What it keeps stays, for whoever opens it again."""

    def migration_sql(self) -> str:
        """See `Store.migration_sql`: there is nothing to migrate."""
        return ""

    def listen(self, told: Callable[[Hint], None]) -> Callable[[], None]:
        """See `Store.listen`."""
        listener = object()
        self._listeners[listener] = told
        return lambda: self._unlisten(listener)

    def _unlisten(self, listener: object) -> None:
        self._listeners.pop(listener, None)

    def hint(self, hint: Hint) -> None:
        """See `Store.hint`."""
        for listener in self._listeners:
            asyncio.get_running_loop().call_soon(self._call, listener, hint)

    def _call(self, listener: object, hint: Hint) -> None:
        told = self._listeners.get(listener)
        if told is not None:
            told(hint)

    def _tell(self, hints: Collection[Hint]) -> None:
        self._told += 1
        for hint in Hint:
            if hint in hints:
                self.hint(hint)

    # -- start

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`."""
        told: set[Hint] = set()
        ids = []
        for new in runs:
            taken = self._tables.taken(new)
            if taken is None:
                row = self._tables.add(new)
                acting.keep_start(row)
                told |= row.hints() | ({Hint.DUE} if row.deadline_at is not None else set())
            ids.append(taken or new.id)
        self._tell(told)
        return ids

    async def enqueue_within(self, connection: Any, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue_within`. Always raises DefinitionError."""
        raise DefinitionError(
            "a store in memory takes part in no transaction: there is no database to connect to. "
            "Start the run without a connection, or use SQLite or PostgreSQL."
        )

    async def definitions(self) -> list[Definition]:
        """See `Store.definitions`."""
        return list(self._tables.definitions.values())

    # -- a worker's life

    async def register(self, worker: NewWorker) -> None:
        """See `Store.register`."""
        if worker.id not in self._tables.workers:
            self._tables.workers[worker.id] = WorkerRow(worker, worker.started_at)
            self._tables.definitions |= {(each.name, each.version): each for each in worker.definitions}

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        """See `Store.beat`."""
        if not self._tables.lives(worker):
            return None
        workers = dict(self._tables.workers)
        known = workers.pop(worker)
        known.beat += 1
        known.beat_at, known.running, known.parked = now, running, parked
        peers = {each: Peer(other.beat, other.new.lease, each in self.gone) for each, other in workers.items()}
        return Beat(time=None, draining=known.draining, peers=peers)

    async def rescue(self, worker: str, beat: int, now: float, limit: int, max_crashes: int) -> int:
        """See `Store.rescue`."""
        known = self._tables.workers.get(worker)
        if known is None or known.beat != beat:
            return 0
        known.dead = True
        return self._take(worker, now, limit, max_crashes)

    async def hand_back(self, worker: str, now: float, limit: int) -> int:
        """See `Store.hand_back`."""
        return self._take(worker, now, limit, None)

    def _take(self, worker: str, now: float, limit: int, max_crashes: int | None) -> int:
        taken = self._tables.owned(worker)[:limit]
        told: set[Hint] = set()
        for row in taken:
            told |= acting.take(self._tables, row, now, max_crashes)
        if len(taken) < limit:
            self._tables.workers.pop(worker, None)
            self._tables.schedules.declares.pop(worker, None)
        self._tell(told)
        return len(taken)

    async def look(self, worker: str, now: float) -> Look:
        """See `Store.look`."""
        rows = self._tables.rows.values()
        times = [row.waits_until for row in rows] + [row.expires_at for row in rows]
        known = self._tables.workers.get(worker)
        return Look(
            ready=any(row.is_ready and not claiming.is_halted(self._tables, row.lane) for row in rows),
            due=min((time for time in times if time is not None), default=None),
            notices=bool(known and known.notices),
            schedules=self._tables.schedules.last_deed,
        )

    async def make_ready(self, now: float, limit: int) -> int:
        """See `Store.make_ready`."""
        due = sorted((time, row.new.id) for row in self._tables.rows.values() if (time := row.waits_until) is not None and time <= now)
        for time, run_id in due[:limit]:
            self._tables.rows[run_id].get_ready(time)
        self._tell({Hint.READY} if due[:limit] else ())
        return len(due[:limit])

    async def expire(self, now: float, limit: int) -> int:
        """See `Store.expire`."""
        late = sorted((time, row.new.id) for row in self._tables.rows.values() if (time := row.expires_at) is not None and time <= now)
        told: set[Hint] = set()
        for _, run_id in late[:limit]:
            told |= acting.expire(self._tables, self._tables.rows[run_id], now)
        self._tell(told)
        return len(late[:limit])

    # -- schedules

    async def declare(self, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> int:
        """See `Store.declare`."""
        if not self._tables.lives(worker):
            raise WorkerLost(f"worker {worker} is not registered, or was taken for dead")
        number, told = scheduling.declare(self._tables, worker, declarations, release, now)
        self._tell(told)
        return number

    async def changed_schedules(self, deed: int, limit: int) -> list[tuple[str, str]]:
        """See `Store.changed_schedules`."""
        return [key for key, row in self._tables.schedules.said.items() if row.changed > deed][:limit]

    async def cursors(self, keys: Collection[tuple[str, str]]) -> list[Cursor]:
        """See `Store.cursors`."""
        found = (self._tables.schedules.cursor(self._tables, key) for key in keys)
        return [cursor for cursor in found if cursor is not None]

    async def fire(self, firings: Sequence[Firing], now: float) -> list[bool]:
        """See `Store.fire`."""
        won, told = scheduling.fire(self._tables, firings, now)
        self._tell(told)
        return won

    async def supply(self, worker: str, run_id: str, claim: int, input: str) -> bool:
        """See `Store.supply`."""
        return scheduling.supply(self._tables, worker, run_id, claim, input)

    async def schedules(self, workflow: str | None = None, name: str | None = None) -> list[ScheduleState]:
        """See `Store.schedules`."""
        return scheduling.states(self._tables, workflow, name)

    async def pause_schedule(self, workflow: str, name: str, now: float, actor: str | None = None) -> bool:
        """See `Store.pause_schedule`."""
        self._tell({Hint.DUE})
        return scheduling.pause(self._tables, (workflow, name), now, actor)

    async def resume_schedule(self, seen: Cursor, next_at: float | None, skipped: NewSlot | None, now: float, actor: str | None) -> bool:
        """See `Store.resume_schedule`."""
        self._tell({Hint.DUE})
        return scheduling.resume(self._tables, seen, next_at, skipped, now, actor)

    async def trigger(self, run: NewRun, now: float, actor: str | None = None) -> str:
        """See `Store.trigger`."""
        self._tell(scheduling.trigger(self._tables, run, now, actor))
        return run.id

    async def backfill(self, runs: Sequence[NewRun], now: float, actor: str | None = None) -> list[str]:
        """See `Store.backfill`."""
        made, told = scheduling.backfill(self._tables, runs, now, actor)
        self._tell(told)
        return made

    async def slots(self, workflow: str, name: str, limit: int, before: int | None = None) -> list[Slot]:
        """See `Store.slots`."""
        return scheduling.slots(self._tables, (workflow, name), limit, before)

    async def schedule_events(self, workflow: str, name: str, limit: int = ALL) -> list[Event]:
        """See `Store.schedule_events`."""
        fired = self._tables.schedules.fired.get((workflow, name))
        return [] if fired is None else fired.events[:limit]

    async def forget_slots(self, keys: Collection[tuple[str, str]], keep: int) -> None:
        """See `Store.forget_slots`."""
        scheduling.forget_slots(self._tables, keys, keep)

    # -- claim

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        """See `Store.claim`."""
        if not self._tables.lives(worker):
            raise WorkerLost(f"worker {worker} is not registered, or was taken for dead")
        chosen = claiming.choose(self._tables, serves, max(limit, 0), suspects=suspects)
        told: set[Hint] = set()
        for row, pin in chosen:
            told |= claiming.claim(self._tables, row, pin, worker, now)
        self._tell(told)
        return claiming.with_histories([row for row, _ in chosen])

    async def outcomes(self, run_id: str, after: int, limit: int) -> list[Outcome]:
        """See `Store.outcomes`."""
        row = self._tables.rows.get(run_id)
        known = row.outcomes.values() if row is not None else ()
        return sorted((outcome for outcome in known if outcome.seq > after), key=lambda outcome: outcome.seq)[:limit]

    # -- what a worker writes

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        self.commits += 1
        number = self.commits
        if self._faults is not None:
            await self._faults.before_commit(number)
        answers, told = writing.apply(self._tables, worker, batch, now)
        if self._faults is not None:
            await self._faults.after_commit(number)
        self._tell(told)
        return answers

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """See `Store.transact`. Always raises DefinitionError."""
        raise DefinitionError(
            f"step {effect.key!r} is a transaction, and a store in memory has no database for it to write to. In a test, mock the step, "
            'or give the app a database: TestApp(..., database="sqlite://").'
        )

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        """See `Store.notices`."""
        known = self._tables.workers.get(worker)
        if known is None:
            return Notices(seen, {})
        known.notices = {number: run_id for number, run_id in known.notices.items() if number > seen}
        return Notices(max(known.notices, default=seen), {run_id: self._stands(worker, run_id) for run_id in known.notices.values()})

    def _stands(self, worker: str, run_id: str) -> tuple[int, RunStatus] | None:
        row = self._tables.rows.get(run_id)
        return (row.claim, row.status) if row is not None and row.worker == worker else None

    async def news(self, seen: Mapping[str, int]) -> Mapping[str, News]:
        """See `Store.news`."""
        known = {run_id: (row, after) for run_id, after in seen.items() if (row := self._tables.rows.get(run_id)) is not None}
        return {
            run_id: News(row.news, tuple(signal for signal in row.signals.values() if signal.number > after))
            for run_id, (row, after) in known.items()
        }

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        """See `Store.standing`."""
        return {row.new.id: (row.claim, row.status) for row in self._tables.owned(worker)}

    # -- what operators do

    async def act(self, run_id: str, action: Action, now: float, actor: str | None = None) -> Run:
        """See `Store.act`."""
        row = self._tables.row(run_id)
        self._tell(acting.act(self._tables, row, action, now, actor))
        return showing.run(row)

    async def act_on_all(self, where: RunFilter, action: Action, now: float, actor: str | None, limit: int) -> int:
        """See `Store.act_on_all`."""
        rows = [row for row in self._matching(where) if status_after(row.status, action) not in (None, row.status)][:limit]
        told: set[Hint] = set()
        for row in rows:
            told |= acting.act(self._tables, row, action, now, actor)
        self._tell(told)
        return len(rows)

    async def signal(self, run_id: str, id: str, name: str, payload: str, now: float, actor: str | None = None) -> None:
        """See `Store.signal`."""
        self._tell(mailing.signal(self._tables, self._tables.row(run_id), id, name, payload, now, actor))

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
        live = [row for row in self._matching(where) if not row.status.ended and (after is None or row.new.id > after)]
        told: set[Hint] = set()
        count = 0
        for row in live[:limit]:
            try:
                told |= mailing.signal(self._tables, row, id, name, payload, now, actor)
            except MailboxFull:
                continue
            count += 1
        self._tell(told)
        return Portion(count, live[limit - 1].new.id if len(live) >= limit else None)

    async def fork(self, source: str, new: NewRun, from_step: str, actor: str | None = None) -> str:
        """See `Store.fork`."""
        row = self._tables.row(source)
        taken = self._tables.taken(new)
        if taken is None:
            self._tell(acting.fork(self._tables, row, new, from_step, actor))
        return taken or new.id

    async def delete(self, run_id: str) -> None:
        """See `Store.delete`."""
        row = self._tables.row(run_id)
        if not row.status.ended:
            raise IllegalTransition(run_id=run_id, status=row.status, action="delete")
        self._tables.forget(row)

    async def delete_all(self, where: RunFilter, limit: int) -> int:
        """See `Store.delete_all`."""
        rows = [row for row in self._matching(where) if row.status.ended][:limit]
        for row in rows:
            self._tables.forget(row)
        return len(rows)

    async def drain(self, worker: str, now: float, actor: str | None = None) -> bool:
        """See `Store.drain`."""
        if not self._tables.lives(worker):
            return False
        self._tables.workers[worker].draining = True
        return True

    async def halt(self, what: Halt, *, halted: bool, now: float, actor: str | None = None) -> None:
        """See `Store.halt`."""
        if halted:
            self._tables.halts.add(what)
        elif what in self._tables.halts:
            self._tables.halts.remove(what)
            self._tell({Hint.READY})

    async def halts(self) -> Collection[Halt]:
        """See `Store.halts`."""
        return frozenset(self._tables.halts)

    # -- what is read

    async def get(self, run_id: str) -> Run:
        """See `Store.get`."""
        return showing.run(self._tables.row(run_id))

    async def find(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[Run]:
        """See `Store.find`."""
        found = page(self._matching(where), newest=newest, limit=limit, cursor=cursor)
        return Page(items=tuple(showing.run(row) for row in found), next_cursor=found.next_cursor, previous_cursor=found.previous_cursor)

    async def count(self, where: RunFilter) -> Mapping[RunStatus, int]:
        """See `Store.count`."""
        return Counter(row.status for row in self._matching(where))

    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        """See `Store.ended`."""
        rows = {run_id: self._tables.rows.get(run_id) for run_id in run_ids}
        return {
            run_id: None if row is None else Ended(row.new.workflow, row.status, row.output, row.error)
            for run_id, row in rows.items()
            if row is None or row.status.ended
        }

    async def steps(self, run_id: str) -> list[StepRecord]:
        """See `Store.steps`."""
        return showing.steps(self._tables.row(run_id))

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
        return showing.lines(self._tables.row(run_id), after, limit, step, levels, last=last)

    async def events(self, run_id: str, limit: int = ALL) -> list[Event]:
        """See `Store.events`."""
        return self._tables.row(run_id).events[:limit]

    async def history(self, run_id: str) -> Claimed:
        """See `Store.history`."""
        (claimed,) = claiming.with_histories([self._tables.row(run_id)])
        return claimed

    async def lanes(self) -> Collection[Lane]:
        """See `Store.lanes`."""
        return frozenset(self._tables.lanes)

    async def workers(self, limit: int = ALL) -> list[WorkerState]:
        """See `Store.workers`."""
        return showing.workers(self._tables)[:limit]

    async def pulse(self) -> str:
        """See `Store.pulse`."""
        return f"{self.commits}.{self._told}"

    # -- what pages show

    async def summaries(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[RunSummary]:
        """See `Store.summaries`."""
        found = page(self._matching(where), newest=newest, limit=limit, cursor=cursor)
        items = tuple(showing.summary(row) for row in found)
        return Page(items=items, next_cursor=found.next_cursor, previous_cursor=found.previous_cursor)

    async def summaries_of(self, run_ids: Collection[str]) -> Mapping[str, RunSummary]:
        """See `Store.summaries_of`."""
        return {run_id: showing.summary(row) for run_id in run_ids if (row := self._tables.rows.get(run_id)) is not None}

    async def active(self, limit: int) -> list[RunSummary]:
        """See `Store.active`."""
        return [showing.summary(row) for row in surveying.active(self._tables, limit)]

    async def tally(self, where: RunFilter, cap: int) -> Mapping[RunStatus, int]:
        """See `Store.tally`."""
        return surveying.tally(self._tables, where, cap)

    async def chips(self, run_ids: Collection[str], limit: int) -> Mapping[str, tuple[int, list[StepChip]]]:
        """See `Store.chips`."""
        rows = {run_id: self._tables.rows.get(run_id) for run_id in run_ids}
        return {run_id: (0, []) if row is None else surveying.chips(row, limit) for run_id, row in rows.items()}

    async def ends(self, since: float, until: float, width_seconds: float, workflow: str | None = None) -> list[Ends]:
        """See `Store.ends`."""
        return surveying.ends(self._tables, since, until, width_seconds, workflow)

    async def ends_by_workflow(
        self, since: float, until: float, width_seconds: float, workflows: Collection[str] | None = None
    ) -> Mapping[str, list[Ends]]:
        """See `Store.ends_by_workflow`."""
        return surveying.ends_by_workflow(self._tables, since, until, width_seconds, workflows)

    async def speeds(self, limit: int, workflows: Collection[str] | None = None) -> list[Speed]:
        """See `Store.speeds`."""
        return surveying.speeds(self._tables, limit, workflows)

    async def waits(self, parts: Sequence[tuple[str, str]], limit: int, now: float, workflow: str | None = None) -> list[list[float]]:
        """See `Store.waits`."""
        return surveying.waits(self._tables, parts, limit, now, workflow)

    async def live_versions(self, cap: int) -> list[LiveVersion]:
        """See `Store.live_versions`."""
        return surveying.live_versions(self._tables, cap)

    async def backlog(self, cap: int) -> Backlog:
        """See `Store.backlog`."""
        return surveying.backlog(self._tables, cap)

    async def facts(self, now: Callable[[], float]) -> DatabaseFacts:
        """See `Store.facts`."""
        return DatabaseFacts(kind="memory", version="", size=None, migrations=(), clock_skew=None)

    # -- lists that pages turn

    async def around(self, limit: int) -> Around:
        """See `Store.around`. Here all are told."""
        return browsing.around(self._tables)

    async def catalog(self, find: str, after: str, limit: int) -> list[Known]:
        """See `Store.catalog`."""
        return browsing.catalog(self._tables, find, after)[:limit]

    async def published(self, workflow: str, limit: int) -> Published:
        """See `Store.published`."""
        return browsing.published(self._tables, workflow, limit)

    async def queues(self, limit: int) -> list[QueueState]:
        """See `Store.queues`."""
        return browsing.queues(self._tables)[:limit]

    async def schedules_page(
        self, find: str, declared: tuple[str, str] | None, others: tuple[str, str] | None, limit: int
    ) -> list[ScheduleState]:
        """See `Store.schedules_page`."""
        return browsing.schedules_page(self._tables, find, declared, others)[:limit]

    async def unknown_schedules(self, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """See `Store.unknown_schedules`."""
        return [key for key in keys if key not in self._tables.schedules.said]

    async def schedules_of(self, workflows: Collection[str], limit: int) -> Mapping[str, list[ScheduleState]]:
        """See `Store.schedules_of`."""
        return browsing.schedules_of(self._tables, workflows, limit)

    async def due_schedules(self, before: float, cap: int) -> tuple[int, int]:
        """See `Store.due_schedules`."""
        return browsing.due_schedules(self._tables, before, cap)

    async def story(self, run_id: str, limit: int) -> Story:
        """See `Store.story`."""
        return browsing.story(self._tables, self._tables.row(run_id), limit)

    async def trace(self, run_id: str, limit: int) -> list[StepRecord]:
        """See `Store.trace`."""
        row = self._tables.rows.get(run_id)
        return [] if row is None else browsing.trace(row)[-limit:]

    async def some_steps(self, run_id: str, key: str | None, attempt: int | None, cursor: str | None, limit: int) -> Page[StepRecord]:
        """See `Store.some_steps`."""
        return browsing.some_steps(self._tables.row(run_id), key, attempt, cursor, limit)

    def _matching(self, where: RunFilter) -> list[Row]:
        return matching(self._tables.rows.values(), where)
