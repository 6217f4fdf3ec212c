"""Which runs an address means: periods in the viewer's zone, and what the search field understands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from stepwell.web.choosing import chosen

NOW = datetime(2026, 3, 29, 20, 0, tzinfo=UTC)
SEOUL, BERLIN = ZoneInfo("Asia/Seoul"), ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("period", "zone", "begin"),
    [
        ("today", UTC, datetime(2026, 3, 29, tzinfo=UTC)),
        ("today", SEOUL, datetime(2026, 3, 29, 15, tzinfo=UTC)),
        ("today", BERLIN, datetime(2026, 3, 28, 23, tzinfo=UTC)),  # of which an hour is left out
        ("-24h", BERLIN, datetime(2026, 3, 28, 20, tzinfo=UTC)),
        ("2026-03-01T09:00", SEOUL, datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T09:00Z", SEOUL, datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("", UTC, datetime(2026, 3, 28, 20, tzinfo=UTC)),
    ],
)
def test_a_period_begins_where_it_does_for_the_viewer(period: str, zone: Any, begin: datetime) -> None:
    choice = chosen({"from": period}, NOW, zone=zone)

    assert choice.problem is None
    assert choice.filters["created_after"] == begin


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        ("status:failed tag:acme tag:eu", {"status": ["failed"], "tags": ["acme", "eu"]}),
        ("id:0197a", {"id_prefix": "0197a"}),
        ("0197aaaa-0000", {"id_prefix": "0197aaaa-0000"}),
        ('error:"timed out"', {"search": "timed out"}),
        ("input.user_id:42", {"search": '"user_id":42'}),
        ("input.user.email:ada@", {"search": '"email":"ada@'}),
        ('input.name:"größe x"', {"search": '"name":"größe x'}),
        ("input.done:true", {"search": '"done":true'}),
        ("input:42", {"search": "42"}),
        ("card declined", {"search": "card declined"}),
        ("http://example.com", {"search": "http://example.com"}),
    ],
)
def test_the_search_field_says_which_runs(words: str, filters: dict[str, Any]) -> None:
    choice = chosen({"q": words, "from": "all"}, NOW)

    assert choice.problem is None
    assert {name: value for name, value in choice.filters.items() if name != "unseen"} == filters
    assert choice.is_text == ("search" in filters)


@pytest.mark.parametrize(
    ("words", "meant"),
    [("workflows:pay", "workflow"), ("a tags:acme", "tag"), ("http://example.com", None), ("input.users:1", None), ("workflow:pay", None)],
)
def test_a_word_that_was_meant_to_say_where_is_looked_for_as_text_and_the_right_one_is_named(words: str, meant: str | None) -> None:
    hint = chosen({"q": words}, NOW).hint

    assert (hint is None) == (meant is None)
    assert meant is None or f"Did you mean “{meant}:”?" in str(hint)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"from": "yesterday"}, "is no time"),
        ({"q": "status:odd"}, "odd"),
        ({"q": "workflow:send_*"}, "takes a whole name"),
        ({"q": "input.user_id:42 declined"}, "one text can be looked for at a time"),
    ],
)
def test_what_cannot_be_is_said_and_the_last_day_is_shown(query: dict[str, str], problem: str) -> None:
    choice = chosen(query, NOW)

    assert problem in str(choice.problem)
    assert set(choice.filters) == {"created_after"}


def test_runs_without_a_version_are_asked_for_by_name_since_a_form_sends_what_is_empty() -> None:
    assert "version" not in chosen({"version": ""}, NOW).filters
    assert chosen({"unversioned": "yes"}, NOW).filters["version"] == ""
    assert chosen({"unversioned": "yes", "version": "v2"}, NOW).filters["version"] == "v2"
