"""Makes a timeline of what is recorded: sorts the run's time, picks the steps, lays out one page of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from statistics import median_low
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from stepwell.core.records import instant
from stepwell.core.status import RunStatus
from stepwell.web.timeline.axis import axis_of, scale_of
from stepwell.web.timeline.drawn import Choice, Link, Part, Row, Timeline
from stepwell.web.timeline.groups import PAGE, Group, Inner, items_of, locate
from stepwell.web.timeline.picking import SLOW_TIMES, Picked, picked
from stepwell.web.timeline.segments import group_segments, present_segment, run_segments, segments_of
from stepwell.web.timeline.spans import spans_of
from stepwell.web.timeline.tracks import recorded_until, tracks_of, waiting_tracks, why_cached
from stepwell.web.timeline.wording import GLYPHS, sentence_of, spoken, status_of, took
from stepwell.web.words import iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from stepwell.core.records import Event, Run, StepRecord
    from stepwell.web.timeline.groups import Item
    from stepwell.web.timeline.scale import Scale
    from stepwell.web.timeline.spans import Spans
    from stepwell.web.timeline.tracks import Track
    from stepwell.web.timeline.view import View

_PARTS = {
    "queue": ("queue", "in its queue, or before its time, until a worker began it"),
    "run": ("run", "at least one step was executed"),
    "sleep": ("sleep", "nothing was executed, and it slept"),
    "wait": ("wait", "nothing was executed, and it waited for a signal, another run, or the next attempt of a step"),
    "paused": ("paused", "nothing was executed, and somebody had paused it"),
    "halted": ("stopped", "it had ended, until it was retried"),
    "between": ("between steps", "nothing was executed that is recorded as a step"),
}
_SHOWN_FROM = 0.005
"""The share of the run's time from which on time between steps is worth a word."""


def timeline_of(run: Run, steps: Sequence[StepRecord], events: Sequence[Event], now: datetime, view: View) -> Timeline:
    """A run's timeline as the view asks for it.

    `steps`: one record an attempt, in the order of their starts. Only the rows of the page that is shown are made in detail.
    """
    return _Drawing(run, steps, events, now, view).timeline()


