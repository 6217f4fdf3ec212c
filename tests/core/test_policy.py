"""A retry policy, as it is told to those who have not its code."""

from __future__ import annotations

from datetime import timedelta

from stepwell import Retry
from stepwell.core.policy import RetryPolicy, policy_of, policy_text


class CardDeclined(Exception): ...


def test_what_was_written_of_a_policy_is_read_back() -> None:
    retry = Retry(None, "300ms", 1.5, "1h", 0.2, (CardDeclined, "Timeout"), lambda error, attempt: True)

    assert policy_of(policy_text(retry)) == RetryPolicy(
        max_attempts=None,
        initial_interval=timedelta(milliseconds=300),
        backoff_coefficient=1.5,
        max_interval=timedelta(hours=1),
        jitter=0.2,
        non_retryable=(f"{__name__}.CardDeclined", "Timeout"),
        has_should_retry=True,
    )


def test_of_what_nobody_has_said_there_is_no_policy() -> None:
    assert policy_of("{}") is None


def test_what_a_worker_of_another_version_says_in_other_words_is_no_policy_and_what_it_adds_is_passed_over() -> None:
    told = policy_text(Retry(3))

    assert policy_of('{"max_attempts": 3}') is None
    assert policy_of(told[:-1] + ', "budget": 7}') == policy_of(told)
