"""How runs fail that no body has failed: words that are the same for every adapter."""

from __future__ import annotations

from datetime import timedelta

from stepwell.core.duration import format_duration
from stepwell.core.failure import describe, error_text
from stepwell.errors import DeadlineExceeded, WorkerCrashed


def deadline_exceeded(run_id: str, workflow: str, timeout: float) -> str:
    """The error of a run whose deadline has passed, as it is stored. `timeout`: seconds."""
    taken = format_duration(timedelta(seconds=timeout))
    return error_text(describe(DeadlineExceeded(f"run {run_id} of {workflow} took longer than its timeout of {taken}")))


def worker_crashed(run_id: str, workflow: str, crashes: int) -> str:
    """The error of a run that took down every worker that executed it, as it is stored."""
    times = "once" if crashes == 1 else f"{crashes} times"
    return error_text(
        describe(
            WorkerCrashed(
                f"run {run_id} of {workflow} took its worker down {times} in a row; "
                "see what ends the process (memory, native code, os._exit), then retry the run"
            )
        )
    )
