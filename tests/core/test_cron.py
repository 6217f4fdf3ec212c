"""Slots against a count of every minute, over the changes of clocks that are hard to get right."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.core.cron import Cron, checked_zone
from stepwell.errors import DefinitionError
from tests.core.counted import DAY, Span, changes, seconds_of, shown
from tests.core.expressions import expressions

YEARS = [
    ("Africa/Cairo", 2010),  # summer time pauses for a month
    ("Africa/Cairo", 2014),  # at 24:00 of a Thursday
    ("Africa/Casablanca", 2026),  # likewise, by the moon
    ("America/Caracas", 2007),  # half an hour back, for years
    ("America/Caracas", 2016),
    ("America/Fortaleza", 2000),  # two weeks of summer
    ("America/Havana", 2026),  # at midnight, to 01:00 and from 01:00 to midnight
    ("America/New_York", 2026),
    ("America/Sao_Paulo", 2018),  # midnight is skipped, and the hour before midnight repeated
    ("America/St_Johns", 2006),  # at 00:01
    ("America/St_Johns", 2026),
    ("Antarctica/Troll", 2026),  # two hours
    ("Asia/Beirut", 2026),  # midnight
    ("Asia/Kathmandu", 1985),  # by a quarter of an hour
    ("Asia/Kolkata", 2026),  # never
    ("Asia/Pyongyang", 2018),
    ("Asia/Tehran", 2022),  # at 24:00
    ("Australia/Adelaide", 2026),  # half hours, and summer in winter
    ("Australia/Lord_Howe", 2026),  # by half an hour
    ("Europe/Dublin", 2026),  # where winter is the exception
    ("Europe/Paris", 2026),
    ("Pacific/Apia", 2011),  # without 30 December
    ("Pacific/Chatham", 2026),  # at 02:45
    ("Pacific/Kwajalein", 1993),  # without 21 August
    ("UTC", 2026),
]
EXPRESSIONS = [
    # The clock on the wall.
    "0 0 * * *",
    "30 0 * * *",
    "30 2 * * *",
    "15 3 * * *",
    "*/15 2 * * *",
    "*/20 1-3 * * *",
    "0 */2 * * *",
    "59 */6 * * *",
    "* 1,2,23 * * *",
    "45 2 * * 0",
    "0 0-22 * * *",
    "7,37 23,0 * * 6-7",
    "30 1 L * *",
    "0 2 25-31 3,10 7",
    "30 2 * MAR SUN#5",
    "10 0 30 * FRI",
    "5,55 30 2 * * *",
    "*/30 */30 0,2 * * *",
    # Elapsed time.
    "0 * * * *",
    "*/7 * * * *",
    "59 */1 * * *",
    "30 0-23 * * 0L",
    "1,31 0-11,12-23 */2 * *",
    "0 * 30 12 *",
    "15 * LW * *",
    "20 30 * * * SUN,6",
    "30 */25 0/1 * * *",
]
ZONES = sorted({zone for zone, _ in YEARS})


# -------------------------------------------------------------------------------------------------- every change, counted out


@pytest.mark.parametrize(("zone", "year"), YEARS)
def test_around_every_change_of_the_clocks_slots_are_those_that_are_counted_out(zone: str, year: int) -> None:
    for change in changes(zone, year) or [int(seconds_of(f"{year}-03-29"))]:
        span = Span(zone, change - DAY, change + 2 * DAY, around=DAY + 7200)
        for expression in EXPRESSIONS:
            compare(Cron(expression, zone), span, change, span.slots(expression))


def test_changes_by_less_than_a_minute_are_no_different() -> None:
    change = int(seconds_of("1972-01-07 00:44:30"))  # when Monrovia gave up its own time for Greenwich's
    span = Span("Africa/Monrovia", change - 14_400, change + 14_400, tick=1, around=3600)

    for expression in (*EXPRESSIONS, "* 44 0 * * *", "15 44 * * * *", "*/7 44,0 0 7 1 *"):
        compare(Cron(expression, "Africa/Monrovia"), span, change, span.slots(expression))


@pytest.mark.parametrize("zone", ZONES)
def test_over_years_slots_are_those_that_are_counted_out(zone: str) -> None:
    """Quarters of an hour: but for a minute after midnight in St. John's, no clock here is changed at another time."""
    years = range(2016, 2018) if zone == "America/Caracas" else range(2018, 2020)
    start, end = (int(seconds_of(f"{year}-01-01")) for year in (years.start, years.stop))
    span = Span(zone, start, end, tick=900)

    for expression in ("15 2 * * *", "*/30 0-3 * * *", "0 0 L * 6#2", "45 */1 1,31 * *", "0 * * * 0"):
        expected = span.slots(expression)
        assert list(Cron(expression, zone).between(start - 1, end - 1)) == expected


