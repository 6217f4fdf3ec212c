"""What happens around a run: steps that take time and have effects, a loop whose time is simulated, a database that fails."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from stepwell import ChildFailed, ContinueAsNew, DatabaseUnavailable, Retry, StepFailed, current_step, step
from stepwell.core import definition
from stepwell.core.records import Outcome
from stepwell.engine.requests import StepInfo, StepRequest
from stepwell.engine.runloop import Unwind

TWICE = Retry(2, "20ms", jitter=0.5)
RARELY = Retry(2, "1h", jitter=0.5)
RETRIED = frozenset({"flaky", "slow", "picky", "risky"})
"""Functions whose steps are tried twice."""

PLACE: ContextVar[int] = ContextVar("place")
_TRACE: ContextVar[Trace] = ContextVar("trace")


def model(x: int) -> int:
    """What every step makes of its number."""
    return (x * 31 + 7) % 997


class Trace(list[Any]):
    """What the body saw from one start of it."""

    logger: Any = None
    strays: list[tuple[Any, ...]]
    """What it saw when it ran on the worker's own loop, where it has no business."""
    over = False
    """The process is lost: a thread of it may go on for a while, and sees nothing any more."""


@dataclass(slots=True)
class Effect:
    """A step that was begun."""

    key: str
    attempt: int
    function: str
    argument: int
    life: int
    recorded: bool
    """Whether its outcome was in the database already: it must never be."""
    at: float
    stale: bool
    """Begun by a worker from which the run had been taken, and which did not know it yet."""
    canceled: bool
    """The body had canceled it before it was begun."""
    claim: int


@dataclass
class Chapter:
    """What happens to a run until it ends, or goes on as new."""

    argument: int
    begun_at: float
    outcomes: dict[str, Outcome]
    """What is recorded: the row's own."""
    traces: list[Trace] = field(default_factory=list)
    """What the body saw, each time that it was started."""
    effects: list[Effect] = field(default_factory=list)
    unwanted: set[tuple[str, int]] = field(default_factory=set)
    """Keys and claims of steps that took no notice of their cancellation."""
    booked: list[str] = field(default_factory=list)
    """Keys of the transactions that are written, as often as they are."""
    given: set[str] = field(default_factory=set)
    """Keys whose outcomes were there when this record began: the run was retried, forked, or comes from elsewhere."""

    def begin_again(self, outcomes: dict[str, Outcome]) -> None:
        """From what stays of its record. What was seen and done until now may come out differently."""
        self.outcomes, self.given = outcomes, set(outcomes)
        self.traces, self.effects = [], []


class Row:
    """The run in the store."""

    begun_at: float
    generation: int
    claim: int
    outcomes: dict[str, Outcome]


@dataclass
class World:
    """One case: all lives of one run."""

    chance: random.Random
    row: Callable[[], Row]
    now: Callable[[], float]
    logs: bool = False
    """Whether the body logs what it sees."""
    chapters: list[Chapter] = field(default_factory=list)
    life: int = 0
    mistakes: list[BaseException] = field(default_factory=list)
    """Errors that a program did not raise itself."""
    strays: list[tuple[Any, ...]] = field(default_factory=list)
    """Of all traces."""
    switched_on: bool = True
    """Whether steps that depend on it succeed."""
    only_expected: bool = False
    """The oracle is at work: what the body sees now belongs to no life."""
    expected: Trace = field(default_factory=Trace)

    @property
    def effects(self) -> list[Effect]:
        return [effect for chapter in self.chapters for effect in chapter.effects]

    def begin_body(self, argument: int, logger: Any) -> None:
        """The body starts from its first line: in a new life, after a pause, or when a parked run has been let go."""
        trace = Trace()
        trace.logger, trace.strays = logger if self.logs else None, self.strays
        _TRACE.set(trace)
        if self.only_expected:
            self.expected = trace
            return
        row = self.row()
        if len(self.chapters) <= row.generation:
            self.chapters.append(Chapter(argument, row.begun_at, row.outcomes))
        chapter = self.chapters[row.generation]
        chapter.outcomes = row.outcomes
        chapter.traces.append(trace)

    def begin_with(self, argument: int, row: Row) -> None:
        """The run comes with a record from elsewhere."""
        self.chapters = [Chapter(argument, row.begun_at, row.outcomes, given=set(row.outcomes))]

    def end_life(self) -> None:
        """All processes are lost."""
        for chapter in self.chapters:
            for trace in chapter.traces:
                trace.over = True

    def note(self, *what: Any) -> None:
        trace = _TRACE.get()
        if isinstance(asyncio._get_running_loop(), VirtualLoop):
            trace.strays.append(what)
        elif not (trace.over or _is_being_left()):
            trace.append((*what, _loop_time()))
            if trace.logger is not None:
                trace.logger.info(repr(what))

    def began(self, info: StepInfo, function: str, argument: int) -> None:
        row, request = self.row(), _request()
        claim: int = request.run.claimed.claim  # type: ignore[attr-defined]
        self.chapters[-1].effects.append(
            Effect(
                key=info.key,
                attempt=info.attempt,
                function=function,
                argument=argument,
                life=self.life,
                recorded=info.key in row.outcomes,
                at=self.now(),
                stale=claim != row.claim,
                canceled=request.cancelled() and not request.run.over,  # type: ignore[attr-defined]
                claim=claim,
            )
        )

    def is_unwanted(self, info: StepInfo) -> None:
        """The step was canceled, and goes on nevertheless."""
        self.chapters[-1].unwanted.add((info.key, _request().run.claimed.claim))  # type: ignore[attr-defined]

    def latency(self) -> float:
        return self.chance.choice((0.0, self.chance.random() * 0.004, 0.0095 + self.chance.random() * 0.001, self.chance.random() * 0.04))


