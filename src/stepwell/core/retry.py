"""Decides what follows a failed attempt: another one, after which delay, or none. Knows no clock and throws no dice."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from stepwell.core.duration import Duration, parse_duration
from stepwell.core.failure import find_step_failures
from stepwell.errors import (
    DefinitionError,
    InvalidInput,
    InvalidOutput,
    NonDeterminism,
    NonRetryable,
    NotInStep,
    NotSerializable,
    OutsideRun,
    PayloadTooLarge,
    StepwellError,
    Stuck,
    qualified_name,
)

_FINAL: Final = (
    NonRetryable,
    DefinitionError,
    InvalidInput,
    InvalidOutput,
    NotSerializable,
    PayloadTooLarge,
    NotInStep,
    OutsideRun,
    NonDeterminism,
    Stuck,
)
"""Errors that come again however often one tries."""

_DEFAULT_LONGEST: Final = timedelta(minutes=1)

_LARGEST_EXPONENT: Final = 2**53  # the largest count of attempts that a float tells from its neighbours


class RetryAfter(StepwellError):
    """Raise it in a step or a body to say when to try again. It uses up an attempt like any other failure.

    Attributes:
        delay: how long to wait before the next attempt, instead of what the policy's backoff gives.

    Raises:
        ValueError: the delay is no duration, has no unit or is negative.
        TypeError: the delay is neither a timedelta nor a text.

    Example:
        if response.status == 429:
            raise RetryAfter("30s", "the mail service asks for patience")
    """

    def __init__(self, delay: Duration, message: str = "") -> None:
        super().__init__(message)
        self.delay = parse_duration(delay, "the delay of RetryAfter")


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """How often, and after which delays, what failed is tried again.

    The delay doubles (`backoff_coefficient`) from `initial_interval` on and stops growing at `max_interval`.

    Attributes:
        max_attempts: the first one included; None is unlimited.
        initial_interval: the delay after the first attempt. One longer than a minute raises `max_interval` from its default.
        backoff_coefficient: by what each further delay is multiplied; 1 keeps it the same.
        max_interval: no delay of the backoff is longer.
        jitter: by what share the delay is spread up and down, 0 to 1, so that many failures at once do not come back at once.
        non_retryable: classes of exceptions that are not tried again; names, bare or qualified, work as well.
        should_retry: asked, while attempts are left and the error is not final, with the error and the attempt's number; answers
            True, False, or a delay.

    Raises:
        ValueError: a value is out of its range.
        TypeError: a value is of another type.

    Example:
        Retry(max_attempts=10, initial_interval="5s", max_interval="10m", non_retryable=CardDeclined)
    """

    max_attempts: int | None
    initial_interval: timedelta
    backoff_coefficient: float
    max_interval: timedelta
    jitter: float
    non_retryable: tuple[type[BaseException] | str, ...]
    should_retry: Callable[[Any, int], bool | Duration] | None

    def __init__(
        self,
        max_attempts: int | None = 5,
        initial_interval: Duration = "1s",
        backoff_coefficient: float = 2.0,
        max_interval: Duration = "1m",
        jitter: float = 0.1,
        non_retryable: type[BaseException] | str | Iterable[type[BaseException] | str] = (),
        should_retry: Callable[[Any, int], bool | Duration] | None = None,
    ) -> None:
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        keep("max_attempts", _checked_attempts(max_attempts))
        keep("initial_interval", parse_duration(initial_interval, "initial_interval"))
        keep("backoff_coefficient", _checked_number(backoff_coefficient, "backoff_coefficient", at_least=1, at_most=math.inf))
        longest = parse_duration(max_interval, "max_interval")
        # Somebody who asks for an hour between attempts, and leaves the longest interval at its default, means an hour.
        keep("max_interval", max(longest, self.initial_interval) if longest == _DEFAULT_LONGEST else longest)
        keep("jitter", _checked_number(jitter, "jitter", at_least=0, at_most=1))
        keep("non_retryable", _checked_kinds(non_retryable))
        keep("should_retry", _checked_predicate(should_retry))

    @classmethod
    def never(cls) -> Retry:
        """One attempt and no other."""
        return cls(max_attempts=1)

    def next(self, error: BaseException, attempt: int, jitter: float) -> timedelta | None:
        """How long to wait before the next attempt, once attempt number `attempt` (from 1) has failed; None: there is none.

        `jitter` is a number of chance from 0 up to, and without, 1. A `should_retry` that raises ends the attempts, and the
        error gets a note that says so.
        """
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return None
        if self._is_final(error):
            return None
        match self._asked(error, attempt):
            case False:
                return None
            case timedelta() as asked:
                return asked
        told = [member.delay for member in _members(error) if isinstance(member, RetryAfter)]
        return max(told) if told else self.delay(attempt, jitter)

    def delay(self, attempt: int, jitter: float) -> timedelta:
        """The backoff after attempt number `attempt` (from 1), spread by `jitter`, a number of chance in [0, 1)."""
        longest = self.max_interval.total_seconds()
        backoff = backoff_after(attempt, self.initial_interval.total_seconds(), self.backoff_coefficient, longest)
        seconds = backoff * (1 + self.jitter * (2 * jitter - 1))
        return self.max_interval if seconds >= longest else timedelta(seconds=seconds)

    def _is_final(self, error: BaseException) -> bool:
        return next(find_step_failures(error), None) is not None or any(
            not _is_ordinary(member) or isinstance(member, _FINAL) or self._is_excluded(member) for member in _members(error)
        )

    def _is_excluded(self, error: BaseException) -> bool:
        for kind in type(error).__mro__:
            if kind in self.non_retryable or kind.__name__ in self.non_retryable or qualified_name(kind) in self.non_retryable:
                return True
        return False

    def _asked(self, error: BaseException, attempt: int) -> bool | timedelta:
        if self.should_retry is None:
            return True
        try:
            answer = self.should_retry(error, attempt)
            return answer if isinstance(answer, bool) else parse_duration(answer, "what should_retry returns (True, False, or a delay)")
        except Exception as problem:  # noqa: BLE001  # should_retry is the user's code
            error.add_note(f"Not tried again, because should_retry raised {type(problem).__name__}: {problem}")
            return False


def backoff_after(attempt: int, first: float, coefficient: float, longest: float) -> float:
    """Seconds after attempt number `attempt` (from 1), without chance."""
    try:
        growth = coefficient ** min(attempt - 1, _LARGEST_EXPONENT)
    except OverflowError:
        growth = math.inf
    return min(first * growth, longest) if first else 0.0


def _is_ordinary(error: BaseException) -> bool:
    """Whether a failure of the user's code is like any other. Exits and interrupts of the interpreter are not."""
    # A cancellation that the engine did not cause. Its class is told by name: nothing in here may import asyncio.
    return isinstance(error, Exception) or any(qualified_name(kind) == "asyncio.exceptions.CancelledError" for kind in type(error).__mro__)


