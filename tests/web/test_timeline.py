from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.core.records import Event, Run, StepRecord
from stepwell.core.status import RunStatus
from stepwell.web.timeline import Timeline, View, timeline_of
from stepwell.web.timeline.drawn import Row, Segment
from stepwell.web.timeline.wording import spoken, took
from tests.web.timelines import (
    BEGIN,
    DAY,
    EXAMPLES,
    HOUR,
    MINUTE,
    a_day_asleep,
    a_run,
    a_step,
    an_event,
    asleep_now,
    at,
    concurrent,
    drawn,
    markup,
    odd,
    retried,
    running_now,
    thousands,
)


def row(timeline: Timeline, label: str) -> Row:
    found = [each for each in timeline.rows if each.label == label]
    assert len(found) == 1, [each.label for each in timeline.rows]
    return found[0]


def kinds(segments: Iterable[Segment]) -> list[str]:
    return [segment.kind for segment in segments]


def place(segment: Segment) -> tuple[float, float]:
    """Where it begins and ends."""
    left = float(segment.x.removesuffix("%"))
    return left, left + float(segment.width.removesuffix("%"))


def parts(timeline: Timeline) -> dict[str, str]:
    return {part.word: part.text for part in timeline.parts}


def query(href: str | None) -> View:
    assert href is not None
    return View.of(parse_qsl(urlsplit(href).query))


# -- rows and segments


def test_each_step_has_one_row_in_the_order_of_their_starts_and_its_attempts_are_segments_of_it() -> None:
    timeline = retried().timeline()

    assert [each.label for each in timeline.rows] == ["create_order", "charge_card", "tell_customer"]
    charged = row(timeline, "charge_card")
    assert kinds(charged.segments) == ["executing", "retry", "executing", "retry", "executing"]
    assert (charged.tries, charged.took, charged.status, charged.glyph) == ("3 tries", "310 ms", "failed", "✕")
    assert [segment.attempts for segment in charged.segments] == [1, 0, 1, 0, 1]


def test_segments_lie_where_their_times_are() -> None:
    timeline = drawn(a_run(over=10.0), [a_step("one", 0, 2.5), a_step("two", 5, 10)])

    assert [place(each.segments[0]) for each in timeline.rows] == [(0, 25), (50, 100)]


def test_a_row_is_read_as_a_sentence() -> None:
    timeline = retried().timeline()

    assert row(timeline, "charge_card").sentence == "charge_card, failed, attempt 3 of 3, 310 milliseconds"
    assert row(timeline, "create_order").sentence == "create_order, completed, 120 milliseconds"
    assert row(a_day_asleep().timeline(), "approval").sentence == "approval, signal, completed, 2 hours 1 minute"


def test_steps_of_one_name_are_numbered_and_show_their_keys() -> None:
    timeline = drawn(a_run(over=9.0), [a_step("send", 0, 1), a_step("send:1", 1, 2), a_step("@0.1/send", 2, 3), a_step("end", 3, 4)])

    assert [(each.label, each.key) for each in timeline.rows] == [
        ("send#1", "send"),
        ("send#2", "send:1"),
        ("send#3", "@0.1/send"),
        ("end", ""),
    ]


def test_sleeps_signals_and_children_are_told_apart_from_execution() -> None:
    timeline = a_day_asleep().timeline()

    assert {each.label: kinds(each.segments) for each in timeline.rows} == {
        "create_account": ["executing"],
        "send_welcome": ["executing", "retry", "executing"],
        "let_it_settle": ["sleep"],
        "now": ["executing"],
        "send_tips": ["executing"],
        "approval": ["signal"],
        "send_receipt": ["child"],
        "close": ["executing"],
    }
    assert row(timeline, "send_receipt").child == "0197ec00-0000-7000-8000-00000000beef"
    assert row(timeline, "let_it_settle").glyph == "☾"


