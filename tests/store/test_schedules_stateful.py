"""Releases, workers, people and time do as they like with schedules; whatever the order, a database does what the model in memory does."""

from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from stepwell.core.failure import error_text
from stepwell.core.records import TO_COMPUTE, Cursor, Declaration, Firing, NewRun, NewSchedule, NewSlot
from stepwell.core.status import Action
from stepwell.errors import ErrorInfo, StepwellError
from stepwell.store.port import Store, WorkerLost
from tests.store.adapters import ADAPTERS, loop_for, with_workers
from tests.store.making import ALICE, BOB, NOW, new_run, new_worker, run_id, serves
from tests.store.scheduling import started

Verb = Callable[[Store], Coroutine[Any, Any, Any]]

STEP: Final = 10.0
"""Seconds from a slot to the next."""

KEYS: Final = (("pay", "a"), ("pay", "b"), ("ship", "a"))
WORKERS: Final = st.sampled_from([ALICE, BOB])
DIGESTS: Final = st.sampled_from(["one", "two", "none"])
INPUT_FAILED: Final = error_text(ErrorInfo("ValueError", "no such table"))


class SchedulesMachine(RuleBasedStateMachine):
    """Two stores, to which the same is done, and what must be true of both."""

    adapter: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = loop_for(self.adapter)
        self.runner = self.loop.__enter__()
        self.opened: list[AbstractAsyncContextManager[Store]] = [with_workers("memory"), with_workers(self.adapter)]
        self.model, self.store = (self.runner.run(opened.__aenter__()) for opened in self.opened)
        self.now = NOW
        self.last = 0
        """The number of the newest run."""
        self.releases: dict[tuple[str, str], int] = {}
        self.seen: list[Cursor] = []
        """As they have stood lately, each once."""

    def teardown(self) -> None:
        for opened in self.opened:
            self.runner.run(opened.__aexit__(None, None, None))
        self.loop.__exit__(None, None, None)

    def both(self, verb: Verb) -> Any:
        """What they answer, which is the same."""
        said, done = (self.runner.run(_answer(verb(store))) for store in (self.model, self.store))
        assert done == said
        return done

    def cursors(self) -> list[Cursor]:
        found: list[Cursor] = sorted(self.both(lambda store: _sorted(store.cursors(KEYS))))
        self.seen = [*(each for each in self.seen if each not in found), *found][-12:]
        return found

    def new_run(self, cursor: tuple[Any, ...], slot: float, **changed: Any) -> NewRun:
        self.last += 1
        return new_run(self.last, workflow=cursor[0], schedule=cursor[1], scheduled_at=slot, created_at=self.now, **changed)

    # -- releases and workers

    @rule(steps=st.sampled_from([1, 2, 7]))
    def time_passes(self, steps: int) -> None:
        self.now += steps * STEP

    @rule(worker=WORKERS, digest=DIGESTS, again=st.booleans())
    def declares(self, worker: str, digest: str, again: bool) -> None:
        release = self.releases.get((worker, digest)) if again else None
        said = [self._declaration(workflow, digest) for workflow in ("pay", "ship")]

        answer = self.both(lambda store: store.declare(worker, said, release, self.now))

        if isinstance(answer, int):
            self.releases[worker, digest] = answer

    def _declaration(self, workflow: str, digest: str) -> Declaration:
        names = [] if digest == "none" else [name for owner, name in KEYS if owner == workflow and (name, digest) != ("b", "two")]
        return Declaration(workflow, digest, tuple(self._schedule(name, digest) for name in names))

    def _schedule(self, name: str, digest: str) -> NewSchedule:
        """The expression of `a` is the same in all releases."""
        expression = digest if name == "b" else "each"
        return NewSchedule(name, expression, "UTC", digest, "all", None, "null", None, self.now + STEP)

    @rule(worker=WORKERS)
    def dies(self, worker: str) -> None:
        self.both(lambda store: store.rescue(worker, 0, self.now, 100, 9))

    @rule(worker=WORKERS)
    def returns(self, worker: str) -> None:
        self.both(lambda store: store.register(new_worker(worker)))

    # -- slots

    @rule(data=st.data(), old=st.booleans())
    def fires(self, data: st.DataObject, old: bool) -> None:
        known = self.cursors()
        if old and self.seen:
            known = [data.draw(st.sampled_from(self.seen)), *known]
        firings = [self._firing(data, each) for each in known if each.next_at is not None and each.next_at <= self.now]

        self.both(lambda store: store.fire(firings, self.now))

    def _firing(self, data: st.DataObject, cursor: Cursor) -> Firing:
        slot = cursor.next_at or 0.0
        match data.draw(st.sampled_from(["starts", "fails", "takes its place", "waits", "skips", "catches up"])):
            case "starts":
                runs = [*self._waiting(cursor), self.new_run(cursor, slot)]
                return Firing(cursor, slot + STEP, None, tuple(runs), slots=tuple(map(started, runs)))
            case "fails":
                run = self.new_run(cursor, slot, input=TO_COMPUTE)
                failed = started(run, outcome="failed", reason="no such table")
                return Firing(cursor, slot + STEP, cursor.waiting_at, (run,), ((run.id, INPUT_FAILED),), None, (failed,))
            case "takes its place":
                run = self.new_run(cursor, slot)
                return Firing(cursor, slot + STEP, cursor.waiting_at, (run,), (), cursor.last_run, (started(run),))
            case "waits" if cursor.waiting_at is None:
                return Firing(cursor, slot + STEP, slot)
            case "catches up":
                runs = [self.new_run(cursor, at) for at in (slot, slot + STEP, slot + 2 * STEP) if at <= self.now]
                return Firing(cursor, slot + len(runs) * STEP, cursor.waiting_at, tuple(runs), slots=tuple(map(started, runs)))
            case _:
                skipped = NewSlot(slot, slot, 1, "skipped", "still going")
                return Firing(cursor, slot + STEP, cursor.waiting_at, slots=(skipped,))

    def _waiting(self, cursor: Cursor) -> list[NewRun]:
        return [] if cursor.waiting_at is None else [self.new_run(cursor, cursor.waiting_at)]

    @rule(key=st.sampled_from(KEYS), keep=st.integers(0, 3))
    def forgets(self, key: tuple[str, str], keep: int) -> None:
        """Not those of which there may be a run no more."""
        self.both(lambda store: store.forget_slots([key], keep))

    # -- people

    @rule(key=st.sampled_from(KEYS), actor=st.sampled_from([None, "eve"]))
    def pauses(self, key: tuple[str, str], actor: str | None) -> None:
        self.both(lambda store: store.pause_schedule(*key, self.now, actor))

    @rule(data=st.data(), old=st.booleans())
    def resumes(self, data: st.DataObject, old: bool) -> None:
        known = self.cursors() + (self.seen if old else [])
        if not known:
            return
        seen = data.draw(st.sampled_from(known))
        next_at, skipped = seen.next_at, None
        if next_at is not None and next_at <= self.now:
            skipped = NewSlot(next_at, self.now, None, "skipped", "the schedule was paused")
            next_at = next_at + STEP * (1 + (self.now - next_at) // STEP)

        self.both(lambda store: store.resume_schedule(seen, next_at, skipped, self.now, None))

    @rule(key=st.sampled_from(KEYS))
    def triggers(self, key: tuple[str, str]) -> None:
        run = self.new_run(key, self.now)

        self.both(lambda store: store.trigger(run, self.now, "eve"))

    @rule(key=st.sampled_from(KEYS), first=st.integers(-12, 4), count=st.integers(0, 6), twice=st.booleans())
    def backfills(self, key: tuple[str, str], first: int, count: int, twice: bool) -> None:
        runs = [self.new_run(key, self.now + (first + place) * STEP) for place in range(count)]

        for _ in range(1 + twice):
            self.both(lambda store: store.backfill(runs, self.now, "eve"))

    @precondition(lambda self: self.last)
    @rule(data=st.data(), action=st.sampled_from([Action.CANCEL, Action.RETRY, None]))
    def acts(self, data: st.DataObject, action: Action | None) -> None:
        run = run_id(data.draw(st.integers(1, self.last)))

        self.both(lambda store: store.delete(run) if action is None else store.act(run, action, self.now, "eve"))

    @precondition(lambda self: self.last)
    @rule(data=st.data(), worker=WORKERS)
    def supplies(self, data: st.DataObject, worker: str) -> None:
        run, claim = run_id(data.draw(st.integers(1, self.last))), data.draw(st.integers(0, 2))

        self.both(lambda store: store.supply(worker, run, claim, '{"n":1}'))

    @rule(worker=WORKERS)
    def claims(self, worker: str) -> None:
        self.both(lambda store: _claimed(store, worker, self.now))

    # -- what is always true

    @invariant()
    def schedules_stand_as_the_model_says(self) -> None:
        self.cursors()
        self.both(lambda store: store.schedules())
        self.both(lambda store: _deeds(store, self.now))

    @invariant()
    def of_slots_the_same_is_recorded(self) -> None:
        for key in KEYS:
            self.both(partial(_records, key=key))

    @invariant()
    def each_slot_has_one_run_at_most(self) -> None:
        slots: Counter[Any] = Counter()
        for number in range(1, self.last + 1):
            run, events = self.both(partial(_seen, run=run_id(number)))
            if run is not None and not any(event.action == "trigger" for event in events):
                slots[run.workflow, run.schedule, run.scheduled_at] += 1
        assert [slot for slot, count in slots.items() if count > 1] == []


async def _answer(verb: Coroutine[Any, Any, Any]) -> Any:
    """What is answered, or raised."""
    try:
        return await verb
    except (StepwellError, WorkerLost) as error:
        return type(error).__name__


async def _sorted(cursors: Coroutine[Any, Any, list[Cursor]]) -> list[Cursor]:
    known = [cursor._replace(seen_at=None) for cursor in await cursors]  # the time is told by some databases only
    return sorted(known, key=lambda cursor: cursor[:2])


async def _claimed(store: Store, worker: str, now: float) -> list[tuple[str, int, str]]:
    lanes = await store.lanes()
    return sorted((run.id, run.claim, run.input) for run in await store.claim(worker, serves(*lanes), 100, now))


async def _deeds(store: Store, now: float) -> int:
    return (await store.look(ALICE, now)).schedules


async def _records(store: Store, key: tuple[str, str]) -> list[Any]:
    """Numbers are a store's own."""
    return [replace(record, number=0) for record in await store.slots(*key, 1_000)]


async def _seen(store: Store, run: str) -> tuple[Any, Any]:
    try:
        return await store.get(run), await store.events(run)
    except StepwellError:
        return None, ()


@pytest.mark.usefixtures("stores_are_kept")
@pytest.mark.parametrize("adapter", [adapter for adapter in ADAPTERS if adapter not in ("memory", "postgres-by-updates")])
def test_whatever_is_done_to_schedules_a_store_does_as_the_model(adapter: str) -> None:
    machine = type("SchedulesMachine", (SchedulesMachine,), {"adapter": adapter})

    run_state_machine_as_test(machine, settings=settings(max_examples=20 if adapter == "postgres" else 60, stateful_step_count=40))
