"""The event loop on which the body of one run lives: deterministic, without I/O, stepped from outside.

Owns the order in which tasks are stepped, the branch of each task, and the body's time. Refuses sockets, threads and subprocesses,
whose order would be chance: those belong into steps. Knows nothing of steps, histories or databases.

It is stepped from plain callbacks of the worker's loop, never from inside a task of it: CPython 3.14 keeps one current task a thread
and refuses to enter a second.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections import deque
from contextvars import Context, copy_context
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.core.naming import TIMER, Branch
from stepwell.engine.generators import Generators
from stepwell.engine.refusals import without_io
from stepwell.engine.tasks import BranchTask, Handle, NumberedFuture, Numbering, Timer
from stepwell.errors import NotInStep, OutsideRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from types import FrameType

MAX_SLICE: Final = 10_000
"""Callbacks that a body may run before other runs get their turn."""

MAX_UNWINDING: Final = 10_000
"""Callbacks that a body may run while it is being left; then its coroutines are closed by force."""

UNWINDING_ROUNDS: Final = 20
"""How often a task that goes on after its cancellation is canceled again."""


class Unwind(BaseException):
    """The run is being left. No Exception, so that `except Exception` in a body does not catch it."""


class Owner(Protocol):
    """Who is told what happens on the loop."""

    def timer_set(self, timer: Timer) -> None:
        """asyncio set a timer. Its key and deadline are filled in."""

    def timer_canceled(self, timer: Timer) -> None:
        """The body no longer waits for it."""

    def stray_error(self, error: BaseException, message: str) -> None:
        """An error that nobody awaited."""


class Nobody:
    """The owner of a loop whose run has left: what its last objects still say as they go is of no interest."""

    def timer_set(self, timer: Timer) -> None:  # noqa: ARG002  # as an Owner
        """The body cannot set one any more."""
        raise Unwind

    def timer_canceled(self, timer: Timer) -> None:
        """Nobody waits."""

    def stray_error(self, error: BaseException, message: str) -> None:
        """The run is over."""


NOBODY: Final = Nobody()


@without_io
class RunLoop(Numbering):
    """One run's event loop. `now` is the time of the last outcome delivered: the body's time stands still in between."""

    def __init__(self, owner: Owner, now: float) -> None:
        self.owner: Owner = owner
        self.now = now
        self.root = Branch()
        self.tasks: list[BranchTask] = []  # strong: asyncio lets go of tasks that nobody holds, whenever the garbage collector likes
        self.closing = False
        self.thread = 0
        """In which it is entered; 0: in none."""
        self.generators = Generators()
        self._ready: deque[Handle] = deque()
        self._number = 0
        self._prune_at = 16
        self._as_completed: _AsCompleted | None = None

    # -- stepping, for the owner

    def enter(self) -> asyncio.AbstractEventLoop | None:
        """Make it the running loop of this thread: only then can it be stepped, and what is on it be touched. The loop to return to."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        self.thread = get_ident()
        return outer

    def leave(self, outer: asyncio.AbstractEventLoop | None) -> None:
        """Return to the loop that ran before."""
        if outer is not self:
            self.thread = 0
        events._set_running_loop(outer)

    @property
    def is_entered(self) -> bool:
        """Whether it is the running loop of this thread. To ask Python would cost a system call, before 3.12."""
        return self.thread == get_ident()

    def run_ready(self, limit: int = MAX_SLICE) -> bool:
        """Run until nothing is ready, which is True; False when `limit` callbacks have run and there are more."""
        ready = self._ready
        while ready and limit > 0:
            try:
                while ready and limit > 0:
                    limit -= 1
                    handle = ready.popleft()
                    if not handle.gone:
                        handle.context.run(handle.callback, *handle.args)  # type: ignore[arg-type]  # None only when gone
            except BaseException as error:  # noqa: BLE001  # a callback's own, or SystemExit of a task, which the task holds as well
                if not self._is_held(error):
                    self.owner.stray_error(error, "in a callback")
        return not ready

    def _is_held(self, error: BaseException) -> bool:
        """Whether it is the SystemExit or KeyboardInterrupt of a task, which asyncio raises here as well."""
        if not isinstance(error, SystemExit | KeyboardInterrupt):
            return False
        return any(task.done() and not task.cancelled() and task.exception() is error for task in self.tasks)

    def start(self, body: Coroutine[Any, Any, Any], context: Context) -> BranchTask:
        """Make the main task, on the main branch."""
        main = BranchTask(body, loop=self, branch=self.root, context=context)
        self.tasks.append(main)
        return main

    def timer_fired(self, timer: Timer) -> None:
        """See `TimerLoop.timer_fired`."""
        self._ready.append(timer)

    def timer_canceled(self, timer: Timer) -> None:
        """See `TimerLoop.timer_canceled`."""
        self.owner.timer_canceled(timer)

    def next_number(self) -> int:
        """See `Numbering.next_number`."""
        self._number = number = self._number + 1
        return number

    def unwind(self) -> None:
        """Leave every task of the run. From here on the body can do nothing: whatever it asks for raises.

        Coroutines are never just dropped: their `finally` would run at garbage collection, inside another run, and shift its keys.
        """
        outer = self.enter()
        self.closing = True
        for _ in range(UNWINDING_ROUNDS):
            open_tasks = [task for task in self.tasks if not task.done()]
            if not open_tasks:
                break
            for task in open_tasks:
                task.cancel()
            self.run_ready(MAX_UNWINDING // UNWINDING_ROUNDS)
        else:
            for task in open_tasks:
                self._close_by_force(task)
        self._close_generators()
        self.leave(outer)

    def _close_by_force(self, task: BranchTask) -> None:
        """A body that swallows its cancellation for ever. What it would still do is not the run's any more."""
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        try:
            coroutine = task.get_coro()
            if coroutine is not None:
                coroutine.close()
        except RuntimeError as error:
            self.owner.stray_error(error, "the body cannot be left")
            _unclosable.append(coroutine)

    def _close_generators(self) -> None:
        """Run the `finally` of async generators that the body has left open, as asyncio does at the end of a loop."""
        while generators := self.generators.take_open():  # to close one may leave another
            for generator in generators:
                closing = BranchTask(_closed(generator), loop=self, branch=Branch("~closing"), context=None)
                self.run_ready(MAX_UNWINDING)
                if not closing.done():
                    self._close_by_force(closing)
                elif not closing.cancelled():
                    closing.exception()  # a `finally` that fails here has nobody to tell

    def places(self) -> list[str]:
        """Where each task of the body waits: `app/pay.py:41 in charge_all`."""
        return [place for task in self.tasks if not task.done() and (place := _place(task.get_coro()))]

    def dispose(self) -> None:
        """Cut the cycles of a run that has left, so that it goes without the garbage collector."""
        self.tasks.clear()
        self._ready.clear()
        self._as_completed = None
        self.owner = NOBODY

    # -- what asyncio asks of a loop

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        """Run the callback in this slice."""
        if self.thread != get_ident():
            raise OutsideRun(_TOUCHED)
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        """Set a durable timer."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        """Set a durable timer."""
        if self.thread != get_ident():
            raise OutsideRun(_TOUCHED)
        timer = Timer(callback, args, copy_context() if context is None else context, self, when, self.branch().key(TIMER))
        self.owner.timer_set(timer)
        return timer

    def create_future(self) -> NumberedFuture:
        """A future that can be in a set."""
        return NumberedFuture(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> BranchTask:
        """A task on a branch of its own."""
        parent = self.branch()
        caller = _caller_in_asyncio(sys._getframe(1))
        if caller is not None and caller.f_code is _AS_COMPLETED:
            task = self._create_in_as_completed(parent, caller, coro, context, options)
        else:
            # CPython 3.11 makes a task of what `wait_for` waits for, 3.12 does not: on its caller's branch they are level.
            branch = parent if caller is not None else parent.child()
            task = BranchTask(coro, loop=self, branch=branch, context=context, **options)
        if name is not None:
            task.set_name(name)
        if len(self.tasks) >= self._prune_at:
            self.tasks = [each for each in self.tasks if not each.done()]
            self._prune_at = 16 + 2 * len(self.tasks)
        self.tasks.append(task)
        return task

    def _create_in_as_completed(
        self, parent: Branch, frame: FrameType, coro: Coroutine[Any, Any, Any], context: Context | None, options: dict[str, Any]
    ) -> BranchTask:
        """`as_completed` makes its tasks in the order of a set of coroutines, that is of addresses: number and step them as given."""
        made = self._as_completed
        if made is None or made.frame is not frame:
            given = frame.f_locals.get("fs", frame.f_locals.get("aws"))
            if not isinstance(given, list | tuple):
                raise NotInStep(
                    f"as_completed was given a {type(given).__name__} of coroutines, and the order of one is chance, "
                    "so it cannot be replayed. Pass a list."
                )
            places = {id(each): place for place, each in reversed(list(enumerate(given)))}
            made = self._as_completed = _AsCompleted(frame, places, parent.reserve(len(given)), self._number + 1)
            self._number += len(given)
        place = made.places[id(coro)]
        branch, number = parent.child(made.first_branch + place), made.first_number + place
        task = BranchTask(coro, loop=self, branch=branch, number=number, context=context, **options)
        # Its first step is the last handle now; it goes before those of the tasks that were given after it.
        after = sum(1 for other in made.created if other > place)
        self._ready.insert(len(self._ready) - 1 - after, self._ready.pop())
        made.created.append(place)
        return task

    def branch(self) -> Branch:
        """Where the code that runs now is. What a callback does counts on the main branch."""
        task = asyncio.current_task(self)
        return task.branch if isinstance(task, BranchTask) else self.root

    def time(self) -> float:
        """The time of the last outcome that was delivered, in seconds since 1970."""
        return self.now

    def get_debug(self) -> bool:
        """asyncio's debug mode would only warn of what is done on purpose here."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Changes nothing."""

    def is_running(self) -> bool:
        """Always, for what runs on it."""
        return True

    def is_closed(self) -> bool:
        """Never, for what runs on it."""
        return False

    def get_task_factory(self) -> None:
        """None: tasks are made by `create_task`."""

    def get_exception_handler(self) -> None:
        """None: errors that nobody awaits are logged with the run's id."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody awaited."""
        error = context.get("exception")
        self.owner.stray_error(error or RuntimeError(context.get("message")), str(context.get("message", "")))

    default_exception_handler = call_exception_handler


class _AsCompleted:
    """One call of `asyncio.as_completed`, while it makes its tasks."""

    __slots__ = ("created", "first_branch", "first_number", "frame", "places")

    def __init__(self, frame: FrameType, places: dict[int, int], first_branch: int, first_number: int) -> None:
        self.frame = frame
        self.places = places
        self.first_branch = first_branch
        self.first_number = first_number
        self.created: list[int] = []


def _caller_in_asyncio(frame: FrameType | None) -> FrameType | None:
    """The call of `as_completed` or `wait_for` that makes the task; None when another one does."""
    for _ in range(4):  # ensure_future → (_ensure_future) → (set comprehension) → as_completed or wait_for
        if frame is None or frame.f_globals is not _ASYNCIO_TASKS:
            return None
        if frame.f_code is _WAIT_FOR or frame.f_code is _AS_COMPLETED:
            return frame
        frame = frame.f_back
    return None


def _place(coroutine: Any) -> str | None:
    """The innermost line of the user's that this coroutine waits in."""
    place = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_NOT_THE_USERS):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return place


_TOUCHED: Final = (
    "something outside of the body of a workflow has touched an asyncio object of it (an Event, Queue, Future or Task). "
    "A step hands results back by returning them; only that is recorded."
)

_NOT_THE_USERS: Final = (str(Path(asyncio.__file__).parent), str(Path(__file__).parent))


async def _closed(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


_ASYNCIO_TASKS: Final = vars(tasks)
_WAIT_FOR: Final = tasks.wait_for.__code__ if sys.version_info < (3, 12) else None
_AS_COMPLETED: Final = (tasks._AsCompletedIterator.__init__ if sys.version_info >= (3, 13) else tasks.as_completed).__code__  # type: ignore[attr-defined]


_unclosable: Final[list[Any]] = []
"""Coroutines that go on whatever is thrown into them. Kept: to drop one would let it go on once more."""


def refuse_in_body(does: str, instead: str) -> None:
    """Raise, where the body of a workflow runs. `does` says what it does there, `instead` what to do.

    Raises:
        NotInStep: this is called by an `async` body. A `def` body has no loop to be told by.
    """
    if isinstance(events._get_running_loop(), RunLoop):
        raise NotInStep(
            f"the body of a workflow {does}. On a replay that would happen again; {instead}, which runs once and is remembered."
        )
