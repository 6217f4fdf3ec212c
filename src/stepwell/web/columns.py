"""How counts over time are drawn: columns of what has ended, and how. Only where lines lie; their looks are the style sheet's. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import timedelta

    from stepwell.core.records import Ends, Waits

KINDS: Final = ("completed", "canceled", "failed")
"""From below upwards: what is wrong lies on top, where it is seen."""

_LEAST: Final = 1.0
"""How high something is that is there at all, however much else there is."""


class Bar(NamedTuple):
    """A part of a column."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Columns(NamedTuple):
    """Columns in a frame of this size, whose uppermost line stands for `top`."""

    width: int
    height: int
    top: int
    bars: tuple[Bar, ...]
    completed: int
    failed: int
    canceled: int

    @property
    def total(self) -> int:
        """How many there are in all."""
        return self.completed + self.failed + self.canceled


def columns(ends: Sequence[Ends], width: int, height: int, *, gap: float = 1.0, rounded: bool = True) -> Columns:
    """The columns of these intervals. Where no number stands beside them, the highest need not end below a round one."""
    most = max((each.completed + each.failed + each.canceled for each in ends), default=0)
    top = round_above(most) if rounded else max(most, 1)
    slot = width / max(len(ends), 1)
    bars = [bar for place, each in enumerate(ends) for bar in _column(each, place * slot, max(slot - gap, _LEAST), height, top)]
    totals = [sum(getattr(each, kind) for each in ends) for kind in ("completed", "failed", "canceled")]
    return Columns(width, height, top, tuple(bars), *totals)


_TOPS: Final = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 18_000, 43_200, 86_400, 2 * 86_400, 7 * 86_400
)  # fmt: skip
"""Seconds that are round as people count them."""


class Spread(NamedTuple):
    """Columns of times, in a frame whose uppermost line stands for `top` seconds."""

    width: int
    height: int
    top: float
    bars: tuple[Bar, ...]


def spread(waits: Sequence[Waits], width: int, height: int, *, gap: float = 1.0) -> Spread:
    """For each interval a column as high as almost all (`most`), and before it one as high as half of them (`half`)."""
    longest = max((_seconds(each.p95) for each in waits), default=0.0)
    top = next((float(top) for top in _TOPS if top >= longest), math.ceil(longest / 86_400) * 86_400.0)
    slot = width / max(len(waits), 1)
    bars: list[Bar] = []
    for place, each in enumerate(waits):
        for kind, seconds in (("most", _seconds(each.p95)), ("half", _seconds(each.p50))):
            if each.runs:
                part = max(share(seconds, top, height), _LEAST)
                bars.append(Bar(kind, round(place * slot, 2), round(height - part, 2), round(max(slot - gap, _LEAST), 2), round(part, 2)))
    return Spread(width, height, top, tuple(bars))


def _seconds(length: timedelta | None) -> float:
    return 0.0 if length is None else length.total_seconds()


def _column(each: Ends, x: float, width: float, height: int, top: int) -> list[Bar]:
    bars: list[Bar] = []
    y = float(height)
    for kind in KINDS:
        count: int = getattr(each, kind)
        if count:
            part = min(max(count / top * height, _LEAST), y)
            y -= part
            bars.append(Bar(kind, round(x, 2), round(y, 2), round(width, 2), round(part, 2)))
    return bars


def round_above(count: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 …, that is no smaller."""
    if count <= 1:
        return 1
    power = int("1" + "0" * (len(str(count)) - 1))
    for factor in (1, 2, 5):
        if count <= factor * power:
            return factor * power
    return 10 * power


def share(part: float, whole: float, length: float) -> float:
    """How much of a length that is, and never more than all of it."""
    return round(min(max(part / whole, 0.0), 1.0) * length, 2) if whole > 0 and math.isfinite(part) else 0.0
