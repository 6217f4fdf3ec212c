"""Expressions of cron, any that can be read."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.core.counted import MONTHS, WEEKDAYS


def _fields(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    plain = numbers.map(str)
    values = st.one_of(plain, st.sampled_from(names), st.sampled_from(names).map(str.lower)) if names else plain
    spans = st.tuples(numbers, numbers).map(lambda ends: f"{min(ends)}-{max(ends)}")
    steps = st.tuples(st.one_of(st.just("*"), values, spans), st.integers(1, high)).map(lambda parts: f"{parts[0]}/{parts[1]}")
    items = st.one_of(values, spans, steps)
    return st.one_of(st.just("*"), items, st.lists(items, min_size=2, max_size=3).map(",".join))


_TIMES = st.one_of(_fields(0, 59), st.sampled_from(["0", "30", "*/15", "*/20"]))
_HOURS = st.one_of(_fields(0, 23), st.sampled_from(["*", "*/1", "0-23", "0", "1", "2", "3", "23", "1-3", "*/2"]))
_DAYS = st.one_of(st.just("*"), _fields(1, 31), st.sampled_from(["L", "LW", "1,L", "l"]))
_MONTHS = st.one_of(st.just("*"), _fields(1, 12, MONTHS))
_ONE_OF_MONTH = st.one_of(
    st.tuples(st.one_of(st.integers(0, 7).map(str), st.sampled_from(WEEKDAYS)), st.integers(1, 5)).map(
        lambda parts: f"{parts[0]}#{parts[1]}"
    ),
    st.integers(0, 7).map(lambda day: f"{day}L"),
)
_WEEKDAYS = st.one_of(st.just("*"), _fields(0, 7, WEEKDAYS), _ONE_OF_MONTH, st.lists(_ONE_OF_MONTH, min_size=2, max_size=2).map(",".join))
_SECONDS = st.one_of(_fields(0, 59), st.sampled_from(["0", "30", "*/20"]))


def expressions() -> st.SearchStrategy[str]:
    """Of five fields and of six; some of them never come."""
    five = st.tuples(_TIMES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS)
    six = st.tuples(_SECONDS, _TIMES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS)
    return st.one_of(five, six).map(" ".join)
