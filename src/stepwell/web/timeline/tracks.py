"""The attempts of each step, with their times as numbers. What is odd in a record is made sane here, and nowhere else.

A clock that went back makes no attempt shorter than nothing. An attempt that nobody ended, of a run that nobody executes, was cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from stepwell.core.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stepwell.core.records import Event, Run, StepRecord

WAITS: Final = frozenset({"sleep", "signal", "child"})
"""Kinds of steps that execute nothing themselves."""

CUT_OFF: Final = "cut off"
"""The state of an attempt whose worker died with it."""


class Attempt(NamedTuple):
    """One attempt. Times are seconds since 1970."""

    record: StepRecord
    begin: float
    end: float
    """Now, while it runs."""
    state: str
    """The record's status, or `CUT_OFF`."""


class Track:
    """A step, by its key, with its attempts in the order of their starts; there is one at least."""

    __slots__ = ("attempts", "index", "key", "kind", "name", "number")

    def __init__(self, index: int, record: StepRecord) -> None:
        self.index = index
        """Its place among the steps of the run."""
        self.key = record.key
        self.name = record.name
        self.kind = record.kind
        self.number = 0
        """Which of several with its name it is, from 1; 0: the only one."""
        self.attempts: list[Attempt] = []

    @property
    def label(self) -> str:
        """`send_email`, or `send_email#2` of several."""
        return f"{self.name}#{self.number}" if self.number else self.name

    @property
    def state(self) -> str:
        """That of its last attempt."""
        return self.attempts[-1].state

    @property
    def worked(self) -> float:
        """Seconds that its attempts took, the waits between them left out."""
        if len(self.attempts) == 1:
            _, begin, end, _ = self.attempts[0]
            return end - begin
        return sum(end - begin for _, begin, end, _ in self.attempts)


def tracks_of(run: Run, steps: Sequence[StepRecord], now: float) -> list[Track]:
    """The steps in the order in which they were first started."""
    tracks: dict[str, Track] = {}
    for record in steps:
        track = tracks.get(record.key)
        if track is None:
            track = tracks[record.key] = Track(len(tracks), record)
        begin = record.started_at.timestamp()
        finished = record.finished_at
        if finished is None:
            track.attempts.append(Attempt(record, begin, max(begin, now), record.status))
        else:
            track.attempts.append(Attempt(record, begin, max(begin, finished.timestamp()), record.status))
    found = list(tracks.values())
    _cut_off(run, found)
    _number(found)
    return found


def _cut_off(run: Run, tracks: Iterable[Track]) -> None:
    """End the attempts that nobody ended: where their next began, or their run did."""
    executed = run.status in {RunStatus.RUNNING, RunStatus.PAUSED}
    over = run.finished_at.timestamp() if run.finished_at is not None else None
    for track in tracks:
        attempts = track.attempts
        for place, attempt in enumerate(attempts):
            if attempt.record.finished_at is not None:
                continue
            if place + 1 < len(attempts):
                end = attempts[place + 1].begin
            elif executed:
                continue
            else:
                end = attempt.end if over is None else over
            attempts[place] = attempt._replace(end=max(attempt.begin, end), state=CUT_OFF)


def _number(tracks: Iterable[Track]) -> None:
    first: dict[str, Track] = {}
    counts: dict[str, int] = {}
    for track in tracks:
        name = track.name
        count = counts.get(name, 0)
        if count:
            first[name].number = 1
            track.number = count + 1
        else:
            first[name] = track
        counts[name] = count + 1


def waiting_tracks(run: Run, tracks: Iterable[Track]) -> frozenset[int]:
    """The places of those that are tried again: their last attempt has failed, and the next is due some time."""
    if run.status.ended:
        return frozenset()
    return frozenset(track.index for track in tracks if track.state == "failed" and track.attempts[-1].record.retry_at is not None)


Recorded: TypeAlias = "tuple[float, str]"
"""Up to when steps were recorded that were not executed again, and why not."""


def recorded_until(run: Run, events: Iterable[Event]) -> list[Recorded]:
    """Each time at which the body was executed anew with what had been recorded, in order; empty: it was executed once."""
    found: list[Recorded] = []
    if run.forked_from is not None:
        found.append((run.created_at.timestamp(), "recorded by the run that this one was forked from, and not executed again"))
    if retries := [event.at.timestamp() for event in events if event.action == "retry"]:
        found.append((retries[-1], "recorded before the run was retried, and not executed again"))
    if run.claimed_at is not None and run.claimed_at != run.started_at:
        found.append((run.claimed_at.timestamp(), "recorded before a worker took the run up again, and not executed again"))
    return found


def why_cached(track: Track, recorded: Iterable[Recorded]) -> str:
    """Why its result was used as it was recorded; empty: it was executed where it stands."""
    last = track.attempts[-1]
    if last.state != "completed":
        return ""
    # What began in that very moment was executed because of it.
    return next((why for until, why in recorded if last.begin < until and last.end <= until), "")
