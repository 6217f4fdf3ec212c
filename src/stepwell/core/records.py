"""What the store keeps and hands out, as frozen records.

Two families: what users read (`Run`, `StepRecord`, `LogLine`, `RunInfo`: aware UTC datetimes, decoded values) and what a worker
writes and claims (`NewRun`, `Claimed`, `Signal`, `Outcome`, `Attempt`, `Started`, `Move`, `LogEntry`, `Progress`, `Cursor`,
`Firing`: instants as seconds since 1970, values as JSON text). The second are NamedTuples where there is one a step, since a tuple
is what is cheapest to make, and to write in bulk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stepwell.core.policy import RetryPolicy
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo


class Kind(IntEnum):
    """What an outcome is the outcome of. A name that changes its kind is changed code."""

    FUNCTION = 0
    SLEEP = 1
    VALUE = 2
    TIMER = 3
    """One that asyncio set (`asyncio.sleep`, `timeout`, `wait_for`); operators do not see it as a step."""
    SIGNAL = 4
    CHILD = 5

    @property
    def word(self) -> str:
        """As an explanation calls it."""
        return _WORDS[self]


_WORDS = {
    Kind.FUNCTION: "step", Kind.SLEEP: "sleep", Kind.VALUE: "value", Kind.TIMER: "timer", Kind.SIGNAL: "signal", Kind.CHILD: "child",
}  # fmt: skip


# -- what a worker writes


class Outcome(NamedTuple):
    """What came to pass for a key of a run: written once, delivered in the order of `seq`, now and on every replay."""

    run: str
    claim: int
    key: str
    seq: int
    asked: int
    """The number of the last outcome that had been delivered when the body asked for this one."""
    kind: int
    ok: bool
    value: str | None
    """The result, or the error, as JSON; None for a timer."""
    at: float
    """When it became known, never before the outcome before it. The body's `loop.time()` while it is the last one."""
    mark: int
    """A hash of the arguments; 0: unknown. Of a signal or the end of a child: its number in the run's mailbox; 0: there is none."""
    attempt: int
    """The number of the attempt that ended so."""
    started_at: float
    python: int
    """The minor version of the interpreter: 311."""
    child: str | None = None
    """The run that the step has started."""


class Attempt(NamedTuple):
    """An attempt of a step that did not settle it: it failed and the next is due at `due`, or the body canceled it."""

    run: str
    claim: int
    key: str
    attempt: int
    asked: int
    canceled: bool
    error: str | None
    started_at: float
    finished_at: float
    due: float | None


class Started(NamedTuple):
    """An attempt of a step that has been under way for a while: for those who look. No replay reads it."""

    run: str
    claim: int
    key: str
    attempt: int
    started_at: float


class Move(NamedTuple):
    """The run's row changes, by an action of the table of transitions. An action that the row's status does not allow changes nothing."""

    run: str
    claim: int
    action: Action
    due: float | None = None
    """When to go on, of a run that sleeps."""
    keep: bool = False
    """The run stays with this worker."""
    output: str | None = None
    error: str | None = None
    attempt: int | None = None
    """Of the body, when it is to be tried again."""
    input: str | None = None
    """Of a run that goes on as new."""
    seen: int | None = None
    """The last news that the worker knows. A run that falls asleep without having seen all of them is awake again at once."""
    read: tuple[int, ...] = ()
    """Numbers of the signals that a run which goes on as new has done with."""


class LogEntry(NamedTuple):
    """A line of log. Its key is where in the history it was said, so that a replay says nothing twice."""

    run: str
    claim: int
    after: int
    """Outcomes delivered before it; -1 for lines from within a step."""
    scope: str
    n: int
    at: float
    level: str
    message: str
    fields: str
    step: str | None


class Progress(NamedTuple):
    """How far the run says it has come."""

    run: str
    claim: int
    done: float
    total: float | None
    message: str | None


# -- what a worker claims


UNRESOLVED: Final = "*"
"""The version of a run that was started by its workflow's name where nobody knew which versions there are: its first claim says."""