class _Drawing:
    """What all parts of one timeline look at."""

    def __init__(self, run: Run, steps: Sequence[StepRecord], events: Sequence[Event], now: datetime, view: View) -> None:
        self.run = run
        self.tracks = tracks_of(run, steps, now.timestamp())
        self.picked = picked(self.tracks)
        self.waiting = waiting_tracks(run, self.tracks)
        self.spans = spans_of(run, self.tracks, events, now.timestamp(), self.waiting)
        self.scale: Scale = scale_of(self.spans, view)
        self.recorded = recorded_until(run, events)
        self.chosen = next((track for track in self.tracks if track.key == view.step), None) if view.step else None
        self.items, self.view = _items(self.picked, self.scale, view, self.chosen)
        address = self.view.but(step=None, attempt=None)
        self._address = address if address == "?" else f"{address}&"

    def timeline(self) -> Timeline:
        view, pages = self.view, -(-len(self.items) // PAGE)
        page = max(1, min(view.page or 1, pages))
        shown = self.items[(page - 1) * PAGE : page * PAGE]
        rows = (*map(self._row, shown), *self._present(last=page >= pages))
        above, below = self._neighbours()
        return Timeline(
            run=self._run_row(),
            rows=rows,
            axis=axis_of(self.spans, self.scale, view),
            took=took(self.spans.end - self.spans.created),
            parts=_parts(self.spans),
            choices=_choices(self.picked, view),
            find=view.find,
            hidden=tuple(view.pairs("find", "page")),
            first_failure=self._jump("First failure", next(iter(self.picked.failed), None)),
            next_failure=self._failure(1),
            previous_failure=self._failure(-1),
            above=above,
            below=below,
            running_now=self._jump("Running now", next((track for track in self.tracks if track.state == "running"), None)),
            previous=view.but(page=page - 1) if page > 1 else None,
            next=view.but(page=page + 1) if page < pages else None,
            place=f"Rows {(page - 1) * PAGE + 1:,} to {min(page * PAGE, len(self.items)):,} of {len(self.items):,}" if pages > 1 else "",
            empty="" if rows else self._empty(),
            folded=view.but(opened=(), page=None) if view.opened else None,
        )

    def _run_row(self) -> Row:
        status = str(self.run.status)
        length = self.spans.end - self.spans.created
        return Row(
            id="run",
            label=self.run.workflow,
            status=status,
            glyph=GLYPHS[status],
            tries=self._to_come(),
            took=took(length),
            since=None if self.run.status.ended else iso(self.run.created_at),
            href=None,
            sentence=f"the whole run, {status}, {'' if self.run.status.ended else 'so far '}{spoken(length)}",
            segments=run_segments(self.scale, self.spans, goes_on=not self.run.status.ended),
            attempts=0,
        )

    def _to_come(self) -> str:
        """When it goes on, where that is known."""
        at, now = self.run.available_at, instant(self.spans.end)
        words = {RunStatus.PENDING: "begins" if self.run.started_at is None else "goes on", RunStatus.SLEEPING: "wakes"}
        if at is None or at <= now or self.run.status not in words:
            return ""
        return f"{words[self.run.status]} in {took((at - now).total_seconds())}"

    def _row(self, item: Item) -> Row:
        if isinstance(item, Group):
            return self._group_row(item)
        inner = isinstance(item, Inner)
        return self._step_row(item.track if isinstance(item, Inner) else item, inner=inner)

    def _step_row(self, track: Track, *, inner: bool) -> Row:
        last = track.attempts[-1]
        waits = track.index in self.waiting
        waiting = (last.end, self.spans.end) if waits else None
        segments, outside = segments_of(track, self.scale, self.spans, lambda attempt: self._href(track, attempt), waiting)
        mark = why_cached(track, self.recorded)
        status = status_of(track)
        return Row(
            id=f"step-{track.index}",
            label=track.label,
            key="" if track.key == track.label else track.key,
            status=status,
            glyph=GLYPHS[status],
            tries=self._tries(track, waits=waits),
            took=took(last.end - last.begin),
            since=iso(last.record.started_at) if last.state == "running" else None,
            mark=mark,
            child=next((attempt.record.child_id for attempt in reversed(track.attempts) if attempt.record.child_id), None),
            href=self._href(track, last.record.attempt),
            chosen=track.key == self.view.step,
            sentence=sentence_of(track, "to be tried again" if waits else mark),
            segments=segments,
            attempts=len(track.attempts),
            outside=outside,
            inner=inner,
        )

    def _group_row(self, group: Group) -> Row:
        segments, outside = group_segments(group, self.scale)
        failed = sum(track.state == "failed" for track in group.tracks)
        running = any(track.state == "running" for track in group.tracks)
        usual = median_low([track.worked for track in group.tracks])
        status = "failed" if failed else "running" if running else "completed"
        opened = group.pattern in self.view.opened
        others = tuple(each for each in self.view.opened if each != group.pattern)
        return Row(
            id=f"group-{group.tracks[0].index}",
            label=group.pattern,
            status=status,
            glyph=GLYPHS[status],
            took=took(usual),
            href=self.view.but(opened=others if opened else (*others, group.pattern), page=None),
            sentence=_group_sentence(group, failed, usual, opened=opened),
            segments=segments,
            attempts=sum(len(track.attempts) for track in group.tracks),
            outside=outside,
            members=len(group.tracks),
            cached=sum(bool(why_cached(track, self.recorded)) for track in group.tracks) if self.recorded else 0,
            opened=opened,
            failed=failed,
            failed_href=self.view.but(only="failed", find=group.prefix, opened=(), page=None) if failed else None,
        )

    def _present(self, *, last: bool) -> Iterator[Row]:
        """A row for what a run waits for that has no record yet; behind all others."""
        view, spans = self.view, self.spans
        plain = view.only == "all" and not view.find and view.begin is None
        if self.run.status is not RunStatus.SLEEPING or self.waiting or not (last and plain):
            return
        since, until = spans.of["sleep"][-1]
        yield Row(
            id="waiting-now",
            label="waiting now",
            status="sleeping",
            glyph=GLYPHS["sleeping"],
            took=took(until - since),
            since=iso(instant(since)),
            href=None,
            sentence=f"waiting now, for a time, a signal or another run, so far {spoken(until - since)}",
            segments=(present_segment(self.scale, (since, until)),),
            attempts=0,
        )

    @cached_property
    def _closed(self) -> list[Item]:
        """All rows, with all groups closed."""
        return items_of(self.tracks, ())

    def _href(self, track: Track, attempt: int) -> str:
        return f"{self._address}step={quote_plus(track.key)}&attempt={attempt}"

    def _jump(self, label: str, track: Track | None) -> Link | None:
        """To a step, wherever it is: with nothing filtered away, and its group open."""
        if track is None:
            return None
        pattern, page = locate(track, self._closed)
        opened = () if pattern is None else (pattern,)
        view = replace(self.view, only="all", find="", begin=None, end=None, opened=opened, page=page if page > 1 else None)
        return Link(label, f"{view.but(step=track.key, attempt=track.attempts[-1].record.attempt)}#step-{track.index}")

    def _failure(self, way: int) -> Link | None:
        """To the failure after the chosen step, or before it; with none chosen, after it is the first."""
        if self.chosen is None:
            return self._jump("First failure", next(iter(self.picked.failed), None)) if way > 0 else None
        place = self.chosen.index
        others = [track for track in self.picked.failed if (track.index - place) * way > 0]
        return self._jump("Next failure" if way > 0 else "Previous failure", others[0 if way > 0 else -1] if others else None)

    def _neighbours(self) -> tuple[Link | None, Link | None]:
        """To the steps above and below the chosen one, among those that are shown."""
        rows = [item.track if isinstance(item, Inner) else item for item in self.items if not isinstance(item, Group)]
        place = next((place for place, track in enumerate(rows) if track is self.chosen), None)
        if place is None:
            return None, None
        return (
            self._step_link("Step above", rows[place - 1]) if place else None,
            self._step_link("Step below", rows[place + 1]) if place + 1 < len(rows) else None,
        )

    def _step_link(self, label: str, track: Track) -> Link:
        return Link(label, self.view.but(page=None, step=track.key, attempt=track.attempts[-1].record.attempt))

    def _tries(self, track: Track, *, waits: bool) -> str:
        count, due = len(track.attempts), track.attempts[-1].record.retry_at
        words = [f"{count:,} tries"] if count > 1 else []
        if waits and due is not None:
            ahead = due.timestamp() - self.spans.end
            words.append(f"next in {took(ahead)}" if ahead > 0 and self.run.status is not RunStatus.PAUSED else "to be tried again")
        return " · ".join(words)

    def _empty(self) -> str:
        if not self.tracks:
            if self.run.started_at is None:
                return "It ended before it began." if self.run.status.ended else "It has not begun yet."
            return (
                "It ended without a step."
                if self.run.status.ended
                else "No step has ended yet; one is shown from its end, or when it takes a while."
            )
        return "No step is like that. Look for another text, choose All, or show the whole run."


def _items(picks: Picked, scale: Scale, view: View, chosen: Track | None) -> tuple[list[Item], View]:
    """All rows there are, and the view with what it leaves open: the chosen step's group is open, and its page is shown."""
    shown = picks.shown(view)
    if view.begin is not None:
        shown = [track for track in shown if any(scale.shows(attempt.begin, attempt.end) for attempt in track.attempts)]
    items = items_of(shown, view.opened)
    if chosen is None or view.page is not None:
        return items, view
    pattern, page = locate(chosen, items)
    if pattern is not None and pattern not in view.opened:
        view = replace(view, opened=(*view.opened, pattern))
        items = items_of(shown, view.opened)
    return items, replace(view, page=page if page > 1 else None)


def _parts(spans: Spans) -> tuple[Part, ...]:
    lengths = spans.parts()
    lengths["wait"] = sum(lengths.pop(what, 0.0) for what in ("signal", "child", "retry"))
    least = (spans.end - spans.created) * _SHOWN_FROM
    found = []
    for what, (word, hint) in _PARTS.items():
        length = lengths.get(what, 0.0)
        if length > (least if what == "between" else 0.0):
            found.append(Part(word, took(length), hint))
    return tuple(found)


def _choices(picks: Picked, view: View) -> tuple[Choice, ...]:
    quiet = len(picks.every) - len(picks.loud) if picks.loud else 0  # where all are, nothing would be left
    offered = (
        ("all", "All", len(picks.every), "every step"),
        ("failed", "Failed", len(picks.failed), "steps whose last attempt has failed"),
        ("slow", "Slow", len(picks.slow), f"steps that took at least {SLOW_TIMES} times as long as half of them"),
        ("loud", "Hide quiet", quiet, "leave out what simply succeeded: at the first attempt, without a wait, and not slowly"),
    )
    return tuple(
        Choice(label, view.but(only=only, page=None), f"{count:,}", view.only == only, hint)
        for only, label, count, hint in offered
        if count or only in {view.only, "all"}
    )


def _group_sentence(group: Group, failed: int, usual: float, *, opened: bool) -> str:
    how = f"{failed:,} failed" if failed else "none failed"
    return f"{group.pattern}, {len(group.tracks):,} steps, {how}, half of them within {spoken(usual)}, {'shown' if opened else 'folded'}"
