"""The lives of one run: crashed at a commit, replayed under other latencies, crashed again, and compared with what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from stepwell import ContinueAsNew, Retry, RunStatus, Step, workflow
from stepwell.core.ending import Complete, Diverge, Ending, Fail
from stepwell.core.naming import name_of
from stepwell.core.records import Attempt, Claimed, Kind, NewRun, Outcome
from stepwell.core.registry import Lane, Registry
from stepwell.core.status import Action
from stepwell.engine.attempts import is_async
from stepwell.engine.clock import Alarm, RunIds
from stepwell.engine.execution import Execution
from stepwell.engine.requests import StepRequest, TransactionRequest
from stepwell.engine.worker import Worker
from stepwell.store.memory import MemoryStore, writing
from stepwell.store.port import Batch, Effect, Pin
from stepwell.testing.clock import LoopClock
from tests.proof.oracle import Impossible, Story, tell
from tests.proof.programs import Program, compiled
from tests.proof.world import RETRIED, Around, Chapter, Crash, Stalled, Trace, VirtualLoop, World, mistakes_in, model

AROUND = Around()
BODY_RETRY = Retry(2, "50ms", jitter=0.0)
"""A body of a program that raises is tried again once."""

_LONGEST = 10**6  # seconds of a life: more than anything in a program waits for
_MOST_LIVES = 60
_LEASE = 10.0**7  # seconds: who is dead is told by hand
_SKEW = 0.5
"""Seconds by which clocks may differ. A run that is due by one and not by another changes hands all the time meanwhile."""


_SIGNALS = 400
_OFTEN = 40
"""Signals that are sent to a run at most, and of them those that come in quick succession."""


@workflow(name="c", retry=Retry.never())
async def a_child(input: int, step: Step) -> int:
    """What the programs execute as a child; some fail."""
    await asyncio.sleep(input % 4 * 0.01)
    if input % 5 == 0:
        raise ValueError(f"no {input}")
    return model(input)


class Wrong(AssertionError):
    """What the engine did is not what an undisturbed run does."""


@dataclass(frozen=True, slots=True)
class Case:
    """What happens to the run. Everything else follows from the seed."""

    seed: int
    crash_at: int | None = None
    """The commit at which the first life ends; None: undisturbed."""
    after: bool = False
    """The commit was made, and nobody was told."""
    again: float = 0.4
    """How likely each further life crashes too."""
    trouble: float = 0.0
    """How likely a commit is answered by an error."""
    operator: bool = False
    """Somebody pauses and resumes."""
    zombies: float = 0.0
    """How likely a process that seems to be lost only stood still, and goes on beside the one that has taken its run."""
    logs: bool = False
    """The body logs what it sees."""
    mail: bool = field(default=False, repr=False)  # not in the seed of chance, which is the representation
    """Somebody sends signals to the run, and it has children."""
    silent: bool = field(default=False, repr=False)
    """But nobody does."""
    cold: float | None = None
    """Seconds after which a run parks; None: chance decides for each life."""


@dataclass(frozen=True, slots=True)
class Done:
    """How it went."""

    commits: int
    lives: int
    status: RunStatus
    outcomes: tuple[Outcome, ...]


class Universe:
    """One process's loop, and the cases that are tried on it."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self.loop = VirtualLoop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        logging.disable(logging.NOTSET)
        self.loop.close()

    def run(self, program: Program, case: Case) -> Done:
        """All lives of one run of the program, and what must hold after them."""
        return self.lived(program, case).done()

    def lived(self, program: Program, case: Case) -> Lives:
        """The same, to look closer."""
        lives = Lives(self.loop, program, case)
        self.complete(lives.live_on())
        lives.check()
        return lives

    def complete(self, living: Any) -> Any:
        """Run this to its end."""
        try:
            return self.loop.run_until_complete(living)
        except Stalled as stalled:
            raise Wrong(f"stuck: {stalled}") from None
        finally:
            self._clean()

    def _clean(self) -> None:
        """No task of one case may be left for the next."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(Stalled):
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


class SkewedClock(LoopClock):
    """The clock of one machine, which others do not agree with."""

    ahead = 0.0
    """Seconds."""

    def now(self) -> float:
        return super().now() + self.ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        return super().call_at(when - self.ahead + 1e-6, callback)  # rounded down, it would not be time yet, again and again


class Database(MemoryStore):
    """One from which a worker that stands still claims nothing, and in which steps can write down their keys."""

    def __init__(self, crash: Crash, chance: random.Random, booked: Callable[[list[str]], None]) -> None:
        super().__init__(crash)
        self._crash = crash
        self._chance = chance
        self._booked = booked

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """Some databases do it all at once when it is asked for, some call the function first and write later."""
        tried, number = effect.numbered, self._next_commit()
        if self._chance.random() < 0.5:
            effect.number()
        await self._crash.before_commit(number)
        row, keys = self._tables.rows[effect.run], list[str]()
        there = row.outcomes.get(effect.key) if tried and row.claim == effect.claim else None
        if there is not None:
            effect.found(there)
        else:
            value = effect.call(keys)
            await asyncio.sleep(self._chance.choice((0.0, self._chance.random() * 0.02)))
            effect.number()
            there = effect.outcome(value)
        answers, _ = writing.apply(self._tables, worker, Batch([there], (), (), (), ()), now)
        status = answers.get((effect.run, effect.claim), RunStatus.RUNNING)
        if status is not None and not status.ended:
            self._booked(keys)
        await self._crash.after_commit(number)
        return status

    def _next_commit(self) -> int:
        self.commits += 1
        return self.commits

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        while worker == self._crash.standing_still:
            await asyncio.sleep(0.01)
        return await super().claim(worker, serves, limit, now, suspects=suspects)


class Lives:
    """One run, its world, and its lives so far."""

    def __init__(self, loop: VirtualLoop, program: Program, case: Case) -> None:
        self.loop = loop
        self.case = case
        self.chance = random.Random(repr(case))
        self.crash = Crash(self.chance)
        self.crash.trouble = case.trouble
        self.store = Database(self.crash, self.chance, lambda keys: self.world.chapters[-1].booked.extend(keys))
        self.clock = LoopClock(loop, self.chance)
        self.run_id = RunIds(self.clock).new()
        self.taken_back = 0
        """How often an operator has retried the run."""
        Around.world = self.world = World(self.chance, lambda: self.row, loop.time, case.logs)
        self._workers: list[Worker] = []
        self._ended = asyncio.Event()
        self.use(program)

    def use(self, program: Program) -> None:
        """Deploy this code."""
        body: Any = compiled(program, AROUND.namespace())
        world = self.world

        async def traced(step: Any, x: int, logger: Any = None) -> int:
            world.begin_body(x, logger)
            result: int = await body(step, x)
            return result

        def traced_def(step: Any, x: int, logger: Any = None) -> int:
            world.begin_body(x, logger)
            result: int = body(step, x)
            return result

        self.program = program
        self.definition = workflow(name="p", retry=BODY_RETRY)(traced if program.is_async else traced_def)

    @property
    def row(self) -> Any:
        return self.store._tables.rows[self.run_id]

    # -- living

    async def live_on(self) -> None:
        """Until the run has ended, however many lives that takes."""
        await self.begin()
        sender = self.loop.create_task(self._send()) if self.case.mail and not self.case.silent else None
        await self.go_on(self.case.crash_at, self.case.after)
        self.leave()
        if sender is not None:
            sender.cancel()

    async def go_on(self, crash_at: int | None, after: bool) -> None:
        """One life after the other, the first of them with this crash."""
        case, chance = self.case, self.chance
        for life in range(_MOST_LIVES):
            if await self.live(crash_at, after) or self.row.status.ended:
                return
            crash_at = self.store.commits + chance.randint(1, 6) if chance.random() < case.again and life < 20 else None
            after = chance.random() < 0.5
            await asyncio.sleep(chance.choice((0.0, chance.random() * 0.01, 5.0)))  # until another worker takes the run
            if self.row.status.ended:
                return  # by one that had only stood still
        raise Wrong("it does not end")

    async def _send(self) -> None:
        """Send signals at any time, some of them twice."""
        for number in range(_SIGNALS):
            await asyncio.sleep(self.chance.random() * (0.04 if number < _OFTEN else 10.0 * number))
            if self.row.status.ended:
                return
            for _ in range(self.chance.choice((1, 1, 2))):
                name, now = "abc"[number % 3], self.clock.now()
                await self.store.signal(self.run_id, f"signal {number}", name, str(model(number)), now)

    async def begin(self, argument: int = 1) -> None:
        """Start the run."""
        now = self.clock.now()
        await self.store.enqueue([NewRun(self.run_id, "p", None, str(argument), now, now)])

    async def live(self, crash_at: int | None = None, after: bool = False) -> bool:
        """One life of a worker, until the run has ended, or is paused because its code has changed: True. False: the process was lost."""
        zombie = self.case.zombies > 0 and self.chance.random() < self.case.zombies
        self.world.life += 1
        self._ended = asyncio.Event()
        worker = self._worker()
        self.crash.plan(worker.id, crash_at, after, self.chance.random() * 0.05 if zombie else None)
        self._workers.append(worker)
        self.loop.in_threads = self._in_threads
        working = self.loop.create_task(worker.run())
        operator = self.loop.create_task(self._operate()) if self.case.operator else None
        waits = [self.loop.create_task(self.crash.happened.wait()), self.loop.create_task(self._ended.wait()), working]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=_LONGEST)
        finally:
            if operator is not None:
                operator.cancel()
            for task in waits[:2]:
                task.cancel()
            lost = [worker] if zombie and self.crash.happened.is_set() else self._workers[:]
            if not (zombie and self.crash.happened.is_set()):
                working.cancel()
                self.leave()
            for each in lost:
                await self._rescue(each.id)
        if working in done:
            error = working.exception()
            raise Wrong(f"the worker has ended: {error!r}") from error
        if not done:
            raise Wrong(f"stuck: {self.row.status}")
        return self._ended.is_set()

    async def _rescue(self, worker: str) -> None:
        """Somebody takes this worker for dead, rightly or not; or its run alone, which only the answers of commits tell it."""
        known = self.store._tables.workers.get(worker)
        if self.chance.random() < 0.5:
            await self.store.hand_back(worker, self.clock.now(), 500 if self.case.mail else 1)
        elif known is not None:
            await self.store.rescue(worker, known.beat, self.clock.now(), 500, _MOST_LIVES)

    def leave(self) -> None:
        """Every process is lost, also those that only seemed to be."""
        self.world.end_life()
        for worker in self._workers:
            failure = worker.failure
            worker.abandon()
            if failure is not None and worker is not self._workers[-1]:
                raise Wrong(f"a worker that had stood still has ended: {failure!r}") from failure
        self._workers.clear()

    def _left(self, run_id: str, ending: Ending | None) -> None:
        if run_id != self.run_id:
            return
        if isinstance(ending, Complete | Fail | Diverge) or (ending is None and self.row.status.ended):
            self._ended.set()

    def _worker(self) -> Worker:
        chance = self.chance
        clock = SkewedClock(self.loop, self.chance)
        clock.ahead = chance.choice((0.0, 0.0, 0.0, -0.02, 0.02, -_SKEW, _SKEW)) if self.case.crash_at is not None else 0.0
        park_after = self.case.cold if self.case.cold is not None else chance.choice((0.0, 0.05, 1e9))
        return Worker(
            self.store, Registry([self.definition, a_child]), clock, name=f"worker-{self.world.life}", concurrency=4, heart="loop",
            lease=_LEASE, park_after=park_after, max_parked=chance.choice((0, 1_000)), poll=300.0, on_left=self._left,
        )  # fmt: skip

    def _in_threads(self) -> bool:
        """Whether the loop must wait for a thread, in the real world's time."""
        executions: list[Execution] = [execution for worker in self._workers for execution in worker._running]
        return any(each.computing or any(map(_is_in_thread, each.executing.values())) for each in executions)

    async def _operate(self) -> None:
        """Pause and resume at any time."""
        chance = self.chance
        for _ in range(chance.randint(1, 4)):
            await asyncio.sleep(chance.random() * 0.03)
            if self.row.status.ended:
                return
            await self.store.act(self.run_id, Action.PAUSE, self.clock.now())
            await asyncio.sleep(chance.choice((0.0, chance.random() * 0.01)))
            await self.resume()
        await self.resume()

    async def resume(self) -> None:
        """Let a paused run go on."""
        if self.row.status is RunStatus.PAUSED:
            await self.store.act(self.run_id, Action.RESUME, self.clock.now())

    # -- comparing

    def done(self) -> Done:
        return Done(self.store.commits, self.world.life, self.row.status, self.history())

    def history(self) -> tuple[Outcome, ...]:
        """What is recorded, since the run last went on as new."""
        return in_order(self.row.outcomes)

    def check(self) -> None:
        """What the engine did equals an undisturbed run in which the same outcomes came in the same order."""
        row, chapters = self.row, self.world.chapters
        if row.status not in (RunStatus.COMPLETED, RunStatus.FAILED):
            raise Wrong(f"the run is {row.status}: {row.error}")
        for chapter in chapters:
            self._check_effects(chapter)
        for chapter, then in pairwise(chapters):
            story = self.check_story(chapter)
            if not isinstance(story.error, ContinueAsNew) or story.error.input != then.argument:
                raise Wrong(f"the run went on as new with {then.argument}, and should have ended with {story.result} or {story.error!r}")
        story = self.check_story(chapters[-1])
        if story.error is None and (row.status is not RunStatus.COMPLETED or row.output != str(story.result)):
            raise Wrong(f"the run is {row.status} with {row.output}, and should have completed with {story.result}")
        if story.error is not None and (row.status is not RunStatus.FAILED or isinstance(story.error, ContinueAsNew)):
            raise Wrong(f"the run is {row.status}, and should have failed with {story.error!r}")
        if self.case.mail:
            self._check_mail([self.check_story(chapter) for chapter in chapters])
        if self.case.logs:
            self._check_logs(self.world.expected)
        mistakes = self.world.mistakes + (mistakes_in(story.error) if story.error is not None else [])
        if mistakes:
            raise Wrong(f"in every life alike, the body met {mistakes}")
        if self.world.strays:
            raise Wrong(f"code of the body ran on the worker's loop: {self.world.strays}")

    def _check_mail(self, stories: list[Story]) -> None:
        """No signal is read twice, each is what was sent, and of each child there is one."""
        read = [number for story in stories for number in story.read]
        if len(read) != len(set(read)):
            raise Wrong(f"signals are read twice: {read}")
        sent = {signal.number: signal for signal in self.row.signals.values()}
        for outcome in self.row.outcomes.values():
            if outcome.kind == Kind.SIGNAL and outcome.ok:
                signal = sent[outcome.mark]
                if (signal.name, signal.payload) != (name_of(outcome.key), outcome.value):
                    raise Wrong(f"{outcome.key} is {outcome.value}, and {signal} was sent")
        self._check_nothing_skipped(set(stories[-1].read))
        children = [row for row in self.store._tables.rows.values() if row.new.parent_id == self.run_id]
        asked = sum(request.kind == Kind.CHILD for story in stories for request in story.asked.values())
        if len(children) > asked:
            raise Wrong(f"there are {len(children)} children, and {asked} were asked for")
        for outcome in self.row.outcomes.values():
            child = self.store._tables.rows.get(outcome.child or "")  # there is none when it was late before it could be begun
            if outcome.kind == Kind.CHILD and not (outcome.ok or outcome.mark) and child is not None and not child.status.ended:
                raise Wrong(f"{outcome.key} was late, and its child is {child.status}")

    def _check_nothing_skipped(self, read: set[int]) -> None:
        """A signal that came to a wait which was over goes to the next one of its name, before those that were sent later."""
        signals = [outcome for outcome in self.history() if outcome.kind == Kind.SIGNAL and outcome.ok]
        for place, first in enumerate(signals):
            again = next((later for later in signals[place + 1 :] if later.mark == first.mark), None)
            for later in signals[place + 1 :]:
                if later is again or (first.mark in read and again is None):
                    break
                same = name_of(later.key) == name_of(first.key) and later.asked >= first.seq
                if same and later.mark > first.mark and later.mark in read:
                    raise Wrong(f"{later.key} has signal {later.mark}, and {first.mark} was there before")

    def _check_effects(self, chapter: Chapter) -> None:
        arguments: dict[str, tuple[str, int]] = {}
        begun: dict[tuple[str, int], int] = {}
        for effect in chapter.effects:
            if effect.canceled:
                raise Wrong(f"{effect.key} was begun although the body had canceled it")
            if effect.stale:
                continue
            if effect.recorded:
                raise Wrong(f"{effect.key} was run again although its outcome was recorded")
            before = arguments.setdefault(effect.key, (effect.function, effect.argument))
            if before != (effect.function, effect.argument):
                raise Wrong(f"{effect.key} was run as {before}, then as {effect.function}({effect.argument})")
            times = begun[effect.key, effect.life] = begun.get((effect.key, effect.life), 0) + 1
            if times > _attempts(effect.function) and not (self.case.operator or self.case.zombies or self.taken_back):
                raise Wrong(f"{effect.key} was begun {times} times in life {effect.life}")
        transactions = {key for key, (function, _) in arguments.items() if function in ("booked", "risky")}
        written = sorted(outcome.key for outcome in chapter.outcomes.values() if outcome.ok and outcome.key in transactions)
        if sorted(chapter.booked) != written:
            raise Wrong(f"the transactions {written} have outcomes, and {sorted(chapter.booked)} are written")
        for outcome in chapter.outcomes.values():
            if outcome.kind == Kind.FUNCTION and outcome.key not in chapter.given:
                self._check_outcome(chapter, outcome, arguments)
        for attempt in self.row.attempts.values():
            self._check_not_early(chapter, attempt)

    def _check_outcome(self, chapter: Chapter, outcome: Outcome, arguments: dict[str, tuple[str, int]]) -> None:
        if outcome.key not in arguments:
            raise Wrong(f"{outcome.key} has an outcome and was never run")
        budget = _attempts(arguments[outcome.key][0])
        if (outcome.key, outcome.claim) in chapter.unwanted:
            raise Wrong(f"{outcome.key} was canceled by the body, and its late result is recorded")
        if not outcome.ok and outcome.attempt < budget:
            raise Wrong(f"{outcome.key} has failed for good at attempt {outcome.attempt}")
        if outcome.attempt > (2 * (1 + self.taken_back) if self.taken_back else budget):
            raise Wrong(f"{outcome.key} had {outcome.attempt} attempts")

    def _check_not_early(self, chapter: Chapter, attempt: Attempt) -> None:
        """The attempt after a failed one waits until it is due, in whatever life."""
        if attempt.due is None:
            return
        for effect in chapter.effects:
            is_next = (effect.key, effect.attempt) == (attempt.key, attempt.attempt + 1) and effect.claim >= attempt.claim
            if is_next and not effect.stale and effect.at < attempt.due - 2 * _SKEW - 1:
                raise Wrong(f"{attempt.key} was tried again at {effect.at}, and was due at {attempt.due}")

    def _check_logs(self, expected: Trace) -> None:
        """Each line once, in order."""
        lines = sorted((entry.after, entry.n, entry.message) for entry in self.row.logs.values() if entry.after >= 0)
        logged, noted = [message for _, _, message in lines], [repr(tuple(what[:-1])) for what in expected]
        if logged != noted:
            raise Wrong(f"the log has {logged}, and should have {noted}")

    def check_prefix(self) -> None:
        """What is recorded now is what the body can have led to."""
        story = self._told(self.world.chapters[-1])
        unasked = [key for key in self.row.outcomes if key not in story.asked]
        if unasked:
            raise Wrong(f"{unasked} are recorded, and cannot have been asked for")

    def _told(self, chapter: Chapter) -> Story:
        world = self.world
        world.only_expected = True
        try:
            return tell(self.definition.function, chapter.argument, chapter.begun_at, in_order(chapter.outcomes))
        except Impossible as impossible:
            raise Wrong(f"no undisturbed run has this history: {impossible}") from None
        finally:
            world.only_expected = False

    def check_story(self, chapter: Chapter) -> Story:
        """What the body saw in all its starts is what it sees undisturbed. How it ends so."""
        world = self.world
        story = self._told(chapter)
        for outcome in story.left:
            if outcome.key not in story.asked:
                raise Wrong(f"{outcome.key} is recorded, and was never asked for")
        if not story.ended:
            raise Wrong(f"the run is {self.row.status}, and its body would still wait")
        _compare(chapter.traces, world.expected)
        times = [outcome.at for outcome in in_order(chapter.outcomes)]
        if times != sorted(times):
            raise Wrong(f"time has gone back: {times}")
        return story


