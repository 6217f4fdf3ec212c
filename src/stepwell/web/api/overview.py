"""`app.overview`, as operations: what dashboards ask for, and often. Nothing is counted to its end, no payload is read."""

from __future__ import annotations

from pydantic import Field

from stepwell.core.records import Backlog, DatabaseFacts
from stepwell.web.api.answers import Counts, EndsList, LiveVersions, RunSummaries, RunSummaryPage, Speeds, WaitsList
from stepwell.web.api.calls import Call
from stepwell.web.api.given import Given, Instant, Limit, Listed, Nothing, Which


class Active(Given):
    """How many runs."""

    limit: Limit = 20


class Tally(Which):
    """Which runs, and how far to count."""

    cap: int = Field(default=1_000, ge=1, le=100_000)
    """How far is counted. One more means that there are more."""


class Ended(Given):
    """Of which time, in how many intervals."""

    since: Instant
    until: Instant
    intervals: int = Field(default=48, ge=1, le=10_000)
    workflow: str | None = None
    """Of this one only."""


class Waited(Given):
    """Of which time, in how many intervals."""

    since: Instant
    until: Instant
    intervals: int = Field(default=48, ge=1, le=1_000)
    workflow: str | None = None
    """Of this one only."""


async def summarize_runs(call: Call[Listed]) -> RunSummaryPage:
    """List runs without their inputs and outputs.

    With `search`, only the newest 10,000 runs are looked at.
    """
    given = call.given
    page = await call.app.overview.runs(order=given.order, limit=given.limit, cursor=given.cursor, **given.filters)
    return RunSummaryPage(runs=list(page), next_cursor=page.next_cursor, previous_cursor=page.previous_cursor)


async def get_active(call: Call[Active]) -> RunSummaries:
    """List runs that have not ended: first those that are running, then the others, the newest first."""
    return RunSummaries(runs=await call.app.overview.active(call.given.limit))


async def get_tally(call: Call[Tally]) -> Counts:
    """Count runs by status, each up to a cap."""
    tally = await call.app.overview.tally(call.given.cap, **call.given.filters)
    return Counts(counts={status.value: count for status, count in tally.items()})


async def get_ends(call: Call[Ended]) -> EndsList:
    """Say how many runs have ended, and how, by interval."""
    given = call.given
    return EndsList(ends=await call.app.overview.ends(given.since, given.until, given.intervals, given.workflow))


async def get_waits(call: Call[Waited]) -> WaitsList:
    """Say how long runs have waited for a worker, by the interval in which they were created.

    Up to 40 runs of each interval are looked at.
    """
    given = call.given
    return WaitsList(waits=await call.app.overview.waits(given.since, given.until, given.intervals, given.workflow))


async def get_speeds(call: Call[Nothing]) -> Speeds:
    """Say how the newest runs of each workflow have ended, and how long they took."""
    return Speeds(speeds=await call.app.overview.speeds())


async def get_live_versions(call: Call[Nothing]) -> LiveVersions:
    """Say which versions the runs are of that have not ended: whose code is still needed."""
    return LiveVersions(live_versions=await call.app.overview.live_versions())


async def get_backlog(call: Call[Nothing]) -> Backlog:
    """Say what waits for nothing but a worker, and since when."""
    return await call.app.overview.backlog()


async def get_database(call: Call[Nothing]) -> DatabaseFacts:
    """Say what the database is, and how large."""
    return await call.app.overview.facts()
