"""Sees every change of the store, and says which must not be. It knows only the port's promises and the table of transitions.

It also knows since when a worker no longer holds a run: the ledger of steps asks for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepwell.core.failure import error_from
from stepwell.core.records import NewRun
from stepwell.core.status import TRANSITIONS, Action, RunStatus
from stepwell.store.port import Batch, Halt
from tests.simulation.almanac import Almanac
from tests.simulation.tables import Seen, Tables

if TYPE_CHECKING:
    from tests.simulation.world import World

_BY_WORKERS = (
    Action.WAKE,
    Action.PARK,
    Action.RELEASE,
    Action.RETRY_LATER,
    Action.CONTINUE_AS_NEW,
    Action.DIVERGE,
    Action.COMPLETE,
    Action.FAIL,
)
_ACTIONS: dict[str, tuple[Action, ...]] = {
    "claim": (Action.CLAIM,),
    "commit": _BY_WORKERS,
    "make_ready": (Action.MAKE_READY,),
    "expire": (Action.EXPIRE,),
    "rescue": (Action.RESCUE, Action.FAIL),
    "hand_back": (Action.RESCUE,),
    "fire": (Action.CANCEL,),
}
_READS = frozenset({
    "look", "notices", "standing", "outcomes", "ended", "get", "find", "count", "steps", "logs", "events", "history", "lanes", "workers",
    "definitions", "halts", "cursors", "schedules", "slots", "supply", "forget_slots",
})  # fmt: skip
_EARLY = 1e-3
"""Seconds by which an instant may be missed for what floating point and clocks' alarms are."""


