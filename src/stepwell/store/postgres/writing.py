"""What a worker writes: the batch of a commit in one statement, where it holds nothing out of the ordinary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import UniqueViolation
from pydantic_core import from_json

from stepwell.core.status import TRANSITIONS, Action, RunStatus
from stepwell.store.port import Hint
from stepwell.store.sql import writing
from stepwell.store.sql.reading import STATUS
from stepwell.store.sql.starting import Lanes, as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Move
    from stepwell.store.port import Batch
    from stepwell.store.postgres.connection import Pool, Session

_TARGETS: Final[dict[Action, dict[str, str]]] = {
    action: {str(source): str(target) for (source, how), target in TRANSITIONS.items() if how is action} for action in Action
}
"""The table of transitions, by action."""

_HINTS: Final[dict[Action, set[Hint]]] = {
    Action.COMPLETE: {Hint.ENDED},
    Action.FAIL: {Hint.ENDED},
    Action.RELEASE: {Hint.READY, Hint.DUE},
}
"""What others may want to know of a move, whatever the run's status was."""

_PARKED: Final = {Hint.READY, Hint.DUE}
"""The same of a run that its worker lets go of while it sleeps."""


async def commit(
    pool: Pool, lanes: Lanes, worker: str, batch: Batch, now: float
) -> tuple[dict[tuple[str, int], RunStatus | None], set[Hint]]:
    """See `Store.commit`; and what to tell others."""
    claims = _claims(batch)
    if claims is not None:
        known = await pool.single(_at_once, worker, batch, claims, now)
        if known is not None:
            return known, _hints(batch.moves)
    answers, session = await pool.write(writing.commit, lanes, worker, batch, now)
    return answers, session.hints


def _claims(batch: Batch) -> list[tuple[str, int]] | None:
    """The claims that the batch is of, one a run; None: it holds what one statement cannot write."""
    if batch.starts or batch.cancels or batch.progress or any(move.action is Action.CONTINUE_AS_NEW for move in batch.moves):
        return None
    kinds: tuple[Sequence[Any], ...] = (batch.outcomes, batch.attempts, batch.moves, batch.logs, batch.started)
    claims = {(write[0], write[1]) for writes in kinds for write in writes}
    return sorted(claims) if len({run for run, _ in claims}) == len(claims) else None


async def _at_once(
    session: Session, worker: str, batch: Batch, claims: list[tuple[str, int]], now: float
) -> dict[tuple[str, int], RunStatus | None] | None:
    """None: more is to be done, and nothing was written."""
    try:
        row = await session.one(
            "commit",
            worker=worker,
            now=now,
            runs=as_json(claims),
            ends=as_json([move.run for move in batch.moves if move.action in _HINTS]),
            recorded=as_json(list({outcome.run for outcome in batch.outcomes})),
            outcomes=as_json(batch.outcomes),
            attempts=as_json(batch.attempts),
            started=as_json(batch.started),
            logs=as_json(batch.logs),
            moves=as_json([_row(move) for move in batch.moves]),
        )
    except UniqueViolation:  # the answer to an earlier commit was lost, or an outcome contradicts another: that is looked at step by step
        return None
    if row is None or row[0]:
        return None
    refused = from_json(row[1]) if row[1] else ()
    return {(run, claim): None if status is None else STATUS[status] for run, claim, status in refused}


def _row(move: Move) -> tuple[Any, ...]:
    run, claim, action, due, keep, output, error, attempt, _, seen, _ = move
    return run, claim, action, due, keep, output, error, attempt, seen, _TARGETS[action]


def _hints(moves: Sequence[Move]) -> set[Hint]:
    hints: set[Hint] = set()
    for move in moves:
        hints |= _HINTS.get(move.action, set()) if move.keep or move.action in _HINTS else _PARKED
    return hints
