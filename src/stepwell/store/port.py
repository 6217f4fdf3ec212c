"""What the engine and the app ask of a database: the verbs in the order of a run's life.

Instants are seconds since 1970, kept to the microsecond, and come from the caller; values are JSON text. Every verb may raise
`DatabaseUnavailable`, which says that the outcome is unknown; each can be called again with the same arguments, and what happens then is
said with it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from stepwell.core.records import (
        Attempt,
        Backlog,
        CancelChild,
        Claimed,
        Cursor,
        DatabaseFacts,
        Declaration,
        Definition,
        Ends,
        Event,
        Firing,
        LiveVersion,
        LogEntry,
        LogLine,
        Move,
        NewRun,
        News,
        NewSlot,
        NewWorker,
        Outcome,
        Page,
        Progress,
        QueueState,
        Run,
        RunFilter,
        RunSummary,
        ScheduleState,
        Slot,
        Speed,
        StartChild,
        Started,
        StepChip,
        StepRecord,
        WorkerState,
    )
    from stepwell.core.registry import Lane
    from stepwell.core.status import Action, RunStatus

T = TypeVar("T")

MAX_SIGNALS: Final = 10_000
"""In the mailbox of a run, read or not, until it goes on as new."""


ALL: Final = 1 << 31
"""As a limit: none."""

MAX_CHIPPED: Final = 10_000
"""Steps of a run that are looked at for `chips`."""

MAX_LISTED: Final = 500
"""Workflows, and lanes, of which an overview tells."""


class WriteRefused(Exception):  # says what happened to the write; users never see it
    """The database finds fault with the data of a batch. Trying again will not help; nothing of it was written."""


class EffectFailed(Exception):  # the engine deals with it; users never see it
    """What a step wanted to do in the database itself has failed, or is not wanted any more: nothing of it is to be written."""


class WorkerLost(Exception):  # the engine deals with it; users never see it
    """The worker is not registered, or no longer: it was taken for dead, and its runs are with others."""


class Hint(StrEnum):
    """What may have changed, in this process or another. Hints may be lost, late, or for nothing: they only save time."""

    READY = "ready"
    """There are runs to claim."""
    DUE = "due"
    """A run is due, or reaches its deadline, at a time that nobody waits for yet."""
    NOTICE = "notice"
    """Somebody has acted on a run that a worker owns."""
    ENDED = "ended"
    """Runs have ended."""


class Batch(NamedTuple):
    """What one transaction of a worker writes."""

    outcomes: Sequence[Outcome]
    attempts: Sequence[Attempt]
    moves: Sequence[Move]
    """At most one a run."""
    logs: Sequence[LogEntry]
    progress: Sequence[Progress]
    started: Sequence[Started] = ()
    starts: Sequence[StartChild] = ()
    cancels: Sequence[CancelChild] = ()


class Pin(NamedTuple):
    """What the first claim of a run fixes that was started where nothing was known of its workflow."""

    version: str | None
    timeout: float | None


class Look(NamedTuple):
    """What there is to do, at one glance."""

    ready: bool
    """A run can be claimed, in whatever lane."""
    due: float | None
    """When the next run without an owner has to be made ready, or a run reaches its deadline."""
    notices: bool
    """There are some for the worker that asked."""
    schedules: int = 0
    """Grows when something is done to a schedule, other than that it fires."""


class Notices(NamedTuple):
    """Runs that somebody else than their worker has acted on."""

    last: int
    """The number of the newest."""
    runs: Mapping[str, tuple[int, RunStatus] | None]
    """Claim and status as they are now; None: the run is not this worker's any more."""


class Peer(NamedTuple):
    """Another worker, as its heartbeat shows it."""

    beat: int
    """Grows with each of its beats."""
    lease: float
    gone: bool
    """Its process is known to have ended."""


class Beat(NamedTuple):
    """What a worker learns with its own heartbeat."""

    time: float | None
    """The database's clock; None: it is the caller's own."""
    draining: bool
    """An operator wants it to stop."""
    peers: Mapping[str, Peer]
    look: Look | None = None
    """What there is to do, where that can be said on the same occasion."""


class Halt(NamedTuple):
    """A workflow or a queue that an operator has paused as a whole: none of its runs is claimed."""

    kind: str
    """`workflow` or `queue`."""
    name: str


