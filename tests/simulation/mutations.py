"""Rules of the engine and of the stores, switched off one at a time: the simulation must miss each.

The machinery is that of the proof: a mutation changes the text of one function in memory, and says so where that text is gone.
`python -m tests.simulation.mutations` prints what each leads to, and how soon.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from stepwell.core import slots
from stepwell.engine import notices, scheduler
from stepwell.engine.claims import Claims
from stepwell.engine.committer import Committer
from stepwell.engine.execution import Execution
from stepwell.engine.lease import Silences
from stepwell.engine.rescue import Rescuer
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.stopping import Stopping
from stepwell.engine.timers import Timers
from stepwell.engine.waiters import Waiters
from stepwell.engine.watch import Watch
from stepwell.engine.worker import Worker
from stepwell.schedules import Schedules
from stepwell.store.memory import acting, claiming, scheduling, writing
from stepwell.store.memory.adapter import MemoryStore
from stepwell.store.memory.tables import Tables
from stepwell.store.sql import keeping
from stepwell.store.sql.writing import Writes
from stepwell.store.sqlite import transacting
from tests.proof.lives import Wrong
from tests.proof.mutations import Change, Mutation, main
from tests.simulation.simulating import first_failure
from tests.simulation.weather import MISHAPS

SEEDS = 150
"""Simulations in which a rule must be missed."""


def _on(store: str, mishaps: tuple[str, ...], first: int) -> Callable[[], None]:
    def simulated() -> None:
        failure = first_failure(range(first, first + SEEDS), store, mishaps)
        if failure is not None:
            raise Wrong(failure)

    return simulated


def _rule(
    rule: str, owner: Any, function: str, *texts: str, store: str = "memory", mishaps: tuple[str, ...] = MISHAPS, first: int = 0
) -> Mutation:
    """`texts`: old, new, old, new. `first`: the seed to begin with, where those before come to no such case."""
    changes = tuple(Change(owner, function, old, new) for old, new in zip(texts[::2], texts[1::2], strict=True))
    return Mutation(rule, changes, _on(store, mishaps, first))


MUTATIONS = (
    # -- ownership
    _rule("only the holder of a claim writes", writing, "_fenced", "or (row.worker != worker and not row.status.ended)", ""),
    _rule("only the holder of a claim writes, in SQLite", Writes, "fence", "if status in _TAKING:", "if True:",
          "or (not is_mine and status in _TAKING)", "", store="sqlite"),
    _rule("who has beaten since is not taken for dead", MemoryStore, "rescue", "or known.beat != beat", ""),
    _rule("nobody is dead before a whole lease is over", Silences, "dead", ">= peer.lease", ">= peer.lease / 3"),
    _rule("the runs of the dead are taken", Rescuer, "take", "if dead:", "if False:"),
    _rule("the runs of the dead that executed can be claimed", acting, "take", "row.get_ready(now)", "pass"),
    _rule("crashes are counted", acting, "take", "row.crashes += 1", "pass", mishaps=("crash",)),
    _rule("who was taken for dead drops its runs", Worker, "lost", "execution.drop()", "pass"),
    _rule("who was taken for dead registers again", Worker, "lost", "self._again.set()", "pass"),
    _rule("a lease that was taken up again runs out like any other", Worker, "_register_again", "self.heart.renew()", "pass",
          mishaps=("stun",)),
    _rule("without a lease nothing is begun", Worker, "lapsed", "self.leased = False", "pass"),
    _rule("runs whose claim was never answered are given back", Claims, "_claim", "self._is_unknown = True", "pass"),
    _rule("who leaves hands back what it has", Stopping, "_end", "await self._hand_back()", "pass"),
    # -- what operators do
    _rule("the answer to a commit says how the run stands", Execution, "written", "if status is _RUNNING:", "if True:"),
    _rule("workers are told what was done to their runs", Tables, "notice", "return {Hint.NOTICE}", "return set()",
          "self.workers[owner].notices[self.noticed] = row.new.id", "pass"),
    _rule("workers look for what was done to their runs", Watch, "_heed", "if look.notices:", "if False:"),
    _rule("notices are heeded", notices, "_heed", "if execution is None:", "if True:"),
    _rule("a paused run begins nothing", Execution, "stands", "self._stopping = True", "pass"),
    _rule("what is halted is not claimed", claiming, "is_halted", "return ", "return False and "),
    # -- time
    _rule("what a worker has in memory is not made ready for others", MemoryStore, "make_ready", "row.waits_until",
          "row.due if row.status == 'sleeping' else row.waits_until"),
    _rule("what is due is made ready", Timers, "_wake", "await self._all(self._store.make_ready)", "0"),
    _rule("deadlines are held", acting, "expire", "row.end(RunStatus.FAILED, now)", "row.end(RunStatus.FAILED, now); row.error = None"),
    _rule("those who wait look again when no hint comes", Waiters, "_look_on", *("+ POLL", "+ 1e6") * 3, store="sqlite"),
    _rule("a look that hung is no reason not to look for long", Waiters, "_look_on", "LONGEST_PAUSE", "1e9"),
    # -- what is written
    _rule("a commit of unknown outcome is made again as it was", Committer, "_commit", "self.worker, sorted_writes,",
          "self.worker, sorted_writes._replace(outcomes=[one._replace(at=self._clock.now()) for one in sorted_writes.outcomes]),"),
    _rule("a commit of unknown outcome is made again", Committer, "_commit", "delay = min(delay * 2, _LONGEST_RETRY)", "return {}"),
    _rule("a transaction of unknown outcome is not written again", transacting, "transact", "if tried else None", "if False else None",
          store="sqlite"),
    _rule("a transaction is behind the fence, too", transacting, "transact", "if status is None or status.ended:", "if False:",
          store="sqlite"),
    _rule("a key is given to one run only", Tables, "taken", "if new.key is not None else None", "if False else None"),
    _rule("a run that goes on as new forgets", writing, "_go_on_as_new", "row.outcomes, row.numbers,", "_, _,"),
    _rule("a retry takes the failures back", acting, "_retry", "row.numbers.discard(row.outcomes.pop(key).seq)", "pass"),
    # -- schedules
    _rule("a slot fires from where its schedule stands", scheduling, "_fire", "or stands[2:5] != seen[2:5]", ""),
    _rule("a cursor moves together with its runs", scheduling, "_fire", "for run in firing.runs:", "for run in ():"),
    _rule("a slot that fires moves the cursor", scheduling, "_fire", "next_at=firing.next_at,", ""),
    _rule("a paused schedule does not fire", scheduling, "_fire", "or stands.paused", ""),
    _rule("of two releases the one that was started last is heard", scheduling, "declare", "if is_outranked(there, release) and",
          "if False and"),
    Mutation("where catch_up is none, late slots are missed", (
        Change(slots, "_caught_up", 'catch_up == "none"', "False"),
        Change(slots, "_without_the_missed", 'catch_up == "latest"', "True"),
    ), _on("memory", MISHAPS, 0)),
    _rule("a slot is late by ten seconds", slots, "_without_the_missed", "now - LATE", "now - 3 * LATE"),
    _rule("a slot that waits fires once", scheduler, "planned", "waiting_at = None if waiting_ended else", "waiting_at ="),
    _rule("a slot waits for the end of the last run", slots, "_waited", "() if cursor.going else", ""),
    _rule("a slot is skipped while the last run is going", slots, "_skipped", "if cursor.going:", "if False:"),
    _rule("what was passed over while it was paused is skipped", Schedules, "resume", "store.resume_schedule(seen, next_at,",
          "store.resume_schedule(seen, seen.next_at,"),
    _rule("a slot that had a run is not filled in", scheduling, "backfilled", "slot_of(run) not in taken and", ""),
    _rule("what people do to schedules is seen by workers", Scheduler, "learn", "if deed != self._deed:", "if False:", first=150),
    _rule("after an outage it is not known how schedules stand", Scheduler, "run", "self._deed = -1", "pass", first=300),
    _rule("who was taken for dead says again which schedules it has", Scheduler, "_pass", "self._declared_by != worker.id or", ""),
    _rule("the dead are forgotten", keeping, "take_back", "if len(owned) < limit:", "if False:", store="sqlite"),
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(MUTATIONS, "python -m tests.simulation.mutations", __doc__))
