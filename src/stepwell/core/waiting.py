"""Says why a run that could begin does not: its workflow or queue is paused, or nobody has its function. Asks nobody."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from stepwell.core.records import UNRESOLVED, Run, RunSummary, WorkerState, version_label
from stepwell.core.registry import Lane
from stepwell.core.status import RunStatus


class Surroundings(NamedTuple):
    """What decides whether a run is claimed, beside the run itself."""

    now: datetime
    halts: Collection[tuple[str, str]]
    """Kind and name of what is paused as a whole."""
    workers: Collection[WorkerState]
    lanes: Collection[Lane]


def is_ready(run: Run | RunSummary, now: datetime) -> bool:
    """Whether any worker that serves the run could take it."""
    return run.status is RunStatus.PENDING and (run.available_at is None or run.available_at <= now)


def waiting_for(run: Run | RunSummary, around: Surroundings) -> str | None:
    """Why a run that is ready is not executed; None: it only waits for its turn."""
    if ("workflow", run.workflow) in around.halts:
        return f"workflow {run.workflow} is paused"
    if ("queue", run.queue) in around.halts:
        return f"queue {run.queue} is paused"

    live = [worker for worker in around.workers if is_live(worker, around.now)]
    able = [worker for worker in live if _has(worker, run, around.lanes)]
    if not able:
        return f"no worker has {_label(run, live)}"
    label = version_label(run.workflow, run.version)
    if not any(worker.queues is None or run.queue in worker.queues for worker in able):
        return f"no worker that has {label} takes queue {run.queue}"
    if all(worker.draining for worker in able):
        return f"every worker that has {label} is about to stop"
    return None


def is_live(worker: WorkerState, now: datetime) -> bool:
    """Whether the worker has been heard of within its lease."""
    return worker.beat_at + worker.lease >= now


def _has(worker: WorkerState, run: Run | RunSummary, lanes: Collection[Lane]) -> bool:
    if (run.workflow, run.version) in worker.serves or (run.workflow, "*") in worker.serves:
        return True
    # A run whose version is not known yet looks like one without; but it was stored in another lane. Whoever has the name takes it.
    unresolved = run.version is None and Lane(run.queue, run.workflow, UNRESOLVED) in lanes
    return unresolved and _has_name(worker, run.workflow)


def _has_name(worker: WorkerState, workflow: str) -> bool:
    return any(name == workflow for name, _ in worker.serves)


def _label(run: Run | RunSummary, workers: Collection[WorkerState]) -> str:
    if run.version is None and any(_has_name(worker, run.workflow) for worker in workers):
        return f"{run.workflow} without a version"
    return version_label(run.workflow, run.version)
