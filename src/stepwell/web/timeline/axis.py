"""The axis: which times are written on it, what each break was, and how to look at a part of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from stepwell.web.timeline.drawn import Axis, Break, Stretch, Tick
from stepwell.web.timeline.scale import FULL, SHORTEST, Scale, breaks_of
from stepwell.web.timeline.segments import percent
from stepwell.web.timeline.spans import BUSY, cut_at, gaps
from stepwell.web.timeline.wording import GAPS, tick_text, took

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.web.timeline.spans import Span, Spans
    from stepwell.web.timeline.view import View

_APART: Final = 13.0
"""Percent between two ticks, at least: room for `4 m 10 s`."""
_APART_IF_NARROW: Final = 24.0
"""The same on a telephone."""
_LETTER: Final = 1.2
"""Percent that a letter takes, at most, where the texts of breaks are shown on the axis."""
_STEPS: Final = (
    *(number * 10.0**power for power in range(-6, 1) for number in (1, 2, 5)),
    10.0, 20.0, 30.0, *(60.0 * minutes for minutes in (1, 2, 5, 10, 20, 30)), *(3_600.0 * hours for hours in (1, 2, 3, 6, 12)),
    *(86_400.0 * days for days in (1, 2, 5, 10, 20, 50, 100, 200, 365, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000)),
)  # fmt: skip


def scale_of(spans: Spans, view: View) -> Scale:
    """The scale of the time that is shown: all of the run, or the part that the view asks for, as far as there is one."""
    begin, end = spans.begin, spans.end
    if view.begin is not None and view.end is not None:
        asked = (max(begin, spans.begin + view.begin), min(end, spans.begin + view.end))
        if asked[0] < asked[1]:
            begin, end = asked
    # A short wait within a long gap is looked at as it is: only what is around it is drawn short.
    idle = cut_at(gaps(spans.of[BUSY], begin, end), spans.edges, SHORTEST)
    return Scale(begin, end, breaks_of(idle, begin, end))


def axis_of(spans: Spans, scale: Scale, view: View) -> Axis:
    """What stands on it."""
    pieces = scale.straight()
    ticks: list[tuple[float, float, Tick]] = []
    for place, piece in enumerate(pieces):
        last = place == len(pieces) - 1 and (not scale.breaks or scale.breaks[-1][1] < scale.end)
        ticks += _ticks(spans.begin, *piece, first=place == 0, last=last)
    breaks = _breaks(spans, scale)
    zoomed = (scale.begin, scale.end) != (spans.begin, spans.end)
    shown = (scale.begin - spans.begin, scale.end - spans.begin)
    return Axis(
        ticks=_thinned(ticks),
        stretches=_stretches(spans.begin, ticks, view),
        breaks=breaks,
        crowded=any(each.crowded for each in breaks),
        knots=" ".join(f"{time - spans.begin:.6f}:{x:.3f}" for time, x in scale.knots),
        window=f"{_elapsed(shown[0])} to {_elapsed(shown[1])}" if zoomed else "",
        whole=view.but(begin=None, end=None, page=None) if zoomed else None,
        wider=_wider(spans, shown, view) if zoomed else None,
    )


def _ticks(origin: float, times: Span, places: Span, *, first: bool, last: bool) -> list[tuple[float, float, Tick]]:
    """The times of one straight part of the axis, each with its time and place.

    After a break they count from it: a day and a second is no round number.
    """
    (begin, end), (left, right) = times, places
    length, width = end - begin, right - left
    step = next((step for step in _STEPS if step * width >= _APART * length), 0.0)
    base = begin if not first else origin
    found = [(begin, left, _tick(left, _elapsed(begin - origin)))]
    count = int((begin - base) // step) + 1 if step else 0
    while step and (time := base + count * step) < end:
        x = left + width * (time - begin) / length
        room = right - x
        if x - left >= _APART * 0.75 and room >= (_APART if last else _APART * 0.6):
            text = tick_text(count * step)
            found.append((time, x, _tick(x, text if first else f"+{text}")))
        count += 1
    if last and width >= _APART * 1.5:
        text = _elapsed(end - origin) if first else f"+{took(length)}"
        found.append((end, right, _tick(right, text)))
    return found


def _elapsed(seconds: float) -> str:
    return took(seconds) if seconds > 0 else "0"


def _tick(x: float, text: str) -> Tick:
    anchor = "start" if x <= FULL * 0.01 else "end" if x >= FULL * 0.99 else "middle"
    return Tick(percent(x), text, anchor, minor=False)


def _thinned(ticks: Sequence[tuple[float, float, Tick]]) -> tuple[Tick, ...]:
    """All of them; those that crowd others where there is little room are minor."""
    kept: list[Tick] = []
    free = -FULL
    for _, x, tick in ticks:
        last = tick is ticks[-1][2]
        minor = x - free < _APART_IF_NARROW or (not last and ticks[-1][1] - x < _APART_IF_NARROW)
        free = free if minor else x
        kept.append(tick._replace(minor=minor))
    return tuple(kept)


def _stretches(origin: float, ticks: Sequence[tuple[float, float, Tick]], view: View) -> tuple[Stretch, ...]:
    found = []
    for (begin, left, _), (end, right, _) in pairwise(ticks):
        if end > begin and len(ticks) > 2:  # noqa: PLR2004  # between two ticks is all that is shown already
            title = f"Show only {_elapsed(begin - origin)} to {_elapsed(end - origin)}"
            href = view.but(begin=begin - origin, end=end - origin, page=None)
            found.append(Stretch(percent(left), percent(right - left), href, title))
    return tuple(found)


def _breaks(spans: Spans, scale: Scale) -> tuple[Break, ...]:
    found: list[Break] = []
    free = -FULL
    for gap in scale.breaks:
        left, right = scale.x(gap[0]), scale.x(gap[1])
        middle, text = (left + right) / 2, f"{took(gap[1] - gap[0])} {GAPS[spans.what(gap)]}"
        room = (len(text) + 4) * _LETTER
        anchor = "start" if middle < room / 2 else "end" if FULL - middle < room / 2 else "middle"
        begin = middle - {"start": 0.0, "middle": room / 2, "end": room}[anchor]
        crowded = begin < free
        free = free if crowded else begin + room
        found.append(Break(percent(left), percent(right - left), percent(middle), text, anchor, crowded))
    return tuple(found)


def _wider(spans: Spans, shown: Span, view: View) -> str:
    """Twice as much, as far as there is."""
    half = (shown[1] - shown[0]) / 2
    begin, end = max(0.0, shown[0] - half), min(spans.end - spans.begin, shown[1] + half)
    if begin <= 0 and end >= spans.end - spans.begin:
        return view.but(begin=None, end=None, page=None)
    return view.but(begin=begin, end=end, page=None)
