"""Schedules in memory: which release's word holds, how far each has come, and what becomes of its slots."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic_core import from_json

from stepwell.core.backfilling import Ahead, backfilled, slot_of
from stepwell.core.declaring import is_outranked, said
from stepwell.core.records import Event, NewSlot, ScheduleState, instant, optional_instant
from stepwell.core.status import RunStatus
from stepwell.errors import ScheduleNotFound
from stepwell.store.memory.canceling import cancel
from stepwell.store.memory.slots import Fired
from stepwell.store.memory.tables import is_storable
from stepwell.store.port import Hint, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from stepwell.core.declaring import Declared
    from stepwell.core.records import Cursor, Declaration, Firing, NewRun, Slot
    from stepwell.store.memory.slots import Key, Schedules
    from stepwell.store.memory.tables import Tables


def declare(tables: Tables, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> tuple[int, set[Hint]]:
    """See `Store.declare`. The worker is registered."""
    schedules = tables.schedules
    schedules.declares[worker] = {each.workflow: each.digest for each in declarations}
    if release is None:
        schedules.releases += 1
        release = schedules.releases
    deed = schedules.last_deed + 1
    others = {pair for other, words in schedules.declares.items() if other != worker and tables.lives(other) for pair in words.items()}
    told: set[Hint] = set()
    for declaration in declarations:
        there = [_stands(schedules, row) for row in schedules.said.values() if row.workflow == declaration.workflow]
        if is_outranked(there, release) and any((row.workflow, row.digest) in others for row in there):
            continue
        verdict = said(declaration, there, release, deed, now)
        for row in verdict.rows:
            schedules.said[row.workflow, row.name] = row
            schedules.fired.setdefault((row.workflow, row.name), Fired())
        for name, slot in verdict.missed:
            schedules.record((declaration.workflow, name), slot, now)
        if any(row.changed == deed for row in verdict.rows):
            told.add(Hint.DUE)
    return release, told


def _stands(schedules: Schedules, row: Declared) -> Declared:
    fired = schedules.fired[row.workflow, row.name]
    return replace(row, is_paused=fired.paused_at is not None, last_at=fired.last_at)


def fire(tables: Tables, firings: Sequence[Firing], now: float) -> tuple[list[bool], set[Hint]]:
    """See `Store.fire`."""
    for run in (run for firing in firings for run in firing.runs):
        _check_input(run.id, run.input)
    first = {firing.cursor[:2]: firing for firing in reversed(firings)}
    told = [_fire(tables, firing, now) if first[firing.cursor[:2]] is firing else None for firing in firings]
    return [hints is not None for hints in told], set().union(*(hints for hints in told if hints is not None))


def _check_input(run_id: str, text: str) -> None:
    if not is_storable(text):
        raise WriteRefused(f"the input of run {run_id} has a text in it that is not valid Unicode, or contains the character NUL")


def _fire(tables: Tables, firing: Firing, now: float) -> set[Hint] | None:
    """None: the cursor does not stand as it was seen."""
    schedules, seen = tables.schedules, firing.cursor
    key = (seen.workflow, seen.name)
    stands = schedules.cursor(tables, key)
    if stands is None or stands.paused or stands[2:5] != seen[2:5]:
        return None
    schedules.said[key] = replace(schedules.said[key], next_at=firing.next_at, waiting_at=firing.waiting_at)
    told: set[Hint] = set()
    if firing.cancel is not None and (row := tables.rows.get(firing.cancel)) is not None and not row.status.ended:
        told |= cancel(tables, row, now, f"schedule {seen.name}")
    failed = dict(firing.failed)
    for run in firing.runs:
        told |= _start(tables, run)
        if run.id in failed:
            row = tables.rows[run.id]
            row.end(RunStatus.FAILED, now)
            row.error = failed[run.id]
            told.add(Hint.ENDED)
    if firing.runs:
        schedules.fired[key].last_at, schedules.fired[key].last_run = firing.runs[-1].scheduled_at, firing.runs[-1].id
    for slot in firing.slots:
        schedules.record(key, slot, now)
    return told


def _start(tables: Tables, run: NewRun) -> set[Hint]:
    if run.id in tables.rows:
        return set()
    row = tables.add(run)
    return row.hints() | ({Hint.DUE} if row.deadline_at is not None else set())


def supply(tables: Tables, worker: str, run_id: str, claim: int, input: str) -> bool:
    """See `Store.supply`."""
    _check_input(run_id, input)
    row = tables.rows.get(run_id)
    if row is None or row.worker != worker or row.claim != claim or not tables.lives(worker):
        return False
    row.input = input
    return True


def forget_slots(tables: Tables, keys: Collection[Key], keep: int) -> None:
    """See `Store.forget_slots`."""
    for key in keys:
        if key in tables.schedules.slots:
            known = tables.schedules.slots[key]
            tables.schedules.slots[key] = known[max(0, len(known) - keep) :]


# -- what people see and do


def states(tables: Tables, workflow: str | None, name: str | None) -> list[ScheduleState]:
    """See `Store.schedules`."""
    keys = sorted(key for key in tables.schedules.said if workflow in (None, key[0]) and name in (None, key[1]))
    return [_state(tables.schedules.said[key], tables.schedules.fired[key]) for key in keys]


def _state(row: Declared, fired: Fired) -> ScheduleState:
    paused = fired.paused_at is not None
    return ScheduleState(
        workflow=row.workflow,
        name=row.name,
        expression=row.expression,
        timezone=row.timezone,
        next_at=None if paused else optional_instant(row.next_at),
        last_at=optional_instant(fired.last_at),
        last_run_id=fired.last_run,
        paused=paused,
        overlap=row.overlap,
        catch_up=row.catch_up,
        jitter=None if row.jitter is None else timedelta(seconds=row.jitter),
        version=row.version or None,
        input=None if row.input is None else from_json(row.input),
        input_is_computed=row.input is None,
        waiting_at=optional_instant(row.waiting_at),
        paused_at=optional_instant(fired.paused_at),
        paused_by=fired.paused_by,
        declared=row.declared,
    )


def pause(tables: Tables, key: Key, now: float, actor: str | None) -> bool:
    """See `Store.pause_schedule`."""
    schedules = tables.schedules
    row = schedules.said.get(key)
    if row is None:
        return False
    fired = schedules.fired[key]
    if fired.paused_at is None:
        fired.paused_at, fired.paused_by = now, actor
        fired.events.append(Event(at=instant(now), action="pause", actor=actor))
        schedules.change(key, next_at=row.next_at, waiting_at=None)
        if row.waiting_at is not None:
            reason = "the schedule was paused while this slot waited"
            schedules.record(key, NewSlot(row.waiting_at, row.waiting_at, 1, "skipped", reason), now)
    return True


def resume(tables: Tables, seen: Cursor, next_at: float | None, skipped: NewSlot | None, now: float, actor: str | None) -> bool:
    """See `Store.resume_schedule`."""
    schedules, key = tables.schedules, (seen.workflow, seen.name)
    stands = schedules.cursor(tables, key)
    if stands is None or (stands.digest, stands.next_at) != (seen.digest, seen.next_at):
        return False
    if stands.paused:
        fired = schedules.fired[key]
        fired.paused_at = fired.paused_by = None
        fired.events.append(Event(at=instant(now), action="resume", actor=actor))
        schedules.change(key, next_at=next_at if schedules.said[key].declared else None, waiting_at=stands.waiting_at)
        if skipped is not None:
            schedules.record(key, skipped, now)
    return True


def trigger(tables: Tables, run: NewRun, now: float, actor: str | None) -> set[Hint]:
    """See `Store.trigger`."""
    key = _declared(tables, run)
    if run.id in tables.rows:
        return set()
    told = _start(tables, run)
    tables.schedules.fired[key].last_run = run.id
    tables.schedules.record(key, NewSlot(run.created_at, run.created_at, 1, "triggered", None, run.id, actor), now)
    tables.rows[run.id].events.append(Event(at=instant(now), action="trigger", actor=actor))
    return told


def backfill(tables: Tables, runs: Sequence[NewRun], now: float, actor: str | None) -> tuple[list[str], set[Hint]]:
    """See `Store.backfill`."""
    told: set[Hint] = set()
    if not runs:
        return [], told
    key = _declared(tables, runs[0])
    schedules = tables.schedules
    said = schedules.said[key]
    ahead = Ahead(said.next_at, said.waiting_at, schedules.fired[key].paused_at is not None)
    filled = backfilled(runs, set(_made(tables, key)), ahead, now)
    for run in filled.new:
        told |= _start(tables, run)
        schedules.record(key, NewSlot(slot_of(run), slot_of(run), 1, "backfilled", None, run.id, actor), now)
        tables.rows[run.id].events.append(Event(at=instant(now), action="backfill", actor=actor))
    return filled.ids, told


def _made(tables: Tables, key: Key) -> Iterator[tuple[float, str]]:
    """Slots that have had a run, and which. What was triggered is of no slot."""
    for slot in tables.schedules.slots.get(key, ()):
        if slot.run_id is not None and slot.outcome != "triggered":
            yield slot.at.timestamp(), slot.run_id
    for row in tables.rows.values():
        if (row.new.workflow, row.new.schedule) == key and not any(event.action == "trigger" for event in row.events):
            yield slot_of(row.new), row.new.id


def _declared(tables: Tables, run: NewRun) -> Key:
    """The schedule of a run. Raises ScheduleNotFound: no release declares it."""
    key = (run.workflow, run.schedule or "")
    row = tables.schedules.said.get(key)
    if row is None or not row.declared:
        raise ScheduleNotFound(*key)
    return key


def slots(tables: Tables, key: Key, limit: int, before: int | None) -> list[Slot]:
    """See `Store.slots`."""
    known = [slot for slot in tables.schedules.slots.get(key, ()) if before is None or slot.number < before]
    return known[::-1][:limit]
