"""What the store in memory keeps: a row a run, a row a worker, and what is common to all verbs that change them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stepwell.core.records import Attempt, Event, LogEntry, NewRun, Outcome, Progress, Signal, Started
from stepwell.core.registry import Lane
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound
from stepwell.store.memory.slots import Schedules
from stepwell.store.port import Halt, Hint
from stepwell.store.turns import Turns

if TYPE_CHECKING:
    from stepwell.core.records import Definition, NewWorker


@dataclass(slots=True)
class Row:
    """A run, with everything that belongs to it."""

    new: NewRun
    """As it was started; the first claim writes into it what it fixes."""
    input: str
    available_at: float
    due: float | None
    """When to make it ready, or to wake it; None: it is ready, in execution, or nothing will."""
    deadline_at: float | None = None
    forked_from: str | None = None
    status: RunStatus = RunStatus.PENDING
    worker: str | None = None
    claim: int = 0
    attempt: int = 1
    generation: int = 0
    news: int = 0
    deaf: bool = False
    """It sleeps out the delay of a retry, and no signal wakes it."""
    signals: dict[int, Signal] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    """By which second sendings are known."""
    crashes: int = 0
    output: str | None = None
    error: str | None = None
    progress: Progress | None = None
    started_at: float | None = None
    begun_at: float | None = None
    """When it was first claimed since it went on as new: the body's time begins with it."""
    claimed_at: float | None = None
    claimed_by: str | None = None
    finished_at: float | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    """Of the outcomes."""
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    void: set[tuple[str, int]] = field(default_factory=set)
    """Attempts that a retry has taken back: they are shown, and count no more."""
    started: dict[tuple[str, int], Started] = field(default_factory=dict)
    logs: dict[tuple[int, str, int], LogEntry] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    @property
    def lane(self) -> Lane:
        """Where it waits."""
        return Lane(self.new.queue, self.new.workflow, self.new.version)

    @property
    def is_ready(self) -> bool:
        """Whether it can be claimed."""
        return self.status is RunStatus.PENDING and self.worker is None and self.due is None

    @property
    def waits_until(self) -> float | None:
        """When it has to be made ready; None: not by time alone, or not by the store."""
        return self.due if self.worker is None and self.status in (RunStatus.PENDING, RunStatus.SLEEPING) else None

    @property
    def expires_at(self) -> float | None:
        """When it fails, whatever it is doing then; None: never, or not as it stands."""
        return None if self.status.ended or self.status is RunStatus.PAUSED else self.deadline_at

    def get_ready(self, at: float) -> None:
        """It can go on from then on."""
        self.status, self.due, self.available_at = RunStatus.PENDING, None, at

    def end(self, status: RunStatus, now: float) -> None:
        """It is over, and nobody's."""
        self.status, self.worker, self.due, self.finished_at = status, None, None, now

    def count_deadline(self) -> None:
        """From the time at which it can be claimed."""
        self.deadline_at = None if self.new.timeout is None else self.available_at + self.new.timeout

    def hints(self) -> set[Hint]:
        """What those who wait should know of a run that has just become what it is."""
        if self.status.ended:
            return {Hint.ENDED}
        told = {Hint.READY} if self.is_ready else set()
        if self.waits_until is not None:
            told.add(Hint.DUE)
        return told


@dataclass(slots=True)
class WorkerRow:
    """A worker that is registered, or dead and not yet forgotten."""

    new: NewWorker
    beat_at: float
    beat: int = 0
    running: int = 0
    parked: int = 0
    draining: bool = False
    dead: bool = False
    notices: dict[int, str] = field(default_factory=dict)
    """Number → run."""


@dataclass(slots=True)
class Tables:
    """All that there is."""

    rows: dict[str, Row] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    """Workflow and key → run."""
    lanes: set[Lane] = field(default_factory=set)
    workers: dict[str, WorkerRow] = field(default_factory=dict)
    definitions: dict[tuple[str, str | None], Definition] = field(default_factory=dict)
    halts: set[Halt] = field(default_factory=set)
    turns: Turns[tuple[str, str, str]] = field(default_factory=Turns)
    """Of the lanes that runs are claimed from."""
    single_claims: int = 0
    """Claims of one run for which both kinds of runs were waiting."""
    noticed: int = 0
    """The number of the last notice."""
    schedules: Schedules = field(default_factory=Schedules)

    def row(self, run_id: str) -> Row:
        """The run's. Raises RunNotFound."""
        row = self.rows.get(run_id)
        if row is None:
            raise RunNotFound(run_id)
        return row

    def taken(self, new: NewRun) -> str | None:
        """The id of the run that this would be a second time; None: it would be a new one."""
        by_key = self.keys.get((new.workflow, new.key)) if new.key is not None else None
        return by_key or (new.id if new.id in self.rows else None)

    def add(self, new: NewRun) -> Row:
        """A run that is not there yet."""
        due = None if new.available_at <= new.created_at else new.available_at
        self.rows[new.id] = row = Row(new, new.input, new.available_at, due)
        row.count_deadline()
        self.lanes.add(row.lane)
        if new.key is not None:
            self.keys[new.workflow, new.key] = new.id
        return row

    def forget(self, row: Row) -> None:
        """All that belongs to the run, and its key, which can be given again."""
        del self.rows[row.new.id]
        if row.new.key is not None:
            del self.keys[row.new.workflow, row.new.key]

    def lives(self, worker: str) -> bool:
        """Whether it may claim and write."""
        known = self.workers.get(worker)
        return known is not None and not known.dead

    def owned(self, worker: str) -> list[Row]:
        """Its runs, the oldest first."""
        return sorted((row for row in self.rows.values() if row.worker == worker), key=lambda row: row.new.id)

    def notice(self, owner: str | None, row: Row) -> set[Hint]:
        """Tell the worker that had the run when somebody else acted on it."""
        if owner is None or owner not in self.workers:
            return set()
        self.noticed += 1
        self.workers[owner].notices[self.noticed] = row.new.id
        return {Hint.NOTICE}


def is_storable(text: str) -> bool:
    """Whether databases keep this text."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
