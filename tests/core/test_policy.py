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
