"""What a run did when: spans in which it executed, slept, waited, was paused or stopped. From them follow its totals and its gaps."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Final, TypeAlias

from stepwell.core.status import RunStatus
from stepwell.web.timeline.tracks import WAITS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from stepwell.core.records import Event, Run
    from stepwell.web.timeline.tracks import Track

Span: TypeAlias = tuple[float, float]

BUSY: Final = "run"
ORDER: Final = ("queue", BUSY, "paused", "halted", "sleep", "signal", "child", "retry", "before")
"""What counts where several are true at once: the first. `before`: what a fork took over was recorded earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """All of a run's time. Seconds since 1970."""

    begin: float
    """Where the axis begins: the creation of the run, or of the first step that it took over."""
    end: float
    created: float
    started: float | None
    edges: list[float]
    """When waits began and ended, in order."""
    of: dict[str, list[Span]]
    """By what they are, see `ORDER`; each list in order and without overlaps."""

    def parts(self) -> dict[str, float]:
        """How many seconds went into what, each second into one thing. What is left over went into nothing that is known."""
        covered: list[Span] = []
        parts, before = {}, 0.0
        for what in ORDER[:-1]:
            if spans := self.of[what]:
                covered = union([*covered, *spans]) if covered else spans
                until_now = length_within(covered, self.created, self.end)
                parts[what] = max(0.0, until_now - before)
                before = until_now
        parts["between"] = max(0.0, self.end - self.created - before)
        return parts

    def what(self, gap: Span) -> str:
        """What most of a gap in the execution was; `idle`: nothing that is known."""
        shares = {what: length_within(self.of[what], *gap) for what in ORDER if what != BUSY}
        most = max(shares, key=shares.__getitem__)
        return most if shares[most] * 2 > gap[1] - gap[0] else "idle"


def spans_of(run: Run, tracks: Sequence[Track], events: Sequence[Event], now: float, waiting: Collection[int]) -> Spans:
    """Sort the run's time. `waiting`: the places of steps that are to be tried again."""
    of: dict[str, list[Span]] = {what: [] for what in ORDER}
    created = run.created_at.timestamp()
    first, last = _sort_attempts(tracks, of)
    begin = min(first, created)
    over = now if run.finished_at is None else run.finished_at.timestamp()
    end = max(begin, over, last)
    started = _seconds(run.started_at)
    of["queue"] = [(created, max(created, end if started is None else min(started, end)))]
    _sort_stops(run, events, of, end)
    _sort_retries(tracks, of)
    of["retry"] += [(min(tracks[place].attempts[-1].end, end), end) for place in waiting]
    if run.status is RunStatus.SLEEPING and not waiting:
        since = max(last, created if started is None else started)
        of["sleep"].append((min(since, end), end))
    if run.forked_from is not None and begin < created:
        of["before"] = [(begin, created)]
    edges = sorted({edge for what in WAITS for span in of[what] for edge in span})
    return Spans(begin=begin, end=end, created=created, started=started, edges=edges, of={what: union(spans) for what, spans in of.items()})


def _sort_attempts(tracks: Sequence[Track], of: dict[str, list[Span]]) -> Span:
    """Put each attempt where it belongs; from when to when there are any."""
    for track in tracks:
        into = of[track.kind if track.kind in WAITS else BUSY]
        into += [(begin, end) for _, begin, end, _ in track.attempts]
    spans = [span for what in (BUSY, *WAITS) for span in of[what]]
    return min((begin for begin, _ in spans), default=inf), max((end for _, end in spans), default=-inf)


def _sort_stops(run: Run, events: Sequence[Event], of: dict[str, list[Span]], end: float) -> None:
    """When the run was paused, and when it had ended and was retried later."""
    ends = sorted(until for what in (BUSY, *WAITS) for _, until in of[what])
    paused: float | None = None
    for place, event in enumerate(events):
        at = min(event.at.timestamp(), end)
        if event.action == "pause" and paused is None:
            paused = at
        elif event.action in {"resume", "cancel", "retry"} and paused is not None:
            of["paused"].append((paused, at))
            paused = None
        if event.action == "retry":
            of["halted"].append((_last_before(ends, events[:place], at), at))
    if run.status is RunStatus.PAUSED and paused is None:
        # Nobody has paused it: its code no longer fits.
        paused = ends[-1] if ends else _seconds(run.started_at)
    if paused is not None:
        of["paused"].append((paused, end))


def _last_before(ends: Sequence[float], events: Sequence[Event], at: float) -> float:
    """When the run ended that was retried then: with the last thing that is known of it."""
    place = bisect_left(ends, at)
    known = [min(event.at.timestamp(), at) for event in events]
    return max([*known, *ends[place - 1 : place]], default=at)


def _sort_retries(tracks: Iterable[Track], of: dict[str, list[Span]]) -> None:
    stops = of["halted"]
    for track in tracks:
        for one, other in pairwise(track.attempts) if len(track.attempts) > 1 else ():
            # When the run had ended in between, it waits from its retry on.
            begin = max([one.end, *(until for _, until in stops if one.end < until <= other.begin)])
            if other.begin > begin:
                of["retry"].append((begin, other.begin))


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def union(spans: list[Span]) -> list[Span]:
    """The same time, in order and without overlaps. Spans of no length stay: something was there."""
    merged: list[Span] = []
    spans.sort()
    if not spans:
        return merged
    begin, end = spans[0]
    for one, other in spans:
        if one > end:
            merged.append((begin, end))
            begin, end = one, other
        elif other > end:
            end = other
    merged.append((begin, end))
    return merged


def length_within(spans: Sequence[Span], begin: float, end: float) -> float:
    """Seconds of a union that lie within these times."""
    if spans and begin <= spans[0][0] and spans[-1][1] <= end:
        return sum(other - one for one, other in spans)
    length = 0.0
    for place in range(max(0, bisect_left(spans, (begin,)) - 1), len(spans)):
        one, other = spans[place]
        if one >= end:
            break
        length += max(0.0, min(other, end) - max(one, begin))
    return length


def cut_at(found: Sequence[Span], edges: Sequence[float], least: float) -> list[Span]:
    """The same spans; those that are longer than this are cut where these times are, which are in order."""
    cut: list[Span] = []
    for span in found:
        begin, end = span
        if end - begin > least:
            cut += pairwise([begin, *edges[bisect_right(edges, begin) : bisect_left(edges, end)], end])
        else:
            cut.append(span)
    return cut


def gaps(busy: Sequence[Span], begin: float, end: float) -> list[Span]:
    """Where nothing was executed between these times."""
    found = []
    for one, other in busy:
        if other < begin:
            continue
        if one > end:
            break
        if one > begin:
            found.append((begin, one))
        begin = max(begin, other)
    if end > begin:
        found.append((begin, end))
    return found
