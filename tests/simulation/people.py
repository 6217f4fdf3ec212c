"""Clients, who start runs and wait for their results, and the operator, who acts on runs, workflows and workers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from stepwell.core.records import TO_COMPUTE, UNRESOLVED, NewRun, RunFilter
from stepwell.core.status import Action, RunStatus
from stepwell.engine.clock import RunIds
from stepwell.engine.waiters import Waiters
from stepwell.errors import DatabaseUnavailable, DefinitionError, IllegalTransition, RunNotFound
from stepwell.store.port import Ended, Halt, Store
from tests.simulation.link import Link
from tests.simulation.processes import ProcessClock
from tests.simulation.workflows import ALL

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

KEYS = 3
"""Keys that all clients share: most are used more than once."""

_MOST = 40
"""Runs in one simulation."""


class Person:
    """Somebody with a clock and a line to the store."""

    def __init__(self, world: World, name: str, number: int, chance: random.Random) -> None:
        self.name = name
        self.world = world
        self.chance = chance
        self.clock = ProcessClock(world.loop, chance, 0.0)
        self.link = Link(world, world.tables.store(number), name, chance)
        self.ids = RunIds(self.clock)

    async def live(self) -> None:
        """Until canceled."""
        raise NotImplementedError

    async def until_known(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again until there is an answer."""
        while True:
            try:
                return await ask()
            except DatabaseUnavailable:
                await asyncio.sleep(self.chance.choice((0.0, 0.1, 1.0)))


