"""Why a run that is ready is not executed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell import Run, RunStatus, WorkerState
from stepwell.core.records import UNRESOLVED
from stepwell.core.registry import Lane
from stepwell.core.waiting import Surroundings, is_live, is_ready, waiting_for

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)


def run(**fields: Any) -> Run:
    known: dict[str, Any] = {
        "id": "1", "workflow": "welcome", "version": "v1", "status": RunStatus.PENDING, "input": None, "output": None, "error": None,
        "attempt": 1, "key": None, "queue": "mail", "priority": 0, "tags": (), "created_at": NOW, "available_at": NOW, "started_at": None,
        "finished_at": None, "worker": None,
    }  # fmt: skip
    return Run(**known | fields)


def worker(*serves: tuple[str, str | None], **fields: Any) -> WorkerState:
    known: dict[str, Any] = {
        "id": "w", "name": "w", "host": "h", "pid": 1, "queues": None, "concurrency": 1, "running": 0, "parked": 0, "definitions": (),
        "lease": timedelta(seconds=30), "draining": False, "started_at": NOW, "beat_at": NOW, "serves": frozenset(serves),
    }  # fmt: skip
    return WorkerState(**known | fields)


def why(waiting: Run, *workers: WorkerState, halts: Any = (), lanes: Any = ()) -> str | None:
    return waiting_for(waiting, Surroundings(NOW, halts, workers, lanes))


def test_a_run_is_ready_when_it_is_pending_and_its_time_has_come() -> None:
    assert is_ready(run(), NOW)
    assert is_ready(run(available_at=None), NOW)
    assert not is_ready(run(available_at=NOW + timedelta(seconds=1)), NOW)
    assert not any(is_ready(run(status=status), NOW) for status in RunStatus if status is not RunStatus.PENDING)


def test_a_run_that_a_worker_takes_only_waits_for_its_turn() -> None:
    assert why(run(), worker(("welcome", "v1"))) is None
    assert why(run(), worker(("welcome", "v1"), queues=("mail", "slow"))) is None
    assert why(run(version="v7"), worker(("welcome", "*"))) is None


@pytest.mark.parametrize(
    ("waiting", "workers", "reason"),
    [
        (run(), [], "no worker has welcome v1"),
        (run(version=None), [], "no worker has welcome"),
        (run(), [worker(("welcome", "v2"), ("welcome", None))], "no worker has welcome v1"),
        (run(version=None), [worker(("welcome", "v2"))], "no worker has welcome without a version"),
        (run(), [worker(("welcome", "v1"), beat_at=NOW - timedelta(seconds=31))], "no worker has welcome v1"),
        (run(), [worker(("welcome", "v1"), queues=("slow",))], "no worker that has welcome v1 takes queue mail"),
        (run(), [worker(("welcome", "v1"), draining=True)], "every worker that has welcome v1 is about to stop"),
    ],
)
def test_a_run_that_nobody_takes_says_so(waiting: Run, workers: list[WorkerState], reason: str) -> None:
    assert why(waiting, worker(("other", "v1")), *workers) == reason


@pytest.mark.parametrize(
    ("halt", "reason"), [(("workflow", "welcome"), "workflow welcome is paused"), (("queue", "mail"), "queue mail is paused")]
)
def test_a_run_that_is_paused_with_its_workflow_or_queue_says_so(halt: tuple[str, str], reason: str) -> None:
    others = [("queue", "welcome"), ("workflow", "mail")]

    assert why(run(), worker(("welcome", "v1")), halts=[*others, halt]) == reason
    assert why(run(), worker(("welcome", "v1")), halts=others) is None


def test_a_run_whose_version_is_not_known_yet_is_taken_by_whoever_has_its_name() -> None:
    unresolved = Lane("mail", "welcome", UNRESOLVED)

    assert why(run(version=None), worker(("welcome", "v2")), lanes=[unresolved]) is None
    assert why(run(version=None), worker(("other", "v2")), lanes=[unresolved]) == "no worker has welcome"


def test_a_worker_lives_while_its_lease_does() -> None:
    assert is_live(worker(beat_at=NOW - timedelta(seconds=30)), NOW)
    assert not is_live(worker(beat_at=NOW - timedelta(seconds=30.1)), NOW)