class Around(NamedTuple):
    """What decides whether a run is claimed, beside the run itself."""

    halts: Collection[Halt]
    workers: Sequence[WorkerState]
    lanes: Collection[Lane]
    """Those of runs whose version nobody knows yet."""


class Known(NamedTuple):
    """A workflow that somebody has published or paused."""

    name: str
    retries: Mapping[str | None, str]
    """By version: how its steps are tried again, as `core.policy` writes it."""
    paused: bool
    """As a whole."""


class Published(NamedTuple):
    """What is known of a workflow."""

    definitions: Sequence[Definition]
    """What workers have published of it, one for each version."""
    paused: bool
    """As a whole."""


class Story(NamedTuple):
    """A run, and what is told with it."""

    run: Run
    events: Sequence[Event]
    retry: str | None
    """How its steps are tried again, as `core.policy` writes it; None: nobody has published its workflow in this version."""


class Portion(NamedTuple):
    """What was done to some of many runs."""

    done: int
    """To how many of them."""
    last: str | None
    """After which run the next portion begins; None: there is none."""


class Ended(NamedTuple):
    """How a run has ended."""

    workflow: str
    status: RunStatus
    output: str | None
    error: str | None


class Effect(Protocol):
    """What one attempt of a step does in the database itself, in one transaction with the step's outcome."""

    @property
    def run(self) -> str: ...  # noqa: D102  # the step's
    @property
    def claim(self) -> int: ...  # noqa: D102  # under which it is executed
    @property
    def key(self) -> str: ...  # noqa: D102  # the step's
    @property
    def is_async(self) -> bool: ...  # noqa: D102  # whether its function is an `async def`

    @property
    def numbered(self) -> bool:
        """Whether its outcome has a number. When `transact` begins, that says that it may be written already."""

    def number(self) -> None:
        """Let its outcome take the next number of the run. On the loop, and as late as the store can. A second time changes nothing."""

    def void(self) -> None:
        """Give the number back, on the loop: nothing is written under it, and nothing will be. Without one, it changes nothing."""

    def call(self, connection: Any) -> Any:
        """Call its `def`, in whatever thread; what that returns. Raises EffectFailed."""

    async def awaited(self, connection: Any) -> Any:
        """Await its `async def`, on the loop; what that returns. It is canceled when it is not wanted any more. Raises EffectFailed."""

    async def in_thread(self, function: Callable[[], T], stop: Callable[[], None]) -> T:
        """What this returns, called in one of the threads for steps. Raises EffectFailed: it is not wanted any more.

        A thread cannot be stopped: when it is not wanted any more, `stop` is called, on the loop, and the end of the call is waited for.
        """

    def outcome(self, value: Any) -> Outcome:
        """What is to be written with it, in whatever thread, once it has a number. Raises EffectFailed."""

    def found(self, outcome: Outcome) -> None:
        """This was written before."""

    def blame(self, error: Exception | None) -> None:
        """When its function has raised: it failed by this. None: by nothing that it has done, so that it is called again."""


