"""Runs come to a worker: which of those that are ready, in which order, and with what history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import from_json

from stepwell.core.naming import BODY
from stepwell.core.records import UNRESOLVED, Claimed, Outcome, Signal, Tried
from stepwell.core.registry import Lane
from stepwell.errors import RunNotFound
from stepwell.store.port import Halt, Hint, WorkerLost
from stepwell.store.sqlite.connection import Transaction
from stepwell.store.sqlite.starting import Lanes, as_json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from stepwell.store.port import Pin

MAX_ROWS: Final = 1_000
"""Outcomes in the answer to one claim; the rest of long histories is read apart."""

MAX_CHARACTERS: Final = 4 * 1024 * 1024
"""Of the values among them."""

MICROSECONDS: Final = 1_000_000
"""In a second: instants leave the database as whole ones, which JSON does not round."""

_FRESH: Final = 0
_BEGUN: Final = 1
_SUSPECT: Final = 2


class _Served(NamedTuple):
    """The lanes that a worker serves, of those that were known."""

    serves: Callable[[Lane], Pin | None]
    known: Mapping[int, Lane]
    lanes: Mapping[int, tuple[Lane, Pin]]
    ids: Sequence[int]
    text: str
    """The ids as JSON."""


MAX_KEPT: Final = 100
"""Workers of this process for which that is kept; each time it was taken for dead, one is another."""


class Claims:
    """Chooses runs for the workers of this process, lanes in turn."""

    def __init__(self, statements: Mapping[str, str], lanes: Lanes) -> None:
        self._statements = statements
        self._lanes = lanes
        self._kept: dict[str, _Served] = {}
        self._last_served = 0
        self._count = 0

    def claim(
        self, transaction: Transaction, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, suspects: bool
    ) -> list[Claimed]:
        """See `Store.claim`."""
        statements = self._statements
        if transaction.execute(statements["is_alive"], {"worker": worker}).fetchone() is None:
            raise WorkerLost(f"worker {worker} is not registered, or was taken for dead")
        served = self._served(transaction, worker, serves)
        chosen = self._choose(transaction, served, limit, suspects) if served.ids and limit > 0 else []
        if not chosen:
            return []
        self._pin(transaction, chosen, served.lanes)
        ids = as_json([run_id for _, run_id, _ in chosen])
        transaction.execute(statements["claim"], {"worker": worker, "now": now, "runs": ids})
        begun = [run_id for _, run_id, head in chosen if head != _FRESH]
        return claimed(transaction, statements, ids, begun)

    def _served(self, transaction: Transaction, worker: str, serves: Callable[[Lane], Pin | None]) -> _Served:
        known = self._lanes.refresh(transaction, self._statements)
        served = self._kept.get(worker)
        if served is None or served.known is not known or served.serves != serves:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            lanes = {number: (lane, pin) for number, lane in known.items() if (pin := serves(lane)) is not None}
            served = self._kept[worker] = _Served(serves, known, lanes, list(lanes), as_json(list(lanes)))
        halted = {Halt(*row) for row in transaction.execute(self._statements["halts"])}
        if not halted:
            return served
        ids = [
            number
            for number, (lane, _) in served.lanes.items()
            if not halted & {Halt("workflow", lane.workflow), Halt("queue", lane.queue)}
        ]
        return served._replace(ids=ids, text=as_json(ids))

    def _choose(self, transaction: Transaction, served: _Served, limit: int, suspects: bool) -> list[tuple[int, str, int]]:
        """Lane, id and head of the runs to claim."""
        self._count += 1
        chosen = self._first(transaction, served, _SUSPECT, 1) if suspects else []
        room = limit - len(chosen)
        # New runs are not to wait for ever behind a stream of woken ones. Where there is room for one only, they have every fourth turn.
        share = room - room // 4 if room > 1 else int(self._count % 4 != 0)
        begun = self._first(transaction, served, _BEGUN, room)
        fresh = self._first(transaction, served, _FRESH, room - min(share, len(begun)))
        return [*chosen, *begun[: room - len(fresh)], *fresh]

    def _first(self, transaction: Transaction, served: _Served, head: int, limit: int) -> list[tuple[int, str, int]]:
        """The first of all lanes: by priority, then lanes in turn, in each the oldest first."""
        if limit <= 0:
            return []
        lanes = served.ids if len(served.ids) == 1 else self._foremost(transaction, served, head, limit)
        ready = []
        for place, lane in enumerate(lanes):
            rows = transaction.many(self._statements["ready"], lane=lane, head=head, limit=limit)
            ready += _in_turn(rows, place, lane)
        ready.sort()
        chosen = [(lane, run_id, head) for _, _, _, run_id, lane in ready[:limit]]
        if chosen:
            self._last_served = chosen[-1][0]
        return chosen

    def _foremost(self, transaction: Transaction, served: _Served, head: int, limit: int) -> list[int]:
        """Lanes that have something, the one after the one served last first. More than `limit` of them cannot have a part."""
        heads = transaction.many(self._statements["heads"], lanes=served.text, head=head)
        heads.sort(key=lambda each: (-each[1], each[0] <= self._last_served, each[0]))
        return [lane for lane, _ in heads[:limit]]

    def _pin(self, transaction: Transaction, chosen: list[tuple[int, str, int]], lanes: Mapping[int, tuple[Lane, Pin]]) -> None:
        pins = []
        for number, run_id, _ in chosen:
            lane, pin = lanes[number]
            if lane.version == UNRESOLVED:
                pinned = self._lanes.id_of(lane._replace(version=pin.version), transaction, self._statements)
                pins.append((run_id, pinned, pin.version or "", pin.timeout))
        if pins:
            transaction.execute(self._statements["pin"], {"pins": as_json(pins)})
            transaction.hints.add(Hint.DUE)  # it may have a deadline now


def _in_turn(rows: Iterable[Sequence[Any]], place: int, lane: int) -> list[tuple[int, int, int, str, int]]:
    """Each with what it is sorted by: the turn in which its lane serves it counts from the first of its priority."""
    ready, turn, last = [], 0, None
    for priority, run_id in rows:
        turn = turn + 1 if priority == last else 0
        last = priority
        ready.append((-priority, turn, place, run_id, lane))
    return ready


def claimed(transaction: Transaction, statements: Mapping[str, str], ids: str, begun: Sequence[str]) -> list[Claimed]:
    """These runs, with the histories of those that have begun."""
    outcomes, tried, logged, cut = _histories(transaction, statements, begun)
    signals = _unread(transaction, statements, ids)
    return [
        Claimed(
            id=run_id,
            claim=claim,
            workflow=workflow,
            version=version or None,
            input=input_text,
            attempt=attempt,
            generation=generation,
            created_at=created_at / MICROSECONDS,
            started_at=(begun_at if begun_at is not None else created_at) / MICROSECONDS,
            scheduled_at=None if scheduled_at is None else scheduled_at / MICROSECONDS,
            tags=tuple(from_json(tags)) if tags else (),
            outcomes=tuple(outcomes.get(run_id, ())),
            tried=tried.get(run_id, {}),
            logged=logged.get(run_id, (-1, 0)),
            crashes=crashes,
            complete=cut is None or run_id < cut or run_id not in begun,
            signals=tuple(signals.get(run_id, ())),
            news=news,
        )
        for run_id, claim, workflow, version, input_text, attempt, generation, created_at, begun_at, scheduled_at, tags, crashes, news
        in transaction.many(statements["claimed"], runs=ids)
    ]  # fmt: skip


def _histories(
    transaction: Transaction, statements: Mapping[str, str], begun: Sequence[str]
) -> tuple[dict[str, list[Outcome]], dict[str, dict[str, Tried]], dict[str, tuple[int, int]], str | None]:
    """Outcomes, attempts and last lines by run; and the first run whose outcomes are not all there."""
    outcomes: dict[str, list[Outcome]] = {}
    tried: dict[str, dict[str, Tried]] = {}
    if not begun:
        return outcomes, tried, {}, None
    runs = as_json(begun)
    rows = transaction.many(statements["histories"], runs=runs, rows=MAX_ROWS + 1, characters=MAX_CHARACTERS)
    for row in rows:
        outcomes.setdefault(row[0], []).append(outcome_from(row))
    for run_id, key, attempts, failures, due, evidence in transaction.many(statements["tried"], runs=runs, body=BODY):
        tried.setdefault(run_id, {})[key] = Tried(attempts, failures, due / MICROSECONDS, bool(evidence))
    logged = {run_id: (after, n) for run_id, after, n in transaction.many(statements["logged"], runs=runs)}
    return outcomes, tried, logged, _cut(rows)


def _unread(transaction: Transaction, statements: Mapping[str, str], ids: str) -> dict[str, list[Signal]]:
    signals: dict[str, list[Signal]] = {}
    for run_id, number, name, payload, sent_at in transaction.many(statements["unread"], runs=ids):
        signals.setdefault(run_id, []).append(Signal(number, name, payload, sent_at / MICROSECONDS))
    return signals


def _cut(rows: list[Any]) -> str | None:
    """The first run of which outcomes may be missing."""
    if len(rows) > MAX_ROWS or sum(len(row[6] or "") for row in rows) > MAX_CHARACTERS:
        last: str = rows[-1][0]
        return last
    return None


def outcome_from(row: Sequence[Any], claim: int = 0) -> Outcome:
    """An outcome from the columns of its row."""
    run, key, seq, asked, kind, ok, value, at, mark, attempt, started_at, python, child = row
    return Outcome(
        run, claim, key, seq, asked, kind, bool(ok), value, at / MICROSECONDS, mark, attempt, started_at / MICROSECONDS, python,
        child,
    )  # fmt: skip


def history(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str) -> Claimed:
    """See `Store.history`."""
    found = claimed(Transaction(connection), statements, as_json([run_id]), [run_id])
    if not found:
        raise RunNotFound(run_id)
    return found[0]


def outcomes_of(
    connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str, after: int = 0, limit: int = 1 << 31
) -> list[Outcome]:
    """The outcomes of one run, in order: those with the next `limit` numbers after `after`."""
    (text,) = connection.execute(statements["outcomes"], {"run": run_id, "after": after, "limit": limit}).fetchone()
    return [outcome_from(row) for row in from_json(text)]
