"""Two workers, an operator, time and death do as they like; whatever the order, a store keeps its promises."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from stepwell.core.records import Move, Outcome
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import IllegalTransition
from tests.store.adapters import ADAPTERS, loop_for, with_workers
from tests.store.making import (
    ALICE,
    ALL,
    BOB,
    LANE,
    NOW,
    OPERATORS,
    STEP_FAILED,
    WRITTEN_BY_WORKERS,
    Write,
    attempt,
    batch,
    failure,
    line,
    move,
    new_run,
    new_worker,
    outcome,
    remembered,
    run_id,
    serves,
)

T = TypeVar("T")

WORKERS = st.sampled_from([ALICE, BOB])
RUNS = st.integers(1, 3)
LIMITS = st.integers(0, 3)
OWNED = (RunStatus.RUNNING, RunStatus.SLEEPING)
MAX_CRASHES = 4
TIMEOUT = 300.0


@dataclass
class Known:
    """What must be true of a run."""

    timeout: float | None
    status: RunStatus = RunStatus.PENDING
    owner: str | None = None
    claim: int = 0
    due: float | None = None
    deadline: float | None = None
    crashes: int = 0
    failed_with: str | None = None
    """The step that a retry takes back."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return self.status is RunStatus.PENDING and self.owner is None and self.due is None

    def is_due(self, now: float) -> bool:
        waits = self.status in (RunStatus.PENDING, RunStatus.SLEEPING) and self.owner is None
        return waits and self.due is not None and self.due <= now

    def is_late(self, now: float) -> bool:
        lives = not self.status.ended and self.status is not RunStatus.PAUSED
        return lives and self.deadline is not None and self.deadline <= now

    def begin_anew(self, now: float) -> None:
        self.crashes = 0
        self.deadline = None if self.timeout is None else now + self.timeout


