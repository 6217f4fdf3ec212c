"""Runs come to a worker, and with what history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from stepwell.core.naming import BODY
from stepwell.core.records import UNRESOLVED, Claimed, Outcome, Signal, Tried
from stepwell.errors import RunNotFound
from stepwell.store.port import Hint
from stepwell.store.sql.choosing import FRESH, Choice, Chosen
from stepwell.store.sql.starting import Lanes, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from stepwell.core.registry import Lane
    from stepwell.store.port import Pin
    from stepwell.store.sql.transaction import Transaction

MAX_ROWS: Final = 1_000
"""Outcomes in the answer to one claim; the rest of long histories is read apart."""

MAX_CHARACTERS: Final = 4 * 1024 * 1024
"""Of the values among them."""

MICROSECONDS: Final = 1_000_000
"""In a second: instants leave the database as whole ones, which JSON does not round."""

_TRIES: Final = 20
"""How often a claim looks for others when another worker has just taken all that were chosen: where those cannot be passed over."""


class Claims:
    """Claims runs for the workers of this process.

    Args:
        lanes: those that are known here.
        marks: whether it is remembered where the last claim ended: see `choosing`.
        locked: whether nobody else can claim what was chosen. If not, the statement `won` says what nobody has claimed meanwhile.
    """

    def __init__(self, lanes: Lanes, *, marks: bool = False, locked: bool = True) -> None:
        self._lanes = lanes
        self._locked = locked
        self._choice = Choice(lanes, marks=marks)

    async def claim(
        self, transaction: Transaction, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, suspects: bool
    ) -> list[Claimed]:
        """See `Store.claim`."""
        for _ in range(_TRIES):
            chosen, lanes = await self._choice.choose(transaction, worker, serves, limit, now, suspects)
            if not chosen:
                break
            won = chosen if self._locked else await _won(transaction, chosen)
            if won:
                # Even if there is room for more: who holds runs that others wait for must not wait for theirs.
                await self._pin(transaction, won, lanes)
                rows = await self._take(transaction, [run.id for run in won], worker, now)
                return await _claimed(transaction, rows, {run.id for run in won if run.head != FRESH})
        return []

    async def _take(self, transaction: Transaction, runs: Sequence[str], worker: str, now: float) -> Sequence[Sequence[Any]]:
        """Make these runs the worker's; their rows as `claimed` has them, in this order."""
        ids = as_json(runs)
        await transaction.execute("claim", worker=worker, now=now, runs=ids)
        return await transaction.many("claimed", runs=ids, worker=worker)

    async def _pin(self, transaction: Transaction, chosen: Sequence[Chosen], lanes: Mapping[int, tuple[Lane, Pin]]) -> None:
        pins = []
        for run in chosen:
            lane, pin = lanes[run.lane]
            if lane.version == UNRESOLVED:
                pinned = await self._lanes.id_of(lane._replace(version=pin.version), transaction)
                pins.append((run.id, pinned, pin.version or "", pin.timeout))
        if pins:
            await transaction.execute("pin", pins=as_json(pins))
            transaction.hints.add(Hint.DUE)  # it may have a deadline now


def seconds(microseconds: float | None) -> float | None:
    """An instant, if there is one, as it has left the database."""
    return None if microseconds is None else microseconds / MICROSECONDS


async def _won(transaction: Transaction, chosen: Sequence[Chosen]) -> list[Chosen]:
    """Those that are still ready, and stay so until the end of the transaction."""
    ready = {run_id for (run_id,) in await transaction.many("won", runs=as_json(sorted(run.id for run in chosen)))}
    return [run for run in chosen if run.id in ready]


async def _claimed(transaction: Transaction, rows: Sequence[Sequence[Any]], begun: Collection[str]) -> list[Claimed]:
    """The runs of these rows, with the histories of those that have begun."""
    outcomes, tried, logged, cut = await _histories(transaction, [row[0] for row in rows if row[0] in begun])
    signals = await _unread(transaction, [row[0] for row in rows if row[-1]])
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
        in rows
    ]  # fmt: skip


async def _histories(
    transaction: Transaction, begun: Sequence[str]
) -> tuple[dict[str, list[Outcome]], dict[str, dict[str, Tried]], dict[str, tuple[int, int]], str | None]:
    """Outcomes, attempts and last lines by run; and the first run whose outcomes are not all there."""
    outcomes: dict[str, list[Outcome]] = {}
    tried: dict[str, dict[str, Tried]] = {}
    if not begun:
        return outcomes, tried, {}, None
    runs = as_json(begun)
    rows = await transaction.many("histories", runs=runs, rows=MAX_ROWS + 1, characters=MAX_CHARACTERS)
    for row in rows:
        outcomes.setdefault(row[0], []).append(outcome_from(row))
    for run_id, key, attempts, failures, due, evidence in await transaction.many("tried", runs=runs, body=BODY):
        tried.setdefault(run_id, {})[key] = Tried(attempts, failures, due / MICROSECONDS, bool(evidence))
    logged = {run_id: (after, n) for run_id, after, n in await transaction.many("logged", runs=runs)}
    return outcomes, tried, logged, _cut(rows)


async def _unread(transaction: Transaction, runs: Sequence[str]) -> dict[str, list[Signal]]:
    """What has come for those of which something ever came."""
    signals: dict[str, list[Signal]] = {}
    if not runs:
        return signals
    for run_id, number, name, payload, sent_at in await transaction.many("unread", runs=as_json(runs)):
        signals.setdefault(run_id, []).append(Signal(number, name, payload, sent_at / MICROSECONDS))
    return signals


def _cut(rows: Sequence[Sequence[Any]]) -> str | None:
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


async def history(transaction: Transaction, run_id: str) -> Claimed:
    """See `Store.history`."""
    rows = await transaction.many("claimed", runs=as_json([run_id]), worker=None)  # whoever's it is
    found = await _claimed(transaction, rows, [run_id])
    if not found:
        raise RunNotFound(run_id)
    return found[0]


async def outcomes_of(transaction: Transaction, run_id: str, after: int = 0, limit: int = 1 << 31) -> list[Outcome]:
    """The outcomes of one run, in order: those with the next `limit` numbers after `after`."""
    return [outcome_from(row) for row in await transaction.many("outcomes", run=run_id, after=after, limit=limit)]