class Store(Protocol):
    """A database with runs in it.

    In whatever way a run ends that its parent awaits: the transaction that ends it puts that into the parent's mailbox.
    """

    # -- the store itself

    async def open(self, *, migrate: bool = True) -> None:
        """Connect, on the running event loop, and make or migrate the tables.

        Raises:
            DatabaseUnavailable: it cannot be reached or used, or has no tables and `migrate` is False.
            DatabaseTooNew: its tables are of a newer version.
        """

    async def close(self) -> None:
        """Let go of all connections. Closing twice changes nothing; a closed store can be opened again."""

    def migration_sql(self) -> str:
        """All that makes and migrates the tables, for those who apply it by themselves. Nothing is opened for it."""

    def listen(self, told: Callable[[Hint], None]) -> Callable[[], None]:
        """Be told when something may have changed, from plain callbacks of the loop. Calling what is returned ends it."""

    def hint(self, hint: Hint) -> None:
        """Tell all who listen, in this process and in others."""

    # -- start

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """Add runs; the id of each, which is an earlier run's where its workflow and key are taken. The same id again changes nothing."""

    async def enqueue_within(self, connection: Any, runs: Sequence[NewRun]) -> list[str]:
        """As `enqueue`, in the open transaction of a caller's connection to the same database, or in one that its driver would begin.

        Raises:
            DefinitionError: it is no such connection, leads to another database, or has no transaction open.
        """

    async def definitions(self) -> list[Definition]:
        """What workers have published, whether they still live or not."""

    # -- a worker's life

    async def register(self, worker: NewWorker) -> None:
        """A worker begins, and publishes its definitions. Registering the same one again changes nothing."""

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        """The worker lives; None: it is not registered any more. Blocks: it is called from a thread of its own."""

    async def rescue(self, worker: str, beat: int, now: float, limit: int, max_crashes: int) -> int:
        """Take up to `limit` runs from a worker that is dead; how many. Its beat must be this one still, else nothing happens.

        From the first call on it cannot claim or write. A run that it executed can be claimed at once, with one more crash; one that
        has `max_crashes` of them fails. What slept goes on sleeping. When less than `limit` were left, the worker is forgotten.
        """

    async def hand_back(self, worker: str, now: float, limit: int) -> int:
        """Take up to `limit` runs from a worker that leaves; how many. No crash is counted.

        When less than `limit` were left, the worker is forgotten.
        """

    async def look(self, worker: str, now: float) -> Look:
        """What there is to do for this worker, in one cheap query."""

    async def make_ready(self, now: float, limit: int) -> int:
        """Make up to `limit` runs that are due and that no worker owns ready to be claimed; how many."""

    async def expire(self, now: float, limit: int) -> int:
        """Let up to `limit` runs fail whose deadline has passed, whatever they are doing unless they are paused; how many."""

    # -- schedules

    async def declare(self, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> int:
        """Say which schedules the workflows of a worker have; the number of its release, which the worker gives with each later call.

        Without a number it is the newest release. What an older one says of a workflow holds only where no worker that lives says what
        the newer one has said. A schedule that is new, or has another expression or zone than until now, begins with its `first_at`; any
        other goes on where it stands. One that is not named any more ends, and is paused still when it comes back.

        Raises WorkerLost.
        """

    async def changed_schedules(self, deed: int, limit: int) -> list[tuple[str, str]]:
        """Up to `limit` schedules (workflow and name) to which something was done after this deed: see `Look.schedules`."""

    async def cursors(self, keys: Collection[tuple[str, str]]) -> list[Cursor]:
        """How far these schedules (workflow and name) have come; without those that nobody has ever declared."""

    async def fire(self, firings: Sequence[Firing], now: float) -> list[bool]:
        """Make runs, and records, of slots, and move the cursors: all in one transaction, and which of them it did.

        It does for each schedule whose cursor stands as it was seen, whose declaration is the same, and that is not paused. So a slot
        makes one run, whoever else fires it; and of several firings of one schedule, the first is done at most.
        """

    async def supply(self, worker: str, run_id: str, claim: int, input: str) -> bool:
        """Give a run its input that was `TO_COMPUTE`; False: this worker does not hold the claim. Twice changes nothing."""

    async def schedules(self, workflow: str | None = None, name: str | None = None) -> list[ScheduleState]:
        """Those of the workflow, or this one, or all that were ever declared, by workflow and name."""

    async def pause_schedule(self, workflow: str, name: str, now: float, actor: str | None = None) -> bool:
        """Let it fire no more; False: nobody has ever declared it. A slot that waits is skipped. Twice changes nothing."""

    async def resume_schedule(self, seen: Cursor, next_at: float | None, skipped: NewSlot | None, now: float, actor: str | None) -> bool:
        """Let it fire again, from `next_at` on; False: its cursor does not stand as it was seen. If it is not paused, nothing changes.

        One that no release declares any more is not paused when it comes back, and does not fire until then.
        """

    async def trigger(self, run: NewRun, now: float, actor: str | None = None) -> str:
        """Start a run of its schedule by hand; its id. The same id again changes nothing. Raises ScheduleNotFound."""

    async def backfill(self, runs: Sequence[NewRun], now: float, actor: str | None = None) -> list[str]:
        """Start runs of slots of one schedule; the ids of those that were.

        Left out are slots that have had a run, and those that the schedule will come to by itself. The same ids again change nothing,
        and are answered again. Raises ScheduleNotFound.
        """

    async def slots(self, workflow: str, name: str, limit: int, before: int | None = None) -> list[Slot]:
        """What has become of its slots, the newest record first; with `before`, those with a smaller number."""

    async def schedule_events(self, workflow: str, name: str, limit: int = ALL) -> list[Event]:
        """Who has paused and resumed it, in order: the first `limit`; none of one that nobody has declared."""

    async def forget_slots(self, keys: Collection[tuple[str, str]], keep: int) -> None:
        """Forget records of slots of these schedules, but for the newest `keep` of each."""

    # -- claim

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        """Make up to `limit` runs that are ready now this worker's own, with their histories.

        Taken are runs of lanes for which `serves` says what an unresolved run of it is. (It is called from whatever thread.) Runs
        that have begun before come first, for up to three quarters of `limit`. Among them, and among the others: the most urgent
        first, then lanes in turn, and in each the oldest first. Where far more lanes wait than `limit`, those to which something has
        come last go ahead of the others, with a quarter of the claims at most. Of runs with two crashes or more, one is taken at most; with
        `suspects` False, none.

        After an unknown outcome, runs may be this worker's without its knowing: `standing` tells. Raises WorkerLost.
        """

    async def outcomes(self, run_id: str, after: int, limit: int) -> list[Outcome]:
        """Recorded outcomes of a run, those with the next `limit` numbers after `after`: of a history that was too long for its claim."""

    # -- what a worker writes

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """Write the batch, in one transaction.

        Only what concerns a run whose claim this worker holds is written. The answer has an entry for each other run and claim of the
        batch, None; and for each run that was neither running nor sleeping when the batch was applied, its status then. A move is applied
        when the table of transitions allows it from that status.

        Writing the same batch again changes nothing. Raises WriteRefused for data that the database cannot hold. An outcome whose key
        is taken by another one is a breach of everything else here: RuntimeError, which ends the worker.
        """

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """Let a step write to the database, and write its outcome, in one transaction.

        Only if this worker holds the claim, and the run has not ended. Else nothing is written: None, or how the run has ended. If it is
        written, the answer is `running`, or the status of a run that is paused or pending. When the effect fails nothing is written, and
        other writes are none the worse for it.

        Called again after an unknown outcome, it writes nothing if the outcome is there, and says so by `found`. Raises EffectFailed;
        WriteRefused for an outcome that the database cannot hold; DefinitionError when this database, or this function, cannot do it.
        """

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        """What others have done to runs of this worker. Notices up to the number `seen` are forgotten, the others are told again."""

    async def news(self, seen: Mapping[str, int]) -> Mapping[str, News]:
        """What has come for these runs after the number that each comes with; without those that do not exist."""

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        """Claim and status of every run that this worker owns."""

    # -- what operators do

    async def act(self, run_id: str, action: Action, now: float, actor: str | None = None) -> Run:
        """Pause, resume, cancel or retry a run, as the table of transitions says. What changes something is kept as an event.

        With a run, the children that it awaits are canceled. After a retry it has others.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: the table does not allow it.
        """

    async def act_on_all(self, where: RunFilter, action: Action, now: float, actor: str | None, limit: int) -> int:
        """Do this to up to `limit` runs that match and that it changes; how many. Again until it is less than `limit`, for all."""

    async def signal(self, run_id: str, id: str, name: str, payload: str, now: float, actor: str | None = None) -> None:
        """Put this into the mailbox of a run, and let it go on if it sleeps. The same `id` again changes nothing.

        Its worker is told, if it has one; else it can be claimed at once, unless it sleeps out the delay of a retry. With an actor it is
        kept as an event, too.

        Raises:
            RunNotFound: there is no such run.
            IllegalTransition: it has ended.
            MailboxFull: it has `MAX_SIGNALS` already.
        """

    async def signal_all(
        self,
        where: RunFilter,
        id: str,
        name: str,
        payload: str,
        now: float,
        after: str | None,
        limit: int,
        actor: str | None = None,
    ) -> Portion:
        """The same for up to `limit` live runs that match, the oldest first, from the one after run `after` on.

        The same `id` again is sent to none twice. A run whose mailbox is full is passed over, and not counted.
        """

    async def fork(self, source: str, new: NewRun, from_step: str, actor: str | None = None) -> str:
        """Add a run that has the recorded outcomes of another, but for this step's and what was asked for in the knowledge of it.

        Signals that were sent to that run and not read are not taken over.

        Raises:
            RunNotFound: there is no such run.
            DefinitionError: it has no outcome of this key; the message says which it has.
        """

    async def delete(self, run_id: str) -> None:
        """Forget an ended run with all that belongs to it. Raises RunNotFound; IllegalTransition: it has not ended."""

    async def delete_all(self, where: RunFilter, limit: int) -> int:
        """Forget up to `limit` ended runs that match; how many. Again until it is less than `limit`, for all.

        Runs that somebody else deletes in the same moment may be counted, too: two who delete the same do not stop each other.
        What their ends said to parents that await them stays in the parents' mailboxes, so that no parent misses a child.
        """

    async def drain(self, worker: str, now: float, actor: str | None = None) -> bool:
        """Ask a worker to stop; False: it is not registered."""

    async def halt(self, what: Halt, *, halted: bool, now: float, actor: str | None = None) -> None:
        """Claim no more runs of a workflow or queue, or claim them again. Twice changes nothing."""

    async def halts(self) -> Collection[Halt]:
        """What is paused as a whole."""

    # -- what is read

    async def get(self, run_id: str) -> Run:
        """The run as it stands. Raises RunNotFound."""

    async def find(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[Run]:
        """A page of the runs that match, by the time of their creation. Raises ValueError: the cursor is none of this store's."""

    async def count(self, where: RunFilter) -> Mapping[RunStatus, int]:
        """How many runs match, by status; without those of which there is none."""

    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        """Of these runs, those that have ended; None for those that do not exist."""

    async def steps(self, run_id: str) -> list[StepRecord]:
        """Its steps, one record an attempt, in the order in which they were started. Raises RunNotFound."""

    async def logs(
        self,
        run_id: str,
        after: int = 0,
        limit: int = 10_000,
        *,
        step: str | None = None,
        levels: Collection[str] | None = None,
        last: bool = False,
    ) -> list[LogLine]:
        """What it has said, in order, without the first `after` lines; with `last`, without so many at the end, and from there.

        Only what this step has said, and only lines of these levels. Raises RunNotFound.
        """

    async def events(self, run_id: str, limit: int = ALL) -> list[Event]:
        """What was done to it, in order: the first `limit`. Raises RunNotFound."""

    async def history(self, run_id: str) -> Claimed:
        """The run as a worker would get it, without claiming it. Raises RunNotFound."""

    async def lanes(self) -> Collection[Lane]:
        """Where runs wait, or have waited."""

    async def workers(self, limit: int = ALL) -> list[WorkerState]:
        """Those that are registered, by the time of their start: the first `limit`."""

    async def pulse(self) -> str:
        """A text that is another one when something was written meanwhile, and sometimes for nothing. Cheap to ask for."""

    # -- what pages show: no payload is read, nothing is counted to its end, and each may raise TooSlow

    async def summaries(self, where: RunFilter, *, newest: bool, limit: int, cursor: str | None) -> Page[RunSummary]:
        """As `find`, without input and output."""

    async def summaries_of(self, run_ids: Collection[str]) -> Mapping[str, RunSummary]:
        """These runs, by id; those that are not there are left out."""

    async def active(self, limit: int) -> list[RunSummary]:
        """Up to `limit` runs that have not ended: first those that are running, then the others, the newest first."""

    async def tally(self, where: RunFilter, cap: int) -> Mapping[RunStatus, int]:
        """How many runs match, for each status that the filter allows. It is counted up to `cap` + 1, which means more than `cap`."""

    async def chips(self, run_ids: Collection[str], limit: int) -> Mapping[str, tuple[int, list[StepChip]]]:
        """How many steps each of these runs has, and the last `limit` of them, in order; those that are under way are the last.

        Steps that the body has canceled are none of them. Of a run that has more than `MAX_CHIPPED` steps so many are looked at, which
        need not be the last: it is said to have one more.
        """

    async def ends(self, since: float, until: float, width_seconds: float, workflow: str | None = None) -> list[Ends]:
        """How many runs have ended from `since` until before `until`, in intervals of this width, each of which is there."""

    async def ends_by_workflow(
        self, since: float, until: float, width_seconds: float, workflows: Collection[str] | None = None
    ) -> Mapping[str, list[Ends]]:
        """As `ends`, of each of these workflows, or of all, of which a run has ended in that time."""

    async def speeds(self, limit: int, workflows: Collection[str] | None = None) -> list[Speed]:
        """How fast each of these workflows is, or each that somebody has published or started, by name: of `MAX_LISTED` at most.

        Looked at are its newest `limit` runs that have ended, of its newest ten times as many.
        """

    async def waits(self, parts: Sequence[tuple[str, str]], limit: int, now: float, workflow: str | None = None) -> list[list[float]]:
        """For how many seconds runs have waited until they began, or wait now: of each part, its first and its last `limit` runs, by id.

        A part is a range of ids, from the first up to without the second. A run waits from when it could begin; where that is not known any
        more, since it has slept or was retried, from its creation. One that is not to begin yet, or has ended without, is left out.
        """

    async def live_versions(self, cap: int) -> list[LiveVersion]:
        """Which versions the runs are of that have not ended, by workflow and version. Of each status the oldest `cap` are looked at."""

    async def backlog(self, cap: int) -> Backlog:
        """What waits for nothing but a worker; each lane is counted up to `cap` + 1, which means more than `cap`.

        The longest wait is looked for among the oldest `cap` runs that are pending, and the first of each lane.
        """

    async def facts(self, now: Callable[[], float]) -> DatabaseFacts:
        """What the database is. `now` is the clock of this machine, with which its own is compared; it is called from whatever thread."""

    # -- lists that pages turn: each is read from a place on, as far as a page goes, and may raise TooSlow

    async def around(self, limit: int) -> Around:
        """What decides whether a run is claimed: up to `limit` of each. Of workers, those that were heard of last."""

    async def catalog(self, find: str, after: str, limit: int) -> list[Known]:
        """Workflows that somebody has published or paused, by name: up to `limit` of those after `after` with this text in their names.

        Great and small letters are alike; on SQLite, those of ASCII. Of each workflow the `MAX_LISTED` versions are told that were
        published last.
        """

    async def published(self, workflow: str, limit: int) -> Published:
        """What is known of this workflow: up to `limit` versions."""

    async def queues(self, limit: int) -> list[QueueState]:
        """Those that workflows name, in which runs wait or have waited, and that are paused: the first `limit`, by name."""

    async def schedules_page(
        self, find: str, declared: tuple[str, str] | None, others: tuple[str, str] | None, limit: int
    ) -> list[ScheduleState]:
        """Up to `limit` schedules with this text in a name: those after `declared` that are, then those after `others` that are not.

        Each by workflow and name. None instead of a place: none of them. The text is looked for as by `catalog`.
        """

    async def unknown_schedules(self, keys: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Which of these (workflow and name) nobody has ever declared."""

    async def schedules_of(self, workflows: Collection[str], limit: int) -> Mapping[str, list[ScheduleState]]:
        """Of each of these workflows the first `limit` schedules, by name: those that are declared, then the others.

        Without workflows that have none.
        """

    async def due_schedules(self, before: float, cap: int) -> tuple[int, int]:
        """How many schedules will fire, and how many of them should have before this time, of `cap` + 1 that are looked at."""

    async def story(self, run_id: str, limit: int) -> Story:
        """A run, the last `limit` things that were done to it, in order, and how its steps are tried again. Raises RunNotFound."""

    async def trace(self, run_id: str, limit: int) -> list[StepRecord]:
        """The newest `limit` attempts of a run, as `steps` has them, but for what they have returned; of an error, its type.

        A run that is not there has none.
        """

    async def some_steps(self, run_id: str, key: str | None, attempt: int | None, cursor: str | None, limit: int) -> Page[StepRecord]:
        """Up to `limit` attempts of a run, as `steps` has them: only of this step, and of this number. There is no page before.

        Raises:
            RunNotFound: there is no such run.
            ValueError: the cursor is none of this verb's.
        """
