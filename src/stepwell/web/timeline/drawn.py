"""What a template draws: places in percent, texts, links. Nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Segment(NamedTuple):
    """A part of a row: attempts that execute, or a wait."""

    kind: str
    """`executing`, `sleep`, `signal`, `child`: attempts. Around them: `retry` (the wait for another), `queued`, `paused`, `halted`."""
    status: str
    """The class of its colour: of a status, or the kind of a wait."""
    x: str
    """Where it begins: `12.5%`."""
    width: str
    title: str
    """What it is, for a pointer that rests on it."""
    attempts: int = 0
    """How many attempts it stands for; 0: it is a wait."""
    href: str | None = None
    """Of its attempt, where the row has several."""
    open: bool = False
    """It goes on now."""
    edge: str = ""
    """Where it ends, `15.5%`, if it has a sign there: that it goes on, or has failed."""
    level: int = 4
    """How high it is. Of a group: how many are under way, in quarters of the most; 5 where some have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step with all its attempts, or a group of steps."""

    id: str
    """Of its element: the same as long as the run has its history."""
    label: str
    """`send_email#2`"""
    key: str = ""
    """Where it says more than the label."""
    status: str
    glyph: str
    tries: str = ""
    """`3 tries`; of the run itself, `wakes in 3 h`."""
    took: str
    """Of the last attempt: `310 ms`."""
    since: str | None = None
    """When it began, for a clock that goes on: of a step that runs now."""
    mark: str = ""
    """Why it was not executed again: where it was recorded."""
    child: str | None = None
    """The run that it has started."""
    href: str | None
    chosen: bool = False
    sentence: str
    """The row, to be heard."""
    segments: tuple[Segment, ...]
    attempts: int
    outside: int = 0
    """How many attempts lie outside of the time that is shown."""
    members: int = 0
    """How many steps a group has."""
    cached: int = 0
    """How many steps of a group were not executed again."""
    opened: bool = False
    failed: int = 0
    """How many steps of a group have failed."""
    failed_href: str | None = None
    inner: bool = False
    """Whether it is shown as one of a group."""


class Tick(NamedTuple):
    """A time on the axis."""

    x: str
    text: str
    anchor: str
    """`start`, `middle` or `end`"""
    minor: bool
    """Whether it is left out where there is little room."""


class Stretch(NamedTuple):
    """A part of the axis that can be looked at alone."""

    x: str
    width: str
    href: str
    title: str


class Break(NamedTuple):
    """A gap in which nothing was executed, drawn short."""

    x: str
    width: str
    middle: str
    text: str
    """`23 h asleep`"""
    anchor: str
    """As a tick's."""
    crowded: bool
    """Whether there is no room for its text on the axis."""


class Part(NamedTuple):
    """What a part of the run's time went into."""

    word: str
    """`queue`, `run`, `sleep`, `wait`, `paused`, `stopped` or `between steps`."""
    text: str
    hint: str


class Choice(NamedTuple):
    """A filter that can be chosen."""

    label: str
    href: str
    steps: str
    """How many: `1,234`."""
    chosen: bool
    hint: str


class Link(NamedTuple):
    """A way to somewhere else."""

    label: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The time that is shown."""

    ticks: tuple[Tick, ...]
    stretches: tuple[Stretch, ...]
    breaks: tuple[Break, ...]
    crowded: bool
    """Whether there is no room for the text of some break."""
    knots: str
    """`0:0 1.5:40 86401.5:45 86403:100`: seconds after the beginning of the axis, and percent; straight in between."""
    window: str
    """`0.5 s to 2 s`, where only a part of the time is shown."""
    whole: str | None
    """The way back from there."""
    wider: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A page of a run's timeline."""

    run: Row
    """The run itself: how it waited in its queue, ran, and was paused."""
    rows: tuple[Row, ...]
    axis: Axis
    took: str
    parts: tuple[Part, ...]
    choices: tuple[Choice, ...]
    find: str
    hidden: tuple[tuple[str, str], ...]
    """The fields with which the form for `find` keeps the rest."""
    first_failure: Link | None
    next_failure: Link | None
    previous_failure: Link | None
    above: Link | None
    """To the step above the chosen one."""
    below: Link | None
    running_now: Link | None
    previous: str | None
    next: str | None
    place: str
    """`Rows 501 to 1,000 of 5,003`, where there are several pages."""
    empty: str
    """Why there is no row."""
    folded: str | None
    """The same with all groups closed, where one is open."""
