"""Which of the runs that are ready a worker gets: the most urgent first, then lanes by their turns, in each the oldest first."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic_core import from_json

from stepwell.core.registry import Lane
from stepwell.store.port import Halt, WorkerLost
from stepwell.store.sql.starting import Lanes, as_json
from stepwell.store.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stepwell.store.port import Pin
    from stepwell.store.sql.transaction import Transaction

MAX_KEPT: Final = 100
"""Workers of this process whose lanes are remembered; each time it was taken for dead, one is another."""

MARKED: Final = 0.5
"""Seconds for which a claim may begin where an earlier one has ended: what became ready before that place waits no longer than this."""

FRESH: Final = 0
_BEGUN: Final = 1
_SUSPECT: Final = 2
_HEADS: Final = (FRESH, _BEGUN, _SUSPECT)


class Chosen(NamedTuple):
    """A run to be claimed, and where it waits."""

    id: str
    lane: int
    head: int
    priority: int


class _Served(NamedTuple):
    """The lanes that a worker serves, of those that were known."""

    serves: Callable[[Lane], Pin | None]
    known: Mapping[int, Lane]
    lanes: Mapping[int, tuple[Lane, Pin]]


class _Span(NamedTuple):
    """Of the runs that wait in a lane."""

    highest: int
    lowest: int
    """Their priorities."""
    newest: str
    """The id of the newest of the lowest."""


class _Prospect(NamedTuple):
    """What there is to choose from."""

    known: Mapping[int, tuple[Lane, Pin]]
    """The lanes that the worker serves."""
    lanes: Sequence[int]
    """Those of them that are not paused."""
    waiting: Mapping[int, dict[int, _Span]]
    """By head and lane."""


class Choice:
    """Chooses runs for the workers of this process, lanes in turn.

    With `marks`, a claim begins where the last one has ended. While somebody holds an old snapshot of a database that keeps versions of
    rows, the entries of all that was claimed since stay in the index, and whoever began at its start would walk over them each time.
    """

    def __init__(self, lanes: Lanes, *, marks: bool) -> None:
        self._lanes = lanes
        self._marks = _Marks() if marks else None
        self._kept: dict[str, _Served] = {}
        self._turns = Turns[int]()
        self._count = 0

    async def choose(
        self, transaction: Transaction, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, suspects: bool
    ) -> tuple[list[Chosen], Mapping[int, tuple[Lane, Pin]]]:
        """Up to `limit` runs in the order of the claim; and what is known of the lanes, those of the runs among them.

        Raises WorkerLost.
        """
        if self._marks is not None:
            self._marks.expire(now)
        prospect = await self._prospect(transaction, worker, serves)
        if limit <= 0:
            return [], prospect.known
        self._count += 1
        chosen = await self._first(transaction, prospect, _SUSPECT, 1) if suspects else []
        room = limit - len(chosen)
        # New runs are not to wait for ever behind a stream of woken ones. Where there is room for one only, they have every fourth turn.
        share = room - room // 4 if room > 1 else int(self._count % 4 != 0)
        begun = await self._first(transaction, prospect, _BEGUN, room)
        left = room - min(share, len(begun))
        fresh = await self._first(transaction, prospect, FRESH, left)
        begun, more = begun[: room - len(fresh)], len(begun) == room
        if self._marks is not None:
            marked = [*(begun if more else ()), *(fresh if len(fresh) == left else ())]
            transaction.committed.append(partial(self._marks.remember, marked))
        return [*chosen, *begun, *fresh], prospect.known

    async def _prospect(self, transaction: Transaction, worker: str, serves: Callable[[Lane], Pin | None]) -> _Prospect:
        served = self._kept.get(worker)
        if served is None or served.serves != serves or served.known is not self._lanes.by_id:
            served = self._keep(worker, serves, self._lanes.by_id)
        marks = [self._places(head) for head in _HEADS]
        row = await transaction.one(
            "prospect", worker=worker, known=len(served.known), lanes=as_json(list(served.lanes)), marks=as_json(marks)
        )
        if row is None or not row[0]:
            raise WorkerLost(f"worker {worker} is not registered, or was taken for dead")
        _, lanes, halts, heads = row
        waiting: dict[int, dict[int, _Span]] = {head: {} for head in _HEADS}
        for head, lane, *span in from_json(heads or "[]"):
            waiting[head][lane] = _Span(*span)
        if new := from_json(lanes or "[]"):
            asked, served = served, self._keep(worker, serves, self._lanes.learn(new, transaction))
            if others := [lane for lane in served.lanes if lane not in asked.lanes]:
                for head in _HEADS:
                    waiting[head].update(await self._heads(transaction, others, head, None))
        halted = {Halt(*halt) for halt in from_json(halts or "[]")}
        shut = {number for number, (lane, _) in served.lanes.items() if halted and halted & _halts_of(lane)}
        return _Prospect(
            served.lanes,
            [lane for lane in served.lanes if lane not in shut],
            {head: {lane: span for lane, span in spans.items() if lane not in shut} for head, spans in waiting.items()},
        )

    def _keep(self, worker: str, serves: Callable[[Lane], Pin | None], known: Mapping[int, Lane]) -> _Served:
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        lanes = {number: (lane, pin) for number, lane in known.items() if (pin := serves(lane)) is not None}
        served = self._kept[worker] = _Served(serves, known, lanes)
        return served

    async def _first(self, transaction: Transaction, prospect: _Prospect, head: int, limit: int) -> list[Chosen]:
        """The first of one head of all lanes."""
        if limit <= 0:
            return []
        chosen = await self._look(transaction, dict(prospect.waiting[head]), head, limit)
        if len(chosen) < limit and self._marks is not None and (marked := self._marks.forget(head)):
            # From the start: there may be more before the marks.
            found = await self._heads(transaction, [lane for lane in prospect.lanes if lane in marked], head, None)
            chosen = await self._look(transaction, prospect.waiting[head] | found, head, limit)
        self._turns.served(head, [run.lane for run in chosen])
        return chosen

    async def _look(self, transaction: Transaction, urgent: dict[int, _Span], head: int, limit: int) -> list[Chosen]:
        chosen: list[Chosen] = []
        while urgent:
            priority = max(span.highest for span in urgent.values())
            level = {lane: span.newest for lane, span in urgent.items() if span.highest == priority}
            order = self._turns.order(head, level, limit - len(chosen))
            chosen += await self._level(transaction, order, head, priority, limit - len(chosen))
            if len(chosen) == limit:
                break
            more = [lane for lane in level if urgent[lane].lowest < priority]
            for lane in level:
                del urgent[lane]
            if more:
                urgent |= await self._heads(transaction, more, head, priority)
        return chosen

    async def _heads(self, transaction: Transaction, lanes: Sequence[int], head: int, below: int | None) -> dict[int, _Span]:
        """Of each lane that has something below a priority, the highest and the lowest."""
        marks = as_json(self._places(head, below))
        rows = await transaction.many("heads", lanes=as_json(lanes), head=head, below=below, marks=marks)
        return {lane: _Span(*span) for lane, *span in rows}

    def _places(self, head: int, below: int | None = None) -> Mapping[int, tuple[int, str]]:
        return {} if self._marks is None else self._marks.places(head, below)

    async def _level(self, transaction: Transaction, lanes: list[int], head: int, priority: int, limit: int) -> list[Chosen]:
        """The first of one priority, from lanes that are in the order of their turn."""
        place = {lane: number for number, lane in enumerate(lanes)}
        turn = dict.fromkeys(lanes, 0)
        after: dict[int, str] = {}
        ready: list[tuple[int, int, str, int]] = []
        while lanes and len(ready) < limit:
            # More lanes than there is room cannot have a part, unless others have been faster at some of them.
            asked, lanes = lanes[: limit - len(ready)], lanes[limit - len(ready) :]
            quota = -(-(limit - len(ready)) // len(asked))
            starts = [(lane, after[lane] if lane in after else self._after(head, lane, priority)) for lane in asked]
            found = await self._ready(transaction, starts, head, priority, quota)
            for lane in asked:
                runs = found.get(lane, [])
                ready += [(number, place[lane], run_id, lane) for number, run_id in enumerate(runs, turn[lane])]
                if len(runs) == quota:
                    turn[lane] += quota
                    after[lane] = runs[-1]
                    lanes.append(lane)
        ready.sort()
        return [Chosen(run_id, lane, head, priority) for _, _, run_id, lane in ready[:limit]]

    def _after(self, head: int, lane: int, priority: int) -> str:
        return "" if self._marks is None else self._marks.after(head, lane, priority)

    async def _ready(
        self, transaction: Transaction, starts: Sequence[tuple[int, str]], head: int, priority: int, quota: int
    ) -> Mapping[int, list[str]]:
        """Of each of these lanes, the first `quota` runs after an id; without the lanes that have none."""
        rows = await transaction.many("ready", lanes=as_json(starts), head=head, priority=priority, limit=quota)
        found: dict[int, list[str]] = {}
        for lane, run_id in rows:
            found.setdefault(lane, []).append(run_id)
        return found


def _halts_of(lane: Lane) -> set[Halt]:
    """By any of which it is paused."""
    return {Halt("workflow", lane.workflow), Halt("queue", lane.queue)}


class _Marks:
    """Where the last claim has ended, by head, lane and priority."""

    def __init__(self) -> None:
        self._marks: dict[int, dict[tuple[int, int], str]] = {}
        self._since = 0.0

    def expire(self, now: float) -> None:
        """Forget all when they are old."""
        if not 0.0 <= now - self._since < MARKED:
            self._marks.clear()
            self._since = now

    def after(self, head: int, lane: int, priority: int) -> str:
        """The id after which to look; empty: from the start."""
        return self._marks.get(head, {}).get((lane, priority), "")

    def places(self, head: int, below: int | None = None) -> Mapping[int, tuple[int, str]]:
        """By lane, the mark of the highest priority, below one if that is given, and that priority."""
        places: dict[int, tuple[int, str]] = {}
        for (lane, priority), run_id in self._marks.get(head, {}).items():
            if (below is None or priority < below) and (lane not in places or priority > places[lane][0]):
                places[lane] = priority, run_id
        return places

    def forget(self, head: int) -> set[int]:
        """Those of one head; the lanes that had any."""
        return {lane for lane, _ in self._marks.pop(head, {})}

    def remember(self, claimed: Iterable[Chosen]) -> None:
        """These have been claimed, in this order."""
        for run in claimed:
            self._marks.setdefault(run.head, {})[run.lane, run.priority] = run.id
