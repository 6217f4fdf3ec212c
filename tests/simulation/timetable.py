"""What comes by itself: a workflow with schedules, as an older release declares them and as a newer one does, and their inputs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, get_args

from stepwell import Schedule, Step, Workflow, workflow
from stepwell.core.options import CatchUp, Overlap
from tests.simulation.workflows import BODY, STEPS

NAME = "ticking"

_NAMES = ("one", "two", "three")
_PERIODS = (2, 5, 5, 10, 10, 15, 20)
"""Seconds, which go into a minute: all slots are multiples of them."""

_ZONES = (None, None, "Asia/Kolkata", "Europe/Paris")


async def _body(step: Step, x: int) -> int:
    value = await step.run("a", STEPS.work, x)
    if x % 3 == 0:
        await step.sleep("nap", "2s" if x % 2 else "9s")
    return value + await step.run("b", STEPS.work, x + 1)


def ticking(schedules: Sequence[Schedule] = ()) -> Workflow[Any, Any]:
    """The workflow, on these schedules."""
    return workflow(_body, name=NAME, retry=BODY, schedules=schedules)


def computed_for(slot: float) -> int:
    """What the functions of schedules return, when they return."""
    return int(slot) % 900


def period_of(expression: str) -> int:
    """Seconds between two slots."""
    return int(expression.split(" ", maxsplit=1)[0].removeprefix("*/"))


class Timetable:
    """The two releases of one simulation."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.is_empty = chance.random() < 0.4
        newer = [] if self.is_empty else [self._schedule(name) for name in _NAMES[: chance.choice((1, 1, 2, 3))]]
        older = newer if chance.random() < 0.3 else [self._changed(schedule) for schedule in newer if chance.random() < 0.8]
        self.newer, self.older = ticking(newer), ticking(older)

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Those of both."""
        return (*self.newer.schedules, *self.older.schedules)

    def release(self, *, whole: bool) -> Workflow[Any, Any]:
        """What a process has; one that can do everything has the newer."""
        return self.newer if whole or self._chance.random() < 0.6 else self.older

    def _schedule(self, name: str) -> Schedule:
        chance = self._chance
        return Schedule(
            name,
            f"*/{chance.choice(_PERIODS)} * * * * *",
            input=self._function() if chance.random() < 0.4 else chance.randrange(3, 900),
            timezone=chance.choice(_ZONES),
            overlap=chance.choice(get_args(Overlap)),
            catch_up=chance.choice(get_args(CatchUp)),
            jitter=chance.choice((None, None, "1s")),
        )

    def _changed(self, schedule: Schedule) -> Schedule:
        """As it was before: in another way, or with the same times."""
        other = self._schedule(schedule.name)
        if self._chance.random() < 0.5:
            return other
        return Schedule(
            schedule.name,
            schedule.expression,
            input=schedule.input,
            timezone=schedule.timezone,
            overlap=other.overlap,
            catch_up=schedule.catch_up,
        )

    def _function(self) -> Callable[[datetime], Awaitable[int]]:
        fails = self._chance.choice((0.0, 0.1, 0.5))

        async def compute(slot: datetime) -> int:
            chance = STEPS.world.chance
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.1, 1.0, 4.0)))
            if chance.random() < fails:
                raise ConnectionError(f"nothing is known of {slot}")
            return computed_for(slot.timestamp())

        return compute
