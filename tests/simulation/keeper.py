"""Who pauses, resumes, triggers and fills in schedules: by `app.schedules`, as people do."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from stepwell.core.records import RunFilter
from stepwell.core.registry import Registry
from stepwell.core.status import RunStatus
from stepwell.engine.clock import Clock, RunIds
from stepwell.errors import ScheduleNotFound
from stepwell.home import Home
from stepwell.schedules import Schedules
from stepwell.store.port import Store
from tests.simulation.link import Link
from tests.simulation.people import Person
from tests.simulation.timetable import NAME

if TYPE_CHECKING:
    from tests.simulation.world import World

_MOST = 60
"""Runs in one simulation, from which on it lets nothing more begin."""


class _Home(Home):
    """The inside of an app whose store is open already."""

    def __init__(self, link: Link, clock: Clock) -> None:
        super().__init__(cast("Store", link), clock)
        self._clock, self._ids = clock, RunIds(clock)

    def _check_open(self) -> None:
        """It is."""


class Keeper(Person):
    """Does to schedules what operators do."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        super().__init__(world, "keeper", number, chance)
        self._schedules = Schedules(_Home(self.link, self.clock), Registry(()), "UTC")

    async def live(self) -> None:
        """Until canceled."""
        chance = self.chance
        busy = chance.choice((1.0, 4.0))
        while True:
            await asyncio.sleep(chance.expovariate(1 / busy))
            if names := sorted(self.world.watch.almanac.accounts):
                self.world.begin(self._do(chance.choice(_DEEDS), chance.choice(names)))

    async def _do(self, deed: str, name: str) -> None:
        self.world.note(f"{self.name}: {deed} {name}")
        self.world.counts["deeds"] += 1
        try:
            match deed:
                case "pause":
                    await self.until_known(lambda: self._schedules.pause(NAME, name, actor="simulated"))
                case "resume":
                    await self.resume(name)
                case "clean up":
                    ended = RunFilter(workflow=NAME, statuses=frozenset({RunStatus.COMPLETED, RunStatus.FAILED}))
                    await self.until_known(lambda: self.link.delete_all(ended, 100))
                case "trigger" | "backfill" if len(self.world.watch.new) < _MOST:
                    await (self._trigger(name) if deed == "trigger" else self._backfill(name))
        except ScheduleNotFound as refused:
            self.world.note(f"{self.name}: {refused}")

    async def resume(self, name: str) -> None:
        """Let it fire again."""
        await self.until_known(lambda: self._schedules.resume(NAME, name, actor="simulated"))

    async def pause_all(self) -> None:
        """Let nothing fire any more."""
        for name in sorted(self.world.watch.almanac.accounts):
            await self.until_known(lambda: self._schedules.pause(NAME, name, actor="simulated"))  # it is awaited here

    async def resume_all(self) -> None:
        """Let everything fire."""
        for name in sorted(self.world.watch.almanac.accounts):
            await self.resume(name)

    async def _trigger(self, name: str) -> None:
        handle = await self.until_known(lambda: self._schedules.trigger(NAME, name, actor="simulated"))
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.choice((0.0, 0.5)))  # its input may be under way
            self.world.begin(self.world.operator.do(self.chance.choice(("pause", "pause and resume")), handle.run_id))

    async def _backfill(self, name: str) -> None:
        end = self.clock.now()
        start = end - self.chance.choice((10.0, 30.0))
        first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        await self.until_known(lambda: self._schedules.backfill(NAME, name, first, last, actor="simulated"))


_DEEDS = ("pause", "resume", "resume", "resume", "trigger", "backfill", "backfill", "clean up", "clean up")