def _members(error: BaseException) -> Iterator[BaseException]:
    """The errors that happened: the error itself, or what is in it when it is a group, such as a TaskGroup raises."""
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        yield current


def _checked_attempts(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"max_attempts is a whole number, or None for no limit, not {type(value).__name__}: {value!r}")
    if value < 1:
        raise ValueError(f"max_attempts counts the first attempt too, so it is at least 1, not {value}; Retry.never() tries once")
    return value


def _checked_number(value: object, what: str, *, at_least: float, at_most: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{what} is a number, not {type(value).__name__}: {value!r}")
    if not (at_least <= value <= at_most) or math.isinf(value):
        wanted = f"at least {at_least:g}, and finite" if math.isinf(at_most) else f"between {at_least:g} and {at_most:g}"
        raise ValueError(f"{what} is {wanted}, not {value}")
    return float(value)


def _checked_kinds(value: object) -> tuple[type[BaseException] | str, ...]:
    if isinstance(value, type | str):
        return (_checked_kind(value),)
    if not isinstance(value, Iterable):
        raise TypeError(f"non_retryable takes classes of exceptions, or their names, not {type(value).__name__}: {value!r}")
    return tuple(_checked_kind(kind) for kind in value)


def _checked_kind(kind: object) -> type[BaseException] | str:
    if isinstance(kind, str):
        if not kind.strip():
            raise ValueError("non_retryable has an empty name; name the class of an exception")
        return kind
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind
    raise TypeError(f"non_retryable takes classes of exceptions, or their names, not {kind!r}")


def _checked_predicate(value: Any) -> Callable[[Any, int], bool | Duration] | None:
    if value is None:
        return None
    if not callable(value):
        raise TypeError(f"should_retry is a function of the error and the attempt's number, not {type(value).__name__}: {value!r}")
    if inspect.iscoroutinefunction(value):
        raise TypeError("should_retry is a plain function, not an async one: it decides at once, by the error alone")
    return value  # type: ignore[no-any-return]


DEFAULT_RETRY: Final = Retry()
"""Of a step for which neither its definition, nor its decorator, nor its workflow says anything else."""
