"""The lives of one run: crashed at a commit, replayed under other latencies, crashed again, and compared with what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stepwell import Retry, RunStatus, workflow
from stepwell.core.ending import Complete, Diverge, Ending, Fail
from stepwell.core.records import Kind, NewRun, Outcome
from stepwell.core.registry import Registry
from stepwell.engine.attempts import is_async
from stepwell.engine.clock import RunIds
from stepwell.engine.execution import Execution
from stepwell.engine.worker import Worker
from stepwell.store.memory import MemoryStore
from stepwell.testing.clock import LoopClock
from tests.proof.oracle import Impossible, Oracle, SyncOracle
from tests.proof.programs import Program, compiled
from tests.proof.world import Around, Crash, Stalled, VirtualLoop, World

AROUND = Around()
BODY_RETRY = Retry(2, "50ms", jitter=0.0)
"""A body of a program that raises is tried again once."""


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

    def close(self) -> None:
        self.loop.close()

    def run(self, program: Program, case: Case, edited: Program | None = None) -> Done:
        """All lives of one run of the program, and what must hold after them."""
        lives = Lives(self.loop, program, case)
        try:
            self.loop.run_until_complete(lives.live_on())
        except Stalled as stalled:
            raise Wrong(f"stuck: {stalled}") from None
        finally:
            self._clean()
        lives.check()
        return lives.done()

    def _clean(self) -> None:
        """No task of one case may be left for the next."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(Stalled):
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


