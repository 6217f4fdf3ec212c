"""Durations are given with units, and nothing else is taken for one."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.duration import format_duration, parse_duration

ANY_DURATION = st.timedeltas(min_value=timedelta(0), max_value=timedelta.max)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("90s", timedelta(seconds=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("250us", timedelta(microseconds=250)),
        ("250\u00b5s", timedelta(microseconds=250)),
        ("2 days", timedelta(days=2)),
        ("1m 30s", timedelta(minutes=1, seconds=30)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        ("0.1s", timedelta(milliseconds=100)),
        ("1 week", timedelta(weeks=1)),
        ("3 hours 20 minutes", timedelta(hours=3, minutes=20)),
        ("  10 sec ", timedelta(seconds=10)),
        ("2 Days", timedelta(days=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_text_with_units_is_a_duration(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


def test_a_timedelta_is_a_duration_as_it_is() -> None:
    assert parse_duration(timedelta(hours=2)) == timedelta(hours=2)


@pytest.mark.parametrize("number", [30, 0, -1, 1.5, float("nan"), float("inf"), Decimal(3), Fraction(1, 2), "30", " 1.5 ", "-5", "+5"])
def test_a_bare_number_is_refused_and_told_to_give_a_unit(number: object) -> None:
    with pytest.raises(ValueError, match=r"^timeout needs a unit: give .*s\" for seconds"):
        parse_duration(number, "timeout")


@pytest.mark.parametrize("value", [None, True, [], {}, b"1s", object()])
def test_a_wrong_type_is_a_type_error_that_names_it(value: object) -> None:
    with pytest.raises(TypeError, match=f"not {type(value).__name__}"):
        parse_duration(value)


@pytest.mark.parametrize("value", [timedelta(seconds=-1), "-1h30m", "-0.5s", " - 5s"])
def test_a_negative_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        parse_duration(value)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "s", "h1", "1h30", "nan", "inf", "nans s", "1,5h", "1:30", "PT1H", "1h-30m", "--1s", "1..5s", "\u0661s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit, such as"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1 fortnight", "3M", "2 months", "1nanos", "1e3s"])
def test_an_unknown_unit_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="has a unit that is not known, '"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1m1m", "1m 2min"])
def test_a_unit_named_twice_is_taken_for_a_slip(text: str) -> None:
    with pytest.raises(ValueError, match="names a unit twice"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999999 days", "9" * 90 + "s", "9" * 1_000_000 + "s", "1h" * 1_000_000])
def test_a_duration_beyond_all_measure_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"too long|no duration"):
        parse_duration(text)


def test_the_longest_timedelta_can_be_given() -> None:
    assert parse_duration(format_duration(timedelta.max)) == timedelta.max


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (timedelta(hours=1, minutes=30), "1h30m"),
        (timedelta(milliseconds=500), "500ms"),
        (timedelta(days=14), "14d"),
        (timedelta(seconds=1, microseconds=5), "1s5us"),
        (timedelta(0), "0s"),
        (timedelta(minutes=-90), "-1h30m"),
    ],
)
def test_a_message_shows_a_duration_as_one_would_write_it(duration: timedelta, expected: str) -> None:
    assert format_duration(duration) == expected


@given(ANY_DURATION)
def test_what_is_shown_is_read_back_as_the_same(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=30) | st.text("0123456789.-+ hmsduwayk\u00b5", max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return

    assert duration >= timedelta(0)