TO_COMPUTE: Final = ""
"""The input of a run whose schedule has a function for it that has not been called yet, or has failed. No JSON text is empty."""


class NewRun(NamedTuple):
    """A run as it is started."""

    id: str
    workflow: str
    version: str | None
    """None: the function without one."""
    input: str
    created_at: float
    available_at: float
    queue: str = "default"
    priority: int = 0
    tags: tuple[str, ...] = ()
    key: str | None = None
    timeout: float | None = None
    """Seconds from `available_at` until the run fails, whatever it is doing."""
    parent_id: str | None = None
    schedule: str | None = None
    """The name of the schedule that has started it."""
    scheduled_at: float | None = None
    """Its slot; when it was triggered by hand, the time of that."""
    awaited_as: str | None = None
    """The key of the step in which its parent awaits it; None: nobody does. Its end is told to the parent."""
    actor: str | None = None
    """Who starts it, to be kept as an event; None: nobody says so."""


class Signal(NamedTuple):
    """What was sent to a run, in its mailbox."""

    number: int
    """Its place in the order of the run's signals, from 1; there may be gaps."""
    name: str
    payload: str
    sent_at: float


class News(NamedTuple):
    """What has come for a run."""

    last: int
    """The number of the newest signal that ever came."""
    signals: tuple[Signal, ...]
    """Those that were asked for, in order."""


class StartChild(NamedTuple):
    """A run that a body starts. One that is there already stays as it is."""

    run: str
    claim: int
    key: str
    new: NewRun
    """With a key of its own, its parent is told which run has it."""
    by_name: bool = False
    """Its definition is to be looked for among those that are published."""
    queue: str | None = None
    priority: int | None = None
    """Instead of the definition's."""


class CancelChild(NamedTuple):
    """A child that is not awaited any more, and is to end. One that is not there, or has ended, stays so."""

    run: str
    claim: int
    child: str


class Tried(NamedTuple):
    """What is known of a step that has no outcome yet."""

    attempts: int
    """Attempts so far, which is the number of the last."""
    failures: int
    """How many of them count against the step's budget."""
    due: float
    """When the next may begin."""
    evidence: bool = False
    """Whether the code must still ask for the step. Attempts that a retry has taken back only count on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A run that this worker now owns, with its history."""

    id: str
    claim: int
    """Grows with each claim: the fence of everything that the worker writes for the run."""
    workflow: str
    version: str | None
    input: str
    attempt: int
    generation: int
    """How often the run has gone on as new."""
    created_at: float
    started_at: float
    scheduled_at: float | None
    tags: tuple[str, ...]
    outcomes: tuple[Outcome, ...] = ()
    tried: dict[str, Tried]
    logged: tuple[int, int]
    """The place of the last line that the body has logged: outcomes delivered, and which line since then."""
    crashes: int = 0
    """How many workers in a row have died with it, since one of its steps was last recorded."""
    complete: bool = True
    """Whether `outcomes` are all there are. If not, `Store.outcomes` has those after the last of them."""
    signals: tuple[Signal, ...] = ()
    """Those for which no outcome stands yet, in order."""
    news: int = 0
    """The number of the newest signal that ever came."""


class Definition(NamedTuple):
    """A workflow as its worker publishes it, for those who start runs without having its code."""

    name: str
    version: str | None
    queue: str
    priority: int
    timeout: float | None
    takes_version: bool
    input_schema: str
    """JSON schema, as text; `{}` where none can be made."""
    output_schema: str
    retry: str = "{}"
    """The policy of its steps and of its body, as `core.policy` writes it; `{}` where nobody has said."""


class NewWorker(NamedTuple):
    """A worker as it makes itself known."""

    id: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...] | None
    """None: all."""
    concurrency: int
    lease: float
    """Seconds after which a worker that has not been heard of is dead."""
    started_at: float
    definitions: tuple[Definition, ...]


# -- schedules


