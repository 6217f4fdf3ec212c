"""Attempts as users read them, the cursors of pages, and what is made of counts: the same for every adapter."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic_core import from_json, to_json

from stepwell.core.failure import error_from
from stepwell.core.naming import name_of
from stepwell.core.records import Ends, Kind, Speed, StepRecord, instant, optional_instant
from stepwell.errors import BadValue, ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stepwell.core.records import Outcome

PREVIEW: Final = 120
"""Characters of the input that lists show."""

MAX_ERROR: Final = 200
"""Characters of an error that lists show."""

LAST_EVENTS: Final = 50
"""How many events of a run are looked at, the newest, for who has paused it."""

LOOKED_AT: Final = 10
"""How many runs are looked at for each that is wanted, of those that have ended."""


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


def unsettled(
    key: str, attempt: int, status: str, error: str | None, started_at: float, finished_at: float | None, due: float | None = None
) -> StepRecord:
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
        finished_at=optional_instant(finished_at),
        retry_at=optional_instant(due),
    )


def step_traced(
    key: str,
    attempt: int,
    kind: int,
    how: int,
    error: str | None,
    child: str | None,
    started_at: float,
    finished_at: float | None,
    due: float | None,
) -> StepRecord:
    """An attempt as timelines show it: of what it has returned or raised, only the type of the error."""
    return StepRecord(
        key=key,
        name=name_of(key),
        kind=Kind(kind).name.lower(),
        status=HOW[how],
        attempt=attempt,
        output=None,
        error=None if error is None else ErrorInfo(error, ""),
        started_at=instant(started_at),
        finished_at=optional_instant(finished_at),
        child_id=child,
        retry_at=optional_instant(due),
    )


def step_at(
    key: str,
    attempt: int,
    kind: int,
    how: int,
    payload: str | None,
    child: str | None,
    started_at: float,
    finished_at: float | None,
    due: float | None,
) -> StepRecord:
    """An attempt with what it has returned or raised."""
    return replace(
        step_traced(key, attempt, kind, how, None, child, started_at, finished_at, due),
        output=from_json(payload) if how == COMPLETED and payload is not None else None,
        error=None if how == COMPLETED or payload is None else error_from(payload),
    )


COMPLETED: Final = 1
HOW: Final = {COMPLETED: "completed", 0: "failed", -1: "canceled", -2: "running"}
"""What statements say of an attempt."""

FIRST_STEP: Final = (-(1 << 62), 0, 0, "")
"""The place before all attempts: when they began, in microseconds, how they were asked for, attempt, and key."""


def place_after(place: tuple[int, int, int, str]) -> str:
    """The cursor of a page that begins after this attempt."""
    return to_json(place).decode()


def read_place(cursor: str) -> tuple[int, int, int, str]:
    """What `place_after` was given. Raises ValueError: no page had this cursor."""
    try:
        began, asked, attempt, key = from_json(cursor)
    except (ValueError, TypeError):
        began = asked = attempt = key = None
    whole = (began, asked, attempt)
    if (
        not isinstance(key, str)
        or "\0" in key
        or not all(type(each) is int and abs(each) < 1 << 63 for each in whole)
        or attempt >= 1 << 31
    ):
        raise BadValue(f"{cursor!r} is no cursor; give next_cursor of a page, or none for the first page")
    return began, asked, attempt, key


def read_cursor(cursor: str) -> tuple[str, str]:
    """The direction of a page, `n` or `p`, and the id beyond which it begins. Raises ValueError: no page had this cursor."""
    direction, sign, run_id = cursor.partition(":")
    if direction not in ("n", "p") or not sign or not run_id:
        raise BadValue(f"{cursor!r} is no cursor; give next_cursor or previous_cursor of a page, or none for the first page")
    return direction, run_id


def intervals(since: float, until: float, width: float, counts: Iterable[tuple[int, str, int]]) -> list[Ends]:
    """All intervals of this width, with what was counted: the number of an interval, a status, and how many."""
    last = max(math.ceil((until - since) / width), 1) - 1
    found: dict[int, dict[str, int]] = {}
    for place, status, count in counts:
        of_interval = found.setdefault(min(place, last), {})  # what ends just before `until` may be rounded up to it
        of_interval[status] = of_interval.get(status, 0) + count
    return [Ends(at=instant(since + place * width), **found.get(place, {})) for place in range(last + 1)]


def speed_of(workflow: str, ended: Sequence[tuple[str, float | None]]) -> Speed:
    """Made of the status of each run, and the seconds that it took."""
    took = sorted(seconds for status, seconds in ended if status == "completed" and seconds is not None)
    failed = sum(status == "failed" for status, _ in ended)
    return Speed(workflow=workflow, runs=len(ended), failed=failed, p50=percentile(took, 0.5), p95=percentile(took, 0.95))


def percentile(ordered: Sequence[float], part: float) -> timedelta | None:
    """The least of them that no less than this part of them does not exceed."""
    return timedelta(seconds=ordered[max(math.ceil(len(ordered) * part) - 1, 0)]) if ordered else None


def too_slow(where: str) -> str:
    """The message of `TooSlow`."""
    return f"{where} has not answered soon enough for a page; narrow the time, or ask for one status or workflow"
