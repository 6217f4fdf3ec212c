"""What is counted over time, for charts: the store is asked at most every 15 seconds for each, however many look.

What would take too long to count is None, and a page says so where the figures would be.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

from stepwell.app import Stepwell
from stepwell.core.records import Ends, Speed, Waits
from stepwell.errors import TooSlow

FRESH: Final = timedelta(seconds=15)
"""How long figures are believed."""

_KEPT: Final = 256
"""Answers that are kept."""

T = TypeVar("T")


class Span(NamedTuple):
    """A time up to now, in intervals of the same length."""

    name: str
    """As an address has it."""
    label: str
    width: timedelta
    """Of an interval."""
    intervals: int

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """Its beginning and end. Intervals begin at whole ones, so that a column stays the same until the next one begins."""
        width = self.width.total_seconds()
        until = datetime.fromtimestamp((math.floor(now.timestamp() / width) + 1) * width, UTC)
        return until - self.width * self.intervals, until


HOUR: Final = Span("1h", "last hour", timedelta(minutes=1), 60)
DAY: Final = Span("24h", "last 24 h", timedelta(minutes=30), 48)
SPANS: Final = (HOUR, DAY, Span("7d", "last 7 days", timedelta(hours=2), 84), Span("30d", "last 30 days", timedelta(hours=12), 60))


def span_of(name: str | None) -> Span:
    """The span of that name; of a day, where there is none."""
    return next((span for span in SPANS if span.name == name), DAY)


class Figures:
    """The figures of an app."""

    def __init__(self, app: Stepwell) -> None:
        self._app = app
        self._kept: dict[Any, tuple[datetime, Any]] = {}

    async def ends(self, span: Span, now: datetime, workflow: str | None = None) -> list[Ends] | None:
        """How many runs have ended, and how, in each interval of the span."""
        since, until = span.bounds(now)
        overview = self._app.overview
        return await self._fresh(("ends", span.name, since, workflow), now, lambda: overview.ends(since, until, span.intervals, workflow))

    async def ends_by_workflow(self, span: Span, now: datetime, workflows: Sequence[str]) -> dict[str, list[Ends]] | None:
        """The same of each of these workflows of which a run has ended in that time."""
        since, until = span.bounds(now)
        overview = self._app.overview
        key = ("ends by workflow", span.name, since, tuple(workflows))
        return await self._fresh(key, now, lambda: overview.ends_by_workflow(since, until, span.intervals, workflows))

    async def waits(self, span: Span, now: datetime, workflow: str | None = None) -> list[Waits] | None:
        """How long runs that were created in each interval of the span have waited for a worker."""
        since, until = span.bounds(now)
        overview = self._app.overview
        key = ("waits", span.name, since, workflow)
        return await self._fresh(key, now, lambda: overview.waits(since, until, span.intervals, workflow))

    async def speeds(self, now: datetime, workflows: Sequence[str] | None = None) -> dict[str, Speed] | None:
        """How the newest runs of each of these workflows, or of all, have ended, and how long they took, by its name."""
        key = ("speeds", None if workflows is None else tuple(workflows))
        found = await self._fresh(key, now, lambda: self._app.overview.speeds(workflows))
        return None if found is None else {speed.workflow: speed for speed in found}

    async def _fresh(self, key: Any, now: datetime, ask: Callable[[], Awaitable[T]]) -> T | None:
        at, answer = self._kept.get(key, (None, None))
        if at is None or not at <= now < at + FRESH:
            try:
                answer = await ask()
            except TooSlow:
                answer = None
            self._kept.pop(key, None)
            self._kept[key] = (now, answer)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
        return answer