class NewSchedule(NamedTuple):
    """A schedule as a worker declares it."""

    name: str
    expression: str
    timezone: str
    overlap: str
    catch_up: str
    jitter: float | None
    """Seconds."""
    input: str | None
    """A value, as JSON; None: a function computes it, which only workers have."""
    version: str | None
    """The version of its runs."""
    first_at: float | None
    """The first slot from now on, for a schedule that is new, or that was another until now; None: there is none."""


class Declaration(NamedTuple):
    """What a release says of the schedules of one workflow. It names all of them: those that are left out end."""

    workflow: str
    digest: str
    """Of everything in it but the first slots: releases that say the same have the same."""
    schedules: tuple[NewSchedule, ...]


class Cursor(NamedTuple):
    """How far a schedule has come."""

    workflow: str
    name: str
    digest: str
    """Of the declaration that holds."""
    next_at: float | None
    """The first slot that nothing has been made of yet; None: there is none, or no release declares the schedule any more."""
    waiting_at: float | None = None
    """A slot that waits for the end of the last run."""
    paused: bool = False
    last_run: str | None = None
    going: bool = False
    """Whether that run exists, and has not ended."""
    seen_at: float | None = None
    """The time of the database when it was read; None: it is the caller's own."""


@dataclass(frozen=True, slots=True)
class NewSlot:
    """What has become of a slot, or of several that follow each other."""

    slot: float
    until: float
    """The last of them."""
    count: int | None
    """How many; None: more than were counted."""
    outcome: str
    """See `Slot.outcome`."""
    reason: str | None = None
    run: str | None = None
    actor: str | None = None


class Firing(NamedTuple):
    """What is to become of the slots of a schedule that are due. It does, if the cursor stands as it was seen."""

    cursor: Cursor
    """As it was seen."""
    next_at: float | None
    """Where it goes."""
    waiting_at: float | None = None
    runs: tuple[NewRun, ...] = ()
    """In the order of their slots. The last one becomes the last run of the schedule."""
    failed: tuple[tuple[str, str], ...] = ()
    """Those of the runs whose input could not be computed, and the error."""
    cancel: str | None = None
    """The run that the first of them takes the place of."""
    slots: tuple[NewSlot, ...] = ()


# -- what users read


LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999, after which there is no datetime. What is due later is due then."""


def instant(seconds: float) -> datetime:
    """Seconds since 1970 as an aware datetime in UTC."""
    return datetime.fromtimestamp(min(seconds, LATEST), UTC)


def optional_instant(seconds: float | None) -> datetime | None:
    """An aware datetime, where there is one."""
    return None if seconds is None else instant(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """The run, as its own body sees it: the same on every replay, but for `attempt`."""

    id: str
    workflow: str
    version: str | None
    attempt: int
    created_at: datetime
    started_at: datetime
    scheduled_at: datetime | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run says it has come."""

    done: float
    total: float | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as it stands."""

    id: str
    workflow: str
    version: str | None
    """None: the function without one, or not known yet."""
    status: RunStatus
    input: Any
    output: Any
    error: ErrorInfo | None
    """Of a failed run; of a paused one whose code no longer fits, why."""
    attempt: int
    key: str | None
    queue: str
    priority: int
    tags: tuple[str, ...]
    parent_id: str | None = None
    forked_from: str | None = None
    schedule: str | None = None
    scheduled_at: datetime | None = None
    waiting_for: str | None = None
    """Why it does not go on, where that can be said: `no worker has send_welcome_email v1`."""
    progress: RunProgress | None = None
    created_at: datetime
    available_at: datetime | None
    """When it could be claimed, or will be able to."""
    deadline_at: datetime | None = None
    started_at: datetime | None
    """The first start, which stays."""
    finished_at: datetime | None
    worker: str | None
    claimed_at: datetime | None = None
    """When a worker last took it up: what had been recorded by then was not executed again."""
    claimed_by: str | None = None
    """That worker, which need not have it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run as it stands, as a list shows it: without input and output. See `Run`."""

    id: str
    workflow: str
    version: str | None
    status: RunStatus
    preview: str
    """The first 120 characters of the input, as JSON; empty where it has yet to be computed."""
    attempt: int
    key: str | None
    queue: str
    priority: int
    tags: tuple[str, ...]
    parent_id: str | None = None
    forked_from: str | None = None
    schedule: str | None = None
    scheduled_at: datetime | None = None
    waiting_for: str | None = None
    progress: RunProgress | None = None
    created_at: datetime
    available_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    error: str | None
    """`Type: message`, at most 200 characters of it."""
    paused_by: str | None = None
    """Who has paused it, while it is paused, and if he has said who he is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One attempt of a step."""

    key: str
    name: str
    kind: str
    """`function`, `sleep`, `signal`, `child` or `value`."""
    status: str
    """`running`, `completed`, `failed` or `canceled`."""
    attempt: int
    output: Any
    error: ErrorInfo | None
    started_at: datetime
    finished_at: datetime | None
    child_id: str | None = None
    retry_at: datetime | None = None
    """When the next attempt is due, after one that has failed and did not settle the step."""


LEVELS: Final = ("debug", "info", "warning", "error", "critical")
"""Of lines of log, the least first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What a body or a step has said."""

    at: datetime
    level: str
    message: str
    fields: dict[str, Any]
    step: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What somebody has done to a run, beside the run itself."""

    at: datetime
    action: str
    """`pause`, `resume`, `cancel`, `retry` or `fork`; `start` or `signal`, where somebody has said that he starts the run, or sends it a
    signal; `trigger` or `backfill`, where somebody has let a schedule start it."""
    actor: str | None
    signal: str | None = None
    """The name of the signal that was sent."""