class StoreMachine(RuleBasedStateMachine):
    """A store, and what must be true of it."""

    adapter: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = loop_for(self.adapter)
        self.runner = self.loop.__enter__()
        self.opened = with_workers(self.adapter)
        self.store = self.run(self.opened.__aenter__())
        self.now = NOW
        self.numbers = iter(range(1, 10_000))
        self.runs: dict[str, Known] = {}
        self.claims: list[tuple[str, str, int]] = []  # all there ever were: worker, run, claim
        self.beaten = {ALICE: 0, BOB: 0}
        self.seen = {ALICE: 0, BOB: 0}
        self.unseen: dict[str, set[str]] = {ALICE: set(), BOB: set()}
        self.last: tuple[str, tuple[Write, ...]] | None = None

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(verb)

    def teardown(self) -> None:
        self.run(self.opened.__aexit__(None, None, None))
        self.loop.__exit__(None, None, None)

    # -- what they do

    @initialize()
    def start(self) -> None:
        """The third has not much time."""
        self.run(self.store.enqueue([new_run(1), new_run(2), self._third()]))
        self.runs = {run_id(1): Known(None), run_id(2): Known(None), run_id(3): Known(TIMEOUT, deadline=NOW + TIMEOUT)}

    def _third(self) -> Any:
        return new_run(3, created_at=NOW, timeout=TIMEOUT)

    @rule(seconds=st.sampled_from([0.5, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_same_starts_again(self) -> None:
        assert self.run(self.store.enqueue([new_run(1), new_run(2), self._third()])) == list(self.runs)

    @rule(limit=LIMITS)
    def what_is_due_is_made_ready(self, limit: int) -> None:
        due = sorted((known.due or 0.0, run) for run, known in self.runs.items() if known.is_due(self.now))[:limit]

        assert self.run(self.store.make_ready(self.now, limit)) == len(due)

        for _, run in due:
            self.runs[run].status, self.runs[run].due = RunStatus.PENDING, None

    @rule(limit=LIMITS)
    def what_is_late_fails(self, limit: int) -> None:
        late = sorted((known.deadline or 0.0, run) for run, known in self.runs.items() if known.is_late(self.now))[:limit]

        assert self.run(self.store.expire(self.now, limit)) == len(late)

        for _, run in late:
            self._noticed(run)
            self._ended(run, RunStatus.FAILED)

    @rule(worker=WORKERS, limit=LIMITS, suspects=st.booleans())
    def claims_runs(self, worker: str, limit: int, suspects: bool) -> None:
        ready = {run: known.crashes >= 2 for run, known in self.runs.items() if known.is_ready}

        claimed = self.run(self.store.claim(worker, serves(LANE), limit, self.now, suspects=suspects))

        assert len(claimed) == min(limit, list(ready.values()).count(False) + (suspects and any(ready.values())))
        assert len([each for each in claimed if ready[each.id]]) <= suspects
        for each in claimed:
            known = self.runs[each.id]
            assert each.claim > known.claim
            assert each.crashes == known.crashes
            assert sorted(remembered(each.outcomes)) == sorted(remembered(known.outcomes.values()))
            assert [one.seq for one in each.outcomes] == sorted({one.seq for one in each.outcomes})
            known.status, known.owner, known.claim = RunStatus.RUNNING, worker, each.claim
            self.claims.append((worker, each.id, each.claim))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), ok=st.booleans(), action=st.none() | st.sampled_from(WRITTEN_BY_WORKERS), keep=st.booleans())
    def writes(self, data: st.DataObject, ok: bool, action: Action | None, keep: bool) -> None:
        worker, run, claim = data.draw(st.sampled_from(self.claims))
        known = self.runs[run]
        held = known.owner == worker and known.claim == claim
        status = known.status
        number = next(self.numbers)
        make = outcome if ok else failure
        key = data.draw(st.sampled_from(["charge", "pack", "ship"]))
        writes: list[Write] = [attempt("tried", number, run=run, claim=claim), line("hello", number, run=run, claim=claim)]
        if key not in known.outcomes:
            delivered = data.draw(st.sampled_from([0, *(one.seq for one in known.outcomes.values())]))
            writes.append(make(key, number, run=run, claim=claim, asked=delivered))
        if action is not None:
            changed: dict[str, Any] = {"error": STEP_FAILED} if action is Action.FAIL else {}
            changed |= {"due": self.now + 50} if action in (Action.PARK, Action.RETRY_LATER) else {}
            writes.append(move(action, run=run, claim=claim, keep=keep and action in (Action.PARK, Action.WAKE), **changed))

        answers = dict(self.run(self.store.commit(worker, batch(*writes), self.now)))

        self.last = (worker, tuple(writes))
        if held:
            assert answers == ({} if status in OWNED else {(run, claim): status})
            self._apply(run, writes)
        else:
            ended = known.claim == claim and status.ended
            assert answers == {(run, claim): status if ended else None}

    def _apply(self, run: str, writes: list[Write]) -> None:
        known = self.runs[run]
        for write in writes:
            if isinstance(write, Outcome):
                known.outcomes[write.key] = write
                known.crashes = 0
            elif isinstance(write, Move) and (target := after(known.status, write.action)) is not None:
                known.status = target
                known.owner = known.owner if write.keep else None
                known.failed_with = "charge" if target is RunStatus.FAILED else known.failed_with
                if write.action is not Action.RELEASE or target is RunStatus.PENDING:
                    known.due = write.due
                if write.action is Action.CONTINUE_AS_NEW:
                    known.outcomes = {}
                    known.begin_anew(self.now)

    @precondition(lambda self: self.last is not None)
    @rule(again=st.integers(1, 2))
    def writes_the_last_batch_again(self, again: int) -> None:
        assert self.last is not None
        worker, writes = self.last
        (run, claim) = {(write.run, write.claim) for write in writes}.pop()
        if self.runs[run].owner == worker and self.runs[run].claim == claim:
            return  # an operator may have acted since: then a move may be allowed that was not
        for _ in range(again):
            self.run(self.store.commit(worker, batch(*writes), self.now))

    @rule(worker=WORKERS)
    def beats(self, worker: str) -> None:
        beat = self.store.beat(worker, 0, 0, self.now)

        self.beaten[worker] += 1
        other = BOB if worker == ALICE else ALICE
        assert beat is not None
        assert {each: peer.beat for each, peer in beat.peers.items()} == {other: self.beaten[other]}

    @rule(worker=WORKERS)
    def leaves_and_comes_back(self, worker: str) -> None:
        owned = [run for run, known in self.runs.items() if known.owner == worker]

        assert self.run(self.store.hand_back(worker, self.now, 10)) == len(owned)

        for run in owned:
            self._taken(run)
        self._registered_anew(worker)

    @rule(worker=WORKERS, late=st.booleans())
    def is_declared_dead(self, worker: str, late: bool) -> None:
        owned = [run for run, known in self.runs.items() if known.owner == worker]
        if late:  # it has beaten since
            assert self.run(self.store.rescue(worker, self.beaten[worker] - 1, self.now, 10, MAX_CRASHES)) == 0
            return

        assert self.run(self.store.rescue(worker, self.beaten[worker], self.now, 10, MAX_CRASHES)) == len(owned)

        for run in owned:
            known = self.runs[run]
            known.crashes += known.status is RunStatus.RUNNING
            if known.status is RunStatus.RUNNING and known.crashes >= MAX_CRASHES:
                self._ended(run, RunStatus.FAILED)
            else:
                self._taken(run)
        assert self.store.beat(worker, 0, 0, self.now) is None
        self._registered_anew(worker)

    def _taken(self, run: str) -> None:
        target = after(self.runs[run].status, Action.RESCUE)
        assert target is not None
        self.runs[run].status, self.runs[run].owner = target, None

    def _registered_anew(self, worker: str) -> None:
        self.run(self.store.register(new_worker(worker)))
        self.beaten[worker] = 0
        self.unseen[worker].clear()

    def _ended(self, run: str, status: RunStatus) -> None:
        known = self.runs[run]
        known.status, known.owner, known.due = status, None, None
        known.failed_with = None

    @rule(number=RUNS, action=st.sampled_from(OPERATORS))
    def an_operator_acts(self, number: int, action: Action) -> None:
        run = run_id(number)
        known = self.runs[run]
        target = after(known.status, action)
        if target is None:
            with pytest.raises(IllegalTransition):
                self.run(self.store.act(run, action, self.now))
            return

        assert self.run(self.store.act(run, action, self.now)).status is target

        if target is not known.status:
            self._acted(run, action, target)

    @rule(action=st.sampled_from(OPERATORS), limit=LIMITS)
    def an_operator_acts_on_all(self, action: Action, limit: int) -> None:
        targets = {run: after(known.status, action) for run, known in self.runs.items()}
        changed = [(run, target) for run, target in targets.items() if target not in (None, self.runs[run].status)][:limit]

        assert self.run(self.store.act_on_all(ALL, action, self.now, None, limit)) == len(changed)

        for run, target in changed:
            assert target is not None
            self._acted(run, action, target)

    def _acted(self, run: str, action: Action, target: RunStatus) -> None:
        known = self.runs[run]
        self._noticed(run)
        if action is Action.CANCEL or (action is Action.PAUSE and known.status is RunStatus.SLEEPING):
            known.owner = None
        if action is Action.RETRY:
            self._retried(run)
        known.status, known.due = target, None

    def _retried(self, run: str) -> None:
        known = self.runs[run]
        known.begin_anew(self.now)
        failed = known.outcomes.get(known.failed_with or "")
        if failed is not None:
            known.outcomes = {key: one for key, one in known.outcomes.items() if key != failed.key and one.asked < failed.seq}
        known.failed_with = None

    def _noticed(self, run: str) -> None:
        owner = self.runs[run].owner
        if owner is not None:
            self.unseen[owner].add(run)

    @rule(worker=WORKERS, acknowledge=st.booleans())
    def reads_its_notices(self, worker: str, acknowledge: bool) -> None:
        if self.unseen[worker]:
            assert self.run(self.store.look(worker, self.now)).notices

        last, runs = self.run(self.store.notices(worker, self.seen[worker], self.now))

        assert set(runs) == self.unseen[worker]
        for run, stands in runs.items():
            known = self.runs[run]
            assert stands == ((known.claim, known.status) if known.owner == worker else None)
        if acknowledge:
            self.seen[worker] = last
            self.unseen[worker].clear()

    # -- what is always true

    @invariant()
    def every_run_is_where_the_table_says_and_its_owners(self) -> None:
        for run, known in self.runs.items():
            stored = self.run(self.store.get(run))
            assert (stored.status, stored.worker) == (known.status, known.owner)
        for worker in (ALICE, BOB):
            owned = {run: (known.claim, known.status) for run, known in self.runs.items() if known.owner == worker}
            assert dict(self.run(self.store.standing(worker, self.now))) == owned

    @invariant()
    def a_look_shows_what_there_is_to_do(self) -> None:
        look = self.run(self.store.look(ALICE, self.now))
        unowned = [known for known in self.runs.values() if known.owner is None and known.status in (RunStatus.PENDING, RunStatus.SLEEPING)]
        lives = [known for known in self.runs.values() if not known.status.ended and known.status is not RunStatus.PAUSED]
        times = [known.due for known in unowned] + [known.deadline for known in lives]
        assert look.ready == any(known.is_ready for known in self.runs.values())
        assert look.due == min((time for time in times if time is not None), default=None)

    @invariant()
    def no_outcome_is_lost_or_changed(self) -> None:
        for run, known in self.runs.items():
            steps = {step.key: step for step in self.run(self.store.steps(run)) if step.key != "tried"}
            for key, one in known.outcomes.items():
                assert steps[key].status == ("completed" if one.ok else "failed")
                assert steps[key].started_at.timestamp() == one.started_at


@pytest.mark.usefixtures("stores_are_kept")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_whatever_workers_and_operators_do_a_store_keeps_its_promises(adapter: str) -> None:
    machine = type("StoreMachine", (StoreMachine,), {"adapter": adapter})

    run_state_machine_as_test(machine, settings=settings(max_examples=20 if "postgres" in adapter else 60, stateful_step_count=40))
