"""Times, numbers and policies, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stepwell import Retry
from stepwell.core.policy import RetryPolicy, policy_of, policy_text
from stepwell.web.words import ago, rate, reason, retries, step_name, tries


def policy(retry: Retry) -> RetryPolicy:
    found = policy_of(policy_text(retry))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("retry", "said", "short"),
    [
        (Retry(), "5 tries, after 1 s, 2 s, 4 s and 8 s", "5 tries, 1 s to 8 s"),
        (Retry.never(), "1 try", "1 try"),
        (Retry(2, "30s"), "2 tries, the second after 30 s", "2 tries, 30 s"),
        (Retry(3, "500ms", 1), "3 tries, each after 500 ms", "3 tries, 500 ms"),
        (Retry(10, "5s", max_interval="10m"), "10 tries, after 5 s, 10 s, 20 s … 10 m", "10 tries, 5 s to 10 m"),
        (Retry(None), "tries without end, after 1 s, 2 s, 4 s … 1 m", "tries without end, 1 s to 1 m"),
        (Retry(None, "1s", 1e300, "1h"), "tries without end, after 1 s, 1 h, 1 h … 1 h", "tries without end, 1 s to 1 h"),
        (Retry(3, "0s"), "3 tries, each at once", "3 tries, at once"),
        (Retry(2, "1s", non_retryable=("shop.Declined", "Stop")), "2 tries, the second after 1 s; not for Declined, Stop", "2 tries, 1 s"),
        (Retry(2, "1s", should_retry=lambda *_: True), "2 tries, the second after 1 s; a function in the code is asked", "2 tries, 1 s"),
    ],
)  # fmt: skip
def test_a_retry_policy_is_told_by_its_delays(retry: Retry, said: str, short: str) -> None:
    assert retries(policy(retry)) == said
    assert tries(policy(retry)) == short


@pytest.mark.parametrize(
    ("number", "seconds", "said"),
    [
        (0, 60, ""),
        (5, 0, ""),
        (7_200, 60, "120 a second"),
        (90, 60, "1.5 a second"),
        (60, 60, "1 a second"),
        (45, 60, "45 a minute"),
        (50, 86_400, "2.1 an hour"),
        (5, 86_400, "5 a day"),
        (1, 30 * 86_400, "0.033 a day"),
        (123_456_000, 60, "2,057,600 a second"),
    ],
)
def test_a_rate_is_told_in_the_smallest_unit_of_which_there_is_one(number: int, seconds: float, said: str) -> None:
    assert rate(number, seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "now"),
        (-0.4, "now"),
        (59, "59 s ago"),
        (7_199, "1 h ago"),
        (-59.9, "in 59 s"),
        (-7_199, "in 1 h 59 m"),
        (-7_200, "in 2 h"),
        (-3 * 86_400 - 3_600 - 5, "in 3 d 1 h"),
    ],
)
def test_what_is_past_is_told_roughly_and_what_is_to_come_in_two_units(seconds: float, said: str) -> None:
    now = datetime(2026, 1, 14, tzinfo=UTC)

    assert ago(now - timedelta(seconds=seconds), now) == said


@pytest.mark.parametrize(
    ("key", "said"),
    [("send", "send"), ("@0.1/send%2Fmail", "send/mail"), ("tick:1", "tick#2"), ("@1/a%3A7", "a:7"), ("@1/a%3A7:2", "a:7#3")],
)
def test_a_step_is_called_by_its_name_and_which_of_several_it_is(key: str, said: str) -> None:
    assert step_name(key) == said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ('StepFailed: step "charge" failed after 3 attempts: ValueError: card declined', "charge: ValueError: card declined"),
        ('StepFailed: step "charge" failed after 1 attempt: OSError', "charge: OSError"),
        ('StepFailed: step "charge" failed after 3 attempts: ', 'StepFailed: step "charge" failed after 3 attempts: '),
        ("ValueError: card declined", "ValueError: card declined"),
        ('KeyError: StepFailed: step "a" failed after 3 attempts: b', 'KeyError: StepFailed: step "a" failed after 3 attempts: b'),
    ],
)
def test_a_line_begins_with_the_step_that_has_failed_and_why(error: str, said: str) -> None:
    assert reason(error) == said
