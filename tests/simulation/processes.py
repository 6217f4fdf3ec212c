"""Worker processes: each has a worker, a clock that may be off, and a line to the store. They crash, freeze, are stopped, and come back."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from stepwell.core.registry import Registry
from stepwell.core.status import RunStatus
from stepwell.engine.clock import Alarm
from stepwell.engine.worker import Worker
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Store
from tests.simulation.link import Link
from tests.simulation.watch import claims_of
from tests.simulation.weather import Weather
from tests.simulation.workflows import ALL, OLD

if TYPE_CHECKING:
    from tests.simulation.world import World

_ROUNDED = 1e-6
"""Seconds by which alarms ring late: a loop calls what is due within a nanosecond, when it would not be time yet, again and again."""


SPREAD = 0.1
"""Seconds by which clocks of workers differ at most from one another.

Where they differ by much, a run that sleeps goes back and forth between one for which it is due and one for which it is not, as fast as
they can: that takes too long to be simulated.
"""


class _Alarm:
    """A call that a process that stands still gets when it goes on."""

    __slots__ = ("_callback", "_clock", "_handle", "when")

    def __init__(self, clock: ProcessClock, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self._clock = clock
        self._callback: Callable[[], None] | None = callback
        self._handle = clock.loop.call_at(when, self.ring)

    def ring(self) -> None:
        if self._callback is None or self._clock.is_dead:
            return
        if self._clock.is_frozen:
            self._clock.keep(self)
        else:
            self._callback()

    def cancel(self) -> None:
        self._callback = None
        self._handle.cancel()


class ProcessClock:
    """Time and chance of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, ahead: float) -> None:
        self.loop = loop
        self.ahead = ahead
        """Seconds by which it is ahead of all others; negative: behind."""
        self.is_frozen = False
        self.is_dead = False
        self._chance = chance
        self._late: list[tuple[float, int, _Alarm]] = []

    def now(self) -> float:
        """See `Clock.now`."""
        return self.loop.time() + self.ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:
        """See `Clock.call_at`."""
        return _Alarm(self, when - self.ahead + _ROUNDED, callback)

    def random(self) -> float:
        """See `Clock.random`."""
        return self._chance.random()

    def random_bits(self, count: int) -> int:
        """See `Clock.random_bits`."""
        return self._chance.getrandbits(count)

    def keep(self, alarm: _Alarm) -> None:
        """Ring it when the process goes on."""
        heapq.heappush(self._late, (alarm.when, len(self._late), alarm))

    def thaw(self) -> None:
        """The process goes on: what was due meanwhile rings, in order."""
        self.is_frozen = False
        while self._late:
            self.loop.call_soon(heapq.heappop(self._late)[2].ring)


class Told(NamedTuple):
    """What a worker was told of one of its claims."""

    status: RunStatus | None
    """None: the run is another's."""
    at: float
    numbers: frozenset[int] = frozenset()
    """Of the outcomes that this was the answer to."""

    @property
    def is_bad(self) -> bool:
        """Whether it may begin nothing after this."""
        return self.status is None or self.status.ended or self.status is RunStatus.PAUSED


