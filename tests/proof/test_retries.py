"""What stays of a history when outcomes are taken back is again one that the code can have led to."""

from __future__ import annotations

import pytest

from tests.proof import checks

pytestmark = pytest.mark.proof


@pytest.mark.parametrize("chunk", range(4))
def test_a_failed_run_that_is_retried_goes_on_from_what_stays_and_runs_nothing_of_it_again(chunk: int) -> None:
    retries = checks.retries(range(chunk, 80, 4))

    assert retries > 100


@pytest.mark.parametrize("chunk", range(4))
def test_a_fork_goes_on_from_what_stays_when_any_recorded_outcome_is_taken_back(chunk: int) -> None:
    forks = checks.forks(range(chunk, 80, 4), most=10)

    assert forks > 100
