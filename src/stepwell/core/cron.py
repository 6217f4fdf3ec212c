"""When a schedule comes: the slots of a cron expression in a time zone, also where its clocks are changed. Reads no clock itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from stepwell.core.expression import ANY_TIME, checked_expression, in_words, spelled_out
from stepwell.errors import DefinitionError

__all__ = ["Cron", "checked_zone", "in_words"]

_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_KEPT: Final = 512  # of some kilobytes each
_EVERY_HOUR: Final = frozenset(range(24))
_LAST_YEAR: Final = 9998  # of the next one, some instants are beyond the calendar in some zone
_END: Final = datetime(_LAST_YEAR, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


class Cron:
    """The slots of an expression in a time zone: seconds since 1970, whole ones. There are none before.

    Where clocks are changed, the field of hours decides. If it is every hour, slots follow elapsed time: each comes as often as
    clocks show it, twice in an hour that is repeated and never in one that is skipped. Any other field of hours means the clock on
    the wall: a slot that clocks skip comes right after the gap, once for all those skipped, and one that they show twice comes the
    first time.

    Raises:
        DefinitionError: the expression cannot be read or never comes, or there is no such zone.

    Example:
        Cron("0 2 * * *", "Europe/Paris").after(1_774_738_800.0)  # 29 March 2026, 00:00, where 02:00 is skipped: 1_774_746_000.0
    """

    __slots__ = ("_elapsed", "_expression", "_zone")

    def __init__(self, expression: str, timezone: str) -> None:
        self._expression = spelled_out(checked_expression(expression))
        self._zone = checked_zone(timezone)
        self._elapsed = _parsed(self._expression, back=False).hours == _EVERY_HOUR

    def after(self, instant: float) -> float | None:
        """The first slot that is later than the instant; None: there is none before the year 9999."""
        return next(self.between(instant, _END), None)

    def latest(self, instant: float) -> float | None:
        """The last slot that is not later than the instant; None: there is none since 1970."""
        if instant < 0:
            return None
        start = _instant(min(instant, _END))
        slot = self._latest_in_elapsed_time(start) if self._elapsed else self._latest_by_the_clock(start)
        return slot.timestamp() if slot is not None and slot.timestamp() >= 0 else None

    def between(self, after: float, until: float) -> Iterator[float]:
        """The slots that are later than `after` and not later than `until`, in order, each worked out when it is asked for."""
        until = min(until, _END)
        if after >= until:
            return
        start = _instant(max(after, -1.0))
        for slot in self._in_elapsed_time(start) if self._elapsed else self._by_the_clock(start):
            seconds = slot.timestamp()
            if seconds > until:
                return
            yield seconds

    def _by_the_clock(self, start: datetime) -> Iterator[datetime]:
        shown = self._furthest(start)
        for wall in self._walls(shown):
            if wall > shown:  # else it was skipped, and so was the one before, whose slot stands for both
                slot = self._first(wall)
                shown = self._wall(slot)
                yield slot

    def _latest_by_the_clock(self, start: datetime) -> datetime | None:
        wall = next(self._walls(self._furthest(start) + _SECOND, back=True), None)
        return None if wall is None else self._first(wall)

    def _in_elapsed_time(self, start: datetime) -> Iterator[datetime]:
        """Go from one change of the clocks to the next: in between, walls and instants are equally far apart."""
        seen, shown = start, self._wall(start)
        while True:
            offset = self._offset(seen)
            for wall in self._walls(shown):
                slot = (wall - offset).replace(tzinfo=UTC)
                change = self._change(seen, slot)
                if change is not None:
                    break
                seen = slot
                yield slot
            else:
                return
            seen, shown = change, self._wall(change) - _SECOND

    def _latest_in_elapsed_time(self, start: datetime) -> datetime | None:
        seen = start
        while True:
            wall = next(self._walls(self._wall(seen) + _SECOND, back=True), None)
            if wall is None:
                return None
            slot = (wall - self._offset(seen)).replace(tzinfo=UTC)
            change = self._change(seen, slot)
            if change is None:
                return slot
            seen = change - _SECOND

    def _walls(self, shown: datetime, *, back: bool = False) -> Iterator[datetime]:
        """What clocks show at a slot, were they never changed: later than `shown`, or earlier.

        The library is asked for these only. What it does about changes it does for some expressions, and not as we promise it.
        """
        try:
            for wall in _from(shown, self._expression, back=back):
                if wall.year <= _LAST_YEAR:
                    yield wall
                elif not back:
                    return
        except OverflowError:  # its search left the calendar
            return

    def _wall(self, instant: datetime) -> datetime:
        """What clocks show then."""
        return instant.astimezone(self._zone).replace(tzinfo=None, fold=0)

    def _furthest(self, instant: datetime) -> datetime:
        """The latest that clocks have shown by then. When they show an hour again, that is the end of its first time."""
        local = instant.astimezone(self._zone)
        if local.fold:
            return self._wall(self._changed(local.replace(fold=0).astimezone(UTC), instant) - _SECOND)
        return local.replace(tzinfo=None)

    def _first(self, wall: datetime) -> datetime:
        """When clocks show it first, or have gone past it without showing it."""
        instant = wall.replace(tzinfo=self._zone).astimezone(UTC)
        if self._wall(instant) == wall:
            return instant
        # Read with the offset from before the gap it lies after the gap, and the other way round.
        return self._changed(wall.replace(tzinfo=self._zone, fold=1).astimezone(UTC), instant)

    def _offset(self, instant: datetime) -> timedelta:
        return self._wall(instant) - instant.replace(tzinfo=None)

    def _change(self, start: datetime, end: datetime) -> datetime | None:
        """The change of the clocks that comes first on the way from start to end, forward or back; None: there is none."""
        while start != end:
            # Since 1970 no zone has changed its clocks twice within six days.
            there = start + max(min(end - start, _DAY), -_DAY)
            if self._offset(there) != self._offset(start):
                return self._changed(min(start, there), max(start, there))
            start = there
        return None

    def _changed(self, low: datetime, high: datetime) -> datetime:
        """The first instant after the change that lies between the two."""
        offset = self._offset(high)
        while high - low > _SECOND:
            middle = low + (high - low) // _SECOND // 2 * _SECOND
            if self._offset(middle) == offset:
                high = middle
            else:
                low = middle
        return high


def checked_zone(timezone: object) -> ZoneInfo:
    """The zone of that name.

    Raises:
        DefinitionError: it is no text, or there is no such zone.
    """
    if not isinstance(timezone, str):
        raise DefinitionError(f'the timezone of a schedule is a name such as "Europe/Paris", not {type(timezone).__name__}: {timezone!r}')
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:  # unknown, no name of a zone, a folder of zones
        raise DefinitionError(f'there is no timezone {timezone!r}; give a name such as "Europe/Paris"') from error


def _from(shown: datetime, expression: str, *, back: bool) -> CronSim:
    """The library's search. It is copied, with the sets that it reads, since to read an expression takes longer than to find a slot."""
    search = copy(_parsed(expression, back=back))
    search.dt = shown
    return search


@lru_cache(maxsize=_KEPT)
def _parsed(expression: str, *, back: bool) -> CronSim:
    return CronSim(expression, ANY_TIME, reverse=back)


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(math.floor(seconds), UTC)