class Lives:
    """One run, its world, and its lives so far."""

    def __init__(self, loop: VirtualLoop, program: Program, case: Case) -> None:
        self.loop = loop
        self.program = program
        self.case = case
        self.chance = random.Random(repr(case))
        self.crash = Crash(self.chance)
        self.crash.trouble = case.trouble
        self.store = MemoryStore(self.crash)
        self.clock = LoopClock(loop, self.chance)
        self.run_id = RunIds(self.clock).new()
        AROUND.world = self.world = World(self.chance, self._is_recorded)
        self.worker: Worker | None = None
        self.use(program)

    def use(self, program: Program) -> None:
        """Deploy this code."""
        body: Any = compiled(program, AROUND.namespace())
        world = self.world

        async def traced(step: Any, x: int) -> int:
            world.begin_body()
            result: int = await body(step, x)
            return result

        def traced_def(step: Any, x: int) -> int:
            world.begin_body()
            result: int = body(step, x)
            return result

        self.definition = workflow(name="p", retry=BODY_RETRY)(traced if program.is_async else traced_def)

    @property
    def row(self) -> Any:
        return self.store._rows[self.run_id]

    def _is_recorded(self, key: str) -> bool:
        return key in self.row.outcomes

    # -- living

    async def live_on(self) -> None:
        """Until the run has ended, however many lives that takes."""
        await self.begin()
        case, chance = self.case, self.chance
        crash_at, after = case.crash_at, case.after
        for life in range(60):
            if await self.live(crash_at, after) or self.row.status.ended:
                return
            crash_at = self.store.commits + chance.randint(1, 6) if chance.random() < case.again and life < 20 else None
            after = chance.random() < 0.5
            await asyncio.sleep(chance.choice((0.0, chance.random() * 0.01, 5.0)))  # until another worker takes the run
        raise Wrong("it does not end")

    async def begin(self) -> None:
        now = self.clock.now()
        await self.store.enqueue([NewRun(self.run_id, "p", None, "1", now, now)])

    async def live(self, crash_at: int | None, after: bool) -> bool:
        """One life of a worker, until the run has ended, or is paused because its code has changed: True. False: the process was lost."""
        self.crash.plan(crash_at, after)
        self.world.begin_life()
        self.worker = worker = self._worker()
        endings: list[Ending] = []
        ended = asyncio.Event()

        def left(run_id: str, ending: Ending | None) -> None:
            if isinstance(ending, Complete | Fail | Diverge) or (ending is None and self.row.status.ended):
                endings.append(ending)  # type: ignore[arg-type]
                ended.set()

        worker._on_left = left
        self.loop.in_threads = self._in_threads
        working = self.loop.create_task(worker.run())
        operator = self.loop.create_task(self._operate()) if self.case.operator else None
        waits = [self.loop.create_task(self.crash.happened.wait()), self.loop.create_task(ended.wait()), working]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=10**6)
        finally:
            self.world.silent = True
            if operator is not None:
                operator.cancel()
            for task in waits:
                task.cancel()
            worker.abandon()
            await self.store.hand_back(worker.name, self.clock.now())
        if working in done:
            error = working.exception()
            raise Wrong(f"the worker has ended: {error!r}") from error
        if not done:
            raise Wrong(f"stuck: {self.row.status}")
        return ended.is_set()

    def _worker(self) -> Worker:
        chance = self.chance
        park_after = self.case.cold if self.case.cold is not None else chance.choice((0.0, 0.05, 1e9))
        return Worker(
            self.store, Registry([self.definition]), self.clock, name=f"worker-{self.world.life}", concurrency=4,
            park_after=park_after, max_parked=chance.choice((0, 1_000)), poll=300.0,
        )  # fmt: skip

    def _in_threads(self) -> bool:
        """Whether the loop must wait for a thread, in the real world's time."""
        if self.worker is None:
            return False
        executions: list[Execution] = [*self.worker._running]
        return any(
            each.computing or any(not is_async(request.function) for request in each.executing.values()) for each in executions
        )

    async def _operate(self) -> None:
        """Pause and resume at any time."""
        chance = self.chance
        for _ in range(chance.randint(1, 4)):
            await asyncio.sleep(chance.random() * 0.03)
            if self.row.status.ended:
                return
            await self.store.pause(self.run_id, self.clock.now())
            await asyncio.sleep(chance.choice((0.0, chance.random() * 0.01)))
            if self.row.status is RunStatus.PAUSED:
                await self.store.resume(self.run_id, self.clock.now())
                if self.worker is not None:
                    self.worker.hint()
        if self.row.status is RunStatus.PAUSED:
            await self.store.resume(self.run_id, self.clock.now())

    # -- comparing

    def done(self) -> Done:
        return Done(self.store.commits, self.world.life, self.row.status, self.history())

    def history(self) -> tuple[Outcome, ...]:
        return tuple(sorted(self.row.outcomes.values(), key=lambda outcome: outcome.seq))

    def check(self) -> None:
        """What the engine did equals an undisturbed run in which the same outcomes came in the same order."""
        row = self.row
        if row.status not in (RunStatus.COMPLETED, RunStatus.FAILED):
            raise Wrong(f"the run is {row.status}: {row.error}")
        self._check_effects()
        try:
            if self.program.is_async:
                self._check_async()
            else:
                self._check_def()
        except Impossible as impossible:
            raise Wrong(f"no undisturbed run has this history: {impossible}") from None

    def _check_effects(self) -> None:
        arguments: dict[str, tuple[str, int]] = {}
        begun: dict[tuple[str, int], int] = {}
        for effect in self.world.effects:
            if effect.recorded:
                raise Wrong(f"{effect.key} was run again although its outcome was recorded")
            before = arguments.setdefault(effect.key, (effect.function, effect.argument))
            if before != (effect.function, effect.argument):
                raise Wrong(f"{effect.key} was run as {before}, then as {effect.function}({effect.argument})")
            begun[effect.key, effect.life] = begun.get((effect.key, effect.life), 0) + 1
            limit = 1 if effect.function != "flaky" else 2
            if begun[effect.key, effect.life] > limit and not self.case.operator:
                raise Wrong(f"{effect.key} was begun {begun[effect.key, effect.life]} times in life {effect.life}")
        for outcome in self.history():
            if outcome.kind == Kind.FUNCTION and outcome.key not in arguments:
                raise Wrong(f"{outcome.key} has an outcome and was never run")
            if outcome.attempt > (2 if arguments.get(outcome.key, ("",))[0] == "flaky" else 1):
                raise Wrong(f"{outcome.key} had {outcome.attempt} attempts")

    def _check_async(self) -> None:
        self.world.silent = False
        oracle = Oracle(self.definition.function, self.row.started_at)
        try:
            for outcome in self.history():
                if oracle.main.done():
                    break  # what a branch that nobody awaited has recorded
                oracle.deliver(outcome)
            self._compare(self.world.traces[:-1], self.world.traces[-1], oracle.main)
        finally:
            self.world.silent = True
            oracle.close()
        for outcome in self.history():
            if outcome.key not in oracle.asked:
                raise Wrong(f"{outcome.key} is recorded, and was never asked for")

    def _compare(self, lived: list[list[Any]], expected: list[Any], main: asyncio.Task[Any]) -> None:
        if not main.done():
            raise Wrong(f"the run is {self.row.status}, and its body would still wait")
        for life, trace in enumerate(lived, 1):
            if trace != expected[: len(trace)]:
                place = next((at for at, (one, other) in enumerate(zip(trace, expected, strict=False)) if one != other), len(expected))
                raise Wrong(f"in start {life} the body saw {trace[place : place + 2]}, and should have seen {expected[place : place + 2]}")
        if lived[-1] != expected:
            raise Wrong(f"in its last start the body saw {len(lived[-1])} things, and should have seen {len(expected)}")
        error = main.exception()
        if error is None and (self.row.status is not RunStatus.COMPLETED or self.row.output != str(main.result())):
            raise Wrong(f"the run is {self.row.status} with {self.row.output}, and should have completed with {main.result()}")
        if error is not None and self.row.status is not RunStatus.FAILED:
            raise Wrong(f"the run is {self.row.status}, and should have failed with {error!r}")

    def _check_def(self) -> None:
        self.world.silent = False
        oracle = SyncOracle(self.history())
        result, error = None, None
        try:
            result = self.definition.function(oracle, 1)
        except Impossible:
            raise
        except Exception as caught:  # noqa: BLE001  # the program's own
            error = caught
        *lived, expected = self.world.traces
        if oracle.left:
            raise Wrong(f"{oracle.left[0]} is recorded, and was never asked for")
        for life, trace in enumerate(lived, 1):
            if trace != expected[: len(trace)]:
                raise Wrong(f"in start {life} the body saw {trace}, and should have seen {expected}")
        if error is None and (self.row.status is not RunStatus.COMPLETED or self.row.output != str(result)):
            raise Wrong(f"the run is {self.row.status} with {self.row.output}, and should have completed with {result}")
        if error is not None and self.row.status is not RunStatus.FAILED:
            raise Wrong(f"the run is {self.row.status}, and should have failed with {error!r}")


def cases(seed: int, commits: int, most: int | None = None) -> Iterator[Case]:
    """A crash before and after every commit of an undisturbed run; a sample of them where there are more than `most`."""
    chance = random.Random(f"cases {seed}")
    boundaries = [(at, after) for at in range(1, commits + 1) for after in (False, True)]
    if most is not None and len(boundaries) > most:
        boundaries = chance.sample(boundaries, most)
    for at, after in boundaries:
        kind = chance.random()
        yield Case(seed, at, after, trouble=0.05 if kind < 0.15 else 0.0, operator=0.15 <= kind < 0.3)
