"""How long ended runs are kept, as it is said."""

from datetime import timedelta
from typing import Any

import pytest

from stepwell import DefinitionError, RunStatus
from stepwell.core.retention import parse_retention

COMPLETED, FAILED, CANCELED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED
WEEK, QUARTER = timedelta(days=7), timedelta(days=90)


@pytest.mark.parametrize("value", ["90d", "90 days", timedelta(days=90)])
def test_one_duration_holds_for_all_that_have_ended(value: Any) -> None:
    assert parse_retention(value) == {COMPLETED: QUARTER, FAILED: QUARTER, CANCELED: QUARTER}


@pytest.mark.parametrize(
    "value",
    [
        {"completed": "7d", "failed": "90d"},
        {RunStatus.COMPLETED: WEEK, RunStatus.FAILED: QUARTER},
        {"completed": "7d", "failed": "90d", "canceled": None},
        "completed=7d,failed=90d",
        " failed = 90 days , completed = 7d ",
    ],
    ids=str,
)
def test_runs_of_a_status_of_which_nothing_is_said_are_kept_for_ever(value: Any) -> None:
    assert parse_retention(value) == {COMPLETED: WEEK, FAILED: QUARTER}


def test_where_nothing_is_said_of_any_status_all_is_kept() -> None:
    assert parse_retention({}) == {}


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (30, ValueError, 'retention needs a unit: give "30s"'),
        ("30", ValueError, "retention needs a unit"),
        ("-1d", ValueError, "retention cannot be negative"),
        ("soon", ValueError, "retention is no duration: 'soon'"),
        (["7d"], TypeError, "retention is a timedelta or a text with units"),
        ({"failed": 7}, ValueError, "retention of failed runs needs a unit"),
        ("failed=", ValueError, "retention of failed runs is no duration"),
        ("0s", DefinitionError, 'retention is longer than zero, such as "1h": who awaits a result would not find it'),
        ({"failed": timedelta(0)}, DefinitionError, "retention of failed runs is longer than zero"),
        ({"cancelled": "7d"}, DefinitionError, "completed, failed, canceled; not 'cancelled'; did you mean 'canceled'?"),
        ({"paused": "7d"}, DefinitionError, "retention is of runs that have ended: completed, failed, canceled; not 'paused'."),
        ({3: "7d"}, DefinitionError, "not 3."),
        ("failed=7d,90d", DefinitionError, 'retention names each status once, with a duration, such as "completed=7d, failed=90d"'),
        ("failed=7d,failed=8d", DefinitionError, "retention names each status once"),
    ],
    ids=str,
)
def test_what_could_not_be_meant_is_refused(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as refused:
        parse_retention(value)

    assert message in str(refused.value)