def test_a_step_that_runs_now_has_an_open_end_at_the_right() -> None:
    timeline = running_now().timeline()

    running = row(timeline, "index_documents")
    assert running.segments[-1].open
    assert running.segments[-1].edge == "100%"
    assert (running.status, running.since) == ("running", at(67.6).isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    assert running.sentence == "index_documents, running, so far 8.4 seconds"


def test_what_is_short_is_wide_enough_to_be_seen() -> None:
    timeline = drawn(a_run(over=DAY), [a_step("one", 0, 0.001), a_step("long", 1, DAY)])

    left, right = place(row(timeline, "one").segments[0])
    assert right - left == pytest.approx(0.5)


def test_attempts_too_close_to_be_told_apart_share_a_segment_that_counts_them() -> None:
    steps = [a_step("poll", place * 0.01, place * 0.01 + 0.005, "failed", attempt=place + 1) for place in range(3_000)]
    timeline = drawn(a_run(over=30.0), [*steps, a_step("end", 30, 3_000)])

    poll = row(timeline, "poll")
    assert sum(segment.attempts for segment in poll.segments) == 3_000
    assert len(poll.segments) < 10
    assert poll.segments[-1].title.endswith("attempts")


def test_each_attempt_of_several_has_an_address_and_a_single_one_is_that_of_its_row() -> None:
    timeline = retried().timeline()

    charged = row(timeline, "charge_card")
    assert [segment.href for segment in charged.segments if segment.attempts] == [
        "?step=charge_card&attempt=1",
        "?step=charge_card&attempt=2",
        "?step=charge_card&attempt=3",
    ]
    assert charged.href == "?step=charge_card&attempt=3"
    assert row(timeline, "create_order").segments[0].href is None


def test_where_many_attempts_fail_one_after_another_not_each_has_a_sign() -> None:
    poll = row(odd().timeline(), "poll")

    signs = [float(segment.edge.removesuffix("%")) for segment in poll.segments if segment.edge]
    assert poll.attempts == 61
    assert len(signs) > 3
    assert min(later - sooner for sooner, later in pairwise(signs)) >= 4.99


# -- odd runs


def test_a_run_that_has_not_begun_shows_its_queue_and_when_it_may_begin() -> None:
    run = a_run(RunStatus.PENDING, begun=None)
    timeline = drawn(run, now=90)

    assert (timeline.rows, timeline.empty) == ((), "It has not begun yet.")
    assert kinds(timeline.run.segments) == ["queued"]
    assert parts(timeline) == {"queue": "1 m 30 s"}


def test_a_run_with_a_delay_says_when_it_begins() -> None:
    timeline = drawn(replace(a_run(RunStatus.PENDING, begun=None), available_at=at(3_600)), now=0.0)

    assert timeline.run.tries == "begins in 1 h"


def test_a_run_that_ended_without_steps_says_so() -> None:
    assert drawn(a_run(over=1.0)).empty == "It ended without a step."
    assert drawn(a_run(RunStatus.CANCELED, begun=None, over=1.0)).empty == "It ended before it began."
    assert drawn(a_run(RunStatus.RUNNING)).empty.startswith("No step has ended yet")


def test_a_run_of_no_duration_is_drawn() -> None:
    timeline = drawn(a_run(over=0.0), [a_step("at_once", 0, 0)])

    assert place(row(timeline, "at_once").segments[0])[0] >= 0
    assert timeline.took == "<1 ms"


def test_a_clock_that_went_back_makes_no_negative_time() -> None:
    timeline = drawn(a_run(over=2.0), [a_step("one", 1.0, 0.9), a_step("two", 0.95, 1.5)])

    assert row(timeline, "one").took == "<1 ms"
    assert place(row(timeline, "one").segments[0])[0] == pytest.approx(50)


def test_steps_that_end_after_their_run_are_within_the_axis() -> None:
    timeline = drawn(a_run(RunStatus.CANCELED, over=1.0), [a_step("late", 0.5, 4.0)])

    assert place(row(timeline, "late").segments[0]) == (12.5, 100)


def test_an_attempt_that_nobody_ended_is_cut_off_when_its_run_has_ended() -> None:
    timeline = drawn(a_run(RunStatus.FAILED, over=10.0), [a_step("lost", 5, None)])

    lost = row(timeline, "lost")
    assert (lost.status, lost.since, lost.sentence) == ("canceled", None, "lost, cut off, 5 seconds")
    assert not lost.segments[0].open
    assert timeline.running_now is None


def test_an_attempt_that_nobody_ended_is_cut_off_where_the_next_began() -> None:
    timeline = drawn(a_run(over=10.0), [a_step("again", 1, None), a_step("again", 6, 10, attempt=2)])

    assert [place(segment) for segment in row(timeline, "again").segments] == [(10, 60), (60, 100)]


def test_a_step_in_progress_of_a_paused_run_goes_on() -> None:
    timeline = drawn(a_run(RunStatus.PAUSED), [a_step("slow", 5, None)], [an_event(6, "pause")], now=10)

    assert row(timeline, "slow").segments[-1].open
    assert parts(timeline) == {"run": "5.0 s", "between steps": "5.0 s"}


def test_a_year_of_sleep_is_drawn_short() -> None:
    steps = [a_step("before", 0, 1), a_step("sleep", 1, 1 + 365 * DAY, kind="sleep"), a_step("after", 1 + 365 * DAY, 2 + 365 * DAY)]
    timeline = drawn(a_run(over=2 + 365 * DAY), steps)

    assert [each.text for each in timeline.axis.breaks] == ["365 d asleep"]
    assert [place(each.segments[0]) for each in timeline.rows] == [(0, 47.5), (47.5, 52.5), (52.5, 100)]


# -- what runs wait for


def test_a_run_that_waits_for_the_next_attempt_of_a_step_shows_that_on_its_row() -> None:
    timeline = asleep_now().timeline()

    sync = row(timeline, "sync")
    assert kinds(sync.segments) == ["executing", "retry", "executing", "retry"]
    assert sync.segments[-1].open
    assert sync.tries == "2 tries · next in 1 m"
    assert sync.sentence.endswith("to be tried again")
    assert [each.text for each in timeline.axis.breaks] == ["29 m 55 s until the next attempt"]


def test_a_failure_that_the_body_has_caught_is_not_waited_for() -> None:
    steps = [a_step("collect", 0, 1), a_step("sync", 1, 2, "failed")]
    timeline = drawn(replace(a_run(RunStatus.SLEEPING), available_at=at(DAY)), steps, now=HOUR)

    assert row(timeline, "sync").tries == ""
    assert kinds(row(timeline, "sync").segments) == ["executing"]
    assert timeline.rows[-1].label == "waiting now"


def test_each_of_several_steps_that_are_to_be_tried_again_says_so_also_while_others_run() -> None:
    steps = [a_step("one", 0, 1, "failed", retry=5.0), a_step("two", 0, 2, "failed", retry=2.5), a_step("three", 0, None)]
    timeline = drawn(a_run(RunStatus.RUNNING), steps, now=3.0)

    assert [(each.label, each.tries) for each in timeline.rows] == [("one", "next in 2.0 s"), ("two", "to be tried again"), ("three", "")]
    assert kinds(row(timeline, "one").segments) == ["executing", "retry"]


def test_a_run_that_has_ended_tries_nothing_again() -> None:
    timeline = drawn(a_run(RunStatus.CANCELED, over=3.0), [a_step("one", 0, 1, "failed", retry=5.0)])

    assert row(timeline, "one").tries == ""


def test_a_run_that_waits_for_something_that_is_not_recorded_yet_has_a_row_for_it() -> None:
    run = replace(a_run(RunStatus.SLEEPING), available_at=at(DAY))
    timeline = drawn(run, [a_step("one", 0, 1)], now=HOUR)

    assert [each.label for each in timeline.rows] == ["one", "waiting now"]
    assert timeline.rows[-1].segments[0].open
    assert timeline.rows[-1].href is None
    assert timeline.run.tries == "wakes in 23 h"
    assert [each.text for each in timeline.axis.breaks] == ["59 m 59 s asleep"]


# -- totals, and breaks of the axis


def test_totals_tell_queue_run_wait_sleep_and_pause_apart() -> None:
    timeline = a_day_asleep().timeline()

    assert (timeline.took, parts(timeline)) == (
        "1 d 2 h",
        {"queue": "100 ms", "run": "5.4 s", "sleep": "1 d", "wait": "1 h 45 m", "paused": "16 m 40 s"},
    )


def test_what_runs_side_by_side_is_counted_once() -> None:
    timeline = drawn(a_run(over=10.0), [a_step("one", 0, 8), a_step("two", 2, 10), a_step("sleep", 1, 9, kind="sleep")])

    assert parts(timeline) == {"run": "10 s"}


def test_a_gap_of_more_than_three_tenths_is_drawn_short_and_a_smaller_one_is_not() -> None:
    def breaks(gap: float) -> list[str]:
        end = 70 + gap
        steps = [a_step("one", 0, 35), a_step("nap", 35, 35 + gap, kind="sleep"), a_step("two", 35 + gap, end)]
        return [each.text for each in drawn(a_run(over=end), steps).axis.breaks]

    assert breaks(29) == []
    assert breaks(31) == ["31 s asleep"]


def test_gaps_are_measured_by_what_is_left_beside_greater_ones() -> None:
    steps = [a_step("one", 0, 1), a_step("two", 1 + DAY, 2 + DAY), a_step("three", 2 + DAY + HOUR, 3 + DAY + HOUR)]
    timeline = drawn(a_run(over=3 + DAY + HOUR), steps)

    assert [each.text for each in timeline.axis.breaks] == ["1 d idle", "1 h idle"]


def test_a_short_wait_between_long_ones_is_looked_at_as_it_is() -> None:
    timeline = a_day_asleep().timeline()

    left, right = place(row(timeline, "send_receipt").segments[0])
    assert right - left > 10


def test_a_break_says_what_it_was() -> None:
    def text(run: Run, steps: list[StepRecord], *events: Event) -> list[str]:
        return [each.text for each in drawn(run, steps, events).axis.breaks]

    work = [a_step("one", 0, 1), a_step("two", 1 + DAY, 2 + DAY)]
    over = a_run(over=2 + DAY)
    assert text(over, work) == ["1 d idle"]
    assert text(over, work, an_event(1.5, "pause"), an_event(DAY, "resume")) == ["1 d paused"]
    assert text(over, work, an_event(DAY, "retry")) == ["1 d stopped"]
    assert text(a_run(begun=DAY, over=2 + DAY), work[1:]) == ["1 d queued"]
    assert text(over, [*work, a_step("go", 1, 1 + DAY, kind="signal")]) == ["1 d waiting for a signal"]
    assert text(over, [*work, a_step("sub", 1, 1 + DAY, kind="child")]) == ["1 d waiting for a run"]
    assert text(over, [a_step("one", 0, 1, "failed"), a_step("one", 1 + DAY, 2 + DAY, attempt=2)]) == ["1 d until the next attempt"]


def test_a_paused_run_whose_code_no_longer_fits_is_paused_since_its_last_step() -> None:
    timeline = drawn(a_run(RunStatus.PAUSED), [a_step("one", 0, 1)], now=1 + HOUR)

    assert parts(timeline) == {"run": "1.0 s", "paused": "1 h"}


def test_between_a_failure_and_a_retry_by_hand_a_step_does_not_wait_but_stands() -> None:
    upload = row(running_now().timeline(), "upload")

    assert kinds(upload.segments) == ["executing", "halted", "executing"]
    assert parts(running_now().timeline())["stopped"] == "58 s"


def test_the_row_of_the_run_shows_its_queue_its_waits_and_its_end() -> None:
    assert kinds(retried().timeline().run.segments) == [
        "queued",
        "executing",
        "retry",
        "executing",
        "retry",
        "executing",
        "retry",
        "executing",
    ]
    assert running_now().timeline().run.segments[-1].open
    assert not retried().timeline().run.segments[-1].open


# -- axis


def test_the_axis_has_round_times_and_the_end() -> None:
    assert [tick.text for tick in retried().timeline().axis.ticks] == ["0", "0.5 s", "1 s", "1.5 s", "1.9 s"]
    assert [tick.text for tick in drawn(a_run(over=0.0012), [a_step("one", 0, 0.001)]).axis.ticks][:2] == ["0", "0.2 ms"]
    assert [tick.text for tick in drawn(a_run(over=3_600.0), [a_step("one", 0, 3_600)]).axis.ticks][:3] == ["0", "10 m", "20 m"]


def test_after_a_break_times_count_from_there() -> None:
    assert [tick.text for tick in running_now().timeline().axis.ticks] == ["0", "1 m 4 s", "+5 s", "+12 s"]


def test_a_stretch_of_the_axis_can_be_looked_at_alone_and_left_again() -> None:
    whole = retried().timeline()

    asked = query(whole.axis.stretches[1].href)
    zoomed = retried().timeline(begin=asked.begin, end=asked.end)

    assert (asked.begin, asked.end) == (0.5, 1.0)
    assert zoomed.axis.window == "500 ms to 1.0 s"
    assert [each.label for each in zoomed.rows] == ["charge_card"]
    assert (zoomed.rows[0].attempts, zoomed.rows[0].outside) == (3, 2)
    assert zoomed.axis.whole == "?"
    wider = query(zoomed.axis.wider)
    assert (wider.begin, wider.end) == (0.25, 1.25)


def test_a_window_beside_the_run_is_passed_over() -> None:
    assert retried().timeline(begin=100.0, end=200.0).axis.window == ""


# -- cached


def test_steps_that_were_recorded_before_a_retry_are_marked_as_cached() -> None:
    timeline = running_now().timeline()

    assert {each.label for each in timeline.rows if each.mark} == {"collect", "transform"}
    assert row(timeline, "collect").sentence.endswith("recorded before the run was retried, and not executed again")


def test_steps_that_were_recorded_before_a_worker_took_the_run_up_again_are_marked_as_cached() -> None:
    steps = [a_step("one", 0, 1), a_step("lost", 1, 1.5, "failed", retry=2.0), a_step("lost", 4, 5, attempt=2), a_step("two", 5, 6)]
    timeline = drawn(replace(a_run(over=6.0), claimed_at=at(3.0)), steps)

    assert {each.label: bool(each.mark) for each in timeline.rows} == {"one": True, "lost": False, "two": False}
    assert row(timeline, "one").sentence == (
        "one, completed, 1 second, recorded before a worker took the run up again, and not executed again"
    )


def test_a_group_says_how_many_of_its_steps_were_not_executed_again() -> None:
    steps = [a_step(f"send_{number}", number, number + 1) for number in range(300)]
    timeline = drawn(replace(a_run(over=300.0, begun=0.0), claimed_at=at(120.5)), steps)

    assert [(each.members, each.cached) for each in timeline.rows] == [(300, 120)]
    assert "↺ 120 cached" in markup(timeline)


def test_a_run_that_one_worker_has_executed_from_its_begin_has_nothing_cached() -> None:
    timeline = drawn(replace(a_run(over=2.0, begun=0.0), claimed_at=at(0.0)), [a_step("one", 0, 1), a_step("two", 1, 2)])

    assert not any(each.mark for each in timeline.rows)


def test_steps_that_a_fork_has_taken_over_are_marked_and_what_lies_before_it_is_drawn_short() -> None:
    steps = [a_step("one", -DAY, 1 - DAY), a_step("two", 0.5, 1.5)]
    timeline = drawn(a_run(over=1.5, forked_from="0197"), steps)

    assert [bool(each.mark) for each in timeline.rows] == [True, False]
    assert [each.text for each in timeline.axis.breaks] == ["1 d before the fork"]
    assert timeline.took == "1.5 s"


# -- many


def test_up_to_two_hundred_steps_stand_one_by_one() -> None:
    steps = [a_step(f"send_email_{number}", number, number + 1) for number in range(201)]

    assert len(drawn(a_run(over=300.0), steps[:200]).rows) == 200
    assert [(each.label, each.members) for each in drawn(a_run(over=300.0), steps).rows] == [("send_email_*", 201)]


def test_steps_whose_names_begin_alike_are_a_group_that_counts_its_failures() -> None:
    timeline = thousands().timeline()

    assert [(each.label, each.members, each.failed) for each in timeline.rows] == [
        ("fetch_users", 0, 0),
        ("make_plan", 0, 0),
        ("send_email_*", 5_000, 3),
        ("report", 12, 0),
    ]
    group = row(timeline, "send_email_*")
    assert group.sentence == "send_email_*, 5,000 steps, 3 failed, half of them within 233 milliseconds, folded"
    assert sum(segment.attempts for segment in group.segments) == 5_000
    assert sum(segment.status == "failed" for segment in group.segments) == 2


def test_names_that_end_in_words_or_ids_are_grouped_too_and_few_of_a_kind_are_not() -> None:
    names = [f"mail_{chr(97 + number % 26)}{number}x" for number in range(190)]
    ids = [f"fetch_{number:08x}-1f-2e-3d-{number:04x}a" for number in range(50)]
    steps = [a_step(name, number, number + 1) for number, name in enumerate([*names, *ids, "check_a", "check_b"])]

    timeline = drawn(a_run(over=300.0), steps)

    assert [(each.label, each.members) for each in timeline.rows] == [("mail_*", 190), ("fetch_*", 50), ("check_a", 0), ("check_b", 0)]


def test_a_group_opens_in_place_and_closes_again() -> None:
    group = row(thousands().timeline(), "send_email_*")
    opened = thousands().timeline(opened=query(group.href).opened)

    assert query(group.href).opened == ("send_email_*",)
    assert [each.label for each in opened.rows[:4]] == ["fetch_users", "make_plan", "send_email_*", "send_email_0"]
    assert opened.rows[3].inner
    assert query(opened.rows[2].href).opened == ()
    assert opened.folded == "?"


def test_pages_have_five_hundred_rows() -> None:
    first = thousands().timeline(opened=("send_email_*",))
    second = thousands().timeline(opened=("send_email_*",), page=2)

    assert (len(first.rows), first.place, first.previous) == (500, "Rows 1 to 500 of 5,004", None)
    assert query(first.next).page == 2
    assert second.rows[0].label == "send_email_497"
    assert thousands().timeline(opened=("send_email_*",), page=999).place == "Rows 5,001 to 5,004 of 5,004"


def test_the_first_failure_is_found_in_its_group_on_its_page() -> None:
    link = thousands().timeline(only="slow", page=7).first_failure
    assert link is not None
    view = query(link.href)

    timeline = timeline_of(thousands().run, thousands().steps, [], at(400), view)

    assert (view.opened, view.page, view.step) == (("send_email_*",), 3, "send_email_1200")
    assert [each.id for each in timeline.rows if each.chosen] == [link.href.partition("#")[2]]


def test_a_step_that_is_chosen_is_shown_wherever_it_is() -> None:
    timeline = thousands().timeline(step="send_email_1200")

    assert [each.label for each in timeline.rows if each.chosen] == ["send_email_1200"]
    assert timeline.place == "Rows 1,001 to 1,500 of 5,004"


def test_what_runs_now_is_found() -> None:
    link = running_now().timeline().running_now

    assert link is not None
    assert link.href.endswith("#step-3")
    assert retried().timeline().running_now is None


def test_only_what_is_on_the_page_is_made_in_detail() -> None:
    steps = [a_step(f"send_{number}", number * 0.2, number * 0.2 + 0.15) for number in range(10_000)]
    run = a_run(over=2_000.0)

    begin = time.thread_time()
    timeline = timeline_of(run, steps, [], at(2_000), View(opened=("send_*",)))
    took = time.thread_time() - begin

    assert len(timeline.rows) == 500
    # It is a twentieth of a second; machines of tests are slow, and shared.
    assert took < 2


# -- filters


def test_failed_slow_and_loud_steps_are_counted_and_can_be_shown_alone() -> None:
    timeline = concurrent().timeline()

    assert [(choice.label, choice.steps) for choice in timeline.choices] == [("All", "42"), ("Failed", "1"), ("Hide quiet", "38")]
    assert [each.label for each in concurrent().timeline(only="failed").rows] == ["fetch_page#33"]
    assert len(concurrent().timeline(only="loud").rows) == 4


def test_what_would_leave_nothing_is_not_offered() -> None:
    run = a_run(over=2.0)

    timeline = timeline_of(run, [a_step("charge", 0.1, 0.2), a_step("ship", 0.3, 0.4)], [], at(2), View())

    assert [choice.label for choice in timeline.choices] == ["All"]


def test_a_step_is_slow_that_took_three_times_as_long_as_half_of_them() -> None:
    steps = [a_step("one", 0, 1), a_step("two", 1, 2), a_step("three", 3, 6), a_step("nap", 6, 60, kind="sleep")]

    assert [each.label for each in drawn(a_run(over=60.0), steps, only="slow").rows] == ["three"]


def test_one_step_alone_is_not_slow() -> None:
    assert drawn(a_run(over=60.0), [a_step("one", 0, 60)], only="slow").rows == ()


def test_steps_are_found_by_part_of_name_or_key() -> None:
    assert [each.label for each in concurrent().timeline(find="PLAN").rows] == ["plan"]
    assert [each.label for each in concurrent().timeline(find="@0.3/").rows] == ["fetch_page#4"]
    assert [each.label for each in concurrent().timeline(find="page#12").rows] == ["fetch_page#12"]


def test_what_finds_nothing_says_what_to_do() -> None:
    timeline = retried().timeline(find="nothing is called so")

    assert (timeline.rows, timeline.empty) == ((), "No step is like that. Look for another text, choose All, or show the whole run.")


# -- the view


def test_a_view_is_what_its_address_says_and_back() -> None:
    pairs = [
        ("tab", "logs"), ("only", "failed"), ("find", "mail & co"), ("page", "2"), ("open", "a_*"), ("open", "b"),
        ("from", "0.5"), ("to", "2"), ("step", "@0.1/a:2"), ("attempt", "3"),
    ]  # fmt: skip

    view = View.of(pairs)

    assert view.pairs() == pairs
    assert query(view.but()) == view
    assert query(view.but(only="all", page=None, opened=(), begin=None, end=None)).pairs() == [
        ("tab", "logs"), ("find", "mail & co"), ("step", "@0.1/a:2"), ("attempt", "3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "pairs",
    [
        [("page", "0")],
        [("page", "-1"), ("attempt", "one")],
        [("page", "9" * 100_000)],
        [("page", "²")],
        [("from", "nan"), ("to", "inf")],
        [("from", "5"), ("to", "5")],
        [("from", "1")],
        [("only", "<script>")],
        [("step", ""), ("open", ""), ("find", "  ")],
    ],
)
def test_what_cannot_be_is_as_if_it_were_not_asked(pairs: list[tuple[str, str]]) -> None:
    assert View.of(pairs) == View()


# -- words


@pytest.mark.parametrize(
    ("seconds", "text", "heard"),
    [
        (0.0, "<1 ms", "less than a millisecond"),
        (0.001, "1 ms", "1 millisecond"),
        (0.31, "310 ms", "310 milliseconds"),
        (0.9996, "1.0 s", "1 second"),
        (1.94, "1.9 s", "1.9 seconds"),
        (12.4, "12 s", "12 seconds"),
        (59.7, "1 m", "1 minute"),
        (250.0, "4 m 10 s", "4 minutes 10 seconds"),
        (2 * DAY + 3 * HOUR + 5 * MINUTE, "2 d 3 h", "2 days 3 hours"),
        (365 * DAY, "365 d", "365 days"),
    ],
)
def test_durations_are_written_and_spoken(seconds: float, text: str, heard: str) -> None:
    assert (took(seconds), spoken(seconds)) == (text, heard)


# -- whatever is recorded

SECONDS = st.one_of(st.floats(-5, 100), st.floats(-5, 400 * DAY), st.integers(0, 20).map(float))


@st.composite
def attempts(draw: st.DrawFn) -> StepRecord:
    begin = draw(SECONDS)
    length = draw(st.one_of(st.none(), st.floats(-2, 10), st.floats(0, 40 * DAY), st.just(0.0)))
    return a_step(
        draw(st.sampled_from(["a", "a:1", "b", "@0.1/a", "mail_1", "mail_2", "<b>"])),
        begin,
        None if length is None else begin + length,
        draw(st.sampled_from(["completed", "failed", "canceled"])),
        attempt=draw(st.integers(1, 30)),
        kind=draw(st.sampled_from(["function", "sleep", "signal", "child", "value"])),
    )


RUNS = st.builds(
    a_run,
    st.sampled_from(list(RunStatus)),
    begun=st.one_of(st.none(), SECONDS),
    over=st.one_of(st.none(), SECONDS),
    forked_from=st.sampled_from([None, "0197"]),
)
EVENTS = st.lists(st.builds(an_event, SECONDS, st.sampled_from(["pause", "resume", "cancel", "retry", "fork", "trigger"])), max_size=5)
VIEWS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.builds(lambda begin, length: {"begin": begin, "end": begin + length}, SECONDS, st.floats(0.001, DAY)),
    st.sampled_from([{"only": "failed"}, {"only": "slow"}, {"only": "loud"}, {"find": "A"}, {"step": "a"}, {"page": 3}]),
)


@settings(max_examples=300, deadline=None)
@given(RUNS, st.lists(attempts(), max_size=60), EVENTS, SECONDS, VIEWS)
def test_whatever_is_recorded_each_attempt_is_shown_once_within_the_axis_and_none_over_another(
    run: Run, steps: list[StepRecord], events: list[Event], now: float, asked: dict[str, Any]
) -> None:
    steps.sort(key=lambda step: step.started_at)
    events.sort(key=lambda event: event.at)

    timeline = timeline_of(run, steps, events, BEGIN + timedelta(seconds=now), View(**asked))

    _check(timeline)
    if not asked:
        assert sum(each.attempts for each in timeline.rows) == len(steps)


@settings(max_examples=30, deadline=None)
@given(st.integers(201, 900), st.integers(1, 5), st.randoms(use_true_random=False))
def test_whatever_is_grouped_each_attempt_is_counted(count: int, names: int, chance: Any) -> None:
    begins = sorted(chance.uniform(0, DAY) for _ in range(count))
    steps = [
        a_step(f"{'abcde'[place % names]}_{place}", begin, begin + chance.uniform(0, 100), chance.choice(["completed", "failed"]))
        for place, begin in enumerate(begins)
    ]

    timeline = drawn(a_run(over=2 * DAY), steps)

    _check(timeline)
    assert sum(each.attempts for each in timeline.rows) == count


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_sane(name: str) -> None:
    _check(EXAMPLES[name]().timeline())


def _check(timeline: Timeline) -> None:
    for each in (timeline.run, *timeline.rows):
        end = 0.0
        for segment in each.segments:
            left, right = place(segment)
            assert end - 0.001 <= left < right <= 100.001
            end = right
        if each.id not in {"run", "waiting-now"}:
            assert sum(segment.attempts for segment in each.segments) + each.outside == each.attempts
    places = [float(tick.x.removesuffix("%")) for tick in timeline.axis.ticks]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