def compare(cron: Cron, span: Span, near: int, expected: list[float]) -> None:
    """All slots of the span in order; and from near the change, each instant's next and latest."""
    assert list(cron.between(span.start - 1, span.end - 1)) == expected
    for instant in range(near - 7200, near + 10800, 900):
        assert within(span, cron.after(instant)) == following(expected, instant)
        assert within(span, cron.latest(instant)) == preceding(expected, instant)
    for slot in expected[bisect_left(expected, near - 3600) : bisect_left(expected, near + 9000)]:
        assert cron.after(slot - 0.25) == cron.latest(slot + 0.25) == slot
        assert cron.after(slot - 1) == cron.latest(slot) == slot
        assert within(span, cron.after(slot)) == following(expected, slot)
        assert within(span, cron.latest(slot - 1)) == preceding(expected, slot - 1)


def following(slots: list[float], instant: float) -> float | None:
    return next(iter(slots[bisect_right(slots, instant) :]), None)


def preceding(slots: list[float], instant: float) -> float | None:
    return next(reversed(slots[: bisect_right(slots, instant)]), None)


def within(span: Span, slot: float | None) -> float | None:
    return slot if slot is not None and span.start <= slot < span.end else None


# ------------------------------------------------------------------------------------------------------------------ any slots


@st.composite
def instants(draw: st.DrawFn, zone: str) -> float:
    """Since 1971, most of them near a change of the clocks."""
    year = draw(st.integers(1971, 2037))
    near = draw(st.sampled_from(changes(zone, year) or [int(seconds_of(f"{year}-02-28"))]))
    return draw(st.one_of(st.integers(near - DAY, near + DAY), st.floats(near - 7200, near + 7200), st.integers(2**25, 2**31)))


@st.composite
def schedules(draw: st.DrawFn) -> tuple[str, str, float]:
    zone = draw(st.sampled_from(ZONES))
    return draw(expressions()), zone, draw(instants(zone))


@settings(max_examples=150)
@given(schedules())
def test_any_expression_has_the_slots_that_are_counted_out(schedule: tuple[str, str, float]) -> None:
    expression, zone, instant = schedule
    span = Span(zone, int(instant) - DAY, int(instant) + DAY, around=DAY + 7200)
    cron = cron_that_comes(expression, zone)

    expected = span.slots(expression)

    assert list(cron.between(span.start - 1, span.end - 1)) == expected
    assert within(span, cron.after(instant)) == following(expected, instant)
    assert within(span, cron.latest(instant)) == preceding(expected, instant)


@settings(max_examples=300)
@given(schedules())
def test_an_instant_lies_between_the_latest_slot_and_the_next(schedule: tuple[str, str, float]) -> None:
    expression, zone, instant = schedule
    cron = cron_that_comes(expression, zone)

    latest, after = cron.latest(instant), cron.after(instant)

    assert after is not None
    assert after > instant
    assert after == int(after)
    assert cron.latest(after) == after
    assert cron.after(after - 1) == after
    if latest is not None:
        assert latest <= instant
        assert cron.after(latest) == after
        assert cron.latest(after - 1) == latest


def cron_that_comes(expression: str, zone: str) -> Cron:
    try:
        return Cron(expression, zone)
    except DefinitionError as error:
        assert "never comes" in str(error)
        return Cron("0 0 1 1 *", zone)


# ------------------------------------------------------------------------------------------------------------- what is promised


def first(expression: str, zone: str, after: str, count: int) -> list[str]:
    return shown(list(islice(Cron(expression, zone).between(seconds_of(after, zone) - 1, float("inf")), count)), zone)


def test_a_time_that_does_not_exist_comes_once_right_after_the_gap() -> None:
    assert first("30 2 * * *", "Europe/Paris", "2026-03-28", 3) == [
        "2026-03-28 02:30 +0100",
        "2026-03-29 03:00 +0200",
        "2026-03-30 02:30 +0200",
    ]
    assert first("*/15 2-3 * * *", "Europe/Paris", "2026-03-29", 4) == [f"2026-03-29 03:{minute} +0200" for minute in ("00", 15, 30, 45)]


