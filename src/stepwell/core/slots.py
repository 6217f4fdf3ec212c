"""What becomes of the slots of a schedule that are due: which of them make runs, and why the others do not. Decides, and does nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple, Protocol

from stepwell.core.options import CatchUp, Overlap
from stepwell.core.records import Cursor, NewSlot

LATE: Final = 10.0
"""Seconds from which on a slot that has not fired is missed."""

AT_ONCE: Final = 100
"""Runs of one schedule that are made in one transaction."""

COUNTED: Final = 1_000
"""Slots that are counted one by one. Of a second's schedule that nobody served for a year nobody wants to know how many they were."""


class Slots(Protocol):
    """When a schedule comes: see `core.cron.Cron`."""

    def after(self, instant: float) -> float | None: ...  # noqa: D102

    def latest(self, instant: float) -> float | None: ...  # noqa: D102

    def between(self, after: float, until: float) -> Iterator[float]: ...  # noqa: D102


class Plan(NamedTuple):
    """What is to be done with the slots that are due now."""

    start: tuple[float, ...]
    """Those that make a run, in order."""
    records: tuple[NewSlot, ...]
    """What becomes of the others."""
    next_at: float | None
    waiting_at: float | None
    cancel: str | None = None
    """The run that has to make room for the new one."""


def planned(slots: Slots, overlap: Overlap, catch_up: CatchUp, cursor: Cursor, now: float) -> Plan | None:
    """What becomes of the slots of a schedule that are due; None: there is nothing to do.

    Those that were missed are dealt with as `catch_up` says, what is left of them and the others as `overlap` says. When several are due
    and one of them is not late, `latest` needs to make up for none.
    """
    due = _caught_up(slots, catch_up, cursor.next_at, now)
    waiting_ended = cursor.waiting_at is not None and (not cursor.going or overlap != "wait")
    if due is None and not waiting_ended:
        return None
    chosen, missed, next_at = due or ((), (), cursor.next_at)
    if waiting_ended and cursor.waiting_at is not None:
        chosen = (cursor.waiting_at, *chosen)
    waiting_at = None if waiting_ended else cursor.waiting_at
    match overlap:
        case "allow":
            return Plan(chosen, missed, next_at, waiting_at)
        case "skip":
            return _skipped(chosen, missed, next_at, cursor)
        case "cancel":
            return _canceled(chosen, missed, next_at, cursor, now)
        case "wait":
            return _waited(chosen, missed, next_at, waiting_at, cursor)


def skipped_while_paused(slots: Slots, next_at: float | None, now: float) -> tuple[float | None, NewSlot | None]:
    """Where the cursor of a schedule goes when it is resumed, and a record of the slots that it passes over."""
    if next_at is None or next_at > now:
        return next_at, None
    return slots.after(now), _record(slots, next_at, now, "skipped", "the schedule was paused")


# -- slots that nobody has fired in time

_Due = tuple[tuple[float, ...], tuple[NewSlot, ...], float | None]
"""Those to go on with, records of the others, and where the cursor goes."""


def _caught_up(slots: Slots, catch_up: CatchUp, next_at: float | None, now: float) -> _Due | None:
    if next_at is None or next_at > now:
        return None
    missed_until = now - LATE
    is_late, following = next_at <= missed_until, slots.after(next_at)
    if (following is None or following > now) and not (is_late and catch_up == "none"):
        return (next_at,), (), following  # nearly always
    if catch_up == "all":
        return _all(slots, next_at, now)
    if not is_late:
        return (next_at, *slots.between(next_at, now)), (), slots.after(now)
    return _without_the_missed(slots, catch_up, next_at, now)


def _without_the_missed(slots: Slots, catch_up: CatchUp, next_at: float, now: float) -> _Due:
    chosen, missed_until = tuple(slots.between(now - LATE, now)), now - LATE
    reason = 'no worker fired it in time, and catch_up is "none"'
    if catch_up == "latest":
        reason = 'no worker fired it in time, and catch_up="latest" makes up for the newest slot only'
        if not chosen:
            chosen = (slots.latest(missed_until) or next_at,)
            missed_until = chosen[0] - 1.0
    missed = (_record(slots, next_at, missed_until, "missed", reason),) if next_at <= missed_until else ()
    return chosen, missed, slots.after(now)


def _all(slots: Slots, next_at: float, now: float) -> _Due:
    chosen = (next_at, *islice(slots.between(next_at, now), AT_ONCE - 1))
    return chosen, (), slots.after(chosen[-1])


def _record(slots: Slots, first: float, until: float, outcome: str, reason: str) -> NewSlot:
    """Of all slots from the first one to those at `until`."""
    known = [first, *islice(slots.between(first, until), COUNTED)]
    if len(known) <= COUNTED:
        return NewSlot(first, known[-1], len(known), outcome, reason)
    return NewSlot(first, slots.latest(until) or known[-1], None, outcome, reason)


# -- slots that come while the last run is still going


def _skipped(chosen: tuple[float, ...], records: tuple[NewSlot, ...], next_at: float | None, cursor: Cursor) -> Plan:
    if cursor.going:
        return Plan((), (*records, *_together(chosen, f"run {cursor.last_run} was still going", cursor.waiting_at)), next_at, None)
    return Plan(chosen[:1], (*records, *_together(chosen[1:], "the run of the slot before had only just begun")), next_at, None)


def _canceled(chosen: tuple[float, ...], records: tuple[NewSlot, ...], next_at: float | None, cursor: Cursor, now: float) -> Plan:
    is_last = next_at is None or next_at > now  # of `AT_ONCE`, the last may not be
    start, passed = (chosen[-1:], chosen[:-1]) if is_last else ((), chosen)
    reason = "the slot after it was due, too, and its run would have been canceled for that"
    records = (*records, *_together(passed, reason, cursor.waiting_at))
    return Plan(start, records, next_at, None, cursor.last_run if start and cursor.going else None)


def _waited(
    chosen: tuple[float, ...], records: tuple[NewSlot, ...], next_at: float | None, waiting_at: float | None, cursor: Cursor
) -> Plan:
    start = () if cursor.going else chosen[:1]
    left = chosen[len(start) :]
    if waiting_at is None and left:
        waiting_at, left = left[0], left[1:]
    return Plan(start, (*records, *_together(left, "a slot before it waits already for the end of the last run")), next_at, waiting_at)


def _together(slots: Iterable[float], reason: str, waiting_at: float | None = None) -> tuple[NewSlot, ...]:
    """One record of slots that follow each other. The one that has waited has its own: those right after it have theirs already."""
    known = tuple(slots)
    if known and known[0] == waiting_at:
        return (NewSlot(waiting_at, waiting_at, 1, "skipped", reason), *_together(known[1:], reason))
    return (NewSlot(known[0], known[-1], len(known), "skipped", reason),) if known else ()