class Watch:
    """What is known of the runs, and of the workers."""

    def __init__(self, world: World, tables: Tables) -> None:
        self.runs: dict[str, Seen] = {}
        self.since: dict[str, float] = {}
        """When each run came into its status."""
        self.lost: dict[tuple[str, int], float] = {}
        """When each claim that is over ended."""
        self.epochs: dict[str, int] = {}
        """How often outcomes of the run were taken back."""
        self.new: dict[str, NewRun] = {}
        """As they were started, also those of starts that were not confirmed."""
        self.deleted: set[str] = set()
        self.acted: set[str] = set()
        """Runs that an operator has done something to."""
        self.ended: set[str] = set()
        """Workers whose processes are known to have ended."""
        self.leases: dict[str, float] = {}
        self.expected: dict[str, asyncio.Event] = {}
        """Set when a run has changed."""
        self.almanac = Almanac(world)
        self._world = world
        self._tables = tables
        self._beats: dict[str, float] = {}
        self._halted: set[Halt] = set()
        self._crashes: dict[str, int] = {}

    # -- what it is told

    def saw(self, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], answer: Any) -> None:
        """The store has done this."""
        if verb == "cursors":
            self.almanac.told_of(answer)
        if verb in _READS:
            return
        if verb == "register":
            # Who was taken for dead before its registration was answered is registered again under the same id, and with the same beat:
            # who takes it for dead once more cannot know that. The fence holds all the same.
            if args[0].id not in self.leases:
                self._beats[args[0].id] = self._now
            self.leases[args[0].id] = args[0].lease
        if verb in ("act", "act_on_all"):
            self._remember_acts(verb, args)
        self.almanac.before(verb, args)
        for run_id, after in self._tables.changed(self.runs):
            before = self.runs.get(run_id)
            self._world.note(f"{verb}: {self._world.short(run_id)} {_told(before)} -> {_told(after)}")
            self._check(verb, args, run_id, before, after)
            self._keep(run_id, before, after)
            if run_id in self.expected:
                self.expected.pop(run_id).set()
        self.almanac.saw(verb, args, answer)
        if verb == "rescue":
            self._check_rescue(args[0])
        elif verb == "hand_back" and not self._tables.has_worker(args[0]):
            self._beats.pop(args[0], None)
        if verb == "halt":
            (self._halted.add if kwargs["halted"] else self._halted.discard)(args[0])

    def has_beaten(self, worker: str) -> None:
        """The store has a heartbeat of this worker."""
        self._beats[worker] = self._now

    def lost_at(self, run_id: str, claim: int) -> float | None:
        """Since when this claim is over; None: it is held."""
        seen = self.runs.get(run_id)
        if seen is not None and seen.claim == claim and seen.worker is not None:
            return None
        return self.lost.get((run_id, claim), self._now)

    def paused_at(self, run_id: str) -> float | None:
        """Since when the run is paused; None: it is not."""
        seen = self.runs.get(run_id)
        return self.since[run_id] if seen is not None and seen.status is RunStatus.PAUSED else None

    @property
    def _now(self) -> float:
        return self._world.loop.time()

    def _remember_acts(self, verb: str, args: tuple[Any, ...]) -> None:
        if verb == "act":
            self.acted.add(args[0])
        else:
            self.acted |= set(self.runs)

    def _keep(self, run_id: str, before: Seen | None, after: Seen | None) -> None:
        if after is None:
            del self.runs[run_id]
            self.deleted.add(run_id)
            return
        self.runs[run_id] = after
        if before is None and run_id in self.deleted:  # a start that was not answered was made again, after its run was deleted
            self.epochs[run_id] = self.epochs.get(run_id, 0) + 1
            self.lost = {held: when for held, when in self.lost.items() if held[0] != run_id}
            for process in self._world.processes.values():
                process.told = {held: told for held, told in process.told.items() if held[0] != run_id}
        if before is None or before.status is not after.status:
            self.since[run_id] = self._now
        if before is not None and before.worker is not None and (before.worker, before.claim) != (after.worker, after.claim):
            self.lost.setdefault((run_id, before.claim), self._now)

    # -- what must hold

    def _wrong(self, what: str) -> None:
        self._world.wrong(what)

    def _check(self, verb: str, args: tuple[Any, ...], run_id: str, before: Seen | None, after: Seen | None) -> None:
        where = f"{verb} of run {self._world.short(run_id)}: {_told(before)} -> {_told(after)}"
        if before is None or after is None:
            self._check_existence(verb, args, where, run_id, before, after)
            return
        self._check_transition(verb, args, where, run_id, before, after)
        self._check_outcomes(verb, args, where, before, after)
        check: Callable[[Any, str, str, Seen, Seen], None] | None = {
            "claim": self._check_claim,
            "commit": self._check_commit,
            "transact": self._check_transact,
            "make_ready": self._check_unowned,
            "rescue": self._check_taken,
            "hand_back": self._check_taken,
        }.get(verb)
        if check is not None:
            check(args, where, run_id, before, after)
        self._count_crashes(verb, args, where, run_id, before, after)

    def _check_existence(self, verb: str, args: tuple[Any, ...], where: str, run_id: str, before: Seen | None, after: Seen | None) -> None:
        if before is None and not self._may_begin(verb, args, run_id, after):
            self._wrong(f"{where}: a run comes from nowhere")
        if after is None and (verb not in ("delete", "delete_all") or before is None or not before.status.ended):
            self._wrong(f"{where}: a run is lost")
        if after is not None and after.key is not None:
            same = [seen for seen in self.runs.values() if (seen.workflow, seen.key) == (after.workflow, after.key)]
            if same:
                self._wrong(f"{where}: key {after.key!r} is there twice")

    def _may_begin(self, verb: str, args: tuple[Any, ...], run_id: str, after: Seen | None) -> bool:
        if after is None or verb not in ("enqueue", "fork", "fire", "trigger", "backfill"):
            return False
        failed = verb == "fire" and any(run_id in dict(firing.failed) for firing in args[0])
        return after.status is (RunStatus.FAILED if failed else RunStatus.PENDING)

    def _check_transition(self, verb: str, args: tuple[Any, ...], where: str, run_id: str, before: Seen, after: Seen) -> None:
        if verb == "transact" and before.status is after.status:
            return
        actions = (args[1],) if verb in ("act", "act_on_all") else _ACTIONS.get(verb, ())
        allowed = {TRANSITIONS.get((before.status, action)) for action in actions}
        if verb == "fire" and not self.almanac.may_cancel(run_id, args[0]):
            self._wrong(f"{where}: it was to make room for no other")
        if not actions or (before.status is not after.status and after.status not in allowed):
            self._wrong(f"{where}: no transition that the table has")

    def _check_outcomes(self, verb: str, args: tuple[Any, ...], where: str, before: Seen, after: Seen) -> None:
        if verb in ("act", "act_on_all") and args[1] is Action.RETRY:
            failed = error_from(before.error).steps if before.error is not None else ()
            if kept := [key for key in failed if key in after.outcomes]:
                self._wrong(f"{where}: {kept} have failed, and were not taken back")
            return
        if before.outcomes == after.outcomes:
            return
        if verb not in ("commit", "transact"):
            self._wrong(f"{where}: outcomes have changed")
        elif after.generation == before.generation and any(after.outcomes.get(key) != each for key, each in before.outcomes.items()):
            self._wrong(f"{where}: an outcome was changed, or is lost")

    def _check_claim(self, args: Any, where: str, run_id: str, before: Seen, after: Seen) -> None:
        if before.worker is not None or after.worker != args[0] or after.claim <= before.claim:
            self._wrong(f"{where}: two workers have it")
        new = self.new.get(run_id)
        if {Halt("workflow", before.workflow), Halt("queue", new.queue if new else "")} & self._halted:
            self._wrong(f"{where}: it is claimed although its workflow or queue is halted")
        if new is not None and run_id not in self.acted and self._now < new.available_at - self._world.skew - _EARLY:
            self._wrong(f"{where}: it is claimed {new.available_at - self._now:g} s too early")

    def _check_commit(self, args: Any, where: str, run_id: str, before: Seen, after: Seen) -> None:
        worker, batch = args[0], args[1]
        if before.worker != worker or (run_id, before.claim) not in claims_of(batch):
            self._wrong(f"{where}: written by {worker}, which does not hold it")
        if after.worker not in (None, worker) or after.claim != before.claim:
            self._wrong(f"{where}: a commit has given the run to somebody")

    def _check_transact(self, args: Any, where: str, run_id: str, before: Seen, after: Seen) -> None:
        worker, effect = args[0], args[1]
        if (before.worker, run_id, before.claim) != (worker, effect.run, effect.claim) or before.status.ended:
            self._wrong(f"{where}: written by {worker}, which does not hold it")
        if (after.worker, after.claim, after.generation) != (before.worker, before.claim, before.generation):
            self._wrong(f"{where}: a transaction has changed more than outcomes")

    def _check_unowned(self, args: Any, where: str, run_id: str, before: Seen, after: Seen) -> None:
        if before.worker is not None:
            self._wrong(f"{where}: it was made ready although {before.worker} has it")

    def _check_taken(self, args: Any, where: str, run_id: str, before: Seen, after: Seen) -> None:
        if before.worker != args[0] or after.worker is not None:
            self._wrong(f"{where}: it was taken from {args[0]}, which does not have it")

    def _check_rescue(self, worker: str) -> None:
        """Nobody is taken for dead who has beaten within its lease."""
        beaten = self._beats.pop(worker, None) if not self._tables.lives(worker) else None
        if beaten is None or worker in self.ended:
            return
        silence = self._now - beaten
        if silence < self.leases[worker] - _EARLY:
            self._wrong(f"worker {worker} was taken for dead {silence:g} s after its last beat")

    def _count_crashes(self, verb: str, args: tuple[Any, ...], where: str, run_id: str, before: Seen, after: Seen) -> None:
        if verb == "rescue" and before.status is RunStatus.RUNNING:
            self._crashes[run_id] = crashes = self._crashes.get(run_id, 0) + 1
            if (after.status is RunStatus.FAILED) != (crashes >= args[4]):
                self._wrong(f"{where}: after {crashes} crashes in a row, of {args[4]}")
        elif before.outcomes != after.outcomes or before.generation != after.generation or before.status.ended:
            self._crashes[run_id] = 0
        if verb in ("act", "act_on_all") and args[1] is Action.RETRY:
            self.epochs[run_id] = self.epochs.get(run_id, 0) + 1


def claims_of(batch: Batch) -> set[tuple[str, int]]:
    """The runs and claims that a batch is about."""
    kinds = (batch.outcomes, batch.attempts, batch.moves, batch.logs, batch.progress, batch.started)
    return {(write.run, write.claim) for kind in kinds for write in kind}


def _told(seen: Seen | None) -> str:
    if seen is None:
        return "nothing"
    owner = f" at {seen.worker}" if seen.worker else ""
    return f"{seen.status} {seen.generation}.{seen.claim}{owner} {len(seen.outcomes)} outcomes"
