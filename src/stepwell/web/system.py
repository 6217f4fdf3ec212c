"""System: whether all is well, what the database is, and how this server is set. `stepwell doctor`, as a page; it writes nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from stepwell.config import shown_url
from stepwell.core.retention import ENDS
from stepwell.errors import TooSlow
from stepwell.web import words
from stepwell.web.access import Role
from stepwell.web.live import MAX_STREAMS
from stepwell.web.workers import MOST, backlog_of, health_of, stranded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from stepwell.core.records import Backlog, DatabaseFacts, RunSummary, WorkerState
    from stepwell.core.status import RunStatus
    from stepwell.web.site import Visit

_SKEW: Final = 2.0
"""Seconds by which clocks may differ before times on pages look wrong. What is executed when goes by the database's."""

_WAITS_TOO_LONG: Final = timedelta(minutes=1)
"""For which a run may be ready before that says that the workers do not keep up."""


_MORE: Final = "Start more workers, let each do more at once (--concurrency), or see whether a queue is paused or limited."

_PENDING: Final = {"status": "pending", "from": "all"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    what: str
    ok: bool
    found: str
    do: str = ""
    """What helps."""
    links: tuple[tuple[str, str], ...] = ()
    """Where one sees more: words and an address."""


async def show(visit: Visit) -> Response:
    """The page."""
    facts = await visit.app.overview.facts()
    states = await visit.app.workers.list(limit=MOST)
    backlog = await backlog_of(visit)
    findings = [_database(facts), clock_of(facts), _workers(visit, states, backlog), _served(visit, states, backlog), _pace(visit, backlog)]
    pending = await _oldest_pending(visit)
    return visit.page(
        "system.html",
        tab="system",
        findings=findings,
        facts=facts,
        database=[
            ("Kind", f"{facts.kind} {facts.version}".strip()),
            ("Size", words.size(facts.size)),
            ("Migrations", _migrations(facts)),
            ("Clock", _skew(facts)),
        ],
        backlog=backlog,
        ready=0 if backlog is None else sum(each.count for each in backlog.ready),
        pending=pending,
        settings=_settings(visit),
    )


async def _oldest_pending(visit: Visit) -> RunSummary | None:
    """The run that waits since the longest, also for a time that it was given; None: none, or it took too long to find."""
    try:
        page = await visit.app.overview.runs(status="pending", order="oldest", limit=1, explain=False)
    except TooSlow:
        return None
    return page.items[0] if page.items else None


# -- whether all is well


def _database(facts: DatabaseFacts) -> Finding:
    if facts.kind != "memory":
        return Finding(what="Database", ok=True, found=f"{facts.kind} answers")
    do = "Give the app a database to keep its runs: database_url= or STEPWELL_DATABASE_URL."
    return Finding(what="Database", ok=True, found="memory answers; what is in it is gone when this process ends", do=do)


def clock_of(facts: DatabaseFacts) -> Finding:
    """How far the database's clock is from this machine's."""
    ok = abs(facts.clock_skew or 0.0) <= _SKEW
    do = "Workers go by the database's clock, so runs come in time; let NTP set both, so that logs agree."
    return Finding(what="Clock", ok=ok, found=_skew(facts), do="" if ok else do)


def _migrations(facts: DatabaseFacts) -> str:
    """An app that is open has found all that it knows of, or has applied it."""
    return f"all applied: {', '.join(facts.migrations)}" if facts.migrations else "none is needed"


def _skew(facts: DatabaseFacts) -> str:
    if facts.clock_skew is None:
        return "the database's is this machine's"
    if abs(facts.clock_skew) < 0.001:  # noqa: PLR2004  # less than it takes to ask
        return "the database's shows the same as this machine's"
    return f"the database's is {words.duration(abs(facts.clock_skew))} {'ahead of' if facts.clock_skew > 0 else 'behind'} this machine's"


def _workers(visit: Visit, states: Sequence[WorkerState], backlog: Backlog | None) -> Finding:
    alive = sum(health_of(state, visit.now) == "alive" for state in states)
    silent = f", {len(states) - alive} not heard of" if len(states) > alive else ""
    waits = backlog is not None and backlog.oldest_ready_at is not None
    ok = alive > 0 or not waits  # no worker is no fault where there is nothing to do
    do = "Start one that has their workflows: stepwell worker app.py"
    return Finding(what="Workers", ok=ok, found=f"{alive} alive{silent}", do="" if ok else do, links=(("Workers", visit.url("workers")),))


def _served(visit: Visit, states: Sequence[WorkerState], backlog: Backlog | None) -> Finding:
    lanes = stranded(backlog.ready, states, visit.now) if backlog is not None else []
    if not lanes:
        return Finding(what="Served", ok=True, found="each run that is ready has a worker with its workflow")
    said = ", ".join(f"{label} ({words.count(count)})" for label, count, _ in lanes[:5])
    return Finding(
        what="Served",
        ok=False,
        found=f"no worker can run {said}{' and others' if len(lanes) > 5 else ''}",  # noqa: PLR2004
        do="Start a worker with that code, or cancel these runs if nobody will have it again.",
        links=(("Pending runs", visit.url("tasks", query=_PENDING)),),
    )


def _pace(visit: Visit, backlog: Backlog | None) -> Finding:
    """Of the runs that a worker could take now, how long the oldest has waited."""
    if backlog is None:
        return Finding(what="Keeping up", ok=False, found="so many runs wait that they take too long to count", do=_MORE)
    if backlog.oldest_ready_at is None:
        return Finding(what="Keeping up", ok=True, found="no run waits for its turn")
    waited = visit.now - backlog.oldest_ready_at
    ok = waited <= _WAITS_TOO_LONG
    return Finding(
        what="Keeping up",
        ok=ok,
        found=f"the oldest run waits for its turn since {words.duration(waited)}",
        do="" if ok else _MORE,
        links=(("Charts", visit.url("charts")),),
    )


# -- how this server is set


def _settings(visit: Visit) -> list[tuple[str, str]]:
    app, site = visit.app, visit.site
    streams = site.live.streams
    # Host, path and user of the database are of use to those who look after it, and to others who want to get at it.
    where = [("Database", shown_url(app.database_url)), ("Namespace", app.namespace)] if visit.user.may(Role.OPERATOR) else []
    return [
        ("Stepwell", version("stepwell")),
        ("Python", sys.version.split()[0]),
        *where,
        ("Time zone of schedules", app.timezone),
        ("Ended runs are kept", _kept(app.retention)),
        ("Access", site.access.in_words),
        ("Hidden fields", ", ".join(site.redact.names) or "none"),
        ("Live streams", f"{streams} of {MAX_STREAMS}"),
        ("You", f"{visit.user.actor}, {visit.user.role.word}"),
    ]


def _kept(retention: Mapping[RunStatus, timedelta]) -> str:
    """`7 d`; `completed 7 d, failed 30 d, canceled for ever`."""
    if len({retention.get(status) for status in ENDS}) == 1:
        return words.duration(retention[ENDS[0]]) if retention else "for ever"
    return ", ".join(f"{status} {words.duration(retention[status]) if status in retention else 'for ever'}" for status in ENDS)
