"""Puts attempts and waits on a row: in order, within the axis, none over another, and none too narrow to be seen."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Final

from stepwell.web.timeline.drawn import Segment
from stepwell.web.timeline.scale import FULL, SHORTEST
from stepwell.web.timeline.spans import BUSY, cut_at, gaps, length_within
from stepwell.web.timeline.tracks import WAITS
from stepwell.web.timeline.wording import GAPS, class_of, title_of, took

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stepwell.web.timeline.groups import Group
    from stepwell.web.timeline.scale import Scale
    from stepwell.web.timeline.spans import Span, Spans
    from stepwell.web.timeline.tracks import Attempt, Track

LEAST: Final = 0.5
"""Percent: three pixels of a row of 600."""

_SEEN: Final = 0.05
"""Percent. What is narrower than this is nothing."""
_SIGNS_APART: Final = 5.0
"""Percent between two signs of failure on a row."""
_BUCKETS: Final = 200
"""Of a group: as many as are wide enough to be seen."""
_LEVELS: Final = 4
_GAPS: Final = 40
"""How many of a run's waits are shown on its own row: the longest."""
_RESTS: Final = frozenset({"sleep", "signal", "child", "retry"})


def percent(x: float) -> str:
    """As SVG has it: `12.5%`."""
    return f"{x:.2f}".rstrip("0").rstrip(".") + "%"


class _Placed:
    """A segment as long as what follows can still change it."""

    __slots__ = ("attempt", "count", "kind", "left", "open", "right", "signed", "status", "title")

    def __init__(self, kind: str, status: str, left: float, right: float, title: str, attempt: Attempt | None = None) -> None:
        self.kind = kind
        self.status = status
        self.left = left
        self.right = right
        self.title = title
        self.attempt = attempt
        self.count = 0 if attempt is None else 1
        self.open = attempt is not None and attempt.state == "running"
        self.signed = False


def segments_of(
    track: Track, scale: Scale, spans: Spans, href: Callable[[int], str], waiting: Span | None
) -> tuple[tuple[Segment, ...], int]:
    """The segments of a step's row, and how many of its attempts lie outside of the time that is shown.

    Each other attempt is in one segment. Where they are too close to be told apart, one segment stands for several. `waiting`: since
    the last attempt has failed, the run waits.
    """
    placed: list[_Placed] = []
    outside = 0
    before: float | None = None
    for attempt in track.attempts:
        if before is not None and attempt.begin > before:
            _put_wait(placed, scale, spans, (before, attempt.begin))
        before = attempt.end if before is None else max(before, attempt.end)
        if scale.shows(attempt.begin, attempt.end):
            _put_attempt(placed, scale, attempt)
        else:
            outside += 1
    if waiting is not None:
        _put_wait(placed, scale, spans, waiting)
        if placed and placed[-1].kind == "retry":
            placed[-1].open = True
    most = max(attempt.record.attempt for attempt in track.attempts)
    for each in placed:
        if each.attempt is not None:
            each.title = f"{each.count:,} attempts" if each.count > 1 else title_of(each.attempt, most, spans.begin)
    _sign(placed)
    several = len(track.attempts) > 1
    return tuple(_segment(each, href if several else None) for each in placed), outside


def _sign(placed: Sequence[_Placed]) -> None:
    """Give failures their sign, the last one first; where they are close together, one is enough."""
    free = FULL * 2
    for each in reversed(placed):
        each.signed = each.open or (each.status == "failed" and free - each.right >= _SIGNS_APART)
        if each.signed:
            free = each.right


def _put_attempt(placed: list[_Placed], scale: Scale, attempt: Attempt) -> None:
    kind = attempt.record.kind
    status = class_of(kind, attempt.state)
    true = scale.x(attempt.begin)
    left = max(true, placed[-1].right if placed else 0.0)
    right = max(scale.x(attempt.end), left + LEAST)
    if right > FULL:
        left, right = min(left, FULL - LEAST), FULL
        while placed and placed[-1].attempt is None and placed[-1].right > left:
            # A wait gives way.
            placed[-1].right = left
            if placed[-1].right - placed[-1].left < LEAST:
                placed.pop()
    if placed and placed[-1].attempt is not None and (placed[-1].right > left or left - true > LEAST):
        _join(placed[-1], status, attempt, min(FULL, max(placed[-1].right, scale.x(attempt.end))))
    else:
        placed.append(_Placed(kind if kind in WAITS else "executing", status, left, right, "", attempt))


def _join(last: _Placed, status: str, attempt: Attempt, right: float) -> None:
    last.count += 1
    last.right = right
    last.status = "failed" if "failed" in {last.status, status} else status
    last.attempt = attempt
    last.open = attempt.state == "running"