DECISIVE: Final = frozenset({"pause", "resume", "cancel"})
"""Events that say whether somebody keeps a run paused. Code that has changed pauses runs, too, and leaves no event."""


def paused_by(events: Sequence[Event]) -> str | None:
    """Who has paused a run that is paused, if it is in these events of it; queries of lists say the same of the newest ones."""
    last = next((event for event in reversed(events) if event.action in DECISIVE), None)
    return last.actor if last is not None and last.action == "pause" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are meant. What is left out is no filter."""

    statuses: frozenset[RunStatus] | None = None
    workflow: str | None = None
    version: str | None = None
    """`""`: without a version."""
    tags: tuple[str, ...] = ()
    """All of them."""
    queue: str | None = None
    created_after: float | None = None
    """Created then or later."""
    created_before: float | None = None
    """Created earlier than that."""
    finished_before: float | None = None
    """Ended earlier than that. A run that has not ended is none of them."""
    search: str | None = None
    """Part of the id, key, workflow, a tag, the beginning of the input, or the error; great and small letters alike."""
    unseen: tuple[str, ...] = ()
    """Parts of names, in small letters: an input in whose beginning there is one is not searched, as what lies under it is secret.

    Nor is the message of an error, where one is followed by `=` or `:`, or where there is a URL with somebody in it, or a header that says
    who asks. More is left out than has to be."""
    id_prefix: str | None = None
    id_from: str | None = None
    """Ids from this one on."""
    id_below: str | None = None
    """Ids smaller than this one."""
    within: int | None = None
    """Only the newest so many of all runs are looked at, from the first that the ids allow."""


Item_co = TypeVar("Item_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Item_co]):
    """Some of many, in order."""

    items: tuple[Item_co, ...]
    next_cursor: str | None = None
    """Where the next page begins; None: there is none."""
    previous_cursor: str | None = None
    """Where the page before ends; None: there is none."""

    def __iter__(self) -> Iterator[Item_co]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """A worker that is registered."""

    id: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...] | None
    """None: all."""
    concurrency: int
    running: int
    parked: int
    """Runs that wait in its memory."""
    definitions: tuple[str, ...]
    """`name`, or `name version`."""
    lease: timedelta
    draining: bool
    started_at: datetime
    beat_at: datetime
    serves: frozenset[tuple[str, str | None]] = field(default=frozenset(), repr=False)
    """Names and versions that it has functions for; `(name, "*")`: one that takes every version of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowState:
    """A workflow that some worker has published."""

    name: str
    versions: tuple[str | None, ...]
    """The newest first."""
    paused: bool
    retry: RetryPolicy | None = None
    """Of the version that a start by name gets; None: nobody has said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """A schedule as it stands."""

    workflow: str
    name: str
    expression: str
    timezone: str
    next_at: datetime | None
    """The next slot; None: there is none while it is paused, or when no release declares it."""
    last_at: datetime | None
    """The last slot of which a run was made."""
    last_run_id: str | None
    """The run that was started last, by a slot or by hand. It may be deleted."""
    paused: bool
    overlap: str
    catch_up: str
    jitter: timedelta | None = None
    version: str | None = None
    """The version of its runs."""
    input: Any = None
    """The value that each run gets; None where it is computed."""
    input_is_computed: bool = False
    waiting_at: datetime | None = None
    """A slot that waits for the end of the last run."""
    paused_at: datetime | None = None
    paused_by: str | None = None
    declared: bool = True
    """Whether the release that was started last declares it. If not, it does not fire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What has become of a slot of a schedule, or of several that follow each other."""

    number: int
    """Greater than those of earlier records."""
    at: datetime
    """The slot; the first one, of several. Of a trigger, when it was."""
    until: datetime
    """The last one."""
    count: int | None
    """How many; None: more than were counted."""
    outcome: str
    """`started` (a run was made of it), `failed` (a run, whose input could not be computed), `skipped` (by `overlap`, or while the
    schedule was paused), `missed` (nobody was there), `triggered` or `backfilled` (by hand)."""
    reason: str | None
    """Why it did not start a run, in words."""
    run_id: str | None
    """Its run. It may be deleted."""
    actor: str | None
    """Who has triggered or backfilled it."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue in which runs wait, or have waited."""

    name: str
    paused: bool


