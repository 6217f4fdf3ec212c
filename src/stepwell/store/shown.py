"""Attempts as users read them, and the cursors of pages: the same for every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import from_json

from stepwell.core.failure import error_from
from stepwell.core.naming import name_of
from stepwell.core.records import Kind, StepRecord, instant

if TYPE_CHECKING:
    from stepwell.core.records import Outcome


def settled(outcome: Outcome) -> StepRecord:
    """The attempt that has settled its step."""
    value = outcome.value
    return StepRecord(
        key=outcome.key,
        name=name_of(outcome.key),
        kind=Kind(outcome.kind).name.lower(),
        status="completed" if outcome.ok else "failed",
        attempt=outcome.attempt,
        output=from_json(value) if outcome.ok and value is not None else None,
        error=None if outcome.ok or value is None else error_from(value),
        started_at=instant(outcome.started_at),
        finished_at=instant(outcome.at),
        child_id=outcome.child,
    )


def unsettled(key: str, attempt: int, status: str, error: str | None, started_at: float, finished_at: float | None) -> StepRecord:
    """An attempt that has not settled its step, or not yet."""
    return StepRecord(
        key=key,
        name=name_of(key),
        kind="function",
        status=status,
        attempt=attempt,
        output=None,
        error=None if error is None else error_from(error),
        started_at=instant(started_at),
        finished_at=None if finished_at is None else instant(finished_at),
    )


def read_cursor(cursor: str) -> tuple[str, str]:
    """The direction of a page, `n` or `p`, and the id beyond which it begins. Raises ValueError: no page had this cursor."""
    direction, sign, run_id = cursor.partition(":")
    if direction not in ("n", "p") or not sign or not run_id:
        raise ValueError(f"{cursor!r} is no cursor; give next_cursor or previous_cursor of a page, or none for the first page")
    return direction, run_id
