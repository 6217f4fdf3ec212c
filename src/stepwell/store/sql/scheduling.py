"""Schedules: which release's word holds, how far each has come, and what becomes of its slots."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from stepwell.core.backfilling import Ahead, backfilled, slot_of
from stepwell.core.declaring import Declared, is_outranked, said
from stepwell.core.records import Cursor, Event, NewSlot, ScheduleState, Slot, instant, optional_instant
from stepwell.core.status import Action
from stepwell.errors import IllegalTransition, RunNotFound, ScheduleNotFound
from stepwell.store.port import Hint, WorkerLost
from stepwell.store.shown import PREVIEW
from stepwell.store.sql.acting import act
from stepwell.store.sql.claiming import MICROSECONDS, seconds
from stepwell.store.sql.starting import as_json, enqueue

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stepwell.core.records import Declaration, Firing, NewRun
    from stepwell.store.sql.starting import Lanes
    from stepwell.store.sql.transaction import Transaction

_LAST: Final = (1 << 63) - 1
"""Greater than the number of any record."""

_FIELDS: Final = tuple(field.name for field in fields(Declared))
"""In the order in which they are read."""


# -- what releases say


async def declare(transaction: Transaction, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> int:
    """See `Store.declare`."""
    await transaction.execute("lock_schedules")
    declares = to_json({each.workflow: each.digest for each in declarations}).decode()
    if await transaction.execute("declares", worker=worker, declares=declares) == 0:
        raise WorkerLost(worker)
    deed = await _next_deed(transaction)
    if release is None:
        ((release,),) = await transaction.many("new_release")
    known = await _known(transaction, [each.workflow for each in declarations])
    others = await _said_by_others(transaction, worker) if any(is_outranked(rows, release) for rows in known.values()) else frozenset()
    rows: list[Declared] = []
    missed: list[tuple[Any, ...]] = []
    for declaration in declarations:
        there = known.get(declaration.workflow, [])
        if is_outranked(there, release) and any((row.workflow, row.digest) in others for row in there):
            continue
        verdict = said(declaration, there, release, deed, now)
        rows += verdict.rows
        missed += [_slot(declaration.workflow, name, slot) for name, slot in verdict.missed]
    if rows:
        await transaction.execute("declare", schedules=as_json([_stored(row) for row in rows]))
    if missed:
        await transaction.execute("add_slots", slots=as_json(missed), at=now)
    if any(row.changed == deed for row in rows):
        transaction.hints.add(Hint.DUE)
    return release


async def _known(transaction: Transaction, workflows: Sequence[str]) -> dict[str, list[Declared]]:
    known: dict[str, list[Declared]] = {}
    for values in await transaction.many("known_schedules", workflows=as_json(workflows)):
        row = Declared(**dict(zip(_FIELDS, values, strict=True)))
        row = replace(row, next_at=seconds(row.next_at), waiting_at=seconds(row.waiting_at), last_at=seconds(row.last_at))
        known.setdefault(row.workflow, []).append(row)
    return known


async def _said_by_others(transaction: Transaction, worker: str) -> frozenset[tuple[str, str]]:
    """What other workers that live say of workflows."""
    texts = await transaction.many("others_declare", worker=worker)
    return frozenset((workflow, digest) for (text,) in texts for workflow, digest in from_json(text).items())


async def _next_deed(transaction: Transaction) -> int:
    ((last,),) = await transaction.many("last_deed")
    deed: int = last + 1
    return deed


def _stored(row: Declared) -> tuple[Any, ...]:
    return (
        row.workflow, row.name, row.release, row.digest, row.expression, row.timezone, row.overlap, row.catch_up, row.jitter, row.input,
        row.version, bool(row.declared), row.next_at, row.waiting_at, row.changed,
    )  # fmt: skip


# -- slots


async def changed(transaction: Transaction, deed: int, limit: int) -> list[tuple[str, str]]:
    """See `Store.changed_schedules`."""
    return [(workflow, name) for workflow, name in await transaction.many("changed_schedules", deed=deed, limit=limit)]


async def cursors(transaction: Transaction, keys: Collection[tuple[str, str]]) -> list[Cursor]:
    """See `Store.cursors`."""
    found = await transaction.many("cursors", keys=as_json(list(keys)))
    return [
        Cursor(workflow, name, digest, seconds(next_at), seconds(waiting_at), bool(paused), last_run, bool(going), seen_at)
        for workflow, name, digest, next_at, waiting_at, paused, last_run, going, seen_at in found
    ]


async def fire(transaction: Transaction, lanes: Lanes, firings: Sequence[Firing], now: float) -> list[bool]:
    """See `Store.fire`."""
    first: dict[tuple[Any, Any], Firing] = {}  # a statement changes a row once
    for each in firings:
        first.setdefault(each.cursor[:2], each)
    await transaction.many("lock_cursors", keys=as_json(list(first)))
    found = await transaction.many("move_cursors", firings=as_json([_move(each) for each in first.values()]))
    moved = {(workflow, name) for workflow, name in found}
    won = [each.cursor[:2] in moved and first[each.cursor[:2]] is each for each in firings]
    mine = [each for each, is_mine in zip(firings, won, strict=True) if is_mine]
    for run_id, schedule in sorted((each.cancel, each.cursor.name) for each in mine if each.cancel is not None):
        with suppress(IllegalTransition, RunNotFound):  # it has ended since, or was deleted
            await act(transaction, run_id, Action.CANCEL, now, f"schedule {schedule}")
    if runs := [run for each in mine for run in each.runs]:
        await enqueue(transaction, lanes, runs)
    if failed := [pair for each in mine for pair in each.failed]:
        await transaction.execute("fail_inputs", runs=as_json(failed), now=now)
        transaction.hints.add(Hint.ENDED)
    if slots := [_slot(each.cursor.workflow, each.cursor.name, slot) for each in mine for slot in each.slots]:
        await transaction.execute("add_slots", slots=as_json(slots), at=now)
    return won


def _move(firing: Firing) -> tuple[Any, ...]:
    seen, last = firing.cursor, firing.runs[-1] if firing.runs else None
    return (
        seen.workflow, seen.name, seen.digest, seen.next_at, seen.waiting_at, firing.next_at, firing.waiting_at,
        None if last is None else last.scheduled_at, None if last is None else last.id,
    )  # fmt: skip


def _slot(workflow: str, name: str, slot: NewSlot) -> tuple[Any, ...]:
    return (workflow, name, slot.slot, slot.until, slot.count, slot.outcome, slot.reason, slot.run, slot.actor)


async def supply(transaction: Transaction, worker: str, run_id: str, claim: int, input: str) -> bool:
    """See `Store.supply`."""
    as_json([input])  # raises WriteRefused for what the database cannot hold
    if await transaction.execute("supply", run=run_id, worker=worker, claim=claim, preview=input[:PREVIEW]) == 0:
        return False
    await transaction.execute("supply_input", run=run_id, input=input)
    return True


async def forget_slots(transaction: Transaction, keys: Collection[tuple[str, str]], keep: int) -> None:
    """See `Store.forget_slots`."""
    await transaction.execute("forget_slots", keys=as_json(list(keys)), keep=keep)


# -- what people see and do


async def schedules(transaction: Transaction, workflow: str | None, name: str | None) -> list[ScheduleState]:
    """See `Store.schedules`."""
    return [state_of(row) for row in await transaction.records("schedules", workflow=workflow, name=name)]


def state_of(row: dict[str, Any]) -> ScheduleState:
    """A schedule from its row."""
    paused = row["paused_at"] is not None
    return ScheduleState(
        workflow=row["workflow"],
        name=row["name"],
        expression=row["expression"],
        timezone=row["timezone"],
        next_at=None if paused else optional_instant(row["next_at"]),
        last_at=optional_instant(row["last_at"]),
        last_run_id=row["last_run"],
        paused=paused,
        overlap=row["overlap"],
        catch_up=row["catch_up"],
        jitter=None if row["jitter"] is None else timedelta(seconds=row["jitter"]),
        version=row["version"] or None,
        input=None if row["input"] is None else from_json(row["input"]),
        input_is_computed=row["input"] is None,
        waiting_at=optional_instant(row["waiting_at"]),
        paused_at=optional_instant(row["paused_at"]),
        paused_by=row["paused_by"],
        declared=bool(row["declared"]),
    )


async def pause(transaction: Transaction, workflow: str, name: str, now: float, actor: str | None) -> bool:
    """See `Store.pause_schedule`."""
    deed = await _begin_deed(transaction)
    there = await transaction.many("lock_cursors", keys=as_json([(workflow, name)]))
    if not there:
        return False
    if await transaction.execute("pause_schedule", workflow=workflow, name=name, now=now, actor=actor, changed=deed):
        _, _, waiting_at, _ = there[0]
        if waiting_at is not None:
            skipped = NewSlot(waiting_at, waiting_at, 1, "skipped", "the schedule was paused while this slot waited")
            await transaction.execute("add_slots", slots=as_json([_slot(workflow, name, skipped)]), at=now)
        await _keep_event(transaction, workflow, name, now, "pause", actor)
    return True


async def resume(
    transaction: Transaction, seen: Cursor, next_at: float | None, skipped: NewSlot | None, now: float, actor: str | None
) -> bool:
    """See `Store.resume_schedule`."""
    deed = await _begin_deed(transaction)
    found = await cursors(transaction, [(seen.workflow, seen.name)])
    if not found or (found[0].digest, found[0].next_at) != (seen.digest, seen.next_at):
        return False
    workflow, name = seen.workflow, seen.name
    if await transaction.execute(
        "resume_schedule", workflow=workflow, name=name, digest=seen.digest, seen=seen.next_at, next_at=next_at, changed=deed
    ):
        if skipped is not None:
            await transaction.execute("add_slots", slots=as_json([_slot(workflow, name, skipped)]), at=now)
        await _keep_event(transaction, workflow, name, now, "resume", actor)
    return True


async def _begin_deed(transaction: Transaction) -> int:
    await transaction.execute("lock_schedules")
    transaction.hints.add(Hint.DUE)
    return await _next_deed(transaction)


async def _keep_event(transaction: Transaction, workflow: str, name: str, now: float, action: str, actor: str | None) -> None:
    await transaction.execute("event", run=None, subject=_subject(workflow, name), at=now, action=action, actor=actor)


async def events(transaction: Transaction, workflow: str, name: str, limit: int) -> list[Event]:
    """See `Store.schedule_events`."""
    rows = await transaction.many("subject_events", subject=_subject(workflow, name), limit=limit)
    return [Event(at=instant(at), action=action, actor=actor) for at, action, actor in rows]


def _subject(workflow: str, name: str) -> str:
    return f"schedule {workflow}/{name}"


async def trigger(transaction: Transaction, lanes: Lanes, run: NewRun, now: float, actor: str | None) -> str:
    """See `Store.trigger`."""
    name, _ = await _declared(transaction, run)
    if await transaction.one("is_there", run=run.id) is not None:
        return run.id
    await enqueue(transaction, lanes, [run])
    await transaction.execute("triggered", workflow=run.workflow, name=name, run=run.id)
    slot = NewSlot(run.created_at, run.created_at, 1, "triggered", None, run.id, actor)
    await transaction.execute("add_slots", slots=as_json([_slot(run.workflow, name, slot)]), at=now)
    await transaction.execute("event", run=run.id, subject=run.id, at=now, action="trigger", actor=actor)
    return run.id


async def _declared(transaction: Transaction, run: NewRun) -> tuple[str, Ahead]:
    """The name of the run's schedule, whose cursor is locked from now on, and what it has before it."""
    name = run.schedule or ""
    there = await transaction.many("lock_cursors", keys=as_json([(run.workflow, name)]))
    if not there or not there[0][0]:
        raise ScheduleNotFound(run.workflow, name)
    _, next_at, waiting_at, paused_at = there[0]
    return name, Ahead(next_at, waiting_at, paused_at is not None)


