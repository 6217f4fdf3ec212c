"""System: whether all is well, what the database is, and how this server is set. `stepwell doctor`, as a page; it writes nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from stepwell.config import shown_url
from stepwell.web import words
from stepwell.web.live import MAX_STREAMS
from stepwell.web.workers import MOST, backlog_of, health_of, stranded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response

    from stepwell.core.records import Backlog, DatabaseFacts, WorkerState
    from stepwell.web.site import Visit

_SKEW: Final = 2.0
"""Seconds by which clocks may differ before times on pages look wrong. What is executed when goes by the database's."""

_WAITS_TOO_LONG: Final = timedelta(minutes=1)
"""For which a run may be ready before that says that the workers do not keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    what: str
    ok: bool
    found: str


async def show(visit: Visit) -> Response:
    """The page."""
    facts = await visit.app.overview.facts()
    states = await visit.app.workers.list(limit=MOST)
    backlog = await backlog_of(visit)
    findings = [_database(facts), _clock(facts), _workers(visit, states, backlog), _served(visit, states, backlog), _pace(visit, backlog)]
    return visit.page(
        "system.html",
        tab="system",
        findings=findings,
        facts=facts,
        database=[
            ("Kind", f"{facts.kind} {facts.version}".strip()),
            ("Size", words.size(facts.size)),
            ("Migrations", ", ".join(facts.migrations) or "none"),
            ("Clock", _skew(facts)),
        ],
        backlog=backlog,
        settings=_settings(visit),
    )


# -- whether all is well


def _database(facts: DatabaseFacts) -> Finding:
    kept = "; what is in it is gone when this process ends" if facts.kind == "memory" else ""
    return Finding(what="Database", ok=True, found=f"{facts.kind} answers{kept}")


def _clock(facts: DatabaseFacts) -> Finding:
    return Finding(what="Clock", ok=abs(facts.clock_skew or 0.0) <= _SKEW, found=_skew(facts))


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
    # No worker is no fault where there is nothing to do.
    return Finding(what="Workers", ok=alive > 0 or not waits, found=f"{alive} alive{silent}")


def _served(visit: Visit, states: Sequence[WorkerState], backlog: Backlog | None) -> Finding:
    lanes = stranded(backlog.ready, states, visit.now) if backlog is not None else []
    if not lanes:
        return Finding(what="Served", ok=True, found="each run that is ready has a worker with its workflow")
    said = ", ".join(f"{label} ({words.count(count)})" for label, count in lanes[:5])
    return Finding(what="Served", ok=False, found=f"no worker can run {said}{' and others' if len(lanes) > 5 else ''}")  # noqa: PLR2004


def _pace(visit: Visit, backlog: Backlog | None) -> Finding:
    """Of the runs that a worker could take now, how long the oldest has waited."""
    if backlog is None:
        return Finding(what="Keeping up", ok=False, found="so many runs wait that they take too long to count")
    if backlog.oldest_ready_at is None:
        return Finding(what="Keeping up", ok=True, found="no run waits for its turn")
    waited = visit.now - backlog.oldest_ready_at
    return Finding(
        what="Keeping up", ok=waited <= _WAITS_TOO_LONG, found=f"the oldest run waits for its turn since {words.duration(waited)}"
    )


# -- how this server is set


def _settings(visit: Visit) -> list[tuple[str, str]]:
    app, site = visit.app, visit.site
    streams = site.live.streams
    return [
        ("Stepwell", version("stepwell")),
        ("Python", sys.version.split()[0]),
        ("Database", shown_url(app.database_url)),
        ("Namespace", app.namespace),
        ("Time zone of schedules", app.timezone),
        ("Access", site.access.in_words),
        ("Hidden fields", ", ".join(site.redact.names) or "none"),
        ("Live streams", f"{streams} of {MAX_STREAMS}"),
        ("You", f"{visit.user.actor}, {visit.user.role.word}"),
    ]
