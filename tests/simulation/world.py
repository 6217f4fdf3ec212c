"""One simulation: everything that takes part in it, what is known of it, and the course that it takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import traceback
from collections import Counter
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from stepwell.core.slots import LATE
from stepwell.engine.worker import Worker
from tests.simulation.almanac import PROMPT
from tests.simulation.ending import check_all
from tests.simulation.keeper import Keeper
from tests.simulation.ledger import Ledger
from tests.simulation.loop import BEGINNING, SimulatedLoop, Stalled
from tests.simulation.people import Client, Operator, Person
from tests.simulation.processes import Place, Process
from tests.simulation.tables import tables_of
from tests.simulation.timetable import Timetable
from tests.simulation.watch import Watch
from tests.simulation.weather import LONGEST, MISHAPS, Weather, forecast
from tests.simulation.workflows import STEPS

T = TypeVar("T")

_LONGEST = 400
"""Seconds in which everything has ended, once nothing goes wrong any more."""


class Wrong(AssertionError):
    """Something that must not be."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a simulation went."""

    counts: Counter[str]
    trace: list[str] = field(repr=False)


class Universe:
    """One process's loop, and the simulations that are made on it."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self._loop = SimulatedLoop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        logging.disable(logging.NOTSET)
        self._loop.close()

    def run(self, seed: int, store: str, *, mishaps: tuple[str, ...] = MISHAPS, trace: bool = False) -> Done:
        """The simulation of this seed, in which processes meet these mishaps. Raises `Wrong`."""
        self._loop.begin_anew()
        world = self._loop.run_until_complete(self._made(seed, store, mishaps, trace))
        try:
            self._loop.run_until_complete(world.take_its_course())
        except Stalled as stalled:
            world.wrong(f"stuck: {stalled}")
        finally:
            world.clean()
        if world.mistakes:
            raise Wrong("\n".join([f"seed {seed}, {store}: {world.mistakes[0]}", *world.trace]))
        return Done(world.counts, world.trace)

    async def _made(self, seed: int, store: str, mishaps: tuple[str, ...], trace: bool) -> World:
        return World(self._loop, seed, store, mishaps, trace=trace)


class World:
    """All that there is in one simulation."""

    def __init__(self, loop: SimulatedLoop, seed: int, store: str, mishaps: tuple[str, ...], *, trace: bool) -> None:
        self.loop = loop
        self.chance = random.Random(f"{store} {seed}")
        self.counts: Counter[str] = Counter(simulations=1)
        self.trace: list[str] = []
        self.mistakes: list[str] = []
        self.weather: Weather | None = forecast(self.chance, mishaps)
        """None: nothing goes wrong any more."""
        self.lease = self.chance.choice((1.5, 3.0, 6.0))
        self.max_crashes = self.chance.choice((2, 5, 100))
        self.confirmed: set[str] = set()
        """Runs whose start was answered."""
        self.forks: dict[str, str] = {}
        self.mended: set[int] = set()
        """Inputs for which steps fail no longer."""
        self.processes: dict[Worker, Process] = {}
        self._is_traced = trace
        self._tasks: set[asyncio.Task[Any]] = set()
        self._names: dict[str, str] = {}
        self.ahead = self.chance.choice((0.0, 0.0, self.chance.uniform(-20.0, 20.0)))
        """Seconds by which the clocks of all workers are ahead of those of clients."""
        places = self.chance.choice((1, 2, 3))
        self.tables = tables_of(store, self.chance, places)
        self.timetable = Timetable(self._apart())
        self.watch = Watch(self, self.tables)
        self.ledger = Ledger(self)
        self.places = [Place(self, number, self._apart()) for number in range(places)]
        self.skew = max(abs(place.ahead) for place in self.places)
        self.spread = max(place.ahead for place in self.places) - min(place.ahead for place in self.places)
        """Seconds by which clocks of workers differ."""
        self.clients = [Client(self, number, self._apart()) for number in range(2)]
        self.operator = Operator(self, "operator", 0, self._apart())
        self.keeper = Keeper(self, 0, self._apart())
        STEPS.world = self
        loop.computing = self._computing
        loop.set_exception_handler(self._met)

    def _apart(self) -> random.Random:
        """Chance of somebody's own."""
        return random.Random(self.chance.getrandbits(64))

    # -- what takes place

    async def take_its_course(self) -> None:
        """From the first start until everything has ended, and what must be so then."""
        await self.tables.open()
        try:
            assert self.weather is not None
            living = [self.begin(place.live(self.weather)) for place in self.places]
            living += [self.begin(person.live()) for person in self._people()]
            end = self.loop.time() + self.chance.choice((8.0, 15.0, 30.0))
            while self.loop.time() < end and not self.mistakes:
                await asyncio.sleep(1.0)
                self.watch.almanac.check_promptness()
            for task in living:
                task.cancel()
            await asyncio.gather(*living, return_exceptions=True)
            if not self.mistakes:
                await self._calm_down()
        finally:
            await self.tables.close()

    def _people(self) -> list[Person]:
        return [*self.clients, self.operator, self.keeper]

    async def _calm_down(self) -> None:
        self.note("nothing goes wrong any more")
        self.weather = None
        if not self.timetable.is_empty and self.chance.random() < 0.5:
            for place in self.places:
                place.go_dark()
            await asyncio.sleep(2 * LATE)
        await asyncio.sleep(2 * LONGEST)  # calls that hang still come through
        for place in self.places:
            place.calm_down()
        for what in await self.operator.link.halts():
            await self.operator.release(what)
        await self._see_schedules_out()
        end = self.loop.time() + _LONGEST
        while not self._is_over() and self.loop.time() < end and not self.mistakes:
            await self._keep_up(1.0)
        await self._keep_up(2 * self.lease + 15.0)  # who waits for a result is told, and the dead are forgotten
        if not self.mistakes:
            await check_all(self, [place.process for place in self.places if place.process is not None])

    async def _see_schedules_out(self) -> None:
        """They catch up; then they are paused, or this would go on for ever."""
        if not self.timetable.is_empty:
            await self.keeper.resume_all()
            await self._keep_up(2 * PROMPT)
        await self.keeper.pause_all()

    async def _keep_up(self, seconds: float) -> None:
        """Let time pass. A worker that was taken for dead while it began gives up after a while, and is started again."""
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            await asyncio.sleep(1.0)
            self.watch.almanac.check_promptness()
            for place in self.places:
                place.keep_up()

    def _is_over(self) -> bool:
        return all(seen.status.ended or seen.status == "paused" for seen in self.watch.runs.values())

    def _computing(self) -> Collection[threading.Thread]:
        return [
            execution.body_thread._thread
            for worker in self.processes
            for execution in worker.here.values()
            if execution.computing
            and not execution.over
            and execution.body_thread is not None
            and execution.body_thread._thread is not None
        ]

    # -- for those who take part

    def process_of(self, worker: Worker) -> Process:
        """Where this worker lives."""
        return self.processes[worker]

    def begin(self, what: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have it done beside all else."""
        task = self.loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def short(self, run_id: str) -> str:
        """A name for a run."""
        return self._names.setdefault(run_id, f"r{len(self._names) + 1}")

    def note(self, what: str) -> None:
        """For the trace."""
        if self._is_traced:
            self.trace.append(f"{self.loop.time() - BEGINNING:10.4f}  {what}")

    def wrong(self, what: str) -> None:
        """Something that must not be. What follows it is not looked at."""
        self.note(f"WRONG: {what}")
        self.mistakes.append(f"after {self.loop.time() - BEGINNING:.4f} s: {what}")

    def _met(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        told = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
        self.wrong(f"an error in a callback: {context.get('message')} {told}")

    def clean(self) -> None:
        """Nothing of this simulation may be left for the next."""
        self.loop.set_exception_handler(lambda loop, context: None)
        for worker in self.processes:
            worker.abandon()
        self.loop.computing = lambda: ()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(Stalled):
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.forget()
