"""An event loop in a thread of its own, on which other threads have coroutines awaited. Knows nothing of what they do."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Final

from stepwell.engine.runloop import refuse_in_body

_NOT_OPEN: Final = "this app is not open: use it within `with app:`, or call `app.open()` first"
_ITSELF: Final = (
    "a SyncStepwell is called on its own event loop, where it would wait for itself for ever; "
    "call it in a `def` step, which has a thread, or use Stepwell"
)
_FORKED: Final = "this process was forked from one that had the app open; make and open an app of its own after the fork, in each process"
_CLOSED: Final = "the app was closed while this call waited"


class Portal:
    """A daemon thread with an event loop, as long as somebody has it open."""

    def __init__(self) -> None:
        self._users = 0
        self._turn = threading.Lock()  # of those who open and close
        self._begins = threading.Lock()  # a call is begun on a loop that goes on, or not at all
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ending: asyncio.Event
        self._process = os.getpid()

    def open(self) -> None:
        """Have the loop for one more user. Raises RuntimeError: it is of the process from which this one was forked."""
        self._refuse_fork()
        with self._turn:
            if not self._users:
                self._process = os.getpid()
                self._begin()
            self._users += 1

    def _begin(self) -> None:
        """Make the thread. Raises what kept it from having a loop, such as too many open files."""
        there: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(there,), name="stepwell-sync", daemon=True)
        try:
            self._thread.start()
            there.result()
        except Exception:
            if self._thread.ident is not None:
                self._thread.join()
            self._thread = None
            raise

    def _run(self, there: Future[None]) -> None:
        live = self._live(there)
        try:
            asyncio.run(live)
        except BaseException as error:
            if there.done():
                raise
            there.set_exception(error)
        finally:
            live.close()  # where there was no loop, it has not begun

    def close(self) -> None:
        """One user less. The last one ends the thread, and with it what is still awaited there."""
        if self._is_forked:
            return
        with self._turn:
            self._users = max(self._users - 1, 0)
            if self._users or self._thread is None:
                return
            with self._begins:
                loop, self._loop = self._loop, None
            if loop is not None:
                loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
            self._thread = None

    async def _live(self, there: Future[None]) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        there.set_result(None)
        await self._ending.wait()

    @property
    def is_open(self) -> bool:
        """Whether anybody has it."""
        return self._loop is not None and not self._is_forked

    @property
    def _is_forked(self) -> bool:
        """Whether the thread is another process's: here, nobody would answer. It may have held the locks, too."""
        return self._loop is not None and os.getpid() != self._process

    def _refuse_fork(self) -> None:
        if self._is_forked:
            raise RuntimeError(_FORKED)

    def begin(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
        """Call this on the loop, and await there what it returns.

        Raises:
            RuntimeError: nobody has opened the loop, another process has and was forked since, or this is its own thread, which cannot
                wait for itself.
            NotInStep: the body of a workflow calls it.
        """
        refuse_in_body("waits for a SyncStepwell", "use it in a step")
        self._refuse_fork()
        with self._begins:
            if self._loop is None:
                raise RuntimeError(_NOT_OPEN)
            if threading.current_thread() is self._thread:
                raise RuntimeError(_ITSELF)
            call = Call(self._loop, lambda: function(*args, **kwargs))
            self._loop.call_soon_threadsafe(call.begin)
        return call

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As `begin`, and wait for the outcome. A KeyboardInterrupt cancels it there, and is raised here when it has ended."""
        return self.begin(function, *args, **kwargs).result()


class Call:
    """One call on the loop, and its outcome for another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> None:
        self._loop = loop
        self._function = function
        self._outcome: Future[Any] = Future()
        self._task: asyncio.Task[None] | None = None

    def result(self) -> Any:
        """Wait for what it returns, or raises. If this thread is interrupted, cancel it, and wait for its end."""
        try:
            return self._outcome.result()
        finally:
            if not self._outcome.done():
                self._loop.call_soon_threadsafe(self._cancel)
                wait([self._outcome])

    def wait(self) -> Any:
        """As `result`, but an interruption of this thread leaves it alone."""
        return self._outcome.result()

    def begin(self) -> None:
        """On the loop."""
        self._task = self._loop.create_task(self._make())
        self._task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _make(self) -> None:
        try:
            result = self._function()
            self._outcome.set_result(await result if inspect.isawaitable(result) else result)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  # it is raised where the call was made
            self._outcome.set_exception(error)

    def _ended(self, _: asyncio.Task[None]) -> None:
        if not self._outcome.done():  # it was canceled
            self._outcome.set_exception(RuntimeError(_CLOSED))
