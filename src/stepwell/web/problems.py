"""What an error means to whoever has sent the request: a status, a title, and what to do. For pages and the API alike."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.exceptions import HTTPException

from stepwell.errors import (
    DatabaseUnavailable,
    DefinitionError,
    IllegalTransition,
    InvalidInput,
    MailboxFull,
    NotSerializable,
    PayloadTooLarge,
    RunNotFound,
    ScheduleNotFound,
    StepwellError,
    TooSlow,
    WorkerNotFound,
    WorkflowNotFound,
)
from stepwell.web.access import NotAllowed, NotSignedIn


class Problem(NamedTuple):
    """An error, as it is told."""

    status: int
    title: str
    detail: str


_STATUSES: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (NotSignedIn, 401, "Not signed in"),
    (NotAllowed, 403, "Not allowed"),
    (RunNotFound, 404, "No such run"),
    (ScheduleNotFound, 404, "No such schedule"),
    (WorkflowNotFound, 404, "No such workflow"),
    (WorkerNotFound, 404, "No such worker"),
    (IllegalTransition, 409, "Not possible now"),
    (MailboxFull, 409, "Mailbox full"),
    (PayloadTooLarge, 413, "Too large"),
    (InvalidInput, 422, "The input does not fit"),
    (NotSerializable, 422, "Not JSON"),
    (DatabaseUnavailable, 503, "Database unavailable"),
    (TooSlow, 503, "Too slow"),
    (DefinitionError, 400, "Bad request"),
    (StepwellError, 400, "Bad request"),
    (ValueError, 400, "Bad request"),
)

EXPECTED: Final[tuple[type[Exception], ...]] = tuple(kind for kind, _, _ in _STATUSES)
"""Errors that are told, and are no fault of the program."""


def problem_of(error: Exception) -> Problem:
    """What to tell. Of an error that nobody expected, nothing but that there was one."""
    if isinstance(error, HTTPException):
        return Problem(error.status_code, error.detail or "Error", "")
    for kind, status, title in _STATUSES:
        if isinstance(error, kind):
            return Problem(status, title, str(error))
    return Problem(500, "Something went wrong", "The server's log says what.")