class Process:
    """One worker process, from its beginning until it has left or died.

    Args:
        world: in which it lives.
        place: where; its name and its line to the store go by it.
        ahead: seconds by which its clock is ahead of all others.
        chance: its own.
        whole: whether it is of this release, and takes runs from all queues.
    """

    def __init__(self, world: World, place: int, ahead: float, chance: random.Random, *, whole: bool) -> None:
        self.name = f"w{place}"
        self.clock = ProcessClock(world.loop, chance, ahead)
        self.link = Link(world, world.tables.store(place), self.name, chance)
        self.link.asking, self.link.heard = self._ask, self._hear
        self.told: dict[tuple[str, int], Told] = {}
        """What its worker was last told of each claim."""
        self.thawed_at = float("-inf")
        self._world = world
        self._chance = chance
        self._could_not_begin = False
        self._born_at = world.loop.time()
        self.worker = Worker(
            cast("Store", self.link),
            Registry((*(ALL if whole or chance.random() < 0.7 else OLD), world.timetable.release(whole=whole))),
            self.clock,
            name=self.name,
            queues=None if whole or chance.random() < 0.7 else {"default"},
            concurrency=chance.choice((1, 3, 10)),
            lease=world.lease,
            grace=chance.choice((0.0, 1.0, 5.0)),
            max_crashes=world.max_crashes,
            heart="loop",
            park_after=chance.choice((0.1, 1.0, 1.0, 100.0)),
            max_parked=chance.choice((0, 2, 1000)),
        )
        world.processes[self.worker] = self
        self._beginning = world.begin(self._begin())

    # -- its life

    async def _begin(self) -> None:
        try:
            await self.worker.__aenter__()
        except DatabaseUnavailable:
            self._world.note(f"{self.name}: could not begin")
            self._could_not_begin = True

    @property
    def is_up(self) -> bool:
        """Whether it works, or is about to."""
        return not (self.link.gone or self._could_not_begin or self.worker._stopping.has_begun)

    @property
    def fit_since(self) -> float:
        """Since when it works, and nothing ails it."""
        worker = self.worker
        if not self.is_up or not worker.registered or not worker.leased or self.clock.is_frozen or self.link.away or self.link.deaf:
            return self._world.loop.time()
        return max(self.thawed_at, self.link.trouble_at, self._born_at)

    def crash(self) -> None:
        """It is gone from one moment to the next. What it has asked the store for is done all the same."""
        self._world.note(f"{self.name}: crashes")
        self.link.gone = self.clock.is_dead = True
        self.link.thaw()
        self.clock.is_frozen = False
        self.worker.abandon()
        self._beginning.cancel()
        if self._chance.random() < 0.3 and self._world.tables.end(self.worker.id):
            self._world.watch.ended.add(self.worker.id)

    def freeze(self) -> None:
        """It has no turn, until it is thawed."""
        self._world.note(f"{self.name}: freezes")
        self.clock.is_frozen = True
        self.link.freeze()

    def thaw(self) -> None:
        """It goes on, and does not know for how long it stood still."""
        if not self.clock.is_frozen:
            return
        self._world.note(f"{self.name}: thaws")
        self.thawed_at = self._world.loop.time()
        first, second = (self.clock.thaw, self.link.thaw) if self._chance.random() < 0.5 else (self.link.thaw, self.clock.thaw)
        first()
        second()

    async def stop(self, *, at_once: bool = False) -> None:
        """Leave in good order."""
        self._world.note(f"{self.name}: stops{' at once' if at_once else ''}")
        await (self.worker.stop_now() if at_once else self.worker.stop())

    # -- what its steps and its worker do

    async def sleep(self, seconds: float) -> None:
        """For its steps: it takes longer when the process stands still."""
        future: asyncio.Future[None] = self._world.loop.create_future()
        alarm = self.clock.call_at(self.clock.now() + seconds, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            alarm.cancel()

    def _ask(self, verb: str) -> dict[str, int] | None:
        """The claims that it has, as it asks what was done to its runs."""
        if verb != "notices":
            return None
        return {run_id: execution.claimed.claim for run_id, execution in self.worker.here.items()}

    def _hear(self, verb: str, claims: Any, args: tuple[Any, ...], answer: Any) -> None:
        now = self._world.loop.time()
        if verb == "commit":
            for held in claims_of(args[1]):
                numbers = {outcome.seq for outcome in args[1].outcomes if (outcome.run, outcome.claim) == held}
                self.told[held] = Told(answer.get(held, RunStatus.RUNNING), now, frozenset(numbers))
        elif verb == "transact":
            effect = args[1]
            if (told := Told(answer, now)).is_bad:
                self.told[effect.run, effect.claim] = told
        elif verb == "register":
            self.link.beaten_at = now  # its lease begins
        elif verb == "notices":
            for run_id, known in answer.runs.items():
                if (claim := claims.get(run_id)) is not None:
                    self.told[run_id, claim] = Told(known[1] if known is not None and known[0] == claim else None, now)

    # -- when it has stopped

    def check_empty(self) -> None:
        """Nothing is left of its runs in memory."""
        worker = self.worker
        left = {
            "runs": list(worker.here),
            "slots": list(worker._running),
            "parked runs": list(worker._parked),
            "woken runs": list(worker._woken),
            "attempts": worker.steps.running,
            "alarms": worker.alarms.next(),
        }
        for what, there in left.items():
            if there:
                self._world.wrong(f"{self.name} has stopped, and has {what}: {there}")
        if self._world.tables.has_worker(worker.id):
            self._world.wrong(f"{self.name} has left, and its row {worker.id} is still there")


class Place:
    """Where processes live, one after the other, and what happens to them while anything may happen."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        self.process: Process | None = None
        self._world = world
        self._number = number
        self._chance = chance
        self.ahead = world.ahead + chance.choice((0.0, 0.0, chance.uniform(-SPREAD, SPREAD)))
        """Seconds by which its clock is ahead of those of clients."""

    def boot(self, *, whole: bool = False) -> Process:
        """Begin with a new process."""
        self.process = Process(self._world, self._number, self.ahead, self._chance, whole=whole or self._number == 0)
        return self.process

    async def live(self, weather: Weather) -> None:
        """Until canceled."""
        chance = self._chance
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.5)))
        while True:
            if self.process is None or not self.process.is_up:
                self.boot()
            await asyncio.sleep(chance.expovariate(1 / weather.mishap_every))
            if self.process is not None and self.process.is_up:
                await self._mishap(self.process, chance.choice(weather.mishaps))

    async def _mishap(self, process: Process, kind: str) -> None:
        chance, world = self._chance, self._world
        world.counts[kind] += 1
        match kind:
            case "crash":
                process.crash()
            case "freeze":
                process.freeze()
                await asyncio.sleep(chance.choice((0.3, 1.5, 3.0)) * world.lease * chance.random())
                process.thaw()
            case "stun":
                process.freeze()
                process.link.deaf = True
                await asyncio.sleep(chance.uniform(1.0, 1.5) * world.lease)
                process.thaw()
                await asyncio.sleep(chance.uniform(0.0, 3.0) * world.lease)
                process.link.deaf = False
            case "deaf" | "away":
                setattr(process.link, kind, True)
                await asyncio.sleep(chance.choice((0.5, 1.5, 4.0)) * world.lease * chance.random())
                setattr(process.link, kind, False)
            case "drain":
                await world.operator.drain(process.worker.id)
            case _:
                world.begin(process.stop(at_once=kind == "hurry"))
                if chance.random() < 0.3:
                    await asyncio.sleep(2.0 * chance.random())
                    process.crash()

    def go_dark(self) -> None:
        """Its process dies, and there is no other for a while."""
        if self.process is not None and self.process.is_up:
            self.process.crash()

    def calm_down(self) -> None:
        """Nothing goes wrong any more. What works here goes on, or a new process."""
        process = self.process
        if process is not None:
            process.thaw()
            process.link.deaf = process.link.away = False
            if not self._number and process.is_up and self._chance.random() < 0.5:
                process.crash()
        self.keep_up()

    def keep_up(self) -> None:
        """Have a process that works."""
        if self.process is None or not self.process.is_up:
            self.boot(whole=True)
