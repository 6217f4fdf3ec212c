"""Durations: `"1h30m"` to `timedelta` and back. Refuses numbers without a unit: nobody can tell seconds from milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from fractions import Fraction
from numbers import Number
from types import MappingProxyType
from typing import Final, TypeAlias

from stepwell.errors import BadValue

Duration: TypeAlias = timedelta | str
"""A `timedelta`, or a text with units: `"90s"`, `"1h30m"`, `"500ms"`, `"2 days"`."""

_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST_TEXT: Final = 100  # no honest duration is longer, and numbers of a million digits take long to read

_UNITS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        word: unit
        for words, unit in (
            ("us \u00b5s \u03bcs microsecond microseconds", _MICROSECOND),
            ("ms msec msecs millisecond milliseconds", timedelta(milliseconds=1)),
            ("s sec secs second seconds", timedelta(seconds=1)),
            ("m min mins minute minutes", timedelta(minutes=1)),
            ("h hr hrs hour hours", timedelta(hours=1)),
            ("d day days", timedelta(days=1)),
            ("w week weeks", timedelta(weeks=1)),
        )
        for word in words.split()
    }
)
_SHOWN: Final = tuple((unit, _UNITS[unit]) for unit in ("d", "h", "m", "s", "ms", "us"))

_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_PART = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z\u00b5\u03bc]+)\s*")
_BARE_NUMBER = re.compile(rf"[+-]?(?:{_NUMBER})")


def parse_duration(value: object, what: str = "a duration") -> timedelta:
    """The duration that was given, to the microsecond. `what` names it in messages: `timeout`.

    Raises:
        TypeError: it is neither a `timedelta` nor a text.
        ValueError: it has no unit, an unknown one or the same one twice, is negative, or too long for a `timedelta`.
    """
    if isinstance(value, timedelta):
        return _checked(value, what)
    if isinstance(value, str):
        return _parsed(value, what)
    if not isinstance(value, bool) and isinstance(value, Number):
        raise _without_unit(value, what)
    raise TypeError(f'{what} is a timedelta or a text with units such as "90s", not {type(value).__name__}: {value!r}')


def format_duration(duration: timedelta) -> str:
    """The shortest text with units that `parse_duration` reads back as the same: `1h30m`, `500ms`, `0s`."""
    sign = "-" if duration < timedelta(0) else ""
    rest = abs(duration)
    parts = []
    for name, unit in _SHOWN:
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count}{name}")
    return sign + ("".join(parts) or "0s")


def _checked(duration: timedelta, what: str) -> timedelta:
    if duration < timedelta(0):
        raise BadValue(f"{what} cannot be negative: {format_duration(duration)}")
    return duration


def _parsed(text: str, what: str) -> timedelta:
    if len(text) > _LONGEST_TEXT:
        raise BadValue(f"{what} is no duration: {text[:_LONGEST_TEXT]!r}…")
    bare = text.strip()
    if _BARE_NUMBER.fullmatch(bare):
        raise _without_unit(bare, what)
    if bare.startswith("-") and _amounts(bare[1:]):
        raise BadValue(f"{what} cannot be negative: {text!r}")

    amounts = _amounts(bare)
    if not amounts:
        raise _unreadable(text, what)

    microseconds = Fraction(0)
    seen = set()
    for number, word in amounts:
        unit = _unit(word)
        if unit is None:
            raise BadValue(f"{what} has a unit that is not known, {word!r} in {text!r}; the units are us, ms, s, m, h, d and w")
        if unit in seen:
            raise BadValue(f"{what} names a unit twice: {text!r}")
        seen.add(unit)
        microseconds += Fraction(number) * (unit // _MICROSECOND)
    try:
        return timedelta(microseconds=round(microseconds))
    except OverflowError:
        raise BadValue(f"{what} is too long: {text!r}; the longest is {timedelta.max.days:,} days") from None


def _amounts(text: str) -> list[tuple[str, str]]:
    """`1h 30m` → `[("1", "h"), ("30", "m")]`; nothing where the text is anything else."""
    amounts = []
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            return []
        amounts.append((part[1], part[2]))
        position = part.end()
    return amounts


def _unit(word: str) -> timedelta | None:
    # Only whole words may be capitalized: for some, `5M` is five months.
    return _UNITS.get(word) or (_UNITS.get(word.lower()) if len(word) > 1 else None)


def _without_unit(number: object, what: str) -> BadValue:
    return BadValue(
        f'{what} needs a unit: give "{number}s" for seconds, "{number}ms", "{number}m" or "{number}h", not the bare number {number}'
    )


def _unreadable(text: str, what: str) -> BadValue:
    return BadValue(f'{what} is no duration: {text!r}; write a number and a unit, such as "90s", "1h30m", "500ms" or "2 days"')
