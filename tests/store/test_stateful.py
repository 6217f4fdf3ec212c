"""Two workers and an operator do as they like; whatever the order, a store keeps its promises."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from stepwell.core.records import Outcome
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import IllegalTransition
from tests.store.adapters import ADAPTERS
from tests.store.making import (
    ALICE,
    BOB,
    LANE,
    NOW,
    STEP_FAILED,
    WRITTEN_BY_WORKERS,
    Write,
    attempt,
    batch,
    failure,
    line,
    move,
    new_run,
    outcome,
    run_id,
)

T = TypeVar("T")

WORKERS = st.sampled_from([ALICE, BOB])
RUNS = st.integers(1, 3)
OWNED = (RunStatus.RUNNING, RunStatus.SLEEPING)


class StoreMachine(RuleBasedStateMachine):
    """A store, and what must be true of it."""

    adapter: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = ADAPTERS[self.adapter]()
        self.store = self.run(self.opened.__aenter__())
        self.now = NOW
        self.numbers = iter(range(1, 10_000))
        self.status: dict[str, RunStatus] = {}
        self.owner: dict[str, str | None] = {}
        self.claim: dict[str, int] = {}
        self.outcomes: dict[str, dict[str, Outcome]] = {}
        self.claims: list[tuple[str, str, int]] = []  # all there ever were: worker, run, claim
        self.last: tuple[str, tuple[Write, ...]] | None = None

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(verb)

    def teardown(self) -> None:
        self.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    # -- what they do

    @initialize()
    def start(self) -> None:
        self.run(self.store.enqueue([new_run(number) for number in (1, 2, 3)]))
        for number in (1, 2, 3):
            run = run_id(number)
            self.status[run], self.owner[run], self.claim[run], self.outcomes[run] = RunStatus.PENDING, None, 0, {}

    @rule(seconds=st.sampled_from([0.5, 30.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=RUNS)
    def the_same_start_again(self, number: int) -> None:
        assert self.run(self.store.enqueue([new_run(number)])) == [run_id(number)]

    @rule(worker=WORKERS, limit=st.integers(0, 3))
    def claims_runs(self, worker: str, limit: int) -> None:
        claimed = self.run(self.store.claim(worker, [LANE], limit, self.now))

        assert len(claimed) <= limit
        for each in claimed:
            assert self.owner[each.id] is None
            assert self.status[each.id] in (RunStatus.PENDING, RunStatus.SLEEPING)
            assert each.claim > self.claim[each.id]
            assert {one.key: one for one in each.outcomes} == self.outcomes[each.id]
            assert [one.seq for one in each.outcomes] == sorted({one.seq for one in each.outcomes})
            self.status[each.id], self.owner[each.id], self.claim[each.id] = RunStatus.RUNNING, worker, each.claim
            self.claims.append((worker, each.id, each.claim))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), ok=st.booleans(), action=st.none() | st.sampled_from(WRITTEN_BY_WORKERS), keep=st.booleans())
    def writes(self, data: st.DataObject, ok: bool, action: Action | None, keep: bool) -> None:
        worker, run, claim = data.draw(st.sampled_from(self.claims))
        held = self.owner[run] == worker and self.claim[run] == claim
        status = self.status[run]
        number = next(self.numbers)
        make = outcome if ok else failure
        key = data.draw(st.sampled_from(["charge", "pack", "ship"]))
        known = self.outcomes[run]
        writes: list[Write] = [attempt("tried", number, run=run, claim=claim), line("hello", number, run=run, claim=claim)]
        if key not in known:
            delivered = data.draw(st.sampled_from([0, *(one.seq for one in known.values())]))
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
            ended = self.claim[run] == claim and status.ended
            assert answers == {(run, claim): status if ended else None}

    def _apply(self, run: str, writes: list[Write]) -> None:
        for write in writes:
            if isinstance(write, Outcome):
                self.outcomes[run][write.key] = write
            action = getattr(write, "action", None)
            target = after(self.status[run], action) if action is not None else None
            if target is None:
                continue
            self.status[run] = target
            if not getattr(write, "keep", False):
                self.owner[run] = None
            if action is Action.CONTINUE_AS_NEW:
                self.outcomes[run] = {}

    @precondition(lambda self: self.last is not None)
    @rule(again=st.integers(1, 2))
    def writes_the_last_batch_again(self, again: int) -> None:
        assert self.last is not None
        worker, writes = self.last
        (run, claim) = {(write.run, write.claim) for write in writes}.pop()
        if self.owner[run] == worker and self.claim[run] == claim:
            return  # an operator may have acted since: then a move may be allowed that was not
        for _ in range(again):
            self.run(self.store.commit(worker, batch(*writes), self.now))

    @rule(worker=WORKERS)
    def is_declared_dead(self, worker: str) -> None:
        owned = [run for run, owner in self.owner.items() if owner == worker]

        count = self.run(self.store.hand_back(worker, self.now))

        assert count == len(owned)
        for run in owned:
            target = after(self.status[run], Action.RESCUE)
            assert target is not None
            self.status[run], self.owner[run] = target, None

    @rule(number=RUNS, action=st.sampled_from([Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY]))
    def an_operator_acts(self, number: int, action: Action) -> None:
        run = run_id(number)
        target = after(self.status[run], action)
        verb = getattr(self.store, action)
        if target is None:
            with pytest.raises(IllegalTransition):
                self.run(verb(run, self.now))
            return

        assert self.run(verb(run, self.now)).status is target

        if action is Action.CANCEL or (action is Action.PAUSE and self.status[run] is RunStatus.SLEEPING):
            self.owner[run] = None
        if action is Action.RETRY:
            self._retried(run, failed=self.status[run] is RunStatus.FAILED)
        self.status[run] = target

    def _retried(self, run: str, *, failed: bool) -> None:
        recorded = self.outcomes[run]
        if failed and "charge" in recorded:  # the step that STEP_FAILED names
            first = recorded["charge"].seq
            self.outcomes[run] = {key: one for key, one in recorded.items() if key != "charge" and one.asked < first}

    # -- what is always true

    @invariant()
    def every_run_is_where_the_table_says(self) -> None:
        for run, status in self.status.items():
            assert self.run(self.store.get(run)).status is status

    @invariant()
    def a_run_has_at_most_one_owner_and_all_agree_on_it(self) -> None:
        standing = {worker: dict(self.run(self.store.standing(worker, self.now))) for worker in (ALICE, BOB)}
        for run, owner in self.owner.items():
            assert self.run(self.store.get(run)).worker == owner
            assert [worker for worker, owned in standing.items() if run in owned] == ([owner] if owner else [])
            if owner:
                assert standing[owner][run] == (self.claim[run], self.status[run])

    @invariant()
    def no_outcome_is_lost_or_changed(self) -> None:
        for run, recorded in self.outcomes.items():
            steps = {step.key: step for step in self.run(self.store.steps(run)) if step.key != "tried"}
            for key, one in recorded.items():
                assert steps[key].status == ("completed" if one.ok else "failed")
                assert steps[key].started_at.timestamp() == one.started_at


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_whatever_workers_and_operators_do_a_store_keeps_its_promises(adapter: str) -> None:
    machine = type("StoreMachine", (StoreMachine,), {"adapter": adapter})

    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40))
