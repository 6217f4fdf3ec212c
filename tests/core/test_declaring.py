"""Whose word about schedules holds, and what it makes of those that were there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stepwell.core.declaring import Declared, Verdict, is_outranked, said
from stepwell.core.records import Declaration, NewSchedule, NewSlot

NOW = 1_800_000_000.0
LATER = NOW + 600.0


def new(name: str = "each", **changes: Any) -> NewSchedule:
    schedule = NewSchedule(name, "* * * * *", "UTC", "allow", "latest", None, "null", "v1", first_at=LATER)
    return schedule._replace(**changes)


def row(name: str = "each", **changes: Any) -> Declared:
    """As `new` is kept, after it was declared a while ago."""
    known = Declared(
        workflow="report",
        name=name,
        release=1,
        digest="d1",
        expression="* * * * *",
        timezone="UTC",
        overlap="allow",
        catch_up="latest",
        jitter=None,
        input="null",
        version="v1",
        declared=True,
        next_at=NOW + 30.0,
        waiting_at=None,
        is_paused=False,
        changed=3,
    )
    return replace(known, **changes)


def declare(*schedules: NewSchedule, there: tuple[Declared, ...] = (), digest: str = "d2") -> Verdict:
    return said(Declaration("report", digest, schedules), there, release=2, deed=7, now=NOW)


def test_a_release_outranks_all_older_ones() -> None:
    assert is_outranked([row(release=1), row("other", release=3)], 2)
    assert not is_outranked([row(release=2)], 2)
    assert not is_outranked([], 1)


def test_a_slot_that_the_release_before_has_fired_meanwhile_is_no_first_slot() -> None:
    for done in (row(last_at=LATER), row(waiting_at=LATER)):
        verdict = declare(new(expression="*/5 * * * *"), there=(done,))

        assert verdict.rows[0].next_at == LATER + 300.0


def test_a_new_schedule_begins_with_its_first_slot() -> None:
    verdict = declare(new())

    assert verdict == Verdict([row(release=2, digest="d2", next_at=LATER, changed=7)], [])


def test_a_schedule_without_a_version_is_kept_as_one_of_no_version() -> None:
    assert declare(new(version=None)).rows[0].version == ""


@pytest.mark.parametrize(
    "change",
    [{"overlap": "wait"}, {"catch_up": "all"}, {"jitter": 5.0}, {"input": "1"}, {"input": None}, {"version": "v2"}],
)
def test_a_change_of_anything_but_the_times_goes_on_where_the_schedule_stands(change: dict[str, Any]) -> None:
    verdict = declare(new(**change), there=(row(),))

    assert verdict == Verdict([row(release=2, digest="d2", changed=7, **change)], [])


@pytest.mark.parametrize("change", [{"expression": "0 * * * *"}, {"timezone": "Asia/Seoul"}])
def test_another_expression_or_zone_begins_anew(change: dict[str, Any]) -> None:
    verdict = declare(new(**change), there=(row(),))

    assert verdict == Verdict([row(release=2, digest="d2", next_at=LATER, changed=7, **change)], [])


@pytest.mark.parametrize("change", [{"expression": "0 * * * *"}, {"timezone": "Asia/Seoul"}])
def test_a_slot_that_was_due_when_the_times_changed_is_missed_with_a_record(change: dict[str, Any]) -> None:
    verdict = declare(new(**change), there=(row(next_at=NOW - 60.0),))

    assert verdict.missed == [("each", NewSlot(NOW - 60.0, NOW, None, "missed", "the schedule was changed before it fired"))]


def test_a_slot_that_was_due_is_not_missed_when_the_times_stay() -> None:
    verdict = declare(new(overlap="wait"), there=(row(next_at=NOW - 60.0),))

    assert (verdict.missed, verdict.rows[0].next_at) == ([], NOW - 60.0)


def test_the_same_said_again_changes_nothing_but_whose_word_it_is() -> None:
    assert declare(new(), there=(row(),), digest="d1") == Verdict([row(release=2)], [])


def test_a_schedule_that_is_not_named_any_more_ends() -> None:
    verdict = declare(there=(row(waiting_at=NOW - 90.0),))

    assert verdict.rows == [row(release=2, digest="d2", declared=False, next_at=None, changed=7)]


def test_a_slot_that_was_due_when_its_schedule_ended_is_missed_with_a_record() -> None:
    verdict = declare(there=(row(next_at=NOW),))

    assert [(name, slot.outcome) for name, slot in verdict.missed] == [("each", "missed")]


def test_an_ended_schedule_that_stays_ended_is_not_changed_again() -> None:
    ended = row(digest="d2", declared=False, next_at=None)

    assert declare(there=(ended,)) == Verdict([replace(ended, release=2)], [])


def test_a_schedule_that_comes_back_begins_anew() -> None:
    verdict = declare(new(), there=(row(declared=False, next_at=None),))

    assert verdict == Verdict([row(release=2, digest="d2", next_at=LATER, changed=7)], [])


def test_a_paused_schedule_stays_paused_whatever_is_said_of_it() -> None:
    paused = row(is_paused=True, next_at=NOW - 60.0)

    assert declare(new(), there=(paused,)).rows[0].is_paused
    assert declare(new(expression="0 * * * *"), there=(paused,)).rows[0].is_paused
    assert declare(new(), there=(replace(paused, declared=False, next_at=None),)).rows[0].is_paused


def test_slots_of_a_paused_schedule_are_skipped_and_not_missed_when_it_ends_or_its_times_change() -> None:
    paused = row(is_paused=True, next_at=NOW - 60.0)
    skipped = [("each", NewSlot(NOW - 60.0, NOW, None, "skipped", "the schedule was paused"))]

    assert declare(there=(paused,)).missed == declare(new(expression="0 * * * *"), there=(paused,)).missed == skipped
    assert declare(new(), there=(paused,)).missed == []


def test_a_slot_that_waits_when_its_schedule_ends_is_missed_with_a_record() -> None:
    verdict = declare(there=(row(waiting_at=NOW - 90.0),))

    reason = "the schedule was taken away while this slot waited"
    assert verdict.missed == [("each", NewSlot(NOW - 90.0, NOW - 90.0, 1, "missed", reason))]


def test_a_slot_that_waits_goes_on_waiting_under_another_release() -> None:
    waiting = row(waiting_at=NOW - 90.0)

    for schedule in (new(), new(overlap="skip"), new(expression="0 * * * *")):
        assert declare(schedule, there=(waiting,)).rows[0].waiting_at == NOW - 90.0


def test_an_expression_that_had_come_to_its_end_begins_anew() -> None:
    assert declare(new(), there=(row(next_at=None),)).rows[0].next_at == LATER
    assert declare(new(first_at=None), there=(row(next_at=None),)).rows[0].next_at is None
