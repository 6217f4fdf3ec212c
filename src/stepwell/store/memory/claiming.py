"""Who is claimed next, and what a claimed run comes with."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from stepwell.core.naming import BODY
from stepwell.core.records import UNRESOLVED, Claimed, Kind, Signal, Tried
from stepwell.core.status import RunStatus
from stepwell.store.port import Halt, Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stepwell.core.registry import Lane
    from stepwell.store.memory.tables import Row, Tables
    from stepwell.store.port import Pin

MOST_OUTCOMES: Final = 1_000
"""That come with a claim; whoever needs more asks for them, and does not hold up the other runs of the claim."""

SUSPECT: Final = 2
"""Crashes after which a run is claimed by itself: whatever is claimed with it would go down with it."""

_FRESH: Final = 0
_BEGUN: Final = 1
_SUSPECTS: Final = 2


def choose(tables: Tables, serves: Callable[[Lane], Pin | None], limit: int, *, suspects: bool) -> list[tuple[Row, Pin]]:
    """The runs to claim, in order, each with what its claim fixes."""
    pins = _pins(tables, serves)
    ready = [row for row in tables.rows.values() if row.is_ready and row.lane in pins]
    first = _in_turn(tables, _SUSPECTS, ready, min(limit, 1) if suspects else 0)
    room = limit - len(first)
    begun = _in_turn(tables, _BEGUN, ready, room)
    # Runs that go on would keep those out that wait for their first start, so they have no more than a share while others wait.
    share = _share(tables, room, both=len({_head(row) for row in ready} - {_SUSPECTS}) > 1)
    fresh = _in_turn(tables, _FRESH, ready, room - min(share, len(begun)))
    return [(row, pins[row.lane]) for row in (*first, *begun[: room - len(fresh)], *fresh)]


def _pins(tables: Tables, serves: Callable[[Lane], Pin | None]) -> dict[Lane, Pin]:
    pins = {}
    for lane in tables.lanes:
        pin = None if is_halted(tables, lane) else serves(lane)
        if pin is not None:
            pins[lane] = pin
    return pins


def is_halted(tables: Tables, lane: Lane) -> bool:
    """Whether an operator has paused its workflow or its queue."""
    return Halt("workflow", lane.workflow) in tables.halts or Halt("queue", lane.queue) in tables.halts


def _share(tables: Tables, limit: int, *, both: bool) -> int:
    """How many of those that have begun go before all others."""
    if limit != 1 or not both:
        return -(-3 * limit // 4)
    tables.single_claims += 1
    return 1 if tables.single_claims % 4 else 0


def _head(row: Row) -> int:
    """Of its lane, at which it waits."""
    if row.crashes >= SUSPECT:
        return _SUSPECTS
    return _BEGUN if row.claim else _FRESH


def _in_turn(tables: Tables, head: int, ready: Iterable[Row], limit: int) -> list[Row]:
    """The first of one head: the most urgent first, then lanes in turn, in each the oldest first."""
    waiting = sorted((row for row in ready if _head(row) == head), key=lambda row: (-row.new.priority, row.new.id))
    chosen: list[Row] = []
    for _, level in groupby(waiting, key=lambda row: row.new.priority):
        if len(chosen) < limit:
            chosen += _round(tables, head, list(level), limit - len(chosen))
    tables.turns.served(head, (_place(row.lane) for row in chosen))
    return chosen


def _round(tables: Tables, head: int, waiting: Sequence[Row], limit: int) -> list[Row]:
    """The first of one priority."""
    order = tables.turns.order(head, {_place(row.lane): row.new.id for row in waiting}, limit)
    places = {lane: number for number, lane in enumerate(order)}
    turns: dict[Lane, int] = {}
    ready = []
    for row in waiting:
        turns[row.lane] = turns.get(row.lane, 0) + 1
        ready.append((turns[row.lane], places[_place(row.lane)], row))
    return [row for _, _, row in sorted(ready, key=lambda each: each[:2])[:limit]]


def _place(lane: Lane) -> tuple[str, str, str]:
    return (lane.queue, lane.workflow, lane.version or "")


def claim(tables: Tables, row: Row, pin: Pin, worker: str, now: float) -> set[Hint]:
    """The run is this worker's now."""
    unresolved = row.new.version == UNRESOLVED
    if unresolved:
        timeout = pin.timeout if row.new.timeout is None else row.new.timeout
        row.new = row.new._replace(version=pin.version, timeout=timeout)
        row.count_deadline()
        tables.lanes.add(row.lane)
    row.status, row.worker, row.error = RunStatus.RUNNING, worker, None
    row.claim += 1
    row.claimed_at, row.claimed_by = now, worker
    if row.started_at is None:
        row.started_at = now
    if row.begun_at is None:
        row.begun_at = now
    return {Hint.DUE} if unresolved and row.deadline_at is not None else set()


def with_histories(rows: Sequence[Row]) -> list[Claimed]:
    """The runs as workers get them, with the first `MOST_OUTCOMES` outcomes of all together."""
    room = MOST_OUTCOMES
    claimed = []
    for row in rows:
        claimed.append(_claimed(row, room))
        room -= len(claimed[-1].outcomes)
    return claimed


def _claimed(row: Row, room: int) -> Claimed:
    new = row.new
    outcomes = sorted(row.outcomes.values(), key=lambda outcome: outcome.seq)
    return Claimed(
        id=new.id,
        claim=row.claim,
        workflow=new.workflow,
        version=new.version,
        input=row.input,
        attempt=row.attempt,
        generation=row.generation,
        created_at=new.created_at,
        started_at=new.created_at if row.begun_at is None else row.begun_at,
        scheduled_at=new.scheduled_at,
        tags=new.tags,
        outcomes=tuple(outcomes[:room]),
        tried=_tried(row),
        logged=max(((entry.after, entry.n) for entry in row.logs.values() if entry.after >= 0), default=(-1, 0)),
        crashes=row.crashes,
        complete=len(outcomes) <= room,
        signals=_unread(row),
        news=row.news,
    )


def _unread(row: Row) -> tuple[Signal, ...]:
    answered = {outcome.mark for outcome in row.outcomes.values() if outcome.kind in (Kind.SIGNAL, Kind.CHILD)}
    return tuple(signal for number, signal in row.signals.items() if number not in answered)


def _tried(row: Row) -> dict[str, Tried]:
    tried: dict[str, Tried] = {}
    for place, attempt in row.attempts.items():
        known = tried.get(attempt.key, Tried(0, 0, 0.0))
        counts = place not in row.void
        if attempt.key in row.outcomes or (not counts and attempt.key == BODY):
            continue
        tried[attempt.key] = Tried(
            max(known.attempts, attempt.attempt),
            known.failures + (counts and not attempt.canceled),
            max(known.due, attempt.due or 0.0) if counts else known.due,
            known.evidence or counts,
        )
    return tried
