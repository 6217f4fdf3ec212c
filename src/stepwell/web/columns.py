"""How counts over time are drawn: columns of what has ended, and how. Only where lines lie; their looks are the style sheet's. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from stepwell.core.records import Ends

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
