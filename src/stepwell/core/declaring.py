"""Whose word about schedules holds, and what it makes of those that were there. Asks nobody, and changes nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stepwell.core.cron import Cron
from stepwell.core.records import Declaration, NewSchedule, NewSlot


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A schedule as stores keep it, but for what becomes of its slots."""

    workflow: str
    name: str
    release: int
    """The number of the release whose word it is. The greatest holds."""
    digest: str
    expression: str
    timezone: str
    overlap: str
    catch_up: str
    jitter: float | None
    input: str | None
    version: str
    """`""`: the function without a version."""
    declared: bool
    """Whether that release names it."""
    next_at: float | None
    waiting_at: float | None
    is_paused: bool
    changed: int
    """The number of the last deed that has changed it."""
    last_at: float | None = None
    """The last slot of which a run was made."""


class Verdict(NamedTuple):
    """What a declaration changes."""

    rows: list[Declared]
    missed: list[tuple[str, NewSlot]]
    """Slots that were due and that nobody will fire any more, with the names of their schedules."""


def is_outranked(there: Iterable[Declared], release: int) -> bool:
    """Whether a newer release has spoken of the workflow that these belong to."""
    return any(row.release > release for row in there)


def said(declaration: Declaration, there: Sequence[Declared], release: int, deed: int, now: float) -> Verdict:
    """What becomes of the schedules of a workflow when this release has its way. `deed` is the number of what changes them."""
    before = {row.name: row for row in there}
    rows = [_renewed(declaration, new, before.get(new.name), release, deed) for new in declaration.schedules]
    named = {row.name for row in rows}
    rows += [_ended(declaration, row, release, deed) for row in there if row.name not in named]
    return Verdict(rows, list(_missed(declaration, there, now)))


def _renewed(declaration: Declaration, new: NewSchedule, row: Declared | None, release: int, deed: int) -> Declared:
    goes_on = row is not None and not _begins_anew(new, row)
    return Declared(
        workflow=declaration.workflow,
        name=new.name,
        release=release,
        digest=declaration.digest,
        expression=new.expression,
        timezone=new.timezone,
        overlap=new.overlap,
        catch_up=new.catch_up,
        jitter=new.jitter,
        input=new.input,
        version=new.version or "",
        declared=True,
        next_at=row.next_at if row is not None and goes_on else _first(new, row),
        waiting_at=None if row is None else row.waiting_at,
        is_paused=row is not None and row.is_paused,
        changed=row.changed if row is not None and goes_on and row.digest == declaration.digest else deed,
    )


def _first(new: NewSchedule, row: Declared | None) -> float | None:
    """Its first slot that nothing has been made of. Meanwhile the release before may have fired the one that it names."""
    done = None if row is None else max((slot for slot in (row.last_at, row.waiting_at) if slot is not None), default=None)
    if done is None or new.first_at is None or new.first_at > done:
        return new.first_at
    return Cron(new.expression, new.timezone).after(done)


def _begins_anew(new: NewSchedule, row: Declared) -> bool:
    return not row.declared or row.next_at is None or (new.expression, new.timezone) != (row.expression, row.timezone)


def _ended(declaration: Declaration, row: Declared, release: int, deed: int) -> Declared:
    changed = deed if row.declared or row.digest != declaration.digest else row.changed
    return replace(row, release=release, digest=declaration.digest, declared=False, next_at=None, waiting_at=None, changed=changed)


def _missed(declaration: Declaration, there: Iterable[Declared], now: float) -> Iterator[tuple[str, NewSlot]]:
    named = {new.name: new for new in declaration.schedules}
    for row in there:
        if row.name not in named and row.waiting_at is not None:
            yield row.name, NewSlot(row.waiting_at, row.waiting_at, 1, "missed", "the schedule was taken away while this slot waited")
        goes_on = row.name in named and not _begins_anew(named[row.name], row)
        if goes_on or row.next_at is None or row.next_at > now:
            continue
        if row.is_paused:
            yield row.name, NewSlot(row.next_at, now, None, "skipped", "the schedule was paused")
        else:
            yield row.name, NewSlot(row.next_at, now, None, "missed", "the schedule was changed before it fired")
