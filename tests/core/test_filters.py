"""Which runs are meant."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell import RunStatus, workflow
from stepwell.core.filters import checked_choice, checked_limit, is_newest_first, run_filter
from stepwell.core.records import RunFilter


@workflow
def pay() -> None: ...


def test_what_is_left_out_is_no_filter() -> None:
    assert run_filter() == RunFilter()
    assert run_filter(status=None, workflow=None, version=None, tags=None, queue=None, created_after=None, search=None) == RunFilter()


def test_an_empty_search_and_no_tags_are_no_filter() -> None:
    assert run_filter(search="", tags=(), id_prefix="") == RunFilter()


def test_an_empty_version_means_without_one() -> None:
    assert run_filter(version="").version == ""


@pytest.mark.parametrize("status", ["failed", RunStatus.FAILED, ["failed"], (RunStatus.FAILED,), {"failed": 1}.keys()])
def test_one_status_may_be_given_in_many_ways(status: Any) -> None:
    assert run_filter(status=status).statuses == frozenset({RunStatus.FAILED})


def test_several_statuses_and_tags_may_be_given() -> None:
    where = run_filter(status=["failed", RunStatus.CANCELED], tags=["acme", "import", "acme"])

    assert where == RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.CANCELED}), tags=("acme", "import"))


def test_one_tag_is_not_taken_for_its_letters() -> None:
    assert run_filter(tags="acme").tags == ("acme",)


def test_times_become_instants() -> None:
    second, third, fourth = (datetime(1970, 1, day, tzinfo=UTC) for day in (2, 3, 4))

    where = run_filter(created_after=second, created_before=third, finished_before=fourth)

    assert (where.created_after, where.created_before, where.finished_before) == (86_400.0, 172_800.0, 259_200.0)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": "faileds"}, r"there is no status 'faileds'; did you mean 'failed'\? The statuses are pending, running,"),
        ({"status": "xyz"}, "there is no status 'xyz'. The statuses are"),
        ({"status": ["failed", 3]}, "there is no status 3"),
        ({"search": "x" * 1_001}, "search has at most 1,000 characters, not 1,001"),
        ({"queue": "\ud800"}, "queue is text without NUL and lone surrogates"),
        ({"search": "a\0"}, "search is text without NUL"),
        ({"tags": ["\ud800"]}, "a tag is text without NUL and lone surrogates"),
        ({"status": []}, "status names no status, so no run could match"),
        ({"created_after": datetime(2027, 1, 1)}, "created_after needs a timezone"),  # noqa: DTZ001  # it is what is refused
    ],
)
def test_a_filter_that_is_none_is_refused(filters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_filter(**filters)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": 3}, "status is a RunStatus"),
        ({"workflow": pay}, "workflow is the name of one: write workflow='pay'"),
        ({"workflow": 3}, "workflow is a text"),
        ({"version": 3}, "version is a text"),
        ({"queue": 3}, "queue is a text"),
        ({"search": 3}, "search is a text"),
        ({"tags": 3}, "tags is a text, or several"),
        ({"tags": [3]}, "a tag is a text"),
        ({"created_before": "2027-01-01"}, "created_before is a datetime"),
        ({"finished_before": "90d"}, "finished_before is a datetime"),
        ({"worklow": "pay"}, "worklow"),
    ],
)
def test_a_filter_of_a_wrong_type_is_refused(filters: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        run_filter(**filters)


def test_to_act_on_everything_must_be_meant() -> None:
    assert checked_choice(RunFilter(), True, "cancel_all") == RunFilter()
    assert checked_choice(RunFilter(queue="mail"), False, "cancel_all") == RunFilter(queue="mail")
    for everything in (False, 1, "yes"):
        with pytest.raises(ValueError, match="cancel_all needs to be told which runs"):
            checked_choice(RunFilter(), everything, "cancel_all")


@pytest.mark.parametrize("limit", [0, 1001, -1, True, 5.0, "5", None])
def test_a_page_has_between_one_and_a_thousand_runs(limit: Any) -> None:
    assert [checked_limit(1), checked_limit(1000)] == [1, 1000]
    with pytest.raises(ValueError, match="limit is a whole number from 1 to 1,000"):
        checked_limit(limit)


def test_an_order_says_which_come_first() -> None:
    assert [is_newest_first("newest"), is_newest_first("oldest")] == [True, False]
    for order in ("latest", None, True):
        with pytest.raises(ValueError, match='order is "newest" or "oldest"'):
            is_newest_first(order)


@pytest.mark.parametrize(("name", "hint"), [("stauts", "did you mean 'status'"), ("colour", "there are status, workflow")])
def test_what_is_no_filter_is_named_with_what_there_is(name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"no filter '{name}' of runs; {hint}"):
        run_filter(**{name: "failed"})  # type: ignore[arg-type]
