"""Which slots are made up for by hand: those that have had no run, and that the schedule will not come to by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from stepwell.core.records import NewRun


class Ahead(NamedTuple):
    """What a schedule has before it."""

    next_at: float | None
    waiting_at: float | None
    paused: bool


class Backfilled(NamedTuple):
    """What becomes of the runs that are wanted."""

    new: list[NewRun]
    ids: list[str]
    """Of those, and of those that are there already because the same was said before."""


def backfilled(runs: Sequence[NewRun], made: Collection[tuple[float, str]], ahead: Ahead, now: float) -> Backfilled:
    """Which of these runs of slots are to be made. `made` has slots that have had a run, and its id."""
    taken, there = {slot for slot, _ in made}, {run for _, run in made}
    new: list[NewRun] = []
    for run in runs:
        if slot_of(run) not in taken and not _comes(slot_of(run), ahead, now):
            taken.add(slot_of(run))
            new.append(run)
    there |= {run.id for run in new}
    return Backfilled(new, [run.id for run in runs if run.id in there])


def slot_of(run: NewRun) -> float:
    """The slot of a run that has one."""
    return run.created_at if run.scheduled_at is None else run.scheduled_at


def _comes(slot: float, ahead: Ahead, now: float) -> bool:
    """Whether the schedule itself comes to the slot, and decides then what becomes of it. One that is paused passes over what is due."""
    if slot == ahead.waiting_at:
        return True
    if ahead.next_at is None or slot < ahead.next_at:
        return False
    return not ahead.paused or slot > now
