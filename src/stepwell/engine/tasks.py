"""The objects of a run's event loop: handles, timers, tasks and futures. What of them can be in a set is hashed by number.

asyncio keeps sets of them: `asyncio.wait` returns two, and `TaskGroup` cancels its children in the order of one. By address, which is
what Python hashes by, each replay would go its own way.
"""

from __future__ import annotations

import asyncio
from asyncio import tasks
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.core.records import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from stepwell.core.naming import Branch
    from stepwell.core.records import Outcome


class Handle:
    """A callback that is ready. asyncio's own asks for the loop's debug mode and keeps more."""

    __slots__ = ("args", "callback", "context", "gone")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args: tuple[Any, ...] = args
        self.context = context
        self.gone = False

    def cancel(self) -> None:
        """It will not be called."""
        self.gone = True
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self.gone


class TimerLoop(Protocol):
    """The loop that a timer is set on."""

    def timer_fired(self, timer: Timer) -> None:
        """Its callback is to run."""

    def timer_canceled(self, timer: Timer) -> None:
        """Nobody waits for it any more."""


class Timer(Handle):
    """A callback that becomes due by the recorded passing of time. Its firing is an outcome like any other."""

    __slots__ = ("asked", "deadline", "key", "loop")

    kind: Final = Kind.TIMER

    def __init__(  # the class says what it is
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, loop: TimerLoop, deadline: float, key: str
    ) -> None:
        super().__init__(callback, args, context)
        self.loop = loop
        self.deadline = deadline
        self.key = key
        self.asked = 0
        """The outcome delivered last when it was set; filled in by the run."""

    def when(self) -> float:
        """When it is due, in the time of the loop."""
        return self.deadline

    def cancel(self) -> None:
        """It will not fire. A firing that is recorded already is passed over."""
        if not self.gone:
            super().cancel()
            self.loop.timer_canceled(self)

    def deliver(self, _: Outcome) -> None:
        """It has fired, and that is durable."""
        if not self.gone:
            self.loop.timer_fired(self)


class Numbering(asyncio.AbstractEventLoop):
    """A loop that numbers what is put into sets, when it is first hashed.

    Not when it is made: `wait_for` of CPython 3.11 makes a task and a future that 3.12 does without.
    """

    def next_number(self) -> int:
        """The next number: equal on each replay of the run."""
        raise NotImplementedError


class BranchTask(asyncio.Task[Any]):
    """A task that knows its branch."""

    __slots__ = ("_numbering", "branch", "number")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: Numbering, branch: Branch, context: Context | None, number: int | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.branch = branch
        self._numbering = loop
        # asyncio keeps the tasks of all loops in one WeakSet, which hashes them once, here: by numbers that each run counts from 1,
        # thousands of runs would collide there.
        self.number: int | None = id(self)
        super().__init__(coro, loop=loop, name=branch.path or "main", context=context, **options)
        self.number = number

    def __hash__(self) -> int:
        number = self.number
        if number is None:
            number = self.number = self._numbering.next_number()
        return number


class NumberedFuture(asyncio.Future[Any]):
    """A future that can be in a set."""

    __slots__ = ("_numbering", "number")

    def __init__(self, *, loop: Numbering) -> None:
        self.number: int | None = None
        self._numbering = loop
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        number = self.number
        if number is None:
            number = self.number = self._numbering.next_number()
        return number


def _hash_of_gathering(future: asyncio.Future[Any]) -> int:
    loop = future.get_loop()
    if not isinstance(loop, Numbering):
        return object.__hash__(future)
    number: int | None = getattr(future, "_stepwell_number", None)
    if number is None:
        number = loop.next_number()
        future._stepwell_number = number  # type: ignore[attr-defined]  # it has a dictionary of its own
    return number


# `gather` makes its future itself, not through the loop. Those of other loops are hashed as ever.
tasks._GatheringFuture.__hash__ = _hash_of_gathering  # type: ignore[attr-defined]