def _is_in_thread(request: StepRequest) -> bool:
    return not (is_async(request.function) or isinstance(request, TransactionRequest))


def _attempts(function: str) -> int:
    return 2 if function in RETRIED else 1


def _compare(lived: list[Trace], expected: Trace) -> None:
    for start, trace in enumerate(lived, 1):
        if trace != expected[: len(trace)]:
            place = next((at for at, (one, other) in enumerate(zip(trace, expected, strict=False)) if one != other), len(expected))
            raise Wrong(f"in start {start} the body saw {trace[place : place + 2]}, and should have seen {expected[place : place + 2]}")
    if expected not in lived:
        longest = max(map(len, lived))
        raise Wrong(f"in no start the body saw more than {longest} things, and should have seen {len(expected)}")


def in_order(outcomes: dict[str, Outcome]) -> tuple[Outcome, ...]:
    """By their numbers."""
    return tuple(sorted(outcomes.values(), key=lambda outcome: outcome.seq))


def cases(seed: int, commits: int, most: int | None = None, *, mail: bool = False) -> Iterator[Case]:
    """A crash before and after every commit of an undisturbed run; a sample of them where there are more than `most`."""
    chance = random.Random(f"cases {seed}")
    boundaries = [(at, after) for at in range(1, commits + 1) for after in (False, True)]
    if most is not None and len(boundaries) > most:
        boundaries = chance.sample(boundaries, most)
    for at, after in boundaries:
        kind = chance.random()
        yield Case(
            seed,
            at,
            after,
            trouble=0.05 if kind < 0.15 else 0.0,
            operator=0.15 <= kind < 0.3,
            zombies=0.7 if 0.3 <= kind < 0.45 else 0.0,
            logs=0.45 <= kind < 0.55,
            mail=mail,
        )
