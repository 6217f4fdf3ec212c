"""What follows a failed attempt."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.retry import DEFAULT_RETRY, Retry, RetryAfter
from stepwell.errors import (
    ChildFailed,
    DefinitionError,
    ErrorInfo,
    InvalidInput,
    InvalidOutput,
    NonDeterminism,
    NonRetryable,
    NotInStep,
    NotSerializable,
    OutsideRun,
    PayloadTooLarge,
    StepFailed,
    StepTimeout,
    StepwellError,
    Stuck,
)

STEADY = Retry(jitter=0)
MIDDLE = 0.5
INFO = ErrorInfo("CardDeclined", "no funds")
STEP_FAILED = StepFailed(step="charge", key="charge", attempts=3, error=INFO)
CHILD_FAILED = ChildFailed(step="ship", key="ship", run_id="r1", workflow="ship", error=INFO)


class CardDeclined(Exception):
    pass


class NoFunds(CardDeclined):
    pass


def seconds(*numbers: float) -> list[timedelta]:
    return [timedelta(seconds=number) for number in numbers]


# -- how it is declared


def test_the_defaults_are_those_of_the_contract() -> None:
    retry = Retry()

    assert retry == Retry(5, "1s", 2.0, "1m", 0.1, (), None) == DEFAULT_RETRY
    assert (retry.initial_interval, retry.max_interval) == (timedelta(seconds=1), timedelta(minutes=1))


def test_never_is_one_attempt() -> None:
    assert Retry.never().next(ValueError(), 1, MIDDLE) is None


@pytest.mark.parametrize(
    ("option", "value", "error", "message"),
    [
        ("max_attempts", 0, ValueError, "at least 1, not 0; Retry.never"),
        ("max_attempts", True, TypeError, "max_attempts is a whole number"),
        ("max_attempts", "3", TypeError, "max_attempts is a whole number"),
        ("initial_interval", 5, ValueError, "initial_interval needs a unit"),
        ("initial_interval", "-1s", ValueError, "initial_interval cannot be negative"),
        ("max_interval", None, TypeError, "max_interval is a timedelta or a text"),
        ("backoff_coefficient", 0.5, ValueError, "backoff_coefficient is at least 1, and finite, not 0.5"),
        ("backoff_coefficient", float("inf"), ValueError, "finite"),
        ("backoff_coefficient", float("nan"), ValueError, "finite"),
        ("backoff_coefficient", "2", TypeError, "backoff_coefficient is a number"),
        ("jitter", 1.1, ValueError, "jitter is between 0 and 1, not 1.1"),
        ("jitter", float("nan"), ValueError, "jitter is between 0 and 1"),
        ("jitter", False, TypeError, "jitter is a number"),
        ("non_retryable", 3, TypeError, "non_retryable takes classes of exceptions"),
        ("non_retryable", int, TypeError, "non_retryable takes classes of exceptions"),
        ("non_retryable", [ValueError()], TypeError, "non_retryable takes classes of exceptions"),
        ("non_retryable", " ", ValueError, "non_retryable has an empty name"),
        ("should_retry", 3, TypeError, "should_retry is a function of"),
    ],
)
def test_a_wrong_option_is_refused_where_it_is_given(option: str, value: Any, error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {option: value}

    with pytest.raises(error, match=message):
        Retry(**options)


def test_an_async_should_retry_is_refused_where_it_is_given() -> None:
    async def decide(error: Exception, attempt: int) -> bool:
        return True

    with pytest.raises(TypeError, match="should_retry is a plain function"):
        Retry(should_retry=decide)  # type: ignore[arg-type]


# -- attempts and delays


def test_the_delay_doubles_up_to_the_longest() -> None:
    delays = [STEADY.delay(attempt, MIDDLE) for attempt in range(1, 9)]

    assert delays == seconds(1, 2, 4, 8, 16, 32, 60, 60)


def test_a_coefficient_of_one_keeps_the_delay() -> None:
    retry = Retry(None, "5s", 1, jitter=0)

    assert [retry.delay(attempt, MIDDLE) for attempt in (1, 2, 10**400)] == seconds(5, 5, 5)


def test_an_initial_interval_of_zero_tries_again_at_once() -> None:
    assert Retry(None, "0s").delay(10**6, MIDDLE) == timedelta(0)


def test_a_first_delay_beyond_the_longest_is_cut_to_it() -> None:
    assert Retry(initial_interval="5m", max_interval="2m", jitter=0).delay(1, MIDDLE) == timedelta(minutes=2)


def test_a_first_delay_beyond_the_default_of_the_longest_is_meant_as_it_is() -> None:
    assert Retry(initial_interval="1h", jitter=0).delay(1, MIDDLE) == timedelta(hours=1)


def test_jitter_spreads_the_delay_up_and_down() -> None:
    retry = Retry(initial_interval="10s", jitter=0.1)

    assert [retry.delay(1, chance) for chance in (0, 0.5, 0.75)] == seconds(9, 10, 10.5)


@given(
    initial=st.timedeltas(min_value=timedelta(0), max_value=timedelta.max),
    longest=st.timedeltas(min_value=timedelta(0), max_value=timedelta.max),
    coefficient=st.floats(min_value=1, max_value=1e300),
    jitter=st.floats(min_value=0, max_value=1),
    attempt=st.integers(min_value=1) | st.just(10**400),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_whatever_the_numbers_a_delay_is_within_its_bounds(
    initial: timedelta, longest: timedelta, coefficient: float, jitter: float, attempt: int, chance: float
) -> None:
    retry = Retry(None, initial, coefficient, longest, jitter)

    delay = retry.next(ValueError(), attempt, chance)

    assert delay is not None
    longest = retry.max_interval
    assert timedelta(0) <= delay <= longest
    # Floats hold 53 bits, and so not every microsecond of 2.7 million years.
    slack = timedelta(milliseconds=1) + min(initial, longest) * 1e-9
    assert delay + slack >= min(initial, longest) * (1 - jitter)


def test_the_last_attempt_is_followed_by_none() -> None:
    retry = Retry(max_attempts=3, jitter=0)

    assert [retry.next(ValueError(), attempt, MIDDLE) for attempt in (1, 2, 3, 4)] == [*seconds(1, 2), None, None]


def test_without_a_limit_there_is_always_another_attempt() -> None:
    assert Retry(max_attempts=None, jitter=0).next(ValueError(), 1_000_000, MIDDLE) == timedelta(minutes=1)


# -- what is not tried again


@pytest.mark.parametrize(
    "error",
    [
        NonRetryable("why"),
        DefinitionError("x"),
        InvalidInput("x", workflow="w"),
        InvalidOutput("x", workflow="w"),
        NotSerializable("x", what="step", path="$"),
        PayloadTooLarge(what="x", size=2, limit=1),
        NotInStep("x"),
        OutsideRun("x"),
        NonDeterminism("x"),
        Stuck("x"),
        STEP_FAILED,
        CHILD_FAILED,
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_would_only_fail_again_is_not_tried_again(error: BaseException) -> None:
    assert STEADY.next(error, 1, MIDDLE) is None


class OwnCancellation(asyncio.CancelledError):
    pass


@pytest.mark.parametrize(
    "error",
    [asyncio.CancelledError(), OwnCancellation(), StepTimeout("x"), TimeoutError(), StepwellError("x"), ExceptionGroup("", [ValueError()])],
)
def test_any_other_failure_is_tried_again(error: BaseException) -> None:
    assert STEADY.next(error, 1, MIDDLE) == timedelta(seconds=1)


def with_cause(error: BaseException, origin: BaseException) -> BaseException:
    error.__cause__ = origin
    return error


def with_context(error: BaseException, origin: BaseException) -> BaseException:
    error.__context__ = origin
    return error


@pytest.mark.parametrize("origin", [STEP_FAILED, CHILD_FAILED], ids=["step", "child"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda origin: with_cause(ValueError(), origin),
        lambda origin: with_context(ValueError(), origin),
        lambda origin: BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [origin])]),
        lambda origin: with_cause(ValueError(), BaseExceptionGroup("", [with_context(KeyError(), origin)])),
    ],
    ids=["cause", "context", "group", "all of it"],
)
def test_a_step_that_has_had_its_retries_is_found_wherever_it_is(origin: Exception, wrap: Callable[[Exception], BaseException]) -> None:
    assert STEADY.next(wrap(origin), 1, MIDDLE) is None


def test_errors_that_cause_each_other_are_walked_once() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__ = second
    second.__context__ = first

    assert STEADY.next(first, 1, MIDDLE) == timedelta(seconds=1)


def test_a_failed_step_is_found_at_the_end_of_a_long_chain_of_causes() -> None:
    error: BaseException = STEP_FAILED
    for _ in range(900):
        error = with_cause(ValueError(), error)

    assert STEADY.next(error, 1, MIDDLE) is None


@pytest.mark.parametrize("member", [NonRetryable("why"), NoFunds(), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_a_group_is_as_final_as_its_most_final_member(member: BaseException) -> None:
    retry = Retry(non_retryable=CardDeclined)

    assert retry.next(BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [member])]), 1, MIDDLE) is None


@pytest.mark.parametrize(
    "kinds", [CardDeclined, [KeyError, CardDeclined], "CardDeclined", ("KeyError", f"{__name__}.CardDeclined"), {CardDeclined}, Exception]
)
def test_named_errors_and_those_derived_from_them_are_not_tried_again(kinds: Any) -> None:
    retry = Retry(jitter=0, non_retryable=kinds)

    assert retry.next(NoFunds(), 1, MIDDLE) is None


def test_other_errors_than_those_named_are_tried_again() -> None:
    retry = Retry(jitter=0, non_retryable=[NoFunds, "KeyError"])

    assert retry.next(CardDeclined(), 1, MIDDLE) == timedelta(seconds=1)


# -- what the user's code says


def test_retry_after_sets_the_next_delay() -> None:
    assert STEADY.next(RetryAfter("5m", "busy"), 1, MIDDLE) == timedelta(minutes=5)


def test_retry_after_in_a_group_sets_the_next_delay_and_the_longest_wins() -> None:
    group = ExceptionGroup("", [RetryAfter("2m"), ValueError(), RetryAfter("3m")])

    assert STEADY.next(group, 1, MIDDLE) == timedelta(minutes=3)


def test_retry_after_uses_up_an_attempt() -> None:
    assert Retry(max_attempts=2).next(RetryAfter("1s"), 2, MIDDLE) is None


def test_retry_after_reads_its_delay_at_once() -> None:
    error = RetryAfter("1h30m", "why")

    assert (error.delay, str(error)) == (timedelta(minutes=90), "why")
    with pytest.raises(ValueError, match="the delay of RetryAfter needs a unit"):
        RetryAfter(30)  # type: ignore[arg-type]


def test_should_retry_sees_the_error_and_the_number_of_the_attempt() -> None:
    seen = []
    error = ValueError()

    def decide(error: Exception, attempt: int) -> bool:
        seen.append((error, attempt))
        return True

    Retry(should_retry=decide).next(error, 3, MIDDLE)

    assert seen == [(error, 3)]


@pytest.mark.parametrize(
    ("answer", "expected"), [(True, timedelta(seconds=1)), (False, None), ("2h", timedelta(hours=2)), (timedelta(0), timedelta(0))]
)
def test_should_retry_decides(answer: Any, expected: timedelta | None) -> None:
    retry = Retry(jitter=0, should_retry=lambda error, attempt: answer)

    assert retry.next(ValueError(), 1, MIDDLE) == expected


def test_should_retry_knows_better_than_retry_after() -> None:
    retry = Retry(should_retry=lambda error, attempt: "1h")

    assert retry.next(RetryAfter("1s"), 1, MIDDLE) == timedelta(hours=1)


@pytest.mark.parametrize("error", [NonRetryable(), STEP_FAILED, SystemExit()], ids=lambda error: type(error).__name__)
def test_should_retry_is_not_asked_about_what_is_final(error: BaseException) -> None:
    asked = []

    def decide(error: Exception, attempt: int) -> bool:
        asked.append(error)
        return True

    retry = Retry(should_retry=decide)

    assert retry.next(error, 1, MIDDLE) is None
    assert asked == []


def test_a_should_retry_that_raises_ends_the_attempts_and_is_noted_on_the_error() -> None:
    def decide(error: Exception, attempt: int) -> bool:
        raise LookupError("no such table")

    error = ValueError("original")

    assert Retry(should_retry=decide).next(error, 1, MIDDLE) is None
    assert error.__notes__ == ["Not tried again, because should_retry raised LookupError: no such table"]


@pytest.mark.parametrize("answer", [None, 5, "-1s"])
def test_an_answer_of_should_retry_that_means_nothing_ends_the_attempts_and_is_noted(answer: Any) -> None:
    error = ValueError()

    assert Retry(should_retry=lambda error, attempt: answer).next(error, 1, MIDDLE) is None
    assert "what should_retry returns (True, False, or a delay)" in error.__notes__[0]