def test_a_time_that_occurs_twice_comes_once() -> None:
    assert first("*/30 2 * * *", "Europe/Paris", "2026-10-25", 3) == [
        "2026-10-25 02:00 +0200",
        "2026-10-25 02:30 +0200",
        "2026-10-26 02:00 +0100",
    ]


def test_what_comes_every_hour_comes_every_hour() -> None:
    assert first("30 * * * *", "Europe/Paris", "2026-10-25 01:00", 4) == [
        "2026-10-25 01:30 +0200",
        "2026-10-25 02:30 +0200",
        "2026-10-25 02:30 +0100",
        "2026-10-25 03:30 +0100",
    ]
    assert first("30 * * * *", "Europe/Paris", "2026-03-29 01:00", 2) == ["2026-03-29 01:30 +0100", "2026-03-29 03:30 +0200"]


def test_what_is_repeated_is_found_from_a_year_away() -> None:
    """In both years the day begins with summer time; in the first, winter begins before it ends."""
    assert first("30 * 19 2 *", "America/Sao_Paulo", "2011-02-19 23:00", 3) == [
        "2011-02-19 23:30 -0200",
        "2011-02-19 23:30 -0300",
        "2012-02-19 00:30 -0200",
    ]
    latest = Cron("30 * 19 2 *", "America/Sao_Paulo").latest(seconds_of("2012-02-19", "America/Sao_Paulo"))
    assert latest is not None
    assert shown([latest], "America/Sao_Paulo") == ["2011-02-19 23:30 -0300"]


def test_a_day_that_is_skipped_comes_once_as_the_next_begins() -> None:
    assert first("0 9,18 30 12 *", "Pacific/Apia", "2011-01-01", 2) == ["2011-12-31 00:00 +1400", "2012-12-30 09:00 +1400"]


def test_there_is_nothing_before_1970_and_from_9999_on() -> None:
    daily = Cron("@daily", "UTC")
    end = seconds_of("9998-12-31")

    assert (daily.latest(0), daily.latest(-1), daily.after(-1e12)) == (0.0, None, 0.0)
    assert Cron("0 0 29 2 *", "UTC").latest(seconds_of("1972-02-28")) is None
    assert Cron("0 * 29 2 *", "Asia/Tokyo").latest(seconds_of("1972-02-28")) is None
    assert (daily.after(end - 1), daily.after(end), daily.latest(1e12)) == (end, None, end)
    assert Cron("0 0 1 1 *", "America/Anchorage").after(seconds_of("9998-02-01")) is None
    assert Cron("30 * 31 12 *", "Pacific/Apia").after(1e15) is None
    assert list(daily.between(1e15, float("inf"))) == []


def test_slots_are_worked_out_as_they_are_asked_for() -> None:
    slots = Cron("* * * * * *", "Europe/Paris").between(0, float("inf"))

    assert isinstance(slots, Iterator)
    assert list(islice(slots, 3)) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("after", "until"), [(10, 10), (10, 5), (0.5, 0.75), (-5, -1)])
def test_a_time_without_slots_has_none(after: float, until: float) -> None:
    assert list(Cron("* * * * * *", "UTC").between(after, until)) == []


def test_the_rarest_of_all_days_is_found() -> None:
    assert first("0 0 */28 2 MON", "UTC", "2000-01-01", 2) == ["2010-02-01 00:00 +0000", "2016-02-01 00:00 +0000"]
    assert first("0 0 * 2 SUN#5", "UTC", "2100-01-01", 1) == ["2128-02-29 00:00 +0000"]


# --------------------------------------------------------------------------------------------------------------------- zones


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "Europe", "Europe/Paris\0", "x" * 500, 5, None])
def test_a_zone_that_does_not_exist_is_refused_by_its_name(timezone: Any) -> None:
    with pytest.raises(DefinitionError, match=r"timezone.* a name such as \"Europe/Paris\""):
        Cron("@daily", timezone)


@given(st.one_of(st.text(), st.text("abcEU/._-+0 ")))
def test_any_text_is_a_zone_or_refused(timezone: str) -> None:
    try:
        assert checked_zone(timezone).key == timezone
    except DefinitionError as error:
        assert repr(timezone) in str(error)