def _put_wait(placed: list[_Placed], scale: Scale, spans: Spans, wait: Span) -> None:
    left = max(scale.x(wait[0]), placed[-1].right if placed else 0.0)
    right = scale.x(wait[1])
    if right - left < LEAST:
        return
    halted = length_within(spans.of["halted"], *wait) > 0
    title = f"stopped for {took(wait[1] - wait[0])}, then retried" if halted else f"waited {took(wait[1] - wait[0])} after a failed attempt"
    placed.append(_Placed("halted" if halted else "retry", "waiting", left, right, title))


def _segment(placed: _Placed, href: Callable[[int], str] | None) -> Segment:
    left, right = round(placed.left, 2), round(placed.right, 2)
    return Segment(
        kind=placed.kind,
        status=placed.status,
        x=percent(left),
        width=percent(right - left),
        title=placed.title,
        attempts=placed.count,
        href=None if href is None or placed.attempt is None else href(placed.attempt.record.attempt),
        open=placed.open,
        edge=percent(right) if placed.open or placed.signed else "",
    )


def present_segment(scale: Scale, span: Span) -> Segment:
    """Of a wait that goes on."""
    left = min(scale.x(span[0]), FULL - LEAST)
    placed = _Placed("sleep", "sleeping", left, max(scale.x(span[1]), left + LEAST), f"waiting for {took(span[1] - span[0])}")
    placed.open = True
    return _segment(placed, None)


def run_segments(scale: Scale, spans: Spans, *, goes_on: bool) -> tuple[Segment, ...]:
    """The row of the run itself: how it waited in its queue, ran, slept, was paused and stopped."""
    place = spans.end if spans.started is None else max(spans.begin, spans.started)
    parts = [("queued", "queued", span) for span in spans.of["queue"]]
    parts += [("paused", "paused", span) for span in spans.of["paused"]]
    parts += [("halted", "stopped", span) for span in spans.of["halted"]]
    idle = cut_at(gaps(spans.of[BUSY], place, spans.end), spans.edges, SHORTEST)
    longest = nlargest(_GAPS, idle, key=lambda gap: gap[1] - gap[0])
    waits = [(what, gap) for gap in longest if (what := spans.what(gap)) in _RESTS]
    parts += [(what, GAPS[what], gap) for what, gap in waits]
    found: list[_Placed] = []
    for kind, word, (begin, end) in sorted(parts, key=lambda part: part[2]):
        # What is too short to be seen interrupts nothing.
        if scale.x(end) - scale.x(begin) >= LEAST:
            _put_part(found, scale, "executing", "ran for", (place, begin))
            _put_part(found, scale, kind, word, (begin, end))
            place = max(place, end)
    _put_part(found, scale, "executing", "ran for", (place, spans.end))
    if goes_on and found:
        found[-1].open = True
    return tuple(_segment(each, None) for each in found)


def _put_part(found: list[_Placed], scale: Scale, kind: str, word: str, span: Span) -> None:
    left, right = max(scale.x(span[0]), found[-1].right if found else 0.0), scale.x(span[1])
    if right - left >= _SEEN:
        found.append(_Placed(kind, kind, left, right, f"{word} {took(span[1] - span[0])}"))


def group_segments(group: Group, scale: Scale) -> tuple[tuple[Segment, ...], int]:
    """How many steps of a group were under way when, and where some failed; and how many attempts are outside of what is shown."""
    changes, begun, failed = [0] * (_BUCKETS + 1), [0] * _BUCKETS, [False] * _BUCKETS
    outside, per_percent, last = 0, _BUCKETS / FULL, _BUCKETS - 1
    for track in group.tracks:
        for _, begin, end, state in track.attempts:
            if not scale.shows(begin, end):
                outside += 1
                continue
            first = min(last, int(scale.x(begin) * per_percent))
            until = min(last, int(scale.x(end) * per_percent))
            begun[first] += 1
            changes[first] += 1
            changes[until + 1] -= 1
            if state == "failed":
                failed[until] = True
    return tuple(_profile(changes, begun, failed)), outside


def _profile(changes: Sequence[int], begun: Sequence[int], failed: Sequence[bool]) -> list[Segment]:
    active, counts = 0, []
    for change in changes[:-1]:
        active += change
        counts.append(active)
    most = max(counts, default=0) or 1
    found: list[Segment] = []
    place = 0
    while place < _BUCKETS:
        first, level = place, -(-counts[place] * _LEVELS // most)
        while place < _BUCKETS and -(-counts[place] * _LEVELS // most) == level and failed[place] is failed[first]:
            place += 1
        if level:
            status, attempts = "failed" if failed[first] else "completed", sum(begun[first:place])
            title = f"up to {max(counts[first:place]):,} at once, {attempts:,} begun" + (", with failures" if failed[first] else "")
            x, width = first * FULL / _BUCKETS, (place - first) * FULL / _BUCKETS
            found.append(
                Segment("executing", status, percent(x), percent(width), title, attempts, level=_LEVELS + 1 if failed[first] else level)
            )
    return found
