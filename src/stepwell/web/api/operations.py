"""The table of all operations of the API, in the order in which their addresses are tried and in which they are shown."""

from __future__ import annotations

from typing import Final

from stepwell.web.access import Role
from stepwell.web.api import operating, overview, runs, schedules
from stepwell.web.api.calls import Handler, Operation

_CONFLICTS: Final = frozenset({
    runs.pause_run, runs.resume_run, runs.cancel_run, runs.retry_run, runs.signal_run, runs.delete_run,
})  # fmt: skip


def _get(path: str, handler: Handler) -> Operation:
    return Operation("GET", path, handler, Role.VIEWER)


def _post(path: str, handler: Handler, *, status: int = 200, role: Role = Role.OPERATOR) -> Operation:
    return Operation("POST", path, handler, role, status, handler in _CONFLICTS)


def _run(verb: str, handler: Handler, status: int = 200) -> Operation:
    return _post(f"/runs/{{run_id}}/{verb}", handler, status=status)


def _schedule(verb: str, handler: Handler, status: int = 200) -> Operation:
    return _post(f"/schedules/{{workflow}}/{{name:path}}/{verb}", handler, status=status)


def _admin(path: str, handler: Handler) -> Operation:
    return _post(path, handler, status=204, role=Role.ADMIN)


OPERATIONS: Final = (
    _get("/runs", runs.list_runs),
    _post("/runs", runs.start, status=201),
    _post("/runs/start_many", runs.start_many, status=201),
    _get("/runs/count", runs.count_runs),
    _post("/runs/pause_all", runs.pause_all),
    _post("/runs/resume_all", runs.resume_all),
    _post("/runs/cancel_all", runs.cancel_all),
    _post("/runs/retry_all", runs.retry_all),
    _post("/runs/signal_all", runs.signal_all),
    _post("/runs/delete_all", runs.delete_all, role=Role.ADMIN),
    _get("/runs/{run_id}", runs.get_run),
    Operation("DELETE", "/runs/{run_id}", runs.delete_run, Role.ADMIN, 204, conflicts=True),
    _get("/runs/{run_id}/steps", runs.get_steps),
    _get("/runs/{run_id}/logs", runs.get_logs),
    _get("/runs/{run_id}/events", runs.get_events),
    _run("pause", runs.pause_run),
    _run("resume", runs.resume_run),
    _run("cancel", runs.cancel_run),
    _run("retry", runs.retry_run),
    _run("fork", runs.fork_run, 201),
    _run("signals", runs.signal_run, 204),
    _get("/schedules", schedules.list_schedules),
    # A name may hold slashes: what follows it comes first, and the name alone last.
    _get("/schedules/{workflow}/{name:path}/preview", schedules.preview_schedule),
    _get("/schedules/{workflow}/{name:path}/slots", schedules.get_slots),
    _schedule("pause", schedules.pause_schedule),
    _schedule("resume", schedules.resume_schedule),
    _schedule("trigger", schedules.trigger_schedule, 201),
    _schedule("backfill", schedules.backfill_schedule, 201),
    _get("/schedules/{workflow}/{name:path}", schedules.get_schedule),
    _get("/workflows", operating.list_workflows),
    _admin("/workflows/{name:path}/pause", operating.pause_workflow),
    _admin("/workflows/{name:path}/resume", operating.resume_workflow),
    _get("/queues", operating.list_queues),
    _admin("/queues/{name:path}/pause", operating.pause_queue),
    _admin("/queues/{name:path}/resume", operating.resume_queue),
    _get("/workers", operating.list_workers),
    _admin("/workers/{worker:path}/drain", operating.drain_worker),
    _get("/overview/runs", overview.summarize_runs),
    _get("/overview/active", overview.get_active),
    _get("/overview/tally", overview.get_tally),
    _get("/overview/ends", overview.get_ends),
    _get("/overview/waits", overview.get_waits),
    _get("/overview/speeds", overview.get_speeds),
    _get("/overview/live_versions", overview.get_live_versions),
    _get("/overview/backlog", overview.get_backlog),
    _get("/overview/database", overview.get_database),
)
"""An address is one of them and a method."""