async def backfill(transaction: Transaction, lanes: Lanes, runs: Sequence[NewRun], now: float, actor: str | None) -> list[str]:
    """See `Store.backfill`."""
    if not runs:
        return []
    workflow, (name, ahead) = runs[0].workflow, await _declared(transaction, runs[0])
    slots = [slot_of(run) for run in runs]
    found = await transaction.many("made", workflow=workflow, name=name, first=min(slots), last=max(slots))
    filled = backfilled(runs, {(slot / MICROSECONDS, run) for slot, run in found}, ahead, now)
    if filled.new:
        await enqueue(transaction, lanes, filled.new)
        records = [NewSlot(slot_of(run), slot_of(run), 1, "backfilled", None, run.id, actor) for run in filled.new]
        await transaction.execute("add_slots", slots=as_json([_slot(workflow, name, record) for record in records]), at=now)
        await transaction.execute("backfilled", runs=as_json([run.id for run in filled.new]), at=now, actor=actor)
    return filled.ids


async def slots(transaction: Transaction, workflow: str, name: str, limit: int, before: int | None) -> list[Slot]:
    """See `Store.slots`."""
    rows = await transaction.records("slots", workflow=workflow, name=name, limit=limit, before=_LAST if before is None else before)
    return [
        Slot(
            number=row["id"],
            at=instant(row["slot"]),
            until=instant(row["until"]),
            count=row["count"],
            outcome=row["outcome"],
            reason=row["reason"],
            run_id=row["run"],
            actor=row["actor"],
            recorded_at=instant(row["at"]),
        )
        for row in rows
    ]
