"""Slots by counting: every minute of a span is asked what the clocks of a zone show then. Shares nothing with what is tested.

The rules are those of docs/schedules.md, from their definition: when a wall time is shown first is looked up among all that are
shown, and one that is not among them is a skipped one.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate
from zoneinfo import ZoneInfo

DAY = 86_400
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def seconds_of(text: str, zone: str = "UTC") -> float:
    """The instant at which clocks of the zone show it, the first time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(instants: list[float], zone: str) -> list[str]:
    """`2026-03-29 03:00 +0200`, to be read."""
    return [f"{datetime.fromtimestamp(instant, ZoneInfo(zone)):%Y-%m-%d %H:%M %z}" for instant in instants]


def changes(zone: str, year: int) -> list[int]:
    """The hours after which a clock is no longer as far from UTC, in the year and a day before and after."""
    start, end = (int(datetime(each, 1, 1, tzinfo=UTC).timestamp()) for each in (year, year + 1))
    hours = range(start - DAY, end + DAY, 3600)
    offsets = [datetime.fromtimestamp(hour, ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, offset, after in zip(hours, offsets, offsets[1:], strict=False) if offset != after]


# -------------------------------------------------------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Expression:
    """What it says, as sets."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    fits: Callable[[date], bool]

    @property
    def elapsed(self) -> bool:
        return len(self.hours) == 24


@cache
def read(text: str) -> Expression:
    fields = text.upper().split()
    second, minute, hour, day, month, weekday = fields if len(fields) == 6 else ["0", *fields]
    months = _numbers(month, 1, 12, MONTHS)
    both = day.startswith("*") or weekday.startswith("*")

    @cache
    def fits(at: date) -> bool:
        found = (_day_fits(day, at), _weekday_fits(weekday, at))
        return at.month in months and (all(found) if both else any(found))

    return Expression(frozenset(_numbers(second, 0, 59)), frozenset(_numbers(minute, 0, 59)), frozenset(_numbers(hour, 0, 23)), fits)


def _numbers(field: str, low: int, high: int, names: tuple[str, ...] = ()) -> set[int]:
    found: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        ends = [names.index(end) + low if end in names else int(end) for end in (first, last) if end not in {"*", ""}]
        if span == "*":
            ends = [low, high]
        elif len(ends) == 1:
            ends.append(high if step else ends[0])
        found.update(range(ends[0], ends[1] + 1, int(step or 1)))
    return found


def _day_fits(field: str, at: date) -> bool:
    last = monthrange(at.year, at.month)[1]
    for item in field.split(","):
        if item.partition("/")[0] == "L":
            fits = at.day == last
        elif item.partition("/")[0] == "LW":
            fits = at.weekday() < 5 and all(date(at.year, at.month, day).weekday() > 4 for day in range(at.day + 1, last + 1))
        else:
            fits = at.day in _numbers(item, 1, 31)
        if fits:
            return True
    return False


def _weekday_fits(field: str, at: date) -> bool:
    for item in field.split(","):
        name, _, which = item.partition("#")
        days = _numbers(name.removesuffix("L"), 0, 7, WEEKDAYS)
        if at.isoweekday() % 7 not in {day % 7 for day in days}:
            continue
        if which:
            fits = sum(1 for day in range(1, at.day + 1) if (at.day - day) % 7 == 0) == int(which)
        else:
            fits = not name.endswith("L") or (at + timedelta(days=7)).month != at.month
        if fits:
            return True
    return False


# -------------------------------------------------------------------------------------------------------------------- spans


class Span:
    """All that clocks of a zone show in a time, and a little before and after.

    `tick`, in seconds, is how often they are looked at: all changes are on one, and all slots but for their seconds.
    """

    def __init__(self, zone: str, start: int, end: int, *, tick: int = 60, around: int = 2 * DAY) -> None:
        self.start, self.end = start, end
        self._instants = range((start - around) // tick * tick, end + around, tick)
        place = ZoneInfo(zone)
        self._walls = [datetime.fromtimestamp(instant, place).replace(tzinfo=None) for instant in self._instants]
        self._furthest = list(accumulate(self._walls, max))
        self._first: dict[datetime, int] = {}
        for instant, wall in zip(self._instants, self._walls, strict=True):
            self._first.setdefault(wall, instant)
        self._tick = timedelta(seconds=tick)

    def slots(self, text: str) -> list[float]:
        """From the start on, to before the end."""
        expression = read(text)
        found = self._in_elapsed_time(expression) if expression.elapsed else self._by_the_clock(expression)
        return sorted(float(slot) for slot in found if self.start <= slot < self.end)

    def _in_elapsed_time(self, expression: Expression) -> set[int]:
        return {
            instant + second
            for instant, wall in zip(self._instants, self._walls, strict=True)
            if wall.minute in expression.minutes and expression.fits(wall.date())
            for second in self._seconds(expression, wall)
        }

    def _by_the_clock(self, expression: Expression) -> set[int]:
        found = set()
        wall, end = self._furthest[0], self._furthest[-1]
        while wall < end:
            if wall.minute in expression.minutes and wall.hour in expression.hours and expression.fits(wall.date()):
                found |= self._when(expression, wall)
            wall += self._tick
        return found

    def _when(self, expression: Expression, wall: datetime) -> set[int]:
        seconds = self._seconds(expression, wall)
        if wall in self._first:
            return {self._first[wall] + second for second in seconds}
        later = self._instants[bisect_right(self._furthest, wall)]
        return {later} if seconds else set()

    def _seconds(self, expression: Expression, wall: datetime) -> list[int]:
        """After the tick."""
        if self._tick < timedelta(minutes=1):
            return [0] if wall.second in expression.seconds else []
        return list(expression.seconds)
