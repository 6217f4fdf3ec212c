"""What an error means to whoever has sent the request: a status, a title, and what to do. For pages and the API alike.

Only what Stepwell itself says of what was asked is told. Any other error is the program's own, and its text may say what nobody is to know.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException

from stepwell.errors import (
    BadValue,
    DatabaseTooNew,
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

log = logging.getLogger(__name__)


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
    (DatabaseTooNew, 503, "Database too new"),
    (TooSlow, 503, "Too slow"),
    (DefinitionError, 400, "Bad request"),
    (StepwellError, 400, "Bad request"),
    (BadValue, 400, "Bad request"),
)

EXPECTED: Final[tuple[type[Exception], ...]] = tuple(kind for kind, _, _ in _STATUSES)
"""Errors that are told, and are no fault of the program."""


_AWAY: Final = "The database does not answer. The server's log says more."
_UNKNOWN: Final = "The database does not answer. What was asked of it may or may not have been done; the server's log says more."
_TOO_NEW: Final = "A newer version of Stepwell has changed the database. This server has to be upgraded; its log says more."


def problem_of(error: Exception, *, is_read: bool = False) -> Problem:
    """What to tell. Of an error that nobody expected, nothing but that there was one; of the database, not where it is.

    Args:
        error: what was raised.
        is_read: nothing was asked for that changes anything.
    """
    if isinstance(error, HTTPException):
        return Problem(error.status_code, error.detail or "Error", "")
    if isinstance(error, DatabaseUnavailable):
        log.warning("a request was not answered: %s", error)
        return Problem(503, "Database unavailable", _AWAY if is_read else _UNKNOWN)
    if isinstance(error, DatabaseTooNew):
        log.warning("a request was not answered: %s", error)
        return Problem(503, "Database too new", _TOO_NEW)
    for kind, status, title in _STATUSES:
        if isinstance(error, kind):
            return Problem(status, title, str(error))
    return Problem(500, "Something went wrong", "The server's log says what.")
