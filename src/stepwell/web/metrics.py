"""Figures for Prometheus: of the whole, as the database has it, and of the workers in this process. Nothing is counted to its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from stepwell.core.records import WorkerState, instant
from stepwell.web.access import NotAllowed, Role
from stepwell.web.exposition import MEDIA_TYPE, Exposition
from stepwell.web.workers import MOST

if TYPE_CHECKING:
    from starlette.requests import Request

    from stepwell.engine.counters import Counters
    from stepwell.web.access import User
    from stepwell.web.site import Site

CAP: Final = 10_000
"""How far runs of a status are counted."""

LATE: Final = timedelta(minutes=1)
"""After which a slot that has not fired is overdue."""


async def show(site: Site, _: Request, user: User) -> Response:
    """All figures. Raises NotAllowed."""
    if not user.may(Role.VIEWER):
        raise NotAllowed(Role.VIEWER)
    exposition = Exposition()
    await _add_runs(exposition, site)
    now = instant(site.app.now())
    _add_workers(exposition, await site.app.workers.list(limit=MOST), now)
    _add_schedules(exposition, *await site.app.schedules.due(LATE))
    await _add_database(exposition, site)
    if site.app.counters.workers:
        _add_counters(exposition, site.app.counters)
    return Response(exposition.text(), media_type=MEDIA_TYPE)


async def _add_runs(exposition: Exposition, site: Site) -> None:
    tally = await site.app.overview.tally(CAP)
    exposition.gauge("stepwell_runs", f"Runs by status. {CAP + 1} means that there are more than {CAP}.", [
        ({"status": status.value}, count) for status, count in tally.items()
    ])  # fmt: skip
    backlog = await site.app.overview.backlog()
    oldest = backlog.oldest_ready_at
    age = 0.0 if oldest is None else max(0.0, site.app.now() - oldest.timestamp())
    exposition.gauge("stepwell_queue_age_seconds", "For how long the run waits that has waited longest for a worker.", [({}, age)])
    exposition.gauge("stepwell_ready_runs", "Runs that wait for nothing but a worker. 1001 means that there are more than 1000.", [
        ({"queue": lane.queue, "workflow": lane.workflow, "version": lane.version or ""}, lane.count) for lane in backlog.ready
    ])  # fmt: skip


def _add_workers(exposition: Exposition, workers: list[WorkerState], now: datetime) -> None:
    live = [worker for worker in workers if now - worker.beat_at < worker.lease]
    exposition.gauge("stepwell_workers", "Workers that are registered. Those are lost that were not heard of for a whole lease.", [
        ({"state": "live"}, len(live)), ({"state": "lost"}, len(workers) - len(live)),
    ])  # fmt: skip
    exposition.gauge(
        "stepwell_slots", "Runs that live workers can execute at the same time.", [({}, sum(each.concurrency for each in live))]
    )
    exposition.gauge("stepwell_slots_used", "Runs that live workers execute.", [({}, sum(each.running for each in live))])
    exposition.gauge("stepwell_parked_runs", "Runs that wait in the memory of live workers.", [({}, sum(each.parked for each in live))])


def _add_schedules(exposition: Exposition, due: int, late: int) -> None:
    exposition.gauge("stepwell_schedules", "Schedules that fire. 10001 means that there are more than 10000.", [({}, due)])
    exposition.gauge("stepwell_schedules_overdue", "Schedules whose next slot is more than a minute ago.", [({}, late)])


async def _add_database(exposition: Exposition, site: Site) -> None:
    facts = await site.app.overview.facts()
    if facts.size is not None:
        exposition.gauge("stepwell_database_size_bytes", "Of all that is in the database.", [({}, facts.size)])
    labels = {"version": version("stepwell"), "database": facts.kind, "database_version": facts.version}
    exposition.gauge("stepwell_info", "Which Stepwell, on which database.", [(labels, 1)])


def _add_counters(exposition: Exposition, counters: Counters) -> None:
    """Of the workers in this process, since its beginning."""
    exposition.counter("stepwell_claims_total", "How often workers of this process asked for runs.", counters.claims)
    exposition.counter("stepwell_claimed_runs_total", "Runs that they were given.", counters.claimed)
    exposition.counter("stepwell_failed_attempts_total", "Attempts of steps that failed there.", counters.attempts_failed)
    exposition.counter("stepwell_lapsed_leases_total", "How often a worker did not reach the database for a lease.", counters.leases_lapsed)
    exposition.counter("stepwell_lost_leases_total", "How often one was taken for dead.", counters.leases_lost)
    exposition.histogram("stepwell_commit_writes", "Writes in each of their transactions.", counters.batches)
    exposition.histogram("stepwell_step_duration_seconds", "How long attempts of steps took.", counters.steps)
