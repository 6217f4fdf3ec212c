"""Charts: what has ended over time and how, how long runs have waited, how fast workflows are, and what waits now."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.responses import JSONResponse

from stepwell.core.filters import run_filter
from stepwell.web.columns import columns, spread
from stepwell.web.figures import SPANS, span_of
from stepwell.web.workers import backlog_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.responses import Response

    from stepwell.core.records import Speed
    from stepwell.web.figures import Span
    from stepwell.web.site import Visit

T = TypeVar("T")

WIDTH: Final = 960
HEIGHT: Final = 200

_LISTED: Final = 50
"""Workflows in the table."""

_MARKS: Final = 6
"""Times below a chart."""


async def show(visit: Visit) -> Response:
    """The page."""
    span, workflow = span_of(visit.query.get("range")), _workflow(visit)
    figures = visit.site.figures
    ends = await figures.ends(span, visit.now, workflow)
    drawn = None if ends is None else columns(ends, WIDTH, HEIGHT)
    waits = await figures.waits(span, visit.now, workflow)
    speeds = await figures.speeds(visit.now)
    backlog = await backlog_of(visit)
    return visit.page(
        "charts.html",
        tab="charts",
        span=span,
        spans=SPANS,
        workflow=workflow,
        ends=ends or [],
        drawn=drawn,
        marks=marks(span.bounds(visit.now)[0], span),
        waits=waits or [],
        spread=None if waits is None else spread(waits, WIDTH, HEIGHT),
        longest=max((each for each in waits or [] if each.runs), key=lambda each: each.p95 or timedelta(), default=None),
        newest=next((each for each in reversed(waits or []) if each.runs), None),
        speeds=speeds,
        shown_speeds=_busiest(speeds or {}),
        backlog=backlog,
        waiting=0 if backlog is None else sum(each.count for each in backlog.ready),
    )


async def data(visit: Visit) -> Response:
    """The same figures as JSON, for the chart that is drawn in the browser; null: they would take too long to count."""
    span = span_of(visit.query.get("range"))
    if visit.query.get("of") == "waits":
        return await _waits_data(visit, span)
    ends = await visit.site.figures.ends(span, visit.now, _workflow(visit))
    return _answer(
        span,
        ends,
        times=lambda each: each.at.timestamp(),
        completed=lambda each: each.completed,
        failed=lambda each: each.failed,
        canceled=lambda each: each.canceled,
    )


async def _waits_data(visit: Visit, span: Span) -> Response:
    """Seconds; null where no run was looked at."""
    waits = await visit.site.figures.waits(span, visit.now, _workflow(visit))
    return _answer(
        span,
        waits,
        times=lambda each: each.at.timestamp(),
        runs=lambda each: each.runs,
        half=lambda each: None if each.p50 is None else each.p50.total_seconds(),
        most=lambda each: None if each.p95 is None else each.p95.total_seconds(),
    )


def _answer(span: Span, found: Sequence[T] | None, **columns: Callable[[T], float | None]) -> Response:
    told = {name: None if found is None else [of(each) for each in found] for name, of in columns.items()}
    return JSONResponse({"range": span.name, "width": span.width.total_seconds(), **told}, headers={"cache-control": "no-store"})


def _busiest(speeds: dict[str, Speed]) -> list[Speed]:
    """Those that fail most, then those that take longest: what one looks for."""
    ended = [speed for speed in speeds.values() if speed.runs]
    return sorted(ended, key=lambda speed: (-speed.failed / speed.runs, -(speed.p95 or timedelta()), speed.workflow))[:_LISTED]


def _workflow(visit: Visit) -> str | None:
    """The workflow that is asked for; None: all. Raises BadValue: it can be the name of none."""
    return run_filter(workflow=visit.query.get("workflow") or None).workflow


def marks(since: datetime, span: Span) -> list[datetime]:
    """Times to write below, at equal distances, the last one the end."""
    step = span.width * span.intervals / (_MARKS - 1)
    return [since + step * place for place in range(_MARKS)]
