"""What operations answer with, beside single records, and how that becomes a response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stepwell.core.plain import plain
from stepwell.core.records import (
    Ends,
    Event,
    LiveVersion,
    LogLine,
    QueueState,
    Run,
    RunSummary,
    ScheduleState,
    Slot,
    Speed,
    StepRecord,
    Waits,
    WorkerState,
    WorkflowState,
)
from stepwell.errors import DatabaseUnavailable, InvalidInput, StepwellError
from stepwell.web.access import NotSignedIn
from stepwell.web.api.given import Misfit, pointer
from stepwell.web.problems import Problem, problem_of
from stepwell.web.redaction import Redactor

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T]):
    """A value, with another status than the operation's usual one, or with headers."""

    value: T
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Some of the runs that match."""

    runs: list[Run]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummaryPage:
    """Some of the runs that match, without their inputs and outputs."""

    runs: list[RunSummary]
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIds:
    """Runs that were started."""

    run_ids: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many runs it was done to."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many runs there are, by status."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Some of the steps of a run, one record an attempt, in order of their start."""

    steps: list[StepRecord]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Some of what a run has said."""

    logs: list[LogLine]
    next_after: int | None
    """Where the next page begins; None: there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What was done to a run."""

    events: list[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """Some of the schedules."""

    schedules: list[ScheduleState]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """When a schedule fires next."""

    slots: list[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPage:
    """What has become of a schedule's slots, the newest record first."""

    slots: list[Slot]
    next_before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflows:
    """Some of the workflows."""

    workflows: list[WorkflowState]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """Queues."""

    queues: list[QueueState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Workers."""

    workers: list[WorkerState]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummaries:
    """Runs, without their inputs and outputs."""

    runs: list[RunSummary]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsList:
    """How many runs have ended, by interval."""

    ends: list[Ends]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitsList:
    """How long runs have waited, by interval."""

    waits: list[Waits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """How the newest runs have ended, by workflow."""

    speeds: list[Speed]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVersions:
    """Which versions the runs are of that have not ended."""

    live_versions: list[LiveVersion]


# -- responses


def json_response(value: Any, redact: Redactor, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The value, without what is hidden."""

    def hide(name: str, shown: Any) -> Any:
        match name:
            case "preview":
                return redact.text(shown)
            case "input" | "output":
                return redact(shown)
            case "fields":
                return redact.said(redact(shown))
            case _:
                return redact.said(shown)

    return Response(to_json(plain(value, hide)), status, headers, "application/json")


def problem_response(error: Exception) -> Response:
    """What went wrong, as RFC 9457 has it."""
    problem = _problem(error)
    told: dict[str, Any] = {"type": _type(error), "title": problem.title, "status": problem.status, "detail": _detail(error, problem)}
    if isinstance(error, Misfit):
        told["errors"] = error.errors
    elif isinstance(error, InvalidInput):
        at = ("input",) if error.place is None else ("inputs", error.place)
        told["errors"] = [{"pointer": pointer((*at, *each["loc"])), "detail": each["msg"]} for each in error.errors]
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, NotSignedIn):
        headers["www-authenticate"] = 'Bearer realm="Stepwell"'
    if isinstance(error, DatabaseUnavailable):
        headers["retry-after"] = "1"
    return Response(to_json(told), problem.status, headers, "application/problem+json")


def _problem(error: Exception) -> Problem:
    if isinstance(error, Misfit):
        return Problem(422, "Not as it should be", str(error))
    if isinstance(error, HTTPException):
        return Problem(error.status_code, HTTPStatus(error.status_code).phrase, error.detail)
    return problem_of(error)


def _type(error: Exception) -> str:
    """By which programs tell problems apart that have the same status."""
    return f"urn:stepwell:{type(error).__name__}" if isinstance(error, StepwellError) else "about:blank"


def _detail(error: Exception, problem: Problem) -> str:
    return " ".join([problem.detail or problem.title, *getattr(error, "__notes__", ())])
