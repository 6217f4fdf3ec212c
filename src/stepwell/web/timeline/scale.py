"""Where a time lies on the axis, in percent. Straight but for breaks: long gaps, which are drawn short."""

from __future__ import annotations

from bisect import bisect_right
from heapq import nlargest
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.web.timeline.spans import Span

FULL: Final = 100.0
BREAK_WIDTH: Final = 5.0
"""Percent."""

_MAX_BREAKS: Final = 5
_SHARE: Final = 0.3
"""A gap of more than this of the time that is left beside greater gaps is drawn short."""
SHORTEST: Final = 1.0
"""Seconds. Shorter gaps are looked at as they are: they squash nothing that could be told apart."""


class Scale:
    """From seconds to percent. Later is never further to the left."""

    def __init__(self, begin: float, end: float, breaks: Sequence[Span]) -> None:
        self.begin = begin
        self.end = end
        self.breaks = breaks
        """In order, within the time that is shown, and not all of it."""
        self.knots = _knots(begin, end, breaks)
        self._times = [time for time, _ in self.knots]

    def x(self, time: float) -> float:
        """Where this is; what is outside is at the nearer end."""
        if time <= self.begin:
            return 0.0
        if time >= self.end:
            return FULL
        place = bisect_right(self._times, time)
        (one, left), (other, right) = self.knots[place - 1], self.knots[place]
        return left + (right - left) * (time - one) / (other - one)

    def shows(self, begin: float, end: float) -> bool:
        """Whether something of this span is shown."""
        return end >= self.begin and begin <= self.end

    def straight(self) -> list[tuple[Span, Span]]:
        """The parts between breaks: their times, and their places."""
        short = set(self.breaks)
        pieces = []
        for (one, left), (other, right) in pairwise(self.knots):
            if (one, other) not in short:
                pieces.append(((one, other), (left, right)))
        return pieces


def breaks_of(gaps: Sequence[Span], begin: float, end: float) -> list[Span]:
    """Which gaps are drawn short: the greatest first, each measured by what is left without those before it."""
    rest = end - begin
    chosen = []
    for gap in nlargest(_MAX_BREAKS, gaps, key=lambda gap: gap[1] - gap[0]):
        length = gap[1] - gap[0]
        # Where a gap is all there is, there is nothing that it would squash.
        if length < SHORTEST or length <= _SHARE * rest or rest - length <= 0:
            break
        chosen.append(gap)
        rest -= length
    # A float of this size knows nothing below a microsecond.
    return sorted(chosen) if rest > 1e-6 else []  # noqa: PLR2004


def _knots(begin: float, end: float, breaks: Sequence[Span]) -> list[tuple[float, float]]:
    rest = (end - begin) - sum(other - one for one, other in breaks)
    per_second = (FULL - BREAK_WIDTH * len(breaks)) / rest if rest > 0 else 0.0
    knots = [(begin, 0.0)]
    for one, other in breaks:
        time, x = knots[-1]
        if one > time:
            x += (one - time) * per_second
            knots.append((one, x))
        knots.append((other, x + BREAK_WIDTH))
    if knots[-1][0] < end:
        knots.append((end, FULL))
    return knots
