"""The attempts of a run's steps, as its page reads them: all at a glance, and as a whole only the one that is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stepwell.core.records import Page
from stepwell.errors import TooSlow
from stepwell.web.portions import gathered

if TYPE_CHECKING:
    from stepwell.core.records import StepRecord
    from stepwell.web.portions import Read
    from stepwell.web.site import Visit

MOST: Final = 10_000
"""That a page shows: the steps that a run may have, unless its workflow says otherwise."""

_ALIKE: Final = 10
"""Attempts of one step with the same number: a retry may have taken back others."""


async def attempts_of(visit: Visit, run_id: str) -> tuple[list[StepRecord], str]:
    """The newest, without what they have returned; and what is to be said of the others."""
    try:
        found = await visit.app.overview.steps(run_id, MOST + 1)
    except TooSlow:
        return [], "It has so many steps that they take too long to find."
    return found[-MOST:], f"The newest {MOST:,} attempts are shown; there are more." if len(found) > MOST else ""


async def whole(visit: Visit, run_id: str, attempt: StepRecord) -> StepRecord:
    """The attempt, with what it has returned or raised."""
    page = await visit.app.runs.some_steps(run_id, step=attempt.key, attempt=attempt.attempt, limit=_ALIKE)
    return next((each for each in page if each.started_at == attempt.started_at), attempt)


async def first_of(visit: Visit, run_id: str, limit: int, room: int) -> Page[StepRecord]:
    """The first attempts, as a whole: no more than there is room for, in bytes. None where they take too long to find."""
    try:
        return await gathered(portion_of(visit, run_id), limit, room)
    except TooSlow:
        return Page(items=())


def portion_of(visit: Visit, run_id: str) -> Read[StepRecord]:
    """Reads attempts of a run, as a whole."""

    async def read(limit: int, cursor: str | None) -> Page[StepRecord]:
        return await visit.app.runs.some_steps(run_id, limit=limit, cursor=cursor)

    return read
