"""`app.schedules`: what comes when, and what people do about it. It holds no state: each call asks the store, and none needs their code."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from pydantic_core import from_json, to_json

from stepwell.core.cron import Cron
from stepwell.core.definition import Workflow
from stepwell.core.filters import checked_cursor, checked_limit, checked_text
from stepwell.core.naming import checked_name
from stepwell.core.options import Schedule
from stepwell.core.records import TO_COMPUTE, Cursor, Event, NewRun, Page, ScheduleState, Slot, instant, optional_instant
from stepwell.core.registry import Registry
from stepwell.core.shards import shard_of_key
from stepwell.core.slots import skipped_while_paused
from stepwell.core.starting import Target, checked_actor, published_target, target_of
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import BadValue, DefinitionError, ScheduleNotFound
from stepwell.handle import ACTS, LOOKS, Handle
from stepwell.home import Home

MAX_BACKFILL: Final = 10_000
"""Slots that one call goes through."""

_AT_ONCE: Final = 500
"""Runs that one transaction adds."""

_CAP: Final = 10_000
"""How many schedules are looked at, where they are counted."""

_TRIES: Final = 10
"""How often a schedule is resumed that changes just then."""


class Schedules:
    """`app.schedules`: the schedules that workers have declared, on this database."""

    def __init__(self, home: Home, registry: Registry, timezone: str) -> None:
        self._home = home
        self._registry = registry
        self._timezone = timezone

    # -- what there is

    async def list(self, *, workflow: Workflow[Any, Any] | str | None = None, ended: bool = False) -> builtins.list[ScheduleState]:
        """All schedules, by workflow and name: those that the release which was started last declares, and those of this app.

        One of this app that no worker has declared yet has `declared` False, and does not fire before one does.

        Args:
            workflow: only those of this one, or of this name.
            ended: also those that no release declares any more.
        """
        refuse_in_body(*LOOKS)
        of = None if workflow is None else _workflow_name(workflow)
        known = {(state.workflow, state.name): state for state in await self._home.store.schedules(of)}
        mine = {key: state for key, state in self._mine() if key not in known and of in (None, key[0])}
        shown = [state for state in known.values() if state.declared or ended]
        return sorted([*shown, *mine.values()], key=lambda state: (state.workflow, state.name))

    async def page(self, *, find: str = "", ended: bool = False, limit: int = 100, cursor: str | None = None) -> Page[ScheduleState]:
        """A page of schedules: those that are declared, then the others, each by workflow and name. There is no page before.

        Args:
            find: only those that have this text in their name, or in that of the workflow.
            ended: also those that no release declares any more.
            limit: how many at most, from 1 to 1,000.
            cursor: the `next_cursor` of the page before, with the same text.

        Raises:
            ValueError: the limit or the cursor is none.
            TooSlow: it would take too long to find them.
        """
        text, wanted = checked_text(find, "find"), checked_limit(limit)
        declared, others = (_FIRST, _FIRST) if cursor is None else _read_cursor(checked_cursor(cursor) or "")
        refuse_in_body(*LOOKS)
        found = await self._home.store.schedules_page(text, declared, others if ended else None, wanted + 1)
        if len(found) <= wanted or not found[wanted].declared:  # those that are not declared have their turn on this page
            found += await self._unknown(text, others, wanted + 1)
        shown = sorted(found, key=_place)
        return Page(items=tuple(shown[:wanted]), next_cursor=_cursor(shown[wanted - 1]) if len(shown) > wanted else None)

    async def _unknown(self, find: str, after: tuple[str, str], limit: int) -> builtins.list[ScheduleState]:
        """The first schedules of this app, after this one, that nobody has declared yet."""
        wanted = find.casefold()
        mine = {
            key: (workflow, schedule)
            for workflow in self._registry.newest()
            for schedule in workflow.schedules
            if (key := (workflow.name, schedule.name)) > after and any(wanted in part.casefold() for part in key)
        }
        unknown = await self._home.store.unknown_schedules(builtins.list(mine)) if mine else []
        return [self._undeclared(*mine[key]) for key in sorted(unknown)[:limit]]

    async def of_workflows(self, workflows: Iterable[str], limit: int = 100) -> dict[str, builtins.list[ScheduleState]]:
        """The first schedules of each of up to 1,000 workflows, by name: up to `limit` that are declared, then others.

        Where no worker has ever said which schedules a workflow has, they are those of this app.
        """
        names = [_workflow_name(workflow) for workflow in workflows]
        wanted = checked_limit(limit)
        refuse_in_body(*LOOKS)
        found = dict(await self._home.store.schedules_of(names, wanted))
        for workflow in self._registry.newest():
            if workflow.name in names and workflow.name not in found and workflow.schedules:
                found[workflow.name] = [self._undeclared(workflow, schedule) for schedule in workflow.schedules[:wanted]]
        return found

    async def due(self, late: timedelta = timedelta(minutes=1)) -> tuple[int, int]:
        """How many schedules will fire, and how many of them should have fired before this time; 10,001 is more than 10,000."""
        refuse_in_body(*LOOKS)
        return await self._home.store.due_schedules(self._home.now() - late.total_seconds(), _CAP)

    async def get(self, workflow: Workflow[Any, Any] | str, name: str) -> ScheduleState:
        """The schedule as it stands, also one that no release declares any more. Raises ScheduleNotFound: there is none of this name."""
        refuse_in_body(*LOOKS)
        key = _key(workflow, name)
        found = await self._home.store.schedules(*key)
        if found:
            return found[0]
        mine = dict(self._mine())
        if key not in mine:
            raise await self._not_found(*key)
        return mine[key]

    async def preview(self, workflow: Workflow[Any, Any] | str, name: str, count: int = 5) -> builtins.list[datetime]:
        """The next slots from now on, in UTC, whether the schedule is paused or not.

        Args:
            workflow: the workflow, or its name.
            name: of the schedule.
            count: how many, from 1 to 1,000.

        Raises:
            ScheduleNotFound: there is no such schedule.
            ValueError: the count is none.
        """
        wanted = checked_limit(count, "count", "")
        state = await self.get(workflow, name)
        slots = Cron(state.expression, state.timezone).between(self._home.now(), float("inf"))
        return [instant(slot) for slot in islice(slots, wanted)]

    async def slots(
        self, workflow: Workflow[Any, Any] | str, name: str, *, limit: int = 100, before: int | None = None
    ) -> builtins.list[Slot]:
        """What has become of its slots, the newest record first: why it did not fire. At least the newest 1,000 records are kept.

        Args:
            workflow: the workflow, or its name.
            name: of the schedule.
            limit: how many at most, from 1 to 1,000.
            before: the `number` of the last record of the page before.

        Raises:
            ScheduleNotFound: there is no such schedule.
            ValueError: the limit is none.
        """
        wanted = checked_limit(limit, more="; give the number of the last one as before, for more")
        await self.get(workflow, name)
        return await self._home.store.slots(*_key(workflow, name), wanted, before)

    async def events(self, workflow: Workflow[Any, Any] | str, name: str) -> builtins.list[Event]:
        """Who has paused and resumed it, and when. Raises ScheduleNotFound.

        A trigger or a backfill is an event of the run that it has started, and in the records of `slots`.
        """
        await self.get(workflow, name)
        return await self._home.store.schedule_events(*_key(workflow, name))

    async def past(self, workflow: Workflow[Any, Any] | str, name: str, start: datetime, end: datetime) -> builtins.list[datetime]:
        """The slots that a backfill of this time goes through, in UTC. Those among them that have had a run get no other.

        Args:
            workflow: the workflow, or its name.
            name: of the schedule.
            start: as `backfill` takes it.
            end: likewise.

        Raises:
            ScheduleNotFound, DefinitionError, ValueError: see `backfill`.
        """
        refuse_in_body(*LOOKS)
        _, slots = await self._past(_key(workflow, name), start, end)
        return [instant(slot) for slot in slots]

    # -- what people do

    async def pause(self, workflow: Workflow[Any, Any] | str, name: str, *, actor: str | None = None) -> ScheduleState:
        """Let it fire no more until `resume`, also after restarts and with new releases. Slots in that time are skipped.

        Runs that it has started go on. Twice changes nothing. Raises ScheduleNotFound.
        """
        refuse_in_body(*ACTS)
        by, key = checked_actor(actor), _key(workflow, name)
        if not await self._home.store.pause_schedule(*key, self._home.now(), by):
            raise await self._not_found(*key)
        return await self.get(*key)

    async def resume(self, workflow: Workflow[Any, Any] | str, name: str, *, actor: str | None = None) -> ScheduleState:
        """Let it fire again, from its next slot on. Changes nothing if it is not paused. Raises ScheduleNotFound."""
        refuse_in_body(*ACTS)
        by, key, store = checked_actor(actor), _key(workflow, name), self._home.store
        await self._known(key)
        for _ in range(_TRIES):
            (seen,) = await store.cursors([key])
            state = await self._known(key)
            if not state.paused:
                return state
            now = self._home.now()
            next_at, skipped = skipped_while_paused(Cron(state.expression, state.timezone), seen.next_at, now)
            if await store.resume_schedule(seen, next_at, skipped, now, by):
                return await self.get(*key)
        raise RuntimeError(f"schedule {name!r} of {key[0]!r} was changed {_TRIES} times while it was resumed")

    async def trigger(self, workflow: Workflow[Any, Any] | str, name: str, *, actor: str | None = None) -> Handle[Any]:
        """Start a run now, with the schedule's input, whatever its overlap says, and also while it is paused. Twice makes two runs.

        A function of the slot's time gets the time of this call, and so does `run.scheduled_at`. It is called by the worker that begins
        the run.

        Raises:
            ScheduleNotFound: there is no such schedule, or no release declares it any more.
            DatabaseUnavailable: it is not known whether the run was started.
        """
        refuse_in_body(*ACTS)
        by, key = checked_actor(actor), _key(workflow, name)
        state, now = await self._declared(key), self._home.now()
        at = now if now % 1 else now + 0.000_001  # no slot: those are whole seconds
        (run,) = self._runs(state, await self._target(state), [at])
        return Handle(self._home, await self._home.store.trigger(run, now, by))

    async def backfill(
        self, workflow: Workflow[Any, Any] | str, name: str, start: datetime, end: datetime, *, actor: str | None = None
    ) -> builtins.list[Handle[Any]]:
        """Start a run for each past slot that has had none, whatever the overlap says: the handles of those that were started.

        Slots that have had a run are left out, so a second call starts nothing again; and so are those that will still fire by themselves.

        Args:
            workflow: the workflow, or its name.
            name: of the schedule.
            start: the first instant, an aware datetime.
            end: the instant before which it ends, an aware datetime. Slots from now on are left to the schedule.
            actor: who does it, to be kept with each run.

        Raises:
            ScheduleNotFound: there is no such schedule, or no release declares it any more.
            DefinitionError: one of the times has no timezone, or they are in the wrong order.
            ValueError: the time holds more than 10,000 slots.
        """
        refuse_in_body(*ACTS)
        by = checked_actor(actor)
        state, slots = await self._past(_key(workflow, name), start, end)
        target = await self._target(state)
        made: builtins.list[str] = []
        for place in range(0, len(slots), _AT_ONCE):
            runs = self._runs(state, target, slots[place : place + _AT_ONCE])
            made += await self._home.store.backfill(runs, self._home.now(), by)
        return [Handle(self._home, run_id) for run_id in made]

    # -- parts of it

    async def _known(self, key: tuple[str, str]) -> ScheduleState:
        """A schedule that some worker has declared. Raises ScheduleNotFound."""
        found = await self._home.store.schedules(*key)
        if not found:
            raise await self._not_found(*key)
        return found[0]

    async def _declared(self, key: tuple[str, str]) -> ScheduleState:
        """One that some release declares still. Raises ScheduleNotFound."""
        state = await self._known(key)
        if not state.declared:
            raise ScheduleNotFound(*key, ended=True)
        return state

    async def _not_found(self, workflow: str, name: str) -> ScheduleNotFound:
        return ScheduleNotFound(workflow, name, [state.name for state in await self._home.store.schedules(workflow) if state.declared])

    async def _past(self, key: tuple[str, str], start: datetime, end: datetime) -> tuple[ScheduleState, Sequence[float]]:
        first, last = _instant(start, "start"), _instant(end, "end")
        if first > last:
            raise DefinitionError(f"the start of a backfill must not be after its end: {start.isoformat()} is after {end.isoformat()}")
        state = await self._declared(key)
        (cursor,) = await self._home.store.cursors([key])
        return state, _past(Cron(state.expression, state.timezone), first, min(last, self._home.now()), cursor)

    def _mine(self) -> Iterator[tuple[tuple[str, str], ScheduleState]]:
        """The schedules of this app, as they are where no worker has declared them."""
        for workflow in self._registry.newest():
            for schedule in workflow.schedules:
                yield (workflow.name, schedule.name), self._undeclared(workflow, schedule)

    def _undeclared(self, workflow: Workflow[Any, Any], schedule: Schedule) -> ScheduleState:
        zone = schedule.timezone or self._timezone
        next_at = Cron(schedule.expression, zone).after(self._home.now())
        is_computed = callable(schedule.input)
        return ScheduleState(
            workflow=workflow.name,
            name=schedule.name,
            expression=schedule.expression,
            timezone=zone,
            next_at=optional_instant(next_at),
            last_at=None,
            last_run_id=None,
            paused=False,
            overlap=schedule.overlap,
            catch_up=schedule.catch_up,
            jitter=schedule.jitter,
            version=workflow.version,
            input=None if is_computed else schedule.input,
            input_is_computed=is_computed,
            declared=False,
        )

    async def _target(self, state: ScheduleState) -> Target:
        known = self._registry.find(state.workflow, state.version)
        if known is not None:
            return target_of(known, state.version)
        return published_target(state.workflow, state.version, (await self._home.published(state.workflow)).definitions)._replace(
            version=state.version
        )

    def _runs(self, state: ScheduleState, target: Target, slots: Sequence[float]) -> builtins.list[NewRun]:
        now, shard = self._home.now(), shard_of_key(state.workflow, state.name)
        text = TO_COMPUTE if state.input_is_computed else to_json(state.input).decode()
        return [
            NewRun(
                id=self._home.new_id(shard),
                workflow=state.workflow,
                version=state.version,
                input=text,
                created_at=now,
                available_at=now,
                queue=target.queue,
                priority=target.priority,
                timeout=target.timeout,
                schedule=state.name,
                scheduled_at=slot,
            )
            for slot in slots
        ]


_FIRST: Final = ("", "")
"""Before all schedules."""


def _place(state: ScheduleState) -> tuple[bool, str, str]:
    """Of a schedule, in a list."""
    return not state.declared, state.workflow, state.name


def _cursor(last: ScheduleState) -> str:
    return to_json([last.declared, last.workflow, last.name]).decode()


def _read_cursor(cursor: str) -> tuple[tuple[str, str] | None, tuple[str, str]]:
    """After which schedules that are declared, and that are not, a page begins. None: after all. Raises ValueError."""
    try:
        declared, workflow, name = from_json(cursor)
    except (ValueError, TypeError):
        declared = workflow = name = None
    if not isinstance(declared, bool) or not isinstance(workflow, str) or not isinstance(name, str) or "\0" in workflow + name:
        raise BadValue(f"{cursor!r} is no cursor; give next_cursor of a page, or none for the first page")
    return ((workflow, name), _FIRST) if declared else (None, (workflow, name))


def _key(workflow: Workflow[Any, Any] | str, name: str) -> tuple[str, str]:
    """Workflow and name of a schedule. Raises DefinitionError: one of them can be none."""
    return _workflow_name(workflow), checked_name(name, "schedule")


def _workflow_name(workflow: Workflow[Any, Any] | str) -> str:
    return checked_name(workflow.name if isinstance(workflow, Workflow) else workflow, "workflow")


def _instant(when: object, what: str) -> float:
    if not isinstance(when, datetime):
        raise DefinitionError(f"the {what} of a backfill is a datetime with a timezone, not {type(when).__name__}: {when!r}")
    if when.utcoffset() is None:
        raise DefinitionError(f"the {what} of a backfill needs a timezone: {when.isoformat()} is a different instant in each")
    return when.timestamp()


def _past(cron: Cron, first: float, end: float, cursor: Cursor) -> Sequence[float]:
    """The slots from `first` on and before `end` that do not fire by themselves any more. Raises ValueError: they are too many."""
    if cursor.next_at is not None and not cursor.paused:
        end = min(end, cursor.next_at)
    between = (slot for slot in cron.between(first - 0.5, end) if first <= slot < end and slot != cursor.waiting_at)
    slots = list(islice(between, MAX_BACKFILL + 1))
    if len(slots) > MAX_BACKFILL:
        raise BadValue(f"a backfill goes through {MAX_BACKFILL:,} slots at most, and these are more; take a shorter time")
    return slots