# -- what pages show of the whole


@dataclass(frozen=True, slots=True, kw_only=True)
class StepChip:
    """A step of a run, at a glance."""

    key: str
    status: str
    """`completed` or `failed`; `retrying`, of a step that has failed and is tried again; `running`, of one that has been for a while."""
    kind: str
    """See `StepRecord.kind`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How many runs have ended in an interval."""

    at: datetime
    """When it begins."""
    completed: int = 0
    failed: int = 0
    canceled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How the newest runs of a workflow have ended."""

    workflow: str
    runs: int
    """How many were looked at: those that have ended, of its newest."""
    failed: int
    """How many of them have failed."""
    p50: timedelta | None
    """From the first start to the end: half of those that were completed took no longer; None: none of them was."""
    p95: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long runs that were created in an interval have waited for a worker."""

    at: datetime
    """When it begins."""
    runs: int
    """How many were looked at: some of those that have begun, or could."""
    p50: timedelta | None
    """Half of them waited no longer; None: there are none."""
    p95: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVersion:
    """Runs of a workflow's version that have not ended."""

    workflow: str
    version: str | None
    """`UNRESOLVED`: not known before the first claim."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Runs of a lane that could be claimed now."""

    queue: str
    workflow: str
    version: str | None
    """`UNRESOLVED`: not known before the first claim."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for nothing but a worker."""

    oldest_ready_at: datetime | None
    """Since when the run waits that has waited longest; None: none does."""
    ready: tuple[Waiting, ...]
    """By lane, those with runs only: the name of the queue, then workflow and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What the database is."""

    kind: str
    """`SQLite`, `PostgreSQL` or `memory`."""
    version: str
    size: int | None
    """Bytes, of all that is in it; None where that cannot be said."""
    migrations: tuple[str, ...]
    """Those that were applied: `0001_initial`."""
    clock_skew: float | None
    """Seconds by which its clock is ahead of this machine's; None: it is the same."""


def version_label(name: str, version: str | None) -> str:
    """`name`, or `name version`."""
    return name if version is None else f"{name} {version}"
