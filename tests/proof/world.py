"""What happens around a run: steps that take time and have effects, a loop whose time is simulated, a database that fails."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwell import DatabaseUnavailable, Retry, StepFailed, current_step
from stepwell.engine.requests import StepInfo
from stepwell.engine.runloop import Unwind

TWICE = Retry(2, "20ms", jitter=0.5)


def model(x: int) -> int:
    """What every step makes of its number."""
    return (x * 31 + 7) % 997


@dataclass(slots=True)
class Effect:
    """A step that was begun."""

    key: str
    function: str
    argument: int
    life: int
    recorded: bool
    """Whether its outcome was in the database already: it must never be."""


@dataclass
class World:
    """One case: all lives of one run."""

    chance: random.Random
    recorded: Callable[[str], bool]
    effects: list[Effect] = field(default_factory=list)
    life: int = 0
    traces: list[list[Any]] = field(default_factory=list)
    """What the body saw, each time that it was started."""
    silent: bool = False

    def begin_life(self) -> None:
        self.life += 1
        self.silent = False

    def begin_body(self) -> None:
        """The body starts from its first line: in a new life, after a pause, or when a parked run has been let go."""
        self.traces.append([])

    def note(self, *what: Any) -> None:
        if not (self.silent or _is_being_left()):
            self.traces[-1].append((*what, _loop_time()))

    def began(self, info: StepInfo, function: str, argument: int) -> None:
        self.effects.append(Effect(info.key, function, argument, self.life, self.recorded(info.key)))

    def latency(self) -> float:
        return self.chance.choice((0.0, self.chance.random() * 0.004, 0.0095 + self.chance.random() * 0.001, self.chance.random() * 0.04))


def _is_being_left() -> bool:
    return isinstance(sys.exception(), Unwind) or getattr(asyncio._get_running_loop(), "closing", False)


def _loop_time() -> float | None:
    loop = asyncio._get_running_loop()
    return None if loop is None else loop.time()


class Around:
    """The names that programs use. One for each process: `world` is set for each case."""

    world: World

    def namespace(self) -> dict[str, object]:
        return {
            "asyncio": asyncio,
            "contextlib": contextlib,
            "StepFailed": StepFailed,
            "Retry": Retry,
            "TWICE": TWICE,
            "note": lambda *what: self.world.note(*what),
            "work": self.work,
            "near": self.near,
            "plain": self.plain,
            "fails": self.fails,
            "flaky": self.flaky,
            "breaks": self.breaks,
            "number_of": number_of,
            "outcome_of": outcome_of,
        }

    async def work(self, x: int) -> int:
        self.world.began(current_step(), "work", x)
        await asyncio.sleep(self.world.latency())
        return model(x)

    async def near(self, x: int) -> int:
        """Ends at about the time when timers of programs fire."""
        self.world.began(current_step(), "near", x)
        await asyncio.sleep(self.world.chance.choice((0.01, 0.02, 0.03)) + (self.world.chance.random() - 0.5) * 0.002)
        return model(x)

    async def plain(self, x: int) -> int:
        """Done at once."""
        self.world.began(current_step(), "plain", x)
        return model(x)

    async def fails(self, x: int) -> int:
        self.world.began(current_step(), "fails", x)
        await asyncio.sleep(self.world.latency())
        raise ValueError(f"no {x}")

    async def flaky(self, x: int) -> int:
        """Fails by chance of the outer world: how often it is tried is not the program's."""
        self.world.began(current_step(), "flaky", x)
        await asyncio.sleep(self.world.latency())
        if self.world.chance.random() < 0.5:
            raise OSError(f"flaky {x}")
        return model(x)

    async def breaks(self, step: Any, x: int) -> int:
        await step.run("first", self.work, x)
        await step.define("bad", self.fails, retry=Retry.never()).run(x)
        return 0


def number_of(value: Any) -> int:
    """A number for whatever a program gets."""
    match value:
        case int():
            return value
        case float():
            return int(value * 1000) % 997
        case datetime():
            return int(value.timestamp() * 1000) % 997
        case UUID():
            return value.int % 997
        case BaseException():
            return len(type(value).__name__)
    raise TypeError(value)


def outcome_of(task: Any) -> int:
    """A number for how a task has ended."""
    if task.cancelled():
        return 5
    error = task.exception()
    return number_of(task.result() if error is None else error)


# -- time


class Stalled(Exception):
    """Everything waits, and for nothing: the run is stuck."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without I/O whose time jumps to the next timer. While a thread computes, it waits for real."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._virtual = 1_000.0
        self._woken = threading.Event()
        self.in_threads: Callable[[], bool] = lambda: False

    def time(self) -> float:
        return self._virtual

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            return []
        if self.in_threads():
            if not self._woken.wait(20):
                raise Stalled("a thread does not come back")
            self._woken.clear()
            return []
        if timeout is None:
            raise Stalled("everything waits, and for nothing")
        self._virtual += timeout
        return []

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        self._woken.set()


# -- the database


class Crash:
    """Loses the process at a commit, and the answers of others."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._at: int | None = None
        self._after = False
        self.happened = asyncio.Event()
        self.trouble = 0.0
        """How likely a commit is answered by an error, before or after it was made."""

    def plan(self, at: int | None, after: bool) -> None:
        self._at, self._after = at, after
        self.happened = asyncio.Event()

    async def before_commit(self, number: int) -> None:
        await asyncio.sleep(self._chance.random() * 0.002 if self._chance.random() < 0.7 else 0)
        if number == self._at and not self._after:
            await self._lose()
        if self._chance.random() < self.trouble:
            raise DatabaseUnavailable("before the commit")

    async def after_commit(self, number: int) -> None:
        if number == self._at:
            await self._lose()
        if self._chance.random() < self.trouble:
            raise DatabaseUnavailable("the commit was made, its answer is lost")

    async def _lose(self) -> None:
        self.happened.set()
        await asyncio.Event().wait()