def _request() -> StepRequest:
    request = definition.body.get()
    assert isinstance(request, StepRequest)
    return request


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
            "time": time,
            "contextlib": contextlib,
            "StepFailed": StepFailed,
            "ChildFailed": ChildFailed,
            "ContinueAsNew": ContinueAsNew,
            "Retry": Retry,
            "TWICE": TWICE,
            "RARELY": RARELY,
            "PLACE": PLACE,
            "note": self.note,
            "work": self.work,
            "near": self.near,
            "plain": self.plain,
            "blocking": self.blocking,
            "stubborn": self.stubborn,
            "placed": self.placed,
            "fails": self.fails,
            "flaky": self.flaky,
            "slow": self.slow,
            "picky": self.picky,
            "switched": self.switched,
            "breaks": self.breaks,
            "booked": self.booked,
            "risky": step("risky", retry=TWICE)(self.risky),
            "number_of": number_of,
            "outcome_of": outcome_of,
            "sum_of": sum_of,
        }

    def note(self, *what: Any) -> None:
        self.world.note(*what)

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

    def blocking(self, x: int) -> int:
        """In a thread."""
        self.world.began(current_step(), "blocking", x)
        return model(x)

    async def stubborn(self, x: int) -> int:
        """Takes no notice of its cancellation, and ends with a result that nobody wants."""
        self.world.began(current_step(), "stubborn", x)
        try:
            await asyncio.sleep(self.world.latency())
        except asyncio.CancelledError:
            self.world.is_unwanted(current_step())
            await asyncio.sleep(self.world.latency())
        return model(x)

    async def placed(self, x: int) -> int:
        """Right only where its caller's context variable can be seen."""
        self.world.began(current_step(), "placed", x)
        await asyncio.sleep(self.world.latency())
        return model(x) if PLACE.get(None) == x else -1

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

    async def slow(self, x: int) -> int:
        """Now and then beyond its timeout."""
        self.world.began(current_step(), "slow", x)
        await asyncio.sleep(self.world.chance.choice((0.001, 0.015, 0.03)))
        return model(x)

    async def picky(self, x: int) -> int:
        """Fails for some of the items."""
        self.world.began(current_step(), "picky", x)
        await asyncio.sleep(self.world.latency())
        if x % 4 == 0:
            raise ValueError(f"not {x}")
        return model(x)

    async def switched(self, x: int) -> int:
        """Fails until somebody outside turns the switch."""
        self.world.began(current_step(), "switched", x)
        await asyncio.sleep(self.world.latency())
        if not self.world.switched_on:
            raise ConnectionError(f"switched off for {x}")
        return model(x)

    def booked(self, connection: list[str], x: int) -> int:
        """Writes to the database."""
        connection.append(current_step().key)
        self.world.began(current_step(), "booked", x)
        return model(x)

    def risky(self, connection: list[str], x: int) -> int:
        """Writes to the database, and fails now and then after that."""
        connection.append(current_step().key)
        self.world.began(current_step(), "risky", x)
        if self.world.chance.random() < 0.5:
            raise OSError(f"risky {x}")
        return model(x)

    async def breaks(self, step: Any, x: int) -> int:
        await step.run("first", self.work, x)
        await step.define("bad", self.fails, retry=Retry.never()).run(x)
        return 0


MISTAKES = (AttributeError, NameError, TypeError, AssertionError, NotImplementedError, RuntimeError)
"""Errors that no program raises: it is the generator, asyncio or the run's loop that went wrong, in every life alike."""


def mistakes_in(error: BaseException) -> list[BaseException]:
    """Those among the error and its members."""
    if isinstance(error, BaseExceptionGroup):
        return [mistake for each in error.exceptions for mistake in mistakes_in(each)]
    return [error] if isinstance(error, MISTAKES) else []


def number_of(value: Any) -> int:
    """A number for whatever a program gets."""
    if isinstance(value, BaseException):
        Around.world.mistakes += mistakes_in(value)
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


def sum_of(value: Any) -> int:
    """A number for one value or a list of them."""
    return sum(map(number_of, value)) if isinstance(value, list) else number_of(value)


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
            if not self._woken.wait(50):
                raise Stalled("a thread does not come back")
            self._woken.clear()
            return []
        if timeout is None:
            raise Stalled("everything waits, and for nothing")
        self._virtual += timeout
        return []

    def _process_events(self, _: Any) -> None:
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
        self._back_after: float | None = None
        self.happened = asyncio.Event()
        self.standing_still: str | None = None
        """The worker that stands still, and for a while claims nothing: it learns from its commit what became of its run."""
        self._victim = ""
        self.trouble = 0.0
        """How likely a commit is answered by an error, before or after it was made."""

    def plan(self, victim: str, at: int | None, after: bool, back_after: float | None = None) -> None:
        """Lose the process at this commit. `back_after`: it only stood still for so many seconds, and others think that it is lost."""
        self._victim, self._at, self._after, self._back_after = victim, at, after, back_after
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
        self._at = None
        self.happened.set()
        if self._back_after is None:
            await asyncio.Event().wait()
        else:
            self.standing_still = self._victim
            await asyncio.sleep(self._back_after)
            asyncio.get_running_loop().call_later(self._chance.random() * 0.05, self._go_on)

    def _go_on(self) -> None:
        self.standing_still = None