class Client(Person):
    """Starts runs, and awaits results."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        super().__init__(world, f"c{number}", number, chance)
        self.waiters = Waiters(cast("Store", self.link), self.clock)
        self.waiting: dict[str, asyncio.Task[Ended]] = {}

    async def live(self) -> None:
        """Until canceled."""
        while len(self.world.watch.new) < _MOST:
            await asyncio.sleep(self.chance.expovariate(1.0))
            await self._start(self.chance.choice((1, 1, 1, 4)))

    async def _start(self, count: int) -> None:
        world, chance = self.world, self.chance
        new = [self._new() for _ in range(count)]
        world.watch.new.update((each.id, each) for each in new)
        tries = 1 if chance.random() < 0.3 else 100
        for _ in range(tries):
            try:
                ids = await self.link.enqueue(new)
            except DatabaseUnavailable:
                await asyncio.sleep(chance.choice((0.0, 0.5)))
            else:
                self._confirmed(new, ids)
                return

    def _confirmed(self, new: list[NewRun], ids: list[str]) -> None:
        world = self.world
        for each, run_id in zip(new, ids, strict=True):
            world.note(f"{self.name}: started {world.short(run_id)} {each.workflow} {each.version} {each.key or ''}")
            world.confirmed.add(run_id)
            seen = world.watch.runs.get(run_id)
            if run_id != each.id and (each.key is None or (seen is not None and (seen.workflow, seen.key) != (each.workflow, each.key))):
                world.wrong(f"the start of {world.short(each.id)}, key {each.key}, gave run {world.short(run_id)}: {seen}")
            if self.chance.random() < 0.7 and run_id not in self.waiting:
                self.waiting[run_id] = world.begin(self._wait(run_id))

    async def _wait(self, run_id: str) -> Ended:
        ended = await self.waiters.wait(run_id)
        seen = self.world.watch.runs.get(run_id)
        if seen is not None and run_id not in self.world.watch.acted and seen.status is not ended.status:
            self.world.wrong(f"{self.name} was told that run {self.world.short(run_id)} is {ended.status}, and it is {seen}")
        return ended

    def _new(self) -> NewRun:
        chance, now = self.chance, self.clock.now()
        workflow = chance.choice(ALL)
        version = workflow.version
        if version is not None and chance.random() < 0.3:
            version = UNRESOLVED
        return NewRun(
            self.ids.new(),
            workflow.name,
            version,
            str(chance.randrange(3, 900)),
            now,
            now + chance.choice((0.0, 0.0, 0.0, 0.01, 2.0, 9.0)),
            queue=workflow.queue,
            priority=chance.choice((0, 0, workflow.priority, -3)),
            key=f"k{chance.randrange(KEYS)}" if chance.random() < 0.3 else None,
            timeout=chance.choice((None, None, None, 3.0, 15.0, 3600.0)),
            tags=("odd",) if chance.random() < 0.3 else (),
        )


class Operator(Person):
    """Does to runs, workflows and workers what operators do."""

    async def live(self) -> None:
        """Until canceled."""
        chance = self.chance
        busy = chance.choice((0.2, 0.7, 3.0))
        while True:
            await asyncio.sleep(chance.expovariate(1 / busy))
            runs = self.world.watch.runs
            living = [run_id for run_id, seen in runs.items() if not seen.status.ended]
            if runs:
                run_id = chance.choice(sorted(living if living and chance.random() < 0.6 else runs))
                self.world.begin(self.do(chance.choice(_DEEDS), run_id))  # several at once

    async def do(self, deed: str, run_id: str) -> None:
        """One of the deeds."""
        self.world.note(f"{self.name}: {deed} {self.world.short(run_id)}")
        self.world.counts["deeds"] += 1
        try:
            match deed:
                case "fork":
                    await self._fork(run_id)
                case "pause and resume":
                    await self._pause_and_resume(run_id)
                case "pounce":
                    await self._pounce(run_id)
                case "delete":
                    await self.until_known(lambda: self.link.delete(run_id))
                case "delete all":
                    await self.until_known(lambda: self.link.delete_all(RunFilter(tags=("odd",)), 3))
                case "halt":
                    await self._halt(run_id)
                case "cancel some" | "pause some" | "resume some" | "retry some":
                    await self._act_on_some(Action(deed.removesuffix(" some")))
                case _:
                    await self._act(run_id, Action(deed))
        except (IllegalTransition, RunNotFound, DefinitionError) as refused:
            self.world.note(f"{self.name}: {refused}")

    async def _act(self, run_id: str, action: Action) -> None:
        if action is Action.RETRY:
            self._mend([run_id])
        run = await self.until_known(lambda: self.link.act(run_id, action, self.clock.now(), "simulated"))
        # Others may have acted on it since the last try but one.
        if action is Action.PAUSE and run.status not in (RunStatus.PAUSED, RunStatus.CANCELED, RunStatus.PENDING):
            self.world.wrong(f"run {self.world.short(run_id)} was paused, and is {run.status}")

    async def _pause_and_resume(self, run_id: str) -> None:
        await self._act(run_id, Action.PAUSE)
        await asyncio.sleep(self.chance.choice((0.0, 0.01, 0.3, 2.0)))
        await self._act(run_id, Action.RESUME)

    async def _pounce(self, run_id: str) -> None:
        """Act in the very moment in which the run changes."""
        changed = self.world.watch.expected.setdefault(run_id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3.0):
                await changed.wait()
        if self.chance.random() < 0.2:
            await self._act(run_id, Action.CANCEL)
        else:
            await self._pause_and_resume(run_id)

    async def _act_on_some(self, action: Action) -> None:
        where = RunFilter(tags=("odd",)) if self.chance.random() < 0.7 else RunFilter(workflow=self.chance.choice(ALL).name)
        if action is Action.RETRY:
            self._mend(sorted(self.world.watch.runs))
        await self.until_known(lambda: self.link.act_on_all(where, action, self.clock.now(), "simulated", 3))

    def _mend(self, runs: list[str]) -> None:
        """What made steps fail is over, for some."""
        new = self.world.watch.new
        inputs = [new[run_id].input for run_id in runs if run_id in new and new[run_id].input != TO_COMPUTE]
        self.world.mended.update(int(text) for text in inputs if self.chance.random() < 0.7)

    async def _fork(self, source: str) -> None:
        world, seen = self.world, self.world.watch.runs[source]
        if not seen.outcomes:
            return
        now, key = self.clock.now(), self.chance.choice(sorted(seen.outcomes))
        before = world.watch.new[source]
        new = before._replace(id=self.ids.new(), key=None, created_at=now, available_at=now, input=(await self._history(source)).input)
        new = new._replace(version=(await self._history(source)).version, schedule=None, scheduled_at=None)
        world.watch.new[new.id] = new
        world.forks[new.id] = source
        world.confirmed.add(await self.until_known(lambda: self.link.fork(source, new, key, "simulated")))

    async def _history(self, run_id: str) -> Any:
        return await self.until_known(lambda: self.link.history(run_id))

    async def _halt(self, run_id: str) -> None:
        new = self.world.watch.new[run_id]
        what = Halt("queue", new.queue) if self.chance.random() < 0.3 else Halt("workflow", new.workflow)
        await self.until_known(lambda: self.link.halt(what, halted=True, now=self.clock.now(), actor="simulated"))
        await asyncio.sleep(self.chance.uniform(0.0, 6.0))
        await self.release(what)

    async def release(self, what: Halt) -> None:
        """Claim its runs again."""
        await self.until_known(lambda: self.link.halt(what, halted=False, now=self.clock.now(), actor="simulated"))

    async def drain(self, worker: str) -> None:
        """Ask a worker to stop."""
        await self.until_known(lambda: self.link.drain(worker, self.clock.now(), "simulated"))


_DEEDS = (
    *("pause and resume", "pounce", "pounce", "pounce", "pause", "resume", "resume", "cancel", "retry", "retry", "fork", "delete", "halt"),
    *("resume some", "pause some", "cancel some", "retry some", "delete all"),
)
