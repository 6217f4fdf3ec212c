"""Times, durations and numbers as people read them. Pure."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from stepwell.core.naming import name_of
from stepwell.core.policy import RetryPolicy
from stepwell.core.retry import backoff_after

CAP: Final = 1_000
"""More than so many is not counted."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_RATES: Final = ((1, "a second"), (60, "a minute"), (3_600, "an hour"), (86_400, "a day"))


def duration(length: timedelta | float | None) -> str:
    """`212 ms`, `1.9 s`, `4 m 10 s`, `2 d 3 h`: at most two units. Of a negative one, nothing is said."""
    if length is None:
        return ""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 0:
        return ""
    if seconds < 0.9995:  # noqa: PLR2004  # what would be rounded to a second is one
        return f"{round(seconds * 1_000)} ms"
    if seconds < 9.95:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    return _two_units(round(seconds))


def _two_units(whole: int) -> str:
    parts: list[str] = []
    for size, unit in _UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:  # noqa: PLR2004
            break
    return " ".join(part for part in parts if part)


def retries(policy: RetryPolicy) -> str:
    """`5 tries, after 1 s, 2 s, 4 s and 8 s`; `10 tries, after 5 s, 10 s, 20 s … 10 m; not for CardDeclined`."""
    said = "1 try" if policy.max_attempts == 1 else f"{_tries(policy)}, {_delays(policy)}"
    if policy.max_attempts != 1 and policy.non_retryable:
        said += f"; not for {', '.join(name.rpartition('.')[2] for name in policy.non_retryable)}"
    return said + ("; a function in the code is asked" if policy.max_attempts != 1 and policy.has_should_retry else "")


def tries(policy: RetryPolicy) -> str:
    """`1 try`, `5 tries`, `tries without end`; and the first and the last of its delays."""
    if policy.max_attempts == 1:
        return "1 try"
    count = None if policy.max_attempts is None else policy.max_attempts - 1
    first, last = (_even(_delay(policy, number)) for number in (1, _ENDLESS if count is None else count))
    return f"{_tries(policy)}, {first}" + ("" if first == last else f" to {last}")


def _tries(policy: RetryPolicy) -> str:
    return "tries without end" if policy.max_attempts is None else f"{policy.max_attempts:,} tries"


_LISTED: Final = 4
"""Delays that are told one by one."""

_AT_ONCE: Final = "at once"

_ENDLESS: Final = 1_000
"""After so many tries no delay grows any more, if any does at all."""


def _delays(policy: RetryPolicy) -> str:
    count = _ENDLESS if policy.max_attempts is None else policy.max_attempts - 1
    told = [_even(_delay(policy, number)) for number in range(1, min(count, _LISTED) + 1)]
    last = _even(_delay(policy, count))
    if set(told) == {last}:
        return f"{'each' if count > 1 else 'the second'} {f'after {last}' if last != _AT_ONCE else last}"
    if count <= _LISTED:
        return f"after {', '.join(told[:-1])} and {told[-1]}"
    return f"after {', '.join(told[: _LISTED - 1])} … {last}"


def _delay(policy: RetryPolicy, number: int) -> float:
    """Seconds after so many attempts, as the backoff has it without chance."""
    first, longest = policy.initial_interval.total_seconds(), policy.max_interval.total_seconds()
    return backoff_after(number, first, policy.backoff_coefficient, longest)


def _even(seconds: float) -> str:
    """Whole seconds without a fraction: somebody has written them so."""
    return _AT_ONCE if not seconds else duration(seconds).replace(".0 s", " s")


def ago(when: datetime | None, now: datetime) -> str:
    """`4 m ago`, in one unit; `in 1 h 59 m`, in two: whoever waits for it wants to know; `now`."""
    if when is None:
        return ""
    seconds = (now - when).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"in {_two_units(math.floor(-seconds))}" if seconds < 0 else f"{_coarse(seconds)} ago"


def _coarse(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{math.floor(seconds / size)} {unit}"
    return ""


def clock(when: datetime | None, zone: ZoneInfo, now: datetime) -> str:
    """`12:01:07` of today, `14 Jan 12:01:07` of this year, `2026-01-14 12:01:07`."""
    if when is None:
        return ""
    local, today = _local(when, zone), now.astimezone(zone)
    if local.date() == today.date():
        return f"{local:%H:%M:%S}"
    if local.year == today.year:
        return f"{local.day} {local:%b %H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S}"


def zone_name(when: datetime, zone: ZoneInfo) -> str:
    """`KST`, `+03`: what the zone is called then."""
    return _local(when, zone).tzname() or ""


def _local(when: datetime, zone: ZoneInfo) -> datetime:
    """In the last hours of the year 9999, where all lies that is due later, only UTC has a time for everyone."""
    try:
        return when.astimezone(zone)
    except OverflowError:
        return when


def compact(number: int) -> str:
    """`41`, `8.2k`, `12M`: for a figure among words."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 1_000 * size else f"{number // size:,}{unit}"
    return str(number)


def size(number: int | None) -> str:
    """`1.4 MiB`; of None, that it is not known."""
    if number is None:
        return "not known"
    amount = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1_024:  # noqa: PLR2004
            return f"{amount:,.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"  # noqa: PLR2004
        amount /= 1_024
    return f"{amount:,.1f} TiB"


def percent(part: int, whole: int) -> str:
    """`0 %`, `0.4 %`, `12 %`; of nothing, nothing is said."""
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"  # noqa: PLR2004


def in_json(value: Any) -> str:
    """On one line, as people write it: what pages escape is text, so nothing else needs to be."""
    return json.dumps(value, ensure_ascii=False)


def rate(number: int, seconds: float) -> str:
    """`12 a second`, `2.1 an hour`, `3 a day`: the smallest unit of time in which there is one at least."""
    if not number or seconds <= 0:
        return ""
    size, unit = next(((size, unit) for size, unit in _RATES if number * size >= seconds), _RATES[-1])
    often = number * size / seconds
    return f"{f'{often:.2g}' if often < 100 else f'{often:,.0f}'} {unit}"  # noqa: PLR2004


def iso(when: datetime | None) -> str:
    """As a `<time>` has it."""
    return "" if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count(number: int, cap: int = CAP) -> str:
    """`12`, `1,000+`."""
    return f"{cap:,}+" if number > cap else f"{number:,}"


def step_name(key: str) -> str:
    """A step as short lists call it: `send/mail#4` for `@0.1/send%2Fmail:3`, the fourth of its name in its branch."""
    occurrence = key.rpartition(":")[2] if ":" in key.rpartition("/")[2] else ""
    return f"{name_of(key)}#{int(occurrence) + 1}" if occurrence else name_of(key)


_STEP_FAILED: Final = re.compile(r'StepFailed: step "(.*?)" failed after \d+ attempts?: (?=.)', re.DOTALL)


def reason(error: str) -> str:
    """Why a run has failed, in a line with little room: `charge: ValueError: card declined` where that step has used up its attempts."""
    return _STEP_FAILED.sub(r"\1: ", error, count=1) if _STEP_FAILED.match(error) else error
