"""How a run leaves a worker's memory, as a value. What is written for it is another function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.errors import ErrorInfo


@dataclass(frozen=True, slots=True)
class Complete:
    """The body has returned."""

    output: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The run is over, without a result."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The body has raised, and is to be tried again from the last checkpoint."""

    due: float
    attempt: int
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class GoOnAsNew:
    """The body has asked for a fresh start under the same id."""

    input: str


@dataclass(frozen=True, slots=True)
class Diverge:
    """The code no longer fits what is recorded: an operator is asked."""

    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class LetGo:
    """It can go on, or was paused; any worker may go on with it."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """It waits, and any worker may go on with it. `due`: until then at the latest."""

    due: float | None


Ending = Complete | Fail | RetryLater | GoOnAsNew | Diverge | LetGo | Sleep
